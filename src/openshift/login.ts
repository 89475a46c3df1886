import type { Context } from '../context.ts'
import type { Login } from '../credential.ts'
import { PromoteError } from '../errors.ts'
import type { Network } from '../http/send.ts'
import type { Secret } from '../secret.ts'
import { type Cluster, clusterOf } from './cluster.ts'
import { isAlive, whoAmI } from './identity.ts'
import { type ClusterSide, type Kubernetes, kubernetes } from './kubernetes.ts'
import { revoke } from './logout.ts'
import { discover, type PasswordLogin, requestToken } from './oauth.ts'
import { openRegistries } from './registry-address.ts'
import { requestAccountToken, type ServiceAccount } from './service-account.ts'
import { openStreams } from './streams.ts'
import { type IssuedToken, tokenLogin } from './token-login.ts'

export type ClusterAccess = Readonly<{
  /** The API server: https. */
  api: URL
  network: Network
  way:
    | Readonly<{ kind: 'password'; username: string; password: Secret }>
    | Readonly<{ kind: 'token'; login: Login }>
    /** The network's own client certificate. It opens the API only: registries know tokens. */
    | Readonly<{ kind: 'certificate' }>
  /** A short-lived token of this account opens the registry, instead of the user's. */
  serviceAccount?: ServiceAccount | undefined
  /** This process runs in a pod of the cluster and reaches its services. */
  inCluster: boolean
}>

/** The way in, opened: how the API is asked, and what must be cleaned up. */
type Entry = Readonly<{
  kube: Kubernetes
  /** Undefined for a client certificate. */
  login: Login | undefined
  issuer: () => Promise<URL | undefined>
  leave: () => Promise<void>
}>

/**
 * Logs in, as `oc login` does, and asks the API who we are. Fails with LOGIN_REJECTED, LOGIN_UNSUPPORTED,
 * IDENTITY_PROVIDER, NOT_A_CLUSTER, TOKEN_REJECTED, … of that side; a token that was obtained is deleted then.
 */
export async function openCluster(side: ClusterSide, access: ClusterAccess, context: Context): Promise<Cluster> {
  check(side, access)
  const entry = await enter(side, access, context)
  try {
    const credential = await entry.login?.current()
    const describe = entry.login?.describe ?? 'client certificate'
    const user = await whoAmI(entry.kube, describe, credential?.kind === 'bearer' ? credential.token : undefined)
    return await assemble(entry, user, access, context)
  } catch (thrown) {
    await entry.leave()
    throw thrown
  }
}

function check(side: ClusterSide, { api, way, serviceAccount }: ClusterAccess): void {
  if (api.protocol !== 'https:')
    throw new PromoteError('USAGE', `The API server ${api.host} must be an https URL: credentials are sent there.`, {
      side,
    })
  if (way.kind === 'password' && way.username.includes(':'))
    throw new PromoteError('USAGE', 'A user name with ":" cannot log in by password: HTTP Basic would cut it there.', {
      side,
      hint: `For a service account use ${side}-token.`,
    })
  if (way.kind === 'certificate' && serviceAccount === undefined)
    throw new PromoteError(
      'CREDENTIAL_MISSING',
      'A client certificate opens the API, but not the registry, which knows tokens only.',
      {
        side,
        hint: `Set ${side}-service-account to namespace/name: a short-lived token of that account then opens the registry.`,
      },
    )
}

async function enter(side: ClusterSide, access: ClusterAccess, context: Context): Promise<Entry> {
  const { api, network, way } = access
  const plain = kubernetes(api, side, network.send, context)
  if (way.kind === 'password') return enterByPassword(plain, network, way)
  const login = way.kind === 'token' ? way.login : undefined
  let issuer: Promise<URL | undefined> | undefined
  return {
    kube: login === undefined ? plain : kubernetes(api, side, network.as(api, login), context, login),
    login,
    issuer: () => {
      issuer ??= discover(network, api, side, context).then(
        (server) => server.issuer,
        () => undefined,
      )
      return issuer
    },
    leave: async () => undefined,
  }
}

async function enterByPassword(plain: Kubernetes, network: Network, user: PasswordLogin): Promise<Entry> {
  const { url, side, context } = plain
  const server = await discover(network, url, side, context)
  const obtained: IssuedToken[] = []
  const obtain = async (): Promise<IssuedToken> => {
    const issued = await requestToken(network, server, user, side, context)
    obtained.push(issued)
    return issued
  }
  const describe = `password login of ${user.username}`
  const alive = (token: Secret) => isAlive(network, plain, token)
  const login = tokenLogin({ describe, obtain, alive }, await obtain(), context)
  return {
    kube: kubernetes(url, side, network.as(url, login), context, login),
    login,
    issuer: async () => server.issuer,
    leave: () => revoke(obtained.splice(0), network, plain),
  }
}

async function assemble(entry: Entry, user: string, access: ClusterAccess, context: Context): Promise<Cluster> {
  const { kube } = entry
  const { api, network, serviceAccount } = access
  const { side } = kube
  const login = await registryLogin(entry, user, access, context)
  const registryUser =
    serviceAccount === undefined ? user : `system:serviceaccount:${serviceAccount.namespace}:${serviceAccount.name}`
  const registry = login === entry.login ? kube : kubernetes(api, side, network.as(api, login), context, login)
  const streams = openStreams(kube, user, registryUser)
  const registries = openRegistries({ kube, network, streams, inCluster: access.inCluster, issuer: entry.issuer })
  const token = async (): Promise<Secret | undefined> => {
    const credential = await login.current()
    return credential.kind === 'bearer' ? credential.token : undefined
  }
  const alive = async (): Promise<boolean> => {
    const current = await token()
    return current === undefined || isAlive(network, kube, current)
  }
  const witness = {
    kube,
    registry,
    registryUser,
    alive,
    token: async () => (await token())?.reveal(),
  }
  return clusterOf({ side, user, login, streams, registries, witness, logout: entry.leave })
}

async function registryLogin(entry: Entry, user: string, access: ClusterAccess, context: Context): Promise<Login> {
  const { kube, login } = entry
  const { network, serviceAccount } = access
  if (serviceAccount !== undefined) {
    const obtain = () => requestAccountToken(kube, serviceAccount, user)
    const alive = (token: Secret) => isAlive(network, kube, token)
    const describe = `token of the service account ${serviceAccount.namespace}/${serviceAccount.name}`
    return tokenLogin({ describe, obtain, alive }, await obtain(), context)
  }
  if (login !== undefined) return login
  throw new PromoteError('INTERNAL', 'a client certificate without a service account', { side: kube.side })
}
