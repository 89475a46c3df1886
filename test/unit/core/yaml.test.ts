import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { PromoteError } from '../../../src/core/errors.ts'
import { parseYaml } from '../../../src/core/yaml.ts'
import { readKubeconfig } from '../../../src/credentials/kubeconfig.ts'
import { parseImageList } from '../../../src/inputs/image-list.ts'
import { testContext } from '../../support/openshift.ts'
import { randomOf } from '../../support/random.ts'

/** What the user hands over may be anything; a parser that takes the process with it could not say what is wrong. */

const MANY = 5000
const lines = (text: string) => Array.from({ length: 300 }, (_, index) => ' '.repeat(index) + text).join('\n')

/** More than a hundred levels, and texts that hide them from whoever counts brackets. */
const DEEP: Readonly<Record<string, string>> = {
  'open brackets': '['.repeat(MANY),
  'closed brackets': '['.repeat(MANY) + ']'.repeat(MANY),
  'open braces': '{'.repeat(MANY),
  'maps in braces': '{a: '.repeat(MANY) + '}'.repeat(MANY),
  'lists of maps': '[{a: '.repeat(MANY),
  'brackets in lines of their own': '[\n'.repeat(MANY),
  'dashes in a line': '- '.repeat(MANY),
  'question marks in a line': '? '.repeat(MANY),
  'question marks that are few enough to be composed': '? '.repeat(400),
  'colons in a line': ': '.repeat(MANY),
  'dashes and question marks': '- ? '.repeat(200),
  'question marks in brackets': '[? '.repeat(200) + ']'.repeat(200),
  'dashes in lines': lines('-'),
  'keys in lines': lines('a:'),
  'question marks in lines': lines('? a:'),
  'brackets between the quotes of two words': `[x' , ${'['.repeat(MANY)} , 'y]`,
  'brackets between two words with a quote': `[a ' , ${'['.repeat(MANY)} , b ']`,
  'brackets behind a comment with a quote': `# "\n${'['.repeat(MANY)} # "`,
}

const anchors = Array.from({ length: 9 }, (_, index) => `- &a${index + 1} [${`*a${index}, `.repeat(9)}]`)
const GARBAGE = 64 * 1024
const characters = '[]{}-?: \n\'"ab,&*!|>%#\t0'

/** Within the depth, and nothing that can be used. */
const BAD: Readonly<Record<string, string>> = {
  'aliases of aliases': ['- &a0 [x,x,x,x,x,x,x,x,x]', ...anchors].join('\n'),
  'an alias that holds itself': '&a [*a, *a]',
  'a list that nests by aliases alone': `- &a0 [x]\n${Array.from({ length: 6000 }, (_, index) => `- &a${index + 1} [*a${index}]\n`).join('')}`,
  'many aliases of one list': `- &a [x,x,x,x,x,x,x,x,x,x]\n${'- [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n'.repeat(200)}`,
  'a list as a key': '? [a, b]\n: c',
  'a map as a key': '{{a: b}: c}',
  'many anchors for one value': '&a '.repeat(MANY),
  'many tags for one value': '!a '.repeat(MANY),
  'many commas': `[${','.repeat(MANY)}`,
  'a quote that never ends': `"${'a'.repeat(GARBAGE)}`,
  'NUL bytes': `a: [${'\0'.repeat(GARBAGE)}`,
  'lines of noise': `a: ${'\u{1F600}\u2028\r\t:'.repeat(GARBAGE / 8)}: [`,
}

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'yaml-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** What a kubeconfig with this text fails with. */
async function refusal(text: string): Promise<unknown> {
  const path = join(folder, 'kubeconfig')
  writeFileSync(path, text)
  return readKubeconfig(path, undefined, testContext(), 'source').then(
    () => undefined,
    (error: unknown) => error,
  )
}

describe('a text that is nested too deeply is refused before it is composed:', () => {
  test.each(Object.entries(DEEP))('%s', (_, text) => expect(() => parseYaml(text)).toThrow(/^is nested more than 100/))
})

describe('what cannot be used is an error that goes on a sentence:', () => {
  test.each(Object.entries(BAD))('%s', (_, text) => expect(() => parseYaml(text)).toThrow(/^is (?:not YAML|nested)/))
})

describe('only a PromoteError comes out of a kubeconfig with', () => {
  test.each(Object.entries({ ...DEEP, ...BAD }))('%s', async (_, text) => {
    const error = await refusal(text)
    expect(error).toBeInstanceOf(PromoteError)
    expect(error).toMatchObject({ code: 'IO', side: 'source' })
  })
})

test('64 KiB of garbage: only a PromoteError comes out of a kubeconfig, and only a note out of a list of images', async () => {
  const random = randomOf(11)
  for (let round = 0; round < 4; round++) {
    // From a few characters deep structures come, from many broken ones.
    const alphabet = characters.slice(0, 4 + Math.floor(random() * characters.length))
    const text = Array.from({ length: GARBAGE }, () => alphabet[Math.floor(random() * alphabet.length)]).join('')
    expect(await refusal(text)).toBeInstanceOf(PromoteError)
    const notes: string[] = []
    expect(parseImageList(text, (note) => notes.push(note))).toEqual([])
    expect(notes).toHaveLength(1)
  }
})

describe('a text of usual shape is read', () => {
  test('a hundred deep, and hardly deeper', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
    expect(JSON.stringify(parseYaml(nested(100)))).toBe(nested(100))
    expect(() => parseYaml(nested(102))).toThrow('nested')
    const dashes = (depth: number) => `${'- '.repeat(depth)}x`
    expect(JSON.stringify(parseYaml(dashes(100)))).toBe(`${'['.repeat(100)}"x"${']'.repeat(100)}`)
    expect(() => parseYaml(dashes(102))).toThrow('nested')
  })

  test('brackets in quotes, comments and blocks count nothing', () => {
    const many = '['.repeat(MANY)
    expect(parseYaml(`a: "${many}" # ${many}\nb: '${many}'\nc: |\n  ${many}\nd: x${many}\n`)).toEqual({
      a: many,
      b: many,
      c: `${many}\n`,
      d: `x${many}`,
    })
  })

  test('an alias that is used a few times, and a key that looks like a number', () => {
    expect(parseYaml('- &a { 1: x }\n- *a\n- *a')).toEqual([{ 1: 'x' }, { 1: 'x' }, { 1: 'x' }])
  })

  test('a repeated key is an error, or the last one counts', () => {
    expect(() => parseYaml('a: 1\na: 2')).toThrow('is not YAML: DUPLICATE_KEY in line 2')
    expect(parseYaml('a: 1\na: 2', { repeatedKeys: true })).toEqual({ a: 2 })
  })
})
