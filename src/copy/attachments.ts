import type { Digest } from '../oci/digest.ts'
import { type Descriptor, linked, type Manifest } from '../oci/manifest.ts'
import { attachedTags, describeReferrer } from '../oci/referrer.ts'
import { type Budget, createBudget } from './budget.ts'
import type { Attached } from './events.ts'
import { leaveMissing } from './failures.ts'
import type { Semaphore } from './semaphore.ts'
import type { Source } from './store.ts'

/** A signature, attestation or SBOM of a manifest. It names its `subject` (OCI 1.1), or has a tag made from the digest (cosign). */
export type Attachment = Readonly<{ manifest: Manifest; subject: Digest; artifactType: string; tag?: string }> &
  Readonly<{ isLeft: boolean }> // not in the approved plan: a policy is asked of it, and it is not copied

/** What an approved plan lists as attached. `warn` is told what is not in it, which is read where it is judged. */
export type ApprovedAttachments = Readonly<{
  attached: readonly Attached[]
  judged: boolean
  warn: (text: string) => void
}>

/** What may be attached to a manifest, before it was read. */
type Candidate = Pick<Descriptor, 'digest' | 'artifactType'> & Readonly<{ tag?: string; read: () => Promise<Manifest> }>

/**
 * Finds what is attached to a manifest of `source`: its referrers, and the three tags of cosign's scheme. Each tag is asked
 * for by name. A list of tags does not prove that one is absent: a proxy lists only what it has cached.
 * @param approved what is in the plan is read by digest, because its tag may be at another manifest now.
 */
export function createFinder(
  source: Source,
  semaphore: Semaphore,
  skipMissing: boolean,
  budget: Budget,
  approved?: ApprovedAttachments,
): (subject: Digest) => Promise<Attachment[]> {
  const planned = new Set(approved?.attached.map(({ digest }) => digest))
  const isMeant = (subject: Digest, { digest }: Candidate): boolean => {
    if (approved === undefined) return true
    if (planned.has(digest)) return false
    approved.warn(`${source.name}: ${digest}, listed as attached to ${subject}, is not in the plan: not promoted`)
    return approved.judged
  }
  /** A list may name manifests that were deleted since. */
  const read = async (subject: Digest, { digest, artifactType, tag, read }: Candidate): Promise<Attachment[]> => {
    const what = tag ?? digest
    const manifest = await semaphore(read).then(budget.count, (thrown: unknown) =>
      leaveMissing(thrown, skipMissing, `${source.name}: ${what} is attached to ${subject}`, {
        message: `${source.name}: ${what}, attached to ${subject}, is listed and not there`,
        hint: approved ? PLAN_AGAIN : LEAVE_OUT,
      }),
    )
    const named = manifest && linked(manifest, 'subject')[0]
    // Anyone with the right to push can write the list of a fallback tag. Only the manifest itself is trusted.
    if (manifest === undefined || (tag === undefined && named?.digest !== subject)) return []
    const isLeft = approved !== undefined && !planned.has(digest)
    return [{ manifest, subject, artifactType: artifactType ?? typeOf(manifest), isLeft, ...(tag && { tag }) }]
  }
  const readAll = async (subject: Digest, candidates: Promise<Candidate[]>) =>
    Promise.all((await candidates).filter((each) => isMeant(subject, each)).map((each) => read(subject, each)))
  return async (subject) => {
    const listed = semaphore(() => source.referrers(subject)).then((list) => {
      budget.referrers(list.length)
      budget.announce(list)
      return list.map((each): Candidate => ({ ...each, read: () => source.manifest(each) }))
    })
    const tagged = attachedTags(subject).map(async (tag): Promise<Candidate[]> => {
      const found = await semaphore(() => source.find(tag))
      return found === undefined ? [] : [{ digest: found.digest, tag, read: () => source.resolve(tag) }]
    })
    const own = (approved?.attached ?? []).filter((each) => each.subject === subject)
    const fromPlan = own.map(({ digest, tag }) =>
      read(subject, { digest, ...(tag && { tag }), read: () => source.resolve(digest) }),
    )
    const found = await Promise.all([listed, ...tagged].map((candidates) => readAll(subject, candidates)))
    return [...found.flat(2), ...(await Promise.all(fromPlan)).flat()]
  }
}

/** The finder for what a destination has: its form is that of evidence. What was deleted meanwhile is left out. */
export function attachmentsAt(store: Source, semaphore: Semaphore) {
  const find = createFinder(store, semaphore, true, createBudget(store.name, { bytes: 0, links: 0 }))
  return async (subject: Digest) => (await find(subject)).map(({ manifest, tag = null }) => ({ manifest, tag }))
}

export const PLAN_AGAIN = 'Plan again, and have the new plan approved.'
const LEAVE_OUT = 'Leave out what is not there with skip-missing, or everything that is attached with referrers: false.'

function typeOf(manifest: Manifest): string {
  return describeReferrer(manifest).artifactType ?? manifest.descriptor.mediaType
}
