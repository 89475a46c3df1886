/** Where a credential may go, and which addresses of a server are used at all. Nothing else decides it; tested by table. */

import { PromoteError, type Side } from '../core/errors.ts'
import type { Secrets } from '../core/secret.ts'
import type { Credential } from './credential.ts'

/** What a request to a registry or API can carry; `token` is one that a token service gave out. */
export type Carried = Credential['kind'] | 'token'

/**
 * Whether a request to `hop` may carry what belongs to `origin` (scheme, host and port).
 * @param leftOrigin a redirect or an upload session has been on another origin, which then chose `hop`.
 * @param kind a refresh token (`identity`) never goes to the registry itself; `anonymous` has nothing to carry.
 */
export function mayReceiveCredential(origin: URL, hop: URL, leftOrigin: boolean, kind: Carried): boolean {
  if (kind === 'anonymous' || kind === 'identity') return false
  return !leftOrigin && isHttp(hop) && hop.origin === origin.origin
}

/**
 * Whether the token service at `realm`, which `registry` named in a challenge, may be asked with this credential. A
 * plain-HTTP or unverified server may be an impostor: secrets go only to the same origin then.
 * @param verified certificates are verified on this side.
 */
export function mayAskTokenService(registry: URL, realm: URL, kind: Credential['kind'], verified: boolean): boolean {
  if (!isHttp(realm) || realm.username !== '' || realm.password !== '') return false
  // The token that comes back is a secret too.
  if (registry.protocol === 'https:' && realm.protocol !== 'https:') return false
  if (kind === 'anonymous') return true
  if (kind === 'bearer') return false
  if (registry.origin === realm.origin) return true
  return verified && registry.protocol === 'https:' && realm.protocol === 'https:'
}

/** Parts of the distribution API that are not an upload, and steps that leave a path. */
const NOT_AN_UPLOAD = /^(?:v2|manifests|tags|referrers|blobs|\.{1,2})$/
const UPLOADS = /^(?:[a-z]+-)?uploads?$/

/**
 * Whether an address on the registry's own origin can be that of an upload session: `/v2/NAME/blobs/uploads/ID` by the
 * specification, `/blobs/upload/ID` at ghcr.io, `/artifacts-uploads/…/uploads/ID` at Google's registries. A PUT or DELETE
 * elsewhere would change what other images need.
 */
export function isUploadSession(url: URL): boolean {
  const { session } = splitUpload(url)
  return session.length > 1 && UPLOADS.test(session[0] ?? '') && !session.some((one) => NOT_AN_UPLOAD.test(one))
}

/** Whether the path is one of the distribution API, however it is encoded. */
export function namesResource(url: URL): boolean {
  const { name, session } = splitUpload(url)
  return [...name.split('/'), ...session].some((one) => NOT_AN_UPLOAD.test(one))
}

/** Whether a DELETE there ends an upload to this repository and nothing else. */
export function isUploadOf(repository: string, url: URL): boolean {
  return isUploadSession(url) && splitUpload(url).name.endsWith(`/${repository}`)
}

/** As a server may read the path: decoded, without empty segments. Repositories may be named `blobs` or `tags`. */
function splitUpload({ pathname }: URL): { name: string; session: string[] } {
  const path = percentDecoded(percentDecoded(pathname))
  const segments = path.split(/[/\\]/).filter((one) => one !== '')
  const at = segments.findLastIndex((one, index) => one === 'blobs' && UPLOADS.test(segments[index + 1] ?? ''))
  return { name: `/${segments.slice(0, Math.max(at, 0)).join('/')}`, session: segments.slice(at + 1) }
}

type Naming = Readonly<{ what: string; side: Side; secrets: Secrets }>

/**
 * Refuses an address that a server chose (Location, redirect, realm, Link) and that holds a secret of this run: logs and
 * proxies on the way would keep it. A secret that the requested address holds too is allowed, because the server
 * knows it already: a project may have the same name as a password.
 * @param asked the address whose answer named this one.
 * @param named.what who names the address, as the beginning of the message.
 * @throws PromoteError PROTOCOL
 */
export function refuseSecretInAddress(address: string, asked: URL, named: Naming): void {
  const known = [...decodings(asked.href)].join('\n')
  for (const text of decodings(address))
    if (named.secrets.isIn(text, known))
      throw new PromoteError('PROTOCOL', `${named.what} an address with a secret of this run in it.`, {
        side: named.side,
        hint: 'Check the server, and a proxy or gateway in front of it: a credential must not stand in an address.',
      })
}

/** Encodings within encodings that are undone: `%2561`, base64 of base64. */
const DEEPEST = 3
/** Base64 of the shortest secret. */
const BASE64_RUN = /[A-Za-z0-9+/_-]{6,}/g

/** The text, and what it says when percent and base64 encodings in it are undone, in any order. */
function decodings(text: string): Set<string> {
  const found = new Set([text])
  let latest = [text]
  for (let depth = 0; depth < DEEPEST && latest.length > 0; depth += 1) {
    latest = latest.flatMap((one) => [percentDecoded(one), one.replaceAll('+', ' '), ...base64Decoded(one)])
    latest = latest.filter((one) => !found.has(one))
    for (const one of latest) found.add(one)
  }
  return found
}

function percentDecoded(text: string): string {
  const bytes = Buffer.from(text, 'utf8').toString('latin1')
  const decoded = bytes.replace(/%([0-9a-f]{2})/gi, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
  return Buffer.from(decoded, 'latin1').toString('utf8')
}

/** Where the encoded text begins within a run of letters is unknown: four tries, one for each offset. */
function base64Decoded(text: string): string[] {
  const runs = text.match(BASE64_RUN) ?? []
  return [0, 1, 2, 3].map((at) => runs.map((run) => Buffer.from(run.slice(at), 'base64').toString('utf8')).join('\n'))
}

function isHttp(url: URL): boolean {
  return url.protocol === 'https:' || url.protocol === 'http:'
}
