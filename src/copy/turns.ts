/** Runs the work when it is the turn of `what`; all `users` of the same thing have their turn together, and it ends with the last. */
export type Turns = <T>(what: object, users: number, work: () => Promise<T>) => Promise<T>

type Turn = { left: number; readonly begun: Promise<void> }

/**
 * So many things at once, in the order in which they are first asked for. Everybody who waits for the same turn goes on in
 * the same turn of the event loop, before anything that one of them sets off.
 */
export function createTurns(most: number): Turns {
  const turns = new Map<object, Turn>()
  const waiting = new Set<() => void>()
  let free = most
  const enter = async (): Promise<void> => {
    if (free > 0) free -= 1
    else await new Promise<void>((begin) => waiting.add(begin))
  }
  const leave = (): void => {
    const [next] = waiting
    if (next === undefined) free += 1
    else {
      waiting.delete(next)
      next()
    }
  }
  return async (what, users, work) => {
    const turn = turns.get(what) ?? { left: users, begun: enter() }
    turns.set(what, turn)
    await turn.begun
    try {
      return await work()
    } finally {
      turn.left -= 1
      if (turn.left === 0) {
        turns.delete(what)
        leave()
      }
    }
  }
}
