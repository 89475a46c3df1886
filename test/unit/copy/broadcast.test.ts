import { describe, expect, test } from '@jest/globals'
import type { CopyRun } from '../../../src/copy/copy-run.ts'
import { discover } from '../../../src/copy/discover.ts'
import { type Copy, execute, putManifest } from '../../../src/copy/execute.ts'
import { makePlan } from '../../../src/copy/plan.ts'
import { createSemaphore, SMALL } from '../../../src/copy/semaphore.ts'
import type { UploadStart } from '../../../src/copy/store.ts'
import { findTags, ManifestLookup, survey } from '../../../src/copy/survey.ts'
import { PromoteError } from '../../../src/core/errors.ts'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { MEDIA_TYPE } from '../../../src/oci/manifest.ts'
import { type BuiltImage, makeImage, makeIndex } from '../../support/cluster/image.ts'
import { missing, testRun } from '../../support/copy.ts'
import { type MemoryStore, memoryRegistry, memoryStore } from '../../support/memory-store.ts'

/** Three registries, each with its own repository for the image. */
function threeTargets(options = {}): MemoryStore[] {
  return ['east', 'west', 'south'].map((name) => memoryRegistry(`${name}.example.com`, options).repository('prod/app'))
}

type Trip = Readonly<{ source: MemoryStore; targets: readonly MemoryStore[] }>

async function plansFor({ source, targets }: Trip, { semaphore }: CopyRun): Promise<Copy[]> {
  const root = await source.resolve('v1')
  const graph = await discover(source, root, { platforms: undefined, referrers: false }, semaphore)
  return Promise.all(
    targets.map(async (target): Promise<Copy> => {
      const place = { target, tags: await findTags(target, ['v1'], semaphore) }
      const lookup = new ManifestLookup(Promise.resolve(place), semaphore)
      const [registry = '', ...path] = target.name.split('/')
      const route = { image: 0, source, target, registry, repository: path.join('/'), mountFrom: undefined }
      const plan = makePlan(graph, await survey(place, graph, lookup, false, semaphore), undefined)
      return { plan, route, moved: { ...plan.bytes, copied: 0, mounted: 0 } }
    }),
  )
}

type End = 'arrived' | PromoteError

/** Copies images to their destinations as `promote.ts` does: all plans first, then everything at once. */
async function distributeAll(
  trips: readonly Trip[],
  run: CopyRun = testRun({ readAhead: READ_AHEAD }),
): Promise<End[]> {
  const planned = await Promise.all(trips.map((trip) => plansFor(trip, run)))
  const ends = await Promise.allSettled(
    planned.flatMap((copies) =>
      execute(copies, run).map(async (copied, index) => {
        await copied
        const copy = copies[index] as Copy
        for (const move of copy.plan.tags) await putManifest(copy.plan.graph.root, move, copy, run)
      }),
    ),
  )
  return ends.map((end) => (end.status === 'fulfilled' ? 'arrived' : end.reason))
}

async function distribute({ run, ...trip }: Trip & Readonly<{ run?: CopyRun }>): Promise<End[]> {
  return distributeAll([trip], run)
}

function sizeOf({ blobs }: BuiltImage): number {
  return [...blobs.values()].reduce((sum, bytes) => sum + bytes.length, 0)
}

const ARRIVED = ['arrived', 'arrived', 'arrived'] as const
/** The size in which blobs are read and sent. */
const PIECE = 256 * 1024
const WINDOW = 2 * PIECE
const READ_AHEAD = { window: WINDOW, patience: 10_000 }
/** One layer that is larger than the window, and a small one. */
const image = makeImage({ layers: [WINDOW + 5 * PIECE + 1234, 1000], seed: 7 })
const large = largest(image)

function largest({ blobs }: BuiltImage): Digest {
  const [first] = [...blobs].sort(([, a], [, b]) => b.length - a.length)
  if (first === undefined) throw new Error('no blob')
  return first[0]
}

function seeded(built: BuiltImage = image): MemoryStore {
  const source = memoryStore({ side: 'source' })
  source.seed(built, 'v1')
  return source
}

