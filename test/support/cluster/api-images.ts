import { type Call, deleted, type Endpoint, expectKind, record, timestamp } from './endpoint.ts'
import type { Answer } from './http.ts'
import type { Image, ImageStream, ObjectReference, SpecTag, TagEvent } from './state.ts'
import { badRequest, conflict, Failure, forbidden, invalid, json, notFound, refused } from './status.ts'

/** The endpoints of `image.openshift.io/v1`, after openshift-apiserver pkg/image/apiserver/registry. */

const API_VERSION = 'image.openshift.io/v1'
const NAMESPACE = '^/apis/image\\.openshift\\.io/v1/namespaces/([^/]+)'
const at = (path: string) => new RegExp(`${NAMESPACE}${path}$`)

export const imageEndpoints: readonly Endpoint[] = [
  ['GET', at('/imagestreams'), listStreams],
  ['POST', at('/imagestreams'), createStream],
  ['GET', at('/imagestreams/([^/]+)'), getStream],
  ['PATCH', at('/imagestreams/([^/]+)'), patchStream],
  ['GET', at('/imagestreams/([^/]+)/layers'), getLayers],
  ['GET', at('/imagestreamtags/([^/]+)'), getTag],
  ['PUT', at('/imagestreamtags/([^/]+)'), putTag],
  ['DELETE', at('/imagestreamtags/([^/]+)'), deleteTag],
  ['GET', at('/imagestreamimages/([^/]+)'), getImage],
]

/** Sorted by name; `limit` with `continue`, as etcd pages. */
function listStreams(call: Call): Answer {
  const [ns = ''] = call.params
  call.authorize('list', 'imagestreams', ns)
  const after = Buffer.from(call.request.query.get('continue') ?? '', 'base64url').toString()
  const rest = call.streams
    .list(ns)
    .filter((stream) => stream.name > after)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const limit = Number(call.request.query.get('limit') ?? 0) || rest.length
  const page = rest.slice(0, limit)
  const last = page.at(-1)
  const more = rest.length > page.length && last !== undefined
  return json(200, {
    kind: 'ImageStreamList',
    apiVersion: API_VERSION,
    metadata: {
      resourceVersion: String(call.streams.nextVersion()),
      ...(more && { continue: Buffer.from(last.name).toString('base64url'), remainingItemCount: rest.length - limit }),
    },
    items: page.map((stream) => describeStream(call, stream)),
  })
}

async function createStream(call: Call): Promise<Answer> {
  const [ns = ''] = call.params
  call.authorize('create', 'imagestreams', ns)
  const body = await call.body()
  expectKind(body, API_VERSION, 'ImageStream')
  const metadata = record(body.metadata)
  const name = typeof metadata.name === 'string' ? metadata.name : ''
  if (metadata.namespace !== undefined && metadata.namespace !== ns) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request')
  }
  if (!/^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/.test(name)) {
    throw invalid('ImageStream', 'imagestreams', name, `metadata.name: Invalid value: ${JSON.stringify(name)}`)
  }
  if (Object.keys(record(body.spec)).some((key) => key !== 'lookupPolicy')) {
    call.recorder.refuse('api', call.request, 'spec of a new image stream')
    throw badRequest('the emulator creates empty image streams only')
  }
  if (!call.streams.projects.has(ns)) throw notFound('namespaces', ns)
  if (call.streams.get(ns, name)) throw conflict('imagestreams', name)
  const why = call.streams.refusal(ns, name)
  if (why) throw refused('imagestreams', name, why)
  const stream = call.streams.create(ns, name)
  Object.assign(stream.labels, record(metadata.labels))
  Object.assign(stream.annotations, record(metadata.annotations))
  return json(201, describeStream(call, stream))
}

function getStream(call: Call): Answer {
  return json(200, describeStream(call, findStream(call, 'get')))
}

/** Merge patches (RFC 7396) of annotations and labels. */
async function patchStream(call: Call): Promise<Answer> {
  const stream = findStream(call, 'patch')
  const { metadata, ...others } = await call.body(['application/merge-patch+json'])
  const { annotations = {}, labels = {}, ...rest } = record(metadata)
  if (Object.keys({ ...others, ...rest }).length > 0) {
    call.recorder.refuse('api', call.request, 'patch of more than annotations and labels')
    throw badRequest('the emulator patches annotations and labels only')
  }
  merge(stream.annotations, annotations)
  merge(stream.labels, labels)
  stream.resourceVersion = call.streams.nextVersion()
  return json(200, describeStream(call, stream))
}

function merge(target: Record<string, string>, patch: unknown): void {
  for (const [key, value] of Object.entries(record(patch))) {
    if (value === null) delete target[key]
    else if (typeof value === 'string') target[key] = value
    else throw badRequest(`json: cannot unmarshal into Go struct field ObjectMeta.metadata.annotations of type string`)
  }
}

