import type { Context } from '../context.ts'
import { retryAfter } from './answer.ts'
import type { Layer, Req } from './send.ts'

/** Requests at once to one origin when nothing is known about it: four images of 16 layers. */
export const CEILING = 64
/** A longer pause is the retry layer's to refuse; waiting here would only delay its verdict. */
export const LONGEST_PAUSE = 60_000

/**
 * Answers slow down when a server has more at once than it can do: recent ones this many times slower than usual, and by
 * this many milliseconds, count as such. Netflix' limiter tolerates 1.5 to 2
 * (https://github.com/Netflix/concurrency-limits, Gradient2Limit); jitter of a few milliseconds is no sign.
 */
const SLOWER = 2
const SLOWER_BY = 100
/** Slowness alone, which has other causes where so few are under way, leaves this many at once. */
const LEAST_WHEN_SLOW = 2
/** Moving averages over about so many answers. */
const RECENT = 8
const USUAL = 64

/** Milliseconds until the answer begins, averaged. */
type Pulse = { recent: number; usual: number }

type Origin = {
  limit: number
  running: number
  successes: number
  /** How often `limit` was halved. */
  halved: number
  /** By method: a GET of stored bytes and a POST that writes a record take their own time each. */
  pulses: Map<string, Pulse>
  waiting: (() => void)[]
  pause: Promise<void> | undefined
}

/**
 * As many requests at once to an origin as it bears: 429, 503 and answers that come ever later halve the number that is
 * under way (once for all requests that were under way together), it grows by one for every full round of successes. A
 * request holds its place until the answer begins, an upload until its body is sent and answered. A 429 with
 * `Retry-After` stops new requests to the origin for that long.
 *
 * A place is never held while waiting for another place of the same side, so nothing can wait for itself: tokens are
 * fetched above this layer, and the two sides of a transfer have a network each.
 */
export function pace(context: Context, ceiling: number = CEILING): Layer {
  const origins = new Map<string, Origin>()
  const most = Math.max(1, Math.floor(ceiling))
  return (next) => async (request) => {
    const origin = origins.get(request.url.origin) ?? newOrigin(most)
    origins.set(request.url.origin, origin)
    await enter(origin)
    const { halved, running: crowd } = origin
    const began = context.now()
    try {
      const res = await next(request)
      const slow = isSlow(origin, request, context.now() - began) && crowd > LEAST_WHEN_SLOW
      const refused = res.status === 429 || res.status === 503
      if (refused || slow) {
        // A burst that fails together is one sign, not as many as it has requests.
        const least = refused ? 1 : LEAST_WHEN_SLOW
        if (origin.halved === halved) halve(origin, Math.max(crowd, origin.running), least)
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
  return { limit, running: 0, successes: 0, halved: 0, pulses: new Map(), waiting: [], pause: undefined }
}

/** Half of what was really under way: half of a limit that nobody came near would change nothing. */
function halve(origin: Origin, crowd: number, least: number): void {
  const half = Math.floor(Math.min(origin.limit, crowd) / 2)
  origin.limit = Math.min(origin.limit, Math.max(least, half))
  origin.halved++
  origin.successes = 0
}

/** PUT and PATCH say nothing: they take as long as their bytes, and OpenShift's PUT of a manifest 3 s for each missing blob. */
function isSlow(origin: Origin, { method }: Req, milliseconds: number): boolean {
  if (method === 'PUT' || method === 'PATCH') return false
  const pulse = origin.pulses.get(method) ?? { recent: milliseconds, usual: milliseconds }
  origin.pulses.set(method, pulse)
  const limit = SLOWER * pulse.usual + SLOWER_BY
  // With this bound it takes three to five slow answers: a single one, however late, is no sign.
  const counted = Math.min(milliseconds, 2 * limit)
  pulse.recent += (counted - pulse.recent) / RECENT
  pulse.usual += (counted - pulse.usual) / USUAL
  if (pulse.recent <= limit) return false
  // The new usual: only what gets slower still halves again.
  pulse.usual = pulse.recent
  return true
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

/** Wakes as many as there are places; one who finds its place taken waits again. */
function admit(origin: Origin): void {
  const free = origin.limit - origin.running
  if (free > 0) for (const wake of origin.waiting.splice(0, free)) wake()
}

function pause(origin: Origin, wait: number | undefined, context: Context): void {
  if (wait === undefined || wait <= 0 || wait > LONGEST_PAUSE || origin.pause !== undefined) return
  const over = () => {
    origin.pause = undefined
    admit(origin)
  }
  // Cancelled while waiting: the requests go on, and are refused as cancelled where they are sent.
  origin.pause = context.sleep(wait).then(over, over)
}
