import { join } from 'node:path'
import { reasonOf } from '../core/errors.ts'
import { isFile, listFiles, readInput } from '../core/files.ts'
import type { Env } from '../inputs/collect.ts'
import { variableName } from '../inputs/options.ts'
import type { Host } from './host.ts'

/** Files of an auth workspace that hold the value of the option of the same name. */
const VALUES = ['username', 'password', 'token']
/** Files whose path is an option's value; of the docker ones the first that is there. */
const PATHS: readonly (readonly [files: readonly string[], option: string])[] = [
  [['kubeconfig'], 'kubeconfig'],
  [['.dockerconfigjson', 'config.json', 'auth.json', '.dockercfg'], 'auth-file'],
]

/** Options from the Task's workspaces, as variables. A param beats its file. A workspace that is not bound has no path. */
export function workspaceInputs(env: Env): ReturnType<Host['inputs']> {
  const found: Record<string, string> = {}
  const problems: string[] = []
  const report = reportIn(env)
  if (report !== undefined) offer(env, found, 'report', '', report)
  const certificates = certificatesIn(env.IMAGE_PROMOTE_CA_DIR ?? '', problems)
  // The entries of a list name their files themselves, in whatever workspace they are.
  const isList = ['', '_FILE'].some((suffix) => (env[`IMAGE_PROMOTE_DESTINATIONS${suffix}`] ?? '') !== '')
  for (const side of isList ? ['source'] : ['source', 'destination']) {
    const folder = env[`IMAGE_PROMOTE_${side.toUpperCase()}_AUTH_DIR`] ?? ''
    const own = folder === '' ? [] : filesOf(folder, `${side}-auth`, problems)
    for (const file of VALUES) if (own.includes(file)) offer(env, found, `${side}-${file}`, '_FILE', join(folder, file))
    for (const [files, option] of PATHS) {
      const file = files.find((name) => own.includes(name))
      if (file !== undefined) offer(env, found, `${side}-${option}`, '', join(folder, file))
    }
    const trusted = own.includes('ca.crt') ? [read(join(folder, 'ca.crt'), problems), ...certificates] : certificates
    if (trusted.length > 0) offer(env, found, `${side}-ca`, '', trusted.join('\n'))
  }
  return { env: { ...env, ...found }, problems }
}

/** The report that is written where no other is asked for. A rollback leaves the one that it reads as it is. */
export function reportIn(env: Env): string | undefined {
  const folder = env.IMAGE_PROMOTE_REPORT_DIR ?? ''
  const isRollback = ['', '_FILE'].some((suffix) => (env[`IMAGE_PROMOTE_ROLLBACK${suffix}`] ?? '') !== '')
  return folder === '' ? undefined : join(folder, isRollback ? 'rollback.json' : 'report.json')
}

function offer(env: Env, found: Record<string, string>, option: string, suffix: '' | '_FILE', value: string): void {
  const variable = `IMAGE_PROMOTE_${variableName(option)}`
  const isSet = (name: string) => (env[name] ?? '') !== ''
  if (!isSet(variable) && !isSet(`${variable}_FILE`)) found[`${variable}${suffix}`] = value
}

/** Every file of the ca workspace that has PEM in it, for both sides. */
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
  return attempt(`workspace ${workspace}: ${folder}`, () => listFiles(folder), problems) ?? []
}

function read(path: string, problems: string[]): string {
  return attempt(path, () => (isFile(path) ? readInput(path) : ''), problems) ?? ''
}

function attempt<T>(what: string, call: () => T, problems: string[]): T | undefined {
  try {
    return call()
  } catch (thrown) {
    problems.push(`${what} cannot be read: ${reasonOf(thrown)}`)
    return undefined
  }
}
