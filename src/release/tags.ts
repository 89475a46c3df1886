import { putManifest } from '../copy/execute.ts'
import { isUnchanged } from '../copy/plan.ts'
import { withCheck } from '../copy/semaphore.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import type { TagState } from '../oci/digest.ts'
import type { Note } from '../openshift/image-streams.ts'
import { makeReport } from '../report/make-report.ts'
import { guardOf, isGuarded, stillAt } from './guards.ts'
import type { CopiedDestination, ListedImage, PlannedDestination, TagOutcome } from './image.ts'
import { type Move, moveAll } from './move-tags.ts'
import type { Repository } from './repositories.ts'
import { rowsOf } from './rows.ts'
import { abandoned, finish, forEachUnfinished, markFailed, type Run, runUrl, unfinished } from './run.ts'

/** Writes the tags of each image for itself. All that the tags name is there. */
export async function tagEach(images: readonly CopiedDestination[], run: Run): Promise<void> {
  await forEachUnfinished(images, run, async (image) => {
    const { job, plan, route, outcomes } = image
    for (const { tag, from } of plan.tags) {
      if (isGuarded(guardOf(job, tag, run.config))) await run.copy.semaphore(() => stillAt(route.target, tag, from))
      await moveTag(image, tag, from, run)
      outcomes.set(tag, { status: 'promoted' })
    }
    if (image.repository.finish === undefined) finish(image, run)
  })
}

/** Writes the archives, where images go to one. Until then nothing is at the archive's path. */
export async function finishArchives(images: readonly CopiedDestination[], run: Run): Promise<void> {
  await forEachUnfinished(images, run, async (image) => {
    try {
      await image.repository.finish?.()
    } catch (thrown) {
      image.outcomes.clear()
      throw thrown
    }
    finish(image, run)
  })
}

async function moveTag(image: CopiedDestination, tag: string, from: TagState, run: Run, begin?: () => void) {
  const { semaphore } = run.copy
  const copy = begin === undefined ? run.copy : { ...run.copy, semaphore: withCheck(semaphore, begin) }
  try {
    await putManifest(image.plan.graph.root, { tag, from }, image, copy)
  } catch (thrown) {
    if (thrown instanceof PromoteError && thrown.unconfirmed) image.outcomes.set(tag, { status: 'unknown' })
    throw thrown
  }
}

/** Finishes all images without moving their tags. */
export function abandonAll(images: readonly PlannedDestination[], because: PromoteError, run: Run): void {
  for (const image of unfinished(images)) markFailed(image, abandoned('not moved', because), run)
}

/**
 * Writes a report with the current digests of all tags, before anything is copied: a run that is killed leaves a report that
 * tells how to go back. Its rows with status `planned` are those that are about to move.
 */
export async function keepWayBack(
  images: readonly PlannedDestination[],
  all: readonly ListedImage[],
  started: number,
  run: Run,
): Promise<void> {
  const { config, host, context, copy } = run
  const isKept = config.atomic || (config.report !== undefined && host.keep !== undefined)
  if (!isKept || unfinished(images).length === 0) return
  const circumstances = { dryRun: true, platforms: copy.platforms, now: context.now() }
  const planned = new Map(images.map((image) => [image.job, image]))
  const jobs = all.flatMap((image) => image.jobs)
  const rows = jobs.flatMap((job) => job.rows ?? rowsOf(planned.get(job) ?? { job }, undefined, circumstances))
  const report = makeReport(started, circumstances.now, false, rows, { run: config.run })
  try {
    if (host.keep === undefined) throw new PromoteError('INTERNAL', 'this host keeps no report')
    await host.keep({ ...report, status: 'moving' })
  } catch (thrown) {
    abandonAll(images, asPromoteError(thrown), run)
  }
}

/** Moves all tags at all destinations, or none. */
export async function tagAll(images: readonly CopiedDestination[], run: Run): Promise<void> {
  const { copy, failure: before } = run
  if (before.first !== undefined) return abandonAll(images, before.first, run)
  const owners = new Map(unfinished(images).flatMap((image) => movesOf(image).map((move) => [move, image] as const)))
  const write = async (move: Move, begin: () => void): Promise<void> => {
    const { target, tag, from } = move
    await copy.semaphore(() => stillAt(target, tag, from))
    await moveTag(owners.get(move) as CopiedDestination, tag, from, run, begin)
  }
  const failure = await moveAll([...owners.keys()], write, copy.semaphore, copy.context)
  copy.context.log.debug(failure === undefined ? 'all tags have moved' : `tags went back: ${failure.message}`)
  for (const image of unfinished(images)) {
    const moves = [...owners].filter(([, owner]) => owner === image).map(([move]) => move)
    if (failure === undefined) settleMoved(image, moves, run)
    else settleFailed(image, moves, failure, run)
  }
}

function movesOf({ plan, route }: CopiedDestination): Move[] {
  return plan.tags.map(({ tag, from, to }): Move => {
    if (from === 'unknown') throw new PromoteError('INTERNAL', 'a tag that was not read is about to move')
    return { target: route.target, tag, from, to, state: 'waiting' }
  })
}

function settleMoved(image: CopiedDestination, moves: readonly Move[], run: Run): void {
  for (const { tag } of moves) image.outcomes.set(tag, { status: 'promoted' })
  if (image.repository.finish === undefined) finish(image, run)
}

function settleFailed(image: CopiedDestination, moves: readonly Move[], failure: PromoteError, run: Run): void {
  const { job, outcomes } = image
  // A tag that did not have to move is where it belongs.
  for (const tag of job.tags) outcomes.set(tag, { status: 'unchanged' })
  for (const move of moves) outcomes.set(move.tag, outcomeOf(move, failure, job.target))
  const own = moves.find(({ error }) => error !== undefined)?.error
  markFailed(image, own ?? abandoned('its tags were not moved', failure), run)
}

function outcomeOf({ state, from, to, at, error }: Move, failure: PromoteError, target: string): TagOutcome {
  const undone = from === null ? 'removed again' : 'put back'
  if (state === 'reverted') return { status: 'reverted', error: abandoned(undone, failure) }
  if (error === undefined) return { status: 'cancelled', error: abandoned('not moved', failure) }
  const status = state === 'stuck' && at === 'unknown' ? 'unknown' : 'failed'
  return { status, digest: state === 'stuck' && at === to ? to : null, error: error.with({ target }) }
}

/** Notes the promotion on the image streams, in one request for each. A failure is a warning: the images are there. */
export async function annotateStreams(images: readonly CopiedDestination[], { context }: Run): Promise<void> {
  const run = runUrl(context.env)
  const time = new Date(context.now()).toISOString()
  const notesOf = ({ job, plan, outcomes }: CopiedDestination): Note[] => {
    const { digest } = plan.graph.root.descriptor
    const promoted = [...outcomes].filter(([, { status }]) => status === 'promoted' && !isUnchanged(plan))
    return promoted.map(([tag]) => ({ tag, source: job.source, digest, run, time }))
  }
  const annotate = async (repository: Repository): Promise<void> => {
    const { cluster, path, store } = repository
    const notes = images.filter((image) => image.repository === repository).flatMap(notesOf)
    if (notes.length === 0) return
    await cluster?.annotate(path, notes).catch((thrown: unknown) => {
      const { message, hint = '' } = asPromoteError(thrown)
      context.log.warn(`${store.name}: not annotated: ${message} ${hint}`.trimEnd())
    })
  }
  await Promise.all([...new Set(images.map(({ repository }) => repository))].map(annotate))
}
