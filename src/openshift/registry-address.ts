import { asPromoteError, PromoteError } from '../core/errors.ts'
import { EXPOSE_REGISTRY } from '../http/quirks.ts'
import type { RegistryAddress } from '../oci/reference.ts'
import { decode, type Kubernetes, OBJECT_LIMIT, read, STREAM_LIMIT } from './api.ts'
import type { Streams } from './image-streams.ts'
import { type Stream, splitRepository, streamListSchema, streamsPath } from './stream-answers.ts'

export type Registries = ReturnType<typeof openRegistries>

/**
 * Names that the registry's service has inside the cluster: that of OpenShift 4 (CIRO pkg/defaults), and that of OpenShift 3,
 * which clusters that were upgraded still name. Both namespaces belong to administrators. The service's IP, which OpenShift 3
 * named too, is not accepted: nothing proves whose address it is.
 */
const SERVICE =
  /^(?:image-registry\.openshift-image-registry|docker-registry\.default)\.svc(?:\.cluster\.local)?(?::5000)?$/
/** CIRO pkg/defaults RouteName + namespace, as the router names hosts. */
const ROUTE_PREFIX = 'default-route-openshift-image-registry.'
const OAUTH_PREFIX = 'oauth-openshift.'
/** Milliseconds: a guess is worth a short wait only. */
const PROBE_TIMEOUT = 10_000

type Parts = Readonly<{
  kube: Kubernetes
  streams: Streams
  inCluster: boolean
  /** Of the OAuth server; undefined when there is none. */
  issuer: () => Promise<URL | undefined>
}>

export function openRegistries(parts: Parts) {
  const own = new Set<string>()
  let address: RegistryAddress | undefined
  const learn = (host?: string): void => {
    if (host !== undefined) own.add(host)
  }
  return {
    addressFor: async (repository: string): Promise<RegistryAddress> => {
      // The integrated registry is always https.
      address ??= { host: await findRegistry(parts, repository, learn), plainHttp: false }
      return address
    },
    owns: async (given: string, repository: string): Promise<boolean> => {
      const host = given.toLowerCase().replace(/:443$/, '')
      // Seen from another cluster the service's name is that cluster's registry, which must not get this one's token.
      if (SERVICE.test(host)) return parts.inCluster
      if (own.has(host)) return true
      const stream = await anyStream(parts, repository)
      learn(stream?.publicHost)
      if (stream !== undefined || !host.startsWith(ROUTE_PREFIX)) return own.has(host)
      // Nothing tells the addresses, so that the name has to do, as it does for the guess.
      return host === defaultRoute(await parts.issuer())
    },
  }
}

/** The first address that the cluster itself names, then the usual one if a registry answers there. */
async function findRegistry(parts: Parts, repository: string, learn: (host?: string) => void): Promise<string> {
  const { kube, inCluster } = parts
  const stream = await anyStream(parts, repository)
  learn(stream?.publicHost)
  if (stream?.publicHost !== undefined) return stream.publicHost
  // Without an integrated registry the API repeats what the stream's owner wrote (openshift-apiserver strategy.go).
  const service = SERVICE.test(stream?.internalHost ?? '') ? stream?.internalHost : undefined
  if (service !== undefined && inCluster) return service
  // The stream shows that there is no route, so a registry at the usual name belongs to a tenant that claimed it.
  if (stream !== undefined) throw notExposed(kube, service !== undefined)
  if (inCluster) return 'image-registry.openshift-image-registry.svc:5000'
  const guess = await guessRoute(parts)
  if (guess.state === 'registry') {
    learn(guess.host)
    return guess.host
  }
  if (guess.state === 'router') throw notExposed(kube, true, guess.why)
  if (guess.error?.code === 'TLS') throw guess.error
  throw new PromoteError(
    'REGISTRY_UNKNOWN',
    `Looking for the registry of ${kube.url.host}: no image stream that may be read names it, and ${guess.why}.`,
    { side: kube.side, hint: `Set ${kube.side}-registry, or have the registry exposed: ${EXPOSE_REGISTRY}` },
  )
}

/** Image streams are decorated with the registry's addresses on every read, whichever one it is. */
async function anyStream({ kube, streams }: Parts, repository: string): Promise<Stream | undefined> {
  const own = await streams.read(repository)
  if (own.state === 'found') return own.value
  const { namespace } = splitRepository(repository, kube.side)
  return (await firstOf(kube, namespace)) ?? (namespace === 'openshift' ? undefined : await firstOf(kube, 'openshift'))
}

async function firstOf(kube: Kubernetes, namespace: string): Promise<Stream | undefined> {
  const reply = await kube.request('GET', `${streamsPath(namespace)}?limit=1`, { limit: STREAM_LIMIT })
  if (reply.status !== 200) return undefined
  return decode(reply, streamListSchema, `Listing the image streams of ${namespace}`, kube).items[0]
}

type Guess =
  | Readonly<{ state: 'registry'; host: string }>
  | Readonly<{ state: 'router' | 'none' | 'failed'; why: string; error?: PromoteError }>

/** The OAuth server is a route in the cluster's domain, and so is the registry's default route. */
async function guessRoute({ kube, issuer: issuerOf }: Parts): Promise<Guess> {
  const issuer = await issuerOf()
  const route = defaultRoute(issuer)
  if (route !== undefined) return probe(kube, route)
  const why = issuer
    ? `${issuer.hostname} does not tell the domain of the routes`
    : 'there is no OAuth server whose host name would tell the domain'
  return { state: 'none', why }
}

function defaultRoute(issuer: URL | undefined): string | undefined {
  const oauth = issuer?.hostname ?? ''
  return oauth.startsWith(OAUTH_PREFIX) ? ROUTE_PREFIX + oauth.slice(OAUTH_PREFIX.length) : undefined
}

/** Asks without a credential; OpenShift's registry names its own token endpoint (`Bearer realm="https://…/openshift/token"`). */
async function probe(kube: Kubernetes, host: string): Promise<Guess> {
  try {
    const url = new URL(`https://${host}/v2/`)
    const request = { method: 'GET', url, retry: false, follow: false, responseTimeout: PROBE_TIMEOUT } as const
    const reply = await read(kube.network.send, request, OBJECT_LIMIT, kube.side)
    const challenge = [reply.headers['www-authenticate'] ?? ''].flat().join(', ')
    if (reply.status === 401 && names(challenge, host)) return { state: 'registry', host }
    // openshift/router images/router/haproxy/conf/error-page-503.http: no such route.
    if (reply.status === 503 && reply.html) return { state: 'router', why: `the router has no route for ${host}` }
    return { state: 'none', why: `${host} answered ${reply.status}, not as a registry does` }
  } catch (thrown) {
    const error = asPromoteError(thrown, kube.side)
    if (error.code === 'CANCELLED') throw error
    return { state: 'failed', why: `${host} did not answer (${error.message})`, error }
  }
}

function names(challenge: string, host: string): boolean {
  return [host, `${host}:443`].some((one) => challenge.includes(`"https://${one}/openshift/token"`))
}

function notExposed(kube: Kubernetes, exists: boolean, why?: string): PromoteError {
  const what = !exists
    ? 'this cluster has no integrated registry'
    : `the registry is not reachable from outside the cluster${why === undefined ? '' : ` (${why})`}`
  return new PromoteError('NOT_EXPOSED', `Looking for the registry of ${kube.url.host}: ${what}.`, {
    side: kube.side,
    hint: `Let a cluster administrator run: ${EXPOSE_REGISTRY}`,
  })
}
