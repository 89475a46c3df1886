import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** docs/troubleshooting.md: the messages of each section. A section is a code, or `warning`. */

const PAGE = fileURLToPath(new URL('../../../../docs/troubleshooting.md', import.meta.url))

export type Entry = Readonly<{ section: string; says: string; advice: string }>

export function entries(): Entry[] {
  let section = ''
  return readFileSync(PAGE, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const code = /^### `([A-Z_]+)`$/.exec(line)?.[1]
      if (code !== undefined) section = code
      else if (line === '## Without an error') section = 'warning'
      const [, says, advice] = /^\| `(.+?)` +\| (.+?) +\|$/.exec(line) ?? []
      return says === undefined || advice === undefined ? [] : [{ section, says, advice }]
    })
}

/** `…` is anything, and so is the empty text. */
export function matches(says: string, message: string): boolean {
  const parts = says.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('[^]*')}$`).test(message)
}
