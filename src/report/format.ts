import { oneLine } from '../core/text.ts'
import { algorithmOf, type Digest, shortDigest } from '../oci/digest.ts'
import type { Row } from './model.ts'

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** `812 B`, `48.1 MiB`, `1.4 GiB`: powers of 1024, one decimal below 100. */
export function formatBytes(bytes: number): string {
  let unit = 0
  let value = Math.max(0, bytes)
  // Rounded before the comparison: 1023.99 MiB is `1 GiB` and not `1024 MiB`.
  while (unit < UNITS.length - 1 && roundForPeople(value) >= 1024) {
    value /= 1024
    unit += 1
  }
  return `${roundForPeople(value)} ${UNITS[unit]}`
}

/** Milliseconds as `0.3s`, `41s`, `2m 5s`, `1h 2m`. */
export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000
  if (seconds < 9.95) return `${Math.round(seconds * 10) / 10}s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole}s`
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`
  const minutes = Math.round(seconds / 60)
  return `${Math.floor(minutes / 60)}h ${minutes % 60}m`
}

/** `35 MiB/s`. Less than a millisecond counts as one, because the clock is not more exact. */
export function formatRate(bytes: number, milliseconds: number): string {
  return `${formatBytes((bytes * 1000) / Math.max(1, milliseconds))}/s`
}

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

type Change = Pick<Row, 'previousDigest' | 'digest' | 'error'>

/** `sha256:5f2a9c31b04e → sha256:0c9d2be1f7aa`, `new → …`, or one digest where the tag stays; empty for a failed row. */
export function changeOf({ previousDigest: from, digest, error }: Change): string {
  if (digest === null) return error !== null || from === 'unknown' || from === null ? '' : `${brief(from)} → removed`
  if (from === digest) return brief(digest)
  return `${from === null ? 'new' : from === 'unknown' ? 'not readable' : brief(from)} → ${brief(digest)}`
}

function brief(digest: Digest): string {
  return `${algorithmOf(digest)}:${shortDigest(digest)}`
}

function roundForPeople(value: number): number {
  return value < 99.95 ? Math.round(value * 10) / 10 : Math.round(value)
}

/**
 * Escapes untrusted text for Markdown. Every character that could begin markup, an HTML tag, a table cell, a mention or a link
 * becomes a numeric reference, which is never read as structure (CommonMark, "Entity and numeric character references").
 */
export function escapeMarkdown(text: string, longest?: number): string {
  return oneLine(text, longest)
    .replace(/[^\p{L}\p{N} ,.;:/+-]/gu, reference)
    .replace(/:(?=\/)/g, '&#58;') // GitHub links bare URLs …
    .replace(/(w{3})\./gi, '$1&#46;') // … and bare host names
}

export function code(text: string, longest?: number): string {
  return `<code>${escapeMarkdown(text, longest)}</code>`
}

/** A Mermaid label, quotes included. Mermaid writes references as `#35;`. */
export function mermaidLabel(text: string): string {
  return `"${oneLine(text, 120).replace(/[^\p{L}\p{N} ,./:_+-]|:(?=\/)/gu, (char) => `#${char.codePointAt(0)};`)}"`
}

export function tableRow(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

/** A section that can be unfolded. GitHub reads Markdown inside of it only between empty lines. */
export function details(title: string, lines: readonly string[]): string[] {
  return ['<details>', `<summary>${title}</summary>`, '', ...lines, '', '</details>', '']
}

/** The first lines that fit into `budget` bytes of UTF-8, and a last line that says how many are missing. */
export function keepWithin(lines: readonly string[], budget: number, missing: (left: number) => string): string[] {
  let used = 0
  for (const [index, line] of lines.entries()) {
    used += Buffer.byteLength(line) + 1
    if (used > budget) return [...lines.slice(0, index), missing(lines.length - index)]
  }
  return [...lines]
}

function reference(char: string): string {
  return `&#${char.codePointAt(0)};`
}
