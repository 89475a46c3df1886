import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { Ajv, type SchemaObject } from 'ajv'
import { Secret } from '../../../src/core/secret.ts'
import type { Digest } from '../../../src/oci/digest.ts'
import { type Descriptor, MEDIA_TYPE } from '../../../src/oci/manifest.ts'
import { hasSignature } from '../../../src/trust/examine.ts'
import { mergeSignatures } from '../../../src/trust/merge-signatures.ts'
import {
  attestationAttachment,
  bundleAttachment,
  formsToWrite,
  isRecorded,
  type NewAttachment,
  type Promotion,
  promotionStatement,
  readRecord,
  signatureAttachment,
  signatureStatement,
} from '../../../src/trust/record.ts'
import { loadSigningKey } from '../../../src/trust/signing-key.ts'
import { rsa } from '../../support/signed.ts'

const DOCS = join(import.meta.dirname, '..', '..', '..', '..', 'docs')
const HEX = '5f'.repeat(32)
const DIGEST: Digest = `sha256:${HEX}`
const BEFORE: Digest = `sha256:${'0b'.repeat(32)}`
const SUBJECT: Descriptor = { mediaType: MEDIA_TYPE.ociManifest, digest: DIGEST, size: 500 }
const PROMOTION: Promotion = {
  action: 'promote',
  digest: DIGEST,
  source: 'registry.test.example/test/api',
  destination: 'registry.production.example/prod/api',
  tags: [
    { tag: '1.9.2', previous: BEFORE },
    { tag: 'stable', previous: null },
    { tag: 'unread', previous: 'unknown' },
  ],
  promotedOn: '2026-11-27T10:00:41Z',
  run: {
    id: 'https://github.com/acme/api/actions/runs/42/attempts/1',
    actor: 'octocat',
    startedOn: '2026-11-27T10:00:00Z',
  },
  version: '0.1.0',
  policy: `sha256:${'9c'.repeat(32)}`,
  verified: [{ rule: 1, by: 'release', kind: 'signature' }],
}
const CREATED = PROMOTION.promotedOn

const KEYS: Readonly<Record<string, KeyObject>> = {
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  RSA: rsa().privateKey,
  Ed25519: generateKeyPairSync('ed25519').privateKey,
}
const signing = (key: KeyObject) => loadSigningKey(new Secret(key.export({ format: 'pem', type: 'pkcs8' }).toString()))
const P256 = signing(KEYS['P-256'] as KeyObject)

const json = (bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString('utf8'))
const manifestOf = ({ manifest }: NewAttachment) => json(manifest.bytes)
const contentOf = ({ blobs }: NewAttachment, at = 1) => blobs[at]?.bytes ?? Buffer.alloc(0)

/** What a verifier does: PAE of the payload as it stands. */
function isSigned(envelope: { payload: string; payloadType: string; signatures: { sig: string }[] }, key: KeyObject) {
  const payload = Buffer.from(envelope.payload, 'base64')
  const head = `DSSEv1 ${envelope.payloadType.length} ${envelope.payloadType} ${payload.length} `
  const hash = key.asymmetricKeyType === 'ed25519' ? null : 'sha256'
  const signature = Buffer.from(envelope.signatures[0]?.sig ?? '', 'base64')
  return verify(hash, Buffer.concat([Buffer.from(head), payload]), createPublicKey(key), signature)
}

describe('the statement', () => {
  const schema = JSON.parse(readFileSync(join(DOCS, 'promotion-record.schema.json'), 'utf8')) as SchemaObject
  const closed = (part: unknown): unknown => {
    if (Array.isArray(part)) return part.map(closed)
    if (typeof part !== 'object' || part === null) return part
    const inner = Object.fromEntries(Object.entries(part).map(([key, value]) => [key, closed(value)]))
    return inner.type === 'object' ? { ...inner, additionalProperties: false } : inner
  }
  const validate = new Ajv({ allowUnionTypes: true }).compile(closed(schema) as SchemaObject)
  const problems = (statement: unknown) => (validate(statement) ? [] : validate.errors)

  test('is that of the documentation, member by member', () => {
    const page = readFileSync(join(DOCS, 'promotion-record.md'), 'utf8')
    const documented = JSON.parse(/```json\n([\s\S]*?)```/.exec(page)?.[1] ?? '')
    const tags = PROMOTION.tags.slice(0, 2)
    const shape = (text: unknown) => JSON.stringify(text).replace(/[0-9a-f]{64}/g, 'HEX')
    expect(shape(promotionStatement({ ...PROMOTION, tags }))).toBe(shape(documented))
    expect(problems(documented)).toEqual([])
  })

  test.each<[string, Partial<Promotion>]>([
    ['with everything', {}],
    ['from and into an OCI layout, whose path is not told', { source: undefined, destination: undefined }],
    [
      'without a policy or a known run',
      { policy: undefined, verified: [], run: { startedOn: '2026-11-27T10:00:00Z' } },
    ],
    ['of a rollback', { action: 'rollback' }],
    ['of a sha512 digest', { digest: `sha512:${'a1'.repeat(64)}` }],
  ])('fits its JSON Schema %s', (_, change) => {
    const statement = promotionStatement({ ...PROMOTION, ...change })
    expect(problems(JSON.parse(JSON.stringify(statement)))).toEqual([])
    expect(readRecord(statement.predicate)).toBeDefined()
  })

  test('tells a new tag from one that was not read', () => {
    const { tags } = promotionStatement(PROMOTION).predicate as { tags: object[] }
    expect(tags).toEqual([
      { tag: '1.9.2', previous: { name: PROMOTION.destination, digest: { sha256: '0b'.repeat(32) } } },
      { tag: 'stable', previous: null },
      { tag: 'unread' },
    ])
  })
})

