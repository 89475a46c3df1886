import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** One run of a command as a whole process: seconds, seconds of CPU, and the peak of its resident memory in bytes. */
export type Figures = Readonly<{ wall: number; cpu: number; rss: number }>

/** GNU time reads the kernel's own accounting of the finished process. */
const TIME = '/usr/bin/time'

/** Runs a command; rejects with the end of its stderr when it fails. */
export async function measure(command: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'image-promote-bench-'))
  const figures = join(folder, 'figures')
  try {
    const began = performance.now()
    const child = spawn(TIME, ['-f', '%U %S %M', '-o', figures, ...command], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let errors = ''
    let ended = began
    child.stderr.on('data', (chunk) => (errors = `${errors}${chunk}`.slice(-4000)))
    child.once('exit', () => (ended = performance.now()))
    const code = await new Promise((done, fail) => child.once('error', fail).once('close', done))
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
