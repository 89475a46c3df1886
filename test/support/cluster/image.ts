import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import type { Descriptor } from '../../../src/oci/manifest.ts'
import type { Platform } from '../../../src/oci/platform.ts'
import { MEDIA } from './distribution.ts'
import { randomBytes, type Storage, synthetic } from './storage.ts'

/** Images, indexes and artifacts of every shape, the same bytes for the same seed. Layers are random bytes: no test unpacks them. */
export interface BuiltManifest {
  readonly digest: Digest
  readonly bytes: Uint8Array
  readonly mediaType: string
}

export interface BuiltImage {
  readonly root: BuiltManifest
  /** In upload order: children before parents, the root last. */
  readonly manifests: readonly BuiltManifest[]
  readonly blobs: ReadonlyMap<Digest, Uint8Array>
  /** Layers that are made while they are read; they take no memory. */
  readonly large: readonly { seed: number; size: number; digest: Digest }[]
}

export interface ImageOptions {
  /** Number of layers (of about 1 KiB), or the size of each in bytes; default 2. */
  layers?: number | readonly number[]
  /** Sizes of further layers that take no memory, up to many GiB. */
  large?: readonly number[]
  seed?: number
  /** `os/architecture[/variant]`; default linux/amd64. */
  platform?: string
  /** Members added to (or replacing those of) the image config. */
  config?: Record<string, unknown>
  /** Docker v2 schema 2 instead of OCI. */
  docker?: boolean
  annotations?: Record<string, string>
  subject?: Descriptor
  /** Layers that other images have, too: these many first layers depend on this seed alone. */
  shared?: { layers: number; seed: number }
  /** False: an OCI manifest without its optional member `mediaType`. */
  mediaType?: boolean
}

export function makeImage(options: ImageOptions = {}): BuiltImage {
  const { seed = 1, docker = false } = options
  const blobs = new Map<Digest, Uint8Array>()
  const layerType = docker
    ? 'application/vnd.docker.image.rootfs.diff.tar.gzip'
    : 'application/vnd.oci.image.layer.v1.tar+gzip'
  const sizes =
    typeof options.layers === 'object'
      ? options.layers
      : Array(options.layers ?? 2)
          .fill(0)
          .map((_, i) => 1000 + i)
  const shared = (options.shared ? Array(options.shared.layers).fill(1500) : []).map((size, i) =>
    randomBytes((options.shared?.seed ?? 0) * 1000 + 500 + i, size + i),
  )
  const layers = [...shared, ...sizes.map((size, i) => randomBytes(seed * 1000 + i, size))].map((bytes) =>
    addBlob(blobs, bytes, layerType),
  )
  const large = (options.large ?? []).map((size, i) => {
    const { digest } = synthetic(seed * 1000 + 900 + i, size)
    return { seed: seed * 1000 + 900 + i, size, digest }
  })
  const all = [...layers, ...large.map(({ digest, size }) => ({ mediaType: layerType, digest, size }))]
  const platform = parsePlatform(options.platform ?? 'linux/amd64')
  const config = {
    ...platform,
    created: '2026-01-02T03:04:05Z',
    config: { Env: [`SEED=${seed}`], Cmd: ['/bin/app'] },
    rootfs: { type: 'layers', diff_ids: all.map(({ digest }) => digest) },
    ...options.config,
  }
  const configType = docker
    ? 'application/vnd.docker.container.image.v1+json'
    : 'application/vnd.oci.image.config.v1+json'
  const mediaType = docker ? MEDIA.v2s2 : MEDIA.manifest
  const root = seal(mediaType, {
    schemaVersion: 2,
    ...(options.mediaType !== false && { mediaType }),
    config: addBlob(blobs, encode(config), configType),
    layers: all,
    ...(options.subject && { subject: plain(options.subject) }),
    ...(options.annotations && { annotations: options.annotations }),
  })
  return { root, manifests: [root], blobs, large }
}

export interface IndexOptions {
  /** Default linux/amd64 and linux/arm64/v8. */
  platforms?: readonly string[]
  layersEach?: ImageOptions['layers']
  seed?: number
  /** The platforms' images hang below a second index inside the first. */
  nested?: boolean
  /** A docker manifest list of v2 schema 2 images. */
  docker?: boolean
  /** So many first layers are the same for every platform. */
  sharedLayers?: number
  annotations?: Record<string, string>
  artifactType?: string
  subject?: Descriptor
  /** Adds an entry for platform unknown/unknown, as buildkit does for attestations. */
  attestation?: boolean
}

export function makeIndex(options: IndexOptions = {}): BuiltImage {
  const { platforms = ['linux/amd64', 'linux/arm64/v8'], seed = 1, docker = false } = options
  const images = platforms.map((platform, i) =>
    makeImage({
      platform,
      docker,
      seed: seed * 100 + i,
      ...(options.layersEach !== undefined && { layers: options.layersEach }),
      ...(options.sharedLayers !== undefined && { shared: { layers: options.sharedLayers, seed } }),
    }),
  )
  const entries = images.map((image, i) => ({ ...describe(image.root), platform: parsePlatform(platforms[i] ?? '') }))
  if (options.attestation && images[0]) {
    const attestation = makeArtifact({ seed: seed * 100 + 99, artifactType: 'application/vnd.in-toto+json' })
    images.push(attestation)
    const annotations = {
      'vnd.docker.reference.digest': images[0].root.digest,
      'vnd.docker.reference.type': 'attestation-manifest',
    }
    const platform = { os: 'unknown', architecture: 'unknown' }
    entries.push({ ...describe(attestation.root), platform, annotations } as never)
  }
  const mediaType = docker ? MEDIA.list : MEDIA.index
  const index = (manifests: readonly unknown[], more: object = {}) =>
    seal(mediaType, { schemaVersion: 2, mediaType, manifests, ...more })
  const inner = options.nested ? [index(entries)] : []
  const root = index(inner.length > 0 ? inner.map((one) => describe(one)) : entries, {
    ...(options.artifactType && { artifactType: options.artifactType }),
    ...(options.annotations && { annotations: options.annotations }),
    ...(options.subject && { subject: plain(options.subject) }),
  })
  return joined(images, [...inner, root])
}

