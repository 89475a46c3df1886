/** Recognises signatures of an image by their content. No signature is verified here. */
import { parseJson } from '../core/json.ts'
import { type Digest, isDigest } from './digest.ts'
import type { Descriptor, Manifest } from './manifest.ts'

/** cosign specs/SIGNATURE_SPEC.md. */
export const SIMPLE_SIGNING = 'application/vnd.dev.cosign.simplesigning.v1+json'
export const COSIGN_SIGNATURE = 'dev.cosignproject.cosign/signature'
/** cosign specs/BUNDLE_SPEC.md: the media types of all versions. */
export const BUNDLE = /^application\/vnd\.dev\.sigstore\.bundle(?:\.v0\.3\+json|\+json;version=0\.[123])$/
/** The predicate type of an image signature in a bundle. All other types are attestations. */
export const SIGNATURE_PREDICATE = 'https://sigstore.dev/cosign/sign/v1'
/** Notary Project specs/signature-specification.md. */
export const NOTATION = 'application/vnd.cncf.notary.signature'
const JWS = 'application/jose+json'
const COSE = 'application/cose'

/** The blobs of an attached manifest that may hold a signature. */
export function payloadsOf({ artifactType, links }: Manifest, tag: string | null): readonly Descriptor[] {
  const type = artifactType ?? links.find((link) => link.role === 'config')?.descriptor.mediaType
  const layers = links.filter((link) => link.role === 'layer').map((link) => link.descriptor)
  if (type === NOTATION) return layers.map((layer) => (layer.mediaType === COSE ? layer : { ...layer, mediaType: JWS }))
  return layers.filter(
    ({ mediaType }) => BUNDLE.test(mediaType) || (mediaType === SIMPLE_SIGNING && !/\.(?:att|sbom)$/.test(tag ?? '')),
  )
}

/** Whether `bytes`, the content of the descriptor, is a signature of the manifest `subject`. */
export function isSignatureOf(subject: Digest, { mediaType, annotations }: Descriptor, bytes: Uint8Array): boolean {
  if (mediaType === SIMPLE_SIGNING) {
    const digest = at(parseJson(bytes), 'critical', 'image', 'docker-manifest-digest')
    return isText(annotations?.[COSIGN_SIGNATURE]) && digest === subject
  }
  if (BUNDLE.test(mediaType)) return isBundle(subject, parseJson(bytes))
  if (mediaType === JWS) return isJws(subject, parseJson(bytes))
  // A COSE envelope (RFC 9052) contains the JSON of `isJws` unencoded.
  return Buffer.from(bytes).includes(`"digest":"${subject}"`)
}

function isBundle(subject: Digest, bundle: unknown): boolean {
  if (!BUNDLE.test(String(at(bundle, 'mediaType')))) return false
  const envelope = at(bundle, 'dsseEnvelope')
  if (envelope === undefined) return isMessageSignature(subject, at(bundle, 'messageSignature'))
  const [algorithm = '', hex] = subject.split(':')
  const statement = parseJson(decode(at(envelope, 'payload')))
  const signed = listOf(at(envelope, 'signatures')).some((each) => isText(at(each, 'sig')))
  const subjects = listOf(at(statement, 'subject'))
  return (
    signed &&
    at(envelope, 'payloadType') === 'application/vnd.in-toto+json' &&
    at(statement, 'predicateType') === SIGNATURE_PREDICATE &&
    subjects.some((each) => at(each, 'digest', algorithm) === hex)
  )
}

/** A signature over the bytes of the manifest itself. */
function isMessageSignature(subject: Digest, message: unknown): boolean {
  const digest = `sha256:${decode(at(message, 'messageDigest', 'digest')).toString('hex')}`
  return isDigest(digest) && digest === subject && isText(at(message, 'signature'))
}

function isJws(subject: Digest, jws: unknown): boolean {
  const payload = parseJson(decode(at(jws, 'payload')))
  return isText(at(jws, 'signature')) && at(payload, 'targetArtifact', 'digest') === subject
}

/** Base64 and base64url. */
function decode(text: unknown): Buffer {
  return Buffer.from(typeof text === 'string' ? text : '', 'base64')
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

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}
