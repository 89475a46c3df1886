import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { Secret } from '../../../src/core/secret.ts'
import { fixedLogin } from '../../../src/credentials/login.ts'
import { ANONYMOUS, type Credential, type Login } from '../../../src/http/credential.ts'
import { discard } from '../../../src/transport/request.ts'
import { type Answer, base64, type Lab, openLab, readAll, rejection, type Served } from '../../support/http-server.ts'

let lab: Lab
beforeEach(() => {
  lab = openLab()
})
afterEach(() => lab.close())

const JANE: Credential = { kind: 'basic', username: 'jane', password: new Secret('pass:wörd') }
const BASIC = `Basic ${base64('jane:pass:wörd')}`
const PULL = 'repository:dev/app:pull'

/** Answers 200 when `Authorization` is in `good`, else 401 with these challenges. */
function registry(good: Set<string>, ...challenges: string[]): Answer {
  return (request, response) => {
    if (good.has(request.headers.authorization ?? '')) response.end('welcome')
    else if (challenges.length > 0) response.writeHead(401, { 'www-authenticate': challenges }).end('{}')
    else response.writeHead(401).end('{}')
  }
}

/** A registry on plain HTTP with its token service under /token: tokens t1, t2, …, all of them good. */
async function withTokens(
  give: (count: number) => [number, unknown] = (count) => [200, { token: `t${count}` }],
  good = new Set<string>(),
): Promise<{ served: Served; good: Set<string>; asked: () => string[] }> {
  let count = 0
  const served = await lab.serve((request, response) => {
    if (request.url.startsWith('/token')) {
      const [status, answer] = give(++count)
      const given = answer as { token?: string; access_token?: string }
      if (status === 200) good.add(`Bearer ${given.token ?? given.access_token}`)
      response.writeHead(status).end(JSON.stringify(answer))
      return
    }
    const challenge = `Bearer realm="http://${request.headers.host}/token",service="reg",scope="${PULL}"`
    registry(good, challenge)(request, response, undefined as never)
  })
  return {
    served,
    good,
    asked: () => served.seen.map((one) => `${one.method} ${one.url}`).filter((one) => one.includes('/token')),
  }
}

function login(...credentials: Credential[]): Login & { renewals: number } {
  let at = 0
  const one = {
    describe: 'test',
    renewals: 0,
    current: async () => credentials[at] ?? ANONYMOUS,
    renew: async (): Promise<Credential | undefined> => {
      one.renewals++
      if (at + 1 < credentials.length) at++
      else return undefined
      return credentials[at]
    },
  }
  return one
}

const bearer = (token: string): Credential => ({ kind: 'bearer', token: new Secret(token) })

