import { isRecord } from '../core/json.ts'
import { Secret } from '../core/secret.ts'
import { quote } from '../core/text.ts'
import { parseYaml } from '../core/yaml.ts'
import { readSecret } from './destinations.ts'
import { keepStray } from './path-or-content.ts'
import { InputReader } from './reader.ts'

const KEYS = ['username', 'password-env', 'password-file']
/** A key of an auth file: `host[:port]` or a namespace below it. */
const REGISTRY = /^(?:https?:\/\/)?[a-z0-9[][a-z0-9.:\]-]*(?:\/[a-z0-9._/-]+)?$/i

/**
 * The option `registry-auth`: a YAML or JSON map from registry to user and password, or the path of a file with one.
 * @returns the same as the text of an auth file; what is wrong was noted
 */
export function parseRegistryAuth(inputs: InputReader): Secret | undefined {
  const map = inputs.document('registry-auth', readMap)
  if (map === undefined) return undefined
  const auths = Object.entries(map).map(([registry, entry]) => [registry, parseEntry(registry, entry, inputs)])
  return new Secret(JSON.stringify({ auths: Object.fromEntries(auths) }))
}

function readMap(text: string): Record<string, unknown> {
  const map: unknown = parseYaml(text, { values: 'text' })
  if (isRecord(map) && Object.keys(map).length > 0) return map
  throw new Error('is no map: write "HOST: { username: NAME, password-env: VARIABLE }" for each registry')
}

function parseEntry(registry: string, given: unknown, inputs: InputReader) {
  const problems: string[] = []
  const label = (key: string) => key
  const entry = new InputReader(new Map(), { ...inputs.around, problems, label })
  const fields = new Map(Object.entries(isRecord(given) ? given : {}))
  for (const [key, value] of fields) {
    if (typeof value === 'string') keepStray(value, 'string', inputs.around.secrets)
    if (key === 'password' && typeof value === 'string') inputs.around.secrets.keep(value)
    if (!KEYS.includes(key)) problems.push(`${key}: stands in no map: use ${KEYS.join(', ')}`)
  }
  const username = fields.get('username')
  if (!REGISTRY.test(registry)) problems.push('is no registry: write host[:port] or host/namespace')
  if (typeof username !== 'string' || username === '' || username.includes(':'))
    problems.push('username: needs a name, without ":"')
  if (!fields.has('password-env') && !fields.has('password-file'))
    problems.push('needs password-env VARIABLE or password-file PATH')
  const password = readSecret('password', fields, entry)
  for (const problem of problems) inputs.problem('registry-auth', `${quote(registry).slice(1, -1)}: ${problem}`)
  return { username, password }
}
