import type { Code, Side } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'

/** `image-promote/report/v1`: plain data; everything people read is made from it. */
export type Report = Readonly<{
  schema: 'image-promote/report/v1'
  /** ISO 8601, UTC. */
  started: string
  finished: string
  dryRun: boolean
  /** `done`: every row promoted, unchanged or planned. `partial`: some failed. */
  status: 'done' | 'partial' | 'failed' | 'cancelled'
  images: readonly Row[]
}>

export type Status = 'promoted' | 'unchanged' | 'planned' | 'failed' | 'cancelled' | 'reverted'

/** One row per image, tag and destination. */
export type Row = Readonly<{
  /** `registry/dev/app:1.2`, with `@digest` when it was given by digest. */
  source: string
  sourceDigest: Digest | null
  /** `registry/prod/app:1.2`. */
  destination: string
  /** Name of the destination; `destination` when there is one. */
  target: string
  tag: string
  digest: Digest | null
  /** What the tag pointed at before, if it existed. */
  previousDigest: Digest | null
  status: Status
  bytes: Bytes
  /** Signatures, attestations and SBOMs that travelled with the image. */
  attached: readonly Attached[]
  error: Readonly<{ code: Code; side: Side | null; message: string; hint: string | null }> | null
  /** `linux/amd64`, … of the image's runnable manifests. */
  platforms: readonly string[]
  /** From first request to tag, in milliseconds. */
  milliseconds: number
}>

/** Bytes of blobs and manifests: sent, mounted inside the registry, already there. total = copied + mounted + present. */
export type Bytes = Readonly<{ total: number; copied: number; mounted: number; present: number }>

export type Attached = Readonly<{ digest: Digest; artifactType: string; subject: Digest; tag: string | null }>

/**
 * What happens while it runs, for the progress of every host. `image` counts from 0, in the order of the input;
 * an image with several tags has an `image` event for each row.
 */
export type Event =
  | Readonly<{ event: 'login'; side: Side; user: string | null; registry: string }>
  | Readonly<{
      event: 'plan'
      image: number
      images: number
      source: string
      destination: string
      digest: Digest
      steps: readonly PlannedStep[]
      bytes: Bytes
      tags: readonly PlannedTag[]
    }>
  | Readonly<{
      event: 'step'
      image: number
      do: 'skip' | 'mount' | 'copy' | 'push' | 'tag'
      digest: Digest
      kind: 'blob' | 'manifest'
      size: number
      why: string
    }>
  /** Bytes that reached a destination since the last event of this kind. */
  | Readonly<{ event: 'bytes'; image: number; digest: Digest; sent: number; total: number }>
  | Readonly<{ event: 'retry'; image: number | null; what: string; reason: string; wait: number; attempt: number }>
  | Readonly<{ event: 'image'; image: number; row: Row }>
  | Readonly<{ event: 'done'; report: Report }>

export type PlannedStep = Readonly<{
  do: 'skip' | 'mount' | 'copy' | 'push' | 'tag'
  digest: Digest
  kind: 'blob' | 'manifest'
  mediaType: string
  size: number
  why: string
}>
export type PlannedTag = Readonly<{ tag: string; from: Digest | null; to: Digest }>
