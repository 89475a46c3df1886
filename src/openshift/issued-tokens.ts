import type { Context } from '../context.ts'
import { fixedLogin, type Issued, type Login, renewableLogin } from '../credential.ts'
import { asPromoteError, type PromoteError } from '../errors.ts'
import type { Secret } from '../secret.ts'
import { isAlive } from './identity.ts'
import { type Kubernetes, path, said, statusOf } from './kubernetes.ts'
import { tokenObjectName } from './token.ts'

export type IssuedToken = Readonly<{
  token: Secret
  /** Milliseconds since the epoch; undefined: unlimited, or the server didn't say. */
  expires: number | undefined
}>

/** A token is replaced this long before its end (milliseconds), or in its last tenth when it is short-lived. */
const MARGIN = 60_000

/** A login with tokens that this run obtains from the cluster and replaces. */
export async function tokenLogin(
  kube: Kubernetes,
  describe: string,
  obtain: () => Promise<IssuedToken>,
): Promise<Login> {
  const { context } = kube
  let current = await obtain()
  let renewAt = renewalOf(current, context)
  let verdict: PromoteError | undefined
  const issue = async (): Promise<Issued | undefined> => {
    const due = renewAt !== undefined && renewAt <= context.now()
    // The integrated registry says 401 for a missing right too; without this question each such answer would cost a login.
    if (!due && (await isAlive(kube, current.token))) return undefined
    // A password that is refused now (changed, say) is not tried again by every request that waits: that locks accounts.
    if (verdict !== undefined) throw verdict
    try {
      current = await obtain()
    } catch (thrown) {
      const error = asPromoteError(thrown)
      if (!error.transient) verdict = error
      if (current.expires === undefined || context.now() >= current.expires || !due) throw error
      context.log.debug(`${describe}: not renewed before its end (${error.code})`)
      renewAt = current.expires
      return issued()
    }
    renewAt = renewalOf(current, context)
    return issued()
  }
  const issued = (): Issued => ({ credential: { kind: 'bearer', token: current.token }, renewAt })
  return renewableLogin({ describe, renewedBy: 'cluster' }, issued(), issue, context)
}

function renewalOf({ expires }: IssuedToken, context: Context): number | undefined {
  return expires === undefined ? undefined : expires - Math.min(MARGIN, (expires - context.now()) / 10)
}

/** Milliseconds: a runner kills a cancelled job after 7.5 s, and both sides log out side by side. */
const PATIENCE = 3000

/**
 * Deletes tokens that this run obtained by password, each with itself as the credential. Never throws; what could not be
 * deleted is logged with the time of its end.
 * Source: oc pkg/cli/logout/logout.go; the right comes from `system:oauth-token-deleter`.
 */
export async function revoke(tokens: readonly IssuedToken[], kube: Kubernetes, patience = PATIENCE): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), patience)
  })
  const all = Promise.all(tokens.map((issued) => remove(issued, kube)))
  if ((await Promise.race([all, late])) === 'late') {
    const ends = tokens.map(endOf).join('; ')
    kube.context.log.warn(
      `${kube.side}: logging out of ${kube.url.host} took more than ${patience / 1000} s and was given up; the token of this run lives on: ${ends}`,
    )
  }
  clearTimeout(timer)
}

async function remove(issued: IssuedToken, kube: Kubernetes): Promise<void> {
  const name = tokenObjectName(issued.token.reveal())
  if (name === undefined) return
  try {
    const asToken = kube.as(fixedLogin('the token to delete', { kind: 'bearer', token: issued.token }))
    const reply = await asToken.request('DELETE', path`/apis/oauth.openshift.io/v1/oauthaccesstokens/${name}`, {
      body: { kind: 'DeleteOptions', apiVersion: 'oauth.openshift.io/v1' },
      afterCancel: true,
    })
    // 401 and 404 of the API itself: it is gone already. A page of a proxy proves nothing.
    const isGone = [401, 404].includes(reply.status) && statusOf(reply) !== undefined
    if (isGone || (reply.status < 300 && !reply.html)) return
    warn(issued, said(reply, kube.context), kube)
  } catch (thrown) {
    warn(issued, asPromoteError(thrown).message, kube)
  }
}

function warn(issued: IssuedToken, reason: string, kube: Kubernetes): void {
  kube.context.log.warn(
    `${kube.side}: the token of this run could not be deleted at ${kube.url.host} (${reason}); ${endOf(issued)}`,
  )
}

function endOf({ expires }: IssuedToken): string {
  return expires === undefined
    ? 'it lives until it is deleted, because the server named no time at which it ends'
    : `it expires at ${new Date(expires).toISOString()}`
}
