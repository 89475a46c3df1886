/** What Node and undici throw, as errors of this project: which side and host, what happened, what to do. */
import { X509Certificate } from 'node:crypto'
import { type Code, type ErrorDetail, PromoteError, reasonOf, type Side } from '../core/errors.ts'
import { oneLine } from '../core/text.ts'
import { caOption } from './tls-trust.ts'

export type FailedRequest = Readonly<{
  side: Side
  url: URL
  /** `GET https://host/path`. */
  what: string
  /** This host has answered before, so its name and address are right. */
  known: boolean
  /** What the server showed. */
  certificate: X509Certificate | undefined
  /** The certificates given as the side's own authority, PEM. */
  authorities: readonly string[]
}>

/** Subject of the cluster's service CA (openshift/service-ca-operator): signs `*.svc` certificates. */
const SERVICE_CA = 'openshift-service-serving-signer'

/** Certificate verdicts of OpenSSL as Node spells them (node/src/crypto/crypto_common.cc). */
const VERDICTS = new Set(
  `UNABLE_TO_GET_ISSUER_CERT UNABLE_TO_GET_ISSUER_CERT_LOCALLY UNABLE_TO_VERIFY_LEAF_SIGNATURE SELF_SIGNED_CERT_IN_CHAIN
  DEPTH_ZERO_SELF_SIGNED_CERT CERT_SIGNATURE_FAILURE CERT_NOT_YET_VALID CERT_HAS_EXPIRED ERROR_IN_CERT_NOT_BEFORE_FIELD
  ERROR_IN_CERT_NOT_AFTER_FIELD CERT_CHAIN_TOO_LONG CERT_REVOKED INVALID_CA PATH_LENGTH_EXCEEDED INVALID_PURPOSE
  CERT_UNTRUSTED CERT_REJECTED HOSTNAME_MISMATCH ERR_TLS_CERT_ALTNAME_INVALID`.split(/\s+/),
)

/** Names of Kubernetes Services (kubernetes/dns docs/specification.md); what has no dot is one of the own namespace. */
const IN_CLUSTER = /\.svc(?:\.cluster\.local)?\.?$|\.cluster\.local\.?$/i

const ROUTE = 'Check the network, firewalls and HTTPS_PROXY.'
const SERVICE = 'Check host and port, and that the service is running.'

/** code: [project's code, what happened, transient, hint]. */
const KNOWN: Readonly<Record<string, readonly [Code, string, boolean, string?]>> = {
  EAI_AGAIN: ['NETWORK', 'the name could not be looked up just now', true],
  ECONNREFUSED: ['NETWORK', 'the connection was refused', true, SERVICE],
  ECONNRESET: ['NETWORK', 'the connection was reset', true],
  EPIPE: ['NETWORK', 'the connection was closed while sending', true],
  ETIMEDOUT: ['NETWORK', 'the connection timed out', true, ROUTE],
  EHOSTUNREACH: ['NETWORK', 'no route to the host', true, ROUTE],
  ENETUNREACH: ['NETWORK', 'the network is unreachable', true, ROUTE],
  ECONNABORTED: ['NETWORK', 'the connection was aborted', true],
  EADDRNOTAVAIL: ['NETWORK', 'no local address is free for a connection', true],
  // A request that still waited for its turn when the connections of the run were closed.
  UND_ERR_DESTROYED: ['CANCELLED', 'the run is over', false],
  UND_ERR_CLOSED: ['CANCELLED', 'the run is over', false],
  UND_ERR_SOCKET: ['NETWORK', 'the other side closed the connection', true],
  UND_ERR_CONNECT_TIMEOUT: ['NETWORK', 'no connection in time', true, ROUTE],
  UND_ERR_HEADERS_OVERFLOW: ['PROTOCOL', 'the headers of the answer are too large', false],
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: ['PROTOCOL', 'the bytes to send are not as many as announced', false],
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: ['NETWORK', 'the answer is not as long as announced', true],
}

/** Any thrown value; a PromoteError passes unchanged. */
export function networkError(thrown: unknown, request: FailedRequest): PromoteError {
  if (thrown instanceof PromoteError) return thrown
  const error = innermost(thrown)
  const code = codeOf(error)
  if (VERDICTS.has(code)) return certificateRefused(error, code, request)
  if (code === 'ENOTFOUND' || (code === 'EAI_AGAIN' && IN_CLUSTER.test(request.url.hostname))) {
    const hint = IN_CLUSTER.test(request.url.hostname)
      ? 'This name exists only inside a cluster. From outside, use the public address: the host of the route or ingress.'
      : 'Check the spelling, and whether this machine can resolve the name (or reaches it through HTTPS_PROXY only).'
    // A name that was found before is a failing name server.
    const detail = { hint, transient: request.known, cause: thrown }
    return errorOf(request, 'NETWORK', `the name ${oneLine(request.url.hostname, 253)} is unknown (${code})`, detail)
  }
  const known = KNOWN[code]
  if (known !== undefined) {
    const [to, happened, transient, hint] = known
    return errorOf(request, to, `${happened} (${code})`, { transient, hint, cause: thrown })
  }
  if (code.startsWith('ERR_SSL_') || code === 'EPROTO') return handshakeFailed(error, code, request)
  const words = oneLine(reasonOf(error), 300)
  // undici's parser of answers; its code is often undefined.
  if (!(error instanceof Error) || error.name !== 'HTTPParserError')
    return errorOf(request, 'INTERNAL', words, { cause: thrown })
  const hint = 'The other side does not speak HTTP on this port.'
  return errorOf(request, 'PROTOCOL', words, { cause: thrown, hint })
}

