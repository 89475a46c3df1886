import { describe, expect, test } from '@jest/globals'
import { makeReport } from '../../../src/report/make-report.ts'
import type { Event } from '../../../src/report/model.ts'
import { createProgress } from '../../../src/report/progress.ts'
import { digest, failed, MIB, planEvent, row } from './rows.ts'

/** Feeds events at given milliseconds and returns the lines that each one printed. */
function play(mode: 'plain' | 'quiet' | 'json', events: readonly (readonly [number, Event])[]): string[][] {
  const printed: string[][] = []
  let now = 0
  const progress = createProgress((line) => printed.at(-1)?.push(line), { mode, now: () => now })
  for (const [at, event] of events) {
    now = at
    printed.push([])
    progress.event(event)
  }
  return printed
}

const bytes = (sent: number, image = 0): Event => ({
  event: 'bytes',
  image,
  digest: digest('1'),
  sent,
  total: 100 * MIB,
})
const done: Event = { event: 'done', report: makeReport(0, 2000, false, [row(), failed()]) }

describe('plain', () => {
  test('one line per login, with the user where there is one', () => {
    expect(
      play('plain', [
        [0, { event: 'login', side: 'source', user: 'jane', registry: 'r1.example' }],
        [0, { event: 'login', side: 'destination', user: null, registry: 'r2.example' }],
      ]),
    ).toEqual([['Source: logged in to r1.example as jane'], ['Destination: r2.example']])
  })

  test('the plan line comes when every image is planned or has failed before its plan', () => {
    const idle = planEvent({
      image: 1,
      images: 3,
      steps: [],
      bytes: { total: MIB, copied: 0, mounted: 0, present: MIB },
    })
    const lines = play('plain', [
      [0, planEvent({ image: 0, images: 3 })],
      [0, idle],
      [0, { event: 'image', image: 2, row: failed() }],
    ])
    expect(lines[0]).toEqual([])
    expect(lines[1]).toEqual([])
    expect(lines[2]?.[0]).toBe(
      'Plan: 3 images, 1 to promote, 1 up to date, 1 failed. 200 MiB to transfer, 21 MiB need no transfer.',
    )
  })

  test('the plan line of a run that has not asked for every blob is an upper bound', () => {
    const bytes = { total: 200 * MIB, copied: 200 * MIB, mounted: 0, present: 0 }
    expect(play('plain', [[0, planEvent({ certain: false, bytes })]])[0]?.[0]).toBe(
      'Plan: 1 image, 1 to promote, 0 up to date. Up to 200 MiB to transfer; what is there already is found on the way.',
    )
    // What is up to date was looked at.
    const steps = planEvent({}) as Extract<Event, { event: 'plan' }>
    const idle = planEvent({ certain: false, steps: steps.steps.filter((step) => step.do === 'skip') })
    expect(play('plain', [[0, idle]])[0]?.[0]).toMatch(/up to date\. 200 MiB to transfer/)
  })

  test('a dry run says that a tag could not be read', () => {
    const tags = [{ tag: '1.2', from: 'unknown', to: digest('a') }] as const
    const lines = play('plain', [
      [0, planEvent({ tags })],
      [0, { event: 'image', image: 0, row: row({ status: 'planned', previousDigest: 'unknown' }) }],
    ])
    expect(lines.flat().at(-1)).toMatch(/tag {3}1\.2: not readable → sha256:a/)
  })

  test('one line per finished image: what moved, what was mounted, what was there, how long', () => {
    const lines = play('plain', [
      [0, planEvent()],
      [0, { event: 'image', image: 0, row: row() }],
    ])
    expect(lines[1]).toEqual([
      '[1/1] promoted registry.prod.example/prod/app:1.2 sha256:bbbbbbbbbbbb → sha256:aaaaaaaaaaaa (linux/amd64, linux/arm64): 50 MiB copied, 90 MiB mounted, 60 MiB there, 3.2s',
    ])
  })

  test('a failed image is one line with its code; the message waits for the end', () => {
    const lines = play('plain', [[0, { event: 'image', image: 0, row: failed() }]])
    expect(lines[0]).toEqual(['[1/1] failed registry.prod.example/prod/app:1.2 after 3.2s [DENIED, destination]'])
  })

  test('a heartbeat at most every ten seconds, with percent and the rate of the interval', () => {
    const lines = play('plain', [
      [0, planEvent()],
      [5000, bytes(10 * MIB)],
      [9999, bytes(10 * MIB)],
      [10_000, bytes(30 * MIB)],
      [19_000, bytes(10 * MIB)],
      [20_000, bytes(40 * MIB)],
    ])
    expect(lines.map((each) => each.length)).toEqual([1, 0, 0, 1, 0, 1])
    expect(lines[3]).toEqual([
      '... 25% 50 MiB of 200 MiB, 5 MiB/s, 0 of 1 image done: registry.prod.example/prod/app:1.2',
    ])
    expect(lines[5]?.[0]).toContain('50% 100 MiB of 200 MiB, 5 MiB/s')
  })

  test('no heartbeat shortly after another line', () => {
    const lines = play('plain', [
      [0, planEvent({ images: 2 })],
      [8000, { event: 'image', image: 1, row: failed() }],
      [12_000, bytes(MIB)],
      [18_000, bytes(MIB)],
    ])
    expect(lines.map((each) => each.length)).toEqual([0, 2, 0, 1])
  })

  test('a blob that is there already does not count as missing', () => {
    const step = {
      event: 'step',
      image: 0,
      do: 'skip',
      digest: digest('1'),
      kind: 'blob',
      size: 100 * MIB,
      why: 'there',
    } as const
    const lines = play('plain', [
      [0, planEvent()],
      [1, step],
      [2, step],
      [10_000, bytes(50 * MIB)],
    ])
    expect(lines[3]?.[0]).toContain('50% 50 MiB of 100 MiB')
  })

  test('bytes beyond the plan never read as more than 100 %', () => {
    expect(
      play('plain', [
        [0, planEvent()],
        [10_000, bytes(300 * MIB)],
      ])[1]?.[0],
    ).toContain('100% 300 MiB of 300 MiB')
  })

  test('a retry says what, why and when', () => {
    const retry: Event = {
      event: 'retry',
      image: 0,
      what: 'blob sha256:1',
      reason: 'cut\nafter 5 bytes',
      wait: 1500,
      attempt: 2,
    }
    expect(play('plain', [[0, retry]])).toEqual([['Retrying blob sha256:1 in 1.5s (try 2): cut after 5 bytes']])
  })

  test('a dry run shows its steps in groups with their reasons, and the tags', () => {
    const lines = play('plain', [
      [
        0,
        planEvent({
          tags: [
            { tag: '1.2', from: digest('b'), to: digest('a') },
            { tag: 'new', from: null, to: digest('a') },
          ],
        }),
      ],
      [0, { event: 'image', image: 0, row: row({ status: 'planned' }) }],
    ])
    expect(lines[1]?.slice(1)).toEqual([
      '      copy  2 blobs, 200 MiB: not there',
      '      skip  1 blob, 20 MiB: at the destination',
      '      push  1 manifest, 1000 B: not there',
      '      tag   1.2: sha256:bbbbbbbbbbbb → sha256:aaaaaaaaaaaa',
      '      tag   new: new → sha256:aaaaaaaaaaaa',
    ])
  })

  test('a heartbeat also when nothing happens, and before anything is planned', () => {
    const lines: string[] = []
    let now = 0
    const progress = createProgress((line) => lines.push(line), { mode: 'plain', now: () => now })
    const beatAt = (at: number) => {
      now = at
      progress.beat()
      return lines.splice(0)
    }
    expect(beatAt(9999)).toEqual([])
    expect(beatAt(10_000)).toEqual(['... logging in and reading manifests'])
    expect(beatAt(19_999)).toEqual([])
    progress.event(planEvent())
    lines.length = 0
    expect(beatAt(29_998)).toEqual([])
    expect(beatAt(29_999)).toEqual([
      '... 0% 0 B of 200 MiB, 0 B/s, 0 of 1 image done: registry.prod.example/prod/app:1.2',
    ])
  })

  test('no heartbeat where a terminal shows what is under way', () => {
    const lines: string[] = []
    let now = 0
    const progress = createProgress((line) => lines.push(line), { mode: 'plain', now: () => now, live: true })
    now = 60_000
    progress.beat()
    progress.event(bytes(MIB))
    expect(lines).toEqual([])
  })

  test('the end is the totals, then the errors', () => {
    const lines = play('plain', [[0, done]])[0] ?? []
    expect(lines[0]).toMatch(/^Promoted 1, /)
    expect(lines.slice(1).join('\n')).toContain('[DENIED, destination]')
  })
})

test('quiet prints the errors and nothing else', () => {
  const lines = play('quiet', [
    [0, { event: 'login', side: 'source', user: 'jane', registry: 'r1.example' }],
    [0, planEvent()],
    [60_000, bytes(MIB)],
    [0, { event: 'image', image: 0, row: row() }],
    [0, done],
  ])
  expect(lines.slice(0, 4).flat()).toEqual([])
  expect(lines[4]?.[0]).toBe('Failed: registry.prod.example/prod/app:1.2 [DENIED, destination]')
})

test('quiet prints nothing at all when all went well', () => {
  expect(play('quiet', [[0, { event: 'done', report: makeReport(0, 1, false, [row()]) }]]).flat()).toEqual([])
})

test('json prints every event as one line that reads back', () => {
  const events = [planEvent(), bytes(MIB), done]
  const lines = play(
    'json',
    events.map((event) => [0, event] as const),
  ).flat()
  expect(lines.map((line) => JSON.parse(line))).toEqual(events)
  expect(lines.every((line) => !line.includes('\n'))).toBe(true)
})
