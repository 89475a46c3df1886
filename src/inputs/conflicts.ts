import { quote } from '../core/text.ts'
import { formatReference, hostOf, type Reference, repositoryOn } from '../oci/reference.ts'
import type { Config } from './config.ts'
import type { InputReader } from './reader.ts'
import type { SideConfig } from './side.ts'

type Wishes = Pick<Config, 'images' | 'source' | 'destinations' | 'additionalTags'>

export function findConflicts(wishes: Wishes, inputs: InputReader): void {
  sameDestinations(wishes, inputs)
  duplicateDestinations(wishes, inputs)
  ontoThemselves(wishes, inputs)
  for (const side of ['source', 'destination'] as const) homeless(side, wishes, inputs)
}

/** Two destinations that are the same registry: everything would be written twice. */
function sameDestinations({ destinations }: Wishes, inputs: InputReader): void {
  for (const [index, destination] of destinations.entries()) {
    const home = homeOf(destination)
    const first = destinations.findIndex((each) => homeOf(each) === home)
    if (first < index && home !== destination.side)
      inputs.problem('destinations', `${destinations[first]?.name} and ${destination.name} are the same registry`)
  }
}

/** Two images with the same destination tag, additional tags included: the last one would overwrite the other. */
function duplicateDestinations({ images, destinations, additionalTags }: Wishes, inputs: InputReader): void {
  const times = new Map<string, number>()
  for (const pair of images) {
    for (const tag of [pair.destination.tag, ...additionalTags]) {
      const reference = { ...pair.destination, tag }
      const key = identity(reference, destinations[0])
      times.set(key, (times.get(key) ?? 0) + 1)
      if (times.get(key) !== 2) continue
      const problem = `${named(reference)} is the destination of more than one image or tag: each needs its own`
      inputs.problem(additionalTags.includes(tag) ? 'additional-tags' : 'images', problem)
    }
  }
}

function ontoThemselves({ images, source, destinations, additionalTags }: Wishes, inputs: InputReader): void {
  for (const pair of images) {
    if (pair.source.tag === undefined) continue
    const from = identity({ ...pair.source, tag: pair.source.tag }, source)
    const tags = [pair.destination.tag, ...additionalTags]
    const into = destinations.flatMap((to) => tags.map((tag) => identity({ ...pair.destination, tag }, to)))
    const problem = `${named(pair.source)} is source and destination on the same registry: one of them must differ`
    if (into.includes(from)) inputs.problem('images', problem)
  }
}

/** A reference without a host, on a side without a registry or a cluster. An option that is set but malformed was reported already. */
function homeless(side: 'source' | 'destination', { images }: Wishes, inputs: InputReader): void {
  const options = ['cluster', 'registry', 'kubeconfig', 'context'].map((name) => `${side}-${name}`)
  if (options.some((name) => inputs.has(name)) || (side === 'destination' && inputs.has('destinations'))) return
  const pair = images.find((each) => each[side].host === undefined && each[side].layout === undefined)
  const places = `${options[0]}, ${options[1]} or ${options[2]}, or write the registry's host in front of it`
  if (pair !== undefined) inputs.problem(`${side}-registry`, `where is ${named(pair[side])}? Set ${places}`)
}

function identity(reference: Reference, side: SideConfig | undefined): string {
  if (reference.layout !== undefined) return formatReference({ ...reference, digest: undefined })
  const host = reference.host ?? (side === undefined ? '' : homeOf(side))
  return `${hostOf(host)}/${repositoryOn(host, reference.repository)}:${reference.tag}`
}

function homeOf({ side, registry, cluster, kubeconfig, context }: SideConfig): string {
  if (registry !== undefined) return registry.host
  if (cluster !== undefined) return cluster.toString()
  if (kubeconfig === undefined && context === undefined) return side
  return `${typeof kubeconfig === 'object' ? kubeconfig.reveal() : kubeconfig}#${context ?? ''}`
}

function named(reference: Reference): string {
  return quote(formatReference(reference))
}
