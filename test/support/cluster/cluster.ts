import { randomUUID } from 'node:crypto'
import { type AddressInfo, isIP } from 'node:net'
import type { Digest } from '../../../src/oci/digest.ts'
import { announce, type Server } from '../servers.ts'
import { apiServer, withClientCertificate } from './api.ts'
import {
  type CertificateKind,
  type CertificatePair,
  type ClusterCertificates,
  clusterCertificates,
  type Main,
} from './certificates.ts'
import { createFaults, type Faults } from './faults.ts'
import { createLog, type Handler, type Log, listener, type Stats } from './http.ts'
import { type Identity, type OauthOptions, oauthServer, withOauthHeaders } from './oauth.ts'
import { type OpenShiftRegistry, openshiftRegistry } from './openshift-registry.ts'
import { listen, stop, verifierDoor } from './plain.ts'
import { createRecorder, type Recorded, type Recorder, type ServerName } from './recorder.ts'
import type { RedirectOptions } from './redirect.ts'
import { createStreams, INTERNAL_REGISTRY, type Project, type RegistryOptions, type Streams } from './state.ts'
import type { Storage } from './storage.ts'
import { createIdentities, type Identities, serviceAccountUser } from './users.ts'

/** A whole OpenShift cluster on three ports of 127.0.0.1, with three unrelated certificate authorities. */

export interface ClusterOptions {
  /** For the names of the certificate authorities. */
  name?: string
  /** Default true. False: the registry's URL answers the router's 503, and image streams have no public repository. */
  registryExposed?: boolean
  /** An external identity provider: discovery and the groups `user` and `oauth` are 404, tokens are foreign JWTs. */
  oidc?: boolean
  /** Default htpasswd. */
  identity?: Identity
  /** Seconds; default 86400. */
  tokenLifetime?: number
  certificates?: Partial<Record<Main, CertificateKind>>
  /** Milliseconds; default 0 (3100 on the real registry). */
  missingBlobDelay?: number
  /** Names in URLs and certificates instead of 127.0.0.1; the test must make them resolve to it. */
  hostnames?: Partial<Record<Main, string>>
  /** Where images were imported from: blobs that the registry lacks are pulled through from here. */
  upstream?: Storage
}

export interface State extends Omit<Identities, 'mintOauth' | 'mintServiceAccount' | 'mintExternal' | 'revokeObject'> {
  readonly projects: Map<string, Project>
  readonly streams: Streams
  /** What image streams tell about the registry. */
  readonly hosts: { internal: string; public?: string }
}

export interface EmbeddedCluster {
  readonly api: URL
  readonly oauth: URL
  readonly registry: URL
  /** `host:port` */
  readonly registryHost: string
  /** PEM. `bundle` is all three. */
  readonly ca: Readonly<Record<Main | 'bundle', string>>
  /** Passwords by login name. */
  readonly users: Readonly<Record<string, string>>
  /** Across all servers, in order of arrival. */
  readonly requests: Recorded[]
  /** What no server implements or expects; to be empty at the end of a test. */
  readonly unexpected: readonly string[]
  readonly state: State
  readonly faults: Readonly<Record<Main, Faults>>
  /** Blobs and manifests of the registry; with `adopt`, what `seedImage(cluster, …)` fills without a request. */
  readonly store: Storage
  readonly adopt: OpenShiftRegistry['adopt']
  readonly importImage: OpenShiftRegistry['importImage']
  /** Traffic of the registry in bytes. */
  readonly stats: Stats
  /** Upload sessions of the registry that are neither committed nor cancelled. */
  openUploads(): number
  /** From now on blob reads answer 307 to a fourth, https host that the registry's CA vouches for. @returns its origin. */
  redirectBlobs(options?: RedirectOptions): Promise<URL>
  /** Live settings of the three servers. */
  readonly options: Readonly<{ api: { oidc: boolean }; oauth: OauthOptions; registry: RegistryOptions }>
  /** A new token of this login name: OAuth, or a foreign JWT when `oidc`. */
  token(login: string): string
  revoke(token: string): void
  serviceAccountToken(ns: string, name: string): string
  /** For a kubeconfig: opens the API (not the registry) as this user. */
  clientCertificate(login: string): Promise<CertificatePair>
  /** Lets time pass for tokens and codes. */
  advance(seconds: number): void
  close(): Promise<void>
}

