import { describe, expect, test } from '@jest/globals'
import { fixedLogin } from '../../src/credential.ts'
import { type Code, PromoteError } from '../../src/errors.ts'
import type { Cluster } from '../../src/openshift/cluster.ts'
import type { Attempt } from '../../src/openshift/explain.ts'
import { type ClusterAccess, openCluster } from '../../src/openshift/login.ts'
import { Secret } from '../../src/secret.ts'
import {
  API,
  expectError,
  failureOf,
  METADATA,
  review,
  type Script,
  type Scripted,
  type ScriptedNetwork,
  scriptedNetwork,
  status,
  type TestContext,
  TOKEN,
  testContext,
} from './support.ts'

const REVIEWS = `POST ${API}/apis/authentication.k8s.io/v1/selfsubjectreviews`
const STREAMS = `${API}/apis/image.openshift.io/v1/namespaces/dev/imagestreams`
const SHARED = `GET ${API}/apis/image.openshift.io/v1/namespaces/openshift/imagestreams`
const STREAM = `GET ${STREAMS}/app`
const LAYERS = `GET ${STREAMS}/app/layers`
const CREATE = `POST ${STREAMS}`
const LIST = `GET ${STREAMS}`
const PROJECT = `GET ${API}/apis/project.openshift.io/v1/projects/dev`
const QUOTAS = `GET ${API}/api/v1/namespaces/dev/resourcequotas`
const LIMITS = `GET ${API}/api/v1/namespaces/dev/limitranges`
const ACCESS = `POST ${API}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews`
const DISCOVERY = `GET ${API}/.well-known/oauth-authorization-server`
const ROUTE = 'default-route-openshift-image-registry.apps.ocp.example.com'
const PROBE = `GET https://${ROUTE}/v2/`
const SERVICE = 'image-registry.openshift-image-registry.svc:5000'
const DIGEST = `sha256:${'a'.repeat(64)}` as const
const OLD = `sha256:${'b'.repeat(64)}` as const

type Opened = { network: ScriptedNetwork; context: TestContext; cluster: Cluster }

async function open(script: Script, access: Partial<ClusterAccess> = {}): Promise<Opened> {
  const network = scriptedNetwork({ [REVIEWS]: review('bob'), ...script })
  const context = testContext()
  const login = fixedLogin('token of --destination-token', { kind: 'bearer', token: new Secret(TOKEN) })
  const way = { kind: 'token', login } as const
  const cluster = await openCluster(
    'destination',
    { api: new URL(API), network, way, inCluster: false, ...access },
    context,
  )
  network.seen.splice(0)
  return { network, context, cluster }
}

function stream(hosts: { public?: string; internal?: string } = { public: ROUTE, internal: SERVICE }): Scripted {
  const body = {
    kind: 'ImageStream',
    metadata: { name: 'app', namespace: 'dev' },
    spec: {
      lookupPolicy: { local: false },
      tags: [
        { name: 'tracking', from: { kind: 'ImageStreamTag', name: 'base:latest', namespace: 'shared' } },
        { name: 'scheduled', from: { kind: 'DockerImage', name: 'quay.io/x/y:1' }, importPolicy: { scheduled: true } },
        { name: 'imported', from: { kind: 'DockerImage', name: 'quay.io/x/y:1' }, importPolicy: {} },
        { name: 'pinned', from: { kind: 'ImageStreamImage', name: `app@${DIGEST}` }, importPolicy: null },
        { name: 'plain', annotations: null },
      ],
    },
    status: {
      ...(hosts.internal && { dockerImageRepository: `${hosts.internal}/dev/app` }),
      ...(hosts.public && { publicDockerImageRepository: `${hosts.public}/dev/app` }),
      tags: [
        { tag: '1.2', items: [{ image: DIGEST, generation: 2 }, { image: OLD }] },
        { tag: 'empty', items: null },
        { tag: 'odd', items: [{ image: 'not a digest' }] },
      ],
    },
  }
  return { status: 200, body }
}

