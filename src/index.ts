#!/usr/bin/env node
import { setMaxListeners } from 'node:events'
import { writeSync } from 'node:fs'
import { EXIT } from './errors.ts'
import { questionIn, run, versionText } from './host/run.ts'

/** `npm` and `npx` pass on a signal that the terminal has sent to their child as well: that is one Ctrl-C, not two. */
const SAME_SIGNAL = 200

/**
 * Without `process.stdout`: making that stream takes longer than everything else here that `--version` needs.
 * @returns false when the bytes did not go; the stream waits for a slow reader, and does not mind one that has gone.
 */
function tellVersion(): boolean {
  try {
    writeSync(1, `${versionText()}\n`)
    return true
  } catch {
    return false
  }
}

/** Aborted with the name of the first signal, or with the error that nobody caught. */
function watchProcess(): AbortSignal {
  const controller = new AbortController()
  // Each transfer and each wait listens; that is no leak, and the warning would be the only foreign line on stderr.
  setMaxListeners(0, controller.signal)

  let stoppedAt = 0
  for (const [name, code] of [
    ['SIGINT', EXIT.interrupted],
    ['SIGTERM', EXIT.terminated],
  ] as const) {
    process.on(name, () => {
      if (!controller.signal.aborted) {
        stoppedAt = Date.now()
        controller.abort(name)
      } else if (Date.now() - stoppedAt > SAME_SIGNAL) process.exit(code)
    })
  }
  process.on('uncaughtException', (error) => controller.abort(error))

  // A reader that has gone (`| head`) is no failure of the promotion.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') controller.abort(error)
    })
  }
  return controller.signal
}

function start(argv: readonly string[]): void {
  run({
    argv,
    env: process.env,
    streams: {
      out: (text) => process.stdout.write(text),
      err: (text) => process.stderr.write(text),
      screen: process.stderr.isTTY ? () => process.stderr : undefined,
    },
    signal: watchProcess(),
    loadPromote: async () => (await import(/* webpackMode: "eager" */ './promote.ts')).promote,
  }).then(
    (code) => {
      process.exitCode = code
    },
    (error: Error) => {
      process.exitCode = EXIT.failed
      process.stderr.write(`error: ${error.message}\n`)
    },
  )
}

const argv = process.argv.slice(2)
if (questionIn(argv) !== 'version' || !tellVersion()) start(argv)