describe.each(Object.keys(KEYS))('signed with a key %s', (name) => {
  const key = KEYS[name] as KeyObject
  const signer = signing(key)
  const statement = promotionStatement(PROMOTION)

  test('a bundle refers to the image and holds one signature, as cosign 3 writes it', () => {
    const attachment = bundleAttachment(SUBJECT, statement, signer, CREATED)
    const type = 'application/vnd.dev.sigstore.bundle.v0.3+json'
    const empty = 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'
    const payload = contentOf(attachment)
    expect(manifestOf(attachment)).toEqual({
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociManifest,
      artifactType: type,
      config: { mediaType: 'application/vnd.oci.empty.v1+json', digest: empty, size: 2 },
      layers: [{ mediaType: type, digest: attachment.blobs[1]?.descriptor.digest, size: payload.length }],
      subject: SUBJECT,
      annotations: {
        'dev.sigstore.bundle.content': 'dsse-envelope',
        'dev.sigstore.bundle.predicateType': statement.predicateType,
        'org.opencontainers.image.created': CREATED,
      },
    })
    const spki = createPublicKey(key).export({ format: 'der', type: 'spki' })
    const { mediaType, verificationMaterial, dsseEnvelope } = json(payload)
    expect(mediaType).toBe(type)
    expect(verificationMaterial).toEqual({
      publicKey: { hint: createHash('sha256').update(spki).digest('base64') },
      tlogEntries: [],
    })
    expect(dsseEnvelope.signatures).toHaveLength(1)
    expect(isSigned(dsseEnvelope, key)).toBe(true)
    expect(json(Buffer.from(dsseEnvelope.payload, 'base64'))).toEqual(JSON.parse(JSON.stringify(statement)))
    expect(attachment.tag).toBeUndefined()
  })

  test('a layer under .att holds the same envelope', () => {
    const attachment = attestationAttachment(DIGEST, statement, signer)
    expect(attachment.tag).toBe(`sha256-${HEX}.att`)
    expect(manifestOf(attachment).layers[0].annotations).toEqual({
      'dev.cosignproject.cosign/signature': '',
      predicateType: statement.predicateType,
    })
    expect(isSigned(json(contentOf(attachment)), key)).toBe(true)
  })

  test('an image signature is a layer for each tag, over exactly its bytes, with repository:tag', () => {
    const attachment = signatureAttachment(DIGEST, 'svc:5000/prod/api', ['1.9.2', 'stable'], signer)
    expect(attachment.tag).toBe(`sha256-${HEX}.sig`)
    const { layers } = manifestOf(attachment) as { layers: Descriptor[] }
    expect(layers).toHaveLength(2)
    const identities = layers.map((layer, at) => {
      const bytes = contentOf(attachment, at + 1)
      const signature = Buffer.from(layer.annotations?.['dev.cosignproject.cosign/signature'] ?? '', 'base64')
      expect(verify(name === 'Ed25519' ? null : 'sha256', bytes, createPublicKey(key), signature)).toBe(true)
      return json(bytes)
    })
    expect(identities[1]).toEqual({
      critical: {
        identity: { 'docker-reference': 'svc:5000/prod/api:stable' },
        image: { 'docker-manifest-digest': DIGEST },
        type: 'cosign container image signature',
      },
      optional: null,
    })
  })
})

