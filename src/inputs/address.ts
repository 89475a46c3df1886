import { quote } from '../core/text.ts'
import type { RegistryAddress } from '../oci/reference.ts'

/* Addresses of a side. Each function throws an Error whose message follows the name of the option. */

/** `https://api.example.com:6443`, or `in-cluster`. */
export function parseCluster(text: string): URL | 'in-cluster' {
  if (text === 'in-cluster') return text
  const url = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? parseUrl(text) : undefined
  const advice = 'write https://HOST:6443 (what "oc whoami --show-server" prints), or in-cluster'
  if (url === undefined) throw new Error(`${shown(text)} is not a valid URL: ${advice}`)
  if (url.protocol === 'http:') throw new Error(`${shown(text)} would send credentials in the clear: write https://`)
  if (url.protocol !== 'https:') throw new Error(`${shown(text)} is not an https URL: write https://HOST:6443`)
  return bare(url, text)
}

/** `host[:port]`; `http://host:port` for plain HTTP. `https://` is what the other form means already. */
export function parseRegistry(text: string): RegistryAddress {
  const [, scheme, rest = ''] = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(.*)$/is.exec(text) ?? []
  const protocol = scheme?.toLowerCase() ?? 'https'
  if (protocol !== 'https' && protocol !== 'http')
    throw new Error(`${shown(text)}: write host[:port], or http://host:port for plain HTTP`)
  const url = rest === '' ? undefined : parseUrl(`${protocol}://${rest}`)
  if (url === undefined) throw new Error(`${shown(text)} is not a registry: write host[:port]`)
  return { host: bare(url, text).host, plainHttp: protocol === 'http' }
}

/** `namespace/name`, both as Kubernetes names them (RFC 1123). */
export function parseServiceAccount(text: string): Readonly<{ namespace: string; name: string }> {
  const [, namespace, name] =
    /^([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\/([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)$/.exec(text) ?? []
  if (namespace === undefined || name === undefined)
    throw new Error(`${quote(text)} is not a service account: write namespace/name`)
  return { namespace, name }
}

function bare(url: URL, text: string): URL {
  if (url.username !== '' || url.password !== '')
    throw new Error(`${shown(text)} holds credentials: an address has none; they have options of their own`)
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    throw new Error(`${shown(text)} has a path: write the host and port alone`)
  return url
}

function parseUrl(text: string): URL | undefined {
  // WHATWG URLs take backslashes, blanks and line breaks which are mistakes.
  return /[\s\\]/.test(text) || !URL.canParse(text) ? undefined : new URL(text)
}

/** Credentials in an address are a mistake that must not end in a log as well. */
function shown(text: string): string {
  return quote(text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, '$1***@'))
}
