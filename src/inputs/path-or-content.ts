import { contentKind, fromBase64, isRandom } from '../core/content.ts'
import { reasonOf } from '../core/errors.ts'
import { isRecord } from '../core/json.ts'
import type { Secrets } from '../core/secret.ts'
import { quote } from '../core/text.ts'
import { parseYaml } from '../core/yaml.ts'
import type { Option } from './options.ts'
import type { ReadFile } from './problems.ts'

/** The content of a file that was given instead of its path. It is often a credential: messages name its kind and do not quote it. */

/** Why a value cannot be a path, in words that follow the name of its option. Undefined if it can be one. */
export function notPath(value: string): string | undefined {
  const kind = contentKind(value)
  return kind && `holds ${kind}, not the path of a file`
}

type Reading = Readonly<{ quoted?: boolean; problem?: string; largest?: number | undefined }>

/**
 * Reads the file of an option. This is the one way from an option to a file.
 * @param options.quoted false: the value may be a password, so messages do not repeat it.
 * @throws Error whose message follows the name of the option.
 */
export function readPath(
  value: string,
  readFile: ReadFile,
  { quoted = true, problem = 'cannot be read', largest }: Reading = {},
): string {
  const wrong = notPath(value)
  if (wrong !== undefined) throw new Error(wrong)
  try {
    return readFile(value, largest)
  } catch (thrown) {
    const path = !quoted || isRandom(value) ? '' : `${quote(value)} `
    throw new Error(`${path}${problem}: ${reasonOf(thrown)}`)
  }
}

/** The text of a kubeconfig or an auth file, if the value is that text, or base64 of it. */
export function contentOf(name: string, value: string): string | undefined {
  if (contentKind(value) === undefined) return undefined
  const text = fromBase64(value.trim()) ?? value
  const members = name.endsWith('kubeconfig') ? ['clusters'] : ['auths', 'credHelpers', 'credsStore']
  try {
    const document: unknown = parseYaml(text, { repeatedKeys: true })
    return isRecord(document) && members.some((member) => member in document) ? text : undefined
  } catch {
    return undefined
  }
}

/** Patterns of tokens, keys and passwords. */
const SECRETS = [
  /sha256~[\w-]{16,}/g,
  /(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g,
  /\b(?:gh[opsu]|github_pat|glpat|dckr_pat|hvs)[_.-][\w-]{16,}/g,
  /\/\/[^/\s:@]*:([^/\s@]+)@(?!sha\d+:)/g,
  /(?:auth|password|token|client-key-data)(?:["']\s*:\s*|:\s+)["']?([^\s"',}]{4,})/gi,
]

/**
 * Registers the secrets in the value of an option that is not for secrets: the whole value if it is content instead of a path,
 * else the parts that look like secrets.
 */
export function keepStray(value: string, type: Option['type'], secrets: Secrets): void {
  // Inside a string of JSON, quotes are escaped.
  const plain = value.replaceAll('\\', '')
  const found = SECRETS.flatMap((pattern) => [...plain.matchAll(pattern)].map(([whole, part]) => part ?? whole))
  const isContent = type === 'path' && contentKind(value) !== undefined
  const isWhole = isContent || /PRIVATE KEY-----/.test(value) || fromBase64(value.trim()) !== undefined
  for (const part of isWhole ? [value, ...found] : found) secrets.keep(part)
}
