import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { PromoteError } from '../../../src/core/errors.ts'
import { compose } from '../../../src/http/client.ts'
import { limitConcurrency } from '../../../src/http/concurrency.ts'
import { redirect } from '../../../src/http/redirect.ts'
import { retry } from '../../../src/http/retry.ts'
import { discard, type Request, type Response, type Send } from '../../../src/transport/request.ts'
import { CLIENTS, type Lab, openLab, readAll, rejection } from '../../support/http-server.ts'

let lab: Lab
/** A `Send` that answers from a list, and keeps what it was asked. */
function scripted(...answers: ([number, Record<string, string>?] | Error)[]): Send & { asked: Request[] } {
  const asked: Request[] = []
  const send = async (request: Request): Promise<Response> => {
    asked.push(request)
    const answer = answers[Math.min(asked.length, answers.length) - 1]
    if (answer instanceof Error) throw answer
    const [status, headers = {}] = answer ?? [500]
    return { status, headers, url: request.url, body: (async function* () {})() }
  }
  return Object.assign(send, { asked })
}

const URL_1 = new URL('https://registry.example.com/v2/')
const get = (url = URL_1, more: Partial<Request> = {}): Request => ({ method: 'GET', url, ...more })

describe.each(CLIENTS)('through %s', (_client, bulk) => {
  beforeEach(() => {
    lab = openLab({}, bulk)
  })
  afterEach(() => lab.close())

  describe('retry', () => {
    const options = { side: 'source', retries: 5 } as const

    test.each([408, 425, 429, 500, 502, 503, 504, 522])('repeats after %i', async (status) => {
      const server = scripted([status], [200])
      expect((await compose(server, retry(options, lab.context))(get())).status).toBe(200)
      expect(server.asked).toHaveLength(2)
    })

    test.each([200, 304, 400, 401, 403, 404, 405, 409, 416, 501])('hands over %i at once', async (status) => {
      const server = scripted([status])
      expect((await compose(server, retry(options, lab.context))(get())).status).toBe(status)
      expect(server.asked).toHaveLength(1)
    })

    test('waits longer every time, and gives the last answer when the tries are used up', async () => {
      const server = scripted([500])
      const reasons: unknown[] = []
      const onRetry = (...all: unknown[]) => void reasons.push(all)
      const res = await compose(server, retry({ side: 'source', retries: 9, onRetry }, lab.context))(get())
      expect(res.status).toBe(500)
      expect(server.asked).toHaveLength(10)
      expect(lab.slept).toEqual([188, 375, 750, 1500, 3000, 6000, 12_000, 22_500, 22_500])
      expect(reasons[0]).toEqual(['GET https://registry.example.com/v2/', 'answered 500', 188, 1])
    })

    test.each([
      ['seconds', { 'retry-after': '7' }, 7000],
      [
        'a date by the clock of the server',
        { 'retry-after': 'Thu, 01 Jan 2015 00:00:09 GMT', date: 'Thu, 01 Jan 2015 00:00:00 GMT' },
        9000,
      ],
      ['a date by our clock', { 'retry-after': 'Thu, 01 Jan 2026 00:00:03 GMT' }, 3000],
      ['a date in the past', { 'retry-after': 'Thu, 01 Jan 2015 00:00:00 GMT' }, 188],
      ['nothing that makes sense', { 'retry-after': 'soon' }, 188],
    ])('obeys a 429 with %s', async (_, headers, wait) => {
      await compose(scripted([429, headers], [200]), retry(options, lab.context))(get())
      expect(lab.slept).toEqual([wait])
    })

    test('fails at once when the server asks for more than a minute', async () => {
      const server = scripted([429, { 'retry-after': '3600' }])
      const error = await rejection(compose(server, retry(options, lab.context))(get()))
      expect(error).toMatchObject({ code: 'RATE_LIMITED', side: 'source', status: 429, retryAfter: 3_600_000 })
      expect(error.message).toContain('3600 s')
      expect(lab.slept).toEqual([])
    })

    test.each([
      ['a stream', get(URL_1, { method: 'PUT', body: { size: 1, stream: (async function* () {})() } })],
      ['`retry: false`', get(URL_1, { retry: false })],
    ])('never repeats a request with %s', async (_, request) => {
      const server = scripted([503], [200])
      expect((await compose(server, retry(options, lab.context))(request)).status).toBe(503)
      expect(server.asked).toHaveLength(1)
    })

    test('hands over a router page of a host that has not answered before, and repeats it afterwards', async () => {
      const page = [503, { 'content-type': 'text/html; charset=utf-8' }] as [number, Record<string, string>]
      const server = scripted(page, [200], page, [200])
      const marked: Send = async (request) => ({ ...(await server(request)), isFirst: server.asked.length <= 2 })
      const send = compose(marked, retry(options, lab.context))
      expect((await send(get())).status).toBe(503)
      expect((await send(get())).status).toBe(200)
      expect((await send(get())).status).toBe(200)
      expect(server.asked).toHaveLength(4)
    })

    test('stops waiting when the run is cancelled', async () => {
      lab.cancel()
      expect(await rejection(compose(scripted([500]), retry(options, lab.context))(get()))).toMatchObject({
        code: 'CANCELLED',
      })
    })

    test('passes on what is no error of this project unchanged', async () => {
      const mine = new TypeError('bug')
      await expect(compose(scripted(mine), retry(options, lab.context))(get())).rejects.toBe(mine)
    })
  })

  describe('redirect', () => {
    const follow = (server: Send) => compose(server, redirect('destination', lab.context))
    const to = (location: string, status = 307): [number, Record<string, string>] => [status, { location }]

    test('resolves a relative address, and the answer says where it came from', async () => {
      const server = scripted(to('../other?x=1#part'), [200])
      const res = await follow(server)(get(new URL('https://a.example/v2/x/y')))
      expect(res.url.href).toBe('https://a.example/v2/other?x=1')
      expect(server.asked[1]?.leftOrigin ?? false).toBe(false)
    })

    test.each([
      ['NETWORK', 'GET https://b.example/: the name b.example is unknown (ENOTFOUND).', ', which does not resolve'],
      ['TLS', 'GET https://b.example/: the certificate of b.example is not trusted', ''],
      ['STALLED', 'GET https://b.example/: no answer for 60 s.', ''],
    ] as const)('to a host that is not reached (%s) names both hosts', async (code, said, why) => {
      const lost = new PromoteError(code, said, { hint: 'Check the spelling.' })
      const error = await rejection(
        follow(scripted(to('https://b.example/x'), lost))(get(new URL('https://a.example/x'))),
      )
      expect(error).toMatchObject({ code })
      expect(error.message).toBe(`GET https://a.example/x: the server redirected to b.example${why}. ${said}`)
      if (why !== '') expect(error.hint).toContain('disableRedirect')
    })

    test('that is cancelled is cancelled', async () => {
      const lost = new PromoteError('CANCELLED', 'Cancelled.')
      await expect(follow(scripted(to('https://b.example/x'), lost))(get())).rejects.toBe(lost)
    })

    test.each([
      ['GET', 301, true],
      ['GET', 302, true],
      ['GET', 303, true],
      ['HEAD', 307, true],
      ['GET', 308, true],
      ['GET', 300, false],
      ['GET', 304, false],
      ['POST', 301, false],
      ['PUT', 302, false],
      ['POST', 303, false],
      ['PUT', 307, true],
      ['PATCH', 308, true],
    ] as const)('%s after %i is followed: %s', async (method, status, followed) => {
      const server = scripted(to('/next', status), [200])
      const res = await follow(server)({ method, url: URL_1, ...(method === 'PUT' ? { body: 'x' } : {}) })
      expect(res.status).toBe(followed ? 200 : status)
      expect(server.asked.at(-1)?.method).toBe(method)
      expect(server.asked.at(-1)?.body).toBe(method === 'PUT' ? 'x' : undefined)
    })

    test('hands a 307 of a streamed body, and any 3xx of `follow: false`, to the caller', async () => {
      const body = { size: 1, stream: (async function* () {})() }
      expect((await follow(scripted(to('/next')))({ method: 'PUT', url: URL_1, body })).status).toBe(307)
      expect((await follow(scripted(to('/next')))(get(URL_1, { follow: false }))).status).toBe(307)
      expect((await follow(scripted([307]))(get())).status).toBe(307)
    })

    test('leaves what names the sender behind when the origin changes, for good', async () => {
      const server = scripted(to('https://storage.example/a'), to(`${URL_1.href}back`), [200])
      await follow(server)(get(URL_1, { headers: { authorization: 'Basic x', accept: 'a/b', cookie: 'c' } }))
      expect(server.asked.map((one) => [one.leftOrigin ?? false, one.headers])).toEqual([
        [false, { authorization: 'Basic x', accept: 'a/b', cookie: 'c' }],
        [true, { accept: 'a/b' }],
        [true, { accept: 'a/b' }],
      ])
    })

    test.each([
      ['from https to http', 'http://registry.example.com/v2/x'],
      ['to another kind of address', 'ftp://registry.example.com/'],
      ['to a file', 'file:///etc/passwd'],
      ['to itself', URL_1.href],
      ['to nonsense', 'https://['],
    ])('%s is refused', async (_, location) => {
      const server = scripted(to(location))
      expect(await rejection(follow(server)(get()))).toMatchObject({ code: 'PROTOCOL', side: 'destination' })
      expect(server.asked).toHaveLength(1)
    })

    test('follows a blob to plain http without what names the sender, and warns once for each host', async () => {
      const warnings: string[] = []
      const log = { ...lab.context.log, warn: (line: string) => void warnings.push(line) }
      const layer = redirect('source', { ...lab.context, log })
      const blob = { isBlob: true, headers: { authorization: 'Basic x', range: 'bytes=5-' } }
      for (const host of ['store.example', 'store.example', 'other.example:9000']) {
        const server = scripted(to(`http://${host}/bytes?sig=1`), to('https://registry.example.com/else'), [206])
        expect((await layer(server)(get(URL_1, blob))).leftOrigin).toBe(true)
        expect(server.asked.slice(1).map(({ headers }) => headers)).toEqual([
          { range: 'bytes=5-' },
          { range: 'bytes=5-' },
        ])
      }
      expect(warnings.map((line) => /at ([^ ]+)\./.exec(line)?.[1])).toEqual(['store.example', 'other.example:9000'])
    })

    test.each([
      ['a manifest', {}],
      ['the HEAD of a blob, whose answer no digest protects', { method: 'HEAD', isBlob: true } as const],
      ['an upload', { method: 'PUT', body: 'x' } as const],
    ])('%s is not read from plain http', async (_, more) => {
      const server = scripted([307, { location: 'http://store.example/bytes' }])
      const error = await rejection(follow(server)(get(URL_1, more)))
      expect(error).toMatchObject({
        code: 'PROTOCOL',
        side: 'destination',
        hint: expect.stringContaining('X-Forwarded-Proto'),
      })
      expect(server.asked).toHaveLength(1)
    })

    test('drops user and password of a redirect', async () => {
      const server = scripted(to('https://user:pass@storage.example/'), [200])
      expect((await follow(server)(get())).url.href).toBe('https://storage.example/')
    })

    test('gives up after ten hops', async () => {
      let hop = 0
      const endless: Send = async ({ url }) => ({
        status: 302,
        headers: { location: `/${++hop}` },
        url,
        body: (async function* () {})(),
      })
      expect(await rejection(follow(endless)(get()))).toMatchObject({ code: 'PROTOCOL' })
      expect(hop).toBe(11)
    })
  })

  describe('limitConcurrency', () => {
    /** A server that answers when it is told to. */
    function gate() {
      const open: ((status: number, headers?: Record<string, string>) => void)[] = []
      const send: Send = ({ url }) =>
        new Promise((resolve) => {
          open.push((status, headers = {}) => resolve({ status, headers, url, body: (async function* () {})() }))
        })
      return { send, open, answer: (...all: [number, Record<string, string>?]) => open.shift()?.(...all) }
    }
    const turn = () => new Promise((resolve) => setImmediate(resolve))

    test('lets so many requests out at once, and the next when one is answered', async () => {
      const { send, open, answer } = gate()
      const paced = compose(send, limitConcurrency(lab.context, 2))
      const all = Promise.all([paced(get()), paced(get()), paced(get())])
      await turn()
      expect(open).toHaveLength(2)
      answer(200)
      await turn()
      expect(open).toHaveLength(2)
      answer(200)
      answer(200)
      expect(await all).toHaveLength(3)
    })

    test('counts origins apart', async () => {
      const { send, open, answer } = gate()
      const paced = compose(send, limitConcurrency(lab.context, 1))
      const all = Promise.all([paced(get()), paced(get(new URL('https://registry.example.com:444/')))])
      await turn()
      expect(open).toHaveLength(2)
      answer(200)
      answer(200)
      await all
    })

    test('halves after a 429 and a 503, once for a burst, never below one, and grows by one a round', async () => {
      const { send, open, answer } = gate()
      const paced = compose(send, limitConcurrency(lab.context, 8))
      const waves = async (status: number) => {
        const all = Array.from({ length: 20 }, () => paced(get()))
        await turn()
        const width = open.length
        for (const _ of Array(width)) answer(status)
        for (let left = 20 - width; left > 0; ) {
          await turn()
          left -= open.length
          while (open.length > 0) answer(404)
        }
        await Promise.all(all)
        return width
      }
      expect(await waves(429)).toBe(8)
      // 12 successes since: 4 → 5 → 6 (4 + 5 = 9 of 12)
      expect(await waves(503)).toBe(6)
      const widths = []
      for (let n = 0; n < 3; n++) widths.push(await waves(200))
      expect(widths).toEqual([...widths].sort((a, b) => a - b))
      expect(widths.at(-1)).toBe(8)
    })

    test('goes on with one request at a time when everything is refused', async () => {
      const server = scripted([429])
      const paced = compose(server, limitConcurrency(lab.context, 4))
      for (let n = 0; n < 6; n++) expect((await paced(get())).status).toBe(429)
      const { send, open, answer } = gate()
      let refusals = 0
      const mixed: Send = (request) => (refusals++ < 5 ? server(request) : send(request))
      const narrow = compose(mixed, limitConcurrency(lab.context, 4))
      for (let n = 0; n < 5; n++) await narrow(get())
      const all = Promise.all([narrow(get()), narrow(get())])
      await turn()
      expect(open).toHaveLength(1)
      answer(200)
      await turn()
      answer(200)
      await all
    })

    test('stops new requests for as long as a 429 asks', async () => {
      const server = scripted([429, { 'retry-after': '5' }], [200])
      const paused: (() => void)[] = []
      const context = { ...lab.context, sleep: () => new Promise<void>((resolve) => paused.push(resolve)) }
      const paced = compose(server, limitConcurrency(context, 4))
      await paced(get())
      const next = paced(get())
      await turn()
      expect(server.asked).toHaveLength(1)
      paused[0]?.()
      expect((await next).status).toBe(200)
    })

    test('lets every request through in the end, whatever the answers are', async () => {
      const outcome = fc.constantFrom('200', '404', '429', '429 pause', '503', 'throws')
      await fc.assert(
        fc.asyncProperty(
          fc.array(outcome, { maxLength: 60 }),
          fc.integer({ min: 1, max: 9 }),
          async (script, ceiling) => {
            let running = 0
            let widest = 0
            const server: Send = async ({ url }) => {
              widest = Math.max(widest, ++running)
              const next = script.pop() ?? '200'
              await turn()
              running--
              if (next === 'throws') throw new Error('cut')
              const headers: Record<string, string> = next.endsWith('pause') ? { 'retry-after': '1' } : {}
              return { status: Number.parseInt(next, 10), headers, url, body: (async function* () {})() }
            }
            const paced = compose(
              server,
              limitConcurrency({ ...lab.context, sleep: async () => void (await turn()) }, ceiling),
            )
            const settled = await Promise.allSettled(Array.from({ length: 80 }, () => paced(get())))
            expect(settled).toHaveLength(80)
            expect(widest).toBeLessThanOrEqual(ceiling)
          },
        ),
        { numRuns: 30 },
      )
    })

    test('frees the place of a request that fails', async () => {
      const paced = compose(scripted(new Error('cut'), [200]), limitConcurrency(lab.context, 1))
      await expect(paced(get())).rejects.toThrow('cut')
      expect((await paced(get())).status).toBe(200)
    })
  })

  test('a network repeats, follows and hands over the last answer, on real sockets', async () => {
    let count = 0
    const { url, seen } = await lab.serve((request, response) => {
      if (request.url === '/moved') response.end('there')
      else if (++count < 3) response.writeHead(503, { 'retry-after': '1' }).end('busy')
      else response.writeHead(302, { location: '/moved' }).end()
    })
    const network = lab.network()
    expect(await readAll(await network.send({ method: 'GET', url }))).toBe('there')
    expect(seen.map((one) => one.url)).toEqual(['/', '/', '/', '/moved'])
    expect(lab.slept).toEqual([1000, 1000])
    const gone = await lab.serve((_, response) => response.writeHead(500).end())
    const last = await network.send({ method: 'GET', url: gone.url })
    expect(last.status).toBe(500)
    await discard(last)
    expect(gone.seen).toHaveLength(4)
  })
})
