import type { Held } from '../copy/budget.ts'
import type { Attached } from '../copy/events.ts'
import type { Job, Shared } from '../copy/execute.ts'
import type { Graph } from '../copy/graph.ts'
import type { Plan } from '../copy/plan.ts'
import { Platforms } from '../copy/platforms.ts'
import { createPermits } from '../copy/semaphore.ts'
import type { Survey } from '../copy/survey.ts'
import { ignoreUnhandled } from '../core/async.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import type { Config, ImagePair, SideConfig } from '../inputs/config.ts'
import type { Rights } from '../openshift/denial.ts'
import type { Listener, PlannedImage, Row } from '../report/model.ts'
import { type Progress, rowsOf } from './rows.ts'
import { openSide, type Repository, type Side } from './session.ts'

/** One image at the source: read once, for all destinations. */
export type Image = Readonly<{
  pair: ImagePair
  source: Promise<Repository>
  /** @param near of whoever asks first: a destination that may have the image already. It must be told soon. */
  graph: (near: Promise<Place | undefined>) => Promise<Graph>
}>
/** A repository and what its tags point at. */
export type Place = Readonly<{ to: Repository; tags: Survey['tags'] }>
export type Destination = Readonly<{ config: SideConfig; side: Promise<Side> }>

/**
 * One image on its way to one destination through the stages. A stage that fails leaves its error; later stages pass it by.
 */
export type Work = Progress & {
  readonly number: number
  readonly image: Image
  readonly destination: Destination
  /** Ends when everything but the tags is at the destination. */
  copied?: Promise<readonly Attached[] | undefined>
  /** Dry runs at a cluster. */
  rights?: Rights
  /** Set once nothing more will happen to it. */
  rows?: readonly Row[]
}

export type Run = Readonly<{
  config: Config
  host: Listener
  context: Context
  shared: Shared
  works: Work[]
  /** What was discovered, by source, digest and platforms. */
  graphs: Map<string, Promise<Graph>>
  held: Held
  /** Dry runs: what would be done. */
  plans: PlannedImage[]
  /** The first failure; with fail-fast nothing begins after it. */
  halted: { by?: PromoteError }
}>

export function createRun(config: Config, host: Listener, context: Context): Run {
  const halted: Run['halted'] = {}
  const check = () => {
    if (config.failFast && halted.by !== undefined) throw abandoned('not begun', halted.by)
  }
  const shared = {
    context,
    permits: createPermits(config.jobs),
    retries: config.retries,
    homes: new Map(),
    tagWrites: new Map(),
    platforms: new Platforms(),
    emit: host.event.bind(host),
    check,
  }
  return {
    config,
    host,
    context,
    shared,
    works: [],
    graphs: new Map(),
    held: { bytes: 0, links: 0 },
    plans: [],
    halted,
  }
}

export function createWork(image: Image, destination: Destination, { config, context, shared, works }: Run): Work {
  const { pair } = image
  const tags = [...new Set([pair.destination.tag, ...config.additionalTags])]
  const progress = { pair, tags, target: destination.config.name, began: context.now() }
  const ended = { written: new Set<string>(), unconfirmed: new Set<string>() }
  return { ...progress, ...ended, platforms: shared.platforms, number: works.length, image, destination }
}

/** All that have something left to do, side by side; a failure stays with its image and its destination. */
export async function each(works: readonly Work[], run: Run, stage: (work: Work) => Promise<void>): Promise<void> {
  const begin = async (work: Work): Promise<void> => {
    run.shared.check?.()
    return stage(work)
  }
  await Promise.all(going(works).map((work) => begin(work).catch((thrown) => fail(work, thrown, run))))
}

export function going(works: readonly Work[]): readonly Work[] {
  return works.filter((work) => work.rows === undefined)
}

export function fail(work: Work, thrown: unknown, run: Run): void {
  const error = asPromoteError(thrown)
  work.error = error.side === 'destination' ? error.with({ target: work.target }) : error
  if (error.code !== 'ABANDONED') run.halted.by ??= work.error
  conclude(work, run)
}

/** @param what `not begun`, `not moved`, … */
export function abandoned(what: string, because: PromoteError): PromoteError {
  return new PromoteError('ABANDONED', `${what}, because another part of the promotion failed: ${because.message}`, {
    cause: because,
  })
}

/** Makes the rows of an image and tells them, once. */
export function conclude(work: Work, { config, context, host }: Run): readonly Row[] {
  if (work.rows !== undefined) return work.rows
  work.rows = rowsOf(work, config.dryRun, context.now())
  for (const row of work.rows) host.event({ event: 'image', image: work.number, row })
  return work.rows
}

export function jobOf({ number, plan, from, to }: Work): [Plan, Job] {
  if (plan === undefined || from === undefined || to === undefined) throw new PromoteError('INTERNAL', 'not prepared')
  const [source, target] = [from.store, to.store]
  const job = { image: number, source, target, registry: to.origin, repository: to.path }
  return [plan, { ...job, mountFrom: mountable(from, to) }]
}

/** Repository of the same registry that blobs can be mounted from. */
export function mountable(from: Repository, to: Repository): string | undefined {
  return from.origin === to.origin && from.path !== to.path ? from.path : undefined
}

/** All sides at once; nothing of a side waits for the login of another one. */
export function logIn(side: SideConfig, { config, host, context, shared }: Run): Promise<Side> {
  const onRetry = (what: string, reason: string, wait: number, attempt: number) =>
    shared.emit({ event: 'retry', image: null, what, reason, wait, attempt })
  return ignoreUnhandled(
    openSide(side, { config, context, onRetry, oidcToken: host.oidcToken?.bind(host) }).then((opened) => {
      const { cluster, api } = opened
      const login = { side: side.side, target: side.name, user: cluster?.user ?? null, registry: api ?? '' }
      if (cluster !== undefined) host.event({ event: 'login', ...login })
      return opened
    }),
  )
}

export async function logOut(sides: readonly Promise<Side>[]): Promise<void> {
  await Promise.all(sides.map((side) => side.then((opened) => opened.close()).catch(() => undefined)))
}
