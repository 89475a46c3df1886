import { resolve } from 'node:path'
import type { Target, Upload } from '../copy/store.ts'
import { type ByteStream, bodyOf, readAll } from '../core/async.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, type Code, PromoteError, type Side, undefinedIf } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import { listed, quote } from '../core/text.ts'
import { algorithmOf, type Digest, hashFor, isDigest, shortDigest } from '../oci/digest.ts'
import {
  type Descriptor,
  embedded,
  isForeign,
  linked,
  MANIFEST_LIMIT,
  type Manifest,
  readManifest,
  withSizes,
} from '../oci/manifest.ts'
import { formatReference, type LayoutPlace, layoutName } from '../oci/reference.ts'
import { describeReferrer } from '../oci/referrer.ts'
import { openArchive } from './archive.ts'
import { openFolder } from './directory.ts'
import { type Catalog, createCatalog, enter, withoutName } from './index-file.ts'
import { type Draft, type LayoutFiles, withPath, writeDraft } from './layout-files.ts'

export type Layout = ReturnType<typeof openLayout>

/** What one layout may make us read to find what is attached to its images. */
const MOST_MANIFESTS = 20_000

/** The layouts of one side, each once: what several images write into is one index. */
export function openLayouts(side: Side, context: Context) {
  const opened = new Map<string, Layout>()
  return {
    at(place: LayoutPlace): Layout {
      const key = `${place.kind} ${resolve(place.path)}`
      return getOrAdd(opened, key, () => openLayout(place, side, context))
    },
    close: async (): Promise<void> => void (await Promise.all([...opened.values()].map((layout) => layout.close()))),
  }
}

/** An OCI layout (image-spec image-layout.md). All images of a run that are in it share one of these. */
export function openLayout(place: LayoutPlace, side: Side, context: Context) {
  const root = resolve(place.path)
  const storage = withPath(place.kind === 'oci' ? openFolder(root) : openArchive(root), root, side)
  const path = formatReference({ layout: place, repository: '' })
  const catalog = createCatalog(storage, path, side)
  const shared = { storage, side, catalog, files: createFiles(storage, path, side, context) }
  const referrers = createReferrers(shared)
  return {
    /** The images whose name is `<name>:<tag>`, or just the tag when `name` is empty. Blobs belong to all of them. */
    repository: (name: string): Target =>
      createRepository(shared, referrers, name, formatReference({ layout: place, repository: name })),
    /** Name of the image that is meant when none was given: `wanted`, else the only one there is. */
    async nameOf(wanted: string): Promise<string> {
      const names = await catalog.names()
      // Signatures and fallback indexes have names that are made of digests.
      const images = names.filter((name) => !/(?:^|:)sha(?:256|512)-[0-9a-f]{64}/.test(name))
      const [only] = images
      return names.includes(wanted) || images.length !== 1 || only === undefined ? wanted : only
    },
    /** After the last tag: an archive gets its name. */
    finish: () => storage.finish(),
    /** Never throws. */
    close: () => storage.close(),
  }
}

