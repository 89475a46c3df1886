import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals'
import { createCliHost } from '../../../src/host/cli.ts'
import { createTerminal, isWatched, paint, wantsColour } from '../../../src/host/terminal.ts'
import type { Env } from '../../../src/inputs/collect.ts'
import { planEvent } from '../report/rows.ts'
import { failedRow, recordStreams, reportOf, row, SETTINGS } from './sample.ts'

const UP = (lines: number) => `\u001b[${lines}F\u001b[J`

describe('the lines below the log', () => {
  const create = (columns = 80, rows = 24) => {
    const printed: string[] = []
    const terminal = createTerminal(
      (text) => printed.push(text),
      () => ({ columns, rows }),
    )
    return { terminal, printed }
  }

  it('are replaced, each time in one write', () => {
    const { terminal, printed } = create()
    terminal.show(['a', 'b'])
    terminal.show(['c'])
    expect(printed).toEqual(['a\nb\n', `${UP(2)}c\n`])
  })

  it('stay below what is logged', () => {
    const { terminal, printed } = create()
    terminal.show(['a', 'b'])
    terminal.write('line\n')
    expect(printed[1]).toBe(`${UP(2)}line\na\nb\n`)
  })

  it('are erased by clear; a second clear prints nothing', () => {
    const { terminal, printed } = create()
    terminal.show(['a'])
    terminal.clear()
    terminal.clear()
    terminal.write('end\n')
    expect(printed).toEqual(['a\n', UP(1), 'end\n'])
  })

  it('never fill more than the screen, or a whole line', () => {
    const { terminal, printed } = create(30, 3)
    expect(terminal.columns()).toBe(29)
    terminal.show(['a', 'b', 'c', 'd'])
    expect(printed).toEqual(['c\nd\n'])
  })
})

describe('a terminal is drawn on', () => {
  it.each<[Env, boolean]>([
    [{}, true],
    [{ TERM: 'xterm-256color', CI: 'false' }, true],
    [{ CI: 'true' }, false],
    [{ NO_COLOR: '1' }, true],
    [{ TERM: 'dumb' }, false],
  ])('%j: %s', (env, watched) => expect(isWatched(env)).toBe(watched))
})

describe('colours', () => {
  it.each<[Env, boolean, boolean]>([
    [{}, true, true],
    [{}, false, false],
    [{ FORCE_COLOR: '1' }, false, true],
    [{ FORCE_COLOR: '0' }, true, false],
    [{ FORCE_COLOR: '1', NO_COLOR: '1' }, true, false],
  ])('%j, watched %s: %s', (env, watched, wanted) => expect(wantsColour(env, watched)).toBe(wanted))

  it.each([
    ['[1/2] promoted a:1', '[1/2] \u001b[32mpromoted\u001b[39m a:1'],
    ['[2/2] failed a:1 after 1s', '[2/2] \u001b[31mfailed\u001b[39m a:1 after 1s'],
    ['error: bad', '\u001b[31merror:\u001b[39m bad'],
    ['Failed: a:1 [DENIED]', '\u001b[31mFailed:\u001b[39m a:1 [DENIED]'],
    ['promoted is only a word here', 'promoted is only a word here'],
    ['[1/2] error: is no status', '[1/2] error: is no status'],
  ])('%j', (line, painted) => expect(paint(line)).toBe(painted))
})

describe('the plain host', () => {
  beforeEach(() => {
    jest.useFakeTimers({ now: 0 })
  })
  afterEach(() => {
    expect(jest.getTimerCount()).toBe(0)
    jest.useRealTimers()
  })

  function begin(env: Env, screen?: { columns: number; rows: number }, progress: 'plain' | 'json' = 'plain') {
    const streams = recordStreams()
    const host = createCliHost(env, { ...streams, screen: screen && (() => screen) })
    host.begin({ ...SETTINGS, progress })
    host.event(planEvent())
    return { host, stderr: streams.stderr }
  }
  const SCREEN = { columns: 80, rows: 24 }

  it('draws on a terminal while it runs, and leaves the log alone', () => {
    const { host, stderr } = begin({}, SCREEN)
    jest.advanceTimersByTime(150)
    expect(stderr()).toMatch(/█*░+ {3}0% of 200 MiB/)
    host.event({ event: 'done', report: reportOf([row(1)]) })
    const after = stderr().slice(stderr().lastIndexOf('\u001b[J') + 3)
    expect(after).toMatch(/^Promoted 1, /)
    expect(after).not.toContain('\u001b')
  })

  it('prints a heartbeat after ten silent seconds where there is no terminal', () => {
    const { host, stderr } = begin({})
    jest.advanceTimersByTime(9000)
    expect(stderr()).not.toContain('...')
    jest.advanceTimersByTime(22_000)
    expect(stderr().match(/^\.\.\. 0% 0 B of 200 MiB/gm)).toHaveLength(3)
    expect(stderr()).not.toContain('\u001b')
    host.end?.()
  })

  it('prints lines and nothing else to a terminal of a CI system', () => {
    const { host, stderr } = begin({ CI: 'true' }, SCREEN)
    jest.advanceTimersByTime(11_000)
    expect(stderr()).not.toContain('\u001b')
    expect(stderr()).toContain('...')
    host.end?.()
  })

  it('colours the words that tell the outcome, if colours are wanted', () => {
    const { host, stderr } = begin({ FORCE_COLOR: '1' })
    host.event({ event: 'image', image: 0, row: failedRow(1, 'no') })
    expect(stderr()).toContain('\u001b[31mfailed\u001b[39m')
    host.end?.()
  })

  it('draws nothing between the objects of progress json', () => {
    const { stderr } = begin({}, SCREEN, 'json')
    jest.advanceTimersByTime(60_000)
    expect(stderr().trimEnd().split('\n')).toHaveLength(1)
    expect(JSON.parse(stderr())).toEqual(planEvent())
  })

  it('stops at the end of a run that has failed before its totals', () => {
    const { host, stderr } = begin({}, SCREEN)
    jest.advanceTimersByTime(200)
    host.end?.()
    host.log.error('bad')
    expect(stderr().endsWith('\u001b[31merror:\u001b[39m bad\n')).toBe(true)
  })
})
