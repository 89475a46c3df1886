import { append } from '../core/files.ts'
import { getOrAdd } from '../core/memo.ts'
import { Secrets } from '../core/secret.ts'
import { cut, neutralise, oneLine } from '../core/text.ts'
import type { Env } from '../inputs/collect.ts'
import { failures, verdict } from '../report/closing-text.ts'
import { compactRows, reportJson, tally } from '../report/make-report.ts'
import type { Event, Report, Row } from '../report/model.ts'
import { renderSummary } from '../report/summary.ts'
import type { OutputStreams } from './cli.ts'
import type { Host } from './host.ts'
import { allOf, cleanData, createHostLog, type HostLog, publishOnlyClean, type Writer } from './log.ts'

export type Runner = Pick<
  typeof import('@actions/core'),
  'setSecret' | 'info' | 'debug' | 'warning' | 'error' | 'setOutput' | 'startGroup' | 'endGroup' | 'getIDToken'
>

/** Loaded on GitHub only: elsewhere its commands would print secrets (`::add-mask::…`). */
export async function loadRunner(): Promise<Runner> {
  return import(/* webpackMode: "eager" */ '@actions/core')
}

/** The runner shows ten annotations of one kind for each step (actions/runner, ExecutionContext.cs). The tenth tells how many are missing. */
const ANNOTATIONS = 9
const LONGEST_ANNOTATION = 4000 // the runner cuts a message at 4096 characters; longer ones are in the log
const LONGEST_IMAGES = 512 * 1024
const LONGEST_DETAILS = 300 // lines for each image, which are kept in memory until the image is done

export function createGithubHost(env: Env, runner: Runner): Host & Pick<HostLog, 'settings'> {
  const secrets = new Secrets((value) => runner.setSecret(value))
  const annotate = createAnnotator(runner)
  const writer: Writer = {
    // The runner shows debug commands only in a debugging run. With `log-level: debug` alone, lines are printed.
    debug: (text) => (env.RUNNER_DEBUG === '1' ? runner.debug(text) : runner.info(`debug: ${text}`)),
    info: (text) => runner.info(text),
    warn: (text) => runner.warning(text),
    error: (text) => annotate(text),
  }
  const hostLog = createHostLog(writer, secrets, false)
  const details = createDetails(runner)
  return publishOnlyClean({
    ...hostLog,
    kind: 'github',
    spell: (option) => `input "${option}"`,
    inputs: () => ({ env, problems: [] }),
    oidcToken: (audience) => runner.getIDToken(audience),
    event(event) {
      const { progress } = hostLog.settings()
      if (progress === 'plain') details(event)
      // Failures are printed as annotations when the report is published, so they are left out here.
      if (event.event === 'done' && progress !== 'json') {
        hostLog.end()
        if (progress === 'plain') hostLog.log.info(verdict(event.report))
      } else hostLog.event(event)
    },
    async publish(report) {
      for (const { error, rows } of failures(report.images))
        for (const row of error.code === 'CANCELLED' ? rows.slice(0, 1) : rows)
          annotate(failure(row, error), row.destination)
      annotate.rest()
      await publishTo(report, env, runner, hostLog)
    },
  })
}

/**
 * A step with `run:`: a command line with GitHub's log, outputs and summary. Commands for the runner go to stderr, which it
 * reads too. So stdout has only the report of `--output json`, and never a secret in a command.
 */
export function createStepHost(env: Env, runner: Runner, { out, err }: OutputStreams): Host {
  const outputs = (env.GITHUB_OUTPUT ?? '') === '' ? { setOutput: () => undefined } : {}
  const host = createGithubHost(env, { ...runner, ...commandsOn(err), ...outputs })
  return {
    ...host,
    commandLine: true,
    spell: (option) => `--${option}`,
    async publish(report) {
      const json = host.settings().output === 'json' ? reportJson(cleanData(report, host.secrets)) : ''
      await allOf([() => out(json), () => host.publish(report)])
    },
  }
}

