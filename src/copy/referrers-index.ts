import { PromoteError } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import { type Digest, referrersTag } from '../oci/digest.ts'
import { type Descriptor, linked } from '../oci/manifest.ts'
import { describeReferrer, extendIndex, referrersIn } from '../oci/referrer.ts'
import { notKept, ROUNDS, readTag } from './attached-tags.ts'
import { type CopyRun, inTurn } from './copy-run.ts'
import type { Graph } from './graph.ts'
import type { Semaphore } from './semaphore.ts'
import type { Target } from './store.ts'

/**
 * Where the registry has no referrers API, the client keeps an index of attachments under the tag `sha256-<hex>`
 * (distribution-spec, "Pushing Manifests with Subject"). Entries are added, and those of other clients stay.
 */
export async function updateReferrersIndexes(target: Target, graph: Graph, run: CopyRun): Promise<void> {
  if (target.listsReferrers === true) return
  for (const [subject, descriptors] of bySubject(graph)) {
    const merge = () => mergeIndex(target, subject, descriptors, run)
    await inTurn(run, `${target.name}:${referrersTag(subject)}`, merge)
  }
}

/** Whether the index of `subject` lists the attached manifest. True at registries that resolve the index's tag as a digest. */
export async function isIndexed(target: Target, subject: Digest, digest: Digest, semaphore: Semaphore) {
  const there = await readTag(target, referrersTag(subject), semaphore)
  if (there === undefined || there === 'unreadable') return false
  if (there.descriptor.digest === subject) return readsTagAsDigest(target, digest, semaphore)
  return referrersIn(there, subject)?.some((entry) => entry.digest === digest) ?? false
}

/** All manifests with a subject: attachments, and images that are attachments themselves. */
function bySubject({ nodes }: Graph): ReadonlyMap<Digest, readonly Descriptor[]> {
  const lists = new Map<Digest, Descriptor[]>()
  for (const { manifest, tag } of nodes.values()) {
    const [subject] = manifest === undefined ? [] : linked(manifest, 'subject')
    if (manifest === undefined || subject === undefined || tag !== undefined) continue
    getOrAdd(lists, subject.digest, () => []).push(describeReferrer(manifest))
  }
  return lists
}

async function mergeIndex(
  target: Target,
  subject: Digest,
  wanted: readonly Descriptor[],
  { semaphore }: CopyRun,
): Promise<void> {
  const tag = referrersTag(subject)
  const lacks = (list: readonly Descriptor[]) =>
    wanted.filter(({ digest }) => !list.some((entry) => entry.digest === digest))
  // No manifest with a subject was put, so it is not known yet whether the registry lists referrers itself.
  if (target.listsReferrers === undefined && lacks(await semaphore(() => target.referrers(subject))).length === 0)
    return
  for (let round = 0; ; round += 1) {
    const there = await readTag(target, tag, semaphore)
    const index = there === 'unreadable' ? undefined : there
    const listed = index === undefined ? [] : referrersIn(index, subject)
    if (there === 'unreadable' || listed === undefined) {
      const [first] = wanted
      const isSubject = index?.descriptor.digest === subject && first !== undefined
      if (!isSubject || !(await readsTagAsDigest(target, first.digest, semaphore))) throw taken(`${target.name}:${tag}`)
      // The registry does not show what the tag names, so the write cannot be checked.
      await semaphore(() => target.putManifest(extendIndex(undefined, wanted), tag))
      return
    }
    const missing = lacks(listed)
    if (missing.length === 0) return
    if (round >= ROUNDS) throw notKept(`${target.name}: the referrers index ${tag}`)
    await semaphore(() => target.putManifest(extendIndex(index, missing), tag))
  }
}

/** GitLab resolves the tag `sha256-HEX` as the digest `sha256:HEX`, for every manifest. */
async function readsTagAsDigest(target: Target, known: Digest, semaphore: Semaphore): Promise<boolean> {
  return (await semaphore(() => target.find(referrersTag(known))))?.digest === known
}

function taken(what: string): PromoteError {
  return new PromoteError('UNSUPPORTED', `${what} is not an index of referrers, and is left as it is`, {
    side: 'destination',
    hint: 'The registry lists signatures only under this tag. Remove the tag, or promote without them: referrers: false.',
  })
}