/** Manifests and blobs by digest. */
function createFiles(storage: LayoutFiles, path: string, side: Side, context: Context) {
  const failed = (code: Code, what: string) => new PromoteError(code, `${path}: ${what}`, { side })
  const holds = async ({ digest, size }: Descriptor) => (await storage.size(digest)) === size
  const bytesOf = async (digest: Digest): Promise<Uint8Array> => {
    const size = await storage.size(digest)
    if (size === undefined) throw failed('NOT_FOUND', `manifest ${digest} is not there.`)
    if (size > MANIFEST_LIMIT) throw failed('PROTOCOL', `${digest} is too long for a manifest.`)
    return readAll(storage.read(digest, 0))
  }
  const manifest = async (expected: Digest | Descriptor, mediaType?: string): Promise<Manifest> => {
    const descriptor = typeof expected === 'string' ? undefined : expected
    const digest = descriptor?.digest ?? (expected as Digest)
    const data = descriptor === undefined ? undefined : embedded(descriptor)
    try {
      const read = readManifest(data ?? (await bytesOf(digest)), descriptor?.mediaType ?? mediaType, expected)
      return await withSizes(read, (blob) => storage.size(blob.digest))
    } catch (thrown) {
      const error = asPromoteError(thrown)
      if (error.side !== undefined) throw thrown
      throw error.with({ message: `${path}: manifest ${shortDigest(digest)}: ${error.message}`, side })
    }
  }
  /** A folder may have lost files: nothing is believed to be complete because its manifest is there. */
  const lacks = async ({ links }: Manifest): Promise<Descriptor[]> => {
    const blobs = links.filter((link) => link.kind === 'blob' && !isForeign(link.descriptor))
    const lacking = blobs.map(async ({ descriptor }) => ((await holds(descriptor)) ? [] : [descriptor]))
    return (await Promise.all(lacking)).flat()
  }
  return {
    holds,
    manifest,
    lacks,
    /** Whether a manifest is there undamaged, with its blobs. */
    async complete(descriptor: Descriptor): Promise<boolean> {
      const found = await manifest({ ...descriptor, data: undefined }).catch(() => undefined)
      return found !== undefined && (await lacks(found)).length === 0
    },
    async blob(descriptor: Descriptor, offset: number): Promise<ByteStream> {
      const { digest, size } = descriptor
      const found = await storage.size(digest)
      if (found === size) return cancellable(storage.read(digest, offset), context, side)
      const data = embedded(descriptor)
      if (data !== undefined) return bodyOf(data.subarray(offset))
      if (found === undefined) throw failed('NOT_FOUND', `blob ${digest} is not there.`)
      const hint = 'The layout is damaged: copy the image into it again.'
      const message = `${path}: blob ${digest} has ${found} bytes where ${size} belong.`
      throw new PromoteError('DIGEST_MISMATCH', message, { side, hint })
    },
  }
}

async function* cancellable(chunks: ByteStream, { signal }: Context, side: Side): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    if (signal.aborted) throw new PromoteError('CANCELLED', 'Cancelled.', { side })
    yield chunk
  }
}

type Shared = Readonly<{ storage: LayoutFiles; side: Side; catalog: Catalog; files: ReturnType<typeof createFiles> }>
type Referrers = ReturnType<typeof createReferrers>

/**
 * What is attached to what. Of everything that the index names and leads to, the manifests say so themselves; a fallback
 * index that a registry client kept is one of the ways there.
 */
function createReferrers({ catalog, files, side }: Shared) {
  let scanned: Promise<Map<Digest, Map<Digest, Descriptor>>> | undefined
  const note = (found: Map<Digest, Map<Digest, Descriptor>>, manifest: Manifest) => {
    const [subject] = linked(manifest, 'subject')
    if (subject === undefined) return
    getOrAdd(found, subject.digest, () => new Map()).set(manifest.descriptor.digest, describeReferrer(manifest))
  }
  const scan = async () => {
    const found = new Map<Digest, Map<Digest, Descriptor>>()
    const { entries } = await catalog.current()
    const queue = entries.flatMap(({ descriptor }) => descriptor ?? [])
    const seen = new Set<Digest>()
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      if (seen.has(next.digest)) continue
      if (seen.add(next.digest).size > MOST_MANIFESTS)
        throw new PromoteError('UNSUPPORTED', 'The layout has more manifests than can be searched.', { side })
      const manifest = await files.manifest(next).catch(unlessNone)
      if (manifest === undefined) continue
      note(found, manifest)
      queue.push(...linked(manifest, 'child'))
    }
    return found
  }
  return {
    async of(subject: Digest): Promise<readonly Descriptor[]> {
      scanned ??= scan()
      return [...((await scanned).get(subject)?.values() ?? [])]
    },
    async add(manifest: Manifest): Promise<void> {
      if (scanned !== undefined) note(await scanned, manifest)
    },
  }
}

/** A sparse index names what is not there, and an index may name what is not a manifest. Both are passed over, damage is an error. */
const unlessNone = undefinedIf(({ code }) => ['NOT_FOUND', 'PROTOCOL', 'UNSUPPORTED'].includes(code))

