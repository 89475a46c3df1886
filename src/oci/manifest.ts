import { z } from 'zod'
import { PromoteError } from '../core/errors.ts'
import { cut } from '../core/text.ts'
import { algorithmOf, type Digest, digestOf, isDigest } from './digest.ts'
import type { Platform } from './platform.ts'

/** OCI image-spec descriptor.md. A view of the known members; the bytes of the manifest keep the others. */
export type Descriptor = Readonly<{
  mediaType: string
  digest: Digest
  /** Bytes; 0 if the document has no size. */
  size: number
  /** The document has no size; some old builders omit it. */
  unsized?: true | undefined
  platform?: Platform | undefined
  artifactType?: string | undefined
  annotations?: Readonly<Record<string, string>> | undefined
  urls?: readonly string[] | undefined
  /** Base64 of the content, when it is embedded. */
  data?: string | undefined
}>

/** A descriptor in a manifest, with its role. Links keep the order of the document. */
export type Link = Readonly<{
  kind: 'manifest' | 'blob'
  role: 'child' | 'config' | 'layer' | 'subject'
  descriptor: Descriptor
}>

/** A manifest as received. It is never serialised again: the bytes are copied, and the links are a view of them. */
export type Manifest = Readonly<{
  descriptor: Descriptor
  bytes: Uint8Array
  links: readonly Link[]
  /** `index` for OCI indexes and docker manifest lists. */
  shape: 'index' | 'image'
  artifactType?: string | undefined
  annotations?: Readonly<Record<string, string>> | undefined
}>

export const MEDIA_TYPE = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  /** Only in release candidates of OCI 1.1; ORAS and zot have written it. */
  ociArtifact: 'application/vnd.oci.artifact.manifest.v1+json',
} as const

const INDEXES: ReadonlySet<string> = new Set([MEDIA_TYPE.ociIndex, MEDIA_TYPE.dockerList])
const IMAGES: ReadonlySet<string> = new Set([MEDIA_TYPE.ociManifest, MEDIA_TYPE.dockerManifest, MEDIA_TYPE.ociArtifact])
const SCHEMA_1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/
/** BuildKit lists the layers of a build cache in an index: https://github.com/moby/buildkit/issues/2251 */
const BLOB_IN_INDEX =
  /^application\/vnd\.(?:oci\.image\.(?:layer|config)\.|docker\.(?:image\.rootfs|container\.image)\.|buildkit\.cacheconfig\.)/

/**
 * The Accept header of every manifest request. It lists every type: OpenShift and distribution answer 404, or a converted
 * manifest with another digest, if the type of the stored manifest is missing.
 */
export const ACCEPT = [...INDEXES, ...IMAGES].join(', ')

/** Bytes. distribution-spec "Pushing Manifests": registries accept at least 4 MiB; distribution and OpenShift accept no more. */
export const MANIFEST_LIMIT = 4 * 1024 * 1024

const digest = z.string().refine(isDigest, 'not a sha256 or sha512 digest')
/** It becomes a header value. RFC 6838 allows visible ASCII; registries accept blanks too. */
const mediaType = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[ -~]+$/, 'not a media type')
/** Go writes `null` for an empty list or map. */
const absent = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined)

/** One check for the whole list: a hostile document must not produce a million issues. */
const strings = z.custom<readonly string[]>((value) => Array.isArray(value) && value.every(isString))
const annotations = z.custom<Readonly<Record<string, string>>>(
  (value) => typeof value === 'object' && value !== null && Object.values(value).every(isString),
)

const platform = z.object({
  os: z.string(),
  architecture: z.string(),
  variant: absent(z.string()),
  'os.version': absent(z.string()),
})

const written = z.object({
  mediaType,
  digest,
  // z.int() is bounded by what a number holds exactly: 2^53 - 1.
  size: absent(z.int().min(0)),
  // An invalid platform or annotation is ignored: the bytes are copied all the same.
  platform: absent(platform).catch(undefined),
  artifactType: absent(z.string()).catch(undefined),
  annotations: absent(annotations).catch(undefined),
  urls: absent(strings).catch(undefined),
  data: absent(z.string()).catch(undefined),
})

