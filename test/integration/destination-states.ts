import type { Variables } from '../bundle/run.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import {
  type BuiltImage,
  type BuiltManifest,
  describe,
  fallbackTag,
  makeArtifact,
  makeCosign,
  makeFallbackIndex,
  makeImage,
  makeIndex,
  seedImage,
} from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { createStorage, type Storage } from '../support/cluster/storage.ts'
import { digestsIn } from '../support/contents.ts'
import { type Dice, diceOf } from '../support/dice.ts'
import { blob, CONFIG, custom, LAYER, sigstoreBundle } from '../support/shapes.ts'

/** Random images at a source, random leftovers at destinations, and random options: all of it decided by a seed. */

export type Target = EmbeddedRegistry | EmbeddedCluster

export type Servers = Readonly<{
  /** With the referrers API, and without it. */
  sources: readonly [EmbeddedRegistry, EmbeddedRegistry]
  registry: EmbeddedRegistry
  /** Without the referrers API. */
  bare: EmbeddedRegistry
  /** As docker-registry: no manifest without what it names, and no referrers API. */
  strict: EmbeddedRegistry
  cluster: EmbeddedCluster
  /** Where the cluster's images were imported from. */
  upstream: Storage
}>

export async function startServers(): Promise<Servers> {
  const upstream = createStorage()
  const [api, plain, registry, bare, strict, cluster] = await Promise.all([
    startRegistry(),
    startRegistry({ referrersApi: false }),
    startRegistry(),
    startRegistry({ referrersApi: false }),
    startRegistry({ referrersApi: false, sparse: 'none' }),
    startCluster({ upstream }),
  ])
  return { sources: [api, plain], registry, bare, strict, cluster, upstream }
}

export type World = Readonly<{
  name: string
  source: EmbeddedRegistry
  targets: readonly Target[]
  images: readonly string[]
  given: Variables
  /** There is an image with a layer that registries need not hold. */
  isForeign: boolean
  /** A tag stands where the list of referrers has to be. */
  hasDigestTag: boolean
  /** What was put where, for the message of a failure. */
  told: readonly string[]
}>

const DIGEST_TAG = 'a digest tag'
const PLATFORMS = ['linux/amd64', 'linux/arm64/v8', 'linux/ppc64le', 'linux/s390x']

export function aWorld(seed: number, servers: Servers): World {
  const dice = diceOf(seed)
  const { registry, bare, strict, cluster } = servers
  const name = `state${seed}`
  const source = dice.one(servers.sources)
  const targets = someOf([registry, bare, strict, cluster, cluster], dice)
  const told: string[] = []
  let isForeign = false
  const count = 1 + dice.below(2)
  const lacking = dice.chance(0.15)
  const images = Array.from({ length: count }, (_, number) => {
    const image = anImage(dice, seed, number)
    const [from, to] = [`dev/${name}-src${number}`, `prod/${name}-dst${dice.below(2)}`]
    seedImage(source, from, image, 'v1')
    isForeign ||= Buffer.from(image.root.bytes).includes(FOREIGN)
    const child = image.manifests.length > 2 && lacking ? image.manifests[0] : undefined
    if (child !== undefined) source.store.repository(from).manifests.delete(child.digest)
    if (child !== undefined) told.push(`source: lacks ${child.digest}`)
    told.push(`image ${number}: ${from}:v1 to ${to}:v${number}, ${image.manifests.length} manifests`)
    told.push(...attachAll(image, { source, path: from }, dice))
    for (const target of targets) {
      const place: Place = { target, path: to, tag: `v${number}`, servers, dice, seed: seed * 40 + 20 + number }
      told.push(...prepare(image, place).map((what) => `image ${number} at ${kindOf(target, servers)}: ${what}`))
    }
    return `${from}:v1=${to}:v${number}`
  })
  const given = { ...someOptions(dice, count, name), ...(lacking ? { 'skip-missing': 'true' } : {}) }
  const hasDigestTag = told.some((what) => what.endsWith(DIGEST_TAG))
  return { name, source, targets, images, given, isForeign, hasDigestTag, told }
}

function someOf(all: readonly Target[], { chance, one }: Dice): Target[] {
  const first = one(all)
  return chance(0.3) ? [...new Set([first, one(all), one(all)])] : [first]
}

export function kindOf(target: Target, { registry, bare, strict }: Servers): string {
  if (target === registry) return 'registry'
  return target === bare ? 'bare' : target === strict ? 'strict' : 'cluster'
}

