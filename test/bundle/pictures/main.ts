import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../packaging/files.ts'
import { livePicture, pictures } from './pictures.ts'

// `npm run pictures`: after what people see of a run has changed.
for (const { file, svg } of [...(await pictures()), await livePicture()]) {
  writeFileSync(join(ROOT, file), svg)
  process.stdout.write(`${file}\n`)
}
