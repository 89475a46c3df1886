import type { Report, Row, Status } from './model.ts'

/** @param started, finished milliseconds since the epoch. */
export function makeReport(started: number, finished: number, dryRun: boolean, rows: readonly Row[]): Report {
  return {
    schema: 'image-promote/report/v1',
    started: new Date(started).toISOString(),
    finished: new Date(finished).toISOString(),
    dryRun,
    status: overall(rows),
    images: rows,
  }
}

/** The text of the report file and of `--output json`. */
export function reportJson(report: Report): string {
  return `${JSON.stringify(report, null, 2)}\n`
}

/** Rows per status, statuses that did not occur as 0. */
export function tally(rows: readonly Row[]): Readonly<Record<Status, number>> {
  const counts = { promoted: 0, unchanged: 0, planned: 0, failed: 0, cancelled: 0, reverted: 0 }
  for (const row of rows) counts[row.status] += 1
  return counts
}

/** A run without any row did nothing of what it was started for: it failed. */
function overall(rows: readonly Row[]): Report['status'] {
  const { promoted, unchanged, planned, cancelled } = tally(rows)
  const good = promoted + unchanged + planned
  if (cancelled > 0) return 'cancelled'
  if (good === 0) return 'failed'
  return good === rows.length ? 'done' : 'partial'
}
