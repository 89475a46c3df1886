import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { Secret } from '../../../src/core/secret.ts'
import { authFilePaths, loginFromAuthFiles } from '../../../src/credentials/auth-file.ts'
import { base64, basic, openRoom, type Room, refusalOf, shown, textOf } from '../../support/credentials.ts'

let room: Room
beforeEach(() => {
  room = openRoom()
})
afterEach(() => room.close())

const key = { host: 'quay.io', repository: 'dev/app' }
const withAuth = (user: string, password = 'secret', host = 'quay.io') => ({
  auths: { [host]: { auth: base64(`${user}:${password}`) } },
})

async function found(explicit?: string) {
  const login = await loginFromAuthFiles(key, { explicit, side: 'source' }, room.context)
  return shown(await login?.current())
}

describe('where logins are looked for', () => {
  test('in the order of the tools that write them', () => {
    const env = {
      REGISTRY_AUTH_FILE: '/r/auth.json',
      DOCKER_CONFIG: '/d',
      HOME: '/home/jane',
      XDG_RUNTIME_DIR: '/run/user/1',
    }
    expect(authFilePaths(env, 'linux')).toEqual([
      join('/r/auth.json'),
      join('/d', 'config.json'),
      join('/home/jane', '.docker', 'config.json'),
      '/tekton/creds/.docker/config.json',
      join('/run/user/1', 'containers', 'auth.json'),
      join('/home/jane', '.config', 'containers', 'auth.json'),
    ])
  })

  test('each file once, and nothing relative when the environment is bare', () => {
    expect(authFilePaths({}, 'linux')).toEqual(['/tekton/creds/.docker/config.json'])
    expect(authFilePaths({ HOME: '/h', DOCKER_CONFIG: '/h/.docker' }, 'linux')).toHaveLength(3)
    expect(authFilePaths({ HOME: '' }, 'linux')).toHaveLength(1)
  })

  test('XDG_CONFIG_HOME replaces .config, USERPROFILE is the home on Windows', () => {
    expect(authFilePaths({ HOME: '/h', XDG_CONFIG_HOME: '/c' }, 'linux')).toContain(
      join('/c', 'containers', 'auth.json'),
    )
    const windows = authFilePaths({ USERPROFILE: '/users/jane', HOME: '/msys' }, 'win32')
    expect(windows).toContain(join('/users/jane', '.docker', 'config.json'))
  })
})

describe('files that are found', () => {
  test('the first one with an entry for the host wins', async () => {
    room.env.HOME = room.folder
    room.env.XDG_RUNTIME_DIR = join(room.folder, 'run')
    room.env.DOCKER_CONFIG = join(room.folder, 'docker')
    room.file('.config/containers/auth.json', withAuth('config'))
    expect(await found()).toEqual(basic('config', 'secret'))
    room.file('run/containers/auth.json', withAuth('run'))
    expect(await found()).toEqual(basic('run', 'secret'))
    room.file('.docker/config.json', withAuth('home'))
    expect(await found()).toEqual(basic('home', 'secret'))
    room.file('docker/config.json', withAuth('docker'))
    expect(await found()).toEqual(basic('docker', 'secret'))
    room.env.REGISTRY_AUTH_FILE = room.file('registry.json', withAuth('registry'))
    expect(await found()).toEqual(basic('registry', 'secret'))
    room.file('registry.json', withAuth('other', 'secret', 'other.example'))
    expect(await found()).toEqual(basic('docker', 'secret'))
    expect(room.warnings).toEqual([])
  })

  test('DOCKER_AUTH_CONFIG goes first, as text or as the path of a file', async () => {
    room.env.REGISTRY_AUTH_FILE = room.file('registry.json', withAuth('registry'))
    room.env.DOCKER_AUTH_CONFIG = JSON.stringify(withAuth('variable'))
    expect(await found()).toEqual(basic('variable', 'secret'))
    room.env.DOCKER_AUTH_CONFIG = room.file('gitlab', withAuth('kept-as-a-file'))
    expect(await found()).toEqual(basic('kept-as-a-file', 'secret'))
    room.env.DOCKER_AUTH_CONFIG = JSON.stringify(withAuth('other', 'secret', 'other.example'))
    expect(await found()).toEqual(basic('registry', 'secret'))
    expect(room.warnings).toEqual([])
    room.env.DOCKER_AUTH_CONFIG = '{"auths": do-not-quote-me'
    expect(await found()).toEqual(basic('registry', 'secret'))
    expect(room.warnings).toEqual([expect.not.stringContaining('do-not')])
  })

  test('no file has an entry: no login, no word', async () => {
    room.env.HOME = room.folder
    expect(await found()).toBeUndefined()
    expect(room.warnings).toEqual([])
  })

  test('a malformed one is left out with one warning that names it and quotes nothing', async () => {
    room.env.HOME = room.folder
    const path = room.file('.docker/config.json', '{"auths": do-not-quote-me')
    room.file('.config/containers/auth.json', withAuth('next'))
    expect(await found()).toEqual(basic('next', 'secret'))
    expect(await found()).toEqual(basic('next', 'secret'))
    expect(room.warnings).toHaveLength(1)
    expect(room.warnings[0]).toContain(path)
    expect(room.warnings[0]).not.toContain('do-not')
  })

  test('a folder in place of the file is left out with a warning', async () => {
    room.env.HOME = room.folder
    room.file('.docker/config.json/inside', '')
    expect(await found()).toBeUndefined()
    expect(room.warnings.join()).toContain('config.json')
  })
})

