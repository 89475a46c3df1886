import type { Target } from '../copy/store.ts'
import type { Context } from '../core/context.ts'
import { PromoteError } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import { loginFromAuthFiles } from '../credentials/auth-file.ts'
import type { Kubeconfig } from '../credentials/kubeconfig.ts'
import { fixedLogin } from '../credentials/login.ts'
import { podCluster } from '../credentials/pod-account.ts'
import { type Network, openNetwork } from '../http/client.ts'
import { ANONYMOUS, type Login } from '../http/credential.ts'
import type { Config, SideConfig } from '../inputs/config.ts'
import type { Layout, openLayouts } from '../layout/layout.ts'
import {
  hostOf,
  type LayoutPlace,
  layoutName,
  type Reference,
  type RegistryAddress,
  splitLayoutName,
} from '../oci/reference.ts'
import type { Cluster, ClusterAccess } from '../openshift/cluster.ts'
import { withForeign } from '../registry/external-layers.ts'
import { openRepository } from '../registry/repository.ts'
import { isPublic } from '../transport/public-address.ts'

/** One side of the promotion after login: repositories of its registry, each with the credential that belongs there. */
export interface Side {
  readonly cluster: Cluster | undefined
  /** Host of the API, for the log. */
  readonly api: string | undefined
  repository(reference: Reference): Promise<Repository>
  /** Logs out and lets the connections go. Never throws. */
  close(): Promise<void>
}

export type Repository = Readonly<{
  store: Target
  /** `https://host:port` of the registry: what a credential belongs to and mounts stay within. */
  origin: string
  /** `namespace/name`. */
  path: string
  /** The cluster whose own registry this is. */
  cluster: Cluster | undefined
  /** Of the image that a layout holds, when the reference names none. */
  tag?: string
  /** After the last tag, where nothing is there before: an archive gets its name. */
  finish?: () => Promise<void>
}>

export type SideOptions = Readonly<{
  config: Config
  context: Context
  oidcToken: ((audience: string) => Promise<string>) | undefined
  onRetry: (what: string, reason: string, wait: number, attempt: number) => void
}>

/** Where the API is and how to get in. */
type Access = Readonly<{
  ca: string | undefined
  insecure: boolean
  api?: URL
  way?: ClusterAccess['way']
  /** Of a kubeconfig. It is shown to the API alone. */
  certificate?: Kubeconfig['clientCertificate']
}>

export async function openSide(side: SideConfig, options: SideOptions): Promise<Side> {
  const { context, config, onRetry } = options
  const { ca, insecure, api, way, certificate } = await accessOf(side, options)
  if (insecure)
    context.log.warn(`${side.name}: certificates are not checked; whoever is on the way can read and change everything`)
  const { stallTimeout, retries } = config
  const clientCertificate = certificate && {
    ...certificate,
    origin: api?.origin,
    besideTokens: way?.kind !== 'certificate',
  }
  const network = openNetwork(
    { side: side.side, insecureSkipTlsVerify: insecure, stallTimeout, retries, onRetry, ca, clientCertificate },
    context,
  )
  try {
    if (api === undefined || way === undefined) return createSide(side, options, network)
    const { openCluster } = await import(/* webpackMode: "eager" */ '../openshift/cluster.ts')
    const inCluster = side.cluster === 'in-cluster'
    const access = { api, network, way, inCluster, serviceAccount: side.serviceAccount }
    return createSide(side, options, network, await openCluster(side.side, access, context), api.host)
  } catch (thrown) {
    await network.close()
    throw thrown
  }
}

async function accessOf(side: SideConfig, { context, oidcToken }: SideOptions): Promise<Access> {
  const own = { ca: side.ca, insecure: side.insecureSkipTlsVerify }
  if (side.kubeconfig !== undefined) return accessByKubeconfig(side, side.kubeconfig, context)
  if (side.cluster === undefined) return own
  if (side.cluster === 'in-cluster') {
    const { api, ca, login } = podCluster(context, { side: side.side })
    return { ...own, ca: joinPem(side.ca, ca), api, way: optionalWay(side) ?? { kind: 'token', login } }
  }
  if (side.oidcAudience === undefined) return { ...own, api: side.cluster, way: explicitWay(side) }
  if (oidcToken === undefined) {
    const message = `${optionOf(side, 'oidc-audience')} needs GitHub Actions: no other host has an OIDC token`
    throw new PromoteError('CREDENTIAL_MISSING', message, { side: side.side })
  }
  const { githubOidcLogin } = await import(/* webpackMode: "eager" */ '../credentials/github-oidc.ts')
  const login = githubOidcLogin(side.oidcAudience, oidcToken, context, side.side)
  return { ...own, api: side.cluster, way: { kind: 'token', login } }
}

