import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Target, Upload } from '../../src/copy/store.ts'
import { PromoteError } from '../../src/core/errors.ts'
import { type Digest, digestOf, referrersTag } from '../../src/oci/digest.ts'
import { type Descriptor, type Manifest, MEDIA_TYPE, readManifest } from '../../src/oci/manifest.ts'
import {
  type BuiltImage,
  describe as entry,
  makeArtifact,
  makeFallbackIndex,
  makeImage,
  makeIndex,
} from './cluster/image.ts'
import { randomBytes } from './cluster/storage.ts'
import { broken, collect, failure, pieces } from './lab.ts'

/** Something that holds repositories, and what is known about it. */
export type Subject = Readonly<{
  /** A new view of the repository each time: nothing is remembered from the one before. */
  open: (repository: string) => Target
  close: () => Promise<void>
}>

export type Traits = Readonly<{
  /** A broken upload goes on where it was. */
  resumes: boolean
  referrersApi: boolean
  sha512: boolean
  /** An index may name what is not there. */
  sparse: boolean
  /** A blob belongs to all repositories at once: there is nothing to mount. */
  common?: boolean
}>

const OCTETS = 'application/octet-stream'
/** Milliseconds; a process and its port on a machine that is busy with other tests. */
const SLOW_START = 30_000

