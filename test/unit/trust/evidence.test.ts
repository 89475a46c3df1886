import { describe, expect, test } from '@jest/globals'
import { PromoteError } from '../../../src/core/errors.ts'
import { readEvidence } from '../../../src/trust/evidence.ts'
import {
  Attached,
  BUNDLE,
  blobOf,
  bundleOf,
  DSSE,
  ec,
  image,
  SIMPLE,
  SPDX,
  simpleOf,
  statementOf,
} from '../../support/signed.ts'

const keys = ec()
const signature = bundleOf(statementOf(), keys)
const sbom = bundleOf(statementOf(SPDX, { name: 'app' }), keys)
const MIB = 1024 * 1024

async function evidenceOf(attached: Attached, read = attached.read) {
  return readEvidence(image, attached.all, read)
}

async function reasonsOf(attached: Attached): Promise<readonly string[]> {
  const { evidence, refusals } = await evidenceOf(attached)
  expect(evidence).toEqual([])
  return refusals.map(({ reason }) => reason)
}

describe('evidence is read', () => {
  test('in four forms', async () => {
    const attached = new Attached().bundle(signature).bundle(sbom).sig(simpleOf(keys)).att(sbom.dsseEnvelope)
    const { evidence, refusals } = await evidenceOf(attached)
    expect(refusals).toEqual([])
    const [one, two, three, four] = attached.all.map(({ manifest }) => manifest.descriptor.digest)
    const names = ['registry.example/ns/app']
    expect(evidence).toMatchObject([
      { form: 'bundle', kind: 'signature', attachment: one, names: [] },
      { form: 'bundle', kind: 'attestation', attachment: two, predicateType: SPDX, predicate: { name: 'app' } },
      { form: 'sig', kind: 'signature', attachment: three, predicateType: undefined, names },
      { form: 'att', kind: 'attestation', attachment: four, predicateType: SPDX, predicate: { name: 'app' } },
    ])
  })

  test('by what is signed, not by what an annotation says', async () => {
    const { evidence } = await evidenceOf(
      new Attached().att(sbom.dsseEnvelope, { predicateType: 'https://other.example' }),
    )
    expect(evidence).toMatchObject([{ kind: 'attestation', predicateType: SPDX }])
  })

  test('from each layer of a manifest', async () => {
    const { evidence } = await evidenceOf(new Attached().sig(simpleOf(keys), simpleOf(ec())))
    expect(evidence).toHaveLength(2)
  })

  test('and nothing else is: SBOMs without a signature, images, simple signing under .att', async () => {
    const attached = new Attached()
      .add(null, [['application/spdx+json', '{}', {}]], 'application/spdx+json')
      .add(null, [['application/vnd.in-toto+json', '{}', {}]], 'application/vnd.in-toto+json')
      .add('.att', [[SIMPLE, ...simpleOf(keys)]])
    expect(await evidenceOf(attached)).toEqual({ evidence: [], refusals: [] })
    expect(await evidenceOf(new Attached())).toEqual({ evidence: [], refusals: [] })
  })

  test('from bundles whose manifest is older than artifactType', async () => {
    const { evidence } = await evidenceOf(new Attached().add(null, [[BUNDLE, JSON.stringify(signature), {}]]))
    expect(evidence).toHaveLength(1)
  })
})

