import type { Hash } from 'node:crypto'
import { asPromoteError, PromoteError } from '../errors.ts'
import { algorithmOf, type Digest, hashFor } from '../oci/digest.ts'
import type { Descriptor } from '../oci/manifest.ts'
import type { Source } from '../store/store.ts'
import type { Tries } from './tries.ts'

/**
 * Writing each 16 KiB record that TLS hands over costs more than copying sixteen of them into one buffer first; with
 * larger buffers memory grows and time does not shrink.
 */
const GATHER = 256 * 1024

/** Who reads: where from, how often it is tried, and who is told of bytes that an upload has taken. */
export type Reader = Readonly<{
  source: Source
  tries: () => Tries
  onBytes: (bytes: number) => void
}>

/** One blob of the source as the uploads read it: re-opened where it broke off, hashed on the way, never completed when wrong. */
export interface Feed {
  /** Bytes from `from` to the end. Throws DIGEST_MISMATCH instead of giving the last chunk of a wrong blob. */
  read(from: number): AsyncIterable<Uint8Array>
  /** What ended the last `read`, if the source did: a broken upload only sees its own stream end. */
  readonly failure: PromoteError | undefined
  /** Forgets the hash: the whole blob will be read again. */
  reset(): void
}

/** A feed that another one can go on from: what was hashed up to now is not hashed again. */
export type Trunk = Feed & Readonly<{ fork(reader: Reader): Feed }>

export function createFeed(blob: Descriptor, reader: Reader, content: Content = createContent(blob)): Trunk {
  const { source, tries, onBytes } = reader
  const open = (position: number) => source.blob(blob, position)
  let failure: PromoteError | undefined

  async function* read(from: number): AsyncGenerator<Uint8Array> {
    failure = undefined
    let held: Uint8Array | undefined
    try {
      for await (const chunk of resumed(open, blob, from, tries(), content)) {
        if (held !== undefined) {
          yield held
          onBytes(held.length)
        }
        held = chunk
      }
      content.verify()
    } catch (thrown) {
      failure = asPromoteError(thrown, 'source')
      throw failure
    }
    if (held !== undefined) {
      yield held
      onBytes(held.length)
    }
  }
  return {
    read,
    get failure() {
      return failure
    },
    reset: () => content.reset(),
    fork: (other) => createFeed(blob, other, content.copy()),
  }
}

/** The bytes from `from` on, over as many connections as it takes. */
async function* resumed(
  open: (position: number) => Promise<AsyncIterable<Uint8Array>>,
  blob: Descriptor,
  from: number,
  tries: Tries,
  content: Content,
): AsyncGenerator<Uint8Array> {
  let position = from
  while (position < blob.size) {
    try {
      for await (const chunk of gather(await open(position), Math.min(GATHER, blob.size - position))) {
        content.take(chunk, position)
        position += chunk.length
        tries.progress(chunk.length)
        yield chunk
      }
    } catch (thrown) {
      await tries.failed(asPromoteError(thrown, 'source'))
    }
  }
}

/** The hash over the whole blob. Bytes that were hashed on an earlier pass are not hashed again. */
type Content = Readonly<{
  take(chunk: Uint8Array, position: number): void
  verify(): void
  reset(): void
  copy(): Content
}>

function createContent(blob: Descriptor, before = { hash: hashFor(blob.digest), hashed: 0 }): Content {
  let { hash, hashed } = before
  return {
    take(chunk, position) {
      const known = Math.max(0, hashed - position)
      if (known >= chunk.length) return
      hash.update(known === 0 ? chunk : chunk.subarray(known))
      hashed = position + chunk.length
    },
    verify: () => verify(blob, hash.copy()),
    reset() {
      hash = hashFor(blob.digest)
      hashed = 0
    },
    copy: () => createContent(blob, { hash: hash.copy(), hashed }),
  }
}

function verify(blob: Descriptor, hash: Hash): void {
  const actual: Digest = `${algorithmOf(blob.digest)}:${hash.digest('hex')}`
  if (actual === blob.digest) return
  throw new PromoteError('DIGEST_MISMATCH', `the source's bytes of blob ${blob.digest} have the digest ${actual}`, {
    side: 'source',
  })
}

/**
 * Small chunks become large ones, large ones pass as they are, so that buffers on loan stay what they are; what came
 * before a break is handed on before the error.
 */
export async function* gather(chunks: AsyncIterable<Uint8Array>, size = GATHER): AsyncGenerator<Uint8Array> {
  let buffer = Buffer.alloc(0)
  let filled = 0
  const broken = { thrown: undefined as unknown }
  try {
    for await (const chunk of chunks) {
      if (chunk.length >= size / 4) {
        if (filled > 0) yield buffer.subarray(0, filled)
        filled = 0
        yield chunk
        continue
      }
      if (filled + chunk.length > size) {
        yield buffer.subarray(0, filled)
        filled = 0
      }
      if (filled === 0) buffer = Buffer.allocUnsafeSlow(size)
      buffer.set(chunk, filled)
      filled += chunk.length
    }
  } catch (thrown) {
    broken.thrown = thrown
  }
  if (filled > 0) yield buffer.subarray(0, filled)
  if (broken.thrown !== undefined) throw broken.thrown
}
