import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { endianness } from 'node:os'
import { join } from 'node:path'
import { type Algorithm, algorithmOf, type Digest, digestOf, hashFor } from '../../../src/oci/digest.ts'

/** Content-addressed blobs, and what the repositories say about them. Tests may look at everything here and change it. */
export interface Storage {
  readonly blobs: Map<Digest, StoredBlob>
  readonly repositories: Map<string, Repository>
  /** Created when missing. */
  repository(name: string): Repository
  /** Room for an upload whose digest is not known yet. */
  stage(algorithm?: Algorithm): Staging
  /** @returns its digest. */
  putBlob(repository: string, bytes: Uint8Array, algorithm?: Algorithm): Digest
  putManifest(repository: string, bytes: Uint8Array, mediaType: string, tag?: string): Digest
  /** Makes a blob that needs no memory known to the repository. */
  putSynthetic(repository: string, seed: number, size: number): StoredBlob
}

export interface StoredBlob {
  readonly digest: Digest
  readonly size: number
  /** Bytes from `start` to before `end`. */
  read(start: number, end: number): AsyncIterable<Uint8Array>
}

export interface StoredManifest {
  readonly digest: Digest
  readonly bytes: Uint8Array
  readonly mediaType: string
}

export interface Repository {
  readonly name: string
  readonly blobs: Set<Digest>
  readonly manifests: Map<Digest, StoredManifest>
  readonly tags: Map<string, Digest>
}

export interface Staging {
  readonly size: number
  append(chunk: Uint8Array): Promise<void>
  /** Puts the bytes under their digest; undefined (and nothing changes) when it is another one. */
  commit(digest: Digest): Promise<StoredBlob | undefined>
  drop(): Promise<void>
}

export interface StorageOptions {
  /** Blobs are files below this folder instead of memory. The caller removes it. */
  folder?: string
  /** Uploads are hashed and only digest and size are kept: for benchmarks. Reading such a blob is an error. */
  discard?: boolean
}

const PIECE = 1 << 20

export function createStorage(options: StorageOptions = {}): Storage {
  const blobs = new Map<Digest, StoredBlob>()
  const repositories = new Map<string, Repository>()
  const store = options.discard ? discarding : options.folder ? inFolder(options.folder) : inMemory

  function repository(name: string): Repository {
    const known = repositories.get(name)
    if (known) return known
    const created: Repository = { name, blobs: new Set(), manifests: new Map(), tags: new Map() }
    repositories.set(name, created)
    return created
  }

  return {
    blobs,
    repositories,
    repository,
    stage: (algorithm) => staging(store(), algorithm ?? 'sha256', blobs),
    putBlob(name, bytes, algorithm) {
      const digest = digestOf(bytes, algorithm)
      blobs.set(digest, memoryBlob(digest, [bytes]))
      repository(name).blobs.add(digest)
      return digest
    },
    putManifest(name, bytes, mediaType, tag) {
      const digest = digestOf(bytes)
      repository(name).manifests.set(digest, { digest, bytes, mediaType })
      if (tag !== undefined) repository(name).tags.set(tag, digest)
      return digest
    },
    putSynthetic(name, seed, size) {
      const blob = synthetic(seed, size)
      blobs.set(blob.digest, blob)
      repository(name).blobs.add(blob.digest)
      return blob
    },
  }
}

/** Where the bytes of one upload go. */
interface Medium {
  append(chunk: Uint8Array): Promise<void>
  read(end: number): AsyncIterable<Uint8Array>
  keep(digest: Digest, size: number): Promise<StoredBlob>
  drop(): Promise<void>
}

function staging(medium: Medium, algorithm: Algorithm, blobs: Map<Digest, StoredBlob>): Staging {
  const running = hashFor(`${algorithm}:`)
  let size = 0
  async function hexFor(digest: Digest): Promise<string> {
    if (algorithmOf(digest) === algorithm) return running.copy().digest('hex')
    const hash = hashFor(digest)
    for await (const chunk of medium.read(size)) hash.update(chunk)
    return hash.digest('hex')
  }
  return {
    get size() {
      return size
    },
    async append(chunk) {
      await medium.append(chunk)
      running.update(chunk)
      size += chunk.length
    },
    async commit(digest) {
      if (digest !== `${algorithmOf(digest)}:${await hexFor(digest)}`) return undefined
      const known = blobs.get(digest)
      if (known) await medium.drop()
      const blob = known ?? (await medium.keep(digest, size))
      blobs.set(digest, blob)
      return blob
    },
    drop: () => medium.drop(),
  }
}

