import { asPromoteError, PromoteError } from '../core/errors.ts'
import type { Secrets } from '../core/secret.ts'
import { quote } from '../core/text.ts'
import { type Digest, isDigest } from '../oci/digest.ts'
import { type Platform, parsePlatform } from '../oci/platform.ts'
import { formatReference, isTag } from '../oci/reference.ts'
import { readTrustOptions } from '../trust/trust-options.ts'
import type { Collected, Env } from './collect.ts'
import type { Config, ImagePair, ImageSet, SideConfig } from './config.ts'
import { findConflicts } from './conflicts.ts'
import { parseDestinations } from './destinations.ts'
import { parseImageList } from './image-list.ts'
import { likeImage, parseImages, readReference, splitList } from './images.ts'
import { OPTIONS } from './options.ts'
import { keepStray, readPath } from './path-or-content.ts'
import type { ReadFile } from './problems.ts'
import { InputReader, isFlag, type Place } from './reader.ts'
import { parseRegistryAuth } from './registry-auth.ts'
import { LARGEST_REPORT, readRollback } from './rollback-report.ts'
import { parseShard } from './shard.ts'
import { parseSide } from './side.ts'
import { describeSelection } from './tag-selection.ts'

/**
 * Checks everything, and only then complains.
 * @param secrets every password and token is kept in it before anything else is looked at.
 * @throws one PromoteError USAGE of side `input` that lists every problem, one per line.
 */
export function parse(collected: Collected, place: Place, secrets: Secrets, readFile: ReadFile): Config {
  keepSecrets(collected, secrets)
  const problems = [...collected.problems]
  const around = { place, secrets, readFile, env: collected.env ?? {}, problems, label: place.spell }
  const inputs = new InputReader(new Map(collected.raw), around)
  for (const option of OPTIONS) inputs.check(option)

  const lines = linesOf(inputs)
  const sets = lines.filter((line): line is ImageSet => 'select' in line)
  const pairs = lines.filter((line): line is ImagePair => !('select' in line))
  const rollback = inputs.file('rollback', readRollback, LARGEST_REPORT)
  checkRelease(inputs, pairs, sets)
  const images = [...pairs, ...sets.map(likeImage)]
  const source = parseSide('source', inputs.scoped('source-'))
  const destinations = destinationsOf(inputs, images)
  const additionalTags = inputs.list('additional-tags', parseTag)
  findConflicts({ images, source, destinations, additionalTags }, inputs)

  const expectCurrent = inputs.text('expect-current') as Digest | 'absent' | undefined
  const config: Config = {
    images: expectCurrent === undefined ? pairs : pairs.map((image) => ({ ...image, expectCurrent })),
    sets,
    source,
    destinations,
    additionalTags,
    rollback,
    suggestion: collected.suggestion,
    ...plainValues(inputs),
  }
  if (problems.length > 0) throw usage(problems, secrets)
  return config
}

type Plain = Omit<Config, 'images' | 'sets' | 'source' | 'destinations' | 'additionalTags' | 'rollback' | 'suggestion'>

function plainValues(inputs: InputReader): Plain {
  return {
    overwrite: inputs.choice('overwrite'),
    atomic: inputs.flag('atomic'),
    failFast: inputs.flag('fail-fast'),
    shard: inputs.parsed('shard', parseShard),
    annotate: inputs.flag('annotate'),
    history: inputs.list('history', readReference),
    rollbackReport: inputs.text('rollback'),
    platforms: platforms(inputs),
    referrers: inputs.flag('referrers'),
    requireSigned: inputs.flag('require-signed'),
    ...readTrustOptions(inputs, inputs.around.place.spell, (path) => readPath(path, inputs.around.readFile)),
    ...foreign(inputs.text('include-foreign')),
    skipMissing: inputs.flag('skip-missing'),
    dryRun: inputs.flag('dry-run'),
    jobs: inputs.integer('jobs'),
    retries: inputs.integer('retries'),
    stallTimeout: inputs.integer('stall-timeout') * 1000,
    registryAuth: parseRegistryAuth(inputs),
    report: inputs.text('report'),
    run: runOf(inputs.around.env),
    progress: inputs.choice('progress'),
    logLevel: inputs.choice('log-level'),
    summary: inputs.flag('summary'),
    output: inputs.choice('output'),
    resultsLimit: inputs.integer('results-limit'),
  }
}

function keepSecrets({ raw, stray = [] }: Collected, secrets: Secrets): void {
  for (const value of stray) secrets.keep(value)
  for (const { name, type } of OPTIONS) {
    const value = raw.get(name)?.value ?? ''
    if (type === 'secret' && value !== '') secrets.keep(value)
    else keepStray(value, type, secrets)
  }
}

/** One error for all of them, one per line. */
export function usage(problems: readonly string[], secrets: Secrets): PromoteError {
  const title = problems.length === 1 ? 'one problem with the inputs:' : `${problems.length} problems with the inputs:`
  const text = [title, ...problems.map((line) => `  ${line}`)].join('\n')
  return new PromoteError('USAGE', secrets.redact(text), { side: 'input' })
}

