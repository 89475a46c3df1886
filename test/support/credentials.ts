import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { expect } from '@jest/globals'
import type { Context } from '../../src/core/context.ts'
import { PromoteError } from '../../src/core/errors.ts'
import { Secrets } from '../../src/core/secret.ts'
import type { Credential } from '../../src/http/credential.ts'

export type Room = Readonly<{
  folder: string
  context: Context
  /** Lines that were logged. */
  warnings: string[]
  /** Everything that was registered for masking. */
  masked: string[]
  controller: AbortController
  clock: { now: number }
  env: Record<string, string | undefined>
  /** Writes a file below the folder and returns its path. */
  file(name: string, content: string | object): string
  /** Installs a program on the PATH of this room: the body of an ES module, `argv` and `stdin()` at hand. */
  program(name: string, body: string): string
  close(): void
}>

/** A folder of its own, a context that records, and a PATH in front of which programs can be put. */
export function openRoom(): Room {
  const folder = mkdtempSync(join(tmpdir(), 'credentials-'))
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  const path = process.env.PATH
  // @actions/exec looks programs up in the PATH of the process itself.
  process.env.PATH = `${bin}${delimiter}${path}`
  const warnings: string[] = []
  const masked: string[] = []
  const clock = { now: Date.parse('2026-01-01T00:00:00Z') }
  const env: Record<string, string | undefined> = { PATH: process.env.PATH, SystemRoot: process.env.SystemRoot }
  const controller = new AbortController()
  const quiet = () => undefined
  const context: Context = {
    log: { debug: quiet, info: quiet, warn: (line) => void warnings.push(line), error: quiet },
    secrets: new Secrets((value) => void masked.push(value)),
    signal: controller.signal,
    env,
    now: () => clock.now,
    sleep: async () => undefined,
    random: () => 0,
  }
  const file = (name: string, content: string | object) => {
    const path = join(folder, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
    return path
  }
  const program = (name: string, body: string) => {
    const script = file(`${name}.mjs`, `${PRELUDE}\n${body}`)
    if (process.platform === 'win32') return file(`bin/${name}.cmd`, `@"${process.execPath}" "${script}" %*\r\n`)
    const wrapper = join(bin, name)
    writeFileSync(wrapper, `#!/bin/sh\nexec "${process.execPath}" "${script}" "$@"\n`, { mode: 0o755 })
    return wrapper
  }
  const close = () => {
    process.env.PATH = path
    rmSync(folder, { recursive: true, force: true })
  }
  return { folder, context, warnings, masked, controller, clock, env, file, program, close }
}

const PRELUDE = `import { appendFileSync, existsSync, readFileSync } from 'node:fs'
const argv = process.argv.slice(2)
const stdin = () => readFileSync(0, 'utf8')
const say = (value) => process.stdout.write(typeof value === 'string' ? value : JSON.stringify(value))
const fail = (text, code = 1) => { process.stderr.write(text); process.exitCode = code }`

/** A credential with its secrets in the open, to compare. */
export function shown(credential: Credential | undefined): unknown {
  if (credential === undefined) return undefined
  switch (credential.kind) {
    case 'basic':
      return { kind: 'basic', username: credential.username, password: credential.password.reveal() }
    case 'bearer':
      return { kind: 'bearer', token: credential.token.reveal() }
    case 'identity':
      return { kind: 'identity', refreshToken: credential.refreshToken.reveal() }
    default:
      return credential
  }
}

export const basic = (username: string, password: string) => ({ kind: 'basic', username, password })
export const bearer = (token: string) => ({ kind: 'bearer', token })
export const identity = (refreshToken: string) => ({ kind: 'identity', refreshToken })
export const base64 = (text: string) => Buffer.from(text, 'utf8').toString('base64')

/** The PromoteError that something was rejected with. */
export async function refusalOf(run: () => unknown): Promise<PromoteError> {
  try {
    await run()
  } catch (error) {
    expect(error).toBeInstanceOf(PromoteError)
    return error as PromoteError
  }
  throw new Error('nothing was thrown')
}

/** All that a person could see of an error, causes included. */
export function textOf(error: PromoteError): string {
  const cause = error.cause instanceof Error ? error.cause.message : ''
  return [error.message, error.hint ?? '', cause].join('\n')
}
