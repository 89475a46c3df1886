import { PromoteError, undefinedIf } from '../core/errors.ts'
import { listed } from '../core/text.ts'
import type { Digest } from '../oci/digest.ts'
import { type Descriptor, linked, type Manifest } from '../oci/manifest.ts'
import type { ReadBlob } from '../trust/examine.ts'
import { readBlob } from './blob-reader.ts'
import { type Graph, manifestKey } from './graph.ts'
import type { Semaphore } from './semaphore.ts'
import type { Source } from './store.ts'

/**
 * Checks that the image has a signature, or that each of its children that is copied has one. The signed content is read: an
 * SBOM, another attestation or the signature of another image does not count. The signer is not checked, and neither is the
 * signature itself.
 * @throws PromoteError SIGNATURE_MISSING
 */
export async function checkSigned(graph: Graph, source: Source, semaphore: Semaphore): Promise<void> {
  const { hasSignature, subjectIn } = await import(/* webpackMode: "eager" */ '../trust/examine.ts')
  const attachedTo = subjectIn(graph.attached, (digest, tag) => graph.nodes.get(manifestKey(digest, tag))?.manifest)
  const unsigned: Digest[] = []
  const visit = async (manifest: Manifest): Promise<boolean> => {
    if (await hasSignature(attachedTo(manifest), blobsOf(source, semaphore))) return true
    const children = linked(manifest, 'child').flatMap(
      (child) => graph.nodes.get(manifestKey(child.digest))?.manifest ?? [],
    )
    if (children.length === 0) unsigned.push(manifest.descriptor.digest)
    const signed = await Promise.all(children.map(visit))
    return signed.every(Boolean) && children.length > 0
  }
  if (await visit(graph.root)) return
  const { digest } = graph.root.descriptor
  const children = unsigned.filter((each) => each !== digest)
  const more = children.length === 0 ? '' : `, and neither do these of its children: ${listed(children)}`
  throw new PromoteError('SIGNATURE_MISSING', `${source.name}: ${digest} carries no signature${more}`, {
    side: 'source',
    hint: 'Sign it (cosign sign, notation sign) before it is promoted. Under require-signed nothing was written.',
  })
}

/** Reads small blobs. A signature whose payload is missing does not count. */
export function blobsOf(source: Source, semaphore: Semaphore): ReadBlob {
  const unlessMissing = undefinedIf(({ code }) => code === 'NOT_FOUND')
  return (blob: Descriptor) => semaphore(() => readBlob(source, blob)).catch(unlessMissing)
}
