/** Signatures by a key: which keys are read, and which hash belongs to which. */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'
import { cut } from '../core/text.ts'
import type { Proof } from './evidence.ts'
import { RefusedEvidence } from './refusal.ts'

const SMALLEST_RSA = 2048
const ED25519_SIGNATURE = 64

/**
 * The hash by the curve, as cosign 3 signs, then SHA-256, which containers/image and older clients use for each curve:
 * https://github.com/sigstore/cosign/issues/5092
 */
const CURVES: Readonly<Record<string, readonly string[]>> = {
  prime256v1: ['sha256'],
  secp384r1: ['sha384', 'sha256'],
  secp521r1: ['sha512', 'sha256'],
}

const PEM = /-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----/g

/**
 * All public keys of a PEM text.
 * @throws Error whose message follows the name of the file or option. The text is not quoted.
 */
export function readPublicKeys(text: string): readonly KeyObject[] {
  const blocks = [...text.matchAll(PEM)]
  if (blocks.length === 0) throw new Error('holds no PEM public key (-----BEGIN PUBLIC KEY-----)')
  return blocks.map(([block, label = '']) => {
    if (!/^(?:RSA )?PUBLIC KEY$/.test(label)) throw new Error(`holds a ${label} where a PUBLIC KEY is expected`)
    let key: KeyObject
    try {
      key = createPublicKey(block)
    } catch {
      throw new Error('holds a public key that cannot be read')
    }
    if (hashesOf(key).length > 0) return key
    throw new Error('holds a public key that is not supported: use P-256, P-384, P-521, RSA of 2048 bits or Ed25519')
  })
}

/** SHA-256 of its SPKI, in hex: what names a key. */
export function fingerprint(key: KeyObject): string {
  return createHash('sha256').update(spkiOf(key)).digest('hex')
}

export function spkiOf(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' })
}

/**
 * The key that made the signature.
 * @throws RefusedEvidence OTHER_KEY, ED25519PH
 */
export function findKey(proof: Proof, keys: readonly KeyObject[]): KeyObject {
  const { signed, signature, certificate, hint } = proof
  if (certificate !== undefined)
    throw new RefusedEvidence('OTHER_KEY', 'is signed with a certificate, not by one of the keys')
  const found = keys.find((key) => isSignedBy(key, signed, signature))
  if (found !== undefined) return found
  const named = hint === undefined ? '' : Buffer.from(hint, 'base64').toString('hex')
  const suspect = keys.find((key) => key.asymmetricKeyType === 'ed25519' && [fingerprint(key), ''].includes(named))
  if (suspect === undefined || signature.length !== ED25519_SIGNATURE)
    throw new RefusedEvidence('OTHER_KEY', `is signed by another key${named && ` (it names ${cut(named, 64)})`}`)
  // cosign 3 signs with Ed25519ph, which node:crypto and cosign itself cannot verify.
  throw new RefusedEvidence(
    'ED25519PH',
    'is signed by another Ed25519 key or with Ed25519ph (cosign 3), which is not verified: sign with P-256',
  )
}

/** Whether the key made the signature, with a hash that belongs to it. */
export function isSignedBy(key: KeyObject, signed: Uint8Array, signature: Uint8Array): boolean {
  return hashesOf(key).some((hash) => verify(hash, signed, key, signature))
}

/** Hashes to try; null where the algorithm has its own. None for keys that are not accepted. */
function hashesOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): readonly (string | null)[] {
  const { namedCurve = '', modulusLength = 0 } = asymmetricKeyDetails ?? {}
  if (asymmetricKeyType === 'ed25519') return [null]
  if (asymmetricKeyType === 'rsa') return modulusLength >= SMALLEST_RSA ? ['sha256'] : []
  return (asymmetricKeyType === 'ec' && CURVES[namedCurve]) || []
}
