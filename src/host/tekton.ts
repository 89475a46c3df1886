import { basename, dirname, join } from 'node:path'
import { reasonOf } from '../core/errors.ts'
import { isFile, listFiles, readInput, writeWhole } from '../core/files.ts'
import { Secrets } from '../core/secret.ts'
import type { Env } from '../inputs/collect.ts'
import { variableName } from '../inputs/options.ts'
import { compactRows, tally } from '../report/make-report.ts'
import type { Report } from '../report/model.ts'
import { renderSummary } from '../report/summary.ts'
import type { OutputStreams } from './cli.ts'
import type { Host } from './host.ts'
import { allOf, createHostLog, prefixed, publishOnlyClean } from './log.ts'

/** The step of the Tekton Task. Results are files; credentials are in folders, the workspaces. */
export function createTektonHost(env: Env, { err }: OutputStreams): Host {
  const secrets = new Secrets()
  const writer = prefixed((text) => err(inWorkspaces(text)), { debug: 'DEBUG: ', warn: 'WARN: ', error: 'ERROR: ' })
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
      // summary.md belongs to report.json in the workspace, and not to a report with another name.
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

/** Secrets have no param, because the value of a param can be read in the TaskRun. Advice to set one names its file instead. */
function inWorkspaces(text: string): string {
  const option = /(?<![\w/.-])(source|destination)-(password|token)(?![\w/:=-])/g
  const signing = /(?<![\w/.-])(sign-key(?:-password)?)(?![\w/:=-])/g
  return text.replace(option, 'file $2 of workspace $1-auth').replace(signing, 'file $1 of workspace sign')
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

/** Writes no line end, because it would be part of the value. */
async function writeResult(env: Env, name: string, value: string): Promise<void> {
  const path = env[`IMAGE_PROMOTE_RESULT_${name.toUpperCase()}`] ?? ''
  if (path !== '') await writeWhole(path, value)
}

/** Files of an auth workspace that hold the value of the option of the same name. */
const VALUE_FILES = ['username', 'password', 'token']
/** Files whose path is the value of an option. Of the docker files, the first that exists counts. */
const PATH_FILES: readonly (readonly [files: readonly string[], option: string])[] = [
  [['kubeconfig'], 'kubeconfig'],
  [['.dockerconfigjson', 'config.json', 'auth.json', '.dockercfg'], 'auth-file'],
]

/** The options in the Task's workspaces, as variables. A param goes before its file. A workspace that is not bound has no path. */
export function workspaceInputs(env: Env): ReturnType<Host['inputs']> {
  const found: Record<string, string> = {}
  const problems: string[] = []
  const report = reportIn(env)
  if (report !== undefined) offer(env, found, 'report', '', report)
  const signing = env.IMAGE_PROMOTE_SIGN_DIR ?? ''
  for (const file of signing === '' ? [] : filesOf(signing, 'sign', problems))
    if (/^sign-key(?:-password)?$/.test(file)) offer(env, found, file, '_FILE', join(signing, file))
  const certificates = certificatesIn(env.IMAGE_PROMOTE_CA_DIR ?? '', problems)
  // The entries of a list of destinations name their files themselves.
  for (const side of has(env, 'DESTINATIONS') ? ['source'] : ['source', 'destination']) {
    const folder = env[`IMAGE_PROMOTE_${side.toUpperCase()}_AUTH_DIR`] ?? ''
    const own = folder === '' ? [] : filesOf(folder, `${side}-auth`, problems)
    for (const file of VALUE_FILES)
      if (own.includes(file)) offer(env, found, `${side}-${file}`, '_FILE', join(folder, file))
    for (const [files, option] of PATH_FILES) {
      const file = files.find((name) => own.includes(name))
      if (file !== undefined) offer(env, found, `${side}-${option}`, '', join(folder, file))
    }
    const trusted = own.includes('ca.crt') ? [read(join(folder, 'ca.crt'), problems), ...certificates] : certificates
    if (trusted.length > 0) offer(env, found, `${side}-ca`, '', trusted.join('\n'))
  }
  return { env: { ...env, ...found }, problems }
}

/** The path of the report if no other is given. A run that reads a report writes another one. */
export function reportIn(env: Env): string | undefined {
  const folder = env.IMAGE_PROMOTE_REPORT_DIR ?? ''
  const name = has(env, 'ROLLBACK') ? 'rollback.json' : has(env, 'PLAN') ? 'applied.json' : 'report.json'
  return folder === '' ? undefined : join(folder, name)
}

function has(env: Env, name: string): boolean {
  return ['', '_FILE'].some((suffix) => (env[`IMAGE_PROMOTE_${name}${suffix}`] ?? '') !== '')
}

function offer(env: Env, found: Record<string, string>, option: string, suffix: '' | '_FILE', value: string): void {
  const name = variableName(option)
  if (!has(env, name)) found[`IMAGE_PROMOTE_${name}${suffix}`] = value
}

/** All PEM files of the ca workspace. They are for both sides. */
function certificatesIn(folder: string, problems: string[]): string[] {
  if (folder === '') return []
  const before = problems.length
  const texts = filesOf(folder, 'ca', problems)
    .map((name) => read(join(folder, name), problems))
    .filter((text) => text.includes('-----BEGIN CERTIFICATE-----'))
  if (texts.length === 0 && problems.length === before)
    problems.push('workspace ca: no file in it is a PEM certificate (-----BEGIN CERTIFICATE-----)')
  return texts
}

function filesOf(folder: string, workspace: string, problems: string[]): string[] {
  return orProblem(`workspace ${workspace}: ${folder}`, () => listFiles(folder), problems) ?? []
}

function read(path: string, problems: string[]): string {
  return orProblem(path, () => (isFile(path) ? readInput(path) : ''), problems) ?? ''
}

function orProblem<T>(what: string, call: () => T, problems: string[]): T | undefined {
  try {
    return call()
  } catch (thrown) {
    problems.push(`${what} cannot be read: ${reasonOf(thrown)}`)
    return undefined
  }
}
