import { ignoreUnhandled } from '../core/async.ts'
import { PromoteError } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import type { Digest, TagState } from '../oci/digest.ts'
import { type Descriptor, isForeign } from '../oci/manifest.ts'
import { isHidden, surveyTags } from './attached-tags.ts'
import type { Graph, Key, Node } from './graph.ts'
import { isIndexed } from './referrers-index.ts'
import type { Semaphore } from './semaphore.ts'
import { provingAnswers, type Target } from './store.ts'

/** A repository at a destination, with the state of the tags that are to be written. */
export type TargetState = Readonly<{
  target: Target
  tags: ReadonlyMap<string, TagState>
}>

/**
 * Finds out which manifests a destination stores. Each one is asked for once. `discover` asks while it reads the manifest at
 * the source, so that both answers arrive in the same round trip.
 */
export class ManifestLookup {
  readonly #place: Promise<TargetState>
  readonly #semaphore: Semaphore
  readonly #answers = new Map<Digest, Promise<string | undefined>>()

  /** @param place that may still be opening: questions wait for it. */
  constructor(place: Promise<TargetState>, semaphore: Semaphore) {
    this.#place = place
    this.#semaphore = semaphore
  }

  /** @returns why the manifest is known to be stored; undefined when it is not known. */
  ask(manifest: Descriptor): Promise<string | undefined> {
    return getOrAdd(this.#answers, manifest.digest, () => ignoreUnhandled(this.#find(manifest)))
  }

  async #find(manifest: Descriptor): Promise<string | undefined> {
    const { target, tags } = await this.#place
    const tag = [...tags].find(([, digest]) => digest === manifest.digest)?.[0]
    const byTag = tag && `tag ${tag} is already at this digest`
    const evidence = await target.evidence?.()
    if (byTag !== undefined && evidence === undefined) return byTag
    const isListed = (await target.inventory())?.has(manifest.digest) === true
    const isStored = isListed || (await this.#semaphore(() => target.has(manifest, 'manifest')))
    if (!isStored) return undefined
    return byTag ?? (isListed ? 'in the inventory of the image stream' : 'the registry has it')
  }
}

/** What a destination holds of an image. */
export type Survey = Awaited<ReturnType<typeof survey>>

/** What each of the wanted tags points at now. */
export async function findTags(target: Target, tags: readonly string[], semaphore: Semaphore) {
  const find = async (tag: string) => [tag, await semaphore(() => target.locate(tag).catch(unlessHidden))] as const
  return new Map(await Promise.all(tags.map(find)))
}

/** An account with the right to push may lack the right to pull. The run goes on and reports that the tag was not read. */
function unlessHidden(thrown: unknown): 'unknown' {
  if (thrown instanceof PromoteError && isHidden(thrown)) return 'unknown'
  throw thrown
}

/**
 * Finds out what of the image is stored at a destination. Each manifest is asked for. A stored image manifest proves its
 * blobs: registries refuse a manifest whose blobs are missing (distribution-spec, "Pushing Manifests"). It proves no child of
 * an index, because sparse indexes are accepted. It proves nothing where the registry also answers for what it does not store
 * (`Evidence`): there, everything is sent that is not found by a mount.
 * @param lookup has asked for most manifests already, while they were read at the source.
 * @param asksBlobs true in a dry run: it starts no upload, whose first answer tells whether the blob is there.
 */
export async function survey(
  { target, tags }: TargetState,
  graph: Graph,
  lookup: ManifestLookup,
  asksBlobs: boolean,
  semaphore: Semaphore,
) {
  const [referrers, attachedTags] = await Promise.all([
    readReferrers(target, graph, semaphore),
    surveyTags(target, graph, semaphore),
  ])
  const present = new Map<Key, string>()
  const evidence = await target.evidence?.()
  const doAnswersProve = provingAnswers(evidence) === 'all'
  for (const { proven, tag } of doAnswersProve ? attachedTags.values() : [])
    for (const key of proven) present.set(key, `checked by the registry when it took what ${tag} names`)
  const addPresent = async (kind: Node['kind'], why: (node: Node) => Promise<string | undefined>): Promise<void> => {
    // What is left out is not asked for, and tags of cosign's scheme are surveyed by `surveyTags`.
    const open = [...graph.nodes.values()].filter(
      (node) => node.kind === kind && node.leave === undefined && node.tag === undefined && !present.has(node.key),
    )
    const reasons = await Promise.all(open.map(why))
    for (const [index, { key }] of open.entries()) {
      const reason = reasons[index]
      if (reason !== undefined) present.set(key, reason)
    }
  }
  await addPresent('manifest', (node) => whyStored(node, target, lookup, referrers, semaphore))
  if (doAnswersProve)
    for (const node of graph.nodes.values()) if (present.has(node.key)) addBlobsOf(node, graph, present)
  const inventory = await target.inventory()
  const isAtRoot = [...tags.values()].includes(graph.root.descriptor.digest)
  await addPresent('blob', async ({ descriptor }) => {
    if (inventory?.has(descriptor.digest)) return 'in the inventory of the image stream'
    // Uploads would find these blobs too. But an image that is complete must be recognised without a write.
    const mayBeThere = !doAnswersProve && (evidence?.named?.has(descriptor.digest) ?? isAtRoot)
    if (!asksBlobs && !mayBeThere) return undefined
    return (await semaphore(() => target.has(descriptor, 'blob'))) ? 'the registry has it' : undefined
  })
  return { tags, present, attachedTags }
}

/** Subject → digests that the destination lists as its referrers. */
type Referrers = ReadonlyMap<Digest, ReadonlySet<Digest>>

async function readReferrers(target: Target, graph: Graph, semaphore: Semaphore): Promise<Referrers> {
  const subjects = new Set(graph.attached.filter(({ tag }) => tag === null).map(({ subject }) => subject))
  const lists = [...subjects].map(async (subject) => {
    const list = await semaphore(() => target.referrers(subject))
    return [subject, new Set(list.map(({ digest }) => digest))] as const
  })
  return new Map(await Promise.all(lists))
}

/** What is attached must be stored and listed. A list may name what was deleted since, so the list alone is no proof. */
async function whyStored(
  { descriptor, attachedTo }: Node,
  target: Target,
  lookup: ManifestLookup,
  referrers: Referrers,
  semaphore: Semaphore,
): Promise<string | undefined> {
  const reason = await lookup.ask(descriptor)
  if (reason === undefined || attachedTo === undefined) return reason
  if (referrers.get(attachedTo)?.has(descriptor.digest)) return 'there, and listed as a referrer'
  return (await isIndexed(target, attachedTo, descriptor.digest, semaphore)) ? reason : undefined
}

/** Marks the blobs of a manifest that the registry stores: it has checked each of them when it took the manifest. */
function addBlobsOf(node: Node, graph: Graph, present: Map<Key, string>): void {
  for (const key of node.needs) {
    const needed = graph.nodes.get(key)
    // Registries do not check layers that have URLs.
    if (needed?.kind === 'blob' && needed.leave === undefined && !isForeign(needed.descriptor) && !present.has(key))
      present.set(key, `checked by the registry when it took ${node.descriptor.digest}`)
  }
}
