import { X509Certificate } from 'node:crypto'
import { quote } from '../core/text.ts'
import { Secret } from '../secret.ts'
import { parseCluster, parseRegistry, parseServiceAccount, type Wrong } from './address.ts'
import type { SideConfig } from './config.ts'
import { readPath } from './content.ts'
import { type ReadFile, reasonOf } from './problems.ts'

/** The options of one side by their names without `source-` or `destination-`. */
export type SideInputs = Readonly<{
  side: 'source' | 'destination'
  text(name: string): string | undefined
  flag(name: string): boolean
  secret(name: string): Secret | undefined
  /** The text of a file in the place of its path: as a secret, or why it is not taken from there. */
  content(name: string): Secret | string | undefined
  say(name: string, problem: string): void
  /** How the host spells the option, for problems that name a second one. */
  spell(name: string): string
  readFile: ReadFile
}>

export function parseSide(inputs: SideInputs): SideConfig {
  const { side, text, flag, secret } = inputs
  const config: SideConfig = {
    side,
    name: side,
    cluster: checked(inputs, 'cluster', parseCluster),
    username: username(inputs),
    password: secret('password'),
    token: token(inputs),
    serviceAccount: checked(inputs, 'service-account', parseServiceAccount),
    kubeconfig: readable(inputs, 'kubeconfig'),
    context: text('context'),
    oidcAudience: text('oidc-audience'),
    registry: checked(inputs, 'registry', parseRegistry),
    ca: certificates(inputs),
    insecureSkipTlsVerify: flag('insecure-skip-tls-verify'),
    authFile: readable(inputs, 'auth-file'),
  }
  checkCredentials(inputs)
  return config
}

function checked<T extends object | string>(
  { text, say }: SideInputs,
  name: string,
  parse: (text: string) => T | Wrong,
): T | undefined {
  const value = text(name)
  const parsed = value === undefined ? undefined : parse(value)
  if (typeof parsed !== 'object' || !('wrong' in parsed)) return parsed
  say(name, parsed.wrong)
  return undefined
}

function username({ text, say }: SideInputs): string | undefined {
  const user = text('username')
  // Basic (RFC 7617) ends the user name at the first colon.
  if (user?.includes(':')) say('username', `${quote(user.replace(/:.*/s, ':…'))} has a ":", which no login can carry`)
  return user
}

function token({ secret, say }: SideInputs): Secret | undefined {
  const value = secret('token')
  if (value !== undefined && /[^\x21-\x7e]/.test(value.reveal()))
    say('token', 'holds a blank, a line break or a character that no token has: check what it was copied from')
  return value
}

/** The path of a file that can be read, or the text of such a file. */
function readable({ text, content, say, readFile }: SideInputs, name: string): string | Secret | undefined {
  const value = text(name)
  if (value === undefined) return undefined
  const given = content(name)
  if (given instanceof Secret) return given
  try {
    if (given !== undefined) throw new Error(given)
    readPath(value, readFile)
  } catch (thrown) {
    say(name, reasonOf(thrown))
  }
  return value
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----(?:(?!-----BEGIN)[\s\S])*?-----END CERTIFICATE-----/g

/** PEM text or the path of such a file; only its certificates are kept. */
function certificates({ text, say, readFile }: SideInputs): string | undefined {
  const value = text('ca')
  if (value === undefined) return undefined
  const inline = value.includes('-----BEGIN') || value.includes('\n')
  const name = inline ? 'the text' : quote(value)
  let pem = value
  try {
    if (!inline) pem = readPath(value, readFile, { problem: 'is neither PEM text nor a readable file' })
  } catch (thrown) {
    say('ca', reasonOf(thrown))
    return undefined
  }
  const blocks = pem.match(CERTIFICATE) ?? []
  const broken = blocks.findIndex((block) => !isCertificate(block))
  if (blocks.length === 0) say('ca', `${name} holds no PEM certificate (-----BEGIN CERTIFICATE-----)`)
  else if (broken !== -1) say('ca', `certificate ${broken + 1} of ${name} is damaged`)
  return blocks.length === 0 ? undefined : `${blocks.join('\n')}\n`
}

function isCertificate(block: string): boolean {
  try {
    new X509Certificate(block)
    return true
  } catch {
    return false
  }
}

/** Which options of one side go together; DESIGN "Credentials". */
function checkCredentials({ text, secret, say, spell }: SideInputs): void {
  const has = (name: string) => (text(name) ?? secret(name)) !== undefined
  if (has('token') && has('password')) say('token', `excludes ${spell('password')}: give one of them`)
  if (has('password') && !has('username')) say('password', `needs ${spell('username')} too`)
  if (has('username') && !has('password') && !has('token') && !has('kubeconfig'))
    say('username', `needs ${spell('password')} or ${spell('token')} too`)
  if (has('kubeconfig'))
    for (const name of ['cluster', 'username', 'password', 'token'])
      if (has(name)) say(name, `is excluded by ${spell('kubeconfig')}, which names its own`)
  if (has('context') && !has('kubeconfig')) say('context', `needs ${spell('kubeconfig')}, whose context it is`)
  if (has('service-account') && !has('cluster') && !has('kubeconfig'))
    say('service-account', `needs ${spell('cluster')}, which issues its token`)
  const wayIn = ['username', 'password', 'token', 'oidc-audience'].some(has)
  if (has('cluster') && text('cluster') !== 'in-cluster' && !has('kubeconfig') && !wayIn)
    say('cluster', `needs a way in: ${spell('username')} and ${spell('password')}, or ${spell('token')}`)
  if (has('oidc-audience')) {
    if (!has('cluster')) say('oidc-audience', `needs ${spell('cluster')}, which trusts the runner's token`)
    for (const name of ['username', 'password', 'token', 'kubeconfig'])
      if (has(name)) say('oidc-audience', `excludes ${spell(name)}: the runner's own token logs in`)
  }
}
