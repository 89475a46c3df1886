import { createHash, randomBytes } from 'node:crypto'
import { z } from 'zod'
import type { Context } from '../context.ts'
import { asPromoteError, PromoteError } from '../errors.ts'
import type { Network } from '../http/send.ts'
import type { Secret } from '../secret.ts'
import { type Asked, judgeAuthorization, oauthErrorOf, oauthFailure, tokenHint } from './authorization.ts'
import {
  apiUrlHint,
  type ClusterSide,
  failure,
  kubernetes,
  OBJECT_LIMIT,
  parseUrl,
  type Reply,
  read,
  said,
} from './kubernetes.ts'
import type { IssuedToken } from './token-login.ts'

/** The client that `oc login` uses; its secret is empty and its answer a code, not a page (CAO oauthclientscontroller.go). */
const CLIENT = 'openshift-challenging-client'
const CLIENT_AUTH = `Basic ${Buffer.from(`${CLIENT}:`).toString('base64')}`
/** Without it the OAuth server sends no challenge (oauth-server pkg/authenticator/challenger/passwordchallenger). */
const MARKER = { 'x-csrf-token': '1' }
/** Each try is a login attempt: only answers that judged nothing lead to another one. */
const TRIES = 4
/** Milliseconds; a server that asks for more is better left alone. */
const LONGEST_WAIT = 60_000

/** The cluster's OAuth server, as its API describes it. */
export type OAuthServer = Readonly<{
  issuer: URL
  authorize: URL
  token: URL
  redirectUri: string
  /** S256 is offered. */
  pkce: boolean
}>

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
export async function discover(network: Network, api: URL, side: ClusterSide, context: Context): Promise<OAuthServer> {
  const url = new URL('/.well-known/oauth-authorization-server', api)
  const headers = { accept: 'application/json', ...MARKER }
  const reply = await read(network.send, { method: 'GET', url, headers, follow: false }, OBJECT_LIMIT, side)
  const kube = kubernetes(api, side, network.send, context)
  const tried = 'Asking for the OAuth server'
  if (reply.html || (reply.status >= 300 && reply.status < 400)) {
    const message = `${tried}: ${api.host} answered ${said(reply, context)}, as a web console or a proxy does.`
    throw new PromoteError('NOT_A_CLUSTER', message, { side, status: reply.status, hint: apiUrlHint(api, side) })
  }
  if ([401, 403, 404].includes(reply.status)) {
    const message = `${tried}: ${api.host} answered ${said(reply, context)}. It has no OAuth server of its own (external OIDC).`
    throw new PromoteError('LOGIN_UNSUPPORTED', message, { side, status: reply.status, hint: tokenHint(side) })
  }
  if (reply.status !== 200) throw failure(reply, tried, kube)
  return serverFrom(reply, api, side)
}

function serverFrom(reply: Reply, api: URL, side: ClusterSide): OAuthServer {
  const metadata = metadataOf(reply)
  if (metadata === undefined)
    throw new PromoteError(
      'NOT_A_CLUSTER',
      `Asking for the OAuth server: ${api.host} answered, but not as OpenShift does.`,
      {
        side,
        status: reply.status,
        hint: apiUrlHint(api, side),
      },
    )
  const issuer = endpoint(metadata.issuer, 'issuer', api, side)
  return {
    issuer,
    authorize: endpoint(metadata.authorization_endpoint, 'authorization_endpoint', api, side),
    token: endpoint(metadata.token_endpoint, 'token_endpoint', api, side),
    redirectUri: `${issuer.origin}${issuer.pathname.replace(/(?<!\/)\/+$/, '')}/oauth/token/implicit`,
    pkce: metadata.code_challenge_methods_supported?.includes('S256') ?? false,
  }
}

function metadataOf(reply: Reply): z.infer<typeof metadataSchema> | undefined {
  try {
    return metadataSchema.safeParse(JSON.parse(reply.body)).data
  } catch {
    return undefined
  }
}

function endpoint(value: string, name: string, api: URL, side: ClusterSide): URL {
  const url = parseUrl(value)
  if (url !== undefined && url.protocol === 'https:' && url.username === '' && url.password === '') return url
  throw new PromoteError(
    'PROTOCOL',
    `Asking for the OAuth server: the ${name} that ${api.host} names is not an https URL; a password is sent over https only.`,
    { side, hint: 'Have the administrator look at the OAuth configuration of this cluster.' },
  )
}

/**
 * User and password → token, in two requests. Busy servers and broken connections are tried again from the start (a
 * code is used up by one request, whether its answer arrived or not); verdicts never are, so that no account gets locked.
 */