/** Every world has bytes of its own, so that no world mounts from another. */
function anImage({ below, chance, one }: Dice, world: number, number: number): BuiltImage {
  const seed = world * 40 + number
  const shared = { layers: below(3), seed: world }
  const platforms = PLATFORMS.slice(0, 1 + below(4))
  return one([
    () => makeImage({ seed, layers: below(4), shared, docker: chance(0.3) }),
    () => makeImage({ seed, layers: [0, 700] }),
    () => makeIndex({ seed, platforms, layersEach: 1 + below(2), sharedLayers: below(3), docker: chance(0.3) }),
    () => makeIndex({ seed, platforms, nested: true, sharedLayers: below(2) }),
    () => makeIndex({ seed, platforms, attestation: true }),
    () => withForeignLayer(seed),
  ])()
}

const FOREIGN = 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip'

/** The source holds the foreign layer too, as registries may. */
function withForeignLayer(seed: number): BuiltImage {
  const config = blob(JSON.stringify({ os: 'linux', architecture: 'amd64', seed }), CONFIG)
  const [own, foreign] = [blob(`layer ${seed}`, LAYER), blob(`foreign layer ${seed}`, FOREIGN)]
  const urls = ['https://layers.example.com/base']
  const layers = [{ ...foreign.descriptor, urls }, own.descriptor]
  const document = { mediaType: 'application/vnd.oci.image.manifest.v1+json', config: config.descriptor, layers }
  return custom(document, { blobs: [config, own, foreign] })
}

function attachAll(
  image: BuiltImage,
  { source, path }: Readonly<{ source: EmbeddedRegistry; path: string }>,
  dice: Dice,
): string[] {
  const { chance, below } = dice
  const told: string[] = []
  for (const subject of [image.root, image.manifests[0] ?? image.root]) {
    for (const suffix of ['sig', 'att', 'sbom'] as const) {
      if (!chance(suffix === 'sig' ? 0.35 : 0.15)) continue
      const { image: signature, tag } = makeCosign(subject.digest, suffix, below(50))
      seedImage(source, path, signature, tag)
      told.push(`source: ${tag}`)
    }
    if (!chance(0.3)) continue
    const sbom = makeArtifact({ seed: below(50), subject: describe(subject) })
    const referrers = chance(0.5) ? [sbom, sigstoreBundle(subject)] : [sbom]
    for (const each of referrers) seedImage(source, path, each)
    if (chance(0.3)) list(source, path, sbom.root, [seeded(source, path, sigstoreBundle(sbom.root))])
    list(
      source,
      path,
      subject,
      referrers.map(({ root }) => root),
    )
    told.push(`source: ${referrers.length} referrers of ${subject.digest}`)
  }
  return told
}

function seeded(target: Target, path: string, image: BuiltImage): BuiltManifest {
  seedImage(target, path, image)
  return image.root
}

/** The index under the fallback tag, which clients keep where no registry does. */
function list(target: Target, path: string, subject: BuiltManifest, referrers: readonly BuiltManifest[]): void {
  const { bytes, mediaType, digest } = makeFallbackIndex(referrers.map(describe))
  seedImage(
    target,
    path,
    { root: { bytes, mediaType, digest }, manifests: [{ bytes, mediaType, digest }], blobs: new Map(), large: [] },
    fallbackTag(subject.digest),
  )
}

type Place = Readonly<{ target: Target; path: string; tag: string; servers: Servers; dice: Dice; seed: number }>

/** Leaves something at the destination. @returns what. */
function prepare(image: BuiltImage, place: Place): string[] {
  const { target, path, tag, dice, seed } = place
  const told: string[] = []
  const maybe = (what: string, share: number, work: () => void) => {
    if (!dice.chance(share)) return
    work()
    told.push(what)
  }
  maybe('other tags', 0.3, () => void seedImage(target, path, makeImage({ seed: seed + 5 }), `other-${tag}`))
  maybe('parts', 0.3, () => seedParts(image, place))
  if (target === place.servers.cluster) maybe('imported by reference', 0.3, () => importByReference(image, place))
  const at = dice.one([tag, tag, `same-${tag}`])
  const state = dice.one(['nothing', 'nothing', 'old', 'same', 'hollow'] as const)
  if (state === 'old') seedImage(target, path, makeImage({ seed: seed + 7 }), tag)
  if (state === 'same') seedImage(target, path, image, at)
  if (state === 'hollow') seedHollow(image, place, at)
  told.push(state === 'old' ? `old ${tag}` : `${state} ${at}`)
  maybe('signatures of others', 0.35, () => signByOthers(image, place))
  const isList = target !== place.servers.registry && dice.chance(0.8)
  if (isList) maybe('referrers of others', 0.3, () => listByOthers(image, place))
  // GitLab resolves the tag of a list of referrers to the image itself.
  else maybe(DIGEST_TAG, 0.3, () => void seedImage(target, path, image, fallbackTag(image.root.digest)))
  return told
}

