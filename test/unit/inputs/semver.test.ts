import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import rcompare from 'semver/functions/rcompare.js'
import satisfies from 'semver/functions/satisfies.js'
import { selectionSchema, selectTags } from '../../../src/inputs/tag-selection.ts'

/** The versions among these tags, the highest first. */
const sorted = async (...tags: string[]) => (await selectTags({ glob: '*', latest: 100 }, tags)).tags
const isIn = async (range: string, tag: string) => (await selectTags({ semver: range }, [tag])).tags.length === 1

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
    '1.2',
    'v1',
    '3.20-alpine',
    '17-ubi9',
    '24.04',
    '2026.01.31',
    '99999',
  ])('%s is one', async (text) => expect(await sorted(text)).toEqual([text]))

  test.each([
    'latest',
    '1.2.3-',
    '1.2.3-01',
    '1.2.3.4',
    'x1.2.3',
    '1.2.3 ',
    '',
    '1.2.3-a..b',
    '1.',
    '.1',
    'v',
    '20260131',
    '1234567',
    '99999999999999999.0.0',
  ])('%j is none', async (text) => expect(await sorted(text)).toEqual([]))

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
  test('has the order of the specification', async () => {
    const shuffled = [...ORDER].sort((a, b) => (a < b ? 1 : -1))
    expect(await sorted(...shuffled)).toEqual(ORDER.toReversed())
  })

  test.each([
    ['1.2.3_a', 'v1.2.3_b'],
    ['1.2.3_b', 'v1.2.3_a'],
  ])('has no order by build metadata: %s, %s', async (...tags) => expect(await sorted(...tags)).toEqual(tags))

  const number = fc.integer({ min: 0, max: 12 })
  const suffix = fc.constantFrom('', '', '-rc.1', '-rc.2', '-rc', '-0', '-alpine', '-ubi9', '-rc.1.x')
  const triple = fc.tuple(number, number, number, suffix).map(([a, b, c, rest]) => `${a}.${b}.${c}${rest}`)

  test('of three parts has the order, and is in the ranges, that it has with npm', () =>
    fc.assert(
      fc.asyncProperty(fc.array(triple, { minLength: 2, maxLength: 12 }), async (all) => {
        const tags = [...new Set(all)]
        expect(await sorted(...tags)).toEqual([...tags].sort().sort(rcompare))
        for (const range of ['>=3.1', '^2.4', '1.x', '<5', '>=4.0.0-rc.1', '~1.2.3 || 7 - 9.1'])
          expect((await selectTags({ semver: range }, tags)).tags).toEqual(
            tags.filter((tag) => satisfies(tag, range)).sort(),
          )
      }),
    ))

  test('of fewer parts, or with zeros in front, is the one that npm makes of it by adding zeros', () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(number, number, number), { minLength: 2, maxLength: 8 }), async (all) => {
        const spelled = new Map(
          all.flatMap(([a, b, c]) => [
            [`v${a}`, `${a}.0.0`],
            [`${a}.${b}`, `${a}.${b}.0`],
            [`${a}.0${b}.0${c}`, `${a}.${b}.${c}`],
            [`V${a}.${b}.${c}_b`, `${a}.${b}.${c}`],
          ]),
        )
        const order = (await sorted(...spelled.keys())).map((tag) => spelled.get(tag) ?? '')
        expect(order).toEqual([...order].sort(rcompare))
        expect(order).toHaveLength(spelled.size)
      }),
    ))
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
  ])('%s includes %s', async (range, text) => expect(await isIn(range, text)).toBe(true))

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
  ])('%s excludes %s', async (range, text) => expect(await isIn(range, text)).toBe(false))

  test.each(['>=', 'latest', '1.2.3.4', '^^1', '1 - ', 'v', '>1 || blah', 'x.2', '=>1', `^${'1'.repeat(300)}`])(
    '%j is none',
    (text) => expect(selectionSchema.safeParse({ semver: text }).success).toBe(false),
  )
})
