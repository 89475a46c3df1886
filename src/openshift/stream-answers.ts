import { z } from 'zod'
import { PromoteError } from '../core/errors.ts'
import { type Digest, isDigest } from '../oci/digest.ts'
import { type ClusterSide, path } from './api.ts'

/** Where a tag of the spec takes its image from. */
type TagOrigin = ReturnType<typeof originOf>[number][1]

export type StreamName = Readonly<{ namespace: string; name: string }>

/** `project/name`. To other names the integrated registry answers 400 with an empty body. Throws USAGE. */
export function splitRepository(repository: string, side: ClusterSide): StreamName {
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

export function streamPath({ namespace, name }: StreamName): string {
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
  reference: z.boolean().nullish(),
})

const text = z.string().nullish()
const eventSchema = z.looseObject({ created: text, image: text, dockerImageReference: text })
const conditionSchema = z.looseObject({
  type: text,
  status: text,
  reason: text,
  message: text,
  lastTransitionTime: text,
})
const statusTagSchema = z.looseObject({ tag: z.string(), items: list(eventSchema), conditions: list(conditionSchema) })

/** image.openshift.io/v1 ImageStream, as far as a promotion needs it. */
export type Stream = Readonly<z.infer<typeof streamSchema>>

export const streamSchema = z
  .looseObject({
    metadata: z.looseObject({ name: z.string().nullish() }).nullish(),
    spec: z.looseObject({ tags: list(specTagSchema) }).nullish(),
    status: z
      .looseObject({
        dockerImageRepository: z.string().nullish(),
        publicDockerImageRepository: z.string().nullish(),
        tags: list(statusTagSchema),
      })
      .nullish(),
  })
  .transform(({ metadata, spec, status }) => {
    const { dockerImageRepository: inner, publicDockerImageRepository: outer, tags = [] } = status ?? {}
    return {
      name: metadata?.name ?? '',
      /** Host of the registry's route; undefined when the cluster has none. */
      publicHost: hostOf(outer),
      /** Host of the registry's service, reachable inside the cluster. */
      internalHost: hostOf(inner),
      /** Where each tag points now. */
      tags: new Map(tags.flatMap(({ tag, items }) => digestOf(items[0]).map((at) => [tag, at] as const))),
      /** When each tag got the image that it has (milliseconds since 1970). */
      created: new Map(tags.map(({ tag, items }) => [tag, Date.parse(items[0]?.created ?? '')])),
      /** Spec tags that take their image from somewhere. */
      origins: new Map((spec?.tags ?? []).flatMap(originOf)),
      /** Tags whose latest import failed, with the reason that the cluster gives. */
      failedImports: new Map(tags.flatMap(failedImportOf)),
      ...historyOf(
        tags.flatMap(({ items }) => items),
        [inner, outer].filter((own) => typeof own === 'string'),
      ),
    }
  })

/**
 * `pushed`: images that were pushed to this repository, of the whole history of its tags. `imports`: whether one was imported
 * by reference; the others are in the integrated registry.
 * The registry pulls through from wherever an event of the history points to, but never from itself (openshift/image-registry
 * identifycandidaterepositories.go).
 * @param own the repository of the stream, by its internal and its public host.
 */
function historyOf(events: readonly z.infer<typeof eventSchema>[], own: readonly string[]) {
  const hosts = own.map((repository) => `${repository.split('/', 1)[0]}/`)
  const images = events.filter(({ image }) => image)
  const isOwn = (reference: string) => own.some((repository) => reference.startsWith(`${repository}@`))
  const pushed = images.filter(({ dockerImageReference }) => isOwn(dockerImageReference ?? ''))
  const isHere = ({ dockerImageReference }: (typeof images)[number]) =>
    hosts.some((host) => dockerImageReference?.startsWith(host))
  const imports: 'none' | 'some' = images.every(isHere) ? 'none' : 'some'
  return { pushed: new Set(pushed.flatMap(digestOf)), imports }
}

export const streamListSchema = z.looseObject({
  metadata: z.looseObject({ continue: z.string().nullish() }).nullish(),
  items: list(streamSchema),
})

const imageSchema = z.looseObject({
  layers: list(z.string()),
  config: z.string().nullish(),
  manifests: list(z.string()),
  imageMissing: z.boolean().nullish(),
})

