import { randomOf } from './random.ts'

/** Random choices that are the same for the same seed. */
export type Dice = ReturnType<typeof diceOf>

export function diceOf(seed: number) {
  const random = randomOf(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  return {
    below,
    chance: (share: number) => random() < share,
    one: <T>(list: readonly T[]): T => list[below(list.length)] as T,
  }
}
