import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { at, options } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from './cluster/cluster.ts'
import {
  type BuiltImage,
  describe as descriptorOf,
  fallbackTag,
  makeArtifact,
  makeCosign,
  makeFallbackIndex,
  makeImage,
  makeIndex,
  seedImage,
} from './cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from './cluster/plain.ts'
import { faultsOf, type Row, unverified, type Wishes, watch } from './watch.ts'

/** The verifier of promotions finds what is missing and what was lost: a test that relies on it has to be able to fail. */

let from: EmbeddedRegistry
let to: EmbeddedRegistry
let bare: EmbeddedRegistry
let cluster: EmbeddedCluster
beforeAll(async () => {
  ;[from, to, bare, cluster] = await Promise.all([
    startRegistry(),
    startRegistry(),
    startRegistry({ referrersApi: false }),
    startCluster(),
  ])
})
afterAll(async () => {
  await Promise.all([from, to, bare, cluster].map((each) => each.close()))
})

const ALL: Wishes = () => ({ platforms: undefined, referrers: true, foreign: false, skipMissing: false })
const INDEX = makeIndex({ seed: 1201 })
const [CHILD = INDEX.root] = INDEX.manifests

function row(target: EmbeddedRegistry | EmbeddedCluster, path: string, image: BuiltImage): Row {
  const host = 'registryHost' in target ? target.registryHost : target.host
  const digest = image.root.digest
  return { source: `${from.host}/${path}:v1`, destination: `${host}/${path}:v1`, tag: 'v1', digest, status: 'promoted' }
}

const look = (path: string, wishes = ALL, target: EmbeddedRegistry | EmbeddedCluster = to, image = INDEX) =>
  faultsOf([row(target, path, image)], wishes, new Map())

describe('an image that', () => {
  test.each(['a registry', 'a cluster'])('is whole at %s leaves nothing to say', async (where) => {
    const target = where === 'a cluster' ? cluster : to
    seedImage(from, 'dev/whole', INDEX, 'v1')
    seedImage(target, 'dev/whole', INDEX, 'v1')
    expect(await look('dev/whole', ALL, target)).toEqual([])
  })

  test.each<[string, (path: string) => unknown, RegExp]>([
    ['has no tag', (path) => to.store.repository(path).tags.delete('v1'), /the tag v1 does not exist/],
    [
      'is another one',
      (path) => seedImage(to, path, makeImage({ seed: 1202 }), 'v1'),
      /the tag v1 is at sha256:\w+, not at/,
    ],
    ['lacks a child', (path) => to.store.repository(path).manifests.delete(CHILD.digest), /manifest .* is missing/],
    ['lacks a blob', (path) => to.store.repository(path).blobs.clear(), /blob sha256:\w+, named by .* is missing/],
  ])('%s is told', async (name, spoil, sentence) => {
    const path = `spoilt/${name.replaceAll(' ', '-')}`
    seedImage(to, path, INDEX, 'v1')
    spoil(path)
    expect((await look(path)).join('\n')).toMatch(sentence)
  })

  test('has only the platforms that were asked for is whole, and not for more of them', async () => {
    seedImage(to, 'dev/sparse', INDEX, 'v1')
    to.store.repository('dev/sparse').manifests.delete(CHILD.digest)
    const of =
      (architecture: string): Wishes =>
      (each) => ({ ...ALL(each), platforms: [{ os: 'linux', architecture }] })
    expect(await look('dev/sparse', of('aarch64'))).toEqual([])
    expect(await look('dev/sparse', of('amd64'))).toHaveLength(1)
  })

  test('a cluster answers for and does not store is told', async () => {
    seedImage(cluster, 'dev/elsewhere', INDEX, 'v1')
    const [layer] = [...INDEX.blobs.keys()]
    if (layer !== undefined) cluster.store.blobs.delete(layer)
    expect((await look('dev/elsewhere', ALL, cluster)).join('\n')).toContain(`blob ${layer}`)
  })
})

describe('what is attached to an image at the source', () => {
  const sbom = makeArtifact({ seed: 1203, subject: descriptorOf(INDEX.root) })
  const signature = makeCosign(INDEX.root.digest)

  test.each(['a registry with the referrers API', 'a registry without it'])('is asked for at %s', async (where) => {
    const target = where.endsWith('it') ? bare : to
    for (const each of [from, target]) seedImage(each, 'dev/signed', INDEX, 'v1')
    seedImage(from, 'dev/signed', sbom)
    seedImage(from, 'dev/signed', signature.image, signature.tag)
    expect((await look('dev/signed', ALL, target)).join('\n')).toMatch(
      /not listed[\s\S]*is missing[\s\S]*\.sig is missing/,
    )
    expect(await look('dev/signed', (each) => ({ ...ALL(each), referrers: false }), target)).toEqual([])
    seedImage(target, 'dev/signed', sbom)
    seedImage(target, 'dev/signed', signature.image, signature.tag)
    const list = makeFallbackIndex([descriptorOf(sbom.root)])
    if (target === bare)
      bare.store.putManifest('dev/signed', list.bytes, list.mediaType, fallbackTag(INDEX.root.digest))
    expect(await look('dev/signed', ALL, target)).toEqual([])
  })
})

describe('what was at the destination and', () => {
  const tag = `${fallbackTag(INDEX.root.digest)}.sig`
  test.each<[string, (path: string) => unknown, RegExp]>([
    ['is gone', (path) => to.store.repository(path).tags.delete('old'), /the tag old is gone/],
    ['was moved', (path) => to.store.repository(path).tags.set('old', INDEX.root.digest), /the tag old was moved/],
    ['is no longer there by digest', (path) => to.store.repository(path).manifests.clear(), /the manifest \S+ is gone/],
    [
      'was signed by others',
      (path) => seedImage(to, path, makeCosign(INDEX.root.digest, 'sig', 1).image, tag),
      /has lost the signature layer/,
    ],
    [
      'was listed by others',
      (path) => {
        const empty = makeFallbackIndex([])
        to.store.putManifest(path, empty.bytes, empty.mediaType, fallbackTag(INDEX.root.digest))
      },
      /the list of referrers \S+ has lost/,
    ],
  ])('%s is told', async (name, spoil, sentence) => {
    const path = `losses/${name.replaceAll(' ', '-')}`
    seedImage(to, path, makeImage({ seed: 1204 }), 'old')
    seedImage(to, path, makeCosign(INDEX.root.digest, 'sig', 2).image, tag)
    const listed = makeFallbackIndex([descriptorOf(makeArtifact({ seed: 1205 }).root)])
    to.store.putManifest(path, listed.bytes, listed.mediaType, fallbackTag(INDEX.root.digest))
    const verify = watch()
    seedImage(to, path, INDEX, 'v1')
    spoil(path)
    await expect(verify([row(to, path, INDEX)], ALL)).rejects.toThrow(sentence)
  })
})

test('a run of the tests is looked at by itself, unless the test says why not', async () => {
  seedImage(from, 'dev/lies', INDEX, 'v1')
  seedImage(to, 'dev/lies', INDEX, 'v1')
  to.store.repository('dev/lies').blobs.clear()
  const run = () => within(options(at(from), at(to), { referrers: 'false' }), ['dev/lies:v1'])
  await expect(run()).rejects.toThrow(/The verifier disagrees with the report:\n\S+\/dev\/lies: blob sha256:/)
  const { report } = await unverified('the registry lost blobs of a manifest that it took', run)
  expect(report.images[0]?.status).toBe('unchanged')
})