function inMemory(): Medium {
  let chunks: Uint8Array[] = []
  return {
    append: async (chunk) => void chunks.push(chunk),
    read: (end) => slices(chunks, 0, end),
    keep: async (digest) => memoryBlob(digest, chunks),
    async drop() {
      chunks = []
    },
  }
}

function discarding(): Medium {
  const gone = (): never => {
    throw new Error('this storage keeps no bytes (option discard)')
  }
  return {
    append: async () => {},
    read: gone,
    keep: async (digest, size) => ({ digest, size, read: gone }),
    drop: async () => {},
  }
}

function inFolder(folder: string): () => Medium {
  return () => {
    const path = join(folder, `upload-${randomUUID()}`)
    const file = mkdir(folder, { recursive: true }).then(() => open(path, 'w'))
    file.catch(() => {}) // the first write receives the failure
    return {
      append: async (chunk) => void (await (await file).appendFile(chunk)),
      read: (end) => fileBytes(path, 0, end),
      async keep(digest, size) {
        await (await file).close()
        const kept = join(folder, digest.replace(':', '-'))
        await rename(path, kept)
        return { digest, size, read: (start, end) => fileBytes(kept, start, end) }
      },
      async drop() {
        await (await file).close()
        await rm(path, { force: true })
      },
    }
  }
}

async function* fileBytes(path: string, start: number, end: number): AsyncGenerator<Uint8Array> {
  if (start < end) yield* createReadStream(path, { start, end: end - 1, highWaterMark: PIECE })
}

function memoryBlob(digest: Digest, chunks: readonly Uint8Array[]): StoredBlob {
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  return { digest, size, read: (start, end) => slices(chunks, start, end) }
}

async function* slices(chunks: readonly Uint8Array[], start: number, end: number): AsyncGenerator<Uint8Array> {
  let offset = 0
  for (const chunk of chunks) {
    for (let at = Math.max(0, start - offset); at < chunk.length && offset + at < end; at += PIECE) {
      yield chunk.subarray(at, Math.min(at + PIECE, end - offset, chunk.length))
    }
    offset += chunk.length
  }
}

const digests = new Map<string, Digest>()

/**
 * Pseudo-random bytes that take no memory, the same for the same seed on every run. Each MiB is the same random block,
 * begun at another of its bytes (the factor is odd, so that 2^20 MiB pass before two are alike): nothing is ever copied.
 */
export function synthetic(seed: number, size: number): StoredBlob {
  const block = randomBytes(seed, PIECE)
  const twice = Buffer.concat([block, block])
  const piece = (at: number, length: number) => {
    const first = (Math.imul(Math.floor(at / PIECE), 40_503) >>> 0) % PIECE
    return twice.subarray(first + (at % PIECE), first + (at % PIECE) + length)
  }
  async function* read(start: number, end: number): AsyncGenerator<Uint8Array> {
    for (let at = start; at < Math.min(end, size); ) {
      const length = Math.min(PIECE - (at % PIECE), end - at, size - at)
      yield piece(at, length)
      at += length
    }
  }
  const key = `${seed}/${size}`
  const known = digests.get(key)
  if (known) return { digest: known, size, read }
  const hash = hashFor('sha256:')
  for (let at = 0; at < size; at += PIECE) hash.update(piece(at, Math.min(PIECE, size - at)))
  const digest: Digest = `sha256:${hash.digest('hex')}`
  digests.set(key, digest)
  return { digest, size, read }
}

/** xorshift32: enough to be incompressible, and the same everywhere. */
export function randomBytes(seed: number, length: number): Buffer {
  const words = new Uint32Array(Math.ceil(length / 4))
  let state = Math.imul(seed + 1, 2654435761) ^ 0x9e3779b9 || 1
  for (let at = 0; at < words.length; at += 1) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[at] = state
  }
  const bytes = Buffer.from(words.buffer)
  if (endianness() === 'BE') bytes.swap32()
  return bytes.subarray(0, length)
}
