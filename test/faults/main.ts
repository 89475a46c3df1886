import { startDockerRegistry } from '../store/docker-registry.ts'
import { MATRIX } from './matrix.ts'
import { type Figures, onEmbedded, onRegistry } from './rows.ts'

/** `npm run faults`: every fault of the matrix, with real waits and a layer of 32 MiB, as a table. Ends with 1 when a row fails. */

const TERMS = { unit: 8 * 1024 * 1024, real: true }
const say = (line: string) => process.stdout.write(`${line}\n`)

function line({ id, fault, on, result, requests, twice, seconds }: Figures): string {
  return `| ${id} | ${fault} | ${on} | ${result} | ${requests} | ${twice} | ${seconds.toFixed(2)} |`
}

async function main(): Promise<void> {
  const registry = await startDockerRegistry()
  const wanted = process.argv.slice(2)
  const failed: string[] = []
  const tell = (figures: Figures) => {
    say(line(figures))
    for (const problem of figures.problems) {
      failed.push(`${figures.id} on ${figures.on}: ${problem}`)
      say(`  !! ${problem}`)
    }
  }
  say('| row | fault | on | result | requests | bytes sent twice | seconds |')
  say('|---|---|---|---|---:|---:|---:|')
  try {
    for (const row of MATRIX.filter(({ id }) => wanted.length === 0 || wanted.includes(id))) {
      tell(await onEmbedded(row, TERMS))
      if (registry !== undefined && row.embedded === undefined) tell(await onRegistry(row, registry.url, TERMS))
    }
  } finally {
    await registry?.close()
  }
  if (registry === undefined) say('docker-registry is not on this machine: its rows are missing')
  process.exitCode = failed.length === 0 ? 0 : 1
}

await main()
