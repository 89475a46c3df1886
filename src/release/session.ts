import { ignoreUnhandled } from '../core/async.ts'
import type { Context } from '../core/context.ts'
import { PromoteError } from '../core/errors.ts'
import type { Kubeconfig } from '../credentials/kubeconfig.ts'
import { fixedLogin } from '../credentials/login.ts'
import { isPodApi, podCa, podCluster } from '../credentials/pod-account.ts'
import { type Network, openNetwork } from '../http/client.ts'
import type { Login } from '../http/credential.ts'
import type { SideConfig } from '../inputs/side.ts'
import type { ClusterAccess } from '../openshift/cluster.ts'
import type { Row } from '../report/model.ts'
import { openRepositories, optionOf, type RepositoryOptions } from './repositories.ts'
import type { Run } from './run.ts'

/** One side of the promotion after login. */
export type Session = Awaited<ReturnType<typeof openSession>>

/** The sessions of a run. Each is awaited where it is needed, so that no side waits for the login of another. */
export type Sessions = ReturnType<typeof openSessions>

/** Logs in to all these sides at the same time. */
export function openSessions(sides: readonly SideConfig[], run: Run) {
  const { config } = run
  const opened = new Map(sides.map((side) => [side, ignoreUnhandled(openSession(side, run))]))
  const get = (side: SideConfig | undefined) =>
    (side && opened.get(side)) ?? Promise.reject(new PromoteError('INTERNAL', 'a side without a session'))
  const close = (session: Promise<Session>) => session.then((open) => open.close()).catch(() => undefined)
  return {
    source: () => get(config.source),
    destination: (name: string) => get(config.destinations.find((each) => each.name === name)),
    /** Logs out of all sides. Never throws. */
    async close() {
      await Promise.all([...opened.values()].map(close))
    },
  }
}

/** Makes a row of each item at these sides, side by side, and reports it. */
export async function rowsAt<T>(
  items: readonly T[],
  sides: readonly SideConfig[],
  run: Run,
  rowOf: (item: T, sessions: Sessions) => Promise<Row>,
): Promise<readonly Row[]> {
  const sessions = openSessions(sides, run)
  const report = async (item: T, image: number): Promise<Row> => {
    const row = await rowOf(item, sessions)
    run.host.event({ event: 'image', image, images: items.length, row })
    return row
  }
  try {
    return await Promise.all(items.map(report))
  } finally {
    await sessions.close()
  }
}

/** Where the API of a side is, and how to log in. */
type Access = Readonly<{
  ca: string | undefined
  insecure: boolean
  api?: URL
  way?: ClusterAccess['way']
  /** Client certificate of a kubeconfig. It is used for the API only. */
  certificate?: Kubeconfig['clientCertificate']
}>

async function openSession(side: SideConfig, run: Run) {
  const options: RepositoryOptions = {
    config: run.config,
    context: run.context,
    onRetry: (what, reason, wait, attempt) =>
      run.host.event({ event: 'retry', image: null, what, reason, wait, attempt }),
  }
  const access = await accessOf(side, run)
  const network = openSideNetwork(side, access, options)
  try {
    const cluster = await openClusterOf(side, access, network, run)
    const explicit = cluster === undefined ? registryLogin(side) : undefined
    const repositories = openRepositories(side, options, network, cluster, explicit)
    return {
      cluster,
      repository: repositories.open,
      /** Logs out and closes all connections. Never throws. */
      async close() {
        await cluster?.logout()
        await Promise.all([network.close(), repositories.close()])
      },
    }
  } catch (thrown) {
    await network.close()
    throw thrown
  }
}

function openSideNetwork(side: SideConfig, access: Access, { config, context, onRetry }: RepositoryOptions): Network {
  const { insecure: insecureSkipTlsVerify, api, way, certificate } = access
  if (insecureSkipTlsVerify)
    context.log.warn(
      `${side.name}: certificates are not checked; anyone on the network path can read and change everything`,
    )
  const { stallTimeout, retries } = config
  const besideTokens = way?.kind !== 'certificate'
  const clientCertificate = certificate && { ...certificate, origin: api?.origin, besideTokens }
  const ca = api && isPodApi(api, context.env) ? joinPem(access.ca, podCa()) : access.ca
  const options = { side: side.side, insecureSkipTlsVerify, stallTimeout, retries, onRetry, ca, clientCertificate }
  return openNetwork(options, context)
}

