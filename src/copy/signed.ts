import { listed } from '../core/text.ts'
import { PromoteError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import type { Graph } from './graph.ts'

/**
 * Artifact or config types of signatures: cosign (specs/SIGNATURE_SPEC.md and BUNDLE_SPEC.md), Notary Project
 * (specs/signature-specification.md). An in-toto attestation by itself is none.
 */
const SIGNATURE = /^application\/vnd\.(?:dev\.cosign\.artifact\.sig\.|dev\.sigstore\.bundle\.|cncf\.notary\.signature$)/

/**
 * The image carries a signature, or each of its children that is copied does. That it is there is all that is checked: who
 * signed, and whether the signature is good, is not.
 * @throws PromoteError SIGNATURE_MISSING
 */
export function checkSigned(graph: Graph, source: string): void {
  const signed = new Set<Digest>()
  for (const { digest, subject, tag } of graph.attached) {
    const manifest = graph.nodes.get(`manifest ${digest}`)?.manifest
    if (manifest !== undefined && isSignature(manifest, tag)) signed.add(subject)
  }
  const unsigned: Digest[] = []
  const visit = ({ descriptor, links }: Manifest): boolean => {
    if (signed.has(descriptor.digest)) return true
    const children = links
      .filter((link) => link.role === 'child')
      .flatMap((link) => graph.nodes.get(`manifest ${link.descriptor.digest}`)?.manifest ?? [])
    if (children.length === 0) unsigned.push(descriptor.digest)
    return children.map(visit).every(Boolean) && children.length > 0
  }
  if (visit(graph.root)) return
  const { digest } = graph.root.descriptor
  const children = unsigned.filter((each) => each !== digest)
  const more = children.length === 0 ? '' : `, and neither do these of its children: ${listed(children)}`
  throw new PromoteError('SIGNATURE_MISSING', `${source}: ${digest} carries no signature${more}`, {
    side: 'source',
    hint: 'Sign it (cosign sign, notation sign) before it is promoted. Under require-signed nothing was written.',
  })
}

/** cosign's tag scheme marks signatures by the tag alone; one without a layer signs nothing. */
function isSignature({ artifactType, links }: Manifest, tag: string | null): boolean {
  const types = [artifactType, links.find((link) => link.role === 'config')?.descriptor.mediaType]
  const tagged = tag?.endsWith('.sig') === true && links.some((link) => link.role === 'layer')
  return tagged || types.some((type) => type !== undefined && SIGNATURE.test(type))
}
