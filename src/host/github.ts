import type { Env } from '../inputs/collect.ts'
import type { Event, Report, Row } from '../report/model.ts'
import { reportJson, tally } from '../report/report.ts'
import { renderSummary } from '../report/summary.ts'
import { failures, verdict } from '../report/text.ts'
import { Secrets } from '../secret.ts'
import { append, writeWhole } from './files.ts'
import type { Host, Settings } from './host.ts'
import { allOf, cleanReport, cleanText, neutralise } from './lines.ts'
import { compactRows } from './rows.ts'
import { createVoice, type Writer } from './voice.ts'

/** What is used of `@actions/core`; tests record the calls. */
export type Runner = Pick<
  typeof import('@actions/core'),
  'setSecret' | 'info' | 'debug' | 'warning' | 'error' | 'setOutput' | 'startGroup' | 'endGroup' | 'getIDToken'
>

/** Loaded only where its commands are understood: elsewhere it would print secrets (`::add-mask::…`). */
export async function loadRunner(): Promise<Runner> {
  return import(/* webpackMode: "eager" */ '@actions/core')
}

/** The runner shows ten annotations of a kind per step (actions/runner, ExecutionContext.cs); the last one counts the rest. */
const ANNOTATIONS = 9
/** The runner cuts a message at 4096 characters; before that the log alone has it all. */
const LONGEST_ANNOTATION = 4000
/** Outputs of a job may have 1 MiB in all. */
const LONGEST_IMAGES = 512 * 1024
/** Folded lines per image: more help nobody, and are held in memory until the image is done. */
const LONGEST_DETAILS = 300

export function createGithubHost(env: Env, runner: Runner): Host {
  const secrets = new Secrets((value) => runner.setSecret(value))
  const annotate = createAnnotator(runner)
  const voice = createVoice(writerFor(env, runner, annotate), secrets, false)
  const details = createDetails(runner, (text) => neutralise(cleanText(text, secrets)))
  let settings: Settings | undefined
  return {
    kind: 'github',
    log: voice.log,
    secrets,
    mask: (value) => void secrets.keep(value),
    spell: (option) => `input "${option}"`,
    inputs: () => ({ env, problems: [] }),
    begin(next) {
      settings = next
      voice.begin(next)
    },
    oidcToken: (audience) => runner.getIDToken(audience),
    event(event) {
      if (settings?.progress === 'plain') details(event)
      // The failures of the end are annotations, and would stand in the log twice.
      if (event.event === 'done' && settings?.progress !== 'json') {
        voice.end()
        if (settings?.progress === 'plain') voice.log.info(verdict(event.report))
      } else voice.event(event)
    },
    end: voice.end,
    keep: async (report) => {
      if (settings?.report !== undefined) await writeWhole(settings.report, reportJson(cleanReport(report, secrets)))
    },
    async publish(report) {
      const clean = cleanReport(report, secrets)
      for (const { error, rows } of failures(clean.images))
        for (const row of rows) annotate(failure(row, error), row.destination)
      annotate.rest()
      await publishTo(clean, env, runner, settings)
    },
  }
}

function writerFor(env: Env, runner: Runner, annotate: Annotator): Writer {
  return {
    // Debug commands are shown only when the run was started for debugging; `log-level: debug` alone prints lines.
    debug: (text) =>
      env.RUNNER_DEBUG === '1' ? runner.debug(neutralise(text)) : runner.info(neutralise(`debug: ${text}`)),
    info: (text) => runner.info(neutralise(text)),
    warn: (text) => runner.warning(neutralise(text)),
    error: (text) => annotate(text),
  }
}

type Annotator = ((text: string, title?: string) => void) & { rest(): void }

function createAnnotator(runner: Runner): Annotator {
  let count = 0
  const annotate = (text: string, title?: string): void => {
    count += 1
    const message = neutralise(text)
    if (count > ANNOTATIONS) runner.info(neutralise(`Error: ${title === undefined ? '' : `${title}: `}${text}`))
    else if (message.length <= LONGEST_ANNOTATION) runner.error(message, title === undefined ? {} : { title })
    else {
      runner.info(message)
      runner.error(
        `${message.slice(0, LONGEST_ANNOTATION)}… (the log has the rest)`,
        title === undefined ? {} : { title },
      )
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

/** What was done for an image, folded, as one piece: images run side by side and groups cannot interleave. */
function createDetails(runner: Runner, clean: (text: string) => string): (event: Event) => void {
  const lines = new Map<number, string[]>()
  return (event) => {
    if (event.event === 'step') {
      const known = lines.get(event.image) ?? []
      lines.set(event.image, known)
      const { do: deed, kind, digest, size, why } = event
      if (known.length < LONGEST_DETAILS) known.push(`${deed} ${kind} ${digest} (${size} bytes): ${why}`)
      else if (known.length === LONGEST_DETAILS) known.push('… and more')
    }
    if (event.event !== 'image') return
    const known = lines.get(event.image)
    lines.delete(event.image)
    if (known === undefined) return
    runner.startGroup(clean(`Details of ${event.row.destination}`))
    for (const line of known) runner.info(clean(line))
    runner.endGroup()
  }
}

async function publishTo(report: Report, env: Env, runner: Runner, settings: Settings | undefined): Promise<void> {
  const { GITHUB_STEP_SUMMARY: summary = '', GITHUB_ARTIFACTS: artifacts = '' } = env
  const path = settings?.report
  const subjects = artifactLines(report)
  await allOf([
    () => runner.setOutput('digest', report.images[0]?.digest ?? ''),
    () =>
      runner.setOutput('images', compactRows(report.images, (text) => Buffer.byteLength(text) <= LONGEST_IMAGES).text),
    () => runner.setOutput('promoted', String(tally(report.images).promoted)),
    () => runner.setOutput('report', path ?? ''),
    () => (path === undefined ? undefined : writeWhole(path, reportJson(report))),
    () => (summary === '' || settings?.summary === false ? undefined : append(summary, `${renderSummary(report)}\n`)),
    () => (artifacts === '' || subjects.length === 0 ? undefined : append(artifacts, `${subjects.join('\n')}\n`)),
  ])
}

/** The runner takes 500 subjects per job (actions/runner, CreateArtifactsFileCommand.cs). */
const SUBJECTS = 500

/** Subjects for `actions/attest`: what is at the destination now, by digest, each once. */
function artifactLines({ images }: Report): string[] {
  const subjects = images.flatMap(({ status, digest, destination, tag }) => {
    const arrived = (status === 'promoted' || status === 'unchanged') && digest?.startsWith('sha256:')
    const name = destination.endsWith(`:${tag}`) ? destination.slice(0, -tag.length - 1) : destination
    return arrived ? [`oci://${name}@${digest}`] : []
  })
  return [...new Set(subjects)].slice(0, SUBJECTS)
}
