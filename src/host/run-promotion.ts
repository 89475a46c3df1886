import './no-generated-code.ts'
import { setTimeout as wait } from 'node:timers/promises'
import type { Context } from '../core/context.ts'
import { EXIT, PromoteError } from '../core/errors.ts'
import { checkWritable, isSameFile, readInput } from '../core/files.ts'
import { VERSION } from '../core/version.ts'
import { collect, type Env, isAction } from '../inputs/collect.ts'
import type { Config } from '../inputs/config.ts'
import type { HostKind } from '../inputs/options.ts'
import { parse, usage } from '../inputs/parse.ts'
import type { Report } from '../report/model.ts'
import { createCliHost, type OutputStreams } from './cli.ts'
import { continueEarlier } from './earlier-tries.ts'
import { createGithubHost, createStepHost, loadRunner } from './github.ts'
import type { Host } from './host.ts'
import { cleanText, describeError } from './log.ts'
import { createTektonHost } from './tekton.ts'

export type Promote = (config: Config, host: Host, context: Context) => Promise<Report>

export type Invocation = Readonly<{
  argv: readonly string[] // arguments after the script's name
  env: Env
  streams: OutputStreams
  signal: AbortSignal // aborted with the name of a signal, or with an uncaught error
  /** Loaded only when there is something to promote. */
  loadPromote: () => Promise<Promote>
}>

export async function run(invocation: Invocation): Promise<number> {
  const { argv, env, streams, signal } = invocation
  const host = await chooseHost(argv, env, streams)
  let config: Config | undefined
  try {
    config = readConfig(argv, host)
    return await promoteAndPublish(config, host, invocation)
  } catch (thrown) {
    return reportFailure(thrown, host, config?.logLevel === 'debug' || env.RUNNER_DEBUG === '1', signal)
  }
}

/** Forgejo and Gitea set GITHUB_ACTIONS too. The Tekton Task sets the paths of its results. */
export function hostKind(env: Env): HostKind {
  if (env.GITHUB_ACTIONS === 'true') return 'github'
  return Object.keys(env).some((name) => name.startsWith('IMAGE_PROMOTE_RESULT_')) ? 'tekton' : 'plain'
}

export async function chooseHost(argv: readonly string[], env: Env, streams: OutputStreams): Promise<Host> {
  const kind = hostKind(env)
  if (kind === 'github' && isAction(argv, env)) return createGithubHost(env, await loadRunner())
  if (kind === 'github') return createStepHost(env, await loadRunner(), streams)
  return kind === 'tekton' ? createTektonHost(env, streams) : createCliHost(env, streams)
}

function readConfig(argv: readonly string[], host: Host): Config {
  const { env, problems } = host.inputs()
  const collected = collect(argv, env, readInput)
  const given = parse({ ...collected, problems: [...problems, ...collected.problems] }, host, host.secrets, readInput)
  const { report, reads, plan } = given
  const isSame = report !== undefined && reads !== undefined && isSameFile(report, reads)
  const reason = `${host.spell('report')}: is the file of ${host.spell('plan')}, which stays as it is: name another`
  if (isSame && plan !== undefined) throw usage([reason], host.secrets)
  const config = isSame ? { ...given, report: undefined } : given
  host.begin(config)
  // The rollback may have to be repeated with the same report.
  if (isSame) host.log.warn(`${host.spell('report')} is the report that the rollback reads: it stays as it is`)
  for (const warning of collected.warnings ?? []) host.log.warn(warning)
  if (collected.suggestion) host.log.info(`2 images, each of which keeps its name. ${collected.suggestion}`)
  // Where each value comes from. The value itself is never logged.
  for (const [option, { from }] of collected.raw) if (from !== 'default') host.log.debug(`${option} from ${from}`)
  return config
}

async function promoteAndPublish(config: Config, host: Host, invocation: Invocation): Promise<number> {
  const { env, signal, loadPromote } = invocation
  const stopping = () => {
    const name = isSignal(signal.reason) ? signal.reason : 'unexpected error'
    host.log.warn(`${name}: stopping, and logging out; a second signal ends at once`)
  }
  signal.addEventListener('abort', stopping, { once: true })
  try {
    // A rollback needs the report, so a run that cannot write it must not move a tag.
    if (config.report !== undefined) await checkWritable(config.report)
    const promote = await loadPromote()
    const whole = continueEarlier(config, host)
    const result = await promote(whole.config, whole.host, createContext(host, env, signal))
    await whole.host.publish(result)
    if (config.suggestion !== undefined && result.images[1]?.error) host.log.warn(config.suggestion)
    if (signal.aborted && !isSignal(signal.reason)) throw signal.reason
    return exitCode(result, host, signal)
  } finally {
    host.end?.()
    signal.removeEventListener('abort', stopping)
  }
}

function createContext({ log, secrets }: Host, env: Env, signal: AbortSignal): Context {
  return {
    log,
    secrets,
    signal,
    env,
    now: Date.now,
    random: Math.random,
    sleep: (milliseconds) =>
      wait(milliseconds, undefined, { signal }).catch(() => {
        throw new PromoteError('CANCELLED', 'stopped while waiting')
      }),
  }
}

function exitCode({ status }: Report, { kind }: Host, signal: AbortSignal): number {
  if (status === 'cancelled') return cancelledCode(signal)
  if (status === 'partial') return kind === 'github' ? EXIT.failed : EXIT.partial
  return status === 'done' ? EXIT.done : EXIT.failed
}

function cancelledCode({ reason }: AbortSignal): number {
  return reason === 'SIGTERM' ? EXIT.terminated : EXIT.interrupted
}

/** Prints an error that ended the run before there was a report, or while it was published. @returns the exit code. */
function reportFailure(thrown: unknown, host: Host, debug: boolean, signal: AbortSignal): number {
  if (thrown instanceof PromoteError && thrown.code !== 'INTERNAL') {
    host.log.error(describeError(thrown))
    if (thrown.code === 'USAGE') return EXIT.usage
    return thrown.code === 'CANCELLED' && signal.aborted ? cancelledCode(signal) : EXIT.failed
  }
  const error = thrown instanceof Error ? thrown : new Error(String(thrown))
  const line = cleanText(`${error.name}: ${error.message}`, host.secrets).split('\n', 1)[0]
  const where = debug ? `\n${error.stack ?? ''}` : ''
  host.log.error(`INTERNAL: ${line} (a defect of image-promote ${VERSION}; log-level debug shows where)${where}`)
  return EXIT.failed
}

function isSignal(reason: unknown): reason is NodeJS.Signals {
  return reason === 'SIGINT' || reason === 'SIGTERM'
}
