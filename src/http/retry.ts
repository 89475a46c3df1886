import { bodyOf, readAll } from '../core/async.ts'
import type { Context } from '../core/context.ts'
import { PromoteError, type Side } from '../core/errors.ts'
import { backoff, LONGEST_RETRY_AFTER } from '../core/retries.ts'
import { displayUrl } from '../core/text.ts'
import { discard, isStream, type Layer, type Response } from '../transport/request.ts'
import { isUnexposed } from './quirks.ts'
import { isTransient, retryAfter } from './response.ts'

/** The largest answers that are not blobs are lists of tags: 8 MiB. What is longer has a limit of its caller anyway. */
const LONGEST_BODY = 9 * 1024 * 1024

export type RetryOptions = Readonly<{
  side: Side
  /** Tries in a row after the first, for small requests. */
  retries: number
  /** @param wait milliseconds; @param attempt 1 for the first repetition. */
  onRetry?: ((what: string, reason: string, wait: number, attempt: number) => void) | undefined
}>

/**
 * Repeats requests whose body can be sent again, after answers and errors that decided nothing. Waits by `backoff`, or as long
 * as `Retry-After` asks, up to 60 s. When the tries are used up, the caller gets the last answer or the last error. The answer to
 * a GET is read within the try, because its body can break off as well; the caller reads blobs (`isBlob`) itself.
 *
 * A router's 503 page before the first good answer of an origin is handed over at once: nothing is exposed at that name.
 * After a good answer it is a restart.
 */
export function retry(options: RetryOptions, context: Context): Layer {
  return (next) => async (request) => {
    const what = `${request.method} ${displayUrl(request.url)}`
    const isOnce = request.retry === false || isStream(request.body)
    const isRead = request.method === 'GET' && request.isBlob !== true && request.retry !== false
    const send = async () => (isRead ? whole(await next(request)) : next(request))
    for (let attempt = 1; ; attempt++) {
      const outcome = await send().catch(transientError)
      // A cancelled run does not wait for another try.
      const isLast = attempt > options.retries || (request.afterCancel === true && context.signal.aborted)
      if (isOnce || isLast || isDecided(outcome)) return resultOf(outcome)
      const asked = outcome instanceof PromoteError ? outcome.retryAfter : retryAfter(outcome, context.now())
      const reason = outcome instanceof PromoteError ? outcome.message : `answered ${outcome.status}`
      if (!(outcome instanceof PromoteError)) await discard(outcome)
      if (asked !== undefined && asked > LONGEST_RETRY_AFTER) throw tooLong(what, asked, outcome.status, options.side)
      // A server that has just failed may ask for a retry at once (`Retry-After: 0`): wait all the same.
      const wait = asked !== undefined && asked > 0 ? asked : backoff(attempt, context.random)
      options.onRetry?.(what, reason, wait, attempt)
      await context.sleep(wait)
    }
  }
}

/** An error that decided nothing is an outcome; every other error is thrown again. */
function transientError(thrown: unknown): PromoteError {
  if (thrown instanceof PromoteError && thrown.transient) return thrown
  throw thrown
}

function isDecided(outcome: Response | PromoteError): boolean {
  return !(outcome instanceof PromoteError) && (!isTransient(outcome.status) || isUnexposed(outcome))
}

function resultOf(outcome: Response | PromoteError): Response {
  if (outcome instanceof PromoteError) throw outcome
  return outcome
}

/** The same answer with its body in memory. Of a longer one only the beginning: no caller reads so much. */
async function whole(res: Response): Promise<Response> {
  if (res.status < 200 || res.status > 299) return res
  return { ...res, body: bodyOf(await readAll(res.body, LONGEST_BODY)) }
}

function tooLong(what: string, asked: number, status: number | undefined, side: Side): PromoteError {
  const answer = status === undefined ? 'the server' : `${status}: the server`
  const message = `${what}: ${answer} asks to wait ${Math.ceil(asked / 1000)} s, longer than ${LONGEST_RETRY_AFTER / 1000} s.`
  return new PromoteError(status === 429 ? 'RATE_LIMITED' : 'UNAVAILABLE', message, {
    side,
    status,
    retryAfter: asked,
    hint: 'Run it again later, or ask for a higher rate limit; what is copied already is not sent again.',
  })
}
