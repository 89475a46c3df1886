/** Semantic versions and ranges (semver.org 2.0.0; ranges and their prerelease rule as npm's node-semver reads them). */

export type Version = Readonly<{
  numbers: readonly [major: number, minor: number, patch: number]
  /** Empty: a release. */
  prerelease: readonly (string | number)[]
}>

type Comparator = Readonly<{ operator: '<' | '<=' | '>' | '>=' | '='; version: Version }>

/** Alternatives (`||`); all comparators of one of them hold. */
export type Range = readonly (readonly Comparator[])[]

const NUMBER = '0|[1-9]\\d{0,14}'
const PRERELEASE =
  '(?:-((?:0|[1-9]\\d*|\\d*[A-Za-z-][0-9A-Za-z-]*)(?:\\.(?:0|[1-9]\\d*|\\d*[A-Za-z-][0-9A-Za-z-]*))*))?'
/** A tag cannot have `+`: Helm writes build metadata behind `_` (helm.sh/docs/topics/registries). */
const BUILD = '(?:[+_][0-9A-Za-z.-]+)?'
const VERSION = new RegExp(`^[vV]?(${NUMBER})\\.(${NUMBER})\\.(${NUMBER})${PRERELEASE}${BUILD}$`)
const PART = `${NUMBER}|[xX*]`
const PARTIAL = new RegExp(
  `^(<=|>=|<|>|=|\\^|~>?)?v?(?:(${PART})(?:\\.(${PART})(?:\\.(${PART})${PRERELEASE}${BUILD})?)?)?$`,
)
/** No range that anybody writes is longer. */
const LONGEST_RANGE = 256

/** `1.2.3`, `v1.2.3-rc.1`; undefined for anything else, `1.2` among it. */
export function parseVersion(text: string): Version | undefined {
  const [match, major, minor, patch, prerelease] = VERSION.exec(text) ?? []
  if (match === undefined) return undefined
  return { numbers: [Number(major), Number(minor), Number(patch)], prerelease: identifiers(prerelease) }
}

/** semver.org section 11. */
export function compareVersions(a: Version, b: Version): number {
  for (const place of [0, 1, 2] as const) {
    const difference = a.numbers[place] - b.numbers[place]
    if (difference !== 0) return difference
  }
  if (a.prerelease.length === 0 || b.prerelease.length === 0) return b.prerelease.length - a.prerelease.length
  for (let place = 0; place < Math.min(a.prerelease.length, b.prerelease.length); place += 1) {
    const order = compareIdentifiers(a.prerelease[place] as string | number, b.prerelease[place] as string | number)
    if (order !== 0) return order
  }
  return a.prerelease.length - b.prerelease.length
}

/** `^1.2`, `~1.2.3`, `>=1 <3`, `1.x`, `1.2 - 2.3`, `^1 || ^3`, `*`. Undefined: that is no range. */
export function parseRange(text: string): Range | undefined {
  if (text.length > LONGEST_RANGE) return undefined
  const alternatives = text.split('||').map(parseAlternative)
  return alternatives.includes(undefined) ? undefined : (alternatives as Range)
}

/** A prerelease is in a range only when the range names a prerelease of the same three numbers: `^1.2.0` has no `1.3.0-rc.1`. */
export function inRange(version: Version, range: Range): boolean {
  return range.some(
    (comparators) =>
      comparators.every((comparator) => holds(version, comparator)) &&
      (version.prerelease.length === 0 ||
        comparators.some(
          ({ version: { numbers, prerelease } }) =>
            prerelease.length > 0 && numbers.every((number, place) => number === version.numbers[place]),
        )),
  )
}

function identifiers(text: string | undefined): (string | number)[] {
  return (text ?? '') === '' ? [] : (text ?? '').split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : part))
}

/** Numbers before words, numbers by value, words by ASCII. */
function compareIdentifiers(a: string | number, b: string | number): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0
  return typeof a === 'number' ? -1 : 1
}

function holds(version: Version, { operator, version: bound }: Comparator): boolean {
  const order = compareVersions(version, bound)
  if (operator === '=') return order === 0
  return operator.startsWith('<')
    ? order < 0 || (operator === '<=' && order === 0)
    : order > 0 || (operator === '>=' && order === 0)
}

function parseAlternative(text: string): Comparator[] | undefined {
  const hyphen = /^\s*(\S+)\s+-\s+(\S+)\s*$/.exec(text)
  const words =
    hyphen === null
      ? text
          .replace(/(<=|>=|<|>|=|\^|~>?)\s+/g, '$1')
          .trim()
          .split(/\s+/)
      : [`>=${hyphen[1]}`, `<=${hyphen[2]}`]
  if (hyphen !== null && /^[<>=^~]/.test(`${hyphen[1]}`) !== /^[<>=^~]/.test(`${hyphen[2]}`)) return undefined
  const parsed = words.map(parseComparators)
  return parsed.includes(undefined) ? undefined : parsed.flatMap((each) => each ?? [])
}

/** `>*` and `<*`. */
const NOTHING: Comparator[] = [{ operator: '<', version: { numbers: [0, 0, 0], prerelease: [0] } }]

function parseComparators(word: string): Comparator[] | undefined {
  const [match, operator = '=', ...rest] = PARTIAL.exec(word) ?? []
  if (match === undefined || /[<>=^~v]$/.test(match)) return undefined
  const wild = rest.slice(0, 3).findIndex((part) => part === undefined || /^[xX*]$/.test(part))
  // `x.2` means nothing.
  if (wild !== -1 && rest.slice(wild, 3).some((part) => part !== undefined && /^\d/.test(part))) return undefined
  const given = rest.slice(0, wild === -1 ? 3 : wild).map(Number)
  if (given.length === 0) return operator === '<' || operator === '>' ? NOTHING : []
  const [major = 0, minor = 0, patch = 0] = given
  const full = given.length === 3
  const from: Version = { numbers: [major, minor, patch], prerelease: full ? identifiers(rest[3]) : [] }
  const at = (sign: Comparator['operator'], version: Version): Comparator => ({ operator: sign, version })
  if (operator === '^' || operator.startsWith('~'))
    return [at('>=', from), at('<', operator === '^' ? afterCaret(given) : after(given.slice(0, 2)))]
  if (operator === '>=' || (full && operator !== '<')) return [at(operator as Comparator['operator'], from)]
  if (operator === '<') return [at('<', full ? from : zero(from))]
  if (operator === '>') return [at('>=', { ...after(given), prerelease: [] })]
  const upper = at('<', after(given))
  return operator === '<=' ? [upper] : [at('>=', from), upper]
}

/** The first version behind everything that begins with these numbers, before its own prereleases (`2.0.0-0`). */
function after(given: readonly number[]): Version {
  const [major = 0, minor = 0, patch = 0] = given
  const numbers = [
    [major + 1, 0, 0],
    [major, minor + 1, 0],
    [major, minor, patch + 1],
  ][given.length - 1]
  return zero({ numbers: numbers as [number, number, number], prerelease: [] })
}

/** `^` keeps everything up to the first number that is not 0. */
function afterCaret(given: readonly number[]): Version {
  const first = given.findIndex((number) => number !== 0)
  return after(first === -1 ? given : given.slice(0, first + 1))
}

function zero({ numbers }: Version): Version {
  return { numbers, prerelease: [0] }
}
