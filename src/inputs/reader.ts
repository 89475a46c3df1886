import { delimiter } from 'node:path'
import { reasonOf } from '../core/errors.ts'
import { Secret, type Secrets, tooShort } from '../core/secret.ts'
import { quote } from '../core/text.ts'
import type { Env, Found } from './collect.ts'
import { type HostKind, OPTION_BY_NAME, type Option } from './options.ts'
import { contentOf, notPath, readPath } from './path-or-content.ts'
import { type ReadFile, succeeds } from './problems.ts'

/** What parsing needs to know of the host. `commandLine`: the plain host's options exist too (a `run:` step on GitHub). */
export type Place = Readonly<{ kind: HostKind; commandLine?: boolean; spell(option: string): string }>

export type Surroundings = Readonly<{
  place: Place
  secrets: Secrets
  readFile: ReadFile
  env: Env
  problems: string[] // one line for each problem: all are reported at once
  /** Beginning of a problem's line: the name of the option, and of the list that it stands in. */
  label(option: string): string
}>

export const FROM_LIST = 'the list' // `Found.from` of what an entry of `destinations` says

/** The options of the run, of a side or of an entry of `destinations`, by their names in that scope; notes what is wrong. */
export class InputReader {
  readonly around: Surroundings
  readonly #values: Map<string, Found>
  readonly #prefix: string

  /** @param prefix of the names of the options: `source-`. */
  constructor(values: Map<string, Found>, around: Surroundings, prefix = '') {
    this.around = around
    this.#values = values
    this.#prefix = prefix
  }

