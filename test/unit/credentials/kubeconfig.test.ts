import { readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { stringify } from 'yaml'
import { readKubeconfig } from '../../../src/credentials/kubeconfig.ts'
import { base64, basic, bearer, openRoom, type Room, refusalOf, shown, textOf } from '../../support/credentials.ts'

let room: Room
beforeEach(() => {
  room = openRoom()
})
afterEach(() => room.close())

const pem = (label: string, body: string) => `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`
const CA = pem('CERTIFICATE', 'dGhlIGNh')
const CERT = pem('CERTIFICATE', 'dGhlIGNlcnRpZmljYXRl')
const KEY = pem('EC PRIVATE KEY', 'dGhlIHByaXZhdGUga2V5IG9mIGphbmU=')
const SERVER = 'https://api.dev.example:6443'

const config = (user: unknown, cluster: object = {}, more: object = {}) => ({
  apiVersion: 'v1',
  kind: 'Config',
  'current-context': 'dev',
  contexts: [{ name: 'dev', context: { cluster: 'c', user: 'jane', namespace: 'team-a' } }],
  clusters: [{ name: 'c', cluster: { server: SERVER, ...cluster } }],
  users: [{ name: 'jane', user }],
  ...more,
})
const read = (content: object | string, context?: string) =>
  readKubeconfig(
    room.file('kube/config', typeof content === 'string' ? content : stringify(content)),
    context,
    room.context,
    'source',
  )
const credentialOf = async (content: object) => shown(await (await read(content)).login?.current())

describe('the chosen context', () => {
  const two = config(
    { token: 'jane-token' },
    {},
    {
      contexts: [
        { name: 'dev', context: { cluster: 'c', user: 'jane', namespace: 'team-a' } },
        { name: 'prod', context: { cluster: 'p', user: 'joe' } },
        { name: 'bare', context: { cluster: 'c' } },
      ],
      clusters: [
        { name: 'c', cluster: { server: SERVER } },
        {
          name: 'p',
          cluster: { server: 'https://rancher.example/k8s/clusters/c-1', 'insecure-skip-tls-verify': true },
        },
        { name: 'broken', cluster: 'not read' },
      ],
      users: [
        { name: 'jane', user: { token: 'jane-token' } },
        { name: 'joe', user: { token: 'joe-token' } },
      ],
    },
  )

  test('is the current one by default', async () => {
    const kube = await read(two)
    expect([kube.server.href, kube.ca, kube.insecure]).toEqual([`${SERVER}/`, undefined, false])
    expect(shown(await kube.login?.current())).toEqual(bearer('jane-token'))
    expect(kube.login?.describe).toContain('jane')
    expect(kube.login?.renewedBy).toBeUndefined()
    expect(room.masked).toContain('jane-token')
  })

  test('or the one that is named; what the others hold does not matter', async () => {
    const kube = await read(two, 'prod')
    expect([kube.server.href, kube.insecure]).toEqual(['https://rancher.example/k8s/clusters/c-1', true])
    expect(shown(await kube.login?.current())).toEqual(bearer('joe-token'))
  })

  test('may have no user', async () => {
    expect(await read(two, 'bare')).toEqual({ server: new URL(SERVER), ca: undefined, insecure: false })
  })

  test('JSON is read as well', async () => {
    const kube = await read(JSON.stringify(two, undefined, '\t'))
    expect(shown(await kube.login?.current())).toEqual(bearer('jane-token'))
  })

  test('proxy and TLS server name are handed on; the password in a proxy URL is a secret', async () => {
    const proxy = 'http://jane:pr%40xy-pass@proxy.example:3128'
    const kube = await read(config({}, { 'proxy-url': proxy, 'tls-server-name': 'api.internal' }))
    expect([kube.proxyUrl, kube.tlsServerName]).toEqual([proxy, 'api.internal'])
    expect(room.masked).toEqual(expect.arrayContaining(['pr@xy-pass', 'pr%40xy-pass', base64('jane:pr@xy-pass')]))
  })
})

describe('a list of files, as KUBECONFIG has it', () => {
  const file = (name: string, context: string, token: string, more: object = {}) =>
    room.file(`${name}/config`, {
      'current-context': context,
      contexts: [{ name: context, context: { cluster: context, user: context } }],
      clusters: [{ name: context, cluster: { server: `https://${context}.example:6443` } }],
      users: [{ name: context, user: { token } }],
      ...more,
    })
  const open = (given: string | undefined, context?: string) =>
    readKubeconfig(given, context, room.context, 'destination')
  const tokenOf = async (given: string | undefined, context?: string) =>
    shown(await (await open(given, context)).login?.current())

  test('has the contexts of all files; the first current context is the default', async () => {
    const list = [file('one', 'dev', 'dev-token'), file('two', 'prod', 'prod-token')].join(delimiter)
    expect(await tokenOf(list)).toEqual(bearer('dev-token'))
    expect(await tokenOf(list, 'prod')).toEqual(bearer('prod-token'))
    expect((await open(list, 'prod')).server.host).toBe('prod.example:6443')
  })

  test('takes a name from the first file that has it, also where its parts are in several files', async () => {
    const users = { users: [{ name: 'dev', user: { token: 'other-token' } }], clusters: [], contexts: null }
    const list = [file('one', 'prod', 'prod-token', users), file('two', 'dev', 'dev-token')].join(delimiter)
    expect(await tokenOf(list, 'dev')).toEqual(bearer('other-token'))
  })

  test('leaves out files that do not exist, and takes paths in a file as relative to it', async () => {
    room.file('two/secret', 'from-a-file')
    const two = file('two', 'prod', '', { users: [{ name: 'prod', user: { tokenFile: 'secret' } }] })
    expect(await tokenOf(['', join(room.folder, 'absent'), two].join(delimiter), 'prod')).toEqual(bearer('from-a-file'))
  })

  test('says which contexts there are, of all files; one file has to exist', async () => {
    const list = [file('one', 'dev', 'dev-token'), file('two', 'prod', 'prod-token')].join(delimiter)
    const error = await refusalOf(() => open(list, 'stage'))
    expect([error.code, error.side, error.hint]).toEqual(['IO', 'destination', 'It has: dev, prod.'])
    const [a, b] = ['a', 'b'].map((name) => join(room.folder, 'absent', name))
    expect((await refusalOf(() => open(`${a}${delimiter}${b}`))).message).toContain(`${a} could not be read`)
  })

  test('is that of the environment where none is given, else the file that oc login writes', async () => {
    room.env.HOME = room.folder
    room.file('.kube/config', readFileSync(file('home', 'home', 'home-token'), 'utf8'))
    expect(await tokenOf(undefined, 'home')).toEqual(bearer('home-token'))
    room.env.KUBECONFIG = [file('one', 'dev', 'dev-token'), file('two', 'prod', 'prod-token')].join(delimiter)
    expect(await tokenOf(undefined, 'prod')).toEqual(bearer('prod-token'))
    expect((await refusalOf(() => open(undefined, 'home'))).message).toContain('has no context named home')
  })
})

describe('ways in', () => {
  test.each([
    ['a token', { token: 'sha256~abc' }, bearer('sha256~abc')],
    ['a token from a block', { token: 'sha256~abc\n' }, bearer('sha256~abc')],
    ['user and password', { username: 'jane', password: 'pä:ss' }, basic('jane', 'pä:ss')],
    ['a token before user and password', { token: 'tokn', username: 'jane', password: 'pass' }, bearer('tokn')],
    ['an empty user', {}, undefined],
    ['nothing', null, undefined],
  ])('%s', async (_name, user, expected) => {
    expect(await credentialOf(config(user))).toEqual(expected)
  })

  test('a token file is relative to the kubeconfig, goes before the token, and is read again', async () => {
    room.file('kube/secrets/token', 'first\n')
    const { login } = await read(config({ tokenFile: join('secrets', 'token'), token: 'old-one' }))
    expect(login?.renewedBy).toBe('file')
    const first = (await login?.current()) ?? { kind: 'anonymous' as const }
    expect(shown(first)).toEqual(bearer('first'))
    room.file('kube/secrets/token', 'second\n')
    expect(shown(await login?.renew(first))).toEqual(bearer('second'))
  })

  test('certificates from data or files, the data first; the key is a secret, its first and last line are not', async () => {
    room.file('kube/ca.pem', CA)
    room.file('kube/key.pem', KEY)
    const user = { 'client-certificate-data': base64(CERT), 'client-certificate': 'absent', 'client-key': 'key.pem' }
    const kube = await read(config(user, { 'certificate-authority': 'ca.pem' }))
    expect(kube).toMatchObject({ ca: CA, clientCertificate: { cert: CERT, key: KEY } })
    expect(kube.login).toBeUndefined()
    const data = await read(
      config(
        { 'client-certificate-data': base64(CERT), 'client-key-data': base64(KEY) },
        { 'certificate-authority-data': base64(CA) },
      ),
    )
    expect(data).toMatchObject({ ca: CA, clientCertificate: { cert: CERT, key: KEY } })
    const { secrets } = room.context
    expect(secrets.redact(KEY)).toBe('-----BEGIN EC PRIVATE KEY-----\n***\n-----END EC PRIVATE KEY-----\n')
    expect(secrets.redact(base64(KEY))).toBe('***')
    expect(secrets.redact(CERT)).toBe(CERT)
  })

  test('a certificate and a token may stand side by side', async () => {
    const kube = await read(
      config({ token: 'tokn', 'client-certificate-data': base64(CERT), 'client-key-data': base64(KEY) }),
    )
    expect(kube.clientCertificate?.cert).toBe(CERT)
    expect(shown(await kube.login?.current())).toEqual(bearer('tokn'))
  })
})

describe('what is refused', () => {
  const S = 'secret-word'
  const certificate = { 'client-certificate-data': base64(CERT) }
  const table: [string, string, object | string, string][] = [
    ['text that is no YAML', 'IO', `a: [${S}`, 'line'],
    ['several documents', 'IO', `a: 1\n---\n${S}: 2\n`, 'YAML'],
    ['a string', 'IO', S, 'form'],
    ['too many aliases', 'IO', `a: &a [x,x,x,x,x,x,x,x,x]\n${bombs()}`, 'aliases'],
    ['deep nesting', 'IO', '['.repeat(50_000), 'nested'],
    ['deep nesting in one line', 'IO', `${'- '.repeat(50_000)}x`, 'nested'],
    ['deep keys in one line', 'IO', `${'? '.repeat(500)}x`, 'nested'],
    ['no current context', 'IO', config({}, {}, { 'current-context': '' }), 'current-context'],
    ['an unknown context', 'IO', config({}, {}, { 'current-context': 'gone' }), 'context named gone'],
    ['an unknown cluster', 'IO', config({}, {}, { clusters: null }), 'cluster named c'],
    ['an unknown user', 'IO', config({}, {}, { users: [] }), 'user named jane'],
    ['plain HTTP', 'IO', config({}, { server: 'http://api.example' }), 'https'],
    ['a server that is not a valid URL', 'IO', config({}, { server: S }), 'https'],
    ['a server with a password', 'IO', config({}, { server: `https://jane:${S}@api.example` }), 'user'],
    ['a server with a query', 'IO', config({}, { server: `https://api.example?${S}` }), 'query'],
    [
      'a CA that is no PEM',
      'IO',
      config({}, { 'certificate-authority-data': base64(S) }),
      'certificate-authority-data',
    ],
    ['a CA file that is absent', 'IO', config({}, { 'certificate-authority': 'absent.pem' }), 'absent.pem'],
    ['a key without certificate', 'IO', config({ 'client-key-data': base64(KEY) }), 'without'],
    ['a certificate without key', 'IO', config(certificate), 'without'],
    ['a certificate as key', 'IO', config({ ...certificate, 'client-key-data': base64(CERT) }), 'client-key'],
    ['a numeric token', 'IO', config({ token: 4711 }), 'user.token'],
    ['a token with spaces', 'IO', config({ token: `${S} x` }), 'token'],
    ['a token file that is absent', 'IO', config({ tokenFile: 'absent' }), 'absent'],
    [
      'an auth-provider',
      'LOGIN_UNSUPPORTED',
      config({ 'auth-provider': { name: 'oidc', config: { 'id-token': S } } }),
      'auth-provider',
    ],
    ['impersonation', 'LOGIN_UNSUPPORTED', config({ token: S, as: 'admin' }), 'as another user'],
    ['impersonation of a group', 'LOGIN_UNSUPPORTED', config({ token: S, 'as-groups': ['admins'] }), 'as another user'],
  ]
  test.each(table)('%s is %s', async (_name, code, content, says) => {
    const error = await refusalOf(() => read(content))
    expect([error.code, error.side]).toEqual([code, 'source'])
    expect(error.message).toContain(says)
    expect(error.message).toContain(room.folder)
    expect(textOf(error)).not.toContain(S)
  })

  test('an unknown context comes with the names of the known ones', async () => {
    expect((await refusalOf(() => read(config({}), 'gone'))).hint).toContain('dev')
  })

  test('a missing file is named', async () => {
    const path = join(room.folder, 'absent')
    const error = await refusalOf(() => readKubeconfig(path, undefined, room.context, 'destination'))
    expect([error.code, error.side]).toEqual(['IO', 'destination'])
    expect(error.message).toContain(path)
  })

  function bombs(): string {
    const names = 'abcdefghi'
    return [...names.slice(1)]
      .map((name, index) => `${name}: &${name} [${Array(9).fill(`*${names[index]}`).join(',')}]`)
      .join('\n')
  }
})

describe('exec plugins', () => {
  const V1 = 'client.authentication.k8s.io/v1'
  const V1BETA1 = 'client.authentication.k8s.io/v1beta1'
  const answer = (status: object, apiVersion = V1) =>
    `say(${JSON.stringify({ kind: 'ExecCredential', apiVersion, status })})`
  const exec = (more: object = {}) => ({
    exec: { apiVersion: V1, command: 'kube-login', interactiveMode: 'IfAvailable', ...more },
  })

  test.each([V1, V1BETA1])('of %s give a token, with their arguments and environment', async (apiVersion) => {
    const log = room.file('log', '')
    const body = `appendFileSync(${JSON.stringify(log)}, JSON.stringify({ argv, mine: process.env.MINE, info: JSON.parse(process.env.KUBERNETES_EXEC_INFO), stdin: stdin() }))`
    room.program('kube-login', `${body}\n${answer({ token: 'from-plugin' }, apiVersion)}`)
    const user = exec({
      apiVersion,
      args: ['get-token', '--cluster', 'dev one'],
      env: [{ name: 'MINE', value: 'yes' }],
    })
    expect(await credentialOf(config(user, { 'certificate-authority-data': base64(CA) }))).toEqual(
      bearer('from-plugin'),
    )
    expect(room.masked).toContain('from-plugin')
    expect(JSON.parse(readFileSync(log, 'utf8'))).toEqual({
      argv: ['get-token', '--cluster', 'dev one'],
      mine: 'yes',
      info: { kind: 'ExecCredential', apiVersion, spec: { interactive: false } },
      stdin: '',
    })
  })

  test('that ask for it are told about the cluster', async () => {
    const log = room.file('log', '')
    const body = `appendFileSync(${JSON.stringify(log)}, process.env.KUBERNETES_EXEC_INFO)`
    room.program('kube-login', `${body}\n${answer({ token: 'from-plugin' })}`)
    const extensions = [{ name: 'client.authentication.k8s.io/exec', extension: { audience: 'a' } }]
    const cluster = { 'certificate-authority-data': base64(CA), 'tls-server-name': 'api.internal', extensions }
    await read(config(exec({ provideClusterInfo: true }), cluster))
    expect(JSON.parse(readFileSync(log, 'utf8')).spec).toEqual({
      cluster: {
        server: SERVER,
        'certificate-authority-data': base64(CA),
        'tls-server-name': 'api.internal',
        config: { audience: 'a' },
      },
      interactive: false,
    })
  })

  test('run again when the token expires, or when it was refused', async () => {
    const count = room.file('count', '')
    const path = JSON.stringify(count)
    const status = `{ token: 'token-' + readFileSync(${path}, 'utf8').length, expirationTimestamp: '2026-01-01T00:05:00Z' }`
    room.program(
      'kube-login',
      `appendFileSync(${path}, 'x'); say({ kind: 'ExecCredential', apiVersion: '${V1}', status: ${status} })`,
    )
    const { login } = await read(config(exec()))
    expect(login?.renewedBy).toBe('plugin')
    room.clock.now += 289_000
    const first = (await login?.current()) ?? { kind: 'anonymous' as const }
    expect(shown(first)).toEqual(bearer('token-1'))
    room.clock.now += 1_000
    expect(shown(await login?.current())).toEqual(bearer('token-2'))
    expect(shown(await login?.renew(first))).toEqual(bearer('token-2'))
    expect(readFileSync(count, 'utf8')).toHaveLength(2)
    expect(shown(await login?.renew(await login.current()))).toEqual(bearer('token-3'))
  })

  test('may give a client certificate', async () => {
    room.program('kube-login', answer({ clientCertificateData: CERT, clientKeyData: KEY }))
    const kube = await read(config(exec()))
    expect(kube.login).toBeUndefined()
    expect(kube.clientCertificate).toEqual({ cert: CERT, key: KEY })
    expect(room.context.secrets.redact(KEY)).not.toContain('dGhl')
  })

  test('with a path are relative to the kubeconfig', async () => {
    const path = room.program('other-login', answer({ token: 'from-beside' }))
    const name = path.slice(room.folder.length + 1)
    expect(await credentialOf(config(exec({ command: join('..', name) })))).toEqual(bearer('from-beside'))
  })

  const S = 'secret-word'
  const table: [string, string, object, string, string][] = [
    ['that need a person', 'LOGIN_UNSUPPORTED', { interactiveMode: 'Always' }, answer({ token: S }), 'person'],
    [
      'of another version',
      'LOGIN_UNSUPPORTED',
      { apiVersion: 'client.authentication.k8s.io/v1alpha1' },
      answer({ token: S }),
      'apiVersion',
    ],
    ['that are not installed', 'HELPER', { command: 'absent-login' }, '', 'absent-login'],
    ['that fail', 'HELPER', {}, `fail('not logged in\\nmore')`, 'exit code 1): not logged in.'],
    [
      'that quote what they were given',
      'HELPER',
      { env: [{ name: 'CLIENT_SECRET', value: S }] },
      'fail(process.env.CLIENT_SECRET)',
      '***',
    ],
    ['that quote an argument', 'HELPER', { args: [`--client-secret=${S}`] }, 'fail(argv.join())', '***'],
    ['that quote the argument after an option', 'HELPER', { args: ['--token', S] }, 'fail(argv.join())', '***'],
    ['that quote an argument with a hyphen first', 'HELPER', { args: [`--key=-${S}`] }, 'fail(argv.join())', '***'],
    ['that quote one after an option', 'HELPER', { args: ['--password', `-${S}`] }, 'fail(argv.join())', '***'],
    ['that print no JSON', 'HELPER', {}, `say('${S}')`, 'not JSON'],
    ['that answer in another version', 'HELPER', {}, answer({ token: S }, V1BETA1), 'another version'],
    ['that answer in another form', 'HELPER', {}, answer({ token: [S] }), 'status.token'],
    ['that give no token', 'HELPER', {}, answer({ expirationTimestamp: '2026-01-01T00:00:00Z' }), 'neither'],
    ['that give a certificate alone', 'HELPER', {}, answer({ clientCertificateData: CERT }), 'neither'],
    ['that give a token with a line break', 'HELPER', {}, answer({ token: `${S}\n` }), 'not a token'],
    ['that give no time', 'HELPER', {}, answer({ token: S, expirationTimestamp: S }), 'expirationTimestamp'],
  ]
  test.each(table)('%s are refused: %s', async (_name, code, more, body, says) => {
    room.program('kube-login', body)
    const error = await refusalOf(() => read(config(exec(more))))
    expect([error.code, error.side]).toEqual([code, 'source'])
    expect(error.message).toContain(says)
    expect(textOf(error)).not.toContain(S)
  })

  test('that are missing come with the hint of the kubeconfig', async () => {
    const user = exec({ command: 'absent-login', installHint: 'Get it from the intranet.\nMore' })
    expect((await refusalOf(() => read(config(user)))).hint).toBe('Get it from the intranet.')
  })
})
