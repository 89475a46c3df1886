import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'
import type { CertificatePair, LeafOptions } from './certificates.ts'

/** Makes the certificates of certificates.ts, which imports this module only when it needs a new one. */

// P-256 keys take a millisecond, RSA keys up to a second.
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const DAY = 24 * 60 * 60 * 1000

/** A certificate authority with the common name. @param above the authority that signs it; default: itself. */
export async function authority(name: string, above?: CertificatePair): Promise<CertificatePair> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const subject = `CN=${name}`
  const root = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber(),
      subject,
      issuer: above === undefined ? subject : new x509.X509Certificate(above.cert).subject,
      notBefore: new Date(Date.now() - 30 * DAY),
      notAfter: new Date(Date.now() + 365 * DAY),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey: above === undefined ? keys.privateKey : await keyOf(above.key),
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  )
  return { cert: `${root.toString('pem')}\n`, key: await pemOf(keys.privateKey) }
}

/** A certificate that the authority signs, followed by the authority's own unless `leafOnly`. */
export async function signed(authority: CertificatePair, options: LeafOptions): Promise<CertificatePair> {
  const root = new x509.X509Certificate(authority.cert)
  const signingKey = await keyOf(authority.key)
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const leaf = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber(),
      subject: options.subject ?? `CN=${options.names[0]}`,
      issuer: root.subject,
      notBefore: options.from ?? new Date(Date.now() - 2 * DAY),
      notAfter: options.to ?? new Date(Date.now() + (options.expired ? -DAY : 30 * DAY)),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        new x509.SubjectAlternativeNameExtension(
          options.names.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value })),
        ),
        await x509.AuthorityKeyIdentifierExtension.create(root, false, webcrypto),
      ],
    },
    webcrypto,
  )
  const chain = options.leafOnly ? '' : authority.cert
  return { cert: `${leaf.toString('pem')}\n${chain}`, key: await pemOf(keys.privateKey) }
}

async function pemOf(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key))
  return `-----BEGIN PRIVATE KEY-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n`
}

function keyOf(pem: string): Promise<webcrypto.CryptoKey> {
  const der = Buffer.from(pem.replace(/-----.*-----|\n/g, ''), 'base64')
  return webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign'])
}

/** Positive (RFC 5280 section 4.1.2.2): the first byte stays below 0x80. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(Buffer.alloc(16))
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes.toString('hex')
}
