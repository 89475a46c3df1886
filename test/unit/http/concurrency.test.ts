import { describe, expect, test } from '@jest/globals'
import { compose } from '../../../src/http/client.ts'
import { limitConcurrency } from '../../../src/http/concurrency.ts'
import type { Method, Response, Send } from '../../../src/transport/request.ts'
import { testContext } from '../../support/copy.ts'

/** A server whose answers take as long as the test says, by a clock that the test moves. */
function slowServer(ceiling: number) {
  let clock = 0
  const open: ((status: number) => void)[] = []
  const send: Send = ({ url }) =>
    new Promise<Response>((resolve) => {
      open.push((status) => resolve({ status, headers: {}, url, body: (async function* () {})() }))
    })
  const paced = compose(send, limitConcurrency({ ...testContext(), now: () => clock }, ceiling))
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

describe('the limitConcurrency of requests to an origin', () => {
  test('is halved by 429, once for a burst, and recovers with successes', async () => {
    const { wave } = slowServer(16)
    expect(await wave(16, 20)).toBe(16)
    await wave(16, 20, { status: 429 })
    expect(await wave(16, 20)).toBeLessThan(12)
    for (let n = 0; n < 40; n += 1) await wave(16, 20)
    expect(await wave(16, 20)).toBe(16)
  })

  test.each([
    ['one answer that is late', [20, 20, 20, 9000, 20, 20]],
    ['answers that come ever later', [20, 60, 180, 540, 1620]],
  ])('is not changed by %s', async (_name, waves) => {
    const { wave } = slowServer(16)
    for (const milliseconds of waves) await wave(16, milliseconds)
    expect(await wave(16, 20)).toBe(16)
  })

  test('leaves one at once, however often the server refuses', async () => {
    const { wave } = slowServer(16)
    for (let n = 0; n < 14; n += 1) await wave(16, 20, { status: 503 })
    expect(await wave(16, 20)).toBeGreaterThanOrEqual(1)
  })

  test('halves what was under way, not a ceiling that nobody came near', async () => {
    const { wave } = slowServer(64)
    expect(await wave(8, 5)).toBe(8)
    await wave(8, 5, { status: 429 })
    expect(await wave(8, 5)).toBe(4)
  })
})
