import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Event, Row } from '../../src/report/model.ts'
import { type Folder, temporary, type Variables } from '../bundle/run.ts'
import { at, byToken, options } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import {
  type BuiltImage,
  describe as descriptorOf,
  makeArtifact,
  makeCosign,
  makeImage,
  makeIndex,
  seedImage,
} from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { contentsOf, digestsIn, promised } from '../support/contents.ts'
import { type Dice, diceOf } from '../support/dice.ts'
import { seeds } from '../support/random.ts'

/** What a dry run prints is what the run after it does, whatever is at the destination: compared by what has changed there. */

let from: EmbeddedRegistry
let to: EmbeddedRegistry
let cluster: EmbeddedCluster
let folder: Folder

beforeAll(async () => {
  ;[from, to, cluster] = await Promise.all([startRegistry(), startRegistry(), startCluster()])
  folder = temporary()
})
afterAll(async () => {
  folder.remove()
  await Promise.all([from.close(), to.close(), cluster.close()])
  expect([...from.violations, ...to.violations, ...cluster.unexpected]).toEqual([])
})

/** Images that have layers in common, and lists of them. */
function anImage({ below, one }: Dice): BuiltImage {
  const seed = 2000 + below(6)
  const shared = { layers: below(3), seed: 3 }
  return one([
    () => makeImage({ seed, layers: 1 + below(3), shared }),
    () => makeImage({ seed, docker: true, shared }),
    () => makeIndex({ seed, sharedLayers: below(2) }),
    () => makeIndex({ seed, nested: true }),
    () => makeIndex({ seed, attestation: true }),
  ])()
}

/** A part of an image, as a promotion that broke off leaves it: what a manifest names is there before the manifest. */
function seedPart(
  into: EmbeddedRegistry | EmbeddedCluster,
  repository: string,
  image: BuiltImage,
  { chance, below }: Dice,
): void {
  for (const bytes of image.blobs.values()) if (chance(0.5)) into.store.putBlob(repository, Buffer.from(bytes))
  const child = image.manifests[below(image.manifests.length)]
  const complete =
    child !== undefined && 'tags' in into && image.manifests.length > 1 && child !== image.root && chance(0.5)
  if (!complete) return
  for (const digest of digestsIn(child.bytes)) {
    const bytes = image.blobs.get(digest)
    if (bytes !== undefined) into.store.putBlob(repository, Buffer.from(bytes))
  }
  if (digestsIn(child.bytes).every((digest) => image.blobs.has(digest)))
    into.store.putManifest(repository, Buffer.from(child.bytes), child.mediaType)
}

type World = Readonly<{
  images: readonly string[]
  given: Variables
  /** What is at the destination: `blob|manifest|tag repository …`. */
  look: () => ReadonlySet<string>
  /** Blobs that no image has yet are in no inventory of an image stream: the plan sends them, and the run finds them. */
  hidesBlobs: boolean
}>

function aWorld(seed: number): World {
  const roll = diceOf(seed)
  const { below, chance, one } = roll
  const kind = one(['registry', 'registry', 'itself', 'cluster'] as const)
  const target = kind === 'cluster' ? cluster : kind === 'itself' ? from : to
  const name = `world${seed}`
  const pool = Array.from({ length: 3 }, () => anImage(roll))
  const images = Array.from({ length: 1 + below(4) }, (_, index) => {
    const image = one(pool)
    const source = `${name}/src${below(2)}`
    const destination = `${kind === 'cluster' ? 'prod' : name}/${name}-dst${below(2)}`
    seedImage(from, source, image, `v${index}`)
    if (chance(0.3)) attach(image, source, kind !== 'cluster', roll)
    const before = one(['nothing', 'part', 'old', 'same', 'child'] as const)
    if (before === 'part') seedPart(target, destination, image, roll)
    if (before === 'old') seedImage(target, destination, anImage(roll), `v${index}`)
    if (before === 'same') seedImage(target, destination, image, chance(0.5) ? `v${index}` : 'other')
    return `${source}:v${index}=${destination}:v${index}`
  })
  const given: Variables = {
    ...(images.length === 1 && chance(0.5) ? { 'additional-tags': 'stable,v0.1' } : {}),
    ...(chance(0.3) ? { overwrite: one(['same', 'never']) } : {}),
    ...(chance(0.4) ? { atomic: 'true', report: `${folder.path}/${name}.json` } : {}),
    ...(chance(0.3) ? { referrers: 'false' } : {}),
    jobs: one(['1', '3', '8']),
  }
  const sides = options(
    at(from),
    kind === 'cluster' ? byToken(cluster, cluster.token('admin')) : at(target as EmbeddedRegistry),
  )
  return {
    images,
    given: { ...sides, ...given },
    look: () => contentsOf(target, `${name}-dst`),
    hidesBlobs: kind === 'cluster',
  }
}

/** By tag everywhere; by subject where the destination lists referrers by itself: the list of others is no step of a plan. */
function attach(image: BuiltImage, source: string, bySubject: boolean, { chance, below }: Dice): void {
  const { image: signature, tag } = makeCosign(image.root.digest, 'sig', below(3))
  seedImage(from, source, signature, tag)
  if (bySubject && chance(0.5))
    seedImage(from, source, makeArtifact({ seed: below(9), subject: descriptorOf(image.root) } as never))
}

function copied(events: readonly Event[]): string[] {
  return events
    .flatMap((event) => (event.event === 'step' && event.kind === 'blob' && event.do === 'copy' ? [event.digest] : []))
    .sort()
}

const told = (rows: readonly Row[]) =>
  rows.map(({ destination, status, error, digest, previousDigest }) => [
    destination,
    status === 'planned' ? 'promoted' : status,
    error?.code ?? null,
    digest,
    previousDigest,
  ])

describe('the run after a dry run does what was printed', () => {
  // 66: one image under several tags, and one job; a later tag must not be taken for one that was right before.
  test.each([...new Set([...seeds(10, 100), 66])])('in random state %i', async (seed) => {
    const { images, given, look, hidesBlobs } = aWorld(seed)
    const before = look()
    const dry = await within({ ...given, 'dry-run': 'true' }, images)
    expect(look()).toEqual(before)
    const real = await within(given, images)
    expect(real.code).toBe(dry.code)
    expect(told(real.report.images)).toEqual(told(dry.report.images))

    const after = look()
    const fresh = new Set([...after].filter((each) => !before.has(each)))
    const plans = dry.report.plans ?? []
    const signatures = [...fresh].filter((each) => /^tag .*:sha256-/.test(each))
    const wanted = [...promised(plans)].filter((each) => !(hidesBlobs && each.startsWith('blob ') && before.has(each)))
    expect(new Set([...fresh].filter((each) => !signatures.includes(each)))).toEqual(new Set(wanted))
    // Nothing goes away but what tags were at.
    expect([...before].filter((each) => !after.has(each) && !each.startsWith('tag '))).toEqual([])

    const planned = plans.flatMap(({ steps }) =>
      steps.filter(({ do: what, kind }) => what === 'copy' && kind === 'blob').map(({ digest }) => digest),
    )
    // Nothing is sent that the plan does not send. What it sends may be mounted after all, where another image of the run
    // finds it in the same registry first.
    const spared: string[] = [...planned]
    for (const digest of copied(real.events)) {
      expect(spared).toContain(digest)
      spared.splice(spared.indexOf(digest), 1)
    }
    const known = [...before].map((each) => each.split(' ').at(-1))
    expect(spared.filter((digest) => !known.includes(digest))).toEqual([])
  })
})
