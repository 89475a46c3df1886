import { readBlob } from '../copy/blob-reader.ts'
import { isPlatformConfig } from '../copy/graph.ts'
import { parseJson } from '../core/json.ts'
import type { Digest } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import type { Repository } from './repositories.ts'
import type { Run } from './run.ts'

/** OCI image-spec annotations.md. */
const CREATED = 'org.opencontainers.image.created'
/** No image is older: builds that are to be reproducible write 1970 or 1980. */
const EARLIEST = Date.UTC(2000)

/**
 * When the image of a tag was made (milliseconds since 1970; undefined where nothing tells). OpenShift tells when the tag
 * got the image. Elsewhere the manifest's annotation tells, or the image config: two requests, three for an index.
 */
export function createTimes({ store, cluster, path }: Repository, { copy: { semaphore } }: Run) {
  const known = new Map<Digest, Promise<number | undefined>>()
  const read = async ({ annotations, links }: Manifest, isChild = false): Promise<number | undefined> => {
    const stated = timeOf(annotations?.[CREATED])
    // Attestations have the platform unknown/unknown.
    const child = links.find(({ role, descriptor }) => role === 'child' && descriptor.platform?.os !== 'unknown')
    const config = links.find(({ role, descriptor }) => role === 'config' && isPlatformConfig(descriptor))?.descriptor
    if (stated !== undefined) return stated
    if (child !== undefined && !isChild) return read(await semaphore(() => store.manifest(child.descriptor)), true)
    return config && timeOf(Object(parseJson(await semaphore(() => readBlob(store, config), config.size))).created)
  }
  return async (tag: string): Promise<number | undefined> => {
    const stream = await cluster?.stream(path)
    if (stream !== undefined) return timeOf(stream.created.get(tag))
    const root = await semaphore(() => store.resolve(tag))
    const time = known.get(root.descriptor.digest) ?? read(root)
    known.set(root.descriptor.digest, time)
    return time
  }
}

function timeOf(stated: unknown): number | undefined {
  const time = typeof stated === 'string' ? Date.parse(stated) : stated
  return typeof time === 'number' && time >= EARLIEST ? time : undefined
}
