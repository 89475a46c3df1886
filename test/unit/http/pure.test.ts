import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import * as z from 'zod'
import { Secrets } from '../../../src/core/secret.ts'
import { parseChallenges } from '../../../src/http/challenge.ts'
import { readable } from '../../../src/http/client.ts'
import {
  isUploadOf,
  isUploadSession,
  mayAskTokenService,
  mayReceiveCredential,
  refuseSecretInAddress,
} from '../../../src/http/credential-scope.ts'
import { bytes, headerAll, json, parseRetryAfter, registryError } from '../../../src/http/response.ts'
import { mergeScopes } from '../../../src/http/token-service.ts'
import { nextPage } from '../../../src/registry/headers.ts'
import { proxyFor } from '../../../src/transport/proxy.ts'
import { discard, type Response } from '../../../src/transport/request.ts'
import { rejection } from '../../support/http-server.ts'

function answer(
  status: number,
  body: string,
  headers: Record<string, string> = {},
): Response & { taken: () => number } {
  let taken = 0
  const parts = (async function* () {
    for (let at = 0; at < body.length; at += 1000) {
      taken += 1000
      yield Buffer.from(body.slice(at, at + 1000))
    }
  })()
  return { status, headers, url: new URL('https://r.example/v2/x?secret=1'), body: parts, taken: () => taken }
}

describe('parseChallenges', () => {
  test.each([
    [
      'Bearer realm="https://a/t",service="s",scope="repository:a:pull,push repository:b:pull"',
      [['bearer', { realm: 'https://a/t', service: 's', scope: 'repository:a:pull,push repository:b:pull' }]],
    ],
    ['Basic realm=openshift,error="access denied"', [['basic', { realm: 'openshift', error: 'access denied' }]]],
    [
      'Basic realm="a", Bearer realm="b",service="c"',
      [
        ['basic', { realm: 'a' }],
        ['bearer', { realm: 'b', service: 'c' }],
      ],
    ],
    ['Bearer realm=https://a/t?x=1,service=s', [['bearer', { realm: 'https://a/t?x=1', service: 's' }]]],
    [
      'Negotiate, Basic realm="x"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'x' }],
      ],
    ],
    ['BEARER Realm = "a" , SERVICE = "b"', [['bearer', { realm: 'a', service: 'b' }]]],
    ['Bearer realm="a\\"b",realm="second"', [['bearer', { realm: 'a"b' }]]],
    ['Bearer realm="open', [['bearer', { realm: 'open' }]]],
    ['Bearer __proto__="x"', [['bearer', { ['__proto__']: 'x' }]]],
    ['', []],
    [',,, "', []],
  ])('%s', (line, expected) => {
    const found = parseChallenges([line]).map(({ scheme, parameters }) => [scheme, [...parameters]])
    expect(found).toEqual(expected.map(([scheme, parameters]) => [scheme, Object.entries(parameters as object)]))
  })

  test('reads several lines', () => {
    expect(parseChallenges(['Basic realm="a"', 'Bearer realm="b"']).map((one) => one.scheme)).toEqual([
      'basic',
      'bearer',
    ])
  })

  test('whatever parameters are written are read back', () => {
    const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/)
    fc.assert(
      fc.property(fc.dictionary(name, fc.string(), { minKeys: 1, maxKeys: 5 }), (parameters) => {
        const text = Object.entries(parameters).map(([key, value]) => `${key}="${value.replace(/["\\]/g, '\\$&')}"`)
        const [found] = parseChallenges([`Bearer ${text.join(', ')}`])
        expect(found?.scheme).toBe('bearer')
        expect([...(found?.parameters ?? [])]).toEqual(Object.entries(parameters))
      }),
    )
  })

  test('never throws and stays bounded', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: fc.constantFrom(...'aB =,"\\\t;\u0000é') })), (lines) => {
        expect(parseChallenges(lines).length).toBeLessThanOrEqual(32)
      }),
    )
  })
})

