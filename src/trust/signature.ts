/** Names of the formats of signatures, and what is recognised without being verified. */
import { parseJson } from '../core/json.ts'
import type { Digest } from '../oci/digest.ts'

/** cosign specs/SIGNATURE_SPEC.md. */
export const SIMPLE_SIGNING = 'application/vnd.dev.cosign.simplesigning.v1+json'
export const COSIGN_SIGNATURE = 'dev.cosignproject.cosign/signature'
/** cosign specs/BUNDLE_SPEC.md: the media types of all versions. */
export const BUNDLE = /^application\/vnd\.dev\.sigstore\.bundle(?:\.v0\.3\+json|\+json;version=0\.[123])$/
/** The predicate type of an image signature in a bundle. All other types are attestations. */
export const SIGNATURE_PREDICATE = 'https://sigstore.dev/cosign/sign/v1'
/** Notary Project specs/signature-specification.md. */
export const NOTATION = 'application/vnd.cncf.notary.signature'
const COSE = 'application/cose'

/**
 * Whether the content of a Notary Project signature is about the manifest. A COSE envelope (RFC 9052) has the JSON unencoded,
 * a JWS in base64url.
 */
export function isNotarised(subject: Digest, mediaType: string, bytes: Uint8Array): boolean {
  if (mediaType === COSE) return Buffer.from(bytes).includes(`"digest":"${subject}"`)
  const jws = parseJson(bytes)
  const payload = parseJson(Buffer.from(String(at(jws, 'payload')), 'base64'))
  return Boolean(at(jws, 'signature')) && at(payload, 'targetArtifact', 'digest') === subject
}

/** A nested member of an untrusted document. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let found = value
  for (const name of path) {
    const isObject = typeof found === 'object' && found !== null && Object.hasOwn(found, name)
    found = isObject ? (found as Readonly<Record<string, unknown>>)[name] : undefined
  }
  return found
}
