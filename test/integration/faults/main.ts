import { startDockerRegistry } from '../../support/docker-registry.ts'
import { MATRIX } from './matrix.ts'
import { cutAllAlong, type Figures, onEmbedded, onRegistry } from './rows.ts'

/** `npm run faults`: every fault of the matrix, with real waits and a layer of 32 MiB, as a table. Ends with 1 when a row fails. */

const MIB = 1024 * 1024
const TERMS = { unit: 8 * MIB, real: true, stall: 3000 }
const LONG = { size: 1024 * MIB, every: 50 * MIB }
const say = (line: string) => process.stdout.write(`${line}\n`)

function line({ id, fault, on, result, requests, sentTwice, readTwice, seconds }: Figures): string {
  return `| ${id} | ${fault} | ${on} | ${result} | ${requests} | ${sentTwice} | ${readTwice} | ${seconds.toFixed(2)} |`
}

async function main(): Promise<void> {
  const registry = await startDockerRegistry(undefined, 'folder')
  const wanted = process.argv.slice(2)
  const failed: string[] = []
  const tell = (figures: Figures) => {
    say(line(figures))
    for (const problem of figures.problems) {
      failed.push(`${figures.id} on ${figures.on}: ${problem}`)
      say(`  !! ${problem}`)
    }
  }
  say('| row | fault | on | result | requests | bytes sent twice | bytes read twice | seconds |')
  say('|---|---|---|---|---:|---:|---:|---:|')
  try {
    for (const row of MATRIX.filter(({ id }) => wanted.length === 0 || wanted.includes(id))) {
      tell(await onEmbedded(row, TERMS))
      if (registry !== undefined && row.embedded === undefined) tell(await onRegistry(row, registry.url, TERMS))
    }
    if (wanted.length === 0 || wanted.includes('L1')) tell(await cutAllAlong(LONG, TERMS))
    if (registry !== undefined && (wanted.length === 0 || wanted.includes('L2')))
      tell(await cutAllAlong(LONG, TERMS, registry.url))
  } finally {
    await registry?.close()
  }
  if (registry === undefined) say('docker-registry is not on this machine: its rows are missing')
  process.exitCode = failed.length === 0 ? 0 : 1
}

await main()