describe('parseRetryAfter', () => {
  const now = Date.UTC(2026, 0, 1)
  test.each([
    ['0', undefined, 0],
    ['120', undefined, 120_000],
    [' 1.5 ', undefined, 1500],
    ['Thu, 01 Jan 2026 00:01:00 GMT', undefined, 60_000],
    ['Thu, 01 Jan 2026 00:01:00 GMT', 'Thu, 01 Jan 2026 00:00:50 GMT', 10_000],
    ['Thu, 01 Jan 2026 00:01:00 GMT', 'garbage', 60_000],
    ['-5', undefined, undefined],
    ['1e9', undefined, undefined],
    ['', undefined, undefined],
    [undefined, undefined, undefined],
    ['99999999999999999999', undefined, undefined],
  ])('%s with Date %s', (value, date, expected) => {
    expect(parseRetryAfter(value, date, now)).toBe(expected)
  })

  test('never throws, and is a finite number of milliseconds that is not negative, or nothing', () => {
    fc.assert(
      fc.property(fc.string(), fc.option(fc.string(), { nil: undefined }), (value, date) => {
        const wait = parseRetryAfter(value, date, now)
        expect(wait === undefined || (Number.isFinite(wait) && wait >= 0)).toBe(true)
      }),
    )
  })
})

describe('nextPage', () => {
  const base = new URL('https://r.example/v2/a/tags/list?n=2')
  test.each([
    ['</v2/a/tags/list?last=x&n=2>; rel="next"', 'https://r.example/v2/a/tags/list?last=x&n=2'],
    ['<?last=x>;rel=next', 'https://r.example/v2/a/tags/list?last=x'],
    ['<https://r.example:443/v2/p2>; rel="next"', 'https://r.example/v2/p2'],
    ['</first>; rel="first", </second>; title="a, <b>"; rel="prev next"', 'https://r.example/second'],
    ['<http://registry.internal:5000/v2/a/tags/list?last=x>; rel="next"', 'https://r.example/v2/a/tags/list?last=x'],
    ['<https://evil.example/v2/p2?a=%2F>; rel="next"', 'https://r.example/v2/p2?a=%2F'],
    ['<//evil.example/x>; rel="next"', 'https://r.example/x'],
    ['<https://inner.example//evil.example/x>; rel="next"', 'https://r.example//evil.example/x'],
    ['<https://user:pass@r.example/x>; rel="next"', 'https://r.example/x'],
    ['<http://[broken/x>; rel="next"', 'unreadable'],
    ['<mailto:someone@r.example>; rel="next"', 'unreadable'],
    ['/v2/x; rel="next"', 'unreadable'],
    ['</v2/x; rel="next"', 'unreadable'],
    [`</v2/${'x'.repeat(9000)}>; rel="next"`, 'unreadable'],
    ['</v2/x>; rel="last"', undefined],
    ['</v2/x>; rel="nextish"', undefined],
    ['', undefined],
  ])('%s', (header, expected) => {
    const next = nextPage(header, base)
    expect(next instanceof URL ? next.href : next).toBe(expected)
  })

  test('never throws, and never leaves the origin', () => {
    const unit = fc.constantFrom(
      '<',
      '>',
      '"',
      ',',
      ';',
      '\\',
      'rel=next',
      'rel="next"',
      '/a',
      '//b',
      'https:',
      'é',
      ' ',
    )
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 40 }), (header) => {
        const next = nextPage(header, base)
        expect(next instanceof URL ? next.origin : base.origin).toBe(base.origin)
        expect(next instanceof URL ? next.username : '').toBe('')
      }),
    )
  })
})

// Quadratic parsers need minutes for these, and run into the timeout of the test.
test.each(['"', '\\"', '=', 'a=', 'a="', ' ', ',', '<', '<>', '<>;rel', '</title', '<title', '{', '[', 'Basic '])(
  '64 KiB of %j hold up nobody',
  async (unit) => {
    const garbage = unit.repeat(64 * 1024).slice(0, 64 * 1024)
    expect(parseChallenges([garbage]).length).toBeLessThanOrEqual(32)
    expect(nextPage(garbage, new URL('https://r.example'))).toBe('unreadable')
    expect(parseRetryAfter(garbage, garbage, 0)).toBeUndefined()
    const error = await registryError(answer(500, garbage, { 'content-type': 'text/html' }), {
      side: 'source',
      what: 'x',
    })
    expect(error.message.length).toBeLessThan(700)
  },
)

