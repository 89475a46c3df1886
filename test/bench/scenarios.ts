import { type BuiltImage, makeImage, makeIndex } from '../support/cluster/image.ts'
import type { Tagged } from './seed.ts'

export type Scenario = Readonly<{
  title: string
  /** Name of the repository, `dev/NAME` and `prod/NAME`. */
  name: string
  tls: boolean
  /** Milliseconds that each request waits. */
  delay: number
  images: () => readonly Tagged[]
  /** What the destination has already. */
  there?: () => readonly Tagged[]
  /** Source and destination are one registry. */
  inside?: boolean
  /** Registries to copy to; default 1. */
  destinations?: number
  /** Between registries that make their bytes and keep none: for the memory of the client, not for its time. */
  embedded?: boolean
  /** One of `npm run bench -- --quick`. */
  quick?: boolean
  /** One of `npm run bench -- --scale`, and of nothing else. Without other tools, which take hours for some of them. */
  scale?: boolean
  /** More rounds show nothing more. */
  rounds?: number
}>

const MIB = 1024 ** 2
const DISTANCE = 50
const NEARER = 20
const one = (image: BuiltImage): readonly Tagged[] => [{ tag: 'v1', image }]

const oneLarge = () => one(makeImage({ layers: [], large: [1024 * MIB], seed: 11 }))
const eightLarge = () => one(makeImage({ layers: [], large: Array(8).fill(128 * MIB) as number[], seed: 12 }))
const forty = () => one(makeImage({ layers: Array(40).fill(100_000) as number[], seed: 13 }))
const PLATFORMS = ['linux/amd64', 'linux/arm64/v8', 'linux/ppc64le', 'linux/s390x']
const index = () => one(makeIndex({ platforms: PLATFORMS, layersEach: Array(5).fill(100_000) as number[], seed: 14 }))
const tenLayers = (last: number) =>
  one(makeImage({ shared: { layers: 9, seed: 15 }, layers: [100_000], seed: 1500 + last }))

/**
 * 300 tags of one repository, 50 on each of six bases of four layers: I = 300 images and B = 6 * 4 + 300 * 2 = 624
 * distinct blobs (every image has a layer and a config of its own).
 *
 * What nobody can do without, keeping nothing from one run to the next: 1 listing + I manifests read + B blobs read
 * (GET) and written (POST, PUT) + I manifests written = 1 + 2 * I + 3 * B = 2,473 requests. An unchanged run:
 * 1 listing + I manifests read + I questions for the tags there = 601.
 *
 * Ours has two HEADs more for each tag that is to move. One reads the tag: reports and rollbacks say where it was, and
 * conditions check it. A listing of the tags would be one request, but registries answer it from caches. The other asks for
 * the manifest by its digest, so that no blob of an image that is there is asked for. That makes 3,073. What is attached to an
 * image is asked for too. Distribution has no API for that, which the first answer tells: as many ask as there are `jobs`.
 * That makes at most 3,081, 1.25 of the floor, and 609, 1.01. Where there is the API it is one request for each image: 3,373
 * and 901; without `referrers` none.
 */
const BASES = 6
const images = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    tag: `v${i}`,
    image: makeImage({ shared: { layers: 4, seed: 17 + (i % BASES) }, layers: [3000], seed: 40_000 + i }),
  }))
const release = () => images(300)
const small = () =>
  Array.from({ length: 300 }, (_, i) => ({
    tag: `v${i}`,
    image: makeImage({ layers: [2000, 3000], seed: 20_000 + i }),
  }))

const near = { delay: 0 }
const far = { delay: DISTANCE, tls: false }

/** How the cost grows: one figure moves, the others stay. */
const layersOf = (count: number) => () => one(makeImage({ layers: Array(count).fill(10_000) as number[], seed: 18 }))
const scaled = { tls: false, embedded: true, scale: true, rounds: 1 } as const
const SCALE: readonly Scenario[] = [
  ...[1, 10, 100, 1000, 5000].map((count): Scenario => {
    const title = `${count} images of 5 layers on ${BASES} bases, ${NEARER} ms`
    return { title, name: 'images', images: () => images(count), delay: NEARER, ...scaled }
  }),
  ...[5, 50, 500].map((count): Scenario => {
    return {
      title: `1 image of ${count} layers, ${NEARER} ms`,
      name: 'layers',
      images: layersOf(count),
      delay: NEARER,
      ...scaled,
    }
  }),
  ...[0, 50, 200].map((delay): Scenario => {
    return { title: `1 image of 50 layers, ${delay} ms`, name: 'distance', images: layersOf(50), delay, ...scaled }
  }),
  ...[2, 4, 8].map((destinations): Scenario => {
    const title = `1 image of 50 layers to ${destinations} destinations, ${NEARER} ms`
    return { title, name: 'fan', images: layersOf(50), delay: NEARER, destinations, ...scaled }
  }),
  ...[1, 4, 16].map((count): Scenario => {
    const large = () => one(makeImage({ layers: [], large: Array(count).fill(1024 * MIB) as number[], seed: 19 }))
    return { title: `1 image of ${count} GiB in layers of 1 GiB`, name: 'bytes', images: large, delay: 0, ...scaled }
  }),
]

export const SCENARIOS: readonly Scenario[] = [
  { title: '8 layers of 128 MiB, TLS', name: 'eight', images: eightLarge, tls: true, quick: true, ...near },
  { title: '1 layer of 1 GiB, TLS', name: 'one', images: oneLarge, tls: true, ...near },
  { title: '8 layers of 128 MiB, plain HTTP', name: 'eight', images: eightLarge, tls: false, quick: true, ...near },
  { title: '1 layer of 1 GiB, plain HTTP', name: 'one', images: oneLarge, tls: false, ...near },
  { title: `40 layers of 100 KB, ${DISTANCE} ms per request`, name: 'forty', images: forty, quick: true, ...far },
  { title: `index of 4 x 5 layers, ${DISTANCE} ms per request`, name: 'index', images: index, quick: true, ...far },
  {
    title: `unchanged image, ${DISTANCE} ms per request`,
    name: 'forty',
    images: forty,
    there: forty,
    quick: true,
    ...far,
  },
  {
    title: `one new layer of ten, ${DISTANCE} ms per request`,
    name: 'ten',
    images: () => tenLayers(2),
    there: () => tenLayers(1),
    quick: true,
    ...far,
  },
  {
    title: `mount of 40 layers inside one registry, ${DISTANCE} ms per request`,
    name: 'forty',
    images: forty,
    inside: true,
    ...far,
  },
  {
    title: '8 layers of 128 MiB to three destinations, TLS',
    name: 'eight',
    images: eightLarge,
    destinations: 3,
    tls: true,
    ...near,
  },
  {
    title: `300 images of 5 layers on ${BASES} bases, ${NEARER} ms per request`,
    name: 'release',
    images: release,
    delay: NEARER,
    tls: false,
    rounds: 1,
  },
  {
    title: `300 images of 5 layers on ${BASES} bases, unchanged, ${NEARER} ms per request`,
    name: 'release',
    images: release,
    there: release,
    delay: NEARER,
    tls: false,
    rounds: 1,
  },
  { title: '300 small images, plain HTTP', name: 'small', images: small, tls: false, ...near },
  {
    title: 'memory: 1 layer of 4 GiB, plain HTTP',
    name: 'huge',
    images: () => one(makeImage({ layers: [], large: [4096 * MIB], seed: 16 })),
    tls: false,
    embedded: true,
    rounds: 1,
    ...near,
  },
  ...SCALE,
]
