import { describe, expect, test } from '@jest/globals'
import { liveLines, measure, startTrack } from '../../../src/report/live.ts'
import type { Event } from '../../../src/report/model.ts'
import { createProgress } from '../../../src/report/progress.ts'
import { digest, failed, MIB, planEvent, row } from './rows.ts'

const COLUMNS = 100

/** Progress with a clock; `at` plays an event and returns what the terminal shows then. */
function watch() {
  let now = 0
  const progress = createProgress(() => undefined, { mode: 'plain', now: () => now, live: true })
  return (time: number, event?: Event, columns = COLUMNS) => {
    now = time
    if (event !== undefined) progress.event(event)
    return progress.lines(columns)
  }
}

const bytes = (sent: number, image = 0): Event => ({
  event: 'bytes',
  image,
  digest: digest('1'),
  sent,
  total: 100 * MIB,
})

describe('what a terminal shows', () => {
  test('before the first plan: what it is waiting for', () => expect(watch()(0)).toEqual(['Logging in']))

  test('a line per image and one for all, with bytes, rate and what is left', () => {
    const at = watch()
    at(0, planEvent({ image: 0, images: 2 }))
    at(0, planEvent({ image: 1, images: 2, destination: 'registry.prod.example/prod/web:2' }))
    expect(at(1000, bytes(50 * MIB, 0))[2]).toMatch(/ 12% 50 MiB of 400 MiB$/)
    at(2000, bytes(50 * MIB, 1))
    at(3000, bytes(50 * MIB, 0))
    const lines = at(4000, bytes(50 * MIB, 1))
    expect(lines).toHaveLength(3)
    expect(lines[0]).toMatch(/app:1\.2 +█{8}░{8} {2}50% 100 MiB of 200 MiB, \d+(\.\d)? MiB\/s, \ds left$/)
    expect(lines[1]).toContain('prod/web:2')
    expect(new Set(lines.map((line) => line.indexOf('█'))).size).toBe(1)
    expect(lines[2]).toMatch(/^0 of 2 images done +█{8}░{8} {2}50% 200 MiB of 400 MiB, 5\d(\.\d)? MiB\/s, \ds left$/)
  })

  test.each([60, 80, 120])(
    'at %d columns: names, share, rate, what is left, and the number of the total',
    (columns) => {
      const at = watch()
      at(0, planEvent({ image: 0, images: 12 }))
      at(0, planEvent({ image: 1, images: 12, destination: `registry.prod.example/${'very/'.repeat(12)}web:2` }))
      at(90_000)
      at(90_000, bytes(1 * MIB, 0))
      at(90_000, bytes(1 * MIB, 1))
      at(91_000, bytes(3 * MIB, 0), columns)
      const early = at(92_500, bytes(2 * MIB, 1), columns)
      const late = at(100_000, bytes(150 * MIB, 0), columns)
      for (const lines of [early, late]) {
        expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(columns)
        for (const line of lines) expect(line).toMatch(/\d% .*of \d+(\.\d)? MiB, \d+(\.\d)? [KM]iB\/s, .* left$/)
        expect(lines[0]).toMatch(/app:1\.2 /)
        expect(lines[1]).toMatch(/^….*web:2 /)
        expect(lines[2]).toMatch(/^(0 of 12 images|0\/12) done /)
      }
      // Labels, bars and figures stay where they are.
      expect(new Set([...early, ...late].map((line) => line.search(/[█░]/))).size).toBe(1)
      expect(new Set([...early, ...late].map((line) => line.indexOf('%'))).size).toBe(1)
    },
  )

  test('no time is shown when the rate says nothing about it', () => {
    const at = watch()
    at(0, planEvent({ images: 1 }))
    at(600_000)
    at(600_000, bytes(1))
    at(601_000, bytes(1))
    expect(at(603_000, bytes(10))[0]).not.toContain('left')
  })

  test('a finished image leaves, the total stays', () => {
    const at = watch()
    at(0, planEvent({ images: 1 }))
    at(1000, bytes(200 * MIB))
    const lines = at(1000, { event: 'image', image: 0, row: row() })
    expect(lines).toEqual([expect.stringMatching(/^1 of 1 image done +█{16} 100% 200 MiB of 200 MiB$/)])
  })

  test('an image that failed before its plan counts as done', () => {
    const at = watch()
    at(0, planEvent({ images: 2 }))
    expect(at(0, { event: 'image', image: 1, row: failed() }).at(-1)).toMatch(/^1 of 2 images done/)
  })

  test.each([40, 60, 80, 200])('never a line longer than %d columns; names lose their beginning', (columns) => {
    const at = watch()
    at(0, planEvent({ destination: `registry.prod.example/${'very/'.repeat(20)}app:1.2` }))
    at(1000, bytes(MIB))
    const lines = at(2000, undefined, columns)
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns)
    expect(lines[0]).toMatch(/^…|app:1\.2/)
  })

  test('of many images some are shown, and the number of the others', () => {
    const at = watch()
    for (let image = 0; image < 20; image++) at(0, planEvent({ image, images: 20 }))
    const lines = at(0)
    expect(lines).toHaveLength(9)
    expect(lines[7]).toBe('and 13 more images')
  })

  test('more bytes than planned never read as more than all', () => {
    const at = watch()
    at(0, planEvent())
    expect(at(1000, bytes(300 * MIB)).at(-1)).toMatch(/100% 300 MiB of 300 MiB$/)
  })
})

test('the rate follows the network, smoothed', () => {
  const track = startTrack('x', 0)
  const at = (time: number, sent: number) => {
    track.sent = sent
    measure(track, time)
    return track.speed.rate ?? 0
  }
  expect(at(1000, 1000)).toBe(1000)
  const after = at(2000, 1000)
  expect(after).toBeGreaterThan(700)
  expect(after).toBeLessThan(1000)
  for (let second = 3; second < 60; second++) at(second * 1000, 1000)
  expect(track.speed.rate).toBeLessThan(1)
})

test('an interval that is too short to measure changes nothing', () => {
  const track = startTrack('x', 0)
  track.sent = 1_000_000
  measure(track, 10)
  expect(track.speed).toEqual({ since: 0, at: 0, sent: 0, rate: undefined })
})

test('a name with a line break stays on one line', () => {
  const track = { ...startTrack('evil\u001b[2J\nname', 0), wanted: 10 }
  const lines = liveLines({ all: startTrack('', 0), running: [track], finished: 0, images: 1, longest: 20 }, 80)
  expect(lines.every((line) => !line.includes('\u001b') && !line.includes('\n'))).toBe(true)
})