describe('mayReceiveCredential', () => {
  const home = 'https://r.example'
  test.each([
    // origin, hop, left, kind, carried
    [home, 'https://r.example/v2/', false, 'bearer', true],
    [home, 'https://r.example:443/v2/', false, 'basic', true],
    [home, 'https://R.EXAMPLE/v2/', false, 'token', true],
    [home, 'https://r.example/v2/', true, 'bearer', false],
    [home, 'https://r.example:444/', false, 'basic', false],
    [home, 'http://r.example/', false, 'bearer', false],
    [home, 'https://sub.r.example/', false, 'bearer', false],
    [home, 'https://r.example.evil/', false, 'bearer', false],
    [home, 'https://r.example@evil/', false, 'bearer', false],
    [home, 'https://r.example/v2/', false, 'identity', false],
    [home, 'https://r.example/v2/', false, 'anonymous', false],
    ['http://r.example:5000', 'http://r.example:5000/v2/', false, 'basic', true],
    ['http://r.example:5000', 'https://r.example:5000/v2/', false, 'basic', false],
    ['file:///a', 'file:///b', false, 'basic', false],
  ] as const)('%s → %s, left: %s, %s: %s', (origin, hop, left, kind, expected) => {
    expect(mayReceiveCredential(new URL(origin), new URL(hop), left, kind)).toBe(expected)
  })
})

describe('mayAskTokenService', () => {
  const [https, http] = ['https://r.example', 'http://r.example:5000']
  test.each([
    // registry, realm, kind, verified, asked
    [https, 'https://auth.example/token', 'basic', true, true],
    [https, 'https://auth.example/token', 'identity', true, true],
    [https, 'https://auth.example/token', 'basic', false, false],
    [https, 'https://r.example/token', 'basic', false, true],
    [https, 'http://auth.example/token', 'basic', true, false],
    [https, 'http://r.example/token', 'anonymous', true, false],
    [https, 'https://auth.example/token', 'anonymous', false, true],
    [https, 'https://user:pass@auth.example/token', 'basic', true, false],
    [http, 'http://r.example:5000/token', 'basic', true, true],
    [http, 'http://r.example:5000/token', 'identity', true, true],
    [http, 'http://r.example/token', 'basic', true, false],
    [http, 'https://r.example:5000/token', 'basic', true, false],
    [http, 'https://auth.example/token', 'basic', true, false],
    [http, 'http://auth.example/token', 'anonymous', true, true],
    [https, 'https://r.example/token', 'bearer', true, false],
    [https, 'file:///etc/passwd', 'anonymous', true, false],
  ] as const)('%s → %s with %s, verified: %s: %s', (registry, realm, kind, verified, expected) => {
    expect(mayAskTokenService(new URL(registry), new URL(realm), kind, verified)).toBe(expected)
  })
})