  scoped(prefix: string): InputReader {
    return new InputReader(this.#values, this.around, prefix)
  }

  /** How the host spells the option, for problems that name a second one. */
  spell(name: string): string {
    return this.around.place.spell(this.#prefix + name)
  }

  problem(name: string, problem: string): void {
    this.around.problems.push(`${this.around.label(this.#prefix + name)}: ${problem}`)
  }

  has(name: string): boolean {
    return this.#values.has(this.#prefix + name)
  }

  /** Whether it says something else than its default. */
  isSet(name: string): boolean {
    const value = this.#values.get(this.#prefix + name)?.value
    return value !== undefined && value.toLowerCase() !== OPTION_BY_NAME.get(this.#prefix + name)?.default
  }

  /** Undefined for secrets, too. */
  text(name: string): string | undefined {
    const isSecret = OPTION_BY_NAME.get(this.#prefix + name)?.type === 'secret'
    return isSecret ? undefined : this.#values.get(this.#prefix + name)?.value
  }

  flag(name: string): boolean {
    return this.text(name)?.toLowerCase() === 'true'
  }

  integer(name: string): number {
    return Number(this.text(name))
  }

  /** `check` has told already what is none of the choices. */
  choice<T extends string>(name: string): T {
    return this.text(name) as T
  }

  secret(name: string): Secret | undefined {
    const found = this.#values.get(this.#prefix + name)
    return found && new Secret(found.value)
  }

  /** @param parse throws an Error whose message follows the name of the option. */
  parsed<T>(name: string, parse: (text: string) => T): T | undefined {
    const value = this.text(name)
    return value === undefined ? undefined : this.#attempt(name, () => parse(value))
  }

  /** As `parsed`, for each item of a list. */
  list<T>(name: string, parse: (item: string) => T): T[] {
    return splitList(this.text(name) ?? '').flatMap((item) => this.#attempt(name, () => [parse(item)]) ?? [])
  }

  #attempt<T>(name: string, parse: () => T): T | undefined {
    try {
      return parse()
    } catch (thrown) {
      this.problem(name, reasonOf(thrown))
      return undefined
    }
  }

  /** @param parse throws an Error whose message follows the path of the file. */
  file<T>(name: string, parse: (text: string) => T, largest?: number): T | undefined {
    return this.parsed(name, (path) => {
      const text = readPath(path, this.around.readFile, { largest })
      try {
        return parse(text)
      } catch (thrown) {
        throw new Error(`${quote(path)}: ${reasonOf(thrown)}`)
      }
    })
  }

  /** As `parsed`, for a document in YAML or JSON, which stands there itself or in the file that is named. */
  document<T>(name: string, parse: (text: string) => T): T | undefined {
    const isText = (given: string) => /\n|^[[{]|^-(?:\s|$)|:\s/.test(given)
    return this.parsed(name, (given) => parse(isText(given) ? given : readPath(given, this.around.readFile)))
  }

  /** The path of a file that can be read, or the text of such a file where it cannot be seen by others. */
  fileOrContent(name: string): string | Secret | undefined {
    const found = this.#values.get(this.#prefix + name)
    const content = found && contentOf(name, found.value)
    if (found === undefined || content === undefined) {
      // A kubeconfig may be a list, as KUBECONFIG is: then one of the files has to exist.
      const files = name === 'kubeconfig' ? (found?.value.split(delimiter) ?? []) : []
      if (!files.some((path) => succeeds(() => readPath(path, this.around.readFile)))) this.file(name, () => undefined)
      return found?.value
    }
    if (found.from !== FROM_LIST && !found.from.startsWith('--')) return this.around.secrets.keep(content)
    const why =
      found.from === FROM_LIST ? 'this list is no secret' : 'arguments can be read by every process of the machine'
    this.problem(name, `holds the text of a file, and ${why}: give the path`)
    return found.value
  }

  /** Notes what the table of options says against a value. One that this host does not have keeps its default. */
  check(option: Option): void {
    const found = this.#values.get(option.name)
    if (found === undefined || found.from === 'default') return
    const { hosts, name, type, default: preset } = option
    const { kind, commandLine = false } = this.around.place
    const isThere = hosts.includes(kind) || (commandLine && hosts.includes('plain'))
    const wrong =
      type === 'secret' ? tooShort(found.value) : isThere ? checkValue(option, found.value) : onlyFor(option)
    if (wrong !== undefined) this.problem(name, wrong)
    if (isThere) return
    if (preset === undefined) this.#values.delete(name)
    else this.#values.set(name, { value: preset, from: 'default' })
  }
}

/** Items of a list: one per line or comma; `#` at the start of a line or after a blank begins a comment. */
export function splitList(text: string): string[] {
  return text
    .split(/\r\n|\r|\n/)
    .flatMap((line) => line.replace(/(?<=^|\s)#.*/s, '').split(','))
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

const HOST_NAMES = { github: 'GitHub Actions', tekton: 'Tekton', plain: 'the command line' } as const

function onlyFor({ hosts }: Option): string {
  return `is there only for ${hosts.map((host) => HOST_NAMES[host]).join(' and ')}`
}

function checkValue({ name, type, range, values, orHosts }: Option, value: string): string | undefined {
  if (orHosts === true && !isFlag(value)) return splitList(value).flatMap(checkHost)[0]
  if (type === 'boolean' && !isFlag(value)) return `${quote(value)} is neither true nor false`
  if (type === 'enum' && !values?.includes(value)) return `${quote(value)} is none of ${values?.join(', ')}`
  if (type === 'path' && name === 'report') return notPath(value)
  if (type !== 'integer') return undefined
  const [least, most] = range ?? [0, Number.MAX_SAFE_INTEGER]
  if (/^\d{1,9}$/.test(value) && Number(value) >= least && Number(value) <= most) return undefined
  return `${quote(value)} is not a whole number from ${least} to ${most}`
}

export function isFlag(value: string): boolean {
  return /^(?:true|false)$/i.test(value)
}

function checkHost(host: string): string[] {
  if (/^[a-z0-9-]+(?:\.[a-z0-9-]+)+$/i.test(host)) return []
  return [`${quote(host)} is neither true nor false nor the name of a host, as in mcr.microsoft.com`]
}
