import { warnOfKept } from '../copy/attached-tags.ts'
import { PLAN_AGAIN } from '../copy/attachments.ts'
import { discover } from '../copy/discover.ts'
import { contentsOf } from '../copy/graph.ts'
import { makePlan } from '../copy/plan.ts'
import { findTags, ManifestLookup, survey } from '../copy/survey.ts'
import { ignoreUnhandled } from '../core/async.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import type { ImagePair } from '../inputs/config.ts'
import type { Digest } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import type { Cluster } from '../openshift/cluster.ts'
import { checkGuard, guardOf, tagsToSkip } from './guards.ts'
import type { DiscoveredImage, ImageJob, ListedImage, OpenDestination, PlannedDestination } from './image.ts'
import type { Repository } from './repositories.ts'
import { sourceName } from './rows.ts'
import { finish, forEachUnfinished, type Run } from './run.ts'
import type { Session, Sessions } from './session.ts'

/**
 * Takes one image from the list to its plan, at all destinations. The source is read once. The destinations are opened
 * meanwhile, and asked for each manifest while it is read at the source.
 */
export async function planImage(image: ListedImage, sessions: Sessions, run: Run): Promise<PlannedDestination[]> {
  if (image.jobs.every(({ rows }) => rows !== undefined)) return []
  const destinations = image.jobs.map((job) => {
    // `read` is set by the time that the destination is opened.
    let judging: Promise<DiscoveredImage> | undefined
    const judged = () => (judging ??= read.then((discovered) => run.judge(job, discovered)))
    const opened = ignoreUnhandled(openDestination(job, sessions.destination(job.target), judged, run))
    return { job, judged, opened, lookup: new ManifestLookup(opened, run.copy.semaphore) }
  })
  const lookups = destinations.map(({ lookup }) => lookup)
  const read: Promise<DiscoveredImage> = ignoreUnhandled(readSource(image, sessions.source(), lookups, run))
  return forEachUnfinished(destinations, run, async ({ job, judged, opened, lookup }) => {
    const [discovered, place] = await bothSides(judged(), opened, job.target)
    return planDestination(job, discovered, place, lookup, run)
  })
}

/** resolve and discover. */
async function readSource(
  { pair, jobs }: ListedImage,
  session: Promise<Session>,
  lookups: readonly ManifestLookup[],
  { config, copy, context, graphs, held }: Run,
): Promise<DiscoveredImage> {
  copy.check?.()
  const source = await (await session).repository(pair.source)
  const name = sourceName(source, pair.source)
  for (const job of jobs) job.source = name
  const approved = jobs[0]?.approved
  asPlanned('source', name, approved?.source)
  const root = await copy.semaphore(() =>
    approved === undefined ? resolve(pair, source) : resolveApproved(approved.digest, pair, source, context),
  )
  const platforms = pair.platforms ?? config.platforms
  // Several tags may name the same image: it is discovered once.
  const key = JSON.stringify([source.origin, source.store.name, root.descriptor.digest, platforms])
  const judged = config.trust !== undefined
  const listed = approved && config.referrers && { attached: approved.apply.attached, judged, warn: context.log.warn }
  const options = { ...config, platforms, lookups, held, judged, approved: listed || undefined }
  const graph = await getOrAdd(graphs, key, () => discover(source.store, root, options, copy.semaphore))
  const changed = `${name}: what belongs to the image is not what belonged to it when the plan was made.`
  for (const job of jobs) asPlanned('source', contentsOf(graph), job.approved?.apply.contents, changed)
  return { pair, source, root, graph }
}

/** @throws PromoteError GUARD when something is not what the approved plan says. */
function asPlanned(side: 'source' | 'destination', found: string, planned: string | undefined, message?: string): void {
  if (planned === undefined || found === planned) return
  const elsewhere = `The plan names ${planned}; this run is at ${found}.`
  throw new PromoteError('GUARD', message ?? elsewhere, { side, hint: PLAN_AGAIN })
}

/** Reads a tag once. From here on the image is known by its digest, and the tag is not read again. */
export async function resolve(
  { source: reference }: Pick<ImagePair, 'source'>,
  { store, cluster, path, tag }: Repository,
): Promise<Manifest> {
  const { digest } = reference
  const wanted = tag ?? reference.tag ?? (digest === undefined ? 'latest' : undefined)
  if (wanted === undefined) return store.resolve(digest ?? 'latest')
  const root = await store.resolve((await cluster?.digestOf(path, wanted)) ?? wanted)
  if (digest === undefined || root.descriptor.digest === digest) return root
  throw new PromoteError('TAG_MISMATCH', `${store.name}:${wanted} is at ${root.descriptor.digest}, not at ${digest}`, {
    side: 'source',
    hint: 'The tag has moved since the digest was taken. Give the digest alone to promote it nevertheless.',
  })
}

