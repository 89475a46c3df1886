import type { PromoteError } from '../core/errors.ts'
import { writeWhole } from '../core/files.ts'
import type { Secrets } from '../core/secret.ts'
import { neutralise, neutraliseJson, oneLine, visible } from '../core/text.ts'
import { planDigest, reportJson } from '../report/make-report.ts'
import { createProgress, type Progress } from '../report/progress.ts'
import type { Host, Settings } from './host.ts'
import type { Terminal } from './terminal.ts'

export type Writer = Readonly<Record<'debug' | 'info' | 'warn' | 'error', (text: string) => void>>

/** What all hosts share: the log, the progress and the report file, as the options say. */
export type HostLog = Required<Pick<Host, 'log' | 'secrets' | 'begin' | 'event' | 'end' | 'keep'>> &
  Readonly<{ settings(): Settings }>

/** Milliseconds between checks for a due heartbeat, and between redraws of a terminal. */
const TICK = { plain: 1000, live: 150 } as const

/**
 * Prints by the option `progress`. `plain`: everything, as text. `quiet`: errors only. `json`: every line is an object; a line of
 * the log is `{"event":"log","level","message"}`, so that a reader needs one parser.
 * @param terminal with `plain`: shows running images below the log, instead of heartbeats.
 * @param errorsAsJson false: errors have the host's own format even with `json` (GitHub's annotations).
 */
export function createHostLog(writer: Writer, secrets: Secrets, errorsAsJson: boolean, terminal?: Terminal): HostLog {
  // On every host, because CI systems look for commands in the output of any program.
  const write = forLevels((level, text) => writer[level](neutralise(text)))
  let settings = { progress: 'plain', logLevel: 'info' } as Settings
  let progress = progressOf('plain', write, terminal)
  let timer: NodeJS.Timeout | undefined

  function end(): void {
    clearInterval(timer)
    terminal?.clear()
  }

  function say(level: keyof Writer, line: string): void {
    if (level === 'debug' && settings.logLevel !== 'debug') return
    const message = cleanText(line, secrets)
    const asIs =
      settings.progress === 'plain' || (level === 'error' && (settings.progress === 'quiet' || !errorsAsJson))
    if (asIs) write[level](message)
    else if (settings.progress === 'json') write.info(neutraliseJson(JSON.stringify({ event: 'log', level, message })))
  }

  return {
    settings: () => settings,
    secrets,
    log: forLevels(say),
    event: (event) => {
      if (event.event === 'done') end()
      progress.event(event)
    },
    begin: (next) => {
      settings = next
      progress = progressOf(next.progress, write, terminal)
      clearInterval(timer)
      if (next.progress === 'plain') timer = startTicking(progress, terminal)
    },
    end,
    keep: async (report) => {
      if (settings.report === undefined) return
      await writeWhole(settings.report, reportJson(report))
      if (report.dryRun && report.plans) say('info', `Plan: ${settings.report} (${planDigest(report)})`)
    },
  }
}

/** With `quiet`, errors are the only progress that is printed. */
function progressOf(mode: Settings['progress'], write: Writer, terminal: Terminal | undefined): Progress {
  const options = { mode, now: Date.now, live: terminal !== undefined }
  return createProgress(write[mode === 'quiet' ? 'error' : 'info'], options)
}

function startTicking(progress: Progress, terminal: Terminal | undefined): NodeJS.Timeout {
  const timer =
    terminal === undefined
      ? setInterval(() => progress.beat(), TICK.plain)
      : setInterval(() => terminal.show(progress.lines(terminal.columns())), TICK.live)
  // The timer must not keep the process alive after the run.
  return timer.unref()
}

/** For hosts whose log is a stream: a prefix for each level, before the first line of a text. */
export function prefixed(
  print: (text: string) => void,
  prefixes: Readonly<Partial<Record<keyof Writer, string>>>,
): Writer {
  return forLevels((level, text) => print(`${prefixes[level] ?? ''}${text}\n`))
}

function forLevels(write: (level: keyof Writer, text: string) => void): Writer {
  const at = (level: keyof Writer) => (text: string) => write(level, text)
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** Text that is safe to print. Control characters are removed first, so that they cannot split a secret. */
export function cleanText(text: string, secrets: Secrets): string {
  return secrets.redact(visible(text))
}

/** `LOGIN_REJECTED (source): message`, and what to do next in a line of its own. */
export function describeError({ code, side, message, hint }: PromoteError): string {
  const where = side === undefined || side === 'input' ? '' : ` (${side})`
  const text = code === 'USAGE' ? message : `${code}${where}: ${message}`
  return hint === undefined ? text : `${text}\n  ${hint}`
}

/** Members that programs compare: names, digests, fixed words. Short secrets are not hidden in them, because they occur there by chance. */
const EXACT: ReadonlySet<string> = new Set(
  'schema started finished event status do kind code side source sourceDigest destination target tag digest previousDigest subject from to'.split(
    ' ',
  ),
)

/** The data without secrets and control characters. @param wording changes sentences, but no name or digest. */
export function cleanData<T>(data: T, secrets: Secrets, wording = (text: string) => text): T {
  return JSON.parse(JSON.stringify(data), (key, value) => {
    if (typeof value !== 'string') return value
    return EXACT.has(key) ? secrets.redactName(oneLine(value)) : wording(cleanText(value, secrets))
  })
}

/** The host, which publishes only what `cleanData` returns. */
export function publishOnlyClean<T extends Host & Required<Pick<Host, 'keep'>>>(
  host: T,
  wording?: (text: string) => string,
): T {
  const clean = <T>(data: T) => cleanData(data, host.secrets, wording)
  return {
    ...host,
    event: (event) => host.event(event.event === 'bytes' ? event : clean(event)),
    publish: (report) => host.publish(clean(report)),
    keep: (report) => host.keep(clean(report)),
  }
}

export async function allOf(tasks: readonly (() => void | Promise<void>)[]): Promise<void> {
  const ended = await Promise.allSettled(tasks.map(async (task) => task()))
  for (const each of ended) if (each.status === 'rejected') throw each.reason
}
