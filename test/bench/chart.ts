import type { Table } from './table.ts'

/** Pixels. */
const ROW = 26
const LABEL = 430
const BAR = 260
const MARGIN = 16
/** Ratios above it are cut off, and say their number all the same. */
const MOST = 2

/** Colours by the reader's theme: the file is shown as an image, so that it has no other way to know. */
const STYLE = `text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.bar { fill: #2f81f7 } .more { fill: #bc4c00 } .one { stroke: #656d76; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .more { fill: #f0883e } .one { stroke: #9198a1 } }`

/** SVG: for each scenario our time as a part of the fastest peer's. */
export function drawChart(tables: readonly Table[]): string {
  const rows = tables.flatMap(({ title, ratio }) => (ratio === undefined ? [] : [{ title, ...ratio }]))
  const height = MARGIN * 2 + ROW * (rows.length + 1)
  const width = LABEL + BAR + 200
  const x = (value: number) => LABEL + (Math.min(value, MOST) / MOST) * BAR
  const bars = rows.map(({ title, peer, wall }, i) => {
    const y = MARGIN + ROW * (i + 1)
    const kind = wall > 1 ? 'bar more' : 'bar'
    return [
      `<text x="${LABEL - 8}" y="${y + 14}" text-anchor="end">${escapeXml(title)}</text>`,
      `<rect class="${kind}" x="${LABEL}" y="${y + 3}" width="${(x(wall) - LABEL).toFixed(1)}" height="${ROW - 10}"/>`,
      `<text x="${(x(wall) + 6).toFixed(1)}" y="${y + 14}">${wall.toFixed(2)} x ${escapeXml(peer)}</text>`,
    ].join('\n')
  })
  const head = `<text x="${x(1)}" y="${MARGIN + 10}" text-anchor="middle">as fast as the fastest peer</text>`
  const line = `<line class="one" x1="${x(1)}" x2="${x(1)}" y1="${MARGIN + 16}" y2="${height - MARGIN}"/>`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    '<title>Wall time of image-promote as a part of the fastest peer; shorter is faster</title>',
    `<style>${STYLE}</style>`,
    head,
    ...bars,
    line,
    '</svg>',
    '',
  ].join('\n')
}

function escapeXml(text: string): string {
  return text.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`)
}
