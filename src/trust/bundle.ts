/** Sigstore bundles (cosign specs/BUNDLE_SPEC.md), and the old forms as such: everything that is verified has this shape. */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { Descriptor } from '../oci/manifest.ts'
import { RefusedEvidence } from './refusal.ts'
import { at, BUNDLE, COSIGN_SIGNATURE } from './signature.ts'

export const IN_TOTO = 'application/vnd.in-toto+json'
const OLD_BUNDLE = 'application/vnd.dev.sigstore.bundle+json;version=0.1'
const CERTIFICATE = 'dev.sigstore.cosign/certificate'
const REKOR_BUNDLE = 'dev.sigstore.cosign/bundle'
const TIMESTAMP = 'dev.sigstore.cosign/rfc3161timestamp'

/** Characters of what is small by nature: certificates, timestamps, checkpoints, log entries. */
const LONGEST = 64 * 1024
/** Log entries and timestamps; there is one of each. */
const MOST = 8

/** Strict, so that we and the library read the same bytes. */
const base64 = z
  .string()
  .min(1)
  .refine((text) => Buffer.from(text, 'base64').toString('base64') === text, 'is not base64')
const short = z.string().max(LONGEST).pipe(base64)
/** The number is checked first: a hostile document cannot make us look at a million members. */
export const listOf = <T extends z.ZodType>(each: T, most: number) => z.array(z.unknown()).max(most).pipe(z.array(each))
/** int64 of protobuf's JSON: a text, absent where it is 0; a number is read too. */
const integer = z
  .union([z.string().regex(/^\d{1,19}$/), z.int().min(0)])
  .transform(String)
  .nullish()

const logEntry = z.object({
  logIndex: integer,
  logId: z.object({ keyId: short }),
  kindVersion: z.object({ kind: z.string().max(100), version: z.string().max(100) }),
  integratedTime: integer,
  inclusionPromise: z.object({ signedEntryTimestamp: short }).nullish(),
  inclusionProof: z
    .object({
      logIndex: integer,
      rootHash: short,
      treeSize: integer,
      hashes: listOf(short, 64).nullish(),
      checkpoint: z.object({ envelope: z.string().max(LONGEST) }),
    })
    .nullish(),
  canonicalizedBody: short,
})

const certificate = z.object({ rawBytes: short })
const certificates = listOf(certificate, MOST)

/** Members that are not here are never looked at, by the library neither. */
const bundleSchema = z
  .object({
    mediaType: z.string().regex(BUNDLE),
    verificationMaterial: z
      .object({
        publicKey: z.object({ hint: z.string().max(1000).nullish() }).nullish(),
        certificate: certificate.nullish(),
        x509CertificateChain: z.object({ certificates: certificates.refine(([leaf]) => leaf !== undefined) }).nullish(),
        tlogEntries: listOf(logEntry, MOST).nullish(),
        timestampVerificationData: z
          .object({ rfc3161Timestamps: listOf(z.object({ signedTimestamp: short }), MOST).nullish() })
          .nullish(),
      })
      .refine((it) => isOne(it.publicKey, it.certificate, it.x509CertificateChain), 'has not exactly one key'),
    dsseEnvelope: z
      .object({
        payload: base64,
        payloadType: z.literal(IN_TOTO),
        signatures: listOf(z.object({ sig: short }), 1).refine((all) => all.length === 1, 'is not one signature'),
      })
      .nullish(),
    messageSignature: z
      .object({
        messageDigest: z.object({ algorithm: z.enum(['SHA2_256', 'SHA2_384', 'SHA2_512']), digest: short }),
        signature: short,
      })
      .nullish(),
  })
  .refine((it) => isOne(it.dsseEnvelope, it.messageSignature), 'has not exactly one content')
export type Bundle = z.infer<typeof bundleSchema>

/** @throws RefusedEvidence MALFORMED, SyntaxError */
export function readBundle(bytes: Uint8Array): Bundle {
  return check(bundleSchema, parseJson(bytes), 'bundle')
}

/**
 * The bundle that a layer of `.sig` or `.att` would be: cosign specs/SIGNATURE_SPEC.md. Its chain is not looked at: the
 * trusted root has the intermediates.
 * @throws RefusedEvidence MALFORMED, SyntaxError, TypeError
 */
export function bundleOfLayer(form: 'sig' | 'att', { annotations = {} }: Descriptor, bytes: Uint8Array): Bundle {
  // Old clients write an annotation without content.
  const parsed = (name: string): unknown => JSON.parse(annotations[name] || 'null')
  const [certificate, entry, stamp] = [annotations[CERTIFICATE], parsed(REKOR_BUNDLE), parsed(TIMESTAMP)]
  const digest = createHash('sha256').update(bytes).digest('base64')
  const signature = annotations[COSIGN_SIGNATURE]
  const bundle = {
    mediaType: OLD_BUNDLE,
    verificationMaterial: {
      ...(certificate
        ? { x509CertificateChain: { certificates: [{ rawBytes: derOf(certificate) }] } }
        : { publicKey: {} }),
      tlogEntries: entry === null ? null : [logEntryOf(entry)],
      timestampVerificationData: {
        rfc3161Timestamps: stamp === null ? null : [{ signedTimestamp: at(stamp, 'SignedRFC3161Timestamp') }],
      },
    },
    ...(form === 'att'
      ? { dsseEnvelope: parseJson(bytes) }
      : { messageSignature: { messageDigest: { algorithm: 'SHA2_256', digest }, signature } }),
  }
  return check(bundleSchema, bundle, form === 'att' ? 'attestation' : 'signature')
}

/** The annotation, as a member of a bundle that is still to be checked. */
function logEntryOf(annotation: unknown): object {
  const payload = (name: string) => at(annotation, 'Payload', name)
  // Node stops at the first character that is not hex.
  const keyId = Buffer.from(String(payload('logID')), 'hex')
  const body = parseJson(Buffer.from(String(payload('body')), 'base64'))
  return {
    logIndex: payload('logIndex'),
    logId: { keyId: keyId.toString('hex') === payload('logID') ? keyId.toString('base64') : '' },
    kindVersion: { kind: at(body, 'kind'), version: at(body, 'apiVersion') },
    integratedTime: payload('integratedTime'),
    inclusionPromise: { signedEntryTimestamp: at(annotation, 'SignedEntryTimestamp') },
    canonicalizedBody: payload('body'),
  }
}

/** Base64 of the first certificate of PEM text. */
export function derOf(pem: string): string {
  const [, body] = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/.exec(pem) ?? []
  if (body === undefined) throw new RefusedEvidence('MALFORMED', 'has a certificate that is not PEM')
  return body.replace(/\s/g, '')
}

/** @throws RefusedEvidence MALFORMED that names the member. */
export function check<T>(schema: z.ZodType<T>, document: unknown, what: string): T {
  const parsed = schema.safeParse(document)
  if (parsed.success) return parsed.data
  const { path, message } = parsed.error.issues[0] ?? { path: [], message: 'is wrong' }
  throw new RefusedEvidence('MALFORMED', `is not a valid ${what}: ${path.join('.')}: ${message}`)
}

/** @throws SyntaxError, TypeError */
export function parseJson(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
}

function isOne(...members: readonly unknown[]): boolean {
  return members.filter((member) => member !== undefined && member !== null).length === 1
}
