import { generateKeyPairSync, sign } from 'node:crypto'
import { type Algorithm, digestOf } from '../../src/oci/digest.ts'
import { type Descriptor, MEDIA_TYPE } from '../../src/oci/manifest.ts'
import { type BuiltImage, type BuiltManifest, describe, fallbackTag } from '../cluster/image.ts'

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

/** cosign 2: one layer, simple signing, the signature in its annotation, under a tag (SIGNATURE_SPEC.md). */
export function cosignSignature(subject: BuiltManifest): { image: BuiltImage; tag: string } {
  const payload = JSON.stringify({
    critical: {
      identity: { 'docker-reference': '' },
      image: { 'docker-manifest-digest': subject.digest },
      type: 'cosign container image signature',
    },
    optional: null,
  })
  const layer = blob(payload, 'application/vnd.dev.cosign.simplesigning.v1+json')
  const signature = sign('sha256', layer.bytes, keys.privateKey).toString('base64')
  const annotations = { 'dev.cosignproject.cosign/signature': signature }
  const config = blob(
    JSON.stringify({ architecture: '', os: '', rootfs: { type: 'layers', diff_ids: [layer.descriptor.digest] } }),
    CONFIG,
  )
  const layers = [{ ...layer.descriptor, annotations }]
  const document = { mediaType: MEDIA_TYPE.ociManifest, config: config.descriptor, layers }
  return { image: custom(document, { blobs: [config, layer] }), tag: `${fallbackTag(subject.digest)}.sig` }
}

const EMPTY = blob('{}', 'application/vnd.oci.empty.v1+json')

/** cosign 3 and others: a Sigstore bundle as a referrer (BUNDLE_SPEC.md), a DSSE envelope over the digest. */
export function sigstoreBundle(
  subject: BuiltManifest,
  more: { annotations?: Record<string, string> } = {},
): BuiltImage {
  const type = 'application/vnd.dev.sigstore.bundle.v0.3+json'
  const statement = Buffer.from(
    JSON.stringify({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ digest: { sha256: subject.digest.slice(7) } }],
      predicateType: 'https://sigstore.dev/cosign/sign/v1',
    }),
  )
  const payloadType = 'application/vnd.in-toto+json'
  const encoded = Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${statement.length} ${statement}`)
  const signatures = [{ sig: sign('sha256', encoded, keys.privateKey).toString('base64') }]
  const envelope = { payload: statement.toString('base64'), payloadType, signatures }
  return attached(subject, type, JSON.stringify({ mediaType: type, dsseEnvelope: envelope }), more.annotations)
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
