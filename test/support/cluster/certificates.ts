import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'

/** PEM texts. `cert` of a leaf is followed by its CA, as OpenShift's servers send it. */
export type CertificatePair = Readonly<{ cert: string; key: string }>

export interface LeafOptions {
  /** Subject alternative names: DNS names and IP addresses. */
  names: readonly string[]
  /** Subject, e.g. `CN=jane, O=developers` for a client certificate; the first name when absent. */
  subject?: string
  /** Ended yesterday. */
  expired?: boolean
  /** Without the CA after it: OpenSSL then says "unable to verify the first certificate". */
  leafOnly?: boolean
}

export interface Ca {
  /** PEM of the CA certificate. */
  readonly cert: string
  issue(options: LeafOptions): Promise<CertificatePair>
}

// P-256 keys take a millisecond, RSA keys up to a second.
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const DAY = 24 * 60 * 60 * 1000

/** A certificate authority that lives in memory only. `name` is its common name. */
export async function makeCa(name: string): Promise<Ca> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const root = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serialNumber(),
      name: [{ CN: [name] }],
      notBefore: new Date(Date.now() - 30 * DAY),
      notAfter: new Date(Date.now() + 365 * DAY),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, webcrypto),
      ],
    },
    webcrypto,
  )
  const cert = `${root.toString('pem')}\n`
  return { cert, issue: (options) => issue(root, keys.privateKey, cert, options) }
}

async function issue(
  root: x509.X509Certificate,
  signingKey: webcrypto.CryptoKey,
  rootPem: string,
  options: LeafOptions,
): Promise<CertificatePair> {
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const end = options.expired ? -DAY : 30 * DAY
  const leaf = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber(),
      subject: options.subject ?? `CN=${options.names[0]}`,
      issuer: root.subject,
      notBefore: new Date(Date.now() - 2 * DAY),
      notAfter: new Date(Date.now() + end),
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
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
  const key = `-----BEGIN PRIVATE KEY-----\n${der.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n`
  return { cert: `${leaf.toString('pem')}\n${options.leafOnly ? '' : rootPem}`, key }
}

/** Positive (RFC 5280 section 4.1.2.2): the first byte stays below 0x80. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(Buffer.alloc(16))
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes.toString('hex')
}

export type Main = 'api' | 'oauth' | 'registry'
export type CertificateKind = 'valid' | 'expired' | 'wrong-name' | 'leaf-only'
type Tls = CertificatePair & { requestCert?: boolean; rejectUnauthorized?: boolean; ca?: string }

/** What node's https servers take, and whom clients have to trust. */
export interface ClusterCertificates extends Readonly<Record<Main, Tls>> {
  readonly ca: Readonly<Record<Main | 'bundle', string>>
  /** A client certificate for the API server. */
  client(name: string, groups: readonly string[]): Promise<CertificatePair>
}

/** Three authorities, named as on a real cluster: API, ingress (`*.apps`) and service CA; a fourth one for clients. */
export async function clusterCertificates(options: {
  name?: string
  certificates?: Partial<Record<Main, CertificateKind>>
  hostnames?: Partial<Record<Main, string>>
}): Promise<ClusterCertificates> {
  const prefix = options.name ? `${options.name} ` : ''
  const [api, oauth, registry, clients] = await Promise.all([
    makeCa(`${prefix}kube-apiserver-lb-signer`),
    makeCa(`${prefix}ingress-operator@1767225600`),
    makeCa(`${prefix}openshift-service-serving-signer@1767225600`),
    makeCa(`${prefix}kube-csr-signer`),
  ])
  const leaf = (which: Main, ca: Ca) => {
    const kind = options.certificates?.[which] ?? 'valid'
    const own = options.hostnames?.[which]
    const names = kind === 'wrong-name' ? ['wrong.example.com'] : [...(own ? [own] : []), 'localhost', '127.0.0.1']
    return ca.issue({ names, expired: kind === 'expired', leafOnly: kind === 'leaf-only' })
  }
  const pairs = await Promise.all([leaf('api', api), leaf('oauth', oauth), leaf('registry', registry)])
  return {
    // Anybody may come without a certificate; a foreign one counts as none.
    api: { ...pairs[0], requestCert: true, rejectUnauthorized: false, ca: clients.cert },
    oauth: pairs[1],
    registry: pairs[2],
    ca: { api: api.cert, oauth: oauth.cert, registry: registry.cert, bundle: api.cert + oauth.cert + registry.cert },
    client: (name, groups) => {
      const subject = [`CN=${name}`, ...groups.map((group) => `O=${group}`)].join(', ')
      return clients.issue({ names: ['client'], subject, leafOnly: true })
    },
  }
}
