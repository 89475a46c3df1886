/** A throw-away Fulcio, CT log, Rekor and timestamp authority in memory, and evidence of every form made with them. */
import 'reflect-metadata'
import { createHash } from 'node:crypto'
import { initializeCA, initializeCTLog, initializeTLog, initializeTSA } from '@sigstore/mock'
import { BUNDLE, ec, envelopeOf, hex, type KeyPair, payloadOf, preAuth, signBy } from './signed.ts'

export const ISSUER = 'https://token.actions.githubusercontent.com'
export const SUBJECT = 'https://github.com/acme/api/.github/workflows/release.yaml@refs/tags/v1.2.0'
const CLAIMS = { 11: 'github-hosted', 12: 'https://github.com/acme/api', 14: 'refs/tags/v1.2.0' }

export type Identity = Readonly<{ issuer?: string; subject?: string; claims?: Readonly<Record<number, string>> }>
export type Sigstore = Awaited<ReturnType<typeof createSigstore>>
/** An answer of Rekor 1. */
type Logged = Readonly<{
  body: string
  integratedTime: number
  logID: string
  logIndex: number
  verification: Readonly<{
    signedEntryTimestamp: string
    inclusionProof: Readonly<{ logIndex: number; rootHash: string; treeSize: number; checkpoint: string }>
  }>
}>
/** Rekor 1; Rekor 2 and a timestamp; a timestamp alone, as GitHub's instance for private repositories. */
export type Shape = 'rekor1' | 'rekor2' | 'timestamp'

/**
 * Of whole seconds, because the library refuses some fractions, and later than now, because the certificates of the
 * authorities begin when they are made.
 */
export function inMinutes(minutes: number): Date {
  return new Date((Math.floor(Date.now() / 1000) + 60 * minutes) * 1000)
}