/** What every `Target` must do, whatever is behind it. Everything in it is put there through the port itself. */
export function targetContract(name: string, traits: Traits, start: () => Promise<Subject>): void {
  describe(`a target over ${name}`, () => {
    let subject: Subject
    let starting: Promise<Subject> | undefined
    let repositories = 0
    const fresh = () => `dev/app-${++repositories}`
    beforeAll(async () => {
      starting = start()
      subject = await starting
    }, SLOW_START)
    // Also what started too late for the tests is closed.
    afterAll(async () => (await starting)?.close(), SLOW_START)

    test('gives back an image byte for byte, by tag and by digest', async () => {
      const repository = fresh()
      const image = makeImage({ layers: [1000, 200_000], docker: true })
      await push(subject.open(repository), image, 'v1')
      const target = subject.open(repository)
      const byTag = await target.resolve('v1')
      expect(Buffer.from(byTag.bytes).equals(image.root.bytes)).toBe(true)
      expect(byTag.descriptor).toEqual(entry(image.root))
      expect((await subject.open(repository).resolve(image.root.digest)).descriptor).toEqual(entry(image.root))
      expect((await subject.open(repository).manifest(entry(image.root))).bytes).toHaveLength(image.root.bytes.length)
      for (const [digest, bytes] of image.blobs) {
        const read = await collect(await target.blob({ mediaType: OCTETS, digest, size: bytes.byteLength }))
        expect(read.equals(bytes)).toBe(true)
      }
    })

    test('gives back an index with its children', async () => {
      const repository = fresh()
      const index = makeIndex({ seed: 3 })
      await push(subject.open(repository), index, 'multi')
      const root = await subject.open(repository).resolve('multi')
      expect(root.shape).toBe('index')
      expect(root.descriptor.digest).toBe(index.root.digest)
      for (const { descriptor } of root.links)
        expect((await subject.open(repository).manifest(descriptor)).descriptor.digest).toBe(descriptor.digest)
    })

    test('says NOT_FOUND for what is absent, with its side', async () => {
      const target = subject.open(fresh())
      const absent = digestOf(Buffer.from('absent'))
      const expected = { code: 'NOT_FOUND', side: 'destination', transient: false }
      expect(await failure(target.resolve('v1'))).toMatchObject(expected)
      expect(await failure(target.resolve(absent))).toMatchObject(expected)
      const size = 6
      expect(await failure(target.manifest({ mediaType: MEDIA_TYPE.ociManifest, digest: absent, size }))).toMatchObject(
        expected,
      )
      expect(await failure(target.blob({ mediaType: OCTETS, digest: absent, size }).then(collect))).toMatchObject(
        expected,
      )
    })

    test('finds tags that are there, and only those', async () => {
      const repository = fresh()
      expect(await subject.open(repository).find('v1')).toBeUndefined()
      const image = makeImage({ seed: 4 })
      await push(subject.open(repository), image, 'v1')
      const target = subject.open(repository)
      expect(await target.find('v1')).toEqual(entry(image.root))
      expect(await target.find('v2')).toBeUndefined()
    })

    test('moves a tag when another manifest is put under it', async () => {
      const repository = fresh()
      const target = subject.open(repository)
      const [old, young] = [makeImage({ seed: 5 }), makeImage({ seed: 6 })]
      await push(target, old, 'latest')
      await push(target, young, 'latest')
      await push(target, young, 'latest')
      expect((await subject.open(repository).find('latest'))?.digest).toBe(young.root.digest)
      expect((await subject.open(repository).resolve(old.root.digest)).descriptor.digest).toBe(old.root.digest)
    })

    test('knows what it has', async () => {
      const repository = fresh()
      const image = makeImage({ seed: 7, layers: 1 })
      const target = subject.open(repository)
      const blobs = blobsOf(image)
      for (const blob of blobs) expect(await target.has(blob, 'blob')).toBe(false)
      expect(await target.has(entry(image.root), 'manifest')).toBe(false)
      await push(target, image, 'v1')
      const later = subject.open(repository)
      for (const blob of blobs) expect(await later.has(blob, 'blob')).toBe(true)
      expect(await later.has(entry(image.root), 'manifest')).toBe(true)
      for (const blob of blobs) expect(await later.startUpload(blob)).toEqual({ state: 'present' })
    })

    test('mounts a blob from another repository of the same registry', async () => {
      const [from, to] = [fresh(), fresh()]
      const bytes = randomBytes(11, 5000)
      const blob = await put(subject.open(from), bytes)
      expect(await subject.open(to).startUpload(blob, from)).toEqual({ state: traits.common ? 'present' : 'mounted' })
      expect((await collect(await subject.open(to).blob(blob))).equals(bytes)).toBe(true)
    })

    test('opens an upload when there is nothing to mount', async () => {
      const bytes = randomBytes(12, 5000)
      const target = subject.open(fresh())
      const begun = await target.startUpload(describeBlob(bytes), fresh())
      if (begun.state !== 'open') throw new Error(begun.state)
      await begun.upload.send(0, pieces(bytes))
      expect(await target.has(describeBlob(bytes), 'blob')).toBe(true)
    })

    test('reads a blob from any offset', async () => {
      const bytes = randomBytes(13, 300_000)
      const repository = fresh()
      const blob = await put(subject.open(repository), bytes)
      const target = subject.open(repository)
      for (const offset of [0, 1, 65_536, 299_999, 300_000]) {
        const read = await collect(await target.blob(blob, offset))
        expect(read.equals(bytes.subarray(offset))).toBe(true)
      }
    })

    test('takes and gives an empty blob', async () => {
      const repository = fresh()
      const blob = await put(subject.open(repository), new Uint8Array())
      expect(await collect(await subject.open(repository).blob(blob))).toHaveLength(0)
    })

    if (traits.sha512) {
      test('takes a blob that is named by sha512', async () => {
        const bytes = randomBytes(14, 5000)
        const repository = fresh()
        const blob = await put(subject.open(repository), bytes, digestOf(bytes, 'sha512'))
        expect((await collect(await subject.open(repository).blob(blob))).equals(bytes)).toBe(true)
      })
    }

    test('goes on with an upload whose body failed, and fails with the reason of the body', async () => {
      const bytes = randomBytes(15, 2_000_000)
      const repository = fresh()
      const upload = await begin(subject.open(repository), describeBlob(bytes))
      const reason = new PromoteError('NETWORK', 'the source broke', { side: 'source', transient: true })
      expect(await failure(upload.send(0, broken(bytes, 1_000_000, reason)))).toBe(reason)
      const offsets = await finish(upload, bytes)
      for (const offset of offsets) expect(offset).toBeLessThanOrEqual(1_000_000)
      // A store that cannot resume may see the break later than the question after it, but not twice.
      if (traits.resumes) expect(offsets).toHaveLength(1)
      else expect(offsets.at(-1)).toBe(0)
      expect((await collect(await subject.open(repository).blob(describeBlob(bytes)))).equals(bytes)).toBe(true)
    })

    test('never stores bytes that are not the digest, and takes the right ones after that', async () => {
      const bytes = randomBytes(16, 100_000)
      const blob = describeBlob(bytes)
      const repository = fresh()
      const upload = await begin(subject.open(repository), blob)
      const error = await failure(upload.send(0, pieces(randomBytes(17, 100_000))))
      expect(error).toMatchObject({ code: 'DIGEST_MISMATCH', side: 'destination', transient: false })
      expect(await subject.open(repository).has(blob, 'blob')).toBe(false)
      expect(await upload.offset(true)).toBe(0)
      await upload.send(0, pieces(bytes))
      expect(await subject.open(repository).has(blob, 'blob')).toBe(true)
    })

    test('says that an upload is complete when only its answer was lost', async () => {
      const bytes = randomBytes(18, 5000)
      const upload = await begin(subject.open(fresh()), describeBlob(bytes))
      await upload.send(0, pieces(bytes))
      expect(await upload.offset()).toBe(-1)
    })

    test('forgets an upload that is cancelled, as often as it is', async () => {
      const bytes = randomBytes(19, 5000)
      const repository = fresh()
      const upload = await begin(subject.open(repository), describeBlob(bytes))
      await upload.cancel()
      await upload.cancel()
      expect(await subject.open(repository).has(describeBlob(bytes), 'blob')).toBe(false)
    })

    test('refuses a manifest whose blobs are not there, and names them', async () => {
      const image = makeImage({ seed: 20 })
      const error = await failure(subject.open(fresh()).putManifest(parsed(image), 'v1'))
      expect(error.transient).toBe(false)
      expect(error.side).toBe('destination')
      const named = error.server
        .filter((each) => each.code === 'MANIFEST_BLOB_UNKNOWN')
        .map((each) => String(each.detail))
      for (const digest of image.blobs.keys()) expect(named.some((detail) => detail.includes(digest))).toBe(true)
    })

    if (traits.sparse) {
      test('takes an index whose children are not all there', async () => {
        const repository = fresh()
        const index = makeIndex({ seed: 21 })
        await subject.open(repository).putManifest(parsed(index), 'sparse')
        expect((await subject.open(repository).find('sparse'))?.digest).toBe(index.root.digest)
      })
    }

    test('lists what speaks of a manifest, by itself or under the fallback tag', async () => {
      const repository = fresh()
      const target = subject.open(repository)
      const image = makeImage({ seed: 22 })
      await push(target, image, 'v1')
      expect(await target.referrers(image.root.digest)).toEqual([])
      const signature = makeArtifact({ subject: entry(image.root), artifactType: 'application/x.signature' })
      expect(target.listsReferrers).toBeUndefined()
      await push(target, signature)
      expect(target.listsReferrers).toBe(traits.referrersApi)
      if (!traits.referrersApi) {
        const index = makeFallbackIndex([{ ...entry(signature.root), artifactType: 'application/x.signature' }])
        await target.putManifest(readManifest(index.bytes, index.mediaType), referrersTag(image.root.digest))
      }
      const listed = await subject.open(repository).referrers(image.root.digest)
      expect(listed).toMatchObject([{ digest: signature.root.digest, artifactType: 'application/x.signature' }])
    })
  })
}

