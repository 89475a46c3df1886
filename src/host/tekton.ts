import { join } from 'node:path'
import { writeWhole } from '../core/files.ts'
import { Secrets } from '../core/secret.ts'
import type { Env } from '../inputs/collect.ts'
import { reportJson, tally } from '../report/make-report.ts'
import type { Report } from '../report/model.ts'
import { renderSummary } from '../report/summary.ts'
import type { Streams } from './cli.ts'
import type { Host } from './host.ts'
import { allOf, guarded } from './lines.ts'
import { createVoice, prefixed } from './log.ts'
import { compactRows } from './output-rows.ts'
import { workspaceInputs } from './workspaces.ts'

/**
 * All results of a step share its termination message of 4096 bytes, in which Tekton keeps entries of its own; a longer
 * one fails the TaskRun after the images were promoted (tektoncd/pipeline, pkg/termination/write.go).
 */
const LONGEST_MESSAGE = 3400

/** The step of the Tekton Task: results are files, folders of credentials are workspaces. */
export function createTektonHost(env: Env, { err }: Streams): Host {
  const secrets = new Secrets()
  const writer = prefixed(err, { debug: 'DEBUG: ', info: '', warn: 'WARN: ', error: 'ERROR: ' })
  const voice = createVoice(writer, secrets, true)
  return guarded({
    ...voice,
    kind: 'tekton',
    spell,
    inputs: () => workspaceInputs(env),
    async publish(report) {
      const { report: path, summary } = voice.settings()
      const folder = env.IMAGE_PROMOTE_REPORT_DIR ?? ''
      const inFolder = folder === '' ? undefined : join(folder, 'report.json')
      const results = fitResults(report, path ?? inFolder ?? '')
      if (results.warning !== undefined) voice.log.warn(results.warning)
      await allOf([
        ...Object.entries(results.values).map((result) => () => writeResult(env, ...result)),
        () => voice.keep(report),
        () => (inFolder === undefined || inFolder === path ? undefined : writeWhole(inFolder, reportJson(report))),
        () =>
          folder === '' || !summary ? undefined : writeWhole(join(folder, 'summary.md'), `${renderSummary(report)}\n`),
      ])
    },
  })
}

/** Secrets have no param: a param's value is readable in the TaskRun. */
function spell(option: string): string {
  const [, side, secret] = /^(source|destination)-(password|token)$/.exec(option) ?? []
  return secret === undefined ? `param ${option}` : `file ${secret} of workspace ${side}-auth`
}

function fitResults(report: Report, path: string): Readonly<{ values: Record<string, string>; warning?: string }> {
  const values = {
    digest: report.images[0]?.digest ?? '',
    images: '',
    promoted: String(tally(report.images).promoted),
    report: path,
  }
  const rows = compactRows(report.images, (text) => messageBytes({ ...values, images: text }) <= LONGEST_MESSAGE)
  const missing = report.images.length - rows.kept
  const warning = `result images has ${missing === 0 ? 'the main members of all rows' : `${rows.kept} of ${report.images.length} rows`}: Tekton's results hold no more; the report has everything`
  return { values: { ...values, images: rows.text }, ...(rows.compact ? { warning } : {}) }
}

/** Bytes of `[{"key","value","type"}]` as Go's encoding/json writes it: `<`, `>` and `&` become `\u003c`, … */
function messageBytes(values: Readonly<Record<string, string>>): number {
  const message = JSON.stringify(Object.entries(values).map(([key, value]) => ({ key, value, type: 1 })))
  return Buffer.byteLength(message) + 5 * (message.match(/[<>&\u2028\u2029]/g)?.length ?? 0)
}

/** Without a line end: it would be part of the value. */
async function writeResult(env: Env, name: string, value: string): Promise<void> {
  const path = env[`IMAGE_PROMOTE_RESULT_${name.toUpperCase()}`] ?? ''
  if (path !== '') await writeWhole(path, value)
}
