import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { PromoteError } from '../../../src/core/errors.ts'
import { findEntry, helperOf, parseAuthFile } from '../../../src/credentials/auth-file.ts'
import {
  base64,
  basic,
  bearer,
  identity,
  openRoom,
  type Room,
  refusalOf,
  shown,
  textOf,
} from '../../support/credentials.ts'

let room: Room
beforeAll(() => {
  room = openRoom()
})
afterAll(() => room.close())

const from = { what: 'auth file', path: '/somewhere/config.json', side: 'source' } as const

function entryFor(content: unknown, host = 'quay.io', repository = 'dev/app') {
  const file = parseAuthFile(typeof content === 'string' ? content : JSON.stringify(content), from)
  return shown(findEntry(file, { host, repository }, room.context).credential)
}

describe('of several keys for one place', () => {
  const key = { host: 'quay.io', repository: 'dev/app' }
  const named = (keys: readonly string[], more: Partial<Parameters<typeof findEntry>[1]> = {}): unknown => {
    const auths = Object.fromEntries(keys.map((one) => [one, { auth: base64(`u:of ${one}`) }]))
    const file = parseAuthFile(JSON.stringify({ auths }), from)
    return findEntry(file, { ...key, ...more }, room.context).entry
  }

  test.each([
    [['https://quay.io', 'quay.io'], 'quay.io'],
    [['http://quay.io', 'https://quay.io/v2/', 'quay.io:443'], 'quay.io:443'],
    [['quay.io', 'quay.io/dev', 'quay.io/dev/app'], 'quay.io/dev/app'],
    [['quay.io', 'quay.io:443/dev'], 'quay.io:443/dev'],
    [['quay.io/other', 'https://quay.io'], 'https://quay.io'],
    [['quay.io/de', 'http://quay.io'], 'http://quay.io'],
  ])('%j: %s', (keys, expected) => {
    expect(named(keys)).toBe(expected)
    expect(named([...keys].reverse())).toBe(expected)
  })

  test('the one that is the registry as it was written goes first', () => {
    expect(named(['quay.io', 'quay.io:443'], { host: 'quay.io:443' })).toBe('quay.io:443')
    expect(named(['quay.io:443', 'quay.io'])).toBe('quay.io')
  })

  test('80 is the default port of a registry that speaks http, and 443 is not', () => {
    expect(named(['quay.io:80'], { plainHttp: true })).toBe('quay.io:80')
    expect(named(['quay.io:443'], { plainHttp: true })).toBeUndefined()
  })

  test('the same holds for the helpers of hosts', () => {
    const credHelpers = { 'https://quay.io': 'old', 'quay.io:443': 'new' }
    expect(helperOf(parseAuthFile(JSON.stringify({ credHelpers }), from), 'quay.io')).toBe('new')
  })
})

