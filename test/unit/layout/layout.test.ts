import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { PromoteError, type Side } from '../../../src/core/errors.ts'
import { type Layout, openLayout } from '../../../src/layout/layout.ts'
import { type Digest, referrersTag } from '../../../src/oci/digest.ts'
import {
  type BuiltImage,
  describe as entry,
  makeArtifact,
  makeCosign,
  makeImage,
  makeIndex,
} from '../../support/cluster/image.ts'
import { copyImage, missing, testContext, writes } from '../../support/copy.ts'
import { broken, collect, failure } from '../../support/lab.ts'
import { memoryStore } from '../../support/memory-store.ts'
import { custom, sigstoreBundle } from '../../support/shapes.ts'
import { describeBlob, parsed, push } from '../../support/target-contract.ts'

let folder: string
let path: string
const opened: Layout[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'layout-'))
  path = join(folder, 'images')
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((layout) => layout.close()))
  await rm(folder, { recursive: true })
})

function layout(side: Side = 'destination', at = path): Layout {
  const one = openLayout({ kind: 'oci', path: at }, side, testContext())
  opened.push(one)
  return one
}

const read = (name: string) => readFile(join(path, name), 'utf8')
const index = async () => JSON.parse(await read('index.json'))
const fileOf = (digest: Digest) => join(path, 'blobs', digest.replace(':', '/'))
const REF = 'org.opencontainers.image.ref.name'

