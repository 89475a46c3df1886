import { describe, expect, test } from '@jest/globals'
import {
  describeLeftOut,
  describeSelection,
  type Selection,
  selectionSchema,
  selectTags,
} from '../../../src/inputs/tag-selection.ts'
import { refusalOf } from '../../support/credentials.ts'

const HEX = 'ab'.repeat(32)
const TAGS = [
  'v1.0.0',
  'v1.1.0',
  'v1.10.0',
  'v1.2.0',
  'v2.0.0-rc.1',
  'v2.0.0',
  'latest',
  'v1',
  `sha256-${HEX}`,
  `sha256-${HEX}.sig`,
]

const read = (value: unknown): Selection => selectionSchema.parse(value)
const tagsOf = async (value: unknown, tags: readonly string[]) => (await selectTags(read(value), tags)).tags

describe('the selection of tags', () => {
  test.each<[object, string[]]>([
    [{ glob: '*' }, ['latest', 'v1', 'v1.0.0', 'v1.1.0', 'v1.10.0', 'v1.2.0', 'v2.0.0', 'v2.0.0-rc.1']],
    [{ glob: 'v1.*' }, ['v1.0.0', 'v1.1.0', 'v1.10.0', 'v1.2.0']],
    [{ glob: 'v1' }, ['v1']],
    [{ glob: 'v?.?.0' }, ['v1.0.0', 'v1.1.0', 'v1.2.0', 'v2.0.0']],
    [{ glob: '*rc*' }, ['v2.0.0-rc.1']],
    [{ glob: 'V1*' }, []],
    [{ regex: 'v1\\.\\d+\\.0' }, ['v1.0.0', 'v1.1.0', 'v1.10.0', 'v1.2.0']],
    // The whole tag has to fit: `v1` alone does not select v1.0.0.
    [{ regex: 'v1' }, ['v1']],
    [{ regex: 'v1|latest' }, ['latest', 'v1']],
    [{ semver: '^1.1' }, ['v1.1.0', 'v1.10.0', 'v1.2.0']],
    [{ semver: '>=2.0.0-rc.0' }, ['v2.0.0', 'v2.0.0-rc.1']],
    [{ latest: 2 }, ['v2.0.0', 'v1.10.0']],
    [{ semver: '1.x', latest: 2 }, ['v1.10.0', 'v1.2.0']],
    [{ glob: 'v2*', latest: 5 }, ['v2.0.0', 'v2.0.0-rc.1']],
  ])('%j', async (value, expected) => expect(await tagsOf(value, TAGS)).toEqual(expected))

  test('signatures and lists of referrers travel with their image and are never selected', async () => {
    expect((await tagsOf({ regex: '.*' }, TAGS)).filter((tag) => tag.startsWith('sha256-'))).toEqual([])
  })

  test.each<[unknown, string]>([
    [{}, 'needs one of glob, regex, semver, latest or newer-than'],
    [{ exclude: 'a' }, 'needs one of glob, regex, semver, latest or newer-than'],
    [{ 'same-digest-tags': true }, 'needs one of'],
    [{ glob: '*', by: 'created' }, 'has by, which is there only with latest'],
    [{ latest: 1, by: 'size' }, 'by'],
    [{ glob: '*', exclude: [] }, '>=1 items'],
    [{ glob: '*', exclude: 'a/b' }, 'is not a glob'],
    [{ 'newer-than': '30' }, 'is not a time'],
    [{ 'newer-than': '0d' }, 'is not a time'],
    [{ 'newer-than': '1m' }, 'is not a time'],
    [{ glob: '*', 'same-digest-tags': 'yes' }, 'expected boolean'],
    [{ glob: 'a/b' }, 'is not a glob'],
    [{ regex: '(' }, 'is not a valid regular expression'],
    [{ regex: 'a)(?:b' }, 'is not a valid regular expression'],
    [{ semver: 'newest' }, 'is not a range of versions'],
    [{ latest: 0 }, 'expected number to be >=1'],
    [{ latest: '3' }, 'expected number'],
    [{ glob: 'x'.repeat(300) }, '<=256'],
    // Expanded by the engine, these end the process.
    [{ regex: '(?:(?:a{0,99}){0,99}){0,99}' }, 'repeats more'],
    [{ regex: 'a{99999}' }, 'repeats more'],
    [{ newest: 3 }, 'newest'],
  ])('%j is refused', (value, problem) => {
    const parsed = selectionSchema.safeParse(value)
    expect(parsed.success).toBe(false)
    expect(JSON.stringify(parsed.error?.issues)).toContain(problem)
  })

  test('counted repetitions of a usual size are fine', async () => {
    const date = { regex: '\\d{4}-\\d{2}-\\d{2}(-[0-9a-f]{7,40})?' }
    expect(await tagsOf(date, ['2026-01-31', '2026-1-31', '2026-01-31-0123456'])).toEqual([
      '2026-01-31',
      '2026-01-31-0123456',
    ])
  })

  test('a regular expression that would take for ever is stopped, and is an error of the inputs', async () => {
    const refusal = await refusalOf(() => selectTags(read({ regex: '(a+)+b' }), ['a'.repeat(120)]))
    expect(refusal).toMatchObject({ code: 'USAGE', side: 'input' })
  })

  test('a glob of many stars takes no time', async () => {
    const glob = `${'*a'.repeat(100)}*b`
    expect(await tagsOf({ glob }, ['a'.repeat(128)])).toEqual([])
  })

  test.each<[object, string]>([
    [{ glob: 'v1.*' }, 'v1.*'],
    [{ regex: '^v1' }, '/^v1/'],
    [{ semver: '^1.2', latest: 3 }, '^1.2 latest 3'],
    [{ latest: 3 }, 'latest 3'],
    [
      { glob: 'a-*', regex: 'a.*', 'newer-than': '4w', latest: 2, by: 'created' },
      'a-* /a.*/ newer than 4w latest 2 by creation',
    ],
  ])('%j is called %s', (value, name) => expect(describeSelection(read(value))).toBe(name))

  test.each<[value: object, tags: string, expected: string, leftOut: string]>([
    // What a suffix means only the user knows: npm counts it as a prerelease.
    [
      { semver: '>=3.18' },
      '3.17 3.18 3.19.1 3.20 latest 3.20-alpine 20240115',
      '3.18 3.19.1 3.20',
      '; left out: 2 not a version (20240115, latest), 1 not in >=3.18 (3.17), 1 a prerelease or variant (3.20-alpine)',
    ],
    [
      { semver: '>=3.18', regex: '(?<version>.*)-alpine' },
      '3.17-alpine 3.18-alpine 3.20 3.20-alpine edge-alpine',
      '3.18-alpine 3.20-alpine',
      '; left out: 1 not like /(?<version>.*)-alpine/ (3.20), 1 not in >=3.18 (3.17-alpine), 1 not a version (edge-alpine)',
    ],
    [
      { semver: '^1', glob: '*.*.*' },
      '1 1.2 1.2.3 2.0.0',
      '1.2.3',
      '; left out: 2 not like *.*.* (1, 1.2), 1 not in ^1 (2.0.0)',
    ],
    [
      { semver: '^1', regex: 'release-(?<version>.*)' },
      'release-1.2 release-2',
      'release-1.2',
      '; left out: 1 not in ^1 (release-2)',
    ],
    [
      { regex: '(?<version>.*)-ubi9', latest: 1 },
      '9-ubi9 10-ubi9 11',
      '10-ubi9',
      '; left out: 1 not like /(?<version>.*)-ubi9/ (11), 1 not among the latest 1 (9-ubi9)',
    ],
    [
      { latest: 1 },
      '3 3.20 3.20.1 20260131 edge',
      '3.20.1',
      '; left out: 2 not a version (20260131, edge), 2 not among the latest 1 (3, 3.20)',
    ],
    [{ latest: 1 }, '1.0 2.0-rc1', '1.0', '; left out: 1 a prerelease or variant (2.0-rc1)'],
    [{ glob: '*', exclude: ['*-rc*', 'edge'] }, '1 1-rc2 edge', '1', '; left out: 2 excluded (1-rc2, edge)'],
    [{ glob: '*' }, '1 2', '1 2', ''],
    [{ semver: '<1' }, 'a b c d e', '', '; left out: 5 not a version (a, b, c, …)'],
  ])('%j of %s', async (value, tags, expected, leftOut) => {
    const chosen = await selectTags(read(value), tags.split(' '))
    expect([chosen.tags.join(' '), describeLeftOut(chosen.leftOut)]).toEqual([expected, leftOut])
  })
})