describe('a bearer credential', () => {
  test('is sent at once', async () => {
    const { url, seen } = await lab.serve(registry(new Set(['Bearer abc'])))
    const send = lab.network().as(url, fixedLogin('test', bearer('abc')))
    expect(await readAll(await send({ method: 'GET', url }))).toBe('welcome')
    expect(seen).toHaveLength(1)
  })

  test('is renewed once after a 401, and the request repeated', async () => {
    const { url, seen } = await lab.serve(registry(new Set(['Bearer new'])))
    const both = login(bearer('old'), bearer('new'))
    const res = await lab.network().as(url, both)({ method: 'PUT', url, body: 'manifest' })
    expect(await readAll(res)).toBe('welcome')
    expect(both.renewals).toBe(1)
    expect(seen.map((one) => [one.headers.authorization, one.body])).toEqual([
      ['Bearer old', 'manifest'],
      ['Bearer new', 'manifest'],
    ])
  })

  test('that cannot be renewed leaves the 401 to the caller', async () => {
    const { url, seen } = await lab.serve(registry(new Set()))
    const res = await lab.network().as(url, fixedLogin('test', bearer('old')))({ method: 'GET', url })
    expect(res.status).toBe(401)
    await discard(res)
    expect(seen).toHaveLength(1)
  })

  test('is not renewed when OpenShift accepts it and only the right is missing', async () => {
    const { url, seen } = await lab.serve((request, response) => {
      if (request.url === '/v2/') response.end('{}')
      else response.writeHead(401, { 'www-authenticate': 'Basic realm=openshift,error="access denied"' }).end()
    })
    const both = login(bearer('good'), bearer('other'))
    const res = await lab.network().as(url, both)({ method: 'GET', url: new URL('/v2/a/b/manifests/x', url) })
    expect(res.status).toBe(401)
    await discard(res)
    expect(both.renewals).toBe(0)
    expect(seen.map((one) => one.url)).toEqual(['/v2/a/b/manifests/x', '/v2/'])
  })

  test('is renewed when OpenShift refuses it everywhere', async () => {
    const { url } = await lab.serve(registry(new Set(['Bearer new']), 'Basic realm=openshift,error="access denied"'))
    const both = login(bearer('old'), bearer('new'))
    const res = await lab.network().as(url, both)({ method: 'GET', url: new URL('/v2/a/b/manifests/x', url) })
    expect(await readAll(res)).toBe('welcome')
  })

  test('never goes to a token service', async () => {
    const { served, asked } = await withTokens()
    const res = await lab.network().as(served.url, fixedLogin('test', bearer('abc')))({
      method: 'GET',
      url: served.url,
    })
    expect(res.status).toBe(401)
    await discard(res)
    expect(asked()).toEqual([])
  })

  test('stays at home: another origin, another port of the same host', async () => {
    const other = await lab.serve((_, response) => response.end())
    const { url, seen } = await lab.serve((_, response) => response.end())
    const send = lab.network().as(url, fixedLogin('test', bearer('abc')))
    await discard(await send({ method: 'GET', url: other.url }))
    await discard(await send({ method: 'GET', url: new URL(`http://localhost:${url.port}/`) }))
    expect(other.seen.map((one) => one.headers.authorization)).toEqual([undefined])
    expect(seen.map((one) => one.headers.authorization)).toEqual([undefined])
  })
})

