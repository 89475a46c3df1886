import type { Attached } from '../copy/events.ts'
import type { Copy } from '../copy/execute.ts'
import type { Graph } from '../copy/graph.ts'
import type { TargetState } from '../copy/survey.ts'
import type { PromoteError } from '../core/errors.ts'
import type { ImagePair } from '../inputs/config.ts'
import type { Digest } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import type { Rights } from '../openshift/denial.ts'
import type { Row, Status } from '../report/model.ts'
import type { ApprovedImage } from '../trust/approved-plan.ts'
import type { ArrivedAt, WrittenRecord } from '../trust/missing-attachments.ts'
import type { Repository } from './repositories.ts'

/** One image of the list at one destination. It becomes a row for each of its tags, however far it comes. */
export type ImageJob = {
  /** Counts from 0, for events. */
  readonly number: number
  /** How many jobs the run has. */
  readonly images: number
  readonly pair: ImagePair
  /** Its tags at the destination. */
  readonly tags: readonly string[]
  /** Name of the destination. */
  readonly target: string
  /** Milliseconds since the epoch. */
  readonly began: number
  /** What the report calls the image at the source, and its repository at the destination: exact once those are open. */
  source: string
  repository: string
  /** What an approved plan says of the image at this destination. */
  readonly approved?: ApprovedImage | undefined
  /** What its tags pointed at before, once they were read. */
  before?: TargetState['tags']
  /** What the policy says of it, once that was asked. */
  judgement?: Readonly<{ verified: NonNullable<Row['verified']>; rules: readonly string[] }>
  /** Tags that exist and are left as they are, and what they point at. */
  skipped?: ReadonlyMap<string, Digest>
  /** Written by this run; null: it was there already, or none is wanted. */
  record?: WrittenRecord | null
  /** Set once, when nothing more happens to the job. */
  rows?: readonly Row[]
}

/** One image of the list, with a job for each destination. */
export type ListedImage = Readonly<{ pair: ImagePair; jobs: readonly ImageJob[] }>

/** The stages of an image at the source. They are shared by all its destinations. */
export type ResolvedImage = Readonly<{ pair: ImagePair; source: Repository; root: Manifest }>
export type DiscoveredImage = ResolvedImage & Readonly<{ graph: Graph }>

/** The stages of an image at one destination. Each stage takes the value of the one before, and fails for this image alone. */
export type OpenDestination = TargetState & Readonly<{ repository: Repository }>
export type PlannedDestination = Copy & Readonly<{ job: ImageJob; repository: Repository; rights?: Rights }>
export type CopiedDestination = PlannedDestination &
  Readonly<{
    /** What is attached to the image at the destination. */
    attached: readonly Attached[]
    /** What has become of its tags, as far as they were written. */
    outcomes: Map<string, TagOutcome>
  }>

/** `digest`: what was promoted, where the tag is at it although the promotion failed. */
export type TagOutcome = Readonly<{ status: Status; digest?: Digest | null; error?: PromoteError }>

/** Whatever stage a job has reached. */
export type Reached = Readonly<{ job: ImageJob }> & Partial<CopiedDestination>

export type Arrived = ArrivedAt<Repository>
