import { count, formatBytes, formatDuration } from './format.ts'
import { code, details, escapeMarkdown, keepWithin, mermaidLabel, tableRow } from './markdown.ts'
import type { Report, Row, Status } from './model.ts'
import { failures, verdict } from './text.ts'

/**
 * GitHub drops a step summary above 1 MiB entirely (actions/runner, FileCommandManager.cs). Three parts of 280 KiB and
 * their headings stay below 900 KiB, which leaves room for what other steps of the job write.
 */
const PART = 280 * 1024

/** More nodes than this are a tangle, not a picture. */
const PICTURE_NODES = 20

/** A failure names this many of its images; the table has them all. */
const NAMED = 10

const ICON: Readonly<Record<Status, string>> = {
  promoted: '✅',
  unchanged: '☑️',
  planned: '📋',
  failed: '❌',
  cancelled: '🚫',
  reverted: '↩️',
}

const HEADING: Readonly<Record<Report['status'], string>> = {
  done: '✅ Images promoted',
  partial: '⚠️ Some images were not promoted',
  failed: '❌ Images were not promoted',
  cancelled: '🚫 Promotion cancelled',
}

/** The job summary as GitHub Markdown, below 900 KiB whatever the report holds. */
export function renderSummary(report: Report): string {
  const heading = report.dryRun && report.status === 'done' ? '📋 Promotion planned (dry run)' : HEADING[report.status]
  return [
    `## ${heading}`,
    '',
    `**${escapeMarkdown(verdict(report))}**`,
    '',
    ...errorPart(report),
    ...tablePart(report),
    ...picture(report),
    ...detailPart(report),
  ].join('\n')
}

/** Errors stand in the open: nobody unfolds a red run to find out why. */
function errorPart(report: Report): string[] {
  const blocks = failures(report.images).map(({ error, rows }) => {
    const names = rows.slice(0, NAMED).map((row) => code(row.destination, 300))
    const more = rows.length > NAMED ? ` and ${count(rows.length - NAMED, 'more image')}` : ''
    const where = error.side === null ? '' : ` (${error.side})`
    const hint = error.hint === null ? '' : `<br>➡️ ${escapeMarkdown(error.hint, 1000)}`
    return `- **${escapeMarkdown(error.code)}**${where}: ${names.join(', ')}${more}<br>${escapeMarkdown(error.message, 2000)}${hint}`
  })
  if (blocks.length === 0) return []
  return [
    '### What went wrong',
    '',
    ...keepWithin(blocks, PART, (left) => `- ${left} more kinds of failure: see the log`),
    '',
  ]
}

function tablePart(report: Report): string[] {
  if (report.images.length === 0) return []
  const columns = ['Image', 'Tag', 'Digest', 'Platforms', 'Size', 'Moved / there', 'Status', 'Time']
  const rows = report.images.map((row) =>
    tableRow([
      code(repository(row), 300),
      code(row.tag, 128),
      row.digest === null ? '' : code(row.digest),
      escapeMarkdown(row.platforms.join(', '), 300),
      formatBytes(row.bytes.total),
      `${formatBytes(row.bytes.copied)} / ${formatBytes(row.bytes.mounted + row.bytes.present)}`,
      `${ICON[row.status]} ${row.status}`,
      formatDuration(row.milliseconds),
    ]),
  )
  const more = (left: number) => tableRow([`and ${left} more: see the report`, '', '', '', '', '', '', ''])
  return [tableRow(columns), tableRow(columns.map(() => '---')), ...keepWithin(rows, PART, more), '']
}

/** Destination without its tag: the tag has a column. */
function repository(row: Row): string {
  return row.destination.endsWith(`:${row.tag}`) ? row.destination.slice(0, -row.tag.length - 1) : row.destination
}

function picture(report: Report): string[] {
  const left = [...new Set(report.images.map((row) => row.source))]
  const right = [...new Set(report.images.map((row) => row.destination))]
  if (left.length === 0 || left.length + right.length > PICTURE_NODES) return []
  const label = (row: Row) => `${row.status}${row.bytes.copied > 0 ? ` ${formatBytes(row.bytes.copied)}` : ''}`
  return [
    '```mermaid',
    'flowchart LR',
    ...left.map((name, index) => `  s${index}[${mermaidLabel(name)}]`),
    ...right.map((name, index) => `  d${index}[${mermaidLabel(name)}]`),
    ...report.images.map(
      (row) => `  s${left.indexOf(row.source)} -->|${mermaidLabel(label(row))}| d${right.indexOf(row.destination)}`,
    ),
    '```',
    '',
  ]
}

function detailPart(report: Report): string[] {
  if (report.images.length === 0) return []
  const lines = report.images.flatMap((row) => {
    const { copied, mounted, present } = row.bytes
    const before = row.previousDigest === null ? 'nothing' : code(row.previousDigest)
    return [
      `- ${code(row.source, 300)} → ${code(row.destination, 300)}`,
      `  - ${formatBytes(copied)} ${report.dryRun ? 'to copy' : 'copied'}, ${formatBytes(mounted)} mounted, ${formatBytes(present)} there already`,
      `  - digest at the source ${row.sourceDigest === null ? 'unknown' : code(row.sourceDigest)}; the tag pointed at ${before} before`,
      ...row.attached.map(
        ({ digest, artifactType }) => `  - with ${escapeMarkdown(artifactType, 200)} ${code(digest)}`,
      ),
    ]
  })
  const times = `Started ${escapeMarkdown(report.started)}, finished ${escapeMarkdown(report.finished)}.`
  const more = (left: number) => `- ${left} more lines: see the report`
  return details('Details', [times, '', ...keepWithin(lines, PART, more)])
}
