import { randomUUID } from 'node:crypto'
import type { RequestListener } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { imageEndpoints } from './api-images.ts'
import { type ApiDeps, type Call, deleted, type Endpoint, expectKind, readBody, record, timestamp } from './endpoint.ts'
import type { Answer, Handler, Incoming } from './http.ts'
import { ANONYMOUS, type User, type Verb } from './state.ts'
import { Failure, forbidden, forbiddenPath, invalid, json, noSuchPath, notFound, unauthorized } from './status.ts'
import { DEFAULT_AUDIENCE, type Token } from './users.ts'

/**
 * The API server: authentication, then authorization, then the endpoint, each refusing in the words of kube-apiserver and
 * openshift-apiserver. Endpoints of image streams are in `api-images.ts`.
 */

/** The request header that carries the verified subject of a client certificate (`CN` and `O`s, as JSON). */
const CLIENT_CERTIFICATE_HEADER = 'x-embedded-client-certificate'

const ENDPOINTS: readonly Endpoint[] = [
  ['GET', /^\/$/, root],
  ['HEAD', /^\/$/, root],
  [
    'GET',
    /^\/version\/?$/,
    () => json(200, { major: '1', minor: '31', gitVersion: 'v1.31.6', platform: 'linux/amd64' }),
  ],
  ['GET', /^\/\.well-known\/oauth-authorization-server$/, discovery],
  ['POST', /^\/apis\/authentication\.k8s\.io\/v1\/selfsubjectreviews$/, selfSubjectReview],
  ['POST', /^\/apis\/authorization\.k8s\.io\/v1\/selfsubjectaccessreviews$/, selfSubjectAccessReview],
  ['GET', /^\/apis\/user\.openshift\.io\/v1\/users\/(?:~|%7E)$/i, whoAmI],
  ['DELETE', /^\/apis\/oauth\.openshift\.io\/v1\/oauthaccesstokens\/([^/]+)$/, deleteToken],
  ['DELETE', /^\/apis\/oauth\.openshift\.io\/v1\/oauthauthorizetokens\/([^/]+)$/, deleteAuthorizeToken],
  ['DELETE', /^\/apis\/oauth\.openshift\.io\/v1\/useroauthaccesstokens\/([^/]+)$/, deleteOwnToken],
  ['POST', /^\/api\/v1\/namespaces\/([^/]+)\/serviceaccounts\/([^/]+)\/token$/, requestToken],
  ['GET', /^\/api\/v1\/namespaces\/([^/]+)\/resourcequotas$/, resourceQuotas],
  ['GET', /^\/api\/v1\/namespaces\/([^/]+)\/limitranges$/, limitRanges],
  ['GET', /^\/api\/v1\/namespaces\/(openshift)\/configmaps\/(motd)$/, messageOfTheDay],
  ['GET', /^\/apis\/project\.openshift\.io\/v1\/projects$/, listProjects],
  ['GET', /^\/apis\/project\.openshift\.io\/v1\/projects\/([^/]+)$/, getProject],
  ...imageEndpoints,
]

/** With an external identity provider the groups are not served (cluster-authentication-operator external_oidc.go). */
const INTEGRATED_OAUTH_ONLY = /^\/(?:\.well-known\/oauth-authorization-server|apis\/(?:user|oauth)\.openshift\.io\/)/

export function apiServer(deps: ApiDeps): Handler {
  return async (request) => {
    const answer = await respond(deps, request).catch((error: unknown) => {
      if (error instanceof Failure) return error.answer
      throw error
    })
    return { ...answer, headers: { 'Audit-Id': randomUUID(), 'Cache-Control': 'no-cache, private', ...answer.headers } }
  }
}

/** What the handshake proved reaches the API server as a header that clients cannot set. */
export function withClientCertificate(on: RequestListener): RequestListener {
  return (req, res) => {
    delete req.headers[CLIENT_CERTIFICATE_HEADER]
    const socket = req.socket as TLSSocket
    const subject = socket.authorized ? socket.getPeerCertificate().subject : undefined
    if (subject?.CN) {
      const groups = subject.O === undefined ? [] : [subject.O].flat()
      req.headers[CLIENT_CERTIFICATE_HEADER] = JSON.stringify({ name: subject.CN, groups })
    }
    on(req, res)
  }
}

async function respond(deps: ApiDeps, request: Incoming): Promise<Answer> {
  const { user, token } = authenticate(deps, request)
  if (deps.options.oidc && INTEGRATED_OAUTH_ONLY.test(request.path)) return noSuchPath()
  for (const [method, path, run] of ENDPOINTS) {
    const match = method === request.method && path.exec(request.path)
    if (!match) continue
    return run({
      ...deps,
      request,
      user,
      token,
      params: match.slice(1).map(decodeURIComponent),
      authorize(verb, resource, ns, name) {
        const asked = resource === 'users' && name === '~' ? 'users/~' : resource
        if (!deps.identities.allowed(user, verb, asked, ns, name)) throw forbidden(user, verb, resource, ns, name)
      },
      body: (types = ['application/json']) => readBody(deps, request, types),
    })
  }
  deps.recorder.refuse('api', request)
  return noSuchPath()
}

