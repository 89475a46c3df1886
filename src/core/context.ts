import type { Secrets } from './secret.ts'

/** Where people read what happens. Every line is redacted and neutralised by the host before it is printed. */
export interface Log {
  debug(line: string): void
  info(line: string): void
  warn(line: string): void
  error(line: string): void
}

/** What every stage of one run shares. Nothing in the source tree is global state. */
export type Context = Readonly<{
  log: Log
  secrets: Secrets
  /** Aborted by SIGINT and SIGTERM: new work stops, transfers are broken off. */
  signal: AbortSignal
  env: Readonly<Record<string, string | undefined>>
  /** Milliseconds since the epoch; replaced in tests. */
  now: () => number
  /** Resolves after so many milliseconds, rejects with CANCELLED when the signal fires; replaced in tests. */
  sleep: (milliseconds: number) => Promise<void>
  /** 0 ≤ x < 1, for jitter; replaced in tests. */
  random: () => number
}>
