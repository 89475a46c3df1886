import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Report, Row } from '../../src/report/model.ts'
import { watchProcess } from '../support/watch-process.ts'

/** The committed bundle, started as its hosts start it, and what a person or a runner sees of it. */

export const BUNDLE = fileURLToPath(new URL('../../../dist/index.js', import.meta.url))

export type Variables = Readonly<Record<string, string>>

export type StartOptions = Readonly<{
  env?: Variables
  /** Default: an empty folder of its own, which is also HOME. */
  cwd?: string
  bundle?: string
}>

export type Result = Readonly<{ code: number | null; stdout: string; stderr: string }>

export type Running = Readonly<{ child: ChildProcess; ended: Promise<Result> }>

/** Nothing of the test's own environment reaches the child but what a process needs to start. */
export function start(argv: readonly string[], options: StartOptions = {}): Running {
  const home = temporary()
  const { PATH = '', SystemRoot = '', TEMP = '' } = process.env
  const env = { PATH, SystemRoot, TEMP, HOME: home.path, USERPROFILE: home.path, ...options.env }
  const cwd = options.cwd ?? home.path
  const look = watchProcess({ argv, env, cwd })
  const child = spawn(process.execPath, [options.bundle ?? BUNDLE, ...argv], {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk
    })
  const ended = new Promise<Result>((done, fail) => {
    child.once('error', fail)
    child.once('close', (code) => {
      const verified = code === null ? Promise.resolve() : look(text.stdout)
      verified.then(() => done({ code, ...text }), fail).finally(home.remove)
    })
  })
  return { child, ended }
}

/** The plain host. */
export async function plain(argv: readonly string[], options?: StartOptions): Promise<Result> {
  return start(argv, options).ended
}

/** The plain host, and the built-in modules that Node had loaded at its end: `NativeModule fs`, … */
export async function loadedBy(argv: readonly string[]): Promise<Result & Readonly<{ loaded: readonly string[] }>> {
  const folder = temporary()
  const path = join(folder.path, 'loaded.json')
  const spy = folder.file(
    'spy.cjs',
    `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(path)}, JSON.stringify(process.moduleLoadList)))`,
  )
  const result = await plain(argv, { env: { NODE_OPTIONS: `--require ${JSON.stringify(spy)}` } })
  const loaded = JSON.parse(readFileSync(path, 'utf8')) as string[]
  folder.remove()
  return { ...result, loaded }
}

/** The plain host with its report. */
export async function promoted(
  argv: readonly string[],
  options?: StartOptions,
): Promise<Result & Readonly<{ report: Report }>> {
  const result = await plain(['--output', 'json', ...argv], options)
  return { ...result, report: reportOf(result) }
}

export function reportOf({ stdout, stderr, code }: Result): Report {
  try {
    return JSON.parse(stdout)
  } catch {
    throw new Error(`no report on stdout, exit code ${code}:\n${stdout}\n${stderr}`)
  }
}

export type GithubResult = Result &
  Readonly<{ outputs: Readonly<Record<string, string>>; rows: readonly Row[]; summary: string }>

/** A step of a workflow: inputs with their hyphens, files for outputs and summary (actions/runner, Handler.cs). */
export async function github(inputs: Variables, env: Variables = {}): Promise<GithubResult> {
  const folder = temporary()
  const [output, summary] = [join(folder.path, 'output'), join(folder.path, 'summary')]
  for (const file of [output, summary]) writeFileSync(file, '')
  const given = Object.entries(inputs).map(([name, value]) => [`INPUT_${name.toUpperCase()}`, value])
  try {
    const result = await start([], {
      env: {
        CI: 'true',
        GITHUB_ACTIONS: 'true',
        GITHUB_OUTPUT: output,
        GITHUB_STEP_SUMMARY: summary,
        RUNNER_TEMP: folder.path,
        ...Object.fromEntries(given),
        ...env,
      },
    }).ended
    const outputs = parseOutputs(readFileSync(output, 'utf8'))
    return { ...result, outputs, rows: JSON.parse(outputs.images ?? '[]'), summary: readFileSync(summary, 'utf8') }
  } finally {
    folder.remove()
  }
}

/** `name<<delimiter`, lines, `delimiter` (actions/runner, FileCommandManager.cs). */
function parseOutputs(text: string): Record<string, string> {
  const outputs: Record<string, string> = {}
  for (const [, name = '', , value = ''] of text.matchAll(/^([^\n<]+)<<(\S+)\r?\n([\s\S]*?)\r?\n\2\r?$/gm))
    outputs[name] = value
  return outputs
}

export type Folder = Readonly<{ path: string; file(name: string, text: string): string; remove(): void }>

export function temporary(): Folder {
  const path = mkdtempSync(join(tmpdir(), 'image-promote-test-'))
  return {
    path,
    file(name, text) {
      writeFileSync(join(path, name), text)
      return join(path, name)
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  }
}
