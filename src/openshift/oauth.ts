import { createHash, randomBytes } from 'node:crypto'
import { z } from 'zod'
import { asPromoteError, type Code, PromoteError } from '../core/errors.ts'
import { backoff, LONGEST_RETRY_AFTER } from '../core/retries.ts'
import type { Secret } from '../core/secret.ts'
import type { Request } from '../transport/request.ts'
import { apiUrlHint, failure, type Kubernetes, OBJECT_LIMIT, parsed, parseUrl, type Reply, read, said } from './api.ts'
import type { IssuedToken } from './issued-tokens.ts'
import { type Asked, judgeAuthorization, oauthErrorOf, oauthFailure, tokenHint } from './oauth-answers.ts'

/** The client that `oc login` uses; its secret is empty and its answer a code, not a page (CAO oauthclientscontroller.go). */
const CLIENT = 'openshift-challenging-client'
const CLIENT_AUTH = `Basic ${Buffer.from(`${CLIENT}:`).toString('base64')}`
/** Without it the OAuth server sends no challenge (oauth-server pkg/authenticator/challenger/passwordchallenger). */
const MARKER = { 'x-csrf-token': '1' }
/** Each try is a login attempt: only answers that judged nothing lead to another one. */
const TRIES = 4
/** What was tried, for messages. */
const DISCOVERY = 'Asking for the OAuth server'

/** The cluster's OAuth server, as its API describes it. */
type OAuthServer = ReturnType<typeof serverFrom>

export type PasswordLogin = Readonly<{ username: string; password: Secret }>

const metadataSchema = z.looseObject({
  issuer: z.string(),
  authorization_endpoint: z.string(),
  token_endpoint: z.string(),
  code_challenge_methods_supported: z.array(z.string()).nullish(),
})

/**
 * Reads `/.well-known/oauth-authorization-server`, without credentials (a bad one would turn the public page into a 401)
 * and without following redirects: the answer decides where the password goes.
 * Fails with LOGIN_UNSUPPORTED, NOT_A_CLUSTER, PROTOCOL, or as the network does.
 */
export async function findOAuthServer(kube: Kubernetes): Promise<OAuthServer> {
  const { url: api, side, context } = kube
  const url = new URL('/.well-known/oauth-authorization-server', api)
  const headers = { accept: 'application/json', ...MARKER }
  const reply = await read(kube.network.send, { method: 'GET', url, headers, follow: false }, OBJECT_LIMIT, side)
  const answered = `${DISCOVERY}: ${api.host} answered`
  const failed = (code: Code, message: string, hint: string) =>
    new PromoteError(code, message, { side, status: reply.status, hint })
  if (reply.html || (reply.status >= 300 && reply.status < 400)) {
    const message = `${answered} ${said(reply, context)}, as a web console or a proxy does.`
    throw failed('NOT_A_CLUSTER', message, apiUrlHint(api, side))
  }
  if ([401, 403, 404].includes(reply.status)) {
    const message = `${answered} ${said(reply, context)}. It has no OAuth server of its own (external OIDC).`
    throw failed('LOGIN_UNSUPPORTED', message, tokenHint(side))
  }
  if (reply.status !== 200) throw failure(reply, DISCOVERY, kube)
  const metadata = parsed(reply, metadataSchema)
  if (metadata !== undefined) return serverFrom(metadata, kube)
  throw failed('NOT_A_CLUSTER', `${answered}, but not as OpenShift does.`, apiUrlHint(api, side))
}

function serverFrom(metadata: z.infer<typeof metadataSchema>, kube: Kubernetes) {
  const issuer = endpoint(metadata.issuer, 'issuer', kube)
  return {
    issuer,
    authorize: endpoint(metadata.authorization_endpoint, 'authorization_endpoint', kube),
    token: endpoint(metadata.token_endpoint, 'token_endpoint', kube),
    redirectUri: `${issuer.origin}${issuer.pathname.replace(/(?<!\/)\/+$/, '')}/oauth/token/implicit`,
    pkce: metadata.code_challenge_methods_supported?.includes('S256') ?? false,
  }
}

function endpoint(value: string, name: string, { url: api, side }: Kubernetes): URL {
  const url = parseUrl(value)
  if (url !== undefined && url.protocol === 'https:' && url.username === '' && url.password === '') return url
  const message = `${DISCOVERY}: the ${name} that ${api.host} names is not an https URL; a password is sent over https only.`
  const hint = 'Have the administrator look at the OAuth configuration of this cluster.'
  throw new PromoteError('PROTOCOL', message, { side, hint })
}

