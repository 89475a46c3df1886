/**
 * Runs work as soon as there is room, first come first served. Work that runs must never wait for other work that needs a
 * permit: that could be a deadlock.
 * @param bytes that the work moves. Default 0, for requests that move no blob.
 */
export type Semaphore = <T>(work: () => Promise<T>, bytes?: number) => Promise<T>

/** Up to this size a blob takes as long as its round trips, whatever the bandwidth. */
export const SMALL = 256 * 1024
/** Small blobs that count as one job: together their buffers are smaller than the window of one large blob (`broadcast.ts`). */
export const SMALL_PER_JOB = 6

/** How many small blobs are copied at once. With `jobs: 1` everything runs one after the other, small blobs too. */
export function smallAtOnce(jobs: number): number {
  return jobs > 1 ? jobs * SMALL_PER_JOB : 1
}

/**
 * Strictly first in, first out: otherwise a stream of small work would keep a large blob waiting without end.
 * @param jobs how many large blobs are copied at once.
 */
export function createSemaphore(jobs: number): Semaphore {
  const room = smallAtOnce(jobs)
  let free = room
  // A set keeps the order of insertion and removes the first entry in constant time.
  const waiting = new Set<{ cost: number; begin: () => void }>()
  const admit = (): void => {
    for (const next of waiting) {
      if (next.cost > free) return
      waiting.delete(next)
      free -= next.cost
      next.begin()
    }
  }
  return async (work, bytes = 0) => {
    const cost = bytes > SMALL ? room / jobs : 1
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

/** The same semaphore, with a check right before each piece of work: it throws when the work must not begin any more. */
export function withCheck(semaphore: Semaphore, check: () => void): Semaphore {
  return (work, bytes) =>
    semaphore(async () => {
      check()
      return work()
    }, bytes)
}
