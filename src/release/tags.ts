import type { TagState } from '../copy/confirm.ts'
import { putComplete } from '../copy/execute.ts'
import { isUnchanged } from '../copy/plan.ts'
import { checked } from '../copy/semaphore.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import type { Note } from '../openshift/annotate.ts'
import { makeReport } from '../report/make-report.ts'
import { type Guard, isGuarded, stillAt } from './guards.ts'
import { type Move, moveAll } from './move-tags.ts'
import { namesOf, rowsOf } from './rows.ts'
import { abandoned, conclude, each, fail, going, jobOf, type Run, type Work } from './run.ts'

export function guardOf({ pair }: Work, { config }: Run): Guard {
  return { overwrite: config.overwrite, expect: pair.expectCurrent, mayGoBack: config.atomic }
}

/** After everything of every image is there: the tags, last. */
export async function tagEach(works: readonly Work[], run: Run): Promise<void> {
  await each(works, run, async (work) => {
    const [{ tags }] = jobOf(work)
    for (const { tag, from } of tags) {
      if (isGuarded(guardOf(work, run))) await run.shared.permits(() => stillAt(jobOf(work)[1].target, tag, from))
      await write(work, { tag, from }, run)
      work.written.add(tag)
    }
    if (work.to?.finish === undefined) conclude(work, run)
  })
}

type Tag = Readonly<{ tag: string; from: TagState }>

async function write(work: Work, under: Tag, { shared }: Run, permits = shared.permits): Promise<void> {
  const [plan, job] = jobOf(work)
  try {
    await putComplete(plan.graph.root, under, plan, job, { ...shared, permits })
  } catch (thrown) {
    if (thrown instanceof PromoteError && thrown.unconfirmed) work.unconfirmed.add(under.tag)
    throw thrown
  }
}

/** Nothing of this run moves a tag any more. */
export function abandonAll(works: readonly Work[], because: PromoteError, run: Run): void {
  for (const work of going(works)) fail(work, abandoned('not moved', because), run)
}

/**
 * All tags at all destinations, or none. What they were at is on disk before the first of them moves: a run that is killed
 * leaves a report that says how to go back.
 */
export async function tagAll(works: readonly Work[], run: Run, started: number): Promise<void> {
  const { host, shared } = run
  const failed = works.find(({ error }) => error !== undefined)?.error
  if (failed !== undefined) return abandonAll(works, failed, run)
  try {
    if (host.keep === undefined) throw new PromoteError('INTERNAL', 'this host keeps no report')
    await host.keep(reportBefore(works, run, started))
  } catch (thrown) {
    return abandonAll(works, asPromoteError(thrown), run)
  }
  const owners = new Map<Move, Work>()
  for (const work of going(works)) {
    const [plan, { target }] = jobOf(work)
    for (const { tag, from, to } of plan.tags) {
      if (from === 'unread') throw new PromoteError('INTERNAL', 'a tag that was not read is about to move')
      owners.set({ target, tag, from, to, state: 'waiting' }, work)
    }
  }
  const failure = await moveAll(
    [...owners.keys()],
    (move, begin) => moveOne(move, owners.get(move) as Work, begin, run),
    shared.permits,
    shared.context,
  )
  shared.context.log.debug(failure === undefined ? 'all tags have moved' : `tags went back: ${failure.message}`)
  for (const work of going(works)) {
    const moves = [...owners].filter(([, owner]) => owner === work).map(([move]) => move)
    settleMoves(work, moves, failure, run)
  }
}

async function moveOne(move: Move, work: Work, begin: () => void, run: Run): Promise<void> {
  const { shared } = run
  await shared.permits(() => stillAt(move.target, move.tag, move.from))
  await write(work, move, run, checked(shared.permits, begin))
}

/** Rows `planned` are those that are about to move. */
function reportBefore(works: readonly Work[], { context }: Run, started: number) {
  const rows = works.flatMap((work) => work.rows ?? rowsOf(work, true, context.now()))
  return { ...makeReport(started, context.now(), false, rows), status: 'moving' as const }
}

function settleMoves(work: Work, moves: readonly Move[], failure: PromoteError | undefined, run: Run): void {
  for (const { tag, state } of moves) if (state === 'moved') work.written.add(tag)
  if (failure === undefined) {
    if (work.to?.finish === undefined) conclude(work, run)
    return
  }
  const mine = moves.find(({ error }) => error !== undefined)?.error
  work.ends = new Map(moves.map((move) => [move.tag, endOf(move, failure, work.target)]))
  fail(work, mine ?? abandoned('its tags were not moved', failure), run)
}

function endOf({ state, from, to, at, error }: Move, failure: PromoteError, target: string) {
  const undone = from === null ? 'removed again' : 'put back'
  if (state === 'reverted') return { status: 'reverted', digest: null, error: abandoned(undone, failure) } as const
  if (error === undefined) return { status: 'cancelled', digest: null, error: abandoned('not moved', failure) } as const
  const status = state === 'stuck' && at === 'unread' ? 'unknown' : 'failed'
  return { status, digest: state === 'stuck' && at === to ? to : null, error: error.with({ target }) } as const
}

/** What the image streams are told: one request for each of them. It is never a reason to fail. */
export async function annotateStreams(works: readonly Work[], { context }: Run): Promise<void> {
  const streams = new Map<string, { work: Work; notes: Note[] }>()
  const { runUrl } = await import(/* webpackMode: "eager" */ '../openshift/annotate.ts')
  const run = runUrl(context.env)
  const time = new Date(context.now()).toISOString()
  for (const work of works) {
    const { to, plan, written } = work
    if (to?.cluster === undefined || plan === undefined || isUnchanged(plan)) continue
    const known = streams.get(to.store.name) ?? { work, notes: [] }
    streams.set(to.store.name, known)
    const { source } = namesOf(work)
    const { digest } = plan.graph.root.descriptor
    for (const tag of written) known.notes.push({ tag, source, digest, run, time })
  }
  await Promise.all(
    [...streams.values()].map(async ({ work: { to }, notes }) => {
      if (notes.length === 0) return
      await to?.cluster?.annotate(to.path, notes).catch((thrown: unknown) => {
        const { message, hint = '' } = asPromoteError(thrown)
        context.log.warn(`${to.store.name}: not annotated: ${message} ${hint}`.trimEnd())
      })
    }),
  )
}
