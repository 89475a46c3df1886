import type { Hash } from 'node:crypto'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import { algorithmOf, type Digest, hashFor } from '../oci/digest.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { isPlatformConfig } from './platforms.ts'
import type { Source } from './store.ts'
import type { Tries } from './transfer.ts'

/** Copying sixteen TLS records of 16 KiB into one buffer costs less than writing each; larger buffers save no time. */
const GATHER = 256 * 1024

type ReaderOptions = Readonly<{
  source: Source
  /** Counts the tries of one reading. */
  newTries: () => Tries
  /** Gets the config of an image, whole and verified. */
  onConfig?: ((bytes: Uint8Array) => void) | undefined
}>

/** Reads one blob of the source for an upload: opens it again where it broke off, and hashes it on the way. */
export class BlobReader {
  readonly options: ReaderOptions
  /** What ended the last reading, if the source did: a broken upload only sees its own stream end. */
  failure: PromoteError | undefined
  readonly #blob: Descriptor
  #hash: Hash
  #hashed = 0

  constructor(blob: Descriptor, options: ReaderOptions) {
    this.#blob = blob
    this.options = options
    this.#hash = hashFor(blob.digest)
  }

  /** Goes on from what another reader of the blob has hashed. */
  continueFrom(other: BlobReader): void {
    this.#hash = other.#hash.copy()
    this.#hashed = other.#hashed
  }

  /**
   * Bytes from `from`, of which everything before was hashed, to the end.
   * @throws PromoteError DIGEST_MISMATCH instead of giving the last chunk of a wrong blob.
   */
  async *read(from: number): AsyncGenerator<Uint8Array, undefined> {
    this.failure = undefined
    if (from === 0) this.continueFrom(new BlobReader(this.#blob, this.options))
    let held: Uint8Array | undefined
    try {
      for await (const chunk of this.#open(from)) {
        if (held !== undefined) yield held
        held = chunk
      }
    } catch (thrown) {
      this.failure = asPromoteError(thrown, 'source')
      throw this.failure
    }
    if (held !== undefined) yield held
  }

  /** Over as many connections as it takes. */
  async *#open(from: number): AsyncGenerator<Uint8Array> {
    const { source, newTries, onConfig } = this.options
    const { size } = this.#blob
    const tries = newTries()
    const config: Uint8Array[] | undefined = from === 0 && isPlatformConfig(this.#blob) ? [] : undefined
    let position = from
    while (position < size) {
      try {
        const chunks = await source.blob(this.#blob, position)
        for await (const chunk of gather(chunks, Math.min(GATHER, size - position))) {
          this.#take(chunk, position)
          config?.push(Buffer.from(chunk))
          position += chunk.length
          tries.progress(chunk.length)
          yield chunk
        }
      } catch (thrown) {
        await tries.failed(asPromoteError(thrown, 'source'))
      }
    }
    this.#verify()
    if (config !== undefined) onConfig?.(Buffer.concat(config))
  }

  /** Bytes that an earlier reading has hashed are not hashed again. */
  #take(chunk: Uint8Array, position: number): void {
    const known = Math.max(0, this.#hashed - position)
    if (known >= chunk.length) return
    this.#hash.update(chunk.subarray(known))
    this.#hashed = position + chunk.length
  }

  #verify(): void {
    const { digest } = this.#blob
    const actual: Digest = `${algorithmOf(digest)}:${this.#hash.copy().digest('hex')}`
    if (actual === digest) return
    throw new PromoteError('DIGEST_MISMATCH', `the source's bytes of blob ${digest} have the digest ${actual}`, {
      side: 'source',
    })
  }
}

/** Copies small chunks into large ones; large ones may be buffers of a pool, and pass. Yields all that came before an error. */
async function* gather(chunks: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array> {
  let buffer = Buffer.alloc(0)
  let filled = 0
  try {
    for await (const chunk of chunks) {
      const isLarge = chunk.length >= size / 4
      if (filled > 0 && (isLarge || filled + chunk.length > size)) {
        yield buffer.subarray(0, filled)
        filled = 0
      }
      if (isLarge) {
        yield chunk
        continue
      }
      if (filled === 0) buffer = Buffer.allocUnsafeSlow(size)
      buffer.set(chunk, filled)
      filled += chunk.length
    }
  } catch (thrown) {
    if (filled > 0) yield buffer.subarray(0, filled)
    throw thrown
  }
  if (filled > 0) yield buffer.subarray(0, filled)
}
