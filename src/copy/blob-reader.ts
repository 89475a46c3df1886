import type { Hash } from 'node:crypto'
import { readAll } from '../core/async.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import type { Retries } from '../core/retries.ts'
import { algorithmOf, type Digest, hashFor } from '../oci/digest.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { isPlatformConfig } from './graph.ts'
import type { Source } from './store.ts'

type ReaderOptions = Readonly<{
  source: Source
  /** Counts the retries of one reading. */
  newRetries: () => Retries
  /** Receives the config of an image, whole and verified. */
  onConfig: (bytes: Uint8Array) => void
}>

/** Reads one blob of the source for an upload: reopens it where it broke off, and hashes it on the way. */
export class BlobReader {
  readonly options: ReaderOptions
  /** Set when the source ended the last reading. The upload itself only sees that its body broke off. */
  failure: PromoteError | undefined
  readonly #blob: Descriptor
  #hash: Hash
  #hashed = 0

  constructor(blob: Descriptor, options: ReaderOptions) {
    this.#blob = blob
    this.options = options
    this.#hash = hashFor(blob.digest)
  }

  /** Takes over what another reader of the blob has hashed. */
  continueFrom(other: BlobReader): void {
    this.#hash = other.#hash.copy()
    this.#hashed = other.#hashed
  }

  /**
   * The bytes from `from` to the end, over as many connections as it takes. Everything before `from` must have been hashed.
   * @throws PromoteError DIGEST_MISMATCH instead of the last chunk of a wrong blob.
   */
  async *read(from: number): AsyncGenerator<Uint8Array, undefined> {
    const { size } = this.#blob
    this.failure = undefined
    if (from === 0) this.continueFrom(new BlobReader(this.#blob, this.options))
    const retries = this.options.newRetries()
    const config: Uint8Array[] | undefined = from === 0 && isPlatformConfig(this.#blob) ? [] : undefined
    let position = from
    // The last chunk is held back until the whole blob is verified.
    let held: Uint8Array | undefined
    try {
      while (position < size) {
        try {
          for await (const chunk of await this.options.source.blob(this.#blob, position)) {
            if (chunk.length === 0) continue
            this.#update(chunk, position)
            position += chunk.length
            retries.progress(chunk.length)
            config?.push(Buffer.from(chunk))
            if (held !== undefined) yield held
            held = chunk
          }
        } catch (thrown) {
          await retries.failed(asPromoteError(thrown, 'source'))
        }
      }
      this.#verify()
    } catch (thrown) {
      this.failure = asPromoteError(thrown, 'source')
      throw this.failure
    }
    if (config !== undefined) this.options.onConfig(Buffer.concat(config))
    if (held !== undefined) yield held
  }

  /** Bytes that an earlier reading has hashed are not hashed again. */
  #update(chunk: Uint8Array, position: number): void {
    const known = Math.max(0, this.#hashed - position)
    if (known >= chunk.length) return
    this.#hash.update(chunk.subarray(known))
    this.#hashed = position + chunk.length
  }

  #verify(): void {
    const { digest } = this.#blob
    const actual: Digest = `${algorithmOf(digest)}:${this.#hash.copy().digest('hex')}`
    if (actual === digest) return
    const message = `the source's bytes of blob ${digest} have the digest ${actual}`
    throw new PromoteError('DIGEST_MISMATCH', message, { side: 'source' })
  }
}

/** Configs and signatures are a few KiB. A larger blob is not read into memory. */
export const BLOB_LIMIT = 4 * 1024 * 1024
/** A source that cannot deliver a small blob in so many tries will not deliver layers. */
const SMALL_BLOB_TRIES = 3

/**
 * Reads a small blob into memory.
 * @throws PromoteError DIGEST_MISMATCH when the bytes are not those of the descriptor.
 */
export async function readBlob(source: Source, blob: Descriptor): Promise<Uint8Array> {
  let tries = 0
  const retries: Retries = {
    progress: () => undefined,
    async failed(error) {
      tries += 1
      if (tries >= SMALL_BLOB_TRIES || !error.transient) throw error
    },
  }
  const reader = new BlobReader(blob, { source, newRetries: () => retries, onConfig: () => undefined })
  return readAll(reader.read(0))
}
