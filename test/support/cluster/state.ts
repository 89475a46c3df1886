import { randomUUID } from 'node:crypto'
import type { Recorder } from './recorder.ts'
import type { Late } from './uploads.ts'

/**
 * What the three servers of the embedded cluster share: the users, and which images an image stream knows.
 * Tests may look at everything here and change it.
 */

/** An authenticated (or anonymous) caller, as SelfSubjectReview describes it. */
export type User = Readonly<{ name: string; uid: string; groups: readonly string[] }>

/** The caller behind the registry's token `anonymous` and behind a request without credentials. */
export const ANONYMOUS: User = { name: 'system:anonymous', uid: '', groups: ['system:unauthenticated'] }

export type Verb = 'get' | 'list' | 'create' | 'update' | 'patch' | 'delete'

/** Role-based access as SelfSubjectAccessReview answers it. `ns` is '' for a question about the whole cluster. */
export type Allowed = (user: User, verb: Verb, resource: string, ns: string, name?: string) => boolean

/** What the registry server gets. `options` is live: tests change it while the server runs. */
export type RegistryDeps = Readonly<{
  whoAmI(token: string): User | undefined
  allowed: Allowed
  streams: Streams
  recorder: Recorder
  options: RegistryOptions
}>

export interface RegistryOptions {
  /** false: there is no route; the router answers 503 text/html to everything. */
  exposed: boolean
  /** true: the registry cannot reach the API server: 400 with an empty body on every authorised request. */
  apiDown: boolean
  /** Milliseconds that the server waits for each missing blob of a manifest (3100 on the real one). */
  missingBlobDelay: number
  /** true: a router on a port other than 443 ends TLS before the registry, whose Locations then say http. */
  edgeRouter?: boolean
  /** How long the body of an upload goes on arriving after its client has gone. */
  late?: Late
  /** true: what streams refer to elsewhere cannot be reached any more. */
  upstreamGone?: boolean
  /** false: what is pulled through is not stored (the registry's write limits are reached, or `pullthrough.mirror` is off). */
  mirror?: boolean
}

export type BlobRef = Readonly<{ digest: string; size: number; mediaType: string }>
export type PlatformRef = Readonly<{ os: string; architecture: string; variant?: string }>

/** The cluster-wide Image object of a pushed manifest or index. `size` = bytes of the manifest itself. */
export type Image = Readonly<{
  digest: string
  mediaType: string
  size: number
  config?: BlobRef
  layers: readonly BlobRef[]
  manifests: readonly (BlobRef & { platform?: PlatformRef })[]
}>

export type TagEvent = Readonly<{ created: string; image: string; dockerImageReference: string; generation: number }>
export type ObjectReference = Readonly<{ kind: string; name: string; namespace?: string }>
export interface SpecTag {
  name: string
  annotations?: Record<string, string> | null
  from?: ObjectReference
  reference?: boolean
  generation?: number
  importPolicy?: Record<string, unknown>
  referencePolicy?: { type: string }
}

export interface ImageStream {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly created: string
  resourceVersion: number
  labels: Record<string, string>
  annotations: Record<string, string>
  /** `spec.tags`: what a client asked for through the API. Pushes leave it alone. */
  readonly spec: Map<string, SpecTag>
  /** `status.tags`: the history of each tag, newest first. */
  readonly tags: Map<string, TagEvent[]>
  /** Conditions of `status.tags`: an import that failed, with or without images of the tag. */
  readonly conditions: Map<string, TagCondition>
}

/** image.openshift.io/v1 TagEventCondition. */
export type TagCondition = Readonly<{
  type: 'ImportSuccess'
  status: 'False'
  reason: string
  message: string
  lastTransitionTime: string
  generation: number
}>

export interface Project {
  readonly name: string
  readonly uid: string
  readonly created: string
  readonly serviceAccounts: Set<string>
  /** ResourceQuota `hard` values by quota name, e.g. { streams: { 'openshift.io/imagestreams': '2' } }. */
  readonly quotas: Map<string, Record<string, string>>
  /** LimitRange by name: the most bytes (config + layers) that one tagged image may have. */
  readonly limits: Map<string, { maxImageBytes: number }>
  /** `oc delete project`: nothing new can be made in it. */
  terminating?: boolean
}

/** `imagestreams/<name>/layers`: every blob and image that the stream refers to, its whole history included. */
export type StreamLayers = Readonly<{
  blobs: Record<string, { size: number | null; mediaType: string }>
  images: Record<string, { layers: string[] | null; manifests?: string[]; config?: string; imageMissing: boolean }>
}>

