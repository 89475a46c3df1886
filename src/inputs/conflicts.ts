import { quote } from '../core/text.ts'
import { formatReference, hostOf, type Reference, repositoryOn } from '../oci/reference.ts'
import type { ImagePair, SideConfig } from './config.ts'
import type { Say } from './problems.ts'

export type Wishes = Readonly<{
  images: readonly ImagePair[]
  source: SideConfig
  destinations: readonly SideConfig[]
  additionalTags: readonly string[]
}>

/** Problems of several options together. */
export function findConflicts(wishes: Wishes, say: Say): void {
  sameDestinations(wishes, say)
  duplicateDestinations(wishes, say)
  ontoThemselves(wishes, say)
}

/** Two names for one place: everything would be written twice. */
function sameDestinations({ destinations }: Wishes, say: Say): void {
  const names = new Map<string, string>()
  for (const destination of destinations) {
    const home = homeOf(destination)
    const first = names.get(home)
    if (first === undefined) names.set(home, destination.name)
    else if (home !== destination.side) say('destinations', `${first} and ${destination.name} are the same registry`)
  }
}

/** Two images under one tag: the last one to arrive would win. Additional tags count. */
function duplicateDestinations({ images, destinations: [destination], additionalTags }: Wishes, say: Say): void {
  const seen = new Set<string>()
  const told = new Set<string>()
  for (const pair of images) {
    for (const tag of [pair.destination.tag, ...additionalTags]) {
      const reference = { ...pair.destination, tag }
      const key = identity(reference, destination)
      if (seen.has(key) && !told.has(key)) {
        const option = additionalTags.includes(tag) ? 'additional-tags' : 'images'
        say(option, `${named(reference)} is the destination of more than one image or tag: each needs its own`)
        told.add(key)
      }
      seen.add(key)
    }
  }
}

function ontoThemselves({ images, source, destinations, additionalTags }: Wishes, say: Say): void {
  for (const pair of images) {
    if (pair.source.tag === undefined) continue
    const from = identity({ ...pair.source, tag: pair.source.tag }, source)
    const tags = [pair.destination.tag, ...additionalTags]
    const into = destinations.flatMap((to) => tags.map((tag) => identity({ ...pair.destination, tag }, to)))
    if (into.includes(from))
      say('images', `${named(pair.source)} is source and destination on the same registry: one of them must differ`)
  }
}

/** For a side without registry and cluster: a reference without host has nowhere to be. */
export function findHomeless(images: Wishes['images'], side: 'source' | 'destination', say: Say): void {
  const homeless = images.find((pair) => pair[side].host === undefined && pair[side].layout === undefined)
  if (homeless === undefined) return
  const options = `${side}-cluster, ${side}-registry or ${side}-kubeconfig`
  say(
    `${side}-registry`,
    `where is ${named(homeless[side])}? Set ${options}, or write the registry's host in front of it`,
  )
}

function identity(reference: Reference, side: SideConfig | undefined): string {
  if (reference.layout !== undefined) return formatReference({ ...reference, digest: undefined })
  const host = reference.host ?? (side === undefined ? '' : homeOf(side))
  return `${hostOf(host)}/${repositoryOn(host, reference.repository)}:${reference.tag}`
}

/** The registry that references without host are at, or what leads to it. */
function homeOf({ side, registry, cluster, kubeconfig, context }: SideConfig): string {
  if (registry !== undefined) return registry.host
  if (cluster !== undefined) return cluster.toString()
  if (kubeconfig === undefined) return side
  return `${typeof kubeconfig === 'string' ? kubeconfig : kubeconfig.reveal()}#${context ?? ''}`
}

function named(reference: Reference): string {
  return quote(formatReference(reference))
}
