import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { askHelper } from '../../../src/credentials/credential-helper.ts'
import { base64, basic, identity, openRoom, type Room, refusalOf, shown, textOf } from '../../support/credentials.ts'

let room: Room
beforeEach(() => {
  room = openRoom()
})
afterEach(() => room.close())

const helper = (name: string, host = 'quay.io') => ({ name, host, side: 'source' }) as const
const ask = async (name: string, host?: string) => shown(await askHelper(helper(name, host), room.context))

describe('what a helper answers', () => {
  const table: [string, string, unknown][] = [
    [
      'user and secret',
      `stdin(); say({ ServerURL: 'quay.io', Username: 'jane', Secret: 'pa:ss wörd' })`,
      basic('jane', 'pa:ss wörd'),
    ],
    ['<token> as the user', `stdin(); say({ Username: '<token>', Secret: 'refresh-me' })`, identity('refresh-me')],
    ['no user', `stdin(); say({ Secret: 'only-secret' })`, basic('', 'only-secret')],
    ['an empty secret', `stdin(); say({ Username: '', Secret: '' })`, undefined],
    [
      'not found, on stdout',
      `stdin(); say('credentials not found in native keychain\\n'); process.exitCode = 1`,
      undefined,
    ],
    ['not found, on stderr', `stdin(); fail('Error: credentials not found in store')`, undefined],
    [
      'noise on stderr',
      `stdin(); process.stderr.write('careful!'); say({ Username: 'jane', Secret: 'good' })`,
      basic('jane', 'good'),
    ],
  ]
  test.each(table)('%s', async (_name, body, expected) => {
    room.program('docker-credential-test', body)
    expect(await ask('test')).toEqual(expected)
  })

  test('it is asked by `get`, with the host on stdin and nothing else in its arguments', async () => {
    room.program('docker-credential-echo', `say({ Username: JSON.stringify(argv), Secret: 'asked:' + stdin() })`)
    expect(await ask('echo', 'quay.io:8443')).toEqual(basic('["get"]', 'asked:quay.io:8443'))
  })

  test('Docker Hub is asked for by the address docker stores it under, then by its name', async () => {
    room.program('docker-credential-hub', `say({ Username: 'u', Secret: stdin() })`)
    expect(await ask('hub', 'docker.io')).toEqual(basic('u', 'https://index.docker.io/v1/'))
    const podman = `if (stdin() === 'docker.io') say({ Username: 'podman', Secret: 'stored' })
      else { say('credentials not found in native keychain'); process.exitCode = 1 }`
    room.program('docker-credential-podman', podman)
    expect(await ask('podman', 'docker.io')).toEqual(basic('podman', 'stored'))
  })

  test('its secrets are masked, as they are and as Basic sends them', async () => {
    room.program('docker-credential-test', `stdin(); say({ Username: 'jane', Secret: 'mask-this' })`)
    await ask('test')
    expect(room.masked).toEqual(expect.arrayContaining(['mask-this', base64('jane:mask-this')]))
  })
})

describe('how often a helper is asked', () => {
  const counting = (log: string) =>
    `appendFileSync(${JSON.stringify(log)}, stdin() + '\\n'); say({ Username: 'u', Secret: 'secret' })`

  test('once for each host in a run, however many ask; again only on demand', async () => {
    const log = room.file('log', '')
    room.program('docker-credential-count', counting(log))
    await Promise.all([ask('count'), ask('count'), ask('count', 'other.example')])
    await ask('count')
    expect(readFileSync(log, 'utf8').trim().split('\n').sort()).toEqual(['other.example', 'quay.io'])
    await askHelper(helper('count'), room.context, true)
    expect(readFileSync(log, 'utf8').trim().split('\n')).toHaveLength(3)
  })

  test('a failure is not remembered', async () => {
    const marker = join(room.folder, 'marker')
    const body = `stdin(); const marker = ${JSON.stringify(marker)}
      if (existsSync(marker)) say({ Username: 'u', Secret: 'later' })
      else { appendFileSync(marker, ''); fail('locked') }`
    room.program('docker-credential-flaky', body)
    expect((await refusalOf(() => ask('flaky'))).code).toBe('HELPER')
    expect(await ask('flaky')).toEqual(basic('u', 'later'))
  })
})

