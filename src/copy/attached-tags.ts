import type { Context } from '../core/context.ts'
import { PromoteError } from '../core/errors.ts'
import { backoff } from '../core/retries.ts'
import type { Digest, TagState } from '../oci/digest.ts'
import { isForeign, type Manifest } from '../oci/manifest.ts'
import { mergeSignatures } from '../trust/merge-signatures.ts'
import { type CopyRun, inTurn } from './copy-run.ts'
import type { Attached } from './events.ts'
import { type Graph, type Key, manifestKey, manifestOf, type Node } from './graph.ts'
import type { Semaphore } from './semaphore.ts'
import type { Target } from './store.ts'

/**
 * What happens to one of cosign's tags at the destination. Signatures and attestations of others are never replaced: the
 * option `overwrite` is about the tags of images only.
 */
export type TagDecision = Readonly<{
  /** `kept`: the tag names something else, and the source's attachment is not copied. */
  state: 'write' | 'there' | 'kept'
  /** The manifest that the tag will name. Undefined when it cannot be read. */
  manifest: Manifest | undefined
  why: string
  tag: string
  /** Nodes of the graph that must be at the destination first. */
  needs: readonly Key[]
  /** Blobs that the destination stores, because its tag names them. */
  proven: readonly Key[]
}>

export type TagDecisions = ReadonlyMap<Key, TagDecision>

/** How many times a tag is written again when another client has written it in between. */
export const ROUNDS = 3
/** Milliseconds, doubled each round. */
const WAIT = 1000

type Writing = Readonly<{
  target: Target
  run: CopyRun
  put: (manifest: Manifest, tag: string, from: TagState) => Promise<void>
}>

/** What will happen to each of the graph's tags, by node. */
export async function surveyTags(target: Target, graph: Graph, semaphore: Semaphore): Promise<TagDecisions> {
  const tagged = [...graph.nodes.values()].filter(({ tag }) => tag !== undefined)
  const decided = tagged.map(async (node) => {
    const ours = manifestOf(node)
    const theirs = await readTag(target, node.tag ?? '', semaphore, ours)
    return [node.key, decide(target.name, theirs, ours, node)] as const
  })
  return new Map(await Promise.all(decided))
}

/** Warns of attachments that are not copied because their tag names something else. */
export function warnOfKept(decisions: Iterable<TagDecision>, { log }: Context): void {
  for (const { state, why } of decisions) if (state === 'kept') log.warn(why)
}

/**
 * The attachments of the image at the destination, without those that are not copied.
 * @param decisions of the plan, or after the run those that were carried out.
 */
export function attachedThere(graph: Graph, decisions: TagDecisions): readonly Attached[] {
  return graph.attached.flatMap((attached): Attached[] => {
    const decision = decisions.get(manifestKey(attached.digest, attached.tag))
    if (decision === undefined) return [attached]
    const digest = decision.manifest?.descriptor.digest
    return decision.state === 'kept' || digest === undefined ? [] : [{ ...attached, digest }]
  })
}

/**
 * Reads the tag, writes what is missing, and reads it again, because no registry has a conditional PUT.
 */
export async function writeAttachedTag(node: Node, { target, run, put }: Writing): Promise<TagDecision> {
  const { tag = '' } = node
  const ours = manifestOf(node)
  return inTurn(run, `${target.name}:${tag}`, async () => {
    for (let round = 0; ; round += 1) {
      const theirs = await readTag(target, tag, run.semaphore, ours)
      const decision = decide(target.name, theirs, ours, node)
      const { state, manifest: wanted } = decision
      if (state !== 'write' || wanted === undefined) return decision
      if (round >= ROUNDS) throw notKept(`${target.name}:${tag}`)
      if (round > 0) await run.context.sleep(backoff(round, run.context.random, { first: WAIT }))
      const from = theirs instanceof Object ? theirs.descriptor.digest : null
      await put(wanted, tag, from).catch((thrown: unknown) => {
        throw theirs === undefined ? thrown : mayBeImmutable(thrown)
      })
      const now = await run.semaphore(() => target.find(tag))
      if (now?.digest === wanted.descriptor.digest) return decision
    }
  })
}