function createRepository(shared: Shared, referrers: Referrers, repository: string, name: string): Target {
  const { storage, side, catalog, files } = shared
  let listsReferrers: true | undefined
  const find = async (tag: string): Promise<Descriptor | undefined> => {
    const entry = await catalog.find(layoutName(repository, tag))
    if (entry === undefined || !(await files.complete(entry))) return undefined
    const { mediaType, digest, size } = entry
    return { mediaType, digest, size }
  }

  return {
    name,
    resolve: (reference) => resolveIn(shared, reference, layoutName(repository, reference), name),
    manifest: (descriptor) => files.manifest(descriptor),
    blob: (descriptor, offset = 0) => files.blob(descriptor, offset),
    referrers: (subject) => referrers.of(subject),
    find,
    async locate(reference) {
      if (isDigest(reference)) return (await storage.size(reference)) === undefined ? null : reference
      return (await find(reference))?.digest ?? null
    },
    inventory: async () => undefined,
    has: (descriptor, kind) => (kind === 'blob' ? files.holds(descriptor) : files.complete(descriptor)),
    async startUpload(blob) {
      if (await files.holds(blob)) return { state: 'present' }
      return { state: 'open', upload: createUpload(storage, blob, name, side) }
    },
    async putManifest(manifest, tag) {
      const lacking = await files.lacks(manifest)
      if (lacking.length > 0) throw unknownBlobs(name, manifest, lacking, side)
      const { descriptor, bytes } = manifest
      const isThere = await files.complete(descriptor)
      if (!isThere) await writeDraft(await storage.draft(descriptor.digest, bytes.byteLength), bytes)
      const attached = linked(manifest, 'subject').length > 0
      if (tag !== undefined || attached)
        await catalog.change((entries) => enter(entries, manifest, tag && layoutName(repository, tag)))
      if (attached) await referrers.add(manifest)
      if (attached) listsReferrers = true
      return descriptor.digest
    },
    async removeTag(tag) {
      await catalog.change((entries) => withoutName(entries, layoutName(repository, tag)))
      return true
    },
    get listsReferrers() {
      return listsReferrers
    },
  }
}

async function resolveIn({ catalog, files, side }: Shared, reference: string, name: string, path: string) {
  if (isDigest(reference)) {
    const entry = (await catalog.current()).entries.find(({ descriptor }) => descriptor?.digest === reference)
    return files.manifest(reference, entry?.descriptor?.mediaType)
  }
  const entry = await catalog.find(name)
  if (entry === undefined) throw await unknownName(path, reference, catalog, side)
  return files.manifest(entry)
}

async function unknownName(name: string, tag: string, catalog: Catalog, side: Side): Promise<PromoteError> {
  const names = await catalog.names()
  return new PromoteError('NOT_FOUND', `${name}:${tag}: the layout has no image of that name.`, {
    side,
    hint: names.length === 0 ? 'It has none at all.' : `It has ${listed(names.map((each) => quote(each)))}.`,
  })
}

function unknownBlobs(name: string, manifest: Manifest, lacking: readonly Descriptor[], side: Side): PromoteError {
  const unknown = { code: 'MANIFEST_BLOB_UNKNOWN', message: 'blob unknown to the layout' }
  const server = lacking.map(({ digest }) => ({ ...unknown, detail: digest }))
  const what = `${lacking.length} blobs of manifest ${shortDigest(manifest.descriptor.digest)} are not there`
  return new PromoteError('PROTOCOL', `${name}: ${what}.`, { side, server })
}

/** Bytes go to a draft; what the draft becomes has been hashed. */
function createUpload(storage: LayoutFiles, blob: Descriptor, name: string, side: Side): Upload {
  let draft: Draft | undefined
  let hash = hashFor(blob.digest)
  let kept = 0
  let complete = false
  const reset = () => {
    hash = hashFor(blob.digest)
    kept = 0
  }
  const mismatch = (found: string) =>
    new PromoteError('DIGEST_MISMATCH', `${name}: blob ${blob.digest} was not stored, what came ${found}.`, { side })
  return {
    async send(from, body) {
      if (from !== kept) throw new PromoteError('PROTOCOL', `${name}: the upload goes on at byte ${kept}.`, { side })
      draft ??= await storage.draft(blob.digest, blob.size)
      for await (const chunk of body) {
        if (kept + chunk.byteLength > blob.size) throw mismatch(`has more than ${blob.size} bytes`)
        await draft.write(chunk, kept)
        hash.update(chunk)
        kept += chunk.byteLength
      }
      const found = `${algorithmOf(blob.digest)}:${hash.copy().digest('hex')}`
      if (found !== blob.digest) throw mismatch(`has the digest ${found}`)
      await draft.commit()
      complete = true
    },
    async offset(restart = false) {
      if (complete) return -1
      if (restart) reset()
      return kept
    },
    async cancel() {
      if (!complete) await draft?.discard()
      draft = undefined
      reset()
    },
  }
}
