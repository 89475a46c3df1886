import { resolve } from 'node:path'
import { formatBytes } from '../../src/report/format.ts'
import { type BuiltImage, makeImage, seedImage } from '../cluster/image.ts'
import { startRegistry } from '../cluster/plain.ts'
import { createStorage } from '../cluster/storage.ts'
import { measure } from './measure.ts'

/** Peak memory of one promotion between two embedded registries: it must not grow with the size or number of blobs. */
const MEMORY: readonly [string, BuiltImage][] = [
  ['8 layers of 128 MiB', makeImage({ layers: [], large: Array(8).fill(128 * 1024 ** 2) as number[], seed: 1 })],
  ['1 layer of 4 GiB', makeImage({ layers: [], large: [4 * 1024 ** 3], seed: 2 })],
]

const line = (cells: readonly string[]) =>
  process.stdout.write(`${cells.map((cell, i) => cell.padEnd(i === 0 ? 24 : 12)).join('')}\n`)

line(['', 'wall s', 'CPU s', 'peak RSS'])
for (const [name, image] of MEMORY) {
  const [from, to] = await Promise.all([startRegistry(), startRegistry({ store: createStorage({ discard: true }) })])
  try {
    seedImage(from.store, 'dev/app', image, 'v1')
    const sides = ['--source-registry', from.url.origin, '--destination-registry', to.url.origin]
    const figures = await measure([
      process.execPath,
      resolve('dist/index.js'),
      ...sides,
      '--progress',
      'quiet',
      '--',
      'dev/app:v1=prod/app:v1',
    ])
    if (to.tags('prod/app').get('v1') !== image.root.digest) throw new Error(`${name} did not arrive`)
    line([name, figures.wall.toFixed(1), figures.cpu.toFixed(1), formatBytes(figures.rss)])
  } finally {
    await Promise.all([from.close(), to.close()])
  }
}