describe('user and password', () => {
  test('wait for the challenge, then go along without one', async () => {
    const { url, seen } = await lab.serve(registry(new Set([BASIC]), 'Basic realm="r"'))
    const send = lab.network().as(url, fixedLogin('test', JANE))
    await discard(await send({ method: 'GET', url }))
    await discard(await send({ method: 'GET', url }))
    expect(seen.map((one) => one.headers.authorization)).toEqual([undefined, BASIC, BASIC])
  })

  test('are exchanged at the token service, and later requests of the same scopes need no challenge', async () => {
    const { served, asked } = await withTokens()
    const send = lab.network().as(served.url, fixedLogin('test', JANE))
    const request = { method: 'GET', url: served.url, scopes: [PULL] } as const
    expect(await readAll(await send(request))).toBe('welcome')
    expect(await readAll(await send(request))).toBe('welcome')
    expect(served.seen.map((one) => one.headers.authorization)).toEqual([undefined, BASIC, 'Bearer t1', 'Bearer t1'])
    expect(asked()).toEqual(['GET /token?service=reg&scope=repository%3Adev%2Fapp%3Apull'])
  })

  test('fetch a token for other scopes without a new challenge, the most important scope first', async () => {
    const { served, asked } = await withTokens()
    const send = lab.network().as(served.url, fixedLogin('test', JANE))
    await discard(await send({ method: 'GET', url: served.url, scopes: [PULL] }))
    const scopes = ['repository:b/x:pull,push', 'repository:dev/app:pull']
    expect((await send({ method: 'POST', url: served.url, scopes })).status).toBe(200)
    expect(asked()[1]).toBe(
      'GET /token?service=reg&scope=repository%3Ab%2Fx%3Apull%2Cpush&scope=repository%3Adev%2Fapp%3Apull',
    )
    expect(served.seen).toHaveLength(5)
  })

  test('of requests side by side share one exchange', async () => {
    const { served, asked } = await withTokens()
    const network = lab.network()
    const send = () => network.as(served.url, JANES)({ method: 'GET', url: served.url, scopes: [PULL] })
    const JANES = fixedLogin('test', JANE)
    const all = await Promise.all([send(), send(), send(), send()])
    expect(all.map((res) => res.status)).toEqual([200, 200, 200, 200])
    await Promise.all(all.map(discard))
    expect(asked()).toHaveLength(1)
  })

  test('fetch a fresh token when the old one is refused, and repeat the request', async () => {
    const { served, good, asked } = await withTokens()
    const send = lab.network().as(served.url, fixedLogin('test', JANE))
    const request = { method: 'PUT', url: served.url, scopes: [PULL], body: 'm' } as const
    await discard(await send(request))
    good.delete('Bearer t1')
    expect(await readAll(await send(request))).toBe('welcome')
    expect(asked()).toHaveLength(2)
    expect(served.seen.at(-1)).toMatchObject({ body: 'm', headers: { authorization: 'Bearer t2' } })
  })

  test('refresh the token ahead of its end, and a lifetime below 60 s counts as 60 s', async () => {
    const { served, asked } = await withTokens((count) => [200, { access_token: `t${count}`, expires_in: 5 }])
    const send = lab.network().as(served.url, fixedLogin('test', JANE))
    const request = { method: 'GET', url: served.url, scopes: [PULL] } as const
    await discard(await send(request))
    await lab.context.sleep(50_000)
    await discard(await send(request))
    expect(asked()).toHaveLength(1)
    await lab.context.sleep(5_000)
    await discard(await send(request))
    expect(asked()).toHaveLength(2)
  })

  test('leave a 401 with a fresh token to the caller: one exchange for each refusal, no more', async () => {
    let count = 0
    const served = await lab.serve((request, response) => {
      if (request.url.startsWith('/token')) response.end(JSON.stringify({ token: `t${++count}` }))
      else response.writeHead(401, { 'www-authenticate': `Bearer realm="/token"` }).end()
    })
    const send = lab.network().as(served.url, fixedLogin('test', JANE))
    for (const exchanges of [1, 2]) {
      const res = await send({ method: 'GET', url: served.url })
      expect(res.status).toBe(401)
      await discard(res)
      expect(count).toBe(exchanges)
    }
  })

  test('that the token service refuses are LOGIN_REJECTED with its words', async () => {
    const { served } = await withTokens(() => [401, { details: 'incorrect username or password' }])
    const sent = lab.network({ side: 'destination' }).as(served.url, fixedLogin('test', JANE))({
      method: 'GET',
      url: served.url,
    })
    const error = await rejection(sent)
    expect(error).toMatchObject({ code: 'LOGIN_REJECTED', side: 'destination', status: 401 })
    expect(error.message).toContain('"incorrect username or password"')
  })

  test('that the token service refuses are renewed once', async () => {
    const { served } = await withTokens((count) => (count === 1 ? [401, {}] : [200, { token: 'fine' }]))
    const both = login(JANE, { ...JANE, username: 'john' } as Credential)
    expect((await lab.network().as(served.url, both)({ method: 'GET', url: served.url })).status).toBe(200)
    expect(both.renewals).toBe(1)
  })

  test('ask for the first scope alone when the service refuses several', async () => {
    const { served, asked } = await withTokens((count) => (count === 2 ? [400, {}] : [200, { token: `t${count}` }]))
    const send = lab.network().as(served.url, fixedLogin('test', JANE))
    await discard(await send({ method: 'GET', url: served.url }))
    expect((await send({ method: 'GET', url: served.url, scopes: ['repository:b:push', PULL] })).status).toBe(200)
    expect(asked()[2]).toBe('GET /token?service=reg&scope=repository%3Ab%3Apush')
  })

  test('get past a token service that is overloaded for a moment', async () => {
    const { served } = await withTokens((count) => (count === 1 ? [503, {}] : [200, { token: 'fine' }]))
    const send = lab.network().as(served.url, fixedLogin('test', JANE))
    expect((await send({ method: 'GET', url: served.url })).status).toBe(200)
    expect(lab.slept).toHaveLength(1)
  })

  test('take the challenge from /v2/ when a 401 has none (Google)', async () => {
    const served = await lab.serve((request, response) => {
      if (request.headers.authorization === BASIC) response.end('welcome')
      else if (request.url === '/v2/') response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end()
      else response.writeHead(401).end()
    })
    const send = lab.network().as(served.url, fixedLogin('test', JANE))
    expect((await send({ method: 'GET', url: new URL('/v2/a/manifests/x', served.url) })).status).toBe(200)
  })

  test('never go to a realm on another plain-HTTP origin; Basic of the same registry is used when offered', async () => {
    const thief = await lab.serve((_, response) => response.end('{"token":"x"}'))
    const challenge = `Bearer realm="${thief.url.href}token"`
    const strict = await lab.serve(registry(new Set(), challenge))
    const sent = lab.network().as(strict.url, fixedLogin('test', JANE))({ method: 'GET', url: strict.url })
    expect(await rejection(sent)).toMatchObject({ code: 'UNSUPPORTED', side: 'source' })
    const kind = await lab.serve(registry(new Set([BASIC]), `Basic realm="r", ${challenge}`))
    const res = await lab.network().as(kind.url, fixedLogin('test', JANE))({ method: 'GET', url: kind.url })
    expect(await readAll(res)).toBe('welcome')
    expect(thief.seen).toHaveLength(0)
  })

  test('do not follow a redirect of the token service to another host', async () => {
    const thief = await lab.serve((_, response) => response.end('{"token":"stolen"}'))
    const served = await lab.serve((request, response) => {
      if (request.url.startsWith('/token')) response.writeHead(302, { location: thief.url.href }).end()
      else response.writeHead(401, { 'www-authenticate': 'Bearer realm="/token"' }).end()
    })
    await discard(await lab.network().as(served.url, fixedLogin('test', JANE))({ method: 'GET', url: served.url }))
    expect(thief.seen.map((one) => one.headers.authorization)).toEqual([undefined])
  })
})

