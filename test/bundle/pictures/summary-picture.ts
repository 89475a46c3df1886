import { escapeXml } from './terminal-picture.ts'

/**
 * A job summary as an SVG, as far as our summaries use Markdown: headings, a bold line, a list of errors, one table, one
 * Mermaid flow chart from left to right, and details that are closed. Light or dark as the page is.
 */

const WIDTH = 1120
const LEFT = 16
const LINE = 24
const CSS = `text{font:14px -apple-system,"Segoe UI","Noto Sans","DejaVu Sans",Helvetica,Arial,sans-serif;fill:#1f2328}
.code{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}.h2{font-size:21px;font-weight:600}
.h3{font-size:17px;font-weight:600}.bold{font-weight:600}.middle{text-anchor:middle}
.page{fill:#ffffff}.line{stroke:#d1d9e0;fill:none}.box{fill:#f6f8fa;stroke:#d1d9e0}.node{fill:#ddf4ff;stroke:#54aeff}
.arrow{stroke:#59636e;fill:none}.tip{fill:#59636e}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}.line{stroke:#3d444d}.box{fill:#151b23;stroke:#3d444d}
.node{fill:#121d2f;stroke:#388bfd}.arrow{stroke:#9198a1}.tip{fill:#9198a1}}`

/** What is drawn, and the y below it. */
type Drawn = Readonly<{ svg: readonly string[]; y: number }>
type Run = Readonly<{ text: string; code: boolean; bold: boolean }>

export function summaryPicture(title: string, markdown: string): string {
  const blocks = markdown.trim().split(/\n\n+/)
  const svg: string[] = []
  let y = 8
  for (const block of blocks) {
    const drawn = draw(block, y)
    svg.push(...drawn.svg)
    y = drawn.y
    // What is folded is not seen.
    if (block.startsWith('<details>')) break
  }
  const height = y + 12
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<style>${CSS}</style>`,
    `<rect class="page" width="${WIDTH}" height="${height}" rx="6"/>`,
    ...svg,
    '</svg>',
    '',
  ].join('\n')
}

function draw(block: string, y: number): Drawn {
  if (block.startsWith('## ')) {
    const line = `<path class="line" d="M${LEFT} ${y + 40}H${WIDTH - LEFT}"/>`
    return { svg: [text(block.slice(3), LEFT, y + 28, 'h2'), line], y: y + 48 }
  }
  if (block.startsWith('### ')) return { svg: [text(block.slice(4), LEFT, y + 26, 'h3')], y: y + 36 }
  if (block.startsWith('|')) return table(block.split('\n').map(cells), y)
  if (block.startsWith('```mermaid')) return chart(block.split('\n'), y)
  if (block.startsWith('<details>')) {
    const [, name = ''] = /<summary>(.*)<\/summary>/.exec(block) ?? []
    return { svg: [text(`\u25b8 ${name}`, LEFT, y + 18)], y: y + LINE }
  }
  if (block.startsWith('- ')) return list(block.split('\n'), y)
  return paragraph(runsOf(block), LEFT, y)
}

function list(items: readonly string[], y: number): Drawn {
  return items.reduce<Drawn>(
    (drawn, item) =>
      item
        .slice(2)
        .split('<br>')
        .reduce<Drawn>((before, line, index) => {
          const dot = index === 0 ? [text('\u2022', LEFT, before.y + 18)] : []
          const after = paragraph(runsOf(line), LEFT + 18, before.y)
          return { svg: [...before.svg, ...dot, ...after.svg], y: after.y }
        }, drawn),
    { svg: [], y },
  )
}

/** Words are wrapped by an estimate of their width: the font of the reader is not known. */
function paragraph(runs: readonly Run[], left: number, y: number): Drawn {
  const words = runs.flatMap((run) => run.text.split(/(?<= )/).map((part) => ({ ...run, text: part })))
  const lines: Run[][] = [[]]
  let room = WIDTH - left - LEFT
  for (const word of words) {
    if (widthOf(word) > room) {
      lines.push([])
      room = WIDTH - left - LEFT
    }
    lines.at(-1)?.push(word)
    room -= widthOf(word)
  }
  return { svg: lines.map((line, index) => textOf(line, left, y + 18 + index * 20)), y: y + lines.length * 20 + 6 }
}

function table([head = [], , ...rows]: readonly string[][], y: number): Drawn {
  const all = [head, ...rows]
  const widths = head.map(
    (_, column) => Math.max(...all.map((row, index) => lengthOf(cellOf(row[column] ?? '', index)))) + 20,
  )
  const total = widths.reduce((sum, width) => sum + width, 0)
  const starts = widths.map((_, column) => widths.slice(0, column).reduce((sum, width) => sum + width, LEFT))
  const bottom = y + all.length * 30
  const lines = [
    ...Array.from({ length: all.length + 1 }, (_, row) => `M${LEFT} ${y + row * 30}h${total}`),
    ...[...starts, LEFT + total].map((x) => `M${x} ${y}V${bottom}`),
  ]
  const texts = all.flatMap((row, index) =>
    row.map((cell, column) => {
      return textOf(cellOf(cell, index), (starts[column] ?? 0) + 10, y + index * 30 + 20)
    }),
  )
  return { svg: [`<path class="line" d="${lines.join('')}"/>`, ...texts.filter((each) => each !== '')], y: bottom + 12 }
}

