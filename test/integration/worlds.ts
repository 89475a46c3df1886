import type { Variables } from '../bundle/run.ts'
import { at, byToken, options } from '../bundle/sides.ts'
import type { EmbeddedCluster } from '../support/cluster/cluster.ts'
import {
  type BuiltImage,
  describe as descriptorOf,
  makeArtifact,
  makeCosign,
  makeImage,
  makeIndex,
  seedImage,
} from '../support/cluster/image.ts'
import type { EmbeddedRegistry } from '../support/cluster/plain.ts'
import { contentsOf, digestsIn } from '../support/contents.ts'
import { type Dice, diceOf } from '../support/dice.ts'

/** Random sources, destinations and options of a promotion, the same for the same seed. */

/** Images that have layers in common, and lists of them. */
export function anImage({ below, one }: Dice): BuiltImage {
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

/** The places that worlds are in. Each world has repositories of its own. */
export type Places = Readonly<{ from: EmbeddedRegistry; to: EmbeddedRegistry; cluster: EmbeddedCluster }>

/** One image of a world: `tag` at both sides. */
export type Trip = Readonly<{ image: BuiltImage; source: string; destination: string; tag: string }>

export type World = Readonly<{
  images: readonly string[]
  trips: readonly Trip[]
  target: EmbeddedRegistry | EmbeddedCluster
  given: Variables
  /** What is at the destination: `blob|manifest|tag repository …`. */
  look: () => ReadonlySet<string>
  /** Blobs that no image has yet are in no inventory of an image stream: the plan sends them, and the run finds them. */
  hidesBlobs: boolean
}>

/** @param report path of the report, for worlds that need one. */
export function aWorld(seed: number, name: string, report: string, { from, to, cluster }: Places): World {
  const roll = diceOf(seed)
  const { below, chance, one } = roll
  const kind = one(['registry', 'registry', 'itself', 'cluster'] as const)
  const target = kind === 'cluster' ? cluster : kind === 'itself' ? from : to
  const pool = Array.from({ length: 3 }, () => anImage(roll))
  const trips = Array.from({ length: 1 + below(4) }, (_, index): Trip => {
    const image = one(pool)
    const source = `${name}/src${below(2)}`
    const destination = `${kind === 'cluster' ? 'prod' : name}/${name}-dst${below(2)}`
    seedImage(from, source, image, `v${index}`)
    if (chance(0.3)) attach(image, { from, source }, kind !== 'cluster', roll)
    const before = one(['nothing', 'part', 'old', 'same', 'child'] as const)
    if (before === 'part') seedPart(target, destination, image, roll)
    if (before === 'old') seedImage(target, destination, anImage(roll), `v${index}`)
    if (before === 'same') seedImage(target, destination, image, chance(0.5) ? `v${index}` : 'other')
    return { image, source, destination, tag: `v${index}` }
  })
  const images = trips.map(({ source, destination, tag }) => `${source}:${tag}=${destination}:${tag}`)
  const given: Variables = {
    ...(images.length === 1 && chance(0.5) ? { 'additional-tags': 'stable,v0.1' } : {}),
    ...(chance(0.3) ? { overwrite: one(['same', 'never']) } : {}),
    ...(chance(0.4) ? { atomic: 'true', report } : {}),
    ...(chance(0.3) ? { referrers: 'false' } : {}),
    jobs: one(['1', '3', '8']),
  }
  const sides = options(
    at(from),
    kind === 'cluster' ? byToken(cluster, cluster.token('admin')) : at(target as EmbeddedRegistry),
  )
  return {
    images,
    trips,
    target,
    given: { ...sides, ...given },
    look: () => contentsOf(target, `${name}-dst`),
    hidesBlobs: kind === 'cluster',
  }
}

/** By tag everywhere; by subject where the destination lists referrers by itself: the list of others is no step of a plan. */
type At = Readonly<{ from: EmbeddedRegistry; source: string }>

export function attach(image: BuiltImage, { from, source }: At, bySubject: boolean, { chance, below }: Dice): void {
  const { image: signature, tag } = makeCosign(image.root.digest, 'sig', below(3))
  seedImage(from, source, signature, tag)
  if (bySubject && chance(0.5))
    seedImage(from, source, makeArtifact({ seed: below(9), subject: descriptorOf(image.root) } as never))
}
