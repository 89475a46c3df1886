import { createHash } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { readManifest } from '../../../src/oci/manifest.ts'
import { readEvidence } from '../../../src/trust/evidence.ts'
import { SignerVerifier } from '../../../src/trust/keyless.ts'
import {
  Attached,
  BUNDLE,
  bundleOf,
  ec,
  image,
  otherImage,
  SIGN,
  SPDX,
  signBy,
  simpleOf,
  statementOf,
} from '../../support/signed.ts'

const keys = ec()
const hex = image.descriptor.digest.slice('sha256:'.length)
const statement = statementOf() as Readonly<Record<string, unknown>>

const read = async (attached: Attached, subject = image) => readEvidence(subject, attached.all, attached.read)
const bundled = (subjects: unknown, type = SIGN) =>
  read(new Attached().bundle(bundleOf({ ...statement, subject: subjects, predicateType: type }, keys)))

function message(bytes: Uint8Array, algorithm: 'SHA2_256' | 'SHA2_384' | 'SHA2_512', signed = bytes) {
  const hash = algorithm.replace('SHA2_', 'sha')
  const messageDigest = { algorithm, digest: createHash(hash).update(bytes).digest('base64') }
  const verificationMaterial = { publicKey: {} }
  return {
    mediaType: BUNDLE,
    verificationMaterial,
    messageSignature: { messageDigest, signature: signBy(keys, signed) },
  }
}

describe('a statement', () => {
  test.each<readonly [string, unknown]>([
    ['of another image', [{ digest: { sha256: '0'.repeat(64) } }]],
    ['of nothing', []],
    ['whose subjects are rubbish', [null, 5, 'x', {}, { digest: null }, { digest: { sha256: { hex } } }]],
    ['with the digest under another algorithm', [{ digest: { sha512: hex, gitCommit: hex } }]],
    ['with the digest inherited', [{ digest: JSON.parse(`{"__proto__":{"sha256":"${hex}"}}`) }]],
    ['with the digest in capitals', [{ digest: { sha256: hex.toUpperCase() } }]],
    ['with the digest and its algorithm', [{ digest: { sha256: `sha256:${hex}` } }]],
  ])('%s is OTHER_IMAGE', async (_, subjects) => {
    expect(await bundled(subjects)).toMatchObject({ evidence: [], refusals: [{ reason: 'OTHER_IMAGE' }] })
  })

  test('of several images names those with our digest', async () => {
    const ours = { name: 'registry.example/ns/app', digest: { sha256: hex }, annotations: { team: 'payments' } }
    const subjects = [
      { name: 'other', digest: { sha256: '00' } },
      ours,
      { ...ours, name: 'mirror', annotations: 5 },
      { digest: ours.digest },
    ]
    expect(await bundled(subjects)).toMatchObject({
      evidence: [{ names: ['registry.example/ns/app', 'mirror'] }],
    })
  })

  test('is a signature by its predicate type alone', async () => {
    const subjects = [{ digest: { sha256: hex } }]
    const kinds = async (type: string) => (await bundled(subjects, type)).evidence.map(({ kind }) => kind)
    expect(await kinds(SIGN)).toEqual(['signature'])
    expect(await kinds(SPDX)).toEqual(['attestation'])
    expect(await kinds(`${SIGN}/`)).toEqual(['attestation'])
  })

  test('of the older version', async () => {
    const old = { ...statement, _type: 'https://in-toto.io/Statement/v0.1' }
    expect((await read(new Attached().bundle(bundleOf(old, keys)))).evidence).toHaveLength(1)
  })

  test('of an image that is named by SHA-512', async () => {
    const digest = `sha512:${createHash('sha512').update(image.bytes).digest('hex')}` as const
    const subject = readManifest(image.bytes, undefined, digest)
    const named = (sha512: string) =>
      new Attached().bundle(bundleOf({ ...statement, subject: [{ digest: { sha512 } }] }, keys))
    expect((await read(named(digest.slice(7)), subject)).evidence).toHaveLength(1)
    expect((await read(new Attached().bundle(bundleOf(statement, keys)), subject)).refusals).toMatchObject([
      { reason: 'OTHER_IMAGE' },
    ])
  })
})

describe('simple signing', () => {
  test('of another image is OTHER_IMAGE', async () => {
    const attached = new Attached().sig(simpleOf(keys, { subject: otherImage }))
    expect(await read(attached)).toMatchObject({ evidence: [], refusals: [{ reason: 'OTHER_IMAGE' }] })
  })

  test('names its repository', async () => {
    const attached = new Attached().sig(
      simpleOf(keys, { reference: 'a.example/b:1', optional: { team: 'payments', n: 1 } }),
    )
    expect(await read(attached)).toMatchObject({
      evidence: [{ names: ['a.example/b:1'], kind: 'signature' }],
    })
  })
})

describe('a signature over the manifest', () => {
  const verdicts = async (document: unknown) => {
    const { evidence, refusals } = await read(new Attached().bundle(document))
    const signer = { keys: [keys.publicKey], log: undefined }
    const found = await Promise.all(evidence.map((each) => new SignerVerifier().verify(each, signer)))
    return [
      ...found.map((each) => ('signer' in each ? 'accepted' : each.refusal.reason)),
      ...refusals.map(({ reason }) => reason),
    ]
  }

  test.each(['SHA2_256', 'SHA2_384', 'SHA2_512'] as const)('that names it by %s', async (algorithm) => {
    expect(await verdicts(message(image.bytes, algorithm))).toEqual(['accepted'])
  })

  test('of another image, also where the digest is ours', async () => {
    expect(await verdicts(message(otherImage.bytes, 'SHA2_256'))).toEqual(['OTHER_IMAGE'])
    expect(await verdicts(message(image.bytes, 'SHA2_256', otherImage.bytes))).toEqual(['OTHER_KEY'])
  })
})
