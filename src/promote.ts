import { warnOfKept } from './copy/attached-tags.ts'
import type { Attached } from './copy/events.ts'
import { type Copy, execute } from './copy/execute.ts'
import { discover, type Graph } from './copy/graph.ts'
import { isUnchanged, makePlan, plannedSteps, plannedTags, shareOut } from './copy/plan.ts'
import { createLine, smallAtOnce } from './copy/semaphore.ts'
import { findTags, type Survey, survey } from './copy/survey.ts'
import { createDeferred, ignoreUnhandled } from './core/async.ts'
import type { Context } from './core/context.ts'
import { asPromoteError, PromoteError } from './core/errors.ts'
import type { Config, ImagePair } from './inputs/config.ts'
import type { Digest } from './oci/digest.ts'
import type { Manifest } from './oci/manifest.ts'
import type { Cluster } from './openshift/cluster.ts'
import { expand } from './release/expand.ts'
import { checkGuard } from './release/guards.ts'
import { holdable } from './release/move-tags.ts'
import { rollBack } from './release/rollback.ts'
import { namesOf } from './release/rows.ts'
import {
  conclude,
  createRun,
  createWork,
  type Destination,
  each,
  fail,
  going,
  type Image,
  jobOf,
  logIn,
  logOut,
  mountable,
  type Place,
  type Run,
  type Work,
} from './release/run.ts'
import type { Repository, Side } from './release/session.ts'
import { abandonAll, annotateStreams, guardOf, tagAll, tagEach } from './release/tags.ts'
import { makeReport } from './report/make-report.ts'
import type { Listener, Report, Row } from './report/model.ts'

/** The story of a promotion. Never rejects for a failed image: the report says what happened to each. */
export async function promote(config: Config, host: Listener, context: Context): Promise<Report> {
  const started = context.now()
  const signal = holdable(context)
  const run = createRun(config, host, signal.context)
  if (config.requireSigned)
    context.log.info(
      'require-signed: that a signature is there is checked; whose it is, and whether it is good, is not',
    )
  const rows =
    config.rollback === undefined ? await promoteAll(run, started, signal) : await rollBack(config.rollback, run)
  const { dryRun, shard, rollback } = config
  const goal = { restores: rollback !== undefined, mayBeEmpty: shard !== undefined }
  const report: Report = {
    ...makeReport(started, context.now(), dryRun, rows, goal),
    ...(dryRun && rollback === undefined ? { plans: run.plans } : {}),
  }
  host.event({ event: 'done', report })
  return report
}

type Holdable = Pick<ReturnType<typeof holdable>, 'hold' | 'release'>

async function promoteAll(run: Run, started: number, signal: Holdable): Promise<readonly Row[]> {
  const { config, works } = run
  const source = logIn(config.source, run)
  const destinations = config.destinations.map((to) => ({ config: to, side: logIn(to, run) }))
  try {
    await listWorks(source, destinations, run)
    await each(works, run, (work) => prepare(work, run))
    const failed = works.find(({ error }) => error !== undefined)?.error
    if (config.atomic && failed !== undefined) abandonAll(works, failed, run)
    announceAll(run)
    if (config.atomic && !config.dryRun) await copyThenTagAll(run, started, signal)
    else if (!config.dryRun) {
      // A destination has its tags once it has its images: it does not wait for another one.
      const perDestination = destinations.map((to) => works.filter(({ destination }) => destination === to))
      startCopies(run)
      await Promise.all(perDestination.map((own) => copyAndTag(own, run)))
    }
    if (config.annotate && !config.dryRun) await annotateStreams(works, run)
  } finally {
    await logOut([source, ...destinations.map(({ side }) => side)])
  }
  return works.flatMap((work) => conclude(work, run))
}

/** Each image at each destination; what a selection stands for is known only now. */
async function listWorks(source: Promise<Side>, destinations: readonly Destination[], run: Run): Promise<void> {
  for (const { pair, error } of await expand(source, run)) {
    const image = readImage(pair, error === undefined ? source : ignoreUnhandled(Promise.reject(error)), run)
    for (const destination of destinations) {
      const work = createWork(image, destination, run)
      run.works.push(work)
      if (error !== undefined) fail(work, error, run)
    }
  }
}

