import { AsyncLocalStorage } from 'node:async_hooks'
import type { ChildProcess } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createDeferred } from '../core/async.ts'
import type { Context } from '../core/context.ts'
import { PromoteError, reasonOf, type Side } from '../core/errors.ts'
import type { Secrets } from '../core/secret.ts'
import { oneLine, visible } from '../core/text.ts'

/** Milliseconds. A helper that takes longer waits for a person. */
const TIME_LIMIT = 60_000
/** Bytes. An answer is a token or a certificate; ECR's longest tokens have 4 KiB. */
const OUTPUT_LIMIT = 1024 * 1024
/** Bytes. Linux allows 128 KiB for an argument or variable (MAX_ARG_STRLEN); beyond that, spawn throws uncaught. */
const VALUE_LIMIT = 120 * 1024
/** The channel on which Node announces each new process (nodejs.org/api/diagnostics_channel.html). */
const SPAWNED = 'child_process'

export type Program = Readonly<{
  /** For messages: `credential helper docker-credential-ecr-login`. */
  what: string
  /** Bare name, looked up in PATH, or a path. */
  command: string
  args: readonly string[]
  /** Sent on stdin, which is closed then. */
  input: string
  /** Added to the environment. */
  env?: Readonly<Record<string, string>>
  side: Side
  /** What to do when it cannot be started. */
  hint: string
  /** Milliseconds. */
  timeLimit?: number | undefined
}>

export type Finished = Readonly<{ exitCode: number | null; stdout: string; stderr: string }>

/**
 * Runs a program that knows a secret: nothing of it is printed, its output is bounded, and it is killed when it takes
 * too long or the run is cancelled. Rejects with HELPER or CANCELLED; any exit code resolves.
 */
export async function runProgram(program: Program, context: Context): Promise<Finished> {
  const { what, command, args, side, timeLimit = TIME_LIMIT } = program
  const failed = (problem: string, hint?: string) =>
    new PromoteError('HELPER', `The ${what} ${problem}`, { side, hint })
  const values = [command, ...args, ...Object.values(program.env ?? {})]
  if (values.some((value) => value.includes('\0') || Buffer.byteLength(value) > VALUE_LIMIT))
    throw failed('was not started: a value for it is longer than 120 KiB or holds a NUL character.')
  // @actions/exec splits the command at quotation marks.
  if (command.includes('"')) throw failed('was not started: there is a quotation mark in its name.')
  const leash = newLeash()
  const cancel = () => leash.stop(new PromoteError('CANCELLED', `Cancelled while the ${what} ran.`, { side }))
  const timer = setTimeout(() => leash.stop(failed(`gave no answer within ${timeLimit / 1000} s.`)), timeLimit)
  context.signal.addEventListener('abort', cancel)
  if (context.signal.aborted) cancel()
  let room = OUTPUT_LIMIT
  const count = (data: Buffer) => {
    room -= data.length
    if (room < 0) leash.stop(failed('printed more than 1 MiB.'))
  }
  try {
    return await leash.hold(async () => {
      const { getExecOutput } = await import(/* webpackMode: "eager" */ '@actions/exec')
      return getExecOutput(`"${command}"`, [...args], {
        silent: true, // without it the command line and all output go to stdout
        ignoreReturnCode: true,
        input: Buffer.from(program.input, 'utf8'),
        env: { ...inheritable(context), ...program.env },
        listeners: { stdout: count, stderr: count },
      })
    })
  } catch (error) {
    if (error instanceof PromoteError) throw error
    throw failed(`could not be started: ${firstLine(reasonOf(error), context.secrets)}`, program.hint)
  } finally {
    clearTimeout(timer)
    context.signal.removeEventListener('abort', cancel)
  }
}

/** The first line of a program's output that is not blank, for a message: redacted, clean and bounded. */
export function firstLine(text: string, secrets: Secrets): string {
  const lines = secrets.redact(visible(text)).split('\n')
  return oneLine(lines.find((candidate) => candidate.trim() !== '') ?? '', 300)
}

/**
 * @actions/exec gives no access to the process: it cannot be stopped, and EPIPE of a program that exits without reading its
 * stdin ends the run. Node announces new processes on a diagnostics channel; the one that `hold` starts is ours.
 */
function newLeash() {
  const mine = new AsyncLocalStorage<true>()
  const stopped = createDeferred<never>()
  let child: ChildProcess | undefined
  let isStopped = false
  const streams = () => [child?.stdin, child?.stdout, child?.stderr]
  const kill = () => {
    child?.kill()
    for (const stream of streams()) stream?.destroy()
    child?.unref()
  }
  const onSpawn = (message: unknown) => {
    if (mine.getStore() !== true) return
    child = (message as { process: ChildProcess }).process
    // The streams exist after the announcement, and fail after this tick.
    process.nextTick(() => {
      for (const stream of streams()) stream?.on('error', () => undefined)
      if (isStopped) kill()
    })
  }
  const hold = <T>(run: () => Promise<T>): Promise<T> => {
    if (isStopped) return stopped.promise
    subscribe(SPAWNED, onSpawn)
    const running = mine.run(true, run).finally(() => {
      unsubscribe(SPAWNED, onSpawn)
      mine.disable() // before Node 24 it would slow down every later promise
    })
    return Promise.race([stopped.promise, running])
  }
  const stop = (error: PromoteError) => {
    isStopped = true
    kill()
    stopped.resolve(Promise.reject(error))
  }
  return { hold, stop }
}

/** This project's own options, and the tokens with which a job speaks to GitHub. */
const OF_THE_RUN = /^(?:INPUT_|IMAGE_PROMOTE_|ACTIONS_.*TOKEN)/i
/** No program works without these; a short secret may be part of them by chance, and a proxy's password is for the proxy. */
const NEEDED =
  /^(?:PATH|PATHEXT|HOME|USERPROFILE|USER|USERNAME|LOGNAME|SHELL|TE?MP|TMPDIR|SYSTEMROOT|COMSPEC|LANG|(?:HTTPS?|ALL|NO)_PROXY)$/i

/**
 * The environment of a child: without variables that hold a secret of this run, under any name. Everything
 * else stays: a helper finds its own credentials there (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, …).
 */
function inheritable({ env, secrets }: Context): Record<string, string> {
  const entries = Object.entries(env).filter((pair): pair is [string, string] => pair[1] !== undefined)
  const isFree = ([name, value]: [string, string]): boolean => NEEDED.test(name) || secrets.redact(value) === value
  return Object.fromEntries(entries.filter((entry) => !OF_THE_RUN.test(entry[0]) && isFree(entry)))
}
