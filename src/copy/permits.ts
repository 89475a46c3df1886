/** So many at once, first come first served. A permit is never held while waiting for another piece of work. */
export type Permits = <T>(work: () => Promise<T>) => Promise<T>

export function createPermits(most: number): Permits {
  let free = most
  const waiting: (() => void)[] = []
  return async (work) => {
    if (free > 0) free -= 1
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) free += 1
      else next()
    }
  }
}
