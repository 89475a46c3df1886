import type { Target, Upload } from '../../src/copy/store.ts'
import { PromoteError, type Side } from '../../src/core/errors.ts'
import { algorithmOf, type Digest, digestOf, isDigest, referrersTag } from '../../src/oci/digest.ts'
import type { Descriptor, Manifest } from '../../src/oci/manifest.ts'
import { readManifest } from '../../src/oci/manifest.ts'
import type { BuiltImage } from './cluster/image.ts'

/** Repositories in memory that keep the contract of `store.ts`, count what is asked of them, and break when told to. */
export interface MemoryRegistry {
  repository(name: string): MemoryStore
}

export interface MemoryStore extends Target {
  readonly blobs: Map<Digest, Uint8Array>
  readonly manifests: Map<Digest, Manifest>
  readonly tagged: Map<string, Digest>
  /** `begin <digest>`, `put latest`, … in order. */
  readonly calls: string[]
  /** Bytes of blobs that were read, and that were sent. */
  readonly traffic: { read: number; sent: number }
  /** Upload sessions that are neither committed nor cancelled. */
  open(): number
  break(rule: Break): void
  seed(image: BuiltImage, tag?: string): Digest
}

export interface Break {
  on: 'read' | 'send'
  /** Of any blob when absent. */
  digest?: Digest
  /** Bytes that still pass. */
  after: number
  /** Default once. */
  times?: number
  /** Default `cut`: a transient NETWORK error. `corrupt`: the byte at `after` is another one. */
  effect?: 'cut' | 'corrupt' | PromoteError
}

export interface MemoryOptions {
  side?: Side
  /** Default true. False: an upload that broke off begins anew. */
  resumes?: boolean
  /** Default true. False: the client keeps the fallback tag. */
  referrersApi?: boolean
  /** Default false: `inventory` is undefined. */
  inventory?: boolean
}

type Shared = { host: string; options: MemoryOptions; repositories: Map<string, MemoryStore> }

export function memoryRegistry(host = 'memory.example.com', options: MemoryOptions = {}): MemoryRegistry {
  const shared: Shared = { host, options, repositories: new Map() }
  return {
    repository(name) {
      const store = shared.repositories.get(name) ?? createStore(shared, name)
      shared.repositories.set(name, store)
      return store
    },
  }
}

export function memoryStore(options: MemoryOptions = {}): MemoryStore {
  return memoryRegistry(undefined, options).repository('dev/app')
}

