import { formatReference, hostOf, type Reference, repositoryOn } from '../oci/reference.ts'
import type { ImagePair, SideConfig } from './config.ts'
import { quote, type Say } from './problems.ts'

export type Wishes = Readonly<{
  images: readonly ImagePair[]
  source: SideConfig
  destination: SideConfig
  additionalTags: readonly string[]
}>

/** Problems of several options together. */
export function findConflicts(wishes: Wishes, say: Say): void {
  duplicateDestinations(wishes, say)
  ontoThemselves(wishes, say)
}

/** Two images under one tag: the last one to arrive would win. Additional tags count. */
function duplicateDestinations({ images, destination, additionalTags }: Wishes, say: Say): void {
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

function ontoThemselves({ images, source, destination, additionalTags }: Wishes, say: Say): void {
  for (const pair of images) {
    if (pair.source.tag === undefined) continue
    const from = identity({ ...pair.source, tag: pair.source.tag }, source)
    for (const tag of [pair.destination.tag, ...additionalTags]) {
      if (identity({ ...pair.destination, tag }, destination) !== from) continue
      say('images', `${named(pair.source)} is source and destination on the same registry: one of them must differ`)
      break
    }
  }
}

/** For a side without registry and cluster: a reference without host has nowhere to be. */
export function findHomeless(images: Wishes['images'], side: 'source' | 'destination', say: Say): void {
  const homeless = images.find((pair) => pair[side].host === undefined)
  if (homeless === undefined) return
  const options = `${side}-cluster, ${side}-registry or ${side}-kubeconfig`
  say(
    `${side}-registry`,
    `where is ${named(homeless[side])}? Set ${options}, or write the registry's host in front of it`,
  )
}

function identity(reference: Reference, side: SideConfig): string {
  const host = reference.host ?? homeOf(side)
  return `${hostOf(host)}/${repositoryOn(host, reference.repository)}:${reference.tag}`
}

/** The registry that references without host are at, or what leads to it. */
function homeOf({ side, registry, cluster, kubeconfig, context }: SideConfig): string {
  if (registry !== undefined) return registry.host
  if (cluster !== undefined) return cluster.toString()
  return kubeconfig === undefined ? side : `${kubeconfig}#${context ?? ''}`
}

function named(reference: Reference): string {
  return quote(formatReference(reference))
}
