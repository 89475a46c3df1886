import { runInNewContext } from 'node:vm'
import Range from 'semver/classes/range.js'
import type SemVer from 'semver/classes/semver.js'
import parseSemver from 'semver/functions/parse.js'
import newestFirst from 'semver/functions/rcompare.js'
import validRange from 'semver/ranges/valid.js'
import { z } from 'zod'
import { PromoteError } from '../core/errors.ts'
import { quote } from '../core/text.ts'
import { succeeds } from './problems.ts'

/** Which tags of a repository are meant: those that fit the pattern, and of these the `latest` highest versions. */
export type Selection = Readonly<{
  pattern?: Readonly<{ kind: 'glob' | 'regex' | 'semver'; text: string }> | undefined
  latest?: number | undefined
}>

const LONGEST_PATTERN = 256
const REGEX_BUDGET = 1000 // milliseconds for all tags of a repository together; a usual expression needs one or two
/** Counted repetitions, multiplied: V8 expands them, and ends the process when that takes too much memory. */
const MOST_REPETITIONS = 10_000
/** Tags of signatures (cosign) and of the fallback for referrers: they travel with their image, not by themselves. */
const ATTACHMENT = /^sha(?:256-[0-9a-f]{64}|512-[0-9a-f]{64,128})(?:\.(?:sig|att|sbom))?$/

const text = () => z.string().min(1).max(LONGEST_PATTERN)

/** `tags` of an entry of the list: exactly one of glob, regex, semver, or latest alone; latest also narrows the others. */
export const selectionSchema = z.lazy(() =>
  z
    .strictObject({
      glob: text()
        .regex(/^[\w.*?-]+$/, 'is not a glob: tags are made of A-Z, a-z, 0-9, "_", "." and "-"; * and ? stand for them')
        .optional(),
      regex: text()
        .refine((pattern) => succeeds(() => new RegExp(pattern)), 'is not a valid regular expression')
        .refine((pattern) => repetitions(pattern) <= MOST_REPETITIONS, `repeats more than ${MOST_REPETITIONS} times`)
        .optional(),
      semver: text()
        .refine((range) => validRange(range) !== null, 'is not a range of versions')
        .optional(),
      latest: z.int().min(1).max(1000).optional(),
    })
    .transform(({ glob, regex, semver, latest }, check): Selection => {
      const given = Object.entries({ glob, regex, semver }).filter(([, value]) => value !== undefined)
      if (given.length > 1 || (given.length === 0 && latest === undefined))
        check.addIssue({ code: 'custom', message: 'needs one of glob, regex, semver or latest' })
      const [kind, pattern = ''] = given[0] ?? []
      return { pattern: kind === undefined ? undefined : { kind: kind as 'glob', text: pattern }, latest }
    }),
)

/**
 * The tags that are meant, sorted; versions with `latest`, the highest first. `latest` alone counts releases only.
 * @throws PromoteError USAGE when a regular expression takes longer than a second.
 */
export function selectTags(selection: Selection, tags: Iterable<string>): string[] {
  const candidates = [...new Set(tags)].filter((tag) => !ATTACHMENT.test(tag)).sort()
  const { pattern, latest } = selection
  const found = pattern === undefined ? candidates : fitting(pattern, candidates)
  if (latest === undefined) return found
  return found
    .flatMap((tag) => {
      const version = versionOf(tag)
      const counts = version !== null && (pattern !== undefined || version.prerelease.length === 0)
      return counts ? [{ tag, version }] : []
    })
    .sort((a, b) => newestFirst(a.version, b.version))
    .slice(0, latest)
    .map(({ tag }) => tag)
}

/** `1.2.3`, `v1.2.3-rc.1`. A tag cannot have `+`: Helm writes build metadata behind `_` (helm.sh/docs/topics/registries). */
function versionOf(tag: string): SemVer | null {
  return /^[vV]?\d\S*$/.test(tag) ? parseSemver(tag.replace(/^V/, 'v').replace('_', '+')) : null
}

/** For messages and rows: `v1.*`, `/^v1/`, `^1.2`, `latest 3`. */
export function describeSelection({ pattern, latest }: Selection): string {
  const words = pattern === undefined ? [] : [pattern.kind === 'regex' ? `/${pattern.text}/` : pattern.text]
  return [...words, ...(latest === undefined ? [] : [`latest ${latest}`])].join(' ')
}

function fitting({ kind, text: pattern }: NonNullable<Selection['pattern']>, tags: readonly string[]): string[] {
  if (kind === 'glob') return tags.filter((tag) => matchesGlob(tag, pattern))
  if (kind === 'regex') return matchRegex(pattern, tags)
  const range = new Range(pattern)
  return tags.filter((tag) => {
    const version = versionOf(tag)
    return version !== null && range.test(version)
  })
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

/** The expression has to fit the whole tag. Its text does not tell whether it is slow: V8 stops it, in a context of its own. */
function matchRegex(pattern: string, tags: readonly string[]): string[] {
  const find = () => tags.filter((tag) => whole.test(tag))
  const whole = new RegExp(`^(?:${pattern})$`)
  try {
    return runInNewContext('find()', { find }, { timeout: REGEX_BUDGET })
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw thrown
    const what = `The regular expression ${quote(pattern)} takes more than a second for ${tags.length} tags.`
    const hint = 'Avoid repetitions inside of repetitions, as in (a+)+; a glob or a range of versions may do as well.'
    throw new PromoteError('USAGE', what, { side: 'input', hint })
  }
}
