import type { Target } from '../copy/store.ts'
import type { Context } from '../core/context.ts'
import { PromoteError } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import { loginFromAuthFiles } from '../credentials/auth-file.ts'
import { fixedLogin } from '../credentials/login.ts'
import { type Network, openNetwork } from '../http/client.ts'
import { ANONYMOUS, type Login } from '../http/credential.ts'
import type { Config } from '../inputs/config.ts'
import type { SideConfig } from '../inputs/side.ts'
import type { Layout, openLayouts } from '../layout/layout.ts'
import {
  hostOf,
  type LayoutPlace,
  layoutName,
  type Reference,
  type RegistryAddress,
  splitLayoutName,
} from '../oci/reference.ts'
import type { Cluster } from '../openshift/cluster.ts'
import { CATALOG, createEndpoint } from '../registry/endpoint.ts'
import { withForeign } from '../registry/external-layers.ts'
import { listRepositories } from '../registry/listings.ts'
import { openRepository } from '../registry/repository.ts'
import { isPublic } from '../transport/public-address.ts'

export type Repository = Readonly<{
  store: Target
  /** `https://host:port` of the registry. Credentials belong to it, and blobs can be mounted within it. */
  origin: string
  /** `namespace/name`. */
  path: string
  /** The cluster whose own registry this is. */
  cluster: Cluster | undefined
  /** Tag of the image in a layout, when the reference names none. */
  tag?: string
  /** The names of all repositories of the registry. Missing for a layout. */
  catalog?: () => Promise<readonly string[]>
  /** Writes an archive. To be called after the last tag; nothing is at the archive's path before. */
  finish?: () => Promise<void>
}>

export type RepositoryOptions = Readonly<{
  config: Config
  context: Context
  onRetry: (what: string, reason: string, wait: number, attempt: number) => void
}>

/**
 * The repositories of one side, each with the credential that belongs there.
 * @param explicit the side's own credential, unless it opens the cluster.
 */
export function openRepositories(
  side: SideConfig,
  options: RepositoryOptions,
  network: Network,
  cluster: Cluster | undefined,
  explicit: Login | undefined,
) {
  const repositories = new Map<string, Promise<Repository>>()
  const layouts = layoutsOf(side, options)
  const foreign = createForeign(side, options)
  const { context, config } = options

  const open = async (reference: Reference): Promise<Repository> => {
    const address = await addressOf(side, cluster, reference)
    const base = new URL(`${address.plainHttp ? 'http' : 'https'}://${address.host}`)
    const path = reference.repository
    const own = (await cluster?.ownsRegistry(base.host, path)) === true ? cluster : undefined
    if (own !== undefined && address.plainHttp) throw notOverHttp(side, base)
    const login = own?.login ?? (await loginFor(side, address, reference, explicit, options))
    if (cluster !== undefined && own === undefined && isConfigured(reference, side) && login === NO_CREDENTIAL)
      context.log.warn(notItsRegistry(side, base))
    const at = {
      side: side.side,
      base,
      send: network.as(base, login),
      login,
      repository: path,
      writes: side.side === 'destination' && !config.dryRun && config.history.length === 0,
      stallTimeout: config.stallTimeout,
      context,
      ...(own && clusterHelp(own, path)),
    }
    const catalog = () => listRepositories(createEndpoint({ ...at, repository: CATALOG }))
    return { store: foreign.withLayers(openRepository(at)), origin: base.origin, path, cluster: own, catalog }
  }

  return {
    open(reference: Reference): Promise<Repository> {
      if (reference.layout !== undefined) return openInLayout(layouts.at(reference.layout), reference, foreign)
      const key = `${reference.host ?? ''}/${reference.repository}`
      return getOrAdd(repositories, key, () => open(reference))
    },
    async close(): Promise<void> {
      await Promise.all([foreign.close(), layouts.close()])
    },
  }
}

function notOverHttp(side: SideConfig, { host, href }: URL): PromoteError {
  const message = `${href} is the registry of the ${side.side} cluster, whose token is sent over https only.`
  const hint = `Set ${optionOf(side, 'registry')} to ${host}, or leave it out: the cluster names its registry.`
  return new PromoteError('USAGE', message, { side: side.side, hint })
}