/** resolve, discover: under way at once, whatever the destinations do; but for the children of an index, which see `near`. */
function readImage(pair: ImagePair, side: Promise<Side>, { config, shared, graphs, held }: Run): Image {
  const source = side.then((opened) => opened.repository(pair.source))
  const wanted = { ...config, platforms: pair.platforms ?? config.platforms }
  const begin = async (from: Repository) => ({ from, root: await shared.permits(() => resolve(pair, from)) })
  const resolved = ignoreUnhandled(source.then(begin))
  const look = async (near: Promise<Place | undefined>): Promise<Graph> => {
    const { from, root } = await resolved
    const { digest } = root.descriptor
    const mirror = near.then((place) =>
      [...(place?.tags.values() ?? [])].includes(digest) ? place?.to.store : undefined,
    )
    // Many tags may have one image: it is looked into once.
    const key = JSON.stringify([from.origin, from.store.name, digest, wanted.platforms])
    const known = graphs.get(key) ?? discover(from.store, root, { ...wanted, mirror, held }, shared.permits)
    graphs.set(key, known)
    return known
  }
  let graph: Promise<Graph> | undefined
  return { pair, source: ignoreUnhandled(source), graph: (near) => (graph ??= ignoreUnhandled(look(near))) }
}

/** locate, survey, plan; the source is resolved and discovered meanwhile. */
async function prepare(work: Work, run: Run): Promise<void> {
  const { config, shared } = run
  const { image } = work
  const source = image.source.then((from) => (work.from = from))
  const nowhere = createDeferred<undefined>()
  // Nothing is created for an image that the source turns out not to have.
  const beforeNew = () => {
    nowhere.resolve(undefined)
    return read
  }
  const opening = openDestination(work, run, beforeNew)
  const near = Promise.race([opening, nowhere.promise]).catch(() => undefined)
  const read = Promise.all([image.graph(near), source])
  const [[graph, from], { to, tags }] = await bothSides(read, opening, work.target)
  const seen = await survey(to.store, graph, tags, config.dryRun, shared.permits)
  const plan = makePlan(graph, seen, mountable(from, to))
  warnOfKept(seen.attachedTags.values(), run.context)
  // Before any tag moves, the registries have taken every manifest.
  work.plan = config.atomic ? { ...plan, rootByDigest: true } : plan
  checkGuard(to.store.name, tags, graph.root.descriptor.digest, guardOf(work, run))
  if (config.dryRun) await askRights(work, to, tags, run)
}

async function askRights(work: Work, { cluster, path, store }: Repository, tags: Survey['tags'], run: Run) {
  if (cluster === undefined) return
  const remove = run.config.atomic && [...tags.values()].includes(null)
  const rights = await cluster.rights(path, { create: (await cluster.stream(path)) === undefined, remove })
  work.rights = rights
  if (rights.state === 'missing')
    run.context.log.warn(`${store.name}: the right to ${rights.missing.join(', to ')} is missing: ${rights.grant}`)
}

/** When both sides fail, one message tells both: nobody wants to find the second mistake on the next run. */
async function bothSides<S, D>(source: Promise<S>, destination: Promise<D>, target: string): Promise<[S, D]> {
  const [from, to] = await Promise.allSettled([source, destination])
  if (from.status === 'fulfilled' && to.status === 'fulfilled') return [from.value, to.value]
  if (from.status === 'fulfilled') throw asPromoteError((to as PromiseRejectedResult).reason, 'destination')
  const error = asPromoteError(from.reason, 'source')
  if (to.status === 'fulfilled' || to.reason === from.reason) throw error
  const other = asPromoteError(to.reason, 'destination')
  if (error.code === 'CANCELLED' || other.code === 'CANCELLED') throw error
  const name = target === 'destination' ? target : `destination ${target}`
  const message = `${error.message} And the ${name}: ${other.message}`
  const hint = [...new Set([error.hint, other.hint])].filter((part) => part !== undefined).join(' ')
  throw error.with({ message, hint: hint === '' ? undefined : hint })
}

/**
 * The image stream has to exist before anything is read from it by digest: OpenShift answers 500 otherwise.
 * @param beforeNew awaited when there is none, before it is made.
 */
async function openDestination(
  work: Work,
  { config, context, shared }: Run,
  beforeNew: () => Promise<unknown>,
): Promise<Place> {
  const { destination } = work
  const side = await destination.side
  const reference = work.pair.destination
  const { repository: path } = reference
  const ensure = async (cluster: Cluster | undefined): Promise<void> => {
    if (cluster === undefined || config.dryRun) return
    if ((await cluster.stream(path)) === undefined) await beforeNew()
    await cluster.ensureStream(path)
  }
  // Without a host, a layout or a registry that says otherwise, an image is in the cluster's own registry.
  const isElsewhere = (reference.host ?? reference.layout ?? destination.config.registry) !== undefined
  const isOwn = side.cluster !== undefined && !isElsewhere
  if (isOwn) await ensure(side.cluster)
  const to = await side.repository(reference)
  work.to = to
  if (!isOwn) await ensure(to.cluster)
  for (const tag of work.tags) {
    const followed = await to.cluster?.follows(path, tag)
    if (followed !== undefined) context.log.warn(`${to.store.name}: ${followed}`)
  }
  // One read of the image stream tells where all its tags are.
  const stream = await to.cluster?.stream(path)
  const tags =
    stream === undefined
      ? await findTags(to.store, work.tags, shared.permits)
      : new Map(work.tags.map((tag) => [tag, stream.tags.get(tag) ?? null]))
  work.before = tags
  return { to, tags }
}

