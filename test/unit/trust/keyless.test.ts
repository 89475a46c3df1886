import 'reflect-metadata'
import { createHash } from 'node:crypto'
import { beforeAll, describe, expect, test } from '@jest/globals'
import * as x509 from '@peculiar/x509'
import { readEvidence } from '../../../src/trust/evidence.ts'
import { SignerVerifier } from '../../../src/trust/keyless.ts'
import type { IdentitySigner, KeySigner, Signer } from '../../../src/trust/signer-identity.ts'
import {
  Attached,
  bundleOf,
  ec,
  envelopeOf,
  hex,
  image,
  type KeyPair,
  SPDX,
  simpleOf,
  statementOf,
} from '../../support/signed.ts'
import { createSigstore, ISSUER, inMinutes, pemOf, type Sigstore, SUBJECT } from '../../support/sigstore.ts'

let sigstore: Sigstore
let other: Sigstore
let github: IdentitySigner

beforeAll(async () => {
  ;[sigstore, other] = await Promise.all([createSigstore(), createSigstore()])
  github = {
    issuer: ISSUER,
    subject: 'https://github.com/acme/*@refs/tags/v*',
    claims: {},
    trustedRoot: sigstore.rootText,
  }
})

async function judge(attached: Attached, signer: Signer): Promise<string> {
  const { evidence, refusals } = await readEvidence(image, attached.all, attached.read)
  const [verdict] = await Promise.all(evidence.map((each) => new SignerVerifier().verify(each, signer)))
  if (verdict === undefined) return String(refusals[0]?.reason)
  return 'signer' in verdict ? 'accepted' : verdict.refusal.reason
}
const judgeBundle = async (bundle: unknown, signer: Signer = github) => judge(new Attached().bundle(bundle), signer)
const rootWith = (change: object): IdentitySigner => ({
  ...github,
  trustedRoot: JSON.stringify({ ...sigstore.root, ...change }),
})

type Bundle = Awaited<ReturnType<Sigstore['bundle']>>
type Entry = Readonly<Record<string, unknown>>
/** The bundle with a changed log entry. */
const withEntry = (bundle: Bundle, change: (entry: Entry) => object): object => {
  const tlogEntries = bundle.verificationMaterial.tlogEntries.map((entry) => change(entry as Entry))
  return { ...bundle, verificationMaterial: { ...bundle.verificationMaterial, tlogEntries } }
}

describe('a certificate is accepted', () => {
  test('with Rekor 1, with Rekor 2 and a timestamp', async () => {
    expect(await judgeBundle(await sigstore.bundle(statementOf(), 'rekor1'))).toBe('accepted')
    expect(await judgeBundle(await sigstore.bundle(statementOf(), 'rekor2'))).toBe('accepted')
  })

  test('in .sig and .att, whose chain is the empty text', async () => {
    expect(await judge(new Attached().sig(await sigstore.simple()), github)).toBe('accepted')
    expect(await judge(new Attached().att(...(await sigstore.attestation(statementOf(SPDX)))), github)).toBe('accepted')
  })

  test('in an older bundle with its chain', async () => {
    const { verificationMaterial, ...bundle } = await sigstore.bundle(statementOf(), 'rekor1')
    const { certificate, ...material } = verificationMaterial
    const old = { ...material, x509CertificateChain: { certificates: [certificate] } }
    for (const version of ['0.1', '0.2']) {
      const mediaType = `application/vnd.dev.sigstore.bundle+json;version=${version}`
      expect(await judgeBundle({ ...bundle, mediaType, verificationMaterial: old })).toBe('accepted')
    }
    expect(await judgeBundle({ ...bundle, verificationMaterial: old })).toBe('MALFORMED')
  })

  test('by a root without logs, with a timestamp alone', async () => {
    const quiet = await createSigstore({ ct: false })
    const signer = { ...github, trustedRoot: JSON.stringify({ ...quiet.root, tlogs: undefined, ctlogs: [] }) }
    expect(await judgeBundle(await quiet.bundle(statementOf(), 'timestamp'), signer)).toBe('accepted')
    expect(await judgeBundle(await quiet.bundle(statementOf(), 'rekor2'), signer)).toBe('accepted')
    expect(await judgeBundle(await quiet.bundle(statementOf(), 'rekor1'), signer)).toBe('UNLOGGED')
  })

  test('by one of several roots, one a line', async () => {
    const trustedRoot = `${other.rootText}\n${sigstore.rootText}\n\n`
    expect(await judgeBundle(await sigstore.bundle(statementOf()), { ...github, trustedRoot })).toBe('accepted')
    const wrong = { ...github, trustedRoot: `${other.rootText}\n${other.rootText}` }
    expect(await judgeBundle(await sigstore.bundle(statementOf()), wrong)).toBe('OTHER_ROOT')
  })

  test('with all claims that are asked for', async () => {
    const claims = { runner: 'github-hosted', 'source-repository': 'https://github.com/acme/*' }
    expect(await judgeBundle(await sigstore.bundle(statementOf()), { ...github, claims })).toBe('accepted')
  })

  test('though the index of its log entry is 0, which protobuf leaves out', async () => {
    const bundle = withEntry(await sigstore.bundle(statementOf(), 'rekor2'), ({ logIndex: _, ...entry }) => entry)
    expect(await judgeBundle(bundle)).toBe('accepted')
  })
})

