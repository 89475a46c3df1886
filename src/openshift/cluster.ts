import type { Evidence } from '../copy/store.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, type Code, PromoteError } from '../core/errors.ts'
import type { Network } from '../http/client.ts'
import type { Login } from '../http/credential.ts'
import type { Digest } from '../oci/digest.ts'
import { type ClusterSide, type Kubernetes, kubernetes } from './api.ts'
import { type Accounts, explain, openRights, type RefusedAccess } from './denial.ts'
import { whoAmI } from './identity.ts'
import { annotate, imageOf, type Note, openStreams, removeStreamTag, type Streams } from './image-streams.ts'
import { type IssuedToken, requestAccountToken, revoke, type ServiceAccount, tokenLogin } from './issued-tokens.ts'
import { findOAuthServer, type PasswordLogin, requestToken } from './oauth.ts'
import { openRegistries } from './registry-address.ts'
import { followText, type Stream, storedBy } from './stream-answers.ts'

export type ClusterAccess = Readonly<{
  /** The API server: https. */
  api: URL
  network: Network
  way:
    | (PasswordLogin & Readonly<{ kind: 'password' }>)
    | Readonly<{ kind: 'token'; login: Login }>
    /** The network's own client certificate. It opens the API only: registries know tokens. */
    | Readonly<{ kind: 'certificate' }>
  /** A short-lived token of this account opens the registry, instead of the user's. */
  serviceAccount?: ServiceAccount | undefined
  /** This process runs in a pod of the cluster and reaches its services. */
  inCluster: boolean
}>

/** How the API is asked after the login, and what must be cleaned up. */
type Entry = Readonly<{
  kube: Kubernetes
  /** Of the OAuth server; undefined when there is none. */
  issuer: () => Promise<URL | undefined>
  logout: () => Promise<void>
}>

/**
 * Logs in, as `oc login` does, and asks the API who we are. Fails with LOGIN_REJECTED, LOGIN_UNSUPPORTED,
 * IDENTITY_PROVIDER, NOT_A_CLUSTER, TOKEN_REJECTED, … of that side; a token that was obtained is deleted then.
 */
export async function openCluster(side: ClusterSide, access: ClusterAccess, context: Context): Promise<Cluster> {
  check(side, access)
  const entry = await enter(kubernetes(access.api, side, access.network, context), access.way)
  try {
    const user = await whoAmI(entry.kube)
    return createCluster(entry, user, await accountsOf(entry.kube, user, access.serviceAccount), access.inCluster)
  } catch (thrown) {
    await entry.logout()
    throw thrown
  }
}

function check(side: ClusterSide, { api, way, serviceAccount }: ClusterAccess): void {
  const fail = (code: Code, message: string, hint?: string) => {
    throw new PromoteError(code, message, { side, hint })
  }
  if (api.protocol !== 'https:')
    fail('USAGE', `The API server ${api.host} must be an https URL: credentials are sent there.`)
  if (way.kind === 'password' && way.username.includes(':')) {
    const message = 'A user name with ":" cannot log in by password: HTTP Basic would cut it there.'
    fail('USAGE', message, `For a service account use ${side}-token.`)
  }
  if (way.kind !== 'certificate' || serviceAccount !== undefined) return
  const hint = `Set ${side}-service-account to namespace/name: a short-lived token of that account then opens the registry.`
  const message = 'A client certificate opens the API, but not the registry, which knows tokens only.'
  fail('CREDENTIAL_MISSING', message, hint)
}

async function enter(plain: Kubernetes, way: ClusterAccess['way']): Promise<Entry> {
  if (way.kind === 'password') return enterByPassword(plain, way)
  let issuer: Promise<URL | undefined> | undefined
  const issuerOf = () =>
    findOAuthServer(plain)
      .then(({ issuer }) => issuer)
      .catch(() => undefined)
  return {
    kube: way.kind === 'token' ? plain.as(way.login) : plain,
    issuer: () => (issuer ??= issuerOf()),
    logout: async () => undefined,
  }
}

async function enterByPassword(plain: Kubernetes, user: PasswordLogin): Promise<Entry> {
  const server = await findOAuthServer(plain)
  const obtained: IssuedToken[] = []
  const login = await tokenLogin(plain, `password login of ${user.username}`, async () => {
    const issued = await requestToken(plain, server, user)
    obtained.push(issued)
    return issued
  })
  return { kube: plain.as(login), issuer: async () => server.issuer, logout: () => revoke(obtained.splice(0), plain) }
}

async function accountsOf(kube: Kubernetes, user: string, account: ServiceAccount | undefined): Promise<Accounts> {
  if (account === undefined) return { kube, registry: kube, registryUser: user }
  const describe = `token of the service account ${account.namespace}/${account.name}`
  const login = await tokenLogin(kube, describe, () => requestAccountToken(kube, account, user))
  const registryUser = `system:serviceaccount:${account.namespace}:${account.name}`
  return { kube, registry: kube.as(login), registryUser }
}

