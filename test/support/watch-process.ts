import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Platform } from './verifier.ts'
import { type Row, watch } from './watch.ts'

/** The verifier's look at what a program in a process of its own says that it did. */

export type Program = Readonly<{
  argv: readonly string[]
  env: Readonly<Record<string, string | undefined>>
  cwd: string
}>

/** @returns what is called after its end, with the program's standard output. */
export function watchProcess(program: Program): (stdout: string) => Promise<void> {
  const look = watch()
  return async (stdout) => {
    const given = (name: string) => optionOf(program, name)
    if (given('rollback') !== undefined) return
    const platforms = given('platforms')?.split(',').map(platformOf)
    await look(rowsOf(program, stdout), () => ({
      platforms,
      referrers: given('referrers') !== 'false',
      foreign: given('include-foreign') === 'true',
      skipMissing: given('skip-missing') === 'true',
    }))
  }
}

/** From argv, the variables of the command line, or the inputs of an action. */
function optionOf({ argv, env }: Program, name: string): string | undefined {
  const at = argv.indexOf(`--${name}`)
  const variable = name.toUpperCase().replaceAll('-', '_')
  const value = at === -1 ? undefined : argv[at + 1]
  return value ?? (env[`IMAGE_PROMOTE_${variable}`] || env[`INPUT_${name.toUpperCase()}`] || undefined)
}

function platformOf(text: string): Platform {
  const [os = '', architecture = '', variant = ''] = text.trim().split('/')
  return { os, architecture, variant }
}

/** Wherever a host has put them: the report, standard output, the outputs of a step, the results of a Task. */
function rowsOf(program: Program, stdout: string): readonly Row[] {
  const { env, cwd } = program
  const file = (path: string | undefined) => (path ? readIfThere(resolve(cwd, path)) : undefined)
  const report = rowsIn(file(optionOf(program, 'report'))) ?? rowsIn(stdout)
  const outputs = /^images<<(\S+)\r?\n([\s\S]*?)\r?\n\1\r?$/m.exec(file(env.GITHUB_OUTPUT) ?? '')?.[2]
  return report ?? rowsIn(outputs) ?? rowsIn(file(env.IMAGE_PROMOTE_RESULT_IMAGES)) ?? []
}

function rowsIn(text: string | undefined): readonly Row[] | undefined {
  try {
    const found = JSON.parse(text ?? '')
    return Array.isArray(found) ? found : found.images
  } catch {
    return undefined
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
