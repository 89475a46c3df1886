import { z } from 'zod'
import { PromoteError } from '../core/errors.ts'
import { type Digest, isDigest } from '../oci/digest.ts'
import { type ClusterSide, path } from './api.ts'

/** What one read of an image stream tells (image.openshift.io/v1 ImageStream). */
export type Stream = Readonly<{
  /** Host of the registry's route; undefined when the cluster has none. */
  publicHost: string | undefined
  /** Host of the registry's service, reachable inside the cluster. */
  internalHost: string | undefined
  /** Where each tag points now. */
  tags: ReadonlyMap<string, Digest>
  /** Spec tags that take their image from somewhere. */
  origins: ReadonlyMap<string, TagOrigin>
  /** Images that were pushed to this repository, of the whole history of its tags. */
  pushed: ReadonlySet<Digest>
  /** Every image of the history is in the integrated registry: none was imported by reference. */
  importFree: boolean
}>

/** What image.openshift.io/v1 ImageStreamLayers lists. That an image is listed does not say where its bytes are. */
export type Layers = Readonly<{
  /** Blobs and manifests. Without images that have no Image object (`imageMissing`). */
  named: ReadonlySet<Digest>
  /** Config and layers of each image; none for an index, whose children the registry has not looked at. */
  blobs: ReadonlyMap<Digest, readonly Digest[]>
}>

type TagOrigin = Readonly<{ kind: string; name: string; namespace: string | undefined; scheduled: boolean }>

export type Repository = Readonly<{ namespace: string; name: string }>

/** `project/name`: the integrated registry has no other repositories and answers 400 with an empty body to the rest. */
export function splitRepository(repository: string, side: ClusterSide): Repository {
  const [namespace, name, ...rest] = repository.split('/')
  if (isName(namespace) && isName(name) && rest.length === 0) return { namespace, name }
  const message = `"${repository}" cannot be in an OpenShift registry: it takes exactly project/name.`
  throw new PromoteError('USAGE', message, { side, hint: 'Write the image as project/name:tag.' })
}

function isName(part: string | undefined): part is string {
  return part !== undefined && !['', '.', '..'].includes(part)
}

export function streamsPath(namespace: string): string {
  return path`/apis/image.openshift.io/v1/namespaces/${namespace}/imagestreams`
}

export function streamPath({ namespace, name }: Repository): string {
  return path`/apis/image.openshift.io/v1/namespaces/${namespace}/imagestreams/${name}`
}

/** Kubernetes writes empty lists as null or leaves them out. */
function list<T extends z.ZodType>(item: T) {
  return z
    .array(item)
    .nullish()
    .transform((value) => value ?? [])
}

const specTagSchema = z.looseObject({
  name: z.string(),
  from: z.looseObject({ kind: z.string(), name: z.string(), namespace: z.string().nullish() }).nullish(),
  importPolicy: z.looseObject({ scheduled: z.boolean().nullish() }).nullish(),
})

const eventSchema = z.looseObject({ image: z.string().nullish(), dockerImageReference: z.string().nullish() })
const statusTagSchema = z.looseObject({ tag: z.string(), items: list(eventSchema) })

export const streamSchema = z
  .looseObject({
    spec: z.looseObject({ tags: list(specTagSchema) }).nullish(),
    status: z
      .looseObject({
        dockerImageRepository: z.string().nullish(),
        publicDockerImageRepository: z.string().nullish(),
        tags: list(statusTagSchema),
      })
      .nullish(),
  })
  .transform(
    ({ spec, status }): Stream => ({
      publicHost: hostOf(status?.publicDockerImageRepository),
      internalHost: hostOf(status?.dockerImageRepository),
      tags: new Map((status?.tags ?? []).flatMap(({ tag, items }) => digestOf(items[0]).map((at) => [tag, at]))),
      origins: new Map((spec?.tags ?? []).flatMap(originOf)),
      ...homesOf(
        (status?.tags ?? []).flatMap(({ items }) => items),
        [status?.dockerImageRepository, status?.publicDockerImageRepository].filter((own) => typeof own === 'string'),
      ),
    }),
  )

/**
 * The registry pulls through from wherever an event of the history points to, but never from itself (openshift/image-registry
 * identifycandidaterepositories.go).
 * @param own the repository of the stream, by its internal and its public host.
 */
