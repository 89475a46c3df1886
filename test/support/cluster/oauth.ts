import { createHash, randomUUID } from 'node:crypto'
import type { RequestListener } from 'node:http'
import type { Answer, Handler, Incoming } from './http.ts'
import { type Client, clientOf, redirectOf } from './oauth-clients.ts'
import type { Recorder } from './recorder.ts'
import { ANONYMOUS, type User } from './state.ts'
import { forbiddenPath } from './status.ts'
import { type Identities, oauthToken, tokenObjectName } from './users.ts'

/** The OAuth server (openshift/oauth-server on openshift/osin), answer by answer as observed on the real one. */

/** Which identity providers the cluster has, or what is wrong with them. */
export type Identity =
  | 'htpasswd'
  /** OpenID without password grant: a login by password is impossible. */
  | 'sso'
  /** The same with the kubeadmin secret still there: a Basic challenge that only kubeadmin can answer. */
  | 'sso-kubeadmin'
  | 'ldap-down'
  | 'ldap-down-htpasswd'
  /** A RequestHeader provider: every request is redirected to its proxy on another host. */
  | 'request-header'
  /** The user exists already with another identity. */
  | 'claim-conflict'
  /** Mapping method `lookup` without a user made in advance. */
  | 'lookup'
  /** 429 to every request. */
  | 'busy'

/** Live: tests change it while the server runs. */
export interface OauthOptions {
  identity: Identity
  /** Seconds. */
  tokenLifetime: number
  /** How many more requests a `busy` server refuses. */
  busyRequests: number
  /** Where `request-header` redirects to: scheme, host, port and path. */
  proxy: string
}

export interface OauthDeps {
  readonly identities: Identities
  readonly recorder: Recorder
  readonly options: OauthOptions
  /** Origin of this server. */
  readonly issuer: () => string
  readonly now: () => number
}

const NEVER_CACHED = 'no-cache, no-store, max-age=0, must-revalidate'
/** On every response (pkg/server/headers/headers.go). */
const HEADERS: Readonly<Record<string, string>> = {
  'Cache-Control': NEVER_CACHED,
  Pragma: 'no-cache',
  Expires: '0',
  'Referrer-Policy': 'strict-origin-when-cross-origin',
  'X-Frame-Options': 'DENY',
  'X-Content-Type-Options': 'nosniff',
  'X-DNS-Prefetch-Control': 'off',
  'X-XSS-Protection': '1; mode=block',
}

/** osin adds its own to what it answers itself: 400, the redirects back to the client, tokens (osin response.go). */
const OSIN_HEADERS: NonNullable<Answer['headers']> = {
  'Cache-Control': [NEVER_CACHED, NEVER_CACHED],
  Pragma: ['no-cache', 'no-cache'],
  Expires: ['0', 'Fri, 01 Jan 1990 00:00:00 GMT'],
}

/** cluster-authentication-operator observe_tokenconfig.go */
const CODE_LIFETIME_MS = 300 * 1000
const MAX_FORM = 64 * 1024
/** RFC 7636 section 4.1; osin applies it to verifier and challenge. */
const PKCE = /^[a-zA-Z0-9~._-]{43,128}$/
const SCOPE = /^(?:user:(?:full|info|check-access|list-projects|list-scoped-projects)|role:[^:]+:.+)$/

/** osin error.go */
const DESCRIPTIONS = {
  invalid_request:
    'The request is missing a required parameter, includes an invalid parameter value, includes a parameter more than once, or is otherwise malformed.',
  unauthorized_client: 'The client is not authorized to request a token using this method.',
  access_denied: 'The resource owner or authorization server denied the request.',
  unsupported_response_type: 'The authorization server does not support obtaining a token using this method.',
  unsupported_grant_type: 'The authorization grant type is not supported by the authorization server.',
  invalid_grant:
    'The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client.',
} as const
type OauthError = keyof typeof DESCRIPTIONS