const NO_STREAM = status(404, 'NotFound', 'imagestreams.image.openshift.io "app" not found', {
  name: 'app',
  kind: 'imagestreams',
})
const FORBIDDEN = status(
  403,
  'Forbidden',
  'imagestreams.image.openshift.io "app" is forbidden: User "bob" cannot get resource',
)
const NO_CREATE = status(
  403,
  'Forbidden',
  'imagestreams.image.openshift.io is forbidden: User "bob" cannot create resource',
)
const NO_PROJECT = status(404, 'NotFound', 'namespaces "dev" not found', { name: 'dev', kind: 'namespaces' })
const PROJECT_404 = status(404, 'NotFound', 'projects.project.openshift.io "dev" not found', {
  name: 'dev',
  kind: 'projects',
})
const PROJECT_403 = status(403, 'Forbidden', 'projects.project.openshift.io "dev" is forbidden')
const PROJECT_200: Scripted = { status: 200, body: { kind: 'Project', metadata: { name: 'dev' } } }
const EMPTY_LIST: Scripted = { status: 200, body: { items: [] } }

describe('an image stream', () => {
  test('is read once for address, digest and warning, however many ask side by side', async () => {
    const { network, cluster } = await open({ [STREAM]: stream() })
    const [address, digest, warning] = await Promise.all([
      cluster.registryFor('dev/app'),
      cluster.digestOf('dev/app', '1.2'),
      cluster.follows('dev/app', 'plain'),
    ])
    expect(address).toEqual({ host: ROUTE, plainHttp: false })
    expect(digest).toBe(DIGEST)
    expect(warning).toBeUndefined()
    expect(network.seen).toHaveLength(1)
  })

  test('knows no digest for tags that are absent, empty or odd', async () => {
    const { cluster } = await open({ [STREAM]: stream() })
    for (const tag of ['absent', 'empty', 'odd']) expect(await cluster.digestOf('dev/app', tag)).toBeUndefined()
  })

  test.each<[string, Scripted]>([
    ['is absent', NO_STREAM],
    ['may not be read', FORBIDDEN],
  ])('that %s is undefined, and so is its digest', async (_, answer) => {
    const { cluster } = await open({ [STREAM]: answer })
    expect(await cluster.stream('dev/app')).toBeUndefined()
    expect(await cluster.digestOf('dev/app', '1.2')).toBeUndefined()
    expect(await cluster.follows('dev/app', '1.2')).toBeUndefined()
  })

  test('that could not be read is read again by the next one who asks', async () => {
    const { cluster } = await open({ [STREAM]: [status(500, 'InternalError', 'x'), stream()] })
    expectError(await failureOf(cluster.stream('dev/app')), 'UNAVAILABLE', 'destination')
    expect(await cluster.digestOf('dev/app', '1.2')).toBe(DIGEST)
  })

  test.each<[string, Scripted, Code]>([
    ['401', status(401, 'Unauthorized', 'Unauthorized'), 'TOKEN_REJECTED'],
    ['HTML', { status: 403, headers: { 'content-type': 'text/html' }, body: '<html>' }, 'NOT_A_CLUSTER'],
    ['other JSON', { status: 200, body: { status: { tags: 'many' } } }, 'PROTOCOL'],
  ])('answered with %s fails', async (_, answer, code) => {
    const { cluster } = await open({ [STREAM]: answer })
    expectError(await failureOf(cluster.stream('dev/app')), code, 'destination')
  })

  test.each([
    ['tracking', 'shared/base:latest'],
    ['scheduled', 'schedule'],
    ['imported', 'quay.io/x/y:1'],
    ['pinned', `app@${DIGEST}`],
  ])('with the tag %s, which has an origin, is worth a warning', async (tag, words) => {
    const { cluster } = await open({ [STREAM]: stream() })
    expect(await cluster.follows('dev/app', tag)).toContain(words)
  })

  test.each(['app', 'a/b/c', '/app', 'dev/'])('cannot be named %s', async (repository) => {
    const { network, cluster } = await open({})
    expectError(await failureOf(cluster.stream(repository)), 'USAGE', 'destination')
    expect(network.seen).toEqual([])
  })

  test('has a name that stays one segment of the path', async () => {
    const { network, cluster } = await open({ [`GET ${STREAMS}/a%3Fb%23c`]: NO_STREAM })
    await cluster.stream('dev/a?b#c')
    expect(network.seen).toHaveLength(1)
    expectError(await failureOf(cluster.stream('dev/..')), 'USAGE', 'destination')
  })
})

