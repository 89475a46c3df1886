import { PromoteError } from '../core/errors.ts'
import { algorithmOf, digestOf, shortDigest } from '../oci/digest.ts'
import { type Descriptor, embedded } from '../oci/manifest.ts'
import type { Source } from './store.ts'

/** Configs and signatures are a few KiB; a larger blob is not read into memory. */
export const BLOB_LIMIT = 4 * 1024 * 1024
/** A source that cannot deliver a small blob in so many connections will not deliver layers. */
const TRIES = 3

/**
 * A small blob, in memory. Opening it is tried again by the store; a body that breaks off is read once more from its start.
 * @throws PromoteError DIGEST_MISMATCH when the bytes are not those of the descriptor.
 */
export async function readBlob(source: Source, descriptor: Descriptor): Promise<Uint8Array> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return embedded(descriptor) ?? (await readOnce(source, descriptor))
    } catch (thrown) {
      if (attempt >= TRIES || !(thrown instanceof PromoteError && thrown.transient)) throw thrown
    }
  }
}

async function readOnce(source: Source, descriptor: Descriptor): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of await source.blob(descriptor)) {
    chunks.push(chunk)
    size += chunk.byteLength
    if (size > BLOB_LIMIT) break
  }
  const bytes = Buffer.concat(chunks)
  if (digestOf(bytes, algorithmOf(descriptor.digest)) === descriptor.digest) return bytes
  const message = `${source.name}: blob ${shortDigest(descriptor.digest)} is not what its digest says.`
  throw new PromoteError('DIGEST_MISMATCH', message, { side: 'source', transient: true })
}