function notItsRegistry(side: SideConfig, { host }: URL): string {
  const login = `an auth file (${optionOf(side, 'auth-file')}) can open it`
  return `${side.name}: ${host} is not what the cluster names as its registry, so its token is not sent there: ${login}`
}

/** What the cluster tells about one repository of its own registry. */
function clusterHelp(cluster: Cluster, path: string) {
  return {
    inventory: () => cluster.stored(path),
    evidence: () => cluster.evidence(path),
    removeTag: (tag: string) => cluster.removeTag(path, tag),
    explain: (error: PromoteError, tried: 'pull' | 'push', tag?: string) => {
      // At a destination even a read is part of a push, which needs more than the role of a puller.
      const access = cluster.side === 'destination' ? 'push' : tried
      return cluster.explain(error, { repository: path, access, tag, tokenAccepted: error.code !== 'TOKEN_REJECTED' })
    },
  }
}

/** The code for layouts is loaded when the first one is opened: most runs have none. */
function layoutsOf({ side }: SideConfig, { context }: RepositoryOptions) {
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

/** A layout is a registry with one repository: its blobs belong to all images in it. */
async function openInLayout(opening: Promise<Layout>, reference: Reference, foreign: Foreign): Promise<Repository> {
  const layout = await opening
  const { layout: place, repository, tag } = reference
  const assumed = place?.assumed === true && tag !== undefined
  const named = assumed ? splitLayoutName(await layout.nameOf(layoutName(repository, tag))) : undefined
  return {
    store: foreign.withLayers(layout.repository((named ?? reference).repository)),
    origin: `${place?.kind}:${place?.path}`,
    path: '',
    cluster: undefined,
    ...(named && { tag: named.tag }),
    ...(place?.kind === 'oci-archive' && { finish: layout.finish }),
  }
}

type Foreign = ReturnType<typeof createForeign>

/** Layers with URLs are read over connections of their own, which have no credential and do not trust the side's CA. */
function createForeign({ side }: SideConfig, { config, context, onRetry }: RepositoryOptions) {
  let network: Network | undefined
  const open = (): Network => {
    const { stallTimeout, retries, includeForeign: hosts } = config
    const within = { isAllowed: isPublic, hosts: typeof hosts === 'boolean' ? undefined : hosts }
    return openNetwork({ side, insecureSkipTlsVerify: false, stallTimeout, retries, onRetry, ...within }, context)
  }
  return {
    withLayers(store: Target): Target {
      if (side !== 'source' || !config.includeForeign) return store
      network ??= open()
      return withForeign(store, network.send, { side, context })
    },
    close: async () => network?.close(),
  }
}

/** The host in the reference, else the side's registry, else what the cluster says. */
async function addressOf(side: SideConfig, cluster: Cluster | undefined, reference: Reference) {
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

/** True when the reference names no registry, or the one that is configured for its side. */
export function isConfigured({ host }: Reference, { registry }: SideConfig): boolean {
  if (host === undefined) return true
  if (registry === undefined) return false
  const url = `${registry.plainHttp ? 'http' : 'https'}://${hostOf(host)}`
  return host === registry.host || (URL.canParse(url) && new URL(url).host === hostOf(registry.host))
}

const NO_CREDENTIAL = fixedLogin('no credential', ANONYMOUS)

/** The side's own credential is for its own registry alone. Every other registry gets its auth-file entry or nothing. */
async function loginFor(
  side: SideConfig,
  address: RegistryAddress,
  reference: Reference,
  explicit: Login | undefined,
  { config, context }: RepositoryOptions,
): Promise<Login> {
  if (explicit !== undefined && isConfigured(reference, side)) return explicit
  const key = { ...address, repository: reference.repository }
  const files = { side: side.side, explicit: side.authFile, registryAuth: config.registryAuth }
  return (await loginFromAuthFiles(key, files, context)) ?? NO_CREDENTIAL
}

/** The option as the user wrote it: `destination-token`, or `token` of an entry in the list of destinations. */
export function optionOf({ side, name }: SideConfig, option: string): string {
  return name === side ? `${side}-${option}` : `${option} of ${name}`
}
