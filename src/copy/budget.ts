import { PromoteError } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Descriptor, Manifest } from '../oci/manifest.ts'

/** What one image may consist of. Real ones stay far below; these bound what a hostile registry can make us ask for and keep. */
export const PER_IMAGE = {
  /** Bytes of all manifests. */
  bytes: 64 * 1024 * 1024,
  /** Children and everything that is attached, each time that something names them: indexes may fan out to the same children. */
  manifests: 10_000,
  /** Signatures, SBOMs and attestations, counted before the first of them is read. */
  referrers: 10_000,
  /** Descriptors in all manifests: each takes more memory than its text. */
  links: 200_000,
} as const
/** Bytes and descriptors of all images of a run, which are known before the first one is copied. */
const PER_RUN = { bytes: 4 * PER_IMAGE.bytes, links: 4 * PER_IMAGE.links }

/** What the graphs of a run hold. */
export type Held = { bytes: number; links: number }

/** Each method throws UNSUPPORTED once the image has more than its budget, also whenever it is asked again. */
export interface Budget {
  /** Before they are read: the bytes that their descriptors announce. The bytes of a manifest count once. */
  announce(descriptors: readonly Descriptor[]): void
  /** After the manifest was read: its descriptors, and its bytes if it was not announced. */
  count(this: void, manifest: Manifest): Manifest
  /** Before they are read: so many more referrers. */
  referrers(count: number): void
  /** Before a request, which may have waited while the budget was used up. */
  check(): void
  /** The image has failed: nothing of it is kept. */
  release(): void
}

/** @param name of the source repository, for messages. */
export function createBudget(name: string, held: Held): Budget {
  const announced = new Map<Digest, number>()
  const counted = new Set<Digest>()
  const used = { bytes: 0, links: 0, referrers: 0, manifests: 0 }
  const exceeded = (what: string, whole?: string) => tooMuch(name, what, whole)
  const check = (): void => {
    if (used.manifests > PER_IMAGE.manifests) throw exceeded(`${PER_IMAGE.manifests} manifests`)
    if (used.bytes > PER_IMAGE.bytes) throw exceeded('64 MiB of manifests')
    if (used.links > PER_IMAGE.links) throw exceeded(`${PER_IMAGE.links} layers and manifests`)
    if (used.referrers > PER_IMAGE.referrers) throw exceeded(`${PER_IMAGE.referrers} signatures and other referrers`)
    if (held.bytes > PER_RUN.bytes || held.links > PER_RUN.links)
      throw exceeded('256 MiB of manifests or 800000 layers', 'the images of this run have')
  }
  const add = (what: keyof Held, amount: number): void => {
    used[what] += amount
    held[what] += amount
  }
  const announce = (descriptors: readonly Descriptor[]): void => {
    used.manifests += descriptors.length
    for (const { digest, size } of descriptors) {
      // What points at a manifest may have named a smaller size than it has.
      const more = size - (announced.get(digest) ?? 0)
      if (more > 0) add('bytes', more)
      if (more > 0) announced.set(digest, size)
    }
    check()
  }
  return {
    announce,
    count(manifest) {
      const { descriptor, links } = manifest
      if (counted.has(descriptor.digest)) return manifest
      counted.add(descriptor.digest)
      add('links', links.length)
      announce([descriptor])
      return manifest
    },
    referrers(count) {
      used.referrers += count
      check()
    },
    check,
    release() {
      held.bytes -= used.bytes
      held.links -= used.links
      // What is still on its way is not counted again.
      used.bytes = Number.POSITIVE_INFINITY
    },
  }
}

function tooMuch(name: string, what: string, whole = 'the image and what is attached to it have'): PromoteError {
  return new PromoteError('UNSUPPORTED', `${name}: ${whole} more than ${what}.`, {
    side: 'source',
    hint: 'Leave out what is attached with referrers: false, or promote fewer images or platforms in one run.',
  })
}
