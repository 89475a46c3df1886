import { reasonOf } from '../core/errors.ts'
import { isRecord } from '../core/json.ts'
import { tooShort } from '../core/secret.ts'
import { quote } from '../core/text.ts'
import { parseYaml } from '../core/yaml.ts'
import { type Found, tidy } from './collect.ts'
import { OPTIONS, type Option } from './options.ts'
import { keepStray, readPath } from './path-or-content.ts'
import { nearest } from './problems.ts'
import { FROM_LIST, InputReader } from './reader.ts'
import { parseSide, type SideConfig } from './side.ts'

const PREFIX = 'destination-'
const SIDE_OPTIONS = OPTIONS.filter((option) => option.name.startsWith(PREFIX))
/** The keys of an entry beside `name`; a secret is never written into the list, which is no secret. */
const KEYS: ReadonlyMap<string, Option> = new Map(
  SIDE_OPTIONS.flatMap((option) => {
    const key = option.name.slice(PREFIX.length)
    const keys = option.type === 'secret' ? [`${key}-file`, `${key}-env`] : [key]
    return keys.map((each) => [each, option] as const)
  }),
)
const NAME = /^[A-Za-z0-9._-]+$/

type Fields = ReadonlyMap<string, unknown>

/** A YAML or JSON list, or the path of a file with one. @returns the entries that could be read. */
export function parseDestinations(inputs: InputReader): SideConfig[] {
  const seen = new Set<string>()
  return (inputs.document('destinations', readList) ?? []).flatMap((entry, index) => {
    const fields: Fields = new Map(Object.entries(isRecord(entry) ? entry : {}))
    const name = fields.get('name') ?? ''
    const label = typeof name !== 'string' || name === '' ? `entry ${index + 1}` : quote(name).slice(1, -1)
    const note = (problem: string) => inputs.problem('destinations', `${label}: ${problem}`)
    if (!isRecord(entry)) {
      note('is not a set of keys and values')
      return []
    }
    if (typeof name !== 'string' || !NAME.test(name)) note('needs a name of A-Z, a-z, 0-9, ".", "_" and "-"')
    else if (seen.has(name)) note('is the name of two destinations')
    seen.add(label)
    return [{ ...parseEntry(fields, inputs, note), name: label }]
  })
}

function readList(text: string): unknown[] {
  // Every value is text: an option's value is, and 0123 or yes must not become something else on the way.
  const list = parseYaml(text, { values: 'text' })
  if (Array.isArray(list) && list.length > 0) return list
  throw new Error('is not a list of destinations: begin each with "- name:"')
}

function parseEntry(fields: Fields, { around }: InputReader, note: (problem: string) => void): SideConfig {
  const problems: string[] = []
  const keyOf = (option: string) => option.slice(PREFIX.length)
  const spell = (option: string) => (KEYS.has(keyOf(option)) ? keyOf(option) : `${keyOf(option)}-file`)
  const values = new Map<string, Found>()
  const entry = new InputReader(values, { ...around, problems, label: keyOf, place: { ...around.place, spell } })
  for (const [key, value] of fields) {
    const option = KEYS.get(key)
    if (typeof value === 'string') keepStray(value, option?.type ?? 'string', around.secrets)
    const wrong = key === 'name' ? undefined : checkField(key, value)
    if (wrong !== undefined) problems.push(`${key}: ${wrong}`)
    else if (option !== undefined && option.type !== 'secret' && String(value).trim() !== '')
      values.set(option.name, { value: String(value).trim(), from: FROM_LIST })
  }
  for (const option of SIDE_OPTIONS) entry.check(option)
  const side = entry.scoped(PREFIX)
  for (const key of ['password', 'token']) {
    const value = readSecret(key, fields, side)
    if (value !== '') values.set(PREFIX + key, { value, from: FROM_LIST })
  }
  if (!['cluster', 'registry', 'kubeconfig', 'context'].some((key) => side.has(key)))
    problems.push('needs cluster, registry or kubeconfig')
  const config = parseSide('destination', side)
  problems.forEach(note)
  return config
}

function checkField(key: string, value: unknown): string | undefined {
  if (KEYS.has(key)) return typeof value === 'string' ? undefined : 'is not text'
  if (KEYS.has(`${key}-file`)) return `stands in no list: use ${key}-file PATH or ${key}-env VARIABLE`
  const meant = nearest(key.replace(/^destination-/, ''), ['name', ...KEYS.keys()])
  return `is not a key of a destination${meant === undefined ? '' : `; did you mean ${meant}?`}`
}

/** From the file or the variable that the entry names, kept secret before anything else is done with it. */
export function readSecret(key: string, fields: Fields, side: InputReader): string {
  const { env, readFile, secrets } = side.around
  const [path, variable] = ['file', 'env'].map((kind) => {
    const value = fields.get(`${key}-${kind}`)
    return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined
  })
  if (path !== undefined && variable !== undefined) side.problem(`${key}-env`, `excludes ${key}-file: give one of them`)
  try {
    const given = path === undefined ? env[variable ?? ''] : readPath(path, readFile, { quoted: false })
    const value = tidy('secret', given ?? '')
    const short = value === '' ? undefined : tooShort(value)
    if (short !== undefined) side.problem(`${key}-${path === undefined ? 'env' : 'file'}`, short)
    if (value !== '') secrets.keep(value)
    else if (path !== undefined) side.problem(`${key}-file`, `${quote(path)} is empty`)
    else if (variable !== undefined) side.problem(`${key}-env`, `the variable ${quote(variable)} is empty or not set`)
    return value
  } catch (thrown) {
    secrets.keep(path ?? '')
    side.problem(`${key}-file`, reasonOf(thrown))
    return ''
  }
}