describe('the inventory', () => {
  test('is the digests of blobs and images', async () => {
    const body = {
      kind: 'ImageStreamLayers',
      blobs: { [DIGEST]: { size: 1 }, junk: {} },
      images: { [OLD]: { layers: null } },
    }
    const { cluster } = await open({ [LAYERS]: { status: 200, body } })
    expect(await cluster.inventory('dev/app')).toEqual(new Set([DIGEST, OLD]))
  })

  test.each([403, 404])('is undefined after a %i', async (code) => {
    const { cluster } = await open({ [LAYERS]: status(code, 'x', 'x') })
    expect(await cluster.inventory('dev/app')).toBeUndefined()
  })
})

describe('the address of the registry', () => {
  const list = (hosts?: Parameters<typeof stream>[0]): Scripted => ({
    status: 200,
    body: { items: [stream(hosts).body] },
  })
  const discovery: Script = { [DISCOVERY]: { status: 200, body: METADATA } }
  const registry = { status: 401, headers: { 'www-authenticate': `Bearer realm="https://${ROUTE}/openshift/token"` } }
  const router = { status: 503, headers: { 'content-type': 'text/html' }, body: '<html>Application is not available' }

  type Row = [string, Script, string, number]
  test.each<Row>([
    ['of the stream itself', { [STREAM]: stream() }, ROUTE, 1],
    ['of another stream of the project', { [STREAM]: NO_STREAM, [LIST]: list() }, ROUTE, 2],
    ['of a stream in openshift, for pushers', { [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: list() }, ROUTE, 3],
    [
      'of a stream in openshift, for empty projects',
      { [STREAM]: NO_STREAM, [LIST]: EMPTY_LIST, [SHARED]: list() },
      ROUTE,
      3,
    ],
    [
      'guessed from the issuer, once a registry answers there',
      { ...discovery, [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: EMPTY_LIST, [PROBE]: registry },
      ROUTE,
      5,
    ],
    [
      'guessed when the stream names no route',
      { ...discovery, [STREAM]: stream({ internal: SERVICE }), [PROBE]: registry },
      ROUTE,
      3,
    ],
  ])('%s', async (_, script, host, requests) => {
    const { network, cluster } = await open(script)
    expect(await cluster.registryFor('dev/app')).toEqual({ host, plainHttp: false })
    expect(network.seen).toHaveLength(requests)
    expect(await cluster.registryFor('dev/other')).toEqual({ host, plainHttp: false })
    expect(network.seen).toHaveLength(requests)
    expect(await cluster.ownsRegistry(host, 'dev/app')).toBe(true)
    expect(network.seen).toHaveLength(requests)
    const probe = network.seen.find(({ url }) => url.pathname === '/v2/')
    expect(probe?.headers.authorization).toBeUndefined()
  })

  test.each<[string, Script, Code]>([
    [
      'the router knows no such route',
      { ...discovery, [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: EMPTY_LIST, [PROBE]: router },
      'NOT_EXPOSED',
    ],
    [
      'the stream names no route and none is there',
      { ...discovery, [STREAM]: stream({ internal: SERVICE }), [PROBE]: router },
      'NOT_EXPOSED',
    ],
    ['the registry was removed', { [DISCOVERY]: { status: 404 }, [STREAM]: stream({}) }, 'NOT_EXPOSED'],
    [
      'nothing may be read and there is no OAuth server',
      { [DISCOVERY]: { status: 404 }, [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: FORBIDDEN },
      'REGISTRY_UNKNOWN',
    ],
    [
      'the OAuth server has a host name of its own',
      {
        [DISCOVERY]: { status: 200, body: { ...METADATA, issuer: 'https://login.example.com' } },
        [STREAM]: FORBIDDEN,
        [LIST]: FORBIDDEN,
        [SHARED]: EMPTY_LIST,
      },
      'REGISTRY_UNKNOWN',
    ],
    [
      'something else answers at the guess',
      {
        ...discovery,
        [STREAM]: FORBIDDEN,
        [LIST]: FORBIDDEN,
        [SHARED]: EMPTY_LIST,
        [PROBE]: { status: 200, body: 'hello' },
      },
      'REGISTRY_UNKNOWN',
    ],
    [
      'nothing answers at the guess',
      {
        ...discovery,
        [STREAM]: FORBIDDEN,
        [LIST]: FORBIDDEN,
        [SHARED]: EMPTY_LIST,
        [PROBE]: () => new PromoteError('NETWORK', 'ENOTFOUND'),
      },
      'REGISTRY_UNKNOWN',
    ],
    [
      'the certificate at the guess is unknown',
      {
        ...discovery,
        [STREAM]: FORBIDDEN,
        [LIST]: FORBIDDEN,
        [SHARED]: EMPTY_LIST,
        [PROBE]: () => new PromoteError('TLS', 'unknown CA'),
      },
      'TLS',
    ],
  ])('is not found when %s', async (_, script, code) => {
    const { network, cluster } = await open(script)
    const error = await failureOf(cluster.registryFor('dev/app'))
    expectError(error, code, 'destination')
    if (code !== 'TLS')
      expect(error.hint).toContain(
        `oc patch configs.imageregistry.operator.openshift.io/cluster --type merge -p '{"spec":{"defaultRoute":true}}'`,
      )
    for (const { url, req } of network.seen) if (url.pathname === '/v2/') expect(req.retry).toBe(false)
  })

  test.each<[string, Script]>([
    ['the stream names it and no route', { [STREAM]: stream({ internal: SERVICE }) }],
    [
      'nothing may be read',
      { ...discovery, [STREAM]: FORBIDDEN, [LIST]: FORBIDDEN, [SHARED]: FORBIDDEN, [PROBE]: router },
    ],
  ])('is the service inside the cluster when %s', async (_, script) => {
    const { cluster } = await open(script, { inCluster: true })
    expect(await cluster.registryFor('dev/app')).toEqual({ host: SERVICE, plainHttp: false })
  })

  test('is taken from a host and nothing else', async () => {
    const { cluster } = await open({
      [STREAM]: stream({ public: 'evil.example.com@x', internal: SERVICE }),
      [DISCOVERY]: { status: 404 },
    })
    expectError(await failureOf(cluster.registryFor('dev/app')), 'NOT_EXPOSED', 'destination')
  })

  const other = 'other.apps.ocp.example.com'
  const known = { ...discovery, [STREAM]: stream() }
  test.each<[string, Script, string, boolean]>([
    ['the route that the stream names', known, ROUTE, true],
    ['the same in capitals', known, ROUTE.toUpperCase(), true],
    ['the same with its port', known, `${ROUTE}:443`, true],
    [
      'the same on another port',
      { ...known, [`GET https://${ROUTE}:444/v2/`]: { status: 200 } },
      `${ROUTE}:444`,
      false,
    ],
    ['the service', {}, SERVICE, true],
    ['another registry', known, 'quay.io', false],
    ['a host that only begins like the route', known, `${ROUTE}.evil.example.com`, false],
    ['a host that only ends like the domain', known, 'evilapps.ocp.example.com', false],
    ['a route made by hand', { ...known, [`GET https://${other}/v2/`]: registry }, other, true],
    [
      'another registry in the cluster’s domain',
      {
        ...known,
        [`GET https://${other}/v2/`]: {
          status: 401,
          headers: { 'www-authenticate': 'Bearer realm="https://quay/v2/auth"' },
        },
      },
      other,
      false,
    ],
    [
      'a host that does not answer',
      { ...known, [`GET https://${other}/v2/`]: () => new PromoteError('NETWORK', 'x') },
      other,
      false,
    ],
  ])('is told from a foreign one: %s', async (_, script, host, owned) => {
    const { network, cluster } = await open(script)
    expect(await cluster.ownsRegistry(host, 'dev/app')).toBe(owned)
    for (const { url, headers } of network.seen)
      if (url.pathname === '/v2/') expect(headers.authorization).toBeUndefined()
  })
})

describe('preparing the image stream', () => {
  test('that exists costs nothing but its read', async () => {
    const { network, cluster } = await open({ [STREAM]: stream() })
    expect(await cluster.ensureStream('dev/app')).toBe('exists')
    expect(network.seen).toHaveLength(1)
  })

  test('that is missing creates it once; the answer names the registry and the inventory is empty', async () => {
    const { network, cluster } = await open({ [STREAM]: NO_STREAM, [CREATE]: { ...stream(), status: 201 } })
    expect(await Promise.all([cluster.ensureStream('dev/app'), cluster.ensureStream('dev/app')])).toEqual([
      'created',
      'created',
    ])
    expect(await cluster.registryFor('dev/app')).toEqual({ host: ROUTE, plainHttp: false })
    expect(await cluster.inventory('dev/app')).toEqual(new Set())
    expect(network.lines()).toHaveLength(2)
    expect(JSON.parse(network.seen[1]?.body ?? '')).toEqual({
      kind: 'ImageStream',
      apiVersion: 'image.openshift.io/v1',
      metadata: { name: 'app' },
    })
  })

  test('that somebody else creates at the same moment exists, and is read again', async () => {
    const { cluster } = await open({
      [STREAM]: [NO_STREAM, stream()],
      [CREATE]: status(409, 'AlreadyExists', 'already exists'),
    })
    expect(await cluster.ensureStream('dev/app')).toBe('exists')
    expect(await cluster.digestOf('dev/app', '1.2')).toBe(DIGEST)
  })

  test.each<[string, Script, 'exists' | 'created' | 'unknown']>([
    ['the inventory shows that it exists', { [LAYERS]: { status: 200, body: { blobs: {}, images: {} } } }, 'exists'],
    [
      'the inventory is missing and creation is allowed',
      { [LAYERS]: NO_STREAM, [CREATE]: { ...stream(), status: 201 } },
      'created',
    ],
    ['the inventory is forbidden as well', { [LAYERS]: FORBIDDEN }, 'unknown'],
  ])('that may not be read: %s', async (_, script, outcome) => {
    const { cluster } = await open({ [STREAM]: FORBIDDEN, ...script })
    expect(await cluster.ensureStream('dev/app')).toBe(outcome)
  })

  test.each<[string, Script, Code, string]>([
    [
      'no right to create',
      { [STREAM]: NO_STREAM, [CREATE]: NO_CREATE, [PROJECT]: PROJECT_200 },
      'STREAM_MISSING',
      'oc create imagestream app -n dev',
    ],
    [
      'no right to create, for pushers',
      { [STREAM]: FORBIDDEN, [LAYERS]: NO_STREAM, [CREATE]: NO_CREATE, [PROJECT]: PROJECT_403 },
      'STREAM_MISSING',
      'oc policy add-role-to-user system:image-builder bob -n dev',
    ],
    ['no project', { [STREAM]: NO_STREAM, [CREATE]: NO_PROJECT }, 'PROJECT_MISSING', 'oc new-project dev'],
    [
      'no right, because no project',
      { [STREAM]: NO_STREAM, [CREATE]: NO_CREATE, [PROJECT]: PROJECT_404 },
      'PROJECT_MISSING',
      'oc new-project dev',
    ],
    [
      'quota used up',
      {
        [STREAM]: NO_STREAM,
        [CREATE]: status(
          403,
          'Forbidden',
          'imagestreams "app" is forbidden: exceeded quota: streams, requested: openshift.io/imagestreams=1, used: openshift.io/imagestreams=2, limited: openshift.io/imagestreams=2',
        ),
      },
      'QUOTA',
      'oc describe quota -n dev',
    ],
    [
      'no image API: not OpenShift',
      { [STREAM]: { status: 404, body: '404 page not found' }, [CREATE]: { status: 404, body: '404 page not found' } },
      'NOT_A_CLUSTER',
      'API server',
    ],
    ['server error', { [STREAM]: NO_STREAM, [CREATE]: status(500, 'InternalError', 'x') }, 'UNAVAILABLE', 'later'],
  ])('fails before any blob is sent: %s', async (_, script, code, hint) => {
    const { network, cluster } = await open(script)
    const error = await failureOf(cluster.ensureStream('dev/app'))
    expectError(error, code, 'destination')
    expect(error.hint).toContain(hint)
    expect(network.lines().filter((line) => line.startsWith('POST') && !line.endsWith('/dev/imagestreams'))).toEqual([])
  })
})

describe('the explanation of a refusal', () => {
  const refusal = (code: 401 | 403): PromoteError =>
    new PromoteError(code === 401 ? 'TOKEN_REJECTED' : 'DENIED', `PUT https://r/v2/dev/app: ${code}.`, {
      side: 'destination',
      status: code,
    })
  const quota = {
    status: 200,
    body: {
      items: [
        {
          metadata: { name: 'streams' },
          status: { hard: { 'openshift.io/imagestreams': '2' }, used: { 'openshift.io/imagestreams': '2' } },
        },
      ],
    },
  }
  const spare = {
    status: 200,
    body: {
      items: [
        {
          metadata: { name: 'cpu' },
          status: {
            hard: { cpu: '2', 'openshift.io/imagestreams': '5' },
            used: { cpu: '2', 'openshift.io/imagestreams': '2' },
          },
        },
        { metadata: { name: 'new' } },
      ],
    },
  }
  const limit = {
    status: 200,
    body: {
      items: [
        {
          metadata: { name: 'sizes' },
          spec: {
            limits: [
              { type: 'Pod', max: { cpu: '1' } },
              { type: 'openshift.io/Image', max: { storage: '1Gi' } },
            ],
          },
        },
      ],
    },
  }
  const may = (allowed: boolean): Scripted => ({ status: 201, body: { status: { allowed } } })
  const none = { [QUOTAS]: EMPTY_LIST, [LIMITS]: EMPTY_LIST }
  const seen = { [PROJECT]: PROJECT_200 }

  type Row = [string, 401 | 403, Attempt, Script, Code, string]
  const pull: Attempt = { repository: 'dev/app', access: 'pull' }
  const push: Attempt = { repository: 'dev/app', access: 'push' }
  const tag: Attempt = { ...push, tag: '1.2' }
  const rows: Row[] = [
    [
      'no right to pull',
      401,
      pull,
      { ...seen, [STREAM]: FORBIDDEN, [LAYERS]: FORBIDDEN },
      'DENIED',
      'oc policy add-role-to-user system:image-puller bob -n dev',
    ],
    [
      'no right to push',
      401,
      push,
      { ...seen, [STREAM]: stream(), [LAYERS]: { status: 200, body: {} } },
      'DENIED',
      'oc policy add-role-to-user system:image-pusher bob -n dev',
    ],
    [
      'a puller who pushes',
      401,
      push,
      { [PROJECT]: PROJECT_403, [STREAM]: FORBIDDEN, [LAYERS]: { status: 200, body: {} } },
      'DENIED',
      'system:image-pusher bob',
    ],
    [
      'no right to push where no stream is',
      401,
      push,
      { ...seen, [STREAM]: NO_STREAM, [LAYERS]: NO_STREAM },
      'DENIED',
      'system:image-builder bob',
    ],
    ['a project that does not exist', 401, push, { [PROJECT]: PROJECT_404 }, 'PROJECT_MISSING', 'oc new-project dev'],
    [
      'a project that shows nothing',
      401,
      push,
      { [PROJECT]: PROJECT_403, [STREAM]: FORBIDDEN, [LAYERS]: FORBIDDEN },
      'PROJECT_MISSING',
      'system:image-pusher bob -n dev',
    ],
    [
      'a token that the registry refuses and the API does not',
      401,
      { ...pull, tokenAccepted: false },
      {},
      'TOKEN_REJECTED',
      'same cluster',
    ],
    [
      'a tag without a stream and without the right to create one',
      403,
      tag,
      { ...seen, [STREAM]: NO_STREAM, [ACCESS]: may(false) },
      'STREAM_MISSING',
      'oc create imagestream app -n dev',
    ],
    [
      'the same for pushers',
      403,
      tag,
      { [PROJECT]: PROJECT_403, [STREAM]: FORBIDDEN, [LAYERS]: NO_STREAM, [ACCESS]: may(false) },
      'STREAM_MISSING',
      'system:image-builder bob',
    ],
    [
      'a quota',
      403,
      tag,
      { ...seen, [STREAM]: NO_STREAM, [ACCESS]: may(true), [QUOTAS]: quota, [LIMITS]: EMPTY_LIST },
      'QUOTA',
      'oc describe quota,limits -n dev',
    ],
    [
      'a limit range',
      403,
      tag,
      { ...seen, [STREAM]: stream(), [QUOTAS]: spare, [LIMITS]: limit },
      'QUOTA',
      'oc describe quota,limits -n dev',
    ],
    ['a namespace that is gone', 403, tag, { [PROJECT]: PROJECT_404 }, 'PROJECT_MISSING', 'oc new-project dev'],
    ['nothing that the API knows', 403, tag, { ...seen, ...none, [STREAM]: stream() }, 'DENIED', 'One of'],
    [
      'limits that may not be read',
      403,
      tag,
      { ...seen, [QUOTAS]: FORBIDDEN, [LIMITS]: FORBIDDEN, [STREAM]: stream() },
      'DENIED',
      'One of',
    ],
  ]
  test.each(rows)('%s', async (_, code, attempt, script, expected, hint) => {
    const { cluster } = await open(script)
    const explained = await cluster.explain(refusal(code), attempt)
    expectError(explained, expected, 'destination')
    expect(explained.hint).toContain(hint)
    expect(explained.transient).toBe(false)
  })

  test('a token that died says what the token tells', async () => {
    const { cluster, network } = await open({})
    network.script[REVIEWS] = status(401, 'Unauthorized', 'Unauthorized')
    const explained = await cluster.explain(refusal(401), pull)
    expectError(explained, 'TOKEN_REJECTED', 'destination')
    expect(explained.message).toContain('expired, was revoked')
    expect(explained.message).not.toContain(TOKEN)
  })

  test('speaks of the service account where its token opens the registry', async () => {
    const issued = { status: 201, body: { status: { token: 'a.b.c', expirationTimestamp: '2026-01-01T01:00:00Z' } } }
    const { cluster, network } = await open(
      {
        [`POST ${API}/api/v1/namespaces/ci/serviceaccounts/mover/token`]: issued,
        ...seen,
        [STREAM]: stream(),
        [LAYERS]: FORBIDDEN,
      },
      { serviceAccount: { namespace: 'ci', name: 'mover' } },
    )
    const explained = await cluster.explain(refusal(401), pull)
    expectError(explained, 'DENIED', 'destination')
    expect(explained.hint).toContain('system:image-puller system:serviceaccount:ci:mover -n dev')
    expect(network.seen.find(({ url }) => url.pathname.endsWith('/layers'))?.headers.authorization).toBe('Bearer a.b.c')
  })

  test('quotes a user name that a shell would read as more', async () => {
    const script = { [REVIEWS]: review("x'; rm -rf ~"), ...seen, [STREAM]: FORBIDDEN, [LAYERS]: FORBIDDEN }
    const { cluster } = await open(script)
    expect((await cluster.explain(refusal(401), pull)).hint).toContain(`system:image-puller 'x'\\''; rm -rf ~' -n dev`)
  })

  test('leaves other errors as they are, and itself when it cannot ask', async () => {
    const { cluster, network } = await open({ [PROJECT]: status(500, 'InternalError', 'x') })
    const other = new PromoteError('NOT_FOUND', 'no tag', { side: 'destination', status: 404 })
    expect(await cluster.explain(other, pull)).toBe(other)
    expect(network.seen).toEqual([])
    const denied = refusal(401)
    expect(await cluster.explain(denied, pull)).toBe(denied)
  })
})
