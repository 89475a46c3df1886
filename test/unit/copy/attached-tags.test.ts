import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import type { Target } from '../../../src/copy/store.ts'
import { PromoteError } from '../../../src/core/errors.ts'
import { openLayout } from '../../../src/layout/layout.ts'
import { type Digest, referrersTag } from '../../../src/oci/digest.ts'
import { type Manifest, MEDIA_TYPE, readManifest } from '../../../src/oci/manifest.ts'
import { type BuiltImage, describe as entry, makeArtifact, makeImage, makeIndex } from '../../support/cluster/image.ts'
import { copyImage, missing, testContext, testRun, writes } from '../../support/copy.ts'
import { type MemoryStore, memoryStore } from '../../support/memory-store.ts'
import { attached, cosignAttestation, cosignSignature, custom, SIGN } from '../../support/shapes.ts'

/** Signatures under tags, where the destination has its own: what is there stays, what is missing is added. */

const image = makeImage({ seed: 300 })
const subject = image.root
const ours = cosignSignature(subject, ['dev/app'])
const theirs = cosignSignature(subject, ['prod/app'])
const { tag } = ours

function from(...parts: readonly (readonly [BuiltImage, string?])[]): MemoryStore {
  const store = memoryStore({ side: 'source' })
  store.seed(image, 'v1')
  for (const [part, name] of parts) store.seed(part, name)
  return store
}

function at(...parts: readonly (readonly [BuiltImage, string?])[]): MemoryStore {
  const store = memoryStore()
  for (const [part, name] of parts) store.seed(part, name)
  return store
}

const layersIn = ({ bytes }: Pick<Manifest, 'bytes'>) => JSON.parse(Buffer.from(bytes).toString()).layers ?? []
const layersAt = async (store: Target, name = tag) => layersIn(await store.resolve(name))
const both = [...layersIn(theirs.image.root), ...layersIn(ours.image.root)]

