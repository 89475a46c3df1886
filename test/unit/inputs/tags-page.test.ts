import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { parseYaml } from '../../../src/core/yaml.ts'
import { selectionSchema, selectTags } from '../../../src/inputs/tag-selection.ts'

/** The table of docs/tags.md says what the program does. */

// Runs from build/test/unit/inputs.
const PAGE = readFileSync(join(import.meta.dirname, '..', '..', '..', '..', 'docs', 'tags.md'), 'utf8')
const ROWS = [...PAGE.matchAll(/^\| `([^`|]+)` +\| `(\{[^`|]+\})` +\| `([^`|]*)` +\|$/gm)]

describe('docs/tags.md', () => {
  test('has examples', () => expect(ROWS.length).toBeGreaterThan(8))

  test.each(ROWS.map(([, tags = '', selection = '', taken = '']) => [tags, selection, taken]))(
    '%s with %s are %s',
    async (tags, selection, taken) => {
      const chosen = await selectTags(selectionSchema.parse(parseYaml(selection)), tags.split(' '))
      expect(chosen.tags.join(' ')).toBe(taken)
    },
  )
})