export interface ArtifactOptions {
  /** What it is about. */
  subject?: Descriptor
  artifactType?: string
  seed?: number
  /** Size of its one layer; default 300. */
  size?: number
  annotations?: Record<string, string>
}

/** An OCI 1.1 artifact (image-spec manifest.md "Guidelines for Artifact Usage"): empty config, one layer. */
export function makeArtifact(options: ArtifactOptions = {}): BuiltImage {
  const { seed = 7, artifactType = 'application/vnd.example.sbom.v1' } = options
  const blobs = new Map<Digest, Uint8Array>()
  const root = seal(MEDIA.manifest, {
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    artifactType,
    config: addBlob(blobs, encode({}), 'application/vnd.oci.empty.v1+json'),
    layers: [addBlob(blobs, randomBytes(seed * 1000 + 700, options.size ?? 300), artifactType)],
    ...(options.subject && { subject: plain(options.subject) }),
    ...(options.annotations && { annotations: options.annotations }),
  })
  return { root, manifests: [root], blobs, large: [] }
}

/** A cosign signature (or attestation, SBOM) of `digest`, and the tag that ties it to it. */
export function makeCosign(
  digest: Digest,
  suffix: 'sig' | 'att' | 'sbom' = 'sig',
  seed = 5,
): { image: BuiltImage; tag: string } {
  const blobs = new Map<Digest, Uint8Array>()
  const payload = {
    critical: { image: { 'docker-manifest-digest': digest }, type: 'cosign container image signature' },
    seed,
  }
  const layerType = 'application/vnd.dev.cosign.simplesigning.v1+json'
  const layer = {
    ...addBlob(blobs, encode(payload), layerType),
    annotations: { 'dev.cosignproject.cosign/signature': randomBytes(seed, 48).toString('base64') },
  }
  const root = seal(MEDIA.manifest, {
    schemaVersion: 2,
    mediaType: MEDIA.manifest,
    config: addBlob(
      blobs,
      encode({ rootfs: { type: 'layers', diff_ids: [layer.digest] } }),
      'application/vnd.oci.image.config.v1+json',
    ),
    layers: [layer],
  })
  return { image: { root, manifests: [root], blobs, large: [] }, tag: `${fallbackTag(digest)}.${suffix}` }
}

/** distribution-spec "Referrers Tag Schema". */
export function fallbackTag(digest: Digest): string {
  const [algorithm, hex = ''] = digest.split(':')
  return `${algorithm}-${hex.slice(0, 64)}`
}

/** The index that clients keep under `fallbackTag` where a registry has no referrers API. */
export function makeFallbackIndex(referrers: readonly Descriptor[]): BuiltManifest {
  return seal(MEDIA.index, { schemaVersion: 2, mediaType: MEDIA.index, manifests: referrers.map(plain) })
}

/** As a subject or entry names it. */
export function describe({ mediaType, digest, bytes }: BuiltManifest): Descriptor {
  return { mediaType, digest, size: bytes.length }
}

/** A storage, or a registry over one; `adopt` tells a registry with image streams about each manifest. */
export type Seedable =
  | Storage
  | { readonly store: Storage; adopt?(repository: string, digest: Digest, tag: string | undefined): void }

/** Puts everything in place without a request. Without a tag it is there by digest only. */
export function seedImage(into: Seedable, repository: string, image: BuiltImage, tag?: string): Digest {
  const store = 'store' in into ? into.store : into
  for (const bytes of image.blobs.values()) store.putBlob(repository, bytes)
  for (const { seed, size } of image.large) store.putSynthetic(repository, seed, size)
  for (const manifest of image.manifests) {
    const ownTag = manifest === image.root ? tag : undefined
    store.putManifest(repository, manifest.bytes, manifest.mediaType, ownTag)
    if ('store' in into) into.adopt?.(repository, manifest.digest, ownTag)
  }
  return image.root.digest
}

function joined(images: readonly BuiltImage[], more: readonly BuiltManifest[]): BuiltImage {
  const manifests = [...images.flatMap((image) => image.manifests), ...more]
  const root = manifests.at(-1)
  if (!root) throw new Error('an image needs a manifest')
  return {
    root,
    manifests,
    blobs: new Map(images.flatMap((image) => [...image.blobs])),
    large: images.flatMap((image) => image.large),
  }
}

function addBlob(blobs: Map<Digest, Uint8Array>, bytes: Uint8Array, mediaType: string) {
  const digest = digestOf(bytes)
  blobs.set(digest, bytes)
  return { mediaType, digest, size: bytes.length }
}

function seal(mediaType: string, document: object): BuiltManifest {
  const bytes = encode(document)
  return { digest: digestOf(bytes), bytes, mediaType }
}

function encode(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

function plain({ mediaType, digest, size, artifactType, annotations }: Descriptor): Descriptor {
  return { mediaType, digest, size, ...(artifactType && { artifactType }), ...(annotations && { annotations }) }
}

function parsePlatform(text: string): Platform {
  const [os = 'linux', architecture = 'amd64', variant] = text.split('/')
  return { os, architecture, ...(variant && { variant }) }
}
