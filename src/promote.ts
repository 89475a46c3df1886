import type { Context } from './context.ts'
import { execute, expectStored, type Job, putComplete, type Shared } from './copy/execute.ts'
import { discover, type Graph } from './copy/graph.ts'
import { createPermits } from './copy/permits.ts'
import { isUnchanged, makePlan, type Plan, plannedSteps } from './copy/plan.ts'
import { survey } from './copy/survey.ts'
import { asPromoteError, PromoteError } from './errors.ts'
import type { Host } from './host/host.ts'
import type { Config, ImagePair } from './inputs/config.ts'
import type { Manifest } from './oci/manifest.ts'
import { formatReference } from './oci/reference.ts'
import type { Bytes, Report, Row, Status } from './report/model.ts'
import { makeReport } from './report/report.ts'
import { openSide, type Repository, type Side } from './side.ts'

/** One image on its way through the stages. A stage that fails leaves its error; later stages pass it by. */
type Work = {
  readonly image: number
  readonly pair: ImagePair
  readonly tags: readonly string[]
  readonly began: number
  source?: Repository
  destination?: Repository
  plan?: Plan
  moved?: Bytes
  readonly written: Set<string>
  error?: PromoteError
  /** Set once nothing more will happen to it. */
  rows?: readonly Row[]
}

type Run = Readonly<{ config: Config; host: Host; context: Context; shared: Shared }>
type Sides = Readonly<{ source: Side; destination: Side }>

/** The story of a promotion. Never rejects for a failed image: the report says what happened to each. */
export async function promote(config: Config, host: Host, context: Context): Promise<Report> {
  const started = context.now()
  const run = createRun(config, host, context)
  const works = config.images.map((pair, image) => createWork(pair, image, config, context))
  const sides = await logIn(run).catch((thrown) => fail(works, thrown, run))
  try {
    if (sides !== undefined) {
      await each(works, run, (work) => prepare(work, sides, run))
      if (!config.dryRun) {
        await each(works, run, (work) => copy(work, run))
        await each(works, run, (work) => tag(work, run))
      }
    }
  } finally {
    await logOut(sides)
  }
  const rows = works.flatMap((work) => conclude(work, run))
  const report = makeReport(started, context.now(), config.dryRun, rows)
  host.event({ event: 'done', report })
  return report
}

function createRun(config: Config, host: Host, context: Context): Run {
  const emit = host.event.bind(host)
  const shared = { context, permits: createPermits(config.jobs), retries: config.retries, homes: new Map(), emit }
  return { config, host, context, shared }
}

function createWork(pair: ImagePair, image: number, config: Config, context: Context): Work {
  const tags = [...new Set([pair.destination.tag, ...config.additionalTags])]
  return { image, pair, tags, began: context.now(), written: new Set() }
}

/** Every image that has something left to do, side by side; a failure stays with its image. */
async function each(works: readonly Work[], run: Run, stage: (work: Work) => Promise<void>): Promise<void> {
  const going = works.filter((work) => work.rows === undefined)
  await Promise.all(going.map((work) => stage(work).catch((thrown) => fail([work], thrown, run))))
}

function fail(works: readonly Work[], thrown: unknown, run: Run): undefined {
  for (const work of works) {
    work.error = asPromoteError(thrown)
    conclude(work, run)
  }
}

/** Makes the rows of an image and tells them, once. */
function conclude(work: Work, run: Run): readonly Row[] {
  if (work.rows !== undefined) return work.rows
  work.rows = rowsOf(work, run)
  for (const row of work.rows) run.shared.emit({ event: 'image', image: work.image, row })
  return work.rows
}

