import type { Log } from '../core/context.ts'
import type { Secrets } from '../core/secret.ts'
import type { Env } from '../inputs/collect.ts'
import type { Config } from '../inputs/config.ts'
import type { HostKind } from '../inputs/options.ts'
import type { Listener, Report } from '../report/model.ts'

/** The parsed inputs that a host needs. */
export type Settings = Pick<Config, 'progress' | 'logLevel' | 'report' | 'summary' | 'output' | 'resultsLimit'>

/** Where the program runs: GitHub Actions, Tekton or a command line. */
export interface Host extends Listener {
  readonly kind: HostKind
  /** A command line on a host that also has inputs of its own (a `run:` step on GitHub): the plain host's options exist too. */
  readonly commandLine?: boolean
  readonly log: Log
  readonly secrets: Secrets // every secret of the run; the host masks each one when it is registered
  spell(option: string): string // how the option is spelled here: `input "dry-run"`, `param dry-run`, `--dry-run`
  /** The variables that inputs are read from, those made from Tekton's workspaces included. Problems are lines for the user. */
  inputs(): Readonly<{ env: Env; problems: readonly string[] }>
  begin(settings: Settings): void // before this call the log level is `info`, and no report file is written
  end?(): void // stops the heartbeats; called after every run, perhaps twice
  /** Writes outputs, results, summary, report file and stdout. Tries all of them, then throws the first failure (IO). */
  publish(report: Report): Promise<void>
}
