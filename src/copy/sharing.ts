import type { Digest } from '../oci/digest.ts'
import { countBytes, type Plan, type Step } from './plan.ts'

/** A plan and where it leads. */
export type Placed = Readonly<{ plan: Plan; registry: string; repository: string }>

/**
 * Pure: what several images have in common moves once. In the order of the list, the first image that brings a blob to a
 * registry copies it, the others mount it from there, or find it there. Which of them is the first in fact may differ; the
 * blobs and bytes that move do not.
 */
export function shareOut(placed: readonly Placed[]): Plan[] {
  const homes = new Map<string, string>()
  return placed.map(({ plan, registry, repository }): Plan => {
    const steps = new Map([...plan.steps].map(([key, step]) => [key, shared(step, registry, repository, homes)]))
    return { ...plan, steps, bytes: countBytes(steps) }
  })
}

function shared(step: Step, registry: string, repository: string, homes: Map<string, string>): Step {
  const { node } = step
  if (node.kind !== 'blob' || step.do === 'skip') return step
  const digest: Digest = node.descriptor.digest
  const key = `${registry} ${digest}`
  const home = homes.get(key)
  if (home === undefined) homes.set(key, repository)
  if (home === undefined) return step
  if (home === repository) return { do: 'skip', node, why: 'another image of this run brings it' }
  return { do: 'mount', node, why: `same registry, mounted from ${home}, to which another image of this run brings it` }
}