describe('the time of an image', () => {
  const DAY = 86_400_000
  const NOW = Date.UTC(2026, 0, 31)
  const AGES: Readonly<Record<string, number | undefined>> = {
    a: 1,
    b: 29,
    c: 31,
    '1.9': 3,
    '1.10': 3,
    none: undefined,
  }
  const asked: string[] = []
  const times = {
    now: NOW,
    of: async (tag: string) => {
      asked.push(tag)
      const age = AGES[tag]
      return age === undefined ? undefined : NOW - age * DAY
    },
  }
  const select = (value: object, tags = Object.keys(AGES)) => {
    asked.length = 0
    return selectTags(read(value), tags, times)
  }

  test.each<[value: object, expected: string[], leftOut: object]>([
    [
      { 'newer-than': '30d' },
      ['1.10', '1.9', 'a', 'b'],
      { 'older than 30d': ['c'], 'without a creation time': ['none'] },
    ],
    [
      { 'newer-than': '25h' },
      ['a'],
      { 'older than 25h': ['1.10', '1.9', 'b', 'c'], 'without a creation time': ['none'] },
    ],
    [{ 'newer-than': '5w' }, ['1.10', '1.9', 'a', 'b', 'c'], { 'without a creation time': ['none'] }],
    // Of the same moment the higher version is the newer one.
    [
      { latest: 2, by: 'created' },
      ['a', '1.10'],
      { 'without a creation time': ['none'], 'not among the latest 2': ['1.9', 'b', 'c'] },
    ],
    [
      { 'newer-than': '30d', latest: 1 },
      ['1.10'],
      {
        'not a version': ['a', 'b'],
        'older than 30d': ['c'],
        'without a creation time': ['none'],
        'not among the latest 1': ['1.9'],
      },
    ],
  ])('%j', async (value, expected, leftOut) => {
    const chosen = await select(value)
    expect([chosen.tags, Object.fromEntries(chosen.leftOut)]).toEqual([expected, leftOut])
  })

  test('is asked for what the other conditions have left, and for nothing where no condition needs it', async () => {
    await select({ semver: '*', exclude: '1.9', 'newer-than': '1w' })
    expect(asked).toEqual(['1.10'])
    await select({ semver: '*', latest: 1 })
    expect(asked).toEqual([])
  })

  test('a failure to read it fails the selection', async () => {
    const failing = { now: NOW, of: () => Promise.reject(new Error('no answer')) }
    await expect(selectTags(read({ 'newer-than': '1d' }), ['a'], failing)).rejects.toThrow('no answer')
  })
})
