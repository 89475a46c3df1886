import { X509Certificate } from 'node:crypto'
import { pemBlocks } from '../core/pem.ts'
import type { Secret } from '../core/secret.ts'
import { quote } from '../core/text.ts'
import { parseCluster, parseRegistry, parseServiceAccount } from './address.ts'
import type { SideConfig } from './config.ts'
import { readPath } from './path-or-content.ts'
import { succeeds } from './problems.ts'
import type { InputReader } from './reader.ts'

/** @param inputs the options of one side by their names without `source-` or `destination-`. */
export function parseSide(side: 'source' | 'destination', inputs: InputReader): SideConfig {
  const config: SideConfig = {
    side,
    name: side,
    cluster: inputs.parsed('cluster', parseCluster),
    username: username(inputs),
    password: inputs.secret('password'),
    token: token(inputs),
    serviceAccount: inputs.parsed('service-account', parseServiceAccount),
    kubeconfig: inputs.fileOrContent('kubeconfig'),
    context: inputs.text('context'),
    oidcAudience: inputs.text('oidc-audience'),
    registry: inputs.parsed('registry', parseRegistry),
    ca: inputs.parsed('ca', (text) => certificates(text, inputs)),
    insecureSkipTlsVerify: inputs.flag('insecure-skip-tls-verify'),
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

/** Which options of one side go together; DESIGN "Credentials". */
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
