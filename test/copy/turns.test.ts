import { describe, expect, test } from '@jest/globals'
import { createTurns, type Turns } from '../../src/copy/turns.ts'

const tick = () => new Promise((resolve) => setImmediate(resolve))

/** Work that goes on until it is told to end, in the order in which it begins. */
function site(turns: Turns) {
  const begun: string[] = []
  const ends = new Map<string, (failure?: Error) => void>()
  const add = (name: string, what: object, users = 1): Promise<void> =>
    turns(what, users, () => {
      begun.push(name)
      return new Promise<void>((resolve, reject) => {
        ends.set(name, (failure) => (failure === undefined ? resolve() : reject(failure)))
      })
    })
  return {
    begun,
    add,
    async end(name: string, failure?: Error) {
      ends.get(name)?.(failure)
      await tick()
    },
  }
}

describe('turns', () => {
  test('so many things at once, in the order in which they came', async () => {
    const { begun, add, end } = site(createTurns(2))
    const all = ['a', 'b', 'c', 'd'].map((name) => add(name, { name }))
    await tick()
    expect(begun).toEqual(['a', 'b'])
    await end('b')
    expect(begun).toEqual(['a', 'b', 'c'])
    await end('a')
    await end('c')
    await end('d')
    expect(begun).toEqual(['a', 'b', 'c', 'd'])
    await Promise.all(all)
  })

  test('all users of a thing have its turn together, and it ends with the last of them', async () => {
    const { begun, add, end } = site(createTurns(1))
    const [one, two] = [{}, {}]
    const all = [add('one at east', one, 2), add('two at east', two, 2), add('one at west', one, 2)]
    await tick()
    expect(begun).toEqual(['one at east', 'one at west'])
    await end('one at west')
    expect(begun).toHaveLength(2)
    await end('one at east')
    expect(begun).toEqual(['one at east', 'one at west', 'two at east'])
    all.push(add('two at west', two, 2))
    await tick()
    await end('two at east')
    await end('two at west')
    await Promise.all(all)
  })

  test.each([0, 1])(
    'whoever waits for the same turn begins before anything that another one sets off, in turn %i',
    async (turn) => {
      const turns = createTurns(1)
      const order: string[] = []
      const work = (name: string) => async () => {
        order.push(name)
        await undefined
        order.push(`after ${name}`)
      }
      const before = Array.from({ length: turn }, () => turns({}, 1, tick))
      const what = {}
      await Promise.all([...before, ...['east', 'west', 'south'].map((name) => turns(what, 3, work(name)))])
      expect(order).toEqual(['east', 'west', 'south', 'after east', 'after west', 'after south'])
    },
  )

  test('a failure is its own, and makes room for the next', async () => {
    const { begun, add, end } = site(createTurns(1))
    const first = add('first', {})
    const second = add('second', {})
    await tick()
    const failed = expect(first).rejects.toThrow('broken')
    await end('first', new Error('broken'))
    await failed
    expect(begun).toEqual(['first', 'second'])
    await end('second')
    await second
  })
})