test("a streamed body is not repeated: its 401 is the caller's, and the next request carries the fresh token", async () => {
  const { served, good } = await withTokens()
  const send = lab.network().as(served.url, fixedLogin('test', JANE))
  await discard(await send({ method: 'POST', url: served.url, scopes: [PULL] }))
  good.delete('Bearer t1')
  const stream = (async function* () {
    yield Buffer.from('bytes')
  })()
  const body = { size: 5, stream }
  const refused = await send({ method: 'PUT', url: served.url, scopes: [PULL], body })
  expect(refused.status).toBe(401)
  await discard(refused)
  await discard(await send({ method: 'GET', url: served.url, scopes: [PULL] }))
  expect(served.seen.at(-1)?.headers.authorization).toBe('Bearer t2')
  expect(served.seen.filter((one) => one.method === 'PUT')).toHaveLength(1)
})

test('a refresh token is exchanged by POST, and goes nowhere else', async () => {
  const { served } = await withTokens()
  const identity: Credential = { kind: 'identity', refreshToken: new Secret('refresh-me') }
  const send = lab.network().as(served.url, fixedLogin('test', identity))
  expect((await send({ method: 'GET', url: served.url, scopes: [PULL] })).status).toBe(200)
  const posts = served.seen.filter((one) => one.method === 'POST')
  expect(posts).toHaveLength(1)
  expect(Object.fromEntries(new URLSearchParams(posts[0]?.body))).toEqual({
    grant_type: 'refresh_token',
    client_id: 'image-promote',
    service: 'reg',
    scope: PULL,
    refresh_token: 'refresh-me',
  })
  expect(served.seen.filter((one) => JSON.stringify(one.headers).includes('refresh-me'))).toEqual([])
})

describe('without a credential', () => {
  test('an anonymous token is fetched', async () => {
    const { served } = await withTokens()
    const send = lab.network().as(served.url, fixedLogin('nobody', ANONYMOUS))
    expect((await send({ method: 'GET', url: served.url })).status).toBe(200)
    expect(served.seen.map((one) => one.headers.authorization)).toEqual([undefined, undefined, 'Bearer t1'])
  })

  test('a token service that wants one leaves the 401 of the registry to the caller', async () => {
    const { served } = await withTokens(() => [401, {}])
    const res = await lab.network().as(served.url, fixedLogin('nobody', ANONYMOUS))({ method: 'GET', url: served.url })
    expect(res.status).toBe(401)
    await discard(res)
  })
})

