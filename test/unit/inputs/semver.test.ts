import { describe, expect, test } from '@jest/globals'
import { selectionSchema, selectTags } from '../../../src/inputs/tag-selection.ts'

/** The versions among these tags, the highest first. */
const sorted = (...tags: string[]) => selectTags({ pattern: { kind: 'glob', text: '*' }, latest: 100 }, tags)
const isIn = (range: string, tag: string) =>
  selectTags({ pattern: { kind: 'semver', text: range } }, [tag]).length === 1

describe('a version', () => {
  test.each([
    '1.2.3',
    'v1.2.3',
    '0.0.0',
    '1.2.3-rc.1',
    '1.2.3-0.3.7',
    '1.2.3-x-y.1',
    '10.20.30',
    '1.2.3_build.7',
    '1.2.3-rc.1_b',
  ])('%s is one', (text) => expect(sorted(text)).toEqual([text]))

  test.each(['1.2', '1', 'latest', '01.2.3', '1.2.3-', '1.2.3-01', '1.2.3.4', 'x1.2.3', '1.2.3 ', '', '1.2.3-a..b'])(
    '%j is none',
    (text) => expect(sorted(text)).toEqual([]),
  )

  // semver.org section 11
  const ORDER = [
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0-rc.1',
    '1.0.0',
    '1.0.1',
    '1.2.0',
    '1.10.0',
    '2.0.0',
  ]
  test('has the order of the specification', () => {
    const shuffled = [...ORDER].sort((a, b) => (a < b ? 1 : -1))
    expect(sorted(...shuffled)).toEqual(ORDER.toReversed())
  })

  test.each([
    ['1.2.3_a', 'v1.2.3_b'],
    ['1.2.3_b', 'v1.2.3_a'],
  ])('has no order by build metadata: %s, %s', (...tags) => expect(sorted(...tags)).toEqual(tags))
})

/** From node-semver's own fixtures: range-include.js and range-exclude.js. */
describe('a range', () => {
  test.each([
    ['1.0.0 - 2.0.0', '1.2.3'],
    ['^1.2.3+build', '1.2.3'],
    ['^1.2.3+build', '1.3.0'],
    ['1.2.3-pre+asdf - 2.4.3-pre+asdf', '1.2.3'],
    ['1.2.3-pre+asdf - 2.4.3-pre+asdf', '2.4.3-alpha'],
    ['1.0.0', '1.0.0'],
    ['>=*', '0.2.4'],
    ['', '1.0.0'],
    ['*', '1.2.3'],
    ['>=1.0.0', '1.1.0'],
    ['>1.0.0', '1.0.1'],
    ['<=2.0.0', '0.2.9'],
    ['<=  2.0.0', '2.0.0'],
    ['<\t2.0.0', '0.2.9'],
    ['0.1.20 || 1.2.4', '1.2.4'],
    ['>=0.2.3 || <0.0.1', '0.0.0'],
    ['||', '1.3.4'],
    ['2.x.x', '2.1.3'],
    ['1.2.x || 2.x', '2.1.3'],
    ['x', '1.2.3'],
    ['2.*.*', '2.1.3'],
    ['2', '2.1.2'],
    ['2.3', '2.3.1'],
    ['~0.0.1', '0.0.2'],
    ['~x', '0.0.9'],
    ['~2.4', '2.4.5'],
    ['~>3.2.1', '3.2.2'],
    ['~1', '1.2.3'],
    ['~> 1', '1.2.3'],
    ['>=1', '1.0.0'],
    ['<1.2', '1.1.1'],
    ['~v0.5.4-pre', '0.5.5'],
    ['=0.7.x', '0.7.2'],
    ['<=0.7.x', '0.6.2'],
    ['~1.2.1 >=1.2.3', '1.2.3'],
    ['~1.2.1 1.2.3 >=1.2.3', '1.2.3'],
    ['>=1.2.1 1.2.3', '1.2.3'],
    ['^1.2.3', '1.8.1'],
    ['^0.1.2', '0.1.2'],
    ['^0.1', '0.1.2'],
    ['^0.0.1', '0.0.1'],
    ['^1.2', '1.4.2'],
    ['^1.2 ^1', '1.4.2'],
    ['^1.2.3-alpha', '1.2.3-pre'],
    ['^0.0.1-beta', '0.0.1-beta.4'],
    ['^0.1.1-alpha', '0.1.1-beta'],
    ['^x', '1.2.3'],
    ['x - 1.0.0', '0.9.7'],
    ['1.x - 1.x', '1.9.7'],
    ['1.0.0 - x', '1.9.7'],
    ['<=7.x', '7.9.9'],
    ['>1.2', '1.3.0'],
  ])('%s includes %s', (range, text) => expect(isIn(range, text)).toBe(true))

  test.each([
    ['1.0.0 - 2.0.0', '2.2.3'],
    ['1.2.3 - 2.4.3-alpha', '2.4.3'],
    ['^1.2.3', '2.0.0-pre'],
    ['^1.2.3', '1.2.3-pre'],
    ['>1.2', '1.3.0-beta'],
    ['<=1.2.3', '1.2.3-beta'],
    ['=0.7.x', '0.7.0-asdf'],
    ['>=0.7.x', '0.7.0-asdf'],
    ['1', '1.0.0-beta'],
    ['<1', '1.0.0-beta'],
    ['1.0.0', '1.0.1'],
    ['>=1.0.0', '0.1.0'],
    ['<2.0.0', '2.9999.9999'],
    ['>=0.1.97', '0.1.93'],
    ['0.1.20 || 1.2.4', '1.2.3'],
    ['2.x.x', '3.1.3'],
    ['1.2.x', '1.3.3'],
    ['2.3', '2.4.1'],
    ['~0.0.1', '0.1.0-alpha'],
    ['~2.4', '2.5.0'],
    ['~>3.2.1', '3.3.2'],
    ['~1.0', '1.1.0'],
    ['<1', '1.0.0'],
    ['~v0.5.4-beta', '0.5.4-alpha'],
    ['^0.0.1', '0.0.2-alpha'],
    ['^0.0.1', '0.0.2'],
    ['^1.2', '1.2.0-pre'],
    ['^1.2', '1.1.9'],
    ['*', '1.2.3-foo'],
    ['^1.0.0', '2.0.0-rc1'],
    ['1 - 2', '3.0.0-pre'],
    ['1.1.x', '1.2.0-a'],
    ['>x', '1.2.3'],
    ['<x', '0.0.0'],
    ['2 || 3', '1.9.9'],
  ])('%s excludes %s', (range, text) => expect(isIn(range, text)).toBe(false))

  test.each(['>=', 'latest', '1.2.3.4', '^^1', '1 - ', 'v', '>1 || blah', 'x.2', '=>1', `^${'1'.repeat(300)}`])(
    '%j is none',
    (text) => expect(selectionSchema.safeParse({ semver: text }).success).toBe(false),
  )
})