/** Pullers have this right although they cannot read image streams. */
function getLayers(call: Call): Answer {
  const [ns = '', name = ''] = call.params
  call.authorize('get', 'imagestreams/layers', ns, name)
  const layers = call.streams.layers(ns, name)
  const created = call.streams.get(ns, name)
  if (!layers || !created) throw notFound('imagestreams', name)
  return json(200, { kind: 'ImageStreamLayers', apiVersion: API_VERSION, metadata: metadataOf(created), ...layers })
}

function getTag(call: Call): Answer {
  const { ns, name, tag } = tagOf(call)
  call.authorize('get', 'imagestreamtags', ns, `${name}:${tag}`)
  const stream = call.streams.get(ns, name)
  if (!stream) throw notFound('imagestreams', name)
  const event = stream.tags.get(tag)?.[0]
  if (!event) throw notFound('imagestreamtags', `${name}:${tag}`)
  return json(200, describeTag(call, stream, tag, event))
}

/** Creates stream and tag when they are missing; 201 when the spec tag is new. */
async function putTag(call: Call): Promise<Answer> {
  const { ns, name, tag } = tagOf(call)
  call.authorize('update', 'imagestreamtags', ns, `${name}:${tag}`)
  const body = await call.body()
  expectKind(body, API_VERSION, 'ImageStreamTag')
  if (!call.streams.projects.has(ns)) throw notFound('namespaces', ns)
  const existing = call.streams.get(ns, name)
  const metadata = record(body.metadata)
  if (existing && metadata.resourceVersion && metadata.resourceVersion !== String(existing.resourceVersion)) {
    const why = `another caller has updated the resource version to ${existing.resourceVersion}`
    const what = `Operation cannot be fulfilled on imagestreamtags.image.openshift.io "${name}:${tag}": ${why}`
    throw new Failure(409, 'Conflict', what)
  }
  const old = existing?.spec.get(tag)
  const given = body.tag as SpecTag | null | undefined
  if (!old && !given) {
    throw badRequest(`imagestreamtag ${tag} is not a spec tag in imagestream ${ns}/${name}, cannot be updated`)
  }
  const image = given?.from && resolveFrom(call, ns, name, tag, given.from)
  const why = call.streams.refusal(ns, name, image)
  if (why) throw refused('imagestreamtags', `${name}:${tag}`, why)
  const stream = existing ?? call.streams.create(ns, name)
  const annotations = record(metadata.annotations) as Record<string, string>
  stream.spec.set(tag, {
    importPolicy: { importMode: 'Legacy' },
    referencePolicy: { type: 'Source' },
    ...old,
    ...given,
    name: tag,
    annotations,
    generation: call.streams.nextVersion(),
  })
  if (image) call.streams.addTag(ns, name, tag, image)
  stream.resourceVersion = call.streams.nextVersion()
  return json(old ? 200 : 201, describeTag(call, stream, tag, stream.tags.get(tag)?.[0]))
}

/** An imported `DockerImage` arrives later, if at all; here never. */
function resolveFrom(call: Call, ns: string, name: string, tag: string, from: ObjectReference): Image | undefined {
  if (from.kind === 'DockerImage') return undefined
  const other = from.namespace ?? ns
  if (other !== ns && !call.identities.allowed(call.user, 'get', 'imagestreams/layers', other)) {
    throw forbidden(call.user, 'get', 'imagestreams/layers', other, from.name)
  }
  const [stream = '', rest = ''] = from.name.split(/[@:](.*)/s)
  const source = from.kind === 'ImageStreamTag' && !rest ? name : stream
  const digest = from.kind === 'ImageStreamImage' ? rest : call.streams.resolve(other, source, rest || from.name)
  const image = digest && call.streams.image(other, source, digest)
  if (image) return image
  const cause = `spec.tags[${tag}].from.name: Not found: ${JSON.stringify(from.name)}`
  throw invalid('ImageStream', 'imagestreams', name, cause)
}

function deleteTag(call: Call): Answer {
  const { ns, name, tag } = tagOf(call)
  call.authorize('delete', 'imagestreamtags', ns, `${name}:${tag}`)
  const stream = call.streams.get(ns, name)
  if (!stream) throw notFound('imagestreams', name)
  const gone = [stream.spec.delete(tag), stream.tags.delete(tag)]
  if (!gone.includes(true)) throw notFound('imagestreamtags', `${name}:${tag}`)
  stream.resourceVersion = call.streams.nextVersion()
  return deleted('image.openshift.io', 'imagestreamtags', `${name}:${tag}`)
}

