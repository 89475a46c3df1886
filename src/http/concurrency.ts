import type { Context } from '../core/context.ts'
import { getOrAdd } from '../core/memo.ts'
import { LONGEST_RETRY_AFTER } from '../core/retries.ts'
import type { Layer } from '../transport/request.ts'
import { retryAfter } from './response.ts'

/** Requests at once to one origin when nothing is known about it: four images of 16 layers. */
const CEILING = 64

type Origin = {
  limit: number
  running: number
  successes: number
  /** How often `limit` was halved. */
  halved: number
  waiting: (() => void)[]
  pause: Promise<void> | undefined
}

/**
 * As many requests at once to an origin as it bears. 429 and 503 halve the number that is under way, once for all requests
 * that were under way together. Every full round of successes adds one. A request holds its place until the answer begins,
 * an upload until its body is sent and answered. A 429 with `Retry-After` stops new requests to the origin for that long.
 *
 * A place is never held while waiting for another place of the same side, so nothing can wait for itself: tokens are
 * fetched above this layer, and the two sides of a transfer have a network each.
 */
export function limitConcurrency(context: Context, ceiling: number = CEILING): Layer {
  const origins = new Map<string, Origin>()
  const most = Math.max(1, Math.floor(ceiling))
  return (next) => async (request) => {
    const origin = getOrAdd(origins, request.url.origin, () => newOrigin(most))
    await enter(origin)
    const { halved, running: crowd } = origin
    try {
      const res = await next(request)
      if (res.status === 429 || res.status === 503) {
        // A burst that fails together is one sign, not as many as it has requests.
        if (origin.halved === halved) halve(origin, Math.max(crowd, origin.running))
        if (res.status === 429) pause(origin, retryAfter(res, context.now()), context)
      } else if (++origin.successes >= origin.limit) {
        origin.successes = 0
        origin.limit = Math.min(most, origin.limit + 1)
      }
      return res
    } finally {
      origin.running--
      admit(origin)
    }
  }
}

function newOrigin(limit: number): Origin {
  return { limit, running: 0, successes: 0, halved: 0, waiting: [], pause: undefined }
}

/** Half of what was under way: half of a limit that the run never reached would change nothing. */
function halve(origin: Origin, crowd: number): void {
  const half = Math.floor(Math.min(origin.limit, crowd) / 2)
  origin.limit = Math.min(origin.limit, Math.max(1, half))
  origin.halved++
  origin.successes = 0
}

async function enter(origin: Origin): Promise<void> {
  for (;;) {
    // Every pause ends, by time or by cancellation.
    while (origin.pause !== undefined) await origin.pause
    if (origin.running < origin.limit) break
    await new Promise<void>((resolve) => {
      origin.waiting.push(resolve)
    })
  }
  origin.running++
}

/** Wakes as many requests as there are places. A request whose place was taken meanwhile waits again. */
function admit(origin: Origin): void {
  const free = origin.limit - origin.running
  if (free > 0) for (const wake of origin.waiting.splice(0, free)) wake()
}

function pause(origin: Origin, wait: number | undefined, context: Context): void {
  // The retry layer refuses a longer wait: waiting here would only delay its error.
  if (wait === undefined || wait <= 0 || wait > LONGEST_RETRY_AFTER || origin.pause !== undefined) return
  const over = () => {
    origin.pause = undefined
    admit(origin)
  }
  // Cancelled while waiting: the requests go on, and are refused as cancelled where they are sent.
  origin.pause = context.sleep(wait).then(over, over)
}
