import type { Secrets } from './secret.ts'

/** The log of a run. The host redacts and neutralises every line before it prints it. */
export interface Log {
  debug(line: string): void
  info(line: string): void
  warn(line: string): void
  error(line: string): void
}

/** What all stages of a run share. The source tree has no global state. */
export type Context = Readonly<{
  log: Log
  secrets: Secrets
  /** Aborted by SIGINT and SIGTERM: no new work starts, and transfers stop. */
  signal: AbortSignal
  env: Readonly<Record<string, string | undefined>>
  /** Milliseconds since the epoch; replaced in tests. */
  now: () => number
  /** Resolves after so many milliseconds, rejects with CANCELLED when the signal fires; replaced in tests. */
  sleep: (milliseconds: number) => Promise<void>
  /** 0 ≤ x < 1, for jitter; replaced in tests. */
  random: () => number
}>
