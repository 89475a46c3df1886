import { z } from 'zod'
import { PromoteError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import { fixedLogin } from '../credentials/login.ts'
import type { Login } from '../http/credential.ts'
import { apiUrlHint, decode, failure, type Kubernetes, type Reply, said, saidBy, statusOf } from './api.ts'
import { afterRefusal, whyRefused } from './token-refusal.ts'

const REVIEW = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' }
const REVIEWS = '/apis/authentication.k8s.io/v1/selfsubjectreviews'
const ANONYMOUS_USER = 'system:anonymous'
/** What was tried, for messages. */
const WHO = 'Asking who we are'

const reviewSchema = z.looseObject({
  status: z.looseObject({ userInfo: z.looseObject({ username: z.string().min(1) }) }),
})
const userSchema = z.looseObject({ metadata: z.looseObject({ name: z.string().min(1) }) })

/**
 * The name of our user: SelfSubjectReview, and `users/~` where that is not served (Kubernetes before 1.28).
 * @throws PromoteError TOKEN_REJECTED, DENIED, NOT_A_CLUSTER, or what `failure` makes of the answer.
 */
export async function whoAmI(kube: Kubernetes): Promise<string> {
  const review = await kube.request('POST', REVIEWS, { body: REVIEW })
  if (review.status === 401) throw await refused(review, kube)
  if (review.status === 200 || review.status === 201)
    return named(decode(review, reviewSchema, WHO, kube).status.userInfo.username, review, kube)
  if (review.html || review.status === 429 || review.status >= 500) throw failure(review, WHO, kube)
  const user = await kube.request('GET', '/apis/user.openshift.io/v1/users/~')
  if (user.status === 200) return named(decode(user, userSchema, WHO, kube).metadata.name, user, kube)
  if (user.status === 401 || `${statusOf(user)?.message}`.includes(ANONYMOUS_USER)) throw await refused(user, kube)
  if (user.status !== 404 && user.status !== 403) throw failure(user, WHO, kube)
  throw unknown(review, user, kube)
}

async function named(name: string, reply: Reply, kube: Kubernetes): Promise<string> {
  if (name === ANONYMOUS_USER) throw await refused(reply, kube)
  return saidBy(name, kube.context)
}

/** Both requests are forbidden or not served: a token with narrow scopes, or a server that is not OpenShift. */
function unknown(review: Reply, user: Reply, kube: Kubernetes): PromoteError {
  const { side, url, context } = kube
  const message = `${asking(kube)}: it answered ${said(review, context)} and ${said(user, context)}.`
  if (review.status !== 403 && user.status !== 403)
    return new PromoteError('NOT_A_CLUSTER', message, { side, status: 404, hint: apiUrlHint(url, side) })
  const hint =
    'The token may not ask for its own user, and the registry asks the same question: use one with the scope user:full.'
  return new PromoteError('DENIED', message, { side, status: 403, hint })
}

async function refused(reply: Reply, kube: Kubernetes): Promise<PromoteError> {
  const { side, login, context } = kube
  const token = await tokenOf(login)
  const why = token ? whyRefused(token.reveal(), context.now()) : 'The server does not trust this client certificate.'
  const hint =
    login === undefined
      ? 'Check that the kubeconfig belongs to this cluster and that its certificate is not expired.'
      : afterRefusal(login, side, token?.reveal())
  const message = `${asking(kube)}: it answered ${said(reply, context)}. ${why}`
  return new PromoteError('TOKEN_REJECTED', message, { side, status: reply.status, hint })
}

function asking({ url, login }: Kubernetes): string {
  return `Asking ${url.host} who we are, with the ${login?.describe ?? 'client certificate'}`
}

/** The token that a login has now; undefined for a client certificate. */
export async function tokenOf(login: Login | undefined): Promise<Secret | undefined> {
  const credential = await login?.current()
  return credential?.kind === 'bearer' ? credential.token : undefined
}

/** Whether the API accepts this token now. An unclear answer counts as yes, so that it causes no renewal. */
export async function isAlive(kube: Kubernetes, token: Secret): Promise<boolean> {
  const asToken = kube.as(fixedLogin('the token in question', { kind: 'bearer', token }))
  return (await asToken.request('POST', REVIEWS, { body: REVIEW })).status !== 401
}