/** Workflow commands as `@actions/core` writes them to stdout. */
function commandsOn(print: (text: string) => void): Omit<Runner, 'setOutput' | 'getIDToken'> {
  const encode = (text: string, characters: RegExp) =>
    text.replace(characters, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
  const command = (name: string, text: string | Error, title?: string) => {
    const property = title === undefined ? '' : ` title=${encode(title, /[%\r\n:,]/g)}`
    print(`::${name}${property}::${encode(String(text), /[%\r\n]/g)}\n`)
  }
  return {
    setSecret: (value) => command('add-mask', value),
    info: (text) => print(`${text}\n`),
    debug: (text) => command('debug', text),
    warning: (text) => command('warning', text),
    error: (text, properties) => command('error', text, properties?.title),
    startGroup: (name) => command('group', name),
    endGroup: () => command('endgroup', ''),
  }
}

function createAnnotator(runner: Runner): ((text: string, title?: string) => void) & { rest(): void } {
  let count = 0
  const annotate = (text: string, name?: string): void => {
    count += 1
    const message = neutralise(text)
    const title = name === undefined ? {} : { title: neutralise(name) }
    if (count > ANNOTATIONS) runner.info(neutralise(`Error: ${name === undefined ? '' : `${name}: `}${text}`))
    else if (message.length <= LONGEST_ANNOTATION) runner.error(message, title)
    else {
      runner.info(message)
      runner.error(`${cut(message, LONGEST_ANNOTATION)} (the log has the rest)`, title)
    }
  }
  return Object.assign(annotate, {
    rest: () => {
      if (count > ANNOTATIONS) runner.error(`and ${count - ANNOTATIONS} more: see the log, the summary or the report`)
    },
  })
}

function failure({ status }: Row, { code, side, message, hint }: NonNullable<Row['error']>): string {
  const text = `${status}: ${message} [${code}${side === null ? '' : `, ${side}`}]`
  return hint === null ? text : `${text}\n${hint}`
}

/** The steps of each image in a group of the log. It is printed when the image is done, because groups of parallel images cannot interleave. */
function createDetails(runner: Runner): (event: Event) => void {
  const lines = new Map<number, string[]>()
  return (event) => {
    if (event.event === 'step') {
      const known = getOrAdd(lines, event.image, () => [])
      const { do: deed, kind, digest, size, why } = event
      if (known.length < LONGEST_DETAILS) known.push(`${deed} ${kind} ${digest} (${size} bytes): ${why}`)
      else if (known.length === LONGEST_DETAILS) known.push('… and more')
    }
    if (event.event !== 'image') return
    const known = lines.get(event.image)
    lines.delete(event.image)
    if (known === undefined) return
    runner.startGroup(neutralise(oneLine(`Details of ${event.row.destination}`)))
    for (const line of known) runner.info(neutralise(oneLine(line)))
    runner.endGroup()
  }
}

/** A failure to write the runner's files is one warning; a failure to write the report is an error. */
async function publishTo(report: Report, env: Env, runner: Runner, hostLog: HostLog): Promise<void> {
  const { GITHUB_STEP_SUMMARY: summary = '', GITHUB_ARTIFACTS: artifacts = '' } = env
  const { report: path = '', summary: wanted } = hostLog.settings()
  const subjects = artifactLines(report)
  const lost: string[] = []
  const unlessLost = async (what: string, write: () => void | Promise<void>): Promise<void> => {
    try {
      await write()
    } catch (thrown) {
      lost.push(`${what} (${(thrown as Error).message})`)
    }
  }
  const writeOutputs = () => {
    const fits = (text: string) => Buffer.byteLength(text) <= LONGEST_IMAGES
    runner.setOutput('digest', report.images[0]?.digest ?? '')
    runner.setOutput('images', compactRows(report.images, fits).text)
    runner.setOutput('promoted', String(tally(report.images).promoted))
    runner.setOutput('report', path)
  }
  await unlessLost('outputs', writeOutputs)
  if (summary !== '' && wanted) await unlessLost('summary', () => append(summary, `${renderSummary(report)}\n`))
  if (artifacts !== '' && subjects.length > 0)
    await unlessLost('artifacts', () => append(artifacts, `${subjects.join('\n')}\n`))
  if (lost.length > 0) runner.warning(neutralise(oneLine(`Not written for GitHub: ${lost.join('; ')}`)))
  await hostLog.keep(report)
}

const SUBJECTS = 500 // the runner takes 500 subjects per job (actions/runner, CreateArtifactsFileCommand.cs)

/** Subjects for `actions/attest`: each image that is at the destination now, once, by its digest. */
function artifactLines({ images }: Report): string[] {
  const subjects = images.flatMap(({ status, digest, destination, tag }) => {
    const arrived = (status === 'promoted' || status === 'unchanged') && digest?.startsWith('sha256:')
    const name = destination.endsWith(`:${tag}`) ? destination.slice(0, -tag.length - 1) : destination
    return arrived ? [`oci://${name}@${digest}`] : []
  })
  return [...new Set(subjects)].slice(0, SUBJECTS)
}
