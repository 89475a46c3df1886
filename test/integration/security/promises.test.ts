import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'

// Runs from build/test/integration/security.
const ROOT = join(import.meta.dirname, '..', '..', '..', '..')
const FOLDER = join(ROOT, 'test', 'integration', 'security')

test('docs/security.md names every attack that is here, and none that is not', () => {
  const page = readFileSync(join(ROOT, 'docs', 'security.md'), 'utf8')
  const section = page.split('## Promises and their attacks')[1]?.split('\n## ')[0] ?? ''
  const named = [...section.matchAll(/`test\/integration\/security\/([\w-]+\.test\.ts)`/g)].map(([, name]) => name)
  const there = readdirSync(FOLDER).filter((name) => name.endsWith('.test.ts') && name !== 'promises.test.ts')
  expect([...new Set(named)].sort()).toEqual(there.sort())
})