describe('the entries of registry-auth', () => {
  const find = async (repository: string, host = 'quay.io') => {
    const auths = {
      'quay.io': { username: 'robot', password: 'first' },
      'quay.io/b': { username: 'b', password: 'second' },
    }
    const registryAuth = new Secret(JSON.stringify({ auths }))
    const explicit = room.file('given.json', {
      auths: { ...withAuth('given').auths, ...withAuth('o', 'p', 'other').auths },
    })
    return loginFromAuthFiles({ host, repository }, { explicit, registryAuth, side: 'source' }, room.context)
  }

  test('go before every file, the longest name first; other registries have their entry of the file', async () => {
    expect(shown(await (await find('a/app'))?.current())).toEqual(basic('robot', 'first'))
    expect(shown(await (await find('b/app'))?.current())).toEqual(basic('b', 'second'))
    expect(shown(await (await find('b/app', 'other'))?.current())).toEqual(basic('o', 'p'))
    expect(await find('a/app', 'quay.io.evil.example')).toBeUndefined()
  })

  test('are one login for each entry, which is named after the option', async () => {
    const [one, same, other] = await Promise.all([find('a/app'), find('a/web'), find('b/app')])
    expect(one?.describe).toBe('registry-auth')
    expect(one).toBe(same)
    expect(one).not.toBe(other)
  })
})

describe('the file that is given', () => {
  test('is the only one that is read', async () => {
    room.env.HOME = room.folder
    room.file('.docker/config.json', withAuth('home'))
    expect(await found(room.file('given.json', { auths: {} }))).toBeUndefined()
    expect(await found(room.file('given.json', withAuth('given')))).toEqual(basic('given', 'secret'))
  })

  test('may begin with a byte order mark', async () => {
    expect(await found(room.file('given.json', `\uFEFF${JSON.stringify(withAuth('bom'))}`))).toEqual(
      basic('bom', 'secret'),
    )
  })

  test.each([
    ['missing', (r: Room) => join(r.folder, 'nowhere.json')],
    ['a folder', (r: Room) => r.folder],
    ['malformed', (r: Room) => r.file('bad.json', 'secret-content')],
    [
      'not UTF-8',
      (r: Room) => {
        const path = r.file('bad.json', '')
        writeFileSync(path, Buffer.from([0xff, 0xfe, 0x7b]))
        return path
      },
    ],
    ['larger than 1 MiB', (r: Room) => r.file('bad.json', ' '.repeat(1024 * 1024 + 1))],
  ])('%s: an IO error that names it', async (_name, make) => {
    const path = make(room)
    const error = await refusalOf(() => found(path))
    expect([error.code, error.side]).toEqual(['IO', 'source'])
    expect(error.message).toContain(path)
    expect(textOf(error)).not.toContain('secret-content')
  })

  test('of exactly 1 MiB is read', async () => {
    const text = JSON.stringify(withAuth('large'))
    expect(await found(room.file('given.json', text + ' '.repeat(1024 * 1024 - text.length)))).toEqual(
      basic('large', 'secret'),
    )
  })

  test('that may not be read is an IO error, where the system enforces it', async () => {
    const path = room.file('given.json', withAuth('given'))
    chmodSync(path, 0)
    // root reads everything, and Windows has no such mode: there the file is simply read.
    const enforced = process.platform !== 'win32' && process.getuid?.() !== 0
    if (enforced) expect((await refusalOf(() => found(path))).code).toBe('IO')
    else expect(await found(path)).toEqual(basic('given', 'secret'))
  })

  test('is read again when its credential was refused, and gives the other one once it was rotated', async () => {
    const path = room.file('given.json', withAuth('jane', 'first'))
    const login = await loginFromAuthFiles(key, { explicit: path, side: 'source' }, room.context)
    const first = (await login?.current()) ?? { kind: 'anonymous' as const }
    expect(await login?.renew(first)).toBeUndefined()
    room.file('given.json', withAuth('jane', 'second'))
    expect(shown(await login?.renew(first))).toEqual(basic('jane', 'second'))
    expect(shown(await login?.current())).toEqual(basic('jane', 'second'))
    expect(login?.describe).toBe(`auth file ${path}`)
  })
})

