import type { Bytes } from '../copy/events.ts'
import type { TagState } from '../oci/digest.ts'
import { splitHost } from '../oci/reference.ts'
import { failures, verdict } from './closing-text.ts'
import {
  changeOf,
  code,
  count,
  details,
  escapeMarkdown,
  formatBytes,
  formatDuration,
  keepWithin,
  mermaidLabel,
  tableRow,
} from './format.ts'
import { isMovedEarlier, planDigest } from './make-report.ts'
import type { Report, Row, Status } from './model.ts'

/**
 * GitHub drops a step summary above 1 MiB entirely (actions/runner, FileCommandManager.cs). Four parts of 210 KiB and
 * their headings stay below 900 KiB, which leaves room for what other steps of the job write.
 */
const PART = 210 * 1024

const NAMED = 10

const MOST_NODES = 20 // a picture with more nodes cannot be read

const ICON: Readonly<Record<Status, string>> = {
  promoted: '✅',
  unchanged: '☑️',
  skipped: '⏭️',
  planned: '📋',
  failed: '❌',
  cancelled: '🚫',
  reverted: '↩️',
  unknown: '❓',
  read: '📜',
}

const HEADING: Readonly<Record<Report['status'], string>> = {
  done: '✅ Images promoted',
  partial: '⚠️ Some images were not promoted',
  failed: '❌ Images were not promoted',
  cancelled: '🚫 Promotion cancelled',
  moving: '⏳ Tags are moving',
}

/** The job summary as GitHub Markdown, below 900 KiB whatever the report holds. */
export function renderSummary(report: Report): string {
  return [
    `## ${headingOf(report)}`,
    '',
    `**${escapeMarkdown(verdict(report))}**`,
    '',
    ...planPart(report),
    ...errorPart(report),
    ...tablePart(report),
    ...picture(report.images),
    ...detailPart(report),
  ].join('\n')
}

function headingOf({ dryRun, status, images }: Report): string {
  if (dryRun && status === 'done') return '📋 Promotion planned (dry run)'
  const wentBack = images.some((row) => row.status === 'reverted')
  if (images.some((row) => row.history !== undefined)) return '📜 Promotion history'
  return status === 'done' && wentBack ? '↩️ Tags put back' : HEADING[status]
}

/** What an approver compares, because the plan that was read is the one that is applied; and what speaks against it. */
function planPart(report: Report): string[] {
  const digest = planDigest(report)
  if (digest === undefined) return []
  const notes = (report.plans ?? []).flatMap(({ destination, rules = [], rights }) => {
    const missing = rights?.grant ? [`a right is missing: ${rights.grant}`] : []
    return [...rules, ...missing].map((note) => `- ${code(destination, 300)}: ${escapeMarkdown(note, 500)}`)
  })
  const said = `${report.dryRun ? 'Plan' : 'Applied the plan'} ${code(digest)} (SHA-256 of the report of the dry run).`
  return [said, '', ...keepWithin(notes, PART, (left) => `- ${left} more: see the report`), '']
}

function errorPart(report: Report): string[] {
  const blocks = failures(report.images).map(({ error, rows }) => {
    const names = rows.slice(0, NAMED).map((row) => code(row.destination, 300))
    const more = rows.length > NAMED ? ` and ${count(rows.length - NAMED, 'more image')}` : ''
    const where = error.side === null ? '' : ` (${error.side})`
    const hint = error.hint === null ? '' : `<br>➡️ ${escapeMarkdown(error.hint, 1000)}`
    return `- **${escapeMarkdown(error.code)}**${where}: ${names.join(', ')}${more}<br>${escapeMarkdown(error.message, 2000)}${hint}`
  })
  if (blocks.length === 0) return []
  const lines = keepWithin(blocks, PART, (left) => `- ${left} more kinds of failure: see the log`)
  return ['### What went wrong', '', ...lines, '']
}

