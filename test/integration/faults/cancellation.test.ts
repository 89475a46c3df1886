import { afterEach, describe, expect, test } from '@jest/globals'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../../support/cluster/plain.ts'
import { createStorage } from '../../support/cluster/storage.ts'
import type { Late } from '../../support/cluster/uploads.ts'
import { openSessions, realClock, side, travel } from './stage.ts'

/** What SIGINT and SIGTERM come to: the signal of the run is aborted while bytes flow, or while the run
 * waits. Jest ends a test after five seconds, which is what was promised. */

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

const MIB = 1024 * 1024
/** Larger than all buffers on the way: it cannot be over when it is stopped. */
const SLOW = makeImage({ seed: 41, layers: [2000], large: [24 * MIB, 16 * MIB] })
const QUICK = makeImage({ seed: 42, layers: [2000] })

async function registries(): Promise<Readonly<{ source: EmbeddedRegistry; destination: EmbeddedRegistry }>> {
  const source = await startRegistry()
  const destination = await startRegistry({ store: createStorage({ discard: true }) })
  closers.push(source.close, destination.close)
  seedImage(source, 'dev/slow', SLOW, 'v1')
  seedImage(source, 'dev/quick', QUICK, 'v1')
  return { source, destination }
}

const IMAGES = ['dev/slow:v1=prod/slow:v1']
const layers = SLOW.large.map(({ digest }) => digest)

/** Nothing of them is taken after the first MiB. */
function stallLayers({ faults }: EmbeddedRegistry): void {
  for (const digest of layers)
    faults.add({ match: { method: 'PUT', path: new RegExp(digest) }, do: { kind: 'stall-request', after: MIB } })
}