describe('helpers that a file names', () => {
  const answering = (user: string) => `stdin(); say({ Username: '${user}', Secret: 'from-helper' })`
  const knowingNothing = "stdin(); say('credentials not found in native keychain'); process.exitCode = 1"

  test('the one of the host goes before its entry, the entry before the global one', async () => {
    room.program('docker-credential-own', answering('own'))
    room.program('docker-credential-all', answering('all'))
    const entry = withAuth('entry')
    const all = { credsStore: 'all' }
    expect(await found(room.file('a.json', { ...entry, ...all, credHelpers: { 'quay.io': 'own' } }))).toEqual(
      basic('own', 'from-helper'),
    )
    expect(await found(room.file('b.json', { ...entry, ...all, credHelpers: { 'x.io': 'own' } }))).toEqual(
      basic('entry', 'secret'),
    )
    expect(await found(room.file('c.json', { ...all, auths: { 'quay.io': {} } }))).toEqual(basic('all', 'from-helper'))
    expect(await found(room.file('d.json', { ...all, credHelpers: { 'quay.io': '' } }))).toBeUndefined()
  })

  test('one that knows nothing leaves the entry, and then the next file, to be asked', async () => {
    room.program('docker-credential-none', knowingNothing)
    const none = { credHelpers: { 'https://quay.io': 'none' } }
    expect(await found(room.file('a.json', { ...withAuth('entry'), ...none }))).toEqual(basic('entry', 'secret'))
    room.env.HOME = room.folder
    room.file('.docker/config.json', none)
    room.file('.config/containers/auth.json', withAuth('next'))
    expect(await found()).toEqual(basic('next', 'secret'))
  })

  test('a missing one is an error where the host needs it, and a warning where nothing says so', async () => {
    const needed = [{ credHelpers: { 'quay.io': 'absent' } }, { credsStore: 'absent', auths: { 'quay.io': {} } }]
    room.env.HOME = room.folder
    for (const content of needed) {
      room.file('.docker/config.json', content)
      const error = await refusalOf(() => found())
      expect([error.code, error.side]).toEqual(['HELPER', 'source'])
      expect(error.hint).toContain('docker-credential-absent')
    }
    const path = room.file('.docker/config.json', { credsStore: 'absent' })
    expect(await found()).toBeUndefined()
    expect(room.warnings.join()).toContain(path)
    expect((await refusalOf(() => found(path))).code).toBe('HELPER')
  })

  test('a helper is asked again when its credential was refused', async () => {
    const answer = room.file('answer', 'first')
    room.program(
      'docker-credential-rotating',
      `say({ Username: 'u', Secret: readFileSync(${JSON.stringify(answer)}, 'utf8') })`,
    )
    const explicit = room.file('a.json', { credsStore: 'rotating' })
    const login = await loginFromAuthFiles(key, { explicit, side: 'destination' }, room.context)
    const first = (await login?.current()) ?? { kind: 'anonymous' as const }
    room.file('answer', 'second')
    expect(shown(await login?.current())).toEqual(basic('u', 'first'))
    const renewed = await Promise.all([login?.renew(first), login?.renew(first)])
    expect(renewed.map(shown)).toEqual([basic('u', 'second'), basic('u', 'second')])
    expect(login?.describe).toBe(`credential helper rotating of the auth file ${explicit}`)
  })
})

test('two repositories have one login when one entry is for both, and two when each has its own', async () => {
  const auths = { 'quay.io/a': { auth: base64('a:secret-a') }, 'quay.io/b': { auth: base64('b:secret-b') } }
  const explicit = room.file('config.json', JSON.stringify({ auths }))
  const login = (repository: string) =>
    loginFromAuthFiles({ host: 'quay.io', repository }, { explicit, side: 'source' }, room.context)
  const [one, same, other] = await Promise.all(['a/x', 'a/y', 'b/x'].map(login))
  expect(one).toBe(same)
  expect(other).not.toBe(one)
  expect(shown(await other?.current())).toEqual(basic('b', 'secret-b'))
})
