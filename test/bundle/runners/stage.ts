import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { makeIndex, seedImage } from '../../support/cluster/image.ts'
import { read } from '../packaging/files.ts'
import { temporary } from '../run.ts'
import { tagOf } from '../sides.ts'

export const VERSION = '1.9.2'
const IMAGE = makeIndex({ seed: 31 })

export type Stage = Readonly<{
  test: EmbeddedCluster
  production: EmbeddedCluster
  /** A Git repository with a commit; the runners ask for one. */
  folder: string
  file(path: string, text: string): string
  /** A sample with the addresses of these clusters. */
  sample(path: string): string
  run(program: string, argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<string>
  commit(tag: string): Promise<void>
  /** @throws unless production has all of these, each with the digest of the source. */
  expectPromoted(references: readonly string[]): void
  close(): Promise<void>
}>

export async function openStage(): Promise<Stage> {
  const place = temporary()
  const [test, production] = await Promise.all([startCluster({ name: 'test' }), startCluster({ name: 'production' })])
  for (const name of ['test/api', 'test/web']) seedImage(test, name, IMAGE, VERSION)
  const run: Stage['run'] = (program, argv, env = {}) => runIn(place.path, program, argv, env)
  return {
    test,
    production,
    folder: place.path,
    file(path, text) {
      const file = join(place.path, path)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, text, { mode: 0o600 })
      return file
    },
    sample: (path) =>
      read(path)
        .replaceAll('https://api.test.example:6443', test.api.origin)
        .replaceAll('https://api.production.example:6443', production.api.origin),
    run,
    async commit(tag) {
      const identity = ['-c', 'user.name=sample', '-c', 'user.email=sample@example.com']
      await run('git', ['init', '--quiet', '--initial-branch', 'main'])
      await run('git', ['remote', 'add', 'origin', 'https://git.example/team/app.git'])
      await run('git', ['add', '.'])
      await run('git', [...identity, 'commit', '--quiet', '--message', 'sample'])
      await run('git', ['tag', tag])
    },
    expectPromoted(references) {
      for (const reference of references) {
        const [path = '', tag = ''] = reference.split(':')
        const digest = tagOf(production, path, tag)
        if (digest !== IMAGE.root.digest)
          throw new Error(`${reference} is ${digest ?? 'absent'}, not ${IMAGE.root.digest}`)
        process.stdout.write(`${reference} is ${digest}\n`)
      }
    },
    async close() {
      place.remove()
      await Promise.all([test.close(), production.close()])
    },
  }
}

/** Shows what the program prints. @returns all of it. @throws when it fails. */
async function runIn(cwd: string, program: string, argv: readonly string[], env: Readonly<Record<string, string>>) {
  const { PATH = '' } = process.env
  const child = spawn(program, argv, { cwd, env: { PATH, HOME: cwd, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      process.stdout.write(chunk)
    })
  const code = await new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
  if (code !== 0) throw new Error(`${program} ${argv.join(' ')} ended with ${code}`)
  return text
}