async function openClusterOf(side: SideConfig, { api, way }: Access, network: Network, { context, host }: Run) {
  if (api === undefined || way === undefined) return undefined
  const { openCluster } = await import(/* webpackMode: "eager" */ '../openshift/cluster.ts')
  const inCluster = isPodApi(api, context.env)
  const access = { api, network, way, inCluster, serviceAccount: side.serviceAccount }
  const cluster = await openCluster(side.side, access, context)
  host.event({ event: 'login', side: side.side, target: side.name, user: cluster.user, registry: api.host })
  return cluster
}

async function accessOf(side: SideConfig, { context, host }: Run): Promise<Access> {
  const own = { ca: side.ca, insecure: side.insecureSkipTlsVerify }
  if (side.kubeconfig !== undefined || side.context !== undefined) return accessByKubeconfig(side, context)
  if (side.cluster === undefined) return own
  const byAccount = (api?: URL): Access => {
    const pod = podCluster(context, { side: side.side })
    return { ...own, api: api ?? pod.api, way: optionalWay(side) ?? { kind: 'token', login: pod.login } }
  }
  if (side.cluster === 'in-cluster') return byAccount()
  if (side.oidcAudience === undefined) {
    // The URL of the API's service means the same as `in-cluster`.
    if (optionalWay(side) === undefined && isPodApi(side.cluster, context.env)) return byAccount(side.cluster)
    return { ...own, api: side.cluster, way: requiredWay(side) }
  }
  if (host.oidcToken === undefined) {
    const message = `${optionOf(side, 'oidc-audience')} needs GitHub Actions: no other host has an OIDC token`
    throw new PromoteError('CREDENTIAL_MISSING', message, { side: side.side })
  }
  const { githubOidcLogin } = await import(/* webpackMode: "eager" */ '../credentials/github-oidc.ts')
  const login = githubOidcLogin(side.oidcAudience, host.oidcToken.bind(host), context, side.side)
  return { ...own, api: side.cluster, way: { kind: 'token', login } }
}

async function accessByKubeconfig(side: SideConfig, context: Context): Promise<Access> {
  const { readKubeconfig } = await import(/* webpackMode: "eager" */ '../credentials/kubeconfig.ts')
  const from = await readKubeconfig(side.kubeconfig, side.context, context, side.side)
  const warn = (what: string, instead: string) =>
    context.log.warn(`${side.name}: the ${what} of the kubeconfig is not used: ${instead}`)
  if (from.proxyUrl !== undefined) warn('proxy-url', 'set HTTPS_PROXY instead')
  if (from.tlsServerName !== undefined) warn('tls-server-name', 'its server must have that name')
  const { login, clientCertificate: certificate } = from
  const without = () => (certificate === undefined ? requiredWay(side) : ({ kind: 'certificate' } as const))
  return {
    ca: joinPem(side.ca, from.ca),
    insecure: side.insecureSkipTlsVerify || from.insecure,
    api: from.server,
    way: login === undefined ? without() : await wayOf(login),
    certificate,
  }
}

/** A kubeconfig may hold user name and password. They log in as those of the options do. */
async function wayOf(login: Login): Promise<ClusterAccess['way']> {
  const credential = await login.current()
  if (credential.kind !== 'basic') return { kind: 'token', login }
  return { kind: 'password', username: credential.username, password: credential.password }
}

function requiredWay(side: SideConfig): ClusterAccess['way'] {
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

/** The credential of a side without a cluster. It opens the side's own registry. */
function registryLogin(side: SideConfig): Login | undefined {
  const { username, token } = side
  const password = side.password ?? token
  if (username === undefined || password === undefined) return tokenOf(side)
  return fixedLogin(`user ${username}`, { kind: 'basic', username, password })
}

function joinPem(...parts: readonly (string | undefined)[]): string | undefined {
  const given = parts.filter((part) => part !== undefined && part !== '')
  return given.length === 0 ? undefined : given.join('\n')
}
