import { afterEach } from '@jest/globals'
import { type Folder, temporary } from '../bundle/run.ts'
import { type EmbeddedRegistry, startRegistry } from './cluster/plain.ts'

/** What the tests of one file open; it is closed after each of them. */
export function openedByTests() {
  const closing: (() => Promise<void> | void)[] = []
  afterEach(async () => {
    for (const close of closing.splice(0)) await close()
  })
  return {
    closing,
    async registry(): Promise<EmbeddedRegistry> {
      const started = await startRegistry()
      closing.push(started.close)
      return started
    },
    folder(files: Readonly<Record<string, string>> = {}): Folder {
      const made = temporary()
      closing.push(made.remove)
      for (const [name, text] of Object.entries(files)) made.file(name, text)
      return made
    },
  }
}
