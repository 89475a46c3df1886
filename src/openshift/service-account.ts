import { z } from 'zod'
import { PromoteError } from '../errors.ts'
import type { IssuedToken } from './issued-tokens.ts'
import { decode, failure, type Kubernetes, path, type Reply, said, statusOf, word } from './kubernetes.ts'

export type ServiceAccount = Readonly<{ namespace: string; name: string }>

/** Seconds: what Kubernetes gives by default, and long enough that few promotions need a second one. */
const LIFETIME = 3600
/** Milliseconds that a fresh token counts as valid whatever the two clocks say: a wrong one must not ask for tokens in a loop. */
const LEAST = 60_000

const answerSchema = z.looseObject({
  status: z.looseObject({
    token: z.string().regex(/^[\x21-\x7e]+$/),
    expirationTimestamp: z.iso.datetime({ offset: true }),
  }),
})

/** A short-lived token of the account (authentication.k8s.io/v1 TokenRequest), for the cluster's own audience. */
export async function requestAccountToken(
  kube: Kubernetes,
  account: ServiceAccount,
  user: string,
): Promise<IssuedToken> {
  const reply = await kube.request(
    'POST',
    path`/api/v1/namespaces/${account.namespace}/serviceaccounts/${account.name}/token`,
    {
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: LIFETIME } },
    },
  )
  const tried = `Requesting a token of the service account ${account.namespace}/${account.name} as ${user}`
  if (reply.status !== 200 && reply.status !== 201) throw refused(reply, tried, kube, account, user)
  const { status } = decode(reply, answerSchema, tried, kube)
  const now = kube.context.now()
  return {
    token: kube.context.secrets.keep(status.token),
    expires: Math.max(Date.parse(status.expirationTimestamp), now + LEAST),
  }
}

function refused(
  reply: Reply,
  tried: string,
  kube: Kubernetes,
  { namespace, name }: ServiceAccount,
  user: string,
): PromoteError {
  const status = statusOf(reply)
  if (status === undefined || (reply.status !== 403 && reply.status !== 404)) return failure(reply, tried, kube)
  const message = `${tried}: ${kube.url.host} answered ${said(reply, kube.context)}.`
  const detail = { side: kube.side, status: reply.status }
  if (reply.status === 403) {
    const hint =
      `Let an administrator of the project run: oc create role token-of-${name} -n ${namespace} --verb=create ` +
      `--resource=serviceaccounts/token --resource-name=${name} && oc policy add-role-to-user token-of-${name} ` +
      `${word(user)} -n ${namespace} --role-namespace=${namespace}`
    return new PromoteError('DENIED', message, { ...detail, hint })
  }
  if (status.details?.kind === 'namespaces')
    return new PromoteError('PROJECT_MISSING', message, {
      ...detail,
      hint: `Check the project in ${kube.side}-service-account.`,
    })
  const hint = `Check ${kube.side}-service-account, or create the account: oc create serviceaccount ${name} -n ${namespace}`
  return new PromoteError('CREDENTIAL_MISSING', message, { ...detail, hint })
}
