import { createHash } from 'node:crypto'
import { type Digest, isDigest } from '../../../src/oci/digest.ts'
import {
  blobAnswer,
  blobUnknown,
  digestInvalid,
  failure,
  json,
  nameUnknown,
  notFound,
  openshiftRouteOf,
  type Route,
  uploadUnknown,
} from './distribution.ts'
import { type Answer, createLog, type Handler, type Incoming, type Log, listener } from './http.ts'
import type { BuiltImage } from './image.ts'
import { openshiftAccess } from './openshift-access.ts'
import { openshiftManifests, toImage, type Upstream } from './openshift-manifests.ts'
import { listen, stop } from './plain.ts'
import { createRedirects, type RedirectOptions, type Redirects } from './redirect.ts'
import { INTERNAL_REGISTRY, type RegistryDeps } from './state.ts'
import { createStorage, type Storage, type StoredBlob } from './storage.ts'
import { created, createUploads } from './uploads.ts'

/**
 * The integrated registry (openshift/image-registry over distribution v3): distribution's API, but users, rights, tags
 * and the visibility of images come from the cluster.
 */
export interface OpenShiftRegistry {
  readonly handler: Handler
  readonly store: Storage
  readonly log: Log
  /** What a storage-level import (`oc import-image`) or a seeded image needs to be known: Image object, stream and tag. */
  adopt(repository: string, digest: Digest, tag?: string): void
  /** `oc import-image` of what `upstream` has: the stream refers to it and to its home, and nothing is stored. */
  importImage(repository: string, image: BuiltImage, tag: string, from: string): void
  /** From now on blob reads answer 307 to a fourth host. @returns its origin. */
  redirectBlobs(options?: RedirectOptions & { tls?: { cert: string; key: string }; now?: () => number }): Promise<URL>
  /** Upload sessions that are neither committed nor cancelled. */
  openUploads(): number
  /** Ends the storage host; the registry's own server belongs to the caller. */
  close(): Promise<void>
}

export interface OpenShiftOptions {
  store?: Storage
  log?: Log
  /** Where images were imported from: `host/path` of an event is the repository `path` here. */
  upstream?: Storage
  /** For the wait for missing blobs. */
  sleep?: (milliseconds: number) => Promise<unknown>
}

