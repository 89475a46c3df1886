/** Signatures and attestations of every form, made by keys, as attachments of an image. Shares no code with `src/trust`. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { Digest } from '../../src/oci/digest.ts'
import type { Descriptor, Manifest } from '../../src/oci/manifest.ts'
import { readManifest } from '../../src/oci/manifest.ts'
import { reusedSync } from './reused.ts'

export const BUNDLE = 'application/vnd.dev.sigstore.bundle.v0.3+json'
export const IN_TOTO = 'application/vnd.in-toto+json'
export const SIMPLE = 'application/vnd.dev.cosign.simplesigning.v1+json'
export const DSSE = 'application/vnd.dsse.envelope.v1+json'
export const SIGN = 'https://sigstore.dev/cosign/sign/v1'
export const SPDX = 'https://spdx.dev/Document'
const OCI = 'application/vnd.oci.image.manifest.v1+json'

export type KeyPair = Readonly<{ publicKey: KeyObject; privateKey: KeyObject }>
export const ec = (namedCurve = 'P-256'): KeyPair => generateKeyPairSync('ec', { namedCurve })
/** A key of 2048 bits takes a tenth of a second to make, one of 4096 bits a second. */
export function rsa(modulusLength = 2048): KeyPair {
  const pem = reusedSync(['rsa', modulusLength], () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength })
    return privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  })
  return { publicKey: createPublicKey(pem), privateKey: createPrivateKey(pem) }
}
export const ed25519 = (): KeyPair => generateKeyPairSync('ed25519')

export const image = manifestOf({ schemaVersion: 2, mediaType: OCI, config: blobOf('{"a":1}'), layers: [] })
export const otherImage = manifestOf({ schemaVersion: 2, mediaType: OCI, config: blobOf('{"b":1}'), layers: [] })

type Content = Uint8Array | string
export type Annotations = Readonly<Record<string, string>>

/** What is attached to one image, and its blobs. */
export class Attached {
  readonly all: { manifest: Manifest; tag: string | null }[] = []
  readonly blobs = new Map<string, Uint8Array>()
  readonly read = async ({ digest }: Descriptor) => this.blobs.get(digest)

  bundle(document: unknown, mediaType = BUNDLE): this {
    return this.add(null, [[mediaType, JSON.stringify(document), {}]], mediaType)
  }
  sig(...signatures: readonly (readonly [Content, Annotations])[]): this {
    const layers = signatures.map(([payload, annotations]) => [SIMPLE, payload, annotations] as const)
    return this.add('.sig', layers)
  }
  att(envelope: unknown, annotations: Annotations = {}): this {
    return this.add('.att', [[DSSE, JSON.stringify(envelope), annotations]])
  }
  add(
    suffix: string | null,
    layers: readonly (readonly [string, Content, Annotations])[],
    artifactType?: string,
  ): this {
    const described = layers.map(([mediaType, content, annotations]) => {
      const blob = blobOf(content)
      this.blobs.set(blob.digest, Buffer.from(content))
      return { ...blob, mediaType, annotations }
    })
    const manifest = manifestOf({
      schemaVersion: 2,
      mediaType: OCI,
      artifactType,
      config: blobOf('{}'),
      layers: described,
      ...(suffix === null ? { subject: image.descriptor } : {}),
    })
    this.all.push({ manifest, tag: suffix && image.descriptor.digest.replace(':', '-') + suffix })
    return this
  }
}

export function manifestOf(document: object): Manifest {
  return readManifest(Buffer.from(JSON.stringify(document)), undefined)
}

export function blobOf(content: Content) {
  const digest = `sha256:${hex(content)}` as Digest
  return { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: Buffer.from(content).length }
}

export function hex(content: Content): string {
  return createHash('sha256').update(content).digest('hex')
}

/** The hash that cosign 3 takes. */
export function signBy({ privateKey }: KeyPair, bytes: Uint8Array, hash?: string): string {
  const byCurve = { prime256v1: 'sha256', secp384r1: 'sha384', secp521r1: 'sha512' } as const
  const curve = privateKey.asymmetricKeyDetails?.namedCurve as keyof typeof byCurve
  const own = privateKey.asymmetricKeyType === 'ed25519' ? null : (byCurve[curve] ?? 'sha256')
  return sign(hash ?? own, bytes, privateKey).toString('base64')
}

export function statementOf(predicateType = SIGN, predicate: unknown = {}, subject: Manifest = image): object {
  const [, digest] = subject.descriptor.digest.split(':')
  const _type = 'https://in-toto.io/Statement/v1'
  return { _type, subject: [{ digest: { sha256: digest } }], predicateType, predicate }
}

export function envelopeOf(
  statement: unknown,
  keys: KeyPair,
  { type = IN_TOTO, hash }: { type?: string; hash?: string } = {},
) {
  const payload = Buffer.from(typeof statement === 'string' ? statement : JSON.stringify(statement))
  return {
    payload: payload.toString('base64'),
    payloadType: type,
    signatures: [{ sig: signBy(keys, preAuth(type, payload), hash) }],
  }
}

export function preAuth(type: string, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload])
}

export function bundleOf(statement: unknown, keys: KeyPair, options: { type?: string; hash?: string } = {}) {
  const spki = keys.publicKey.export({ format: 'der', type: 'spki' })
  const hint = createHash('sha256').update(spki).digest('base64')
  const verificationMaterial = { publicKey: { hint }, tlogEntries: [] }
  return { mediaType: BUNDLE, verificationMaterial, dsseEnvelope: envelopeOf(statement, keys, options) }
}

/** A layer of `.sig`. */
export function simpleOf(
  keys: KeyPair,
  {
    subject = image,
    reference = 'registry.example/ns/app',
    optional = null as unknown,
    hash = undefined as string | undefined,
  } = {},
): readonly [Buffer, Annotations] {
  const payload = payloadOf(subject, reference, optional)
  return [payload, { 'dev.cosignproject.cosign/signature': signBy(keys, payload, hash) }]
}

export function payloadOf(
  subject: Manifest = image,
  reference = 'registry.example/ns/app',
  optional: unknown = null,
): Buffer {
  const critical = {
    identity: { 'docker-reference': reference },
    image: { 'docker-manifest-digest': subject.descriptor.digest },
    type: 'cosign container image signature',
  }
  return Buffer.from(JSON.stringify({ critical, optional }))
}
