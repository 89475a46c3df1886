import type { Context } from '../context.ts'
import { PromoteError } from '../errors.ts'
import { isForeign, type Manifest } from '../oci/manifest.ts'
import type { Attached, Bytes, Event } from '../report/model.ts'
import type { Begun, Source, Target } from '../store/store.ts'
import { attachedThere, keptTags, type TagDecision, writeTag } from './attached-tags.ts'
import { confirm, type TagState } from './confirm.ts'
import type { Fanout, Seat } from './fanout.ts'
import { refusedForeign } from './foreign-refusal.ts'
import type { Key, Node } from './graph.ts'
import type { Permits } from './permits.ts'
import type { Plan, Step } from './plan.ts'
import { updateReferrersIndexes } from './referrers-index.ts'
import { refusedSparse } from './sparse.ts'
import { transfer } from './transfer.ts'

/** What all images of a run share. */
export type Shared = Readonly<{
  context: Context
  permits: Permits
  /** Most small blobs at once. */
  width: number
  /** Where the destinations that need the same blob find each other. */
  fanout: Fanout
  retries: number
  /** `registry digest` → the repository that has the blob, once it is there: later images mount it from there. */
  homes: Map<string, Promise<string>>
  emit: (event: Event) => void
  /** Throws when nothing new of this image may begin at this destination. */
  check?: () => void
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

/** How often a manifest is put again whose blobs the registry says it misses. */
const MISSING_ROUNDS = 3
/** Milliseconds, doubled each round: 7 s in all. */
const MISSING_WAIT = 1000

type Outcome = 'present' | 'mounted' | 'copied'

/** A blob on its way: what the destination says of it first, and how it ends. */
type Flight = Readonly<{ answer: Promise<Outcome | 'absent'>; outcome: Promise<Outcome> }>

/** What has moved; `execute` counts in it, so that a failed image, too, says what it has sent. */
export type Counter = { -readonly [K in keyof Bytes]: Bytes[K] }

export function startBytes({ bytes: { total, present } }: Plan): Counter {
  return { total, copied: 0, mounted: 0, present }
}

/**
 * Everything but the tags: blobs, manifests by digest, attachments with theirs. What is to reach several destinations in one
 * reading is started in one turn of the event loop: seats are taken at once.
 * @param bytes counts what moves.
 * @returns what is attached to the image at the destination now.
 */
export async function execute(
  plan: Plan,
  job: Job,
  run: Shared,
  bytes = startBytes(plan),
): Promise<readonly Attached[]> {
  const { shared, stop } = stoppable(run)
  const running = new Map<Key, Promise<void>>()
  const done = stepCounter(job.image, bytes, shared)
  const probes = createProbes(plan, job, shared)
  const decisions = new Map(plan.attachedTags)
  const perform = async (step: Step): Promise<void> => {
    const { node } = step
    if (step.do === 'skip') return
    if (node.kind === 'blob') {
      const proof = await probes.before(node)
      if (proof !== undefined) done(step, 'present', proof)
      else {
        const outcome = await probes.blob(node).outcome
        done(step, outcome, whyOf(step, outcome))
      }
      return
    }
    await Promise.all(node.needs.map((key) => running.get(key)))
    if (node.tag !== undefined) {
      const decision = await pushTagged(node, plan, job, shared)
      decisions.set(node.key, decision)
      done(step, decision.state === 'write' ? 'copied' : 'present', decision.why)
      return
    }
    // What is attached is put in any case: that is how a registry learns to list it.
    const proof = node.attachedTo === undefined ? probes.proofOf(node) : undefined
    if (proof !== undefined) done(step, 'present', proof)
    else if (isRoot(plan, node) && !plan.rootByDigest) done(step, 'copied', 'goes with its tag, last')
    else {
      await pushManifest(node, plan, job, shared)
      done(step, 'copied', step.why)
    }
  }
  for (const step of inStartOrder(plan)) {
    const work = perform(step).finally(() => probes.leave(step.node))
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
  for (const line of keptTags([decision])) shared.context.log.warn(line)
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
  const permits: Permits = (work, bytes) =>
    run.permits(() => {
      check()
      return work()
    }, bytes)
  return { shared: { ...run, permits, check }, stop: () => (stopped = true) }
}

/** Largest blobs first, so that the last one to finish is a small one; manifests wait for what they need anyway. */
function inStartOrder(plan: Plan): Step[] {
  const steps = [...plan.steps.values()]
  const blobs = steps.filter((step) => step.node.kind === 'blob')
  blobs.sort((a, b) => b.node.descriptor.size - a.node.descriptor.size)
  return [...blobs, ...steps.filter((step) => step.node.kind === 'manifest')]
}

/** The first failure, after everything that was under way has ended: nothing goes on behind a report. */
export async function settle(work: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(work)
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
  const telling = failures.find((reason) => !(reason instanceof PromoteError && reason.code === 'CANCELLED'))
  if (failures.length > 0) throw telling ?? failures[0]
}

export function isRoot(plan: Plan, node: Node): boolean {
  return node.descriptor.digest === plan.graph.root.descriptor.digest
}

/**
 * Finding out on the way. The config of an image is asked for first; where it is there already, one question for the
 * manifest may answer for all its layers. Where it is not, nothing was asked in vain: the question began its upload.
 */
function createProbes(plan: Plan, job: Job, shared: Shared) {
  const blobs = new Map<Key, Flight>()
  const owners = new Map<Key, Promise<Node | undefined>>()
  const proofs = new Map<Key, string>()
  const seats = new Map<Key, Seat>()
  const blob = (node: Node): Flight => {
    const seatOf = () => seats.get(node.key)
    const known = blobs.get(node.key) ?? takeOff((onAbsent) => putBlob(node, job, shared, seatOf, onAbsent))
    blobs.set(node.key, known)
    return known
  }
  const probe = async (manifest: Node, config: Node): Promise<Node | undefined> => {
    // Its first answer will do: who waits until the config is stored has three round trips with nothing on the way.
    if ((await blob(config).answer) !== 'present') return undefined
    if (!(await shared.permits(() => job.target.has(manifest.descriptor, 'manifest')))) return undefined
    proofs.set(manifest.key, 'the registry has it')
    return manifest
  }
  if (!plan.certain) {
    for (const { node: manifest, do: what } of plan.steps.values()) {
      const config = what === 'push' && manifest.manifest?.shape === 'image' ? configOf(plan, manifest) : undefined
      if (config === undefined) continue
      const layers = manifest.needs.filter((key) => key !== config.key && !owners.has(key) && isProvable(plan, key))
      if (layers.length === 0 || owners.has(config.key)) continue
      const proven = probe(manifest, config)
      proven.catch(() => undefined) // whoever waits for it sees the failure
      for (const key of layers) owners.set(key, proven)
    }
  }
  for (const { node, do: what } of plan.steps.values()) {
    if (node.kind !== 'blob' || what === 'skip') continue
    const waits = owners.has(node.key) && !blobs.has(node.key)
    seats.set(node.key, shared.fanout(node.descriptor, job.registry, waits ? 1 : 0))
  }
  return {
    blob,
    /** The blob is decided about, one way or the other. */
    leave: ({ key }: Node): void => seats.get(key)?.leave(),
    proofOf: (node: Node): string | undefined => proofs.get(node.key),
    /** Why the blob need not be sent, once its image was asked for. */
    async before(node: Node): Promise<string | undefined> {
      const manifest = await owners.get(node.key)
      return manifest === undefined ? undefined : `checked by the registry when it took ${manifest.descriptor.digest}`
    },
  }
}

function takeOff(send: (onAbsent: () => void) => Promise<Outcome>): Flight {
  let onAbsent: () => void = () => undefined
  const absent = new Promise<'absent'>((resolve) => {
    onAbsent = () => resolve('absent')
  })
  const outcome = send(onAbsent)
  const answer = Promise.race([absent, outcome])
  answer.catch(() => undefined) // whoever waits for one of the two sees the failure
  return { answer, outcome }
}

/** Registries do not ask for layers that are elsewhere by their URLs. */
function isProvable(plan: Plan, key: Key): boolean {
  const node = plan.graph.nodes.get(key)
  return node !== undefined && !isForeign(node.descriptor)
}

/** The config blob, if it has to be sent anyway. */
function configOf(plan: Plan, manifest: Node): Node | undefined {
  const link = manifest.manifest?.links.find((each) => each.role === 'config')
  const step = link === undefined ? undefined : plan.steps.get(`blob ${link.descriptor.digest}`)
  return step === undefined || step.do === 'skip' ? undefined : step.node
}

/** Sends a blob once per registry: other images of the run wait for it and mount it. */
async function putBlob(
  node: Node,
  job: Job,
  shared: Shared,
  seatOf: () => Seat | undefined,
  onAbsent: () => void,
): Promise<Outcome> {
  const key = `${job.registry} ${node.descriptor.digest}`
  for (;;) {
    const flight = shared.homes.get(key)
    // Whoever waits for another image must not keep the other destinations waiting for itself.
    if (flight !== undefined) seatOf()?.leave()
    const home = await flight?.catch(() => undefined)
    if (home === job.repository) return 'present'
    if (home !== undefined) return beginAndSend(node, job, shared, { mountFrom: home, onAbsent })
    if (shared.homes.get(key) !== flight) continue // somebody else began while we waited
    const mine = beginAndSend(node, job, shared, { mountFrom: job.mountFrom, seat: seatOf(), onAbsent })
    const landed = mine.then(() => job.repository)
    landed.catch(() => undefined)
    shared.homes.set(key, landed)
    return mine
  }
}

type Sending = Readonly<{ mountFrom?: string | undefined; seat?: Seat | undefined; onAbsent?: () => void }>

async function beginAndSend(node: Node, job: Job, shared: Shared, sending: Sending): Promise<Outcome> {
  const { descriptor } = node
  const { mountFrom, seat = shared.fanout(descriptor, job.registry, 0), onAbsent } = sending
  const share = await seat.join(shared.permits)
  try {
    shared.check?.()
    const begun: Begun = await job.target.begin(descriptor, mountFrom)
    if (begun.state !== 'open') return begun.state
    onAbsent?.()
    await transfer(share, job.source, begun.upload, {
      context: shared.context,
      retries: shared.retries,
      onBytes: (sent) =>
        shared.emit({ event: 'bytes', image: job.image, digest: descriptor.digest, sent, total: descriptor.size }),
      onRetry: (reason, wait, attempt) =>
        shared.emit({ event: 'retry', image: job.image, what: `blob ${descriptor.digest}`, reason, wait, attempt }),
    })
    return 'copied'
  } finally {
    share.leave()
  }
}

async function pushManifest(node: Node, plan: Plan, job: Job, shared: Shared): Promise<void> {
  const { manifest } = node
  if (manifest === undefined) throw new PromoteError('INTERNAL', `no bytes for ${node.key}`)
  await putComplete(manifest, undefined, plan, job, shared)
}

/**
 * Puts a manifest, by its digest or under a tag, as `confirm` says. When the registry names blobs that it misses (garbage collected since it answered for them), exactly
 * those are sent again and the manifest put once more. When it has them all the same (eventual consistency of object
 * stores), it is given some seconds.
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
  const put = (begin: () => void) =>
    shared.permits(() => {
      begin()
      return job.target.putManifest(manifest, tag)
    }, size)
  for (let round = 1; ; round += 1) {
    try {
      return await confirm(change, put, shared.context)
    } catch (thrown) {
      const foreign = refusedForeign(thrown, manifest, plan)
      if (foreign !== undefined) throw foreign
      const missing = missingBlobs(thrown, manifest, plan)
      if (missing.length === 0) throw refusedSparse(thrown, manifest, plan) ?? thrown
      if (round > MISSING_ROUNDS) throw thrown
      shared.context.log.warn(
        `${job.target.name} misses ${missing.length} blobs of ${manifest.descriptor.digest} that were there: sending them again`,
      )
      let isLate = true
      for (const node of missing) isLate = (await beginAndSend(node, job, shared, {})) === 'present' && isLate
      if (isLate) await shared.context.sleep(MISSING_WAIT * 2 ** (round - 1))
    }
  }
}

/** The detail of MANIFEST_BLOB_UNKNOWN names a digest somewhere; when it does not, every blob is looked at. */
function missingBlobs(thrown: unknown, manifest: Manifest, plan: Plan): Node[] {
  if (!(thrown instanceof PromoteError)) return []
  const entries = thrown.server.filter(
    (entry) => entry.code === 'MANIFEST_BLOB_UNKNOWN' || entry.code === 'BLOB_UNKNOWN',
  )
  if (entries.length === 0) return []
  const text = JSON.stringify(entries)
  const blobs = manifest.links.flatMap((link) => plan.graph.nodes.get(`${link.kind} ${link.descriptor.digest}`) ?? [])
  const sendable = blobs.filter((node) => node.kind === 'blob' && node.leave === undefined)
  const named = sendable.filter((node) => text.includes(node.descriptor.digest))
  return named.length > 0 ? named : sendable
}
