import type { Target } from '../copy/store.ts'
import { PromoteError } from '../core/errors.ts'
import type { Config } from '../inputs/config.ts'
import type { Digest, TagState } from '../oci/digest.ts'
import { isAttachedTag } from '../oci/referrer.ts'
import type { ImageJob } from './image.ts'

/** The conditions under which a tag may move. */
export type Guard = Readonly<{
  /** What to do if the tag exists: overwrite it, accept only the same digest, leave it, or fail. */
  overwrite: Config['overwrite']
  /** The expected current digest. A tag that is at the new digest already does not move, and is not checked. */
  expect?: Digest | 'absent' | undefined
  /** The tag may have to be put back, so its current digest must be known. */
  mayGoBack?: boolean | undefined
}>

export function guardOf({ pair, approved }: ImageJob, tag: string, { overwrite, atomic }: Config): Guard {
  const seen = approved?.tags.get(tag)?.from
  const planned = seen === 'unknown' ? undefined : seen === null ? 'absent' : seen
  return { overwrite, expect: pair.expectCurrent ?? planned, mayGoBack: atomic }
}

/** False when any digest may be replaced. */
export function isGuarded({ overwrite, expect }: Guard): boolean {
  return overwrite !== 'always' || expect !== undefined
}

type Tags = ReadonlyMap<string, TagState>

/** Pure: the tags that exist with another digest and are left as they are: by the option, or by the approved plan alone. */
export function tagsToSkip({ approved }: ImageJob, tags: Tags, wanted: Digest, overwrite: Config['overwrite']) {
  const left = new Map<string, Digest>()
  for (const [tag, at] of tags) {
    if (at === null || at === 'unknown' || at === wanted) continue
    const seen = approved?.tags.get(tag)
    if (seen === undefined ? overwrite === 'skip' : seen.stays && seen.from === at) left.set(tag, at)
  }
  return left
}

/**
 * Pure: checks whether the tags may move to `wanted`.
 * @param tags what each points at now.
 * @throws PromoteError GUARD that names the tag, its current digest, and the condition that is not met.
 */
export function checkGuard(name: string, tags: Tags, wanted: Digest, guardFor: (tag: string) => Guard): void {
  for (const [tag, current] of tags) {
    const guard = guardFor(tag)
    if (current === 'unknown' && (isGuarded(guard) || guard.mayGoBack)) throw unreadable(`${name}:${tag}`, guard)
    const why = current === 'unknown' ? undefined : refusal(tag, current, wanted, guard)
    if (why === undefined) continue
    const where = current === null ? 'does not exist' : `is at ${current}`
    throw new PromoteError('GUARD', `${name}:${tag} ${where}, and ${why}.`, {
      side: 'destination',
      hint: 'Look at what is there now; when it may be replaced, change the condition, or plan again.',
    })
  }
}

function unreadable(name: string, guard: Guard): PromoteError {
  const conditions = 'overwrite, expect-current or a plan depends on where it is'
  const because = isGuarded(guard) ? conditions : 'an atomic promotion may have to put it back'
  return new PromoteError('GUARD', `${name} could not be read: the registry refused, and ${because}.`, {
    side: 'destination',
    hint: 'Let the account of the destination pull from this repository, too.',
  })
}

function refusal(tag: string, current: Digest | null, wanted: Digest, guard: Guard): string | undefined {
  const { overwrite, expect } = guard
  if (current !== null && overwrite === 'never') return 'overwrite is never'
  if (current === wanted) return undefined
  if (current !== null && isAttachedTag(tag))
    return 'a tag of signatures is not overwritten: promote the image that they belong to, and they are added'
  if (current !== null && overwrite === 'same') return `overwrite is same: it would move to ${wanted}`
  if (expect === 'absent' && current !== null) return 'it is expected to be absent'
  if (expect !== undefined && expect !== 'absent' && current !== expect) return `it is expected to be at ${expect}`
  return undefined
}

/**
 * Checks, right before a tag is written, that it is still where it was when the promotion was planned. No registry has a
 * conditional PUT: a write of another client in the milliseconds after this check is not noticed.
 * @throws PromoteError TAG_MOVED
 */
export async function stillAt(target: Target, tag: string, planned: TagState): Promise<void> {
  const now = await target.locate(tag)
  if (now === planned) return
  const was = planned === null ? 'did not exist' : `was at ${planned}`
  const message = `${target.name}:${tag} ${was}, and is ${whereIs(now)} now: another client has written it.`
  throw new PromoteError('TAG_MOVED', message, MOVED)
}

/** The error for a tag that is to be put back and was written by another client since. */
export function notOurs(name: string, promoted: Digest, now: Digest | null): PromoteError {
  const message = `${name} is ${whereIs(now)}: that is not what the promotion wrote (${promoted}).`
  return new PromoteError('TAG_MOVED', message, MOVED)
}

const MOVED = { side: 'destination', hint: 'Find out who writes this tag, then promote again.' } as const

function whereIs(now: Digest | null): string {
  return now === null ? 'gone' : `at ${now}`
}