export const descriptorSchema = written.transform(({ size, ...rest }): Descriptor => {
  if (size !== undefined) return { ...rest, size }
  return digestOf(new Uint8Array(), algorithmOf(rest.digest)) === rest.digest
    ? { ...rest, size: 0 }
    : { ...rest, size: 0, unsized: true }
})

/** What a manifest names in one role. */
export function linked({ links }: Pick<Manifest, 'links'>, role: Link['role']): Descriptor[] {
  return links.filter((link) => link.role === role).map(({ descriptor }) => descriptor)
}

/** More descriptors than this do not fit into 4 MiB. */
const MOST_DESCRIPTORS = 40_000
const descriptors = z.array(z.unknown()).max(MOST_DESCRIPTORS).pipe(z.array(descriptorSchema))

const documentSchema = z.object({
  schemaVersion: absent(z.number()),
  mediaType: absent(mediaType),
  artifactType: absent(z.string()).catch(undefined),
  annotations: absent(annotations).catch(undefined),
  manifests: absent(descriptors),
  config: absent(descriptorSchema),
  layers: absent(descriptors),
  /** What an OCI artifact manifest calls its layers. */
  blobs: absent(descriptors),
  subject: absent(descriptorSchema),
})
type Document = z.infer<typeof documentSchema>

/**
 * Checks the bytes against the expected digest and reads the descriptors. The media type is the document's own, else the
 * answer's, else the parent's, else that of the document's shape (OCI documents may omit it). A descriptor with a wrong size
 * is accepted: the digest decides, as in other tools.
 * @param contentType of the answer; parameters and types that are not a manifest's (`text/plain`) are ignored.
 * @throws PromoteError DIGEST_MISMATCH, UNSUPPORTED (schema 1), PROTOCOL (not a manifest)
 */
export function readManifest(
  bytes: Uint8Array,
  contentType: string | undefined,
  expected?: Digest | Descriptor,
): Manifest {
  if (bytes.byteLength > MANIFEST_LIMIT)
    throw new PromoteError('PROTOCOL', `The manifest has ${bytes.byteLength} bytes, more than ${MANIFEST_LIMIT}.`)
  const descriptor = typeof expected === 'object' ? expected : undefined
  const typeOfAnswer = contentType?.split(';', 1)[0]?.trim().toLowerCase()
  const json = parseUtf8Json(bytes)
  refuseSchema1(json, typeOfAnswer)
  const found = check(bytes, typeof expected === 'string' ? expected : descriptor?.digest)
  const document = parseDocument(json)
  const shape = shapeOf(document)
  const known = shape === 'index' ? INDEXES : IMAGES
  const mediaType =
    document.mediaType ??
    [typeOfAnswer, descriptor?.mediaType].find((type) => type !== undefined && known.has(type)) ??
    (shape === 'index' ? MEDIA_TYPE.ociIndex : MEDIA_TYPE.ociManifest)
  return {
    descriptor: { mediaType, digest: found, size: bytes.byteLength },
    bytes,
    links: linksOf(document),
    shape,
    artifactType: document.artifactType,
    annotations: document.annotations,
  }
}

/** With more blobs without a size than this, no size is looked up. */
const MOST_UNSIZED = 100

/** Fills in the sizes that the document omits, as far as `sizeOf` knows them. */
export async function withSizes(
  manifest: Manifest,
  sizeOf: (blob: Descriptor) => Promise<number | undefined>,
): Promise<Manifest> {
  const unsized = new Set(manifest.links.filter(({ kind, descriptor }) => kind === 'blob' && descriptor.unsized))
  if (unsized.size === 0 || unsized.size > MOST_UNSIZED) return manifest
  const measured = manifest.links.map(async (link): Promise<Link> => {
    const size = unsized.has(link) ? await sizeOf(link.descriptor) : undefined
    return size === undefined ? link : { ...link, descriptor: { ...link.descriptor, size, unsized: undefined } }
  })
  return { ...manifest, links: await Promise.all(measured) }
}

