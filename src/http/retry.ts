import { bodyOf } from '../core/async.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, PromoteError, type Side } from '../core/errors.ts'
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
 * Repeats requests whose body can be sent again, after answers and errors that decided nothing: waits by
 * `backoff`, or what `Retry-After` asks for, up to 60 s. When the tries are used up the caller gets the last answer, or the last error. What a GET brings
 * is read within the try, because a body can break off as well; blobs (`isBlob`) are the caller's.
 *
 * A router's 503 page before the first good answer of an origin is handed over at once: nothing is exposed at that name.
 * After a good answer it is a restart.
 */
export function retry(options: RetryOptions, context: Context): Layer {
  return (next) => async (request) => {
    const what = `${request.method} ${displayUrl(request.url)}`
    for (let attempt = 1; ; attempt++) {
      const isRead = request.method === 'GET' && request.isBlob !== true && request.retry !== false
      const outcome = await attemptOnce(async () => {
        const res = await next(request)
        return isRead ? whole(res) : res
      })
      // A cancelled run does not wait for another try.
      const tried = attempt > options.retries || (request.afterCancel === true && context.signal.aborted)
      const last = tried || request.retry === false || isStream(request.body)
      if (last || !decidedNothing(outcome)) return resultOf(outcome)
      const asked = outcome.res === undefined ? outcome.error?.retryAfter : retryAfter(outcome.res, context.now())
      if (outcome.res !== undefined) await discard(outcome.res)
      if (asked !== undefined && asked > LONGEST_RETRY_AFTER) throw tooLong(what, asked, outcome, options.side)
      // A server that has just failed may ask for a retry at once (`Retry-After: 0`): wait all the same.
      const wait = asked !== undefined && asked > 0 ? asked : backoff(attempt, context.random)
      options.onRetry?.(what, outcome.error?.message ?? `answered ${outcome.res?.status}`, wait, attempt)
      await context.sleep(wait)
    }
  }
}

type Outcome =
  | Readonly<{ res: Response; error?: undefined; thrown?: undefined }>
  | Readonly<{ res?: undefined; error: PromoteError; thrown: unknown }>

async function attemptOnce(send: () => Promise<Response>): Promise<Outcome> {
  try {
    return { res: await send() }
  } catch (thrown) {
    return { error: asPromoteError(thrown), thrown }
  }
}

/** The same answer with its body in memory. Of a longer one only the beginning: no caller reads so much. */
async function whole(res: Response): Promise<Response> {
  if (res.status < 200 || res.status > 299) return res
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of res.body) {
    parts.push(part)
    size += part.byteLength
    if (size > LONGEST_BODY) break
  }
  return { ...res, body: bodyOf(Buffer.concat(parts)) }
}

function resultOf({ res, thrown }: Outcome): Response {
  if (res === undefined) throw thrown
  return res
}

function decidedNothing({ res, error }: Outcome): boolean {
  return res === undefined ? error.transient : isTransient(res.status) && !isUnexposed(res)
}

function tooLong(what: string, asked: number, outcome: Outcome, side: Side): PromoteError {
  const status = outcome.res?.status ?? outcome.error?.status
  const answer = status === undefined ? 'the server' : `${status}: the server`
  const message = `${what}: ${answer} asks to wait ${Math.ceil(asked / 1000)} s, longer than ${LONGEST_RETRY_AFTER / 1000} s.`
  return new PromoteError(status === 429 ? 'RATE_LIMITED' : 'UNAVAILABLE', message, {
    side,
    status,
    retryAfter: asked,
    hint: 'Run it again later, or ask for a higher rate limit; what is copied already is not sent again.',
  })
}
