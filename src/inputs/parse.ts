import { PromoteError } from '../core/errors.ts'
import type { Secrets } from '../core/secret.ts'
import { quote } from '../core/text.ts'
import { type Digest, isDigest } from '../oci/digest.ts'
import { formatReference, isTag } from '../oci/reference.ts'
import { approvedPlan } from './approved-images.ts'
import type { Collected } from './collect.ts'
import type { Config, ImagePair, ImageSet } from './config.ts'
import { findConflicts } from './conflicts.ts'
import { parseDestinations } from './destinations.ts'
import { parseImageList } from './image-list.ts'
import { likeImage, parseExclude, parseImages, readReference } from './images.ts'
import { OPTIONS } from './options.ts'
import { keepStray } from './path-or-content.ts'
import type { ReadFile } from './problems.ts'
import { InputReader, type Place } from './reader.ts'
import { LARGEST_REPORT, readRollback } from './rollback-report.ts'
import { readRunOptions } from './run-options.ts'
import { parseSide, type SideConfig } from './side.ts'
import { describeSelection, onlyTag } from './tag-selection.ts'

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
  const exclude = inputs.list('exclude', parseExclude)
  const chosen = lines.filter((line): line is ImageSet => 'select' in line)
  const sets = chosen.map((set) => ({ ...set, exclude: [...(set.exclude ?? []), ...exclude] }))
  const { pairs: planned, choices } = approvedPlan(inputs)
  const pairs = [...lines.filter((line): line is ImagePair => !('select' in line)), ...planned]
  const rollback = inputs.file('rollback', readRollback, LARGEST_REPORT)
  checkRelease(inputs, pairs, sets)
  const images = [...pairs, ...sets.map(likeImage)]
  const source = parseSide('source', inputs.scoped('source-'))
  const destinations = destinationsOf(inputs, images)
  const targets = planned.flatMap(({ approved }) => [...(approved?.keys() ?? [])])
  checkTargets(inputs, 'plan', targets, destinations)
  checkTargets(inputs, 'rollback', rollback?.map(({ target }) => target) ?? [], destinations)
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
    history: inputs.list('history', readReference),
    suggestion: collected.suggestion,
    ...readRunOptions(inputs),
    ...choices,
  }
  if (problems.length > 0) throw usage(problems, secrets)
  return config
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

const REPLACED = ['images', 'image-list', 'exclude', 'additional-tags', 'expect-current']
/** Options that exclude others: what they say already, or what they do not do. */
const EXCLUDED = {
  history: [...REPLACED, 'shard', 'rollback', 'plan', 'sign-key', 'record-file', 'atomic', 'annotate'],
  rollback: [...REPLACED, 'shard', 'plan', 'atomic', 'annotate'],
  plan: [...REPLACED, 'platforms', 'referrers', 'skip-missing', 'include-foreign'],
} as const

function linesOf(inputs: InputReader): readonly (ImagePair | ImageSet)[] {
  const by = (['history', 'rollback', 'plan'] as const).find((name) => inputs.has(name))
  if (by !== undefined) {
    for (const name of EXCLUDED[by].filter((each) => inputs.isSet(each)))
      inputs.problem(name, `is excluded by ${inputs.spell(by)}, which says what is done`)
    return []
  }
  const given = inputs.text('images') ?? ''
  const note = (name: string) => (problem: string) => inputs.problem(name, problem)
  const listed = inputs.document('image-list', (text) => parseImageList(text, note('image-list')))
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
  if (inputs.has('exclude') && sets.length === 0 && !inputs.has('rollback'))
    inputs.problem('exclude', 'goes with selections: no image has "*" in it, and no entry of image-list has tags')
  const set = sets.find(({ select }) => onlyTag(select) === undefined)
  if (set !== undefined && inputs.has('additional-tags')) {
    const tags = quote(describeSelection(set.select))
    inputs.problem('additional-tags', `go with images that are named one by one, not with ${tags}`)
  }
  if (inputs.flag('atomic') && inputs.has('shard'))
    inputs.problem('shard', `is excluded by ${inputs.spell('atomic')}: the parts of a list know nothing of each other`)
  const record = inputs.text('record-file')
  const taken = ['report', 'plan', 'rollback'].find((name) => record !== undefined && inputs.text(name) === record)
  if (taken !== undefined) inputs.problem('record-file', `is the file of ${inputs.spell(taken)}: name another`)
  if (inputs.flag('atomic') && !inputs.has('report'))
    inputs.problem('atomic', `needs ${inputs.spell('report')}, which keeps the digests that the tags had before`)
}

function destinationsOf(inputs: InputReader, images: readonly ImagePair[]): readonly SideConfig[] {
  if (!inputs.has('destinations')) return [parseSide('destination', inputs.scoped('destination-'))]
  const list = inputs.spell('destinations')
  for (const { name } of OPTIONS.filter((option) => option.name.startsWith('destination-')))
    if (inputs.isSet(name)) inputs.problem(name, `is excluded by ${list}`)
  const placed = images.find(({ destination: { host, layout } }) => (host ?? layout) !== undefined)
  if (placed !== undefined) {
    const name = quote(formatReference(placed.destination))
    inputs.problem('images', `${name} has a place of its own, and ${list} has them all`)
  }
  return parseDestinations(inputs)
}

/** That a name means the same registry as in the report is checked when that is open. */
function checkTargets(inputs: InputReader, option: string, names: readonly string[], there: readonly SideConfig[]) {
  const known = new Set(there.map(({ name }) => name))
  for (const name of new Set(names.filter((each) => !known.has(each))))
    inputs.problem(option, `names the destination ${quote(name)}: configure it as that run did`)
}

function parseTag(tag: string): string {
  if (isTag(tag)) return tag
  throw new Error(`${quote(tag)} is not a valid tag: up to 128 of A-Z, a-z, 0-9, "_", "." and "-", not first`)
}