describe('a certificate is refused', () => {
  test.each<readonly [string, Partial<IdentitySigner>, string]>([
    ['of another issuer', { issuer: 'https://gitlab.com' }, 'OTHER_ISSUER'],
    ['whose issuer is one letter longer', { issuer: ISSUER.slice(0, -1) }, 'OTHER_ISSUER'],
    ['of another subject', { subject: 'https://github.com/acme/web/*' }, 'OTHER_SUBJECT'],
    ['whose subject has the wanted one as a part', { subject: 'acme/api' }, 'OTHER_SUBJECT'],
    ['with another claim', { claims: { runner: 'self-hosted' } }, 'OTHER_CLAIM'],
    ['without a claim', { claims: { trigger: 'push' } }, 'OTHER_CLAIM'],
  ])('%s', async (_, change, expected) => {
    const signer = { ...github, ...change }
    expect(await judgeBundle(await sigstore.bundle(statementOf()), signer)).toBe(expected)
    expect(await judge(new Attached().sig(await sigstore.simple()), signer)).toBe(expected)
  })

  test('whose subject has a line break', async () => {
    const bundle = await sigstore.bundle(statementOf(), 'rekor1', { subject: `${SUBJECT}\nx` })
    expect(await judgeBundle(bundle)).toBe('OTHER_SUBJECT')
  })

  test('of another Sigstore', async () => {
    expect(await judgeBundle(await other.bundle(statementOf()))).toBe('OTHER_ROOT')
    const { tlogs } = other.root
    expect(await judgeBundle(await sigstore.bundle(statementOf()), rootWith({ tlogs }))).toBe('UNLOGGED')
    const { certificateAuthorities } = other.root
    expect(await judgeBundle(await sigstore.bundle(statementOf()), rootWith({ certificateAuthorities }))).toBe(
      'OTHER_ROOT',
    )
    expect(await judgeBundle(await sigstore.bundle(statementOf()), rootWith({ certificateAuthorities: [] }))).toBe(
      'OTHER_ROOT',
    )
    const { ctlogs } = other.root
    expect(await judgeBundle(await sigstore.bundle(statementOf()), rootWith({ ctlogs }))).toBe('UNLOGGED')
    const { timestampAuthorities } = other.root
    const stamped = await sigstore.bundle(statementOf(), 'rekor2')
    expect(await judgeBundle(stamped, rootWith({ timestampAuthorities }))).toBe('UNLOGGED')
  })

  test('that ended before the time of the log, or began after it', async () => {
    for (const minutes of [-1, 12]) {
      const late = await createSigstore({ clock: inMinutes(minutes) })
      const spent = await sigstore.bundle(statementOf())
      const envelope = spent.dsseEnvelope
      const spec = {
        envelopeHash: { algorithm: 'sha256', value: hex(JSON.stringify(envelope)) },
        payloadHash: { algorithm: 'sha256', value: hex(Buffer.from(envelope.payload, 'base64')) },
        signatures: [{ signature: envelope.signatures[0]?.sig, verifier: 'eA==' }],
      }
      const entry = late.logEntry(await late.logged('dsse', spec), 'dsse', '0.0.1')
      const root = { ...sigstore.root, tlogs: late.root.tlogs }
      const signer = { ...github, trustedRoot: JSON.stringify(root) }
      expect(
        await judgeBundle(
          withEntry(spent, () => entry),
          signer,
        ),
      ).toBe('EXPIRED')
    }
  })

  test('without a log entry, or without a trusted time', async () => {
    const unlogged = await sigstore.bundle(statementOf(), 'timestamp')
    expect(await judgeBundle(unlogged)).toBe('UNLOGGED')
    const { verificationMaterial, ...bundle } = await sigstore.bundle(statementOf(), 'rekor2')
    const { timestampVerificationData: _, ...timeless } = verificationMaterial
    expect(await judgeBundle({ ...bundle, verificationMaterial: timeless })).toBe('UNLOGGED')
    expect(await judgeBundle(unlogged, rootWith({ tlogs: [], timestampAuthorities: [] }))).toBe('UNLOGGED')
    const [payload, annotations] = await sigstore.simple()
    const { 'dev.sigstore.cosign/bundle': entry, ...lacking } = annotations
    expect(entry).toBeDefined()
    expect(await judge(new Attached().sig([payload, lacking]), github)).toBe('UNLOGGED')
  })

  test('whose log entry was changed', async () => {
    const bundle = await sigstore.bundle(statementOf())
    const later = ({ integratedTime, ...entry }: Entry) => ({
      ...entry,
      integratedTime: `${Number(integratedTime) + 1}`,
    })
    expect(await judgeBundle(withEntry(bundle, later))).toBe('UNLOGGED')
    const [theirs] = (await sigstore.bundle(statementOf())).verificationMaterial.tlogEntries
    expect(await judgeBundle(withEntry(bundle, () => theirs ?? {}))).toBe('UNLOGGED')
    const twice = {
      ...bundle.verificationMaterial,
      tlogEntries: [0, 1].map(() => bundle.verificationMaterial.tlogEntries[0]),
    }
    expect(await judgeBundle({ ...bundle, verificationMaterial: twice })).toBe('UNLOGGED')
    const promised = ({ inclusionPromise: _, ...entry }: Entry) => entry
    expect(await judgeBundle(withEntry(bundle, promised))).toBe('UNLOGGED')
  })

  test('when the log saw another certificate, or a key', async () => {
    const [mine, theirs] = [await sigstore.bundle(statementOf()), await sigstore.bundle(statementOf())]
    const der = Buffer.from(theirs.verificationMaterial.certificate.rawBytes, 'base64')
    const pem = Buffer.from(pemOf(der)).toString('base64')
    const key = Buffer.from(ec().publicKey.export({ format: 'pem', type: 'spki' })).toString('base64')
    expect(await judgeBundle(mine)).toBe('accepted')
    for (const verifier of [pem, key])
      expect(await judgeBundle(await sigstore.bundle(statementOf(), 'rekor1', {}, verifier))).toBe('UNLOGGED')
    expect(await judgeBundle(await sigstore.bundle(statementOf(), 'rekor1', {}, 'eA=='))).toMatch(
      /^(?:UNLOGGED|MALFORMED)$/,
    )
    const rekor2 = await sigstore.bundle(statementOf(), 'rekor2', {}, der.toString('base64'))
    expect(await judgeBundle(rekor2)).toBe('UNLOGGED')
  })

  test('whose content was changed', async () => {
    const bundle = await sigstore.bundle(statementOf())
    const payload = Buffer.from(JSON.stringify(statementOf(SPDX))).toString('base64')
    const changed = { ...bundle, dsseEnvelope: { ...bundle.dsseEnvelope, payload } }
    expect(await judgeBundle(changed)).toBe('UNLOGGED')
    const [content, annotations] = await sigstore.simple()
    expect(await judge(new Attached().sig([Buffer.from(`${content} `), annotations]), github)).toBe('UNLOGGED')
    const quiet = await createSigstore({ ct: false })
    const signer = { ...github, trustedRoot: JSON.stringify({ ...quiet.root, tlogs: [], ctlogs: [] }) }
    const stamped = await quiet.bundle(statementOf(), 'timestamp')
    expect(await judgeBundle({ ...stamped, dsseEnvelope: { ...stamped.dsseEnvelope, payload } }, signer)).toBe(
      'OTHER_KEY',
    )
  })

  test('that is not for code signing', async () => {
    const keys = ec()
    const der = await certify(keys, sigstore.caKeys, [x509.ExtendedKeyUsage.serverAuth])
    const bundle = await sigstore.bundle(statementOf())
    const verificationMaterial = { ...bundle.verificationMaterial, certificate: { rawBytes: der.toString('base64') } }
    const dsseEnvelope = envelopeOf(statementOf(), keys)
    expect(await judgeBundle({ ...bundle, verificationMaterial, dsseEnvelope })).toBe('MALFORMED')
  })

  test('where a key is wanted, and a key where a certificate is wanted', async () => {
    const keys = ec()
    const keyed: KeySigner = { keys: [keys.publicKey], log: undefined }
    expect(await judgeBundle(await sigstore.bundle(statementOf()), keyed)).toBe('OTHER_KEY')
    expect(await judge(new Attached().sig(await sigstore.simple()), keyed)).toBe('OTHER_KEY')
    expect(await judgeBundle(bundleOf(statementOf(), keys))).toBe('OTHER_KEY')
  })
})