describe('a folder', () => {
  test('holds what the specification says, and nothing else', async () => {
    const image = makeImage({ seed: 70 })
    await push(layout().repository('dev/app'), image, '1.2')
    expect((await readdir(path)).sort()).toEqual(['blobs', 'index.json', 'oci-layout'])
    expect(JSON.parse(await read('oci-layout'))).toEqual({ imageLayoutVersion: '1.0.0' })
    expect(await index()).toEqual({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [{ ...entry(image.root), annotations: { [REF]: 'dev/app:1.2' } }],
    })
    const blobs = await readdir(join(path, 'blobs', 'sha256'))
    expect(blobs.sort()).toEqual([...image.blobs.keys(), image.root.digest].map((digest) => digest.slice(7)).sort())
    expect((await readFile(fileOf(image.root.digest))).equals(image.root.bytes)).toBe(true)
  })

  test('takes several images at once, and shared layers once', async () => {
    const images = Array.from({ length: 6 }, (_, i) => makeImage({ seed: 71 + i, shared: { layers: 2, seed: 5 } }))
    const source = memoryStore({ side: 'source' })
    for (const [i, image] of images.entries()) source.seed(image, `v${i}`)
    const shared = layout()
    const copies = images.map((_, i) =>
      copyImage(source, shared.repository(`dev/app${i % 2}`), { reference: `v${i}`, tags: [`v${i}`, `stable${i}`] }),
    )
    await Promise.all(copies)
    const names = (await index()).manifests.map((each: { annotations: object }) => Object.values(each.annotations)[0])
    expect(names.sort()).toEqual(
      images.flatMap((_, i) => [`dev/app${i % 2}:stable${i}`, `dev/app${i % 2}:v${i}`]).sort(),
    )
    const again = layout('source')
    for (const [i, image] of images.entries()) {
      const target = memoryStore()
      await copyImage(again.repository(`dev/app${i % 2}`), target, { reference: `v${i}` })
      expect(missing(target, image)).toEqual([])
    }
    expect(await readdir(join(path, 'blobs', 'sha256'))).toHaveLength(6 * 4 + 2)
    expect((await readdir(path)).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test('keeps what other tools have in the index, to the letter', async () => {
    const [ours, theirs] = [makeImage({ seed: 77 }), makeImage({ seed: 78 })]
    await push(layout().repository(''), theirs, 'theirs')
    const before = await index()
    Object.assign(before, { annotations: { by: 'hand' }, 'org.example': [1] })
    Object.assign(before.manifests[0], { 'org.example': { deep: true }, annotations: { [REF]: 'theirs', other: 'x' } })
    before.manifests.push({ strange: 'entry' })
    await writeFile(join(path, 'index.json'), JSON.stringify(before))
    await push(layout().repository('dev/app'), ours, 'ours')
    const after = await index()
    expect(after).toMatchObject({ annotations: { by: 'hand' }, 'org.example': [1] })
    expect(after.manifests.slice(0, 2)).toEqual(before.manifests)
    expect(after.manifests).toHaveLength(3)
  })

  test('that holds other things is left alone', async () => {
    await mkdir(path)
    await writeFile(join(path, 'important'), 'x')
    const error = await failure(push(layout().repository(''), makeImage(), 'v1'))
    expect(error).toMatchObject({ code: 'IO', side: 'destination' })
    expect(error.message).toContain(path)
    expect(await readdir(path)).toEqual(['important'])
  })

  test('is not made by a dry run', async () => {
    const source = memoryStore({ side: 'source' })
    source.seed(makeImage(), 'v1')
    const { bytes } = await copyImage(source, layout().repository('dev/app'), { dryRun: true })
    expect(bytes.copied).toBe(bytes.total)
    expect(existsSync(path)).toBe(false)
  })

  test('that has lost a layer is completed by the next run', async () => {
    const image = makeIndex({ seed: 79 })
    const source = memoryStore({ side: 'source' })
    source.seed(image, 'v1')
    await copyImage(source, layout().repository('a/b'))
    const [lost = 'sha256:', cut = 'sha256:'] = [...image.blobs.keys()]
    await rm(fileOf(lost as Digest))
    await truncate(fileOf(cut as Digest), 3)
    await writeFile(fileOf((image.manifests[0] ?? image.root).digest), 'damaged')
    await copyImage(source, layout().repository('a/b'))
    const target = memoryStore()
    await copyImage(layout('source').repository('a/b'), target)
    expect(missing(target, image)).toEqual([])
  })

  test.each([
    ['is not there', async () => undefined, 'NOT_FOUND'],
    ['has no version', () => mkdir(path), 'NOT_FOUND'],
    ['is of another version', () => made('{"imageLayoutVersion":"2.0.0"}', '{}'), 'UNSUPPORTED'],
    ['has a version that is none', () => made('x', '{}'), 'UNSUPPORTED'],
    ['has an index that is no JSON', () => made('{"imageLayoutVersion":"1.0.0"}', '{'), 'PROTOCOL'],
    ['has an index that is none', () => made('{"imageLayoutVersion":"1.0.0"}', '[]'), 'PROTOCOL'],
  ])('that %s is no source', async (_what, make, code) => {
    await make()
    expect(await failure(layout('source').repository('').resolve('v1'))).toMatchObject({ code, side: 'source' })
  })

  test('gives a name up and keeps the image', async () => {
    const image = makeImage({ seed: 91 })
    const repository = layout().repository('dev/app')
    for (const tag of ['1', '2']) await push(repository, image, tag)
    expect(await repository.removeTag?.('1')).toBe(true)
    const tags = ['1', '2'].map(async (tag) => (await layout().repository('dev/app').find(tag))?.digest)
    expect(await Promise.all(tags)).toEqual([undefined, image.root.digest])
    expect((await layout().repository('').resolve(image.root.digest)).descriptor.digest).toBe(image.root.digest)
  })

  test('names what it has when it lacks what is asked for', async () => {
    for (const tag of ['1', '2']) await push(layout().repository('dev/app'), makeImage({ seed: 80 + Number(tag) }), tag)
    const error = await failure(layout('source').repository('dev/app').resolve('3'))
    expect(error).toMatchObject({ code: 'NOT_FOUND', side: 'source' })
    expect(error.hint).toContain('"dev/app:1", "dev/app:2"')
  })

  async function made(version: string, document: string): Promise<void> {
    await mkdir(path)
    await writeFile(join(path, 'oci-layout'), version)
    await writeFile(join(path, 'index.json'), document)
  }
})

describe('the name that is meant when none is given', () => {
  const names: readonly (readonly [there: string[], wanted: string, meant: string])[] = [
    [['dev/app:1'], 'prod/app:1', 'dev/app:1'],
    [['v1'], 'prod/app:1', 'v1'],
    [['dev/app:1', 'prod/app:1'], 'prod/app:1', 'prod/app:1'],
    [['dev/app:1', 'dev/app:2'], 'prod/app:1', 'prod/app:1'],
    [[], 'prod/app:1', 'prod/app:1'],
  ]
  test.each(names)('of %j for %s is %s', async (there, wanted, meant) => {
    const image = makeImage({ seed: 83 })
    const one = layout()
    for (const name of there) {
      const [tag = '', repository = ''] = name.split(':').reverse()
      await push(one.repository(repository), image, tag)
    }
    expect(await layout().nameOf(wanted)).toBe(meant)
  })

  test('is not that of a signature', async () => {
    const image = makeImage({ seed: 84 })
    const { image: signature, tag } = makeCosign(image.root.digest)
    const repository = layout().repository('dev/app')
    await push(repository, image, '1')
    await push(repository, signature, tag)
    await push(repository, makeArtifact({ subject: entry(image.root) }))
    expect(await layout('source').nameOf('prod/app:1')).toBe('dev/app:1')
  })
})

describe('what is attached', () => {
  const image = makeIndex({ seed: 85 })
  const bundle = sigstoreBundle(image.root, { annotations: { made: 'here' } })
  const above = sigstoreBundle(bundle.root)
  const { image: cosign, tag } = makeCosign(image.root.digest)
  const parts: [BuiltImage, string?][] = [[image, 'v1'], [bundle], [above], [cosign, tag]]
  const source = memoryStore({ side: 'source' })
  for (const [part, name] of parts) source.seed(part, name)

  test('goes into a layout and out again, and a second run writes nothing', async () => {
    await copyImage(source, layout().repository('dev/app'))
    const target = memoryStore()
    const { graph } = await copyImage(layout('source').repository('dev/app'), target)
    for (const [part] of parts) expect(missing(target, part)).toEqual([])
    expect(target.tagged).toEqual(
      new Map([
        [tag, cosign.root.digest],
        ['v1', image.root.digest],
      ]),
    )
    expect(graph.attached).toHaveLength(3)
    const before = await read('index.json')
    const { bytes, plan } = await copyImage(source, layout().repository('dev/app'))
    expect([...plan.steps.values()].map((step) => step.do)).toEqual(Array(plan.steps.size).fill('skip'))
    expect(bytes.copied).toBe(0)
    expect(await read('index.json')).toBe(before)
    target.calls.length = 0
    await copyImage(layout('source').repository('dev/app'), target)
    expect(writes(target)).toEqual([])
  })

  test('is listed without a name beside the images, with its type', async () => {
    await copyImage(source, layout().repository('dev/app'))
    const { manifests } = await index()
    const unnamed = manifests.filter((each: { annotations?: object }) => each.annotations === undefined)
    const artifactType = 'application/vnd.dev.sigstore.bundle.v0.3+json'
    expect(unnamed).toEqual([bundle, above].map(({ root }) => ({ ...entry(root), artifactType })))
  })

  test('is found through a fallback index that another client kept', async () => {
    const repository = layout().repository('')
    for (const [part, name] of parts) await push(repository, part, name)
    const fallback = custom({ manifests: [entry(bundle.root)] })
    await repository.putManifest(parsed(fallback), referrersTag(image.root.digest))
    const document = await index()
    document.manifests = document.manifests.filter((each: { annotations?: object }) => each.annotations !== undefined)
    await writeFile(join(path, 'index.json'), JSON.stringify(document))
    const found = await layout('source').repository('').referrers(image.root.digest)
    expect(found).toMatchObject([{ digest: bundle.root.digest, annotations: { made: 'here' } }])
  })
})

describe('bytes that are not what their digest says', () => {
  const image = makeImage({ seed: 86, layers: [50_000] })
  const [config, layer] = [...image.blobs.keys()].reverse() as [Digest, Digest]
  const flip = async (digest: Digest) => {
    const bytes = await readFile(fileOf(digest))
    bytes[10] = (bytes[10] ?? 0) ^ 1
    await writeFile(fileOf(digest), bytes)
  }

  test.each([
    ['a layer', layer, flip],
    ['a config', config, flip],
    ['a manifest', image.root.digest, flip],
    ['a layer that is too short', layer, (digest: Digest) => truncate(fileOf(digest), 49_999)],
    ['a layer that is too long', layer, (digest: Digest) => truncate(fileOf(digest), 50_001)],
  ])('in %s are never promoted', async (_what, digest, damage) => {
    await push(layout().repository(''), image, 'v1')
    await damage(digest)
    const target = memoryStore()
    const failing = copyImage(layout('source').repository(''), target)
    await expect(failing).rejects.toMatchObject({ code: 'DIGEST_MISMATCH', side: 'source' })
    expect(target.tagged.size).toBe(0)
  })

  test('nor is an image whose layer is not there', async () => {
    await push(layout().repository(''), image, 'v1')
    await rm(fileOf(layer))
    const failing = copyImage(layout('source').repository(''), memoryStore())
    await expect(failing).rejects.toMatchObject({ code: 'NOT_FOUND', side: 'source' })
  })
})

describe('a link inside the folder', () => {
  const image = makeImage({ seed: 87 })
  const [first] = [...image.blobs.keys()] as [Digest]
  const blob = describeBlob(image.blobs.get(first) ?? Buffer.alloc(0))
  const outside = () => join(folder, 'outside')

  test('to another file inside is followed', async () => {
    await push(layout().repository(''), image, 'v1')
    await rename(fileOf(first), join(path, 'moved'))
    await symlink(join(path, 'moved'), fileOf(first))
    expect(await collect(await layout('source').repository('').blob(blob))).toHaveLength(blob.size)
  })

  test.each([
    ['a blob', () => fileOf(first)],
    ['the folder of the blobs', () => join(path, 'blobs')],
    ['the folder of an algorithm', () => join(path, 'blobs', 'sha256')],
  ])('in place of %s, to the outside, is not read', async (_what, at) => {
    await push(layout().repository(''), image, 'v1')
    await rename(at(), outside())
    await symlink(outside(), at())
    const reading = layout('source').repository('').blob(blob).then(collect)
    expect(await failure(reading)).toMatchObject({ code: 'IO', side: 'source' })
  })

  test.each(['blobs', 'blobs/sha256'])('in place of %s, to the outside, is not written through', async (name) => {
    const other = makeImage({ seed: 88 })
    await push(layout().repository(''), image, 'v1')
    await rm(join(path, name), { recursive: true })
    await mkdir(outside())
    await symlink(outside(), join(path, name))
    expect(await failure(push(layout().repository(''), other, 'v2'))).toMatchObject({ code: 'IO', side: 'destination' })
    expect(await readdir(outside())).toEqual([])
  })

  test.each(['index.json', 'oci-layout'])('in place of %s, to the outside, is not read', async (name) => {
    await push(layout().repository(''), image, 'v1')
    await rename(join(path, name), outside())
    await symlink(outside(), join(path, name))
    expect(await failure(layout('source').repository('').resolve('v1'))).toMatchObject({ code: 'IO', side: 'source' })
  })

  test('the folder itself may be one', async () => {
    await push(layout().repository(''), image, 'v1')
    await symlink(path, join(folder, 'link'))
    const linked = layout('source', join(folder, 'link')).repository('')
    expect((await linked.resolve('v1')).descriptor.digest).toBe(image.root.digest)
  })

  test('a folder in place of a blob is an error, not a wait', async () => {
    await push(layout().repository(''), image, 'v1')
    await rm(fileOf(first))
    await mkdir(fileOf(first))
    expect(await failure(layout('source').repository('').blob(blob))).toMatchObject({ code: 'IO', side: 'source' })
  })
})

test('a layout that is closed in the middle leaves nothing unfinished', async () => {
  const one = layout()
  const begun = await one.repository('').startUpload(describeBlob(Buffer.alloc(1000)))
  if (begun.state !== 'open') throw new Error(begun.state)
  const reason = new PromoteError('NETWORK', 'the source broke', { side: 'source' })
  expect(await failure(begun.upload.send(0, broken(Buffer.alloc(1000), 10, reason)))).toBe(reason)
  expect((await readdir(path)).filter((name) => name.startsWith('.'))).toHaveLength(1)
  await one.close()
  expect((await readdir(path)).filter((name) => name.startsWith('.'))).toEqual([])
})

test('reading ends when the run is cancelled', async () => {
  const image = makeImage({ seed: 89, layers: [600_000] })
  await push(layout().repository(''), image, 'v1')
  const context = testContext()
  const one = openLayout({ kind: 'oci', path }, 'source', context)
  opened.push(one)
  const [layer] = [...image.blobs].map(([digest, bytes]) => describeBlob(bytes, digest))
  const chunks = await one.repository('').blob(layer ?? describeBlob(Buffer.alloc(0)))
  const reading = (async () => {
    for await (const _ of chunks) context.stop.abort()
  })()
  expect(await failure(reading)).toMatchObject({ code: 'CANCELLED', side: 'source' })
})
