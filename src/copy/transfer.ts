import type { Context } from '../context.ts'
import { asPromoteError, type PromoteError } from '../errors.ts'
import type { Source, Upload } from '../store/store.ts'
import type { Share } from './reading.ts'
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
 * @param share of the reading that brings the bytes to all destinations; a try after a break reads for this one alone.
 */
export async function transfer(share: Share, source: Source, upload: Upload, options: TransferOptions): Promise<void> {
  const newTries = () => createTries(options.retries, options.context, options.onRetry)
  const tries = newTries()
  let mismatches = 0
  let from = 0
  let sent = 0
  let furthest = 0
  const onBytes = (bytes: number) => {
    sent += bytes
    // Only new ground is progress: a registry that loses the session at every break would be fed for ever.
    tries.progress(Math.max(0, sent - furthest))
    furthest = Math.max(furthest, sent)
    options.onBytes(bytes)
  }
  const feed = share.feed({ source, tries: newTries, onBytes })
  try {
    while (from >= 0) {
      sent = from
      const error = await share.turn(() => attempt(() => upload.send(from, feed.read(from))))
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
