import { PromoteError } from '../core/errors.ts'
import { type Digest, digestOf } from '../oci/digest.ts'
import { type Descriptor, embedded, linked, type Manifest } from '../oci/manifest.ts'
import { formatPlatform, parsePlatform, platformOfConfig } from '../oci/platform.ts'
import type { Attached } from './events.ts'

/**
 * `blob sha256:…` or `manifest sha256:…`: the same bytes may have both roles in one image. `manifest sha256:… TAG` is what
 * one of cosign's tags names. At the destination such a tag may be merged with what is there, and then gets another digest.
 */
export type Key = `${'blob' | 'manifest'} ${Digest}`

export function manifestKey(digest: Digest, tag?: string | null): Key {
  return tag ? `manifest ${digest} ${tag}` : `manifest ${digest}`
}

export type Node = Readonly<{
  key: Key
  kind: 'blob' | 'manifest'
  descriptor: Descriptor
  /** Set for manifests that are copied. */
  manifest?: Manifest
  /** What must be at the destination before this node is written. */
  needs: readonly Key[]
  /** Why the node is not copied although a manifest names it. */
  leave?: string
  /** Set for what is attached to the image: the manifest that it describes, and its tag in cosign's scheme. */
  attachedTo?: Digest
  tag?: string
}>

/** Everything that belongs to one image. Iteration order of `nodes` is upload order. */
export type Graph = Readonly<{
  root: Manifest
  nodes: ReadonlyMap<Key, Node>
  platforms: readonly string[]
  attached: readonly Attached[]
  /** The same with what is attached to the image, where that is asked for and not copied. */
  judged?: Graph
}>

/** One digest for all that is copied of an image: the same digest means the same manifests, blobs and attachments. */
export function contentsOf({ nodes }: Graph): Digest {
  const kept = [...nodes.values()].flatMap(({ key, leave }) => (leave === undefined ? [key] : []))
  return digestOf(Buffer.from(kept.sort().join('\n')))
}

/** @returns the bytes of a node that is tagged, or is copied and is not a blob: those have them. */
export function manifestOf({ key, manifest }: Node): Manifest {
  if (manifest === undefined) throw new PromoteError('INTERNAL', `no bytes for ${key}`)
  return manifest
}

const CONFIG_TYPE = /^application\/vnd\.(?:oci\.image\.config|docker\.container\.image)\.v1\+json$/
/** Configs are a few KiB. A larger one is not kept in memory. */
const LARGEST_CONFIG = 1024 * 1024

export function isPlatformConfig({ mediaType, size }: Descriptor): boolean {
  return CONFIG_TYPE.test(mediaType) && size <= LARGEST_CONFIG
}

/** The platforms of single images, which are only in their configs. They are noted when a config is copied, without a request. */
export class Platforms {
  readonly #names = new Map<Digest, string | undefined>()

  note(config: Digest, bytes: Uint8Array): void {
    this.#names.set(config, platformIn(bytes))
  }

  of({ root, platforms }: Graph): readonly string[] {
    const [config] = linked(root, 'config')
    if (config === undefined || !CONFIG_TYPE.test(config.mediaType)) return platforms
    const data = embedded(config)
    const name = data === undefined ? this.#names.get(config.digest) : platformIn(data)
    return name === undefined ? platforms : [name]
  }
}

/** The content of a config is untrusted: only valid names of platforms get into reports. */
function platformIn(config: Uint8Array): string | undefined {
  try {
    const platform = platformOfConfig(config)
    if (platform !== undefined) parsePlatform(formatPlatform(platform))
    return platform && formatPlatform(platform)
  } catch {
    return undefined
  }
}