describe('a signature tag that the destination has, too', () => {
  test('is merged: its own layers first, then those of the source; the second run writes nothing', async () => {
    const [source, target] = [from([ours.image, tag]), at([theirs.image, tag])]
    const first = await copyImage(source, target)
    expect(await layersAt(target)).toEqual(both)
    for (const { digest } of both) expect(target.blobs.has(digest)).toBe(true)
    expect(first.attached).toEqual([expect.objectContaining({ tag, digest: target.tagged.get(tag) })])
    target.calls.length = 0
    const second = await copyImage(source, target)
    expect([writes(target), second.attached]).toEqual([[], first.attached])
    expect([...second.plan.steps.values()].filter((step) => step.do !== 'skip')).toEqual([])
  })

  test('is shown merged by the plan of a dry run, which is what the run then does', async () => {
    const [source, target] = [from([ours.image, tag]), at([theirs.image, tag])]
    const { plan, attached: planned } = await copyImage(source, target, { dryRun: true })
    const pushed = [...plan.steps.values()].find(({ node }) => node.tag === tag)
    expect(pushed).toMatchObject({ do: 'push', why: expect.stringContaining('added to what the destination has') })
    expect(target.tagged.get(tag)).toBe(theirs.image.root.digest)
    await copyImage(source, target)
    expect([pushed?.node.descriptor.digest, planned[0]?.digest]).toEqual([
      target.tagged.get(tag),
      target.tagged.get(tag),
    ])
  })

  test.each([
    ['the destination has all of the source and more', [ours, theirs], [ours]],
    ['both have the same', [ours], [ours]],
    ['the source has none', [theirs], []],
  ])('is not written where %s', async (_what, there, here) => {
    const joined = (list: readonly (typeof ours)[]) =>
      custom(
        {
          ...JSON.parse(Buffer.from(ours.image.root.bytes).toString()),
          layers: list.flatMap((one) => layersIn(one.image.root)),
        },
        { below: list.map((one) => one.image) },
      )
    const target = at([image], [joined(there), tag])
    const empty = cosignSignature(subject, [])
    const before = target.tagged.get(tag)
    await copyImage(from([here.length === 0 ? empty.image : joined(here), tag]), target)
    expect(target.tagged.get(tag)).toBe(before)
    expect(writes(target).filter((call) => call !== 'put v1')).not.toContain(`put ${tag}`)
  })

  test('with the same payload keeps both signatures: a layer is its digest and its annotations', async () => {
    const again = cosignSignature(subject, ['dev/app'])
    const target = at([again.image, tag])
    await copyImage(from([ours.image, tag]), target)
    expect(await layersAt(target)).toEqual([...layersIn(again.image.root), ...layersIn(ours.image.root)])
  })

  test.each([
    ['docker', MEDIA_TYPE.dockerManifest, MEDIA_TYPE.ociManifest],
    ['OCI', MEDIA_TYPE.ociManifest, MEDIA_TYPE.dockerManifest],
  ])('keeps its format, %s', async (_what, format, other) => {
    const [there, here] = [cosignSignature(subject, ['prod'], format), cosignSignature(subject, ['dev'], other)]
    const target = at([there.image, tag])
    await copyImage(from([here.image, tag]), target)
    expect((await target.resolve(tag)).descriptor.mediaType).toBe(format)
    expect(await layersAt(target)).toHaveLength(2)
  })

  test('holds attestations: those are merged in the same way, with members that we do not know', async () => {
    const here = cosignAttestation(subject, 'https://spdx.dev/Document')
    const there = cosignAttestation(subject, SIGN)
    const document = {
      ...JSON.parse(Buffer.from(there.image.root.bytes).toString()),
      'org.example': [1],
      annotations: { a: 'b' },
    }
    const own = custom(document, { below: [there.image] })
    const target = at([own, here.tag])
    await copyImage(from([here.image, here.tag]), target)
    const merged = JSON.parse(Buffer.from((await target.resolve(here.tag)).bytes).toString())
    expect(merged).toEqual({ ...document, layers: [...document.layers, ...layersIn(here.image.root)] })
  })

  test.each<[string, BuiltImage]>([
    ['an image', makeImage({ seed: 301 })],
    ['an index', makeIndex({ seed: 302 })],
  ])('is left as it is where it names %s, and that is told', async (_what, there) => {
    const target = at([there, tag])
    const { attached: arrived, plan } = await copyImage(from([ours.image, tag]), target)
    expect([target.tagged.get(tag), arrived]).toEqual([there.root.digest, []])
    expect([...plan.attachedTags.values()]).toEqual([
      expect.objectContaining({ state: 'kept', why: expect.stringContaining(tag) }),
    ])
    for (const digest of ours.image.blobs.keys()) expect(target.blobs.has(digest)).toBe(false)
  })

  test('is not replaced by what is not a signature at the source', async () => {
    const target = at([theirs.image, tag])
    await copyImage(from([makeImage({ seed: 303 }), tag]), target)
    expect(target.tagged.get(tag)).toBe(theirs.image.root.digest)
  })

  test('keeps an SBOM that differs, and the second run has nothing to do', async () => {
    const name = `${referrersTag(subject.digest)}.sbom`
    const [here, there] = [makeArtifact({ seed: 304 }), makeArtifact({ seed: 305 })]
    const target = at([there, name])
    await copyImage(from([here, name]), target)
    const { plan } = await copyImage(from([here, name]), target)
    expect(target.tagged.get(name)).toBe(there.root.digest)
    expect([...plan.steps.values()].filter((step) => step.do !== 'skip')).toEqual([])
  })

  test('gets its tag where the manifest is there by digest alone', async () => {
    const target = at([image, 'v1'], [ours.image])
    await copyImage(from([ours.image, tag]), target)
    expect(target.tagged.get(tag)).toBe(ours.image.root.digest)
  })

  test('that another client writes at the same moment is merged again, and an endless fight is an error', async () => {
    for (const [times, ends] of [
      [2, 'done'],
      [99, 'PROTOCOL'],
    ] as const) {
      const target = at([theirs.image, tag])
      let left: number = times
      const put = target.putManifest
      target.putManifest = async (manifest, name) => {
        const stored = await put(manifest, name)
        if (name === tag && left-- > 0) target.seed(cosignSignature(subject, [`other/${left}`]).image, tag)
        return stored
      }
      const run = copyImage(from([ours.image, tag]), target).then(
        () => 'done',
        (thrown: PromoteError) => thrown.code,
      )
      expect(await run).toBe(ends)
      if (ends === 'done') expect(await layersAt(target)).toEqual(expect.arrayContaining(layersIn(ours.image.root)))
    }
  })

  test('and may not be changed is an error that says so, and keeps what it has', async () => {
    const target = at([theirs.image, tag])
    const put = target.putManifest
    target.putManifest = async (manifest, name) => {
      if (name === tag) throw new PromoteError('PROTOCOL', 'immutable', { side: 'destination', status: 409 })
      return put(manifest, name)
    }
    const failing = copyImage(from([ours.image, tag]), target)
    await expect(failing).rejects.toMatchObject({ side: 'destination', hint: expect.stringContaining('immutable') })
    expect([target.tagged.get(tag), target.tagged.has('v1')]).toEqual([theirs.image.root.digest, false])
  })

  test('gets the signatures of two images of a run, one after the other', async () => {
    const target = at([theirs.image, tag])
    const more = cosignSignature(subject, ['test/app'])
    const run = testRun()
    await Promise.all([ours, more].map((one) => copyImage(from([one.image, tag]), target, { run })))
    expect(await layersAt(target)).toEqual(expect.arrayContaining([...both, ...layersIn(more.image.root)]))
  })
})

