import { describe, expect, test } from '@jest/globals'
import type { Target } from '../../../src/copy/store.ts'
import { PromoteError } from '../../../src/core/errors.ts'
import { type Digest, digestOf, referrersTag } from '../../../src/oci/digest.ts'
import { type Descriptor, MANIFEST_LIMIT, readManifest } from '../../../src/oci/manifest.ts'
import {
  type BuiltImage,
  type BuiltManifest,
  describe as entry,
  makeImage,
  makeIndex,
} from '../../support/cluster/image.ts'
import { type CopyOptions, copyImage, missing, writes } from '../../support/copy.ts'
import { collect } from '../../support/lab.ts'
import { type MemoryStore, memoryStore } from '../../support/memory-store.ts'
import { attached, type Blob, blob, CONFIG, custom, LAYER } from '../../support/shapes.ts'

const CONFIG_BLOB = blob('{"os":"linux","architecture":"amd64"}', CONFIG)

function imageOf(layers: readonly (Blob | Descriptor)[], more: object = {}, algorithm?: 'sha512'): BuiltImage {
  const blobs = [CONFIG_BLOB, ...layers.filter((layer): layer is Blob => 'bytes' in layer)]
  const descriptors = layers.map((layer) => ('bytes' in layer ? layer.descriptor : layer))
  return custom(
    { config: CONFIG_BLOB.descriptor, layers: descriptors, ...more },
    { blobs, ...(algorithm && { algorithm }) },
  )
}

function stored(image: BuiltImage): MemoryStore {
  const source = memoryStore({ side: 'source' })
  source.seed(image, 'v1')
  return source
}

async function arrives(image: BuiltImage, options: CopyOptions = {}): Promise<MemoryStore> {
  const target = memoryStore()
  await copyImage(stored(image), target, options)
  expect(missing(target, image)).toEqual([])
  expect(Buffer.from(target.manifests.get(image.root.digest)?.bytes ?? []).equals(image.root.bytes)).toBe(true)
  return target
}