/** A layer that registries need not store: its URLs say where it is (image-spec layer.md "Non-Distributable Layers"). */
export function isForeign({ mediaType, urls }: Descriptor): boolean {
  return (urls?.length ?? 0) > 0 && /nondistributable|\.foreign\./.test(mediaType)
}

/** The content that a descriptor embeds (image-spec "Embedded Content"); undefined if its size or digest is wrong. */
export function embedded(descriptor: Descriptor): Uint8Array | undefined {
  if (descriptor.data === undefined) return undefined
  const bytes = Buffer.from(descriptor.data, 'base64')
  const good =
    (bytes.length === descriptor.size || descriptor.unsized === true) &&
    digestOf(bytes, algorithmOf(descriptor.digest)) === descriptor.digest
  return good ? bytes : undefined
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function parseUtf8Json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return undefined
  }
}

/** Called before the digest is checked: the digest of a schema 1 document covers only a part of it. */
function refuseSchema1(json: unknown, contentType: string | undefined): void {
  const { mediaType, schemaVersion }: Readonly<{ mediaType?: unknown; schemaVersion?: unknown }> = json ?? {}
  const type = typeof mediaType === 'string' ? mediaType : contentType
  if (schemaVersion !== 1 && !SCHEMA_1.test(type ?? '')) return
  throw new PromoteError('UNSUPPORTED', 'Docker schema 1 is not supported.', {
    hint: 'Rebuild the image, or pull and push it with a current podman or docker.',
  })
}

function check(bytes: Uint8Array, wanted: Digest | undefined): Digest {
  const found = digestOf(bytes, wanted === undefined ? 'sha256' : algorithmOf(wanted))
  if (wanted !== undefined && found !== wanted)
    throw new PromoteError('DIGEST_MISMATCH', `The registry was asked for the manifest ${wanted} and sent ${found}.`, {
      hint: 'A proxy or the registry changes manifests, or the stored content is damaged.',
    })
  return found
}

function parseDocument(json: unknown): Document {
  const parsed = documentSchema.safeParse(json)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const where = issue === undefined || issue.path.length === 0 ? '' : ` (${issue.path.join('.')}: ${issue.message})`
    throw new PromoteError('PROTOCOL', `The answer is not a manifest${cut(where, 200)}.`)
  }
  const { schemaVersion } = parsed.data
  if (schemaVersion !== undefined && schemaVersion !== 2)
    throw new PromoteError('UNSUPPORTED', `The manifest has schema version ${schemaVersion}; version 2 is copied.`)
  return parsed.data
}

/** Decided by the members, not by a header. Accepting both shapes at once gave one digest two meanings: CVE-2021-41190. */
function shapeOf({ mediaType, manifests, config, layers, blobs }: Document): 'index' | 'image' {
  const image = config !== undefined || layers !== undefined || blobs !== undefined
  const saysIndex = INDEXES.has(mediaType ?? '')
  const saysImage = IMAGES.has(mediaType ?? '')
  if ((manifests !== undefined && (image || saysImage)) || (image && saysIndex))
    throw new PromoteError('PROTOCOL', 'The manifest is both an index and an image.', {
      hint: 'Registries refuse such documents since CVE-2021-41190. Rebuild the image.',
    })
  if (manifests !== undefined || saysIndex) return 'index'
  if (image || saysImage) return 'image'
  throw new PromoteError('PROTOCOL', 'The answer is not a manifest: it has neither manifests nor config and layers.')
}

function linksOf(document: Document): Link[] {
  const blob =
    (role: 'config' | 'layer') =>
    (descriptor: Descriptor): Link => ({ kind: 'blob', role, descriptor })
  const child = (descriptor: Descriptor): Link =>
    BLOB_IN_INDEX.test(descriptor.mediaType)
      ? blob('layer')(descriptor)
      : { kind: 'manifest', role: 'child', descriptor }
  const { manifests = [], config, layers = [], blobs = [], subject } = document
  return [
    ...manifests.map(child),
    ...(config === undefined ? [] : [blob('config')(config)]),
    ...[...layers, ...blobs].map(blob('layer')),
    ...(subject === undefined ? [] : [{ kind: 'manifest', role: 'subject', descriptor: subject } as const]),
  ]
}
