import type { TagState } from '../copy/confirm.ts'
import type { Target } from '../copy/store.ts'
import { PromoteError } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'
import { isAttachedTag } from '../oci/referrer.ts'

/** On what condition a tag may move. */
export type Guard = Readonly<{
  /** What a tag that exists already means: it moves anyhow, has to have the digest, or must not be there. */
  overwrite: 'always' | 'same' | 'never'
  /** Where it has to be before it moves. A tag that has its digest already does not move. */
  expect?: Digest | 'absent' | undefined
  /** It may have to go back: where it is now must be known. */
  mayGoBack?: boolean | undefined
}>

/** Nothing is at stake when any digest may be replaced. */
export function isGuarded({ overwrite, expect }: Guard): boolean {
  return overwrite !== 'always' || expect !== undefined
}

/**
 * Pure: whether the tags may go to `wanted`.
 * @param tags where each is now.
 * @throws PromoteError GUARD that names the tag, where it is, and which condition says no.
 */
export function checkGuard(name: string, tags: ReadonlyMap<string, TagState>, wanted: Digest, guard: Guard): void {
  for (const [tag, current] of tags) {
    if (current === 'unread' && (isGuarded(guard) || guard.mayGoBack)) throw unreadable(`${name}:${tag}`, guard)
    const why = current === 'unread' ? undefined : refusal(tag, current, wanted, guard)
    if (why === undefined) continue
    const where = current === null ? 'does not exist' : `is at ${current}`
    throw new PromoteError('GUARD', `${name}:${tag} ${where}, and ${why}.`, {
      side: 'destination',
      hint: 'Look at what is there now; when it may be replaced, change the condition.',
    })
  }
}

function unreadable(name: string, { overwrite, expect }: Guard): PromoteError {
  const because =
    expect !== undefined
      ? 'expect-current says where it has to be'
      : overwrite !== 'always'
        ? `overwrite is ${overwrite}`
        : 'an atomic promotion may have to put it back'
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
 * Right before a tag is written: it is still where it was when the promotion was planned. No registry has a conditional
 * PUT, so what another writer does in the milliseconds after this question stays unseen.
 * @throws PromoteError TAG_MOVED
 */
export async function stillAt(target: Target, tag: string, planned: TagState): Promise<void> {
  const now = await target.locate(tag)
  if (now === planned) return
  const was = planned === null ? 'did not exist' : `was at ${planned}`
  const message = `${target.name}:${tag} ${was}, and is ${placeOf(now)} now: another client has written it.`
  throw new PromoteError('TAG_MOVED', message, MOVED)
}

/** Of a tag that is to be put back. */
export function notOurs(name: string, promoted: Digest, now: Digest | null): PromoteError {
  const message = `${name} is ${placeOf(now)}: that is not what the promotion wrote (${promoted}).`
  return new PromoteError('TAG_MOVED', message, MOVED)
}

const MOVED = { side: 'destination', hint: 'Find out who writes this tag, then promote again.' } as const

function placeOf(now: Digest | null): string {
  return now === null ? 'gone' : `at ${now}`
}
