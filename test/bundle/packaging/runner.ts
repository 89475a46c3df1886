import { spawn } from 'node:child_process'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { unverified } from '../../support/watch.ts'
import { start, temporary } from '../run.ts'
import { ROOT, read } from './files.ts'

/**
 * The steps of one job as the runner takes them, as far as the self-test needs it: shell steps, this action, outputs,
 * expressions. Steps of other actions and of npm prepare what is here already, and are left out.
 */

type Step = Readonly<{
  id?: string
  name?: string
  uses?: string
  run?: string
  with?: Readonly<Record<string, string | boolean>>
  env?: Readonly<Record<string, string>>
  if?: string
  'continue-on-error'?: boolean
}>
export type Done = Readonly<{ name: string; outcome: 'success' | 'failure'; log: string; summary: string }>
type Known = Record<string, { outputs: Readonly<Record<string, string>>; outcome: string }>

export async function runJob(file: string, job: string): Promise<Done[]> {
  const steps = parse(read(file)).jobs[job].steps as Step[]
  const folder = temporary()
  for (const name of ['build', 'node_modules', 'package.json']) symlinkSync(join(ROOT, name), join(folder.path, name))
  const known: Known = {}
  const done: Done[] = []
  let failed = false
  for (const step of steps) {
    if (step.run?.startsWith('npm ') || (step.uses !== undefined && step.uses !== './')) continue
    if (failed && step.if !== 'always()') continue
    const one = await runStep(step, folder.path, known)
    done.push(one)
    failed ||= one.outcome === 'failure' && step['continue-on-error'] !== true
  }
  folder.remove()
  return done
}

async function runStep(step: Step, cwd: string, known: Known): Promise<Done> {
  const files = temporary()
  const [output, summary] = [files.file('output', ''), files.file('summary', '')]
  const given = Object.entries({ ...step.env, ...prefixed(step.with) })
  const env = {
    CI: 'true',
    GITHUB_ACTIONS: 'true',
    GITHUB_OUTPUT: output,
    GITHUB_STEP_SUMMARY: summary,
    RUNNER_TEMP: files.path,
    ...Object.fromEntries(given.map(([name, value]) => [name, evaluate(String(value), known)])),
  }
  const { code, log } = step.uses === './' ? await runAction(cwd, env) : await runShell(step.run ?? '', cwd, env)
  const outcome = code === 0 ? 'success' : 'failure'
  if (step.id !== undefined) known[step.id] = { outputs: outputsOf(readFileSync(output, 'utf8')), outcome }
  const text = readFileSync(summary, 'utf8')
  files.remove()
  return { name: step.name ?? step.uses ?? '', outcome, log, summary: text }
}

function prefixed(inputs: Step['with'] = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(inputs).map(([name, value]) => [`INPUT_${name.toUpperCase()}`, `${value}`]))
}

async function runAction(cwd: string, env: Record<string, string>) {
  const reason = 'the registries of the workflow run in a process of their own, and its own steps compare the digests'
  const { code, stdout, stderr } = await unverified(reason, () => start([], { cwd, env }).ended)
  return { code, log: stdout + stderr }
}

/** A background process may outlive the step, so its output goes to a file and its pipes are not waited for. */
async function runShell(script: string, cwd: string, env: Record<string, string>) {
  const file = join(cwd, 'step.sh')
  writeFileSync(file, script)
  const { PATH = '' } = process.env
  const child = spawn('bash', ['--noprofile', '--norc', '-e', '-o', 'pipefail', file], { cwd, env: { PATH, ...env } })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (log += chunk))
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', resolve)
  })
  return { code, log }
}

/** `steps.ID.outcome`, `steps.ID.outputs.NAME`, `fromJSON(steps.ID.outputs.NAME)[N].MEMBER`. */
function evaluate(text: string, known: Known): string {
  return text.replace(/\$\{\{ (.*?) \}\}/g, (whole, expression: string) => {
    const [, json, id = '', name, index = '', member = ''] =
      /^(fromJSON\()?steps\.(\w+)\.(?:outputs\.([\w-]+)|outcome)\)?(?:\[(\d+)\]\.(\w+))?$/.exec(expression) ?? []
    const value = name === undefined ? known[id]?.outcome : known[id]?.outputs[name]
    if (value === undefined) throw new Error(`no value for ${whole}`)
    return json === undefined ? value : String(JSON.parse(value)[Number(index)][member])
  })
}

/** Both forms of GITHUB_OUTPUT (actions/runner, FileCommandManager.cs). */
function outputsOf(text: string): Record<string, string> {
  const outputs: Record<string, string> = {}
  for (const [, plain, value, name, , block] of text.matchAll(/^(?:([\w-]+)=(.*)|([\w-]+)<<(\S+)\n([\s\S]*?)\n\4)$/gm))
    outputs[plain ?? name ?? ''] = value ?? block ?? ''
  return outputs
}