export function openshiftRegistry(deps: RegistryDeps, options: OpenShiftOptions = {}): OpenShiftRegistry {
  const store = options.store ?? createStorage()
  const log = options.log ?? createLog()
  const sleep = options.sleep ?? ((milliseconds) => new Promise((done) => setTimeout(done, milliseconds)))
  const location = (request: Incoming, path: string) => `${request.origin}${path}`
  const digestHeader = (digest: string) => ({ 'Docker-Content-Digest': digest })
  const uploads = createUploads(store, log, {
    resume: 'v3',
    singlePost: false,
    checkPutRange: false,
    canonical: true,
    late: () => deps.options.late ?? { deletes: 2 },
    location,
    digestHeader,
  })
  const storageHosts: Awaited<ReturnType<typeof listen>>[] = []
  let redirects: Redirects | undefined

  /**
   * Linked by upload or mount, or in the storage and named by the image stream (blobdescriptorservice.go); a manifest is a blob too.
   * @param links whose links count; another repository than that of the stream in a mount.
   */
  function stored(name: string, digest: string, links = name): StoredBlob | undefined {
    if (!isDigest(digest)) return undefined
    const blob = store.blobs.get(digest)
    if (blob && store.repositories.get(links)?.blobs.has(digest)) return blob
    const [ns = '', stream = ''] = name.split('/')
    if (!deps.streams.layers(ns, stream)?.blobs[digest]) return undefined
    return blob ?? manifests.asBlob(digest)
  }

  /** At one of the places that the stream's images come from (remoteblobgetter.go), whether its images name the blob or not. */
  const upstream: Upstream = {
    repository(reference) {
      const [host = '', ...path] = reference.replace(/@.*$/, '').split('/')
      return isLocal(host) || deps.options.upstreamGone ? undefined : options.upstream?.repositories.get(path.join('/'))
    },
    blob(name, digest) {
      const [ns = '', stream = ''] = name.split('/')
      const homes = deps.streams.references(ns, stream).map((reference) => upstream.repository(reference))
      return homes.some((home) => home?.blobs.has(digest)) ? options.upstream?.blobs.get(digest) : undefined
    },
  }
  const isLocal = (host: string) => host === INTERNAL_REGISTRY

  /** What the check of a pushed manifest sees (pullthroughBlobStore.Stat). */
  const visible = (name: string, digest: string): StoredBlob | undefined =>
    stored(name, digest) ?? (isDigest(digest) ? upstream.blob(name, digest) : undefined)

  /** In the background, begun by GET and HEAD alike (pullthroughblobstore.go ServeBlob). */
  function mirror(name: string, blob: StoredBlob): void {
    if (deps.options.mirror === false) return
    setImmediate(() => {
      store.blobs.set(blob.digest, blob)
      store.repository(name).blobs.add(blob.digest)
    })
  }

  const manifests = openshiftManifests({ ...deps, store, upstream, visible, location, sleep })
  const access = openshiftAccess(deps)

  function blobs(request: Incoming, name: string, digest: string): Answer {
    if (!isDigest(digest)) return digestInvalid({})
    if (request.method === 'DELETE') {
      return store.repositories.get(name)?.blobs.delete(digest as Digest) ? { status: 202 } : blobUnknown(digest)
    }
    const blob = stored(name, digest)
    if (blob)
      return redirects && store.blobs.has(digest) ? redirects.answer(request, digest) : blobAnswer(request, blob)
    const remote = upstream.blob(name, digest)
    if (!remote) return blobUnknown(digest)
    mirror(name, remote)
    const answer = blobAnswer(request, remote)
    // setResponseHeaders: an entity tag without quotes, and nothing about caches.
    const { 'Cache-Control': _, ...headers } = answer.headers as Record<string, string>
    return { ...answer, headers: { ...headers, Etag: digest } }
  }

  async function upload(request: Incoming, name: string, id: string | undefined, deferred: boolean): Promise<Answer> {
    if (id !== undefined) return uploads.continue(request, name, id)
    if (request.method !== 'POST') return uploadUnknown(/^(?:GET|HEAD)$/.test(request.method) ? {} : undefined)
    const digest = request.query.get('mount')
    const from = request.query.get('from')
    // Pull-through has no part in a mount (linkedblobstore.go mount): 201 means that the blob is in the storage.
    const blob = digest !== null && from !== null && !deferred ? stored(name, digest, from) : undefined
    if (blob && digest !== null && isDigest(digest)) {
      for (const one of [digest, blob.digest]) store.repository(name).blobs.add(one)
      return created(request, name, blob.digest, { location, digestHeader })
    }
    return uploads.begin(request, name)
  }

  function tags(request: Incoming, name: string): Answer {
    const [ns = '', stream = ''] = name.split('/')
    if (!deps.streams.get(ns, stream)) return nameUnknown({ name })
    const asked = request.query.get('n')
    if (asked !== null && !/^\d+$/.test(asked)) {
      return failure(400, 'PAGINATION_NUMBER_INVALID', 'invalid number of results requested', { n: asked })
    }
    // In no order: the real list comes out of a Go map.
    const all = deps.streams.tags(ns, stream).sort((a, b) => scramble(a).localeCompare(scramble(b)))
    const rest = after(all, request.query.get('last') ?? '')
    const page = rest.slice(0, asked === null ? rest.length : Number(asked))
    const query = new URLSearchParams({ last: page.at(-1) ?? '', n: String(page.length) })
    const more = page.length > 0 && page.length < rest.length
    return json({ name, tags: page }, more ? { Link: `<${request.path}?${query}>; rel="next"` } : {})
  }

  /** In the order of the API's list, which the registry keeps (catalog.go). */
  function catalog(): Answer {
    const streams = [...deps.streams.projects.keys()].flatMap((ns) => deps.streams.list(ns))
    return json({ repositories: streams.map(({ namespace, name }) => `${namespace}/${name}`) })
  }

  function dispatch(request: Incoming, route: Route, deferred: boolean, token: string): Promise<Answer> | Answer {
    switch (route.kind) {
      case 'ping':
        return { ...json({}), body: '{}' }
      case 'catalog':
        return catalog()
      case 'blobs':
        return blobs(request, route.repository, route.digest)
      case 'uploads':
        return upload(request, route.repository, route.id, deferred)
      case 'manifests':
        return manifests.answer(request, route.repository, route.reference, access.userOf(token))
      case 'tags':
        return tags(request, route.repository)
      case 'referrers':
        return notFound()
    }
  }

  async function v2(request: Incoming): Promise<Answer> {
    const route = openshiftRouteOf(request.path)
    if (!route) {
      const other = request.path.endsWith('/') ? request.path.slice(0, -1) : `${request.path}/`
      return openshiftRouteOf(other) ? moved(request, other) : notFound()
    }
    const checked = access.check(request, route)
    if ('refusal' in checked) return supporting(checked.refusal)
    const refused = notAllowed(request, route)
    return supporting(refused ?? (await dispatch(request, route, checked.deferred, checked.token)))
  }

  /** signaturedispatcher.go: simple signing only, and no test signs here. */
  function signatures(request: Incoming, ns: string, name: string, digest: string): Answer {
    const route = { kind: 'tags', repository: `${ns}/${name}` } as const
    const checked = access.check(request, route)
    if ('refusal' in checked) return supporting(checked.refusal)
    if (request.method !== 'GET') deps.recorder.unexpected.push(`registry: ${request.method} ${request.target}`)
    const headers = { 'Content-Type': 'application/json; charset=utf-8' }
    if (!deps.streams.image(ns, name, digest)) return supporting({ status: 404, headers })
    return supporting({ status: 200, headers, body: '{"signatures":[]}' })
  }

  async function handler(arrived: Incoming): Promise<Answer> {
    if (!deps.options.exposed) return unavailable()
    const request = deps.options.edgeRouter ? behindEdgeRouter(arrived) : arrived
    if (request.path === '/' || request.path === '/healthz') {
      return { status: 200, headers: { 'Cache-Control': 'no-cache' } }
    }
    const signed = /^\/extensions\/v2\/([^/]+)\/([^/]+)\/signatures\/([^/]+)$/.exec(request.path)
    const clean = cleanPath(request.path)
    let answer: Answer | undefined
    if (clean !== request.path) answer = { status: 301, headers: { Location: target(request, clean) } }
    else if (request.path === '/openshift/token') answer = access.token(request)
    else if (signed) answer = signatures(request, signed[1] ?? '', signed[2] ?? '', signed[3] ?? '')
    else if (/^\/v2(?:\/|$)/.test(request.path)) answer = await v2(request)
    if (!answer) {
      deps.recorder.unexpected.push(`registry: ${request.method} ${request.target}`)
      return notFound()
    }
    return { ...answer, headers: { 'Docker-Distribution-Api-Version': 'registry/2.0', ...answer.headers } }
  }

  return {
    handler,
    store,
    log,
    openUploads: uploads.open,
    adopt(repository, digest, tag) {
      const [ns = '', name = ''] = repository.split('/')
      const manifest = store.repository(repository).manifests.get(digest)
      if (!manifest) throw new Error(`${digest} is not stored in ${repository}`)
      const image = toImage(manifest)
      deps.streams.images.set(digest, image)
      if (tag === undefined) return
      if (!deps.streams.projects.has(ns)) deps.streams.addProject(ns)
      if (!deps.streams.get(ns, name)) deps.streams.create(ns, name)
      deps.streams.addTag(ns, name, tag, image)
    },
    importImage(repository, { manifests: built }, tag, from) {
      const [ns = '', name = ''] = repository.split('/')
      deps.streams.importTag(ns, name, tag, built.map(toImage), from)
    },
    async redirectBlobs({ tls, now = Date.now, ...how } = {}) {
      let origin = ''
      redirects = createRedirects(store, log, how, now, () => origin)
      const server = await listen(listener(redirects.handler, log), tls)
      storageHosts.push(server)
      const address = server.address()
      if (typeof address !== 'object' || !address) throw new Error('the storage host does not listen on a port')
      origin = `${tls ? 'https' : 'http'}://127.0.0.1:${address.port}`
      return new URL(origin)
    },
    close: async () => void (await Promise.all(storageHosts.map(stop))),
  }
}

