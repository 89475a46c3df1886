import type { Attached, Bytes, CopyEvent, PlannedStep, TagMove } from '../copy/events.ts'
import type { Code, Side } from '../core/errors.ts'
import type { Digest, TagState } from '../oci/digest.ts'
import type { Rights } from '../openshift/denial.ts'
import type { Applicable, Choices } from '../trust/approved-plan.ts'
import type { PastPromotion } from '../trust/history.ts'
import type { WrittenRecord } from '../trust/missing-attachments.ts'
import type { Judgement } from '../trust/policy.ts'

/** `image-promote/report/v1`: plain data. All text for people is made from it. */
export type Report = Readonly<{
  schema: 'image-promote/report/v1'
  started: string // ISO 8601, UTC
  finished: string
  run: string // id of the pipeline's run: the same for all of its tries and shards
  dryRun: boolean
  /**
   * `done`: every row promoted, unchanged or planned; of a rollback, reverted or unchanged. `partial`: some are not.
   * `moving`: written before the first tag of an atomic promotion moves; a run that ended so was killed, and its rows
   * `planned` may have moved or not.
   */
  status: 'done' | 'partial' | 'failed' | 'cancelled' | 'moving'
  /** Dry runs only: what would be done, one per image and destination that could be planned. */
  plans?: readonly PlannedImage[]
  choices?: Choices // dry runs only: the options that decide what belongs to an image
  plan?: Digest // SHA-256 of the report whose plan was applied
  /** SHA-256 of the policy file that was applied. */
  policy?: Digest
  images: readonly Row[]
}>

/** `unknown`: no answer of the registry tells whether the tag was written. `read`: the history of the image was read. */
export type Status = Kept | 'promoted' | 'planned' | 'failed' | 'cancelled' | 'reverted' | 'unknown'
type Kept = 'unchanged' | 'skipped' | 'read'

/** One row per image, tag and destination. */
export type Row = Readonly<{
  /** `registry/dev/app:1.2`, with `@digest` when it was given by digest. */
  source: string
  sourceDigest: Digest | null
  destination: string // `registry/prod/app:1.2`
  target: string // name of the destination; `destination` when there is one
  tag: string
  /** The promoted digest, if the tag is at it now (planned: would be). Also set in a failed row whose tag has moved. */
  digest: Digest | null
  previousDigest: TagState // what the tag pointed at before
  status: Status
  bytes: Bytes
  attached: readonly Attached[] // signatures, attestations and SBOMs that travelled with the image
  verified?: Judgement['verified'] // with a policy: who signed and attested what its rules ask for
  record?: WrittenRecord | null // with sign-key: the promotion record that was written; null when it was there already
  history?: readonly PastPromotion[] // with `history`: the promotion records of the image, the oldest first
  error: Readonly<{ code: Code; side: Side | null; message: string; hint: string | null }> | null
  /** `linux/amd64`, … of the runnable manifests; of a single image only if this run read its config, else empty. */
  platforms: readonly string[]
  milliseconds: number // from the first request to the tag
}>

/**
 * What happens during a run, for the progress of every host. `image` counts from 0, in the order of the input. Each image counts
 * once for each destination. An image with several tags has an event `image` for each row.
 */
export type Event =
  | Readonly<{ event: 'login'; side: Side; target?: string; user: string | null; registry: string }>
  | (Readonly<{ event: 'plan'; image: number; images: number }> & Omit<PlannedImage, 'target'>)
  | CopyEvent
  | Readonly<{ event: 'image'; image: number; images?: number; row: Row }>
  | Readonly<{ event: 'done'; report: Report }>

/** What would be done for one image at one destination, in a report and in an event `plan`. */
export type PlannedImage = Readonly<{
  source: string
  destination: string
  target: string // name of the destination
  digest: Digest
  steps: readonly PlannedStep[]
  /** False: the destination was not asked for every blob. `bytes.copied` is then the most that may have to be sent. */
  certain: boolean
  bytes: Bytes
  tags: readonly TagMove[]
  rules?: readonly string[] // with a policy: each rule that applies, and its answer
  rights?: Rights // OpenShift, dry runs only: whether the account may do it, as far as the API tells
  apply?: Applicable | undefined // dry runs only
}>

/** What a promotion needs from its host. */
export type Listener = Readonly<{
  /** The runner's OIDC token for an audience. Undefined on all hosts but GitHub. */
  oidcToken?(audience: string): Promise<string>
  event(event: Event): void // for the progress
  /** Writes the report file during the run, so that it exists even if the run is killed. */
  keep?(report: Report): Promise<void>
}>
