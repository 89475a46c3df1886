import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generatedParts, withPart } from './generate.ts'

// `npm run compile && node build/test/packaging/main.js`, after the options table has changed.
const root = join(import.meta.dirname, '..', '..', '..')
for (const part of generatedParts()) {
  const path = join(root, part.file)
  const before = readFileSync(path, 'utf8')
  const after = withPart(before, part)
  if (after === before) continue
  writeFileSync(path, after)
  console.log(`${part.file}: ${part.part} rewritten`)
}
