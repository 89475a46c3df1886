import type { Context } from '../context.ts'
import { type Issued, type Login, renewableLogin } from '../credential.ts'
import { asPromoteError, type PromoteError } from '../errors.ts'
import type { Secret } from '../secret.ts'

export type IssuedToken = Readonly<{
  token: Secret
  /** Milliseconds since the epoch; undefined: unlimited, or the server didn't say. */
  expires: number | undefined
}>

export type TokenIssuer = Readonly<{
  describe: string
  /** Gets a new token from the server. */
  obtain: () => Promise<IssuedToken>
  /** Whether the API still accepts this token. */
  alive: (token: Secret) => Promise<boolean>
}>

/** A token is replaced this long before its end (milliseconds), or in its last tenth when it is short-lived. */
const MARGIN = 60_000

/** A login with tokens that this run obtains and replaces. */
export function tokenLogin(issuer: TokenIssuer, first: IssuedToken, context: Context): Login {
  let current = first
  let renewAt = renewalOf(first, context)
  let verdict: PromoteError | undefined
  const issue = async (): Promise<Issued | undefined> => {
    const due = renewAt !== undefined && renewAt <= context.now()
    // The integrated registry says 401 for a missing right too; without this question each such answer would cost a login.
    if (!due && (await issuer.alive(current.token))) return undefined
    // A password that is refused now (changed, say) is not tried again by every request that waits: that locks accounts.
    if (verdict !== undefined) throw verdict
    try {
      current = await issuer.obtain()
    } catch (thrown) {
      const error = asPromoteError(thrown)
      if (!error.transient) verdict = error
      if (current.expires === undefined || context.now() >= current.expires || !due) throw error
      context.log.debug(`${issuer.describe}: not renewed before its end (${error.code})`)
      renewAt = current.expires
      return issued()
    }
    renewAt = renewalOf(current, context)
    return issued()
  }
  const issued = (): Issued => ({ credential: { kind: 'bearer', token: current.token }, renewAt })
  return renewableLogin({ describe: issuer.describe, renewedBy: 'cluster' }, issued(), issue, context)
}

function renewalOf({ expires }: IssuedToken, context: Context): number | undefined {
  return expires === undefined ? undefined : expires - Math.min(MARGIN, (expires - context.now()) / 10)
}
