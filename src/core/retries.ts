import type { Context } from './context.ts'
import type { PromoteError } from './errors.ts'

/** Milliseconds. The longest `Retry-After` that is obeyed. A server that asks for more does not answer within this run. */
export const LONGEST_RETRY_AFTER = 60_000

/** First wait and longest wait in milliseconds. */
type Waits = Readonly<{ first?: number; longest?: number }>

/**
 * Milliseconds to wait before the next try: doubled each time, and a random part of the second half of that, so that clients
 * that failed together do not come back together.
 * https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
 * @param attempt how many tries have failed, 1 for the first wait.
 * @param random from 0 to 1.
 */
export function backoff(attempt: number, random: () => number, { first = 250, longest = 30_000 }: Waits = {}): number {
  return Math.round(Math.min(longest, first * 2 ** (attempt - 1)) * (0.5 + random() / 2))
}

/** So much progress starts the count of retries again: a slow connection that moves is not a broken one. */
const PROGRESS = 1024 * 1024

/** Counts failures in a row without progress, and waits between the tries. */
export type Retries = Readonly<{
  progress(bytes: number): void
  /** Waits, and returns when another try is worth it. Throws `error` when it is not. */
  failed(error: PromoteError): Promise<void>
}>

/** @param error why another try is made. @param wait milliseconds. @param attempt 1 for the first repetition. */
type OnRetry = (error: PromoteError, wait: number, attempt: number) => void

/** @param most tries without progress, after the first one. */
export function createRetries(most: number, context: Context, onRetry: OnRetry): Retries {
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
      if (count > most || (error.retryAfter ?? 0) > LONGEST_RETRY_AFTER) throw error
      const wait = Math.max(error.retryAfter ?? 0, backoff(count, context.random))
      onRetry(error, wait, count)
      await context.sleep(wait)
    },
  }
}