describe('a run that is stopped', () => {
  test('breaks off its transfers, cancels their sessions and says so', async () => {
    const { source, destination } = await registries()
    const stop = new AbortController()
    // Nothing of the layers is taken any more: both are under way until the run is stopped.
    stallLayers(destination)
    const finished = travel({
      images: IMAGES,
      source: side(source),
      destination: side(destination),
      signal: stop.signal,
      clock: realClock(),
    })
    await until(() => layers.every((digest) => destination.stats.received(digest) >= MIB))
    stop.abort('SIGINT')
    const { report, row } = await finished
    expect(report.status).toBe('cancelled')
    expect(row).toMatchObject({ status: 'cancelled', error: { code: 'CANCELLED' } })
    const deleted = destination.requests.filter(({ method, status }) => method === 'DELETE' && status === 204)
    expect(deleted).toHaveLength(layers.length)
    expect(openSessions(destination)).toBe(0)
    expect(destination.tags('prod/slow').size).toBe(0)
    await until(() => source.stats.active === 0)
  })

  const HALF_A_SECOND = { milliseconds: 500 }
  test.each<[string, Late]>([
    ['for half a second', HALF_A_SECOND],
    ['whatever the time', { deletes: 7 }],
  ])('leaves no session where bytes go on arriving after it has closed the connection: %s', async (_, late) => {
    const { source } = await registries()
    const destination = await startRegistry({ store: createStorage({ discard: true }), late })
    closers.push(destination.close)
    stallLayers(destination)
    const stop = new AbortController()
    const sides = { images: IMAGES, source: side(source), destination: side(destination) }
    const finished = travel({ ...sides, signal: stop.signal, clock: realClock() })
    await until(() => layers.every((digest) => destination.stats.received(digest) >= MIB))
    stop.abort('SIGTERM')
    expect((await finished).row.status).toBe('cancelled')
    expect(openSessions(destination)).toBe(0)
    const refused = destination.requests.filter(({ method, status }) => method === 'DELETE' && status === 416)
    expect(refused.length).toBeGreaterThan(2 * layers.length)
  })

  test('leaves no session on OpenShift either, when an upload fails without being stopped', async () => {
    const [source, cluster] = [await startRegistry(), await startCluster({ name: 'prod' })]
    closers.push(source.close, cluster.close)
    const image = makeImage({ seed: 43, layers: [2000], large: [4 * MIB] })
    seedImage(source, 'dev/slow', image, 'v1')
    cluster.options.registry.late = HALF_A_SECOND
    const wrong = new RegExp(`blobs/${image.large[0]?.digest}`)
    source.faults.add({ match: { path: wrong }, do: { kind: 'corrupt', at: MIB } })
    const destination = { cluster: cluster.api.origin, ca: cluster.ca.bundle, token: cluster.token('developer') }
    const { row } = await travel({ images: IMAGES, source: side(source), destination, clock: realClock() })
    expect(row).toMatchObject({ status: 'failed', error: { code: 'DIGEST_MISMATCH', side: 'source' } })
    expect(cluster.openUploads()).toBe(0)
  })

  test('stops waiting for another try', async () => {
    const { source, destination } = await registries()
    const stop = new AbortController()
    destination.faults.add({
      match: { method: 'PUT', path: /uploads/ },
      do: { kind: 'status', status: 429, headers: { 'Retry-After': '50' } },
    })
    const finished = travel({
      images: IMAGES,
      source: side(source),
      destination: side(destination),
      signal: stop.signal,
      clock: realClock(),
      onWait: () => void setImmediate(() => stop.abort('SIGTERM')),
    })
    const { row } = await finished
    expect(stop.signal.aborted).toBe(true)
    expect(row.status).toBe('cancelled')
    expect(openSessions(destination)).toBe(0)
  })

  test('is over in time although the registry does not answer any more', async () => {
    const { source, destination } = await registries()
    const stop = new AbortController()
    const [first] = layers
    destination.faults.add({
      match: { method: 'PUT', path: new RegExp(`${first}`) },
      do: { kind: 'stall-request', after: MIB },
    })
    destination.faults.add({ match: { method: 'DELETE' }, do: { kind: 'stall-response' } })
    const finished = travel({
      images: IMAGES,
      source: side(source),
      destination: side(destination),
      signal: stop.signal,
      clock: realClock(),
    })
    await until(() => destination.stats.received(`${first}`) >= MIB)
    stop.abort('SIGINT')
    const { row } = await finished
    expect(row.status).toBe('cancelled')
  })

  test('says which images had arrived before', async () => {
    const { source, destination } = await registries()
    const stop = new AbortController()
    stallLayers(destination)
    const finished = travel({
      images: ['dev/quick:v1=prod/quick:v1', ...IMAGES],
      source: side(source),
      destination: side(destination),
      signal: stop.signal,
      clock: realClock(),
    })
    await until(() => destination.stats.received(layers[0] ?? '') >= MIB)
    stop.abort('SIGINT')
    const { report } = await finished
    for (const { status, destination: name, tag } of report.images) {
      const there = destination.tags(name.replace(/^[^/]+\/|:[^:]*$/g, '')).has(tag)
      expect(status).toBe(there ? 'promoted' : 'cancelled')
    }
    expect(report.images.map(({ status }) => status)).toContain('cancelled')
  })

  test('logs out of both clusters', async () => {
    const [from, to] = [await startCluster({ name: 'dev' }), await startCluster({ name: 'prod' })]
    closers.push(from.close, to.close)
    seedImage(from, 'dev/slow', SLOW, 'v1')
    const stop = new AbortController()
    const at = ({ api, ca }: EmbeddedCluster) => ({
      cluster: api.origin,
      ca: ca.bundle,
      username: 'developer',
      password: 'developer-password',
    })
    to.faults.registry.add({ match: { method: 'PUT', path: /uploads/ }, do: { kind: 'stall-request', after: MIB } })
    const finished = travel({
      images: IMAGES,
      source: at(from),
      destination: at(to),
      signal: stop.signal,
      clock: realClock(),
    })
    await until(() => to.stats.bytesIn >= MIB)
    stop.abort('SIGTERM')
    const { row } = await finished
    expect(row.status).toBe('cancelled')
    expect(to.openUploads()).toBe(0)
    for (const { state } of [from, to]) expect(state.tokens.size).toBe(0)
  })
})

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}