/** One OpenShift cluster after login. A repository is `project/name`; everything about one is asked once and shared. */
export type Cluster = ReturnType<typeof createCluster>

function createCluster({ kube, issuer, logout }: Entry, user: string, accounts: Accounts, inCluster: boolean) {
  const { side, context } = kube
  const { login } = accounts.registry
  if (login === undefined) throw new PromoteError('INTERNAL', 'no login for the registry', { side })
  const streams = openStreams(kube, user)
  const registries = openRegistries({ kube, streams, inCluster, issuer })
  return {
    side,
    /** The name that the cluster has for our user, for the log. */
    user,
    /** Opens the cluster's own registry. */
    login,
    /** Deletes the tokens that this run obtained by password; otherwise does nothing. Never throws. */
    logout,
    /** What a dry run can tell of the rights; asks and changes nothing. */
    rights: openRights(accounts),
    /**
     * Address of the cluster's own registry. Costs nothing when the repository's stream can be read, or was created here.
     * Fails with NOT_EXPOSED or REGISTRY_UNKNOWN.
     */
    registryFor: registries.addressFor,
    /**
     * Whether this host, which the user named, is the cluster's own registry, so that it may see the cluster's token: by the
     * addresses that the cluster names. A route made by hand is in none of them, and any owner of a project can make one.
     */
    ownsRegistry: registries.owns,
    ...answersOf(streams, kube),
    /** Writes the notes on the promotion into the image stream, in one request. */
    annotate: (repository: string, notes: readonly Note[]) => annotate(kube, repository, notes),
    /** @returns whether the tag is gone; false when the right is missing. */
    removeTag: (repository: string, tag: string) => removeStreamTag(kube, repository, tag),
    /**
     * The real reason of a registry's 401 or 403: TOKEN_REJECTED, DENIED with the command that grants the right,
     * PROJECT_MISSING, STREAM_MISSING or QUOTA. Other errors are returned unchanged. Never rejects.
     */
    explain: (error: PromoteError, attempt: RefusedAccess): Promise<PromoteError> =>
      explain(error, attempt, accounts).catch((thrown) => {
        // An explanation that fails must not hide the refusal.
        context.log.debug(`${side}: no explanation for the refusal: ${asPromoteError(thrown).message}`)
        return error
      }),
  }
}

/** What the image streams of a cluster tell. */
function answersOf(streams: Streams, kube: Kubernetes) {
  /** One read of the image stream; undefined when it does not exist or may not be read. */
  const read = async (repository: string): Promise<Stream | undefined> => {
    const found = await streams.read(repository)
    return found.state === 'found' ? found.value : undefined
  }
  return {
    stream: read,
    /**
     * Makes sure that a push finds the image stream: creates it when it is missing and the rights allow it, never the
     * project. `unknown`: the rights don't allow to find out. Fails with STREAM_MISSING, PROJECT_MISSING, QUOTA, DENIED.
     */
    ensureStream: streams.ensure,
    /** The repositories of a project. Fails with DENIED where they may not be listed. */
    repositoriesOf: streams.names,
    /**
     * The image of a source's tag, from that same read; undefined: ask the registry. Fails with NOT_FOUND if the stream says
     * why the tag has no image; warns if the latest import failed and an older image is there.
     */
    async digestOf(repository: string, tag: string): Promise<Digest | undefined> {
      const stream = await read(repository)
      return stream && imageOf(`${repository}:${tag}`, tag, stream, kube)
    },
    /** Blobs and manifests that the stream proves to be stored. Undefined: there is no stream, or it may not be read. */
    async stored(repository: string): Promise<ReadonlySet<Digest> | undefined> {
      const layers = await streams.layers(repository)
      if (layers.state !== 'found') return undefined
      return storedBy(layers.value, (await read(repository)) ?? { pushed: new Set(), imports: 'some' })
    },
    /** What the cluster tells of the answers that its registry gives for this repository. */
    async evidence(repository: string): Promise<Evidence> {
      const [stream, layers] = await Promise.all([read(repository), streams.layers(repository)])
      const named = layers.state === 'found' ? layers.value.named : undefined
      // Where nothing is named, nothing was imported.
      const isEmpty = layers.state === 'absent' || named?.size === 0
      return { imports: stream?.imports ?? (isEmpty ? 'none' : 'unknown'), named }
    },
    /** A warning when the tag takes its image from somewhere else, so that a push to it may not last. */
    async follows(repository: string, tag: string): Promise<string | undefined> {
      const origin = (await read(repository))?.origins.get(tag)
      return origin && followText(tag, origin)
    },
  }
}
