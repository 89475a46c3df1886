/**
 * What is attached to an image and may prove who signed it: bundles, `.sig` and `.att`, keyed and keyless, read into one
 * type. Nothing here is verified: the claims of an `Evidence` count only beside the `VerifiedSigner` of its verification.
 */
import type { Digest } from '../oci/digest.ts'
import type { Descriptor, Manifest } from '../oci/manifest.ts'
import { type Bundle, bundleOfLayer, readBundle } from './bundle.ts'
import { type Claim, readClaim } from './claim.ts'
import { type Refusal, RefusedEvidence, refusalOf } from './refusal.ts'
import { NOTATION, SIMPLE_SIGNING } from './signature.ts'

/** One signature or attestation that states something about a manifest. */
export type Evidence = Omit<Claim, 'signed'> &
  Readonly<{
    /** Where it is stored: a Sigstore bundle, or a layer of the tag `sha256-HEX.sig` or `.att`. */
    form: 'bundle' | 'sig' | 'att'
    /** Digest of the attached manifest. */
    attachment: Digest
    proof: Proof
  }>

/** What a verification needs. */
export type Proof = Readonly<{
  /** The bytes that the signature is over. */
  signed: Uint8Array
  signature: Uint8Array
  /** DER of the signer's certificate; a keyed signature has none. */
  certificate: Uint8Array | undefined
  /** The key as the bundle names it: base64 of the SHA-256 of its SPKI. Not signed. */
  hint: string | undefined
  /** The evidence as a Sigstore bundle in JSON, also where it is stored in the old form. */
  bundle: Bundle
}>

/** Who signed, after the verification. */
export type VerifiedSigner =
  | Readonly<{
      method: 'key'
      /** SHA-256 of its SPKI, in hex. */
      key: string
    }>
  | Readonly<{ method: 'certificate'; issuer: string; subject: string; claims: Readonly<Record<string, string>> }>

/** Of one evidence and one signer. */
export type Verdict = Readonly<{ signer: VerifiedSigner }> | Readonly<{ refusal: Refusal }>

/** An attached manifest, and the tag that names it: null for a referrer. */
export type Attachment = Readonly<{ manifest: Manifest; tag: string | null }>
type Payload = Readonly<{ form: Evidence['form']; layer: Descriptor; attachment: Digest }>

/** Of one image: anybody with push rights can attach more. */
const MOST_PAYLOADS = 100
/** Bytes. */
const LARGEST_PAYLOAD = 4 * 1024 * 1024
const LARGEST_SUM = 64 * 1024 * 1024

const BUNDLE_TYPES = 'application/vnd.dev.sigstore.bundle'
const DSSE = 'application/vnd.dsse.envelope.v1+json'

/**
 * Everything that is attached to `subject` and states something about it.
 * @param read the blob of at most 4 MiB, with the digest it is asked for; undefined when the registry does not have it.
 * What it throws is thrown.
 */
export async function readEvidence(
  subject: Manifest,
  attachments: readonly Attachment[],
  read: (blob: Descriptor) => Promise<Uint8Array | undefined>,
): Promise<Readonly<{ evidence: readonly Evidence[]; refusals: readonly Refusal[] }>> {
  const found = attachments.flatMap(payloadsOf)
  const payloads = found.filter((each) => 'layer' in each)
  const sum = payloads.reduce((bytes, { layer }) => bytes + layer.size, 0)
  if (payloads.length > MOST_PAYLOADS || sum > LARGEST_SUM) {
    const clause = `has ${payloads.length} signatures and attestations of ${sum} bytes; at most ${MOST_PAYLOADS} of ${LARGEST_SUM} bytes are read`
    return { evidence: [], refusals: [refusalOf(new RefusedEvidence('TOO_LARGE', clause), null)] }
  }
  const results = await Promise.all(payloads.map((payload) => readPayload(subject, payload, read)))
  return {
    evidence: results.filter((each) => 'proof' in each),
    refusals: [...found, ...results].filter((each) => 'reason' in each),
  }
}

function payloadsOf({ manifest, tag }: Attachment): readonly (Payload | Refusal)[] {
  const { artifactType, descriptor, links } = manifest
  const attachment = descriptor.digest
  const type = artifactType ?? links.find((link) => link.role === 'config')?.descriptor.mediaType ?? ''
  if (type === NOTATION) {
    const clause = 'is signed by Notary Project, which is not verified'
    return [refusalOf(new RefusedEvidence('NOTARY', clause), attachment)]
  }
  const payloads = links.flatMap(({ role, descriptor: layer }): readonly Payload[] => {
    const form = role === 'layer' ? formOf(layer.mediaType, tag) : undefined
    return form === undefined ? [] : [{ form, layer, attachment }]
  })
  if (payloads.length > 0 || !type.startsWith(BUNDLE_TYPES)) return payloads
  return [refusalOf(new RefusedEvidence('MALFORMED', 'says that it is a bundle, and has none'), attachment)]
}

function formOf(mediaType: string, tag: string | null): Evidence['form'] | undefined {
  if (mediaType.startsWith(BUNDLE_TYPES)) return 'bundle'
  if (mediaType === DSSE) return 'att'
  return mediaType === SIMPLE_SIGNING && !/\.(?:att|sbom)$/.test(tag ?? '') ? 'sig' : undefined
}

async function readPayload(
  subject: Manifest,
  { form, layer, attachment }: Payload,
  read: (blob: Descriptor) => Promise<Uint8Array | undefined>,
): Promise<Evidence | Refusal> {
  const tooLarge = new RefusedEvidence('TOO_LARGE', `is larger than ${LARGEST_PAYLOAD} bytes and is not read`)
  if (layer.size > LARGEST_PAYLOAD) return refusalOf(tooLarge, attachment)
  const bytes = await read(layer)
  try {
    if (bytes === undefined) throw new RefusedEvidence('MISSING', `lacks its content ${layer.digest}`)
    if (bytes.length > LARGEST_PAYLOAD) throw tooLarge
    const bundle = form === 'bundle' ? readBundle(bytes) : bundleOfLayer(form, layer, bytes)
    const { signed, ...claim } = readClaim(bundle, subject, form === 'sig' ? bytes : undefined)
    return { ...claim, form, attachment, proof: { ...proofOf(bundle), signed } }
  } catch (thrown) {
    return refusalOf(thrown, attachment)
  }
}

function proofOf(bundle: Bundle): Omit<Proof, 'signed'> {
  const { certificate, x509CertificateChain, publicKey } = bundle.verificationMaterial
  const { rawBytes } = certificate ?? x509CertificateChain?.certificates[0] ?? {}
  const signature = bundle.dsseEnvelope?.signatures[0]?.sig ?? bundle.messageSignature?.signature ?? ''
  return {
    bundle,
    signature: Buffer.from(signature, 'base64'),
    certificate: rawBytes === undefined ? undefined : Buffer.from(rawBytes, 'base64'),
    hint: publicKey?.hint ?? undefined,
  }
}
