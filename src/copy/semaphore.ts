/**
 * So much at once, first come first served. A permit is never held while waiting for another piece of work.
 * @param bytes that the work moves; default none to speak of, as in a request about a tag.
 */
export type Permits = <T>(work: () => Promise<T>, bytes?: number) => Promise<T>

/** Up to here a blob is one buffer (`blob-reader.ts`), and takes as long as its round trips: bandwidth is not what it waits for. */
export const SMALL = 256 * 1024
/** Small things that count as one job: their buffers together are smaller than the window of one large blob (`broadcast.ts`). */
export const SMALL_PER_JOB = 6

/** Small things at once. One job is one thing after the other, however small: who asks for that wants no more. */
export function smallAtOnce(jobs: number): number {
  return jobs > 1 ? jobs * SMALL_PER_JOB : 1
}

/** @param jobs large blobs at once. */
export function createPermits(jobs: number): Permits {
  const room = smallAtOnce(jobs)
  const line = createLine(room)
  return (work, bytes = 0) => line(work, bytes > SMALL ? room / jobs : 1)
}

/** The same permits, with a check right before each piece of work: it throws when the work must not begin any more. */
export function checked(permits: Permits, check: () => void): Permits {
  const begin = async <T>(work: () => Promise<T>): Promise<T> => {
    check()
    return work()
  }
  return (work, bytes) => permits(() => begin(work), bytes)
}

/** Strictly first in, first out: otherwise small pieces of work would overtake a large one for ever. */
export function createLine(room: number): <T>(work: () => Promise<T>, cost?: number) => Promise<T> {
  let free = room
  // First in, first out; an array would move all the others for each that leaves.
  const waiting = new Set<{ cost: number; begin: () => void }>()
  const admit = (): void => {
    for (const next of waiting) {
      if (next.cost > free) return
      waiting.delete(next)
      free -= next.cost
      next.begin()
    }
  }
  return async (work, cost = 1) => {
    if (waiting.size === 0 && cost <= free) free -= cost
    else await new Promise<void>((begin) => waiting.add({ cost, begin }))
    try {
      return await work()
    } finally {
      free += cost
      admit()
    }
  }
}
