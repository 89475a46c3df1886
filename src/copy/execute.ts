import { PromoteError } from '../core/errors.ts'
import { backoff } from '../core/retries.ts'
import type { TagState } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import { attachedThere, type TagDecision, warnOfKept, writeAttachedTag } from './attached-tags.ts'
import { confirm } from './confirm.ts'
import type { CopyRun } from './copy-run.ts'
import type { Attached, Bytes } from './events.ts'
import { missingBlobs } from './failures.ts'
import { type Key, manifestOf, type Node } from './graph.ts'
import type { Plan, Step } from './plan.ts'
import { updateReferrersIndexes } from './referrers-index.ts'
import { withCheck } from './semaphore.ts'
import { createDelivery, type Delivery, deliver, type Outcome, type Route, send } from './transfer.ts'

/** One image at one destination: what is to be done, and what of it has moved. `execute` counts also for an image that fails. */
export type Copy = Readonly<{ plan: Plan; route: Route; moved: Counter }>

export type Counter = { -readonly [K in keyof Bytes]: Bytes[K] }

/** How many times a manifest is put again after its missing blobs were sent. */
const MISSING_ROUNDS = 3
/** Milliseconds, doubled each round, each between half and all of it: 3.5 to 7 s in all. */
const MISSING_WAIT = 1000

/**
 * Copies one image to all its destinations, everything but the tags: blobs, manifests by digest, attachments with their tags.
 * A blob that several destinations need is read once.
 * @returns for each destination what is attached to the image there. Settles when all that was begun for it has ended.
 */
export function execute(copies: readonly Copy[], run: CopyRun): Promise<readonly Attached[]>[] {
  const parts = copies.map((copy) => prepare(copy, run))
  const blobs = new Map(parts.flatMap(({ deliveries }) => [...deliveries].map(([key, { blob }]) => [key, blob])))
  // Largest first, so that the last one to finish is a small one.
  for (const [key] of [...blobs].sort(([, a], [, b]) => b.size - a.size))
    deliver(
      parts.flatMap(({ deliveries }) => deliveries.get(key) ?? []),
      run,
    )
  return parts.map(copyTo)
}

type Part = Copy & Readonly<{ run: CopyRun; stop: () => void; deliveries: ReadonlyMap<Key, Delivery> }>

/** After the first failure nothing new begins for this destination. What is under way ends, and is there for the next run. */
function prepare(copy: Copy, all: CopyRun): Part {
  let stopped = false
  const check = () => {
    all.check?.()
    if (stopped) throw new PromoteError('CANCELLED', 'not begun, because another part of the image failed')
  }
  const run = { ...all, semaphore: withCheck(all.semaphore, check), check }
  const blobs = [...copy.plan.steps.values()].filter(({ node, do: what }) => node.kind === 'blob' && what !== 'skip')
  const deliveries = blobs.map(({ node }) => [node.key, createDelivery(node.descriptor, copy.route, run)] as const)
  return { ...copy, run, stop: () => (stopped = true), deliveries: new Map(deliveries) }
}

async function copyTo(part: Part): Promise<readonly Attached[]> {
  const { plan, route, run, stop } = part
  const running = new Map<Key, Promise<void>>()
  const decisions = new Map(plan.attachedTags)
  const push = async (step: Step): Promise<void> => {
    await Promise.all(step.node.needs.map((key) => running.get(key)))
    if (step.node.tag === undefined) return pushManifest(step, part)
    const decision = await pushTagged(step.node, part)
    decisions.set(step.node.key, decision)
    count(step, decision.state === 'write' ? 'copied' : 'present', decision.why, part)
  }
  for (const step of plan.steps.values()) {
    if (step.do === 'skip') continue
    const delivery = part.deliveries.get(step.node.key)
    const work = delivery === undefined ? push(step) : delivery.outcome.promise.then((end) => arrived(step, end, part))
    work.catch(stop)
    running.set(step.node.key, work)
  }
  await settle([...running.values()])
  await updateReferrersIndexes(route.target, plan.graph, run)
  return attachedThere(plan.graph, decisions)
}

