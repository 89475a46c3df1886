/**
 * Whether a signer made an evidence. Certificates, log entries and timestamps are verified by the library, which is loaded
 * by the first signer that needs it. Offline: everything that is trusted is in the trusted_root.json.
 */
import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import type { SignedEntity, TrustMaterial } from '@sigstore/verify'
import { z } from 'zod'
import { parseJson } from '../core/json.ts'
import { check, derOf, listOf } from './bundle.ts'
import type { Evidence, Proof, Verdict, VerifiedSigner } from './evidence.ts'
import { findKey, fingerprint, isSignedBy, spkiOf } from './keyed.ts'
import { type Reason, RefusedEvidence, refusalOf } from './refusal.ts'
import { at } from './signature.ts'
import { checkIdentity, type Extension, readIdentity, type Signer } from './signer-identity.ts'

const CODE_SIGNING = '1.3.6.1.5.5.7.3.3'
/**
 * Bounded, because the library compares each with each. `null` and absent are the same in protobuf's JSON; anything else
 * must not pass for "there is no log".
 */
const MOST = 20
const logs = listOf(z.looseObject({}), MOST).nullish()
const chain = z.looseObject({ certificates: listOf(z.looseObject({}), MOST) })
const authorities = listOf(z.looseObject({ certChain: chain }), MOST).nullish()
const rootSchema = z.object({
  mediaType: z.string().regex(/^application\/vnd\.dev\.sigstore\.trustedroot(?:\+json;version=0\.[12]|\.v0\.2\+json)$/),
  tlogs: logs,
  certificateAuthorities: authorities,
  ctlogs: logs,
  timestampAuthorities: authorities,
})

/** Where an entry of the log has the key or certificate: https://github.com/sigstore/rekor/tree/main/pkg/types */
const VERIFIERS: Readonly<Record<string, readonly string[]>> = {
  'hashedrekord/0.0.1': ['signature', 'publicKey', 'content'],
  'dsse/0.0.1': ['signatures', '0', 'verifier'],
  'intoto/0.0.2': ['content', 'envelope', 'signatures', '0', 'publicKey'],
  'hashedrekord/0.0.2': ['hashedRekordV002', 'signature', 'verifier'],
  'dsse/0.0.2': ['dsseV002', 'signatures', '0', 'verifier'],
}

/** One for a run: each trusted root is read once. */
export class SignerVerifier {
  readonly #roots = new Map<string, Promise<readonly TrustMaterial[]>>()

  /**
   * @param root text of a trusted_root.json, or lines of several: any of them may vouch.
   * @throws Error whose message follows the name of the file.
   */
  async checkRoot(root: string): Promise<void> {
    await this.#rootsOf(root)
  }

  /** Throws nothing: a failure of any kind is a reason. */
  async verify(evidence: Evidence, signer: Signer): Promise<Verdict> {
    try {
      return { signer: await this.#verify(evidence, signer) }
    } catch (thrown) {
      return { refusal: refusalOf(thrown, evidence.attachment) }
    }
  }

  async #verify({ proof }: Evidence, signer: Signer): Promise<VerifiedSigner> {
    if ('keys' in signer) {
      const key = findKey(proof, signer.keys)
      if (signer.log !== undefined) await verifyByAny(proof, await this.#rootsOf(signer.log), key)
      return { method: 'key', key: fingerprint(key) }
    }
    if (proof.certificate === undefined)
      throw new RefusedEvidence('OTHER_KEY', 'is signed by a key, not with a certificate')
    if (!new X509Certificate(proof.certificate).keyUsage?.includes(CODE_SIGNING))
      throw new RefusedEvidence('MALFORMED', 'is signed with a certificate that is not for code signing')
    const identity = readIdentity(await verifyByAny(proof, await this.#rootsOf(signer.trustedRoot)))
    checkIdentity(identity, signer)
    return { method: 'certificate', ...identity }
  }

  #rootsOf(text: string): Promise<readonly TrustMaterial[]> {
    const known = this.#roots.get(text) ?? readRoots(text)
    this.#roots.set(text, known)
    return known
  }
}

/** The packages declare a newer Node; what they use exists in 20.18.1. */
async function loadLibrary() {
  const [bundle, specs, verify] = await Promise.all([
    import(/* webpackMode: "eager" */ '@sigstore/bundle'),
    import(/* webpackMode: "eager" */ '@sigstore/protobuf-specs'),
    import(/* webpackMode: "eager" */ '@sigstore/verify'),
  ])
  return { ...bundle, ...specs, ...verify }
}

async function readRoots(text: string): Promise<readonly TrustMaterial[]> {
  const { TrustedRoot, toTrustMaterial } = await loadLibrary()
  try {
    return documentsIn(text).map((document) =>
      toTrustMaterial(TrustedRoot.fromJSON(check(rootSchema, document, 'root'))),
    )
  } catch (thrown) {
    throw new Error('is not a trusted_root.json of the versions 0.1 and 0.2, or lines of them', { cause: thrown })
  }
}

function documentsIn(text: string): readonly unknown[] {
  const whole = parseJson(text)
  return whole !== undefined
    ? [whole]
    : text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [JSON.parse(line)]))
}

