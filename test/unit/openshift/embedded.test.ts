import { afterEach, describe, expect, test } from '@jest/globals'
import type { Code, PromoteError } from '../../../src/core/errors.ts'
import { Secret } from '../../../src/core/secret.ts'
import { fixedLogin } from '../../../src/credentials/login.ts'
import { type Network, openNetwork } from '../../../src/http/client.ts'
import { registryError } from '../../../src/http/response.ts'
import { type Cluster, type ClusterAccess, openCluster } from '../../../src/openshift/cluster.ts'
import type { Method } from '../../../src/transport/request.ts'
import { type ClusterOptions, type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import type { Identity } from '../../support/cluster/oauth.ts'
import { expectError, failureOf, type TestContext, testContext } from '../../support/openshift.ts'

/** The same room against the embedded cluster: real sockets, three ports, three certificate authorities. */

const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

type Room = { embedded: EmbeddedCluster; network: Network; context: TestContext; api: URL }

async function room(options: ClusterOptions = {}, login?: string): Promise<Room> {
  const embedded = await startCluster(options)
  closing.push(embedded.close)
  const context = testContext()
  context.time.now = Date.now()
  const pair = login === undefined ? undefined : await embedded.clientCertificate(login)
  const clientCertificate = pair && { ...pair, origin: embedded.api.origin }
  const network = openNetwork(
    {
      side: 'destination',
      ca: embedded.ca.bundle,
      insecureSkipTlsVerify: false,
      stallTimeout: 5000,
      retries: 2,
      clientCertificate,
    },
    context,
  )
  closing.push(network.close)
  return { embedded, network, context, api: embedded.api }
}

function byPassword(at: Room, username: string, password = at.embedded.users[username] ?? ''): Promise<Cluster> {
  return enter(at, { way: { kind: 'password', username, password: at.context.secrets.keep(password) } })
}

function byToken(at: Room, token: string, more: Partial<ClusterAccess> = {}): Promise<Cluster> {
  const login = fixedLogin('token of --destination-token', { kind: 'bearer', token: new Secret(token) })
  return enter(at, { way: { kind: 'token', login }, ...more })
}

function enter(
  { network, context, api }: Room,
  more: Pick<ClusterAccess, 'way'> & Partial<ClusterAccess>,
): Promise<Cluster> {
  return openCluster('destination', { api, network, inCluster: false, ...more }, context)
}

/** What the registry answers to this cluster's login, as an error that is then explained. */
async function refusal(at: Room, cluster: Cluster, method: Method, path: string, body?: string): Promise<PromoteError> {
  const send = at.network.as(at.embedded.registry, cluster.login)
  const headers: Record<string, string> =
    body === undefined ? {} : { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }
  const url = new URL(path, at.embedded.registry)
  const res = await send({ method, url, headers, body, retry: false })
  return registryError(res, { side: 'destination', what: `${method} ${url.href}` })
}

function asked({ embedded }: Room): string[] {
  return embedded.requests.map(({ server, method, path, authorization }) => {
    return `${server} ${method} ${path.split('?')[0]?.replace(/sha256~.*/, 'TOKEN')} ${authorization}`
  })
}

describe('a promotion’s requests', () => {
  test('are five at the source, and the end of the token', async () => {
    const at = await room()
    at.embedded.state.streams.create('dev', 'app')
    const cluster = await byPassword(at, 'jane')
    const [address] = await Promise.all([cluster.registryFor('dev/app'), cluster.digestOf('dev/app', 'v1')])
    expect(address).toEqual({ host: at.embedded.registryHost, plainHttp: false })
    await cluster.logout()
    expect(asked(at)).toEqual([
      'api GET /.well-known/oauth-authorization-server none',
      'oauth GET /oauth/authorize basic',
      'oauth POST /oauth/token basic',
      'api POST /apis/authentication.k8s.io/v1/selfsubjectreviews bearer',
      'api GET /apis/image.openshift.io/v1/namespaces/dev/imagestreams/app bearer',
      'api DELETE /apis/oauth.openshift.io/v1/oauthaccesstokens/TOKEN bearer',
    ])
    expect(at.embedded.state.tokens.size).toBe(0)
    expect(at.embedded.unexpected).toEqual([])
  })

  test.each([
    ['into a new stream', false, 'created'],
    ['into an existing stream', true, 'exists'],
  ] as const)('are six at the destination %s', async (_, there, outcome) => {
    const at = await room()
    if (there) at.embedded.state.streams.create('prod', 'app')
    const cluster = await byPassword(at, 'jane')
    expect(await cluster.ensureStream('prod/app')).toBe(outcome)
    expect((await cluster.evidence('prod/app')).named).toEqual(new Set())
    expect((await cluster.registryFor('prod/app')).host).toBe(at.embedded.registryHost)
    expect(await cluster.follows('prod/app', 'v1')).toBeUndefined()
    expect(at.embedded.requests).toHaveLength(6)
    expect(at.embedded.state.streams.get('prod', 'app')).toBeDefined()
    expect(at.embedded.unexpected).toEqual([])
  })
})

describe('a password at each kind of identity provider', () => {
  const rows: [Identity, string, string | undefined, Code | 'in'][] = [
    ['htpasswd', 'jane', undefined, 'in'],
    ['htpasswd', 'jane', 'wrong', 'LOGIN_REJECTED'],
    ['htpasswd', 'stranger', 'wrong', 'LOGIN_REJECTED'],
    ['htpasswd', 'kubeadmin', undefined, 'in'],
    ['sso', 'jane', undefined, 'LOGIN_UNSUPPORTED'],
    ['sso-kubeadmin', 'jane', undefined, 'LOGIN_REJECTED'],
    ['sso-kubeadmin', 'kubeadmin', undefined, 'in'],
    ['ldap-down', 'jane', undefined, 'IDENTITY_PROVIDER'],
    ['ldap-down-htpasswd', 'jane', undefined, 'in'],
    ['ldap-down-htpasswd', 'jane', 'wrong', 'IDENTITY_PROVIDER'],
    ['request-header', 'jane', undefined, 'LOGIN_UNSUPPORTED'],
    ['claim-conflict', 'jane', undefined, 'IDENTITY_PROVIDER'],
    ['lookup', 'jane', undefined, 'IDENTITY_PROVIDER'],
    ['busy', 'jane', undefined, 'RATE_LIMITED'],
  ]
  test.each(rows)('%s: %s with %s', async (identity, username, password, outcome) => {
    const at = await room({ identity })
    const result = byPassword(at, username, password)
    if (outcome === 'in') expect((await result).user).toBe(username === 'kubeadmin' ? 'kube:admin' : username)
    else expectError(await failureOf(result), outcome, 'destination')
    const basic = at.embedded.requests.filter(({ authorization }) => authorization === 'basic')
    expect(basic.every(({ server, path }) => server === 'oauth' && /^\/oauth\/(?:authorize|token)\b/.test(path))).toBe(
      true,
    )
    expect(at.embedded.requests.filter(({ server }) => server === 'sso')).toEqual([])
    expect(at.embedded.unexpected).toEqual([])
  })

  test('at a busy server that recovers gets in', async () => {
    const at = await room({ identity: 'busy' })
    at.embedded.options.oauth.busyRequests = 2
    expect((await byPassword(at, 'jane')).user).toBe('jane')
    expect(new Set(at.context.slept)).toEqual(new Set([1000]))
    expect(at.embedded.requests.filter(({ path }) => path.startsWith('/oauth/authorize'))).toHaveLength(3)
  })

  test('at a cluster with external OIDC is LOGIN_UNSUPPORTED, and its token works', async () => {
    const at = await room({ oidc: true })
    expectError(await failureOf(byPassword(at, 'jane')), 'LOGIN_UNSUPPORTED', 'destination')
    expect(asked(at)).toEqual(['api GET /.well-known/oauth-authorization-server none'])
    expect((await byToken(at, at.embedded.token('jane'))).user).toBe('jane')
  })

  test('at an OAuth server with an expired certificate is TLS, without the password', async () => {
    const at = await room({ certificates: { oauth: 'expired' } })
    expectError(await failureOf(byPassword(at, 'jane')), 'TLS', 'destination')
    expect(asked(at)).toEqual(['api GET /.well-known/oauth-authorization-server none'])
  })
})

describe('tokens', () => {
  test('that were revoked are TOKEN_REJECTED', async () => {
    const at = await room()
    const token = at.embedded.token('jane')
    at.embedded.revoke(token)
    expectError(await failureOf(byToken(at, token)), 'TOKEN_REJECTED', 'destination')
  })

  test('that were given stay alive after the logout', async () => {
    const at = await room()
    const token = at.embedded.token('jane')
    await (await byToken(at, token)).logout()
    expect(at.embedded.state.tokens.has(token)).toBe(true)
  })

  test('are deleted also when the run was cancelled', async () => {
    const at = await room()
    const cluster = await byPassword(at, 'jane')
    at.context.cancel()
    expectError(await failureOf(cluster.stream('dev/app')), 'CANCELLED', 'destination')
    await cluster.logout()
    expect(at.embedded.state.tokens.size).toBe(0)
  })

  test('that die during the run are replaced by a new login, and none is left at the end', async () => {
    const at = await room()
    const cluster = await byPassword(at, 'jane')
    at.embedded.advance(90_000)
    expect(await cluster.ensureStream('prod/app')).toBe('created')
    expect(at.embedded.requests.filter(({ path }) => path === '/oauth/token')).toHaveLength(2)
    await cluster.logout()
    const live = [...at.embedded.state.tokens.values()].filter(({ expires }) => expires > Date.now() + 90_000_000)
    expect(live).toEqual([])
  })

  test('of a service account open the registry for whoever may request them', async () => {
    const at = await room()
    at.embedded.state.streams.create('prod', 'app')
    const user = at.embedded.serviceAccountToken('ci', 'pipeline')
    const cluster = await byToken(at, user, { serviceAccount: { namespace: 'ci', name: 'pipeline' } })
    expect(cluster.user).toBe('system:serviceaccount:ci:pipeline')
    const denied = byToken(at, at.embedded.token('viewer'), { serviceAccount: { namespace: 'prod', name: 'pusher' } })
    expectError(await failureOf(denied), 'DENIED', 'destination')
    const missing = byToken(at, at.embedded.token('jane'), { serviceAccount: { namespace: 'prod', name: 'nobody' } })
    expectError(await failureOf(missing), 'CREDENTIAL_MISSING', 'destination')
  })

  test('of a service account are what a client certificate gets for the registry', async () => {
    const at = await room({}, 'jane')
    const cluster = await enter(at, {
      way: { kind: 'certificate' },
      serviceAccount: { namespace: 'prod', name: 'pusher' },
    })
    expect(cluster.user).toBe('jane')
    const error = await refusal(at, cluster, 'GET', '/v2/dev/app/manifests/v1')
    const explained = await cluster.explain(error, { repository: 'dev/app', access: 'pull' })
    expect(explained.hint).toContain('system:image-puller system:serviceaccount:prod:pusher -n dev')
  })

  test('without a known client certificate are TOKEN_REJECTED', async () => {
    const at = await room()
    const way = { kind: 'certificate' } as const
    const result = enter(at, { way, serviceAccount: { namespace: 'prod', name: 'pusher' } })
    expectError(await failureOf(result), 'TOKEN_REJECTED', 'destination')
  })
})

describe('the registry', () => {
  test.each([
    ['jane', 'dev/missing'],
    ['puller', 'dev/app'],
    ['nobody', 'prod/app'],
  ])('is found for %s through %s', async (login, repository) => {
    const at = await room()
    const cluster = await byToken(at, at.embedded.token(login))
    expect((await cluster.registryFor(repository)).host).toBe(at.embedded.registryHost)
    expect(await cluster.ownsRegistry(at.embedded.registryHost, repository)).toBe(true)
    expect(at.embedded.unexpected).toEqual([])
  })

  test('without a route is NOT_EXPOSED outside and the service inside', async () => {
    const at = await room({ registryExposed: false })
    const token = at.embedded.token('jane')
    expectError(await failureOf((await byToken(at, token)).registryFor('dev/app')), 'NOT_EXPOSED', 'destination')
    const inside = await byToken(at, token, { inCluster: true })
    expect((await inside.registryFor('dev/app')).host).toBe('image-registry.openshift-image-registry.svc:5000')
  })
})

describe('the image stream', () => {
  test.each<[string, string, Code | 'unknown' | 'created']>([
    ['builder', 'prod/app', 'created'],
    ['pusher', 'prod/app', 'STREAM_MISSING'],
    ['viewer', 'prod/app', 'STREAM_MISSING'],
    ['nobody', 'prod/app', 'unknown'],
    ['admin', 'nowhere/app', 'PROJECT_MISSING'],
  ])('as %s in %s: %s', async (login, repository, outcome) => {
    const at = await room()
    const cluster = await byToken(at, at.embedded.token(login))
    if (outcome === 'unknown' || outcome === 'created') expect(await cluster.ensureStream(repository)).toBe(outcome)
    else expectError(await failureOf(cluster.ensureStream(repository)), outcome, 'destination')
    expect(at.embedded.unexpected).toEqual([])
  })

  test('beyond the quota is QUOTA', async () => {
    const at = await room()
    at.embedded.state.projects.get('prod')?.quotas.set('streams', { 'openshift.io/imagestreams': '0' })
    const cluster = await byToken(at, at.embedded.token('jane'))
    expectError(await failureOf(cluster.ensureStream('prod/app')), 'QUOTA', 'destination')
  })
})

describe('a refusal by the registry', () => {
  const uploads = (repository: string) => `/v2/${repository}/blobs/uploads/`

  test.each<[string, string, 'pull' | 'push', Code, string]>([
    ['nobody', 'dev/app', 'pull', 'PROJECT_MISSING', 'system:image-puller nobody -n dev'],
    ['puller', 'dev/app', 'push', 'DENIED', 'system:image-pusher puller -n dev'],
    ['viewer', 'prod/app', 'push', 'DENIED', 'system:image-pusher viewer -n prod'],
    ['jane', 'nowhere/app', 'push', 'PROJECT_MISSING', 'nowhere'],
    ['admin', 'nowhere/app', 'push', 'PROJECT_MISSING', 'oc new-project nowhere'],
  ])('of %s in %s to %s is explained', async (login, repository, access, code, hint) => {
    const at = await room()
    for (const ns of ['dev', 'prod']) at.embedded.state.streams.create(ns, 'app')
    const cluster = await byToken(at, at.embedded.token(login))
    const error =
      access === 'pull'
        ? await refusal(at, cluster, 'GET', `/v2/${repository}/manifests/v1`)
        : await refusal(at, cluster, 'POST', uploads(repository))
    // The registry lets a cluster administrator in: there it is the tag that fails.
    if (error.status !== 401) await upload(at, cluster, uploads(repository), '{}')
    const tag = `/v2/${repository}/manifests/v1`
    const refused = error.status === 401 ? error : await refusal(at, cluster, 'PUT', tag, MANIFEST)
    const explained = await cluster.explain(refused, { repository, access })
    expectError(explained, code, 'destination')
    expect(explained.hint).toContain(hint)
    expect(at.embedded.unexpected).toEqual([])
  })

  test('with a token that was revoked meanwhile is TOKEN_REJECTED', async () => {
    const at = await room()
    const token = at.embedded.token('jane')
    const cluster = await byToken(at, token)
    at.embedded.revoke(token)
    const error = await refusal(at, cluster, 'GET', '/v2/dev/app/manifests/v1')
    expectError(
      await cluster.explain(error, { repository: 'dev/app', access: 'pull' }),
      'TOKEN_REJECTED',
      'destination',
    )
  })

  test('does not make a login by password log in again when the right is missing', async () => {
    const at = await room()
    const cluster = await byPassword(at, 'viewer')
    const error = await refusal(at, cluster, 'POST', uploads('prod/app'))
    expect(error.status).toBe(401)
    expect(at.embedded.requests.filter(({ path }) => path === '/oauth/token')).toHaveLength(1)
  })

  test.each<[string, string, (at: Room) => void, Code]>([
    ['pusher', 'no stream', () => undefined, 'STREAM_MISSING'],
    [
      'jane',
      'a quota',
      ({ embedded }) => void embedded.state.projects.get('prod')?.quotas.set('q', { 'openshift.io/imagestreams': '0' }),
      'QUOTA',
    ],
    [
      'jane',
      'a limit range',
      ({ embedded }) => void embedded.state.projects.get('prod')?.limits.set('sizes', { maxImageBytes: 0 }),
      'QUOTA',
    ],
  ])('of %s’s tag with %s is explained', async (login, _, prepare, code) => {
    const at = await room()
    prepare(at)
    const cluster = await byToken(at, at.embedded.token(login))
    const config = '{}'
    const put = `/v2/prod/app/blobs/uploads/`
    await upload(at, cluster, put, config)
    const error = await refusal(at, cluster, 'PUT', '/v2/prod/app/manifests/v1', MANIFEST)
    expect(error.status).toBe(403)
    expectError(
      await cluster.explain(error, { repository: 'prod/app', access: 'push', tag: 'v1' }),
      code,
      'destination',
    )
    expect(at.embedded.unexpected).toEqual([])
  })
})

const CONFIG = 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'
const MANIFEST = JSON.stringify({
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  config: { mediaType: 'application/vnd.oci.empty.v1+json', digest: CONFIG, size: 2 },
  layers: [{ mediaType: 'application/vnd.oci.empty.v1+json', digest: CONFIG, size: 2 }],
})

async function upload({ network, embedded }: Room, cluster: Cluster, path: string, content: string): Promise<void> {
  const send = network.as(embedded.registry, cluster.login)
  const opened = await send({ method: 'POST', url: new URL(path, embedded.registry), body: '' })
  for await (const _ of opened.body);
  const url = new URL(String(opened.headers.location), embedded.registry)
  url.searchParams.set('digest', CONFIG)
  const headers = { 'content-type': 'application/octet-stream' }
  const done = await send({ method: 'PUT', url, headers, body: content })
  for await (const _ of done.body);
  expect(done.status).toBe(201)
}