const PROJECTS = ['openshift', 'dev', 'test', 'prod', 'ci']

export async function startCluster(options: ClusterOptions = {}): Promise<EmbeddedCluster> {
  let ahead = 0
  const world = createWorld(options, () => Date.now() + ahead)
  const { recorder, identities, streams, hosts, live, faults, images } = world
  const tls = await clusterCertificates(options)
  const network = createNetwork(options, tls, recorder)
  try {
    await startServers(world, network)
  } catch (error) {
    await network.close()
    throw error
  }
  const registry = network.url('registry')
  if (live.registry.exposed) hosts.public = registry.host
  const door = verifierDoor(images.handler)
  const leave = announce(namesOf(registry), inspected(world, door.open))
  return {
    api: network.url('api'),
    oauth: network.url('oauth'),
    registry,
    registryHost: registry.host,
    ca: tls.ca,
    users: Object.fromEntries([...identities.accounts.values()].map(({ login, password }) => [login, password])),
    requests: recorder.requests,
    get unexpected() {
      return [...recorder.unexpected, ...network.violations()]
    },
    state: { ...identities, projects: streams.projects, streams, hosts },
    faults,
    options: live,
    store: images.store,
    adopt: images.adopt,
    importImage: images.importImage,
    stats: images.log.stats,
    openUploads: images.openUploads,
    redirectBlobs: (how) => images.redirectBlobs({ ...how, now: world.now, tls: tls.registry }),
    ...proofs(world, tls),
    advance(seconds) {
      ahead += seconds * 1000
    },
    close: async () => {
      leave()
      await Promise.all([door.close(), images.close(), network.close()])
    },
  }
}

/** Behind a proxy a registry is known by its name alone. */
function namesOf({ host, hostname }: URL): string[] {
  return isIP(hostname) === 0 ? [host, hostname] : [host]
}

/** What the verifier may see of it: the registry as a cluster administrator, and what is really stored. */
function inspected({ images: { store }, streams, inspector }: World, open: () => Promise<{ url: URL }>): Server {
  const bytesOf = (digest: string) => {
    for (const { manifests } of store.repositories.values()) {
      const known = manifests.get(digest as Digest)
      if (known !== undefined) return known.bytes
    }
    return undefined
  }
  const held = (ns: string, name: string) =>
    Object.keys(streams.layers(ns, name)?.images ?? {}).flatMap((digest) => {
      const bytes = bytesOf(digest)
      return bytes === undefined ? [] : [[digest, bytes] as const]
    })
  return {
    door: async () => ({ ...(await open()), authorization: `Bearer ${inspector}` }),
    resolve: (repository, tag) => {
      const [ns = '', name = ''] = repository.split('/')
      return streams.resolve(ns, name, tag)
    },
    stored: (digest) => store.blobs.has(digest as Digest) || bytesOf(digest) !== undefined,
    snapshot: () =>
      new Map(
        [...streams.projects.keys()].flatMap((ns) =>
          streams.list(ns).map(({ name, tags }) => {
            const current = [...tags].flatMap(([tag, [event]]) => (event ? [[tag, event.image] as const] : []))
            return [`${ns}/${name}`, { tags: new Map(current), manifests: new Map(held(ns, name)) }] as const
          }),
        ),
      ),
  }
}

type World = ReturnType<typeof createWorld>

