/** How signatures, SBOMs and attestations are attached to a manifest: tag names, the referrers index, and their merging. */
import { type Digest, referrersTag } from './digest.ts'
import { type Descriptor, linked, type Manifest, MEDIA_TYPE, readManifest } from './manifest.ts'

/** cosign's tag scheme: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md */
const ATTACHED_TAG = /^sha(?:256|512)-[0-9a-f]{64}\.(?:sig|att|sbom)$/

/** Layers of a container image (OCI image-spec layer.md, docker schema 2). A signature has no such layer. */
const IMAGE_LAYER = /^application\/vnd\.(?:oci\.image\.layer\.|docker\.image\.rootfs\.)/

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

export type Merged = Readonly<{
  manifest: Manifest
  /** Layers of `ours` that `theirs` lacks. */
  added: ReadonlySet<Digest>
}>

/**
 * Merges two manifests of signatures: the layers of `theirs`, then the layers of `ours` that are missing. Two layers are the
 * same if digest and annotations are equal, because two signatures may have the same payload. All other members, also the
 * config, are those of `theirs`.
 * @returns undefined if one of the two is not a manifest of signatures, but an image or an index.
 */
export function mergeSignatures(theirs: Manifest, ours: Manifest): Merged | undefined {
  if (!holdsSignatures(theirs) || !holdsSignatures(ours)) return undefined
  const document = documentOf(theirs)
  const layers = listOf(document, 'layers') as readonly Layer[]
  const known = new Set(layers.map(identityOf))
  const missing = (listOf(documentOf(ours), 'layers') as readonly Layer[]).filter((layer) => {
    const identity = identityOf(layer)
    return !known.has(identity) && known.add(identity)
  })
  if (missing.length === 0) return { manifest: theirs, added: new Set() }
  const manifest = sealed({ ...document, layers: [...layers, ...missing] }, theirs.descriptor.mediaType)
  return { manifest, added: new Set(missing.map(({ digest }) => digest)) }
}

type Layer = Readonly<{ digest: Digest; annotations?: object | null }>

function holdsSignatures({ shape, descriptor, links }: Manifest): boolean {
  const layers = linked({ links }, 'layer')
  const isKnown = shape === 'image' && descriptor.mediaType !== MEDIA_TYPE.ociArtifact
  return isKnown && !layers.some((layer) => IMAGE_LAYER.test(layer.mediaType))
}

function identityOf({ digest, annotations }: Layer): string {
  return JSON.stringify([digest, Object.entries(annotations ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))])
}

/** The whole document, with the members that `Manifest` leaves out. */
function documentOf({ bytes }: Manifest): object {
  return JSON.parse(Buffer.from(bytes).toString('utf8'))
}

function listOf(document: object, member: 'layers' | 'manifests'): readonly unknown[] {
  return (document as Readonly<Record<string, readonly unknown[] | null | undefined>>)[member] ?? []
}

function sealed(document: object, mediaType: string): Manifest {
  return readManifest(Buffer.from(JSON.stringify(document)), mediaType)
}
