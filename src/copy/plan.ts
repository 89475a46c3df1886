import type { TagState } from '../oci/digest.ts'
import { linked } from '../oci/manifest.ts'
import { attachedThere, type TagDecision } from './attached-tags.ts'
import type { Bytes, PlannedStep, TagMove } from './events.ts'
import { type Graph, type Key, manifestKey, type Node } from './graph.ts'
import type { Survey } from './survey.ts'

export type Step = Readonly<{ do: 'skip' | 'mount' | 'copy' | 'push'; node: Node; why: string }>

export type Plan = Readonly<ReturnType<typeof makePlan>>

/** Pure: what a run will do, and why. */
export function makePlan(graph: Graph, survey: Survey, mountFrom: string | undefined) {
  const wanted = wantedNodes(graph, survey)
  const nodes = [...graph.nodes.values()].map((node) => (wanted.has(node.key) ? node : { leave: UNUSED, ...node }))
  const steps = new Map(nodes.map((node) => [node.key, stepFor(node, survey, mountFrom)]))
  const root = graph.root.descriptor.digest
  // OpenShift: the tag may be at an image that is only referred to. Written again, it names the stored one.
  const isStored = survey.present.has(`manifest ${root}`)
  const tags = [...survey.tags]
    .map(([tag, from]): TagMove => ({ tag, from, to: root }))
    .filter(({ from, to }) => from !== to || !isStored)
  return {
    graph,
    /** In upload order. */
    steps: steps as ReadonlyMap<Key, Step>,
    /** The tags that must be written, after all steps. */
    tags: tags as readonly TagMove[],
    /** The root is put by digest before its tag, because something is attached to it, or it is attached to something. */
    rootByDigest: graph.attached.length > 0 || linked(graph.root, 'subject').length > 0,
    bytes: countBytes(steps),
    /** What is attached to the image at the destination after the run. */
    attached: attachedThere(graph, survey.attachedTags),
    attachedTags: survey.attachedTags,
  }
}

/** The nodes that are needed. Parts of an attachment that is not copied, or that is there in another manifest, are not. */
function wantedNodes(graph: Graph, { attachedTags }: Survey): ReadonlySet<Key> {
  const wanted = new Set<Key>()
  const visit = (key: Key): void => {
    if (wanted.has(key)) return
    wanted.add(key)
    for (const need of attachedTags.get(key)?.needs ?? graph.nodes.get(key)?.needs ?? []) visit(need)
  }
  visit(manifestKey(graph.root.descriptor.digest))
  for (const { key, attachedTo } of graph.nodes.values()) if (attachedTo !== undefined) visit(key)
  return wanted
}

const UNUSED = 'part of an attachment that is not copied: its tag names something else at the destination'

function stepFor(node: Node, survey: Survey, mountFrom: string | undefined): Step {
  if (node.leave !== undefined) return { do: 'skip', node, why: node.leave }
  const decision = survey.attachedTags.get(node.key)
  if (decision !== undefined) return stepForTag(node, decision)
  const there = survey.present.get(node.key)
  if (there !== undefined) return { do: 'skip', node, why: there }
  // Some registries have what they do not show.
  const why = 'not seen at the destination'
  if (node.kind === 'manifest') return { do: 'push', node, why }
  return mountFrom === undefined
    ? { do: 'copy', node, why }
    : { do: 'mount', node, why: `same registry, mounted from ${mountFrom}` }
}

/** The step has the descriptor of the manifest that the tag will name: after a merge, that is another one than the source's. */
function stepForTag(node: Node, { state, manifest, why }: TagDecision): Step {
  if (state === 'kept') return { do: 'skip', node: { ...node, leave: why }, why }
  const there = { ...node, descriptor: manifest?.descriptor ?? node.descriptor }
  return { do: state === 'write' ? 'push' : 'skip', node: there, why }
}

/** Nodes that are left out do not count. */
function countBytes(steps: ReadonlyMap<Key, Step>): Bytes {
  const bytes = { total: 0, copied: 0, mounted: 0, present: 0 }
  for (const step of steps.values()) {
    if (step.node.leave !== undefined) continue
    const { size } = step.node.descriptor
    bytes.total += size
    if (step.do === 'skip') bytes.present += size
    else if (step.do === 'mount') bytes.mounted += size
    else bytes.copied += size
  }
  return bytes
}

type Routed = Readonly<{ plan: Plan; route: Readonly<{ registry: string; repository: string }> }>

/**
 * Pure: what several images have in common moves once. The first image of the list that brings a blob to a registry copies
 * it, the others mount it or find it there. In the run another image may be first; the blobs and bytes that move are the same.
 */
export function shareOut<T extends Routed>(images: readonly T[]): T[] {
  const mountSources = new Map<string, string>()
  return images.map((image): T => {
    const { plan, route } = image
    const steps = new Map(
      [...plan.steps].map(([key, step]) => [key, shared(step, route.registry, route.repository, mountSources)]),
    )
    return { ...image, plan: { ...plan, steps, bytes: countBytes(steps) } }
  })
}

function shared(step: Step, registry: string, repository: string, mountSources: Map<string, string>): Step {
  const { node } = step
  if (node.kind !== 'blob' || step.do === 'skip') return step
  const key = `${registry} ${node.descriptor.digest}`
  const mountSource = mountSources.get(key)
  if (mountSource === undefined) {
    mountSources.set(key, repository)
    return step
  }
  if (mountSource === repository) return { do: 'skip', node, why: 'another image of this run brings it' }
  return {
    do: 'mount',
    node,
    why: `same registry, mounted from ${mountSource}, to which another image of this run brings it`,
  }
}

export function isUnchanged(plan: Plan): boolean {
  return plan.tags.length === 0 && [...plan.steps.values()].every((step) => step.do === 'skip')
}

/** The plan as plain data, for events and the dry run. */
export function plannedSteps(plan: Plan): PlannedStep[] {
  const steps = [...plan.steps.values()].map(({ do: what, node, why }): PlannedStep => {
    const { digest, mediaType, size } = node.descriptor
    return { do: what, digest, kind: node.kind, mediaType, size, why }
  })
  const { digest, mediaType, size } = plan.graph.root.descriptor
  const tags = plan.tags.map(({ tag, from, to }): PlannedStep => {
    const why = from === to ? 'written again, because nothing shows that it is stored here' : movedFrom(from)
    return { do: 'tag', digest, kind: 'manifest', mediaType, size, why: `${tag}: ${why}` }
  })
  return [...steps, ...tags]
}

function movedFrom(from: TagState): string {
  if (from === 'unknown') return 'where it is now could not be read'
  return from === null ? 'new tag' : `now at ${from}`
}