/** The status comes first and digests are short, because the page hides the last columns of a wide table. The details have whole digests. */
function tablePart(report: Report): string[] {
  if (report.images.length === 0) return []
  const host = commonHost(report.images.map(({ destination }) => destination))
  const columns = ['Status', 'Image', 'Digest', 'Platforms', 'Size', 'Moved / there', 'Time']
  const rows = report.images.map((row) =>
    tableRow([
      `${ICON[row.status]} ${row.status}${isMovedEarlier(row) ? ', moved earlier' : ''}`,
      code(host === undefined ? row.destination : splitHost(row.destination).name, 300),
      changeOf(row) === '' ? '' : code(changeOf(row)),
      escapeMarkdown(row.platforms.join(', '), 300),
      ...sizes(row.bytes).map((text) => text.replaceAll(' ', '&nbsp;')),
      formatDuration(row.milliseconds),
    ]),
  )
  const more = (left: number) => tableRow([`and ${left} more: see the report`, '', '', '', '', '', ''])
  return [
    ...(host === undefined ? [] : [`At ${code(host, 300)}:`, '']),
    tableRow(columns),
    tableRow(columns.map(() => '---')),
    ...keepWithin(rows, PART, more),
    '',
  ]
}

function sizes({ total, copied, mounted, present }: Bytes): readonly [string, string] {
  return total === 0 ? ['', ''] : [formatBytes(total), `${formatBytes(copied)} / ${formatBytes(mounted + present)}`]
}

function beforeOf(previous: TagState): string {
  if (previous === 'unknown') return 'where the tag pointed before is not known'
  return `the tag pointed at ${previous === null ? 'nothing' : code(previous)} before`
}

function detailPart(report: Report): string[] {
  if (report.images.length === 0) return []
  const lines = report.images.flatMap((row) => {
    const { copied, mounted, present } = row.bytes
    return [
      `- ${code(row.source, 300)} → ${code(row.destination, 300)}`,
      `  - ${formatBytes(copied)} ${report.dryRun ? 'to copy' : 'copied'}, ${formatBytes(mounted)} mounted, ${formatBytes(present)} there already`,
      `  - digest at the source ${row.sourceDigest === null ? 'unknown' : code(row.sourceDigest)}; ${beforeOf(row.previousDigest)}`,
      ...row.attached.map(
        ({ digest, artifactType }) => `  - with ${escapeMarkdown(artifactType, 200)} ${code(digest)}`,
      ),
      ...(row.verified ?? []).map(
        ({ rule, by, kind, attachment }) =>
          `  - rule ${rule}: ${kind} by ${escapeMarkdown(by, 200)} ${code(attachment)}`,
      ),
    ]
  })
  const times = `Started ${escapeMarkdown(report.started)}, finished ${escapeMarkdown(report.finished)}.`
  const more = (left: number) => `- ${left} more lines: see the report`
  return details('Details', [times, '', ...keepWithin(lines, PART, more)])
}

function commonHost(names: readonly string[]): string | undefined {
  const hosts = new Set(names.map((name) => splitHost(name).host).filter((host) => host !== undefined))
  return hosts.size === 1 ? [...hosts][0] : undefined
}

/** The images and their destinations as a Mermaid diagram: a box for each registry, with a node for each image. */
function picture(rows: readonly Row[]): string[] {
  const sources = [...new Set(rows.map((row) => row.source))]
  const destinations = [...new Set(rows.map((row) => row.destination))]
  if (sources.length === 0 || sources.length + destinations.length > MOST_NODES) return []
  const arrow = (row: Row) => {
    const label = mermaidLabel(`${row.status}${row.bytes.copied > 0 ? ` ${formatBytes(row.bytes.copied)}` : ''}`)
    return `  s${sources.indexOf(row.source)} -->|${label}| d${destinations.indexOf(row.destination)}`
  }
  return [
    '```mermaid',
    'flowchart LR',
    ...boxes(sources, 's'),
    ...boxes(destinations, 'd'),
    ...rows.map(arrow),
    '```',
    '',
  ]
}

function boxes(names: readonly string[], letter: 's' | 'd'): string[] {
  const places = names.map((each, index) => ({ ...splitHost(each), id: `${letter}${index}` }))
  const hosts = [...new Set(places.map(({ host }) => host))]
  return hosts.flatMap((host, index) => {
    const nodes = places.filter((place) => place.host === host)
    const lines = nodes.map(({ id, name }) => `    ${id}[${mermaidLabel(name)}]`)
    return host === undefined ? lines : [`  subgraph ${letter}h${index}[${mermaidLabel(host)}]`, ...lines, '  end']
  })
}