test.each([
  ['no token', '{}'],
  ['an empty token', '{"token":""}'],
  ['a token that would split the header', '{"token":"a\\r\\nx: y"}'],
  ['no JSON', '<html>'],
  ['more than 1 MiB', JSON.stringify({ token: 'x'.repeat(1024 * 1024) })],
])('a token service that answers %s is PROTOCOL', async (_, body) => {
  const { url } = await lab.serve((request, response) => {
    if (request.url.startsWith('/token')) response.end(body)
    else response.writeHead(401, { 'www-authenticate': 'Bearer realm="/token"' }).end()
  })
  const sent = lab.network({ retries: 0 }).as(url, fixedLogin('test', JANE))({ method: 'GET', url })
  expect(await rejection(sent)).toMatchObject({ code: 'PROTOCOL' })
})

test('every token that was received is kept as a secret, and so is the Basic pair', async () => {
  const { served } = await withTokens(() => [200, { token: 'a-long-registry-token' }])
  await discard(await lab.network().as(served.url, fixedLogin('test', JANE))({ method: 'GET', url: served.url }))
  expect(lab.context.secrets.redact(`${BASIC} a-long-registry-token`)).toBe('Basic *** ***')
})

test('a redirect to another host goes without the credential, and coming back does not regain it', async () => {
  const good = new Set(['Bearer abc'])
  const storage = await lab.serve((request, response) => {
    if (request.url === '/back') response.writeHead(307, { location: `${home.url.href}end` }).end()
    else response.end('bytes')
  })
  const home: Served = await lab.serve((request, response) => {
    if (request.url === '/end') response.end('end')
    else if (!good.has(request.headers.authorization ?? '')) response.writeHead(401).end()
    else response.writeHead(307, { location: `${storage.url.href}${request.url.slice(1)}` }).end()
  })
  const send = lab.network().as(home.url, fixedLogin('test', bearer('abc')))
  const direct = await send({
    method: 'GET',
    url: new URL('/blob?X-Amz-Signature=1', home.url),
    headers: { range: 'bytes=5-' },
  })
  expect(await readAll(direct)).toBe('bytes')
  expect(direct.url.origin).toBe(storage.url.origin)
  const back = await send({ method: 'GET', url: new URL('/back', home.url) })
  expect(await readAll(back)).toBe('end')
  expect(storage.seen.map((one) => one.headers.authorization)).toEqual([undefined, undefined])
  expect(storage.seen[0]?.headers.range).toBe('bytes=5-')
  expect(home.seen.at(-1)).toMatchObject({ url: '/end' })
  expect(home.seen.at(-1)?.headers.authorization).toBeUndefined()
})

describe('a credential that has expired', () => {
  const words = 'The authorization token is invalid.'
  const refuse =
    (status: number): Answer =>
    (_, response) =>
      void response.writeHead(status).end(JSON.stringify({ errors: [{ code: 'DENIED', message: words }] }))

  test.each([400, 403])('with %d is renewed once at the token service, and the request repeated', async (status) => {
    const { served, good, asked } = await withTokens()
    const own = await lab.serve((request, response, raw) => {
      if (request.headers.authorization === 'Bearer t1' && good.has('expired')) refuse(status)(request, response, raw)
      else if (good.has(request.headers.authorization ?? '')) response.end('welcome')
      else response.writeHead(401, { 'www-authenticate': `Bearer realm="${served.url.origin}/token"` }).end()
    })
    const send = lab.network().as(own.url, fixedLogin('test', ANONYMOUS))
    await discard(await send({ method: 'GET', url: own.url }))
    good.add('expired')
    expect(await readAll(await send({ method: 'GET', url: own.url }))).toBe('welcome')
    expect(asked()).toHaveLength(2)
  })

  test.each([
    ['JSON', JSON.stringify({ errors: [{ code: 'DENIED', message: 'Your authorization token has expired.' }] })],
    ['plain text', 'session expired, please re-authenticate'],
  ])('with 403 in %s is renewed by the login', async (_, body) => {
    const { url, seen } = await lab.serve((request, response) =>
      request.headers.authorization === 'Bearer new' ? response.end('welcome') : response.writeHead(403).end(body),
    )
    const both = login(bearer('old'), bearer('new'))
    expect(await readAll(await lab.network().as(url, both)({ method: 'GET', url }))).toBe('welcome')
    expect([both.renewals, seen.length]).toEqual([1, 2])
  })

  test('is not renewed for a missing right, and its words reach the caller', async () => {
    const { url, seen } = await lab.serve((_, response) => response.writeHead(403).end('requested access is denied'))
    const both = login(bearer('old'), bearer('new'))
    const res = await lab.network().as(url, both)({ method: 'GET', url })
    expect([res.status, await readAll(res)]).toEqual([403, 'requested access is denied'])
    expect([both.renewals, seen.length]).toEqual([0, 1])
  })

  test('is renewed beside a stream, which cannot be sent again', async () => {
    const { url, seen } = await lab.serve(refuse(403))
    const both = login(bearer('old'), bearer('new'))
    const body = {
      size: 1,
      stream: (async function* () {
        yield new Uint8Array(1)
      })(),
    }
    const res = await lab.network().as(url, both)({ method: 'PUT', url, body })
    expect(res).toMatchObject({ status: 403, isRenewed: true })
    expect([both.renewals, seen.length]).toEqual([1, 1])
  })
})