/** Two columns of nodes, each in the box of its registry, and an arrow for each pair. */
function chart(lines: readonly string[], y: number): Drawn {
  const nodes = new Map<string, { x: number; y: number; label: string }>()
  const svg: string[] = []
  let bottom = y
  for (const [letter, x] of [
    ['s', 60],
    ['d', 740],
  ] as const) {
    let at = y + 6
    let box: { label: string; from: number } | undefined
    for (const line of lines) {
      const [, group] = new RegExp(`^  subgraph ${letter}h\\d+\\["(.*)"\\]`).exec(line) ?? []
      const [, id = '', label = ''] = new RegExp(`^ +(${letter}\\d+)\\["(.*)"\\]$`).exec(line) ?? []
      if (group !== undefined) {
        box = { label: group, from: at }
        at += 30
      } else if (id !== '') {
        nodes.set(id, { x, y: at, label })
        at += 42
      } else if (line === '  end' && box !== undefined && nodes.size > 0) {
        svg.push(
          `<rect class="box" x="${x - 20}" y="${box.from}" width="320" height="${at - box.from}" rx="4"/>`,
          text(box.label, x + 140, box.from + 20, 'middle'),
        )
        at += 12
        box = undefined
      }
    }
    bottom = Math.max(bottom, at)
  }
  for (const { x, y: top, label } of nodes.values())
    svg.push(
      `<rect class="node" x="${x}" y="${top}" width="280" height="32" rx="4"/>`,
      text(label, x + 140, top + 21, 'middle'),
    )
  for (const line of lines) {
    const [, from = '', label = '', to = ''] = /^ +(s\d+) -->\|"(.*)"\| (d\d+)$/.exec(line) ?? []
    const [start, end] = [nodes.get(from), nodes.get(to)]
    if (start === undefined || end === undefined) continue
    const [x1, y1, x2, y2] = [start.x + 280, start.y + 16, end.x, end.y + 16]
    svg.push(
      `<path class="arrow" d="M${x1} ${y1}L${x2 - 8} ${y2}"/>`,
      `<path class="tip" d="M${x2} ${y2}l-9 -5v10z"/>`,
      text(label, x1 + (x2 - x1) * 0.3, y1 + (y2 - y1) * 0.3 - 6, 'middle'),
    )
  }
  return { svg, y: bottom + 6 }
}

/** The first row is bold. */
function cellOf(cell: string, row: number): Run[] {
  return runsOf(cell).map((run) => ({ ...run, bold: row === 0 }))
}

function cells(row: string): string[] {
  return row.slice(2, -2).split(' | ')
}

/** `<code>…</code>` and `**…**`, character references resolved. */
function runsOf(markdown: string): Run[] {
  return markdown.split(/(<code>.*?<\/code>|\*\*.*?\*\*)/).flatMap((part) => {
    const code = /^<code>(.*)<\/code>$/.exec(part)?.[1]
    const bold = /^\*\*(.*)\*\*$/.exec(part)?.[1]
    const plain = (code ?? bold ?? part)
      .replace(/&#(\d+);/g, (_, number) => String.fromCodePoint(Number(number)))
      .replaceAll('&nbsp;', '\u00a0')
    return plain === '' ? [] : [{ text: plain, code: code !== undefined, bold: bold !== undefined }]
  })
}

function widthOf({ text: content, code, bold }: Run): number {
  // A symbol is as wide as two letters.
  const length = content.length + (/\p{Extended_Pictographic}/u.test(content) ? 1 : 0)
  return length * (code ? 7.4 : bold ? 8.9 : 7.6)
}

function lengthOf(runs: readonly Run[]): number {
  return Math.ceil(runs.reduce((sum, run) => sum + widthOf(run), 0))
}

function text(content: string, x: number, y: number, style = ''): string {
  return `<text x="${x}" y="${y}"${style === '' ? '' : ` class="${style}"`}>${escapeXml(content)}</text>`
}

function textOf(runs: readonly Run[], x: number, y: number): string {
  const parts = runs.map(({ text: content, code, bold }) =>
    code || bold ? `<tspan class="${code ? 'code' : 'bold'}">${escapeXml(content)}</tspan>` : escapeXml(content),
  )
  return parts.length === 0 ? '' : `<text x="${x}" y="${y}" xml:space="preserve">${parts.join('')}</text>`
}
