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