describe('which key fits', () => {
  // key in the file, host asked for, repository asked for, fits
  const table: [string, string, string, boolean][] = [
    ['quay.io', 'quay.io', 'dev/app', true],
    ['quay.io', 'QUAY.io', 'dev/app', true],
    ['Quay.IO', 'quay.io', 'dev/app', true],
    ['quay.io', 'quay.io:443', 'dev/app', true],
    ['quay.io:443', 'quay.io', 'dev/app', true],
    ['https://quay.io:443/v2/', 'quay.io', 'dev/app', true],
    ['quay.io:443/dev', 'quay.io:443', 'dev/app', true],
    ['quay.io:80', 'quay.io', 'dev/app', false],
    ['quay.io:4430', 'quay.io', 'dev/app', false],
    ['quay.io:8443', 'quay.io:8443', 'dev/app', true],
    ['quay.io:8443', 'quay.io', 'dev/app', false],
    ['quay.io', 'evil-quay.io', 'dev/app', false],
    ['quay.io', 'quay.io.evil.example', 'dev/app', false],
    ['io', 'quay.io', 'dev/app', false],
    ['https://quay.io', 'quay.io', 'dev/app', true],
    ['https://quay.io/', 'quay.io', 'dev/app', true],
    ['https://quay.io/v1/', 'quay.io', 'dev/app', true],
    ['https://quay.io/v2/', 'quay.io', 'dev/app', true],
    ['http://127.0.0.1:5000', '127.0.0.1:5000', 'a', true],
    ['https://[::1]:5000/v2/', '[::1]:5000', 'a', true],
    ['quay.io/', 'quay.io', 'dev/app', true],
    ['quay.io/v1/', 'quay.io', 'dev/app', true],
    ['quay.io/dev', 'quay.io', 'dev/app', true],
    ['quay.io/dev/', 'quay.io', 'dev/app', true],
    ['quay.io/dev/app', 'quay.io', 'dev/app', true],
    ['quay.io/de', 'quay.io', 'dev/app', false],
    ['quay.io/dev/app2', 'quay.io', 'dev/app', false],
    ['quay.io/dev/app/more', 'quay.io', 'dev/app', false],
    ['quay.io/Dev', 'quay.io', 'dev/app', false],
    ['https://index.docker.io/v1/', 'docker.io', 'library/busybox', true],
    ['https://index.docker.io/v1/', 'registry-1.docker.io', 'library/busybox', true],
    ['index.docker.io/v1/', 'docker.io', 'library/busybox', true],
    ['docker.io', 'index.docker.io', 'library/busybox', true],
    ['index.docker.io', 'docker.io', 'library/busybox', true],
    ['registry-1.docker.io', 'docker.io', 'library/busybox', true],
    ['docker.io/library', 'registry-1.docker.io', 'library/busybox', true],
    ['docker.io/other', 'docker.io', 'library/busybox', false],
    ['docker.io', 'hub.docker.io', 'library/busybox', false],
    ['', 'quay.io', 'dev/app', false],
    ['__proto__', 'quay.io', 'dev/app', false],
  ]
  test.each(table)('%j for %s/%s: %s', (key, host, repository, fits) => {
    const content = `{"auths": {${JSON.stringify(key)}: {"auth": "${base64('jane:pass word')}"}}}`
    expect(entryFor(content, host, repository)).toEqual(fits ? basic('jane', 'pass word') : undefined)
  })

  test('the longest key wins, wherever it stands', () => {
    const entry = (user: string) => ({ auth: base64(`${user}:secret`) })
    const auths = {
      'quay.io': entry('host'),
      'quay.io/dev/app': entry('repository'),
      'quay.io/dev': entry('namespace'),
    }
    expect(entryFor({ auths })).toEqual(basic('repository', 'secret'))
    expect(entryFor({ auths }, 'quay.io', 'dev/other')).toEqual(basic('namespace', 'secret'))
    expect(entryFor({ auths }, 'quay.io', 'prod/app')).toEqual(basic('host', 'secret'))
  })

  test('an empty entry holds nothing, so a shorter key is taken', () => {
    const auths = { 'quay.io/dev': {}, 'https://quay.io/v1/': { auth: '' }, 'quay.io': { auth: base64('jane:secret') } }
    expect(entryFor({ auths })).toEqual(basic('jane', 'secret'))
  })
})

describe('what an entry holds', () => {
  const table: [string, unknown, unknown][] = [
    ['user and password', { auth: base64('jane:hunter22') }, basic('jane', 'hunter22')],
    ['a password with colons', { auth: base64('jane:a:b::c') }, basic('jane', 'a:b::c')],
    ['UTF-8', { auth: base64('jané:pässwörd€😀') }, basic('jané', 'pässwörd€😀')],
    ['base64 without padding', { auth: base64('jane:pass').replace(/=+$/, '') }, basic('jane', 'pass')],
    ['base64 with line breaks', { auth: `${base64('jane:password')}\n` }, basic('jane', 'password')],
    ['NULs around the password', { auth: base64('jane:\0pass\0\0') }, basic('jane', 'pass')],
    ['an empty password', { auth: base64('jane:') }, basic('jane', '')],
    ['separate fields', { username: 'jane', password: 'hunter22' }, basic('jane', 'hunter22')],
    ['auth before separate fields', { auth: base64('a:bbbb'), username: 'c', password: 'dddd' }, basic('a', 'bbbb')],
    ['an identity token', { auth: base64('0000:'), identitytoken: 'refresh-me' }, identity('refresh-me')],
    ['a registry token', { identitytoken: 'refresh-me', registrytoken: 'as-it-is' }, bearer('as-it-is')],
    ['an OpenShift account', { auth: base64('<token>:eyJhbGciOi.J9.x') }, basic('<token>', 'eyJhbGciOi.J9.x')],
    ['fields that say nothing here', { auth: base64('jane:pass'), email: null, extra: [1] }, basic('jane', 'pass')],
    ['nulls', { auth: null, username: null, password: null }, undefined],
    ['a user alone', { username: 'jane' }, undefined],
  ]
  test.each(table)('%s', (_name, entry, expected) => {
    expect(entryFor({ auths: { 'quay.io': entry } })).toEqual(expected)
  })

  test('a .dockercfg has its hosts at the top', () => {
    const auth = base64('<token>:sha256~abc')
    const content = { 'image-registry.openshift-image-registry.svc:5000': { auth }, '172.30.1.1:5000': { auth } }
    expect(entryFor(content, '172.30.1.1:5000')).toEqual(basic('<token>', 'sha256~abc'))
    expect(entryFor(content, '172.30.1.2:5000')).toBeUndefined()
  })

  test('a byte of JSON after another: nulls, other settings and unknown fields do not matter', () => {
    expect(entryFor({ auths: null, credHelpers: null, credsStore: '', HttpHeaders: { a: 'b' } })).toBeUndefined()
  })

  test('the secrets are masked as they are, as Basic sends them and as the file writes them', () => {
    entryFor({ auths: { 'quay.io': { auth: base64('mask:my:pässword') } } })
    entryFor({ auths: { 'quay.io': { identitytoken: 'mask-my-identity' } } })
    entryFor({ auths: { 'quay.io': { registrytoken: 'mask-my-registry' } } })
    const expected = ['my:pässword', base64('mask:my:pässword'), 'mask-my-identity', 'mask-my-registry']
    expect(room.masked).toEqual(expect.arrayContaining(expected))
  })
})