export function oauthServer(deps: OauthDeps): Handler {
  return async (request) => {
    const { options } = deps
    if (options.identity === 'busy' && options.busyRequests-- > 0) return busy()
    const form = await parameters(request)
    const { method, path } = request
    if (path === '/oauth/authorize') return authorize(deps, request, form)
    if (path === '/oauth/token') return osin(token(deps, request, form))
    if (path === '/oauth/token/implicit') return text(200, IMPLICIT_PAGE)
    if (path === '/healthz') return text(200, 'ok')
    // `/` is the TLS probe of `oc login`, which takes any answer.
    if (path !== '/') deps.recorder.refuse('oauth', request)
    return forbiddenPath(ANONYMOUS, path, method.toLowerCase()).answer
  }
}

/** Around the server, because some lines come twice. */
export function withOauthHeaders(on: RequestListener): RequestListener {
  return (req, res) => {
    for (const [name, value] of Object.entries(HEADERS)) res.setHeader(name, value)
    res.setHeader('Audit-Id', randomUUID())
    on(req, res)
  }
}

const IMPLICIT_PAGE = `You have reached this page by following a redirect Location header from an OAuth authorize request.

If a response_type=token parameter was passed to the /authorize endpoint, that requested an
"Implicit Grant" OAuth flow (see https://tools.ietf.org/html/rfc6749#section-4.2).

That flow requires the access token to be returned in the fragment portion of a redirect header.
Rather than following the redirect here, you can obtain the access token from the Location header.
`

/** k8s.io/apiserver pkg/server/filters/maxinflight.go tooManyRequests */
function busy(): Answer {
  const { headers, ...answer } = text(429, 'Too many requests, please try again later.\n')
  return { ...answer, headers: { ...headers, 'Retry-After': '1' } }
}

function authorize(deps: OauthDeps, request: Incoming, form: URLSearchParams): Answer {
  const client = clientOf(deps.issuer(), form.get('client_id'))
  if (!client) return osin(failure('unauthorized_client'))
  const redirect = redirectOf(client, form.get('redirect_uri'))
  if (redirect === undefined) return osin(failure('invalid_request'))
  const state = form.get('state') ?? ''
  const back = (values: Record<string, string>, more?: Record<string, string>) =>
    osin(found(`${redirect}?${encode({ ...values, ...(state && { state }) })}`, more))
  const type = form.get('response_type') ?? ''
  if (type !== 'code' && type !== 'token') return back(described('unsupported_response_type'))
  const challenge = (type === 'code' && form.get('code_challenge')) || ''
  const method = form.get('code_challenge_method') || 'plain'
  const unfit = challenge && pkceFault(challenge, method)
  if (unfit) return back({ error: 'invalid_request', error_description: unfit })

  const user = authenticate(deps, request, client)
  if ('status' in user) return user
  const cookie = { 'Set-Cookie': `ssn=${oauthToken().slice(7)}; Path=/; HttpOnly; Secure` }
  const scopes = (form.get('scope') || 'user:full').split(' ')
  const bad = scopes.findIndex((scope) => !SCOPE.test(scope))
  if (bad >= 0) {
    const why = `[${bad}]: Invalid value: "${scopes[bad]}": no scope handler found`
    return back({ error: 'invalid_scope', error_description: why }, cookie)
  }
  if (scopes.join() !== 'user:full') deps.recorder.refuse('oauth', request, 'the emulator grants user:full only')

  if (type === 'code') {
    const code = oauthToken()
    const grant = { client: client.id, redirect, user, challenge, method, expires: deps.now() + CODE_LIFETIME_MS }
    deps.identities.authorizeTokens.set(tokenObjectName(code), grant)
    return osin(found(`${redirect}?${encode({ code })}&state=${queryEscape(state)}`, cookie))
  }
  return osin(found(`${redirect}#${encode({ ...issue(deps, user), ...(state && { state }) })}`, cookie))
}

