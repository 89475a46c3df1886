import { PromoteError } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Descriptor, Manifest } from '../oci/manifest.ts'
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

/** @returns the bytes of a node that is tagged, or is copied and is not a blob: those have them. */
export function manifestOf({ key, manifest }: Node): Manifest {
  if (manifest === undefined) throw new PromoteError('INTERNAL', `no bytes for ${key}`)
  return manifest
}
