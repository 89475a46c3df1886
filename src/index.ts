#!/usr/bin/env node
import { setMaxListeners } from 'node:events'
import { EXIT } from './errors.ts'
import { run } from './host/run.ts'

/** `npm` and `npx` pass on a signal that the terminal has sent to their child as well: that is one Ctrl-C, not two. */
const SAME_SIGNAL = 200

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

run({
  argv: process.argv.slice(2),
  env: process.env,
  streams: {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    screen: process.stderr.isTTY ? () => process.stderr : undefined,
  },
  signal: controller.signal,
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