test('the image signature in a bundle counts as a signature, and the record does not', async () => {
  const isSigned = ({ manifest, blobs }: NewAttachment) => {
    const subject = { manifest: { ...manifest, descriptor: SUBJECT }, attachments: [{ manifest, tag: null }] }
    return hasSignature(subject, async ({ digest }) => blobs.find((blob) => blob.descriptor.digest === digest)?.bytes)
  }
  expect(await isSigned(bundleAttachment(SUBJECT, signatureStatement(DIGEST), P256, CREATED))).toBe(true)
  expect(await isSigned(signatureAttachment(DIGEST, 'registry.example/prod/api', ['1'], P256))).toBe(true)
  expect(await isSigned(bundleAttachment(SUBJECT, promotionStatement(PROMOTION), P256, CREATED))).toBe(false)
})

test('what is there stays: both signatures are in the merged manifest', () => {
  const theirs = signatureAttachment(DIGEST, 'registry.example/prod/api', ['1'], signing(KEYS.RSA as KeyObject))
  const ours = signatureAttachment(DIGEST, 'registry.example/prod/api', ['1'], P256)
  const merged = mergeSignatures(theirs.manifest, ours.manifest)
  expect(json(merged?.manifest.bytes ?? Buffer.alloc(0)).layers).toHaveLength(2)
})

test.each([
  ['nothing', { bundles: false, tags: false }, 'bundle', ['sig'], ['sig', 'bundle']],
  ['bundles', { bundles: true, tags: false }, 'bundle', ['sig', 'bundle'], ['sig', 'bundle']],
  ['the old form', { bundles: false, tags: true }, 'att', ['sig'], ['sig']],
  ['both', { bundles: true, tags: true }, 'bundle', ['sig', 'bundle'], ['sig', 'bundle']],
] as const)('where the image carries %s', (_, carried, record, image, both) => {
  expect(formsToWrite(carried, 'record')).toEqual({ record, signature: [] })
  expect(formsToWrite(carried, 'image')).toEqual({ record: undefined, signature: image })
  expect(formsToWrite(carried, 'both')).toEqual({ record, signature: both })
})

describe('a record that is there already', () => {
  const recordOf = (change: Partial<Promotion> = {}) => {
    const record = readRecord(promotionStatement({ ...PROMOTION, ...change }).predicate)
    if (record === undefined) throw new Error('not a record')
    return record
  }

  test('is not written again when it says the same', () => {
    const later = { ...PROMOTION, promotedOn: '2026-12-01T00:00:00Z', run: { startedOn: CREATED }, version: '9.9.9' }
    expect(isRecorded([recordOf()], later)).toBe(true)
    expect(isRecorded([recordOf()], { ...later, tags: [...PROMOTION.tags].reverse() })).toBe(true)
    expect(isRecorded([], later)).toBe(false)
  })

  test.each<[string, Partial<Promotion>]>([
    ['another source', { source: 'registry.test.example/test/other' }],
    ['another destination', { destination: 'registry.production.example/prod/other' }],
    ['another tag', { tags: [{ tag: '1.9.3', previous: BEFORE }] }],
    ['one tag less', { tags: PROMOTION.tags.slice(1) }],
    ['another digest before', { tags: PROMOTION.tags.map((each) => ({ ...each, previous: null })) }],
    ['another policy', { policy: undefined }],
    ['another action', { action: 'rollback' }],
  ])('is written again for %s', (_, change) => {
    expect(isRecorded([recordOf()], { ...PROMOTION, ...change })).toBe(false)
  })

  test('does not count when the tag went back since', () => {
    const promoted = recordOf()
    const back = recordOf({ action: 'rollback', promotedOn: '2026-11-28T10:00:00Z' })
    expect(isRecorded([promoted, back], PROMOTION)).toBe(false)
    expect(isRecorded([back, promoted], PROMOTION)).toBe(false)
  })

  test('counts beside records of other destinations, which travel along', () => {
    const onwards = recordOf({ destination: 'registry.other.example/api', promotedOn: '2026-11-29T10:00:00Z' })
    expect(isRecorded([onwards, recordOf()], PROMOTION)).toBe(true)
  })
})

test.each<[string, unknown]>([
  ['null', null],
  ['a number', 5],
  ['an empty map', {}],
  ['a date that is none', { ...promotionStatement(PROMOTION).predicate, promotedOn: 'yesterday' }],
  ['tags that are none', { ...promotionStatement(PROMOTION).predicate, tags: 'latest' }],
])('a predicate of %s is not a record', (_, predicate) => expect(readRecord(predicate)).toBeUndefined())

test('members that a later version adds are no hindrance', () => {
  expect(readRecord({ ...promotionStatement(PROMOTION).predicate, ticket: 'OPS-7', run: undefined })).toBeDefined()
})
