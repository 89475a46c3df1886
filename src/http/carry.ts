/** Where a credential may go. Nothing else decides it: two pure functions, tested by table. */
import type { Credential } from '../credential.ts'

/** What a request to a registry or API can carry; `token` is one that a token service gave out. */
export type Carried = Credential['kind'] | 'token'

/**
 * Whether a request to `hop` may carry what belongs to `origin`.
 * @param left the redirects of this request have been on another origin, so whoever named `hop` is not trusted any more.
 * @param kind a refresh token (`identity`) never goes to the registry itself; `anonymous` has nothing to carry.
 */
export function mayCarry(origin: URL, hop: URL, left: boolean, kind: Carried): boolean {
  if (kind === 'anonymous' || kind === 'identity') return false
  return !left && isHttp(hop) && hop.origin === origin.origin
}

/**
 * Whether the token service at `realm`, which `registry` named in a challenge, may be asked with this credential. What a
 * plain-HTTP or unverified server names may be anybody's choice, so secrets follow it only to where they would go anyway.
 * @param verified certificates are verified on this side.
 */
export function mayAsk(registry: URL, realm: URL, kind: Credential['kind'], verified: boolean): boolean {
  if (!isHttp(realm) || realm.username !== '' || realm.password !== '') return false
  // The token that comes back is a secret too.
  if (registry.protocol === 'https:' && realm.protocol !== 'https:') return false
  if (kind === 'anonymous') return true
  if (kind === 'bearer') return false
  if (registry.origin === realm.origin) return true
  return verified && registry.protocol === 'https:' && realm.protocol === 'https:'
}

function isHttp(url: URL): boolean {
  return url.protocol === 'https:' || url.protocol === 'http:'
}
