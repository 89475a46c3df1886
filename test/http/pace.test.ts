import { describe, expect, test } from '@jest/globals'
import { compose } from '../../src/http/network.ts'
import { pace } from '../../src/http/pace.ts'
import type { Method, Res, Send } from '../../src/http/send.ts'
import { testContext } from '../copy/support.ts'

/** A server whose answers take as long as the test says, by a clock that the test moves. */
function slowServer(ceiling: number) {
  let clock = 0
  const open: ((status: number) => void)[] = []
  const send: Send = ({ url }) =>
    new Promise<Res>((resolve) => {
      open.push((status) => resolve({ status, headers: {}, url, body: (async function* () {})() }))
    })
  const paced = compose(send, pace({ ...testContext(), now: () => clock }, ceiling))
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  return {
    /** Sends `count` requests, answers all that are under way at once, again and again. @returns how many those were at first. */
    async wave(count: number, milliseconds: number, { status = 200, method = 'GET' as Method } = {}): Promise<number> {
      const url = new URL('https://registry.example.com/v2/')
      const all = Array.from({ length: count }, () => paced({ method, url }))
      await turn()
      const width = open.length
      for (let left = count; left > 0; ) {
        clock += milliseconds
        left -= open.length
        for (const answer of open.splice(0)) answer(status)
        await turn()
      }
      await Promise.all(all)
      return width
    },
  }
}

describe('the pace of requests to an origin', () => {
  test('halves when answers come ever later, and recovers when they come as they used to', async () => {
    const { wave } = slowServer(16)
    for (let n = 0; n < 4; n += 1) expect(await wave(16, 20)).toBe(16)
    await wave(16, 900)
    const slowed = await wave(16, 900)
    expect(slowed).toBeLessThan(12)
    for (let n = 0; n < 40; n += 1) await wave(16, 20)
    expect(await wave(16, 20)).toBe(16)
  })

  test('takes a server that stays slow as it is', async () => {
    const { wave } = slowServer(16)
    for (let n = 0; n < 30; n += 1) await wave(16, 900)
    expect(await wave(16, 900)).toBe(16)
  })

  test.each([
    ['one answer that is late', [20, 20, 20, 9000, 20, 20], 'GET', 1],
    ['jitter of some milliseconds', [5, 20, 5, 40, 60, 5, 90], 'GET', 16],
    ['PUTs, which take as long as their bytes', [20, 20, 900, 900, 900], 'PUT', 16],
    ['slowness while hardly anything is under way', [20, 20, 900, 900, 900, 900, 900, 900], 'GET', 2],
  ] as const)('is not changed by %s', async (_name, waves, method, count) => {
    const { wave } = slowServer(16)
    for (const milliseconds of waves) await wave(count, milliseconds, { method })
    expect(await wave(16, 20, { method })).toBe(16)
  })

  test('leaves two at once, however slow the answers get', async () => {
    const { wave } = slowServer(16)
    for (let n = 0, milliseconds = 20; n < 14; n += 1, milliseconds *= 3) await wave(16, milliseconds)
    expect(await wave(16, 20)).toBeGreaterThanOrEqual(2)
  })

  test('halves what was under way, not a ceiling that nobody came near', async () => {
    const { wave } = slowServer(64)
    expect(await wave(8, 5)).toBe(8)
    await wave(8, 5, { status: 429 })
    expect(await wave(8, 5)).toBe(4)
  })
})