async function accessByKubeconfig(side: SideConfig, given: string | Secret, context: Context): Promise<Access> {
  const { readKubeconfig } = await import(/* webpackMode: "eager" */ '../credentials/kubeconfig.ts')
  const from = await readKubeconfig(given, side.context, context, side.side)
  const warn = (what: string, instead: string) =>
    context.log.warn(`${side.name}: the ${what} of the kubeconfig is not used: ${instead}`)
  if (from.proxyUrl !== undefined) warn('proxy-url', 'set HTTPS_PROXY instead')
  if (from.tlsServerName !== undefined) warn('tls-server-name', 'its server must have that name')
  const { login, clientCertificate: certificate } = from
  const without = () => (certificate === undefined ? explicitWay(side) : ({ kind: 'certificate' } as const))
  return {
    ca: joinPem(side.ca, from.ca),
    insecure: side.insecureSkipTlsVerify || from.insecure,
    api: from.server,
    way: login === undefined ? without() : await wayOf(login),
    certificate,
  }
}

/** A kubeconfig may hold user and password: they log in as any others do. */
async function wayOf(login: Login): Promise<ClusterAccess['way']> {
  const credential = await login.current()
  if (credential.kind !== 'basic') return { kind: 'token', login }
  return { kind: 'password', username: credential.username, password: credential.password }
}

function explicitWay(side: SideConfig): ClusterAccess['way'] {
  const way = optionalWay(side)
  if (way !== undefined) return way
  const hint = `Give ${optionOf(side, 'username')} and ${optionOf(side, 'password')}, or ${optionOf(side, 'token')}.`
  const message = `no way into the ${side.side} cluster is configured`
  throw new PromoteError('CREDENTIAL_MISSING', message, { side: side.side, hint })
}

function optionalWay(side: SideConfig): ClusterAccess['way'] | undefined {
  const { username, password } = side
  if (username !== undefined && password !== undefined) return { kind: 'password', username, password }
  const login = tokenOf(side)
  return login && { kind: 'token', login }
}

function tokenOf(side: SideConfig): Login | undefined {
  const { token } = side
  return token && fixedLogin(`token of ${optionOf(side, 'token')}`, { kind: 'bearer', token })
}

/** How the user has spelled it: `destination-token`, or `token` of an entry in the list of destinations. */
function optionOf({ side, name }: SideConfig, option: string): string {
  return name === side ? `${side}-${option}` : `${option} of ${name}`
}

function joinPem(...parts: readonly (string | undefined)[]): string | undefined {
  const given = parts.filter((part) => part !== undefined && part !== '')
  return given.length === 0 ? undefined : given.join('\n')
}

function createSide(side: SideConfig, options: SideOptions, network: Network, cluster?: Cluster, api?: string): Side {
  const repositories = new Map<string, Promise<Repository>>()
  const layouts = layoutsOf(side, options)
  const foreign = createForeign(side, options)
  const { context, config } = options
  const explicit = cluster === undefined ? explicitLogin(side) : undefined

  const open = async (reference: Reference): Promise<Repository> => {
    const address = await addressOf(side, cluster, reference)
    const base = new URL(`${address.plainHttp ? 'http' : 'https'}://${address.host}`)
    const path = reference.repository
    const own = (await cluster?.ownsRegistry(base.host, path)) === true ? cluster : undefined
    if (own !== undefined && address.plainHttp) throw notOverHttp(side, base)
    const login = own?.login ?? (await loginFor(side, address, reference, explicit, context))
    if (cluster !== undefined && own === undefined && isConfigured(reference, side) && login === NOTHING)
      context.log.warn(
        `${side.name}: ${base.host} is not what the cluster names as its registry, so its token is not sent there: ` +
          `an auth file (${optionOf(side, 'auth-file')}) can open it`,
      )
    const store = openRepository({
      side: side.side,
      base,
      send: network.as(base, login),
      login,
      repository: path,
      writes: side.side === 'destination' && !config.dryRun,
      stallTimeout: config.stallTimeout,
      context,
      ...(own === undefined ? {} : helpOf(own, path)),
    })
    return { store: foreign.beside(store), origin: base.origin, path, cluster: own }
  }

  return {
    cluster,
    api,
    repository(reference) {
      if (reference.layout !== undefined) return openInLayout(layouts.at(reference.layout), reference, foreign)
      const key = `${reference.host ?? ''}/${reference.repository}`
      const known = repositories.get(key) ?? open(reference)
      repositories.set(key, known)
      return known
    },
    async close() {
      await cluster?.logout()
      await Promise.all([network.close(), foreign.close(), layouts.close()])
    },
  }
}

function notOverHttp(side: SideConfig, { host, href }: URL): PromoteError {
  const message = `${href} is the registry of the ${side.side} cluster, whose token is sent over https only.`
  const hint = `Set ${optionOf(side, 'registry')} to ${host}, or leave it out: the cluster names its registry.`
  return new PromoteError('USAGE', message, { side: side.side, hint })
}

