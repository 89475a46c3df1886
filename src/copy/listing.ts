import { PromoteError } from '../errors.ts'
import { type Digest, referrersTag } from '../oci/digest.ts'
import { type Descriptor, type Manifest, MEDIA_TYPE, readManifest } from '../oci/manifest.ts'
import type { Target } from '../store/store.ts'
import type { Shared } from './execute.ts'
import type { Plan } from './plan.ts'

/** How often the fallback index is merged again when somebody else wrote it in between. */
const ROUNDS = 3

/**
 * Registries without the referrers API (OpenShift's, Docker's) find attachments through an index under the tag
 * `sha256-<hex>`, which the client keeps (distribution-spec, "Pushing Manifests with Subject"). It is merged with what
 * is there, never replaced: signatures made at the destination stay listed.
 */
export async function keepListed(target: Target, plan: Plan, shared: Shared): Promise<void> {
  if (target.listsReferrers === true) return
  for (const [subject, descriptors] of bySubject(plan)) {
    await shared.permits(() => mergeIndex(target, subject, [...descriptors.values()]))
  }
}

/** Whatever is written and says what it is about: attachments, and images that are attachments themselves. */
function bySubject(plan: Plan): Map<Digest, Map<Digest, Descriptor>> {
  const lists = new Map<Digest, Map<Digest, Descriptor>>()
  for (const { manifest } of plan.graph.nodes.values()) {
    const subject = manifest?.links.find((link) => link.role === 'subject')?.descriptor.digest
    if (manifest === undefined || subject === undefined) continue
    const { mediaType, size, digest } = manifest.descriptor
    const config = manifest.links.find((link) => link.role === 'config')?.descriptor.mediaType
    const artifactType = manifest.artifactType ?? config
    const list = lists.get(subject) ?? new Map<Digest, Descriptor>()
    const { annotations } = manifest
    list.set(digest, {
      mediaType,
      digest,
      size,
      ...(artifactType && { artifactType }),
      ...(annotations && { annotations }),
    })
    lists.set(subject, list)
  }
  return lists
}

async function mergeIndex(target: Target, subject: Digest, wanted: readonly Descriptor[]): Promise<void> {
  const tag = referrersTag(subject)
  for (let round = 0; round < ROUNDS; round += 1) {
    const there = await target.referrers(subject)
    const missing = wanted.filter((descriptor) => !there.some(({ digest }) => digest === descriptor.digest))
    if (missing.length === 0) return
    await target.putManifest(indexOf([...there, ...missing]), tag)
  }
  throw new PromoteError('PROTOCOL', `${target.name}: the referrers index ${tag} does not keep what is written to it`, {
    side: 'destination',
    hint: 'Another client may be writing it at the same time: run the promotion again.',
  })
}

function indexOf(manifests: readonly Descriptor[]): Manifest {
  const document = { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests }
  return readManifest(Buffer.from(JSON.stringify(document)), MEDIA_TYPE.ociIndex)
}
