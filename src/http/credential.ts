import type { Secret } from '../core/secret.ts'

/** What opens one side. It belongs to one origin; `http/authorize.ts` decides which requests carry it. */
export type Credential =
  | Readonly<{ kind: 'anonymous' }>
  /** User and password of a plain registry: Basic, or exchanged at the token service that the registry names. */
  | Readonly<{ kind: 'basic'; username: string; password: Secret }>
  /** Sent as it is: OpenShift tokens, registry tokens. */
  | Readonly<{ kind: 'bearer'; token: Secret }>
  /** A refresh token of docker's `identitytoken`: exchanged at the token service (OAuth2 POST). */
  | Readonly<{ kind: 'identity'; refreshToken: Secret }>

export const ANONYMOUS: Credential = { kind: 'anonymous' }

/**
 * `cluster`: this run obtains tokens by a password or for a service account. `runner`: GitHub's OIDC tokens. `file`: a
 * file that is rotated. `plugin`: an exec plugin of a kubeconfig.
 */
export type RenewedBy = 'cluster' | 'runner' | 'file' | 'plugin'

/** A credential that may change during the run. */
export interface Login {
  /** For messages: `password login of jane`, `token of --source-token`, `auth file /…/config.json`. Never a secret. */
  readonly describe: string
  /** Where a newer one comes from. Undefined: it was given as it is and cannot be renewed. */
  readonly renewedBy?: RenewedBy
  current(): Promise<Credential>
  /**
   * After the server refused `refused`: the newer one (a rotated file, a new login), or undefined when there is none.
   * Calls side by side for the same refused credential share one renewal.
   */
  renew(refused: Credential): Promise<Credential | undefined>
}

/** By content: a login may build its credential anew for every call. */
export function sameCredential(one: Credential, other: Credential): boolean {
  if (one.kind === 'basic' && other.kind === 'basic')
    return one.username === other.username && one.password.reveal() === other.password.reveal()
  if (one.kind === 'bearer' && other.kind === 'bearer') return one.token.reveal() === other.token.reveal()
  if (one.kind === 'identity' && other.kind === 'identity')
    return one.refreshToken.reveal() === other.refreshToken.reveal()
  return one.kind === 'anonymous' && other.kind === 'anonymous'
}
