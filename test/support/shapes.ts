import { generateKeyPairSync, sign } from 'node:crypto'
import { type Algorithm, digestOf } from '../../src/oci/digest.ts'
import { type Descriptor, MEDIA_TYPE } from '../../src/oci/manifest.ts'
import { type BuiltImage, type BuiltManifest, describe, fallbackTag } from './cluster/image.ts'

/** Documents that no builder makes, and signatures as the tools that sign make them. */

export const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip'
export const CONFIG = 'application/vnd.oci.image.config.v1+json'

/** A part of an image, and the descriptor that names it. */
export type Blob = Readonly<{ bytes: Uint8Array; descriptor: Descriptor }>

export function blob(content: string | Uint8Array, mediaType = LAYER, algorithm: Algorithm = 'sha256'): Blob {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes, algorithm), size: bytes.byteLength } }
}

/** Whatever document, with the blobs it names and the images below it. */
export function custom(
  document: object,
  parts: Readonly<{ blobs?: readonly Blob[]; below?: readonly BuiltImage[]; algorithm?: Algorithm }> = {},
): BuiltImage {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, ...document }))
  const { blobs = [], below = [], algorithm } = parts
  const mediaType = 'manifests' in document ? MEDIA_TYPE.ociIndex : MEDIA_TYPE.ociManifest
  const root: BuiltManifest = { bytes, mediaType, digest: digestOf(bytes, algorithm) }
  const own = blobs.map((each) => [each.descriptor.digest, each.bytes] as const)
  return {
    root,
    manifests: [...below.flatMap((image) => image.manifests), root],
    blobs: new Map([...below.flatMap((image) => [...image.blobs]), ...own]),
    large: [],
  }
}

const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
export const PUBLIC_KEY = keys.publicKey

/** cosign 2: simple signing, the signature in the annotation of its layer (SIGNATURE_SPEC.md). */
function simpleSigning(subject: BuiltManifest, reference: string): Blob {
  const critical = {
    identity: { 'docker-reference': reference },
    image: { 'docker-manifest-digest': subject.digest },
    type: 'cosign container image signature',
  }
  const { bytes, descriptor } = blob(
    JSON.stringify({ critical, optional: null }),
    'application/vnd.dev.cosign.simplesigning.v1+json',
  )
  const signature = sign('sha256', bytes, keys.privateKey).toString('base64')
  return { bytes, descriptor: { ...descriptor, annotations: { 'dev.cosignproject.cosign/signature': signature } } }
}

/** Its manifest, with one layer for each reference, and the tag. ECDSA is random: two signatures of one payload differ. */
export function cosignSignature(
  subject: BuiltManifest,
  references: readonly string[] = [''],
  mediaType: string = MEDIA_TYPE.ociManifest,
): { image: BuiltImage; tag: string } {
  const layers = references.map((reference) => simpleSigning(subject, reference))
  const rootfs = { type: 'layers', diff_ids: layers.map(({ descriptor }) => descriptor.digest) }
  const config = blob(JSON.stringify({ architecture: '', os: '', rootfs }), CONFIG)
  const document = { mediaType, config: config.descriptor, layers: layers.map(({ descriptor }) => descriptor) }
  return { image: custom(document, { blobs: [config, ...layers] }), tag: `${fallbackTag(subject.digest)}.sig` }
}

/** An in-toto attestation under cosign's tag (`cosign attest`, old form). */
export function cosignAttestation(subject: BuiltManifest, predicateType: string): { image: BuiltImage; tag: string } {
  const layer = blob(JSON.stringify(envelopeOf(subject, predicateType)), 'application/vnd.dsse.envelope.v1+json')
  const annotations = { 'dev.cosignproject.cosign/signature': '', predicateType }
  const config = blob(JSON.stringify({ rootfs: { diff_ids: [layer.descriptor.digest] } }), CONFIG)
  const layers = [{ ...layer.descriptor, annotations }]
  const document = { mediaType: MEDIA_TYPE.ociManifest, config: config.descriptor, layers }
  return { image: custom(document, { blobs: [config, layer] }), tag: `${fallbackTag(subject.digest)}.att` }
}

/** cosign 2 with COSIGN_EXPERIMENTAL: the same layer, as a referrer. */
export function cosignReferrer(subject: BuiltManifest): BuiltImage {
  const layer = simpleSigning(subject, '')
  const config = blob('{}', 'application/vnd.dev.cosign.artifact.sig.v1+json')
  const document = { config: config.descriptor, layers: [layer.descriptor], subject: describe(subject) }
  return custom({ mediaType: MEDIA_TYPE.ociManifest, ...document }, { blobs: [config, layer] })
}

const EMPTY = blob('{}', 'application/vnd.oci.empty.v1+json')

export const SIGN = 'https://sigstore.dev/cosign/sign/v1'

/** DSSE over an in-toto statement about `subject`. */
function envelopeOf(subject: BuiltManifest, predicateType: string): object {
  const [algorithm = '', hex] = subject.digest.split(':')
  const subjects = [{ digest: { [algorithm]: hex } }]
  const statement = Buffer.from(
    JSON.stringify({ _type: 'https://in-toto.io/Statement/v1', subject: subjects, predicateType, predicate: {} }),
  )
  const payloadType = 'application/vnd.in-toto+json'
  const encoded = Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${statement.length} ${statement}`)
  const signatures = [{ sig: sign('sha256', encoded, keys.privateKey).toString('base64') }]
  return { payload: statement.toString('base64'), payloadType, signatures }
}

/** cosign 3 and others: a Sigstore bundle as a referrer (BUNDLE_SPEC.md), a DSSE envelope over the digest. */
export function sigstoreBundle(
  subject: BuiltManifest,
  more: Readonly<{
    annotations?: Record<string, string>
    predicateType?: string
    /** What the statement is about, if not `subject`. */
    about?: BuiltManifest
    /** Members of the bundle in place of the usual ones. */
    bundle?: object
  }> = {},
): BuiltImage {
  const type = 'application/vnd.dev.sigstore.bundle.v0.3+json'
  const { annotations, predicateType = SIGN, about = subject, bundle = {} } = more
  const verificationMaterial = { publicKey: { hint: 'promoter' }, tlogEntries: [] }
  const dsseEnvelope = envelopeOf(about, predicateType)
  const document = { mediaType: type, verificationMaterial, dsseEnvelope, ...bundle }
  return attached(subject, type, JSON.stringify(document), annotations)
}

/** notation: the signature's own type is the artifact type (Notary Project signature-specification.md). */
export function notation(subject: BuiltManifest): BuiltImage {
  const protectedHeader = Buffer.from('{"alg":"ES256"}').toString('base64url')
  const payload = Buffer.from(JSON.stringify({ targetArtifact: describe(subject) })).toString('base64url')
  const signature = sign('sha256', Buffer.from(`${protectedHeader}.${payload}`), keys.privateKey).toString('base64url')
  const jws = JSON.stringify({ payload, protected: protectedHeader, signature })
  return attached(subject, 'application/vnd.cncf.notary.signature', jws)
}

/** An artifact of that type about `subject`, with this content. */
export function attached(
  subject: BuiltManifest,
  artifactType: string,
  content: string,
  annotations?: Record<string, string>,
): BuiltImage {
  const layer = blob(content, artifactType)
  const document = {
    mediaType: MEDIA_TYPE.ociManifest,
    artifactType,
    config: EMPTY.descriptor,
    layers: [layer.descriptor],
    subject: describe(subject),
    ...(annotations && { annotations }),
  }
  return custom(document, { blobs: [EMPTY, layer] })
}