describe('a key whose signature must be in the log', () => {
  test.each<readonly [string, KeyPair]>([
    ['P-256', ec()],
    ['P-384', ec('P-384')],
  ])('%s', async (_, keys) => {
    const signer = { keys: [ec().publicKey, keys.publicKey], log: sigstore.rootText }
    const [payload, annotations] = simpleOf(keys)
    const pem = Buffer.from(keys.publicKey.export({ format: 'pem', type: 'spki' })).toString('base64')
    const logged = async (publicKey: string) => {
      const content = annotations['dev.cosignproject.cosign/signature']
      const data = { hash: { algorithm: 'sha256', value: hex(payload) } }
      const entry = await sigstore.logged('hashedrekord', {
        data,
        signature: { content, publicKey: { content: publicKey } },
      })
      return new Attached().sig([
        payload,
        { ...annotations, 'dev.sigstore.cosign/bundle': sigstore.rekorAnnotation(entry) },
      ])
    }
    expect(await judge(await logged(pem), signer)).toBe('accepted')
    expect(await judge(await logged(pem), { ...signer, log: other.rootText })).toBe('UNLOGGED')
    expect(await judge(await logged(pem), { ...signer, log: JSON.stringify({ ...sigstore.root, tlogs: [] }) })).toBe(
      'UNLOGGED',
    )
    const stranger = Buffer.from(ec().publicKey.export({ format: 'pem', type: 'spki' })).toString('base64')
    expect(await judge(await logged(stranger), signer)).toBe('UNLOGGED')
    expect(await judge(new Attached().sig([payload, annotations]), signer)).toBe('UNLOGGED')
    expect(await judge(new Attached().sig([payload, annotations]), { ...signer, log: undefined })).toBe('accepted')
  })

  test('in a bundle', async () => {
    const keys = ec()
    const bundle = bundleOf(statementOf(), keys)
    const pem = Buffer.from(keys.publicKey.export({ format: 'pem', type: 'spki' })).toString('base64')
    const spec = {
      envelopeHash: { algorithm: 'sha256', value: hex(JSON.stringify(bundle.dsseEnvelope)) },
      payloadHash: { algorithm: 'sha256', value: hex(Buffer.from(bundle.dsseEnvelope.payload, 'base64')) },
      signatures: [{ signature: bundle.dsseEnvelope.signatures[0]?.sig, verifier: pem }],
    }
    const entry = sigstore.logEntry(await sigstore.logged('dsse', spec), 'dsse', '0.0.1')
    const verificationMaterial = { ...bundle.verificationMaterial, tlogEntries: [entry] }
    const signer = { keys: [keys.publicKey], log: sigstore.rootText }
    expect(await judgeBundle({ ...bundle, verificationMaterial }, signer)).toBe('accepted')
    expect(await judgeBundle(bundle, signer)).toBe('UNLOGGED')
  })
})

