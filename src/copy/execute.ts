import { ignoreUnhandled } from '../core/async.ts'
import { backoff } from '../core/backoff.ts'
import type { Context } from '../core/context.ts'
import { PromoteError } from '../core/errors.ts'
import { isForeign, type Manifest } from '../oci/manifest.ts'
import { attachedThere, type TagDecision, warnOfKept, writeTag } from './attached-tags.ts'
import type { ReadAhead } from './broadcast.ts'
import { confirm, type TagState } from './confirm.ts'
import { createDelivery, type Delivery, deliver, type Outcome, send } from './deliver.ts'
import type { Attached, Bytes, CopyEvent } from './events.ts'
import { missingBlobs } from './failures.ts'
import { type Key, manifestOf, type Node } from './graph.ts'
import type { Plan, Step } from './plan.ts'
import type { Platforms } from './platforms.ts'
import { updateReferrersIndexes } from './referrers-index.ts'
import { checked, type Permits } from './semaphore.ts'
import type { Source, Target } from './store.ts'

/** What all images of a run share. */
export type Shared = Readonly<{
  context: Context
  permits: Permits
  retries: number
  /** `registry digest` → the repository that has the blob, once it is there: later images mount it from there. */
  homes: Map<string, Promise<string>>
  platforms: Platforms
  /** Tag → the last write of it, of tags that are read and changed. */
  tagWrites: Map<string, Promise<unknown>>
  emit: (event: CopyEvent) => void
  /** Throws when nothing new of this image may begin at this destination. */
  check?: () => void
  readAhead?: ReadAhead
}>

/** One image on its way to one repository. */
export type Job = Readonly<{
  image: number
  source: Source
  target: Target
  /** Origin of the destination registry and repository within it. */
  registry: string
  repository: string
  /** Repository of the same registry that the image comes from. */
  mountFrom: string | undefined
}>

/** What one destination gets of an image. `bytes` counts what moves, also of an image that fails. */
export type Copy = Readonly<{ plan: Plan; job: Job; bytes: Counter }>

/** How often a manifest is put again whose blobs the registry says it misses. */
const MISSING_ROUNDS = 3
/** Milliseconds, doubled each round: 7 s in all. */
const MISSING_WAIT = 1000

/** What has moved; `execute` counts in it, so that a failed image, too, says what it has sent. */
export type Counter = { -readonly [K in keyof Bytes]: Bytes[K] }

/**
 * Brings one image to all its destinations, everything but the tags: blobs, manifests by digest, attachments with their tags.
 * A blob that several destinations need is read once.
 * @returns for each destination what is attached to the image there, after all that was begun for it has ended.
 */
export function execute(copies: readonly Copy[], run: Shared): Promise<readonly Attached[]>[] {
  const parts = copies.map((copy) => prepareCopy(copy, run))
  const blobs = new Map(
    parts.flatMap(({ deliveries }) => [...deliveries].map(([key, { node }]) => [key, node] as const)),
  )
  // Largest first, so that the last one to finish is a small one.
  for (const { key } of [...blobs.values()].sort((a, b) => b.descriptor.size - a.descriptor.size))
    deliverBlob(key, parts, run)
  return parts.map(copyTo)
}

/** A copy, and what is found out while it runs. */
type Part = Copy &
  Readonly<{
    shared: Shared
    stop: () => void
    /** Of the blobs that the plan does not skip. */
    deliveries: ReadonlyMap<Key, Delivery>
    /** Manifests, and layers that wait for the answer about their manifest: why they are there already, if they are. */
    proofs: ReadonlyMap<Key, Promise<string | undefined>>
  }>

function prepareCopy(copy: Copy, run: Shared): Part {
  const { plan, job } = copy
  const { shared, stop } = stoppable(run)
  const blobs = [...plan.steps.values()].filter(({ node, do: what }) => node.kind === 'blob' && what !== 'skip')
  const deliveries = new Map(blobs.map(({ node }) => [node.key, createDelivery(node, job, shared)]))
  return { ...copy, shared, stop, deliveries, proofs: askForImages(plan, job, deliveries, shared) }
}

