import type { HostKind } from './options.ts'

/**
 * What parsing needs to know of the host: which options exist there and how they are spelled. `commandLine`: those of the plain
 * host too, as in a `run:` step on GitHub.
 */
export type Place = Readonly<{ kind: HostKind; commandLine?: boolean; spell(option: string): string }>

/** Notes what is wrong with an option, and goes on: all problems are reported at once. */
export type Say = (option: string, problem: string) => void

/** Reads a text file of at most 1 MiB; throws an Error whose message says why it cannot. */
export type ReadFile = (path: string) => string

export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown)
}

/** The known name that a misspelled one most likely means; undefined when nothing is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  // A third of the letters wrong is a typing error; more is another word.
  let best: string | undefined
  let least = Math.floor(name.length / 3) + 1
  for (const candidate of known) {
    const distance = editDistance(name, candidate)
    if (distance < least) {
      least = distance
      best = candidate
    }
  }
  return best
}

/** Optimal string alignment: letters added, left out, replaced, and two neighbours swapped. */
function editDistance(from: string, to: string): number {
  let older: number[] = []
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= to.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1)
      const swap = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]
      const swapped = swap ? (older[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY
      next.push(Math.min(replaced, swapped, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    older = row
    row = next
  }
  return row[to.length] ?? 0
}
