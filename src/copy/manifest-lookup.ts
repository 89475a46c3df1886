import { ignoreUnhandled } from '../core/async.ts'
import { getOrAdd } from '../core/memo.ts'
import type { Digest, TagState } from '../oci/digest.ts'
import type { Descriptor } from '../oci/manifest.ts'
import type { Semaphore } from './semaphore.ts'
import type { Target } from './store.ts'

/** A repository at a destination, with the state of the tags that are to be written. */
export type Place = Readonly<{
  target: Target
  tags: ReadonlyMap<string, TagState>
}>

/**
 * Finds out which manifests a destination stores. Each one is asked for once. `discover` asks while it reads the manifest at
 * the source, so that both answers arrive in the same round trip.
 */
export class ManifestLookup {
  readonly #place: Promise<Place>
  readonly #semaphore: Semaphore
  readonly #answers = new Map<Digest, Promise<string | undefined>>()

  /** @param place that may still be opening: questions wait for it. */
  constructor(place: Promise<Place>, semaphore: Semaphore) {
    this.#place = place
    this.#semaphore = semaphore
  }

  /** @returns why the manifest is known to be stored; undefined when it is not known. */
  ask(manifest: Descriptor): Promise<string | undefined> {
    return getOrAdd(this.#answers, manifest.digest, () => ignoreUnhandled(this.#find(manifest)))
  }

  async #find(manifest: Descriptor): Promise<string | undefined> {
    const { target, tags } = await this.#place
    const tag = [...tags].find(([, digest]) => digest === manifest.digest)?.[0]
    const byTag = tag && `tag ${tag} is already at this digest`
    const evidence = await target.evidence?.()
    if (byTag !== undefined && evidence === undefined) return byTag
    const isListed = (await target.inventory())?.has(manifest.digest) === true
    const isStored = isListed || (await this.#semaphore(() => target.has(manifest, 'manifest')))
    if (!isStored) return undefined
    return byTag ?? (isListed ? 'in the inventory of the image stream' : 'the registry has it')
  }
}