/**
 * Destinations that need the blob in any case do not wait for those that first ask for its manifest: in an index, these could
 * wait for each other's configs in a circle.
 */
function deliverBlob(key: Key, parts: readonly Part[], run: Shared): void {
  const needing = parts.flatMap(({ deliveries, proofs }) => {
    const delivery = deliveries.get(key)
    return delivery === undefined ? [] : [{ ...delivery, proof: proofs.get(key) }]
  })
  const asking = needing.filter(({ proof }) => proof !== undefined)
  const certain = needing.filter(({ proof }) => proof === undefined)
  deliver(certain, run)
  void Promise.allSettled(asking.map(({ proof }) => proof)).then((ends) => {
    const absent = ends.map((end) => end.status === 'fulfilled' && end.value === undefined)
    const lacking = asking.filter((_, index) => absent[index])
    deliver(lacking, run)
  })
}

async function copyTo(part: Part): Promise<readonly Attached[]> {
  const { plan, job, bytes, shared, stop } = part
  const root = plan.graph.root.descriptor.digest
  const running = new Map<Key, Promise<void>>()
  const done = stepCounter(job.image, bytes, shared)
  const decisions = new Map(plan.attachedTags)
  const push = async (step: Step): Promise<void> => {
    const { node, why } = step
    await Promise.all(node.needs.map((key) => running.get(key)))
    if (node.tag !== undefined) {
      const decision = await pushTagged(node, plan, job, shared)
      decisions.set(node.key, decision)
      return done(step, decision.state === 'write' ? 'copied' : 'present', decision.why)
    }
    const proof = await part.proofs.get(node.key)
    if (proof !== undefined) return done(step, 'present', 'the registry has it')
    if (node.descriptor.digest === root && !plan.rootByDigest) return done(step, 'copied', 'goes with its tag, last')
    await putComplete(manifestOf(node), undefined, plan, job, shared)
    done(step, 'copied', why)
  }
  const bring = async (step: Step, { outcome }: Delivery): Promise<void> => {
    const proof = await part.proofs.get(step.node.key)
    if (proof !== undefined) return done(step, 'present', proof)
    const end = await outcome.promise
    done(step, end, whyOf(step, end))
  }
  for (const step of plan.steps.values()) {
    if (step.do === 'skip') continue
    const delivery = part.deliveries.get(step.node.key)
    const work = delivery === undefined ? push(step) : bring(step, delivery)
    work.catch(stop)
    running.set(step.node.key, work)
  }
  await settle([...running.values()])
  await updateReferrersIndexes(job.target, plan, shared)
  return attachedThere(plan.graph, decisions)
}

/** Counts what a step came to, and tells it. */
function stepCounter(image: number, bytes: Counter, { emit }: Shared) {
  return ({ node }: Step, outcome: Outcome, why: string): void => {
    const { kind, descriptor } = node
    const { digest, size } = descriptor
    bytes[outcome] += size
    const what = { copied: kind === 'blob' ? 'copy' : 'push', mounted: 'mount', present: 'skip' } as const
    emit({ event: 'step', image, do: what[outcome], digest, kind, size, why })
  }
}

/** What a tag of cosign's scheme names: read again, because it may have changed since it was planned. */
async function pushTagged(node: Node, plan: Plan, job: Job, shared: Shared): Promise<TagDecision> {
  const put = (manifest: Manifest, tag: string, from: TagState) =>
    putComplete(manifest, { tag, from }, plan, job, shared)
  const decision = await writeTag(node, { target: job.target, shared, put })
  warnOfKept([decision], shared.context)
  return decision
}

/** What the plan did not know yet: how the registry answered. */
function whyOf({ do: planned, why }: Step, outcome: Outcome): string {
  if (outcome === 'present') return 'the registry has it'
  if (outcome === 'mounted') return planned === 'mount' ? why : 'same registry, mounted from another repository'
  return planned === 'mount' ? 'the registry did not mount it' : why
}

/** After the first failure of an image nothing new of it begins; what is under way ends, and is there for the next run. */
function stoppable(run: Shared): { shared: Shared; stop: () => void } {
  let stopped = false
  const check = () => {
    run.check?.()
    if (stopped) throw new PromoteError('CANCELLED', 'not begun, because another part of the image failed')
  }
  return { shared: { ...run, permits: checked(run.permits, check), check }, stop: () => (stopped = true) }
}

