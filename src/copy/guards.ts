import { PromoteError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import { isAttachedTag } from '../oci/referrer.ts'
import type { Target } from '../store/store.ts'

/** On what condition a tag may move. */
export type Guard = Readonly<{
  /** What a tag that exists already means: it moves anyhow, has to have the digest, or must not be there. */
  overwrite: 'always' | 'same' | 'never'
  /** Where it has to be before it moves. A tag that has its digest already does not move. */
  expect?: Digest | 'absent' | undefined
}>

/** Nothing is at stake when any digest may be replaced. */
export function isGuarded({ overwrite, expect }: Guard): boolean {
  return overwrite !== 'always' || expect !== undefined
}

/**
 * Pure: whether the tags may go to `wanted`.
 * @param tags where each is now; null: it does not exist.
 * @throws PromoteError GUARD that names the tag, where it is, and which condition says no.
 */
export function checkGuard(name: string, tags: ReadonlyMap<string, Digest | null>, wanted: Digest, guard: Guard): void {
  for (const [tag, current] of tags) {
    const why = refusal(tag, current, wanted, guard)
    if (why !== undefined)
      throw new PromoteError(
        'GUARD',
        `${name}:${tag} ${current === null ? 'does not exist' : `is at ${current}`}, and ${why}.`,
        {
          side: 'destination',
          hint: 'Look at what is there now; when it may be replaced, change the condition.',
        },
      )
  }
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
export async function stillAt(target: Target, tag: string, planned: Digest | null): Promise<void> {
  const now = (await target.find(tag))?.digest ?? null
  if (now !== planned) throw tagMoved(`${target.name}:${tag}`, planned, now)
}

export function tagMoved(name: string, expected: Digest | null, now: Digest | null): PromoteError {
  const at = (digest: Digest | null) => (digest === null ? 'gone' : `at ${digest}`)
  const was = expected === null ? 'did not exist' : `was at ${expected}`
  return new PromoteError('TAG_MOVED', `${name} ${was}, and is ${at(now)} now: somebody else has written it.`, {
    side: 'destination',
    hint: 'Find out who writes this tag, then promote again.',
  })
}
