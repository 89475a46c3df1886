import type { Digest } from '../oci/digest.ts'
import { linked, type Manifest, MEDIA_TYPE } from '../oci/manifest.ts'
import { documentOf, listOf, sealed } from '../oci/referrer.ts'

/** Layers of a container image (OCI image-spec layer.md, docker schema 2). A signature has no such layer. */
const IMAGE_LAYER = /^application\/vnd\.(?:oci\.image\.layer\.|docker\.image\.rootfs\.)/

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
