/** How signatures, SBOMs and attestations are attached to a manifest: tag names, and the referrers index. */
import { type Digest, referrersTag } from './digest.ts'
import { type Descriptor, linked, type Manifest, MEDIA_TYPE, readManifest } from './manifest.ts'

/** cosign's tag scheme: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md */
const ATTACHED_TAG = /^sha(?:256|512)-[0-9a-f]{64}\.(?:sig|att|sbom)$/

/** `sha256-HEX.sig`, `.att` and `.sbom` of a manifest. */
export function attachedTags(subject: Digest): readonly string[] {
  return ['sig', 'att', 'sbom'].map((suffix) => `${referrersTag(subject)}.${suffix}`)
}

export function isAttachedTag(tag: string): boolean {
  return ATTACHED_TAG.test(tag)
}

/**
 * The entries of the manifest under the tag `sha256-HEX`, if it is the referrers index of `subject` (distribution-spec
 * "Referrers Tag Schema"). Undefined if it is the subject itself (GitLab reads such a tag as the digest), another image, or
 * an index of platforms.
 */
export function referrersIn(index: Manifest, subject: Digest): readonly Descriptor[] | undefined {
  const { descriptor, links, shape } = index
  const isIndex = shape === 'index' && descriptor.mediaType === MEDIA_TYPE.ociIndex
  const isImage = links.some((link) => link.role !== 'child' || link.descriptor.platform !== undefined)
  if (!isIndex || isImage || descriptor.digest === subject) return undefined
  return links.map((link) => link.descriptor)
}

/** The entry of a manifest in a list of referrers: distribution-spec "Listing Referrers". */
export function describeReferrer({ descriptor, artifactType, annotations, links }: Manifest): Descriptor {
  const { mediaType, digest, size } = descriptor
  const type = artifactType ?? linked({ links }, 'config')[0]?.mediaType
  return { mediaType, digest, size, ...(type && { artifactType: type }), ...(annotations && { annotations }) }
}

/** A new index, or a copy of `index` with more entries. All other members stay. */
export function extendIndex(index: Manifest | undefined, entries: readonly Descriptor[]): Manifest {
  const document = index === undefined ? { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex } : documentOf(index)
  return sealed({ ...document, manifests: [...listOf(document, 'manifests'), ...entries] }, MEDIA_TYPE.ociIndex)
}

/** The whole document, with the members that `Manifest` leaves out. */
export function documentOf({ bytes }: Manifest): object {
  return JSON.parse(Buffer.from(bytes).toString('utf8'))
}

export function listOf(document: object, member: 'layers' | 'manifests'): readonly unknown[] {
  return (document as Readonly<Record<string, readonly unknown[] | null | undefined>>)[member] ?? []
}

/** The manifest with this document. */
export function sealed(document: object, mediaType: string): Manifest {
  return readManifest(Buffer.from(JSON.stringify(document)), mediaType)
}
