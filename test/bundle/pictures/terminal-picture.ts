/** The log of a run as an SVG of a terminal of 80 columns: text in a grid, dark on every page. */

export const COLUMNS = 80
export const ESCAPE = '\u001b'
const SGR = new RegExp(`(${ESCAPE}\\[\\d+m)`, 'g')
const CODE = new RegExp(`^${ESCAPE}\\[(\\d+)m$`)
/** Pixels. */
const CELL = { width: 8.4, height: 19 }
const PADDING = 16

type Span = Readonly<{ text: string; style: string }>

/** SGR parameters that the program uses, and the colours of the picture. */
const STYLES: Readonly<Record<string, string>> = {
  2: 'dim',
  22: '',
  31: 'red',
  32: 'green',
  33: 'yellow',
  36: 'cyan',
  39: '',
  90: 'dim',
}
const CSS = `text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#e6edf3;white-space:pre}
.dim{fill:#8b949e}.red{fill:#ff7b72}.green{fill:#7ee787}.yellow{fill:#e3b341}.cyan{fill:#79c0ff}.prompt{fill:#8b949e}`

/** @param log with SGR sequences; other sequences are an error. */
export function terminalPicture(title: string, command: readonly string[], log: string): string {
  const prompt = commandLines(command).map((text) => [{ text, style: 'prompt' }])
  const lines = [
    ...prompt,
    ...log
      .trimEnd()
      .split('\n')
      .flatMap((line) => wrapped(spansOf(line))),
  ]
  const width = Math.ceil(COLUMNS * CELL.width + 2 * PADDING)
  const height = lines.length * CELL.height + 2 * PADDING
  const rows = lines.map((spans, index) => row(spans, PADDING + (index + 1) * CELL.height - 5))
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<desc>${escapeXml(log.replaceAll(SGR, '').trim())}</desc>`,
    `<style>${CSS}</style>`,
    `<rect width="${width}" height="${height}" rx="8" fill="#0d1117"/>`,
    ...rows,
    '</svg>',
    '',
  ].join('\n')
}

/** As a person would break the line: flags first, then the images. */
function commandLines(argv: readonly string[]): string[] {
  const lines = ['$ image-promote']
  for (const [index, word] of argv.entries()) {
    const last = lines.at(-1) as string
    const value =
      word.startsWith('-') && argv[index + 1]?.startsWith('-') === false ? (argv[index + 1] ?? '').length + 1 : 0
    if (last.length + 1 + word.length + value + 2 <= COLUMNS) lines[lines.length - 1] = `${last} ${word}`
    else lines.splice(-1, 1, `${last} \\`, `>   ${word}`)
  }
  return lines
}

function spansOf(line: string): Span[] {
  let style = ''
  return line.split(SGR).flatMap((part) => {
    const code = CODE.exec(part)?.[1]
    if (code === undefined) {
      if (part.includes(ESCAPE)) throw new Error(`not a colour: ${JSON.stringify(part)}`)
      return part === '' ? [] : [{ text: part, style }]
    }
    const known = STYLES[code]
    if (known === undefined) throw new Error(`no colour has the number ${code}`)
    style = known
    return []
  })
}

/** As a terminal does it: at the last column, wherever that is. */
function wrapped(spans: readonly Span[]): Span[][] {
  const lines: Span[][] = [[]]
  let room = COLUMNS
  for (const { text, style } of spans) {
    for (let rest = text; rest !== ''; ) {
      if (room === 0) {
        lines.push([])
        room = COLUMNS
      }
      const part = rest.slice(0, room)
      lines.at(-1)?.push({ text: part, style })
      rest = rest.slice(part.length)
      room -= part.length
    }
  }
  return lines
}

function row(spans: readonly Span[], y: number): string {
  const length = spans.reduce((sum, { text }) => sum + text.length, 0)
  const parts = spans.map(({ text, style }) =>
    style === '' ? escapeXml(text) : `<tspan class="${style}">${escapeXml(text)}</tspan>`,
  )
  // Every font gets the same grid.
  const grid = `textLength="${round(length * CELL.width)}" lengthAdjust="spacingAndGlyphs"`
  return length === 0 ? '' : `<text x="${PADDING}" y="${y}" xml:space="preserve" ${grid}>${parts.join('')}</text>`
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (each) => `&#${each.charCodeAt(0)};`)
}
