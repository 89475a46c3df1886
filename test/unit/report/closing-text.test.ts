import { describe, expect, test } from '@jest/globals'
import { failures, renderErrors, renderText, verdict } from '../../../src/report/closing-text.ts'
import { makeReport } from '../../../src/report/make-report.ts'
import type { Row } from '../../../src/report/model.ts'
import { failed, MIB, row } from './rows.ts'

const report = (rows: Row[], dryRun = false) => makeReport(0, 2000, dryRun, rows)
const nothing = { total: 10 * MIB, copied: 0, mounted: 0, present: 10 * MIB }

describe('the verdict', () => {
  test('has the sum of promoted images, the rate, and the bytes that were not sent', () => {
    const other = row({ status: 'unchanged', bytes: nothing, destination: 'registry.prod.example/prod/web:1.2' })
    expect(verdict(report([row(), other, failed()]))).toBe(
      'Promoted 1, up to date 1, failed 1. 50 MiB in 2s (25 MiB/s). Saved 160 MiB: 90 MiB mounted, 70 MiB there.',
    )
  })

  test('counts the bytes of an image with several tags once', () => {
    const further = { total: 200 * MIB, copied: 0, mounted: 0, present: 200 * MIB }
    const stable = row({ tag: 'stable', destination: 'registry.prod.example/prod/app:stable', bytes: further })
    expect(verdict(report([row(), stable]))).toBe(
      'Promoted 2, up to date 0, failed 0. 50 MiB in 2s (25 MiB/s). Saved 150 MiB: 90 MiB mounted, 60 MiB there.',
    )
  })

  test('names no rate where nothing moved', () => {
    expect(verdict(report([row({ status: 'unchanged', bytes: nothing })]))).toBe(
      'Promoted 0, up to date 1, failed 0. 0 B in 2s. 10 MiB was there already.',
    )
  })

  test('names cancelled and reverted rows when there are any', () => {
    expect(verdict(report([row({ status: 'cancelled' }), row({ status: 'reverted' })]))).toContain(
      'failed 0, cancelled 1, reverted 1. ',
    )
  })

  test('of a dry run says what would be promoted', () => {
    expect(verdict(report([row({ status: 'planned' })], true))).toBe(
      'Dry run: 1 to promote, up to date 0, failed 0. 50 MiB to transfer, 150 MiB need no transfer.',
    )
  })
})

describe('errors', () => {
  test('come last, with image, code, side, message and hint', () => {
    expect(renderText(report([failed(), row()])).slice(1)).toEqual([
      'Failed: registry.prod.example/prod/app:1.2 [DENIED, destination]',
      '  PUT of the manifest: "denied".',
      '  Ask for the role registry-editor.',
    ])
  })

  test('that are equal for several images are printed once, with three of the names', () => {
    const rows = ['a', 'b', 'c', 'd', 'e'].map((name) => failed({ destination: `r/p/${name}:1` }))
    expect(renderErrors(report(rows))[0]).toBe(
      'Failed: r/p/a:1, r/p/b:1, r/p/c:1 and 2 more images [DENIED, destination]',
    )
    expect(failures(rows)).toHaveLength(1)
  })

  test('with different messages are not grouped', () => {
    expect(failures([failed({}, 'one'), failed({}, 'two'), row()])).toHaveLength(2)
  })

  test('of tags that may have been written are not called failed', () => {
    const rows = [failed({ status: 'unknown' }), failed({ destination: 'r/prod/b:1', tag: '1' })]
    expect(renderErrors(report(rows)).filter((line) => !line.startsWith(' '))).toEqual([
      'Not confirmed: registry.prod.example/prod/app:1.2 [DENIED, destination]',
      'Failed: r/prod/b:1 [DENIED, destination]',
    ])
    expect(verdict(report(rows))).toMatch(/^Promoted 0, up to date 0, failed 1, unknown 1\./)
  })

  test('without side or hint have no empty words for them', () => {
    const error = { code: 'INTERNAL', side: null, message: 'x is not a function', hint: null } as const
    expect(renderErrors(report([failed({ error })]))).toEqual([
      'Failed: registry.prod.example/prod/app:1.2 [INTERNAL]',
      '  x is not a function',
    ])
  })

  test('a server cannot start a line of its own', () => {
    const lines = renderErrors(report([failed({}, 'it said: "\n::set-output name=digest::x"')]))
    expect(lines.every((line) => !line.includes('\n'))).toBe(true)
  })
})