/** Everything of an image through the port, children first. */
export async function push(target: Target, image: BuiltImage, tag?: string): Promise<void> {
  for (const [digest, bytes] of image.blobs) await put(target, bytes, digest)
  for (const { bytes, mediaType, digest } of image.manifests) {
    const stored = await target.putManifest(
      readManifest(bytes, mediaType, digest),
      digest === image.root.digest ? tag : undefined,
    )
    expect(stored ?? digest).toBe(digest)
  }
}

export async function put(target: Target, bytes: Uint8Array, digest?: Digest): Promise<Descriptor> {
  const blob = describeBlob(bytes, digest)
  const begun = await target.startUpload(blob)
  if (begun.state === 'open') await begun.upload.send(0, pieces(bytes))
  return blob
}

export async function begin(target: Target, blob: Descriptor): Promise<Upload> {
  const begun = await target.startUpload(blob)
  if (begun.state !== 'open') throw new Error(`the blob is ${begun.state}`)
  return begun.upload
}

/** Asks and sends until the blob is complete, as the engine does. @returns what the store said it had kept. */
export async function finish(upload: Upload, bytes: Uint8Array): Promise<number[]> {
  const offsets: number[] = []
  while (offsets.length < 4) {
    // As between two tries of the engine: the question, on another connection, must not come before the break.
    await new Promise((resolve) => setTimeout(resolve, 50))
    const offset = await upload.offset()
    if (offset < 0) return offsets
    offsets.push(offset)
    try {
      await upload.send(offset, pieces(bytes.subarray(offset)))
      return offsets
    } catch (thrown) {
      if (!(thrown instanceof PromoteError && thrown.transient)) throw thrown
    }
  }
  throw new Error(`the upload does not end: ${offsets}`)
}

export function describeBlob(bytes: Uint8Array, digest = digestOf(bytes)): Descriptor {
  return { mediaType: OCTETS, digest, size: bytes.byteLength }
}

export function parsed({ root }: BuiltImage): Manifest {
  return readManifest(root.bytes, root.mediaType, root.digest)
}

function blobsOf(image: BuiltImage): Descriptor[] {
  return [...image.blobs].map(([digest, bytes]) => describeBlob(bytes, digest))
}