describe('a shape that is rare', () => {
  const layer = blob('a layer')
  const withData = { ...layer.descriptor, data: Buffer.from('a layer').toString('base64') }
  const child = makeImage({ seed: 60 })
  const childData = { ...entry(child.root), data: Buffer.from(child.root.bytes).toString('base64') }

  test.each<[string, BuiltImage]>([
    ['a layer whose bytes are in the manifest too', imageOf([{ ...layer, descriptor: withData }])],
    ['a child whose bytes are in the index too', custom({ manifests: [childData] }, { below: [child] })],
    ['a layer named by sha512', imageOf([blob('a layer', LAYER, 'sha512')])],
    [
      'a manifest named by sha512',
      custom({ manifests: [entry(imageOf([layer], {}, 'sha512').root)] }, { below: [imageOf([layer], {}, 'sha512')] }),
    ],
    ['a manifest without mediaType', imageOf([layer])],
    ['an index without mediaType', custom({ manifests: [entry(child.root)] }, { below: [child] })],
    [
      'one blob as config and as layer',
      imageOf([{ ...CONFIG_BLOB, descriptor: { ...CONFIG_BLOB.descriptor, mediaType: LAYER } }]),
    ],
    [
      'one blob as two layers of different type',
      imageOf([layer, { ...layer.descriptor, mediaType: 'application/vnd.oci.image.layer.v1.tar' }]),
    ],
    ['a layer that is the manifest of another image', imageOf([blob(child.root.bytes), layer])],
    [
      'an index that lists one child twice',
      custom(
        { manifests: [entry(child.root), { ...entry(child.root), platform: { os: 'linux', architecture: 'arm64' } }] },
        { below: [child] },
      ),
    ],
    ['an index without children', custom({ manifests: [] })],
    [
      'no layers and a config of any type',
      custom({ config: blob('x', 'text/plain').descriptor, layers: [] }, { blobs: [blob('x', 'text/plain')] }),
    ],
    ['members that nobody knows', imageOf([layer], { 'org.example.custom': { a: [1, 'two', null] } })],
    ['an index of four levels', nest(child, 4)],
  ])('%s', (_what, image) => arrives(image))

  test('a manifest that is also a blob is there as both', async () => {
    const both = imageOf([blob(child.root.bytes)])
    const index = custom({ manifests: [entry(both.root), entry(child.root)] }, { below: [both, child] })
    const target = await arrives(index)
    expect(target.blobs.has(child.root.digest)).toBe(true)
    expect(target.manifests.has(child.root.digest)).toBe(true)
  })

  test('an index of 200 children', async () => {
    const children = Array.from({ length: 200 }, (_, seed) => imageOf([blob(`layer ${seed}`)]))
    const index = custom({ manifests: children.map(({ root }) => entry(root)) }, { below: children })
    const target = await arrives(index)
    target.calls.length = 0
    await copyImage(stored(index), target)
    expect(writes(target)).toEqual([])
  })

  test('a manifest of 4 MiB, and not one byte more', async () => {
    const spare = MANIFEST_LIMIT - imageOf([layer], { x: '' }).root.bytes.byteLength
    const largest = imageOf([layer], { x: 'x'.repeat(spare) })
    expect(largest.root.bytes.byteLength).toBe(MANIFEST_LIMIT)
    await arrives(largest)
    expect(() => readManifest(imageOf([layer], { x: 'x'.repeat(spare + 1) }).root.bytes, undefined)).toThrow(
      expect.objectContaining({ code: 'PROTOCOL' }),
    )
  })

  test('docker schema 1 is refused with what to do about it', () => {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 1, name: 'a', tag: 'b', fsLayers: [], history: [] }))
    const type = 'application/vnd.docker.distribution.manifest.v1+prettyjws'
    expect(() => readManifest(bytes, type)).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message: expect.stringContaining('schema 1'),
        hint: expect.stringContaining('push'),
      }),
    )
  })

  test('indexes that fan out to the same children again and again are not followed without end', async () => {
    let level: BuiltImage[] = Array.from({ length: 8 }, (_, i) => imageOf([blob(`leaf ${i}`)]))
    for (let depth = 0; depth < 6; depth += 1) {
      const below = level
      level = below.map((_, i) =>
        custom({ manifests: below.map(({ root }) => entry(root)), n: i + depth * 10 }, { below: i === 0 ? below : [] }),
      )
    }
    const root = custom({ manifests: level.map(({ root }) => entry(root)) }, { below: level })
    const failing = copyImage(stored(root), memoryStore(), { referrers: false })
    await expect(failing).rejects.toMatchObject({ code: 'UNSUPPORTED', side: 'source' })
  })
})

function nest(image: BuiltImage, levels: number): BuiltImage {
  if (levels === 0) return image
  const below = nest(image, levels - 1)
  return custom({ manifests: [entry(below.root)] }, { below: [below] })
}

