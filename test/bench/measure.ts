import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** One run of a command as a whole process: seconds, seconds of CPU, and the peak of its resident memory in bytes. */
export type Figures = Readonly<{ wall: number; cpu: number; rss: number }>

/** A tool that takes longer shows nothing more by it, and holds up the others. */
export const MOST_SECONDS = 300

export class Overtime extends Error {}

/** GNU time reads the kernel's own accounting of the finished process. */
const TIME = '/usr/bin/time'

/** Runs a command; rejects with the end of its stderr when it fails, and with `Overtime` when it does not end. */
export async function measure(command: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'image-promote-bench-'))
  const figures = join(folder, 'figures')
  try {
    const began = performance.now()
    const child = spawn(TIME, ['-f', '%U %S %M', '-o', figures, ...command], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
      // A group of its own: the time of a script is over for what it has started, too.
      detached: true,
    })
    let late = false
    const kill = () => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL')
    process.once('exit', kill)
    const timer = setTimeout(() => {
      late = true
      kill()
    }, MOST_SECONDS * 1000)
    let errors = ''
    let ended = began
    child.stderr.on('data', (chunk) => (errors = `${errors}${chunk}`.slice(-4000)))
    child.once('exit', () => (ended = performance.now()))
    const code = await new Promise((done, fail) => child.once('error', fail).once('close', done)).finally(() => {
      clearTimeout(timer)
      process.off('exit', kill)
    })
    if (late) throw new Overtime(`${command.join(' ').slice(0, 500)} took longer than ${MOST_SECONDS} s`)
    if (code !== 0) throw new Error(`${command.join(' ').slice(0, 500)} ended with ${code}:\n${errors}`)
    const [user = 0, system = 0, kilobytes = 0] = readFileSync(figures, 'utf8').trim().split(/\s+/).map(Number)
    // Not the %e of GNU time: it has hundredths of a second only.
    return { wall: (ended - began) / 1000, cpu: user + system, rss: kilobytes * 1024 }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
