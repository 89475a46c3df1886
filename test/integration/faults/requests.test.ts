import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { type BuiltImage, makeImage, makeIndex, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../../support/cluster/plain.ts'
import { side, travel } from './stage.ts'

/**
 * Requests, counted at the registries: anonymous, `referrers: false`. The floors are what the cleverest client that keeps
 * nothing between two runs can do: one GET for everything that is read, one POST and one PUT for each blob that is
 * written, one PUT for each manifest, and a HEAD for the tag.
 */

let source: EmbeddedRegistry
let destination: EmbeddedRegistry
beforeEach(async () => {
  source = await startRegistry()
  destination = await startRegistry()
})
afterEach(() => Promise.all([source.close(), destination.close()]))

const IMAGE = makeImage({ seed: 21, layers: 5 })
/** 4 configs, 4 times 4 layers, and one that all have: 21 blobs. */
const INDEX = makeIndex({
  seed: 22,
  platforms: ['linux/amd64', 'linux/arm64', 'linux/ppc64le', 'linux/s390x'],
  layersEach: 4,
  sharedLayers: 1,
})
const MANY = makeImage({ seed: 23, layers: 40 })

async function requests(line = 'dev/app:v1=prod/app:v1', to = destination): Promise<number> {
  const places = to === source ? [source] : [source, to]
  const before = places.reduce((sum, { stats }) => sum + stats.requests, 0)
  const { report } = await travel({ images: [line], source: side(source), destination: side(to) })
  expect(report.status).toBe('done')
  return places.reduce((sum, { stats }) => sum + stats.requests, 0) - before
}

describe('so few requests', () => {
  test.each<[string, BuiltImage, number, number]>([
    // One request for each manifest is the HEAD at the destination beside its GET. The floor of the second run is 2. A tag that is
    // right proves no child of an index, so each is read at the source and asked for at the destination.
    ['an image of 5 layers', IMAGE, 21 + 1, 2],
    ['an index of 4 images and 21 blobs', INDEX, 74 + 5, 2 + 2 * 4],
    ['an image of 40 layers', MANY, 126 + 1, 2],
  ])('promote %s, and promote it again', async (_name, image, cold, again) => {
    seedImage(source, 'dev/app', image, 'v1')
    expect(await requests()).toBe(cold)
    expect(await requests()).toBe(again)
  })

  test('mount an image from another repository of the registry', async () => {
    seedImage(source, 'dev/app', IMAGE, 'v1')
    expect(await requests('dev/app:v1=prod/app:v1', source)).toBe(9 + 1)
  })

  /** The floor is 3: GET at the source, HEAD and PUT of the tag. The HEAD by digest says that the image is there, with all its layers. */
  test('tag an image that is there', async () => {
    seedImage(source, 'dev/app', IMAGE, 'v1')
    seedImage(source, 'dev/app', IMAGE, 'v2')
    await requests()
    expect(await requests('dev/app:v2=prod/app:v2')).toBe(3 + 1)
  })
})
