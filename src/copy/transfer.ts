import type { Context } from '../context.ts'
import { asPromoteError, type PromoteError } from '../errors.ts'
import type { Descriptor } from '../oci/manifest.ts'
import type { Source, Upload } from '../store/store.ts'
import { createFeed } from './feed.ts'
import { createTries, type RetryNotice } from './tries.ts'

export type TransferOptions = Readonly<{
  context: Context
  retries: number
  onBytes: (bytes: number) => void
  onRetry: RetryNotice
}>

/**
 * One blob, source to upload session, to the end. A break on either side goes on from where it was: the feed opens the
 * source again, the upload asks its store what it has kept. Bytes that are not the digest's are fetched once more from
 * scratch; a second mismatch is the verdict.
 */
export async function transfer(
  source: Source,
  blob: Descriptor,
  upload: Upload,
  options: TransferOptions,
): Promise<void> {
  const newTries = () => createTries(options.retries, options.context, options.onRetry)
  const tries = newTries()
  const feed = createFeed(source, blob, newTries, (bytes) => {
    tries.progress(bytes)
    options.onBytes(bytes)
  })
  let mismatches = 0
  let from = 0
  try {
    while (from >= 0) {
      const error = await attempt(() => upload.send(from, feed.read(from)))
      if (error === undefined) return
      const wrong = (feed.failure ?? error).code === 'DIGEST_MISMATCH'
      if (wrong && mismatches > 0) throw feed.failure ?? error
      if (wrong) mismatches += 1
      // The source's own tries are spent inside the feed: what it gives up on is final here.
      else if (feed.failure !== undefined) throw feed.failure
      else await tries.failed(error)
      if (wrong) feed.reset()
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