test('a layout keeps the signatures that it has', async () => {
  const path = await mkdtemp(join(tmpdir(), 'merge-'))
  try {
    const layout = openLayout({ kind: 'oci', path }, 'destination', testContext())
    const target = layout.repository('prod/app')
    await copyImage(from([theirs.image, tag]), target)
    await copyImage(from([ours.image, tag]), target)
    expect(await layersAt(target)).toEqual(both)
    await layout.close()
  } finally {
    await rm(path, { recursive: true })
  }
})

describe('the fallback tag of a destination that lists nothing', () => {
  const sbom = attached(subject, 'application/spdx+json', '{}')
  const name = referrersTag(subject.digest)

  const under = (target: MemoryStore, { bytes, mediaType, digest }: BuiltImage['root']) => {
    target.manifests.set(digest, readManifest(bytes, mediaType))
    target.tagged.set(name, digest)
  }

  test.each<[string, BuiltImage]>([
    ['another image', makeImage({ seed: 310 })],
    ['an index of platforms', makeIndex({ seed: 311 })],
    ['the image itself, by a tag of its own', image],
  ])('is left as it is where it names %s', async (_what, there) => {
    const target = memoryStore({ referrersApi: false })
    target.seed(there, name)
    await expect(copyImage(from([sbom]), target)).rejects.toMatchObject({ code: 'UNSUPPORTED', side: 'destination' })
    expect([target.tagged.get(name), target.tagged.has('v1')]).toEqual([there.root.digest, false])
  })

  test('keeps entries and members that it has', async () => {
    const target = memoryStore({ referrersApi: false })
    const own = attached(subject, 'application/x', '{"own":true}')
    target.seed(own)
    const entries = [{ ...entry(own.root), 'org.example': 7 }]
    const root = { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: entries, annotations: { a: 'b' } }
    under(target, custom(root).root)
    await copyImage(from([sbom]), target)
    const { manifests, annotations } = JSON.parse(Buffer.from((await target.resolve(name)).bytes).toString())
    expect([manifests[0], manifests[1].digest, annotations]).toEqual([entries[0], sbom.root.digest, { a: 'b' }])
  })

  test('gets an entry for what is there by digest and not listed, and a list that names what is gone is not believed', async () => {
    const target = memoryStore({ referrersApi: false })
    for (const part of [image, sbom]) target.seed(part, part === image ? 'v1' : undefined)
    await copyImage(from([sbom]), target)
    expect((await target.referrers(subject.digest)).map(({ digest }) => digest)).toEqual([sbom.root.digest])
    target.manifests.delete(sbom.root.digest as Digest)
    await copyImage(from([sbom]), target)
    expect(missing(target, sbom)).toEqual([])
  })

  test('that is read as the digest is written, and the second run has nothing to do', async () => {
    const target = memoryStore({ referrersApi: false })
    const alias = (reference: string) => reference.replace(/^sha256-([0-9a-f]{64})$/, 'sha256:$1')
    const { resolve, find } = target
    target.resolve = (reference) => resolve(alias(reference))
    target.find = async (wanted) =>
      alias(wanted) === wanted ? find(wanted) : (await resolve(alias(wanted))).descriptor
    target.referrers = async () => []
    await copyImage(from([sbom]), target)
    const index = target.manifests.get(target.tagged.get(name) as Digest)
    expect(index?.links.map(({ descriptor }) => descriptor.digest)).toEqual([sbom.root.digest])
    const { plan } = await copyImage(from([sbom]), target, { dryRun: true })
    expect([...plan.steps.values()].filter((step) => step.do !== 'skip')).toEqual([])
  })
})