/** Tag → manifest, once; the tag is never read again. A digest beside the tag is what the tag has to point at. */
async function resolve({ source: reference }: ImagePair, from: Repository): Promise<Manifest> {
  const { store, cluster, path } = from
  const { digest } = reference
  const tag = from.tag ?? reference.tag
  if (tag === undefined && digest !== undefined) return store.resolve(digest)
  const wanted = tag ?? 'latest'
  const root = await store.resolve((await cluster?.digestOf(path, wanted)) ?? wanted)
  if (digest === undefined || root.descriptor.digest === digest) return root
  throw new PromoteError('TAG_MISMATCH', `${store.name}:${wanted} is at ${root.descriptor.digest}, not at ${digest}`, {
    side: 'source',
    hint: 'The tag has moved since the digest was taken. Give the digest alone to promote it nevertheless.',
  })
}

/** What is planned, in the order of the list, once all of it is known: what images have in common moves once. */
function announceAll(run: Run): void {
  const { config, works } = run
  const prepared = going(works).flatMap((work) => {
    const { plan, to } = work
    return plan === undefined || to === undefined ? [] : [{ work, plan, registry: to.origin, repository: to.path }]
  })
  for (const [index, plan] of shareOut(prepared).entries()) {
    const work = prepared[index]?.work as Work
    const { graph, bytes, certain } = plan
    const { digest } = graph.root.descriptor
    const planned = {
      ...namesOf(work),
      digest,
      steps: plannedSteps(plan),
      certain,
      bytes,
      tags: plannedTags(plan),
      ...(work.rights && { rights: work.rights }),
    }
    run.host.event({ event: 'plan', image: work.number, images: works.length, ...planned })
    // Judged by its own plan: what another image is to bring may not come.
    const unchanged = work.plan !== undefined && isUnchanged(work.plan)
    if (config.dryRun) {
      work.plan = plan
      run.plans.push({ ...planned, target: work.target })
    }
    if (unchanged) conclude(work, run)
  }
}

async function copyAndTag(works: readonly Work[], run: Run): Promise<void> {
  await each(works, run, copied)
  await tagEach(works, run)
  await each(works, run, (work) => finish(work, run))
}

/** All images everywhere before the first tag anywhere; what fails before that has changed no tag. */
async function copyThenTagAll(run: Run, started: number, { hold, release }: Holdable): Promise<void> {
  const { works } = run
  startCopies(run)
  await each(works, run, copied)
  hold()
  try {
    await tagAll(works, run, started)
    await each(works, run, (work) => finish(work, run))
  } finally {
    release()
  }
}

/**
 * Copies each image to all its destinations, and so many images at once, in the order of the list. An image of several tags is
 * one image: a later copy would find blobs that its plan did not expect there.
 */
function startCopies({ config, shared, works }: Run): void {
  const line = createLine(smallAtOnce(config.jobs))
  const images = new Map<Digest | undefined, Work[]>()
  for (const work of going(works)) {
    const digest = work.plan?.graph.root.descriptor.digest
    images.set(digest, [...(images.get(digest) ?? []), work])
  }
  for (const image of images.values()) {
    const begun = createDeferred<Promise<readonly Attached[]>[]>()
    const copies = image.map(copyOf)
    void line(async () => {
      const running = execute(copies, shared)
      begun.resolve(running)
      await Promise.allSettled(running)
    })
    for (const [index, work] of image.entries())
      work.copied = ignoreUnhandled(begun.promise.then((running) => running[index]))
  }
}

function copyOf(work: Work): Copy {
  const [plan, job] = jobOf(work)
  const bytes = { ...plan.bytes, copied: 0, mounted: 0 }
  work.moved = bytes
  return { plan, job, bytes }
}

async function copied(work: Work): Promise<void> {
  work.attached = (await work.copied) ?? []
}

/** An archive gets its name when everything is in it: without that nothing was written to it. */
async function finish(work: Work, run: Run): Promise<void> {
  try {
    await work.to?.finish?.()
  } catch (thrown) {
    work.written.clear()
    throw thrown
  }
  conclude(work, run)
}
