import type { Context } from './context.ts'
import { ANONYMOUS, fixedLogin, type Login } from './credential.ts'
import { loginFromAuthFiles } from './credentials/auth-file.ts'
import { podCluster } from './credentials/pod.ts'
import { PromoteError } from './errors.ts'
import { openNetwork } from './http/network.ts'
import type { Network } from './http/send.ts'
import type { Config, SideConfig } from './inputs/config.ts'
import {
  hostOf,
  type LayoutPlace,
  layoutName,
  type Reference,
  type RegistryAddress,
  splitLayoutName,
} from './oci/reference.ts'
import type { Cluster, ClusterAccess } from './openshift/cluster.ts'
import { withForeign } from './store/foreign.ts'
import type { Layout, openLayouts } from './store/layout.ts'
import { openRepository } from './store/registry.ts'
import type { Target } from './store/store.ts'
import { isPublic } from './wire/reach.ts'

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

/** A client certificate is shown to the API alone. */
type Access = Readonly<{
  ca: string | undefined
  insecure: boolean
  certificate?: { cert: string; key: string }
  api?: URL
  way?: ClusterAccess['way']
}>

export async function openSide(side: SideConfig, options: SideOptions): Promise<Side> {
  const { context, config, onRetry } = options
  const access = await accessOf(side, options)
  if (access.insecure)
    context.log.warn(`${side.name}: certificates are not checked; whoever is on the way can read and change everything`)
  const network = openNetwork(
    {
      side: side.side,
      insecureSkipTlsVerify: access.insecure,
      stallTimeout: config.stallTimeout,
      retries: config.retries,
      onRetry,
      ...(access.ca === undefined ? {} : { ca: access.ca }),
      ...(access.certificate === undefined
        ? {}
        : {
            clientCertificate: {
              ...access.certificate,
              origin: access.api?.origin,
              besideTokens: access.way?.kind !== 'certificate',
            },
          }),
    },
    context,
  )
  try {
    const cluster =
      access.api === undefined ? undefined : await openClusterOf(side, access, access.api, network, context)
    return createSide(side, options, { network, cluster, api: access.api?.host })
  } catch (thrown) {
    await network.close()
    throw thrown
  }
}

