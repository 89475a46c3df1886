import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { readEvidence } from '../../../src/trust/evidence.ts'
import { fingerprint, readPublicKeys } from '../../../src/trust/keyed.ts'
import { SignerVerifier } from '../../../src/trust/keyless.ts'
import {
  Attached,
  bundleOf,
  ec,
  ed25519,
  image,
  type KeyPair,
  rsa,
  simpleOf,
  statementOf,
} from '../../support/signed.ts'

const build = ec()

async function reasons(attached: Attached, ...signers: readonly KeyPair[]): Promise<readonly string[]> {
  const { evidence, refusals } = await readEvidence(image, attached.all, attached.read)
  const signer = { keys: signers.map(({ publicKey }) => publicKey), log: undefined }
  const verdicts = await Promise.all(evidence.map((each) => new SignerVerifier().verify(each, signer)))
  const words = verdicts.map((each) => ('signer' in each ? 'accepted' : each.refusal.reason))
  return [...words, ...refusals.map(({ reason }) => reason)]
}

describe('a signature', () => {
  test.each<readonly [string, KeyPair, string | undefined]>([
    ['P-256', build, undefined],
    ['P-384', ec('P-384'), undefined],
    ['P-384 with SHA-256', ec('P-384'), 'sha256'],
    ['P-521', ec('P-521'), undefined],
    ['P-521 with SHA-256', ec('P-521'), 'sha256'],
    ['RSA', rsa(), undefined],
    ['RSA of 4096 bits', rsa(4096), undefined],
    ['Ed25519', ed25519(), undefined],
  ])('by %s', async (_, keys, hash) => {
    const options = hash === undefined ? {} : { hash }
    expect(await reasons(new Attached().bundle(bundleOf(statementOf(), keys, options)), keys)).toEqual(['accepted'])
    expect(await reasons(new Attached().sig(simpleOf(keys, options)), keys)).toEqual(['accepted'])
    expect(await reasons(new Attached().att(bundleOf(statementOf(), keys, options).dsseEnvelope), keys)).toEqual([
      'accepted',
    ])
    const attached = new Attached().sig(simpleOf(keys, options)).bundle(bundleOf(statementOf(), keys, options))
    expect(await reasons(attached, ec(), ec('P-384'), rsa())).toEqual(['OTHER_KEY', 'OTHER_KEY'])
  })

  test('by any of the keys', async () => {
    expect(await reasons(new Attached().sig(simpleOf(build)), rsa(), ed25519(), build)).toEqual(['accepted'])
  })

  test('beside that of another key, in one manifest', async () => {
    const attached = new Attached().sig(simpleOf(ec()), simpleOf(build))
    expect(await reasons(attached, build)).toEqual(['OTHER_KEY', 'accepted'])
  })

  test('beside garbage', async () => {
    const attached = new Attached().bundle(null).bundle({ a: 1 }).bundle(bundleOf(statementOf(), build))
    expect(await reasons(attached, build)).toEqual(['accepted', 'MALFORMED', 'MALFORMED'])
  })

  test('whose content was changed', async () => {
    const bundle = bundleOf(statementOf(), build)
    const payload = Buffer.from(JSON.stringify({ ...statementOf(), extra: 1 })).toString('base64')
    const changed = { ...bundle, dsseEnvelope: { ...bundle.dsseEnvelope, payload } }
    const [content, annotations] = simpleOf(build)
    const attached = new Attached().bundle(changed).sig([`${content} `, annotations])
    expect(await reasons(attached, build)).toEqual(['OTHER_KEY', 'OTHER_KEY'])
  })

  test('over the content alone, without the type of the envelope', async () => {
    const bundle = bundleOf(statementOf(), build)
    const [, { 'dev.cosignproject.cosign/signature': sig } = {}] = simpleOf(build)
    const changed = { ...bundle, dsseEnvelope: { ...bundle.dsseEnvelope, signatures: [{ sig }] } }
    expect(await reasons(new Attached().bundle(changed), build)).toEqual(['OTHER_KEY'])
  })

  test('whose hint names another key is accepted, for a hint is not signed', async () => {
    const bundle = bundleOf(statementOf(), build)
    const verificationMaterial = { publicKey: { hint: 'eA==' }, tlogEntries: [] }
    expect(await reasons(new Attached().bundle({ ...bundle, verificationMaterial }), build)).toEqual(['accepted'])
  })

  test('by another Ed25519 key, or Ed25519ph', async () => {
    const [mine, other] = [ed25519(), ed25519()]
    expect(await reasons(new Attached().sig(simpleOf(other)), mine)).toEqual(['ED25519PH'])
    expect(await reasons(new Attached().bundle(bundleOf(statementOf(), other)), mine)).toEqual(['OTHER_KEY'])
    expect(await reasons(new Attached().sig(simpleOf(build)), mine)).toEqual(['OTHER_KEY'])
  })
})

describe('public keys', () => {
  const pem = ({ publicKey }: KeyPair, type: 'spki' | 'pkcs1' = 'spki') =>
    publicKey.export({ format: 'pem', type }).toString()

  test('are all keys of the text', () => {
    const keys = [build, ec('P-384'), ec('P-521'), rsa(), ed25519()]
    const text = `# of the build\r\n${keys.map((each) => pem(each)).join('\n\n')}`
    expect(readPublicKeys(text).map(fingerprint)).toEqual(keys.map(({ publicKey }) => fingerprint(publicKey)))
    expect(readPublicKeys(pem(rsa(), 'pkcs1'))).toHaveLength(1)
  })

  test.each([
    ['nothing', '', 'holds no PEM public key (-----BEGIN PUBLIC KEY-----)'],
    ['a path', 'build.pub', 'holds no PEM public key (-----BEGIN PUBLIC KEY-----)'],
    [
      'a private key',
      build.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
      'holds a PRIVATE KEY where a PUBLIC KEY is expected',
    ],
    [
      'a certificate',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----',
      'holds a CERTIFICATE where a PUBLIC KEY is expected',
    ],
    [
      'a key and a certificate',
      `${pem(build)}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----`,
      'holds a CERTIFICATE where a PUBLIC KEY is expected',
    ],
    [
      'rubbish in the frame',
      '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----',
      'holds a public key that cannot be read',
    ],
  ])('%s', (_, text, message) => expect(() => readPublicKeys(text)).toThrow(message))

  test.each<readonly [string, KeyPair]>([
    ['RSA of 1024 bits', rsa(1024)],
    ['secp256k1', ec('secp256k1')],
    ['X25519', generateKeyPairSync('x25519')],
    ['Ed448', generateKeyPairSync('ed448')],
    ['RSA-PSS', generateKeyPairSync('rsa-pss', { modulusLength: 2048 })],
  ])('%s is not supported', (_, keys) => expect(() => readPublicKeys(pem(keys))).toThrow('is not supported'))
})
