import { confirm, type TagState } from '../copy/confirm.ts'
import type { Permits } from '../copy/semaphore.ts'
import type { Target } from '../copy/store.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, type PromoteError } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import { notOurs } from './guards.ts'

/** One tag on its way from one digest to another. */
export type Move = {
  readonly target: Target
  readonly tag: string
  readonly from: Digest | null
  readonly to: Digest
  /** What it was at, kept before anything moved. */
  before?: Manifest
  /** `moving`: the request was sent, and its answer was no success. `stuck`: it could not be put back. */
  state: 'waiting' | 'moving' | 'moved' | 'reverted' | 'stuck'
  /** Where a `stuck` tag is. */
  at?: TagState
  error?: PromoteError
}

/**
 * Moves all tags, or puts those that moved back. Never rejects: each move says how it ended.
 * @param write takes its own permits, and calls `begin` right before its first request that writes; that throws when
 *   another move has failed meanwhile.
 * @returns the first failure; undefined when all have moved.
 */
export async function moveAll(
  moves: readonly Move[],
  write: (move: Move, begin: () => void) => Promise<void>,
  permits: Permits,
  context: Context,
): Promise<PromoteError | undefined> {
  let failure = await keepBefore(moves, permits)
  const moveOne = async (move: Move): Promise<void> => {
    const begin = () => {
      if (failure !== undefined) throw failure
      move.state = 'moving'
    }
    try {
      await write(move, begin)
      move.state = 'moved'
    } catch (thrown) {
      if (thrown === failure) return
      move.error = asPromoteError(thrown, 'destination')
      failure ??= move.error
    }
  }
  if (failure === undefined) await Promise.all(moves.map(moveOne))
  if (failure === undefined) return undefined
  const begun = moves.filter((move) => move.state === 'moved' || move.state === 'moving')
  await Promise.all(begun.map((move) => permits(() => revert(move, context))))
  return failure
}

/** Before anything moves: afterwards a registry could have pruned what no tag names any more. */
async function keepBefore(moves: readonly Move[], permits: Permits): Promise<PromoteError | undefined> {
  let failure: PromoteError | undefined
  const keep = async (move: Move): Promise<void> => {
    const { from, target } = move
    if (from === null) return
    try {
      move.before = await permits(() => target.resolve(from))
    } catch (thrown) {
      move.error = asPromoteError(thrown, 'destination')
      failure ??= move.error
    }
  }
  await Promise.all(moves.map(keep))
  return failure
}

async function revert(move: Move, context: Context): Promise<void> {
  const { target, tag, from } = move
  move.at = 'unread'
  try {
    move.at = await target.locate(tag, true)
    // A write that failed without a trace has not moved the tag.
    const isBack = !backNeeded(`${target.name}:${tag}`, move.at, move)
    if (!isBack) await putBack(target, tag, move, context)
    move.state = isBack && move.state === 'moving' ? 'waiting' : 'reverted'
    move.at = from
  } catch (thrown) {
    move.error = asPromoteError(thrown, 'destination')
    if (move.error.unconfirmed) move.at = 'unread'
    move.state = 'stuck'
  }
}

/** What a tag is put back to. `before`: its manifest, when it was read before. */
type Way = Readonly<Pick<Move, 'from' | 'to' | 'before'>>

/**
 * Puts a tag back that was read at what a promotion has written.
 * @throws PromoteError UNSUPPORTED when the tag was new and the registry cannot remove tags; `unconfirmed` when no answer
 *   tells whether it is back.
 */
export async function putBack(target: Target, tag: string, { from, to, before }: Way, context: Context): Promise<void> {
  const manifest = from === null ? undefined : (before ?? (await target.resolve(from)))
  await confirm(
    { target, reference: tag, from: to, to: from },
    async (begin) => {
      begin()
      if (manifest !== undefined) return target.putManifest(manifest, tag)
      return (await target.removeTag?.(tag)) ? null : undefined
    },
    context,
  )
}

/**
 * Pure: whether the tag is at what the promotion has written; false when it is back already.
 * @throws PromoteError TAG_MOVED when it is elsewhere.
 */
export function backNeeded(name: string, now: Digest | null, { from, to }: Way): boolean {
  if (now !== to && now !== from) throw notOurs(name, to, now)
  return now !== from
}

/**
 * A context whose signal can be held back while the tags move: stopping there would leave a part of the promotion. That
 * takes seconds, and a second signal ends the process at once.
 */
export function holdable(context: Context): Readonly<{ context: Context; hold: () => void; release: () => void }> {
  const own = new AbortController()
  let held = false
  const pass = () => {
    if (!held && context.signal.aborted) own.abort(context.signal.reason)
  }
  context.signal.addEventListener('abort', pass, { once: true })
  pass()
  return {
    context: { ...context, signal: own.signal },
    hold: () => {
      held = true
    },
    release: () => {
      held = false
      pass()
    },
  }
}
