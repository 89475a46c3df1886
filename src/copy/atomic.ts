import type { Context } from '../context.ts'
import { asPromoteError, PromoteError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import type { Target } from '../store/store.ts'
import { expectStored } from './execute.ts'
import { tagMoved } from './guards.ts'
import type { Permits } from './permits.ts'

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
  await Promise.all(begun.map((move) => permits(() => revert(move))))
  return failure
}

/** Before anything moves: afterwards a registry could have pruned what no tag names any more. */
async function keepBefore(moves: readonly Move[], permits: Permits): Promise<PromoteError | undefined> {
  let failure: PromoteError | undefined
  await Promise.all(
    moves.map(async (move) => {
      if (move.from === null) return
      try {
        const { from } = move
        move.before = await permits(() => move.target.resolve(from))
      } catch (thrown) {
        move.error = asPromoteError(thrown, 'destination')
        failure ??= move.error
      }
    }),
  )
  return failure
}

async function revert(move: Move): Promise<void> {
  try {
    const done = await putBack(move.target, move.tag, move)
    // A write that failed without a trace has not moved the tag.
    move.state = done === 'unchanged' && move.state === 'moving' ? 'waiting' : 'reverted'
  } catch (thrown) {
    move.error = asPromoteError(thrown, 'destination')
    move.state = 'stuck'
  }
}

/** What a tag is put back to. `before` spares the question for it. */
export type Way = Readonly<{ from: Digest | null; to: Digest; before?: Manifest }>

/**
 * Puts a tag back that a promotion has moved to `to`, if it is there still.
 * @returns `unchanged` when it is back already, or has never moved.
 * @throws PromoteError TAG_MOVED when somebody else has written it since; UNSUPPORTED when the tag was new and the
 *   registry cannot remove tags.
 */
export async function putBack(
  target: Target,
  tag: string,
  { from, to, before }: Way,
): Promise<'reverted' | 'unchanged'> {
  if (!(await backNeeded(target, tag, { from, to }))) return 'unchanged'
  if (from !== null) {
    const manifest = before ?? (await target.resolve(from))
    await expectStored(target, manifest, tag, await target.putManifest(manifest, tag))
    return 'reverted'
  }
  if (await target.removeTag?.(tag)) return 'reverted'
  throw new PromoteError('UNSUPPORTED', `${target.name}:${tag} was new and could not be removed: it stays at ${to}.`, {
    side: 'destination',
    hint: 'Remove the tag by hand, in the registry itself.',
  })
}

/**
 * Whether the tag is at what the promotion has written; false when it is back already.
 * @throws PromoteError TAG_MOVED when it is elsewhere.
 */
export async function backNeeded(target: Target, tag: string, { from, to }: Way): Promise<boolean> {
  const now = (await target.find(tag))?.digest ?? null
  if (now !== to && now !== from) throw tagMoved(`${target.name}:${tag}`, to, now)
  return now !== from
}

/**
 * A context whose signal can be held back: between the first tag and the last a signal waits, because stopping there
 * would leave a part of the promotion. It is a matter of seconds, and a second signal ends the process at once.
 */
export function holdable(context: Context): Readonly<{ context: Context; hold: () => void; release: () => void }> {
  const own = new AbortController()
  let held = false
  const pass = () => {
    if (!held) own.abort(context.signal.reason)
  }
  if (context.signal.aborted) pass()
  else context.signal.addEventListener('abort', pass, { once: true })
  return {
    context: { ...context, signal: own.signal },
    hold: () => {
      held = true
    },
    release: () => {
      held = false
      if (context.signal.aborted) pass()
    },
  }
}