const EXCLUDED = ['images', 'image-list', 'additional-tags', 'shard', 'expect-current'] as const

function linesOf(inputs: InputReader): readonly (ImagePair | ImageSet)[] {
  const instead = ['history', 'rollback'].find((name) => inputs.has(name))
  if (instead !== undefined) {
    const excluded = `is excluded by ${inputs.spell(instead)}`
    const all = instead === 'history' ? [...EXCLUDED, 'rollback', 'sign-key', 'record-file'] : EXCLUDED
    for (const name of all) if (inputs.has(name)) inputs.problem(name, `${excluded}, which names the images`)
    for (const name of ['atomic', 'annotate']) if (inputs.flag(name)) inputs.problem(name, excluded)
    return []
  }
  const given = inputs.text('images') ?? ''
  const note = (name: string) => (problem: string) => inputs.problem(name, problem)
  const listed = inputs.file('image-list', (file) => parseImageList(file, note('image-list')))
  const named = parseImages(given, note('images'))
  const isEmpty = given.split(/[\r\n]+/).every((line) => /^[\s,]*(?:#.*)?$/.test(line))
  if (named.length === 0 && !inputs.has('image-list') && isEmpty)
    inputs.problem('images', 'names no image: write SRC or SRC=DST, as in dev/app:1.2=prod/app:1.2')
  return [...named, ...(listed ?? [])]
}

function checkRelease(inputs: InputReader, pairs: readonly ImagePair[], sets: readonly ImageSet[]): void {
  const expected = inputs.text('expect-current')
  if (expected !== undefined && expected !== 'absent' && !isDigest(expected))
    inputs.problem('expect-current', `${quote(expected)} is neither a digest, sha256:…, nor absent`)
  else if (expected !== undefined && (pairs.length !== 1 || sets.length > 0))
    inputs.problem('expect-current', 'goes with one image; in image-list each entry may have its own')
  else if (expected !== undefined && inputs.has('additional-tags'))
    inputs.problem('expect-current', 'goes with one tag: promote the additional tags by themselves')
  const [set] = sets
  if (set !== undefined && inputs.has('additional-tags')) {
    const tags = quote(describeSelection(set.select))
    inputs.problem('additional-tags', `go with images that are named one by one, not with ${tags}`)
  }
  if (inputs.flag('atomic') && inputs.has('shard'))
    inputs.problem('shard', `is excluded by ${inputs.spell('atomic')}: the parts of a list know nothing of each other`)
  if (inputs.flag('atomic') && !inputs.has('report'))
    inputs.problem('atomic', `needs ${inputs.spell('report')}, which keeps the digests that the tags had before`)
}

function foreign(text = 'false'): Pick<Config, 'includeForeign' | 'foreignHosts'> {
  if (isFlag(text)) return { includeForeign: text.toLowerCase() === 'true' }
  return { includeForeign: true, foreignHosts: splitList(text.toLowerCase()) }
}

function destinationsOf(inputs: InputReader, images: readonly ImagePair[]): readonly SideConfig[] {
  if (!inputs.has('destinations')) return [parseSide('destination', inputs.scoped('destination-'))]
  const list = inputs.spell('destinations')
  for (const { name, type, default: preset } of OPTIONS.filter((option) => option.name.startsWith('destination-')))
    if (inputs.has(name) && (type === 'secret' || inputs.text(name) !== preset))
      inputs.problem(name, `is excluded by ${list}`)
  const placed = images.find(({ destination: { host, layout } }) => (host ?? layout) !== undefined)
  if (placed !== undefined) {
    const name = quote(formatReference(placed.destination))
    inputs.problem('images', `${name} has a place of its own, and ${list} has them all`)
  }
  return parseDestinations(inputs)
}

/** Tekton (the Task sets it), GitHub, GitLab, Azure Pipelines, Jenkins. */
const RUN_IDS = ['IMAGE_PROMOTE_RUN_ID', 'GITHUB_RUN_ID', 'CI_PIPELINE_ID', 'BUILD_BUILDID', 'BUILD_TAG']

function runOf(env: Env): string | undefined {
  return RUN_IDS.map((name) => env[name] ?? '').find((id) => id !== '')
}

function parseTag(tag: string): string {
  if (isTag(tag)) return tag
  throw new Error(`${quote(tag)} is not a valid tag: up to 128 of A-Z, a-z, 0-9, "_", "." and "-", not first`)
}

function platforms(inputs: InputReader): Platform[] | undefined {
  if (splitList(inputs.text('platforms') ?? 'all').every((item) => item === 'all')) return undefined
  return inputs.list('platforms', (item) => {
    try {
      return parsePlatform(item)
    } catch (thrown) {
      const { message } = asPromoteError(thrown)
      throw new Error(message.includes(item) ? message : `${quote(item)}: ${message}`)
    }
  })
}
