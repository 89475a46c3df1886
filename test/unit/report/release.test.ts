import { expect, test } from '@jest/globals'
import { renderErrors } from '../../../src/report/closing-text.ts'
import { makeReport } from '../../../src/report/make-report.ts'
import type { Row } from '../../../src/report/model.ts'
import { renderSummary } from '../../../src/report/summary.ts'
import { failed, row } from './rows.ts'

/** Promotions that were given up because of one image, ways back, and parts of a list. */

const given = (status: 'cancelled' | 'reverted', tag: string): Row => ({
  ...row({ status, tag, destination: `r/p/app:${tag}` }),
  error: { code: 'ABANDONED', side: null, message: 'not moved, because of another one', hint: null },
})

test('images that were given up do not count as cancelled, and come after the failure that caused it', () => {
  const report = makeReport(0, 1, false, [given('cancelled', '1'), failed(), given('reverted', '2')])
  expect(report.status).toBe('failed')
  const lines = renderErrors(report).filter((line) => !line.startsWith('  '))
  expect(lines).toEqual([expect.stringMatching(/^Failed: /), 'Given up: r/p/app:1, r/p/app:2 [ABANDONED]'])
  expect(makeReport(0, 1, false, [row(), given('cancelled', '1'), failed()]).status).toBe('partial')
})

test('reverted tags are a success of a rollback and a failure of a promotion', () => {
  const rows = [row({ status: 'reverted' }), row({ status: 'unchanged' })]
  expect(makeReport(0, 1, false, rows, { restores: true }).status).toBe('done')
  expect(makeReport(0, 1, false, rows).status).toBe('partial')
  expect(makeReport(0, 1, false, [...rows, failed()], { restores: true }).status).toBe('partial')
  expect(renderSummary(makeReport(0, 1, false, rows, { restores: true }))).toMatch(/^## ↩️ Tags put back\n/)
})

test('a shard may have no image', () => {
  expect(makeReport(0, 1, false, [], { mayBeEmpty: true }).status).toBe('done')
  expect(makeReport(0, 1, false, []).status).toBe('failed')
})