describe('hostile content is refused', () => {
  const nested = (depth: number) => {
    let der = Buffer.alloc(0)
    for (let level = 0; level < depth; level++) {
      const { length } = der
      const size = length < 128 ? [length] : [0x83, length >> 16, (length >> 8) & 255, length & 255]
      der = Buffer.concat([Buffer.of(0x30, ...size), der])
    }
    return der.toString('base64')
  }

  test.each<readonly [string, (bundle: Bundle) => object]>([
    ['DER that is nested deeply', (bundle) => withCertificate(bundle, nested(10_000))],
    ['a certificate of 3 MB', (bundle) => withCertificate(bundle, Buffer.alloc(3_000_000).toString('base64'))],
    ['an empty certificate', (bundle) => withCertificate(bundle, Buffer.of(0x30, 0).toString('base64'))],
    ['a checkpoint of 3 MB', (bundle) => withEntry(bundle, (entry) => withCheckpoint(entry, 'x\n'.repeat(1_500_000)))],
    [
      'a checkpoint with an expression for a name',
      (bundle) =>
        withEntry(bundle, (entry) => withCheckpoint(entry, `a\n1\nAA==\n\n\u2014 (a+)+$ ${'A'.repeat(40)}\n`)),
    ],
    ['a body that is no JSON', (bundle) => withEntry(bundle, (entry) => ({ ...entry, canonicalizedBody: 'eA==' }))],
    ['a body that is null', (bundle) => withEntry(bundle, (entry) => ({ ...entry, canonicalizedBody: 'bnVsbA==' }))],
    [
      'an index of a million digits',
      (bundle) => withEntry(bundle, (entry) => ({ ...entry, logIndex: '9'.repeat(1_000_000) })),
    ],
    [
      'another kind of entry',
      (bundle) => withEntry(bundle, (entry) => ({ ...entry, kindVersion: { kind: 'rpm', version: '0.0.1' } })),
    ],
  ])('%s', async (_, change) => {
    expect(await judgeBundle(change(await sigstore.bundle(statementOf())))).toMatch(
      /^(?:MALFORMED|UNLOGGED|TOO_LARGE)$/,
    )
  })

  const withCertificate = (bundle: Bundle, rawBytes: string) => ({
    ...bundle,
    verificationMaterial: { ...bundle.verificationMaterial, certificate: { rawBytes } },
  })
  const withCheckpoint = ({ inclusionProof, ...entry }: Entry, envelope: string) => ({
    ...entry,
    inclusionProof: { ...(inclusionProof as object), checkpoint: { envelope } },
  })
})