async function pushManifest(step: Step, part: Part): Promise<void> {
  const { plan, run } = part
  const { node, why } = step
  const isRoot = node.descriptor.digest === plan.graph.root.descriptor.digest
  if (isRoot && !plan.rootByDigest) return count(step, 'copied', 'goes with its tag, last', part)
  await putManifest(manifestOf(node), undefined, part, run)
  count(step, 'copied', why, part)
}

/** A tag of cosign's scheme is read again, because it may have changed since it was planned. */
async function pushTagged(node: Node, part: Part): Promise<TagDecision> {
  const { route, run } = part
  const put = (manifest: Manifest, tag: string, from: TagState) => putManifest(manifest, { tag, from }, part, run)
  const decision = await writeAttachedTag(node, { target: route.target, run, put })
  warnOfKept([decision], run.context)
  return decision
}

/** Only the answer of the registry tells how a blob came to it. */
function arrived(step: Step, outcome: Outcome, part: Part): void {
  const planned = step.do
  const why = {
    present: 'the registry has it',
    mounted: planned === 'mount' ? step.why : 'same registry, mounted from another repository',
    copied: planned === 'mount' ? 'the registry did not mount it' : step.why,
  }
  count(step, outcome, why[outcome], part)
}

function count({ node }: Step, outcome: Outcome, why: string, { route, moved, run }: Part): void {
  const { kind, descriptor } = node
  const { digest, size } = descriptor
  moved[outcome] += size
  const what = { copied: kind === 'blob' ? 'copy' : 'push', mounted: 'mount', present: 'skip' } as const
  run.emit({ event: 'step', image: route.image, do: what[outcome], digest, kind, size, why })
}

/** Throws the first failure, after everything that was under way has ended: nothing continues after the report is made. */
async function settle(work: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(work)
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
  const cause = failures.find((reason) => !(reason instanceof PromoteError && reason.code === 'CANCELLED'))
  if (failures.length > 0) throw cause ?? failures[0]
}

/**
 * Puts a manifest, by its digest or under a tag, and confirms it (`confirm`). Blobs that the registry names as missing, because
 * they were garbage collected since, are sent again. When it has them after all, it gets some seconds to notice.
 */
export async function putManifest(
  manifest: Manifest,
  under: Readonly<{ tag: string; from: TagState }> | undefined,
  { plan, route }: Copy,
  run: CopyRun,
): Promise<void> {
  const { target } = route
  const { digest, size } = manifest.descriptor
  const { tag, from } = under ?? { from: 'unknown' as const }
  const change = { target, reference: tag ?? digest, from, to: digest }
  const put = (begin: () => void) => withCheck(run.semaphore, begin)(() => target.putManifest(manifest, tag), size)
  for (let round = 1; ; round += 1) {
    try {
      return await confirm(change, put, run.context)
    } catch (thrown) {
      const missing = missingBlobs(thrown, manifest, plan.graph)
      if (round > MISSING_ROUNDS) throw thrown
      run.context.log.warn(
        `${target.name} misses ${missing.length} blobs of ${digest} that were there: sending them again`,
      )
      const { sleep, random } = run.context
      if (!(await sendAgain(missing, route, run))) await sleep(backoff(round, random, { first: MISSING_WAIT }))
    }
  }
}

/** @returns whether a blob was missing indeed. */
async function sendAgain(missing: readonly Node[], route: Route, run: CopyRun): Promise<boolean> {
  let wasMissing = false
  for (const { descriptor } of missing) {
    const delivery = createDelivery(descriptor, { ...route, mountFrom: undefined }, run)
    send([delivery], run)
    wasMissing = (await delivery.outcome.promise) !== 'present' || wasMissing
  }
  return wasMissing
}