describe('a non-distributable layer', () => {
  const bytes = blob('a layer of Windows', 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip')
  const foreign = { ...bytes.descriptor, urls: ['https://example.com/layer'] }
  const image = imageOf([foreign])
  /** The URL is answered by the store, as `include-foreign` makes it. */
  const source = (): MemoryStore => {
    const store = stored(image)
    store.blobs.set(bytes.descriptor.digest, bytes.bytes)
    return store
  }
  const accepting = (target: MemoryStore): Target => ({
    ...target,
    get listsReferrers() {
      return target.listsReferrers
    },
    // As registries do: https://github.com/distribution/distribution, schema2manifesthandler.go `verifyManifest`.
    async putManifest(manifest, tag) {
      const links = manifest.links.filter(({ descriptor }) => descriptor.urls === undefined)
      const digest = await target.putManifest({ ...manifest, links }, tag)
      target.manifests.set(manifest.descriptor.digest, manifest)
      return digest
    },
  })

  test('stays where its URL says', async () => {
    const target = memoryStore()
    const { plan } = await copyImage(source(), accepting(target))
    expect(target.blobs.has(foreign.digest)).toBe(false)
    expect(target.tagged.get('v1')).toBe(image.root.digest)
    const left = [...plan.steps.values()].filter(({ node }) => node.leave !== undefined)
    expect(left.map(({ why }) => why)).toEqual(['non-distributable layer: its URL stays in the manifest'])
  })

  test('comes along with include-foreign, also when its manifest is there already', async () => {
    const target = memoryStore()
    await copyImage(source(), accepting(target))
    await copyImage(source(), accepting(target), { includeForeign: true, tags: ['v2'] })
    expect(Buffer.from(target.blobs.get(foreign.digest) ?? [])).toEqual(Buffer.from(bytes.bytes))
  })

  test('comes along when it is an ordinary layer of another platform', async () => {
    const ordinary = imageOf([blob('a layer of Windows')])
    for (const below of [
      [image, ordinary],
      [ordinary, image],
    ]) {
      const index = custom({ manifests: below.map(({ root }) => entry(root)) }, { below })
      const target = memoryStore()
      await copyImage(stored(index), accepting(target))
      expect(target.blobs.has(foreign.digest)).toBe(true)
    }
  })
})

describe('a sparse index at the source', () => {
  const image = makeIndex({ seed: 61, platforms: ['linux/amd64', 'linux/arm64', 'linux/s390x'] })
  const [amd64, arm64] = image.manifests as [BuiltManifest, BuiltManifest]
  const sparse = (): MemoryStore => {
    const source = stored(image)
    source.manifests.delete(arm64.digest)
    return source
  }

  test('is an error that names the child, its platform and the way out', async () => {
    await expect(copyImage(sparse(), memoryStore())).rejects.toMatchObject({
      code: 'NOT_FOUND',
      side: 'source',
      message: expect.stringMatching(new RegExp(`${arm64.digest} \\(linux/arm64\\)`)),
      hint: expect.stringContaining('skip-missing'),
    })
  })

  test('is as sparse at the destination with skip-missing, and the plan says why', async () => {
    const target = memoryStore()
    const { graph, plan } = await copyImage(sparse(), target, { skipMissing: true })
    expect(target.tagged.get('v1')).toBe(image.root.digest)
    expect(target.manifests.has(arm64.digest)).toBe(false)
    expect(graph.platforms).toEqual(['linux/amd64', 'linux/s390x'])
    expect(plan.steps.get(`manifest ${arm64.digest}`)).toMatchObject({ do: 'skip', why: 'the source does not have it' })
  })

  test('has no platform that is missing, also with skip-missing', async () => {
    const failing = copyImage(sparse(), memoryStore(), { skipMissing: true, platforms: ['linux/arm64'] })
    await expect(failing).rejects.toMatchObject({ code: 'PLATFORM_MISSING', side: 'source' })
  })

  test('whose child cannot be read for another reason is an error nevertheless', async () => {
    const source = sparse()
    const denied = new PromoteError('DENIED', 'no', { side: 'source' })
    const refusing = {
      ...source,
      listsReferrers: undefined,
      manifest: async (descriptor: Descriptor) => {
        if (descriptor.digest === amd64.digest) throw denied
        return source.manifest(descriptor)
      },
    }
    await expect(copyImage(refusing, memoryStore(), { skipMissing: true })).rejects.toBe(denied)
  })
})

describe('a registry that takes no sparse index', () => {
  const image = makeIndex({ seed: 62, platforms: ['linux/amd64', 'linux/arm64'] })
  const [amd64, arm64] = image.manifests as [BuiltManifest, BuiltManifest]
  const strict = (code: string): Target & { tagged: Map<string, Digest> } => {
    const target = memoryStore()
    return {
      ...target,
      get listsReferrers() {
        return target.listsReferrers
      },
      async putManifest(manifest, tag) {
        const absent = manifest.links.filter(
          ({ role, descriptor }) => role === 'child' && !target.manifests.has(descriptor.digest),
        )
        const server = absent.map(({ descriptor }) => ({ code, message: 'unknown', detail: descriptor.digest }))
        if (absent.length > 0)
          throw new PromoteError('PROTOCOL', 'refused', { side: 'destination', status: 400, server })
        return target.putManifest(manifest, tag)
      },
    }
  }

  test.each(['MANIFEST_BLOB_UNKNOWN', 'MANIFEST_UNKNOWN'])(
    'and says %s is an error that names what to promote instead',
    async (code) => {
      const target = strict(code)
      await expect(copyImage(stored(image), target, { platforms: ['linux/arm64'] })).rejects.toMatchObject({
        code: 'UNSUPPORTED',
        side: 'destination',
        transient: false,
        hint: expect.stringMatching(new RegExp(`${arm64.digest} \\(linux/arm64\\)`)),
      })
      const { hint } = await copyImage(stored(image), target, { platforms: ['linux/arm64'] }).catch((thrown) => thrown)
      expect(hint).not.toContain(amd64.digest)
      expect(target.tagged.has('v1')).toBe(false)
    },
  )

  test('has its own words for every other refusal', async () => {
    const target = { ...strict('DENIED'), listsReferrers: undefined }
    const failing = copyImage(stored(image), target, { platforms: ['linux/arm64'] })
    await expect(failing).rejects.toMatchObject({ code: 'PROTOCOL', message: 'refused' })
  })

  test('gets the whole image', async () => {
    const target = strict('MANIFEST_BLOB_UNKNOWN')
    await copyImage(stored(image), target)
    expect(target.tagged.get('v1')).toBe(image.root.digest)
  })
})

describe('platforms of Windows', () => {
  const windows = (version: string, seed: number): BuiltImage =>
    makeImage({ seed, platform: 'windows/amd64', config: { 'os.version': version } })
  const old = windows('10.0.17763.1817', 63)
  const young = windows('10.0.20348.2113', 64)
  const of = ({ root }: BuiltImage, version: string) => ({
    ...entry(root),
    platform: { os: 'windows', architecture: 'amd64', 'os.version': version },
  })
  const index = custom(
    { manifests: [of(old, '10.0.17763.1817'), of(young, '10.0.20348.2113')] },
    { below: [old, young] },
  )

  test('are told apart by their build', async () => {
    const target = memoryStore()
    const { graph } = await copyImage(stored(index), target, { platforms: ['windows(10.0.17763)/amd64'] })
    expect(graph.platforms).toEqual(['windows(10.0.17763.1817)/amd64'])
    expect(target.manifests.has(young.root.digest)).toBe(false)
  })

  test('are listed with it when there is none that fits', async () => {
    const failing = copyImage(stored(index), memoryStore(), { platforms: ['windows(10.0.14393)/amd64'] })
    await expect(failing).rejects.toMatchObject({
      code: 'PLATFORM_MISSING',
      message: expect.stringMatching(
        /10\.0\.14393.*has windows\(10\.0\.17763\.1817\)\/amd64, windows\(10\.0\.20348\.2113\)/,
      ),
    })
  })

  test('of a single image are in its config', async () => {
    const options = { platforms: ['windows(10.0.20348)/amd64'] }
    await expect(copyImage(stored(old), memoryStore(), options)).rejects.toMatchObject({ code: 'PLATFORM_MISSING' })
    await copyImage(stored(young), memoryStore(), options)
  })
})

test('what is embedded in a descriptor is believed only when it is what the digest says', async () => {
  const child = makeImage({ seed: 65 })
  const lie = { ...entry(child.root), data: Buffer.from('{}').toString('base64') }
  const target = await arrives(custom({ manifests: [lie] }, { below: [child] }))
  expect(Buffer.from(target.manifests.get(child.root.digest)?.bytes ?? []).equals(child.root.bytes)).toBe(true)
})

test('an attachment has attachments of its own, under tags made of a sha512 digest too', async () => {
  const image = imageOf([blob('x')], {}, 'sha512')
  const sbom = attached(image.root, 'application/spdx+json', '{}')
  const source = memoryStore({ side: 'source', referrersApi: false })
  source.seed(image, 'v1')
  source.manifests.set(image.root.digest, readManifest(image.root.bytes, undefined, image.root.digest))
  source.seed(sbom)
  const list = custom({ manifests: [entry(sbom.root)] })
  source.seed(list, referrersTag(image.root.digest))
  const target = memoryStore({ referrersApi: false })
  await copyImage(source, target, { reference: image.root.digest })
  expect(referrersTag(image.root.digest)).toHaveLength('sha512-'.length + 64)
  expect((await target.referrers(image.root.digest)).map(({ digest }) => digest)).toEqual([sbom.root.digest])
  expect(digestOf(await collect(await target.blob(blob('x').descriptor)))).toBe(blob('x').descriptor.digest)
})
