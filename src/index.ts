#!/usr/bin/env node
import { setMaxListeners } from 'node:events'
import { EXIT } from './core/errors.ts'
import { answerTo } from './inputs/help.ts'

/** `npm` and `npx` pass on a signal that the terminal has sent to their child as well: that is one Ctrl-C, not two. */
const SAME_SIGNAL = 200

const OLDEST_NODE = [20, 18, 1] as const // `engines` of package.json: older ones lack functions that are used

function tooOld(): string | undefined {
  const parts = process.versions.node.split('.').map(Number)
  const at = OLDEST_NODE.findIndex((needed, index) => parts[index] !== needed)
  if (at === -1 || (parts[at] ?? 0) > (OLDEST_NODE[at] ?? 0)) return undefined
  return `image-promote needs Node.js ${OLDEST_NODE.join('.')} or newer, this is ${process.versions.node}`
}

/** Aborted with the name of the first signal, or with an uncaught error. */
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

async function main(argv: readonly string[]): Promise<number> {
  const refusal = tooOld()
  if (refusal !== undefined) {
    process.stderr.write(`error: ${refusal}\n`)
    return EXIT.usage
  }
  const signal = watchProcess()
  const answer = answerTo(argv)
  if (answer !== undefined) {
    process.stdout.write(`${answer}\n`)
    return EXIT.done
  }
  const { run } = await import(/* webpackMode: "eager" */ './host/run-promotion.ts')
  return run({
    argv,
    env: process.env,
    streams: {
      out: (text) => process.stdout.write(text),
      err: (text) => process.stderr.write(text),
      screen: process.stderr.isTTY ? () => process.stderr : undefined,
    },
    signal,
    loadPromote: async () => (await import(/* webpackMode: "eager" */ './promote.ts')).promote,
  })
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
  },
  (error: Error) => {
    process.exitCode = EXIT.failed
    process.stderr.write(`error: ${error.message}\n`)
  },
)
