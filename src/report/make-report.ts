import { neutraliseJson } from '../core/text.ts'
import { type Digest, digestOf } from '../oci/digest.ts'
import type { Report, Row, Status } from './model.ts'

/** `restores`: a rollback, whose tags are to go back. `mayBeEmpty`: a shard, which may have no image. */
export type Goal = Readonly<{ restores?: boolean; mayBeEmpty?: boolean; run?: string | undefined }>

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
    run: goal.run ?? 'local',
    dryRun,
    status: overall(rows, goal),
    images: rows,
  }
}

export function reportJson(report: Report): string {
  return `${neutraliseJson(JSON.stringify(report, null, 2))}\n`
}

/** SHA-256 of the plan that a dry run has made, as its file has it, or that was applied. */
export function planDigest(report: Report): Digest | undefined {
  return report.dryRun && report.plans ? digestOf(Buffer.from(reportJson(report))) : report.plan
}

/** A row of a tag for which nothing was copied. */
export function tagRow(row: Omit<Row, 'tag' | 'bytes' | 'attached' | 'platforms'>, tag: string): Row {
  const bytes = { total: 0, copied: 0, mounted: 0, present: 0 }
  return { ...row, tag, bytes, attached: [], platforms: [] }
}

export function tally(rows: readonly Row[]): Readonly<Record<Status, number>> {
  const none = { promoted: 0, unchanged: 0, skipped: 0, planned: 0, failed: 0, cancelled: 0, reverted: 0, unknown: 0 }
  const counts = { ...none, read: 0 }
  for (const row of rows) counts[row.status] += 1
  return counts
}

/** Whether an earlier try of the run has moved the tag. */
export function isMovedEarlier({ status, digest, previousDigest }: Row): boolean {
  return status === 'unchanged' && digest !== previousDigest
}

/** A run without rows has failed. An image that was given up because another one failed does not count as cancelled. */
function overall(rows: readonly Row[], { restores = false, mayBeEmpty = false }: Goal): Report['status'] {
  if (rows.length === 0) return mayBeEmpty ? 'done' : 'failed'
  const { promoted, unchanged, skipped, planned, read, reverted } = tally(rows)
  const good = promoted + unchanged + skipped + planned + read + (restores ? reverted : 0)
  const isCancelled = ({ status, error }: Row) =>
    status === 'cancelled' ? error?.code !== 'ABANDONED' : error?.code === 'CANCELLED'
  if (rows.some(isCancelled)) return 'cancelled'
  if (good === 0) return 'failed'
  return good === rows.length ? 'done' : 'partial'
}

/**
 * The `images` output: whole rows while they fit, else their most important members (`compact`), else as many of those
 * (`kept`) as fit, failed and unknown ones first.
 */
export function compactRows(rows: readonly Row[], fits: (text: string) => boolean) {
  const whole = JSON.stringify(rows)
  if (fits(whole)) return { text: whole, kept: rows.length, compact: false }
  const brief = rows.map(briefRow)
  const all = JSON.stringify(brief)
  if (fits(all)) return { text: all, kept: rows.length, compact: true }

  const isBad = ({ status }: Pick<Row, 'status'>) => status === 'failed' || status === 'unknown'
  const order = [...brief.filter(isBad), ...brief.filter((row) => !isBad(row))]
  let least = 0
  let most = order.length - 1
  while (least < most) {
    const middle = Math.ceil((least + most) / 2)
    if (fits(JSON.stringify(order.slice(0, middle)))) least = middle
    else most = middle - 1
  }
  return { text: JSON.stringify(order.slice(0, least)), kept: least, compact: true }
}

function briefRow({ source, destination, digest, status, error }: Row) {
  return { source, destination, digest, status, ...(error === null ? {} : { error: { code: error.code } }) }
}
