import type { Digest, TagState } from '../oci/digest.ts'

/**
 * Bytes of blobs and manifests: sent, mounted inside the registry, already there. total = copied + mounted + present once
 * the image is there; until then the rest has not been settled.
 */
export type Bytes = Readonly<{ total: number; copied: number; mounted: number; present: number }>

export type Attached = Readonly<{ digest: Digest; artifactType: string; subject: Digest; tag: string | null }>

export type PlannedStep = Readonly<{
  do: 'skip' | 'mount' | 'copy' | 'push' | 'tag'
  digest: Digest
  kind: 'blob' | 'manifest'
  mediaType: string
  size: number
  why: string
}>

/** What a tag points at, and what it will point at. */
export type TagMove = Readonly<{ tag: string; from: TagState; to: Digest }>

/** What happens while an image is copied. `image` counts from 0, in the order of the input. */
export type CopyEvent =
  | (Readonly<{ event: 'step'; image: number }> & Omit<PlannedStep, 'mediaType'>)
  /** Bytes that reached a destination since the last event of this kind. */
  | Readonly<{ event: 'bytes'; image: number; digest: Digest; sent: number; total: number }>
  | Readonly<{ event: 'retry'; image: number | null; what: string; reason: string; wait: number; attempt: number }>
