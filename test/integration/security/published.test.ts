import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import type { OutputStreams } from '../../../src/host/cli.ts'
import { createCliHost } from '../../../src/host/cli.ts'
import { createGithubHost, createStepHost, type Runner } from '../../../src/host/github.ts'
import type { Host, Settings } from '../../../src/host/host.ts'
import { createTektonHost } from '../../../src/host/tekton.ts'
import type { Env } from '../../../src/inputs/collect.ts'
import type { Event, Report } from '../../../src/report/model.ts'
import { leaks } from '../../bundle/secrets/search.ts'
import { digestOf, failedRow, inFolder, recordStreams, reportOf, row, SETTINGS } from '../../unit/host/sample.ts'

/**
 * Promises: no string of a report, plan or event shows a secret or a control character, whatever its member is called; and no
 * CI system finds a command in the log.
 */

const SECRET = 'tøken/of+Production-0123456789"quoted"'

/** Every string of the data with more behind it, but for what a program has to find again. */
function poisoned<T>(data: T, poison: string): T {
  const own = ['schema', 'event', 'status', 'do', 'kind', 'code', 'side', 'state', 'started', 'finished']
  return JSON.parse(JSON.stringify(data), (key, value) =>
    typeof value === 'string' && !own.includes(key) ? `${value}${poison}` : value,
  )
}

const plan = {
  source: 'a/b:1',
  destination: 'c/d:1',
  target: 'destination',
  digest: digestOf(1),
  certain: true,
  steps: [{ do: 'copy', digest: digestOf(2), kind: 'blob', mediaType: 'text/x', size: 1, why: 'absent' }],
  bytes: { total: 1, copied: 1, mounted: 0, present: 0 },
  tags: [{ tag: '1', from: digestOf(3), to: digestOf(1) }],
  rights: { state: 'missing', missing: ['update x'], grant: 'oc adm policy' },
} as const
const attached = [{ digest: digestOf(4), artifactType: 'application/x', subject: digestOf(1), tag: 't' }]
const report: Report = reportOf(
  [row(1, { attached }), failedRow(2, 'no', 'do'), row(3, { status: 'planned', error: null })],
  { plans: [plan], status: 'partial' },
)
const events: readonly Event[] = [
  { event: 'login', side: 'destination', target: 'east', user: 'jane', registry: 'r.example' },
  { event: 'plan', image: 0, images: 3, ...plan },
  { event: 'step', image: 0, do: 'copy', digest: digestOf(2), kind: 'blob', size: 1, why: 'absent' },
  { event: 'retry', image: 0, what: 'GET', reason: 'reset', wait: 5, attempt: 1 },
  ...report.images.map((each, image) => ({ event: 'image', image, row: each }) as const),
  { event: 'done', report },
]

type Start = (env: Env, streams: OutputStreams, runner: Runner) => Host
const HOSTS: Readonly<Record<string, Start>> = {
  plain: (env, streams) => createCliHost(env, streams),
  tekton: (env, streams) => createTektonHost(env, streams),
  github: (env, _, runner) => createGithubHost(env, runner),
  'a step of github': (env, streams, runner) => createStepHost(env, runner, streams),
}

/** Everything that a host has printed and written. */
async function produce(start: Start, settings: Partial<Settings>, poison: string): Promise<Record<string, string>> {
  return inFolder(async (folder) => {
    const streams = recordStreams()
    const [output, summary, artifacts] = ['output', 'summary', 'artifacts'].map((name) => join(folder, name))
    for (const file of [output, summary, artifacts]) writeFileSync(file ?? '', '')
    const results = ['DIGEST', 'IMAGES', 'PROMOTED', 'REPORT'].map((name) => [
      `IMAGE_PROMOTE_RESULT_${name}`,
      join(folder, name),
    ])
    const files = { GITHUB_OUTPUT: output, GITHUB_STEP_SUMMARY: summary, GITHUB_ARTIFACTS: artifacts }
    const env = { ...files, ...Object.fromEntries(results), IMAGE_PROMOTE_REPORT_DIR: folder }
    const { runner, printed } = recordRunner()
    const host = start(env, streams, runner)
    host.secrets.keep(SECRET)
    host.begin({ ...SETTINGS, logLevel: 'debug', report: join(folder, 'mine.json'), ...settings })
    for (const level of ['debug', 'info', 'warn', 'error'] as const) host.log[level](`a${poison}`)
    for (const event of events) host.event(poisoned(event, poison))
    await host.keep?.(poisoned(report, poison))
    await host.publish(poisoned(report, poison))
    host.end?.()
    const texts = readdirSync(folder).map((name) => [`file ${name}`, readFileSync(join(folder, name), 'utf8')])
    const log = `${streams.stderr()}${printed()}`.replace(/^::add-mask::.*\n/gm, '')
    return { ...Object.fromEntries(texts), stdout: streams.stdout(), log }
  })
}

/** What `@actions/core` makes of it: line ends of commands are encoded, those of `info` are not. */
function recordRunner() {
  const lines: string[] = []
  const say = (text: unknown) => void lines.push(String(text))
  const silent = () => undefined
  const runner: Runner = {
    setSecret: silent,
    info: say,
    debug: say,
    warning: say,
    error: (text, properties) => say(`${properties?.title ?? ''} ${text}`),
    setOutput: silent,
    startGroup: say,
    endGroup: silent,
    getIDToken: async () => '',
  }
  return { runner, printed: () => `${lines.join('\n')}\n` }
}

const MODES: readonly Partial<Settings>[] = [
  { progress: 'plain' },
  { progress: 'quiet' },
  { progress: 'json', output: 'json' },
]

describe.each(Object.entries(HOSTS))('%s', (_, start) => {
  test.each(MODES)('shows no secret in %j', async (settings) => {
    for (const poison of [SECRET, `\u001b[1m${SECRET.slice(0, 9)}\u200b${SECRET.slice(9)}`, `x${SECRET.slice(0, -1)}…`])
      expect(leaks(await produce(start, settings, ` ${poison}`), [SECRET])).toEqual([])
  })

  test.each(MODES)('prints no control character in %j', async (settings) => {
    const all = await produce(start, settings, '\u001b[31m\u0000\r\u0085\u202e\u2066\u200b\u009b2J\u001b]0;title\u0007')
    for (const text of Object.values(all)) expect(text).not.toMatch(/(?![\t\n])[\p{Cc}\p{Cf}]/u)
  })

  test.each(MODES)('prints no command of a CI system in %j', async (settings) => {
    const commands = ['::error::x', '##[error]x', '##vso[task.complete]', "##teamcity[a 'b']", 'section_start:1:x']
    for (const before of ['\n', '\r', '\r\n', '\n \u200b', '\u2028', '\n\u00a0', '\u001b[0m\n', '\n\ufeff']) {
      const { log = '', stdout = '' } = await produce(start, settings, commands.map((each) => before + each).join(''))
      for (const line of `${log}${stdout}`.replace(/\p{Default_Ignorable_Code_Point}/gu, '').split('\n')) {
        expect(line).not.toMatch(/^\s*::error::x(?!%0A|\n)/)
        expect(line).not.toMatch(/##(?:vso|teamcity)?\[|section_start:\d/i)
      }
    }
  })
})