/** A gate in front of every piece of a blob: nothing is taken while it is closed. */
function gated(target: MemoryStore, digest: Digest): MemoryStore & { open: () => void; taken: () => number } {
  let open: () => void = () => undefined
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  let taken = 0
  return Object.assign(Object.create(target), {
    taken: () => taken,
    open,
    async startUpload(...[blob, from]: Parameters<MemoryStore['startUpload']>): Promise<UploadStart> {
      const begun = await target.startUpload(blob, from)
      if (begun.state !== 'open' || blob.digest !== digest) return begun
      const { upload } = begun
      async function* slowly(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
        for await (const piece of body) {
          taken += piece.length
          await opened
          yield piece
        }
      }
      return { state: 'open', upload: { ...upload, send: (at, body) => upload.send(at, slowly(body)) } }
    },
  })
}

/** Lets everything happen that can happen without the outside. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

describe('one source and several destinations', () => {
  test.each([
    ['an image', image],
    ['an index with shared layers', makeIndex({ platforms: ['linux/amd64', 'linux/arm64'], sharedLayers: 2 })],
    ['an image with an empty layer', makeImage({ layers: [0, 10] })],
  ])('reads every byte of %s once, and brings it to all', async (_name, built) => {
    const source = seeded(built)
    const targets = threeTargets()
    expect(await distribute({ source, targets })).toEqual(ARRIVED)
    for (const target of targets) {
      expect(missing(target, built)).toEqual([])
      expect(target.tagged.get('v1')).toBe(built.root.digest)
      expect(target.open()).toBe(0)
    }
    expect(source.traffic.read).toBe(sizeOf(built))
  })

  test('reads only what somebody needs, and leaves out who has it', async () => {
    const source = seeded()
    const [east, west, south] = threeTargets() as [MemoryStore, MemoryStore, MemoryStore]
    for (const [digest, bytes] of image.blobs) east.blobs.set(digest, bytes)
    west.blobs.set(large, image.blobs.get(large) as Uint8Array)
    expect(await distribute({ source, targets: [east, west, south] })).toEqual(ARRIVED)
    expect(east.traffic.sent).toBe(0)
    expect(west.traffic.sent).toBe(sizeOf(image) - (image.blobs.get(large)?.length ?? 0))
    expect(source.traffic.read).toBe(sizeOf(image))
  })

  test('works with a single permit', async () => {
    const source = seeded(makeIndex())
    expect(
      await distribute({
        source,
        targets: threeTargets(),
        run: testRun({ semaphore: createSemaphore(1), readAhead: READ_AHEAD }),
      }),
    ).toEqual(ARRIVED)
  })

  test('takes one permit for a blob, however many destinations it has', async () => {
    let [running, most] = [0, 0]
    const semaphore = createSemaphore(2)
    const run = testRun({
      semaphore: (work, bytes = 0) =>
        semaphore(async () => {
          running += bytes > SMALL ? 1 : 0
          most = Math.max(most, running)
          return work().finally(() => (running -= bytes > SMALL ? 1 : 0))
        }, bytes),
    })
    const reading = { now: 0, most: 0 }
    const source = seeded(makeImage({ layers: Array(6).fill(300_000) as number[] }))
    const counting: MemoryStore = Object.assign(Object.create(source), {
      async blob(...args: Parameters<MemoryStore['blob']>) {
        const bytes = await source.blob(...args)
        return (async function* () {
          reading.now += 1
          reading.most = Math.max(reading.most, reading.now)
          try {
            yield* bytes
          } finally {
            reading.now -= 1
          }
        })()
      },
    })
    expect(await distribute({ source: counting, targets: threeTargets(), run })).toEqual(ARRIVED)
    expect(most).toBe(2)
    expect(reading.most).toBeLessThanOrEqual(2)
  })

  test('shared layers of several images are read once, and mounted at each destination', async () => {
    const source = memoryRegistry('source.example.com', { side: 'source' })
    const images = [1, 2].map((seed) => makeImage({ seed, shared: { layers: 2, seed: 9 } }))
    const registries = ['east', 'west'].map((name) => memoryRegistry(`${name}.example.com`))
    const trips = images.map((built, index) => {
      const from = source.repository(`dev/app${index}`)
      from.seed(built, 'v1')
      return { source: from, targets: registries.map((each) => each.repository(`prod/app${index}`)) }
    })
    expect(await distributeAll(trips)).toEqual(Array(4).fill('arrived'))
    for (const [index, { targets }] of trips.entries())
      for (const target of targets) expect(missing(target, images[index] as BuiltImage)).toEqual([])
    const unique = new Map(images.flatMap((built) => [...built.blobs]))
    const read = images.reduce((sum, _, index) => sum + source.repository(`dev/app${index}`).traffic.read, 0)
    expect(read).toBe([...unique.values()].reduce((sum, bytes) => sum + bytes.length, 0))
  })
})

describe('a slow destination', () => {
  test('lets the others go ahead as far as the window, and no piece is read before there is room for it', async () => {
    const source = seeded()
    const [slow, fast] = threeTargets() as [MemoryStore, MemoryStore]
    const gate = gated(slow, large)
    const ends = distribute({ source, targets: [gate, fast] })
    await settled()
    const ahead = fast.traffic.sent
    expect(ahead).toBeGreaterThanOrEqual(WINDOW - PIECE)
    expect(ahead).toBeLessThan(WINDOW + PIECE)
    expect(source.traffic.read).toBeLessThan(WINDOW + 2 * PIECE)
    expect(fast.tagged.size).toBe(0)
    gate.open()
    expect(await ends).toEqual(['arrived', 'arrived'])
    expect(source.traffic.read).toBe(sizeOf(image))
  })

  test('does not keep the others from being complete when what it still has to take is in the window', async () => {
    const small = makeImage({ layers: [WINDOW / 2] })
    const source = seeded(small)
    const [slow, fast] = threeTargets() as [MemoryStore, MemoryStore]
    const gate = gated(slow, largest(small))
    const ends = distribute({ source, targets: [gate, fast] })
    await settled()
    expect(fast.tagged.get('v1')).toBe(small.root.digest)
    expect(slow.tagged.size).toBe(0)
    gate.open()
    expect(await ends).toEqual(['arrived', 'arrived'])
    expect(source.traffic.read).toBe(sizeOf(small))
  })

  test('that does not even begin is left behind after a while, and gets its own reading', async () => {
    const source = seeded()
    const [late, fast] = threeTargets() as [MemoryStore, MemoryStore]
    let answer: () => void = () => undefined
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    const silent: MemoryStore = Object.assign(Object.create(late), {
      async startUpload(...args: Parameters<MemoryStore['startUpload']>) {
        if (args[0].digest === large) await answered
        return late.startUpload(...args)
      },
    })
    const run = testRun({ readAhead: { ...READ_AHEAD, patience: 1 } })
    const done = distribute({ source, targets: [silent, fast], run })
    while (fast.tagged.size === 0) await new Promise((resolve) => setImmediate(resolve))
    expect(late.blobs.has(large)).toBe(false)
    answer()
    expect(await done).toEqual(['arrived', 'arrived'])
    expect(missing(late, image)).toEqual([])
    expect(late.calls.filter((call) => call.startsWith(`send ${large}`))).toHaveLength(1)
    expect(source.traffic.read).toBe(sizeOf(image) + (image.blobs.get(large)?.length ?? 0))
  })
})

describe('a registry that does not answer', () => {
  test.each([
    ['small blobs', makeImage({ layers: [1000, 2000, 3000], seed: 3 })],
    ['blobs of one window', makeImage({ layers: [WINDOW, WINDOW], seed: 4 })],
    ['an index', makeIndex({ platforms: ['linux/amd64', 'linux/arm64'], sharedLayers: 1 })],
  ])('does not keep the permits from another one: %s', async (_name, built) => {
    const source = seeded(built)
    const [late, fast] = threeTargets() as [MemoryStore, MemoryStore]
    let answer: () => void = () => undefined
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    const silent: MemoryStore = Object.assign(Object.create(late), {
      async startUpload(...args: Parameters<MemoryStore['startUpload']>) {
        await answered
        return late.startUpload(...args)
      },
    })
    const run = testRun({ readAhead: { ...READ_AHEAD, patience: 1 }, semaphore: createSemaphore(1) })
    const done = distribute({ source, targets: [silent, fast], run })
    while (fast.tagged.size === 0) await new Promise((resolve) => setImmediate(resolve))
    expect(late.blobs.size).toBe(0)
    answer()
    expect(await done).toEqual(['arrived', 'arrived'])
    expect(missing(late, built)).toEqual([])
  })
})

describe('a slow registry that several images go to', () => {
  test('does not keep another registry waiting for an image that waits for the layers of the first', async () => {
    const sources = memoryRegistry('source.example.com', { side: 'source' })
    const images = [1, 2].map((seed) => makeImage({ seed, shared: { layers: 1, seed: 9 } })) as [BuiltImage, BuiltImage]
    const [shared = ''] = [...images[0].blobs.keys()].filter((digest) => images[1].blobs.has(digest))
    const from = images.map((built, index) => {
      const store = sources.repository(`dev/app${index}`)
      store.seed(built, 'v1')
      return store
    }) as [MemoryStore, MemoryStore]
    const slow = memoryRegistry('slow.example.com')
    const fast = memoryRegistry('fast.example.com').repository('prod/app1')
    const gate = gated(slow.repository('prod/app0'), shared as Digest)
    const ends = distributeAll([
      { source: from[0], targets: [gate] },
      { source: from[1], targets: [slow.repository('prod/app1'), fast] },
    ])
    await settled()
    expect(fast.tagged.get('v1')).toBe(images[1].root.digest)
    gate.open()
    expect(await ends).toEqual(ARRIVED)
  })
})

describe('a failing destination', () => {
  test('goes on alone from what it has kept; the others read every byte once', async () => {
    const source = seeded()
    const targets = threeTargets()
    const [east] = targets as [MemoryStore]
    east.break({ on: 'send', digest: large, after: 2 * PIECE })
    expect(await distribute({ source, targets })).toEqual(ARRIVED)
    for (const target of targets) expect(missing(target, image)).toEqual([])
    expect(source.calls.filter((call) => call.startsWith(`blob ${large}`))).toEqual([
      `blob ${large} 0`,
      `blob ${large} ${2 * PIECE}`,
    ])
    expect(targets.map((target) => target.calls.filter((call) => call.startsWith(`send ${large}`)).length)).toEqual([
      2, 1, 1,
    ])
  })

  test('starts again alone when its store keeps nothing of a broken upload', async () => {
    const source = seeded()
    const [east, west, south] = threeTargets({ resumes: false }) as [MemoryStore, MemoryStore, MemoryStore]
    west.break({ on: 'send', digest: large, after: 5 * PIECE })
    expect(await distribute({ source, targets: [east, west, south] })).toEqual(ARRIVED)
    expect(missing(west, image)).toEqual([])
    expect(east.traffic.sent).toBe(sizeOf(image))
  })

  test('fails alone: its tag is not written, nothing of it stays open, and the others have everything', async () => {
    const source = seeded()
    const [east, west, south] = threeTargets() as [MemoryStore, MemoryStore, MemoryStore]
    const full = new PromoteError('QUOTA', 'full', { side: 'destination' })
    east.break({ on: 'send', digest: large, after: PIECE, effect: full })
    expect(await distribute({ source, targets: [east, west, south] })).toEqual([full, 'arrived', 'arrived'])
    expect(east.tagged.size).toBe(0)
    expect(east.open()).toBe(0)
    for (const target of [west, south]) expect(missing(target, image)).toEqual([])
    expect(source.traffic.read).toBe(sizeOf(image))
  })

  test('that refuses before the first byte costs no reading', async () => {
    const source = seeded()
    const [east, west] = threeTargets() as [MemoryStore, MemoryStore]
    const denied = new PromoteError('DENIED', 'no', { side: 'destination' })
    const closed: MemoryStore = Object.assign(Object.create(east), { startUpload: () => Promise.reject(denied) })
    expect(await distribute({ source, targets: [closed, west] })).toEqual([denied, 'arrived'])
    expect(source.traffic.read).toBe(sizeOf(image))
  })

  test('that is cut again and again gives up after its own tries', async () => {
    const source = seeded()
    const [east, west] = threeTargets() as [MemoryStore, MemoryStore]
    east.break({ on: 'send', digest: large, after: 10, times: 100 })
    const [end, other] = await distribute({ source, targets: [east, west] })
    expect(end).toMatchObject({ code: 'NETWORK', side: 'destination' })
    expect(other).toBe('arrived')
    expect(east.calls.filter((call) => call.startsWith(`send ${large}`))).toHaveLength(4)
  })

  test('that gets other bytes than were sent starts again alone, and does not disturb the hash of the others', async () => {
    const source = seeded()
    const [east, west] = threeTargets() as [MemoryStore, MemoryStore]
    const garbled = new PromoteError('DIGEST_MISMATCH', 'garbled on the way', { side: 'destination' })
    east.break({ on: 'send', digest: large, after: PIECE, effect: garbled })
    expect(await distribute({ source, targets: [east, west] })).toEqual(['arrived', 'arrived'])
    expect(missing(east, image)).toEqual([])
    expect(west.calls.filter((call) => call.startsWith(`send ${large}`))).toHaveLength(1)
  })

  test('waits for a permit of its own while the others still read', async () => {
    const source = seeded()
    const [east, west] = threeTargets() as [MemoryStore, MemoryStore]
    east.break({ on: 'send', digest: large, after: PIECE })
    const gate = gated(west, large)
    const ends = distribute({
      source,
      targets: [east, gate],
      run: testRun({ semaphore: createSemaphore(1), readAhead: READ_AHEAD }),
    })
    const sends = () => east.calls.filter((call) => call.startsWith(`send ${large}`)).length
    await settled()
    expect(sends()).toBe(1)
    gate.open()
    expect(await ends).toEqual(['arrived', 'arrived'])
    expect(sends()).toBe(2)
  })

  test('that is the only one keeps its permit, and goes on before other blobs', async () => {
    const source = seeded()
    const [east] = threeTargets() as [MemoryStore]
    east.break({ on: 'send', digest: large, after: PIECE })
    expect(
      await distribute({
        source,
        targets: [east],
        run: testRun({ semaphore: createSemaphore(1), readAhead: READ_AHEAD }),
      }),
    ).toEqual(['arrived'])
    const sends = east.calls.filter((call) => call.startsWith('send '))
    const first = sends.indexOf(`send ${large} 0`)
    expect(sends[first + 1]).toBe(`send ${large} ${PIECE}`)
  })

  test('when all of them break at once, each goes on from its own offset', async () => {
    const source = seeded()
    const targets = threeTargets()
    for (const [index, target] of targets.entries())
      target.break({ on: 'send', digest: large, after: (index + 1) * PIECE + index })
    expect(
      await distribute({ source, targets, run: testRun({ semaphore: createSemaphore(1), readAhead: READ_AHEAD }) }),
    ).toEqual(ARRIVED)
    for (const target of targets) expect(missing(target, image)).toEqual([])
  })
})

describe('a failing source', () => {
  test('is opened again once for all, where it broke off', async () => {
    const source = seeded()
    source.break({ on: 'read', digest: large, after: 6 * PIECE })
    const targets = threeTargets()
    expect(await distribute({ source, targets })).toEqual(ARRIVED)
    for (const target of targets) expect(missing(target, image)).toEqual([])
    expect(source.calls.filter((call) => call.startsWith(`blob ${large}`))).toHaveLength(2)
    expect(source.traffic.read).toBe(sizeOf(image))
  })

  test('that gives a wrong byte is read once more from scratch, and no destination ever completes the wrong blob', async () => {
    const source = seeded()
    source.break({ on: 'read', digest: large, after: PIECE, effect: 'corrupt' })
    const targets = threeTargets()
    expect(await distribute({ source, targets })).toEqual(ARRIVED)
    for (const target of targets) {
      expect(missing(target, image)).toEqual([])
      expect(Buffer.from(target.blobs.get(large) ?? []).equals(image.blobs.get(large) as Uint8Array)).toBe(true)
    }
  })

  test('that is wrong a second time fails every destination with the same verdict, and leaves no tag', async () => {
    const source = seeded()
    source.break({ on: 'read', digest: large, after: PIECE, effect: 'corrupt', times: 100 })
    const targets = threeTargets()
    for (const end of await distribute({ source, targets }))
      expect(end).toMatchObject({ code: 'DIGEST_MISMATCH', side: 'source' })
    for (const target of targets) {
      expect(target.tagged.size).toBe(0)
      expect(target.blobs.has(large)).toBe(false)
      expect(target.open()).toBe(0)
    }
  })

  test('that refuses a blob fails every destination, asked once', async () => {
    const source = seeded()
    source.break({ on: 'read', digest: large, after: 0, effect: new PromoteError('DENIED', 'no', { side: 'source' }) })
    for (const end of await distribute({ source, targets: threeTargets() }))
      expect(end).toMatchObject({ code: 'DENIED', side: 'source' })
    expect(source.calls.filter((call) => call.startsWith(`blob ${large}`))).toHaveLength(1)
  })

  test('a repository of the source that is broken does not fail an image of another repository with the same layer', async () => {
    const registry = memoryRegistry('source.example.com', { side: 'source' })
    const [broken, sound] = ['dev/broken', 'dev/sound'].map((name) => registry.repository(name)) as [
      MemoryStore,
      MemoryStore,
    ]
    for (const store of [broken, sound]) store.seed(image, 'v1')
    broken.break({
      on: 'read',
      digest: large,
      after: 0,
      effect: new PromoteError('DENIED', 'no', { side: 'source' }),
      times: 9,
    })
    const [east, west] = threeTargets() as [MemoryStore, MemoryStore]
    const ends = await distributeAll([
      { source: broken, targets: [east] },
      { source: sound, targets: [west] },
    ])
    expect(ends).toMatchObject([{ code: 'DENIED', side: 'source' }, 'arrived'])
  })
})

describe('destinations that wait for each other', () => {
  test('cannot do so in a circle: the config of one image is a layer of the other, and each goes somewhere else', async () => {
    const registry = memoryRegistry('source.example.com', { side: 'source' })
    const [a, b] = [Buffer.from('{"a":1}'), Buffer.from('{"b":2}')]
    const trips = [imageOf(a, b), imageOf(b, a)].map((built, index) => {
      const source = registry.repository(`dev/app${index}`)
      source.seed(built, 'v1')
      return { source, targets: [memoryRegistry(`target${index}.example.com`).repository('prod/app')] }
    })
    const run = testRun({ semaphore: createSemaphore(1), readAhead: READ_AHEAD })
    expect(await distributeAll(trips, run)).toEqual(['arrived', 'arrived'])
  })
})

function imageOf(config: Buffer, layer: Buffer): BuiltImage {
  const blobs = new Map([config, layer].map((bytes) => [digestOf(bytes), bytes]))
  const descriptor = (bytes: Buffer, kind: string) => ({ mediaType: kind, digest: digestOf(bytes), size: bytes.length })
  const document = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: descriptor(config, 'application/vnd.oci.image.config.v1+json'),
    layers: [descriptor(layer, 'application/vnd.oci.image.layer.v1.tar')],
  }
  const bytes = Buffer.from(JSON.stringify(document))
  const root = { bytes, digest: digestOf(bytes), mediaType: MEDIA_TYPE.ociManifest }
  return { root, manifests: [root], blobs, large: [] }
}
