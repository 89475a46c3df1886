import { quote } from '../core/text.ts'
import { type Secret, type Secrets, tooShort } from '../secret.ts'
import { parseYaml } from '../yaml.ts'
import { type Env, tidy } from './collect.ts'
import type { SideConfig } from './config.ts'
import { contentOf, keepStray, readPath } from './content.ts'
import { OPTIONS, type Option } from './options.ts'
import { nearest, type ReadFile, reasonOf } from './problems.ts'
import { parseSide } from './side.ts'

export type DestinationInputs = Readonly<{
  env: Env
  secrets: Secrets
  readFile: ReadFile
  /** Notes a problem; the others are still looked for. */
  note: (problem: string) => void
  /** What the table of options says against a value. */
  check: (option: Option, value: string) => string | undefined
}>

const PREFIX = 'destination-'
/** The keys of an entry beside `name`; a secret is never written into the list, which is no secret. */
const KEYS: ReadonlyMap<string, Option> = new Map(
  OPTIONS.filter((option) => option.name.startsWith(PREFIX)).flatMap((option) => {
    const key = option.name.slice(PREFIX.length)
    const keys = option.type === 'secret' ? [`${key}-file`, `${key}-env`] : [key]
    return keys.map((each) => [each, option] as const)
  }),
)
const NAME = /^[A-Za-z0-9._-]+$/

/**
 * The option `destinations`: a YAML or JSON list, or the path of a file with one.
 * @returns the entries that could be read; what is wrong with the others was noted.
 */
export function parseDestinations(given: string, inputs: DestinationInputs): SideConfig[] {
  const seen = new Set<string>()
  return readList(given, inputs).flatMap((entry, index) => {
    const fields = fieldsOf(entry)
    const name = fields?.get('name') ?? ''
    const label = typeof name !== 'string' || name === '' ? `entry ${index + 1}` : quote(name).slice(1, -1)
    const note = (problem: string) => inputs.note(`${label}: ${problem}`)
    if (fields === undefined) {
      note('is no set of keys and values')
      return []
    }
    if (typeof name !== 'string' || !NAME.test(name)) note('needs a name of A-Z, a-z, 0-9, ".", "_" and "-"')
    else if (seen.has(name)) note('is the name of two destinations')
    seen.add(label)
    return [{ ...parseEntry(fields, { ...inputs, note }), name: label }]
  })
}

type Fields = ReadonlyMap<string, unknown>

function readList(given: string, { readFile, note }: DestinationInputs): unknown[] {
  const isText = /\n|^(?:\[|-(?:\s|$))/.test(given)
  try {
    // Every value is text: an option's value is, and 0123 or yes must not become something else on the way.
    const list = parseYaml(isText ? given : readPath(given, readFile), { values: 'text' })
    if (Array.isArray(list) && list.length > 0) return list
    note('is no list of destinations: begin each with "- name:"')
  } catch (thrown) {
    note(reasonOf(thrown))
  }
  return []
}

function fieldsOf(entry: unknown): Fields | undefined {
  const isMap = typeof entry === 'object' && entry !== null && !Array.isArray(entry)
  return isMap ? new Map(Object.entries(entry)) : undefined
}

function parseEntry(fields: Fields, inputs: DestinationInputs): SideConfig {
  const say = (key: string, problem: string) => inputs.note(`${key}: ${problem}`)
  for (const [key, value] of fields) {
    if (typeof value === 'string') keepStray(value, KEYS.get(key)?.type ?? 'string', inputs.secrets)
    const wrong = key === 'name' ? undefined : checkField(key, value, inputs)
    if (wrong !== undefined) say(key, wrong)
  }
  const text = (key: string): string | undefined => {
    const value = fields.get(key)
    return typeof value !== 'string' || value.trim() === '' ? undefined : value.trim()
  }
  const secrets = new Map(['password', 'token'].map((key) => [key, secretOf(key, text, say, inputs)]))
  if (['cluster', 'registry', 'kubeconfig'].every((key) => text(key) === undefined))
    inputs.note('needs cluster, registry or kubeconfig')
  return parseSide({
    side: 'destination',
    text: (key) => (secrets.has(key) ? undefined : text(key)),
    flag: (key) => text(key)?.toLowerCase() === 'true',
    secret: (key) => secrets.get(key),
    content: (key) =>
      contentOf(key, text(key) ?? '') && 'holds the text of a file, and this list is no secret: give the path',
    say,
    spell: (key) => (secrets.has(key) ? `${key}-file` : key),
    readFile: inputs.readFile,
  })
}

function checkField(key: string, value: unknown, { check }: DestinationInputs): string | undefined {
  const option = KEYS.get(key)
  if (option !== undefined && typeof value !== 'string') return 'is no text'
  if (option !== undefined) return option.type === 'secret' || value === '' ? undefined : check(option, String(value))
  if (KEYS.has(`${key}-file`)) return `stands in no list: use ${key}-file PATH or ${key}-env VARIABLE`
  const meant = nearest(key.replace(/^destination-/, ''), ['name', ...KEYS.keys()])
  return `is no key of a destination${meant === undefined ? '' : `; did you mean ${meant}?`}`
}

/** From the file or the variable that the entry names, kept secret before anything else is done with it. */
function secretOf(
  key: string,
  text: (key: string) => string | undefined,
  say: (key: string, problem: string) => void,
  { env, secrets, readFile }: DestinationInputs,
): Secret | undefined {
  const [path, variable] = [text(`${key}-file`), text(`${key}-env`)]
  if (path !== undefined && variable !== undefined) say(`${key}-env`, `excludes ${key}-file: give one of them`)
  try {
    const value = tidy(
      'secret',
      (path === undefined ? env[variable ?? ''] : readPath(path, readFile, { quoted: false })) ?? '',
    )
    const short = value === '' ? undefined : tooShort(value)
    if (short !== undefined) say(`${key}-${path === undefined ? 'env' : 'file'}`, short)
    if (value !== '') return secrets.keep(value)
    if (path !== undefined) say(`${key}-file`, `${quote(path)} is empty`)
    else if (variable !== undefined) say(`${key}-env`, `the variable ${quote(variable)} is empty or not set`)
  } catch (thrown) {
    secrets.keep(path ?? '')
    say(`${key}-file`, reasonOf(thrown))
  }
  return undefined
}
