import type { Login } from '../credential.ts'
import type { Side } from '../errors.ts'

/** One side after login. Sides without a cluster have no session. */
export interface Session {
  readonly side: Side
  /** Who the cluster says we are, for the log. */
  readonly user: string
  /** Opens the cluster's own registry (and its API). */
  readonly login: Login
  /** Deletes the token if this run obtained it by password; otherwise does nothing. Never throws. */
  logout(): Promise<void>
}