/** Loaded with the first of them: archives and folders are no part of most runs. */
function layoutsOf({ side }: SideConfig, { context }: SideOptions) {
  let opened: Promise<ReturnType<typeof openLayouts>> | undefined
  const open = async () => (await import(/* webpackMode: "eager" */ '../layout/layout.ts')).openLayouts(side, context)
  return {
    at: async (place: LayoutPlace): Promise<Layout> => {
      opened ??= open()
      return (await opened).at(place)
    },
    close: async () => (await opened)?.close(),
  }
}

/** A layout is its own registry, and all of it one repository: blobs belong to all images in it. */
async function openInLayout(opening: Promise<Layout>, reference: Reference, foreign: Foreign): Promise<Repository> {
  const layout = await opening
  const { layout: place, repository, tag } = reference
  const assumed = place?.assumed === true && tag !== undefined
  const meant = assumed ? splitLayoutName(await layout.nameOf(layoutName(repository, tag))) : undefined
  return {
    store: foreign.beside(layout.repository((meant ?? reference).repository)),
    origin: `${place?.kind}:${place?.path}`,
    path: '',
    cluster: undefined,
    ...(meant === undefined ? {} : { tag: meant.tag }),
    ...(place?.kind === 'oci-archive' ? { finish: layout.finish } : {}),
  }
}

type Foreign = ReturnType<typeof createForeign>

/** Layers at addresses that manifests name: over connections of their own, which know no credential and no CA of the side. */
function createForeign({ side }: SideConfig, { config, context, onRetry }: SideOptions) {
  let network: Network | undefined
  const open = (): Network => {
    const { stallTimeout, retries } = config
    const within = { isAllowed: isPublic, hosts: config.foreignHosts }
    return openNetwork({ side, insecureSkipTlsVerify: false, stallTimeout, retries, onRetry, ...within }, context)
  }
  return {
    beside(store: Target): Target {
      if (side !== 'source' || !config.includeForeign) return store
      network ??= open()
      return withForeign(store, network.send, { side, context })
    },
    close: async () => network?.close(),
  }
}

function helpOf(cluster: Cluster, path: string) {
  return {
    inventory: () => cluster.stored(path),
    evidence: () => cluster.evidence(path),
    removeTag: (tag: string) => cluster.removeTag(path, tag),
    explain: (error: PromoteError, access: 'pull' | 'push', tag?: string) =>
      cluster.explain(error, { repository: path, access, tag, tokenAccepted: error.code !== 'TOKEN_REJECTED' }),
  }
}

/** A host in the reference, else the side's registry, else what the cluster says. */
async function addressOf(
  side: SideConfig,
  cluster: Cluster | undefined,
  reference: Reference,
): Promise<RegistryAddress> {
  if (reference.host !== undefined) {
    if (side.registry !== undefined && isConfigured(reference, side)) return side.registry
    return { host: hostOf(reference.host), plainHttp: false }
  }
  if (side.registry !== undefined) return { ...side.registry, host: hostOf(side.registry.host) }
  if (cluster !== undefined) return cluster.registryFor(reference.repository)
  const hint = `Give ${optionOf(side, 'cluster')} or ${optionOf(side, 'registry')}, or write the registry into the reference.`
  const message = `no registry is known for ${reference.repository}`
  throw new PromoteError('REGISTRY_UNKNOWN', message, { side: side.side, hint })
}

/** The reference names no registry, or the one that is configured for its side. */
export function isConfigured({ host }: Reference, { registry }: SideConfig): boolean {
  if (host === undefined) return true
  if (registry === undefined) return false
  const url = `${registry.plainHttp ? 'http' : 'https'}://${hostOf(host)}`
  return host === registry.host || (URL.canParse(url) && new URL(url).host === hostOf(registry.host))
}

const NOTHING = fixedLogin('no credential', ANONYMOUS)

/**
 * Explicit credentials of a side without a cluster open its own registry and nothing else; every other registry gets
 * its auth-file entry or nothing.
 */
async function loginFor(
  side: SideConfig,
  address: RegistryAddress,
  reference: Reference,
  explicit: Login | undefined,
  context: Context,
): Promise<Login> {
  if (explicit !== undefined && isConfigured(reference, side)) return explicit
  const key = { ...address, repository: reference.repository }
  return (await loginFromAuthFiles(key, { side: side.side, explicit: side.authFile }, context)) ?? NOTHING
}

function explicitLogin(side: SideConfig): Login | undefined {
  const { username, token } = side
  const password = side.password ?? token
  if (username === undefined || password === undefined) return tokenOf(side)
  return fixedLogin(`user ${username}`, { kind: 'basic', username, password })
}
