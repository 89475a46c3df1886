import { run } from '../../src/host/run-promotion.ts'
import { promote } from '../../src/promote.ts'
import type { Event, Report } from '../../src/report/model.ts'
import { watched } from '../support/watch.ts'
import { temporary, type Variables } from './run.ts'
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

/**
 * @param given options by name.
 * @param env beside them.
 */
export async function within(given: Variables, images: readonly string[], env: Variables = {}): Promise<Within> {
  const home = temporary()
  const watching = watched(promote)
  const text = { out: '', err: '' }
  try {
    const code = await run({
      argv: ['--', ...images],
      env: {
        HOME: home.path,
        USERPROFILE: home.path,
        ...variables({ output: 'json', progress: 'json', ...given }),
        ...env,
      },
      streams: {
        out: (chunk) => {
          text.out += chunk
        },
        err: (chunk) => {
          text.err += chunk
        },
      },
      signal: new AbortController().signal,
      loadPromote: async () => watching.promote,
    })
    watching.verify()
    if (text.out === '') throw new Error(`no report, exit code ${code}:\n${text.err}`)
    const lines = text.err.trimEnd().split('\n')
    const events = lines.map((line) => JSON.parse(line) as Event | LogLine)
    const logged = events.flatMap((event) => (event.event === 'log' ? [event] : []))
    const saidAs = (wanted: string) => logged.filter(({ level }) => level === wanted).map(({ message }) => message)
    return {
      code,
      report: JSON.parse(text.out),
      events: events.flatMap((event) => (event.event === 'log' ? [] : [event])),
      warnings: saidAs('warn'),
      infos: saidAs('info'),
    }
  } finally {
    home.remove()
  }
}
