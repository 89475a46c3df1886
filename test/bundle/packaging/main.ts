import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generatedParts, STEP_ACTION, stepAction, TASK, withPart } from './generate.ts'

// `npm run compile && node build/test/bundle/packaging/main.js`, after the options table has changed.
const root = join(import.meta.dirname, '..', '..', '..', '..')
for (const part of generatedParts()) rewrite(part.file, (text) => withPart(text, part))
const task = readFileSync(join(root, TASK), 'utf8')
rewrite(STEP_ACTION, () => stepAction(task))

function rewrite(file: string, change: (text: string) => string): void {
  const path = join(root, file)
  const before = readFileSync(path, { encoding: 'utf8', flag: 'a+' })
  const after = change(before)
  if (after === before) return
  writeFileSync(path, after)
  console.log(`${file} rewritten`)
}
