import type { Bytes } from '../copy/events.ts'
import { contentsOf, type Platforms } from '../copy/graph.ts'
import { isUnchanged, plannedSteps } from '../copy/plan.ts'
import type { PromoteError } from '../core/errors.ts'
import type { Config } from '../inputs/config.ts'
import type { TagState } from '../oci/digest.ts'
import { formatPlatform } from '../oci/platform.ts'
import { formatReference, type Reference } from '../oci/reference.ts'
import { tagRow } from '../report/make-report.ts'
import type { PlannedImage, Row, Status } from '../report/model.ts'
import type { Applicable } from '../trust/approved-plan.ts'
import type { PlannedDestination, Reached } from './image.ts'
import type { Repository } from './repositories.ts'

/** Name of the destination when only one is configured. Messages leave it out. */
const ONLY_DESTINATION = 'destination'

/** What the report calls an image at the source, once its repository is open. */
export function sourceName({ store, tag }: Repository, reference: Reference): string {
  const { digest } = reference
  const named = tag ?? reference.tag ?? (digest === undefined ? 'latest' : undefined)
  return `${store.name}${named === undefined ? '' : `:${named}`}${digest === undefined ? '' : `@${digest}`}`
}

type Circumstances = Readonly<{ dryRun: boolean; platforms: Platforms; now: number }>

/** A row for each tag of the job. */
export function rowsOf(reached: Reached, error: PromoteError | undefined, circumstances: Circumstances): Row[] {
  const { dryRun, platforms, now } = circumstances
  const { job, plan, outcomes } = reached
  const digest = plan?.graph.root.descriptor.digest ?? null
  const bytes = bytesOf(reached, error)
  return job.tags.map((tag, index): Row => {
    const skipped = job.skipped?.get(tag)
    const name = {
      source: job.source,
      sourceDigest: digest,
      destination: `${job.repository}:${tag}`,
      target: job.target,
    }
    const milliseconds = now - job.began
    if (skipped !== undefined)
      return tagRow(
        { ...name, digest: skipped, previousDigest: skipped, status: 'skipped', error: null, milliseconds },
        tag,
      )
    const end = outcomes?.get(tag)
    const status = end?.status ?? statusOf(reached, error, tag, dryRun)
    const arrived = status === 'promoted' || status === 'unchanged'
    return {
      ...name,
      tag,
      digest: arrived || status === 'planned' ? digest : (end?.digest ?? null),
      previousDigest: previousOf(reached, tag),
      status,
      bytes: index === 0 ? bytes : asPresent(bytes),
      attached: reached.attached ?? (error === undefined ? plan?.attached : undefined) ?? [],
      ...(job.judgement && { verified: job.judgement.verified }),
      ...(job.record !== undefined && { record: job.record }),
      error: arrived ? null : errorOf(end?.error ?? error),
      platforms: plan === undefined ? [] : platforms.of(plan.graph),
      milliseconds,
    }
  })
}

/** A tag that the plan does not move was read at the image's digest. */
function previousOf({ plan, job }: Reached, tag: string): TagState {
  const read = plan === undefined ? job.before?.get(tag) : plan.tags.find((move) => move.tag === tag)?.from
  return read === undefined ? (plan?.graph.root.descriptor.digest ?? 'unknown') : read
}

export function errorOf(error: PromoteError | undefined): Row['error'] {
  if (error === undefined) return null
  const { code, side = null, hint = null, target = ONLY_DESTINATION } = error
  const message = target === ONLY_DESTINATION ? error.message : `${target}: ${error.message}`
  return { code, side, message, hint }
}

export function failedStatus({ code }: PromoteError): Status {
  return code === 'CANCELLED' || code === 'ABANDONED' ? 'cancelled' : 'failed'
}

function statusOf({ plan, moved }: Reached, error: PromoteError | undefined, tag: string, dryRun: boolean): Status {
  if (error !== undefined) return failedStatus(error)
  if (plan === undefined || isUnchanged(plan)) return 'unchanged'
  if (dryRun) return movesBytes(plan.bytes) || plan.tags.some((move) => move.tag === tag) ? 'planned' : 'unchanged'
  // The tag was right already. The image behind it may have been incomplete.
  return moved !== undefined && movesBytes(moved) ? 'promoted' : 'unchanged'
}

function movesBytes({ copied, mounted }: Bytes): boolean {
  return copied + mounted > 0
}

/** What has moved, once copying has begun or failed; before that, what is planned. */
function bytesOf({ plan, moved, attached }: Reached, error: PromoteError | undefined): Bytes {
  if (plan === undefined || moved === undefined) return { total: 0, copied: 0, mounted: 0, present: 0 }
  return attached === undefined && error === undefined ? plan.bytes : { ...moved }
}

/** All of an image moves with its first tag: for the others it is there already. */
function asPresent({ total, copied, mounted, present }: Bytes): Bytes {
  return { total, copied: 0, mounted: 0, present: copied + mounted + present }
}

/** The plan of an image at one destination, as reports and events say it. */
export function planOf(image: PlannedDestination, { dryRun, platforms }: Config): Omit<PlannedImage, 'target'> {
  const { job, plan, rights } = image
  const steps = plannedSteps(plan)
  return {
    source: job.source,
    destination: `${job.repository}:${job.pair.destination.tag}`,
    digest: plan.graph.root.descriptor.digest,
    steps,
    // A run does not ask for blobs: the first answer to each upload tells whether the blob is there.
    certain: dryRun || !steps.some(({ do: what, kind }) => kind === 'blob' && what !== 'skip'),
    bytes: plan.bytes,
    tags: plan.tags,
    ...(job.judgement && { rules: job.judgement.rules }),
    ...(rights && { rights }),
    ...(dryRun && { apply: applicable(image, job.pair.platforms ?? platforms) }),
  }
}

function applicable({ job, plan }: PlannedDestination, platforms: Config['platforms']): Applicable {
  const { source, destination } = job.pair
  const { root, attached } = plan.graph
  const moves = new Set(plan.tags.map(({ tag }) => tag))
  return {
    // A name that was found in the layout is found again.
    source: formatReference(source.layout?.assumed ? { layout: source.layout, repository: '' } : source),
    destination: formatReference(destination),
    platforms: platforms?.map(formatPlatform) ?? null,
    stays: job.tags.flatMap((tag) =>
      moves.has(tag) ? [] : [{ tag, at: job.skipped?.get(tag) ?? root.descriptor.digest }],
    ),
    attached,
    contents: contentsOf(plan.graph),
  }
}
