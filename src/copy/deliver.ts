import { createDeferred, type Deferred, ignoreUnhandled } from '../core/async.ts'
import { BlobReader } from './blob-reader.ts'
import { Broadcast, READ_AHEAD, type Subscriber } from './broadcast.ts'
import type { Job, Shared } from './execute.ts'
import type { Node } from './graph.ts'
import { createTries, transfer } from './transfer.ts'

export type Outcome = 'present' | 'mounted' | 'copied'

/** One blob on its way to one destination. */
export type Delivery = Readonly<{
  node: Node
  job: Job
  /** Its `check` and `permits` refuse when nothing new of the image may begin at this destination. */
  shared: Shared
  /** Settled when the destination says that it does not have the blob. */
  absent: Deferred<'absent'>
  outcome: Deferred<Outcome>
}>

export function createDelivery(node: Node, job: Job, shared: Shared): Delivery {
  return { node, job, shared, absent: createDeferred(), outcome: createDeferred() }
}

/**
 * Sends one blob to all destinations that need it, which read it once. Each registry gets it once: where another image of
 * the run is bringing it, this one waits for that and mounts it. No permit is held meanwhile.
 */
export function deliver(deliveries: readonly Delivery[], run: Shared): void {
  const { homes } = run
  const first: Delivery[] = []
  for (const delivery of deliveries) {
    const { node, job, outcome } = delivery
    const key = `${job.registry} ${node.descriptor.digest}`
    const other = homes.get(key)
    if (other !== undefined) void afterOther(other, key, delivery, run)
    else {
      homes.set(key, ignoreUnhandled(outcome.promise.then(() => job.repository)))
      first.push(delivery)
    }
  }
  send(first, run)
}

async function afterOther(other: Promise<string>, key: string, delivery: Delivery, run: Shared): Promise<void> {
  const { job, outcome } = delivery
  const home = await other.catch(() => undefined)
  if (home === job.repository) outcome.resolve('present')
  else if (home !== undefined) send([{ ...delivery, job: { ...job, mountFrom: home } }], run)
  else {
    if (run.homes.get(key) === other) run.homes.delete(key)
    deliver([delivery], run)
  }
}

/** Under one permit for all of them. */
export function send(deliveries: readonly Delivery[], run: Shared): void {
  const blob = deliveries[0]?.node.descriptor
  if (blob === undefined) return
  const begin = (): Promise<void> => {
    const broadcast = new Broadcast(blob, run.readAhead ?? READ_AHEAD)
    const subscribers = deliveries.map(({ shared }) => broadcast.subscribe(shared.permits))
    for (const [index, subscriber] of subscribers.entries()) {
      const delivery = deliveries[index] as Delivery
      delivery.outcome.resolve(sendOne(delivery, subscriber).finally(() => subscriber.leave()))
    }
    return broadcast.over
  }
  run.permits(begin, blob.size).catch((thrown: unknown) => {
    for (const { outcome } of deliveries) outcome.resolve(Promise.reject(thrown))
  })
}

async function sendOne({ node, job, shared, absent }: Delivery, subscriber: Subscriber): Promise<Outcome> {
  const { descriptor } = node
  const { image, source, target, mountFrom } = job
  const { context, retries, emit, platforms } = shared
  shared.check?.()
  const begun = await target.startUpload(descriptor, mountFrom)
  if (begun.state !== 'open') return begun.state
  absent.resolve('absent')
  const newTries = () =>
    createTries(retries, context, (reason, wait, attempt) =>
      emit({ event: 'retry', image, what: `blob ${descriptor.digest}`, reason, wait, attempt }),
    )
  const onConfig = (bytes: Uint8Array) => platforms.note(descriptor.digest, bytes)
  const onSent = (sent: number) =>
    emit({ event: 'bytes', image, digest: descriptor.digest, sent, total: descriptor.size })
  const reader = new BlobReader(descriptor, { source, newTries, onConfig })
  await transfer(subscriber, reader, begun.upload, newTries(), onSent)
  return 'copied'
}
