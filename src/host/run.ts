import type { Context } from '../context.ts'
import { EXIT } from '../errors.ts'
import type { Env } from '../inputs/collect.ts'
import type { Config } from '../inputs/config.ts'
import type { Report } from '../report/model.ts'
import { VERSION } from '../version.ts'
import type { Streams } from './cli.ts'
import type { Host } from './host.ts'

export type Promote = (config: Config, host: Host, context: Context) => Promise<Report>

export type Surroundings = Readonly<{
  /** Arguments after the script's name. */
  argv: readonly string[]
  env: Env
  streams: Streams
  /** Aborted with the name of a signal, or with the error that nobody caught. */
  signal: AbortSignal
  /** Loaded only when there is something to promote. */
  loadPromote: () => Promise<Promote>
}>

/** One run of the bundle, of which a question needs next to nothing. @returns the exit code. */
export async function run(surroundings: Surroundings): Promise<number> {
  const { argv, streams } = surroundings
  const question = questionIn(argv)
  if (question === undefined) {
    const { conduct } = await import(/* webpackMode: "eager" */ './conduct.ts')
    return conduct(surroundings)
  }
  streams.out(`${question === 'help' ? await help() : versionText()}\n`)
  return EXIT.done
}

/** `--help` and `--version` before `--`, whatever else there is. */
export function questionIn(argv: readonly string[]): 'help' | 'version' | undefined {
  const end = argv.indexOf('--')
  const options = end === -1 ? argv : argv.slice(0, end)
  if (options.some((option) => option === '--help' || option === '-h')) return 'help'
  return options.includes('--version') ? 'version' : undefined
}

export function versionText(): string {
  return `image-promote ${VERSION}`
}

async function help(): Promise<string> {
  const { helpText } = await import(/* webpackMode: "eager" */ '../inputs/help.ts')
  return helpText(VERSION)
}
