/** What the signed content says: in-toto statements, simple signing, and signatures over the manifest itself. */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { Digest } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import { type Bundle, check, IN_TOTO, parseJson } from './bundle.ts'
import { RefusedEvidence } from './refusal.ts'
import { SIGNATURE_PREDICATE } from './signature.ts'

export type Claim = Readonly<{
  kind: 'signature' | 'attestation'
  /** Of the signed statement; simple signing and message signatures have none. */
  predicateType: string | undefined
  predicate: unknown
  /** Repositories that the signed content names: `docker-reference`, or the names of the subjects with this digest. */
  names: readonly string[]
  /** The bytes that the signature is over. */
  signed: Uint8Array
}>

/** Subjects of a statement that are looked at. */
const MOST_SUBJECTS = 1024
const HASHES = { SHA2_256: 'sha256', SHA2_384: 'sha384', SHA2_512: 'sha512' } as const

const statementSchema = z.object({
  _type: z.enum(['https://in-toto.io/Statement/v0.1', 'https://in-toto.io/Statement/v1']),
  subject: z.array(z.unknown()),
  predicateType: z.string().min(1).max(1000),
  predicate: z.unknown(),
})
const subjectSchema = z.object({
  name: z.string().nullish(),
  digest: z.record(z.string(), z.unknown()),
})
/** containers/image docs/containers-signature.5.md. */
const simpleSchema = z.object({
  critical: z.object({
    identity: z.object({ 'docker-reference': z.string() }),
    image: z.object({ 'docker-manifest-digest': z.string() }),
    type: z.literal('cosign container image signature'),
  }),
})

/**
 * @param payload of a simple signing layer.
 * @throws RefusedEvidence MALFORMED, OTHER_IMAGE; SyntaxError
 */
export function readClaim(bundle: Bundle, subject: Manifest, payload: Uint8Array | undefined): Claim {
  const { dsseEnvelope, messageSignature } = bundle
  if (dsseEnvelope) return readStatement(Buffer.from(dsseEnvelope.payload, 'base64'), subject.descriptor.digest)
  if (payload !== undefined) return readSimpleSigning(payload, subject.descriptor.digest)
  const { algorithm = 'SHA2_256', digest = '' } = messageSignature?.messageDigest ?? {}
  if (createHash(HASHES[algorithm]).update(subject.bytes).digest('base64') !== digest)
    throw new RefusedEvidence('OTHER_IMAGE', 'is signed for another image')
  return { ...SIGNATURE, names: [], signed: subject.bytes }
}

const SIGNATURE = { kind: 'signature', predicateType: undefined, predicate: undefined } as const

function readStatement(payload: Buffer, digest: Digest): Claim {
  const { subject, predicateType, predicate } = check(statementSchema, parseJson(payload), 'in-toto statement')
  const [algorithm = '', hex] = digest.split(':')
  const subjects = subject.slice(0, MOST_SUBJECTS).flatMap((each) => {
    const { data } = subjectSchema.safeParse(each)
    return data !== undefined && Object.hasOwn(data.digest, algorithm) && data.digest[algorithm] === hex ? [data] : []
  })
  if (subjects.length === 0) throw new RefusedEvidence('OTHER_IMAGE', 'states something about another image')
  return {
    kind: predicateType === SIGNATURE_PREDICATE ? 'signature' : 'attestation',
    predicateType,
    predicate,
    names: subjects.flatMap(({ name }) => name || []),
    signed: preAuthEncoding(IN_TOTO, payload),
  }
}

function readSimpleSigning(payload: Uint8Array, digest: Digest): Claim {
  const { critical } = check(simpleSchema, parseJson(payload), 'simple signing payload')
  if (critical.image['docker-manifest-digest'] !== digest)
    throw new RefusedEvidence('OTHER_IMAGE', 'is signed for another image')
  return { ...SIGNATURE, names: [critical.identity['docker-reference']], signed: payload }
}

/** What a DSSE signature is over: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md, lengths in bytes. */
export function preAuthEncoding(type: string, payload: Uint8Array): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `
  return Buffer.concat([Buffer.from(head), payload])
}
