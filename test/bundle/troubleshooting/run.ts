import type { Context, Log } from '../../../src/core/context.ts'
import { asPromoteError, type Code, PromoteError } from '../../../src/core/errors.ts'
import { readInput } from '../../../src/core/files.ts'
import { Secrets } from '../../../src/core/secret.ts'
import type { Host } from '../../../src/host/host.ts'
import { collect } from '../../../src/inputs/collect.ts'
import type { Config } from '../../../src/inputs/config.ts'
import { parse } from '../../../src/inputs/parse.ts'
import { promote } from '../../../src/promote.ts'
import type { Event, Report, Row } from '../../../src/report/model.ts'
import { watched } from '../../support/watch.ts'
import { variables } from '../sides.ts'

/** One promotion in this process, from the options to the report, at a host that keeps what it is told and never waits. */

export type Variables = Readonly<Record<string, string>>

export type Told = Readonly<{ code: Code; side: string | null; message: string; hint: string | null }>

export type Outcome = Readonly<{
  report: Report | undefined
  rows: readonly Row[]
  /** What ended the run, or the first image that failed. */
  error: Told | undefined
  events: readonly Event[]
  log: readonly Readonly<{ level: keyof Log; line: string }>[]
  warnings: readonly string[]
  /** Milliseconds that would have been waited. */
  slept: readonly number[]
}>

export type RunOptions = Readonly<{
  /** Beside the options: proxies, HOME, … */
  env?: Variables
  kind?: Host['kind']
  oidcToken?: (audience: string) => Promise<string>
  config?: (config: Config) => Config
  signal?: AbortSignal
  sleep?: (milliseconds: number) => Promise<void>
}>

export async function run(given: Variables, options: RunOptions = {}): Promise<Outcome> {
  const { kind = 'plain', env = {}, signal = new AbortController().signal } = options
  const events: Event[] = []
  const log: { level: keyof Log; line: string }[] = []
  const slept: number[] = []
  const host = recordingHost(kind, options.oidcToken, events, log)
  const context: Context = {
    log: host.log,
    secrets: host.secrets,
    signal,
    env,
    now: Date.now,
    random: () => 0.5,
    sleep: async (milliseconds) => {
      slept.push(milliseconds)
      await options.sleep?.(milliseconds)
      if (signal.aborted) throw new PromoteError('CANCELLED', 'stopped while waiting')
    },
  }
  const outcome = { events, log, slept }
  const watching = watched(promote)
  try {
    const collected = collect([], { ...env, ...variables(given) }, readInput)
    const config = parse(collected, host, host.secrets, readInput)
    const report = await watching.promote(options.config?.(config) ?? config, host, context)
    const error = report.images.find((row) => row.error !== null)?.error ?? undefined
    return { ...outcome, report, rows: report.images, error, warnings: warningsOf(log) }
  } catch (thrown) {
    return { ...outcome, report: undefined, rows: [], error: told(thrown), warnings: warningsOf(log) }
  } finally {
    watching.verify()
  }
}

export function told(thrown: unknown): Told {
  const { code, side = null, message, hint = null } = asPromoteError(thrown)
  return { code, side, message, hint }
}

function recordingHost(
  kind: Host['kind'],
  oidcToken: RunOptions['oidcToken'],
  events: Event[],
  log: { level: keyof Log; line: string }[],
): Host {
  const secrets = new Secrets()
  const say = (level: keyof Log) => (line: string) => void log.push({ level, line })
  return {
    kind,
    log: { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') },
    secrets,
    spell: (option) => `--${option}`,
    inputs: () => ({ env: {}, problems: [] }),
    begin: () => undefined,
    ...(oidcToken === undefined ? {} : { oidcToken }),
    event: (event) => void events.push(event),
    publish: async () => undefined,
  }
}

function warningsOf(log: readonly Readonly<{ level: keyof Log; line: string }>[]): string[] {
  return log.filter(({ level }) => level === 'warn').map(({ line }) => line)
}
