import { quote } from '../core/text.ts'
import { asPromoteError, PromoteError } from '../errors.ts'
import { type Platform, parsePlatform } from '../oci/platform.ts'
import { formatReference, isTag } from '../oci/reference.ts'
import { type Secret, type Secrets, tooShort } from '../secret.ts'
import type { Collected, Env } from './collect.ts'
import type { Config, ImagePair, SideConfig } from './config.ts'
import { findConflicts, findHomeless } from './conflicts.ts'
import { contentOf, keepStray, notPath } from './content.ts'
import { parseDestinations } from './destinations.ts'
import { splitList } from './images.ts'
import { OPTIONS, type Option } from './options.ts'
import type { Place, ReadFile, Say } from './problems.ts'
import { likeImage, parseRelease } from './release.ts'
import { parseSide } from './side.ts'

/**
 * Checks everything, and only then complains.
 * @param secrets every password and token is kept in it before anything else is looked at.
 * @throws one PromoteError USAGE of side `input` that lists every problem, one per line.
 */
export function parse(collected: Collected, place: Place, secrets: Secrets, readFile: ReadFile): Config {
  const inputs = reader(collected, place, secrets)
  const { say, text, flag, integer } = inputs
  for (const option of OPTIONS) inputs.checkOption(option)

  const release = parseRelease({ text, flag, say, spell: (name) => place.spell(name), readFile })
  const images = [...release.images, ...release.sets.map(likeImage)]
  const source = sideOf('source', inputs, place, readFile)
  const destinations = destinationsOf(inputs, place, readFile, images)
  const additionalTags = tags(text('additional-tags'), say)
  findConflicts({ images, source, destinations, additionalTags }, say)
  for (const side of ['source', 'destination'] as const) if (!hasPlace(side, text)) findHomeless(images, side, say)

  const config: Config = {
    ...release,
    source,
    destinations,
    platforms: platforms(text('platforms'), say),
    referrers: flag('referrers'),
    requireSigned: flag('require-signed'),
    ...foreign(text('include-foreign')),
    skipMissing: flag('skip-missing'),
    additionalTags,
    dryRun: flag('dry-run'),
    jobs: integer('jobs'),
    retries: integer('retries'),
    stallTimeout: integer('stall-timeout') * 1000,
    report: text('report'),
    progress: text('progress') as Config['progress'],
    logLevel: text('log-level') as Config['logLevel'],
    summary: flag('summary'),
    output: text('output') as Config['output'],
  }
  if (inputs.problems.length > 0) throw usage(inputs.problems, secrets)
  return config
}

/** Also when what was given is malformed: that is told already. */
function hasPlace(side: 'source' | 'destination', text: Reader['text']): boolean {
  const names = ['cluster', 'registry', 'kubeconfig'].map((name) => `${side}-${name}`)
  return [...names, ...(side === 'destination' ? ['destinations'] : [])].some((name) => text(name) !== undefined)
}

function usage(problems: readonly string[], secrets: Secrets): PromoteError {
  const title = problems.length === 1 ? 'one problem with the inputs:' : `${problems.length} problems with the inputs:`
  return new PromoteError('USAGE', secrets.redact([title, ...problems.map((line) => `  ${line}`)].join('\n')), {
    side: 'input',
  })
}

type Reader = Readonly<{
  problems: string[]
  say: Say
  text(name: string): string | undefined
  flag(name: string): boolean
  integer(name: string): number
  secret(name: string): Secret | undefined
  /** The text of a file in the place of its path: as a secret, or why it is not taken from there. */
  content(name: string): Secret | string | undefined
  secrets: Secrets
  env: Env
  checkOption(option: Option): void
}>

function reader({ raw, problems: before, stray = [], env = {} }: Collected, place: Place, secrets: Secrets): Reader {
  const kept = new Map<string, Secret>()
  for (const value of stray) secrets.keep(value)
  for (const { name, type } of OPTIONS) {
    const value = raw.get(name)?.value ?? ''
    if (type === 'secret' && value !== '') kept.set(name, secrets.keep(value))
    else keepStray(value, type, secrets)
  }
  const here = new Map(OPTIONS.map((option) => [option.name, valueAt(option, raw.get(option.name)?.value, place)]))
  const problems = [...before]
  const say: Say = (option, problem) => problems.push(`${place.spell(option)}: ${problem}`)
  return {
    problems,
    say,
    text: (name) => (kept.has(name) ? undefined : here.get(name)),
    flag: (name) => here.get(name)?.toLowerCase() === 'true',
    integer: (name) => Number(here.get(name)),
    secret: (name) => kept.get(name),
    content(name) {
      const found = raw.get(name)
      const content = found && contentOf(name, found.value)
      if (content === undefined) return undefined
      if (!found?.from.startsWith('--')) return secrets.keep(content)
      return 'holds the text of a file, and arguments can be read by every process of the machine: give the path'
    },
    secrets,
    env,
    checkOption(option) {
      const found = raw.get(option.name)
      if (found === undefined || found.from === 'default') return
      const short = option.type === 'secret' ? tooShort(found.value) : undefined
      const wrong = short ?? checkAt(place, option, found.value)
      if (wrong !== undefined) say(option.name, wrong)
    },
  }
}

