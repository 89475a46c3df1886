import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { Secret } from '../../../src/core/secret.ts'
import type { Digest } from '../../../src/oci/digest.ts'
import type { Descriptor } from '../../../src/oci/manifest.ts'
import { readEvidence } from '../../../src/trust/evidence.ts'
import { SignerVerifier } from '../../../src/trust/keyless.ts'
import { type CheckedManifest, findingLine, judge } from '../../../src/trust/policy.ts'
import { parsePolicy } from '../../../src/trust/policy-file.ts'
import {
  attestationAttachment,
  bundleAttachment,
  type NewAttachment,
  type Promotion,
  promotionStatement,
  readRecord,
  signatureAttachment,
  signatureStatement,
} from '../../../src/trust/record.ts'
import { loadSigningKey } from '../../../src/trust/signing-key.ts'
import { image } from '../../support/signed.ts'
import { candidate, NOW } from './judging.ts'

/** What is written at one promotion is what the next one verifies and asks for. */

const KEYS: Readonly<Record<string, KeyObject>> = {
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  RSA: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  Ed25519: generateKeyPairSync('ed25519').privateKey,
}
const { digest } = image.descriptor
const CREATED = new Date(NOW - 60_000).toISOString()
const PROMOTION: Promotion = {
  action: 'promote',
  digest,
  source: 'registry.dev.example/dev/api',
  destination: 'registry.test.example/team/api',
  tags: [{ tag: '1', previous: null }],
  promotedOn: CREATED,
  run: { startedOn: CREATED },
  version: '0.1.0',
  verified: [],
}

const NEXT = `version: 1
signers: { promoter: { keys: [promoter.pub] } }
rules:
  - attested: [{ type: promotion, by: [promoter], max-age: 1d, where: { destination.name: registry.test.example/* } }]
`
const SIGNED = `version: 1
signers: { promoter: { keys: [promoter.pub] } }
rules: [{ signed: [{ by: [promoter], identity: [registry.test.example/team/*] }] }]
`

/** As the run does it: read what is attached, verify it for each signer, judge. */
async function ask(policyText: string, pem: string, attachments: readonly NewAttachment[]) {
  const policy = parsePolicy(
    policyText,
    () => pem,
    (problem) => expect(problem).toBe(''),
  )
  if (policy === undefined) throw new Error('no policy')
  const blobs = new Map(attachments.flatMap((each) => each.blobs.map((blob) => [blob.descriptor.digest, blob.bytes])))
  const attached = attachments.map(({ manifest, tag = null }) => ({ manifest, tag }))
  const read = async (blob: Descriptor) => blobs.get(blob.digest as Digest)
  const { evidence, refusals } = await readEvidence(image, attached, read)
  const verifier = new SignerVerifier()
  const checked: CheckedManifest = {
    digest,
    refusals,
    evidence: await Promise.all(
      evidence.map(async (each) => {
        const verdicts = [...policy.signers].map(
          async ([name, signer]) => [name, await verifier.verify(each, signer)] as const,
        )
        return { ...each, verdicts: new Map(await Promise.all(verdicts)) }
      }),
    ),
  }
  const { findings, refusal } = judge(policy, candidate(checked), NOW)
  return { evidence, refusals, lines: findings.map(findingLine), code: refusal?.code }
}

describe.each(Object.keys(KEYS))('with a key %s', (name) => {
  const key = KEYS[name] as KeyObject
  const signing = loadSigningKey(new Secret(key.export({ format: 'pem', type: 'pkcs8' }).toString()))
  const pem = signing.publicKey.export({ format: 'pem', type: 'spki' }).toString()
  const other = generateKeyPairSync('ed25519').publicKey.export({ format: 'pem', type: 'spki' }).toString()
  const statement = promotionStatement(PROMOTION)
  const forms: readonly (readonly [string, NewAttachment])[] = [
    ['a bundle', bundleAttachment(image.descriptor, statement, signing, CREATED)],
    ['a layer under .att', attestationAttachment(digest, statement, signing)],
  ]

  test.each(forms)('a record as %s', async (_, attachment) => {
    const { evidence, refusals, lines, code } = await ask(NEXT, pem, [attachment])
    expect(refusals).toEqual([])
    expect(code).toBeUndefined()
    expect(lines).toEqual([expect.stringMatching(/^rule 1: promotion by promoter .* — yes, key [0-9a-f]{8}…$/)])
    expect(readRecord(evidence[0]?.predicate)).toMatchObject({
      action: 'promote',
      tags: [{ tag: '1', previous: null }],
    })
    expect((await ask(NEXT, other, [attachment])).code).toBe('POLICY')
    expect((await ask(SIGNED, pem, [attachment])).code).toBe('SIGNATURE_MISSING')
  })

  test('an image signature under .sig, by its name', async () => {
    const signature = signatureAttachment(digest, 'registry.test.example/team/api', ['1', 'stable'], signing)
    expect((await ask(SIGNED, pem, [signature])).code).toBeUndefined()
    expect((await ask(SIGNED, other, [signature])).code).toBe('SIGNATURE_REJECTED')
    expect((await ask(NEXT, pem, [signature])).code).toBe('POLICY')
    const elsewhere = signatureAttachment(digest, 'registry.other.example/api', ['1'], signing)
    expect((await ask(SIGNED, pem, [elsewhere])).code).toBe('SIGNATURE_REJECTED')
  })

  test('an image signature in a bundle, which names no repository', async () => {
    const signature = bundleAttachment(image.descriptor, signatureStatement(digest), signing, CREATED)
    expect((await ask(SIGNED.replace(/, identity: \[[^\]]*\]/, ''), pem, [signature])).code).toBeUndefined()
    expect((await ask(SIGNED, pem, [signature])).code).toBe('SIGNATURE_REJECTED')
  })
})