describe('evidence is refused', () => {
  test('as a whole when there are more than 100', async () => {
    const attached = new Attached()
    for (let number = 0; number < 100; number++) attached.bundle(bundleOf(statementOf(SPDX, { number }), keys))
    expect((await evidenceOf(attached)).evidence).toHaveLength(100)
    attached.bundle(signature)
    expect(await evidenceOf(attached)).toMatchObject({
      evidence: [],
      refusals: [{ reason: 'TOO_LARGE', attachment: null, message: expect.stringMatching(/^The image has 101 /) }],
    })
    const layers = Array.from({ length: 101 }, () => simpleOf(keys))
    expect(await reasonsOf(new Attached().sig(...layers))).toEqual(['TOO_LARGE'])
  })

  test('when it is larger than 4 MiB, and is not even asked for', async () => {
    const attached = new Attached().add(null, [[BUNDLE, ' '.repeat(5 * MIB), {}]]).bundle(signature)
    const asked: string[] = []
    const { evidence, refusals } = await evidenceOf(attached, async (blob) => {
      asked.push(blob.digest)
      return attached.read(blob)
    })
    expect(evidence).toHaveLength(1)
    expect(refusals).toMatchObject([{ reason: 'TOO_LARGE', attachment: attached.all[0]?.manifest.descriptor.digest }])
    expect(asked).toHaveLength(1)
  })

  test('when it is larger than its size says', async () => {
    const attached = new Attached().bundle(signature)
    const { refusals } = await evidenceOf(attached, async () => Buffer.alloc(5 * MIB))
    expect(refusals).toMatchObject([{ reason: 'TOO_LARGE' }])
  })

  test('when all of it is larger than 64 MiB', async () => {
    const attached = new Attached()
    for (let number = 0; number < 17; number++) attached.add(null, [[BUNDLE, `${number}`.padEnd(4 * MIB), {}]])
    expect(await reasonsOf(attached)).toEqual(['TOO_LARGE'])
  })

  test('when it is listed and gone', async () => {
    const { refusals } = await evidenceOf(new Attached().bundle(signature), async () => undefined)
    expect(refusals).toMatchObject([
      { reason: 'MISSING', message: expect.stringContaining('lacks its content sha256:') },
    ])
  })

  test('but a registry that fails or serves another content is an error', async () => {
    const error = new PromoteError('DIGEST_MISMATCH', 'Other bytes.')
    await expect(evidenceOf(new Attached().bundle(signature), async () => Promise.reject(error))).rejects.toBe(error)
  })

  test('when it is a signature of Notary Project', async () => {
    const type = 'application/vnd.cncf.notary.signature'
    const attached = new Attached().add(null, [['application/jose+json', '{}', {}]], type)
    expect(await evidenceOf(attached)).toMatchObject({
      refusals: [
        { reason: 'NOTARY', message: expect.stringContaining('signed by Notary Project, which is not verified') },
      ],
    })
  })

  test('when it says that it is a bundle and has none', async () => {
    const attached = new Attached().add(null, [['application/json', '{}', {}]], BUNDLE)
    expect(await reasonsOf(attached)).toEqual(['MALFORMED'])
  })

  const { dsseEnvelope, verificationMaterial } = signature
  const statement = statementOf()
  const hex = image.descriptor.digest.slice('sha256:'.length)
  test.each<readonly [string, unknown]>([
    ['no bundle', null],
    ['a number', 5],
    ['a list', []],
    ['no media type', { ...signature, mediaType: undefined }],
    ['a media type of the future', { ...signature, mediaType: 'application/vnd.dev.sigstore.bundle.v9.9+json' }],
    ['no signature', { ...signature, dsseEnvelope: { ...dsseEnvelope, signatures: [] } }],
    [
      'two signatures',
      { ...signature, dsseEnvelope: { ...dsseEnvelope, signatures: [{ sig: 'AA==' }, { sig: 'AA==' }] } },
    ],
    ['an empty signature', { ...signature, dsseEnvelope: { ...dsseEnvelope, signatures: [{ sig: '' }] } }],
    [
      'a signature that is not base64',
      { ...signature, dsseEnvelope: { ...dsseEnvelope, signatures: [{ sig: 'AB==' }] } },
    ],
    ['a payload of another type', bundleOf(statement, keys, { type: 'text/plain' })],
    [
      'two contents',
      {
        ...signature,
        messageSignature: { messageDigest: { algorithm: 'SHA2_256', digest: 'AA==' }, signature: 'AA==' },
      },
    ],
    ['no content', { ...signature, dsseEnvelope: undefined }],
    [
      'a key and a certificate',
      { ...signature, verificationMaterial: { ...verificationMaterial, certificate: { rawBytes: 'AA==' } } },
    ],
    [
      'a chain without a certificate',
      { ...signature, verificationMaterial: { x509CertificateChain: { certificates: [] } } },
    ],
    ['no key', { ...signature, verificationMaterial: {} }],
    [
      'a hundred log entries',
      { ...signature, verificationMaterial: { ...verificationMaterial, tlogEntries: Array(100).fill({}) } },
    ],
    ['the payload null', bundleOf('null', keys)],
    ['the payload 5', bundleOf('5', keys)],
    ['a payload that is not JSON', bundleOf('{', keys)],
    ['a statement of another type', bundleOf({ ...statement, _type: 'https://in-toto.io/Statement/v2' }, keys)],
    ['a subject that is no list', bundleOf({ ...statement, subject: {} }, keys)],
    ['a statement without predicate type', bundleOf({ ...statement, predicateType: undefined }, keys)],
  ])('as MALFORMED: %s', async (_, document) => {
    expect(await reasonsOf(new Attached().bundle(document))).toEqual(['MALFORMED'])
  })

  test.each<readonly [string, string | Uint8Array, Readonly<Record<string, string>>]>([
    ['no signature', simpleOf(keys)[0].toString(), {}],
    ['an empty signature', simpleOf(keys)[0].toString(), { 'dev.cosignproject.cosign/signature': '' }],
    ['another type', simpleOf(keys)[0].toString().replace('cosign container', 'atomic container'), simpleOf(keys)[1]],
    ['no JSON', 'x', simpleOf(keys)[1]],
    ['bytes that are not UTF-8', Buffer.of(0x22, 0xff, 0x22), simpleOf(keys)[1]],
    [
      'a certificate that is not PEM',
      simpleOf(keys)[0].toString(),
      { ...simpleOf(keys)[1], 'dev.sigstore.cosign/certificate': 'x' },
    ],
    [
      'a log entry that is not JSON',
      simpleOf(keys)[0].toString(),
      { ...simpleOf(keys)[1], 'dev.sigstore.cosign/bundle': 'x' },
    ],
    [
      'a log entry without members',
      simpleOf(keys)[0].toString(),
      { ...simpleOf(keys)[1], 'dev.sigstore.cosign/bundle': '{}' },
    ],
    [
      'a timestamp without members',
      simpleOf(keys)[0].toString(),
      { ...simpleOf(keys)[1], 'dev.sigstore.cosign/rfc3161timestamp': '{}' },
    ],
  ])('as MALFORMED: .sig with %s', async (_, payload, annotations) => {
    expect(await reasonsOf(new Attached().sig([payload, annotations]))).toEqual(['MALFORMED'])
  })

  test.each([['x'], ['null'], ['{}'], ['{"payload":"e30=","payloadType":"application/vnd.in-toto+json"}']])(
    'as MALFORMED: .att with %s',
    async (text) => expect(await reasonsOf(new Attached().add('.att', [[DSSE, text, {}]]))).toEqual(['MALFORMED']),
  )

  test('with a sentence of bounded, visible text', async () => {
    const mediaType = `\u001b[31m${'x'.repeat(100_000)}`
    const kindVersion = { kind: mediaType, version: '' }
    const { refusals } = await evidenceOf(new Attached().bundle({ ...signature, mediaType, kindVersion }))
    expect(refusals[0]?.message).toMatch(
      /^The attachment sha256:[0-9a-f]{64} is not a valid bundle: mediaType: [ -~]{1,400}$/,
    )
  })

  test('whose statement has 100,000 subjects and ours behind the first 1024', async () => {
    const others = Array.from({ length: 100_000 }, () => ({ digest: { sha256: '00' } }))
    const ours = { digest: { sha256: hex } }
    const late = bundleOf({ ...statement, subject: [...others.slice(0, 20_000), ours] }, keys)
    expect(await reasonsOf(new Attached().bundle(late))).toEqual(['OTHER_IMAGE'])
    const early = bundleOf({ ...statement, subject: [ours, ...others.slice(0, 20_000)] }, keys)
    expect((await evidenceOf(new Attached().bundle(early))).evidence).toHaveLength(1)
    const all = new Attached().bundle(bundleOf({ ...statement, subject: others }, keys))
    expect(['OTHER_IMAGE', 'TOO_LARGE']).toContain((await reasonsOf(all))[0])
  })

  test('only the blob of the layer is asked for', async () => {
    const attached = new Attached().bundle(signature)
    const asked: string[] = []
    await evidenceOf(attached, async ({ digest }) => void asked.push(digest))
    expect(asked).toEqual([blobOf(JSON.stringify(signature)).digest])
  })
})
