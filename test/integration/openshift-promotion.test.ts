import { writeFileSync } from 'node:fs'
import { afterAll, afterEach, describe, expect, test } from '@jest/globals'
import { podCluster } from '../../src/credentials/pod-account.ts'
import { openNetwork } from '../../src/http/client.ts'
import { digestOf } from '../../src/oci/digest.ts'
import { kubernetes } from '../../src/openshift/api.ts'
import { openCluster } from '../../src/openshift/cluster.ts'
import { openRepository } from '../../src/registry/repository.ts'
import type { Send } from '../../src/transport/request.ts'
import { type Folder, temporary } from '../bundle/run.ts'
import { overhear } from '../bundle/secrets/servers.ts'
import { byPassword, byToken, differences, options, type SideOptions, tagOf, writes } from '../bundle/sides.ts'
import { certificateUser, kubeconfig } from '../bundle/troubleshooting/answers.ts'
import { type NamingProxy, startProxy } from '../bundle/troubleshooting/proxy.ts'
import { type Outcome, type RunOptions, run, type Variables } from '../bundle/troubleshooting/run.ts'
import { sharedClusters } from '../bundle/troubleshooting/shared.ts'
import { onThatOccasion } from '../bundle/troubleshooting/stage.ts'
import { type ClusterOptions, type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { MEDIA } from '../support/cluster/distribution.ts'
import { type BuiltImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { createStorage } from '../support/cluster/storage.ts'
import { testContext } from '../support/openshift.ts'
import { push } from '../support/target-contract.ts'

/** Promotions between two OpenShift clusters, from the options to the last request. */

const INDEX = makeIndex({ seed: 41 })
const IMAGES = 'dev/app:1.0=prod/app:1.0'
/** Where images were imported from. */
const HOME = 'registry.far.example.com/far/away'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

const SHARED = sharedClusters()
afterAll(SHARED.close)

type Clusters = Readonly<{ dev: EmbeddedCluster; prod: EmbeddedCluster; folder: Folder }>

async function clusters(dev: ClusterOptions = {}, prod: ClusterOptions = {}): Promise<Clusters> {
  const [source, destination] = await Promise.all([
    SHARED.borrow({ name: 'dev', ...dev }),
    SHARED.borrow({ name: 'prod', ...prod }),
  ])
  const folder = temporary()
  closing.push(folder.remove, source.close, destination.close)
  seedImage(source.cluster, 'dev/app', INDEX, '1.0')
  return { dev: source.cluster, prod: destination.cluster, folder }
}

async function proxy(credentials?: string): Promise<NamingProxy> {
  const started = await startProxy(credentials)
  closing.push(started.close)
  return started
}

/** From one to the other, with these ways in. */
function promotion(source: SideOptions, destination: SideOptions, how: RunOptions & { more?: Variables } = {}) {
  return run(options(source, destination, { images: IMAGES, ...how.more }), how)
}

async function expectPromoted({ rows, error }: Outcome, { dev, prod }: Clusters, image: BuiltImage = INDEX) {
  // The error is part of the comparison, so that it is in the output of a failure.
  expect({ error, rows: rows.map(({ status, digest }) => [status, digest]) }).toEqual({
    error: undefined,
    rows: [['promoted', image.root.digest]],
  })
  expect(await differences(prod, 'prod/app', image)).toEqual([])
  expect(tagOf(prod, 'prod/app', '1.0')).toBe(image.root.digest)
  expect([...dev.unexpected, ...prod.unexpected]).toEqual([])
}

/** Source, then destination: the sides log in at the same time, so either may be told first. */
const usersOf = ({ events }: Outcome) =>
  (['source', 'destination'] as const).flatMap((side) =>
    events.flatMap((event) => (event.event === 'login' && event.side === side ? [event.user] : [])),
  )

describe('a first promotion of a two-platform image, logged in', () => {
  type Way = Readonly<{
    side: (cluster: EmbeddedCluster, login: string, folder: Folder) => SideOptions | Promise<SideOptions>
    cluster?: ClusterOptions
    /** Who the two sides say they are; default jane and developer. */
    users?: readonly string[]
    run?: (at: Clusters) => RunOptions
  }>
  const account = { jane: 'dev/puller', developer: 'prod/pusher' } as Readonly<Record<string, string>>
  const exec = (token: string) => ({
    apiVersion: 'client.authentication.k8s.io/v1',
    command: process.execPath,
    args: ['-p', 'process.env.ANSWER'],
    env: [
      {
        name: 'ANSWER',
        value: JSON.stringify({
          apiVersion: 'client.authentication.k8s.io/v1',
          kind: 'ExecCredential',
          status: { token },
        }),
      },
    ],
  })
  const ways: Readonly<Record<string, Way>> = {
    'by password': { side: (cluster, login) => byPassword(cluster, login) },
    'by token': { side: (cluster, login) => byToken(cluster, cluster.token(login)) },
    'by the token of a service account': {
      side: (cluster) => byToken(cluster, cluster.serviceAccountToken('ci', 'pipeline')),
      users: ['system:serviceaccount:ci:pipeline', 'system:serviceaccount:ci:pipeline'],
    },
    'by password, with a service account for the registry': {
      side: (cluster, login) => ({ ...byPassword(cluster, login), 'service-account': account[login] ?? '' }),
    },
    'by kubeconfig with a token': {
      side: (cluster, login, folder) => kubeconfig({ cluster, folder }, { token: cluster.token(login) }),
    },
    'by kubeconfig with user and password': {
      side: (cluster, username, folder) =>
        kubeconfig({ cluster, folder }, { username, password: cluster.users[username] }),
    },
    'by kubeconfig with a client certificate and a service account for the registry': {
      side: async (cluster, login, folder) => ({
        ...kubeconfig({ cluster, folder }, certificateUser(await cluster.clientCertificate(login))),
        'service-account': account[login] ?? '',
      }),
    },
    'by kubeconfig with an exec plugin': {
      side: (cluster, login, folder) => kubeconfig({ cluster, folder }, { exec: exec(cluster.token(login)) }),
    },
    'by token at clusters with external OIDC': {
      side: (cluster, login) => byToken(cluster, cluster.token(login)),
      cluster: { oidc: true },
    },
    'by the OIDC token of a GitHub job': {
      side: (cluster, login) => ({ cluster: cluster.api.origin, ca: cluster.ca.bundle, 'oidc-audience': login }),
      cluster: { oidc: true },
      run: ({ dev, prod }) => ({
        kind: 'github',
        oidcToken: async (audience) => (audience === 'jane' ? dev : prod).token(audience),
      }),
    },
  }

  test.each(Object.entries(ways))('%s', async (_, way) => {
    const at = await clusters(way.cluster, way.cluster)
    const source = await way.side(at.dev, 'jane', at.folder)
    const other = temporary()
    closing.push(other.remove)
    const destination = await way.side(at.prod, 'developer', other)
    const given = [new Set(at.dev.state.tokens.keys()), new Set(at.prod.state.tokens.keys())]
    const outcome = await promotion(source, destination, way.run?.(at))
    await expectPromoted(outcome, at)
    expect(usersOf(outcome)).toEqual(way.users ?? ['jane', 'developer'])
    expect(outcome.warnings).toEqual([])
    expect(outcome.slept).toEqual([])
    for (const [index, cluster] of [at.dev, at.prod].entries()) {
      const left = [...cluster.state.tokens].filter(([token]) => !given[index]?.has(token))
      // What was given is there, what was obtained by password is not; the JWTs of service accounts and jobs just end.
      expect([...(given[index] ?? [])].every((token) => cluster.state.tokens.has(token))).toBe(true)
      expect(left.filter(([, { kind }]) => kind === 'oauth')).toEqual([])
    }
  })

  test('both sides at once, and who they are is told before anything is copied', async () => {
    const at = await clusters()
    const arrivals: string[] = []
    for (const [side, cluster] of [
      ['dev', at.dev],
      ['prod', at.prod],
    ] as const)
      for (const server of ['api', 'oauth'] as const)
        cluster.faults[server].add({
          match: { when: onThatOccasion(() => arrivals.push(side)), path: /well-known|oauth|selfsubject/ },
          do: { kind: 'latency', ms: 0 },
        })
    const outcome = await promotion(byPassword(at.dev), byPassword(at.prod))
    await expectPromoted(outcome, at)
    // Four requests each; one after the other they would come as two blocks.
    const login = arrivals.slice(0, 8)
    expect(login.indexOf('prod')).toBeLessThan(login.lastIndexOf('dev'))
    expect(login.indexOf('dev')).toBeLessThan(login.lastIndexOf('prod'))
    const kinds = outcome.events.map(({ event }) => event)
    expect(kinds.slice(0, 3)).toEqual(['login', 'login', 'plan'])
  })

  test('from inside a cluster: the pod’s account, the service’s address and CA, and a token that is rotated', async () => {
    const host = 'image-registry.openshift-image-registry.svc'
    const cluster = await startCluster({ hostnames: { api: '10.0.0.1', registry: host } })
    const tunnel = await proxy()
    const pod = temporary()
    closing.push(cluster.close, pod.remove)
    tunnel.names.set(`${host}:5000`, Number(cluster.registry.port))
    const first = cluster.serviceAccountToken('ci', 'pipeline')
    pod.file('token', first)
    pod.file('ca.crt', cluster.ca.api + cluster.ca.oauth)
    pod.file('service-ca.crt', cluster.ca.registry)
    cluster.state.hosts.public = undefined as never
    const context = testContext()
    const env = {
      KUBERNETES_SERVICE_HOST: cluster.api.hostname,
      KUBERNETES_SERVICE_PORT: cluster.api.port,
      HTTPS_PROXY: tunnel.url,
    }
    const here = { ...context, env }
    const side = 'destination'
    const { api, ca, login } = podCluster(here, { side, folder: pod.path })
    const network = openNetwork({ side, ca, insecureSkipTlsVerify: false, stallTimeout: 5000, retries: 0 }, here)
    closing.push(network.close)
    const opened = await openCluster(side, { api, network, way: { kind: 'token', login }, inCluster: true }, here)
    expect(opened.user).toBe('system:serviceaccount:ci:pipeline')
    expect(await opened.ensureStream('prod/app')).toBe('created')
    const address = await opened.registryFor('prod/app')
    expect(address.host).toBe(`${host}:5000`)
    expect(await opened.ownsRegistry(address.host, 'prod/app')).toBe(true)
    const base = new URL(`https://${address.host}`)
    const open = () =>
      openRepository({ side, base, send: network.as(base, opened.login), login, repository: 'prod/app', context: here })
    await push(open(), INDEX, '1.0')
    expect(await differences(cluster, 'prod/app', INDEX)).toEqual([])

    writeFileSync(`${pod.path}/token`, cluster.serviceAccountToken('ci', 'pipeline'))
    cluster.revoke(first)
    expect((await open().resolve('1.0')).descriptor.digest).toBe(INDEX.root.digest)
    expect(cluster.unexpected).toEqual([])
  })
})

describe('with the rights of', () => {
  const as = (cluster: EmbeddedCluster, login: string) => byToken(cluster, cluster.token(login))

  test('image-puller and image-builder: the stream is made, and the inventory saves every question', async () => {
    const at = await clusters()
    const outcome = await promotion(as(at.dev, 'puller'), as(at.prod, 'builder'))
    await expectPromoted(outcome, at)
    const heads = at.prod.requests.filter(
      ({ server, method, path }) =>
        server === 'registry' && method === 'HEAD' && /\/(?:blobs|manifests)\/sha256:/.test(path),
    )
    expect(heads).toEqual([])
  })

  test('image-pusher: one call tells what is there, and only the rest is sent', async () => {
    const at = await clusters()
    const [, second] = INDEX.manifests
    const other = makeIndex({ seed: 41, platforms: ['linux/amd64'] })
    seedImage(at.prod, 'prod/app', other, 'older')
    const outcome = await promotion(as(at.dev, 'puller'), as(at.prod, 'pusher'))
    await expectPromoted(outcome, at)
    expect(at.prod.requests.filter(({ path }) => path.endsWith('/imagestreams/app/layers'))).toHaveLength(1)
    const uploads = at.prod.requests.filter(({ method, path }) => method === 'POST' && path.includes('/blobs/uploads/'))
    // The blobs of the second platform: a config and two layers.
    expect(second).toBeDefined()
    expect(uploads).toHaveLength(3)
  })

  test('image-pusher where there is no stream: it fails before the registry is asked for anything', async () => {
    const at = await clusters()
    const { error } = await promotion(as(at.dev, 'puller'), as(at.prod, 'pusher'))
    expect(error).toMatchObject({ code: 'STREAM_MISSING', side: 'destination' })
    expect(at.prod.requests.filter(({ server }) => server === 'registry')).toEqual([])
    expect(tagOf(at.prod, 'prod/app', '1.0')).toBeUndefined()
  })

  test('image-puller, where the samples were removed and the registry is named as it usually is', async () => {
    const at = await clusters(named('dev'))
    const tunnel = await proxy()
    tunnel.names.set(`${routeOf('dev')}:443`, Number(at.dev.registry.port))
    at.dev.state.streams.remove('openshift', 'cli')
    const source = { ...as(at.dev, 'puller'), registry: routeOf('dev') }
    const outcome = await promotion(source, as(at.prod, 'builder'), { env: { HTTPS_PROXY: tunnel.url } })
    await expectPromoted(outcome, at)
    expect(outcome.warnings).toEqual([])
  })

  test('image-puller, where the image stream says that no route is there: its usual name is not trusted', async () => {
    const at = await clusters({ ...named('dev'), registryExposed: false })
    const tunnel = await proxy()
    tunnel.names.set(`${routeOf('dev')}:443`, Number(at.dev.registry.port))
    const { error } = await promotion(as(at.dev, 'jane'), as(at.prod, 'builder'), { env: { HTTPS_PROXY: tunnel.url } })
    expect(error).toMatchObject({ code: 'NOT_EXPOSED', side: 'source' })
    expect(tunnel.asked).not.toContain(`${routeOf('dev')}:443`)
  })
})

const routeOf = (name: string) => `default-route-openshift-image-registry.apps.${name}.example.com`
const named = (name: string): ClusterOptions => ({
  hostnames: {
    api: `api.${name}.example.com`,
    oauth: `oauth-openshift.apps.${name}.example.com`,
    registry: routeOf(name),
  },
})

describe('behind a proxy', () => {
  const hostsOf = ({ asked }: NamingProxy) => [...new Set(asked.map((target) => target.replace(/:\d+$/, '')))].sort()

  test('everything of both sides goes through it, by name', async () => {
    const at = await clusters(named('dev'), named('prod'))
    const tunnel = await proxy('me:p%40ss')
    const outcome = await promotion(byPassword(at.dev), byPassword(at.prod), { env: { HTTPS_PROXY: tunnel.url } })
    await expectPromoted(outcome, at)
    const hosts = ['dev', 'prod'].flatMap((name) => Object.values(named(name).hostnames ?? {}))
    expect(hostsOf(tunnel)).toEqual(hosts.sort())
  })

  test('the registries are guessed from the OAuth servers, where no image stream tells them', async () => {
    const at = await clusters(named('dev'), named('prod'))
    const tunnel = await proxy()
    for (const [name, cluster] of [
      ['dev', at.dev],
      ['prod', at.prod],
    ] as const) {
      tunnel.names.set(`${routeOf(name)}:443`, Number(cluster.registry.port))
      cluster.state.streams.remove('openshift', 'cli')
    }
    at.prod.state.streams.create('prod', 'app')
    const source = byToken(at.dev, at.dev.token('puller'))
    const destination = byToken(at.prod, at.prod.token('pusher'))
    const outcome = await promotion(source, destination, { env: { HTTPS_PROXY: tunnel.url } })
    await expectPromoted(outcome, at)
    expect(outcome.rows[0]?.destination).toBe(`${routeOf('prod')}/prod/app:1.0`)
    const probes = at.prod.requests.filter(({ server, path }) => server === 'registry' && path === '/v2/')
    expect(probes.map(({ authorization }) => authorization)).toEqual(['none'])
  })

  test('what NO_PROXY names, and loopback, go past it', async () => {
    const at = await clusters(named('dev'))
    const tunnel = await proxy()
    const outcome = await promotion(byPassword(at.dev), byPassword(at.prod), { env: { HTTPS_PROXY: tunnel.url } })
    await expectPromoted(outcome, at)
    expect(hostsOf(tunnel).every((host) => host.endsWith('.dev.example.com'))).toBe(true)
    const env = { HTTPS_PROXY: tunnel.url, NO_PROXY: 'other.example.com, .dev.example.com' }
    const before = tunnel.asked.length
    const past = await promotion(byPassword(at.dev), byPassword(at.prod), { env, more: { retries: '0' } })
    expect(past.error).toMatchObject({ code: 'NETWORK', side: 'source' })
    expect(tunnel.asked).toHaveLength(before)
  })

  test('empty variables are unset ones', async () => {
    const at = await clusters()
    const env = { HTTPS_PROXY: '', https_proxy: ' ', HTTP_PROXY: '', NO_PROXY: '' }
    await expectPromoted(await promotion(byPassword(at.dev), byPassword(at.prod), { env }), at)
  })
})

describe('a registry that', () => {
  test('has no route is asked once', async () => {
    const at = await clusters()
    at.dev.options.registry.exposed = false
    const { error, slept } = await promotion(byPassword(at.dev), byPassword(at.prod))
    expect(error).toMatchObject({ code: 'NOT_EXPOSED', side: 'source' })
    expect(error?.hint).toContain('oc patch configs.imageregistry.operator.openshift.io/cluster')
    expect(at.dev.requests.filter(({ server }) => server === 'registry')).toHaveLength(1)
    expect(slept).toEqual([])
    expect([at.dev.state.tokens.size, at.prod.state.tokens.size]).toEqual([0, 0])
  })

  test('restarts after it has answered is waited for', async () => {
    const at = await clusters()
    const gone = () => Object.assign(at.prod.options.registry, { exposed: false })
    const match = { method: 'PUT', path: /\/manifests\/1\.0$/, when: onThatOccasion(gone), times: 1 }
    const fault = at.prod.faults.registry.add({ match, do: { kind: 'latency', ms: 0 } })
    const sleep = async () => {
      fault.remove()
      at.prod.options.registry.exposed = true
    }
    const outcome = await promotion(byPassword(at.dev), byPassword(at.prod), { sleep })
    await expectPromoted(outcome, at)
    expect(outcome.slept).toHaveLength(1)
  })

  test('cannot reach its API for a moment (400, empty) is asked again', async () => {
    const at = await clusters()
    at.dev.options.registry.apiDown = true
    const sleep = async () => void Object.assign(at.dev.options.registry, { apiDown: false })
    const outcome = await promotion(byPassword(at.dev), byPassword(at.prod), { sleep })
    await expectPromoted(outcome, at)
    expect(outcome.slept.length).toBeGreaterThan(0)
  })

  test('answers 500 UNKNOWN to a tag for a moment is asked again', async () => {
    const at = await clusters()
    const body = '{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{}}]}'
    const match = { method: 'PUT', path: /\/manifests\/1\.0$/, nth: 1 }
    const fault = at.prod.faults.registry.add({ match, do: { kind: 'status', status: 500, body } })
    const outcome = await promotion(byPassword(at.dev), byPassword(at.prod))
    await expectPromoted(outcome, at)
    expect([fault.fired, outcome.slept.length]).toEqual([1, 1])
  })

  test('answers 500 UNKNOWN to a digest without an image stream does not have it: a dry run', async () => {
    const at = await clusters()
    const { rows, error, slept } = await promotion(byPassword(at.dev), byPassword(at.prod), {
      more: { 'dry-run': 'true' },
    })
    expect([error, rows[0]?.status, slept]).toEqual([undefined, 'planned', []])
    expect(at.prod.requests.filter(({ status }) => status === 500).length).toBeGreaterThan(0)
    expect(writes(at.prod.requests).filter((line) => !/oauth|selfsubject/.test(line))).toEqual([])
  })

  test('sends blobs from object storage is followed there without a credential', async () => {
    const at = await clusters({ registryExposed: true })
    await at.dev.redirectBlobs({ uses: 1 })
    await expectPromoted(await promotion(byPassword(at.dev), byPassword(at.prod)), at)
  })

  test('pulls through what was imported from elsewhere', async () => {
    const upstream = createStorage()
    const at = await clusters({ upstream })
    const imported = makeIndex({ seed: 52 })
    seedImage(upstream, 'far/away', imported, '2.0')
    at.dev.importImage('dev/imported', imported, '2.0', HOME)
    const images = 'dev/imported:2.0=prod/app:1.0'
    await expectPromoted(await promotion(byPassword(at.dev), byPassword(at.prod), { more: { images } }), at, imported)
  })

  test('sends uploads to http, as behind a router of another port that ends TLS, is still written to by https', async () => {
    const at = await clusters()
    at.prod.options.registry.edgeRouter = true
    closing.push(() => delete at.prod.options.registry.edgeRouter)
    await expectPromoted(await promotion(byPassword(at.dev), byPassword(at.prod)), at)
  })

  test('names by sha256 what the manifest names by sha512 is believed', async () => {
    const at = await clusters()
    const [layer = new Uint8Array()] = INDEX.blobs.values()
    const config = Buffer.from('{"architecture":"amd64","os":"linux"}')
    const [long, described] = [digestOf(layer, 'sha512'), digestOf(config)]
    const document = {
      schemaVersion: 2,
      mediaType: MEDIA.manifest,
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: described, size: config.length },
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: long, size: layer.length }],
    }
    const bytes = Buffer.from(JSON.stringify(document))
    const root = { digest: digestOf(bytes), bytes, mediaType: MEDIA.manifest }
    const image = {
      root,
      manifests: [root],
      large: [],
      blobs: new Map([
        [described, config],
        [long, layer],
      ]),
    }
    at.dev.store.putBlob('dev/app', layer, 'sha512')
    seedImage(at.dev, 'dev/app', image, '1.0')
    await expectPromoted(await promotion(byPassword(at.dev), byPassword(at.prod)), at, image)
  })

  test('is of another cluster than the API gets no token of it', async () => {
    const at = await clusters()
    const token = at.dev.token('jane')
    const heard = overhear(at.prod)
    const ca = `${at.dev.ca.bundle}${at.prod.ca.bundle}`
    const source = { ...byToken(at.dev, token), registry: at.prod.registryHost, ca }
    const outcome = await promotion(source, byPassword(at.prod))
    expect(outcome.error).toMatchObject({ code: 'CREDENTIAL_MISSING', side: 'source' })
    expect([...heard]).not.toContain(token)
    expect(outcome.warnings).toEqual([expect.stringContaining('is not what the cluster names as its registry')])
  })
})

