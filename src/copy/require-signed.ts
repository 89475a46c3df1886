import { PromoteError } from '../core/errors.ts'
import { listed } from '../core/text.ts'
import type { Digest } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import { isSignatureOf, payloadsOf } from '../oci/signature.ts'
import { BLOB_LIMIT, readBlob } from './blob-reader.ts'
import { type Graph, manifestKey } from './graph.ts'
import type { Semaphore } from './semaphore.ts'
import type { Source } from './store.ts'

/**
 * The image carries a signature, or each of its children that is copied does. What is signed is read: an SBOM, another
 * attestation or the signature of another image is not a signature of this one. Who signed, and whether the signature is
 * good, is not checked.
 * @throws PromoteError SIGNATURE_MISSING
 */
export async function checkSigned(graph: Graph, source: Source, semaphore: Semaphore): Promise<void> {
  const unsigned: Digest[] = []
  const visit = async ({ descriptor, links }: Manifest): Promise<boolean> => {
    if (await isSigned(descriptor.digest, graph, source, semaphore)) return true
    const children = links
      .filter((link) => link.role === 'child')
      .flatMap((link) => graph.nodes.get(manifestKey(link.descriptor.digest))?.manifest ?? [])
    if (children.length === 0) unsigned.push(descriptor.digest)
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

async function isSigned(subject: Digest, graph: Graph, source: Source, semaphore: Semaphore): Promise<boolean> {
  for (const attached of graph.attached) {
    if (attached.subject !== subject) continue
    const manifest = graph.nodes.get(manifestKey(attached.digest, attached.tag))?.manifest
    for (const payload of manifest === undefined ? [] : payloadsOf(manifest, attached.tag)) {
      if (payload.size > BLOB_LIMIT) continue
      const bytes = await semaphore(() => readBlob(source, payload)).catch(unlessMissing)
      if (bytes !== undefined && isSignatureOf(subject, payload, bytes)) return true
    }
  }
  return false
}

/** A signature whose payload the source does not have is not a signature. */
function unlessMissing(thrown: unknown): undefined {
  if (thrown instanceof PromoteError && thrown.code === 'NOT_FOUND') return undefined
  throw thrown
}
