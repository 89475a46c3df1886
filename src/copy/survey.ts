import { PromoteError } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'
import { isForeign } from '../oci/manifest.ts'
import { isHidden, surveyTags, type TagDecision } from './attached-tags.ts'
import type { TagState } from './confirm.ts'
import type { Graph, Key, Node } from './graph.ts'
import { isIndexed } from './referrers-index.ts'
import type { Permits } from './semaphore.ts'
import type { Evidence, Target } from './store.ts'

/** What the destination holds, as far as it was asked. */
export type Survey = Readonly<{
  /** Wanted tag → what it points at now. */
  tags: ReadonlyMap<string, TagState>
  /** What is certainly there, with the reason. Nothing gets in here because something else is there. */
  present: ReadonlyMap<Key, string>
  /** False: what is not in `present` was not asked for, and asking for the whole image first may spare sending it. */
  certain: boolean
  /** What happens to the tags of cosign's scheme, by node. */
  attachedTags: ReadonlyMap<Key, TagDecision>
}>

/** What each of the wanted tags points at now. It needs the destination alone: the image need not be known yet. */
export async function findTags(target: Target, tags: readonly string[], permits: Permits): Promise<Survey['tags']> {
  const find = async (tag: string) => [tag, await permits(() => target.locate(tag).catch(unread))] as const
  return new Map(await Promise.all(tags.map(find)))
}

/** An account that may push need not be allowed to read: the run goes on, and says that the tag was not read. */
function unread(thrown: unknown): 'unread' {
  if (thrown instanceof PromoteError && isHidden(thrown)) return 'unread'
  throw thrown
}

/**
 * Present means stored at the destination. A tag that is already right proves its manifest, and a stored image manifest
 * proves its blobs: registries refuse a manifest whose blobs are missing (distribution-spec, "Pushing Manifests"). It
 * proves no child of an index: sparse indexes are accepted, so each child is asked for. None of that holds where a
 * registry answers for what it does not store (`Evidence`): there everything is sent that is not found by a mount.
 */
export async function survey(
  target: Target,
  graph: Graph,
  tags: Survey['tags'],
  all: boolean,
  permits: Permits,
): Promise<Survey> {
  const root = graph.root.descriptor.digest
  const right = [...tags].find(([, digest]) => digest === root)?.[0]
  const present = new Map<Key, string>()
  const [listed, attachedTags] = await Promise.all([
    readListed(target, graph, permits),
    surveyTags(target, graph, permits),
  ])
  const evidence = await target.evidence?.()
  const isProof = evidence === undefined || evidence.importFree === true
  const rootIsStored = async () =>
    evidence === undefined || (await permits(() => target.has(graph.root.descriptor, 'manifest')))
  if (right !== undefined && (await rootIsStored()))
    present.set(`manifest ${root}`, `tag ${right} is already at this digest`)
  for (const { proven, tag } of isProof ? attachedTags.values() : [])
    for (const key of proven) present.set(key, `checked by the registry when it took what ${tag} names`)
  const open = (kind: Node['kind']) =>
    [...graph.nodes.values()].filter(
      (node) => node.kind === kind && node.leave === undefined && node.tag === undefined && !present.has(node.key),
    )
  const inventory = open('manifest').length > 0 ? await target.inventory() : undefined
  const ask = right !== undefined || all || inventory?.has(root) === true
  const named = isProof ? undefined : { has: (digest: Digest) => evidence?.named?.has(digest) ?? ask }
  const wanted: Wanted = { target, inventory, listed, ask: { manifest: ask, blob: all }, named, permits }
  const look = async (node: Node): Promise<void> => {
    const reason = await whyPresent(node, wanted)
    if (reason !== undefined) present.set(node.key, reason)
  }
  await Promise.all(open('manifest').map(look))
  for (const node of isProof ? graph.nodes.values() : [])
    if (node.kind === 'manifest' && present.has(node.key)) provenBy(node, graph, present)
  await Promise.all(open('blob').map(look))
  const certain = all || !isProof || isKnown(graph, present, inventory, evidence)
  return { tags, present, certain, attachedTags }
}

/** What decides whether a node is there. */
type Wanted = Readonly<{
  target: Target
  inventory: ReadonlySet<Digest> | undefined
  /** Subject → digests that the destination lists as its referrers. */
  listed: ReadonlyMap<Digest, ReadonlySet<Digest>>
  /** Whether what the inventory does not have is asked for, one by one. */
  ask: Readonly<Record<Node['kind'], boolean>>
  /** Asked for in any case, where the destination answers also for what is not stored there. */
  named: Readonly<{ has: (digest: Digest) => boolean }> | undefined
  permits: Permits
}>

/** Nothing is open: what is not present is in no list of what the repository may hold. */
function isKnown(
  graph: Graph,
  present: Survey['present'],
  inventory: ReadonlySet<Digest> | undefined,
  evidence: Evidence | undefined,
): boolean {
  if (evidence === undefined) return inventory !== undefined
  const { named } = evidence
  return (
    named !== undefined &&
    [...graph.nodes.values()].every(
      ({ key, leave, descriptor }) => leave !== undefined || present.has(key) || !named.has(descriptor.digest),
    )
  )
}

async function readListed(target: Target, graph: Graph, permits: Permits): Promise<Map<Digest, ReadonlySet<Digest>>> {
  const subjects = new Set(graph.attached.filter(({ tag }) => tag === null).map(({ subject }) => subject))
  const lists = [...subjects].map(async (subject) => {
    const list = await permits(() => target.referrers(subject))
    return [subject, new Set(list.map(({ digest }) => digest))] as const
  })
  return new Map(await Promise.all(lists))
}

async function whyPresent(node: Node, wanted: Wanted): Promise<string | undefined> {
  const { target, inventory, listed, ask, named, permits } = wanted
  const { attachedTo, descriptor, kind } = node
  const { digest } = descriptor
  const isThere = () => permits(() => target.has(descriptor, kind))
  if (attachedTo !== undefined) {
    const isListed = listed.get(attachedTo)?.has(digest) === true
    // A list may name what was deleted since, and what is there may be missing in the list.
    if (!(isListed || ask.manifest) || !(await isThere())) return undefined
    if (isListed) return 'there, and listed as a referrer'
    return (await isIndexed(target, attachedTo, digest, permits)) ? 'the registry has it' : undefined
  }
  if (inventory?.has(digest)) return 'in the inventory of the image stream'
  return (ask[kind] || named?.has(digest)) && (await isThere()) ? 'the registry has it' : undefined
}

/** Marks the blobs of a manifest that the registry holds; it checked each of them when it took the manifest. */
function provenBy(node: Node, graph: Graph, present: Map<Key, string>): void {
  for (const key of node.needs) {
    const needed = graph.nodes.get(key)
    // Registries do not ask for layers that are elsewhere by their URLs.
    if (needed?.kind === 'blob' && needed.leave === undefined && !isForeign(needed.descriptor) && !present.has(key))
      present.set(key, `checked by the registry when it took ${node.descriptor.digest}`)
  }
}