export async function requestToken(
  network: Network,
  server: OAuthServer,
  user: PasswordLogin,
  side: ClusterSide,
  context: Context,
): Promise<IssuedToken> {
  const asked = { side, context, username: user.username, endpoint: server.authorize, redirectUri: server.redirectUri }
  for (let attempt = 1; ; attempt++) {
    try {
      const verifier = context.secrets.keep(randomBytes(96).toString('base64url'))
      const code = await authorize(network, server, user, verifier, asked)
      return await redeem(network, server, code, verifier, { ...asked, endpoint: server.token })
    } catch (thrown) {
      const error = asPromoteError(thrown, side)
      const wait = error.retryAfter ?? 500 * 2 ** attempt * (0.5 + context.random() / 2)
      if (!error.transient || attempt === TRIES || wait > LONGEST_WAIT) throw error
      context.log.debug(`${side}: login attempt ${attempt} brought no answer (${error.code}); again in ${wait} ms`)
      await context.sleep(wait)
    }
  }
}

/** The one request that carries the password. */
async function authorize(
  network: Network,
  server: OAuthServer,
  user: PasswordLogin,
  verifier: Secret,
  asked: Asked,
): Promise<Secret> {
  const url = new URL(server.authorize)
  url.searchParams.set('client_id', CLIENT)
  url.searchParams.set('response_type', 'code')
  url.searchParams.set('redirect_uri', server.redirectUri)
  if (server.pkce) {
    url.searchParams.set('code_challenge', createHash('sha256').update(verifier.reveal()).digest('base64url'))
    url.searchParams.set('code_challenge_method', 'S256')
  }
  const basic = asked.context.secrets.keepPair(user.username, user.password)
  const headers = { ...MARKER, authorization: `Basic ${basic.reveal()}` }
  const request = { method: 'GET', url, headers, follow: false, retry: false } as const
  return asked.context.secrets.keep(
    judgeAuthorization(await read(network.send, request, OBJECT_LIMIT, asked.side), asked),
  )
}

/** Seconds, 100 years: more is no lifetime, and in the end no date either. */
const LONGEST_LIFE = 100 * 365 * 86_400

const lifetimeSchema = z.union([z.number(), z.string().transform(Number)]).pipe(z.number().gt(0).lte(LONGEST_LIFE))

const tokenSchema = z.looseObject({
  // Whatever cannot stand in a header is no token.
  access_token: z.string().regex(/^[\x21-\x7e]+$/),
  token_type: z.string().regex(/^bearer$/i),
  // An absurd lifetime is no reason to throw the token away: nothing would delete it then.
  expires_in: lifetimeSchema.optional().catch(undefined),
})

async function redeem(
  network: Network,
  server: OAuthServer,
  code: Secret,
  verifier: Secret,
  asked: Asked,
): Promise<IssuedToken> {
  const form = new URLSearchParams({
    grant_type: 'authorization_code',
    code: code.reveal(),
    redirect_uri: server.redirectUri,
  })
  if (server.pkce) form.set('code_verifier', verifier.reveal())
  const headers = {
    accept: 'application/json',
    authorization: CLIENT_AUTH,
    'content-type': 'application/x-www-form-urlencoded',
  }
  const request = {
    method: 'POST',
    url: server.token,
    headers,
    body: form.toString(),
    follow: false,
    retry: false,
  } as const
  return judgeToken(await read(network.send, request, OBJECT_LIMIT, asked.side), asked)
}

/** The answer of `/oauth/token`. */
export function judgeToken(reply: Reply, asked: Asked): IssuedToken {
  const tried = `Exchanging the code for a token as ${asked.username}`
  if (reply.status !== 200) {
    const error = oauthFailure(reply, asked, tried)
    // A code that has expired or was used by a request whose answer was lost: a new one may do.
    const stale = ['invalid_grant', 'unauthorized_client'].includes(oauthErrorOf(reply) ?? '')
    throw stale ? new PromoteError('PROTOCOL', error.message, { ...error, transient: true }) : error
  }
  const parsed = tokenOf(reply)
  if (parsed === undefined)
    throw new PromoteError('PROTOCOL', `${tried}: ${asked.endpoint.host} answered 200 without a bearer token.`, {
      side: asked.side,
      status: 200,
    })
  const lifetime = parsed.expires_in
  return {
    token: asked.context.secrets.keep(parsed.access_token),
    expires: lifetime === undefined ? undefined : asked.context.now() + lifetime * 1000,
  }
}

function tokenOf(reply: Reply): z.infer<typeof tokenSchema> | undefined {
  try {
    return tokenSchema.safeParse(JSON.parse(reply.body)).data
  } catch {
    return undefined
  }
}