/**
 * The manifest of a tag at the destination. `unreadable`: the tag names something that is not a manifest.
 * @param ours when the tag is at this manifest already, a HEAD is enough.
 */
export async function readTag(target: Target, tag: string, semaphore: Semaphore, ours?: Manifest) {
  const read = async () => {
    if (ours === undefined) return target.resolve(tag)
    const there = await target.find(tag)
    if (there === undefined) return undefined
    return there.digest === ours.descriptor.digest ? ours : target.resolve(tag)
  }
  return semaphore(read).catch(unlessUnreadable)
}

/** Absent, or not readable. Some registries answer in the same way to both. */
export function isHidden({ code, status }: PromoteError): boolean {
  return code === 'NOT_FOUND' || code === 'DENIED' || status === 403
}

/** An error without a status is about the content: the tag names something that is not a valid manifest. */
function unlessUnreadable(thrown: unknown): 'unreadable' | undefined {
  if (!(thrown instanceof PromoteError)) throw thrown
  const { code, status } = thrown
  if (isHidden(thrown)) return undefined
  if (status === undefined && ['PROTOCOL', 'UNSUPPORTED', 'DIGEST_MISMATCH'].includes(code)) return 'unreadable'
  throw thrown
}

function decide(name: string, theirs: Manifest | 'unreadable' | undefined, ours: Manifest, node: Node): TagDecision {
  const { tag = '', needs } = node
  if (theirs === undefined) return { tag, state: 'write', manifest: ours, why: `new tag ${tag}`, needs, proven: [] }
  const readable = theirs === 'unreadable' ? undefined : theirs
  const there = { tag, manifest: readable, needs: [], proven: readable === undefined ? [] : blobsOf(readable) }
  const isKept = `${name}:${tag} is left as it is`
  const kept = (what: string): TagDecision => ({ ...there, state: 'kept', why: `${isKept}: ${what}` })
  if (theirs === 'unreadable') return kept('it is not a manifest that can be read, so nothing is added to it')
  if (Buffer.from(theirs.bytes).equals(ours.bytes))
    return { ...there, state: 'there', needs, why: `tag ${tag} is already at this digest` }
  if (tag.endsWith('.sbom')) return kept('the SBOM of the source is another one, and is not copied')
  const merged = mergeSignatures(theirs, ours)
  if (merged === undefined) return kept('one of the two sides has no signatures there, but an image or an index')
  const { manifest, added } = merged
  if (added.size === 0) return { ...there, state: 'there', why: `tag ${tag} has all of it already` }
  return {
    ...there,
    state: 'write',
    manifest,
    why: `tag ${tag}: what is missing is added to what the destination has, ${theirs.descriptor.digest}`,
    needs: needs.filter((key) => key.startsWith('manifest ') || added.has(key.slice('blob '.length) as Digest)),
  }
}

function blobsOf({ links }: Manifest): readonly Key[] {
  const own = links.filter(({ kind, descriptor }) => kind === 'blob' && !isForeign(descriptor))
  return own.map(({ descriptor }): Key => `blob ${descriptor.digest}`)
}

export function notKept(what: string): PromoteError {
  return new PromoteError('PROTOCOL', `${what} does not keep what is written to it`, {
    side: 'destination',
    hint: 'Another client may be writing it at the same time: run the promotion again.',
  })
}

/** ECR (400), ACR (409), Quay and Harbor (403, 412) refuse to write a tag that is immutable. */
function mayBeImmutable(thrown: unknown): unknown {
  if (!(thrown instanceof PromoteError) || ![400, 403, 409, 412].includes(thrown.status ?? 0)) return thrown
  const hint = 'The tag exists, and the signatures of the source have to be added to it: it must not be immutable.'
  return thrown.with({ hint: [thrown.hint, hint].filter(Boolean).join(' ') })
}