/** The extensions of the certificate, by the first root that vouches for it; else the failure that says most. */
async function verifyByAny(
  proof: Proof,
  roots: readonly TrustMaterial[],
  key?: KeyObject,
): Promise<readonly Extension[]> {
  const failures: RefusedEvidence[] = []
  for (const root of roots) {
    try {
      return await verifyBy(proof, root, key)
    } catch (thrown) {
      failures.push(explain(thrown))
    }
  }
  const [first = new RefusedEvidence('OTHER_ROOT', 'is measured by a root without content')] = failures
  throw failures.find(({ reason }) => reason !== 'OTHER_ROOT') ?? first
}

/**
 * @param key that made the signature, where no certificate is wanted, but an entry in the log.
 * @throws RefusedEvidence, and whatever the library throws: errors of its own, TypeError, plain Error
 */
async function verifyBy(proof: Proof, root: TrustMaterial, key: KeyObject | undefined): Promise<readonly Extension[]> {
  const { bundleFromJSON, toSignedEntity, Verifier } = await loadLibrary()
  const { signature, tlogEntries, timestamps, ...entity } = toSignedEntity(bundleFromJSON(proof.bundle))
  const isLogged = key !== undefined || root.tlogs.length > 0
  const measured: SignedEntity = {
    ...entity,
    // The library lets OpenSSL choose the hash, which is wrong for P-384 and P-521.
    signature: Object.assign(signature, {
      verifySignature: (by: KeyObject) => isSignedBy(by, proof.signed, proof.signature),
    }),
    // A root without logs cannot say anything about an entry, nor about the time in it. A key needs no time.
    tlogEntries: isLogged ? tlogEntries : [],
    timestamps: key ? [] : timestamps.filter(({ $case }) => isLogged || $case === 'timestamp-authority'),
  }
  const thresholds = {
    tlogThreshold: isLogged ? 1 : 0,
    ctlogThreshold: key === undefined && root.ctlogs.length > 0 ? 1 : 0,
    timestampThreshold: key ? 0 : 1,
  }
  const material = key ? { ...root, publicKey: () => ({ publicKey: key, validFor: () => true }) } : root
  // Never with the library's policy: it takes texts as regular expressions that may fit a part.
  const { identity } = new Verifier(material, thresholds).verify(measured)
  const signedBy = key ? spkiOf(key) : proof.certificate
  for (const { kindVersion, canonicalizedBody } of measured.tlogEntries) {
    const kind = `${kindVersion.kind}/${kindVersion.version}`
    if (signedBy === undefined || !verifierIn(kind, canonicalizedBody).equals(signedBy))
      throw new RefusedEvidence('UNLOGGED', 'has a log entry of another key or certificate')
  }
  return (identity?.oids ?? []).map(({ oid, value }) => ({ oid: oid?.id.join('.') ?? '', value }))
}

/** DER of the key or certificate that the log saw; the library does not compare it. */
function verifierIn(kind: string, body: Uint8Array): Buffer {
  const found = at(JSON.parse(Buffer.from(body).toString('utf8')), 'spec', ...(VERIFIERS[kind] ?? ['']))
  const raw = at(found, 'x509Certificate', 'rawBytes') ?? at(found, 'publicKey', 'rawBytes')
  if (typeof raw === 'string') return Buffer.from(raw, 'base64')
  const pem = Buffer.from(String(found), 'base64').toString('utf8')
  return pem.includes('CERTIFICATE') ? Buffer.from(derOf(pem), 'base64') : spkiOf(createPublicKey(pem))
}

/** The library's errors have a code; the reason of a refused chain is its cause. */
function explain(thrown: unknown): RefusedEvidence {
  if (thrown instanceof RefusedEvidence) return thrown
  const { message, cause } = thrown instanceof Error ? thrown : new Error(String(thrown))
  const because = cause instanceof Error ? `${message} (${cause.message})` : message
  const code = String(at(thrown, 'code') ?? '')
  return new RefusedEvidence(reasonOf(code, because), `is not proven by the trusted root: ${because}`)
}

function reasonOf(code: string, message: string): Reason {
  if (code === 'SIGNATURE_ERROR') return 'OTHER_KEY'
  if (code === 'TIMESTAMP_ERROR' || code.startsWith('TLOG_') || /\bSCTs?\b/.test(message)) return 'UNLOGGED'
  if (code === 'CERTIFICATE_ERROR') return /not valid or expired/.test(message) ? 'EXPIRED' : 'OTHER_ROOT'
  return 'MALFORMED'
}
