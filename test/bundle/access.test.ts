import { mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import type { Access } from '../support/cluster/access.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { type Folder, promoted, temporary, type Variables } from './run.ts'
import { at, byPassword, byToken, differences, options, type SideOptions, variables, writes } from './sides.ts'
import { within } from './within.ts'

/** Every way in, on both sides. What is promoted is an index; each test has repositories of its own. */

// Children start slowly where many things run at once.
jest.setTimeout(30_000)

const INDEX = makeIndex({ seed: 21 })
const JANE = { user: 'jane', password: 'pa:ss wörd' }
const BASIC: Access = { kind: 'basic', ...JANE }
const TOKENS: Access = { kind: 'token', ...JANE }

let clusters: [EmbeddedCluster, EmbeddedCluster]
let open: EmbeddedRegistry
let basic: [EmbeddedRegistry, EmbeddedRegistry]
let tokens: [EmbeddedRegistry, EmbeddedRegistry]
let pulls: EmbeddedRegistry
let robots: EmbeddedRegistry
let folder: Folder

const start = (access?: Access) => startRegistry(access === undefined ? {} : { access })

beforeAll(async () => {
  folder = temporary()
  clusters = await Promise.all([startCluster(), startCluster()])
  open = await start()
  basic = [await start(BASIC), await start(BASIC)]
  tokens = [await start(TOKENS), await start(TOKENS)]
  pulls = await start({ kind: 'token', ...JANE, anonymousPull: true })
  robots = await start({ kind: 'basic', user: 'robot$team', password: 'r0b0t' })
  for (const from of [clusters[0], basic[0], tokens[0], pulls]) seedImage(from, 'dev/app', INDEX, '1.0')
  seedImage(clusters[1], 'dev/app', INDEX, '1.0')
})

afterAll(async () => {
  const registries = [open, ...basic, ...tokens, pulls, robots]
  await Promise.all([...clusters, ...registries].map((each) => each.close()))
  folder.remove()
  expect(clusters.flatMap(({ unexpected }) => unexpected)).toEqual([])
  expect(registries.flatMap(({ violations }) => violations)).toEqual([])
})

type Place = EmbeddedCluster | EmbeddedRegistry

async function expectPromoted(to: Place, path: string, from: SideOptions, into: SideOptions, env: Variables = {}) {
  const run = await within(options(from, into), [`dev/app:1.0=${path}:1.0`], env)
  expect([run.code, run.warnings]).toEqual([0, []])
  expect(run.report.images).toMatchObject([{ status: 'promoted', digest: INDEX.root.digest }])
  expect(await differences(to, path, INDEX)).toEqual([])
}

const base64 = (text: string) => Buffer.from(text).toString('base64')
const login = (password = JANE.password) => ({ auth: base64(`${JANE.user}:${password}`) })
const named = { username: JANE.user, password: JANE.password }

describe('a credential that is given', () => {
  test('user and password of a cluster, on both sides', async () => {
    await expectPromoted(
      clusters[1],
      'prod/password',
      byPassword(clusters[0], 'viewer'),
      byPassword(clusters[1], 'jane'),
    )
  })

  test('token of a cluster, on both sides; it is as good afterwards as before', async () => {
    const given = clusters.map((cluster) => cluster.token('developer')) as [string, string]
    await expectPromoted(clusters[1], 'prod/token', byToken(clusters[0], given[0]), byToken(clusters[1], given[1]))
    expect(clusters.map(({ state }, side) => state.tokens.has(given[side] ?? ''))).toEqual([true, true])
  })

  test('token of a service account that may pull here and push there, but nothing else', async () => {
    const puller = clusters[0].serviceAccountToken('dev', 'puller')
    const pusher = clusters[1].serviceAccountToken('prod', 'pusher')
    clusters[1].state.streams.create('prod', 'account')
    await expectPromoted(clusters[1], 'prod/account', byToken(clusters[0], puller), byToken(clusters[1], pusher))
  })

  test('user and password of a registry that wants Basic', async () => {
    await expectPromoted(basic[1], 'prod/basic', at(basic[0], named), at(basic[1], named))
  })

  test('user and password of a registry with a token service, to which they go', async () => {
    await expectPromoted(tokens[1], 'prod/service', at(tokens[0], named), at(tokens[1], named))
    const shown = tokens.flatMap(({ requests }) => requests.filter(({ authorization }) => authorization === 'basic'))
    expect(shown.filter(({ path }) => !path.startsWith('/token?'))).toEqual([])
  })

  test('user and token, as Basic', async () => {
    await expectPromoted(
      robots,
      'prod/app',
      at(basic[0], named),
      at(robots, { username: 'robot$team', token: 'r0b0t' }),
    )
  })

  test('token alone, as Bearer, at a registry that is named', async () => {
    const [from, to] = clusters
    const side = ({ registryHost, ca }: EmbeddedCluster, token: string) => ({
      registry: registryHost,
      token,
      ca: ca.registry,
    })
    to.state.streams.create('prod', 'bearer')
    await expectPromoted(to, 'prod/bearer', side(from, from.token('viewer')), side(to, to.token('jane')))
  })

  test('both sides in one cluster, each with a credential that is good for its side alone', async () => {
    const [cluster] = clusters
    cluster.state.streams.create('prod', 'same-host')
    await expectPromoted(cluster, 'prod/same-host', byPassword(cluster, 'puller'), byPassword(cluster, 'pusher'))
  })
})

describe('certificates', () => {
  test('none is checked on a side that is told so, with a warning', async () => {
    const cluster = clusters[0].api.origin
    const source = { cluster, token: clusters[0].token('viewer'), 'insecure-skip-tls-verify': 'true' }
    const run = await within(options(source, at(open)), ['dev/app:1.0=prod/unchecked:1.0'])
    expect([run.code, run.warnings]).toEqual([0, [expect.stringContaining('source: certificates are not checked')]])
    expect(await differences(open, 'prod/unchecked', INDEX)).toEqual([])
  })

  test("one side's CA never vouches for the other", async () => {
    const [from, to] = clusters
    const both = from.ca.bundle + to.ca.bundle
    const destination = { cluster: to.api.origin, token: to.token('developer') }
    const given = options({ ...byPassword(from), ca: both }, destination, { retries: '0' })
    const run = await within(given, ['dev/app:1.0=prod/untrusted:1.0'])
    expect(run.code).toBe(1)
    expect(run.report.images).toMatchObject([{ status: 'failed', error: { code: 'TLS', side: 'destination' } }])
  })
})

describe('an auth file', () => {
  const file = (name: string, content: object) => folder.file(name, JSON.stringify(content))

  test("docker's config.json, one for each side", async () => {
    const [from, to] = basic
    const source = file('source.json', { auths: { [`http://${from.host}/v2/`]: login() } })
    const destination = file('destination.json', { auths: { [to.host]: login() }, credsStore: 'not-installed' })
    await expectPromoted(to, 'prod/docker', at(from, { 'auth-file': source }), at(to, { 'auth-file': destination }))
  })

  test("containers' auth.json, whose longest key counts", async () => {
    const [from, to] = basic
    const wrong = login('wrong')
    const auths = {
      [from.host]: wrong,
      [`${from.host}/dev`]: login(),
      [to.host]: wrong,
      [`${to.host}/prod/a`]: login(),
    }
    const path = file('auth.json', { auths })
    await expectPromoted(to, 'prod/a', at(from, { 'auth-file': path }), at(to, { 'auth-file': path }))
  })

  test('one in the home folder, without an option', async () => {
    const home = join(folder.path, 'home')
    mkdirSync(join(home, '.docker'), { recursive: true })
    const auths = Object.fromEntries([...basic, ...tokens].map(({ host }) => [host, login()]))
    writeFileSync(join(home, '.docker', 'config.json'), JSON.stringify({ auths }))
    const env = { HOME: home, USERPROFILE: home }
    await expectPromoted(tokens[1], 'prod/home', at(basic[0]), at(tokens[1]), env)
  })

  test('credential helpers, for one host and for all', async () => {
    const env = helper('test', { Username: JANE.user, Secret: JANE.password })
    const one = file('helper.json', { credHelpers: { [basic[0].host]: 'test' } })
    const all = file('store.json', { credsStore: 'test' })
    const [from, to] = [at(basic[0], { 'auth-file': one }), at(tokens[1], { 'auth-file': all })]
    const given = variables(options(from, to, { progress: 'quiet' }))
    const run = await promoted(['--', 'dev/app:1.0=prod/helper:1.0'], { env: { ...given, ...env } })
    expect([run.code, run.stderr, run.report.status]).toEqual([0, '', 'done'])
    expect(await differences(tokens[1], 'prod/helper', INDEX)).toEqual([])
  })

  test('serves a registry that is not the cluster’s own, which never sees the cluster’s token', async () => {
    const path = file('foreign.json', { auths: { [basic[1].host]: login() } })
    const before = basic[1].requests.length
    const into = { ...byPassword(clusters[1]), ...at(basic[1], { 'auth-file': path }) }
    await expectPromoted(basic[1], 'prod/foreign', byPassword(clusters[0]), into)
    const shown = new Set(basic[1].requests.slice(before).map(({ authorization }) => authorization))
    expect(shown.has('bearer')).toBe(false)
  })
})

describe('without a credential', () => {
  test('an open registry, and one whose token service lets everybody pull', async () => {
    await expectPromoted(open, 'prod/anonymous', at(pulls), at(open))
  })

  test('what wants one says so, and nothing is written', async () => {
    const run = await within(options(at(pulls), at(basic[1])), ['dev/app:1.0=prod/nobody:1.0'])
    expect(run.code).toBe(1)
    expect(run.report.images).toMatchObject([
      { status: 'failed', error: { code: 'CREDENTIAL_MISSING', side: 'destination' } },
    ])
    expect(basic[1].store.repositories.has('prod/nobody')).toBe(false)
  })
})

test('what helps both sides alike is told once', async () => {
  // Port 1 is nobody's: both are refused in the same way.
  const nobody = 'http://127.0.0.1:1'
  const given = { 'source-registry': nobody, 'destination-registry': nobody, retries: '0' }
  const [image] = (await within(given, ['dev/app:1.0=prod/app:1.0'])).report.images
  expect(image?.error).toMatchObject({ code: 'NETWORK', message: expect.stringContaining('And the destination: ') })
  const hint = image?.error?.hint ?? ''
  expect(hint).not.toBe('')
  expect(hint.slice(0, hint.length / 2).trim()).not.toBe(hint.slice(hint.length / 2).trim())
})

describe('a credential that is wrong', () => {
  test('on both sides: both are told in one run, and nothing else is asked', async () => {
    const [from, to] = clusters
    const wrong = (cluster: EmbeddedCluster) => ({ ...byPassword(cluster), password: 'not-it' })
    const env = variables(options(wrong(from), wrong(to)))
    const run = await promoted(['--', 'dev/app:1.0=prod/wrong:1.0'], { env })
    expect(run.code).toBe(1)
    expect(run.report.images).toMatchObject([{ status: 'failed', error: { code: 'LOGIN_REJECTED', side: 'source' } }])
    expect(run.report.images[0]?.error?.message).toContain('And the destination: ')
    expect(run.stderr + run.stdout).not.toContain('not-it')
    expect(to.state.streams.get('prod', 'wrong')).toBeUndefined()
  })

  test.each([
    [
      'a token that was revoked',
      'TOKEN_REJECTED',
      () => byToken(clusters[1], 'sha256~AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'),
    ],
    [
      'the password of a registry',
      expect.stringMatching(/^(LOGIN|TOKEN)_REJECTED$/),
      () => at(basic[1], { ...named, password: 'wrong' }),
    ],
    ['the password for a token service', 'LOGIN_REJECTED', () => at(tokens[1], { ...named, password: 'wrong' })],
  ] as const)('%s', async (name, code, into) => {
    const path = `prod/${name.replaceAll(' ', '-')}`
    const run = await within(options(at(pulls), into()), [`dev/app:1.0=${path}:1.0`])
    expect(run.code).toBe(1)
    expect(run.report.images).toMatchObject([{ status: 'failed', error: { code, side: 'destination' } }])
    const asked = [...basic[1].requests, ...tokens[1].requests].filter((request) => request.path.includes(path))
    expect(writes(asked)).toEqual([])
  })
})

/** A credential helper on the PATH of the child. @returns its environment. */
function helper(name: string, answer: object): Variables {
  const bin = join(folder.path, 'bin')
  mkdirSync(bin, { recursive: true })
  const script = folder.file(
    `${name}.mjs`,
    `process.stdin.resume().on('end', () => console.log(${JSON.stringify(JSON.stringify(answer))}))\n`,
  )
  const program = join(bin, `docker-credential-${name}`)
  if (process.platform === 'win32') writeFileSync(`${program}.cmd`, `@"${process.execPath}" "${script}" %*\r\n`)
  else writeFileSync(program, `#!/bin/sh\nexec "${process.execPath}" "${script}" "$@"\n`, { mode: 0o755 })
  return { PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` }
}
