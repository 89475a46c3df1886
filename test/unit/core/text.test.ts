import { describe, expect, test } from '@jest/globals'
import { cut, decodeText, displayUrl, listed, quote } from '../../../src/core/text.ts'

describe('the text of a file', () => {
  const text = 'pässword\r\n'
  const utf16 = Buffer.from(text, 'utf16le')
  test.each<[string, Uint8Array]>([
    ['UTF-8', Buffer.from(text)],
    ['UTF-8 with a byte order mark', Buffer.from(`\ufeff${text}`)],
    ['UTF-16, as PowerShell writes it', Buffer.concat([Buffer.from([0xff, 0xfe]), utf16])],
    ['UTF-16 of the other byte order', Buffer.concat([Buffer.from([0xfe, 0xff]), Buffer.from(utf16).swap16()])],
  ])('is read from %s', (_, bytes) => {
    expect(decodeText(bytes)).toBe(text)
  })

  test.each<[string, Uint8Array, RegExp]>([
    ['UTF-16 without a mark', utf16, /UTF-16 without a byte order mark/],
    ['Latin-1', Buffer.from(text, 'latin1'), /is not UTF-8 text/],
    ['half a character of UTF-16', Buffer.from([0xff, 0xfe, 0x41]), /is not UTF-16LE text/],
  ])('is named when it is %s, and not quoted', (_, bytes, words) => {
    expect(() => decodeText(bytes)).toThrow(words)
  })
})

test.each([
  ['abcdef', 6, 'abcdef'],
  ['abcdefg', 6, 'abcde…'],
  ['abcd😀fg', 6, 'abcd…'],
])('%j in %d characters is %j', (text, limit, shown) => {
  expect(cut(text, limit)).toBe(shown)
})

test('names, quotes and addresses are one line each', () => {
  expect(listed(['a\nb', 'c\u001b[1m', 'd'], 2)).toBe('a b, c, …')
  expect(quote('a\n"b"\u0007\u202e')).toBe('"a\\n\\"b\\""')
  expect(displayUrl(new URL('https://user:pw@r.example/v2/a?token=x#y'))).toBe('https://r.example/v2/a')
})
