import type { Digest } from '../oci/digest.ts'
import { type Descriptor, linked, type Manifest } from '../oci/manifest.ts'
import { attachedTags, describeReferrer } from '../oci/referrer.ts'
import { type Budget, createBudget } from './budget.ts'
import { leaveMissing } from './failures.ts'
import type { Semaphore } from './semaphore.ts'
import type { Source } from './store.ts'

/** A signature, attestation or SBOM of a manifest. It names its `subject` (OCI 1.1), or has a tag made from the digest (cosign). */
export type Attachment = Readonly<{ manifest: Manifest; subject: Digest; artifactType: string; tag?: string }>

/**
 * Finds what is attached to a manifest of `source`: its referrers, and the three tags of cosign's scheme. Each tag is asked
 * for by name. A list of tags does not prove that one is absent: a proxy lists only what it has cached.
 */
export function createFinder(
  source: Source,
  semaphore: Semaphore,
  skipMissing: boolean,
  budget: Budget,
): (subject: Digest) => Promise<Attachment[]> {
  /** A list may name manifests that were deleted since. */
  const read: Read = (subject, what, work) =>
    semaphore(work).then(budget.count, (thrown: unknown) =>
      leaveMissing(thrown, skipMissing, `${source.name}: ${what} is attached to ${subject}`, {
        message: `${source.name}: ${what}, attached to ${subject}, is listed and not there`,
        hint: 'Leave out what is not there with skip-missing, or everything that is attached with referrers: false.',
      }),
    )
  return async (subject) => {
    const [referrers, tagged] = await Promise.all([
      semaphore(() => source.referrers(subject)).then((list) => {
        budget.referrers(list.length)
        budget.announce(list)
        return readReferrers(source, subject, list, read)
      }),
      readTagged(source, subject, semaphore, read),
    ])
    return [...referrers, ...tagged]
  }
}

/** The finder for what a destination has: its form is that of evidence. What was deleted meanwhile is left out. */
export function attachmentsAt(store: Source, semaphore: Semaphore) {
  const find = createFinder(store, semaphore, true, createBudget(store.name, { bytes: 0, links: 0 }))
  return async (subject: Digest) => (await find(subject)).map(({ manifest, tag = null }) => ({ manifest, tag }))
}

type Read = (subject: Digest, what: string, work: () => Promise<Manifest>) => Promise<Manifest | undefined>

async function readReferrers(
  source: Source,
  subject: Digest,
  list: readonly Descriptor[],
  read: Read,
): Promise<Attachment[]> {
  const found = await Promise.all(
    list.map(async (descriptor): Promise<Attachment[]> => {
      const manifest = await read(subject, descriptor.digest, () => source.manifest(descriptor))
      const named = manifest && linked(manifest, 'subject')[0]
      // Anyone with the right to push can write the list of a fallback tag. Only the manifest itself is trusted.
      if (manifest === undefined || named?.digest !== subject) return []
      return [{ manifest, subject, artifactType: descriptor.artifactType ?? typeOf(manifest) }]
    }),
  )
  return found.flat()
}

async function readTagged(source: Source, subject: Digest, semaphore: Semaphore, read: Read): Promise<Attachment[]> {
  const found = await Promise.all(
    attachedTags(subject).map(async (tag): Promise<Attachment[]> => {
      if ((await semaphore(() => source.find(tag))) === undefined) return []
      const manifest = await read(subject, tag, () => source.resolve(tag))
      return manifest === undefined ? [] : [{ manifest, subject, artifactType: typeOf(manifest), tag }]
    }),
  )
  return found.flat()
}

function typeOf(manifest: Manifest): string {
  return describeReferrer(manifest).artifactType ?? manifest.descriptor.mediaType
}
