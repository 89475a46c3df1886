import { basename, dirname, join } from 'node:path'
import { writeWhole } from '../core/files.ts'
import { Secrets } from '../core/secret.ts'
import type { Env } from '../inputs/collect.ts'
import { compactRows, tally } from '../report/make-report.ts'
import type { Report } from '../report/model.ts'
import { renderSummary } from '../report/summary.ts'
import type { Streams } from './cli.ts'
import type { Host } from './host.ts'
import { allOf, createHostLog, prefixed, publishOnlyClean } from './log.ts'
import { reportIn, workspaceInputs } from './workspaces.ts'

/** The step of the Tekton Task: results are files, folders of credentials are workspaces. */
export function createTektonHost(env: Env, { err }: Streams): Host {
  const secrets = new Secrets()
  const writer = prefixed((text) => err(inWorkspaces(text)), {
    debug: 'DEBUG: ',
    info: '',
    warn: 'WARN: ',
    error: 'ERROR: ',
  })
  const hostLog = createHostLog(writer, secrets, true)
  const host: Host & Required<Pick<Host, 'keep'>> = {
    ...hostLog,
    kind: 'tekton',
    spell: (option) => (inWorkspaces(option) === option ? `param ${option}` : inWorkspaces(option)),
    inputs: () => workspaceInputs(env),
    async publish(report) {
      const { report: path = '', summary, resultsLimit } = hostLog.settings()
      const results = fitResults(report, path, resultsLimit)
      if (results.warning !== undefined) hostLog.log.warn(results.warning)
      // It says what report.json of the workspace says, and nothing of a report with another name.
      const hasSummary = summary && basename(path) === 'report.json' && path === reportIn(env)
      await allOf([
        ...Object.entries(results.values).map((result) => () => writeResult(env, ...result)),
        () => hostLog.keep(report),
        () => (hasSummary ? writeWhole(join(dirname(path), 'summary.md'), `${renderSummary(report)}\n`) : undefined),
      ])
    },
  }
  return publishOnlyClean(host, inWorkspaces)
}

/** Secrets have no param, because a param's value is readable in the TaskRun: advice to set one means a file. */
function inWorkspaces(text: string): string {
  const option = /(?<![\w/.-])(source|destination)-(password|token)(?![\w/:=-])/g
  return text.replace(option, 'file $2 of workspace $1-auth')
}

/**
 * All results are in the step's termination message. The kubelet gives the containers of a pod 12,288 bytes together, init
 * containers included, and cuts what is longer (kubernetes/kubernetes pkg/kubelet/container, MaxPodTerminationMessageLogLength).
 * Tekton's own entries take up to 136 bytes, so that 1,400 bytes are safe in a pod of eight containers.
 */
function fitResults(report: Report, path: string, limit: number) {
  const counts = tally(report.images)
  const values = { digest: report.images[0]?.digest ?? '', images: '', promoted: String(counts.promoted), report: '' }
  if (messageBytes({ ...values, report: path }) <= limit) values.report = path
  const fits = (images: string) => messageBytes({ ...values, images }) <= limit
  const rows = compactRows(report.images, fits)
  const isWhole = rows.kept === report.images.length
  const occurred = Object.entries(counts).filter(([, count]) => count > 0)
  const images = isWhole ? rows.text : JSON.stringify(Object.fromEntries(occurred))
  const has = isWhole ? 'has only the main members of each row' : 'has only the number of rows by status'
  const warning = `The result images ${has}: there is no room for more. The report has everything; see the param results-limit.`
  return { values: { ...values, images: fits(images) ? images : '' }, ...(rows.compact ? { warning } : {}) }
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
