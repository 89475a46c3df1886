import { oneLine } from '../core/text.ts'

/**
 * Foreign text as inert Markdown: every character that could start markup, an HTML tag, a table cell, a mention or a
 * link becomes a numeric reference, which CommonMark ("Entity and numeric character references") never reads as structure.
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

/** A fold with Markdown inside: GitHub needs the empty lines to read it as Markdown. */
export function details(title: string, lines: readonly string[]): string[] {
  return ['<details>', `<summary>${title}</summary>`, '', ...lines, '', '</details>', '']
}

/** As many lines as `budget` bytes of UTF-8 hold, and a last line that says how many are missing. */
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
