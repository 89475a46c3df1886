import { Secrets } from '../core/secret.ts'
import type { Env } from '../inputs/collect.ts'
import { reportJson } from '../report/make-report.ts'
import type { Host } from './host.ts'
import { allOf, createHostLog, prefixed, publishOnlyClean } from './log.ts'
import { createTerminal, isWatched, paint, type Screen, wantsColour } from './terminal.ts'

/** Where a host prints: `out` is stdout, `err` is stderr. Texts include line ends. `screen` is set when stderr is a terminal. */
export type OutputStreams = Readonly<{ out(text: string): void; err(text: string): void; screen?: Screen | undefined }>

const PREFIXES = { debug: 'debug: ', warn: 'warning: ', error: 'error: ' }

export function createCliHost(env: Env, { out, err, screen }: OutputStreams): Host {
  const secrets = new Secrets()
  const terminal = screen !== undefined && isWatched(env) ? createTerminal(err, screen) : undefined
  const print = terminal?.write ?? err
  const coloured = wantsColour(env, terminal !== undefined)
  const writer = prefixed((text) => print(coloured ? paint(text) : text), PREFIXES)
  const hostLog = createHostLog(writer, secrets, true, terminal)
  return publishOnlyClean({
    ...hostLog,
    kind: 'plain',
    spell: (option) => `--${option}`,
    inputs: () => ({ env, problems: [] }),
    async publish(report) {
      const json = hostLog.settings().output === 'json' ? reportJson(report) : ''
      await allOf([() => out(json), () => hostLog.keep(report)])
    },
  })
}
