import { once } from 'node:events'
import { cpSync, readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import type { Report } from '../../src/report/model.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { seedSigned, textOf } from '../support/signed-layout.ts'
import { BUNDLE, github, loadedBy, plain, promoted, start, temporary } from './run.ts'
import { at, byPassword, differences, options, tagOf, variables, writes } from './sides.ts'
import { tekton } from './tekton.ts'
import { commandWithin, promotedWithin } from './within.ts'

/**
 * The committed bundle as a black box, under each of its hosts. What a process adds nothing to runs in this process.
 * Every test has repositories of its own.
 */

const INDEX = makeIndex({ seed: 11 })
const IMAGE = makeImage({ seed: 12 })
const BASIC = { kind: 'basic', user: 'robot', password: 'robot-pässword' } as const

// Children start slowly where many things run at once.
jest.setTimeout(30_000)

let dev: EmbeddedCluster
let prod: EmbeddedCluster
let left: EmbeddedRegistry
let right: EmbeddedRegistry
let guarded: EmbeddedRegistry

beforeAll(async () => {
  ;[dev, prod] = await Promise.all([startCluster({ name: 'dev' }), startCluster({ name: 'prod' })])
  ;[left, right, guarded] = await Promise.all([startRegistry(), startRegistry(), startRegistry({ access: BASIC })])
  for (const name of ['github', 'masks', 'tekton', 'quiet']) seedImage(dev, `dev/${name}`, INDEX, '1.0')
  for (const into of [left, guarded]) seedImage(into, 'team/app', IMAGE, 'v1')
  seedImage(left, 'team/multi', INDEX, 'v1')
})

afterAll(async () => {
  await Promise.all([dev, prod, left, right, guarded].map((each) => each.close()))
  expect([...dev.unexpected, ...prod.unexpected]).toEqual([])
  expect([left, right, guarded].flatMap(({ violations }) => violations)).toEqual([])
})

/** The plain host between the two registries without credentials. */
const between = (more: Record<string, string> = {}) => ({ env: variables(options(at(left), at(right), more)) })

describe('under GitHub Actions', () => {
  test.concurrent('an index goes from one cluster to another, and the outputs tell everything', async () => {
    const folder = temporary()
    const report = join(folder.path, 'reports', 'promotion.json')
    const images = '# what goes to production\ndev/github:1.0=prod/github:1.0\n'
    const given = options(byPassword(dev), byPassword(prod), { images, report, 'dry-run': 'false' })
    const run = await github(given)

    expect([run.code, run.stderr]).toEqual([0, ''])
    const written = JSON.parse(readFileSync(report, 'utf8')) as Report
    folder.remove()
    expect(run.outputs).toEqual({ digest: INDEX.root.digest, images: expect.any(String), promoted: '1', report })
    expect(run.rows).toEqual(written.images)
    expect(run.rows).toMatchObject([
      { destination: `${prod.registryHost}/prod/github:1.0`, digest: INDEX.root.digest, status: 'promoted' },
    ])
    expect(await differences(prod, 'prod/github', INDEX)).toEqual([])
    expect(tagOf(prod, 'prod/github', '1.0')).toBe(INDEX.root.digest)
    expect(run.summary).toMatch(/^## ✅ Images promoted\n/)
    expect(run.summary).toContain('| ✅ promoted | <code>prod/github:1.0</code> |')
  })

  test.concurrent('secrets are masked before anything else is printed, and never printed', async () => {
    const given = options(byPassword(dev, 'jane'), byPassword(prod), { images: 'dev/masks:1.0=prod/masks:1.0' })
    const run = await github({ ...given, 'log-level': 'debug' })

    expect([run.code, run.stderr]).toEqual([0, ''])
    const lines = run.stdout.split(/\r?\n/)
    const masks = lines.flatMap((line, index) => (line.startsWith('::add-mask::') ? [{ line, index }] : []))
    const secrets = masks.map(({ line }) => decodeURIComponent(line.slice('::add-mask::'.length)))
    expect(secrets).toEqual(expect.arrayContaining(['pa:ss wörd', 'developer-password']))
    // Two passwords, and the token that each of them brought.
    expect(secrets.filter((secret) => secret.startsWith('sha256~')).length).toBeGreaterThanOrEqual(2)
    expect(lines[0]).toMatch(/^::add-mask::/)
    const others = lines.filter((line) => !line.startsWith('::add-mask::')).join('\n')
    expect(others).toContain('debug: ')
    const told = [others, run.summary, JSON.stringify(run.outputs)].join('\n')
    expect(secrets.filter((secret) => told.includes(secret))).toEqual([])
    const firstOther = lines.findIndex((line) => !line.startsWith('::add-mask::'))
    const inputs = masks.filter(({ index }) => index < firstOther).map(({ line }) => line)
    expect(inputs).toEqual(expect.arrayContaining(['::add-mask::pa:ss wörd', '::add-mask::developer-password']))
  })

  test.concurrent('one image of several that fails makes the step fail with 1, and is an annotation', async () => {
    const images = 'team/app:v1=gh/one:v1, team/absent:v1=gh/two:v1'
    const run = await github(options(at(left), at(right), { images }))
    expect([run.code, run.stderr]).toEqual([1, ''])
    expect(run.outputs).toMatchObject({ digest: IMAGE.root.digest, promoted: '1' })
    expect(run.rows).toMatchObject([
      { status: 'promoted', error: null },
      { status: 'failed', digest: null, error: { code: 'NOT_FOUND', side: 'source' } },
    ])
    const annotations = run.stdout.split(/\r?\n/).filter((line) => line.startsWith('::error'))
    expect(annotations).toEqual([expect.stringContaining(`title=${right.host.replace(':', '%3A')}/gh/two%3Av1::`)])
    expect(await differences(right, 'gh/one', IMAGE)).toEqual([])
    expect(right.tags('gh/two').size).toBe(0)
  })

  test.concurrent("the runner's OIDC token is asked for, without the undici that is not in the bundle", async () => {
    const asked: unknown[] = []
    const runner = createServer(({ url, headers }, response) => {
      asked.push([url, headers.authorization])
      response.end(JSON.stringify({ value: 'header.claims.signature' }))
    })
    await once(runner.listen(0, '127.0.0.1'), 'listening')
    const { port } = runner.address() as AddressInfo
    const into = { cluster: 'https://127.0.0.1:1', 'oidc-audience': 'openshift' }
    const given = options(at(left), into, { images: 'team/app:v1=gh/oidc:v1', retries: '0' })
    const run = await github(given, {
      ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${port}/token?v=1`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'request',
    })
    runner.close()
    expect(asked).toEqual([['/token?v=1&audience=openshift', 'Bearer request']])
    expect(run.stdout).toContain('::add-mask::header.claims.signature')
    expect(run.rows).toMatchObject([{ status: 'failed', error: { code: 'NETWORK', side: 'destination' } }])
  })

  test.concurrent('a report that cannot be written fails the step before anything moves: it is the way back', async () => {
    const folder = temporary()
    const report = join(folder.file('a-file', ''), 'report.json')
    const run = await github(options(at(left), at(right), { images: 'team/app:v1=gh/unreported:v1', report }))
    folder.remove()
    expect([run.code, run.stderr]).toEqual([1, ''])
    expect(run.stdout.split(/\r?\n/)).toContain(
      `::error::IO: ${report} could not be written: a part of the path is not a folder`,
    )
    expect(run.rows).toEqual([])
    expect(right.tags('gh/unreported').size).toBe(0)
  })
})

describe('as the step of the Tekton Task', () => {
  test.concurrent('user, password and CA come from workspaces, results and reports go to files', async () => {
    const token = prod.token('developer')
    const run = await tekton({
      images: ['dev/tekton:1.0=prod/tekton:1.0'],
      params: { 'source-cluster': dev.api.origin, 'destination-cluster': prod.api.origin },
      workspaces: {
        'source-auth': { username: 'jane\n', password: 'pa:ss wörd\n', 'ca.crt': dev.ca.bundle },
        'destination-auth': { token: `${token}\n`, 'ca.crt': prod.ca.bundle },
        report: {},
      },
    })

    expect([run.code, run.stdout]).toEqual([0, ''])
    expect(run.stderr).toContain('Promoted 1, up to date 0, failed 0.')
    const digest = INDEX.root.digest
    const report = expect.stringMatching(/report[\\/]report\.json$/)
    expect(run.results).toEqual({ digest, images: expect.any(String), promoted: '1', report })
    expect(run.rows).toMatchObject([{ destination: `${prod.registryHost}/prod/tekton:1.0`, status: 'promoted' }])
    expect(JSON.parse(run.reports['report.json'] ?? '')).toMatchObject({ status: 'done', images: run.rows })
    expect(run.reports['summary.md']).toMatch(/^## ✅ Images promoted\n/)
    expect(await differences(prod, 'prod/tekton', INDEX)).toEqual([])
    expect(run.stderr).not.toContain('pa:ss wörd')
    expect(run.stderr).not.toContain(token)
  })

  test.concurrent('a docker secret and params are enough where there are no clusters, and no workspace is needed', async () => {
    const auth = Buffer.from(`${BASIC.user}:${BASIC.password}`).toString('base64')
    const run = await tekton(
      {
        images: ['team/app:v1=tkn/app:v1', 'team/app:v1=tkn/other:v2'],
        params: { 'source-registry': guarded.url.origin, 'destination-registry': right.url.origin, jobs: '2' },
        workspaces: { 'source-auth': { '.dockerconfigjson': JSON.stringify({ auths: { [guarded.host]: { auth } } }) } },
      },
      commandWithin,
    )
    expect([run.code, run.stdout]).toEqual([0, ''])
    expect(run.results).toMatchObject({ digest: IMAGE.root.digest, promoted: '2', report: '' })
    expect(run.reports).toEqual({})
    expect(await differences(right, 'tkn/app', IMAGE)).toEqual([])
    expect(await differences(right, 'tkn/other', IMAGE)).toEqual([])
  })

  test.concurrent('a kubeconfig and the ca workspace open a cluster', async () => {
    const token = dev.token('developer')
    const kubeconfig = JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'dev',
      contexts: [{ name: 'dev', context: { cluster: 'dev', user: 'me' } }],
      clusters: [{ name: 'dev', cluster: { server: dev.api.origin } }],
      users: [{ name: 'me', user: { token } }],
    })
    const run = await tekton({
      images: ['dev/tekton:1.0=tkn/from-kubeconfig:1.0'],
      params: { 'destination-registry': right.url.origin },
      workspaces: { 'source-auth': { kubeconfig }, ca: { 'a.crt': dev.ca.bundle, 'readme.txt': 'not a certificate' } },
    })
    expect([run.code, run.stdout, run.results.digest]).toEqual([0, '', INDEX.root.digest])
    expect(await differences(right, 'tkn/from-kubeconfig', INDEX)).toEqual([])
    expect(dev.state.tokens.has(token)).toBe(true)
  })

  test.concurrent('an image that fails leaves all results, and a step that fails with 3', async () => {
    const run = await tekton(
      {
        images: ['team/absent:v1=tkn/absent:v1', 'team/app:v1=tkn/third:v1'],
        params: { 'source-registry': left.url.origin, 'destination-registry': right.url.origin },
      },
      commandWithin,
    )
    expect([run.code, run.stdout]).toEqual([3, ''])
    expect(run.results).toMatchObject({ digest: '', promoted: '1', report: '' })
    expect(run.rows.map(({ status }) => status)).toEqual(['failed', 'promoted'])
  })
})

describe('as a command', () => {
  test.concurrent('`--output json` prints the report and nothing else on stdout, the log on stderr', async () => {
    const run = await plain(['--output', 'json', '--', 'team/app:v1=cli/json:v1'], between())
    expect(run.code).toBe(0)
    expect(JSON.parse(run.stdout)).toMatchObject({ schema: 'image-promote/report/v1', status: 'done' })
    expect(run.stderr.split('\n')).toEqual([
      expect.stringMatching(/^Plan: 1 image, 1 to promote, 0 up to date\. /),
      expect.stringMatching(/^\[1\/1\] promoted .*\/cli\/json:v1 new → sha256:[0-9a-f]{12} \(linux\/amd64\): /),
      expect.stringMatching(/^Promoted 1, up to date 0, failed 0\. /),
      '',
    ])
  })

  test.concurrent('without it nothing is on stdout', async () => {
    const run = await commandWithin(['--', 'team/app:v1=cli/text:v1'], between())
    expect([run.code, run.stdout]).toEqual([0, ''])
    expect(run.stderr).toContain('Promoted 1')
  })

  test.concurrent('`--progress quiet` prints nothing at all when all is well', async () => {
    const env = variables(options(byPassword(dev), byPassword(prod)))
    const run = await plain(['--progress', 'quiet', '--', 'dev/quiet:1.0=prod/quiet:1.0'], { env })
    expect([run.code, run.stdout, run.stderr]).toEqual([0, '', ''])
    expect(await differences(prod, 'prod/quiet', INDEX)).toEqual([])
  })

  test.concurrent('`--progress quiet` prints errors and nothing but errors', async () => {
    const argv = ['--progress', 'quiet', '--', 'team/app:v1=cli/quiet:v1', 'team/absent:v1=cli/quiet:v2']
    const run = await commandWithin(argv, between())
    expect([run.code, run.stdout]).toEqual([3, ''])
    expect(run.stderr).toMatch(/^error: Failed: \S+\/cli\/quiet:v2 \[NOT_FOUND, source\]\n/)
    expect(run.stderr.split('\n').filter((line) => line !== '' && !/^(error: | {2})/.test(line))).toEqual([])
  })

  test.concurrent('`--progress json` prints one event a line, each of which parses', async () => {
    const argv = ['--progress', 'json', '--', 'team/multi:v1=cli/events:v1', 'team/absent:v1=cli/events:v2']
    const run = await commandWithin(argv, between())
    expect([run.code, run.stdout]).toEqual([3, ''])
    const lines = run.stderr.split('\n')
    expect(lines.pop()).toBe('')
    const events = lines.map((line) => JSON.parse(line) as Readonly<{ event: string; image?: number }>)
    const kinds = new Set(events.map(({ event }) => event))
    expect([...kinds].sort()).toEqual(['bytes', 'done', 'image', 'plan', 'step'])
    expect(events.filter(({ event }) => event === 'image').map(({ image }) => image)).toEqual(
      expect.arrayContaining([0, 1]),
    )
    expect(events.at(-1)).toMatchObject({ event: 'done', report: { status: 'partial' } })
  })

  test.concurrent('one image of several that fails keeps no other from its place: exit code 3', async () => {
    const lines = ['team/app:v1=several/app:v1', 'team/absent:v1=several/absent:v1', 'team/multi:v1=several/multi:v1']
    const run = await promotedWithin(['--', ...lines], between())
    expect(run.code).toBe(3)
    expect(run.report.status).toBe('partial')
    expect(run.report.images.map(({ status }) => status)).toEqual(['promoted', 'failed', 'promoted'])
    expect(await differences(right, 'several/app', IMAGE)).toEqual([])
    expect(await differences(right, 'several/multi', INDEX)).toEqual([])
  })

  test.concurrent('when every image fails it ends with 1', async () => {
    const run = await promotedWithin(['--', 'team/absent:v1=no/one:v1', 'team/app:v9=no/two:v1'], between())
    expect(run.code).toBe(1)
    expect(run.report).toMatchObject({
      status: 'failed',
      images: [{ error: { code: 'NOT_FOUND' } }, { error: { code: 'NOT_FOUND' } }],
    })
    expect(right.store.repositories.has('no/one')).toBe(false)
  })

  test.concurrent('what nobody waits for any more ends no run: with fail-fast, images after a selection of nothing', async () => {
    const lines = ['team/app:nothing*=no/three', 'team/absent:v1=no/four:v1']
    const run = await promoted(['--fail-fast', '--', ...lines], between())
    expect([run.code, run.stderr.match(/INTERNAL|unexpected/g)]).toEqual([1, null])
    expect(run.report.images.map(({ error }) => error?.code).sort()).toEqual(['ABANDONED', 'NOT_FOUND'])
  })

  test.concurrent('bad inputs end with 2, all of them told at once, and nothing is contacted', async () => {
    const [source, destination] = await Promise.all([startRegistry(), startRegistry()])
    const argv = ['--jobs', '0', '--source-password', 'x', '--no-such', '--', 'Team/App:v1', 'a/b:', 'c/d:1@e']
    const run = await commandWithin(argv, { env: variables(options(at(source), at(destination))) })
    await Promise.all([source.close(), destination.close()])
    expect([run.code, run.stdout]).toEqual([2, ''])
    const [first = '', ...problems] = run.stderr.trimEnd().split('\n')
    expect(first).toBe(`error: ${problems.length} problems with the inputs:`)
    for (const part of ['--jobs', '--source-password', '--no-such', 'Team/App:v1', 'a/b:', 'c/d:1@e'])
      expect(problems.filter((line) => line.includes(part))).not.toEqual([])
    expect([...source.requests, ...destination.requests]).toEqual([])
  })
})

describe('with only dist/ present', () => {
  const dist = dirname(BUNDLE)

  test('dist/ is the bundle, its package.json and the licenses, and evaluates no text', () => {
    expect(readdirSync(dist).sort()).toEqual(['index.js', 'licenses.txt', 'package.json'])
    expect(JSON.parse(readFileSync(join(dist, 'package.json'), 'utf8'))).toEqual({ type: 'module' })
    expect(readFileSync(BUNDLE, 'utf8').search(/eval\("require"\)/)).toBe(-1)
  })

  test.concurrent('a promotion makes no code from text', async () => {
    const folder = temporary()
    const spy = folder.file(
      'spy.cjs',
      `const tell = () => process.stderr.write('CODE FROM TEXT')
globalThis.eval = tell
globalThis.Function = new Proxy(Function, { construct: tell, apply: tell })`,
    )
    const env = { ...between().env, NODE_OPTIONS: `--require ${JSON.stringify(spy)}` }
    const run = await promoted(['--', 'team/app:v1=strict/app:v1'], { env })
    folder.remove()
    expect([run.code, run.stderr.match(/CODE FROM TEXT/)]).toEqual([0, null])
  })

  test.concurrent.each([
    ['cos-new', 0, 'promoted'],
    ['cos-newrsa', 1, 'SIGNATURE_REJECTED'],
  ])('a key that has to have signed: %s, exit code %i, %s', async (tag, code, expected) => {
    const digest = seedSigned(left, `signed/${tag}`, tag)
    const run = await promoted(['--', `signed/${tag}:1`], between({ 'signer-key': textOf('cosign.pub') }))
    const [row] = run.report.images
    expect([run.code, row?.error?.code ?? row?.status]).toEqual([code, expected])
    expect(run.stderr).toMatch(/rule 1: signed by signer-key — (?:yes, key [0-9a-f]{8}|no: The attachment sha256:)/)
    expect(right.tags(`signed/${tag}`).get('1')).toBe(code === 0 ? digest : undefined)
  })

  test('of undici it has the parts that are used, and a stand-in for what @actions/http-client imports', () => {
    const text = readFileSync(BUNDLE, 'utf8')
    expect(text).toContain('undici is not in the bundle as a whole')
    expect(text).toContain('llhttp')
    for (const part of ['EventSource', 'WebSocketStream', 'CacheStorage', 'MockAgent', 'EnvHttpProxyAgent'])
      expect([part, text.search(new RegExp(`class ${part}\\b`))]).toEqual([part, -1])
  })

  test.concurrent.each([
    [['--version'], ['crypto', 'http', 'http2', 'tls', 'vm']],
    [['--help'], ['crypto', 'http', 'http2', 'tls', 'vm']],
    [
      ['--jobs', '0', '--', 'a/b:1'],
      ['child_process', 'http', 'http2', 'tls', 'zlib'],
    ],
  ])('%j loads nothing that only a promotion needs', async (argv, unneeded) => {
    const run = await loadedBy(argv)
    expect(run.stdout + run.stderr).not.toBe('')
    expect(run.loaded).toContain('NativeModule fs')
    expect(unneeded.filter((name) => run.loaded.includes(`NativeModule ${name}`))).toEqual([])
  })

  test('it runs from any folder, without a home, and says no word too much', async () => {
    const folder = temporary()
    cpSync(dist, join(folder.path, 'tool'), { recursive: true })
    const bundle = join(folder.path, 'tool', 'index.js')
    const empty = { HOME: '', USERPROFILE: '' }
    const cwd = process.platform === 'win32' ? folder.path : '/'
    const registries = ['--source-registry', left.url.origin, '--destination-registry', right.url.origin]
    const argv = [...registries, '--progress', 'quiet', '--', 'team/multi:v1=anywhere/multi:v1']
    const [version, help, run] = await Promise.all(
      [['--version'], ['--help'], argv].map((each) => plain(each, { bundle, cwd, env: empty })),
    )
    const files = readdirSync(folder.path, { recursive: true }).sort()
    folder.remove()
    const stdout = expect.stringMatching(/^image-promote \d+\.\d+\.\d+\n$/)
    expect(version).toEqual({ code: 0, stdout, stderr: '' })
    expect(help).toEqual({ code: 0, stdout: expect.stringContaining('--source-registry'), stderr: '' })
    expect(run).toEqual({ code: 0, stdout: '', stderr: '' })
    expect(await differences(right, 'anywhere/multi', INDEX)).toEqual([])
    const tool = ['index.js', 'licenses.txt', 'package.json'].map((name) => join('tool', name))
    expect(files).toEqual(['tool', ...tool])
  })
})

describe('stopped in the middle of a transfer', () => {
  test.concurrent.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s: it logs out, leaves no upload behind and no tag, and ends with %i', async (signal, code) => {
    const [source, destination] = await Promise.all([startCluster(), startCluster()])
    const image = makeImage({ seed: 40, layers: [300_000, 300_001, 300_002] })
    seedImage(source, 'dev/app', image, '1.0')
    const given = destination.token('developer')
    const match = { method: ['PUT', 'PATCH'], path: /blobs\/uploads/ }
    destination.faults.registry.add({ match, do: { kind: 'stall-request', after: 1000 } })
    const env = variables(options(byPassword(source), byPassword(destination)))
    const { child, ended } = start(['--output', 'json', '--', 'dev/app:1.0=prod/app:1.0'], { env })
    // Until there is something half sent.
    while (destination.stats.bytesIn < 1000) await wait(1)
    const asked = Date.now()
    child.kill(signal)
    const run = await ended
    // A runner kills a job that is cancelled after 7.5 s.
    expect(Date.now() - asked).toBeLessThan(5000)
    await Promise.all([source.close(), destination.close()])

    // Windows has no signals: `kill` ends the process.
    if (process.platform === 'win32') return expect(run.code).toBeNull()
    expect(run.code).toBe(code)
    expect(run.stderr).toContain(`warning: ${signal}: stopping`)
    expect(JSON.parse(run.stdout)).toMatchObject({
      status: 'cancelled',
      images: [{ status: 'cancelled', digest: null, error: { code: 'CANCELLED' } }],
    })
    expect([...source.state.tokens.keys()]).toEqual([])
    expect([...destination.state.tokens.keys()]).toEqual([given])
    expect(destination.openUploads()).toBe(0)
    expect(tagOf(destination, 'prod/app', '1.0')).toBeUndefined()
    expect(writes(destination.requests).filter((line) => line.includes('/manifests/'))).toEqual([])
    expect([...source.unexpected, ...destination.unexpected]).toEqual([])
  })
})
