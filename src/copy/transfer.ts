import { backoff } from '../core/backoff.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, type PromoteError } from '../core/errors.ts'
import type { BlobReader } from './blob-reader.ts'
import type { Subscriber } from './broadcast.ts'
import type { Upload } from './store.ts'

/**
 * One blob, from the source to an upload session, to the end. After a break on either side it goes on from where it was: the
 * reader opens the source again, the upload asks its store what it has kept. Bytes that do not have the digest are fetched
 * once more from the start; a second mismatch is final.
 * @param reader for this destination alone, once it has left the broadcast.
 * @param tries of the upload.
 */
export async function transfer(
  subscriber: Subscriber,
  reader: BlobReader,
  upload: Upload,
  tries: Tries,
  onSent: (bytes: number) => void,
): Promise<void> {
  const failed = (thrown: unknown) => asPromoteError(thrown, 'destination')
  let mismatches = 0
  let from = 0
  let sent = 0
  let furthest = 0
  const onBytes = (bytes: number) => {
    sent += bytes
    // Only new ground is progress: a registry that loses the session at every break would otherwise be tried without end.
    tries.progress(Math.max(0, sent - furthest))
    furthest = Math.max(furthest, sent)
    onSent(bytes)
  }
  try {
    while (from >= 0) {
      sent = from
      const error = await subscriber.run(() =>
        upload.send(from, subscriber.read(reader, from, onBytes)).then(() => undefined, failed),
      )
      if (error === undefined) return
      const { failure } = reader
      const wrong = (failure ?? error).code === 'DIGEST_MISMATCH'
      if (wrong && mismatches > 0) throw failure ?? error
      if (wrong) mismatches += 1
      // The reader has used up the source's own tries.
      else if (failure !== undefined) throw failure
      else await tries.failed(error)
      from = await upload.offset(wrong)
    }
  } catch (thrown) {
    await upload.cancel()
    throw thrown
  }
}

/** Progress that starts the count of tries again: a slow line that moves is not a broken one. */
const PROGRESS = 1024 * 1024
/** What a server may ask for (`Retry-After`): who wants more is not going to answer in this run. */
const LONGEST_ASKED = 60_000

/** Counts tries in a row without progress, and waits between them. */
export type Tries = Readonly<{
  progress(bytes: number): void
  /** Waits and returns when another try is worth it; throws `error` when not. */
  failed(error: PromoteError): Promise<void>
}>

export function createTries(
  most: number,
  context: Context,
  notice: (reason: string, wait: number, attempt: number) => void,
): Tries {
  let count = 0
  let moved = 0
  return {
    progress(bytes) {
      moved += bytes
    },
    async failed(error) {
      if (!error.transient || context.signal.aborted) throw error
      count = moved >= PROGRESS ? 1 : count + 1
      moved = 0
      if (count > most || (error.retryAfter ?? 0) > LONGEST_ASKED) throw error
      const wait = Math.max(error.retryAfter ?? 0, backoff(count, context.random))
      notice(error.message, wait, count)
      await context.sleep(wait)
    },
  }
}
