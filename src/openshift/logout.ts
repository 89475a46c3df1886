import { fixedLogin } from '../credential.ts'
import { asPromoteError } from '../errors.ts'
import type { Network } from '../http/send.ts'
import { type Kubernetes, kubernetes, path, said, statusOf } from './kubernetes.ts'
import { tokenObjectName } from './token.ts'
import type { IssuedToken } from './token-login.ts'

/** Milliseconds: a runner kills a cancelled job after 7.5 s, and both sides log out side by side. */
const PATIENCE = 3000

/**
 * Deletes tokens that this run obtained by password, each with itself as the credential. Never throws; what could not be
 * deleted is logged with the time of its end.
 * Source: oc pkg/cli/logout/logout.go; the right comes from `system:oauth-token-deleter`.
 */
export async function revoke(
  tokens: readonly IssuedToken[],
  network: Network,
  kube: Kubernetes,
  patience = PATIENCE,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), patience)
  })
  const all = Promise.all(tokens.map((issued) => remove(issued, network, kube)))
  if ((await Promise.race([all, late])) === 'late') {
    const ends = tokens.map(endOf).join('; ')
    kube.context.log.warn(
      `${kube.side}: logging out of ${kube.url.host} took more than ${patience / 1000} s and was given up; the token of this run lives on: ${ends}`,
    )
  }
  clearTimeout(timer)
}

async function remove(issued: IssuedToken, network: Network, kube: Kubernetes): Promise<void> {
  const name = tokenObjectName(issued.token.reveal())
  if (name === undefined) return
  try {
    const send = network.as(kube.url, fixedLogin('the token to delete', { kind: 'bearer', token: issued.token }))
    const reply = await kubernetes(kube.url, kube.side, send, kube.context).request(
      'DELETE',
      path`/apis/oauth.openshift.io/v1/oauthaccesstokens/${name}`,
      { body: { kind: 'DeleteOptions', apiVersion: 'oauth.openshift.io/v1' }, afterCancel: true },
    )
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
