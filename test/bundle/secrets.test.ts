import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { run as runHost } from '../../src/host/run-promotion.ts'
import { digestOf } from '../../src/oci/digest.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import type { Fault } from '../support/cluster/faults.ts'
import { describe as describeManifest, makeImage, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { openRoom, type Room } from '../support/credentials.ts'
import { asCommand, asStep, asTask, type Finished } from './secrets/hosts.ts'
import { leaks } from './secrets/search.ts'
import { overhear, type Repeat, repeating, secretsIn, watchUrls } from './secrets/servers.ts'
import { byPassword, byToken, options, type SideOptions } from './sides.ts'
import { certificateUser } from './troubleshooting/answers.ts'
import { type NamingProxy, startProxy } from './troubleshooting/proxy.ts'
import type { Variables } from './troubleshooting/run.ts'

/**
 * No secret leaves a run, whichever way it came in and whatever a server does with it: not on a stream, in a report, a
 * summary, an output, a result, an event or the debug log, and in no address that any server was asked for.
 */

/** Characters that every encoding writes in its own way. */
const secret = () => `pä/s+s w"ö&r=d%~${randomBytes(15).toString('base64url')}`
const plainToken = () => randomBytes(30).toString('base64url')
const IMAGES = 'dev/app:1.0=out/app:1.0'

let cluster: EmbeddedCluster
let named: EmbeddedCluster
let guarded: EmbeddedRegistry
let target: EmbeddedRegistry
let proxy: NamingProxy
let room: Room
let heard: Set<string>
const robot = { user: 'robot', password: secret() }
const tunnel = { user: 'proxy-user', password: secret() }

beforeAll(async () => {
  ;[cluster, named, target, guarded, proxy] = await Promise.all([
    startCluster(),
    startCluster({
      hostnames: { api: 'api.example.test', oauth: 'oauth.example.test', registry: 'registry.example.test' },
    }),
    startRegistry(),
    startRegistry({ access: { kind: 'token', ...robot } }),
    startProxy([tunnel.user, tunnel.password].map(encodeURIComponent).join(':')),
  ])
  for (const each of [cluster, named, guarded]) seedImage(each, 'dev/app', makeImage({ seed: 31 }), '1.0')
  room = openRoom()
  heard = overhear(cluster, named, guarded, target)
})
afterAll(async () => {
  room.close()
  await Promise.all([cluster, named, guarded, target, proxy].map((each) => each.close()))
})

let urls: () => string
beforeEach(() => {
  heard.clear()
  urls = watchUrls(cluster, named, guarded, target)
})

/** Nothing of what was put in, nor of what the servers were shown. */
function expectClean({ produced }: Finished, given: readonly string[]): void {
  const all = { ...produced, 'requested URLs': urls(), 'tunnels of the proxy': proxy.asked.join('\n') }
  expect(Object.values(produced).join('').length).toBeGreaterThan(100)
  expect(leaks(all, [...given, ...heard])).toEqual([])
}

const destination = (): SideOptions => ({ registry: target.url.origin })
/** Every run writes to a place of its own, so that it has something to do. */
let runs = 0
function from(source: SideOptions, more: Variables = {}): Variables {
  runs++
  return options(source, destination(), { images: IMAGES.replace('out/', `out${runs}/`), retries: '1', ...more })
}

function kubeconfig(user: object): SideOptions {
  const config = {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
    clusters: [{ name: 'c', cluster: { server: cluster.api.origin } }],
    users: [{ name: 'u', user }],
  }
  return { kubeconfig: room.file(`kubeconfig-${runs}`, config), ca: cluster.ca.bundle }
}

describe('the search itself', () => {
  const value = secret()
  test.each<[string, string]>([
    ['plain', value],
    ['base64', Buffer.from(value).toString('base64')],
    ['base64 of a pair', Buffer.from(`user:${value}`).toString('base64')],
    ['base64url', Buffer.from(value).toString('base64url')],
    ['URL-encoded', encodeURIComponent(value)],
    ['form-encoded', new URLSearchParams({ a: value }).toString()],
    ['as JSON', JSON.stringify(value)],
    ['cut', value.slice(5, 20)],
  ])('finds a secret that is %s', (_, text) => {
    expect(leaks({ log: `before ${text} after` }, [value])).not.toEqual([])
  })

  test('finds nothing where nothing is', () => {
    expect(leaks({ log: `${randomBytes(500).toString('base64')} *** ${encodeURIComponent('pä ö')}` }, [value])).toEqual(
      [],
    )
  })
})

describe('a secret that comes in by', () => {
  test('the environment, a password', async () => {
    const password = cluster.users.jane ?? ''
    const run = await asCommand(from(byPassword(cluster, 'jane')))
    expect(run.code).toBe(0)
    expectClean(run, [password])
    expect([...heard]).toEqual(expect.arrayContaining([password, expect.stringMatching(/^sha256~/)]))
  })

  test('a file, a password', async () => {
    const { password = '', ...rest } = byPassword(cluster)
    const file = room.file('password', `${password}\n`)
    const run = await asCommand(from(rest), { IMAGE_PROMOTE_SOURCE_PASSWORD_FILE: file })
    expect(run.code).toBe(0)
    expectClean(run, [password])
  })

  test('a workspace of Tekton, user and password', async () => {
    const { cluster: api = '', username = '', password = '', ca = '' } = byPassword(cluster)
    const run = await asTask(from({ cluster: api }), { username, password, 'ca.crt': ca })
    expect(run.code).toBe(0)
    expectClean(run, [password])
    expect(Object.keys(run.produced)).toEqual(
      expect.arrayContaining(['file DIGEST', 'file report.json', 'file summary.md']),
    )
  })

  test.each(['good', 'bad'])('a key that signs the promotion, with its %s password', async (kind) => {
    const passphrase = secret()
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const key = privateKey.export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase }).toString()
    const given = kind === 'good' ? passphrase : secret()
    const signed = { 'sign-key': key, 'sign-key-password': given, sign: 'both' }
    const run = await asCommand(from(byPassword(cluster), signed))
    expect(run.code).toBe(kind === 'good' ? 0 : 2)
    const plain = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    expectClean(run, [given, ...`${key}\n${plain}`.split('\n').filter((line) => line.length > 40)])
  })

  test.each(['good', 'bad'])('the environment, a %s token', async (kind) => {
    const token = kind === 'good' ? cluster.token('jane') : plainToken()
    const run = await asCommand(from(byToken(cluster, token)))
    expect(run.code).toBe(kind === 'good' ? 0 : 1)
    expectClean(run, [token])
  })

  test('the environment, a token for which another one is issued', async () => {
    const token = cluster.serviceAccountToken('ci', 'pipeline')
    const run = await asCommand(from({ ...byToken(cluster, token), 'service-account': 'ci/pipeline' }))
    expect(run.code).toBe(0)
    expectClean(run, [token])
    expect([...heard].filter((one) => one.startsWith('ey')).length).toBeGreaterThan(1)
  })

  test('a kubeconfig, a token', async () => {
    const token = cluster.token('jane')
    const run = await asCommand(from(kubeconfig({ token })))
    expect(run.code).toBe(0)
    expectClean(run, [token])
  })

  test('a kubeconfig, the key of a client certificate', async () => {
    const pair = await cluster.clientCertificate('jane')
    const side = { ...kubeconfig(certificateUser(pair)), 'service-account': 'dev/puller' }
    const run = await asCommand(from(side))
    expect(run.code).toBe(0)
    expectClean(
      run,
      pair.key.split('\n').filter((line) => line.length > 40),
    )
  })

  test.each(['works', 'fails'])('an exec plugin that %s, its output and what the kubeconfig gives it', async (end) => {
    const token = cluster.token('jane')
    const given = { clientSecret: plainToken(), variable: plainToken() }
    const status = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status: { token } }
    const record = room.file('plugin-saw', '')
    const body = `appendFileSync(${JSON.stringify(record)}, JSON.stringify({ argv, env: process.env }))
${end === 'works' ? `say(${JSON.stringify(status)})` : 'fail("denied: " + argv.join(" ") + " " + process.env.AZURE_CLIENT_SECRET)'}`
    const command = room.program(`plugin-${end}`, body)
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command,
      args: [`--client-secret=${given.clientSecret}`],
      env: [{ name: 'AZURE_CLIENT_SECRET', value: given.variable }],
    }
    const side = byPassword(cluster)
    const run = await asCommand({
      ...from(kubeconfig({ exec })),
      'destination-username': 'somebody',
      'destination-password': side.password ?? '',
    })
    expect(run.code).toBe(end === 'works' ? 0 : 1)
    expectClean(run, [token, ...Object.values(given), side.password ?? ''])
    // The secrets of the run are no business of another program.
    expect(leaks({ plugin: readFileSync(record, 'utf8') }, [side.password ?? ''])).toEqual([])
  })

  test.each<[string, (auth: string) => object]>([
    ['auth', () => ({ auth: Buffer.from(`${robot.user}:${robot.password}`).toString('base64') })],
    ['user and password', () => ({ username: robot.user, password: robot.password })],
    ['an identity token', (token) => ({ identitytoken: token })],
    ['a registry token', (token) => ({ registrytoken: token })],
  ])('an auth file, %s', async (_, entry) => {
    const token = plainToken()
    const config = { auths: { [guarded.host]: entry(token) } }
    const run = await asCommand(from({ registry: guarded.url.origin, 'auth-file': room.file('config.json', config) }))
    expectClean(run, [robot.password, token])
  })

  test.each(['works', 'fails'])('a credential helper that %s', async (end) => {
    const answer = { Username: robot.user, Secret: robot.password }
    const record = room.file('helper-saw', '')
    const saw = `appendFileSync(${JSON.stringify(record)}, JSON.stringify({ argv, input: stdin() }))`
    const says =
      end === 'works'
        ? `say(${JSON.stringify(answer)})`
        : `say(${JSON.stringify({ ...answer, Error: 1 })}); process.exitCode = 1`
    room.program(`docker-credential-${end}`, `${saw}\n${says}`)
    const side = { registry: guarded.url.origin, 'auth-file': room.file('config.json', { credsStore: end }) }
    const run = await asCommand(from(side), { PATH: process.env.PATH ?? '' })
    expect(run.code).toBe(end === 'works' ? 0 : 1)
    expectClean(run, [robot.password])
    expect(JSON.parse(readFileSync(record, 'utf8'))).toEqual({ argv: ['get'], input: guarded.host })
  })

  test('the answer of a token service', async () => {
    const run = await asCommand(from({ registry: guarded.url.origin, username: robot.user, password: robot.password }))
    expect(run.code).toBe(0)
    expect([...heard]).toEqual(expect.arrayContaining([expect.stringMatching(/^embedded\./)]))
    expectClean(run, [robot.password])
  })

  test.each(['right', 'wrong'])('the address of a proxy, with the %s password', async (kind) => {
    const password = kind === 'right' ? tunnel.password : secret()
    const url = new URL(proxy.url)
    Object.assign(url, { username: encodeURIComponent(tunnel.user), password: encodeURIComponent(password) })
    const run = await asCommand(from(byPassword(named)), { HTTPS_PROXY: url.href })
    expect(run.code).toBe(kind === 'right' ? 0 : 1)
    expectClean(run, [password, `${tunnel.user}:${password}`])
  })

  test('the command line, where none is taken', async () => {
    const [password, token] = [secret(), plainToken()]
    const told: string[] = []
    const tell = (text: string) => void told.push(text)
    const argv = ['--source-password', password, `--destination-token=${token}`, `--sorce-token=${token}`, password]
    const code = await runHost({
      argv,
      env: {},
      streams: { out: tell, err: tell },
      signal: new AbortController().signal,
      loadPromote: () => Promise.reject(new Error('nothing may be contacted')),
    })
    expect(code).toBe(2)
    expect(leaks({ told: told.join('') }, [password, token])).toEqual([])
  })
})