describe('what is promoted is what the source has:', () => {
  test('a docker list by tag, of which the registry shows only linux/amd64 to whoever does not ask for lists', async () => {
    const at = await clusters()
    const list = makeIndex({ seed: 43, docker: true })
    seedImage(at.dev, 'dev/list', list, '1.0')
    // A puller cannot read the image stream: the registry is asked by tag.
    const source = byToken(at.dev, at.dev.token('puller'))
    const outcome = await promotion(source, byPassword(at.prod), { more: { images: 'dev/list:1.0=prod/app:1.0' } })
    await expectPromoted(outcome, at, list)
  })

  test('an older digest, while it is in the history of its tag', async () => {
    const at = await clusters()
    seedImage(at.dev, 'dev/app', makeIndex({ seed: 44 }), '1.0')
    const images = `dev/app@${INDEX.root.digest}=prod/app:1.0`
    await expectPromoted(await promotion(byPassword(at.dev), byPassword(at.prod), { more: { images } }), at)
  })
})

describe('a token that', () => {
  const atTag = (cluster: EmbeddedCluster, happens: () => unknown) => {
    let once = false
    const first = () => {
      if (once) return
      once = true
      happens()
    }
    const match = { method: 'PUT', path: /\/manifests\/1\.0$/, when: onThatOccasion(first) }
    cluster.faults.registry.add({ match, do: { kind: 'latency', ms: 0 } })
  }

  test('was obtained by password and ends while it runs is replaced', async () => {
    const at = await clusters()
    atTag(at.prod, () => at.prod.state.tokens.clear())
    await expectPromoted(await promotion(byPassword(at.dev), byPassword(at.prod)), at)
    expect(at.prod.requests.filter(({ path }) => path === '/oauth/token')).toHaveLength(2)
    expect(at.prod.state.tokens.size).toBe(0)
  })

  test('was given and is revoked while it runs is named as what it is, and no tag is written', async () => {
    const at = await clusters()
    atTag(at.prod, () => at.prod.state.tokens.clear())
    const { error } = await promotion(byPassword(at.dev), byToken(at.prod, at.prod.token('jane')))
    expect(error).toMatchObject({ code: 'TOKEN_REJECTED', side: 'destination' })
    expect(error?.message).toContain('It is expired, was revoked')
    expect(tagOf(at.prod, 'prod/app', '1.0')).toBeUndefined()
    expect(at.dev.state.tokens.size).toBe(0)
  })

  test('is good for a user who may not push is not replaced: the right is missing', async () => {
    const at = await clusters()
    at.prod.state.streams.create('prod', 'app')
    const { error } = await promotion(byPassword(at.dev), byPassword(at.prod, 'viewer'))
    expect(error).toMatchObject({ code: 'DENIED', side: 'destination' })
    expect(at.prod.requests.filter(({ path }) => path === '/oauth/token')).toHaveLength(1)
    expect([at.dev.state.tokens.size, at.prod.state.tokens.size]).toEqual([0, 0])
  })

  test('was requested with a client certificate is judged by itself: it is replaced when it ends', async () => {
    const at = await clusters()
    const user = certificateUser(await at.prod.clientCertificate('developer'))
    const destination = {
      ...kubeconfig({ cluster: at.prod, folder: at.folder }, user),
      'service-account': 'prod/pusher',
    }
    at.prod.state.streams.create('prod', 'app')
    atTag(at.prod, () => at.prod.state.tokens.clear())
    await expectPromoted(await promotion(byPassword(at.dev), destination), at)
    expect(at.prod.requests.filter(({ path }) => path.endsWith('/serviceaccounts/pusher/token'))).toHaveLength(2)
  })

  test('was obtained is deleted when the other side’s login fails, and when the run is cancelled', async () => {
    const at = await clusters()
    const failed = await promotion(byPassword(at.dev), { ...byPassword(at.prod), password: 'not-the-password' })
    expect(failed.error).toMatchObject({ code: 'LOGIN_REJECTED', side: 'destination' })
    expect(at.dev.state.tokens.size).toBe(0)
    const stop = new AbortController()
    atTag(at.prod, () => stop.abort('SIGTERM'))
    const cancelled = await promotion(byPassword(at.dev), byPassword(at.prod), { signal: stop.signal })
    // The registry was asked for the tag meanwhile: what became of it was read, by a token that was good until then.
    expect(cancelled.report?.images[0]?.status).toMatch(/^(?:promoted|cancelled)$/)
    expect([at.dev.state.tokens.size, at.prod.state.tokens.size]).toEqual([0, 0])
  })
})

test('an API below a path, as Rancher has it, is asked below that path', async () => {
  const asked: string[] = []
  const send: Send = async ({ url }) => {
    asked.push(url.href)
    return { status: 404, headers: {}, url, body: (async function* () {})() }
  }
  const api = kubernetes(
    new URL('https://rancher.example.com/k8s/clusters/c-1/'),
    'source',
    { send, as: () => send, close: async () => undefined },
    testContext(),
  )
  await api.request('GET', '/version')
  expect(asked).toEqual(['https://rancher.example.com/k8s/clusters/c-1/version'])
})
