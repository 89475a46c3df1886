import { runInNewContext } from 'node:vm'
import Range from 'semver/classes/range.js'
import type SemVer from 'semver/classes/semver.js'
import parseSemver from 'semver/functions/parse.js'
import newestFirst from 'semver/functions/rcompare.js'
import validRange from 'semver/ranges/valid.js'
import { z } from 'zod'
import { PromoteError } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import { listed, quote } from '../core/text.ts'
import { succeeds } from './problems.ts'

const LONGEST_PATTERN = 256
const REGEX_BUDGET = 1000 // milliseconds for all tags of a repository together; a usual expression needs one or two
/** Counted repetitions, multiplied: V8 expands them, and ends the process when that takes too much memory. */
const MOST_REPETITIONS = 10_000
/** Digits. A longer number alone is a date (20260131), a build or the beginning of a commit, and not a version. */
const LONGEST_MAJOR = 5
/** Tags of signatures (cosign) and of the fallback for referrers: they travel with their image, not by themselves. */
const ATTACHMENT = /^sha(?:256-[0-9a-f]{64}|512-[0-9a-f]{64,128})(?:\.(?:sig|att|sbom))?$/
const VERSION = /^[vV]?(\d+)(?:\.(\d+))?(?:\.(\d+))?((?:[-_]\S*)?)$/
const CLOCK_SKEW = 3_600_000 // milliseconds by which the clocks of two machines may differ
const HOURS = { h: 1, d: 24, w: 7 * 24 }

const text = () => z.string().min(1).max(LONGEST_PATTERN)
const glob = () =>
  text().regex(/^[\w.*?-]+$/, 'is not a glob: tags are made of A-Z, a-z, 0-9, "_", "." and "-"; * and ? stand for them')

/** `tags` of an entry of the list. All conditions have to hold; `latest` then takes the newest of what is left. */
export const selectionSchema = z.lazy(() =>
  z
    .strictObject({
      glob: glob().optional(),
      regex: text()
        .refine((pattern) => succeeds(() => new RegExp(pattern)), 'is not a valid regular expression')
        .refine((pattern) => repetitions(pattern) <= MOST_REPETITIONS, `repeats more than ${MOST_REPETITIONS} times`)
        .optional(),
      semver: text()
        .refine((range) => validRange(range) !== null, 'is not a range of versions')
        .optional(),
      'newer-than': z
        .string()
        .regex(/^[1-9]\d{0,3}[hdw]$/, 'is not a time in hours, days or weeks, such as 12h, 30d or 4w')
        .optional(),
      latest: z.int().min(1).max(1000).optional(),
      by: z.enum(['version', 'created']).optional(),
      exclude: z
        .union([glob(), z.array(glob()).min(1).max(100)])
        .transform((globs) => [globs].flat())
        .optional(),
      'same-digest-tags': z.boolean().optional(),
    })
    .refine(
      (given) => ['glob', 'regex', 'semver', 'latest', 'newer-than'].some((name) => name in given),
      'needs one of glob, regex, semver, latest or newer-than',
    )
    .refine(({ by, latest }) => by === undefined || latest !== undefined, 'has by, which is there only with latest'),
)

/** Which tags of a repository are meant. */
export type Selection = z.infer<typeof selectionSchema>

/** The tags that are meant, and why the others are not: the reason, and the tags that it keeps out. */
export type Chosen = Readonly<{ tags: readonly string[]; leftOut: ReadonlyMap<string, readonly string[]> }>

/** When images were made (milliseconds since 1970; undefined where nothing tells). It is asked for what other conditions left. */
export type Times = Readonly<{ of: (tag: string) => Promise<number | undefined>; now: number }>

/**
 * The tags that are meant, sorted; with `latest` the newest first. `latest` alone counts releases only.
 * @throws PromoteError USAGE when a regular expression takes longer than a second.
 */
export async function selectTags(selection: Selection, tags: Iterable<string>, times?: Times): Promise<Chosen> {
  const { glob: like, regex, semver, latest, by, 'newer-than': age } = selection
  const leftOut = new Map<string, string[]>()
  let left = [...new Set(tags)].filter((tag) => !ATTACHMENT.test(tag)).sort()
  /** @param why says why a tag is left out; undefined: it stays. */
  const sift = (why: (tag: string) => string | undefined): void => {
    left = left.filter((tag) => {
      const reason = why(tag)
      if (reason === undefined) return true
      getOrAdd(leftOut, reason, () => []).push(tag)
      return false
    })
  }
  sift((tag) => (isExcluded(tag, selection.exclude) ? 'excluded' : undefined))
  if (like !== undefined) sift((tag) => (matchesGlob(tag, like) ? undefined : `not like ${like}`))
  const matched = regex === undefined ? undefined : matchRegex(regex, left)
  if (matched !== undefined) sift((tag) => (matched.has(tag) ? undefined : `not like /${regex}/`))
  const versions = new Map(left.map((tag) => [tag, versionOf(matched?.get(tag) ?? tag)]))
  const version = (tag: string) => versions.get(tag) ?? null
  const range = new Range(semver ?? '*')
  if (semver !== undefined) sift((tag) => whyNotIn(range, version(tag)))
  const made = new Map<string, number>()
  if (age !== undefined || by === 'created') {
    await Promise.all(left.map(async (tag) => made.set(tag, (await times?.of(tag)) ?? Number.NaN)))
    sift((tag) => (Number.isNaN(made.get(tag)) ? 'without a creation time' : undefined))
    const latestTime = (times?.now ?? 0) + CLOCK_SKEW
    sift((tag) => ((made.get(tag) ?? 0) > latestTime ? 'made in the future' : undefined))
    const oldest = age === undefined ? Number.NEGATIVE_INFINITY : (times?.now ?? 0) - durationOf(age)
    sift((tag) => ((made.get(tag) ?? 0) < oldest ? `older than ${age}` : undefined))
  }
  if (latest === undefined) return { tags: left, leftOut }
  const isAlone = (like ?? regex ?? semver) === undefined
  if (by !== 'created') sift((tag) => (isAlone || version(tag) === null ? whyNotIn(range, version(tag)) : undefined))
  const time = (tag: string) => (by === 'created' ? (made.get(tag) ?? 0) : 0)
  const ordered = left.toSorted((a, b) => time(b) - time(a) || compareVersions(version(a), version(b)))
  const newest = new Set(ordered.slice(0, latest))
  sift((tag) => (newest.has(tag) ? undefined : `not among the latest ${latest}`))
  return { tags: [...newest], leftOut }
}

