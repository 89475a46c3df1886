import { createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto'
import { inspect } from 'node:util'
import { describe, expect, test } from '@jest/globals'
import { Secret } from '../../../src/core/secret.ts'
import { loadSigningKey } from '../../../src/trust/signing-key.ts'
import { rsa } from '../../support/signed.ts'

const PAYLOAD = Buffer.from('what is signed')
const PASSWORD = 'correct horse'

const KEYS: Readonly<Record<string, KeyObject>> = {
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  'RSA of 2048 bits': rsa().privateKey,
  Ed25519: generateKeyPairSync('ed25519').privateKey,
}

function pem(key: KeyObject, encrypted = false): Secret {
  const cipher = encrypted ? { cipher: 'aes-256-cbc', passphrase: PASSWORD } : {}
  return new Secret(key.export({ format: 'pem', type: 'pkcs8', ...cipher }).toString())
}

describe.each(Object.keys(KEYS))('a key %s', (name) => {
  const key = KEYS[name] as KeyObject
  const check = (signature: Uint8Array) =>
    verify(name === 'Ed25519' ? null : 'sha256', PAYLOAD, createPublicKey(key), signature)

  test('signs what its public key verifies', () => {
    const signing = loadSigningKey(pem(key))
    expect(check(signing.sign(PAYLOAD))).toBe(true)
    expect(signing.publicKey.equals(createPublicKey(key))).toBe(true)
  })

  test('signs when it is encrypted and the password is given', () => {
    expect(check(loadSigningKey(pem(key, true), new Secret(PASSWORD)).sign(PAYLOAD))).toBe(true)
  })

  test('is printed nowhere', () => {
    const text = pem(key).reveal()
    const signing = loadSigningKey(new Secret(text))
    const printed = [inspect(signing, { depth: 9, showHidden: true }), JSON.stringify(signing), String(signing)].join()
    const lines = text.split('\n').filter((line) => line.length > 20 && !line.startsWith('-----'))
    expect(lines.filter((line) => printed.includes(line))).toEqual([])
    expect(printed).not.toContain('PRIVATE')
  })
})

test('PKCS#1 and SEC 1 are read as well', () => {
  const rsa = KEYS['RSA of 2048 bits']?.export({ format: 'pem', type: 'pkcs1' }).toString() ?? ''
  const ec = KEYS['P-256']?.export({ format: 'pem', type: 'sec1' }).toString() ?? ''
  for (const text of [rsa, ec, `\r\n${ec.replaceAll('\n', '\r\n')}`])
    expect(loadSigningKey(new Secret(text)).sign(PAYLOAD).length).toBeGreaterThan(60)
})

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const armour = (label: string) => `-----BEGIN ${label}-----\neyJrZGYiOnsi\n-----END ${label}-----\n`
const REFUSED: Readonly<Record<string, [text: string, why: RegExp, password?: string]>> = {
  'P-384': [pem(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey).reveal(), /key secp384r1; use .*P-256/],
  'P-521': [pem(generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey).reveal(), /key secp521r1/],
  'RSA of 1024 bits': [pem(rsa(1024).privateKey).reveal(), /rsa of 1024 bits; use .*2048/],
  'RSA-PSS': [pem(generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey).reveal(), /rsa-pss/],
  Ed448: [pem(generateKeyPairSync('ed448').privateKey).reveal(), /key ed448/],
  'an encrypted key without a password': [pem(pair.privateKey, true).reveal(), /^is encrypted: set sign-key-password$/],
  'an encrypted key with another password': [
    pem(pair.privateKey, true).reveal(),
    /cannot be decrypted with sign-key-password/,
    'wrong',
  ],
  "cosign's format": [armour('ENCRYPTED SIGSTORE PRIVATE KEY'), /openssl genpkey .*import-key-pair/],
  "cosign's old format": [armour('ENCRYPTED COSIGN PRIVATE KEY'), /openssl genpkey/],
  'an OpenSSH key': [armour('OPENSSH PRIVATE KEY'), /OpenSSH/],
  'a public key': [
    pair.publicKey.export({ format: 'pem', type: 'spki' }).toString(),
    /^is a public key; use a PEM private key/,
  ],
  'a certificate': [armour('CERTIFICATE'), /^is a certificate/],
  'a path': ['/run/secrets/promoter.key', /^is not a private key/],
  'a broken key': [armour('PRIVATE KEY'), /^is not a private key/],
}

test.each(Object.keys(REFUSED))('%s is refused with the way out, and not quoted', (name) => {
  const [text, why, password] = REFUSED[name] as [string, RegExp, string?]
  let message = ''
  try {
    loadSigningKey(new Secret(text), password === undefined ? undefined : new Secret(password))
  } catch (thrown) {
    message = (thrown as Error).message
  }
  expect(message).toMatch(why)
  expect(text.split('\n').filter((line) => line.length > 11 && message.includes(line))).toEqual([])
})
