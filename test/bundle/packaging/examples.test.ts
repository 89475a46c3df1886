import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { makeCa } from '../../support/cluster/certificates.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { makeIndex, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../../support/cluster/plain.ts'
import { temporary } from '../run.ts'
import { azureJobs, gitlabJobs, jenkinsJobs, type Secrets } from './ci-samples.ts'
import { codeBlocks } from './commands.ts'
import { ROOT, read } from './files.ts'

/**
 * The commands of the documents, run as they stand by a shell, as dry runs against embedded clusters and registries.
 * Names of the documents stand for those; files that the text tells to make are there.
 */

// A dozen programs of their own, several at once.
jest.setTimeout(60_000)

const IMAGE = makeIndex({ seed: 31 })
const SOURCES = ['test/api', 'test/web', 'app/x']

let test_: EmbeddedCluster
let production: EmbeddedCluster
let left: EmbeddedRegistry
let right: EmbeddedRegistry
let registryCa: string

beforeAll(async () => {
  ;[test_, production] = await Promise.all([startCluster({ name: 'test' }), startCluster({ name: 'production' })])
  const ca = await makeCa('registries')
  registryCa = ca.cert
  const tls = await ca.issue({ names: ['127.0.0.1'] })
  ;[left, right] = await Promise.all([startRegistry({ tls }), startRegistry({ tls })])
  for (const name of SOURCES)
    for (const into of [test_, left]) for (const tag of ['1.9.2', 'v1']) seedImage(into, name, IMAGE, tag)
})

afterAll(async () => {
  await Promise.all([test_, production, left, right].map((each) => each.close()))
})

const PAGES = ['README.md', 'docs/getting-started.md', 'docs/migrating.md', 'docs/events.md', 'docs/registries.md']
const CALL = /(?:^|\n)(?:node dist\/index\.js|image-promote) [^;]*\b(?:test|app)\/\w+:/

/** Every call of the program with images, with the lines that belong to it; `oc` and `git` have run before. */
const COMMANDS = [
  ...PAGES.flatMap((page) =>
    codeBlocks(read(page))
      .filter(({ language, text }) => language === 'sh' && CALL.test(text) && !text.startsWith('aws '))
      .map(({ text }, index) => [`${page}, command ${index + 1}`, text] as const),
  ),
  ['docs/samples/promote.sh', `sh docs/samples/promote.sh 1.9.2`] as const,
]

describe('as a dry run works', () => {
  test.concurrent.each(COMMANDS)('%s', async (_, text) => {
    if (process.platform === 'win32') return
    const run = await runShell(text)
    expect([run.code, run.stderr]).toEqual([0, expect.stringMatching(/Dry run: \d to promote|"dryRun":true/)])
  })
})

describe('as a dry run works the script of', () => {
  const secrets: Secrets = {
    user: 'developer',
    password: 'developer-password',
    token: '$PRODUCTION_TOKEN',
    passwordFile: '.config/image-promote/test-password',
    tokenFile: '.config/image-promote/production-token',
  }
  const jobs = [...gitlabJobs(secrets), ...jenkinsJobs(secrets), ...azureJobs(secrets)]
  test.concurrent.each(jobs.map((job) => [job.name, job] as const))('%s', async (_, { script, env }) => {
    if (process.platform === 'win32') return
    const token = production.token('developer')
    const given = Object.entries(env).map(([name, value]) => [
      name,
      adapted(value).replace('$PRODUCTION_TOKEN', token).replace('promoter', 'developer'),
    ])
    const run = await runShell(
      script.replace(/\/opt\/image-promote|image-promote\/dist/g, 'dist'),
      Object.fromEntries(given),
    )
    expect([run.code, run.stderr]).toEqual([0, expect.stringMatching(/Dry run: \d to promote/)])
  })

  test('each sample, planning and promoting', () => expect(jobs).toHaveLength(6))
})

test('the pages have their commands', () => expect(COMMANDS.length).toBeGreaterThan(11))

test('a command with a mistake fails', async () => {
  if (process.platform === 'win32') return
  expect(
    (await runShell('node dist/index.js --source-registry registry.test.example -- nothing/here=x')).code,
  ).not.toBe(0)
})

