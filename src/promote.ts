import { execute } from './copy/execute.ts'
import { isUnchanged, shareOut } from './copy/plan.ts'
import { ignoreUnhandled } from './core/async.ts'
import type { Context } from './core/context.ts'
import type { Config } from './inputs/config.ts'
import type { Digest } from './oci/digest.ts'
import { listImages } from './release/expand.ts'
import type { CopiedDestination, ListedImage, PlannedDestination } from './release/image.ts'
import { type Deferrable, deferrableSignal } from './release/move-tags.ts'
import { checkConditions, planImage } from './release/plan-image.ts'
import { rollBack } from './release/rollback.ts'
import { planOf } from './release/rows.ts'
import { createRun, finish, forEachUnfinished, type Run, unfinished } from './release/run.ts'
import { openSessions } from './release/session.ts'
import { abandonAll, annotateStreams, finishArchives, keepWayBack, tagAll, tagEach } from './release/tags.ts'
import { makeReport } from './report/make-report.ts'
import type { Listener, PlannedImage, Report, Row } from './report/model.ts'

/** Runs a promotion, or a rollback. Never rejects for an image that fails: the report tells what happened to each. */
export async function promote(config: Config, host: Listener, context: Context): Promise<Report> {
  const started = context.now()
  const signal = deferrableSignal(context)
  const run = await withTrust(createRun(config, host, signal.context))
  if (config.requireSigned)
    context.log.info(
      'require-signed: that a signature is there is checked; whose it is, and whether it is good, is not',
    )
  const { dryRun, rollback, shard, plan, referrers, skipMissing, includeForeign } = config
  if (plan !== undefined)
    context.log.info(`${dryRun ? 'Checking' : 'Applying'} the plan ${config.reads} (${plan.digest})`)
  if (plan?.policy !== undefined && run.policy !== plan.policy)
    context.log.warn('the policy is not the one that the plan was judged by: this one decides')
  const { rows, plans, copied = [] } = await carryOut(run, started, signal)
  await run.writeRecords?.(copied)
  const mayBeEmpty = (shard ?? plan) !== undefined
  const goal = { restores: rollback !== undefined, mayBeEmpty, run: config.run }
  const report: Report = {
    ...makeReport(started, context.now(), dryRun, rows, goal),
    ...(run.policy && { policy: run.policy }),
    ...(plan && { plan: plan.digest }),
    ...(dryRun && plans && { choices: { referrers, skipMissing, includeForeign }, plans }),
  }
  host.event({ event: 'done', report })
  return report
}

/** @throws PromoteError USAGE for a policy or key that is not valid, before anything is contacted. */
async function withTrust(run: Run): Promise<Run> {
  const { trust, sign } = run.config
  const judge = trust && (await import(/* webpackMode: "eager" */ './release/judge.ts'))
  const judged = { ...run, ...(trust && (await judge?.createJudge(trust, run))) }
  if (sign === undefined) return judged
  const { createSigner } = await import(/* webpackMode: "eager" */ './release/sign.ts')
  return { ...judged, ...(await createSigner(sign, judged)) }
}

type Result = Readonly<{ rows: readonly Row[]; plans?: readonly PlannedImage[]; copied?: readonly CopiedDestination[] }>

async function carryOut(run: Run, started: number, signal: Deferrable): Promise<Result> {
  const { rollback, history } = run.config
  if (rollback !== undefined) return { rows: await rollBack(rollback, run) }
  if (history.length === 0) return promoteImages(run, started, signal)
  return (await import(/* webpackMode: "eager" */ './release/read-history.ts')).readHistory(run)
}

/**
 * The story of a promotion, stage by stage. An image that fails at a destination is finished: its job has its rows, and the
 * later stages leave it out.
 */