describe('a helper that fails', () => {
  test.each([['../evil'], ['a/b'], ['a\\b'], ['a b'], ['x"; rm'], [''], ['a\nb']])(
    'the name %j is refused before anything is run',
    async (name) => {
      const error = await refusalOf(() => ask(name))
      expect([error.code, error.side]).toEqual(['HELPER', 'source'])
      expect(error.message).toContain('not a plain word')
    },
  )

  test('one that is not installed is named, with what to do', async () => {
    const error = await refusalOf(() => ask('nowhere'))
    expect([error.code, error.side]).toEqual(['HELPER', 'source'])
    expect(error.hint).toContain('docker-credential-nowhere')
  })

  test('the first line of its stderr is quoted: redacted, without control characters, bounded', async () => {
    room.context.secrets.keep('known-secret')
    const said = `'\\n\\u001b[31mno known-secret here\\u0007' + 'x'.repeat(2000) + '\\nsecond line'`
    room.program('docker-credential-bad', `stdin(); fail(${said}, 3)`)
    const error = await refusalOf(() => ask('bad'))
    expect([error.code, error.side]).toEqual(['HELPER', 'source'])
    expect(error.message).toMatch(/exit code 3\): .*no \*\*\* here ?x+…\.$/)
    expect(error.message.length).toBeLessThan(450)
    expect(textOf(error)).not.toMatch(/known-secret|second line|\p{Cc}(?<!\n)/u)
  })

  test('its error on stdout is quoted, as the protocol has it, but nothing that looks like an answer', async () => {
    room.program('docker-credential-out', `stdin(); say('store is locked'); process.exitCode = 1`)
    expect((await refusalOf(() => ask('out'))).message).toContain('store is locked')
    room.program('docker-credential-leak', `stdin(); say({ Username: 'u', Secret: 'half-done' }); process.exitCode = 1`)
    expect(textOf(await refusalOf(() => ask('leak')))).not.toContain('half-done')
  })

  test.each([
    ['no JSON', `say('secret-word')`],
    ['another form', `say({ Username: 'u', Secret: ['secret-word'] })`],
    ['nothing', ''],
  ])('an answer of %s is an error that quotes nothing', async (_name, body) => {
    room.program('docker-credential-odd', body)
    const error = await refusalOf(() => ask('odd'))
    expect([error.code, error.side]).toEqual(['HELPER', 'source'])
    expect(textOf(error)).not.toContain('secret-word')
  })

  test('one that prints without end is stopped', async () => {
    room.program(
      'docker-credential-endless',
      `const more = () => process.stdout.write('x'.repeat(65536), more); more()`,
    )
    const error = await refusalOf(() => ask('endless'))
    expect(error.code).toBe('HELPER')
    expect(error.message).toContain('1 MiB')
  })
})

describe('a helper that hangs', () => {
  /** Connects back, so that the test knows that it runs and when it is gone. */
  async function hanging() {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const body = `const net = await import('node:net'); net.connect(${port}, '127.0.0.1'); setInterval(() => {}, 1000)`
    room.program('docker-credential-hang', body)
    return { server, connected: once(server, 'connection').then(([socket]) => socket as Socket) }
  }
  const gone = (socket: Socket) =>
    new Promise<void>((resolve) => {
      socket.on('error', () => undefined).on('close', () => resolve())
      socket.resume()
    })

  test('is stopped when the run is cancelled', async () => {
    const { server, connected } = await hanging()
    const asked = refusalOf(() => ask('hang'))
    const socket = await connected
    const ended = gone(socket)
    room.controller.abort()
    const error = await asked
    expect([error.code, error.side]).toEqual(['CANCELLED', 'source'])
    await ended
    server.close()
  })

  test('is stopped when its time is over', async () => {
    room.program('docker-credential-slow', 'setInterval(() => {}, 1000)')
    const error = await refusalOf(() => askHelper({ ...helper('slow'), timeLimit: 50 }, room.context))
    expect([error.code, error.side]).toEqual(['HELPER', 'source'])
    expect(error.message).toContain('no answer within 0.05 s')
  })

  test('is not even started when the run is cancelled already', async () => {
    const log = join(room.folder, 'log')
    room.program('docker-credential-late', `appendFileSync(${JSON.stringify(log)}, 'ran')`)
    room.controller.abort()
    expect((await refusalOf(() => ask('late'))).code).toBe('CANCELLED')
    expect(() => readFileSync(log)).toThrow()
  })
})

test('nothing at all is printed, whatever the helper does', async () => {
  room.program(
    'docker-credential-good',
    `process.stderr.write('on stderr\\n'); say({ Username: stdin(), Secret: 'secret-word' })`,
  )
  room.program('docker-credential-bad', `stdin(); say('on stdout'); fail('secret-word')`)
  const module = new URL('../../../src/credentials/credential-helper.js', import.meta.url)
  const secrets = new URL('../../../src/core/secret.js', import.meta.url)
  const code = `
    import { askHelper } from ${JSON.stringify(module.href)}
    import { Secrets } from ${JSON.stringify(secrets.href)}
    const context = { secrets: new Secrets(), signal: new AbortController().signal, env: process.env, log: {} }
    const outcomes = []
    for (const name of ['good', 'bad', 'absent'])
      outcomes.push(await askHelper({ name, host: 'h', side: 'source' }, context).then((c) => c.kind, (e) => e.code))
    process.exitCode = outcomes.join() === 'basic,HELPER,HELPER' ? 0 : 9
  `
  const run = promisify(execFile)
  const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', code], { env: process.env })
  expect({ stdout, stderr }).toEqual({ stdout: '', stderr: '' })
})
