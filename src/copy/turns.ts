import { createLine } from './permits.ts'

/** Runs the work when it is the turn of `what`; all `users` of the same thing have their turn together, and it ends with the last. */
export type Turns = <T>(what: unknown, users: number, work: () => Promise<T>) => Promise<T>

type Turn = { left: number; end: () => void; readonly begun: Promise<void> }

/**
 * So many things at once, in the order in which they are first asked for. Everybody who waits for the same turn goes on in
 * the same turn of the event loop, before anything that one of them sets off.
 */
export function createTurns(most: number): Turns {
  const turns = new Map<unknown, Turn>()
  const line = createLine(most)
  const enter = (left: number): Turn => {
    let end: () => void = () => undefined
    const over = new Promise<void>((resolve) => {
      end = resolve
    })
    const begun = new Promise<void>((begin) => {
      void line(() => {
        begin()
        return over
      })
    })
    return { left, end, begun }
  }
  return async (what, users, work) => {
    const turn = turns.get(what) ?? enter(users)
    turns.set(what, turn)
    await turn.begun
    try {
      return await work()
    } finally {
      turn.left -= 1
      if (turn.left === 0) {
        turns.delete(what)
        turn.end()
      }
    }
  }
}