/** Everything but sockets. */
function createWorld(options: ClusterOptions, now: () => number) {
  const recorder = createRecorder()
  const streams = createStreams(now)
  for (const name of PROJECTS) streams.addProject(name)
  streams.create('openshift', 'cli')
  const identities = createIdentities(streams.projects, now)
  const live: EmbeddedCluster['options'] = {
    api: { oidc: options.oidc ?? false },
    oauth: {
      identity: options.identity ?? 'htpasswd',
      tokenLifetime: options.tokenLifetime ?? 86_400,
      busyRequests: Number.POSITIVE_INFINITY,
      proxy: 'https://proxy.example.com/challenging-proxy/oauth/authorize',
    },
    registry: {
      exposed: options.registryExposed ?? true,
      apiDown: false,
      missingBlobDelay: options.missingBlobDelay ?? 0,
    },
  }
  const { allowed } = identities
  // No token of the API: nothing of it appears among those that a run obtains and deletes.
  const inspector = randomUUID()
  const whoAmI = (token: string) =>
    token === inspector
      ? { name: 'system:admin', uid: '', groups: ['system:cluster-admins'] }
      : identities.whoAmI(token)
  const images = openshiftRegistry(
    { whoAmI, allowed, streams, recorder, options: live.registry },
    options.upstream && { upstream: options.upstream },
  )
  const hosts: State['hosts'] = { internal: INTERNAL_REGISTRY }
  const faults = { api: createFaults(), oauth: createFaults(), registry: createFaults() }
  return { now, recorder, streams, identities, live, images, hosts, faults, inspector }
}

interface Network {
  start(server: ServerName, handler: Handler, log?: Log): Promise<void>
  url(server: ServerName): URL
  violations(): string[]
  close(): Promise<void>
}

function createNetwork(options: ClusterOptions, tls: ClusterCertificates, recorder: Recorder): Network {
  const servers = new Map<ServerName, { url: string; log: Log; stop: () => Promise<void> }>()
  return {
    async start(server, handler, log = createLog()) {
      const on = listener(handler, log)
      const dressed = { api: withClientCertificate, oauth: withOauthHeaders, registry: undefined, sso: undefined }[
        server
      ]
      const certified = server === 'sso' ? 'oauth' : server
      const started = await listen(recorder.watch(server, dressed?.(on) ?? on), tls[certified])
      const host = options.hostnames?.[certified] ?? '127.0.0.1'
      const url = `https://${host}:${(started.address() as AddressInfo).port}`
      servers.set(server, { url, log, stop: () => stop(started) })
    },
    url(server) {
      const started = servers.get(server)
      if (!started) throw new Error(`the ${server} server does not run`)
      return new URL(started.url)
    },
    violations: () => [...servers].flatMap(([server, { log }]) => log.violations.map((text) => `${server}: ${text}`)),
    close: async () => void (await Promise.all([...servers.values()].map((server) => server.stop()))),
  }
}

async function startServers(world: World, network: Network): Promise<void> {
  const { live, faults, images } = world
  const shared = { ...world, issuer: () => network.url('oauth').origin }
  await network.start('api', faults.api.layer(apiServer({ ...shared, options: live.api })))
  await network.start('oauth', faults.oauth.layer(oauthServer({ ...shared, options: live.oauth })))
  await network.start('registry', faults.registry.layer(images.handler), images.log)
  if (live.oauth.identity !== 'request-header') return
  await network.start('sso', async () => ({ status: 401, headers: { 'WWW-Authenticate': 'Negotiate' } }))
  live.oauth.proxy = `${network.url('sso').origin}/challenging-proxy/oauth/authorize`
}

/** What people and machines can show to the servers. */
function proofs(
  { identities, streams, live }: World,
  tls: ClusterCertificates,
): Pick<EmbeddedCluster, 'token' | 'revoke' | 'serviceAccountToken' | 'clientCertificate'> {
  const userOf = (login: string) => {
    const account = identities.accounts.get(login)
    if (!account) throw new Error(`the embedded cluster has no user ${login}`)
    return account.user
  }
  return {
    token: (login) =>
      live.api.oidc
        ? identities.mintExternal(userOf(login))
        : identities.mintOauth(userOf(login), live.oauth.tokenLifetime),
    revoke: (token) => void identities.tokens.delete(token),
    serviceAccountToken(ns, name) {
      const known = streams.projects.get(ns)?.serviceAccounts.has(name)
      if (!known) throw new Error(`the embedded cluster has no account ${serviceAccountUser(ns, name).name}`)
      return identities.mintServiceAccount(ns, name)
    },
    clientCertificate: (login) => {
      const { name, groups } = userOf(login)
      return tls.client(
        name,
        groups.filter((group) => group !== 'system:authenticated'),
      )
    },
  }
}