/** Where the API is and how to get in, from whichever inputs say it. */
async function accessOf(side: SideConfig, { context, oidcToken }: SideOptions): Promise<Access> {
  const own = { ca: side.ca, insecure: side.insecureSkipTlsVerify }
  if (side.kubeconfig !== undefined) {
    const { readKubeconfig } = await import(/* webpackMode: "eager" */ './credentials/kubeconfig.ts')
    const from = await readKubeconfig(side.kubeconfig, side.context, context, side.side)
    const way =
      from.login !== undefined
        ? await wayOf(from.login)
        : from.clientCertificate !== undefined
          ? ({ kind: 'certificate' } as const)
          : explicitWay(side)
    const certificate = from.clientCertificate === undefined ? {} : { certificate: from.clientCertificate }
    if (from.proxyUrl !== undefined)
      context.log.warn(`${side.name}: the proxy-url of the kubeconfig is not used: set HTTPS_PROXY instead`)
    if (from.tlsServerName !== undefined)
      context.log.warn(
        `${side.name}: the tls-server-name of the kubeconfig is not used: its server must have that name`,
      )
    return {
      ca: joinPem(side.ca, from.ca),
      insecure: side.insecureSkipTlsVerify || from.insecure,
      api: from.server,
      way,
      ...certificate,
    }
  }
  if (side.cluster === 'in-cluster') {
    const pod = podCluster(context, { side: side.side })
    return {
      ...own,
      ca: joinPem(side.ca, pod.ca),
      api: pod.api,
      way: optionalWay(side) ?? { kind: 'token', login: pod.login },
    }
  }
  if (side.cluster === undefined) return own
  if (side.oidcAudience === undefined) return { ...own, api: side.cluster, way: explicitWay(side) }
  if (oidcToken === undefined)
    throw new PromoteError(
      'CREDENTIAL_MISSING',
      `${optionOf(side, 'oidc-audience')} needs GitHub Actions: no other host has an OIDC token`,
      { side: side.side },
    )
  const { githubOidcLogin } = await import(/* webpackMode: "eager" */ './credentials/github-oidc.ts')
  return {
    ...own,
    api: side.cluster,
    way: { kind: 'token', login: githubOidcLogin(side.oidcAudience, oidcToken, context, side.side) },
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
  throw new PromoteError('CREDENTIAL_MISSING', `no way into the ${side.side} cluster is configured`, {
    side: side.side,
    hint: `Give ${optionOf(side, 'username')} and ${optionOf(side, 'password')}, or ${optionOf(side, 'token')}.`,
  })
}

function optionalWay(side: SideConfig): ClusterAccess['way'] | undefined {
  const { username, password, token } = side
  if (username !== undefined && password !== undefined) return { kind: 'password', username, password }
  if (token === undefined) return undefined
  return { kind: 'token', login: fixedLogin(`token of ${optionOf(side, 'token')}`, { kind: 'bearer', token }) }
}

/** How the user has spelled it: `destination-token`, or `token` of an entry in the list of destinations. */
function optionOf({ side, name }: SideConfig, option: string): string {
  return name === side ? `${side}-${option}` : `${option} of ${name}`
}

function joinPem(...parts: readonly (string | undefined)[]): string | undefined {
  const given = parts.filter((part) => part !== undefined && part !== '')
  return given.length === 0 ? undefined : given.join('\n')
}

async function openClusterOf(
  side: SideConfig,
  access: Access,
  api: URL,
  network: Network,
  context: Context,
): Promise<Cluster> {
  if (access.way === undefined) throw new PromoteError('INTERNAL', 'a cluster without a way in')
  const { openCluster } = await import(/* webpackMode: "eager" */ './openshift/cluster.ts')
  const account = side.serviceAccount === undefined ? {} : { serviceAccount: side.serviceAccount }
  return openCluster(
    side.side,
    { api, network, way: access.way, inCluster: side.cluster === 'in-cluster', ...account },
    context,
  )
}

type Parts = Readonly<{
  network: Network
  cluster: Cluster | undefined
  api: string | undefined
}>

function createSide(side: SideConfig, options: SideOptions, { network, cluster, api }: Parts): Side {
  const repositories = new Map<string, Promise<Repository>>()
  const layouts = layoutsOf(side, options)
  const foreign = createForeign(side, options)
  const explicit = cluster === undefined ? explicitLogin(side) : undefined

  const open = async (reference: Reference): Promise<Repository> => {
    const address = await addressOf(side, cluster, reference)
    const base = new URL(`${address.plainHttp ? 'http' : 'https'}://${address.host}`)
    const own = (await cluster?.ownsRegistry(base.host, reference.repository)) === true ? cluster : undefined
    if (own !== undefined && address.plainHttp) throw notOverHttp(side, base)
    const login = own?.login ?? (await loginFor(side, address, reference, explicit, options.context))
    if (cluster !== undefined && own === undefined && isConfigured(reference, side) && login === NOTHING)
      options.context.log.warn(notItsOwn(side, base))
    const path = reference.repository
    const { context, config } = options
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

/** Scheme, host and port make an origin: that of the cluster's registry is https. */
function notOverHttp(side: SideConfig, { host, href }: URL): PromoteError {
  const message = `${href} is the registry of the ${side.side} cluster, whose token is sent over https only.`
  const hint = `Set ${optionOf(side, 'registry')} to ${host}, or leave it out: the cluster names its registry.`
  return new PromoteError('USAGE', message, { side: side.side, hint })
}

function notItsOwn(side: SideConfig, { host }: URL): string {
  const way = `an auth file (${optionOf(side, 'auth-file')}) can open it`
  return `${side.name}: ${host} is not what the cluster names as its registry, so its token is not sent there: ${way}`
}

/** Loaded with the first of them: archives and folders are no part of most runs. */
function layoutsOf({ side }: SideConfig, { context }: SideOptions) {
  let opened: Promise<ReturnType<typeof openLayouts>> | undefined
  const open = async () => (await import(/* webpackMode: "eager" */ './store/layout.ts')).openLayouts(side, context)
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
    const within = { reach: isPublic, hosts: config.foreignHosts }
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
  throw new PromoteError('REGISTRY_UNKNOWN', `no registry is known for ${reference.repository}`, {
    side: side.side,
    hint: `Give ${optionOf(side, 'cluster')} or ${optionOf(side, 'registry')}, or write the registry into the reference.`,
  })
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
  const file = side.authFile === undefined ? {} : { explicit: side.authFile }
  const found = await loginFromAuthFiles(
    { ...address, repository: reference.repository },
    { side: side.side, ...file },
    context,
  )
  return found ?? NOTHING
}

function explicitLogin(side: SideConfig): Login | undefined {
  const { username, password, token } = side
  const secret = password ?? token
  if (secret === undefined) return undefined
  if (username === undefined)
    return fixedLogin(`token of ${optionOf(side, 'token')}`, { kind: 'bearer', token: secret })
  return fixedLogin(`user ${username}`, { kind: 'basic', username, password: secret })
}
