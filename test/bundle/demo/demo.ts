import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { formatBytes } from '../../../src/report/format.ts'
import type { Row } from '../../../src/report/model.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { type BuiltImage, buildImage } from './image.ts'
import { push } from './push.ts'

/**
 * The main job in one command: two embedded OpenShift clusters, a real image, the real bundle, started as GitHub Actions
 * starts it. Ends with 1 when any digest at the destination differs from the source's.
 */

const BUNDLE = resolve('dist/index.js')
const say = (text = '') => process.stdout.write(`${text}\n`)
const title = (text: string) => say(`\n\u2500\u2500 ${text} ${'\u2500'.repeat(Math.max(2, 90 - text.length))}`)

type RunResult = Readonly<{
  code: number | null
  outputs: Readonly<Record<string, string>>
  summary: string
  log: string
}>

/** One step of a workflow: the runner's variables, inputs as INPUT_…, outputs and summary through files. */
async function asGitHub(folder: string, inputs: Readonly<Record<string, string>>): Promise<RunResult> {
  const output = join(folder, 'output')
  const summary = join(folder, 'summary')
  for (const file of [output, summary]) writeFileSync(file, '')
  const { PATH, SystemRoot, TEMP } = process.env
  const env: NodeJS.ProcessEnv = {
    PATH,
    SystemRoot,
    TEMP,
    CI: 'true',
    GITHUB_ACTIONS: 'true',
    GITHUB_OUTPUT: output,
    GITHUB_STEP_SUMMARY: summary,
    RUNNER_TEMP: folder,
  }
  for (const [name, value] of Object.entries(inputs)) env[`INPUT_${name.toUpperCase()}`] = value
  const child = spawn(process.execPath, [BUNDLE], { cwd: folder, env, stdio: ['ignore', 'pipe', 'inherit'] })
  let log = ''
  for await (const line of createInterface({ input: child.stdout })) {
    log += `${line}\n`
    // The runner takes these lines for itself; a person never sees them.
    if (!line.startsWith('::add-mask::')) say(line.replace(/^::group::/, '\u25be ').replace(/^::endgroup::$/, ''))
  }
  const code = await new Promise<number | null>((done) =>
    child.exitCode === null ? child.once('close', done) : done(child.exitCode),
  )
  return { code, outputs: parseOutputs(readFileSync(output, 'utf8')), summary: readFileSync(summary, 'utf8'), log }
}

/** `name<<delimiter`, lines, `delimiter`: the file format of GITHUB_OUTPUT. */
function parseOutputs(text: string): Record<string, string> {
  const outputs: Record<string, string> = {}
  for (const [, name, , value] of text.matchAll(/^([^\n<]+)<<(\S+)\r?\n([\s\S]*?)\r?\n\2\r?$/gm))
    outputs[name as string] = value as string
  return outputs
}

function inputsFor(from: EmbeddedCluster, to: EmbeddedCluster): Record<string, string> {
  return {
    images: 'dev/app:1.0=prod/app:1.0',
    'source-cluster': from.api.origin,
    'source-username': 'developer',
    'source-password': 'developer-password',
    'source-ca': from.ca.bundle,
    'destination-cluster': to.api.origin,
    'destination-username': 'developer',
    'destination-password': 'developer-password',
    'destination-ca': to.ca.bundle,
    'dry-run': 'false',
  }
}

/** Byte for byte, below the API: what the two registries hold. */
function differences(image: BuiltImage, to: EmbeddedCluster): string[] {
  const { repositories, blobs } = to.store
  const prod = repositories.get('prod/app')
  const wanted = [image.root, ...image.manifests]
  const manifests = wanted.filter(
    ({ digest, bytes }) => !Buffer.from(prod?.manifests.get(digest)?.bytes ?? []).equals(bytes),
  )
  const missing = [...image.blobs].filter(([digest, bytes]) => blobs.get(digest)?.size !== bytes.length)
  return [...manifests.map(({ digest }) => digest), ...missing.map(([digest]) => digest)]
}

function problemsOf(first: RunResult, second: RunResult, image: BuiltImage, to: EmbeddedCluster): string[] {
  const [row] = JSON.parse(first.outputs.images ?? '[]') as Row[]
  const [again] = JSON.parse(second.outputs.images ?? '[]') as Row[]
  const checks: [boolean, string][] = [
    [first.code === 0 && second.code === 0, `exit codes ${first.code} and ${second.code}`],
    [
      first.outputs.digest === image.root.digest,
      `output digest is ${first.outputs.digest}, the image's is ${image.root.digest}`,
    ],
    [row?.status === 'promoted', `first run: ${row?.status}`],
    [
      again?.status === 'unchanged' && again.bytes.copied === 0,
      `second run: ${again?.status}, ${again?.bytes.copied} bytes sent`,
    ],
    [
      !`${first.log}${second.log}`.replaceAll(/^::add-mask::.*$/gm, '').includes('developer-password'),
      'the password is in the log',
    ],
  ]
  const failed = checks.flatMap(([good, problem]) => (good ? [] : [problem]))
  return [...failed, ...differences(image, to).map((digest) => `${digest} differs at the destination`)]
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'image-promote-demo-'))
  const [from, to] = await Promise.all([startCluster({ name: 'dev' }), startCluster({ name: 'prod' })])
  try {
    title('Two OpenShift clusters (embedded: API, OAuth and registry, each with its own CA)')
    say(`dev   API ${from.api.origin}  registry ${from.registryHost}`)
    say(`prod  API ${to.api.origin}  registry ${to.registryHost}`)
    title('A real image, pushed to dev/app:1.0 of the first')
    const image = await buildImage(resolve('dist'))
    await push(image, from, 'dev/app', '1.0')
    const bytes = [...image.blobs.values()].reduce((sum, blob) => sum + blob.length, 0)
    say(
      `${image.root.digest}  index of ${image.manifests.length} platforms, ${image.blobs.size} blobs, ${formatBytes(bytes)}`,
    )
    title('dist/index.js as GitHub Actions runs it')
    const first = await asGitHub(folder, inputsFor(from, to))
    title('The same step again: nothing is sent')
    const second = await asGitHub(folder, inputsFor(from, to))
    title('Outputs of the first run')
    for (const [name, value] of Object.entries(first.outputs)) say(`${name}: ${value}`)
    title('Job summary of the first run')
    say(first.summary)
    const problems = problemsOf(first, second, image, to)
    title(problems.length === 0 ? 'Every digest at the destination is the source\u2019s' : 'The demo failed')
    for (const problem of problems) say(problem)
    process.exitCode = problems.length === 0 ? 0 : 1
  } finally {
    await Promise.all([from.close(), to.close()])
    rmSync(folder, { recursive: true, force: true })
  }
}

await main()
