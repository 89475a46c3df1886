import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { AnswerParser } from '../../src/wire/framing.ts'

type Seen = { status?: number; headers?: unknown; body: string; end?: boolean }

/** @param cuts where the bytes are cut on their way. */
function parse(text: string, cuts: readonly number[] = [], closed = false): Seen {
  const seen: Seen = { body: '' }
  const parser = new AnswerParser({
    head: (status, headers) => Object.assign(seen, { status, headers: { ...headers } }),
    data: (bytes) => (seen.body += Buffer.from(bytes).toString('latin1')),
    end: (reusable) => (seen.end = reusable),
  })
  const bytes = Buffer.from(text, 'latin1')
  const places = [0, ...[...cuts].sort((a, b) => a - b), bytes.length]
  for (let i = 1; i < places.length; i += 1) parser.take(bytes.subarray(places[i - 1], places[i]))
  if (closed) parser.close()
  return seen
}

const OK = 'HTTP/1.1 200 OK\r\n'

describe('an answer', () => {
  const whole: readonly (readonly [string, string, Partial<Seen>, boolean?])[] = [
    ['with a length', `${OK}Content-Length: 5\r\n\r\nhello`, { status: 200, body: 'hello', end: true }],
    ['with a length of zero', `${OK}content-length:0\r\n\r\n`, { body: '', end: true }],
    [
      'with the same length twice',
      `${OK}Content-Length: 2, 2\r\nContent-Length: 2\r\n\r\nab`,
      { body: 'ab', end: true },
    ],
    ['that closes', `${OK}Connection: Close\r\nContent-Length: 2\r\n\r\nab`, { body: 'ab', end: false }],
    ['of HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab', { body: 'ab', end: false }],
    ['without a length', `${OK}\r\nall of it`, { body: 'all of it', end: false }, true],
    ['without a body', 'HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n', { status: 204, body: '', end: true }],
    ['without a reason', 'HTTP/1.1 304\r\n\r\n', { status: 304, end: true }],
    [
      'after an interim one',
      `HTTP/1.1 103 Early\r\nLink: x\r\n\r\n${OK}Content-Length: 1\r\n\r\na`,
      { status: 200, body: 'a' },
    ],
    [
      'in chunks',
      `${OK}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;name="v"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n`,
      { body: 'abc0123456789', end: true },
    ],
    [
      'in chunks and with a length',
      `${OK}Content-Length: 99\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n`,
      { body: 'a', end: false },
    ],
  ]

  for (const [name, text, seen, closed] of whole) {
    test(name, () => {
      expect(parse(text, [], closed)).toMatchObject(seen)
    })
  }

  test('is the same however it is cut', () => {
    fc.assert(
      fc.property(fc.constantFrom(...whole), fc.array(fc.nat(200)), ([, text, , closed], cuts) => {
        const within = cuts.filter((cut) => cut <= text.length)
        expect(parse(text, within, closed)).toEqual(parse(text, [], closed))
      }),
    )
  })

  test('keeps repeated headers apart, and names of Object.prototype are names', () => {
    const { headers } = parse(`${OK}A: 1\r\n__proto__: 2\r\na: \t3 \r\nContent-Length: 0\r\n\r\n`)
    expect(headers).toEqual(
      Object.fromEntries([
        ['a', ['1', '3']],
        ['__proto__', '2'],
        ['content-length', '0'],
      ]),
    )
  })
})

describe('what is no answer', () => {
  test.each([
    ['another protocol', 'SSH-2.0-OpenSSH_9\r\n'],
    ['HTTP/2', 'HTTP/2 200\r\n'],
    ['a line feed alone', 'HTTP/1.1 200 OK\n\n'],
    ['a continued header', `${OK}a: 1\r\n b\r\n\r\n`],
    ['a header without a name', `${OK}: 1\r\n\r\n`],
    ['a header without a colon', `${OK}abc\r\n\r\n`],
    ['a name with a space before its colon', `${OK}Content-Length : 2\r\n\r\n`],
    ['two lengths', `${OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\n`],
    ['a length with a sign', `${OK}Content-Length: +2\r\n\r\n`],
    ['an unknown coding', `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n`],
    ['a chunk without a size', `${OK}Transfer-Encoding: chunked\r\n\r\n-1\r\n`],
    ['a chunk that is longer', `${OK}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n`],
    ['more than the answer', `${OK}Content-Length: 1\r\n\r\nab`],
    ['a change of protocol', 'HTTP/1.1 101 Switching\r\n\r\n'],
  ])('%s is refused', (_, text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ name: 'HTTPParserError' }))
  })

  test.each([
    ['one line', `${OK}a: ${'x'.repeat(20_000)}`],
    ['many lines', OK + 'a: b\r\n'.repeat(5000)],
    ['interim answers', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(1000)],
    ['trailers', `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\n${'a: b\r\n'.repeat(5000)}`],
  ])('too much in %s is refused', (_, text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'UND_ERR_HEADERS_OVERFLOW' }))
  })

  test.each([
    ['within the head', `${OK}Content-`],
    ['within the body', `${OK}Content-Length: 5\r\n\r\nabc`],
    ['within the chunks', `${OK}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`],
  ])('ended %s is a broken connection', (_, text) => {
    expect(() => parse(text, [], true)).toThrow(expect.objectContaining({ code: 'UND_ERR_SOCKET' }))
  })

  test('64 KiB of anything ends, with an answer or an error of these kinds', () => {
    const line = fc.constantFrom(
      OK,
      'Content-Length: 7\r\n',
      'Transfer-Encoding: chunked\r\n',
      '\r\n',
      '0\r\n',
      '5\r\n',
    )
    const noise = fc.array(fc.oneof(line, fc.string({ maxLength: 200, unit: 'binary' })), { maxLength: 300 })
    fc.assert(
      fc.property(noise, fc.array(fc.nat(65_536), { maxLength: 9 }), (parts, cuts) => {
        const text = parts.join('').slice(0, 65_536)
        try {
          parse(
            text,
            cuts.filter((cut) => cut <= text.length),
            true,
          )
        } catch (thrown) {
          expect(['HTTPParserError', 'HeadersOverflowError', 'SocketError']).toContain((thrown as Error).name)
        }
      }),
    )
  })
})
