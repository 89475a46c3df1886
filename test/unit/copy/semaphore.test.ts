import { describe, expect, test } from '@jest/globals'
import { createSemaphore, type Semaphore, SMALL, SMALL_PER_JOB, smallAtOnce } from '../../../src/copy/semaphore.ts'

/** Work that goes on until it is told to end, in the order in which it begins. */
function site(semaphore: Semaphore) {
  const under: { name: string; end: (failure?: Error) => void }[] = []
  const begun: string[] = []
  const add = (name: string, bytes?: number): Promise<void> =>
    semaphore(() => {
      begun.push(name)
      return new Promise<void>((resolve, reject) => {
        under.push({ name, end: (failure) => (failure === undefined ? resolve() : reject(failure)) })
      })
    }, bytes)
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  return {
    add,
    begun,
    running: () => under.length,
    async end(count = 1, failure?: Error) {
      for (const { end } of under.splice(0, count)) end(failure)
      await turn()
    },
  }
}

const LARGE = SMALL + 1
const fill = async (
  add: (name: string, bytes?: number) => Promise<void>,
  count: number,
  name: string,
  bytes: number,
) => {
  for (let n = 0; n < count; n += 1) void add(`${name}${n}`, bytes)
  await new Promise((resolve) => setImmediate(resolve))
}

describe('permits', () => {
  test.each([
    ['as many large blobs as there are jobs', LARGE, 3],
    ['several times as many small ones', SMALL, 3 * SMALL_PER_JOB],
    ['and as many requests that move nothing', 0, 3 * SMALL_PER_JOB],
  ])('are for %s', async (_name, bytes, most) => {
    const { add, running, end, begun } = site(createSemaphore(3))
    await fill(add, 50, 'blob', bytes)
    expect(running()).toBe(most)
    await end(2)
    expect(running()).toBe(most)
    expect(begun).toEqual(begun.map((_, n) => `blob${n}`))
  })

  test('are weighed together: a large blob takes the place of so many small ones', async () => {
    const { add, running } = site(createSemaphore(2))
    await fill(add, 1, 'large', LARGE)
    await fill(add, 50, 'small', SMALL)
    expect(running()).toBe(1 + SMALL_PER_JOB)
  })

  test('go to the one who waits longest: small things never overtake a large one', async () => {
    const { add, begun, end } = site(createSemaphore(2))
    await fill(add, 2 * SMALL_PER_JOB - 1, 'small', 0)
    await fill(add, 1, 'large', LARGE)
    await fill(add, 9, 'late', 0)
    expect(begun.at(-1)).toBe(`small${2 * SMALL_PER_JOB - 2}`)
    await end(SMALL_PER_JOB - 1)
    expect(begun.at(-1)).toBe('large0')
    await end(1)
    expect(begun.at(-1)).toBe('late0')
  })

  test('are given back by what fails', async () => {
    const { add, running, end } = site(createSemaphore(2))
    const failing = [add('a', LARGE), add('b', LARGE)].map((work) => expect(work).rejects.toThrow('broken'))
    await fill(add, 2, 'next', LARGE)
    await end(2, new Error('broken'))
    await Promise.all(failing)
    expect(running()).toBe(2)
  })

  test('of a single job are for one thing after the other, however small', async () => {
    const { add, running } = site(createSemaphore(1))
    await fill(add, 5, 'small', 0)
    expect(running()).toBe(1)
    expect(smallAtOnce(1)).toBe(1)
  })
})