describe('proxyFor', () => {
  const P = 'http://p:3128'
  test.each([
    // URL, environment, proxy
    ['https://r.example', {}, undefined],
    ['https://r.example', { HTTPS_PROXY: P }, 'p:3128'],
    ['https://r.example', { HTTPS_PROXY: '', https_proxy: P }, 'p:3128'],
    ['https://r.example', { HTTPS_PROXY: P, https_proxy: '' }, 'p:3128'],
    ['https://r.example', { HTTPS_PROXY: 'p:3128' }, 'p:3128'],
    ['https://r.example', { HTTP_PROXY: P }, undefined],
    ['http://r.example', { HTTP_PROXY: P }, 'p:3128'],
    ['http://r.example', { HTTPS_PROXY: P }, undefined],
    ['https://localhost:5000', { HTTPS_PROXY: P }, undefined],
    ['https://127.1.2.3', { HTTPS_PROXY: P }, undefined],
    ['https://[::1]:5000', { HTTPS_PROXY: P }, undefined],
    ['https://r.example', { HTTPS_PROXY: P, NO_PROXY: '*' }, undefined],
    ['https://r.example', { HTTPS_PROXY: P, NO_PROXY: '', no_proxy: 'r.example' }, undefined],
    ['https://a.r.example', { HTTPS_PROXY: P, NO_PROXY: 'x, r.example' }, undefined],
    ['https://r.example', { HTTPS_PROXY: P, NO_PROXY: '.r.example' }, 'p:3128'],
    ['https://a.r.example', { HTTPS_PROXY: P, NO_PROXY: '.r.example' }, undefined],
    ['https://a.r.example', { HTTPS_PROXY: P, NO_PROXY: '*.r.example' }, undefined],
    ['https://ar.example', { HTTPS_PROXY: P, NO_PROXY: 'r.example' }, 'p:3128'],
    [
      'https://image-registry.openshift-image-registry.svc:5000',
      { HTTPS_PROXY: P, NO_PROXY: '.cluster.local,.svc,10.0.0.0/16' },
      undefined,
    ],
    ['https://r.example:5000', { HTTPS_PROXY: P, NO_PROXY: 'r.example:5000' }, undefined],
    ['https://r.example', { HTTPS_PROXY: P, NO_PROXY: 'r.example:5000' }, 'p:3128'],
    ['https://r.example', { HTTPS_PROXY: P, NO_PROXY: 'R.Example:443' }, undefined],
    ['https://10.0.1.2:5000', { HTTPS_PROXY: P, NO_PROXY: '10.0.0.0/16' }, undefined],
    ['https://10.1.1.2:5000', { HTTPS_PROXY: P, NO_PROXY: '10.0.0.0/16' }, 'p:3128'],
    ['https://10.1.1.2', { HTTPS_PROXY: P, NO_PROXY: '10.1.1.2' }, undefined],
    ['https://[fd00::5]', { HTTPS_PROXY: P, NO_PROXY: 'fd00::/8' }, undefined],
    ['https://r.example', { HTTPS_PROXY: P, NO_PROXY: '10.0.0.0/99,/,:,.' }, 'p:3128'],
  ] as const)('%s with %j', (url, env, expected) => {
    expect(proxyFor(new URL(url), env)?.url.host).toBe(expected)
  })

  test.each(['socks5://p:1080', 'http://', 'http://user:hunter2@:x'])(
    '%s is a problem of the input, and not shown',
    (value) => {
      expect(() => proxyFor(new URL('https://r.example'), { HTTPS_PROXY: value })).toThrow(
        expect.objectContaining({
          code: 'USAGE',
          side: 'input',
          message: 'HTTPS_PROXY is not the URL of an HTTP proxy.',
        }),
      )
    },
  )
})

test.each([
  [['repository:a:pull'], ['repository:a:pull'], ['repository:a:pull']],
  [['repository:a:pull,push'], ['repository:a:pull'], ['repository:a:pull,push']],
  [['repository:a:pull'], ['repository:a:pull,push'], ['repository:a:pull', 'repository:a:pull,push']],
  [
    ['repository:a:pull', 'repository:b:pull'],
    ['registry:catalog:*'],
    ['repository:a:pull', 'repository:b:pull', 'registry:catalog:*'],
  ],
  [[], ['repository:h:5000/a:pull'], ['repository:h:5000/a:pull']],
])('scopes %j and of the challenge %j are %j', (wanted, asked, expected) => {
  expect(mergeScopes(wanted, asked)).toEqual(expected)
})

