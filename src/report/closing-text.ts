import { getOrAdd } from '../core/memo.ts'
import { oneLine } from '../core/text.ts'
import { count, formatBytes, formatDuration, formatRate } from './format.ts'
import { tally } from './make-report.ts'
import type { Report, Row } from './model.ts'

/** The end of a log: the totals, then the errors, because people read a log from its end. */
export function renderText(report: Report): string[] {
  return [verdict(report), ...renderErrors(report)]
}

/** `Promoted 4, up to date 2, failed 0. 1.4 GiB in 41s (35 MiB/s). Saved 903 MiB: 91 MiB mounted, 812 MiB there.` */
export function verdict(report: Report): string {
  const counts = tally(report.images)
  const bytes = totals(report.images)
  const milliseconds = Date.parse(report.finished) - Date.parse(report.started)
  const parts = [
    report.dryRun ? `Dry run: ${counts.planned} to promote` : `Promoted ${counts.promoted}`,
    `up to date ${counts.unchanged}`,
    `failed ${counts.failed}`,
    ...(['skipped', 'unknown', 'cancelled', 'reverted', 'read'] as const).flatMap((s) =>
      counts[s] > 0 ? [`${s} ${counts[s]}`] : [],
    ),
  ]
  const sentences = [
    parts.join(', '),
    report.dryRun
      ? `${formatBytes(bytes.copied)} to transfer, ${formatBytes(bytes.mounted + bytes.present)} need no transfer`
      : `${formatBytes(bytes.copied)} in ${formatDuration(milliseconds)}${bytes.copied > 0 ? ` (${formatRate(bytes.copied, milliseconds)})` : ''}`,
    ...(report.dryRun ? [] : saved(bytes)),
  ]
  return `${sentences.join('. ')}.`
}

function saved({ mounted, present }: Row['bytes']): string[] {
  if (mounted > 0 && present > 0)
    return [`Saved ${formatBytes(mounted + present)}: ${formatBytes(mounted)} mounted, ${formatBytes(present)} there`]
  if (mounted > 0) return [`Saved ${formatBytes(mounted)} by mounting`]
  return present > 0 ? [`${formatBytes(present)} was there already`] : []
}

/** The bytes of all rows. Rows for several tags of one image have the same bytes, which count once. */
export function totals(rows: readonly Row[]): Row['bytes'] {
  const sum = { total: 0, copied: 0, mounted: 0, present: 0 }
  const known = new Set<string>()
  for (const { bytes, sourceDigest, destination, tag } of rows) {
    const image = `${destination.slice(0, -tag.length)}@${sourceDigest}`
    if (sourceDigest !== null && known.has(image)) continue
    known.add(image)
    for (const kind of ['total', 'copied', 'mounted', 'present'] as const) sum[kind] += bytes[kind]
  }
  return sum
}

export type Failure = Readonly<{ error: NonNullable<Row['error']>; rows: readonly Row[] }>

/** The rows grouped by their error: a rejected login fails every image, and is reported once. */
export function failures(rows: readonly Row[]): readonly Failure[] {
  const groups = new Map<string, Failure & { rows: Row[] }>()
  for (const row of rows) {
    if (row.error === null) continue
    const { code, side, message, hint } = row.error
    // All images of a cancelled run belong to one group, whatever their messages are.
    const key = code === 'CANCELLED' ? code : JSON.stringify([code, side, message, hint, row.status === 'unknown'])
    const { error } = row
    getOrAdd(groups, key, () => ({ error, rows: [] })).rows.push(row)
  }
  // Images that were given up because of a failure come after that failure.
  const isConsequence = ({ error }: Failure) => Number(error.code === 'ABANDONED')
  return [...groups.values()].sort((a, b) => isConsequence(a) - isConsequence(b))
}

const NAMED = 3 // names of images in a line; with a hundred of them the log could not be read

export function renderErrors(report: Report): string[] {
  return failures(report.images).flatMap(({ error, rows }) => {
    const names = rows.slice(0, NAMED).map((row) => oneLine(row.destination))
    const more = rows.length > NAMED ? ` and ${count(rows.length - NAMED, 'more image')}` : ''
    const where = error.side === null ? error.code : `${error.code}, ${error.side}`
    return [
      `${labelOf(error, rows)}: ${names.join(', ')}${more} [${where}]`,
      `  ${oneLine(error.message)}`,
      ...(error.hint === null ? [] : [`  ${oneLine(error.hint)}`]),
    ]
  })
}

function labelOf({ code }: Failure['error'], rows: Failure['rows']): string {
  if (code === 'ABANDONED') return 'Given up'
  if (code === 'CANCELLED') return 'Cancelled'
  return rows.every(({ status }) => status === 'unknown') ? 'Not confirmed' : 'Failed'
}