/** In the order of the header `Allow`; `/v2/` takes every method. */
const METHODS: Partial<Record<Route['kind'], readonly string[]>> = {
  catalog: ['GET'],
  blobs: ['DELETE', 'GET', 'HEAD'],
  uploads: ['DELETE', 'GET', 'HEAD', 'PATCH', 'POST', 'PUT'],
  manifests: ['DELETE', 'GET', 'HEAD', 'PUT'],
  tags: ['GET'],
}

/** The dispatcher looks at the method after the rights (gorilla/handlers MethodHandler). */
function notAllowed(request: Incoming, route: Route): Answer | undefined {
  const allowed = METHODS[route.kind]
  if (!allowed || (route.kind === 'blobs' && !isDigest(route.digest)) || allowed.includes(request.method))
    return undefined
  const headers = { ...notFound().headers, Allow: allowed.join(', ') }
  return { status: 405, headers, body: 'Method not allowed\n' }
}

/** What passes the dispatcher says this. */
function supporting(answer: Answer): Answer {
  return { ...answer, headers: { 'X-Registry-Supports-Signatures': '1', ...answer.headers } }
}

/** A router that ends TLS, on a port other than 443: see `origin` in http.ts. */
function behindEdgeRouter(request: Incoming): Incoming {
  return { ...request, origin: request.origin.replace(/^https:/, 'http:') }
}

