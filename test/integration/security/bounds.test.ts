import { describe, expect, test } from '@jest/globals'
import { createBudget, type Held, PER_IMAGE } from '../../../src/copy/budget.ts'
import { discover } from '../../../src/copy/discover.ts'
import { createSemaphore } from '../../../src/copy/semaphore.ts'
import type { Source } from '../../../src/copy/store.ts'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { type Descriptor, type Manifest, MEDIA_TYPE, readManifest } from '../../../src/oci/manifest.ts'

/** A registry that has whatever is asked for, and counts the questions. */
type Endless = Source & { asked: number }

const absent = async () => undefined

function endless(answer: (descriptor: Descriptor) => Manifest, referrers: (subject: Digest) => Descriptor[]): Endless {
  const nothing = () => Promise.reject(new Error('not asked'))
  const source: Endless = {
    asked: 0,
    name: 'endless.example.com/a/b',
    resolve: nothing,
    blob: nothing,
    find: absent,
    referrers: async (subject) => referrers(subject),
    manifest: async (descriptor) => {
      source.asked += 1
      return answer(descriptor)
    },
  }
  return source
}

const document = (content: object): Manifest =>
  readManifest(Buffer.from(JSON.stringify({ schemaVersion: 2, ...content })), undefined)
const descriptor = (number: number, size = 500): Descriptor => ({
  mediaType: MEDIA_TYPE.ociManifest,
  digest: digestOf(Buffer.from(`${number}`)),
  size,
})
const some = (count: number, size?: number) => Array.from({ length: count }, (_, number) => descriptor(number, size))
const index = (manifests: readonly Descriptor[]) => document({ mediaType: MEDIA_TYPE.ociIndex, manifests })
const image = document({ layers: [] })
const WITH = { platforms: undefined, referrers: true }
const refused = { code: 'UNSUPPORTED', side: 'source' }
const none = () => []

describe('an image is refused before its manifests are asked for', () => {
  test.each<[string, Manifest, Descriptor[]]>([
    ['400 children of 2 MiB', index(some(400, 2 * 1024 * 1024)), []],
    ['one child that says it has 4 GiB', index(some(1, 2 ** 32)), []],
    ['11,000 children', index(some(11_000)), []],
    ['27,000 referrers', image, some(27_000)],
    ['100 referrers of 1 MiB', image, some(100, 1024 * 1024)],
  ])('%s', async (_, root, referrers) => {
    const source = endless(
      () => image,
      () => referrers,
    )
    await expect(discover(source, root, WITH, createSemaphore(8))).rejects.toMatchObject(refused)
    expect(source.asked).toBe(0)
  })
})

describe('an image that goes on and on ends', () => {
  test('referrers of referrers', async () => {
    let next = 0
    const below = new Map<Digest, Digest>()
    const source = endless(
      ({ digest }) => document({ layers: [], subject: { ...descriptor(0), digest: below.get(digest) ?? digest } }),
      (subject) =>
        some(40).map((each) => {
          const digest = digestOf(Buffer.from(`referrer ${next++}`))
          below.set(digest, subject)
          return { ...each, digest }
        }),
    )
    await expect(discover(source, image, WITH, createSemaphore(8))).rejects.toMatchObject(refused)
    expect(source.asked).toBeLessThan(PER_IMAGE.referrers)
  })

  test('indexes in indexes', async () => {
    let next = 0
    const source = endless(() => index([descriptor(next++)]), none)
    await expect(discover(source, index([descriptor(-1)]), WITH, createSemaphore(8))).rejects.toMatchObject(refused)
    expect(source.asked).toBeLessThan(20)
  })

  test('manifests with more layers than memory', async () => {
    const layers = some(20_000)
    let next = 0
    const source = endless(() => document({ layers, annotations: { next: `${next++}` } }), none)
    const root = index(some(100))
    await expect(discover(source, root, WITH, createSemaphore(1))).rejects.toMatchObject(refused)
    expect(source.asked).toBeLessThan(20)
  })
})

describe('the images of a run share a budget', () => {
  const MiB = 1024 * 1024
  const big = (number: number, held: Held) => {
    const budget = createBudget('r/a', held)
    budget.announce([descriptor(number, 60 * MiB)])
    return budget
  }

  test('of which a further image is refused', () => {
    const held = { bytes: 0, links: 0 }
    for (const number of [1, 2, 3, 4]) big(number, held)
    expect(() => big(5, held)).toThrow(expect.objectContaining(refused))
  })

  test('to which an image that failed gives back its share, and of which it takes nothing more', () => {
    const held = { bytes: 0, links: 0 }
    for (const number of [1, 2, 3, 4, 5, 6]) {
      const budget = big(number, held)
      budget.release()
      expect(() => budget.check()).toThrow(expect.objectContaining(refused))
    }
    expect(held).toEqual({ bytes: 0, links: 0 })
  })

  test('and a manifest that is met again counts once', () => {
    const budget = createBudget('r/a', { bytes: 0, links: 0 })
    for (let time = 0; time < 1000; time += 1) budget.announce([descriptor(1, MiB)])
    expect(() => budget.count(image)).not.toThrow()
  })
})