describe('a server that repeats what it was sent', () => {
  const words: Readonly<Record<string, (secret: string, pair: string) => string>> = {
    plain: (secret) => `no ${secret}`,
    'as base64': (secret) => `no ${Buffer.from(secret).toString('base64')}`,
    'as base64url': (secret) => `no ${Buffer.from(secret).toString('base64url')}`,
    'as base64 of the pair': (_, pair) => `no ${Buffer.from(pair).toString('base64')}`,
    'as base64 of the header': (secret) =>
      `no ${Buffer.from(`Authorization: Bearer ${secret}\r\n`).toString('base64')}`,
    'URL-encoded': (secret) => `no ${encodeURIComponent(secret)}`,
    'URL-encoded in lower case': (secret) =>
      `no ${encodeURIComponent(secret).replace(/%../g, (code) => code.toLowerCase())}`,
    'form-encoded': (secret) => `no ${new URLSearchParams({ secret })}`,
    'cut after 10 characters': (secret) => `${'x'.repeat(399 - 10)} ${secret}`,
    'cut after 20 characters': (secret) => `${'x'.repeat(499 - 20)} ${secret}`,
    ...Object.fromEntries(
      [1, 2, 7].map((left) => [
        `without its last ${left} characters`,
        (secret: string) => `${'x'.repeat(499 - secret.length + left)} ${secret}`,
      ]),
    ),
    'with characters without width in it': (secret) => secret.replace(/./gsu, '$&\u200b'),
    'behind a colour': (secret) => `\u001b[31m${secret}\u001b[0m`,
  }
  const envelope = (text: string) => JSON.stringify({ errors: [{ code: 'DENIED', message: text, detail: text }] })
  const spelled = (text: string) =>
    text.replace(/./gsu, (each) =>
      [...Array(each.length).keys()].map((at) => `\\u${each.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
    )
  const json = { 'Content-Type': 'application/json' }

  async function expectSilence(rules: (cluster: EmbeddedCluster) => Fault, side: SideOptions, code = 1) {
    const fault = rules(cluster)
    try {
      const run = await asCommand(from(side))
      expect(run.code).toBe(code)
      expectClean(
        run,
        [side.password ?? '', side.token ?? ''].filter((each) => each !== ''),
      )
    } finally {
      fault.remove()
    }
  }

  test.each(Object.entries(words))('%s, as an identity provider that fails', async (_, say) => {
    const repeat: Repeat = (one, pair) => ({ body: `Error: ${say(one, pair)}` })
    const rule = repeating({ path: /^\/oauth\/authorize/ }, 500, repeat)
    await expectSilence(({ faults }) => faults.oauth.add(rule), { ...byPassword(cluster), password: secret() })
  })

  test.each(Object.entries(words))('%s, as a registry that refuses', async (_, say) => {
    const rule = repeating({ path: /\/manifests\// }, 403, (one, pair) => ({
      headers: json,
      body: envelope(say(one, pair)),
    }))
    await expectSilence(({ faults }) => faults.registry.add(rule), byToken(cluster, cluster.token('jane')))
  })

  test.each<[string, (one: string) => object]>([
    ['the platform', (os) => ({ platform: { os, architecture: os, variant: os } })],
    ['an annotation', (one) => ({ annotations: { [one]: one, 'org.opencontainers.image.ref.name': one } })],
    ['the artifact type', (artifactType) => ({ artifactType })],
    ['a media type', (one) => ({ mediaType: `application/${one}` })],
  ])('in %s of an index, which is promoted or planned', async (_, members) => {
    const image = makeImage({ seed: 31 })
    const mediaType = 'application/vnd.oci.image.index.v1+json'
    const child = { ...describeManifest(image.root), ...{ platform: { os: 'linux', architecture: 'amd64' } } }
    const rule = repeating({ path: /\/manifests\/1\.0$/ }, 200, (one) => {
      const body = JSON.stringify({ schemaVersion: 2, mediaType, manifests: [{ ...child, ...members(one) }] })
      return { headers: { 'content-type': mediaType, 'docker-content-digest': digestOf(Buffer.from(body)) }, body }
    })
    const side = { registry: guarded.url.origin, username: robot.user, password: robot.password }
    for (const more of [{}, { 'dry-run': 'true' }, { platforms: 'linux/amd64,windows/amd64' }]) {
      const fault = guarded.faults.add(rule)
      const run = await asCommand(from(side, more))
      fault.remove()
      expect(fault.fired).toBeGreaterThan(0)
      expectClean(run, [robot.password])
    }
  })

  const places: readonly [string, 'api' | 'oauth' | 'registry', RegExp, number, Repeat][] = [
    [
      'a Status of the API',
      'api',
      /selfsubjectreviews/,
      500,
      (one) => ({ headers: json, body: JSON.stringify({ kind: 'Status', message: `no ${one}` }) }),
    ],
    [
      'a name of the user',
      'api',
      /selfsubjectreviews/,
      201,
      (one) => ({ headers: json, body: JSON.stringify({ status: { userInfo: { username: one } } }) }),
    ],
    ['an image stream', 'api', /\/imagestreams\/app$/, 500, (one) => ({ body: one })],
    [
      'a redirect with an error',
      'oauth',
      /^\/oauth\/authorize/,
      302,
      (one) => ({
        headers: { Location: `/oauth/token/implicit?error=x&error_description=${encodeURIComponent(one)}` },
      }),
    ],
    [
      'a redirect to another path',
      'oauth',
      /^\/oauth\/authorize/,
      302,
      (one) => ({ headers: { Location: `/login/${encodeURIComponent(one)}` } }),
    ],
    [
      'the page for tokens',
      'oauth',
      /^\/oauth\/authorize/,
      401,
      (one) => ({ headers: { Link: `<https://x/${encodeURIComponent(one)}>; rel="related"` } }),
    ],
    [
      'a challenge',
      'oauth',
      /^\/oauth\/authorize/,
      401,
      (_, __, header) => ({ headers: { 'WWW-Authenticate': `Basic realm="${header}"`, Warning: `199 x "${header}"` } }),
    ],
    [
      'the title of a page',
      'registry',
      /\/manifests\//,
      403,
      (one) => ({ headers: { 'Content-Type': 'text/html' }, body: `<html><title>${one}</title></html>` }),
    ],
    [
      'JSON with every character escaped',
      'registry',
      /\/manifests\//,
      403,
      (one) => ({ headers: json, body: `{"errors":[{"code":"DENIED","message":"${spelled(one)}"}]}` }),
    ],
    [
      'a code',
      'registry',
      /\/manifests\//,
      400,
      (one) => ({ headers: json, body: JSON.stringify({ errors: [{ code: one, message: 'x' }] }) }),
    ],
    [
      'a media type',
      'registry',
      /\/manifests\//,
      200,
      (one) => ({ headers: { 'Content-Type': `application/${one}` }, body: '{}' }),
    ],
    [
      'a manifest',
      'registry',
      /\/manifests\//,
      200,
      (one) => ({ headers: json, body: JSON.stringify({ schemaVersion: 2, mediaType: one }) }),
    ],
    [
      'a realm',
      'registry',
      /\/manifests\//,
      401,
      (one) => ({
        headers: { 'WWW-Authenticate': `Bearer realm="https://127.0.0.1:1/${one}",service="${one}",scope="${one}"` },
      }),
    ],
    [
      'the address of a blob elsewhere',
      'registry',
      /\/blobs\//,
      307,
      (one) => ({ headers: { Location: `${target.url.origin.replace('http:', 'https:')}/x?tag=${one}` } }),
    ],
    [
      'the address of a blob in the same place',
      'registry',
      /\/blobs\//,
      307,
      (one) => ({ headers: { Location: `/v2/dev/app/${one}?digest=${one}` } }),
    ],
    ['an HTTP date', 'registry', /\/manifests\//, 429, (one) => ({ headers: { 'Retry-After': one }, body: one })],
  ]
  test.each(places)('in %s', async (_, server, path, status, repeat) => {
    const rule = repeating({ path }, status, repeat)
    const side =
      server === 'oauth' ? { ...byPassword(cluster), password: plainToken() } : byToken(cluster, cluster.token('jane'))
    await expectSilence(({ faults }) => faults[server].add(rule), side, status === 201 ? 0 : 1)
  })

  test('as the token service of a plain registry', async () => {
    const rule = repeating({ path: /^\/token/ }, 403, (one) => ({
      headers: json,
      body: JSON.stringify({ details: `${'x'.repeat(480)}${one}` }),
    }))
    const fault = guarded.faults.add(rule)
    const run = await asCommand(from({ registry: guarded.url.origin, username: robot.user, password: robot.password }))
    fault.remove()
    expect([run.code, fault.fired > 0]).toEqual([1, true])
    expectClean(run, [robot.password])
  })

  test('at the destination, in the address of an upload and in refusals', async () => {
    for (const [path, status] of [
      [/\/blobs\/uploads\//, 202],
      [/\/manifests\/1\.0$/, 403],
    ] as const) {
      const rule = repeating({ path, method: ['POST', 'PUT'] }, status, (one) => ({
        headers: { ...json, Location: `https://127.0.0.1:1/${one}?tag=${one}` },
        body: envelope(one),
      }))
      const fault = cluster.faults.registry.add(rule)
      const token = cluster.token('jane')
      const given = options(
        { registry: guarded.url.origin, username: robot.user, password: robot.password },
        byToken(cluster, token),
        {
          images: 'dev/app:1.0=prod/app:1.0',
          retries: '1',
        },
      )
      const run = await asCommand(given)
      fault.remove()
      expect([run.code, fault.fired > 0]).toEqual([1, true])
      expectClean(run, [token, robot.password])
    }
  })
})

describe('under GitHub Actions', () => {
  /** Every secret of the run has its line, and those of the inputs come before anything else. */
  function expectMasked(
    { lines }: Readonly<{ lines: readonly string[] }>,
    inputs: readonly string[],
    issued: readonly string[],
  ) {
    const masks = lines.flatMap((line, index) =>
      line.startsWith('::add-mask::') ? [{ value: decodeURIComponent(line.slice(12)), index }] : [],
    )
    const first = lines.findIndex((line) => line !== '' && !line.startsWith('::add-mask::'))
    const early = masks.filter(({ index }) => index < first).map(({ value }) => value)
    expect(inputs.filter((input) => !early.includes(input))).toEqual([])
    const all = masks.map(({ value }) => value)
    expect(issued.filter((token) => !all.includes(token))).toEqual([])
  }

  test('a promotion by password masks everything first and prints nothing of it', async () => {
    const side = byPassword(cluster, 'jane')
    const run = await asStep(from(side))
    expect([run.code, run.produced.stderr]).toEqual([0, ''])
    expectClean(run, [side.password ?? ''])
    expectMasked(
      run,
      [side.password ?? ''],
      [...heard].filter((one) => one.startsWith('sha256~')),
    )
  })

  test('a server that repeats the password gets it into no annotation, summary or output', async () => {
    const side = { ...byPassword(cluster), password: secret() }
    const fault = cluster.faults.oauth.add(
      repeating({ path: /^\/oauth\/authorize/ }, 500, (one, pair, header) => ({
        body: `Error: ${one} ${pair} ${header}\n::error::${one}`,
      })),
    )
    const run = await asStep(from(side))
    fault.remove()
    expect(run.code).toBe(1)
    expectClean(run, [
      side.password,
      ...secretsIn(`Basic ${Buffer.from(`developer:${side.password}`).toString('base64')}`),
    ])
    expectMasked(run, [side.password], [])
  })

  test('the OIDC token of the runner, and the one that it is asked for with', async () => {
    const request = plainToken()
    cluster.options.api.oidc = true
    const token = cluster.token('jane')
    const runner = createServer((asked, response) => {
      const good = asked.headers.authorization === `Bearer ${request}` && asked.url?.endsWith('audience=openshift')
      response.writeHead(good ? 200 : 401, { 'content-type': 'application/json' }).end(JSON.stringify({ value: token }))
    })
    await new Promise<void>((done) => runner.listen(0, '127.0.0.1', done))
    const url = `http://127.0.0.1:${(runner.address() as AddressInfo).port}/token?api-version=2.0`
    const side = { cluster: cluster.api.origin, ca: cluster.ca.bundle, 'oidc-audience': 'openshift' }
    const run = await asStep(from(side), { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: request })
    await new Promise((done) => runner.close(done))
    cluster.options.api.oidc = false
    expect([run.code, run.produced.stderr]).toEqual([0, ''])
    expectClean(run, [token, request])
    expectMasked(run, [], [token])
  })
})