/** Both sides at once; when one fails the other is logged out again. */
async function logIn({ config, host, context, shared }: Run): Promise<Sides> {
  const onRetry = (what: string, reason: string, wait: number, attempt: number) =>
    shared.emit({ event: 'retry', image: null, what, reason, wait, attempt })
  const options = { config, context, onRetry, oidcToken: host.oidcToken?.bind(host) }
  const [source, destination] = await Promise.allSettled([
    openSide(config.source, options),
    openSide(config.destination, options),
  ])
  if (source.status === 'fulfilled' && destination.status === 'fulfilled') {
    for (const [side, { cluster, api }] of [
      ['source', source.value],
      ['destination', destination.value],
    ] as const) {
      if (cluster !== undefined) shared.emit({ event: 'login', side, user: cluster.user, registry: api ?? '' })
    }
    return { source: source.value, destination: destination.value }
  }
  const opened = [source, destination].flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  await Promise.all(opened.map((side) => side.close()))
  throw source.status === 'rejected'
    ? bothReasons(source.reason, destination)
    : (destination as PromiseRejectedResult).reason
}

/** When both sides fail, one message tells both: nobody wants to find the second mistake on the next run. */
function bothReasons(first: unknown, second: PromiseSettledResult<unknown>): PromoteError {
  const error = asPromoteError(first, 'source')
  if (second.status === 'fulfilled') return error
  const other = asPromoteError(second.reason, 'destination')
  const message = `${error.message} And the destination: ${other.message}`
  const hint = [error.hint, other.hint].filter((each) => each !== undefined).join(' ')
  return new PromoteError(error.code, message, { ...error, cause: error.cause, hint: hint === '' ? undefined : hint })
}

async function logOut(sides: Sides | undefined): Promise<void> {
  if (sides !== undefined) await Promise.all([sides.source.close(), sides.destination.close()])
}

/** locate, resolve, discover, survey, plan. */
async function prepare(work: Work, sides: Sides, run: Run): Promise<void> {
  const { config, shared } = run
  const { pair } = work
  const [source, destination] = await Promise.all([
    sides.source.repository(pair.source),
    openDestination(work, sides.destination, run),
  ])
  work.source = source
  work.destination = destination
  const root = await resolve(pair, source)
  const graph = await discover(source.store, root, config, shared.permits)
  const seen = await survey(destination.store, graph, work.tags, config.dryRun, shared.permits)
  const mountFrom = source.origin === destination.origin && source.path !== destination.path ? source.path : undefined
  work.plan = makePlan(graph, seen, mountFrom)
  announce(work, work.plan, graph, run)
  if (isUnchanged(work.plan)) conclude(work, run)
}

/** The image stream has to exist before anything is read from it by digest: OpenShift answers 500 otherwise. */
async function openDestination(work: Work, side: Side, { config, context }: Run): Promise<Repository> {
  const reference = work.pair.destination
  const ensure = side.cluster !== undefined && reference.host === undefined && config.destination.registry === undefined
  if (ensure && !config.dryRun) await side.cluster.ensureStream(reference.repository)
  const repository = await side.repository(reference)
  if (!ensure && !config.dryRun) await repository.cluster?.ensureStream(reference.repository)
  for (const tag of work.tags) {
    const followed = await repository.cluster?.follows(reference.repository, tag)
    if (followed !== undefined)
      context.log.warn(`${repository.store.name}:${tag} follows ${followed}: the next import may move it away again`)
  }
  return repository
}

/** Tag → manifest, once; the tag is never read again. A digest beside the tag is what the tag has to point at. */
async function resolve({ source: reference }: ImagePair, { store, cluster, path }: Repository): Promise<Manifest> {
  const { tag, digest } = reference
  if (tag === undefined && digest !== undefined) return store.resolve(digest)
  const wanted = tag ?? 'latest'
  const root = await store.resolve((await cluster?.digestOf(path, wanted)) ?? wanted)
  if (digest === undefined || root.descriptor.digest === digest) return root
  throw new PromoteError('TAG_MISMATCH', `${store.name}:${wanted} is at ${root.descriptor.digest}, not at ${digest}`, {
    side: 'source',
    hint: 'The tag has moved since the digest was taken. Give the digest alone to promote it nevertheless.',
  })
}

function announce(work: Work, plan: Plan, graph: Graph, { config, shared }: Run): void {
  const { source, destination } = namesOf(work)
  const { bytes, tags } = plan
  const { digest } = graph.root.descriptor
  shared.emit({
    event: 'plan',
    image: work.image,
    images: config.images.length,
    source,
    destination,
    digest,
    steps: plannedSteps(plan),
    bytes,
    tags,
  })
}