async function runShell(text: string, more: Readonly<Record<string, string>> = {}) {
  const folder = temporary()
  const secrets = join(folder.path, '.config', 'image-promote')
  mkdirSync(secrets, { recursive: true })
  const file = (name: string, content: string) => writeFileSync(join(secrets, name), content)
  file('test-password', test_.users.developer ?? '')
  file('test-token', test_.token('developer'))
  file('production-token', production.token('developer'))
  mkdirSync(join(folder.path, '.kube'))
  kubeconfig(join(folder.path, '.kube', 'test'), test_)
  kubeconfig(join(folder.path, '.kube', 'production'), production)
  kubeconfig(join(folder.path, '.kube', 'config'), test_, production)
  for (const name of ['test', 'production']) folder.file(`${name}-auth.json`, '{"auths":{}}')
  folder.file('production-ca.pem', production.ca.bundle)
  symlinkSync(join(ROOT, 'dist'), join(folder.path, 'dist'))
  mkdirSync(join(folder.path, 'bin'))
  symlinkSync(join(ROOT, 'dist', 'index.js'), join(folder.path, 'bin', 'image-promote'))
  mkdirSync(join(folder.path, 'docs', 'samples'), { recursive: true })
  folder.file('docs/samples/promote.sh', adapted(read('docs/samples/promote.sh')))
  const { PATH = '' } = process.env
  const clusters = {
    IMAGE_PROMOTE_SOURCE_CA: test_.ca.bundle + registryCa,
    IMAGE_PROMOTE_DESTINATION_CA: production.ca.bundle + registryCa,
  }
  const env = {
    PATH: `${join(folder.path, 'bin')}:${PATH}`,
    HOME: folder.path,
    IMAGE_PROMOTE_DRY_RUN: 'true',
    ...clusters,
    ...more,
  }
  const script = adapted(text)
    // What these do was done above.
    .replace(/^(?:git|oc|cd|mkdir|\(umask) .*\n/gm, '')
    // So that the events are looked at, too.
    .replace(/ 2> \S+$/m, '')
  const child = spawn('sh', ['-e', '-c', script], { cwd: folder.path, env })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    stderr += chunk
  })
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve))
  folder.remove()
  return { code, stderr }
}

/** The names of the documents, as they are reachable here. */
function adapted(text: string): string {
  return text
    .replaceAll('https://api.test.example:6443', test_.api.origin)
    .replaceAll('https://api.production.example:6443', production.api.origin)
    .replaceAll('--source-username promoter', '--source-username developer')
    .replaceAll('registry.test.example', left.host)
    .replaceAll('registry.production.example', right.host)
}

/** With a context for each cluster: `test`, which is the current one, and `prod`. */
function kubeconfig(path: string, ...clusters: EmbeddedCluster[]): void {
  const named = <T>(make: (cluster: EmbeddedCluster, name: string) => T) =>
    clusters.map((cluster, index) => {
      const name = ['test', 'prod'][index] ?? ''
      return { name, ...make(cluster, name) }
    })
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    contexts: named((_, name) => ({ context: { cluster: name, user: name } })),
    clusters: named(({ api, ca }) => ({
      cluster: {
        server: api.origin,
        'certificate-authority-data': Buffer.from(ca.bundle).toString('base64'),
      },
    })),
    users: named((cluster) => ({ user: { token: cluster.token('developer') } })),
  }
  writeFileSync(path, JSON.stringify(config))
}

test('the filter of docs/events.md adds up what is planned and what was sent', () => {
  if (spawnSync('jq', ['--version']).status !== 0) return
  const block = codeBlocks(read('docs/events.md')).find(({ text }) => text.startsWith('jq '))
  const folder = temporary()
  const steps = [
    { do: 'copy', size: 5 },
    { do: 'skip', size: 9 },
    { do: 'copy', size: 2 },
  ]
  const events = [
    { event: 'plan', steps },
    { event: 'plan', steps: [] },
    { event: 'bytes', sent: 3 },
    { event: 'bytes', sent: 1 },
  ]
  folder.file('events.jsonl', events.map((event) => `${JSON.stringify(event)}\n`).join(''))
  const { stdout, stderr } = spawnSync('sh', ['-c', block?.text ?? ''], { cwd: folder.path, encoding: 'utf8' })
  folder.remove()
  expect([stderr, JSON.parse(stdout)]).toEqual(['', { wanted: 7, sent: 4 }])
})