/** `app@sha256:…`; the beginning of a digest is enough when only one image has it. */
function getImage(call: Call): Answer {
  const [ns = '', id = ''] = call.params
  call.authorize('get', 'imagestreamimages', ns, id)
  const [name = '', digest = ''] = id.split('@')
  if (!name || !digest) throw badRequest('ImageStreamImages must be retrieved with <name>@<id>')
  const stream = call.streams.get(ns, name)
  if (!stream) throw notFound('imagestreams', name)
  const known = Object.keys(call.streams.layers(ns, name)?.images ?? {})
  const found = known.filter((one) => one.startsWith(digest) || one.startsWith(`sha256:${digest}`))
  const image = found.length === 1 ? call.streams.image(ns, name, found[0] ?? '') : undefined
  if (!image) throw notFound('imagestreamimages', id)
  return json(200, {
    kind: 'ImageStreamImage',
    apiVersion: API_VERSION,
    metadata: { ...metadataOf(stream), name: `${name}@${image.digest}` },
    image: describeImage(call, image, `${call.hosts.internal}/${ns}/${name}@${image.digest}`, stream.created),
  })
}

function findStream(call: Call, verb: 'get' | 'patch'): ImageStream {
  const [ns = '', name = ''] = call.params
  call.authorize(verb, 'imagestreams', ns, name)
  const stream = call.streams.get(ns, name)
  if (!stream) throw notFound('imagestreams', name)
  return stream
}

function tagOf(call: Call): { ns: string; name: string; tag: string } {
  const [ns = '', id = ''] = call.params
  const [name, tag, ...rest] = id.split(':')
  if (!name || !tag || rest.length > 0) throw badRequest('ImageStreamTags must be retrieved with <name>:<tag>')
  return { ns, name, tag }
}

function metadataOf(stream: ImageStream): object {
  return {
    name: stream.name,
    namespace: stream.namespace,
    uid: stream.uid,
    resourceVersion: String(stream.resourceVersion),
    creationTimestamp: stream.created,
    ...(Object.keys(stream.labels).length > 0 && { labels: stream.labels }),
  }
}

/** Both repositories are put in on every read, also into the answer to the creation (imagestream/strategy.go Decorate). */
function describeStream(call: Call, stream: ImageStream): object {
  const path = `${stream.namespace}/${stream.name}`
  const { annotations } = stream
  const spec = [...stream.spec.values()]
  const named = new Set([...stream.tags.keys(), ...stream.conditions.keys()])
  const tags = [...named].map((tag) => {
    const condition = stream.conditions.get(tag)
    return { tag, items: stream.tags.get(tag) ?? null, ...(condition && { conditions: [condition] }) }
  })
  return {
    kind: 'ImageStream',
    apiVersion: API_VERSION,
    metadata: { ...metadataOf(stream), generation: 1, ...(Object.keys(annotations).length > 0 && { annotations }) },
    spec: { lookupPolicy: { local: false }, ...(spec.length > 0 && { tags: spec }) },
    status: {
      dockerImageRepository: `${call.hosts.internal}/${path}`,
      ...(call.hosts.public && { publicDockerImageRepository: `${call.hosts.public}/${path}` }),
      ...(tags.length > 0 && { tags }),
    },
  }
}

/** imagestreamtag/rest.go newISTag */
function describeTag(call: Call, stream: ImageStream, tag: string, event: TagEvent | undefined): object {
  const spec = stream.spec.get(tag)
  const image = event && call.streams.images.get(event.image)
  return {
    kind: 'ImageStreamTag',
    apiVersion: API_VERSION,
    metadata: {
      ...metadataOf(stream),
      name: `${stream.name}:${tag}`,
      creationTimestamp: event?.created ?? stream.created,
      ...(spec?.annotations && { annotations: spec.annotations }),
    },
    tag: spec ?? null,
    generation: event?.generation ?? 0,
    lookupPolicy: { local: false },
    image: image
      ? describeImage(call, image, event.dockerImageReference, event.created)
      : {
          metadata: { ...(event && { name: event.image }), creationTimestamp: null },
          dockerImageReference: event?.dockerImageReference ?? '',
        },
  }
}

function describeImage(call: Call, image: Image, dockerImageReference: string, created: string): object {
  const bytes = image.layers.reduce((sum, layer) => sum + layer.size, image.config?.size ?? 0)
  return {
    metadata: {
      name: image.digest,
      resourceVersion: '1000',
      creationTimestamp: created,
      annotations: {
        'image.openshift.io/dockerLayersOrder': 'ascending',
        'image.openshift.io/manifestBlobStored': 'true',
        'openshift.io/image.managed': 'true',
      },
    },
    dockerImageReference,
    dockerImageManifestMediaType: image.mediaType,
    dockerImageMetadata: {
      kind: 'DockerImage',
      apiVersion: '1.0',
      Id: image.config?.digest ?? '',
      Created: timestamp(call.now()),
      Size: bytes,
    },
    dockerImageMetadataVersion: '1.0',
    dockerImageLayers: image.layers.map(({ digest, size, mediaType }) => ({ name: digest, size, mediaType })),
    ...(image.manifests.length > 0 && {
      dockerImageManifests: image.manifests.map(({ digest, mediaType, size, platform }) => ({
        digest,
        mediaType,
        manifestSize: size,
        architecture: platform?.architecture ?? '',
        os: platform?.os ?? '',
        ...(platform?.variant && { variant: platform.variant }),
      })),
    }),
  }
}
