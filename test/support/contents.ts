import type { Digest } from '../../src/oci/digest.ts'
import type { PlannedImage } from '../../src/report/model.ts'
import type { EmbeddedCluster } from './cluster/cluster.ts'
import type { EmbeddedRegistry } from './cluster/plain.ts'

/** What is at a destination, and what a plan says will be there: in the same words, so that the two can be compared. */

/** `blob|manifest|tag repository[:tag] digest`, of the repositories whose path has `part` in it. */
export function contentsOf(target: EmbeddedRegistry | EmbeddedCluster, part: string): ReadonlySet<string> {
  const found: string[] = []
  for (const [path, { blobs, manifests, tags }] of target.store.repositories) {
    if (!path.includes(part)) continue
    found.push(...[...blobs].map((digest) => `blob ${path} ${digest}`))
    found.push(...[...manifests.keys()].map((digest) => `manifest ${path} ${digest}`))
    if ('tags' in target) found.push(...[...tags].map(([tag, digest]) => `tag ${path}:${tag} ${digest}`))
  }
  if ('tags' in target) return new Set(found)
  for (const { namespace, name, tags } of target.state.streams.list('prod')) {
    if (!name.includes(part)) continue
    for (const [tag, [event]] of tags) found.push(`tag ${namespace}/${name}:${tag} ${event?.image}`)
  }
  return new Set(found)
}

/** What the plans say that will be new. */
export function promised(plans: readonly PlannedImage[]): Set<string> {
  return new Set(
    plans.flatMap(({ destination, steps, tags }) => {
      const path = pathOf(destination)
      const moved = steps.flatMap(({ do: what, kind, digest }) =>
        ['copy', 'mount', 'push'].includes(what) ? [`${kind} ${path} ${digest}`] : [],
      )
      return [...moved, ...tags.map(({ tag, to: digest }) => `tag ${path}:${tag} ${digest}`)]
    }),
  )
}

/** `host/path:tag` → `path`. */
export function pathOf(destination: string): string {
  return destination.slice(destination.indexOf('/') + 1, destination.lastIndexOf(':'))
}

export function digestsIn(bytes: Uint8Array): Digest[] {
  const text = Buffer.from(bytes).toString('utf8')
  return [...text.matchAll(/sha256:[0-9a-f]{64}/g)].map(([digest]) => digest as Digest)
}
