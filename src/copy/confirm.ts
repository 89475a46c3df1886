import type { Context } from '../core/context.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import { type Digest, isDigest, type TagState } from '../oci/digest.ts'
import { isMissingBlob } from './failures.ts'
import type { Target } from './store.ts'

/** One write of a tag, or of a manifest by its digest. `to` null: the tag is removed. */
export type Change = Readonly<{ target: Target; reference: string; from: TagState; to: Digest | null }>

/** Milliseconds between reads of a tag that does not show the write yet, because of a cache or a late write. */
const WAITS = [500, 1000, 2000, 4000]
/** The same once the run is cancelled: the registry may still be carrying out the request that was cut. */
const WAITS_CANCELLED = [500, 1000]

type Answer = Readonly<{ said?: Digest | null | undefined; error?: PromoteError }>
type Seen = Readonly<{ at: TagState; why?: PromoteError }>

/**
 * Writes a manifest or a tag, and decides how the write ended. Resolves when an answer proves that the reference is at `to`:
 * the answer to the write, or, when that is lost or wrong, a read of the reference.
 * @param write calls `begin` right before its request. Resolves with the digest that the registry says it stored, if it does.
 * @throws PromoteError the failure of the write, or DIGEST_MISMATCH, when the reference is not at `to`. It is `unconfirmed`
 *   when the tag cannot be read, or is neither where it was nor at `to`.
 */
export async function confirm(
  change: Change,
  write: (begin: () => void) => Promise<Digest | null | undefined>,
  context: Context,
): Promise<void> {
  let begun = false
  const answer = await write(() => {
    begun = true
  }).then(
    (said): Answer => ({ said }),
    (thrown: unknown): Answer => ({ error: asPromoteError(thrown, 'destination') }),
  )
  const { error } = answer
  if (error === undefined && answer.said === change.to) return
  const byDigest = isDigest(change.reference)
  if (error === undefined && answer.said === undefined && byDigest) return
  if (error !== undefined && (!begun || error.code === 'INTERNAL' || error.server.some(isMissingBlob))) throw error
  const mayBeLate = error === undefined ? change.to !== null : isInconclusive(error)
  if (error !== undefined && byDigest && !mayBeLate) throw error
  // The tag was at `to` before the write, so a read proves nothing.
  if (error !== undefined && mayBeLate && change.from === change.to) throw error
  const seen = await look(change, mayBeLate && !byDigest, context)
  if (seen.at !== change.to) throw explain(change, answer, seen)
  if (error !== undefined) context.log.debug(`${nameOf(change)} was written although: ${error.message}`)
}

/** Without an answer below 500 the registry has decided nothing, and may still be writing. */
function isInconclusive({ status, retryAfter }: PromoteError): boolean {
  if (retryAfter !== undefined) return false
  return status === undefined || status >= 500 || status === 408 || status === 425
}

async function look(change: Change, again: boolean, context: Context): Promise<Seen> {
  const { signal } = context
  let afterCancel = 0
  for (let round = 0; ; round += 1) {
    const wasCancelled = signal.aborted
    const seen = await readOnce(change)
    const isRefused = seen.why !== undefined && (wasCancelled || !isInconclusive(seen.why))
    if (seen.at === change.to || !again || isRefused) return seen
    const wait = wasCancelled ? WAITS_CANCELLED[afterCancel++] : WAITS[round]
    if (wait === undefined) return seen
    if (wasCancelled) await new Promise((resolve) => setTimeout(resolve, wait))
    else await context.sleep(wait).catch(() => undefined) // cancelled: read again at once
  }
}

function readOnce({ target, reference }: Change): Promise<Seen> {
  return target.locate(reference, true).then(
    (at): Seen => ({ at }),
    (thrown: unknown): Seen => ({ at: 'unknown', why: asPromoteError(thrown, 'destination') }),
  )
}

function explain(change: Change, answer: Answer, { at, why }: Seen): PromoteError {
  const error = answer.error ?? notAsSent(change, answer.said, at)
  const wasAbsent = change.from === 'unknown' && at === null
  const registryChangedIt = answer.error === undefined && answer.said === at
  const isUnread = at === 'unknown'
  if (isDigest(change.reference) || (!isUnread && (at === change.from || wasAbsent || registryChangedIt))) return error
  const what = isUnread
    ? `Whether ${nameOf(change)} was written is not known. ${why?.message ?? ''}`
    : `${nameOf(change)} is ${place(at)} now, which is neither what it was at nor what was written.`
  const hint = 'Read the tag in the registry. Running the promotion again, or rolling it back with its report, is safe.'
  return error.with({ message: `${error.message} ${what}`.trim(), unconfirmed: true, hint })
}

function notAsSent(change: Change, said: Digest | null | undefined, at: TagState): PromoteError {
  const name = nameOf(change)
  if (change.to === null)
    return new PromoteError('UNSUPPORTED', `${name} was new and could not be removed: it stays at ${at}.`, {
      side: 'destination',
      hint: 'Remove the tag by hand, in the registry itself.',
    })
  const stored = said === undefined ? '' : ` and stored ${said}`
  const message = `${name}: the registry accepted ${change.to}${stored}, and the tag is ${place(at)}.`
  return new PromoteError('DIGEST_MISMATCH', message, {
    side: 'destination',
    hint: 'The registry changes manifests on the way in, a cache before it is stale, or another client wrote the tag at the same moment.',
  })
}

function place(at: TagState): string {
  if (at === 'unknown') return 'not readable'
  return at === null ? 'absent' : `at ${at}`
}

function nameOf({ target, reference }: Change): string {
  return `${target.name}${isDigest(reference) ? '@' : ':'}${reference}`
}
