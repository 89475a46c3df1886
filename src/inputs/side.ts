import { X509Certificate } from 'node:crypto'
import { pemBlocks } from '../core/pem.ts'
import type { Secret } from '../core/secret.ts'
import { quote } from '../core/text.ts'
import type { RegistryAddress } from '../oci/reference.ts'
import { readPath } from './path-or-content.ts'
import { succeeds } from './problems.ts'
import type { InputReader } from './reader.ts'

export type SideConfig = Readonly<ReturnType<typeof parseSide>>

/** @param inputs the options of one side by their names without `source-` or `destination-`. */
export function parseSide(side: 'source' | 'destination', inputs: InputReader) {
  const config = {
    side,
    name: side as string, // `source`, `destination`, or what the list of destinations calls it
    cluster: inputs.parsed('cluster', parseCluster), // API server, or the cluster that this pod runs in
    username: username(inputs),
    password: inputs.secret('password'),
    token: token(inputs),
    /** A short-lived token of this account opens the registry. */
    serviceAccount: inputs.parsed('service-account', parseServiceAccount),
    /** Path or text; server, CA and credential come from it. Excludes cluster, username, password, token. */
    kubeconfig: inputs.fileOrContent('kubeconfig'),
    context: inputs.text('context'),
    oidcAudience: inputs.text('oidc-audience'), // GitHub: of the runner's OIDC token, which is then the bearer
    registry: inputs.parsed('registry', parseRegistry),
    ca: inputs.parsed('ca', (text) => certificates(text, inputs)), // PEM, already read and checked
    insecureSkipTlsVerify: inputs.flag('insecure-skip-tls-verify'),
    /** Path, already checked to be readable, or text of a docker config.json or containers auth.json. */
    authFile: inputs.fileOrContent('auth-file'),
  }
  checkCredentials(inputs)
  return config
}

function username(inputs: InputReader): string | undefined {
  const user = inputs.text('username')
  // Basic (RFC 7617) ends the user name at the first colon.
  if (user?.includes(':')) {
    const advice = /^kube:admin$/.test(user)
      ? ': log in as kubeadmin'
      : /^system:/.test(user)
        ? ': give its token alone'
        : ''
    inputs.problem('username', `${quote(user.replace(/:.*/s, ':…'))} has a ":", which no login can carry${advice}`)
  }
  return user
}

function token(inputs: InputReader): Secret | undefined {
  const value = inputs.secret('token')
  if (value !== undefined && /[^\x21-\x7e]/.test(value.reveal()))
    inputs.problem(
      'token',
      'holds a blank, a line break or a character that no token has: check what it was copied from',
    )
  return value
}

/** PEM text or the path of such a file; only its certificates are kept. */
function certificates(value: string, { around }: InputReader): string {
  const inline = value.includes('-----BEGIN') || value.includes('\n')
  const name = inline ? 'the text' : quote(value)
  const problem = 'is neither PEM text nor a readable file'
  const blocks = pemBlocks(inline ? value : readPath(value, around.readFile, { problem }), 'CERTIFICATE')
  const broken = blocks.findIndex((block) => !succeeds(() => new X509Certificate(block)))
  if (blocks.length === 0) throw new Error(`${name} holds no PEM certificate (-----BEGIN CERTIFICATE-----)`)
  if (broken !== -1) throw new Error(`certificate ${broken + 1} of ${name} is damaged`)
  return blocks.join('')
}

/** In a pod its service account is the way into these. */
const POD_CLUSTER = /^(?:in-cluster$|https:\/\/kubernetes\.default(?:\.svc)?(?:[.:/]|$))/

/** Which options of one side go together: docs/credentials.md. */
function checkCredentials(inputs: InputReader): void {
  const has = (name: string) => inputs.has(name)
  const spell = (name: string) => inputs.spell(name)
  if (has('token') && has('password')) inputs.problem('token', `excludes ${spell('password')}: give one of them`)
  if (has('password') && !has('username')) inputs.problem('password', `needs ${spell('username')} too`)
  // A context alone is one of the kubeconfig that KUBECONFIG names, or of ~/.kube/config.
  const kubeconfig = ['kubeconfig', 'context'].find(has)
  if (has('username') && !has('password') && !has('token') && kubeconfig === undefined)
    inputs.problem('username', `needs ${spell('password')} or ${spell('token')} too`)
  if (kubeconfig !== undefined)
    for (const name of ['cluster', 'username', 'password', 'token'])
      if (has(name)) inputs.problem(name, `is excluded by ${spell(kubeconfig)}, which names its own`)
  if (has('service-account') && !has('cluster') && kubeconfig === undefined)
    inputs.problem('service-account', `needs ${spell('cluster')}, which issues its token`)
  const wayIn = ['username', 'password', 'token', 'oidc-audience'].some(has)
  if (has('cluster') && !POD_CLUSTER.test(inputs.text('cluster') ?? '') && kubeconfig === undefined && !wayIn)
    inputs.problem('cluster', `needs a way in: ${spell('username')} and ${spell('password')}, or ${spell('token')}`)
  if (has('oidc-audience')) {
    if (!has('cluster')) inputs.problem('oidc-audience', `needs ${spell('cluster')}, which trusts the runner's token`)
    for (const name of ['username', 'password', 'token', 'kubeconfig', 'context'])
      if (has(name)) inputs.problem('oidc-audience', `excludes ${spell(name)}: the runner's own token logs in`)
  }
}

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
