import { describe, expect, test } from '@jest/globals'
import { describeSelection, type Selection, selectionSchema, selectTags } from '../../../src/inputs/tag-selection.ts'
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
  ])('%j', (value, expected) => expect(selectTags(read(value), TAGS)).toEqual(expected))

  test('signatures and lists of referrers travel with their image and are never selected', () => {
    expect(selectTags(read({ regex: '.*' }), TAGS).filter((tag) => tag.startsWith('sha256-'))).toEqual([])
  })

  test.each<[unknown, string]>([
    [{}, 'needs one of glob, regex, semver or latest'],
    [{ glob: 'a', regex: 'a' }, 'needs one of glob, regex, semver or latest'],
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

  test('counted repetitions of a usual size are fine', () => {
    const date = read({ regex: '\\d{4}-\\d{2}-\\d{2}(-[0-9a-f]{7,40})?' })
    expect(selectTags(date, ['2026-01-31', '2026-1-31', '2026-01-31-0123456'])).toEqual([
      '2026-01-31',
      '2026-01-31-0123456',
    ])
  })

  test('a regular expression that would take for ever is stopped, and is an error of the inputs', async () => {
    const refusal = await refusalOf(() => selectTags(read({ regex: '(a+)+b' }), ['a'.repeat(120)]))
    expect(refusal).toMatchObject({ code: 'USAGE', side: 'input' })
  })

  test('a glob of many stars takes no time', () => {
    const glob = `${'*a'.repeat(100)}*b`
    expect(selectTags(read({ glob }), ['a'.repeat(128)])).toEqual([])
  })

  test.each<[object, string]>([
    [{ glob: 'v1.*' }, 'v1.*'],
    [{ regex: '^v1' }, '/^v1/'],
    [{ semver: '^1.2', latest: 3 }, '^1.2 latest 3'],
    [{ latest: 3 }, 'latest 3'],
  ])('%j is called %s', (value, name) => expect(describeSelection(read(value))).toBe(name))
})