/** As a promotion that broke off leaves them: blobs, and manifests whose parts are there. */
function seedParts(image: BuiltImage, { target, path, dice }: Place): void {
  const store = target.store
  for (const bytes of image.blobs.values()) if (dice.chance(0.5)) store.putBlob(path, Buffer.from(bytes))
  const child = dice.one(image.manifests)
  const parts = digestsIn(child.bytes)
  if (!parts.every((digest) => image.blobs.has(digest)) || dice.chance(0.5)) return
  for (const digest of parts) store.putBlob(path, Buffer.from(image.blobs.get(digest) ?? []))
  store.putManifest(path, child.bytes, child.mediaType)
  if (!('tags' in target)) target.adopt(path, child.digest, undefined)
}

/** The tag is at the index, and its children were never sent, or were lost. */
function seedHollow(image: BuiltImage, { target, path, dice, servers }: Place, tag: string): void {
  const children = image.manifests.filter(({ digest }) => digest !== image.root.digest)
  // Registries that ask for the children do not have such an index.
  if (children.length === 0 || target === servers.strict) return void seedImage(target, path, image, tag)
  const alone = { ...image, manifests: [image.root], blobs: new Map() }
  seedImage(target, path, alone, tag)
  for (const child of children.filter(() => dice.chance(0.4))) {
    for (const digest of digestsIn(child.bytes)) {
      const bytes = image.blobs.get(digest)
      if (bytes !== undefined) target.store.putBlob(path, Buffer.from(bytes))
    }
    if (digestsIn(child.bytes).some((digest) => !image.blobs.has(digest))) continue
    target.store.putManifest(path, child.bytes, child.mediaType)
    if (!('tags' in target)) target.adopt(path, child.digest, undefined)
  }
}

/** `oc import-image`: the stream knows the image, and its blobs and manifests are elsewhere. */
function importByReference(image: BuiltImage, { path, tag, servers: { cluster, upstream } }: Place): void {
  const { store, state } = cluster
  const had = new Set(store.repositories.get(path)?.blobs)
  const hadManifests = new Set(store.repositories.get(path)?.manifests.keys())
  seedImage(cluster, path, image, `imported-${tag}`)
  seedImage(upstream, 'far/away', image)
  const repository = store.repository(path)
  for (const digest of image.blobs.keys()) {
    if (had.has(digest)) continue
    repository.blobs.delete(digest)
    if (![...store.repositories.values()].some(({ blobs }) => blobs.has(digest))) store.blobs.delete(digest)
  }
  for (const { digest } of image.manifests) if (!hadManifests.has(digest)) repository.manifests.delete(digest)
  repository.tags.delete(`imported-${tag}`)
  const [namespace = '', name = ''] = path.split('/')
  const [event] = state.streams.get(namespace, name)?.tags.get(`imported-${tag}`) ?? []
  const dockerImageReference = `quay.example.com/far/away@${image.root.digest}`
  if (event !== undefined) Object.assign(event, { dockerImageReference })
}

function signByOthers(image: BuiltImage, { target, path, dice }: Place): void {
  for (const suffix of ['sig', 'att', 'sbom'] as const) {
    if (!dice.chance(0.6)) continue
    const { image: signature, tag } = makeCosign(image.root.digest, suffix, 100 + dice.below(50))
    seedImage(target, path, signature, tag)
  }
}

function listByOthers(image: BuiltImage, { target, path, dice }: Place): void {
  const artifact = makeArtifact({ seed: 200 + dice.below(50), subject: describe(image.root) })
  seedImage(target, path, artifact)
  list(target, path, image.root, [artifact.root])
}

function someOptions({ chance, one }: Dice, count: number, name: string): Variables {
  return {
    ...(chance(0.25) ? { platforms: one(['linux/amd64', 'linux/arm64', 'linux/amd64,linux/ppc64le']) } : {}),
    ...(chance(0.25) ? { referrers: 'false' } : {}),
    ...(chance(0.25) ? { overwrite: one(['same', 'never']) } : {}),
    ...(chance(0.25) && count === 1 ? { 'additional-tags': 'stable,v0.1' } : {}),
    ...(chance(0.3) ? { atomic: 'true', report: `${name}.json` } : {}),
    ...(chance(0.15) ? { 'require-signed': 'true' } : {}),
    ...(chance(0.3) ? { 'include-foreign': 'true' } : {}),
    jobs: one(['1', '3', '8']),
  }
}
