import type { Log } from '../context.ts'
import type { Event, Report } from '../report/model.ts'

/** One place that the bundle runs in. */
export interface Host {
  readonly kind: 'github' | 'tekton' | 'plain'
  readonly log: Log
  /** Called for each secret before its first use. */
  mask(value: string): void
  /** How the option is spelled here: `input "dry-run"`, `param dry-run`, `--dry-run`. */
  spell(option: string): string
  /** Progress, live. */
  event(event: Event): void
  /** Outputs, results, summary, report file, stdout. */
  publish(report: Report): Promise<void>
}
