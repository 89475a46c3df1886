import type { TagState } from '../copy/confirm.ts'
import type { Attached, Bytes, Previous } from '../copy/events.ts'
import type { Graph } from '../copy/graph.ts'
import { isUnchanged, type Plan, published } from '../copy/plan.ts'
import type { PromoteError } from '../core/errors.ts'
import type { ImagePair } from '../inputs/config.ts'
import type { Digest } from '../oci/digest.ts'
import { formatReference } from '../oci/reference.ts'
import type { Row, Status } from '../report/model.ts'
import type { Repository } from './session.ts'

/** Name of a destination that needs none. */
const ALONE = 'destination'

/** How far one image has come on its way to one destination: all that its rows are made of. */
export type Progress = {
  readonly pair: ImagePair
  readonly tags: readonly string[]
  /** Name of the destination. */
  readonly target: string
  /** Milliseconds since the epoch. */
  readonly began: number
  from?: Repository
  to?: Repository
  readonly platforms: Readonly<{ of: (graph: Graph) => readonly string[] }>
  /** What its tags were at, once they were read. */
  before?: ReadonlyMap<string, TagState>
  plan?: Plan
  /** As far as it has come; it grows while the image is copied. */
  moved?: Bytes
  /** What is attached to it at the destination, once all of it but the tags is there. */
  attached?: readonly Attached[]
  readonly written: Set<string>
  /** Tags that may have been written or not. */
  readonly unconfirmed: Set<string>
  error?: PromoteError
  /** Of an atomic promotion that failed: how each tag that was to move has ended. */
  ends?: ReadonlyMap<string, End>
}

/** `digest`: what was promoted, where the tag is at it all the same. */
export type End = Readonly<{ status: Status; digest: Digest | null; error: PromoteError }>

export function namesOf({ pair, from, to }: Progress): { source: string; destination: string } {
  const { digest } = pair.source
  const tag = from?.tag ?? pair.source.tag
  const suffix = `${tag === undefined ? (digest === undefined ? ':latest' : '') : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
  return {
    source: from === undefined ? formatReference(pair.source) : `${from.store.name}${suffix}`,
    destination: `${to?.store.name ?? formatReference({ ...pair.destination, tag: undefined })}:${pair.destination.tag}`,
  }
}

/** A row for each tag. */
export function rowsOf(work: Progress, dryRun: boolean, now: number): Row[] {
  const names = namesOf(work)
  const { plan, target } = work
  const digest = plan?.graph.root.descriptor.digest ?? null
  return work.tags.map((name, index): Row => {
    const end = work.ends?.get(name)
    const status = end?.status ?? statusOf(work, name, dryRun)
    const arrived = status === 'promoted' || status === 'unchanged'
    return {
      source: names.source,
      sourceDigest: digest,
      destination: `${names.destination.slice(0, names.destination.lastIndexOf(':'))}:${name}`,
      target,
      tag: name,
      digest: arrived || status === 'planned' ? digest : (end?.digest ?? null),
      previousDigest: previousOf(work, name),
      status,
      bytes: index === 0 ? bytesOf(work) : alreadyThere(bytesOf(work)),
      attached: work.attached ?? (work.error === undefined ? plan?.attached : undefined) ?? [],
      error: arrived ? null : errorOf(end?.error ?? work.error),
      platforms: plan === undefined ? [] : work.platforms.of(plan.graph),
      milliseconds: now - work.began,
    }
  })
}

/** A tag that the plan does not move was read at the image's digest. */
function previousOf({ plan, before }: Progress, tag: string): Previous {
  const read = plan === undefined ? before?.get(tag) : plan.tags.find((move) => move.tag === tag)?.from
  return published(read ?? (read === null ? null : (plan?.graph.root.descriptor.digest ?? 'unread')))
}

function errorOf(error: PromoteError | undefined): Row['error'] {
  if (error === undefined) return null
  const { code, side = null, hint = null, target = ALONE } = error
  return { code, side, message: target === ALONE ? error.message : `${target}: ${error.message}`, hint }
}

function statusOf({ error, plan, written, unconfirmed, moved, ends }: Progress, tag: string, dryRun: boolean): Status {
  if (error === undefined && plan !== undefined && isUnchanged(plan)) return 'unchanged'
  const planned = plan !== undefined && plan.bytes.copied + plan.bytes.mounted > 0
  if (error === undefined && dryRun)
    return planned || plan?.tags.some((move) => move.tag === tag) ? 'planned' : 'unchanged'
  if (written.has(tag)) return 'promoted'
  if (unconfirmed.has(tag)) return 'unknown'
  // The others of an atomic promotion that failed were where they belong before it began.
  if (error !== undefined && ends !== undefined) return 'unchanged'
  if (error !== undefined) return ['CANCELLED', 'ABANDONED'].includes(error.code) ? 'cancelled' : 'failed'
  // The tag was right already; what it stands for was completed, or there was nothing to do for this tag.
  return moved !== undefined && moved.copied + moved.mounted > 0 ? 'promoted' : 'unchanged'
}

function bytesOf({ moved, plan, error }: Progress): Bytes {
  if (moved !== undefined) return { ...moved }
  if (plan === undefined) return { total: 0, copied: 0, mounted: 0, present: 0 }
  return error === undefined ? plan.bytes : { ...plan.bytes, copied: 0, mounted: 0 }
}

/** Further tags of the same image move nothing: what has arrived did so with the first. */
function alreadyThere({ total, copied, mounted, present }: Bytes): Bytes {
  return { total, copied: 0, mounted: 0, present: copied + mounted + present }
}