describe('a malformed file', () => {
  const secret = 'do-not-quote-me'
  const table: [string, string][] = [
    ['no JSON', `{"auths": {"quay.io": {"auth": ${secret}`],
    ['an array', `["${secret}"]`],
    ['a string', `"${secret}"`],
    ['auths of another form', `{"auths": "${secret}"}`],
    ['a store of another form', `{"credsStore": ["${secret}"]}`],
    ['an entry of another form', `{"auths": {"quay.io": "${secret}"}}`],
    ['an auth of another form', `{"auths": {"quay.io": {"auth": ["${secret}"]}}}`],
    ['auth that is no base64', `{"auths": {"quay.io": {"auth": "${secret}!"}}}`],
    ['auth without a colon', `{"auths": {"quay.io": {"auth": "${base64(secret)}"}}}`],
    ['auth without a user', `{"auths": {"quay.io": {"auth": "${base64(`:${secret}`)}"}}}`],
    [
      'auth that is not UTF-8',
      `{"auths": {"quay.io": {"auth": "${Buffer.from([0x61, 0x3a, 0xff, 0xfe]).toString('base64')}"}}}`,
    ],
    ['a token with a line break', `{"auths": {"quay.io": {"registrytoken": "${secret}\\nX-Header: 1"}}}`],
  ]
  test.each(table)('%s is an IO error that names the file and quotes nothing', async (_name, content) => {
    const error = await refusalOf(() => entryFor(content))
    expect([error.code, error.side]).toEqual(['IO', 'source'])
    expect(error.message).toContain('/somewhere/config.json')
    expect(textOf(error)).not.toContain(secret)
    expect(textOf(error)).not.toContain(base64(secret))
  })

  test('an entry for another registry does not matter', () => {
    expect(entryFor({ auths: { 'other.example': 'broken', 'quay.io': { auth: base64('jane:pass') } } })).toEqual(
      basic('jane', 'pass'),
    )
  })
})

describe('whatever is in the file', () => {
  const parse = (text: string) => {
    try {
      const file = parseAuthFile(text, from)
      helperOf(file, 'quay.io')
      findEntry(file, { host: 'quay.io', repository: 'dev/app' }, room.context)
    } catch (error) {
      expect(error).toBeInstanceOf(PromoteError)
      expect((error as PromoteError).code).toBe('IO')
    }
  }
  const key = fc.constantFrom('auths', 'credHelpers', 'credsStore', 'quay.io', 'quay.io/dev', 'auth', 'identitytoken')
  const nested = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.string(),
      fc.base64String(),
      fc.integer(),
      fc.constant(null),
      tie('map'),
    ),
    map: fc.dictionary(fc.oneof(key, fc.string(), fc.constant('__proto__')), tie('value'), { maxKeys: 6 }),
  }))

  test('arbitrary text never throws anything but IO', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => parse(text)),
      { numRuns: 200 },
    )
  })

  test('objects of nearly the right form never throw anything but IO', () => {
    fc.assert(
      fc.property(nested.map, (value) => parse(JSON.stringify(value))),
      { numRuns: 400 },
    )
  })

  const large = 64 * 1024
  test.each([
    ['open brackets', '['.repeat(large)],
    ['open braces', '{"auths":'.repeat(large / 8)],
    ['a long auth', JSON.stringify({ auths: { 'quay.io': { auth: 'A='.repeat(large / 2) } } })],
    ['a long password of NULs', JSON.stringify({ auths: { 'quay.io': { auth: base64(`a:${'\0'.repeat(large)}b`) } } })],
    ['a long key', JSON.stringify({ auths: { [`https://${'/'.repeat(large)}`]: {} } })],
    [
      'many keys',
      JSON.stringify({ auths: Object.fromEntries(Array.from({ length: 4000 }, (_, i) => [`h${i}.io`, {}])) }),
    ],
    ['bytes', Buffer.from(Array.from({ length: large }, (_, i) => (i * 7919) % 251)).toString('latin1')],
  ])('64 KiB of %s is answered', (_name, text) => parse(text))
})
