import { describe, expect, test } from '@jest/globals'
import type { Source, Target } from '../../../src/copy/store.ts'
import { PromoteError } from '../../../src/core/errors.ts'
import { referrersTag } from '../../../src/oci/digest.ts'
import {
  type BuiltImage,
  describe as describeManifest,
  makeArtifact,
  makeCosign,
  makeImage,
  makeIndex,
} from '../../support/cluster/image.ts'
import { copyImage, missing, testContext, testRun, writes } from '../../support/copy.ts'
import { type MemoryStore, memoryRegistry, memoryStore } from '../../support/memory-store.ts'

const SHAPES: [string, BuiltImage][] = [
  ['an OCI image', makeImage({ layers: 3 })],
  ['a docker v2s2 image', makeImage({ layers: 3, docker: true })],
  ['an OCI index', makeIndex({ platforms: ['linux/amd64', 'linux/arm64', 'linux/s390x'], sharedLayers: 2 })],
  ['a docker manifest list', makeIndex({ docker: true })],
  ['a nested index', makeIndex({ nested: true })],
  ['an index with a build attestation', makeIndex({ attestation: true })],
  ['an image without mediaType', makeImage({ mediaType: false })],
  ['an image without layers', makeImage({ layers: [] })],
  ['an image with an empty layer', makeImage({ layers: [0, 10] })],
  ['an artifact', makeArtifact()],
]

const begins = ({ calls }: MemoryStore) => calls.filter((call) => call.startsWith('begin '))

