import { createDeferred, type Deferred, ignoreUnhandled } from '../core/async.ts'
import { asPromoteError } from '../core/errors.ts'
import { createRetries, type Retries } from '../core/retries.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { BlobReader } from './blob-reader.ts'
import { Broadcast, READ_AHEAD, type Subscriber } from './broadcast.ts'
import type { CopyRun } from './copy-run.ts'
import type { Source, Target, Upload } from './store.ts'

/** The way of one image from a repository of the source to a repository of a destination. */
export type Route = Readonly<{
  /** Number of the image, for events. */
  image: number
  source: Source
  target: Target
  /** Origin of the destination registry, and the repository within it. */
  registry: string
  repository: string
  /** Repository of the same registry that the image comes from. */
  mountFrom: string | undefined
}>

/** How a blob came to its destination. */
export type Outcome = 'present' | 'mounted' | 'copied'

/** One blob on its way to one destination. Its `run` refuses when nothing new of the image may begin there. */
export type Delivery = Readonly<{ blob: Descriptor; route: Route; run: CopyRun; outcome: Deferred<Outcome> }>

export function createDelivery(blob: Descriptor, route: Route, run: CopyRun): Delivery {
  return { blob, route, run, outcome: createDeferred() }
}

/**
 * Sends one blob to all destinations that need it. They read it once, and each registry receives it once: where another image
 * of the run is sending it already, the destination waits for that and mounts the blob. No permit is held meanwhile.
 */
export function deliver(deliveries: readonly Delivery[], run: CopyRun): void {
  const first = deliveries.filter((delivery) => {
    const { blob, route, outcome } = delivery
    const key = `${route.registry} ${blob.digest}`
    const mountSource = run.mountSources.get(key)
    if (mountSource === undefined)
      run.mountSources.set(key, ignoreUnhandled(outcome.promise.then(() => route.repository)))
    else void mountFromOther(mountSource, key, delivery, run)
    return mountSource === undefined
  })
  send(first, run)
}

async function mountFromOther(other: Promise<string>, key: string, delivery: Delivery, run: CopyRun): Promise<void> {
  const { route, outcome } = delivery
  const mountSource = await other.catch(() => undefined)
  if (mountSource === route.repository) return outcome.resolve('present')
  if (mountSource !== undefined) return send([{ ...delivery, route: { ...route, mountFrom: mountSource } }], run)
  // The other image failed: the first that comes here takes its place.
  if (run.mountSources.get(key) === other) run.mountSources.delete(key)
  deliver([delivery], run)
}

/** Sends one blob to these destinations, under one permit for all of them. */
export function send(deliveries: readonly Delivery[], run: CopyRun): void {
  const blob = deliveries[0]?.blob
  if (blob === undefined) return
  const begin = (): Promise<void> => {
    const broadcast = new Broadcast(blob, run.readAhead ?? READ_AHEAD)
    const subscribed = deliveries.map((delivery) => ({
      delivery,
      subscriber: broadcast.subscribe(delivery.run.semaphore),
    }))
    for (const { delivery, subscriber } of subscribed)
      delivery.outcome.resolve(sendOne(delivery, subscriber).finally(() => subscriber.leave()))
    return broadcast.over
  }
  run.semaphore(begin, blob.size).catch((thrown: unknown) => {
    for (const { outcome } of deliveries) outcome.resolve(Promise.reject(thrown))
  })
}

async function sendOne({ blob, route, run }: Delivery, subscriber: Subscriber): Promise<Outcome> {
  const { image, source, target, mountFrom } = route
  const { context, retries, emit, platforms } = run
  const { digest, size } = blob
  run.check?.()
  const begun = await target.startUpload(blob, mountFrom)
  if (begun.state !== 'open') return begun.state
  const newRetries = () =>
    createRetries(retries, context, (error, wait, attempt) =>
      emit({ event: 'retry', image, what: `blob ${digest}`, reason: error.message, wait, attempt }),
    )
  const reader = new BlobReader(blob, { source, newRetries, onConfig: (bytes) => platforms.note(digest, bytes) })
  const onSent = (sent: number) => emit({ event: 'bytes', image, digest, sent, total: size })
  await upload(begun.upload, subscriber, reader, newRetries(), onSent)
  return 'copied'
}

/**
 * Sends one blob to the end of its upload session. After a break on either side it goes on from where it was: the reader
 * reopens the source, and the upload asks its store how much it has kept. Bytes that do not match the digest are read once
 * more from the start; a second mismatch is final.
 * @param reader used by this destination alone once it has left the broadcast.
 * @param retries of the upload. The reader has its own.
 */
async function upload(
  session: Upload,
  subscriber: Subscriber,
  reader: BlobReader,
  retries: Retries,
  onSent: (bytes: number) => void,
): Promise<void> {
  const failed = (thrown: unknown) => asPromoteError(thrown, 'destination')
  let mismatches = 0
  let from = 0
  let furthest = 0
  const sendFrom = (start: number) => {
    let sent = start
    const body = subscriber.read(reader, start, (bytes) => {
      sent += bytes
      // Bytes that are sent again are no progress: a registry that loses its session each time would be tried without end.
      retries.progress(Math.max(0, sent - furthest))
      furthest = Math.max(furthest, sent)
      onSent(bytes)
    })
    return session.send(start, body).then(() => undefined, failed)
  }
  try {
    while (from >= 0) {
      const start = from
      const error = await subscriber.run(() => sendFrom(start))
      if (error === undefined) return
      const { failure } = reader
      const isWrong = (failure ?? error).code === 'DIGEST_MISMATCH'
      // When the reader fails, the retries of the source are used up.
      if (isWrong ? mismatches > 0 : failure !== undefined) throw failure ?? error
      if (isWrong) mismatches += 1
      else await retries.failed(error)
      from = await session.offset(isWrong)
    }
  } catch (thrown) {
    await session.cancel()
    throw thrown
  }
}