async function copy(work: Work, { shared }: Run): Promise<void> {
  const [plan, job] = jobOf(work)
  work.moved = await execute(plan, job, shared)
}

/** After everything of every image is there: the tags, last; each verified by the digest that the registry answers. */
async function tag(work: Work, run: Run): Promise<void> {
  const { shared } = run
  const [plan, job] = jobOf(work)
  for (const { tag: name } of plan.tags) {
    await shared.permits(async () => {
      const stored = await putComplete(plan.graph.root, name, plan, job, shared)
      await expectStored(job.target, plan.graph.root, name, stored)
    })
    work.written.add(name)
  }
  conclude(work, run)
}

function jobOf({ image, plan, source, destination }: Work): [Plan, Job] {
  if (plan === undefined || source === undefined || destination === undefined)
    throw new PromoteError('INTERNAL', 'not prepared')
  const mountFrom = source.origin === destination.origin && source.path !== destination.path ? source.path : undefined
  const job = {
    image,
    source: source.store,
    target: destination.store,
    registry: destination.origin,
    repository: destination.path,
    mountFrom,
  }
  return [plan, job]
}

function namesOf({ pair, source, destination }: Work): { source: string; destination: string } {
  const { tag, digest } = pair.source
  const suffix = `${tag === undefined ? (digest === undefined ? ':latest' : '') : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
  return {
    source: source === undefined ? formatReference(pair.source) : `${source.store.name}${suffix}`,
    destination: `${destination?.store.name ?? formatReference({ ...pair.destination, tag: undefined })}:${pair.destination.tag}`,
  }
}

function rowsOf(work: Work, { config, context }: Run): Row[] {
  const names = namesOf(work)
  const { plan, error } = work
  const digest = plan?.graph.root.descriptor.digest ?? null
  return work.tags.map((name, index): Row => {
    const status = statusOf(work, name, config)
    const previous = plan?.tags.find((planned) => planned.tag === name)
    const arrived = status === 'promoted' || status === 'unchanged'
    return {
      source: names.source,
      sourceDigest: digest,
      destination: `${names.destination.slice(0, names.destination.lastIndexOf(':'))}:${name}`,
      target: 'destination',
      tag: name,
      digest: arrived || status === 'planned' ? digest : null,
      previousDigest: previous === undefined ? (plan === undefined ? null : digest) : previous.from,
      status,
      bytes: index === 0 ? bytesOf(work) : alreadyThere(bytesOf(work)),
      attached: plan?.graph.attached ?? [],
      error:
        error === undefined || arrived
          ? null
          : {
              code: error.code,
              side: error.side ?? null,
              message: context.secrets.redact(error.message),
              hint: error.hint ?? null,
            },
      platforms: plan?.graph.platforms ?? [],
      milliseconds: context.now() - work.began,
    }
  })
}

function statusOf({ error, plan, written, moved }: Work, tag: string, config: Config): Status {
  if (error === undefined && plan !== undefined && isUnchanged(plan)) return 'unchanged'
  if (error === undefined && config.dryRun) return 'planned'
  if (written.has(tag)) return 'promoted'
  if (error !== undefined) return error.code === 'CANCELLED' ? 'cancelled' : 'failed'
  // The tag was right already; what it stands for was completed, or there was nothing to do for this tag.
  return moved !== undefined && moved.copied + moved.mounted > 0 ? 'promoted' : 'unchanged'
}

function bytesOf({ moved, plan, error }: Work): Bytes {
  if (moved !== undefined) return moved
  if (plan === undefined) return { total: 0, copied: 0, mounted: 0, present: 0 }
  return error === undefined ? plan.bytes : { ...plan.bytes, copied: 0, mounted: 0 }
}

/** Further tags of the same image move nothing: its bytes have just arrived with the first. */
function alreadyThere({ total }: Bytes): Bytes {
  return { total, copied: 0, mounted: 0, present: total }
}