/** osin authorize.go, in its order: what is wrong with a challenge. */
function pkceFault(challenge: string, method: string): string | undefined {
  if (method !== 'plain' && method !== 'S256')
    return 'code_challenge_method transform algorithm not supported (rfc7636)'
  return PKCE.test(challenge) ? undefined : 'code_challenge invalid (rfc7636)'
}

function issue(deps: OauthDeps, user: User): Record<string, string | number> {
  const { tokenLifetime } = deps.options
  const access_token = deps.identities.mintOauth(user, tokenLifetime)
  return { access_token, expires_in: tokenLifetime, scope: 'user:full', token_type: 'Bearer' }
}

/** pkg/oauthserver/auth.go, pkg/oauth/handlers/default_auth_handler.go: who it is, or how to prove it. */
function authenticate(deps: OauthDeps, request: Incoming, client: Client): User | Answer {
  const credentials = basic(request.headers.authorization)
  if (typeof credentials === 'string') return text(500, `Error: ${credentials}`)
  const result = credentials && credentials.password !== '' ? check(deps, credentials) : undefined
  if (typeof result === 'string') return text(500, `Error: ${result}`)
  if (result) return result
  if (!client.challenges) {
    return found(`/login?then=${queryEscape(`/oauth/authorize?${queryOf(request)}`)}`)
  }
  const { identity, proxy } = deps.options
  if (identity === 'request-header') return found(`${proxy}?${queryOf(request)}`)
  if (identity === 'sso') {
    const page = `${deps.issuer()}/oauth/token/request`
    return warning(`You must obtain an API token by visiting ${page}`, { Link: `<${page}>; rel="related"` })
  }
  if (!request.headers['x-csrf-token']) {
    return warning('A non-empty X-CSRF-Token header is required to receive basic-auth challenges')
  }
  return { status: 401, headers: { 'WWW-Authenticate': 'Basic realm="openshift"' } }
}

/** The user, nothing (a clean no), or the text of an error. */
function check(deps: OauthDeps, { login, password }: { login: string; password: string }): User | string | undefined {
  const account = deps.identities.accounts.get(login)
  const user = account?.password === password ? account.user : undefined
  const { identity } = deps.options
  const ldapDown = 'LDAP Result Code 200 "Network Error": dial tcp 127.0.0.1:389: connect: connection refused'
  switch (identity) {
    case 'htpasswd':
    case 'busy':
      return user
    case 'sso':
    case 'request-header':
      return undefined
    case 'sso-kubeadmin':
      return login === 'kubeadmin' ? user : undefined
    case 'ldap-down':
      return ldapDown
    case 'ldap-down-htpasswd':
      // The union asks all providers; an error of one wins over a refusal by the others.
      return user ?? ldapDown
    case 'claim-conflict':
      return (
        user &&
        `user "${login}" cannot be claimed by identity "ldap:${login}" because it is already mapped to [htpasswd:${login}]`
      )
    case 'lookup':
      return user && `lookup of user for "${login}" failed: user.user.openshift.io "${login}" not found`
  }
}

/** osin access.go: client, grant type, code, redirect URI, verifier, in this order. */
function token(deps: OauthDeps, request: Incoming, form: URLSearchParams): Answer {
  if (request.method !== 'GET' && request.method !== 'POST') return failure('invalid_request')
  const type = form.get('grant_type') ?? ''
  if (type !== 'authorization_code' && type !== 'password') return failure('unsupported_grant_type')
  const auth = clientAuth(request, form)
  if (!auth) return failure('invalid_request')
  const client = clientOf(deps.issuer(), auth.login)
  if (client?.secret !== auth.password) return failure('unauthorized_client')
  // Resource owner password grants are denied by design (NewDenyAccessAuthenticator).
  if (type === 'password') return failure('access_denied')
  const code = form.get('code') ?? ''
  const { authorizeTokens } = deps.identities
  const grant = authorizeTokens.get(tokenObjectName(code))
  if (!code) return failure('invalid_grant')
  if (!grant) return failure('unauthorized_client')
  if (grant.expires <= deps.now() || grant.client !== client.id) return failure('invalid_grant')
  if (redirectOf(client, form.get('redirect_uri')) !== grant.redirect) return failure('invalid_request')
  if (grant.challenge) {
    const verifier = form.get('code_verifier') ?? ''
    if (!PKCE.test(verifier)) return failure('invalid_request')
    if (transform(verifier, grant.method) !== grant.challenge) return failure('invalid_grant')
  }
  // The server deletes the OAuthAuthorizeToken before it answers.
  authorizeTokens.delete(tokenObjectName(code))
  return json(200, issue(deps, grant.user))
}

