import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { Secret } from '../../../src/core/secret.ts'
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
import { image, rsa } from '../../support/signed.ts'
import { ask, NOW, policyOf } from './judging.ts'

/** What is written at one promotion is what the next one verifies and asks for. */

const KEYS: Readonly<Record<string, KeyObject>> = {
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  RSA: rsa().privateKey,
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

async function asked(policy: string, pem: string, attachments: readonly NewAttachment[]) {
  const blobs = new Map(attachments.flatMap((each) => each.blobs.map((blob) => [blob.descriptor.digest, blob.bytes])))
  const attached = attachments.map(({ manifest, tag = null }) => ({ manifest, tag }))
  return ask(
    policyOf(policy, () => pem),
    image,
    attached,
    async (blob) => blobs.get(blob.digest),
  )
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
    const { evidence, refusals, lines, answer } = await asked(NEXT, pem, [attachment])
    expect(refusals).toEqual([])
    expect(answer).toBe('yes')
    expect(lines).toEqual([expect.stringMatching(/^rule 1: promotion by promoter .* — yes, key [0-9a-f]{8}…$/)])
    expect(readRecord(evidence[0]?.predicate)).toMatchObject({
      action: 'promote',
      tags: [{ tag: '1', previous: null }],
    })
    expect((await asked(NEXT, other, [attachment])).answer).toBe('POLICY')
    expect((await asked(SIGNED, pem, [attachment])).answer).toBe('SIGNATURE_MISSING')
  })

  test('an image signature under .sig, by its name', async () => {
    const signature = signatureAttachment(digest, 'registry.test.example/team/api', ['1', 'stable'], signing)
    expect((await asked(SIGNED, pem, [signature])).answer).toBe('yes')
    expect((await asked(SIGNED, other, [signature])).answer).toBe('SIGNATURE_REJECTED')
    expect((await asked(NEXT, pem, [signature])).answer).toBe('POLICY')
    const elsewhere = signatureAttachment(digest, 'registry.other.example/api', ['1'], signing)
    expect((await asked(SIGNED, pem, [elsewhere])).answer).toBe('SIGNATURE_REJECTED')
  })

  test('an image signature in a bundle, which names no repository', async () => {
    const signature = bundleAttachment(image.descriptor, signatureStatement(digest), signing, CREATED)
    expect((await asked(SIGNED.replace(/, identity: \[[^\]]*\]/, ''), pem, [signature])).answer).toBe('yes')
    expect((await asked(SIGNED, pem, [signature])).answer).toBe('SIGNATURE_REJECTED')
  })
})
