import { setTimeout as wait } from 'node:timers/promises'
import type { Context } from '../../../src/core/context.ts'
import { PromoteError } from '../../../src/core/errors.ts'
import { Secrets } from '../../../src/core/secret.ts'
import type { Host } from '../../../src/host/host.ts'
import { collect } from '../../../src/inputs/collect.ts'
import type { Config } from '../../../src/inputs/config.ts'
import { parse } from '../../../src/inputs/parse.ts'
import { promote } from '../../../src/promote.ts'
import type { Event, Report, Row } from '../../../src/report/model.ts'
import { options, type SideOptions, variables } from '../../bundle/sides.ts'
import type { Faults } from '../../support/cluster/faults.ts'
import type { Logged, Stats } from '../../support/cluster/http.ts'
import type { BuiltImage } from '../../support/cluster/image.ts'
import { watched } from '../../support/watch.ts'

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
    sleep: (milliseconds, signal) => {
      slept.push(milliseconds)
      return wait(milliseconds, undefined, { signal }).catch(() => undefined)
    },
  }
}

export type Trip = Readonly<{
  /** `SRC=DST` without hosts: `dev/app:v1=prod/app:v1`. */
  images: readonly string[]
  /** Options without the name of the side. */
  source: SideOptions
  destination: SideOptions
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
  const watching = watched(promote)
  const report = await watching.promote(configOf(trip, context), host, context)
  const milliseconds = performance.now() - began
  watching.verify()
  const [row] = report.images
  if (row === undefined) throw new Error('a report without a row')
  return { report, row, events, lines, milliseconds }
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
    spell: (option) => option,
    inputs: () => ({ env: {}, problems: [] }),
    begin: () => undefined,
    publish: async () => undefined,
  }
}

/** Through the parser that every host uses; what tests need smaller than a user may ask for is put in afterwards. */
function configOf(trip: Trip, { secrets }: Context): Config {
  const { source, destination, images, config } = trip
  const env = variables(options(source, destination, { referrers: 'false', images: images.join('\n') }))
  const files = (path: string): never => {
    throw new Error(`no test reads ${path}`)
  }
  const place = { spell: (option: string) => option, kind: 'plain' as const }
  return { ...parse(collect([], env, files), place, secrets, files), ...config }
}

/** A side without a cluster: this registry, over plain HTTP unless it is https. */
export function side({ url }: Readonly<{ url: URL }>): SideOptions {
  return { registry: url.origin }
}

/** Bytes of the image's blobs. */
export function sizes(image: BuiltImage): number {
  const small = [...image.blobs.values()].reduce((sum, bytes) => sum + bytes.length, 0)
  return image.large.reduce((sum, { size }) => sum + size, small)
}

/** Bytes of blobs that the source gave out, and that the destination took in, beyond one copy of each. */
export function again(source: Place, destination: Place, image: BuiltImage): Readonly<{ read: number; sent: number }> {
  const total = (place: Place, way: 'bytesIn' | 'bytesOut', of: RegExp) =>
    [...place.stats.paths].reduce((sum, [path, tally]) => sum + (of.test(path) ? tally[way] : 0), 0)
  return {
    read: Math.max(0, total(source, 'bytesOut', /\/blobs\/sha256:|^\/storage\//) - sizes(image)),
    sent: Math.max(0, total(destination, 'bytesIn', /\/blobs\/uploads\//) - sizes(image)),
  }
}

/**
 * Upload sessions that the client knew of and left alone. A session ends by a commit, by an answer that says that it is
 * gone, or by being cancelled, whatever the answer was; but 416 asks for the present address, if its status tells it.
 */
export function openSessions({ requests }: Place): number {
  const uploads = requests.flatMap(({ method, path, status }) => {
    const [, id] = /\/blobs\/uploads\/([^?/]*)/.exec(path) ?? []
    return id === undefined ? [] : [{ method, id, status }]
  })
  const begun = uploads.filter(({ method, status }) => method === 'POST' && status === 202).length
  const refused = new Set<string>()
  const ended = new Set<string>()
  for (const { method, id, status } of uploads.filter((one) => one.id !== '')) {
    if (method === 'DELETE' && status === 416) refused.add(id)
    else if (method === 'DELETE' || status === 404 || (method === 'PUT' && status === 201)) ended.add(id)
    else if (method === 'GET' && refused.has(id) && status !== 204) ended.add(id)
  }
  return begun - ended.size
}
