import type { Env } from '../inputs/collect.ts'
import type { Report } from '../report/model.ts'
import { reportJson } from '../report/report.ts'
import { Secrets } from '../secret.ts'
import { writeWhole } from './files.ts'
import type { Host, Settings } from './host.ts'
import { allOf, cleanReport } from './lines.ts'
import { createVoice, prefixed } from './voice.ts'

/** Where a host prints to; `out` is stdout. Text has its line ends. */
export type Streams = Readonly<{ out(text: string): void; err(text: string): void }>

/** Jenkins, GitLab, a shell: the log on stderr, nothing on stdout but the report if it is asked for. */
export function createCliHost(env: Env, { out, err }: Streams): Host {
  const secrets = new Secrets()
  const writer = prefixed(err, { debug: 'debug: ', info: '', warn: 'warning: ', error: 'error: ' })
  const voice = createVoice(writer, secrets, true)
  let settings: Settings | undefined
  return {
    kind: 'plain',
    log: voice.log,
    secrets,
    mask: (value) => void secrets.keep(value),
    spell: (option) => `--${option}`,
    inputs: () => ({ env, problems: [] }),
    begin(next) {
      settings = next
      voice.begin(next)
    },
    event: voice.event,
    async publish(report: Report) {
      const json = reportJson(cleanReport(report, secrets))
      const path = settings?.report
      await allOf([
        () => (settings?.output === 'json' ? out(json) : undefined),
        () => (path === undefined ? undefined : writeWhole(path, json)),
      ])
    },
  }
}