async function promoteImages(run: Run, started: number, signal: Deferrable): Promise<Result> {
  const { config } = run
  const sessions = openSessions([config.source, ...config.destinations], run)
  try {
    const images = await listImages(sessions.source(), run)
    const planned = (await Promise.all(images.map((image) => planImage(image, sessions, run)))).flat()
    const allowed = await forEachUnfinished(planned, run, (image) => checkConditions(image, run))
    // A plan is approved as a whole: nothing of it is promoted when a part is not as it was.
    if ((config.atomic || config.plan) && run.failure.first !== undefined) abandonAll(allowed, run.failure.first, run)
    const plans = reportPlans(allowed, images, run)
    let copied: readonly CopiedDestination[] = []
    if (!config.dryRun) {
      // Of an approved plan no stream was created before all of the plan was found as it was.
      if (config.plan)
        await forEachUnfinished(allowed, run, async ({ repository: { cluster, path } }) => cluster?.ensureStream(path))
      await keepWayBack(allowed, images, started, run)
      copied = await (config.atomic ? copyThenTagAll(allowed, signal, run) : copyThenTagEach(allowed, run))
      if (config.annotate) await annotateStreams(copied, run)
    }
    return { rows: images.flatMap(({ jobs }) => jobs.flatMap(({ rows = [] }) => rows)), plans, copied }
  } finally {
    await sessions.close()
  }
}

/**
 * Reports the plans in the order of the list; what several images have in common is counted once. Finishes the images that
 * are complete, and in a dry run all of them.
 */
function reportPlans(planned: readonly PlannedDestination[], all: readonly ListedImage[], run: Run): PlannedImage[] {
  const { dryRun } = run.config
  const images = all.flatMap(({ jobs }) => jobs).length
  const waiting = unfinished(planned)
  const shared = shareOut(waiting)
  const plans = shared.map((image) => {
    const plan = planOf(image, run.config)
    run.host.event({ event: 'plan', image: image.job.number, images, ...plan })
    return { ...plan, target: image.job.target }
  })
  // An image is complete by its own plan only: another image that is to bring something for it may fail.
  for (const image of dryRun ? shared : waiting) if (dryRun || isUnchanged(image.plan)) finish(image, run)
  return plans
}

/** Each destination gets its tags as soon as all its images are there. Its tags do not wait for another destination. */
async function copyThenTagEach(planned: readonly PlannedDestination[], run: Run): Promise<CopiedDestination[]> {
  const copied = startCopies(planned, run)
  const targets = new Set(planned.map(({ job }) => job.target))
  const all = [...targets].map(async (target) => {
    const images = planned.filter(({ job }) => job.target === target)
    const arrived = await run.signEach(await forEachUnfinished(images, run, copied))
    await tagEach(arrived, run)
    await finishArchives(arrived, run)
    return arrived
  })
  return (await Promise.all(all)).flat()
}

/** All images at all destinations before the first tag anywhere: a failure until then has moved no tag. */
async function copyThenTagAll(planned: readonly PlannedDestination[], signal: Deferrable, run: Run) {
  const arrived = await run.signEach(await forEachUnfinished(planned, run, startCopies(planned, run)))
  signal.defer()
  try {
    await tagAll(arrived, run)
    await finishArchives(arrived, run)
  } finally {
    signal.resume()
  }
  return arrived
}

/**
 * Starts to copy each image to all its destinations. Images with the same digest are copied together: a later copy would find
 * blobs that its plan does not expect.
 * @returns waits until an image is at a destination.
 */
function startCopies(
  planned: readonly PlannedDestination[],
  { copy }: Run,
): (image: PlannedDestination) => Promise<CopiedDestination> {
  const images = new Map<Digest, PlannedDestination[]>()
  for (const image of unfinished(planned)) {
    const { digest } = image.plan.graph.root.descriptor
    images.set(digest, [...(images.get(digest) ?? []), image])
  }
  const copies = [...images.values()].flatMap((same) => {
    const attached = execute(same, copy).map(ignoreUnhandled)
    return same.map((image, index) => [image, attached[index]] as const)
  })
  const running = new Map(copies)
  return async (image) => ({ ...image, attached: (await running.get(image)) ?? [], outcomes: new Map() })
}