function createStore(shared: Shared, repository: string): MemoryStore {
  const { options } = shared
  const { side = 'destination', resumes = true, referrersApi = true } = options
  const blobs = new Map<Digest, Uint8Array>()
  const manifests = new Map<Digest, Manifest>()
  const tagged = new Map<string, Digest>()
  const calls: string[] = []
  const rules: Required<Break>[] = []
  const traffic = { read: 0, sent: 0 }
  const sessions = new Set<Upload>()
  const name = `${shared.host}/${repository}`
  let lists: boolean | undefined

  const fail = (
    code: 'NOT_FOUND' | 'PROTOCOL' | 'DIGEST_MISMATCH',
    what: string,
    server: { code: string; message: string; detail?: unknown }[] = [],
  ) => new PromoteError(code, `${name}: ${what}.`, { side, server })
  const get = (reference: string): Manifest => {
    const digest = isDigest(reference) ? reference : tagged.get(reference)
    const found = digest && manifests.get(digest)
    if (found) return found
    throw fail('NOT_FOUND', `${reference} is not there`)
  }
  async function* through(
    on: Break['on'],
    digest: Digest,
    stream: AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array> {
    const rule = rules.find(
      (each) => each.on === on && each.times > 0 && (each.digest === ('' as string) || each.digest === digest),
    )
    let passed = 0
    for await (const chunk of stream) {
      const left = rule === undefined ? Number.POSITIVE_INFINITY : rule.after - passed
      passed += chunk.byteLength
      if (rule === undefined || left >= chunk.byteLength || left < 0) {
        yield chunk
        continue
      }
      rule.times -= 1
      if (rule.effect === 'corrupt') {
        const copy = Buffer.from(chunk)
        copy.writeUInt8(copy.readUInt8(left) ^ 0xff, left)
        yield copy
        continue
      }
      if (left > 0) yield chunk.subarray(0, left)
      if (rule.effect !== 'cut') throw rule.effect
      throw new PromoteError('NETWORK', `${name}: the connection broke.`, { side, transient: true })
    }
  }
  const createUpload = (blob: Descriptor): Upload => {
    let kept: Uint8Array[] = []
    const size = () => kept.reduce((sum, chunk) => sum + chunk.byteLength, 0)
    const upload: Upload = {
      async send(from, body) {
        calls.push(`send ${blob.digest} ${from}`)
        if (!sessions.has(upload) || from !== size())
          throw fail('PROTOCOL', `no upload of ${blob.digest} goes on at ${from}`)
        for await (const chunk of through('send', blob.digest, body)) {
          kept.push(Uint8Array.from(chunk))
          traffic.sent += chunk.byteLength
        }
        const bytes = Buffer.concat(kept)
        if (digestOf(bytes, algorithmOf(blob.digest)) !== blob.digest)
          throw fail('DIGEST_MISMATCH', `${blob.digest} is not what was sent`)
        blobs.set(blob.digest, bytes)
        sessions.delete(upload)
      },
      async offset(restart = false) {
        calls.push(`offset ${blob.digest}`)
        if (blobs.has(blob.digest)) return -1
        sessions.add(upload)
        if (restart || !resumes) kept = []
        return size()
      },
      async cancel() {
        calls.push(`cancel ${blob.digest}`)
        sessions.delete(upload)
        kept = []
      },
    }
    sessions.add(upload)
    return upload
  }

  return {
    name,
    blobs,
    manifests,
    tagged,
    calls,
    traffic,
    open: () => sessions.size,
    break: (rule) => void rules.push({ digest: '' as Digest, times: 1, effect: 'cut', ...rule }),
    seed(image, tag) {
      for (const [digest, bytes] of image.blobs) blobs.set(digest, bytes)
      for (const { bytes, mediaType, digest } of image.manifests)
        manifests.set(digest, readManifest(bytes, mediaType, digest))
      if (tag !== undefined) tagged.set(tag, image.root.digest)
      return image.root.digest
    },
    async resolve(reference) {
      calls.push(`resolve ${reference}`)
      return get(reference)
    },
    async manifest(descriptor) {
      calls.push(`manifest ${descriptor.digest}`)
      return get(descriptor.digest)
    },
    async blob(descriptor, offset = 0) {
      calls.push(`blob ${descriptor.digest} ${offset}`)
      const bytes = blobs.get(descriptor.digest)
      if (bytes === undefined) throw fail('NOT_FOUND', `${descriptor.digest} is not there`)
      return counted(through('read', descriptor.digest, pieces(bytes.subarray(offset))), traffic)
    },
    async referrers(subject) {
      calls.push(`referrers ${subject}`)
      if (referrersApi) return [...manifests.values()].filter((each) => subjectOf(each) === subject).map(describe)
      const digest = tagged.get(referrersTag(subject))
      const index = digest === undefined ? undefined : manifests.get(digest)
      return (index?.links ?? []).filter((link) => link.role === 'child').map((link) => link.descriptor)
    },
    async find(tag) {
      calls.push(`find ${tag}`)
      const digest = tagged.get(tag)
      return digest === undefined ? undefined : get(digest).descriptor
    },
    async locate(reference) {
      calls.push(`locate ${reference}`)
      if (isDigest(reference)) return manifests.has(reference) ? reference : null
      return tagged.get(reference) ?? null
    },
    async inventory() {
      calls.push('inventory')
      return options.inventory === true ? new Set([...blobs.keys(), ...manifests.keys()]) : undefined
    },
    async has(descriptor, kind) {
      calls.push(`has ${descriptor.digest}`)
      return (kind === 'blob' ? blobs : manifests).has(descriptor.digest)
    },
    async startUpload(blob, mountFrom) {
      calls.push(`begin ${blob.digest}${mountFrom === undefined ? '' : ` from ${mountFrom}`}`)
      if (blobs.has(blob.digest)) return { state: 'present' }
      const other = mountFrom === undefined ? undefined : shared.repositories.get(mountFrom)?.blobs.get(blob.digest)
      if (other === undefined) return { state: 'open', upload: createUpload(blob) }
      blobs.set(blob.digest, other)
      return { state: 'mounted' }
    },
    async putManifest(manifest, tag) {
      calls.push(`put ${tag ?? manifest.descriptor.digest}`)
      const absent = manifest.links.filter((link) => link.kind === 'blob' && !blobs.has(link.descriptor.digest))
      const server = absent.map(({ descriptor }) => ({
        code: 'MANIFEST_BLOB_UNKNOWN',
        message: 'blob unknown',
        detail: descriptor.digest,
      }))
      if (absent.length > 0) throw fail('PROTOCOL', `${absent.length} blobs are not there`, server)
      manifests.set(manifest.descriptor.digest, manifest)
      if (tag !== undefined) tagged.set(tag, manifest.descriptor.digest)
      if (subjectOf(manifest) !== undefined) lists = referrersApi
      return manifest.descriptor.digest
    },
    get listsReferrers() {
      return lists
    },
  }
}

function subjectOf(manifest: Manifest): Digest | undefined {
  return manifest.links.find((link) => link.role === 'subject')?.descriptor.digest
}

function describe({ descriptor, artifactType, annotations }: Manifest): Descriptor {
  return { ...descriptor, ...(artifactType && { artifactType }), ...(annotations && { annotations }) }
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += 64 * 1024) yield bytes.subarray(at, at + 64 * 1024)
}

async function* counted(stream: AsyncIterable<Uint8Array>, traffic: { read: number }): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) {
    traffic.read += chunk.byteLength
    yield chunk
  }
}
