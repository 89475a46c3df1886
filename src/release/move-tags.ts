import { confirm } from '../copy/confirm.ts'
import type { Semaphore } from '../copy/semaphore.ts'
import type { Target } from '../copy/store.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, type PromoteError } from '../core/errors.ts'
import type { Digest, TagState } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import { notOurs } from './guards.ts'

/** The move of one tag from one digest to another. */
export type Move = {
  readonly target: Target
  readonly tag: string
  readonly from: Digest | null
  readonly to: Digest
  /** The manifest that the tag was at, read before anything moved. */
  before?: Manifest
  /** `moving`: the request was sent, and its answer was no success. `stuck`: the tag could not be put back. */
  state: 'waiting' | 'moving' | 'moved' | 'reverted' | 'stuck'
  /** Where a `stuck` tag is. */
  at?: TagState
  error?: PromoteError
}

/**
 * Moves all tags. When one fails, those that have moved are put back. Never rejects: `state` and `error` of each move tell
 * how it ended.
 * @param write takes its own permits, and calls `begin` right before its first request that writes. `begin` throws when
 *   another move has failed meanwhile.
 * @returns the first failure; undefined when all have moved.
 */
export async function moveAll(
  moves: readonly Move[],
  write: (move: Move, begin: () => void) => Promise<void>,
  semaphore: Semaphore,
  context: Context,
): Promise<PromoteError | undefined> {
  let failure = await keepBefore(moves, semaphore)
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
  await Promise.all(begun.map((move) => semaphore(() => revert(move, context))))
  return failure
}

/** Reads the old manifests before anything moves: a registry may prune a manifest once no tag names it. */
async function keepBefore(moves: readonly Move[], semaphore: Semaphore): Promise<PromoteError | undefined> {
  let failure: PromoteError | undefined
  const keep = async (move: Move): Promise<void> => {
    const { from, target } = move
    if (from === null) return
    try {
      move.before = await semaphore(() => target.resolve(from))
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
  move.at = 'unknown'
  try {
    move.at = await target.locate(tag, true)
    // A write that failed may have left the tag where it was.
    const isBack = !backNeeded(`${target.name}:${tag}`, move.at, move)
    if (!isBack) await putBack(target, tag, move, context)
    move.state = isBack && move.state === 'moving' ? 'waiting' : 'reverted'
    move.at = from
  } catch (thrown) {
    move.error = asPromoteError(thrown, 'destination')
    if (move.error.unconfirmed) move.at = 'unknown'
    move.state = 'stuck'
  }
}

/** Puts a tag from `to` back to `from`. `before` is the manifest of `from`, if it was read already. */
type Return = Readonly<Pick<Move, 'from' | 'to' | 'before'>>

/**
 * Puts a tag back. The caller has read that the tag is where the promotion has written it.
 * @throws PromoteError UNSUPPORTED when the tag was new and the registry cannot remove tags; `unconfirmed` when no answer
 *   tells whether the tag is back.
 */
export async function putBack(target: Target, tag: string, { from, to, before }: Return, context: Context) {
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
 * Pure: true when the tag is where the promotion has written it, false when it is back already.
 * @throws PromoteError TAG_MOVED when it is elsewhere.
 */
export function backNeeded(name: string, now: Digest | null, { from, to }: Return): boolean {
  if (now !== to && now !== from) throw notOurs(name, to, now)
  return now !== from
}

/**
 * A context whose signal can be deferred while tags move: to stop there would leave half a promotion. Moving tags takes
 * seconds, and a second signal ends the process at once.
 */
export function deferrableSignal(context: Context): Readonly<{ context: Context } & Deferrable> {
  const own = new AbortController()
  let isDeferred = false
  const pass = () => {
    if (!isDeferred && context.signal.aborted) own.abort(context.signal.reason)
  }
  context.signal.addEventListener('abort', pass, { once: true })
  pass()
  return {
    context: { ...context, signal: own.signal },
    defer: () => {
      isDeferred = true
    },
    resume: () => {
      isDeferred = false
      pass()
    },
  }
}

/** `defer`: the signal is kept until `resume`. */
export type Deferrable = Readonly<{ defer: () => void; resume: () => void }>