/**
 * The certificate goes before the token (kubernetes pkg/kubeapiserver/authenticator/config.go). A bearer token is good or
 * ends the request; other schemes count as anonymous.
 */
function authenticate(deps: ApiDeps, request: Incoming): { user: User; token: Token | undefined } {
  const subject = request.headers[CLIENT_CERTIFICATE_HEADER]
  if (typeof subject === 'string') {
    const { name, groups } = JSON.parse(subject) as { name: string; groups: string[] }
    return { user: { name, uid: '', groups: [...groups, 'system:authenticated'] }, token: undefined }
  }
  const bearer = /^bearer +(\S+)\s*$/i.exec(request.headers.authorization ?? '')?.[1]
  if (bearer !== undefined) {
    const token = deps.identities.token(bearer)
    if (!token) throw unauthorized()
    return { user: token.user, token }
  }
  return { user: ANONYMOUS, token: undefined }
}

function root(call: Call): Answer {
  if (!call.user.groups.includes('system:cluster-admins'))
    throw forbiddenPath(call.user, '/', call.request.method.toLowerCase())
  return json(200, { paths: ['/.well-known/oauth-authorization-server', '/api', '/apis', '/version'] })
}

/** cluster-authentication-operator pkg/controllers/metadata/metadata_controller.go getOAuthMetadata */
function discovery(call: Call): Answer {
  const issuer = call.issuer()
  return json(200, {
    issuer,
    authorization_endpoint: `${issuer}/oauth/authorize`,
    token_endpoint: `${issuer}/oauth/token`,
    scopes_supported: [
      'user:check-access',
      'user:full',
      'user:info',
      'user:list-projects',
      'user:list-scoped-projects',
    ],
    response_types_supported: ['code', 'token'],
    grant_types_supported: ['authorization_code', 'implicit'],
    code_challenge_methods_supported: ['plain', 'S256'],
  })
}

async function selfSubjectReview(call: Call): Promise<Answer> {
  call.authorize('create', 'selfsubjectreviews', '')
  expectKind(await call.body(), 'authentication.k8s.io/v1', 'SelfSubjectReview')
  const scopes = call.token?.kind === 'oauth' ? { 'scopes.authorization.openshift.io': call.token.scopes } : undefined
  const { name: username, uid, groups } = call.user
  return json(201, {
    kind: 'SelfSubjectReview',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: { creationTimestamp: timestamp(call.now()) },
    status: { userInfo: { username, ...(uid && { uid }), groups, ...(scopes && { extra: scopes }) } },
  })
}

async function selfSubjectAccessReview(call: Call): Promise<Answer> {
  call.authorize('create', 'selfsubjectaccessreviews', '')
  const body = await call.body()
  expectKind(body, 'authorization.k8s.io/v1', 'SelfSubjectAccessReview')
  const asked = record(record(body.spec).resourceAttributes)
  const text = (key: string) => (typeof asked[key] === 'string' ? asked[key] : '')
  const resource = text('subresource') ? `${text('resource')}/${text('subresource')}` : text('resource')
  if (!resource)
    throw invalid('SelfSubjectAccessReview', 'selfsubjectaccessreviews', '', 'spec.resourceAttributes: Required value')
  const allowed = call.identities.allowed(call.user, text('verb') as Verb, resource, text('namespace'), text('name'))
  return json(201, { ...body, metadata: { creationTimestamp: null }, status: { allowed } })
}

/** Names with a colon cannot be stored, so service accounts and kube:admin come as virtual users (oauth-apiserver user/etcd). */
function whoAmI(call: Call): Answer {
  call.authorize('get', 'users', '', '~')
  const { name, uid } = call.user
  const account = [...call.identities.accounts.values()].find((one) => one.user.name === name)
  const stored = account !== undefined && !name.includes(':')
  return json(200, {
    kind: 'User',
    apiVersion: 'user.openshift.io/v1',
    metadata: {
      name,
      ...(uid && { uid }),
      ...(stored
        ? { resourceVersion: '1001', creationTimestamp: '2026-01-01T00:00:00Z' }
        : { creationTimestamp: null }),
    },
    ...(stored && account.fullName && { fullName: account.fullName }),
    identities: stored ? account.identities : null,
    groups: [...call.user.groups].sort(),
  })
}

function deleteToken(call: Call): Answer {
  const [name = ''] = call.params
  call.authorize('delete', 'oauthaccesstokens', '', name)
  if (!call.identities.revokeObject(name)) throw notFound('oauthaccesstokens', name)
  return deleted('oauth.openshift.io', 'oauthaccesstokens', name)
}