/**
 * User and password → token, in two requests. Busy servers and broken connections are tried again from the start (a
 * code is used up by one request, whether its answer arrived or not); a refusal is final, because repeated failures lock accounts.
 */
export async function requestToken(kube: Kubernetes, server: OAuthServer, user: PasswordLogin): Promise<IssuedToken> {
  const { side, context } = kube
  const asked = { kube, username: user.username, endpoint: server.authorize, redirectUri: server.redirectUri }
  for (let attempt = 1; ; attempt++) {
    try {
      const verifier = context.secrets.keep(randomBytes(96).toString('base64url'))
      const code = await authorize(server, user, verifier, asked)
      return await redeem(server, code, verifier, { ...asked, endpoint: server.token })
    } catch (thrown) {
      const error = asPromoteError(thrown, side)
      const wait = error.retryAfter ?? backoff(attempt, context.random, { first: 1000 })
      if (!error.transient || attempt === TRIES || wait > LONGEST_RETRY_AFTER) throw error
      context.log.debug(`${side}: login attempt ${attempt} brought no answer (${error.code}); again in ${wait} ms`)
      await context.sleep(wait)
    }
  }
}

type Post = Pick<Request, 'method' | 'url' | 'headers' | 'body'>

/** One request to an OAuth endpoint. Its answer decides where code and token come from, so redirects are not followed. */
function ask({ network, side }: Kubernetes, request: Post): Promise<Reply> {
  return read(network.send, { ...request, follow: false, retry: false }, OBJECT_LIMIT, side)
}

/** The one request that carries the password. */
async function authorize(server: OAuthServer, user: PasswordLogin, verifier: Secret, asked: Asked): Promise<Secret> {
  const { secrets } = asked.kube.context
  const url = new URL(server.authorize)
  url.searchParams.set('client_id', CLIENT)
  url.searchParams.set('response_type', 'code')
  url.searchParams.set('redirect_uri', server.redirectUri)
  if (server.pkce) {
    url.searchParams.set('code_challenge', createHash('sha256').update(verifier.reveal()).digest('base64url'))
    url.searchParams.set('code_challenge_method', 'S256')
  }
  const basic = secrets.keepPair(user.username, user.password)
  const headers = { ...MARKER, authorization: `Basic ${basic.reveal()}` }
  return secrets.keep(judgeAuthorization(await ask(asked.kube, { method: 'GET', url, headers }), asked))
}

/** Seconds: 100 years. A larger number is ignored; it may not even be a valid date. */
const LONGEST_LIFE = 100 * 365 * 86_400

const lifetimeSchema = z.union([z.number(), z.string().transform(Number)]).pipe(z.number().gt(0).lte(LONGEST_LIFE))

const tokenSchema = z.looseObject({
  // Only characters that a header can hold.
  access_token: z.string().regex(/^[\x21-\x7e]+$/),
  token_type: z.string().regex(/^bearer$/i),
  // With an invalid lifetime the token is still used, so that the logout deletes it.
  expires_in: lifetimeSchema.optional().catch(undefined),
})

async function redeem(server: OAuthServer, code: Secret, verifier: Secret, asked: Asked): Promise<IssuedToken> {
  const grant = { grant_type: 'authorization_code', code: code.reveal(), redirect_uri: server.redirectUri }
  const form = new URLSearchParams(grant)
  if (server.pkce) form.set('code_verifier', verifier.reveal())
  const headers = {
    accept: 'application/json',
    authorization: CLIENT_AUTH,
    'content-type': 'application/x-www-form-urlencoded',
  }
  const request = { method: 'POST', url: server.token, headers, body: form.toString() } as const
  return judgeToken(await ask(asked.kube, request), asked)
}

/** The answer of `/oauth/token`. */
function judgeToken(reply: Reply, asked: Asked): IssuedToken {
  const tried = `Exchanging the code for a token as ${asked.username}`
  if (reply.status !== 200) {
    const error = oauthFailure(reply, asked, tried)
    // A code that has expired or was used by a request whose answer was lost: a new one may do.
    const stale = ['invalid_grant', 'unauthorized_client'].includes(oauthErrorOf(reply) ?? '')
    throw stale ? error.with({ code: 'PROTOCOL', transient: true }) : error
  }
  const { side, context } = asked.kube
  const token = parsed(reply, tokenSchema)
  if (token === undefined) {
    const message = `${tried}: ${asked.endpoint.host} answered 200 without a bearer token.`
    throw new PromoteError('PROTOCOL', message, { side, status: 200 })
  }
  const lifetime = token.expires_in
  return {
    token: context.secrets.keep(token.access_token),
    expires: lifetime === undefined ? undefined : context.now() + lifetime * 1000,
  }
}