export interface Streams {
  readonly projects: Map<string, Project>
  /** Every Image object of the cluster by digest; `images.set` is what a push by digest does. */
  readonly images: Map<string, Image>
  addProject(name: string): Project
  get(ns: string, name: string): ImageStream | undefined
  list(ns: string): ImageStream[]
  /** Throws when the project is missing or the stream is there. */
  create(ns: string, name: string): ImageStream
  remove(ns: string, name: string): void
  /** The current digest of a tag. */
  resolve(ns: string, name: string, tag: string): string | undefined
  /** Tags that have an image digest. */
  tags(ns: string, name: string): string[]
  /** ImageStreamMapping: stores the Image and puts it on top of the tag's history. Repeating the current digest changes nothing. */
  addTag(ns: string, name: string, tag: string, image: Image): void
  /** `oc import-image`: the stream refers to `from` (`host/repository`), and nothing is stored. Also known by `images`: the children. */
  importTag(ns: string, name: string, tag: string, images: readonly Image[], from: string): void
  /** The Image when this stream knows it: in a tag's history, or a child of a list or index there. */
  image(ns: string, name: string, digest: string): Image | undefined
  layers(ns: string, name: string): StreamLayers | undefined
  /** `dockerImageReference` of the events of every tag, newest first. */
  references(ns: string, name: string): string[]
  /** Where this image comes from: by its own event, or that of an index which names it (imagestream.go resolveUpstreamRef). */
  origin(ns: string, name: string, digest: string): string | undefined
  /** Why quota or limit range refuse this image in this stream (created first when missing); undefined when they do not. */
  refusal(ns: string, name: string, image?: Image): string | undefined
  /** Counts up: the resourceVersion of the next change. */
  nextVersion(): number
}

export const INTERNAL_REGISTRY = 'image-registry.openshift-image-registry.svc:5000'

/** @param now milliseconds since 1970, so that tests own the clock. */
export function createStreams(now: () => number): Streams {
  const projects = new Map<string, Project>()
  const images = new Map<string, Image>()
  const streams = new Map<string, ImageStream>()
  let version = 1000
  const nextVersion = () => ++version
  const timestamp = () => `${new Date(now()).toISOString().slice(0, 19)}Z`
  const get = (ns: string, name: string) => streams.get(`${ns}/${name}`)
  const list = (ns: string) => [...streams.values()].filter((s) => s.namespace === ns)

  function create(ns: string, name: string): ImageStream {
    if (!projects.has(ns) || get(ns, name)) throw new Error(`cannot create image stream ${ns}/${name}`)
    const stream = emptyStream(ns, name, timestamp(), nextVersion())
    streams.set(`${ns}/${name}`, stream)
    return stream
  }

  return {
    projects,
    images,
    nextVersion,
    get,
    list,
    create,
    addProject(name) {
      const project = emptyProject(name, timestamp())
      projects.set(name, project)
      return project
    },
    remove: (ns, name) => void streams.delete(`${ns}/${name}`),
    resolve: (ns, name, tag) => get(ns, name)?.tags.get(tag)?.[0]?.image,
    tags: (ns, name) => [...(get(ns, name)?.tags.keys() ?? [])],
    addTag(ns, name, tag, image) {
      const stream = get(ns, name)
      if (!stream) throw new Error(`no image stream ${ns}/${name}`)
      images.set(image.digest, image)
      const from = `${INTERNAL_REGISTRY}/${ns}/${name}`
      if (pushEvent(stream, tag, image.digest, from, timestamp())) stream.resourceVersion = nextVersion()
    },
    importTag(ns, name, tag, imported, from) {
      const stream = get(ns, name) ?? create(ns, name)
      // An Image that a push has made stays what it is.
      for (const image of imported) if (!images.has(image.digest)) images.set(image.digest, image)
      const root = imported.at(-1)
      if (root && pushEvent(stream, tag, root.digest, from, timestamp())) stream.resourceVersion = nextVersion()
    },
    image(ns, name, digest) {
      const stream = get(ns, name)
      return stream && [...known(stream, images)].find(([known]) => known === digest)?.[1]
    },
    layers(ns, name) {
      const stream = get(ns, name)
      return stream && inventory(known(stream, images))
    },
    references: (ns, name) => eventsOf(get(ns, name)).map(({ dockerImageReference }) => dockerImageReference),
    origin(ns, name, digest) {
      const events = eventsOf(get(ns, name))
      const isParent = (event: TagEvent) => images.get(event.image)?.manifests.some((child) => child.digest === digest)
      const found = events.find(({ image }) => image === digest) ?? events.find(isParent)
      return found?.dockerImageReference.replace(/@.*$/, '')
    },
    refusal: (ns, name, image) => refuse(ns, projects.get(ns), get(ns, name) ? 0 : 1, list(ns).length, image),
  }
}

