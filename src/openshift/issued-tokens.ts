import { createHash } from 'node:crypto'
import { z } from 'zod'
import { within } from '../core/async.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, type PromoteError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import { fixedLogin, type Issued, renewableLogin } from '../credentials/login.ts'
import type { Login } from '../http/credential.ts'
import { decode, failure, type Kubernetes, notByRole, path, type Reply, refusal, said, statusOf, word } from './api.ts'
import { isAlive } from './identity.ts'
import { PREFIX } from './token-refusal.ts'

export type IssuedToken = Readonly<{
  token: Secret
  /** Milliseconds since the epoch; undefined: unlimited, or the server didn't say. */
  expires: number | undefined
}>

/** A token is replaced this long before its end (milliseconds), or in its last tenth when it is short-lived. */
const MARGIN = 60_000

type Obtain = () => Promise<IssuedToken>

/** A login with tokens that this run obtains from the cluster and replaces. */
export async function tokenLogin(kube: Kubernetes, describe: string, obtain: Obtain): Promise<Login> {
  const { context } = kube
  let current = await obtain()
  let renewAt: number | undefined
  let refusedBy: PromoteError | undefined
  const issue = async (): Promise<Issued | undefined> => {
    const due = renewAt !== undefined && renewAt <= context.now()
    // The integrated registry also answers 401 to a missing right: without this check each such answer would cost a login.
    if (!due && (await isAlive(kube, current.token))) return undefined
    // A refused password is not tried again by each request that waits: repeated failures lock accounts.
    if (refusedBy !== undefined) throw refusedBy
    try {
      current = await obtain()
    } catch (thrown) {
      const error = asPromoteError(thrown)
      if (!error.transient) refusedBy = error
      if (current.expires === undefined || context.now() >= current.expires || !due) throw error
      context.log.debug(`${describe}: not renewed before its end (${error.code})`)
      return issued(current.expires)
    }
    return issued()
  }
  const issued = (next = renewalOf(current, context)): Issued => {
    renewAt = next
    return { credential: { kind: 'bearer', token: current.token }, renewAt }
  }
  return renewableLogin({ describe, renewedBy: 'cluster' }, issued(), issue, context)
}

function renewalOf({ expires }: IssuedToken, context: Context): number | undefined {
  return expires === undefined ? undefined : expires - Math.min(MARGIN, (expires - context.now()) / 10)
}

export type ServiceAccount = Readonly<{ namespace: string; name: string }>

/** Seconds: the default of Kubernetes. */
const LIFETIME = 3600
/** Milliseconds that a new token counts as valid: a wrong clock must not cause a request for a token before each use. */
const LEAST = 60_000

const answerSchema = z.looseObject({
  status: z.looseObject({
    token: z.string().regex(/^[\x21-\x7e]+$/),
    expirationTimestamp: z.iso.datetime({ offset: true }),
  }),
})

/** A short-lived token of the account (authentication.k8s.io/v1 TokenRequest), for the cluster's own audience. */
export async function requestAccountToken(kube: Kubernetes, account: ServiceAccount, user: string) {
  const { namespace, name } = account
  const tried = `Requesting a token of the service account ${namespace}/${name} as ${user}`
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: LIFETIME } }
  const address = path`/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`
  const reply = await kube.request('POST', address, { body })
  if (reply.status !== 200 && reply.status !== 201) throw refused(reply, tried, kube, account, user)
  const { status } = decode(reply, answerSchema, tried, kube)
  const expires = Math.max(Date.parse(status.expirationTimestamp), kube.context.now() + LEAST)
  return { token: kube.context.secrets.keep(status.token), expires }
}

function refused(reply: Reply, tried: string, kube: Kubernetes, account: ServiceAccount, user: string): PromoteError {
  const { namespace, name } = account
  const status = statusOf(reply)
  if (status === undefined || (reply.status !== 403 && reply.status !== 404)) return failure(reply, tried, kube)
  if (reply.status === 403) {
    const hint =
      `Let an administrator of the project run: oc create role token-of-${name} -n ${namespace} --verb=create ` +
      `--resource=serviceaccounts/token --resource-name=${name} && oc policy add-role-to-user token-of-${name} ` +
      `${word(user)} -n ${namespace} --role-namespace=${namespace}`
    return notByRole(reply, tried, kube, namespace) ?? refusal('DENIED', reply, tried, kube, hint)
  }
  const option = `${kube.side}-service-account`
  if (status.details?.kind === 'namespaces')
    return refusal('PROJECT_MISSING', reply, tried, kube, `Check the project in ${option}.`)
  const hint = `Check ${option}, or create the account: oc create serviceaccount ${name} -n ${namespace}`
  return refusal('CREDENTIAL_MISSING', reply, tried, kube, hint)
}

/** Milliseconds: a runner kills a cancelled job after 7.5 s, and both sides log out at the same time. */
const LOGOUT_TIME = 3000

/**
 * Deletes tokens that this run obtained by password, each with itself as the credential. Never throws: a token that could
 * not be deleted is logged with the time of its end.
 * Source: oc pkg/cli/logout/logout.go; the right comes from `system:oauth-token-deleter`.
 */
export async function revoke(tokens: readonly IssuedToken[], kube: Kubernetes, time = LOGOUT_TIME): Promise<void> {
  const all = Promise.all(tokens.map((issued) => remove(issued, kube)))
  if ((await within(all, time)) === undefined)
    kube.context.log.warn(
      `${kube.side}: logging out of ${kube.url.host} took more than ${time / 1000} s and was given up; the token of this run lives on: ${tokens.map(describeEnd).join('; ')}`,
    )
}

/**
 * Name of the API object of an OAuth token: knowing it is the right to delete it. Undefined for every other kind of token:
 * those have no object, and their text must not get into a URL.
 * Source: oc pkg/cli/logout/logout.go, tokenToObjectName.
 */
export function tokenObjectName(token: string): string | undefined {
  if (!token.startsWith(PREFIX)) return undefined
  return PREFIX + createHash('sha256').update(token.slice(PREFIX.length)).digest('base64url')
}

async function remove(issued: IssuedToken, kube: Kubernetes): Promise<void> {
  const { side, url, context } = kube
  const name = tokenObjectName(issued.token.reveal())
  if (name === undefined) return
  let reason: string
  try {
    const asToken = kube.as(fixedLogin('the token to delete', { kind: 'bearer', token: issued.token }))
    const body = { kind: 'DeleteOptions', apiVersion: 'oauth.openshift.io/v1' }
    const address = path`/apis/oauth.openshift.io/v1/oauthaccesstokens/${name}`
    const reply = await asToken.request('DELETE', address, { body, afterCancel: true })
    // 401 and 404 of the API itself: the token is already gone. The page of a proxy proves nothing.
    const isGone = [401, 404].includes(reply.status) && statusOf(reply) !== undefined
    if (isGone || (reply.status < 300 && !reply.html)) return
    reason = said(reply, context)
  } catch (thrown) {
    reason = asPromoteError(thrown).message
  }
  context.log.warn(
    `${side}: the token of this run could not be deleted at ${url.host} (${reason}); ${describeEnd(issued)}`,
  )
}

function describeEnd({ expires }: IssuedToken): string {
  return expires === undefined
    ? 'it lives until it is deleted, because the server named no time at which it ends'
    : `it expires at ${new Date(expires).toISOString()}`
}