/** image.openshift.io/v1 ImageStreamLayers. It lists images whose bytes may be in another registry. */
export type Layers = Readonly<z.infer<typeof layersSchema>>

export const layersSchema = z
  .looseObject({
    blobs: z.record(z.string(), z.unknown()).nullish(),
    images: z.record(z.string(), imageSchema).nullish(),
  })
  .transform(({ blobs, images }) => {
    const there = Object.entries(images ?? {}).filter(([, image]) => image.imageMissing !== true)
    const named = [...Object.keys(blobs ?? {}), ...there.map(([digest]) => digest)]
    const parts = there.map(([digest, { layers, config, manifests }]): [Digest, Digest[]] => [
      digest as Digest,
      manifests.length > 0 ? [] : [...layers, ...(config ? [config] : [])].filter(isDigest),
    ])
    return {
      /** Blobs and manifests. Without images that have no Image object (`imageMissing`). */
      named: new Set(named.filter(isDigest)),
      /** Config and layers of each image; none for an index, whose children the registry has not looked at. */
      blobs: new Map(parts),
    }
  })

/** Nothing is listed: the stream was made a moment ago. */
export const NO_LAYERS: Layers = { named: new Set(), blobs: new Map() }

/**
 * Pure: what is certainly stored. The registry checks the blobs of an image manifest that is pushed, but takes those of
 * the upstreams of imported images for its own; and a child of an index may be known to the cluster by another project.
 */
export function storedBy(layers: Layers, stream: Pick<Stream, 'pushed' | 'imports'>): ReadonlySet<Digest> {
  if (stream.imports === 'some') return new Set()
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

function originOf({ name: tag, from, importPolicy, reference }: z.infer<typeof specTagSchema>) {
  if (!from) return []
  const origin = {
    kind: from.kind,
    /** `name`, or `namespace/name`. */
    name: from.namespace ? `${from.namespace}/${from.name}` : from.name,
    scheduled: importPolicy?.scheduled ?? false,
    /** The tag only names its origin, and nothing is imported. */
    reference: reference ?? false,
  }
  return [[tag, origin] as const]
}

/** The condition stays when an image is pushed after it (openshift-apiserver pkg/image/apiserver/importer). */
function failedImportOf({ tag, items, conditions }: z.infer<typeof statusTagSchema>): [string, string][] {
  const failed = conditions.find(({ type, status }) => type === 'ImportSuccess' && status === 'False')
  if (failed === undefined) return []
  const isOlder = Date.parse(failed.lastTransitionTime ?? '') < Date.parse(items[0]?.created ?? '')
  return isOlder ? [] : [[tag, [failed.reason, failed.message].filter(Boolean).join(': ')]]
}

/** Why a push to this tag may not last: its origin stays after the push (`oc tag` and `oc import-image` set it). */
export function followText(tag: string, { kind, name, scheduled, reference }: TagOrigin): string {
  if (kind === 'ImageStreamTag')
    return `the tag ${tag} follows the image stream tag ${name}: the next change there replaces what is promoted`
  if (reference)
    return `the tag ${tag} is a reference to ${name} (reference: true): the cluster may use that in place of what is promoted`
  if (kind === 'DockerImage' && scheduled)
    return `the tag ${tag} is imported from ${name} on a schedule: the next import replaces what is promoted`
  if (kind === 'DockerImage')
    return `the tag ${tag} was imported from ${name}: the next import of it replaces what is promoted`
  return `the tag ${tag} is set to ${name} in the image stream's spec: the next import may bring that back`
}

/** Why a tag of the spec has no image, and where the image would come from. */
export function whyEmpty(tag: string, stream: Stream): { why: string; origin: string } | undefined {
  const [origin, failed] = [stream.origins.get(tag), stream.failedImports.get(tag)]
  if (origin === undefined) return undefined
  const { name, kind, reference } = origin
  if (reference)
    return { why: `the tag only refers to ${name} (reference: true), and nothing was imported`, origin: name }
  if (failed !== undefined) return { why: `its import from ${name} failed (${failed})`, origin: name }
  const why =
    kind === 'DockerImage' ? `its import from ${name} is not finished` : `it follows ${name}, which has no image`
  return { why, origin: name }
}