/** The first failure, after everything that was under way has ended: nothing goes on behind a report. */
async function settle(work: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(work)
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
  const telling = failures.find((reason) => !(reason instanceof PromoteError && reason.code === 'CANCELLED'))
  if (failures.length > 0) throw telling ?? failures[0]
}

/**
 * The config of an image is asked for first; where it is there already, one question for the manifest may answer for all its
 * layers. Where it is not, the question has begun its upload.
 */
function askForImages(
  plan: Plan,
  job: Job,
  deliveries: Part['deliveries'],
  shared: Shared,
): Map<Key, Promise<string | undefined>> {
  const proofs = new Map<Key, Promise<string | undefined>>()
  const configs = new Set<Key>()
  const ask = async ({ descriptor }: Node, { absent, outcome }: Delivery): Promise<string | undefined> => {
    // Do not wait for the upload to finish: the first answer tells whether the config is there.
    if ((await Promise.race([absent.promise, outcome.promise])) !== 'present') return undefined
    if (!(await shared.permits(() => job.target.has(descriptor, 'manifest')))) return undefined
    return `checked by the registry when it took ${descriptor.digest}`
  }
  for (const { node, do: what } of plan.certain ? [] : plan.steps.values()) {
    const config = what === 'push' ? configOf(node, deliveries) : undefined
    if (config === undefined || proofs.has(config.node.key)) continue
    configs.add(config.node.key)
    const layers = node.needs.filter((key) => !configs.has(key) && !proofs.has(key) && isProvable(plan, key))
    if (layers.length === 0) continue
    const proof = ignoreUnhandled(ask(node, config))
    for (const key of layers) proofs.set(key, proof)
    // What is attached is put in any case: that is how a registry learns to list it.
    if (node.attachedTo === undefined) proofs.set(node.key, proof)
  }
  return proofs
}

/** Registries do not ask for layers that are elsewhere by their URLs. */
function isProvable(plan: Plan, key: Key): boolean {
  const node = plan.graph.nodes.get(key)
  return node?.kind === 'blob' && !isForeign(node.descriptor)
}

/** Of the config blob, if it has to be sent. */
function configOf({ manifest }: Node, deliveries: Part['deliveries']): Delivery | undefined {
  if (manifest?.shape !== 'image') return undefined
  const link = manifest.links.find((each) => each.role === 'config')
  return link && deliveries.get(`blob ${link.descriptor.digest}`)
}

/**
 * Puts a manifest, by its digest or under a tag, as `confirm` says. Blobs that the registry names as missing (garbage
 * collected meanwhile) are sent again. When it has them after all (eventual consistency), it is given some seconds.
 */
export async function putComplete(
  manifest: Manifest,
  under: Readonly<{ tag: string; from: TagState }> | undefined,
  plan: Plan,
  job: Job,
  shared: Shared,
): Promise<void> {
  const { digest, size } = manifest.descriptor
  const { tag, from } = under ?? { from: 'unread' as const }
  const change = { target: job.target, reference: tag ?? digest, from, to: digest }
  const put = (begin: () => void) => checked(shared.permits, begin)(() => job.target.putManifest(manifest, tag), size)
  for (let round = 1; ; round += 1) {
    try {
      return await confirm(change, put, shared.context)
    } catch (thrown) {
      const missing = missingBlobs(thrown, manifest, plan)
      if (round > MISSING_ROUNDS) throw thrown
      shared.context.log.warn(
        `${job.target.name} misses ${missing.length} blobs of ${manifest.descriptor.digest} that were there: sending them again`,
      )
      let isLate = true
      for (const node of missing) {
        const delivery = createDelivery(node, { ...job, mountFrom: undefined }, shared)
        send([delivery], shared)
        isLate = (await delivery.outcome.promise) === 'present' && isLate
      }
      if (isLate) await shared.context.sleep(backoff(round, shared.context.random, { first: MISSING_WAIT }))
    }
  }
}
