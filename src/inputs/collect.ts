import { contentKind } from '../core/content.ts'
import { reasonOf } from '../core/errors.ts'
import { listed, quote } from '../core/text.ts'
import { OPTION_BY_NAME, OPTIONS, type Option, onArgv, variableName } from './options.ts'
import { adviceFor } from './other-tools.ts'
import { readPath } from './path-or-content.ts'
import { nearest, type ReadFile } from './problems.ts'

/** The value of an option, and the flag, variable or file that it comes from. Only `from` is logged. */
export type Found = Readonly<{ value: string; from: string }>
/** `env`: the variables that entries of a list may name. `stray`: values that were given instead of a path; they may be secrets. */
export type Collected = Readonly<{
  raw: ReadonlyMap<string, Found>
  problems: readonly string[]
  warnings?: readonly string[]
  stray?: readonly string[]
  /** What to write if the second of two images was meant as the destination of the first. */
  suggestion?: string | undefined
  env?: Env
}>
export type Env = Readonly<Record<string, string | undefined>>

const NAMES = [...OPTION_BY_NAME.keys()]
const PREFIX = 'IMAGE_PROMOTE_'
const FILE = '-file'
/** PEM text also begins with dashes. It is a value, not a flag. */
const FLAG = /^--[a-z]/i
/** An argument before `--` without any of these characters is not an image: it is a mistake, or a secret. */
const IMAGE = /[/:=@]/
/** Characters. A longer argument or variable name is not a misspelled option: it is neither quoted nor compared. */
const LONGEST_NAME = 60

/** Variables of the Tekton Task that are not options: folders, paths of results, and the id of the run. */
const EXTRAS =
  /^(?:SOURCE_AUTH_DIR|DESTINATION_AUTH_DIR|CA_DIR|REPORT_DIR|SIGN_DIR|RUN_ID|TASK_RUN|NAMESPACE|RESULT_[A-Z0-9_]+)$/

/** Variables that Kubernetes sets for a Service image-promote or image-promote-x (kubernetes/kubernetes pkg/kubelet/envvars). */
const SERVICE_LINKS = [
  /(?:^|_)SERVICE_(?:HOST$|PORT(?:$|_))/,
  /(?:^|_)PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/,
]
const SERVICE_ADDRESS = /^(?:tcp|udp|sctp):\/\//

/**
 * Finds the value of each option, in this order: `--name` (other arguments are `images`), `--name-file`, `IMAGE_PROMOTE_NAME`,
 * `IMAGE_PROMOTE_NAME_FILE`, the default. In an action: `INPUT_NAME`, the default. Other variables do not count there, because
 * an earlier step of the job can set them. An empty value counts as unset.
 * @param argv the arguments after the script's name.
 */
export function collect(argv: readonly string[], env: Env, readFile: ReadFile): Collected {
  const flags = readFlags(argv)
  const action = isAction(argv, env)
  const notes: Notes = { problems: [...flags.problems, ...(action ? [] : unknownVariables(env))], stray: [] }
  const raw = new Map<string, Found>()
  for (const option of OPTIONS) {
    for (const candidate of action ? inputsOf(option, env) : candidates(option, flags, env)) {
      const found = candidate.path === undefined ? candidate : fromFile(candidate, option, readFile, notes)
      const value = found.value === undefined ? '' : tidy(option.type, found.value)
      if (value === '') continue
      raw.set(option.name, { value, from: found.from })
      break
    }
    if (!raw.has(option.name) && option.default !== undefined)
      raw.set(option.name, { value: option.default, from: 'default' })
  }
  // action.yml sets an INPUT_ variable for every default, so that "re-run with debug logging" has to win over them.
  if (env.RUNNER_DEBUG === '1') raw.set('log-level', { value: 'debug', from: 'RUNNER_DEBUG' })
  const suggestion = suggestionFor(flags.images)
  return { raw, ...notes, warnings: action ? ignored(env) : [], suggestion, env }
}

type Notes = Readonly<{ problems: string[]; stray: string[] }>
type Candidate = Readonly<{ from: string; value?: string | undefined; path?: string | undefined }>

