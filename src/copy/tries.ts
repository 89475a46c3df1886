import type { Context } from '../context.ts'
import type { PromoteError } from '../errors.ts'

/** Progress that starts the count of tries again: a slow line that moves is not a broken one. */
const PROGRESS = 1024 * 1024
const FIRST_WAIT = 250
const LONGEST_WAIT = 30_000
/** What a server may ask for (`Retry-After`): who wants more is not going to answer in this run. */
const LONGEST_ASKED = 60_000

/** Counts tries in a row without progress, and waits between them. */
export type Tries = Readonly<{
  progress(bytes: number): void
  /** Waits and returns when another try is worth it; throws `error` when not. */
  failed(error: PromoteError): Promise<void>
}>

type RetryNotice = (reason: string, wait: number, attempt: number) => void

export function createTries(most: number, context: Context, notice: RetryNotice): Tries {
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
      // Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
      const ceiling = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** (count - 1))
      const wait = Math.max(error.retryAfter ?? 0, Math.round(ceiling * (0.5 + context.random() / 2)))
      notice(error.message, wait, count)
      await context.sleep(wait)
    },
  }
}