/** What an option that this host does not have is set to has no effect. */
function valueAt(option: Option, value: string | undefined, place: Place): string | undefined {
  return isThere(option, place) ? value : option.default
}

function checkAt(place: Place, option: Option, value: string): string | undefined {
  return isThere(option, place) ? checkValue(option, value) : onlyFor(option)
}

function isThere({ hosts }: Option, { kind, commandLine = false }: Place): boolean {
  return hosts.includes(kind) || (commandLine && hosts.includes('plain'))
}

const HOST_NAMES = { github: 'GitHub Actions', tekton: 'Tekton', plain: 'the command line' } as const

function onlyFor({ hosts }: Option): string {
  return `is there only for ${hosts.map((host) => HOST_NAMES[host]).join(' and ')}`
}

/** What the table alone can tell. */
function checkValue({ name, type, range, values, orHosts }: Option, value: string): string | undefined {
  if (orHosts === true && !isFlag(value))
    return splitList(value)
      .map(checkHost)
      .find((wrong) => wrong !== undefined)
  if (type === 'boolean' && !isFlag(value)) return `${quote(value)} is neither true nor false`
  if (type === 'enum' && !values?.includes(value)) return `${quote(value)} is none of ${values?.join(', ')}`
  if (type === 'path' && name === 'report') return notPath(value)
  if (type !== 'integer') return undefined
  const [least, most] = range ?? [0, Number.MAX_SAFE_INTEGER]
  if (/^\d{1,9}$/.test(value) && Number(value) >= least && Number(value) <= most) return undefined
  return `${quote(value)} is no whole number from ${least} to ${most}`
}

function isFlag(value: string): boolean {
  return /^(?:true|false)$/i.test(value)
}

function checkHost(host: string): string | undefined {
  if (/^[a-z0-9-]+(?:\.[a-z0-9-]+)+$/i.test(host)) return undefined
  return `${quote(host)} is neither true nor false nor the name of a host, as in mcr.microsoft.com`
}

function foreign(text = 'false'): Pick<Config, 'includeForeign' | 'foreignHosts'> {
  if (isFlag(text)) return { includeForeign: text.toLowerCase() === 'true' }
  return { includeForeign: true, foreignHosts: splitList(text.toLowerCase()) }
}

function sideOf(side: 'source' | 'destination', inputs: Reader, place: Place, readFile: ReadFile): SideConfig {
  const full = (name: string) => `${side}-${name}`
  return parseSide({
    side,
    text: (name) => inputs.text(full(name)),
    flag: (name) => inputs.flag(full(name)),
    secret: (name) => inputs.secret(full(name)),
    content: (name) => inputs.content(full(name)),
    say: (name, problem) => inputs.say(full(name), problem),
    spell: (name) => place.spell(full(name)),
    readFile,
  })
}

/** One from the options of its side, or those of the list instead. */
function destinationsOf(
  inputs: Reader,
  place: Place,
  readFile: ReadFile,
  images: readonly ImagePair[],
): readonly SideConfig[] {
  const given = inputs.text('destinations')
  if (given === undefined) return [sideOf('destination', inputs, place, readFile)]
  const { say, env, secrets } = inputs
  const list = place.spell('destinations')
  for (const { name, default: preset } of OPTIONS.filter((option) => option.name.startsWith('destination-')))
    if ((inputs.secret(name) ?? inputs.text(name) ?? preset) !== preset) say(name, `is excluded by ${list}`)
  const placed = images.find(({ destination: { host, layout } }) => (host ?? layout) !== undefined)
  if (placed !== undefined)
    say('images', `${quote(formatReference(placed.destination))} has a place of its own, and ${list} has them all`)
  return parseDestinations(given, {
    env,
    secrets,
    readFile,
    note: (problem) => say('destinations', problem),
    check: (option, value) => checkAt(place, option, value),
  })
}

function tags(text: string | undefined, say: Say): string[] {
  const list = splitList(text ?? '')
  for (const tag of list)
    if (!isTag(tag))
      say('additional-tags', `${quote(tag)} is no tag: up to 128 of A-Z, a-z, 0-9, "_", "." and "-", not first`)
  return list
}

function platforms(text: string | undefined, say: Say): Platform[] | undefined {
  const list = splitList(text ?? 'all')
  if (list.every((item) => item === 'all')) return undefined
  return list.flatMap((item) => {
    try {
      return [parsePlatform(item)]
    } catch (thrown) {
      const { message } = asPromoteError(thrown)
      say('platforms', message.includes(item) ? message : `${quote(item)}: ${message}`)
      return []
    }
  })
}
