import type { EmbeddedCluster } from '../support/cluster/cluster.ts'
import type { BuiltImage } from '../support/cluster/image.ts'
import type { EmbeddedRegistry } from '../support/cluster/plain.ts'
import type { Storage } from '../support/cluster/storage.ts'
import type { Variables } from './run.ts'

/** Options of a promotion by name, as every host has them: `INPUT_…` on GitHub, `IMAGE_PROMOTE_…` elsewhere. */

/** Options of one side without its name: `cluster`, `username`, … */
export type SideOptions = Readonly<Record<string, string>>

export function byPassword({ api, users, ca }: EmbeddedCluster, username = 'developer'): SideOptions {
  return { cluster: api.origin, username, password: users[username] ?? '', ca: ca.bundle }
}

export function byToken({ api, ca }: EmbeddedCluster, token: string): SideOptions {
  return { cluster: api.origin, token, ca: ca.bundle }
}

export function at({ url }: EmbeddedRegistry, more: SideOptions = {}): SideOptions {
  return { registry: url.origin, ...more }
}

export function options(source: SideOptions, destination: SideOptions, more: Variables = {}): Variables {
  const named = (side: string, given: SideOptions): [string, string][] =>
    Object.entries(given).map(([name, value]) => [`${side}-${name}`, value])
  const sides = [...named('source', source), ...named('destination', destination)]
  return { ...Object.fromEntries(sides), ...more }
}

/** For every host but GitHub. */
export function variables(given: Variables): Variables {
  const variable = (name: string) => `IMAGE_PROMOTE_${name.toUpperCase().replaceAll('-', '_')}`
  return Object.fromEntries(Object.entries(given).map(([name, value]): [string, string] => [variable(name), value]))
}

/** What of an image a registry lacks or holds differently, byte for byte, below its API. Empty: all of it is there. */
export async function differences(
  { store }: Readonly<{ store: Storage }>,
  path: string,
  image: BuiltImage,
): Promise<string[]> {
  const repository = store.repositories.get(path)
  const wrong: string[] = []
  for (const { digest, bytes, mediaType } of image.manifests) {
    const there = repository?.manifests.get(digest)
    if (there?.mediaType !== mediaType || !Buffer.from(there.bytes).equals(bytes)) wrong.push(digest)
  }
  for (const [digest, bytes] of image.blobs) {
    const blob = repository?.blobs.has(digest) ? store.blobs.get(digest) : undefined
    const content: Uint8Array[] = []
    if (blob !== undefined) for await (const chunk of blob.read(0, blob.size)) content.push(chunk)
    if (!Buffer.concat(content).equals(bytes)) wrong.push(digest)
  }
  return wrong
}

/** Digest that a tag has at the destination, if it exists: image streams know for a cluster, the store for others. */
export function tagOf(to: EmbeddedCluster | EmbeddedRegistry, path: string, tag: string): string | undefined {
  if ('tags' in to) return to.tags(path).get(tag)
  const [namespace = '', name = ''] = path.split('/')
  return to.state.streams.resolve(namespace, name, tag)
}

/** Requests that changed something or tried to. */
export function writes(requests: readonly Readonly<{ method: string; path: string }>[]): string[] {
  return requests
    .filter(({ method }) => !['GET', 'HEAD'].includes(method))
    .map(({ method, path }) => `${method} ${path.split('?')[0]}`)
}