function eventsOf(stream: ImageStream | undefined): TagEvent[] {
  return [...(stream?.tags.values() ?? [])].flat()
}

function emptyProject(name: string, created: string): Project {
  return {
    name,
    uid: randomUUID(),
    created,
    serviceAccounts: new Set(['builder', 'default', 'deployer']),
    quotas: new Map(),
    limits: new Map(),
  }
}

function emptyStream(namespace: string, name: string, created: string, resourceVersion: number): ImageStream {
  const [spec, tags, conditions] = [new Map(), new Map(), new Map()]
  const metadata = { namespace, name, uid: randomUUID(), created, resourceVersion, labels: {}, annotations: {} }
  return { ...metadata, spec, tags, conditions }
}

/**
 * The same image from another place replaces the event of the one before (library-go imageutil.AddTagEventToImageStream).
 * @returns false when the tag is there already.
 */
function pushEvent(stream: ImageStream, tag: string, image: string, from: string, created: string): boolean {
  const history = stream.tags.get(tag) ?? []
  const dockerImageReference = `${from}@${image}`
  const current = history[0]
  if (current?.image === image && current.dockerImageReference === dockerImageReference) return false
  const before = current?.image === image ? history.slice(1) : history
  stream.tags.set(tag, [{ created, image, dockerImageReference, generation: 1 }, ...before])
  return true
}

/**
 * Top-level images of every tag's history, and the children of lists and indexes; undefined where no Image object exists
 * (openshift-apiserver imagestream/etcd/etcd.go addImageLayersFromCache).
 */
function* known(
  stream: ImageStream,
  images: ReadonlyMap<string, Image>,
): Generator<readonly [string, Image | undefined]> {
  const queue = new Set([...stream.tags.values()].flatMap((events) => events.map((event) => event.image)))
  for (const digest of queue) {
    const image = images.get(digest)
    for (const child of image?.manifests ?? []) queue.add(child.digest)
    yield [digest, image]
  }
}

/** A manifest is a blob too; its size is not told (openshift-apiserver pkg/image/apiserver/registry/imagestream/rest.go). */
function inventory(images: Iterable<readonly [string, Image | undefined]>): StreamLayers {
  const result: StreamLayers = { blobs: {}, images: {} }
  for (const [digest, image] of images) {
    if (image === undefined) {
      result.images[digest] = { layers: null, imageMissing: true }
      continue
    }
    for (const blob of [...image.layers, ...(image.config ? [image.config] : [])]) {
      result.blobs[blob.digest] = { size: blob.size, mediaType: blob.mediaType }
    }
    result.blobs[image.digest] ??= { size: null, mediaType: image.mediaType }
    result.images[image.digest] = {
      layers: image.layers.length > 0 ? image.layers.map((layer) => layer.digest) : null,
      ...(image.manifests.length > 0 && { manifests: image.manifests.map((child) => child.digest) }),
      ...(image.config && { config: image.config.digest }),
      imageMissing: false,
    }
  }
  return result
}

/** @param more streams that would be created; @param used streams that are there */
function refuse(ns: string, project: Project | undefined, more: number, used: number, image: Image | undefined) {
  if (!project) return `namespaces "${ns}" not found`
  // kubernetes plugin/pkg/admission/namespace/lifecycle
  if (project.terminating && more > 0)
    return `unable to create new content in namespace ${ns} because it is being terminated`
  return overQuota(project, more, used) ?? (image && overLimit(project, image))
}

function overQuota(project: Project, more: number, used: number): string | undefined {
  for (const [quota, hard] of project.quotas) {
    const limit = hard['openshift.io/imagestreams']
    if (limit === undefined || used + more <= Number(limit) || more === 0) continue
    const each = `openshift.io/imagestreams`
    return `exceeded quota: ${quota}, requested: ${each}=${more}, used: ${each}=${used}, limited: ${each}=${limit}`
  }
  return undefined
}

function overLimit(project: Project, image: Image): string | undefined {
  const bytes = [...image.layers, ...(image.config ? [image.config] : [])].reduce((sum, blob) => sum + blob.size, 0)
  for (const { maxImageBytes } of project.limits.values()) {
    if (bytes > maxImageBytes)
      return `requested usage of storage exceeds the maximum limit per openshift.io/Image (${bytes} > ${maxImageBytes})`
  }
  return undefined
}
