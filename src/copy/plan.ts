import type { Digest } from '../oci/digest.ts'
import type { Bytes, PlannedStep, PlannedTag } from '../report/model.ts'
import type { Graph, Key, Node } from './graph.ts'
import type { Survey } from './survey.ts'

export type Step = Readonly<{ do: 'skip' | 'mount' | 'copy' | 'push'; node: Node; why: string }>

export type Plan = Readonly<{
  graph: Graph
  /** In upload order. */
  steps: ReadonlyMap<Key, Step>
  /** Tags that have to be written, root last of all. */
  tags: readonly PlannedTag[]
  /** The root must be there by digest before its tag: something is attached to it, or it to something. */
  rootByDigest: boolean
  /** False: steps `copy` and `mount` ask before they send. */
  certain: boolean
  bytes: Bytes
}>

/** Pure: what a run will do, and why. A dry run prints exactly this. */
export function makePlan(graph: Graph, survey: Survey, mountFrom: string | undefined): Plan {
  const steps = new Map<Key, Step>()
  for (const node of graph.nodes.values()) steps.set(node.key, stepFor(node, survey, mountFrom))
  const root = graph.root.descriptor.digest
  const tags = [...survey.tags]
    .map(([tag, from]): PlannedTag => ({ tag, from, to: root }))
    .filter(({ from, to }) => from !== to)
  return {
    graph,
    steps,
    tags,
    rootByDigest: graph.attached.length > 0 || graph.root.links.some((link) => link.role === 'subject'),
    certain: survey.exhaustive,
    bytes: countBytes(steps),
  }
}

function stepFor(node: Node, survey: Survey, mountFrom: string | undefined): Step {
  if (node.leave !== undefined) return { do: 'skip', node, why: node.leave }
  const there = survey.present.get(node.key)
  if (there !== undefined) return { do: 'skip', node, why: there }
  const why = survey.exhaustive ? 'not at the destination' : 'not seen at the destination'
  if (node.kind === 'manifest') return { do: 'push', node, why }
  return mountFrom === undefined
    ? { do: 'copy', node, why }
    : { do: 'mount', node, why: `same registry, mounted from ${mountFrom}` }
}

/** What is left out does not count: it is neither there nor coming. */
export function countBytes(steps: ReadonlyMap<Key, Step>): Bytes {
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
  const tags = plan.tags.map(
    ({ tag, from }): PlannedStep => ({
      do: 'tag',
      digest,
      kind: 'manifest',
      mediaType,
      size,
      why: `${tag}: ${movedFrom(from)}`,
    }),
  )
  return [...steps, ...tags]
}

function movedFrom(from: Digest | null): string {
  return from === null ? 'new tag' : `now at ${from}`
}