/** The plan names the digest: where the tag is by now is said, and decides nothing. */
async function resolveApproved(digest: Digest, { source }: ImagePair, from: Repository, { log }: Context) {
  const { store, tag = source.tag ?? digest } = from
  // A tag that cannot be read is not known to have moved.
  const now = await store.find(tag).catch(() => ({ digest }))
  if (now?.digest !== digest) log.warn(`${store.name}:${tag} is not at ${digest} any more, which the plan promotes`)
  return store.resolve(digest).catch((thrown: unknown) => {
    if (!(thrown instanceof PromoteError) || thrown.code !== 'NOT_FOUND') throw thrown
    const message = `${store.name}@${digest} of the plan is not there any more: ${thrown.message}`
    throw thrown.with({ message, hint: PLAN_AGAIN })
  })
}

/**
 * Opens the repository at a destination and reads its tags.
 * @param judged awaited before an image stream is created, so that none is created for an image that cannot be read or
 *   may not go there.
 */
async function openDestination(
  job: ImageJob,
  opening: Promise<Session>,
  judged: () => Promise<unknown>,
  { config, context, copy }: Run,
): Promise<OpenDestination> {
  copy.check?.()
  const session = await opening
  const { destination: reference } = job.pair
  const path = reference.repository
  // OpenShift answers 500 to reads by digest until the image stream exists.
  const prepareStream = async (cluster: Cluster | undefined): Promise<void> => {
    // For an approved plan streams are created when everything is as planned.
    if (cluster === undefined || config.dryRun || job.approved !== undefined) return
    if ((await cluster.stream(path)) === undefined) await judged()
    await cluster.ensureStream(path)
  }
  // The stream tells the address of the cluster's own registry.
  if (usesClusterRegistry(job, config)) await prepareStream(session.cluster)
  const repository = await session.repository(reference)
  const { store, cluster } = repository
  job.repository = store.name
  asPlanned('destination', `${store.name}:${job.tags[0]}`, job.approved?.destination)
  await prepareStream(cluster)
  for (const tag of job.tags) {
    const warning = await cluster?.follows(path, tag)
    if (warning !== undefined) context.log.warn(`${store.name}: ${warning}`)
  }
  // One read of the image stream tells where all its tags are.
  const stream = await cluster?.stream(path)
  const tags =
    stream === undefined
      ? await findTags(store, job.tags, copy.semaphore)
      : new Map(job.tags.map((tag) => [tag, stream.tags.get(tag) ?? null]))
  job.before = tags
  return { repository, target: store, tags }
}

/** An image is in the cluster's own registry unless a host, a layout or a registry is configured. */
function usesClusterRegistry({ pair, target }: ImageJob, { destinations }: Run['config']): boolean {
  const { host, layout } = pair.destination
  return (host ?? layout ?? destinations.find(({ name }) => name === target)?.registry) === undefined
}

/** When both sides fail, one message tells both, so that the user can correct both before the next run. */
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

/** survey and plan. */
async function planDestination(
  job: ImageJob,
  { source, graph }: DiscoveredImage,
  place: OpenDestination,
  lookup: ManifestLookup,
  { config, context, copy, sign }: Run,
): Promise<PlannedDestination> {
  const { repository, target } = place
  const skipped = tagsToSkip(job, place.tags, graph.root.descriptor.digest, config.overwrite)
  job.skipped = skipped
  const tags = new Map([...place.tags].filter(([tag]) => !skipped.has(tag)))
  const seen = await survey({ ...place, tags }, graph, lookup, config.dryRun, copy.semaphore)
  warnOfKept(seen.attachedTags.values(), context)
  const { origin: registry, path } = repository
  const mountFrom = source.origin === registry && source.path !== path ? source.path : undefined
  const plan = makePlan(graph, seen, mountFrom)
  return {
    job,
    repository,
    route: { image: job.number, source: source.store, target, registry, repository: path, mountFrom },
    // Atomic, or signed: registries must have accepted every manifest before the first tag moves.
    plan: config.atomic || sign !== undefined ? { ...plan, rootByDigest: true } : plan,
    moved: { ...plan.bytes, copied: 0, mounted: 0 },
  }
}

/** Checks the conditions of the user: whether the tags may move. A dry run also reads the rights at a cluster. */
export async function checkConditions(image: PlannedDestination, run: Run): Promise<PlannedDestination> {
  const { config, context } = run
  const { job, plan, repository } = image
  const { cluster, path, store } = repository
  const tags = new Map([...(job.before ?? [])].filter(([tag]) => job.skipped?.has(tag) !== true))
  if (tags.size === 0) finish(image, run)
  checkGuard(store.name, tags, plan.graph.root.descriptor.digest, (tag) => guardOf(job, tag, config))
  if (!config.dryRun || cluster === undefined) return image
  const remove = config.atomic && [...tags.values()].includes(null)
  const rights = await cluster.rights(path, { create: (await cluster.stream(path)) === undefined, remove })
  if (rights.state === 'missing')
    context.log.warn(`${store.name}: the right to ${rights.missing.join(', to ')} is missing: ${rights.grant}`)
  return { ...image, rights }
}