/** gorilla/mux cleanPath: dot segments resolved, no empty ones. */
function cleanPath(path: string): string {
  const kept: string[] = []
  for (const part of path.split('/')) {
    if (part === '..') kept.pop()
    else if (part !== '' && part !== '.') kept.push(part)
  }
  return `/${kept.join('/')}${path.endsWith('/') && kept.length > 0 ? '/' : ''}`
}

function target({ target: asked }: Incoming, path: string): string {
  const at = asked.indexOf('?')
  return at < 0 ? path : path + asked.slice(at)
}

/** distribution looks for `last` as in a sorted list (Go's sort.SearchStrings), which this one is not. */
function after(tags: readonly string[], last: string): readonly string[] {
  if (last === '') return tags
  let [low, high] = [0, tags.length]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if ((tags[middle] ?? '') >= last) high = middle
    else low = middle + 1
  }
  return tags.slice(low + 1)
}

function scramble(tag: string): string {
  return createHash('md5').update(tag).digest('hex')
}

/** gorilla/mux StrictSlash with Go's http.Redirect: only GET and HEAD get a page. */
function moved(request: Incoming, path: string): Answer {
  const Location = target(request, path)
  if (!/^(?:GET|HEAD)$/.test(request.method)) return { status: 301, headers: { Location } }
  const headers = { Location, 'Content-Type': 'text/html; charset=utf-8' }
  return { status: 301, headers, body: `<a href="${Location.replaceAll('&', '&amp;')}">Moved Permanently</a>.\n\n` }
}

/** error-page-503.http of openshift/router: what a host without a route gets. */
function unavailable(): Answer {
  return {
    status: 503,
    headers: {
      Pragma: 'no-cache',
      'Cache-Control': 'private, max-age=0, no-cache, no-store',
      Connection: 'close',
      'Content-Type': 'text/html',
    },
    body: `<html>
  <head>
    <meta name="viewport" content="width=device-width, initial-scale=1">
  </head>
  <body>
    <div>
      <h1>Application is not available</h1>
      <p>The application is currently not serving requests at this endpoint. It may not have been started or is still starting.</p>
      <div class="alert alert-info">
        <p class="info">
          Possible reasons you are seeing this page:
        </p>
        <ul>
          <li><strong>The host doesn't exist.</strong> Make sure the hostname was typed correctly and that a route matching this hostname exists.</li>
          <li><strong>The host exists, but doesn't have a matching path.</strong> Check if the URL path was typed correctly and that the route was created using the desired path.</li>
          <li><strong>Route and path matches, but all pods are down.</strong> Make sure that the resources exposed by this route (pods, services, deployment configs, etc) have at least one pod running.</li>
        </ul>
      </div>
    </div>
  </body>
</html>
`,
  }
}
