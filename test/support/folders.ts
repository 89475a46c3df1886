import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Jest calls it once, before the tests: whatever they write to the system's temporary folder is in one folder, which goes at
 * the end. A test that fails or runs out of time has no chance to clear up behind itself.
 */
// biome-ignore lint/style/noDefaultExport: Jest takes nothing else
export default function oneFolder(): void {
  const folder = mkdtempSync(join(tmpdir(), 'image-promote-tests-'))
  // Workers inherit them; Windows looks at the latter two.
  for (const name of ['TMPDIR', 'TEMP', 'TMP']) process.env[name] = folder
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
}