/** @param ct whether certificates have an SCT. @param clock when everything is signed; certificates end ten minutes later. */
export async function createSigstore({ ct = true, clock = inMinutes(1) } = {}) {
  const [ctKeys, caKeys, logKeys, tsaKeys] = [ec(), ec('P-384'), ec(), ec('P-384')]
  const host = 'rekor.test.example'
  const ctLog = await initializeCTLog(ctKeys, clock)
  const ca = await initializeCA(caKeys, ct ? ctLog : undefined, clock)
  const log = await initializeTLog(`https://${host}`, logKeys, clock)
  const tsa = await initializeTSA(tsaKeys, clock)
  const root = {
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: [logInstance(`https://${host}`, logKeys)],
    certificateAuthorities: [authority([ca.rootCertificate])],
    ctlogs: [logInstance('https://ctfe.test.example', ctKeys)],
    timestampAuthorities: [authority([tsa.intCertificate, tsa.rootCertificate])],
  }

  async function certificate(
    { publicKey }: KeyPair,
    { issuer = ISSUER, subject = SUBJECT, claims = CLAIMS }: Identity,
  ) {
    const spki = publicKey.export({ format: 'der', type: 'spki' })
    const extensions = Object.entries({ 8: issuer, ...claims }).map(([number, value]) => ({
      oid: `1.3.6.1.4.1.57264.1.${number}`,
      value,
    }))
    const der = await ca.issueCertificate({ publicKey: bytes(spki), subjectAltName: subject, extensions })
    return Buffer.from(der.buffer, der.byteOffset, der.byteLength)
  }

  /** An entry of Rekor 1 with its inclusion promise. */
  async function logged(kind: string, spec: object, version = '0.0.1'): Promise<Logged> {
    const entries = (await log.log({ apiVersion: version, kind, spec })) as Readonly<Record<string, Logged>>
    const [entry] = Object.values(entries)
    if (entry === undefined) throw new Error('The log gave no entry.')
    return entry
  }

  const logEntry = (
    { body, integratedTime, logID, logIndex, verification }: Logged,
    kind: string,
    version: string,
  ) => ({
    logIndex: String(logIndex),
    logId: { keyId: Buffer.from(logID, 'hex').toString('base64') },
    kindVersion: { kind, version },
    integratedTime: String(integratedTime),
    inclusionPromise: { signedEntryTimestamp: verification.signedEntryTimestamp },
    inclusionProof: {
      logIndex: String(verification.inclusionProof.logIndex),
      rootHash: Buffer.from(verification.inclusionProof.rootHash, 'hex').toString('base64'),
      treeSize: String(verification.inclusionProof.treeSize),
      hashes: [],
      checkpoint: { envelope: verification.inclusionProof.checkpoint },
    },
    canonicalizedBody: body,
  })

  const rekorAnnotation = ({ body, integratedTime, logID, logIndex, verification }: Logged) =>
    JSON.stringify({
      SignedEntryTimestamp: verification.signedEntryTimestamp,
      Payload: { body, integratedTime, logIndex, logID },
    })

  async function stamp(signature: string) {
    const artifactHash = createHash('sha256').update(Buffer.from(signature, 'base64')).digest()
    const request = {
      artifactHash,
      hashAlgorithmOID: '2.16.840.1.101.3.4.2.1',
      nonce: 1,
      policyOID: '1.3.6.1.4.1.57264.2',
    }
    const answer = await tsa.timestamp(request)
    return Buffer.from(answer.buffer, answer.byteOffset, answer.byteLength).toString('base64')
  }

  const dsseSpec = (envelope: ReturnType<typeof envelopeOf>, verifier: string) => ({
    envelopeHash: { algorithm: 'sha256', value: hex(JSON.stringify(envelope)) },
    payloadHash: { algorithm: 'sha256', value: hex(Buffer.from(envelope.payload, 'base64')) },
    signatures: [{ signature: envelope.signatures[0]?.sig ?? '', verifier }],
  })

  return {
    root,
    rootText: JSON.stringify(root),
    caKeys,
    stamp,
    logged,
    logEntry,
    rekorAnnotation,
    /** @param logs what the log is told to have seen, instead of the certificate. */
    async bundle(statement: unknown, shape: Shape = 'rekor1', identity: Identity = {}, logs?: string) {
      const keys = ec()
      const der = await certificate(keys, identity)
      const dsseEnvelope = envelopeOf(statement, keys)
      const sig = dsseEnvelope.signatures[0]?.sig ?? ''
      const tlogEntries: object[] = []
      if (shape === 'rekor1') {
        const entry = await logged('dsse', dsseSpec(dsseEnvelope, logs ?? base64(pemOf(der))))
        tlogEntries.push(logEntry(entry, 'dsse', '0.0.1'))
      }
      if (shape === 'rekor2') {
        const digest = createHash('sha256').update(
          preAuth(dsseEnvelope.payloadType, Buffer.from(dsseEnvelope.payload, 'base64')),
        )
        const verifier = { keyDetails: 'PKIX_ECDSA_P256_SHA_256', x509Certificate: { rawBytes: logs ?? base64(der) } }
        const data = { algorithm: 'SHA2_256', digest: digest.digest('base64') }
        const spec = { hashedRekordV002: { data, signature: { content: sig, verifier } } }
        const { inclusionPromise: _, ...entry } = logEntry(
          await logged('hashedrekord', spec, '0.0.2'),
          'hashedrekord',
          '0.0.2',
        )
        tlogEntries.push({ ...entry, integratedTime: '0' })
      }
      const rfc3161Timestamps = shape === 'rekor1' ? [] : [{ signedTimestamp: await stamp(sig) }]
      const certificateOf = { certificate: { rawBytes: base64(der) } }
      const verificationMaterial = { ...certificateOf, tlogEntries, timestampVerificationData: { rfc3161Timestamps } }
      return { mediaType: BUNDLE, verificationMaterial, dsseEnvelope }
    },
    /** A layer of `.sig`. */
    async simple(payload: Buffer = payloadOf(), identity: Identity = {}) {
      const keys = ec()
      const pem = pemOf(await certificate(keys, identity))
      const content = signBy(keys, payload)
      const data = { hash: { algorithm: 'sha256', value: hex(payload) } }
      const entry = await logged('hashedrekord', { data, signature: { content, publicKey: { content: base64(pem) } } })
      const annotations = annotationsOf(pem, rekorAnnotation(entry))
      return [payload, { ...annotations, 'dev.cosignproject.cosign/signature': content }] as const
    },
    /** A layer of `.att`. */
    async attestation(statement: unknown, identity: Identity = {}) {
      const keys = ec()
      const pem = pemOf(await certificate(keys, identity))
      const envelope = envelopeOf(statement, keys)
      const entry = await logged('dsse', dsseSpec(envelope, base64(pem)))
      return [envelope, annotationsOf(pem, rekorAnnotation(entry))] as const
    },
  }
}

function annotationsOf(pem: string, entry: string) {
  return {
    'dev.sigstore.cosign/certificate': pem,
    // cosign writes the empty text where there is no intermediate certificate.
    'dev.sigstore.cosign/chain': '',
    'dev.sigstore.cosign/bundle': entry,
  }
}

export function pemOf(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

function logInstance(baseUrl: string, { publicKey }: KeyPair) {
  const spki = publicKey.export({ format: 'der', type: 'spki' })
  return {
    baseUrl,
    hashAlgorithm: 'SHA2_256',
    publicKey: {
      rawBytes: base64(spki),
      keyDetails: 'PKIX_ECDSA_P256_SHA_256',
      validFor: { start: '2020-01-01T00:00:00Z' },
    },
    logId: { keyId: createHash('sha256').update(spki).digest('base64') },
  }
}

function authority(chain: readonly ArrayBufferView[]) {
  const certificates = chain.map((each) => ({
    rawBytes: Buffer.from(each.buffer, each.byteOffset, each.byteLength).toString('base64'),
  }))
  return { uri: 'https://test.example', certChain: { certificates }, validFor: { start: '2020-01-01T00:00:00Z' } }
}

function base64(content: Uint8Array | string): string {
  return Buffer.from(content).toString('base64')
}

/** A view of a buffer of its own, as the types of the mock want it. */
function bytes(content: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(content)
}