describe('a token service that is dead, beside Basic,', () => {
  test.each([
    ['answers 404', 404, 'nothing here'],
    ['answers 500', 500, 'oops'],
    ['answers without a token', 200, '{}'],
    ['answers with a page', 200, '<html>log in</html>'],
  ])('%s: Basic is used, from then on', async (_, status, body) => {
    const { url, seen } = await lab.serve((request, response) => {
      if (request.url === '/token') response.writeHead(status).end(body)
      else if (request.headers.authorization === BASIC) response.end('welcome')
      else
        response
          .writeHead(401, {
            'www-authenticate': [`Bearer realm="http://${request.headers.host}/token"`, 'Basic realm="x"'],
          })
          .end()
    })
    const send = lab.network({ retries: 0 }).as(url, login(JANE))
    expect(await readAll(await send({ method: 'GET', url }))).toBe('welcome')
    expect(await readAll(await send({ method: 'GET', url }))).toBe('welcome')
    expect(seen.filter((one) => one.url === '/token')).toHaveLength(1)
  })

  test('that refuses the password is a refusal of it', async () => {
    const { url } = await lab.serve((request, response) =>
      response
        .writeHead(401, {
          'www-authenticate': [`Bearer realm="http://${request.headers.host}/token"`, 'Basic realm="x"'],
        })
        .end(),
    )
    const error = await rejection(lab.network({ retries: 0 }).as(url, login(JANE))({ method: 'GET', url }))
    expect(error).toMatchObject({ code: 'LOGIN_REJECTED' })
  })
})

describe('a registry that is redirected to', () => {
  const mirrored = async (there: Served, credential: Credential) => {
    const { url, seen } = await lab.serve((_, response) =>
      response.writeHead(307, { location: `${there.url.origin}/v2/mirror/manifests/1` }).end(),
    )
    const send = lab.network().as(url, fixedLogin('test', credential))
    return { res: await send({ method: 'GET', url: new URL('/v2/app/manifests/1', url), scopes: [PULL] }), seen }
  }

  test('is asked with a token of its own token service, which sees no credential', async () => {
    const { served } = await withTokens()
    const { res } = await mirrored(served, bearer('mine'))
    expect(await readAll(res)).toBe('welcome')
    const shown = served.seen.map((one) => one.headers.authorization)
    expect(shown).toEqual([undefined, undefined, 'Bearer t1'])
    expect(served.seen[1]?.url).toContain(encodeURIComponent(PULL))
  })

  test.each([
    ['wants a credential', async () => (await withTokens(() => [401, {}])).served],
    ['knows Basic alone', () => lab.serve(registry(new Set(), 'Basic realm="x"'))],
    ['has no challenge', () => lab.serve(registry(new Set()))],
  ])('and %s hands its 401 to the caller', async (_, open) => {
    const there = await open()
    const { res } = await mirrored(there, JANE)
    expect([res.status, res.leftOrigin, res.url.host]).toEqual([401, true, there.url.host])
    expect(there.seen.every((one) => one.headers.authorization === undefined)).toBe(true)
    await discard(res)
  })
})
