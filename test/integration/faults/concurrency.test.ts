import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { SMALL, SMALL_PER_JOB } from '../../../src/copy/semaphore.ts'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../../support/cluster/plain.ts'
import { side, travel } from './stage.ts'

/** Several images at once: how many requests at a time, and what the failure of one means for the others. */

let source: EmbeddedRegistry
let destination: EmbeddedRegistry
beforeEach(async () => {
  source = await startRegistry()
  destination = await startRegistry()
})
afterEach(() => Promise.all([source.close(), destination.close()]))

const NAMES = ['a', 'b', 'c', 'd']
const IMAGES = NAMES.map((_, at) => makeImage({ seed: 50 + at, layers: 6 }))
const LINES = NAMES.map((name) => `dev/${name}:v1=prod/${name}:v1`)

function seedAll(): void {
  for (const [at, image] of IMAGES.entries()) seedImage(source, `dev/${NAMES[at]}`, image, 'v1')
}
const promoteAll = (jobs: number) =>
  travel({ images: LINES, source: side(source), destination: side(destination), config: { jobs } })

describe('several images at once', () => {
  test('keep within `jobs`, over all of them', async () => {
    const images = NAMES.map((_, at) => makeImage({ seed: 70 + at, layers: Array(6).fill(SMALL + 1) as number[] }))
    for (const [at, image] of images.entries()) seedImage(source, `dev/${NAMES[at]}`, image, 'v1')
    const layers = new Set(
      images.flatMap(({ blobs }) => [...blobs].flatMap(([digest, { length }]) => (length > SMALL ? [digest] : []))),
    )
    const under = new Set<string>()
    let most = 0
    const count = ({ method, target }: { method: string; target: string }): boolean => {
      const [digest = ''] = /sha256:\w+/.exec(target) ?? []
      if (method === 'POST' && layers.has(digest as never)) under.add(digest)
      most = Math.max(most, under.size)
      if (method === 'PUT') under.delete(digest)
      return true
    }
    destination.faults.add({ match: { path: /uploads/, when: count }, do: { kind: 'latency', ms: 5 } })
    const { report } = await promoteAll(3)
    expect(report.status).toBe('done')
    expect(most).toBe(3)
  })

  test('send several small blobs for each job, and with a single job one after the other', async () => {
    seedAll()
    destination.faults.add({ match: { path: /uploads/ }, do: { kind: 'latency', ms: 100 } })
    expect((await promoteAll(2)).report.status).toBe('done')
    expect(destination.stats.peak).toBe(2 * SMALL_PER_JOB)
    const [from, to] = [source, await startRegistry()]
    try {
      const { report } = await travel({ images: LINES, source: side(from), destination: side(to), config: { jobs: 1 } })
      expect([report.status, to.stats.peak]).toEqual(['done', 1])
    } finally {
      await to.close()
    }
  })

  test('become fewer at a time where the registry refuses more, and all arrive', async () => {
    seedAll()
    const refusal = destination.faults.add({
      match: { path: /uploads/, when: () => destination.stats.active > 2 },
      do: { kind: 'status', status: 429, headers: { 'Retry-After': '1' } },
    })
    destination.faults.add({ match: { path: /uploads/ }, do: { kind: 'latency', ms: 2 } })
    const { report } = await promoteAll(8)
    expect(report.images.map(({ status }) => status)).toEqual(NAMES.map(() => 'promoted'))
    expect(refusal.fired).toBeGreaterThan(0)
  })

  test('do not share the failure of one', async () => {
    seedAll()
    const [spoiled] = IMAGES
    const layer = [...(spoiled?.blobs.keys() ?? [])][2]
    source.faults.add({ match: { path: new RegExp(`${layer}`) }, do: { kind: 'corrupt', at: 0 } })
    const { report } = await promoteAll(4)
    expect(report.status).toBe('partial')
    expect(report.images.map(({ status }) => status)).toEqual(['failed', 'promoted', 'promoted', 'promoted'])
    expect(report.images[0]?.error).toMatchObject({ code: 'DIGEST_MISMATCH', side: 'source' })
    expect(destination.tags('prod/a').size).toBe(0)
  })

  test('send the largest blobs first', async () => {
    const image = makeImage({ seed: 59, layers: [1000, 90_000, 20_000, 300_000] })
    seedImage(source, 'dev/app', image, 'v1')
    const { report } = await travel({
      images: ['dev/app:v1=prod/app:v1'],
      source: side(source),
      destination: side(destination),
      config: { jobs: 1 },
    })
    expect(report.status).toBe('done')
    const sent = source.requests.flatMap(({ path }) => /blobs\/(sha256:.*)/.exec(path)?.[1] ?? [])
    const sizes = sent.map((digest) => image.blobs.get(digest as never)?.length ?? 0)
    expect(sizes.slice(0, 4)).toEqual([300_000, 90_000, 20_000, 1000])
  })
})