/** Lets everything happen that can happen without the outside. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

describe('copying an image', () => {
  test.each(SHAPES)('brings %s over complete, and a second run writes nothing', async (_name, image) => {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore()]
    source.seed(image, 'v1')
    const first = await copyImage(source, target)
    expect(missing(target, image)).toEqual([])
    expect(target.tagged.get('v1')).toBe(image.root.digest)
    expect(first.bytes.copied + first.bytes.mounted + first.bytes.present).toBe(first.bytes.total)
    target.calls.length = 0
    const second = await copyImage(source, target)
    expect(writes(target)).toEqual([])
    expect(second.bytes).toMatchObject({ copied: 0, mounted: 0 })
  })

  test('writes children before parents and tags last of all', async () => {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore()]
    const image = makeIndex()
    source.seed(image, 'v1')
    await copyImage(source, target, { tags: ['v1', 'stable'] })
    const puts = target.calls.filter((call) => call.startsWith('put '))
    expect(puts.slice(-2)).toEqual(['put v1', 'put stable'])
    expect(puts).toHaveLength(image.manifests.length - 1 + 2)
    const lastSend = target.calls.findLastIndex((call) => call.startsWith('send '))
    expect(target.calls.indexOf('put v1')).toBeGreaterThan(lastSend)
  })

  test('asks for the manifest, and where it is there for no blob of it', async () => {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore()]
    const image = makeImage({ layers: 9 })
    source.seed(image, 'v1')
    target.seed(image, 'old')
    await copyImage(source, target, { referrers: false })
    expect(target.calls.filter((call) => call !== 'inventory')).toEqual([
      'locate v1',
      `has ${image.root.digest}`,
      'put v1',
    ])
  })

  test('asks for the manifests of an index while they are read at the source', async () => {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore()]
    const image = makeIndex()
    source.seed(image, 'v1')
    let open: () => void = () => undefined
    const opened = new Promise<void>((resolve) => {
      open = resolve
    })
    const slow: Source = Object.assign(Object.create(source), {
      manifest: (...given: Parameters<Source['manifest']>) => opened.then(() => source.manifest(...given)),
    })
    const ends = copyImage(slow, target, { referrers: false })
    await settled()
    const asked = target.calls.filter((call) => call.startsWith('has '))
    expect(new Set(asked)).toEqual(new Set(image.manifests.map(({ digest }) => `has ${digest}`)))
    open()
    await ends
    expect(missing(target, image)).toEqual([])
  })

  test('begins all blobs at once, whatever the answers to the others are', async () => {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore()]
    const image = makeImage({ layers: 4 })
    source.seed(image, 'v1')
    let answer: () => void = () => undefined
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    const waiting: Target = Object.assign(Object.create(target), {
      startUpload: (...given: Parameters<Target['startUpload']>) => {
        const begun = target.startUpload(...given)
        return answered.then(() => begun)
      },
    })
    const ends = copyImage(source, waiting, { referrers: false })
    await settled()
    expect(begins(target)).toHaveLength(image.blobs.size)
    answer()
    await ends
    expect(missing(target, image)).toEqual([])
  })

  test('believes an inventory and asks for nothing that it names', async () => {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore({ inventory: true })]
    const image = makeImage({ layers: 4 })
    source.seed(image, 'v1')
    for (const [digest, bytes] of [...image.blobs].slice(0, 3)) target.blobs.set(digest, bytes)
    const { bytes } = await copyImage(source, target, { referrers: false })
    expect(target.calls.filter((call) => call.startsWith('begin '))).toHaveLength(image.blobs.size - 3)
    expect(bytes.present).toBeGreaterThan(0)
  })

  test('does not take a right tag of an index for its children', async () => {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore()]
    const image = makeIndex()
    source.seed(image, 'v1')
    target.seed(image, 'v1')
    const child = image.manifests[0]
    if (child === undefined) throw new Error('no child')
    target.manifests.delete(child.digest)
    const { bytes } = await copyImage(source, target, { referrers: false })
    expect(missing(target, image)).toEqual([])
    expect(bytes.copied).toBe(child.bytes.length)
  })

  test('sends blobs again that the registry misses when it is given the manifest', async () => {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore({ inventory: true })]
    const image = makeImage({ layers: 3 })
    source.seed(image, 'v1')
    const lost = [...image.blobs.keys()][0]
    if (lost === undefined) throw new Error('no blob')
    const stale = {
      ...target,
      inventory: async () => new Set(image.blobs.keys()),
      get listsReferrers() {
        return undefined
      },
    }
    for (const [digest, bytes] of image.blobs) if (digest !== lost) target.blobs.set(digest, bytes)
    await copyImage(source, stale, { referrers: false })
    expect(missing(target, image)).toEqual([])
  })

  test('mounts inside one registry, and sends nothing', async () => {
    const registry = memoryRegistry()
    const [source, target] = [registry.repository('dev/app'), registry.repository('prod/app')]
    const image = makeIndex()
    source.seed(image, 'v1')
    const { bytes } = await copyImage(source, target, { mountFrom: 'dev/app', referrers: false })
    expect(target.traffic.sent).toBe(0)
    expect(bytes.mounted).toBe([...image.blobs.values()].reduce((sum, blob) => sum + blob.length, 0))
  })

  test('sends a blob that several images share once, and mounts it for the others', async () => {
    const registry = memoryRegistry()
    const source = memoryStore({ side: 'source' })
    const images = [1, 2, 3].map((seed) => makeImage({ seed, shared: { layers: 2, seed: 9 } }))
    for (const [i, image] of images.entries()) source.seed(image, `v${i}`)
    const run = testRun()
    const targets = images.map((_, i) => registry.repository(`prod/app${i}`))
    await Promise.all(
      targets.map((target, i) =>
        copyImage(source, target, { reference: `v${i}`, run, repository: `prod/app${i}`, referrers: false }),
      ),
    )
    for (const [i, target] of targets.entries()) expect(missing(target, images[i] as BuiltImage)).toEqual([])
    const unique = new Map(images.flatMap((image) => [...image.blobs]))
    const sent = targets.reduce((sum, target) => sum + target.traffic.sent, 0)
    expect(sent).toBe([...unique.values()].reduce((sum, blob) => sum + blob.length, 0))
  })

  test('a failure of one part begins nothing new, leaves no session open and no tag behind', async () => {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore()]
    const image = makeImage({ layers: [50_000, 40_000, 30_000, 20_000, 10_000] })
    source.seed(image, 'v1')
    target.break({ on: 'send', after: 10, effect: new PromoteError('QUOTA', 'full', { side: 'destination' }) })
    await expect(copyImage(source, target, { referrers: false })).rejects.toMatchObject({
      code: 'QUOTA',
      side: 'destination',
    })
    expect(target.tagged.size).toBe(0)
    expect(target.open()).toBe(0)
  })

  test('a dry run asks for everything and writes nothing', async () => {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore()]
    const image = makeIndex({ sharedLayers: 1 })
    source.seed(image, 'v1')
    const { plan } = await copyImage(source, target, { dryRun: true })
    expect(writes(target)).toEqual([])
    expect(plan.tags).toEqual([{ tag: 'v1', from: null, to: image.root.digest }])
    expect([...plan.steps.values()].every((step) => step.do !== 'skip')).toBe(true)
  })
})

describe('what is attached to an image', () => {
  function signed() {
    const image = makeIndex()
    const child = image.manifests[0]
    if (child === undefined) throw new Error('no child')
    const sbom = makeArtifact({
      seed: 11,
      subject: describeManifest(image.root),
      artifactType: 'application/spdx+json',
      annotations: { made: 'here' },
    })
    const signature = makeArtifact({
      seed: 12,
      subject: describeManifest(sbom.root),
      artifactType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    })
    const ofChild = makeArtifact({
      seed: 13,
      subject: describeManifest(child),
      artifactType: 'application/vnd.in-toto+json',
    })
    const cosign = makeCosign(child.digest)
    const source = memoryStore({ side: 'source' })
    for (const part of [image, sbom, signature, ofChild]) source.seed(part)
    source.seed(cosign.image, cosign.tag)
    source.tagged.set('v1', image.root.digest)
    return { source, image, parts: [image, sbom, signature, ofChild, cosign.image], sbom, cosign }
  }

  test.each([
    ['with the referrers API', true],
    ['without it, through the fallback tag', false],
  ])('arrives complete at a registry %s', async (_name, referrersApi) => {
    const { source, image, parts, sbom, cosign } = signed()
    const target = memoryStore({ referrersApi })
    const { graph } = await copyImage(source, target)
    for (const part of parts) expect(missing(target, part)).toEqual([])
    expect(target.tagged.get(cosign.tag)).toBe(cosign.image.root.digest)
    expect((await target.referrers(image.root.digest)).map(({ digest }) => digest)).toEqual([sbom.root.digest])
    expect((await target.referrers(sbom.root.digest)).length).toBe(1)
    expect(graph.attached).toHaveLength(4)
    expect(target.tagged.has(referrersTag(image.root.digest))).toBe(!referrersApi)
    target.calls.length = 0
    await copyImage(source, target)
    expect(writes(target)).toEqual([])
  })

  test('keeps what the destination has in its fallback index, and its annotations', async () => {
    const { source, image, sbom } = signed()
    const target = memoryStore({ referrersApi: false })
    const own = makeArtifact({ seed: 77, subject: describeManifest(image.root), annotations: { by: 'destination' } })
    const before = memoryStore({ side: 'source' })
    before.seed(image, 'v1')
    before.seed(own)
    await copyImage(before, target)
    await copyImage(source, target)
    const listed = await target.referrers(image.root.digest)
    expect(listed.map(({ digest, annotations }) => [digest, annotations])).toEqual([
      [own.root.digest, { by: 'destination' }],
      [sbom.root.digest, { made: 'here' }],
    ])
  })

  test('is asked for while the manifests of an index are still on their way', async () => {
    const { source, image, parts } = signed()
    const asked: string[] = []
    let open: () => void = () => undefined
    const opened = new Promise<void>((resolve) => {
      open = resolve
    })
    const slow: Source = Object.assign(Object.create(source), {
      manifest: (...given: Parameters<Source['manifest']>) => opened.then(() => source.manifest(...given)),
      referrers(...given: Parameters<Source['referrers']>) {
        asked.push(...given)
        return source.referrers(...given)
      },
    })
    const target = memoryStore()
    const ends = copyImage(slow, target)
    await settled()
    expect(new Set(asked)).toEqual(new Set(image.manifests.map(({ digest }) => digest)))
    open()
    await ends
    for (const part of parts) expect(missing(target, part)).toEqual([])
  })

  test('is left behind with referrers: false', async () => {
    const { source, image } = signed()
    const target = memoryStore()
    const { graph } = await copyImage(source, target, { referrers: false })
    expect(graph.attached).toEqual([])
    expect(target.manifests.size).toBe(image.manifests.length)
  })

  test('is there before the tag moves', async () => {
    const { source } = signed()
    const target = memoryStore({ referrersApi: false })
    await copyImage(source, target)
    expect(target.calls.filter((call) => call.startsWith('put ')).at(-1)).toBe('put v1')
  })

  test('a fallback index that lists itself in a circle ends', async () => {
    const source = memoryStore({ side: 'source', referrersApi: false })
    const image = makeImage()
    source.seed(image, 'v1')
    const artifact = makeArtifact({ subject: describeManifest(image.root) })
    source.seed(artifact)
    const circle = {
      ...source,
      referrers: async () => [describeManifest(artifact.root), describeManifest(image.root)],
      get listsReferrers() {
        return undefined
      },
    }
    const { graph } = await copyImage(circle, memoryStore())
    expect(graph.attached.map(({ digest }) => digest)).toEqual([artifact.root.digest])
  })
})

describe('platforms', () => {
  const image = makeIndex({ platforms: ['linux/amd64', 'linux/arm64/v8', 'linux/s390x'], attestation: true })
  const source = memoryStore({ side: 'source' })
  source.seed(image, 'v1')

  test('a subset keeps the index and its digest, and the attestation of what is kept', async () => {
    const target = memoryStore()
    const { graph, plan } = await copyImage(source, target, { platforms: ['linux/amd64'] })
    expect(target.tagged.get('v1')).toBe(image.root.digest)
    expect(target.manifests.size).toBe(3)
    expect(graph.platforms).toEqual(['linux/amd64'])
    const left = [...plan.steps.values()].filter((step) => step.node.leave !== undefined)
    expect(left.map((step) => step.why).sort()).toEqual(
      ['platform linux/arm64/v8 is not wanted', 'platform linux/s390x is not wanted'].sort(),
    )
  })

  test('a platform that is not there is an error that lists those that are', async () => {
    const failing = copyImage(source, memoryStore(), { platforms: ['linux/amd64', 'windows/amd64'] })
    await expect(failing).rejects.toMatchObject({
      code: 'PLATFORM_MISSING',
      side: 'source',
      message: expect.stringMatching(/windows\/amd64.*linux\/amd64, linux\/arm64.*linux\/s390x/),
    })
  })

  test('a single image is checked by its config', async () => {
    const single = memoryStore({ side: 'source' })
    single.seed(makeImage({ platform: 'linux/arm64' }), 'v1')
    await expect(copyImage(single, memoryStore(), { platforms: ['linux/amd64'] })).rejects.toMatchObject({
      code: 'PLATFORM_MISSING',
    })
    await copyImage(single, memoryStore(), { platforms: ['linux/arm64'] })
  })

  test('a child that the source lacks is named', async () => {
    const sparse = memoryStore({ side: 'source' })
    sparse.seed(image, 'v1')
    const gone = image.manifests[1]?.digest ?? ''
    sparse.manifests.delete(gone as never)
    await expect(copyImage(sparse, memoryStore())).rejects.toMatchObject({
      code: 'NOT_FOUND',
      side: 'source',
      message: expect.stringContaining(gone),
    })
  })
})

describe('a broken transfer', () => {
  const SIZE = 3_000_000
  const image = makeImage({ layers: [SIZE] })
  const layer = [...image.blobs].find(([, bytes]) => bytes.length === SIZE)?.[0]

  function stores(options: Parameters<typeof memoryStore>[0] = {}) {
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore(options)]
    source.seed(image, 'v1')
    return { source, target }
  }

  test('goes on where the source broke off, reading nothing twice', async () => {
    const { source, target } = stores()
    for (const after of [1_000_000, 700_000]) source.break({ on: 'read', after, ...(layer && { digest: layer }) })
    await copyImage(source, target, { referrers: false })
    expect(missing(target, image)).toEqual([])
    const others = [...image.blobs.values()].reduce((sum, blob) => sum + blob.length, 0) - SIZE
    expect(source.traffic.read).toBe(SIZE + others)
    expect(source.calls.filter((call) => call.startsWith(`blob ${layer}`))).toHaveLength(3)
  })

  test('goes on where the destination broke off, sending no acknowledged byte twice', async () => {
    const { source, target } = stores()
    target.break({ on: 'send', after: 1_234_567, ...(layer && { digest: layer }) })
    await copyImage(source, target, { referrers: false })
    expect(missing(target, image)).toEqual([])
    expect(target.traffic.sent).toBe([...image.blobs.values()].reduce((sum, blob) => sum + blob.length, 0))
  })

  test('begins again where the destination keeps nothing', async () => {
    const { source, target } = stores({ resumes: false })
    target.break({ on: 'send', after: 1_234_567, ...(layer && { digest: layer }) })
    await copyImage(source, target, { referrers: false })
    expect(missing(target, image)).toEqual([])
    expect(target.calls.filter((call) => call.startsWith(`send ${layer}`))).toEqual([
      `send ${layer} 0`,
      `send ${layer} 0`,
    ])
  })

  test('survives more breaks than retries, as long as each try moves a mebibyte', async () => {
    const big = makeImage({ layers: [16_000_000] })
    const [source, target] = [memoryStore({ side: 'source' }), memoryStore()]
    source.seed(big, 'v1')
    source.break({ on: 'read', after: 1_200_000, times: 12 })
    await copyImage(source, target, { referrers: false })
    expect(missing(target, big)).toEqual([])
  })

  test('gives up after so many tries without progress, naming the side, and closes the session', async () => {
    const { source, target } = stores()
    source.break({ on: 'read', after: 1000, times: 100, ...(layer && { digest: layer }) })
    const run = testRun()
    await expect(copyImage(source, target, { referrers: false, run })).rejects.toMatchObject({
      code: 'NETWORK',
      side: 'source',
    })
    expect(target.open()).toBe(0)
    expect(run.events.filter(({ event }) => event === 'retry')).toHaveLength(3)
  })

  test('bytes that are damaged once are fetched again; the upload is never completed with them', async () => {
    const { source, target } = stores()
    source.break({ on: 'read', after: 2_999_990, effect: 'corrupt', ...(layer && { digest: layer }) })
    await copyImage(source, target, { referrers: false })
    expect(missing(target, image)).toEqual([])
  })

  test('bytes that are damaged twice fail with both digests', async () => {
    const { source, target } = stores()
    source.break({ on: 'read', after: 5, effect: 'corrupt', times: 2, ...(layer && { digest: layer }) })
    const failing = copyImage(source, target, { referrers: false })
    await expect(failing).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
      side: 'source',
      message: expect.stringMatching(/sha256:[0-9a-f]{64}.*sha256:[0-9a-f]{64}/),
    })
    expect(target.open()).toBe(0)
    expect(target.tagged.size).toBe(0)
  })

  test('stops waiting when the run is cancelled', async () => {
    const { source, target } = stores()
    const context = testContext()
    source.break({ on: 'read', after: 5, times: 100, ...(layer && { digest: layer }) })
    context.stop.abort()
    await expect(copyImage(source, target, { referrers: false, run: testRun({ context }) })).rejects.toMatchObject({
      code: 'NETWORK',
    })
    expect(context.waits).toEqual([])
    expect(target.open()).toBe(0)
  })
})