function transform(verifier: string, method: string): string {
  return method === 'S256' ? createHash('sha256').update(verifier).digest('base64url') : verifier
}

/** Client and secret in the form win over the header (AllowClientSecretInParams). */
function clientAuth(request: Incoming, form: URLSearchParams): { login: string; password: string } | undefined {
  const login = form.get('client_id')
  if (login && form.has('client_secret')) return { login, password: form.get('client_secret') ?? '' }
  const credentials = basic(request.headers.authorization)
  return typeof credentials === 'string' ? undefined : credentials
}

/** @returns the text of an error when it cannot be read (basicauthrequest/basicauth.go). */
function basic(header: string | undefined): { login: string; password: string } | string | undefined {
  const encoded = /^basic\s+(.*)$/i.exec(header ?? '')?.[1]
  if (encoded === undefined) return undefined
  if (encoded.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(encoded))
    return 'no valid base64 data in basic auth scheme found'
  const decoded = Buffer.from(encoded, 'base64').toString('utf8')
  const colon = decoded.indexOf(':')
  return colon < 0
    ? 'invalid Authorization header'
    : { login: decoded.slice(0, colon), password: decoded.slice(colon + 1) }
}

/** Query and form together, as Go's `Request.Form`: what the body says comes first. */
async function parameters(request: Incoming): Promise<URLSearchParams> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body) {
    size += chunk.length
    if (size <= MAX_FORM) chunks.push(chunk)
  }
  const form = /^application\/x-www-form-urlencoded\b/i.test(request.headers['content-type'] ?? '')
  const body = form ? Buffer.concat(chunks).toString('utf8') : ''
  return new URLSearchParams([...new URLSearchParams(body), ...request.query])
}

function described(error: OauthError): Record<string, string> {
  return { error, error_description: DESCRIPTIONS[error] }
}

function failure(error: OauthError): Answer {
  return json(400, described(error))
}

function osin(answer: Answer): Answer {
  return { ...answer, headers: { ...OSIN_HEADERS, ...answer.headers } }
}

function json(status: number, body: object): Answer {
  return { status, headers: { 'Content-Type': 'application/json' }, body: `${JSON.stringify(body)}\n` }
}

function text(status: number, body: string): Answer {
  return { status, headers: { 'Content-Type': 'text/plain; charset=utf-8' }, body }
}

/** 401 without a challenge; the sentence is in the header and in the body. */
function warning(sentence: string, more: Record<string, string> = {}): Answer {
  const { headers, ...answer } = text(401, `${sentence}\n`)
  return { ...answer, headers: { ...headers, Warning: `199 Origin "${sentence}"`, ...more } }
}

function found(location: string, more: Record<string, string> = {}): Answer {
  return { status: 302, headers: { Location: location, ...more } }
}

/** As it was sent. */
function queryOf(request: Incoming): string {
  return request.target.split('?').slice(1).join('?')
}

/** Go's `url.Values.Encode`: sorted by key, `~` as it is. */
function encode(values: Record<string, string | number>): string {
  const keys = Object.keys(values).sort()
  return keys.map((key) => `${queryEscape(key)}=${queryEscape(String(values[key]))}`).join('&')
}

/** Go's `url.QueryEscape`. */
function queryEscape(value: string): string {
  const hex = (char: string) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`
  return encodeURIComponent(value)
    .replace(/[!'()*]/g, hex)
    .replaceAll('%20', '+')
}
