import { PromoteError } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Descriptor, Manifest } from '../oci/manifest.ts'

/** The most that one image may consist of. Real images stay far below. The limits bound what a hostile registry can make us read. */
export const PER_IMAGE = {
  /** Bytes of all manifests. */
  bytes: 64 * 1024 * 1024,
  /** Children and attachments, counted each time that a manifest names them: several indexes may name the same children. */
  manifests: 10_000,
  /** Signatures, SBOMs and attestations, counted before the first of them is read. */
  referrers: 10_000,
  /** Descriptors in all manifests: in memory each is larger than its text. */
  links: 200_000,
} as const
/** The same for all images of a run, which are all known before the first one is copied. */
const PER_RUN = { bytes: 4 * PER_IMAGE.bytes, links: 4 * PER_IMAGE.links }

const NAMES = {
  manifests: `${PER_IMAGE.manifests} manifests`,
  bytes: '64 MiB of manifests',
  links: `${PER_IMAGE.links} layers and manifests`,
  referrers: `${PER_IMAGE.referrers} signatures and other referrers`,
}

/** What the graphs of a run hold. */
export type Held = { bytes: number; links: number }

export type Budget = ReturnType<typeof createBudget>

/**
 * Counts what one image consists of. Each method throws UNSUPPORTED when the image has exceeded its budget.
 * - `announce`, before manifests are read: counts the sizes in their descriptors. The bytes of a manifest count once.
 * - `count`, after a manifest was read: counts its descriptors, and its bytes if it was not announced.
 * - `referrers`, before they are read.
 * - `check`, before a request that may have waited while the budget was used up.
 * - `release`, when the image has failed: none of it is kept.
 * @param name of the source repository, for messages.
 */
export function createBudget(name: string, held: Held) {
  const announced = new Map<Digest, number>()
  const counted = new Set<Digest>()
  const used = { manifests: 0, bytes: 0, links: 0, referrers: 0 }
  const check = (): void => {
    for (const what of ['manifests', 'bytes', 'links', 'referrers'] as const)
      if (used[what] > PER_IMAGE[what])
        throw tooMuch(`${name}: the image and what is attached to it have more than ${NAMES[what]}.`)
    if (held.bytes > PER_RUN.bytes || held.links > PER_RUN.links)
      throw tooMuch(`${name}: the images of this run have more than 256 MiB of manifests or ${PER_RUN.links} layers.`)
  }
  const add = (what: keyof Held, amount: number): void => {
    used[what] += amount
    held[what] += amount
  }
  const announce = (descriptors: readonly Descriptor[]): void => {
    used.manifests += descriptors.length
    for (const { digest, size } of descriptors) {
      // A descriptor may have told a smaller size than the manifest has.
      const more = Math.max(0, size - (announced.get(digest) ?? 0))
      add('bytes', more)
      if (more > 0) announced.set(digest, size)
    }
    check()
  }
  return {
    announce,
    count: (manifest: Manifest): Manifest => {
      const { descriptor, links } = manifest
      if (counted.has(descriptor.digest)) return manifest
      counted.add(descriptor.digest)
      add('links', links.length)
      announce([descriptor])
      return manifest
    },
    referrers: (count: number): void => {
      used.referrers += count
      check()
    },
    check,
    release: (): void => {
      held.bytes -= used.bytes
      held.links -= used.links
      // Manifests that are still on their way are refused, and so not counted again.
      used.bytes = Number.POSITIVE_INFINITY
    },
  }
}

function tooMuch(message: string): PromoteError {
  const hint = 'Leave out what is attached with referrers: false, or promote fewer images or platforms in one run.'
  return new PromoteError('UNSUPPORTED', message, { side: 'source', hint })
}