function homesOf(
  events: readonly z.infer<typeof eventSchema>[],
  own: readonly string[],
): Pick<Stream, 'pushed' | 'importFree'> {
  const hosts = own.map((repository) => `${repository.split('/', 1)[0]}/`)
  const images = events.filter(({ image }) => image)
  const isOwn = (reference: string) => own.some((repository) => reference.startsWith(`${repository}@`))
  const pushed = images.filter(({ dockerImageReference }) => isOwn(dockerImageReference ?? ''))
  return {
    pushed: new Set(pushed.flatMap(digestOf)),
    importFree: images.every(({ dockerImageReference }) =>
      hosts.some((host) => dockerImageReference?.startsWith(host) ?? false),
    ),
  }
}

export const streamListSchema = z.looseObject({ items: list(streamSchema) })

const imageSchema = z.looseObject({
  layers: list(z.string()),
  config: z.string().nullish(),
  manifests: list(z.string()),
  imageMissing: z.boolean().nullish(),
})

/** image.openshift.io/v1 ImageStreamLayers. */
export const layersSchema = z
  .looseObject({
    blobs: z.record(z.string(), z.unknown()).nullish(),
    images: z.record(z.string(), imageSchema).nullish(),
  })
  .transform(({ blobs, images }): Layers => {
    const there = Object.entries(images ?? {}).filter(([, image]) => image.imageMissing !== true)
    const named = [...Object.keys(blobs ?? {}), ...there.map(([digest]) => digest)]
    const parts = there.map(([digest, { layers, config, manifests }]): [Digest, Digest[]] => [
      digest as Digest,
      manifests.length > 0 ? [] : [...layers, ...(config ? [config] : [])].filter(isDigest),
    ])
    return { named: new Set(named.filter(isDigest)), blobs: new Map(parts) }
  })

/** Nothing is listed: the stream was made a moment ago. */
export const NO_LAYERS: Layers = { named: new Set(), blobs: new Map() }

/**
 * Pure: what is certainly stored. The registry checks the blobs of an image manifest that is pushed, but takes those of
 * the upstreams of imported images for its own; and a child of an index may be known to the cluster by another project.
 */
export function storedBy(layers: Layers, stream: Pick<Stream, 'pushed' | 'importFree'>): ReadonlySet<Digest> {
  if (!stream.importFree) return new Set()
  const images = [...stream.pushed].filter((digest) => layers.blobs.has(digest))
  return new Set(images.flatMap((digest) => [digest, ...(layers.blobs.get(digest) ?? [])]))
}

/** `host[:port]/project/name` → `host[:port]`; undefined for anything that is not a host. */
function hostOf(repository: string | null | undefined): string | undefined {
  const host = repository?.split('/', 1)[0]
  return host !== undefined && /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?$/i.test(host)
    ? host.toLowerCase()
    : undefined
}

function digestOf(event: z.infer<typeof eventSchema> | undefined): Digest[] {
  return event?.image && isDigest(event.image) ? [event.image] : []
}

function originOf({ name: tag, from, importPolicy }: z.infer<typeof specTagSchema>): [string, TagOrigin][] {
  if (!from) return []
  const { kind, name, namespace } = from
  return [[tag, { kind, name, namespace: namespace ?? undefined, scheduled: importPolicy?.scheduled ?? false }]]
}

/** Why a push to this tag may not last: its origin outlives the push (`oc tag` and `oc import-image` set it). */
export function followText(tag: string, origin: TagOrigin): string {
  const from = origin.namespace === undefined ? origin.name : `${origin.namespace}/${origin.name}`
  if (origin.kind === 'ImageStreamTag')
    return `the tag ${tag} follows the image stream tag ${from}: the next change there replaces what is promoted`
  if (origin.kind === 'DockerImage' && origin.scheduled)
    return `the tag ${tag} is imported from ${from} on a schedule: the next import replaces what is promoted`
  if (origin.kind === 'DockerImage')
    return `the tag ${tag} was imported from ${from}: the next import of it replaces what is promoted`
  return `the tag ${tag} is set to ${from} in the image stream's spec: the next import may bring that back`
}
