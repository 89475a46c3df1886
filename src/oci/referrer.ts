/** What is attached to a manifest and found by its digest: tags, the referrers index, and how signatures are merged. */
import { type Digest, referrersTag } from './digest.ts'
import { type Descriptor, type Manifest, MEDIA_TYPE, readManifest } from './manifest.ts'

/** cosign's tag scheme: https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md */
const ATTACHED_TAG = /^sha(?:256|512)-[0-9a-f]{64}\.(?:sig|att|sbom)$/

/** Layers of a container image (OCI image-spec layer.md, docker schema 2). A signature has none of them. */
const IMAGE_LAYER = /^application\/vnd\.(?:oci\.image\.layer\.|docker\.image\.rootfs\.)/

/** `sha256-HEX.sig`, `.att` and `.sbom` of a manifest. */
export function attachedTags(subject: Digest): readonly string[] {
  return ['sig', 'att', 'sbom'].map((suffix) => `${referrersTag(subject)}.${suffix}`)
}

export function isAttachedTag(tag: string): boolean {
  return ATTACHED_TAG.test(tag)
}

/**
 * The entries of what the tag `sha256-HEX` names, if it is the referrers index of `subject` (distribution-spec "Referrers
 * Tag Schema"). It is not when it is the subject itself (GitLab reads such a tag as the digest), another image, or an index
 * of platforms.
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
  const type = artifactType ?? links.find((link) => link.role === 'config')?.descriptor.mediaType
  return { mediaType, digest, size, ...(type && { artifactType: type }), ...(annotations && { annotations }) }
}

/** A new index, or the index with more entries; whatever else it holds stays. */
export function extendIndex(index: Manifest | undefined, entries: readonly Descriptor[]): Manifest {
  const document = index === undefined ? { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex } : documentOf(index)
  return sealed({ ...document, manifests: [...listOf(document, 'manifests'), ...entries] }, MEDIA_TYPE.ociIndex)
}

export type Merged = Readonly<{
  manifest: Manifest
  /** Layers that `theirs` does not have. */
  added: ReadonlySet<Digest>
}>

/**
 * Signatures of one tag: the layers of `theirs`, then those of `ours` that are missing there. A layer is the same when
 * digest and annotations are equal, because the payload of two signatures may be the same. All other members, the config
 * among them, stay those of `theirs`.
 * @returns undefined when one of the two does not hold signatures, but an image or an index.
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
  const layers = links.filter((link) => link.role === 'layer')
  const isKnown = shape === 'image' && descriptor.mediaType !== MEDIA_TYPE.ociArtifact
  return isKnown && !layers.some((link) => IMAGE_LAYER.test(link.descriptor.mediaType))
}

function identityOf({ digest, annotations }: Layer): string {
  return JSON.stringify([digest, Object.entries(annotations ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))])
}

/** The document as it stands in the bytes, with the members that `Manifest` leaves out. */
function documentOf({ bytes }: Manifest): object {
  return JSON.parse(Buffer.from(bytes).toString('utf8'))
}

function listOf(document: object, member: 'layers' | 'manifests'): readonly unknown[] {
  return (document as Readonly<Record<string, readonly unknown[] | null | undefined>>)[member] ?? []
}

function sealed(document: object, mediaType: string): Manifest {
  return readManifest(Buffer.from(JSON.stringify(document)), mediaType)
}