describe('registryError', () => {
  const refused = (status: number, body: string, headers: Record<string, string> = {}) =>
    registryError(answer(status, body, headers), { side: 'destination', what: 'PUT https://r.example/x' })

  test.each([
    [403, '{"errors":[{"code":"DENIED","message":"no access","detail":null}]}', 'DENIED', '403 DENIED "no access".'],
    [
      400,
      '{"errors":[{"code":"DIGEST_INVALID","message":"m","detail":"digest missing"}]}',
      'PROTOCOL',
      '400 DIGEST_INVALID "m" (digest missing).',
    ],
    [400, '{"errors":[{"code":"A","message":"a"},{"code":"B"}]}', 'PROTOCOL', '400 A "a"; B.'],
    [
      403,
      '{"kind":"Status","reason":"Forbidden","message":"projects is forbidden","details":{"kind":"projects"}}',
      'DENIED',
      '403 Forbidden "projects is forbidden".',
    ],
    [401, '{"details":"unable to validate token"}', 'TOKEN_REJECTED', '401 "unable to validate token".'],
    [400, '{"error":"invalid_grant","error_description":"expired"}', 'PROTOCOL', '400 invalid_grant "expired".'],
    [404, '404 page not found\n', 'NOT_FOUND', '404 "404 page not found".'],
    [
      503,
      '<html><head><title>Application\n is not available</title></head><body>x</body></html>',
      'UNAVAILABLE',
      '503 with an HTML page: "Application is not available".',
    ],
    [502, '<html><body><h1>502 Bad Gateway</h1></body>', 'UNAVAILABLE', '502 with an HTML page: "502 Bad Gateway".'],
    [500, '', 'UNAVAILABLE', '500 without an explanation.'],
    [400, '{"errors":[]}', 'PROTOCOL', '400 without an explanation.'],
    [429, '\u001b[31mslow\u0000 down\u202e\r\n::error::x', 'RATE_LIMITED', '429 "slow down ::error::x".'],
    [400, '{"errors":[{"code":"TOOMANYREQUESTS","message":"m"}]}', 'RATE_LIMITED', '400 TOOMANYREQUESTS "m".'],
  ])('%i %s', async (status, body, code, said) => {
    const error = await refused(status, body)
    expect(error).toMatchObject({ code, side: 'destination', status, message: `PUT https://r.example/x: ${said}` })
  })

  test('keeps the entries for the rooms that know them, and the time to wait', async () => {
    const error = await refused(
      429,
      '{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"m","detail":{"Digest":"sha256:1"}}]}',
      { 'retry-after': '3' },
    )
    expect(error.server).toEqual([{ code: 'MANIFEST_BLOB_UNKNOWN', message: 'm', detail: { Digest: 'sha256:1' } }])
    expect(error).toMatchObject({ retryAfter: 3000, transient: true })
  })

  test.each([408, 425, 429, 500, 502, 503, 504, 522])('%i is transient', async (status) => {
    expect((await refused(status, '')).transient).toBe(true)
  })

  test('reads 64 KiB and no more', async () => {
    const res = answer(500, 'x'.repeat(1_000_000))
    await registryError(res, { side: 'source', what: 'x' })
    expect(res.taken()).toBeLessThan(70_000)
  })
})

describe('reading an answer', () => {
  test('stops at the limit', async () => {
    const res = answer(200, 'x'.repeat(1_000_000))
    expect(await rejection(bytes(res, 5000))).toMatchObject({ code: 'PROTOCOL', status: 200 })
    expect(res.taken()).toBeLessThan(10_000)
    expect(await bytes(answer(200, 'x'.repeat(5000)), 5000)).toHaveLength(5000)
  })

  test('as JSON names what is wrong and never quotes the body', async () => {
    const schema = z.object({ token: z.string() })
    expect(await json(answer(200, '{"token":"t"}'), schema, 100)).toEqual({ token: 't' })
    for (const body of ['{"token":', '{"token":{"a":"hunter2"}}', '"hunter2"', '']) {
      const error = await rejection(json(answer(200, body), schema, 100))
      expect(error.code).toBe('PROTOCOL')
      expect(error.message).not.toContain('hunter2')
      expect(error.message).toContain('https://r.example/v2/x')
      expect(error.message).not.toContain('secret')
    }
  })

  test('to be discarded is bounded, and never throws', async () => {
    const long = answer(200, 'x'.repeat(1_000_000))
    await discard(long)
    expect(long.taken()).toBeLessThan(100_000)
    // biome-ignore lint/correctness/useYield: it breaks before the first byte.
    const broken = (async function* () {
      throw new Error('cut')
    })()
    await discard({ ...long, body: broken })
  })

  test('headers are looked up by name, never on the prototype', () => {
    expect(headerAll(answer(200, '', { a: 'b' }), 'a')).toEqual(['b'])
    expect(headerAll(answer(200, ''), 'constructor')).toEqual([])
  })
})

test('a logged URL keeps only harmless parts of its query', () => {
  const url = new URL('https://u:p@r.example/v2/a?n=5&X-Amz-Signature=s&_state=x&scope=repository:a:pull&token=t#f')
  expect(readable(url)).toBe('https://r.example/v2/a?n=5&scope=repository:a:pull')
})

