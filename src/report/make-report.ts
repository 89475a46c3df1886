import { neutraliseJson } from '../core/text.ts'
import type { Report, Row, Status } from './model.ts'

/** `restores`: tags that went back are what was wanted. `mayBeEmpty`: a part of a list may have nothing in it. */
export type Goal = Readonly<{ restores?: boolean; mayBeEmpty?: boolean }>

/** @param started, finished milliseconds since the epoch. */
export function makeReport(
  started: number,
  finished: number,
  dryRun: boolean,
  rows: readonly Row[],
  goal: Goal = {},
): Report {
  return {
    schema: 'image-promote/report/v1',
    started: new Date(started).toISOString(),
    finished: new Date(finished).toISOString(),
    dryRun,
    status: overall(rows, goal),
    images: rows,
  }
}

/** The text of the report file and of `--output json`. */
export function reportJson(report: Report): string {
  return `${neutraliseJson(JSON.stringify(report, null, 2))}\n`
}

/** Rows per status, statuses that did not occur as 0. */
export function tally(rows: readonly Row[]): Readonly<Record<Status, number>> {
  const counts = { promoted: 0, unchanged: 0, planned: 0, failed: 0, cancelled: 0, reverted: 0, unknown: 0 }
  for (const row of rows) counts[row.status] += 1
  return counts
}

/** A run without any row has failed. An image that was given up because another one failed is not cancelled. */
function overall(rows: readonly Row[], { restores = false, mayBeEmpty = false }: Goal): Report['status'] {
  if (rows.length === 0) return mayBeEmpty ? 'done' : 'failed'
  const { promoted, unchanged, planned, reverted } = tally(rows)
  const good = promoted + unchanged + planned + (restores ? reverted : 0)
  const isCancelled = ({ status, error }: Row) =>
    status === 'cancelled' ? error?.code !== 'ABANDONED' : error?.code === 'CANCELLED'
  if (rows.some(isCancelled)) return 'cancelled'
  if (good === 0) return 'failed'
  return good === rows.length ? 'done' : 'partial'
}
