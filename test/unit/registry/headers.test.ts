import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { PromoteError } from '../../../src/core/errors.ts'
import {
  bytesKept,
  chunkMinimum,
  contentLength,
  parseContentRange,
  uploadLocation,
  withDigest,
} from '../../../src/registry/headers.ts'

const HTTPS = new URL('https://registry.example.com')
const PORT = new URL('https://registry.example.com:8443')
const HTTP = new URL('http://registry.example.com:5000')
const DIGEST = `sha256:${'a'.repeat(64)}`

describe('Range of an upload session', () => {
  test.each<[string | undefined, number | undefined]>([
    ['0-1499999', 1_500_000],
    ['0-1', 2],
    ['bytes=0-99', 100],
    ['0--1', 0],
    ['0-0', undefined],
    [undefined, undefined],
    ['', undefined],
    ['1-5', undefined],
    ['0-', undefined],
    ['0--2', undefined],
    ['0-9999999999999999', undefined],
    ['0-12x', undefined],
  ])('%s means %s bytes', (range, kept) => {
    expect(bytesKept(range)).toBe(kept)
  })
})

describe('Content-Range of an answer', () => {
  test.each<[string | undefined, ReturnType<typeof parseContentRange>]>([
    ['bytes 500-1499/8000', { from: 500, to: 1499, total: 8000 }],
    ['bytes 0-0/1', { from: 0, to: 0, total: 1 }],
    ['BYTES 5-9/*', { from: 5, to: 9, total: undefined }],
    ['bytes 9-5/10', undefined],
    ['bytes 5-10/10', undefined],
    ['bytes */10', undefined],
    ['bytes=5-9/10', undefined],
    ['bytes 5-9', undefined],
    [undefined, undefined],
  ])('%s is %j', (value, range) => {
    expect(parseContentRange(value)).toEqual(range)
  })
})

describe('Location of an upload', () => {
  const at = (path: string, base = HTTPS) => new URL(path, base)

  test.each<[what: string, location: string, base: URL, url: string]>([
    [
      'relative',
      '/v2/a/b/blobs/uploads/1?_state=x%3D%3D',
      HTTPS,
      'https://registry.example.com/v2/a/b/blobs/uploads/1?_state=x%3D%3D',
    ],
    ['relative to the folder', '1?_state=x', HTTPS, 'https://registry.example.com/v2/a/b/blobs/uploads/1?_state=x'],
    ['absolute', 'https://registry.example.com/up/1', HTTPS, 'https://registry.example.com/up/1'],
    ['with the default port', 'https://registry.example.com:443/up/1', HTTPS, 'https://registry.example.com/up/1'],
    [
      'on another origin',
      'https://storage.example.com/up?sig=a%2Bb+c',
      HTTPS,
      'https://storage.example.com/up?sig=a%2Bb+c',
    ],
    ['http on the same host', 'http://registry.example.com/up?x=%2f', HTTPS, 'https://registry.example.com/up?x=%2f'],
    [
      'http on the same host, port lost',
      'http://registry.example.com/up',
      PORT,
      'https://registry.example.com:8443/up',
    ],
    [
      'http on the same host and port',
      'http://registry.example.com:8443/up',
      PORT,
      'https://registry.example.com:8443/up',
    ],
    ['http of a plain registry', 'http://registry.example.com:5000/up', HTTP, 'http://registry.example.com:5000/up'],
    ['http elsewhere, of a plain registry', 'http://other.example.com/up', HTTP, 'http://other.example.com/up'],
    ['with a fragment', '/up/1#top', HTTPS, 'https://registry.example.com/up/1'],
  ])('%s is followed', (_what, location, base, url) => {
    expect(uploadLocation(location, at('/v2/a/b/blobs/uploads/', base), base).href).toBe(url)
  })

  test.each<[what: string, location: string | undefined]>([
    ['absent', undefined],
    ['empty', ''],
    ['http on another host', 'http://other.example.com/up'],
    ['http on another port', 'http://registry.example.com:8080/up'],
    ['another scheme', 'ftp://registry.example.com/up'],
    ['a script', 'javascript:alert(1)'],
    ['a user in the address', 'https://jane:secret@registry.example.com/up'],
    ['nonsense', 'https://[half'],
    ['64 KiB', `/${'a'.repeat(65_536)}`],
  ])('that is %s is refused', (_what, location) => {
    const error = failure(() => uploadLocation(location, at('/v2/a/b/blobs/uploads/'), HTTPS))
    expect(error.code).toBe('PROTOCOL')
    expect(error.message).not.toContain('secret')
    expect(error.message.length).toBeLessThan(400)
  })

  test.each([
    ['https://r.example.com/up', `https://r.example.com/up?digest=${DIGEST}`],
    ['https://r.example.com/up?_state=x%3D%3D', `https://r.example.com/up?_state=x%3D%3D&digest=${DIGEST}`],
    ['https://r.example.com/up?a=%2B+%c3%a4~!*()', `https://r.example.com/up?a=%2B+%c3%a4~!*()&digest=${DIGEST}`],
  ])('%s keeps its query when the digest is added', (location, url) => {
    expect(withDigest(new URL(location), DIGEST).href).toBe(url)
  })
})

test.each([
  [undefined, 0],
  ['5242880', 5_242_880],
  ['-1', 0],
  ['1e3', 0],
  ['9999999999', 0],
])('OCI-Chunk-Min-Length %s is %d bytes', (value, bytes) => {
  expect(chunkMinimum(value)).toBe(bytes)
})

test('whatever a server writes, the parsers answer or throw a PromoteError', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.stringMatching(/^(bytes[ =])?[0-9*-]{0,20}(\/[0-9*]{0,20})?$/),
    fc.webUrl({ withQueryParameters: true }),
  )
  fc.assert(
    fc.property(text, (value) => {
      expect(bytesKept(value) ?? 0).toBeGreaterThanOrEqual(0)
      expect(chunkMinimum(value)).toBeGreaterThanOrEqual(0)
      expect(contentLength(value) ?? 0).toBeGreaterThanOrEqual(0)
      const range = parseContentRange(value)
      if (range !== undefined) expect(range.to).toBeGreaterThanOrEqual(range.from)
      try {
        expect(uploadLocation(value, HTTPS, HTTPS).protocol).toBe('https:')
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(PromoteError)
      }
    }),
  )
  for (const garbage of ['0-', 'bytes ', '-', '1', '//', 'bytes 1-'].map((part) => part.repeat(65_536 / part.length))) {
    expect(bytesKept(garbage)).toBeUndefined()
    expect(parseContentRange(garbage)).toBeUndefined()
    expect(() => uploadLocation(garbage, HTTPS, HTTPS)).toThrow(PromoteError)
  }
})

function failure(run: () => unknown): PromoteError {
  try {
    run()
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(PromoteError)
    return thrown as PromoteError
  }
  throw new Error('it was taken')
}
