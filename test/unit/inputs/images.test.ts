import { describe, expect, test } from '@jest/globals'
import { parseImages } from '../../../src/inputs/images.ts'
import { formatReference } from '../../../src/oci/reference.ts'

const D = `sha256:${'0123456789abcdef'.repeat(4)}`

function read(text: string) {
  const problems: string[] = []
  const pairs = parseImages(text, (problem) => problems.push(problem)).map(
    ({ source, destination }) => `${formatReference(source)} → ${formatReference(destination)}`,
  )
  return { pairs, problems }
}

test.each<[string, string, string[]]>([
  ['a JSON list', '["a/b:1=c/d:1", "a/e:2"]', ['a/b:1 → c/d:1', 'a/e:2 → a/e:2']],
  ['a JSON list over several lines', '[\n  "a/b:1=c/d:1"\n]\n', ['a/b:1 → c/d:1']],
  ['one JSON text', '"a/b:1=c/d:1"', ['a/b:1 → c/d:1']],
  [
    'pairs with blanks between them',
    'a/b:1=c/d:1  a/e:2=c/f:2\ta/g:3=c/h:3',
    ['a/b:1 → c/d:1', 'a/e:2 → c/f:2', 'a/g:3 → c/h:3'],
  ],
  ['pairs with blanks around the sign', 'a/b:1 = c/d:1', ['a/b:1 → c/d:1']],
  ['a digest after the line break of a result', `a/b:1\n@${D}=c/d:1`, [`a/b:1@${D} → c/d:1`]],
  ['the same with a carriage return', `a/b:1\r\n  @${D}=c/d:1\r\n`, [`a/b:1@${D} → c/d:1`]],
  ['a result with a line break at its end', 'a/b:1=c/d:1\n', ['a/b:1 → c/d:1']],
])('%s is read', (_, text, pairs) => {
  expect(read(text)).toEqual({ pairs, problems: [] })
})

describe('ambiguous images are refused', () => {
  test.each([
    ['a/b:1 c/d:1', /has a blank in it/],
    ['a/b:1=c/d:1 a/e:2', /has a blank in it/],
    ['a/b:1\n=c/d:1', /a line break stands before it/],
    ['{"source": "a/b:1"}', /is JSON/],
    ['[{"source": "a/b:1"}]', /is JSON/],
    ['["a/b:1"', /is JSON/],
  ])('%j', (text, words) => {
    expect(read(text).problems.join()).toMatch(words)
  })
})