function deleteAuthorizeToken(call: Call): Answer {
  const [name = ''] = call.params
  call.authorize('delete', 'oauthauthorizetokens', '', name)
  if (!call.identities.authorizeTokens.delete(name)) throw notFound('oauthauthorizetokens', name)
  return deleted('oauth.openshift.io', 'oauthauthorizetokens', name)
}

function deleteOwnToken(call: Call): Answer {
  const [name = ''] = call.params
  call.authorize('delete', 'useroauthaccesstokens', '', name)
  const token = [...call.identities.tokens.values()].find((one) => one.objectName === name)
  if (token?.user.name !== call.user.name) throw notFound('useroauthaccesstokens', name)
  call.identities.revokeObject(name)
  return deleted('oauth.openshift.io', 'useroauthaccesstokens', name)
}

async function requestToken(call: Call): Promise<Answer> {
  const [ns = '', name = ''] = call.params
  call.authorize('create', 'serviceaccounts/token', ns, name)
  const body = await call.body()
  expectKind(body, 'authentication.k8s.io/v1', 'TokenRequest')
  const spec = record(body.spec)
  const seconds = spec.expirationSeconds ?? 3600
  if (typeof seconds !== 'number' || seconds < 600) {
    const why = `spec.expirationSeconds: Invalid value: ${seconds}: may not specify a duration less than 10 minutes`
    throw invalid('TokenRequest', 'serviceaccounts', name, why)
  }
  if (!call.streams.projects.get(ns)?.serviceAccounts.has(name)) throw notFound('serviceaccounts', name)
  const asked = Array.isArray(spec.audiences) ? spec.audiences.map(String) : []
  const audiences = asked.length > 0 ? asked : [DEFAULT_AUDIENCE]
  const token = call.identities.mintServiceAccount(ns, name, seconds, audiences)
  return json(201, {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: { name, namespace: ns, creationTimestamp: timestamp(call.now()) },
    spec: { audiences, expirationSeconds: seconds, boundObjectRef: null },
    status: { token, expirationTimestamp: timestamp(call.now() + seconds * 1000) },
  })
}

function resourceQuotas(call: Call): Answer {
  const [ns = ''] = call.params
  call.authorize('list', 'resourcequotas', ns)
  const used = { 'openshift.io/imagestreams': String(call.streams.list(ns).length) }
  return list(call, 'v1', 'ResourceQuotaList', [...(call.streams.projects.get(ns)?.quotas ?? [])], (name, hard) => ({
    metadata: { name, namespace: ns },
    spec: { hard },
    status: { hard, used },
  }))
}

function limitRanges(call: Call): Answer {
  const [ns = ''] = call.params
  call.authorize('list', 'limitranges', ns)
  const limits = [...(call.streams.projects.get(ns)?.limits ?? [])]
  return list(call, 'v1', 'LimitRangeList', limits, (name, { maxImageBytes }) => ({
    metadata: { name, namespace: ns },
    spec: { limits: [{ type: 'openshift.io/Image', max: { storage: String(maxImageBytes) } }] },
  }))
}

function list<T>(
  call: Call,
  apiVersion: string,
  kind: string,
  entries: readonly (readonly [string, T])[],
  item: (name: string, value: T) => object,
): Answer {
  const metadata = { resourceVersion: String(call.streams.nextVersion()) }
  return json(200, { kind, apiVersion, metadata, items: entries.map(([name, value]) => item(name, value)) })
}

/** `oc login` asks for it and does not mind. */
function messageOfTheDay(call: Call): Answer {
  const [ns = '', name = ''] = call.params
  call.authorize('get', 'configmaps', ns, name)
  throw notFound('configmaps', name)
}

function listProjects(call: Call): Answer {
  if (call.user === ANONYMOUS) throw forbidden(call.user, 'list', 'projects', '')
  const mine = [...call.streams.projects].filter(([name]) =>
    call.identities.allowed(call.user, 'get', 'projects', name, name),
  )
  return list(call, 'project.openshift.io/v1', 'ProjectList', mine, (name) => project(call, name))
}

/** A user who may not see a project cannot tell a forbidden one from a missing one. */
function getProject(call: Call): Answer {
  const [name = ''] = call.params
  call.authorize('get', 'projects', name, name)
  if (!call.streams.projects.has(name)) throw notFound('projects', name)
  return json(200, { kind: 'Project', apiVersion: 'project.openshift.io/v1', ...project(call, name) })
}

function project(call: Call, name: string): object {
  const { uid = '', created = '', terminating } = call.streams.projects.get(name) ?? {}
  return {
    metadata: {
      name,
      uid,
      resourceVersion: '1000',
      creationTimestamp: created,
      labels: { 'kubernetes.io/metadata.name': name },
    },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: terminating ? 'Terminating' : 'Active' },
  }
}