/** The runner keeps the hyphens of a name. Shells cannot export such a name, so underscores are read too (actions/toolkit#629). */
function inputsOf({ name }: Option, env: Env): Candidate[] {
  return [`INPUT_${name.toUpperCase()}`, `INPUT_${variableName(name)}`]
    .map((input) => ({ from: input, value: env[input] }))
    .filter(({ value = '' }) => value !== '')
}

/** The runner starts an action without arguments and with a variable for each input; a step with `run:` is a command line. */
export function isAction(argv: readonly string[], env: Env): boolean {
  return argv.length === 0 && OPTIONS.some((option) => inputsOf(option, env).length > 0)
}

function ignored(env: Env): string[] {
  const names = variablesIn(env).map((name) => `${PREFIX}${name}`)
  if (names.length === 0) return []
  return [`${listed(names)}: ignored, because the inputs of this step (with:) say what is promoted`]
}

function candidates(option: Option, flags: Flags, env: Env): Candidate[] {
  const { name } = option
  const variable = `${PREFIX}${variableName(name)}`
  return [
    { from: `--${name}`, value: flags.values.get(name) },
    { from: `--${name}${FILE}`, path: flags.values.get(`${name}${FILE}`) },
    { from: variable, value: env[variable] },
    { from: `${variable}_FILE`, path: env[`${variable}_FILE`] },
  ].filter((candidate: Candidate) => (candidate.value ?? candidate.path ?? '') !== '')
}

function fromFile({ from, path = '' }: Candidate, { type }: Option, readFile: ReadFile, notes: Notes): Candidate {
  try {
    return { from: `${from} (${path})`, value: readPath(path, readFile, { quoted: false }) }
  } catch (thrown) {
    if (type === 'secret' || contentKind(path) !== undefined) notes.stray.push(path)
    notes.problems.push(`${from}: ${reasonOf(thrown)}`)
    return { from }
  }
}

/** Removes blanks around a value, which YAML may add. Of a secret, only the line end is removed that editors and `echo` add. */
export function tidy(type: Option['type'], value: string): string {
  return type === 'secret' ? value.replace(/^\ufeff/, '').replace(/(?<![\r\n])[\r\n]+$/, '') : value.trim()
}

type Flags = Readonly<{ values: Map<string, string>; images: string[]; problems: string[] }>

function readFlags(argv: readonly string[]): Flags {
  const flags: Flags = { values: new Map(), images: [], problems: [] }
  const end = argv.indexOf('--')
  const options = end === -1 ? argv : argv.slice(0, end)
  for (let at = 0; at < options.length; ) at += readFlag(options, at, flags)
  // What follows an unknown flag may be a secret, although it looks like an image: messages must not quote it.
  if (flags.problems.length > 0) flags.images.length = 0
  if (end !== -1) flags.images.push(...argv.slice(end + 1))
  for (const image of flags.images) addValue(flags, 'images', image)
  return flags
}

/**
 * Reads the flag or the image at `at`. An unknown flag is skipped together with what looks like its value. Neither is quoted,
 * because the value of a misspelled flag may be a secret.
 * @returns the number of arguments that it took.
 */
function readFlag(argv: readonly string[], at: number, flags: Flags): number {
  const argument = argv[at] ?? ''
  if (!FLAG.test(argument)) return readArgument(argument, at, flags)
  const equals = argument.indexOf('=')
  const name = argument.slice(2, equals === -1 ? undefined : equals)
  const option = OPTION_BY_NAME.get(name)
  const inline = equals === -1 ? undefined : argument.slice(equals + 1)
  const next = argv[at + 1]
  const isNext = next !== undefined && !FLAG.test(next) && (option?.type !== 'boolean' || !IMAGE.test(next))
  const value = inline ?? (isNext ? next : undefined)
  const problem = option ? takeOption(flags, option, value) : takeFile(flags, name, value)
  if (problem !== undefined) flags.problems.push(problem)
  return inline === undefined && isNext ? 2 : 1
}

