import { splitHost } from '../oci/reference.ts'
import { formatBytes } from './format.ts'
import { mermaidLabel } from './markdown.ts'
import type { Row } from './model.ts'

/** More nodes than this are a tangle, not a picture. */
const MOST_NODES = 20

/** The host of all the names that have one, if it is the same. */
export function commonHost(names: readonly string[]): string | undefined {
  const hosts = new Set(names.map((name) => splitHost(name).host).filter((host) => host !== undefined))
  return hosts.size === 1 ? [...hosts][0] : undefined
}

/** What went from where to where, as Mermaid: a box per registry, in it a node per image. */
export function picture(rows: readonly Row[]): string[] {
  const sources = [...new Set(rows.map((row) => row.source))]
  const destinations = [...new Set(rows.map((row) => row.destination))]
  if (sources.length === 0 || sources.length + destinations.length > MOST_NODES) return []
  const label = (row: Row) => `${row.status}${row.bytes.copied > 0 ? ` ${formatBytes(row.bytes.copied)}` : ''}`
  return [
    '```mermaid',
    'flowchart LR',
    ...boxes(sources, 's'),
    ...boxes(destinations, 'd'),
    ...rows.map(
      (row) =>
        `  s${sources.indexOf(row.source)} -->|${mermaidLabel(label(row))}| d${destinations.indexOf(row.destination)}`,
    ),
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
