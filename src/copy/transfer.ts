import { asPromoteError, type PromoteError } from '../errors.ts'
import type { Upload } from '../store/store.ts'
import type { BlobReader } from './blob-reader.ts'
import type { Subscriber } from './broadcast.ts'
import type { Tries } from './tries.ts'

export type TransferOptions = Readonly<{
  /** Counts the tries of the upload. */
  tries: Tries
  onBytes: (bytes: number) => void
}>

/**
 * One blob, from the source to an upload session, to the end. After a break on either side it goes on from where it was: the
 * reader opens the source again, the upload asks its store what it has kept. Bytes that do not have the digest are fetched
 * once more from the start; a second mismatch is final.
 * @param reader for this destination alone, once it has left the broadcast.
 */
export async function transfer(
  subscriber: Subscriber,
  reader: BlobReader,
  upload: Upload,
  options: TransferOptions,
): Promise<void> {
  const { tries } = options
  let mismatches = 0
  let from = 0
  let sent = 0
  let furthest = 0
  const onBytes = (bytes: number) => {
    sent += bytes
    // Only new ground is progress: a registry that loses the session at every break would otherwise be tried without end.
    tries.progress(Math.max(0, sent - furthest))
    furthest = Math.max(furthest, sent)
    options.onBytes(bytes)
  }
  try {
    while (from >= 0) {
      sent = from
      const error = await subscriber.run(() => attempt(() => upload.send(from, subscriber.read(reader, from, onBytes))))
      if (error === undefined) return
      const { failure } = reader
      const wrong = (failure ?? error).code === 'DIGEST_MISMATCH'
      if (wrong && mismatches > 0) throw failure ?? error
      if (wrong) mismatches += 1
      // The reader has used up the source's own tries.
      else if (failure !== undefined) throw failure
      else await tries.failed(error)
      from = await upload.offset(wrong)
    }
  } catch (thrown) {
    await upload.cancel()
    throw thrown
  }
}

async function attempt(send: () => Promise<void>): Promise<PromoteError | undefined> {
  try {
    await send()
    return undefined
  } catch (thrown) {
    return asPromoteError(thrown, 'destination')
  }
}
