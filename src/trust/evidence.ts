/**
 * What is attached to an image and may prove who signed it: bundles, `.sig` and `.att`, keyed and keyless, read into one
 * type. Nothing here is verified: the claims of an `Evidence` count only beside the `VerifiedSigner` of its verification.
 */
import type { Digest } from '../oci/digest.ts'

/** One signature or attestation that states something about `subject`. */
export type Evidence = Readonly<{
  kind: 'signature' | 'attestation'
  /** Where it is stored: a Sigstore bundle, or a layer of the tag `sha256-HEX.sig` or `.att`. */
  form: 'bundle' | 'sig' | 'att'
  /** Digest of the attached manifest. */
  attachment: Digest
  /** The signed manifest. */
  subject: Digest
  /** Of the signed statement; simple signing and message signatures have none. */
  predicateType: string | undefined
  predicate: unknown
  /** Repositories that the signed content names: `docker-reference`, or the names of the subjects with this digest. */
  names: readonly string[]
  /** `cosign sign -a KEY=VALUE`. */
  annotations: Readonly<Record<string, unknown>>
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
  /** The evidence as a Sigstore bundle in JSON, with the members that are checked. */
  bundle: object
}>

/** Who signed, after the verification. */
export type VerifiedSigner =
  | Readonly<{
      method: 'key'
      /** SHA-256 of its SPKI, in hex. */
      key: string
    }>
  | Readonly<{ method: 'certificate'; issuer: string; subject: string; claims: Readonly<Record<string, string>> }>

export type Reason =
  | 'MALFORMED'
  | 'TOO_LARGE' // more or larger than what is read
  | 'NOTARY' // signed by Notary Project, which is not verified
  | 'OTHER_IMAGE'
  | 'OTHER_TYPE' // another predicate type than the wanted one
  | 'OTHER_REPOSITORY'
  | 'OTHER_KEY' // another key or certificate, or the content was changed
  | 'OTHER_ROOT' // the certificate is not issued by a CA of the trusted root
  | 'OTHER_ISSUER'
  | 'OTHER_SUBJECT'
  | 'OTHER_CLAIM'
  | 'EXPIRED' // the certificate was not valid at the trusted time
  | 'UNLOGGED' // no log entry or timestamp of the trusted root, or one of another signature
  | 'ED25519PH'

/** Why an evidence does not count: a sentence with foreign text bounded and visible. */
export type Refusal = Readonly<{ reason: Reason; message: string; attachment: Digest | undefined }>

/** Of one evidence and one signer. */
export type Verdict = Readonly<{ signer: VerifiedSigner }> | Readonly<{ refusal: Refusal }>
