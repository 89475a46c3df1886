import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from '../../../src/host/run-promotion.ts'
import { promote } from '../../../src/promote.ts'
import { watched } from '../../support/watch.ts'
import { type Folder, start, temporary } from '../run.ts'
import { variables } from '../sides.ts'
import type { Variables } from '../troubleshooting/run.ts'

/** One run under each host, and everything that it has produced: by stream, and by file. */
export type Produced = Readonly<Record<string, string>>
export type Finished = Readonly<{ code: number | null; produced: Produced }>

/** As the bundle is built from it; the bundle itself may be older than the source. */
const ENTRY = fileURLToPath(new URL('../../../src/index.js', import.meta.url))

const quiet: typeof promote = (config, host, context) =>
  promote(config, host, { ...context, sleep: async () => undefined })

/** In this process. @param env as it is, beside the options. */
async function within(env: Variables, argv: readonly string[], folder: Folder): Promise<Finished> {
  const watching = watched(quiet)
  const texts = { stdout: [] as string[], stderr: [] as string[] }
  const code = await run({
    argv,
    env: { HOME: folder.path, USERPROFILE: folder.path, ...env },
    streams: {
      out: (text) => void texts.stdout.push(text),
      err: (text) => void texts.stderr.push(text),
    },
    signal: new AbortController().signal,
    loadPromote: async () => watching.promote,
  })
  watching.verify()
  const streams = { stdout: texts.stdout.join(''), stderr: texts.stderr.join('') }
  return { code, produced: { ...streams, ...filesIn(folder.path) } }
}

/** Everything on, and the report in a file. */
export async function asCommand(given: Variables, env: Variables = {}): Promise<Finished> {
  return inFolder((folder) => {
    const all = {
      'log-level': 'debug',
      progress: 'json',
      output: 'json',
      report: join(folder.path, 'report.json'),
      ...given,
    }
    return within({ ...variables(all), ...env }, [], folder)
  })
}

/** @param source files of the workspace `source-auth`. */
export async function asTask(given: Variables, source: Variables, env: Variables = {}): Promise<Finished> {
  const auth = temporary()
  for (const [name, text] of Object.entries(source)) auth.file(name, text)
  try {
    return await inFolder((folder) => {
      const results = ['DIGEST', 'IMAGES', 'PROMOTED', 'REPORT'].map((name) => [
        `RESULT_${name}`,
        join(folder.path, name),
      ])
      const own = {
        'log-level': 'debug',
        SOURCE_AUTH_DIR: auth.path,
        REPORT_DIR: folder.path,
        ...Object.fromEntries(results),
      }
      return within({ ...variables({ ...own, ...given }), ...env }, [], folder)
    })
  } finally {
    auth.remove()
  }
}

/** A step of a workflow, in a process of its own; lines for the runner alone are `masks`. */
export async function asStep(given: Variables, env: Variables = {}): Promise<Finished & Readonly<{ lines: string[] }>> {
  return inFolder(async (folder) => {
    const files = ['output', 'summary'].map((name) => join(folder.path, name))
    for (const file of files) writeFileSync(file, '')
    const inputs = Object.entries(given).map(([name, value]) => [`INPUT_${name.toUpperCase()}`, value])
    const { ended } = start([], {
      bundle: ENTRY,
      cwd: folder.path,
      env: {
        CI: 'true',
        GITHUB_ACTIONS: 'true',
        GITHUB_OUTPUT: files[0] ?? '',
        GITHUB_STEP_SUMMARY: files[1] ?? '',
        RUNNER_TEMP: folder.path,
        HOME: folder.path,
        'INPUT_LOG-LEVEL': 'debug',
        INPUT_REPORT: join(folder.path, 'report.json'),
        ...Object.fromEntries(inputs),
        ...env,
      },
    })
    const { code, stdout, stderr } = await ended
    const lines = stdout.split(/\r?\n/)
    const seen = lines.filter((line) => !line.startsWith('::add-mask::')).join('\n')
    return { code, lines, produced: { stdout: seen, stderr, ...filesIn(folder.path) } }
  })
}

async function inFolder<T>(use: (folder: Folder) => Promise<T>): Promise<T> {
  const folder = temporary()
  mkdirSync(folder.path, { recursive: true })
  try {
    return await use(folder)
  } finally {
    folder.remove()
  }
}

function filesIn(folder: string): Produced {
  const names = readdirSync(folder, { recursive: true }).map(String)
  const files = names.filter((name) => statSync(join(folder, name)).isFile())
  return Object.fromEntries(files.map((name) => [`file ${name}`, readFileSync(join(folder, name), 'utf8')]))
}
