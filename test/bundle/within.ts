import { run } from '../../src/host/run-promotion.ts'
import { promote } from '../../src/promote.ts'
import type { Event, Report } from '../../src/report/model.ts'
import { watched } from '../support/watch.ts'
import { type Result, reportOf, temporary, type Variables } from './run.ts'
import { variables } from './sides.ts'

/** The plain host within this process: all that the bundle does but the start of Node. */

export type Within = Readonly<{
  code: number
  report: Report
  events: readonly Event[]
  warnings: readonly string[]
  infos: readonly string[]
}>

type LogLine = Readonly<{ event: 'log'; level: string; message: string }>

/** A command line with its variables, as `start` takes them. Tekton's variables make it the step of a Task. */
export async function commandWithin(
  argv: readonly string[],
  given: Readonly<{ env?: Variables }> = {},
): Promise<Result> {
  const home = temporary()
  const watching = watched(promote)
  const text = { stdout: '', stderr: '' }
  try {
    const code = await run({
      argv,
      env: { HOME: home.path, USERPROFILE: home.path, ...given.env },
      streams: {
        out: (chunk) => {
          text.stdout += chunk
        },
        err: (chunk) => {
          text.stderr += chunk
        },
      },
      signal: new AbortController().signal,
      loadPromote: async () => watching.promote,
    })
    watching.verify()
    return { code, ...text }
  } finally {
    home.remove()
  }
}

/** The same, with its report. */
export async function promotedWithin(argv: readonly string[], given: Readonly<{ env?: Variables }>) {
  const result = await commandWithin(['--output', 'json', ...argv], given)
  return { ...result, report: reportOf(result) }
}

/**
 * @param given options by name.
 * @param env beside them.
 */
export async function within(given: Variables, images: readonly string[], env: Variables = {}): Promise<Within> {
  const options = variables({ output: 'json', progress: 'json', ...given })
  const { code, stdout, stderr } = await commandWithin(['--', ...images], { env: { ...options, ...env } })
  if (stdout === '') throw new Error(`no report, exit code ${code}:\n${stderr}`)
  const events = stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Event | LogLine)
  const logged = events.flatMap((event) => (event.event === 'log' ? [event] : []))
  const saidAs = (wanted: string) => logged.filter(({ level }) => level === wanted).map(({ message }) => message)
  return {
    code: code ?? -1,
    report: JSON.parse(stdout),
    events: events.flatMap((event) => (event.event === 'log' ? [] : [event])),
    warnings: saidAs('warn'),
    infos: saidAs('info'),
  }
}