function errorOf({ what, side }: FailedRequest, code: Code, words: string, detail: ErrorDetail): PromoteError {
  return new PromoteError(code, `${what}: ${words}.`, { side, ...detail })
}

/** The peer sends an alert when a router restarts or a handshake is cut; other failures are a matter of configuration. */
function handshakeFailed(error: unknown, code: string, request: FailedRequest): PromoteError {
  const words = error instanceof Error ? error.message : ''
  const reason = handshakeReason(words)
  if (/alert/i.test(`${code} ${words}`)) {
    const detail = { cause: error, transient: true }
    return errorOf(request, 'NETWORK', `the server broke off the TLS handshake (${code}: ${reason})`, detail)
  }
  const plain =
    /WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG|wrong version number|http request|packet length/i
  const hint = plain.test(`${code} ${words}`)
    ? `The port does not speak TLS. For a plain-HTTP registry write http://${request.url.host}.`
    : 'Client and server have no TLS version or cipher in common, or something between them interferes.'
  const said = [code, reason].filter((part) => part !== '').join(': ')
  return errorOf(request, 'TLS', `the TLS handshake failed (${said})`, { cause: error, hint })
}

/** `…:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:…` → its words. */
function handshakeReason(message: string): string {
  const [, reason] = /SSL routines:[^:]*:([^:]+)/.exec(message) ?? []
  return oneLine(reason ?? message, 200)
}

function certificateRefused(error: unknown, code: string, request: FailedRequest): PromoteError {
  const shown = request.certificate
  const names =
    shown === undefined ? '' : `; the server showed subject "${name(shown.subject)}", issuer "${name(shown.issuer)}"`
  const skip = request.side === 'input' ? 'insecure-skip-tls-verify' : `${request.side}-insecure-skip-tls-verify`
  const host = oneLine(request.url.host, 260)
  const refuse = (why: string, hint: string) =>
    errorOf(request, 'TLS', `${why}${names} (${code})`, { cause: error, hint })
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID' || code === 'HOSTNAME_MISMATCH') {
    const valid = oneLine(shown?.subjectAltName ?? 'no names', 400)
    return refuse(
      `the certificate is not for ${host}, it is for ${valid}`,
      `Use one of these names, or have the certificate reissued for ${host}. ${skip}: true would accept any server.`,
    )
  }
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') {
    const dates = shown === undefined ? '' : `, valid from ${shown.validFrom} to ${shown.validTo}`
    const what = code === 'CERT_HAS_EXPIRED' ? 'has expired' : 'is not valid yet'
    return refuse(
      `a certificate of ${host} ${what}${dates}`,
      `Check this machine's clock; else the server's certificate must be renewed. ${skip}: true would accept any server.`,
    )
  }
  return refuse(`the certificate of ${host} is not trusted`, unknownAuthority(shown, request, skip))
}

function unknownAuthority(shown: X509Certificate | undefined, request: FailedRequest, skip: string): string {
  const option = caOption(request.side)
  if (shown?.issuer.includes(SERVICE_CA) === true) {
    return `It was signed by the cluster's service CA: give ${option} the key service-ca.crt of the ConfigMap openshift-service-ca.crt, which is in every namespace.`
  }
  const other = request.authorities.some(isServiceAuthority)
    ? `What ${option} holds is the cluster's service CA, which signs only services inside the cluster. `
    : ''
  return `${other}Give ${option} the certificate of its issuer (for API, OAuth and *.apps routes of OpenShift: ca.crt of the ConfigMap kube-root-ca.crt). ${skip}: true would accept any server.`
}

function isServiceAuthority(pem: string): boolean {
  return new X509Certificate(pem).subject.includes(SERVICE_CA)
}

/** `CN=a\nO=b` → `CN=a, O=b`. */
function name(distinguished: string | undefined): string {
  return oneLine((distinguished ?? '').replaceAll('\n', ', ') || '(empty)', 300)
}

/** Happy eyeballs throw an AggregateError with one error per address; wrappers keep theirs as the cause. */
function innermost(thrown: unknown): unknown {
  let error = thrown
  for (let depth = 0; depth < 5; depth++) {
    const inner: unknown = error instanceof AggregateError ? error.errors[0] : undefined
    const next = inner ?? (error instanceof Error && codeOf(error) === '' ? error.cause : undefined)
    if (next === undefined || next === null) return error
    error = next
  }
  return error
}

function codeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return ''
  return typeof error.code === 'string' ? error.code : ''
}
