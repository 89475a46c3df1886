/**
 * Seeds of a random suite. IMAGE_PROMOTE_SEEDS says how many: a number, or `all`, as in `.ci/run`.
 * @param few in a usual run of the tests, @param all in `.ci/run`.
 */
export function seeds(few: number, all: number): readonly number[] {
  const wanted = process.env.IMAGE_PROMOTE_SEEDS ?? few
  return Array.from({ length: wanted === 'all' ? all : Number(wanted) }, (_, index) => index + 1)
}

/** mulberry32: the same numbers for the same seed, 0 ≤ x < 1. */
export function randomOf(seed: number): () => number {
  let state = seed * 0x9e3779b9
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