describe('isUploadSession and isUploadOf', () => {
  test.each([
    ['/v2/dev/app/blobs/uploads/0f1e?_state=x', true, true],
    ['/v2/dev/app/blobs/upload/1.0f1e', true, true], // ghcr.io
    ['/proxy/v2/dev/app/blobs/uploads/0f1e/', true, true],
    ['/v2/other/app/blobs/uploads/0f1e', true, false],
    ['/v2/xdev/app/blobs/uploads/0f1e', true, false],
    ['/v2/tags/blobs/blobs/uploads/0f1e', true, false],
    ['/artifacts-uploads/namespaces/p/repositories/r/uploads/AB', true, false], // Google
    ['/v2/dev/app/blobs/uploads/', false, false],
    ['/v2/dev/app/manifests/sha256:00', false, false],
    ['/v2/uploads/app/manifests/sha256:00', false, false],
    ['/v2/uploads/app/blobs/sha256:00', false, false],
    ['/v2/dev/app/blobs/sha256:00', false, false],
    ['/v2/dev/app/blobs/uploads/../../manifests/x', false, false],
    ['/v2/dev/app/blobs/uploads/..%2f..%2fmanifests%2Fx', false, false],
    ['/v2/dev/app/blobs/uploads/%252e%252e/%252e%252e/manifests/x', false, false],
    ['/v2/dev/app/blobs%2fuploads%5C..%5cx', false, false],
    ['/apis/image.openshift.io/v1/namespaces/dev/imagestreams/app', false, false],
    ['/', false, false],
  ])('%s: %s, of dev/app: %s', (path, session, own) => {
    const url = new URL(path, 'https://r.example')
    expect([isUploadSession(url), isUploadOf('dev/app', url)]).toEqual([session, own])
  })
})

describe('refuseSecretInAddress', () => {
  const SECRET = 'a-long+password/12'
  const refused = (address: string, secret = SECRET): boolean => {
    const secrets = new Secrets()
    secrets.keep(secret)
    const asked = new URL('https://r.example/v2/prod/app/manifests/1')
    try {
      refuseSecretInAddress(address, asked, { what: 'the server names', side: 'source', secrets })
      return false
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: 'PROTOCOL', side: 'source' })
      expect(String(thrown)).not.toContain(secret)
      return true
    }
  }
  const base64 = (text: string, form: 'base64' | 'base64url' = 'base64') => Buffer.from(text).toString(form)
  const percent = (text: string) => text.replaceAll(/./g, (one) => `%${one.charCodeAt(0).toString(16)}`)

  test.each([
    ['plain', `https://o/x?t=${SECRET}`],
    ['in the path', `/x/${SECRET}/y`],
    [
      'in the host, which has no case',
      `https://${SECRET.toUpperCase().replace(/[+/]/g, '-')}.o/`,
      'a-long-password-12',
    ],
    ['percent-encoded', `https://o/x?t=${encodeURIComponent(SECRET)}`],
    ['every letter percent-encoded', `https://o/x?t=${percent(SECRET)}`],
    ['percent-encoded twice', `https://o/x?t=${encodeURIComponent(percent(SECRET))}`],
    ['a form with blanks', 'https://o/x?t=one+two+three', 'one two three'],
    ['base64', `https://o/x?t=${base64(SECRET)}`],
    ['base64 within a longer text', `https://o/x?t=${base64(`user:${SECRET}:end`)}`],
    ['base64 within a longer run of letters', `https://o/xyz${base64(SECRET)}`],
    ['base64url in the path', `https://o/a/${base64(`u?>${SECRET}`, 'base64url')}/b`],
    ['base64 of base64', `https://o/x?t=${base64(base64(SECRET))}`],
    ['base64 of percent-encoding', `https://o/x?t=${base64(percent(SECRET))}`],
    ['percent-encoded base64', `https://o/x?t=${percent(base64(SECRET))}`],
    ['four letters alone', 'https://o/x?t=x7q9', 'x7q9'],
    ['base64 of a pair with four letters', `https://o/x?t=${base64('u:x7q9')}`, 'x7q9'],
  ])('%s', (_, address, secret = SECRET) => expect(refused(address, secret)).toBe(true))

  test.each([
    ['an address without it', 'https://o/x?t=another'],
    ['what was asked for', 'https://o/docker/registry/v2/blobs/prod/app', 'prod'],
    ['four letters within a word', 'https://o/x?t=abx7q9cd', 'x7q9'],
  ])('%s is no reason', (_, address, secret = SECRET) => expect(refused(address, secret)).toBe(false))
})
