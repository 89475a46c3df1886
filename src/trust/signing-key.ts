/** The private key that signs promotion records and image signatures. */
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import type { Secret } from '../core/secret.ts'

const WANTED = 'use a PEM private key: P-256, RSA of at least 2048 bits, or Ed25519'
const SMALLEST_RSA = 2048
/** scrypt and XSalsa20-Poly1305, which node:crypto does not have. */
const COSIGN =
  'is in the format of cosign, which cannot be read: make a key with "openssl genpkey -algorithm EC -pkeyopt ' +
  'ec_paramgen_curve:P-256"; "cosign import-key-pair" takes it too'

/** What is no private key, or none that OpenSSL reads, by the label of its PEM. */
const REFUSED: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN ENCRYPTED (?:SIGSTORE|COSIGN) PRIVATE KEY-----/, COSIGN],
  [/-----BEGIN OPENSSH PRIVATE KEY-----/, `is an OpenSSH key; ${WANTED}`],
  [/-----BEGIN CERTIFICATE-----/, `is a certificate; ${WANTED}`],
  [/-----BEGIN (?:RSA )?PUBLIC KEY-----/, `is a public key; ${WANTED}`],
]
const ENCRYPTED = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m

/** A key that was checked. It never leaves this object: not by printing, not as JSON. */
export class SigningKey {
  readonly #key: KeyObject
  readonly publicKey: KeyObject

  constructor(key: KeyObject) {
    this.#key = key
    this.publicKey = createPublicKey(key)
  }

  /** SHA-256 with ECDSA or RSA PKCS#1 v1.5; Ed25519 hashes by itself. cosign and containers/image verify all three. */
  sign(payload: Uint8Array): Buffer {
    return sign(this.#key.asymmetricKeyType === 'ed25519' ? null : 'sha256', payload, this.#key)
  }
}

/**
 * @param pem PKCS#8, also encrypted, PKCS#1 or SEC 1.
 * @throws Error whose message follows the name of the option and quotes nothing of the key.
 */
export function loadSigningKey(pem: Secret, password?: Secret): SigningKey {
  const text = pem.reveal()
  const refused = REFUSED.find(([pattern]) => pattern.test(text))?.[1]
  if (refused !== undefined) throw new Error(refused)
  const isEncrypted = ENCRYPTED.test(text)
  if (isEncrypted && password === undefined) throw new Error('is encrypted: set sign-key-password')
  let key: KeyObject
  try {
    key = createPrivateKey({ key: text, format: 'pem', ...(password && { passphrase: password.reveal() }) })
  } catch {
    throw new Error(isEncrypted ? 'cannot be decrypted with sign-key-password' : `is not a private key; ${WANTED}`)
  }
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {}
  const kind =
    namedCurve ?? (modulusLength > 0 ? `${key.asymmetricKeyType} of ${modulusLength} bits` : key.asymmetricKeyType)
  const isRsa = key.asymmetricKeyType === 'rsa' && modulusLength >= SMALLEST_RSA
  if (isRsa || namedCurve === 'prime256v1' || kind === 'ed25519') return new SigningKey(key)
  throw new Error(`is a key ${kind}; ${WANTED}`)
}