/**
 * `1.2.3`, `v3.20`, `3`, `3.20-alpine`: parts that are missing are 0, as are those in front of a number (24.04). A tag cannot
 * have `+`: Helm writes build metadata behind `_` (helm.sh/docs/topics/registries).
 */
function versionOf(text: string): SemVer | null {
  const [, major, minor, patch = '0', rest = ''] = VERSION.exec(text) ?? []
  if (major === undefined || (minor === undefined && major.length > LONGEST_MAJOR)) return null
  const numbers = [major, minor ?? '0', patch].map((part) => part.replace(/^0+(?=\d)/, ''))
  return parseSemver(`${numbers.join('.')}${rest.replace('_', '+')}`)
}

/** npm's rule: what has a suffix is in a range only where the range names the suffix of the same three numbers. */
function whyNotIn(range: Range, version: SemVer | null): string | undefined {
  if (version === null) return 'not a version'
  if (range.test(version)) return undefined
  const { major, minor, patch, prerelease } = version
  const isSuffix = prerelease.length > 0 && range.test(`${major}.${minor}.${patch}`)
  return isSuffix ? 'a prerelease or variant' : `not in ${range.raw}`
}

/** The highest first; what is not a version comes last. */
function compareVersions(a: SemVer | null, b: SemVer | null): number {
  return a === null || b === null ? Number(a === null) - Number(b === null) : newestFirst(a, b)
}

/** `30d` in milliseconds. */
function durationOf(age: string): number {
  return Number.parseInt(age, 10) * HOURS[age.at(-1) as keyof typeof HOURS] * 3_600_000
}

/** For messages and rows: `v1.*`, `/^v1/`, `^1.2`, `latest 3`. */
export function describeSelection({ glob: like, regex, semver, latest, by, 'newer-than': age }: Selection): string {
  const counted = latest === undefined ? undefined : `latest ${latest}${by === 'created' ? ' by creation' : ''}`
  const words = [like, regex && `/${regex}/`, semver, age && `newer than ${age}`, counted]
  return words.filter((word) => word !== undefined).join(' ')
}

/** `; left out: 2 not a version (edge, latest), 1 excluded (3.19)`; empty when nothing is left out. */
export function describeLeftOut(leftOut: Chosen['leftOut']): string {
  const all = [...leftOut].map(([why, names]) => `${names.length} ${why} (${listed(names, 3)})`)
  return all.length === 0 ? '' : `; left out: ${all.join(', ')}`
}

/** The tag that a selection names by itself, as in `app:1.2`. */
export function onlyTag({ glob: like, ...others }: Selection): string | undefined {
  return like === undefined || /[*?]/.test(like) || Object.keys(others).length > 0 ? undefined : like
}

export function isExcluded(name: string, globs: readonly string[] = []): boolean {
  return globs.some((each) => matchesGlob(name, each))
}

/** `*` for any characters, `?` for one. Takes steps of at most length times length, whatever the pattern. */
function matchesGlob(tag: string, glob: string): boolean {
  // How many characters of the tag the pattern may have used up so far.
  let used = [0]
  for (const sign of glob) {
    const [least = Number.POSITIVE_INFINITY] = used
    if (sign === '*') used = [...Array(tag.length + 1).keys()].filter((length) => length >= least)
    else used = used.filter((at) => at < tag.length && (sign === '?' || sign === tag[at])).map((at) => at + 1)
  }
  return used.includes(tag.length)
}

function repetitions(pattern: string): number {
  const counts = [...pattern.matchAll(/\{(\d+)(?:,(\d*))?\}/g)]
  return counts.reduce((product, [, least, most]) => product * Math.max(1, Number(most || least)), 1)
}

/**
 * The expression has to fit the whole tag. Its text does not tell whether it is slow: V8 stops it, in a context of its own.
 * @returns the tags that fit, each with its version: what the group `version` has matched, else the whole tag
 */
function matchRegex(pattern: string, tags: readonly string[]): ReadonlyMap<string, string> {
  const whole = new RegExp(`^(?:${pattern})$`)
  const find = () =>
    tags.flatMap((tag) => {
      const match = whole.exec(tag)
      return match === null ? [] : [[tag, match.groups?.version ?? tag] as const]
    })
  try {
    return new Map(runInNewContext('find()', { find }, { timeout: REGEX_BUDGET }))
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw thrown
    const what = `The regular expression ${quote(pattern)} takes more than a second for ${tags.length} tags.`
    const hint = 'Avoid repetitions inside of repetitions, as in (a+)+; a glob or a range of versions may do as well.'
    throw new PromoteError('USAGE', what, { side: 'input', hint })
  }
}
