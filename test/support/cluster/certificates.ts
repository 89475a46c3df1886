import { reused } from '../reused.ts'

/** PEM texts. `cert` of a leaf is followed by its CA, as OpenShift's servers send it. */
export type CertificatePair = Readonly<{ cert: string; key: string }>

export interface LeafOptions {
  /** Subject alternative names: DNS names and IP addresses. */
  names: readonly string[]
  /** Subject, e.g. `CN=jane, O=developers` for a client certificate; the first name when absent. */
  subject?: string
  /** Ended yesterday. */
  expired?: boolean
  /** Default: two days ago. */
  from?: Date | undefined
  /** Default: in 30 days. */
  to?: Date | undefined
  /** Without the CA after it: OpenSSL then says "unable to verify the first certificate". */
  leafOnly?: boolean
}

export interface Ca {
  /** PEM of the CA certificate. */
  readonly cert: string
  issue(options: LeafOptions): Promise<CertificatePair>
  /** An authority below this one. `name` is its common name. */
  delegate(name: string): Promise<Ca>
}

/** A certificate authority that lives as long as the tests. `name` is its common name. */
export async function makeCa(name: string): Promise<Ca> {
  return caOf(await reused(name, async () => (await import('./x509.ts')).authority(name)))
}

function caOf(own: CertificatePair): Ca {
  return {
    cert: own.cert,
    issue: (options) => reused([own.cert, options], async () => (await import('./x509.ts')).signed(own, options)),
    delegate: async (name) =>
      caOf(await reused([own.cert, name], async () => (await import('./x509.ts')).authority(name, own))),
  }
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
    // A client may come without a certificate; one of another authority counts as none.
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
