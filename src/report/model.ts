import type { Code, Side } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'

/** `image-promote/report/v1`: plain data; everything people read is made from it. */
export type Report = Readonly<{
  schema: 'image-promote/report/v1'
  /** ISO 8601, UTC. */
  started: string
  finished: string
  dryRun: boolean
  /**
   * `done`: every row promoted, unchanged or planned; of a rollback, reverted or unchanged. `partial`: some are not.
   * `moving`: written before the first tag of an atomic promotion moves; a run that ended so was killed, and its rows
   * `planned` may have moved or not.
   */
  status: 'done' | 'partial' | 'failed' | 'cancelled' | 'moving'
  /** Dry runs only: what would be done, one per image and destination that could be planned. */
  plans?: readonly PlannedImage[]
  images: readonly Row[]
}>

/** `unknown`: the tag may have been written or not; no answer of the registry tells. */
export type Status = 'promoted' | 'unchanged' | 'planned' | 'failed' | 'cancelled' | 'reverted' | 'unknown'

/** What a tag pointed at. Null: it was read, and did not exist. `unknown`: it was not read, or reading it was refused. */
export type Previous = Digest | null | 'unknown'

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
  /** Where the tag is now, of what was promoted; planned: where it would be. A failed row has it when it moved all the same. */
  digest: Digest | null
  /** What the tag pointed at before. */
  previousDigest: Previous
  status: Status
  bytes: Bytes
  /** Signatures, attestations and SBOMs that travelled with the image. */
  attached: readonly Attached[]
  error: Readonly<{ code: Code; side: Side | null; message: string; hint: string | null }> | null
  /** `linux/amd64`, … of the runnable manifests; of a single image only if this run read its config, else empty. */
  platforms: readonly string[]
  /** From first request to tag, in milliseconds. */
  milliseconds: number
}>

/**
 * Bytes of blobs and manifests: sent, mounted inside the registry, already there. total = copied + mounted + present once
 * the image is there; until then the rest has not been settled.
 */
export type Bytes = Readonly<{ total: number; copied: number; mounted: number; present: number }>

export type Attached = Readonly<{ digest: Digest; artifactType: string; subject: Digest; tag: string | null }>

/**
 * What happens while it runs, for the progress of every host. `image` counts from 0, in the order of the input, each
 * image once for each destination; an image with several tags has an `image` event for each row.
 */
export type Event =
  | Readonly<{ event: 'login'; side: Side; target?: string; user: string | null; registry: string }>
  | (Readonly<{ event: 'plan'; image: number; images: number }> & Omit<PlannedImage, 'target'>)
  | (Readonly<{ event: 'step'; image: number }> & Omit<PlannedStep, 'mediaType'>)
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

/** What would be done for one image at one destination; also what an event `plan` says. */
export type PlannedImage = Readonly<{
  source: string
  destination: string
  /** Name of the destination. */
  target: string
  digest: Digest
  steps: readonly PlannedStep[]
  /** False: the destination was not asked for every blob. `bytes.copied` is then the most that may have to be sent. */
  certain: boolean
  bytes: Bytes
  tags: readonly PlannedTag[]
  /** OpenShift, dry runs only: whether the account may do it, as far as the API tells without trying. */
  rights?: Rights
}>

export type Rights = Readonly<{
  state: 'sufficient' | 'missing' | 'unknown'
  /** `update imagestreams/layers`, … */
  missing: readonly string[]
  /** The command that grants them; null when nothing is missing. */
  grant: string | null
}>

export type PlannedTag = Readonly<{ tag: string; from: Previous; to: Digest }>
