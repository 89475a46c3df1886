/** Reads a text file of at most `largest` bytes (default 1 MiB); throws an Error whose message says why it cannot. */
export type ReadFile = (path: string, largest?: number) => string

export function succeeds(call: () => unknown): boolean {
  try {
    call()
    return true
  } catch {
    return false
  }
}

/** The known name that a misspelled one most likely means; undefined when nothing is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  // A third of the letters wrong is a typing error; more is another word.
  const limit = Math.floor(name.length / 3)
  const near = known.map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
  return near.filter(({ distance }) => distance <= limit).sort((a, b) => a.distance - b.distance)[0]?.candidate
}

/** Optimal string alignment: letters added, left out, replaced, and two neighbours swapped. */
function editDistance(from: string, to: string): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, index) => index)]
  const at = (i: number, j: number) => rows[i]?.[j] ?? Number.POSITIVE_INFINITY
  for (let i = 1; i <= from.length; i += 1) {
    const row = [i]
    rows.push(row)
    for (let j = 1; j <= to.length; j += 1) {
      const swapped =
        from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1] ? at(i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY
      row.push(
        Math.min(at(i - 1, j - 1) + Number(from[i - 1] !== to[j - 1]), swapped, at(i - 1, j) + 1, at(i, j - 1) + 1),
      )
    }
  }
  return at(from.length, to.length)
}
