import { describe, expect, test } from '@jest/globals'
import { makeReport, reportJson, tally } from '../../../src/report/make-report.ts'
import type { Status } from '../../../src/report/model.ts'
import { failed, row } from './rows.ts'

const STARTED = Date.UTC(2026, 0, 2, 3, 4, 5)

describe('the status of the run', () => {
  test.each<[Status[], string]>([
    [['promoted', 'unchanged', 'planned'], 'done'],
    [['promoted', 'failed'], 'partial'],
    [['unchanged', 'failed', 'failed'], 'partial'],
    [['promoted', 'reverted'], 'partial'],
    [['failed', 'failed'], 'failed'],
    [['reverted'], 'failed'],
    [['read', 'read'], 'done'],
    [['read', 'failed'], 'partial'],
    [['promoted', 'failed', 'cancelled'], 'cancelled'],
    [['cancelled'], 'cancelled'],
    [['promoted', 'unknown'], 'partial'],
    [['unknown'], 'failed'],
    [[], 'failed'],
  ])('%j is %s', (statuses, status) => {
    const rows = statuses.map((each) => (each === 'failed' ? failed() : row({ status: each })))
    expect(makeReport(STARTED, STARTED, false, rows).status).toBe(status)
  })
})

test('times are ISO 8601 in UTC', () => {
  const report = makeReport(STARTED, STARTED + 1500, true, [row()])
  expect([report.started, report.finished, report.dryRun]).toEqual([
    '2026-01-02T03:04:05.000Z',
    '2026-01-02T03:04:06.500Z',
    true,
  ])
})

test('the JSON reads back as the report, named by its schema first, and ends with a line break', () => {
  const report = makeReport(STARTED, STARTED, false, [row(), failed()])
  const text = reportJson(report)
  expect(JSON.parse(text)).toEqual(report)
  expect(text.startsWith('{\n  "schema": "image-promote/report/v1",')).toBe(true)
  expect(text.endsWith('}\n')).toBe(true)
})

test('the tally counts every status', () => {
  expect(tally([row(), row({ status: 'reverted' }), failed(), failed()])).toEqual({
    promoted: 1,
    unknown: 0,
    unchanged: 0,
    skipped: 0,
    planned: 0,
    failed: 2,
    cancelled: 0,
    reverted: 1,
    read: 0,
  })
})
