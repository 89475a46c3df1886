import { describe, expect, test } from '@jest/globals'
import { oneLine } from '../../../src/core/text.ts'
import { count, formatBytes, formatDuration, formatRate } from '../../../src/report/format.ts'

const KIB = 1024
const MIB = KIB * KIB
const GIB = MIB * KIB

describe('bytes', () => {
  test.each([
    [0, '0 B'],
    [-5, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [48.1 * MIB, '48.1 MiB'],
    [91 * MIB, '91 MiB'],
    [344.4 * MIB, '344 MiB'],
    [1023.99 * MIB, '1 GiB'],
    [1.44 * GIB, '1.4 GiB'],
    [5 * KIB * KIB * GIB, '5 PiB'],
    [5000 * KIB * KIB * GIB, '5000 PiB'],
  ])('%d reads %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text))
})

describe('durations', () => {
  test.each([
    [0, '0s'],
    [-1, '0s'],
    [40, '0s'],
    [320, '0.3s'],
    [3200, '3.2s'],
    [9949, '9.9s'],
    [9951, '10s'],
    [41_400, '41s'],
    [59_600, '1m 0s'],
    [125_000, '2m 5s'],
    [3_720_000, '1h 2m'],
  ])('%d ms reads %s', (milliseconds, text) => expect(formatDuration(milliseconds)).toBe(text))
})

test('a rate is bytes per second, and an immeasurably short time gives no infinity', () => {
  expect(formatRate(70 * MIB, 2000)).toBe('35 MiB/s')
  expect(formatRate(MIB, 0)).toBe('1000 MiB/s')
})

test('a count takes the plural but for one', () => {
  expect([count(0, 'image'), count(1, 'image'), count(2, 'image')]).toEqual(['0 images', '1 image', '2 images'])
})

describe('foreign text on one line', () => {
  test.each([
    ['a\r\n::error::b', 'a ::error::b'],
    ['\u001b[31mred\u0007', 'red'],
    ['x\u2028y\u0085z', 'x y z'],
    ['evil\u202egnp.exe\u2066', 'evilgnp.exe'],
    ['  plain  ', 'plain'],
  ])('%j becomes %j', (text, line) => expect(oneLine(text)).toBe(line))

  test('it is bounded', () => {
    expect(oneLine('x'.repeat(100_000))).toHaveLength(4000)
    expect(oneLine('abcdef', 4)).toBe('abc…')
  })
})
