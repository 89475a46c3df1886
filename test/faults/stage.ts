import type { Context } from '../../src/context.ts'
import { PromoteError } from '../../src/errors.ts'
import type { Host } from '../../src/host/host.ts'
import type { Config, SideConfig } from '../../src/inputs/config.ts'
import { parseReference } from '../../src/oci/reference.ts'
import { promote } from '../../src/promote.ts'
import type { Event, Report, Row } from '../../src/report/model.ts'
import { Secrets } from '../../src/secret.ts'
import type { Faults } from '../cluster/faults.ts'
import type { Logged, Stats } from '../cluster/http.ts'
import type { BuiltImage } from '../cluster/image.ts'

/** One promotion as the command runs it, between two registries of a test, with the clock in the test's hands. */

/** What of a registry a promotion and its figures need: the embedded one, or a fault proxy. */
export interface Place {
  readonly url: URL
  readonly host: string
  readonly faults: Faults
  readonly stats: Stats
  readonly requests: readonly Logged[]
  readonly violations: readonly string[]
}

export type Clock = Readonly<{
  now: () => number
  sleep: (milliseconds: number, signal: AbortSignal) => Promise<void>
  /** Milliseconds that were slept. */
  slept: readonly number[]
}>

/** Sleeping costs a turn of the event loop and moves the clock. */
export function virtualClock(): Clock {
  const slept: number[] = []
  let ahead = 0
  return {
    slept,
    now: () => Date.now() + ahead,
    sleep: async (milliseconds) => {
      slept.push(milliseconds)
      await new Promise((resolve) => setImmediate(resolve))
      ahead += milliseconds
    },
  }
}

export function realClock(): Clock {
  const slept: number[] = []
  return {
    slept,
    now: Date.now,
    sleep: (milliseconds, signal) =>
      new Promise((resolve) => {
        slept.push(milliseconds)
        const timer = setTimeout(resolve, milliseconds)
        signal.addEventListener('abort', () => {
          clearTimeout(timer)
          resolve()
        })
      }),
  }
}

export type Trip = Readonly<{
  /** `SRC=DST` without hosts: `dev/app:v1=prod/app:v1`. */
  images: readonly string[]
  source: Partial<SideConfig>
  destination: Partial<SideConfig>
  clock?: Clock
  signal?: AbortSignal
  /** Before each wait, with its number from 1. */
  onWait?: (number: number) => Promise<void> | void
  config?: Partial<Config>
  random?: () => number
}>

export type Arrived = Readonly<{
  report: Report
  /** Of the first image. */
  row: Row
  events: readonly Event[]
  lines: readonly string[]
  /** Milliseconds on the wall. */
  milliseconds: number
}>

export async function travel(trip: Trip): Promise<Arrived> {
  const clock = trip.clock ?? virtualClock()
  const events: Event[] = []
  const lines: string[] = []
  const context = contextOf(trip, clock, (line) => void lines.push(line))
  const host = hostOf(context, (event) => void events.push(event))
  const began = performance.now()
  const report = await promote(configOf(trip), host, context)
  const [row] = report.images
  if (row === undefined) throw new Error('a report without a row')
  return { report, row, events, lines, milliseconds: performance.now() - began }
}

function contextOf(
  { signal = new AbortController().signal, onWait, random }: Trip,
  clock: Clock,
  log: (line: string) => void,
): Context {
  let waits = 0
  const stopped = () => new PromoteError('CANCELLED', 'stopped while waiting')
  return {
    log: { debug: log, info: log, warn: log, error: log },
    secrets: new Secrets(),
    signal,
    env: {},
    now: clock.now,
    random: random ?? (() => 0.5),
    sleep: async (milliseconds) => {
      if (signal.aborted) throw stopped()
      waits += 1
      await onWait?.(waits)
      await clock.sleep(milliseconds, signal)
      if (signal.aborted) throw stopped()
    },
  }
}

function hostOf({ log, secrets }: Context, event: (event: Event) => void): Host {
  return {
    kind: 'plain',
    log,
    secrets,
    event,
    mask: () => undefined,
    spell: (option) => option,
    inputs: () => ({ env: {}, problems: [] }),
    begin: () => undefined,
    publish: async () => undefined,
  }
}

const NOTHING = {
  cluster: undefined,
  username: undefined,
  password: undefined,
  token: undefined,
  serviceAccount: undefined,
  kubeconfig: undefined,
  context: undefined,
  oidcAudience: undefined,
  registry: undefined,
  ca: undefined,
  insecureSkipTlsVerify: false,
  authFile: undefined,
} as const

function configOf(trip: Trip): Config {
  const images = trip.images.map((line) => {
    const [source = '', destination = ''] = line.split('=')
    const to = parseReference(destination)
    return { source: parseReference(source), destination: { ...to, tag: to.tag ?? 'latest' } }
  })
  return {
    images,
    sets: [],
    overwrite: 'always',
    atomic: false,
    failFast: false,
    shard: undefined,
    annotate: false,
    rollback: undefined,
    source: { ...NOTHING, side: 'source', name: 'source', ...trip.source },
    destinations: [{ ...NOTHING, side: 'destination', name: 'destination', ...trip.destination }],
    platforms: undefined,
    referrers: false,
    requireSigned: false,
    includeForeign: false,
    skipMissing: false,
    additionalTags: [],
    dryRun: false,
    jobs: 8,
    retries: 5,
    stallTimeout: 20_000,
    report: undefined,
    progress: 'quiet',
    logLevel: 'info',
    summary: false,
    output: 'text',
    ...trip.config,
  }
}

/** A side without a cluster: this registry, over plain HTTP unless it is https. */
export function side({ url }: Readonly<{ url: URL }>): Partial<SideConfig> {
  return { registry: { host: url.host, plainHttp: url.protocol === 'http:' } }
}

/** Bytes of the image's blobs. */
export function sizes(image: BuiltImage): number {
  const small = [...image.blobs.values()].reduce((sum, bytes) => sum + bytes.length, 0)
  return image.large.reduce((sum, { size }) => sum + size, small)
}

/** Bytes that went out of the source, and into the destination, beyond one copy of every blob. */
export function sentTwice(source: Place, destination: Place, image: BuiltImage): number {
  const total = (place: Place, way: 'bytesIn' | 'bytesOut', of: RegExp) =>
    [...place.stats.paths].reduce((sum, [path, tally]) => sum + (of.test(path) ? tally[way] : 0), 0)
  const out = total(source, 'bytesOut', /\/blobs\/sha256:|^\/storage\//)
  const into = total(destination, 'bytesIn', /\/blobs\/uploads\//)
  return Math.max(0, out - sizes(image)) + Math.max(0, into - sizes(image))
}

/**
 * Upload sessions that the client knew of and left alone. A session ends by a commit, by being cancelled (whatever the
 * answer was), or by an answer that says that it is gone.
 */
export function openSessions({ requests }: Place): number {
  const uploads = requests.flatMap(({ method, path, status }) => {
    const [, id] = /\/blobs\/uploads\/([^?/]*)/.exec(path) ?? []
    return id === undefined ? [] : [{ method, id, status }]
  })
  const begun = uploads.filter(({ method, status }) => method === 'POST' && status === 202).length
  const ended = uploads.filter(
    ({ method, status }) => method === 'DELETE' || status === 404 || (method === 'PUT' && status === 201),
  )
  return begun - new Set(ended.map(({ id }) => id).filter((id) => id !== '')).size
}
