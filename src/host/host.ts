import type { Log } from '../core/context.ts'
import type { Secrets } from '../core/secret.ts'
import type { Env } from '../inputs/collect.ts'
import type { Config } from '../inputs/config.ts'
import type { HostKind } from '../inputs/options.ts'
import type { Listener, Report } from '../report/model.ts'

/** What a host has to know of the inputs, once they are parsed. */
export type Settings = Pick<Config, 'progress' | 'logLevel' | 'report' | 'summary' | 'output' | 'resultsLimit'>

/** One place that the bundle runs in. */
export interface Host extends Listener {
  readonly kind: HostKind
  /** A command line, although the host has a form of its own: options of the plain host are there too. */
  readonly commandLine?: boolean
  readonly log: Log
  readonly secrets: Secrets // every secret of the run; each is masked here as soon as it is kept
  spell(option: string): string // how the option is spelled here: `input "dry-run"`, `param dry-run`, `--dry-run`
  /** The variables that inputs are read from: Tekton's workspaces are turned into them. Problems are lines for the user. */
  inputs(): Readonly<{ env: Env; problems: readonly string[] }>
  begin(settings: Settings): void // before it, the log shows `info` and there is no report file
  end?(): void // the run is over, however it ended: no more heartbeats. May be called twice
  /** Outputs, results, summary, report file, stdout: all that work, then the first failure is thrown (IO). */
  publish(report: Report): Promise<void>
}