function readArgument(argument: string, at: number, flags: Flags): number {
  const advice = adviceFor(argument.replace(/^-/, ''))
  if (advice !== undefined) flags.problems.push(`${argument}: ${advice}`)
  else if (/^-./.test(argument) || !IMAGE.test(argument))
    flags.problems.push(
      `argument ${at + 1} is neither an option nor an image: write SRC=DST, as in dev/app:1=prod/app:1`,
    )
  else flags.images.push(argument)
  return 1
}

/** In other tools, `SRC DST` is a source and a destination. Here it is two images, and each keeps its name. */
function suggestionFor([first = '', second = '', ...more]: readonly string[]): string | undefined {
  if (second === '' || more.length > 0 || /[=\n,]/.test(first + second)) return undefined
  return `To copy ${quote(first)} to ${quote(second)} write one argument: ${quote(`${first}=${second}`)}`
}

function takeOption(flags: Flags, option: Option, value: string | undefined): string | undefined {
  const { name, type } = option
  if (!onArgv(option)) {
    const why = 'arguments can be read by every process of the machine, so that no secret is taken from them'
    return `--${name}: ${why}: use --${name}${FILE} PATH or the environment variable ${PREFIX}${variableName(name)}`
  }
  if (value === undefined && type !== 'boolean') return `--${name}: needs a value, as in --${name} VALUE`
  return addValue(flags, name, value ?? 'true')
}

function takeFile(flags: Flags, name: string, value: string | undefined): string | undefined {
  const option = name.endsWith(FILE) ? OPTION_BY_NAME.get(name.slice(0, -FILE.length)) : undefined
  if (option === undefined) return unknownFlag(name)
  return value === undefined ? `--${name}: needs the path of a file` : addValue(flags, name, value)
}

function addValue(flags: Flags, name: string, value: string): string | undefined {
  const before = flags.values.get(name)
  if (before !== undefined && OPTION_BY_NAME.get(name)?.type !== 'list') return `--${name}: is given twice`
  flags.values.set(name, before === undefined ? value : `${before}\n${value}`)
  return undefined
}

function unknownFlag(name: string): string {
  if (name.length > LONGEST_NAME || !/^[\w.-]+$/.test(name)) return 'an argument that begins with "--" is not an option'
  const advice = adviceFor(name)
  if (advice !== undefined) return `--${name}: unknown option; ${advice}`
  const positive = name.startsWith('no-') ? OPTION_BY_NAME.get(name.slice(3)) : undefined
  if (positive?.type === 'boolean') return `--${name}: unknown option; write --${positive.name} false`
  const meant = nearest(name, [...NAMES, ...NAMES.map((known) => `${known}${FILE}`), 'help', 'help-all', 'version'])
  return `--${name}: unknown option; ${meant === undefined ? '--help-all lists them' : `did you mean --${meant}?`}`
}

/** The variables that are set and may be options, sorted: their names without the prefix. */
function variablesIn(env: Env): string[] {
  return Object.keys(env)
    .filter((variable) => variable.startsWith(PREFIX) && env[variable] !== '' && env[variable] !== undefined)
    .map((variable) => variable.slice(PREFIX.length))
    .filter((name) => !EXTRAS.test(name) && !isServiceLink(name, env[`${PREFIX}${name}`]))
    .sort()
}

function isServiceLink(name: string, value = ''): boolean {
  return SERVICE_LINKS.some((link) => link.test(name)) || (/(?:^|_)PORT$/.test(name) && SERVICE_ADDRESS.test(value))
}

function unknownVariables(env: Env): string[] {
  const known = new Set(NAMES.flatMap((name) => [variableName(name), variableName(`${name}${FILE}`)]))
  return variablesIn(env)
    .filter((name) => !known.has(name))
    .map((name) => {
      const meant = name.length > LONGEST_NAME ? undefined : nearest(name, [...known])
      const hint =
        meant === undefined ? 'unset it, or see --help-all for the options' : `did you mean ${PREFIX}${meant}?`
      return `${PREFIX}${name}: unknown variable; ${hint}`
    })
}