describe('a trusted root', () => {
  test.each<readonly [string, (root: Sigstore['root']) => unknown]>([
    ['no JSON', () => undefined],
    ['null', () => null],
    ['a list', () => []],
    ['another media type', (root) => ({ ...root, mediaType: 'application/json' })],
    [
      'a later version',
      (root) => ({ ...root, mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.9' }),
    ],
    ['logs that are no list', (root) => ({ ...root, tlogs: {} })],
    ['a log without a key', (root) => ({ ...root, tlogs: [{}] })],
    [
      'a CA whose certificate is cut',
      (root) => ({
        ...root,
        certificateAuthorities: [{ certChain: { certificates: [{ rawBytes: 'MAA=' }, { rawBytes: 'MIIB' }] } }],
      }),
    ],
  ])('with %s is refused', async (_, change) => {
    const text = JSON.stringify(change(sigstore.root)) ?? '{'
    await expect(new SignerVerifier().checkRoot(text)).rejects.toThrow('is not a trusted_root.json')
    const verdict = await judgeBundle(await sigstore.bundle(statementOf()), { ...github, trustedRoot: text })
    expect(verdict).toBe('MALFORMED')
  })

  test('is read', async () => {
    await expect(new SignerVerifier().checkRoot(sigstore.rootText)).resolves.toBeUndefined()
    await expect(new SignerVerifier().checkRoot(JSON.stringify(sigstore.root, null, 2))).resolves.toBeUndefined()
    await expect(
      new SignerVerifier().checkRoot(`${sigstore.rootText}\r\n${other.rootText}\r\n`),
    ).resolves.toBeUndefined()
  })
})

/** By the keys of the CA, whose name the mock has. */
async function certify(subject: KeyPair, ca: KeyPair, usages: readonly string[]): Promise<Buffer> {
  const algorithm = (namedCurve: string) => ({ name: 'ECDSA', namedCurve, hash: 'SHA-384' })
  const { subtle } = globalThis.crypto
  const spki = subject.publicKey.export({ format: 'der', type: 'spki' })
  const pkcs8 = ca.privateKey.export({ format: 'der', type: 'pkcs8' })
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: createHash('sha256').update(spki).digest('hex').slice(0, 8),
    issuer: 'CN=sigstore,O=sigstore.mock',
    publicKey: await subtle.importKey('spki', new Uint8Array(spki), algorithm('P-256'), true, ['verify']),
    signingKey: await subtle.importKey('pkcs8', new Uint8Array(pkcs8), algorithm('P-384'), false, ['sign']),
    signingAlgorithm: algorithm('P-384'),
    extensions: [
      new x509.ExtendedKeyUsageExtension([...usages]),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: SUBJECT }], true),
    ],
  })
  return Buffer.from(certificate.rawData)
}
