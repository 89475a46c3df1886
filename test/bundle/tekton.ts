import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import type { Row } from '../../src/report/model.ts'
import { plain, type Result, temporary, type Variables } from './run.ts'

/** The step of `tekton/task/image-promote/image-promote.yaml`, started with what Tekton makes of it: variables, workspaces and results. */

const TASK = fileURLToPath(new URL('../../../tekton/task/image-promote/image-promote.yaml', import.meta.url))

type Task = Readonly<{
  spec: Readonly<{
    params: readonly Readonly<{ name: string; default?: string }>[]
    workspaces: readonly Readonly<{ name: string }>[]
    results: readonly Readonly<{ name: string }>[]
    steps: readonly Readonly<{
      command: readonly string[]
      args: readonly string[]
      env: readonly Readonly<{ name: string; value?: string }>[]
    }>[]
  }>
}>

const { spec } = parse(readFileSync(TASK, 'utf8')) as Task

export type TaskRun = Readonly<{
  images: readonly string[]
  params?: Variables
  /** Workspaces that are bound: name → files of the Secret or ConfigMap. */
  workspaces?: Readonly<Record<string, Variables>>
}>

export type TektonResult = Result &
  Readonly<{
    /** As Tekton reads them; a result whose file was not written is missing. */
    results: Readonly<Record<string, string>>
    rows: readonly Row[]
    /** Files in the workspace `report`. */
    reports: Variables
  }>

/** @param run starts the bundle; or runs what is in it within this process. */
export async function tekton(
  { images, params = {}, workspaces = {} }: TaskRun,
  run: (argv: readonly string[], given: Readonly<{ env: Variables }>) => Promise<Result> = plain,
): Promise<TektonResult> {
  const [step] = spec.steps
  if (step === undefined) throw new Error('the Task has no step')
  const folder = temporary()
  const paths = new Map<string, string>()
  for (const { name, default: value } of spec.params) paths.set(`params.${name}`, params[name] ?? value ?? '')
  for (const { name } of spec.workspaces) {
    const files = workspaces[name]
    // The path of an optional workspace that is not bound is empty.
    paths.set(`workspaces.${name}.path`, files === undefined ? '' : mount(folder.path, name, files))
  }
  mkdirSync(join(folder.path, 'results'))
  for (const { name } of spec.results) paths.set(`results.${name}.path`, join(folder.path, 'results', name))
  const fill = (text: string) =>
    text.replace(/\$\(([^)]+)\)/g, (whole, name) => {
      const value = paths.get(name)
      if (value === undefined) throw new Error(`Tekton has no value for ${whole}`)
      return value
    })
  const args = step.args.flatMap((arg) => (arg === '$(params.images[*])' ? images : [fill(arg)]))
  const env = Object.fromEntries(step.env.map(({ name, value = '' }) => [name, fill(value)]))
  try {
    const result = await run(args, { env })
    const written = spec.results.flatMap(({ name }) => {
      const text = readIfThere(join(folder.path, 'results', name))
      return text === undefined ? [] : [[name, text]]
    })
    const results: Record<string, string> = Object.fromEntries(written)
    const reports = ['report.json', 'summary.md', 'rollback.json'].flatMap((name) => {
      const text = readIfThere(join(paths.get('workspaces.report.path') ?? '', name))
      return text === undefined ? [] : [[name, text]]
    })
    return { ...result, results, rows: JSON.parse(results.images ?? '[]'), reports: Object.fromEntries(reports) }
  } finally {
    folder.remove()
  }
}

/** The kubelet's AtomicWriter: files are links through `..data` to a folder with the time in its name. */
function mount(folder: string, name: string, files: Variables): string {
  const path = join(folder, name)
  const version = '..2026_01_02_03_04_05.123456789'
  mkdirSync(join(path, version), { recursive: true })
  const linked = process.platform !== 'win32' && Object.keys(files).length > 0
  if (linked) symlinkSync(version, join(path, '..data'))
  for (const [file, text] of Object.entries(files)) {
    writeFileSync(join(path, linked ? version : '.', file), text)
    if (linked) symlinkSync(join('..data', file), join(path, file))
  }
  return path
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw thrown
  }
}
