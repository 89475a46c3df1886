import { createHash } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { type Code, PromoteError } from '../../../src/core/errors.ts'
import { Secret } from '../../../src/core/secret.ts'
import { fixedLogin } from '../../../src/credentials/login.ts'
import type { Login, RenewedBy } from '../../../src/http/credential.ts'
import { kubernetes } from '../../../src/openshift/api.ts'
import { type Cluster, type ClusterAccess, openCluster } from '../../../src/openshift/cluster.ts'
import { revoke, tokenObjectName } from '../../../src/openshift/issued-tokens.ts'
import { whyRefused } from '../../../src/openshift/token-refusal.ts'
import {
  API,
  expectError,
  failureOf,
  loginScript,
  OAUTH,
  review,
  type Script,
  type Scripted,
  type ScriptedNetwork,
  scriptedNetwork,
  status,
  type TestContext,
  TOKEN,
  testContext,
} from '../../support/openshift.ts'

const REVIEWS = `POST ${API}/apis/authentication.k8s.io/v1/selfsubjectreviews`
const USER = `GET ${API}/apis/user.openshift.io/v1/users/~`
const EXCHANGE = `POST ${OAUTH}/oauth/token`
const DELETION = `DELETE ${API}/apis/oauth.openshift.io/v1/oauthaccesstokens/sha256~8HBKUJpkbM0YIYz1wLeesErCuxkBFY1KO-glskfPDkk`
const ACCOUNT_TOKEN = `POST ${API}/api/v1/namespaces/ci/serviceaccounts/pusher/token`
const UNAUTHORIZED = status(401, 'Unauthorized', 'Unauthorized')
const STREAM = `GET ${API}/apis/image.openshift.io/v1/namespaces/dev/imagestreams/app`
const LAYERS = `GET ${API}/apis/image.openshift.io/v1/namespaces/dev/imagestreams/app/layers`

type Opened = { network: ScriptedNetwork; context: TestContext; result: Promise<Cluster> }

function open(script: Script, access: Partial<ClusterAccess> = {}): Opened {
  const network = scriptedNetwork(script)
  const context = testContext()
  const way = { kind: 'token', login: bearer(TOKEN) } as const
  const result = openCluster('destination', { api: new URL(API), network, way, inCluster: false, ...access }, context)
  return { network, context, result }
}

function bearer(token: string): Login {
  return fixedLogin('token of --destination-token', { kind: 'bearer', token: new Secret(token) })
}

function byPassword(script: Script = {}): Opened {
  const way = { kind: 'password', username: 'bob', password: new Secret('bobpw') } as const
  return open(loginScript(script), { way })
}

function jwt(claims: object): string {
  return ['{"alg":"RS256"}', JSON.stringify(claims), 'x']
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.')
}

describe('who am I', () => {
  test('takes one request where SelfSubjectReview is served', async () => {
    const { network, result } = open({ [REVIEWS]: review('system:serviceaccount:ci:pusher') })
    expect((await result).user).toBe('system:serviceaccount:ci:pusher')
    expect(network.seen.map(({ body }) => JSON.parse(body))).toEqual([
      { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
    ])
    expect(network.seen[0]?.headers.authorization).toBe(`Bearer ${TOKEN}`)
  })

  const user = { status: 200, body: { kind: 'User', metadata: { name: 'alice' } } }
  const gone = { status: 404, body: '404 page not found\n' }
  const anonymous = status(403, 'Forbidden', 'users "~" is forbidden: User "system:anonymous" cannot get resource')
  const html = { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }
  const scoped = status(403, 'Forbidden', 'selfsubjectreviews is forbidden: scopes [user:info] prevent this action')

  test('falls back to users/~ on clusters that do not serve it', async () => {
    expect((await open({ [REVIEWS]: gone, [USER]: user }).result).user).toBe('alice')
    expect((await open({ [REVIEWS]: scoped, [USER]: user }).result).user).toBe('alice')
  })

  const rows: [string, Script, Code][] = [
    ['401: token expired, revoked or unknown', { [REVIEWS]: UNAUTHORIZED }, 'TOKEN_REJECTED'],
    ['401 at the fallback', { [REVIEWS]: gone, [USER]: UNAUTHORIZED }, 'TOKEN_REJECTED'],
    ['403 as nobody', { [REVIEWS]: anonymous, [USER]: anonymous }, 'TOKEN_REJECTED'],
    ['200 as nobody', { [REVIEWS]: review('system:anonymous') }, 'TOKEN_REJECTED'],
    ['403 for a narrow scope', { [REVIEWS]: scoped, [USER]: scoped }, 'DENIED'],
    ['404 twice: no OpenShift', { [REVIEWS]: gone, [USER]: gone }, 'NOT_A_CLUSTER'],
    ['HTML: the console', { [REVIEWS]: html }, 'NOT_A_CLUSTER'],
    ['503 HTML: a router', { [REVIEWS]: { ...html, status: 503 } }, 'NOT_A_CLUSTER'],
    ['500', { [REVIEWS]: status(500, 'InternalError', 'etcd') }, 'UNAVAILABLE'],
    ['429', { [REVIEWS]: status(429, 'TooManyRequests', 'later') }, 'RATE_LIMITED'],
    ['JSON without a user', { [REVIEWS]: { status: 201, body: { status: {} } } }, 'PROTOCOL'],
    ['no JSON', { [REVIEWS]: { status: 201, body: 'ok' } }, 'PROTOCOL'],
  ]
  test.each(rows)('%s', async (_, script, code) => {
    const error = await failureOf(open(script).result)
    expectError(error, code, 'destination')
    expect(`${error.message} ${error.hint}`).not.toContain(TOKEN)
  })
})

describe('the reason why a token was refused', () => {
  const now = Date.parse('2026-01-01T00:00:00Z')
  test.each<[string, string, string]>([
    ['an OAuth token', TOKEN, 'expired, was revoked'],
    ['the format before 4.6', 'a'.repeat(43), 'before 4.6'],
    [
      'an expired JWT',
      jwt({ exp: now / 1000 - 60, sub: 'system:serviceaccount:ci:pusher' }),
      'expired at 2025-12-31T23:59:00',
    ],
    ['a JWT that is not expired', jwt({ exp: now / 1000 + 60 }), 'another cluster issued it'],
    ['a JWT without an end', jwt({ sub: 'x' }), 'another cluster issued it'],
    [
      'a JWT of a CI system',
      jwt({ iss: 'https://token.actions.githubusercontent.com', sub: 'repo:o/r:ref:refs/heads/main' }),
      'of repo:o/r:ref:refs/heads/main was issued by https://token.actions.githubusercontent.com, not by a Kubernetes cluster',
    ],
    [
      'a JWT of an identity provider, without a subject',
      jwt({ iss: 'https://sso.example/realms/a' }),
      'issued by https://sso',
    ],
    [
      'a JWT of another issuer that is expired as well',
      jwt({ iss: 'https://gitlab.example', sub: 'project', exp: now / 1000 - 1 }),
      'expired at 2025-12-31T23:59:59',
    ],
    [
      'a service account token for another audience',
      jwt({
        iss: 'https://kubernetes.default.svc',
        sub: 'system:serviceaccount:ci:pusher',
        aud: ['sts.amazonaws.com'],
      }),
      'is for sts.amazonaws.com, not for the API server',
    ],
    [
      'a service account token of another cluster, whose issuer is its bucket',
      jwt({ iss: 'https://oidc.example/c-1', sub: 'system:serviceaccount:ci:pusher', aud: 'https://oidc.example/c-1' }),
      'another cluster issued it',
    ],
    ['a JWT with a senseless end', jwt({ exp: -1e300 }), 'an unknown time'],
    ['a JWT that is none', 'a.b.c', 'shape of neither'],
    ['a password in the wrong field', 'hunter2', 'shape of neither'],
  ])('%s', (_, token, words) => {
    expect(whyRefused(token, now)).toContain(words)
    expect(whyRefused(token, now)).not.toContain(token)
  })
})

describe('what helps when a token is refused', () => {
  const rows: [string, RenewedBy | undefined, RegExp][] = [
    [
      'that was given',
      undefined,
      /cannot be renewed by the run.*--duration.*destination-username and destination-pass/,
    ],
    ['of a file', 'file', /file was read again/],
    ['of an exec plugin', 'plugin', /exec plugin was run again/],
    ["of GitHub's", 'runner', /trust the issuer .*destination-oidc-audience/],
    ['that the run obtained', 'cluster', /account still exists/],
  ]
  const wayOf = (renewedBy: RenewedBy | undefined) =>
    ({ kind: 'token', login: { ...bearer(TOKEN), ...(renewedBy === undefined ? {} : { renewedBy }) } }) as const

  test.each(rows)('at the login: one %s', async (_, renewedBy, hint) => {
    const error = await failureOf(open({ [REVIEWS]: UNAUTHORIZED }, { way: wayOf(renewedBy) }).result)
    expectError(error, 'TOKEN_REJECTED', 'destination')
    expect(error.hint).toMatch(hint)
  })

  test.each([
    ['https://token.actions.githubusercontent.com', /in place of destination-token/],
    ['https://gitlab.example', /Give a token of this cluster/],
  ])('a token of the issuer %s', async (iss, hint) => {
    const login = bearer(jwt({ iss, sub: 'x' }))
    const error = await failureOf(open({ [REVIEWS]: UNAUTHORIZED }, { way: { kind: 'token', login } }).result)
    expectError(error, 'TOKEN_REJECTED', 'destination')
    expect(error.hint).toMatch(hint)
    expect(error.hint).not.toContain('cannot be renewed')
  })

  test.each(rows)('in the middle, by the registry and by the API: one %s', async (_, renewedBy, hint) => {
    const { network, result } = open({ [REVIEWS]: review('bob') }, { way: wayOf(renewedBy) })
    const cluster = await result
    network.script[REVIEWS] = UNAUTHORIZED
    network.script[STREAM] = UNAUTHORIZED
    const refusal = new PromoteError('TOKEN_REJECTED', 'PUT: 401.', { side: 'destination', status: 401 })
    const explained = await cluster.explain(refusal, { repository: 'dev/app', access: 'push' })
    for (const error of [explained, await failureOf(cluster.ensureStream('dev/app'))]) {
      expectError(error, 'TOKEN_REJECTED', 'destination')
      expect(error.hint).toMatch(hint)
    }
  })
})

describe('logout', () => {
  test('the object of a token has the name that oc computes', () => {
    expect(tokenObjectName(TOKEN)).toBe('sha256~8HBKUJpkbM0YIYz1wLeesErCuxkBFY1KO-glskfPDkk')
    expect(tokenObjectName('eyJhbGciOiJSUzI1NiJ9.e30.x')).toBeUndefined()
  })

  test('deletes the token that the password brought, with itself, once', async () => {
    const { network, context, result } = byPassword({ [DELETION]: status(200, '', 'ok') })
    const cluster = await result
    await cluster.logout()
    await cluster.logout()
    expect(network.seen).toHaveLength(5)
    const last = network.seen.at(-1)
    expect(`${last?.method} ${last?.url.href}`).toBe(DELETION)
    expect(last?.headers.authorization).toBe(`Bearer ${TOKEN}`)
    expect(last?.req.afterCancel).toBe(true)
    expect(context.lines.filter((line) => line.startsWith('warn'))).toEqual([])
  })

  test('leaves a token alone that was given', async () => {
    const { network, result } = open({ [REVIEWS]: review('bob') })
    await (await result).logout()
    expect(network.seen).toHaveLength(1)
  })

  test('happens when the login fails after the token was obtained', async () => {
    const { network, result } = byPassword({
      [REVIEWS]: status(500, 'InternalError', 'etcd'),
      [DELETION]: status(200, '', 'ok'),
    })
    expectError(await failureOf(result), 'UNAVAILABLE', 'destination')
    expect(network.lines().at(-1)).toContain('/oauthaccesstokens/')
  })

  test.each<[string, Scripted, boolean]>([
    ['401: it is gone already', UNAUTHORIZED, false],
    ['404: it is gone already', status(404, 'NotFound', 'not found'), false],
    ['403: it stays, and a warning says until when', status(403, 'Forbidden', 'no'), true],
    ['500: it stays, and a warning says until when', status(500, 'InternalError', 'no'), true],
    ['404 of a proxy: no proof that it is gone', { status: 404, body: '<html>no such page' }, true],
    ['401 of a proxy: no proof that it is gone', { status: 401, body: 'log in to the proxy' }, true],
    ['a redirect: it stays', { status: 302, headers: { location: '/elsewhere' } }, true],
    ['a page: it stays', { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>hello' }, true],
  ])('never throws: %s', async (_, answer, warned) => {
    const { context, result } = byPassword({ [DELETION]: answer })
    await (await result).logout()
    const warnings = context.lines.filter((line) => line.startsWith('warn'))
    expect(warnings).toHaveLength(warned ? 1 : 0)
    if (warned) expect(warnings[0]).toContain('2026-01-02T00:00:00.000Z')
  })

  test.each([1e300, -5, 0, 1e308, 'soon', '-1', null, {}, [3600], true])(
    'a lifetime of %j leaves a token that works, is deleted, and whose end is not invented',
    async (lifetime) => {
      const body = { access_token: TOKEN, expires_in: lifetime, token_type: 'Bearer' }
      const { context, result } = byPassword({ [EXCHANGE]: { status: 200, body }, [DELETION]: status(500, 'x', 'no') })
      await (await result).logout()
      const warnings = context.lines.filter((line) => line.startsWith('warn'))
      expect(warnings).toEqual([expect.stringContaining('the server named no time at which it ends')])
    },
  )

  test('never throws when there is no network any more', async () => {
    const { context, result } = byPassword()
    const cluster = await result
    await cluster.logout()
    expect(context.lines.filter((line) => line.startsWith('warn'))).toHaveLength(1)
  })
})

describe('a logout that the server does not answer', () => {
  test('is given up after its time, with a warning', async () => {
    const network = scriptedNetwork({})
    const context = testContext()
    const silent = () => new Promise<never>(() => undefined)
    const kube = kubernetes(new URL(API), 'source', { ...network, as: () => silent }, context)
    const issued = { token: new Secret(TOKEN), expires: undefined }
    await revoke([issued], kube, 5)
    expect(context.lines).toEqual([
      expect.stringMatching(
        /^warn source: logging out of api\.ocp\.example\.com:6443 took more than .* lives on: it lives until it is deleted/,
      ),
    ])
  })
})

describe('a token that dies during the run', () => {
  const second = 'sha256~seco5d'
  const issued = (token: string): Scripted => ({
    status: 200,
    body: { access_token: token, expires_in: 86400, token_type: 'Bearer' },
  })
  const dead = new Set<string>()
  const live =
    (answer: Scripted) =>
    ({ headers }: { headers: Record<string, string> }): Scripted =>
      dead.has(headers.authorization?.slice(7) ?? '') ? UNAUTHORIZED : answer

  test('is replaced by one login, whoever waits for it, and both are deleted', async () => {
    dead.clear()
    const deletion2 = DELETION.replace(/[^/]+$/, tokenObjectName(second) ?? '')
    const { network, result } = byPassword({
      [EXCHANGE]: [issued(TOKEN), issued(second)],
      [REVIEWS]: live(review('bob')),
      [LAYERS]: live({ status: 200, body: { blobs: null, images: null } }),
      [LAYERS.replace(/\/layers$/, '')]: live(status(403, '', 'no')),
      [DELETION]: UNAUTHORIZED,
      [deletion2]: status(200, '', 'ok'),
    })
    const cluster = await result
    const before = await cluster.login.current()
    dead.add(TOKEN)
    const [a, b] = await Promise.all([cluster.login.renew(before), cluster.login.renew(before)])
    expect(a?.kind === 'bearer' && a.token.reveal()).toBe(second)
    expect(b).toEqual(a)
    expect(network.seen.filter(({ url }) => url.pathname === '/oauth/token')).toHaveLength(2)
    expect((await cluster.evidence('dev/app')).named).toEqual(new Set())
    await cluster.logout()
    expect(network.lines().filter((line) => line.startsWith('DELETE'))).toHaveLength(2)
  })

  test('that still lives is not replaced: the 401 was about rights', async () => {
    const { network, result } = byPassword()
    const cluster = await result
    expect(await cluster.login.renew(await cluster.login.current())).toBeUndefined()
    expect(network.seen.filter(({ url }) => url.pathname === '/oauth/token')).toHaveLength(1)
  })

  test('is replaced shortly before its end', async () => {
    const { context, result } = byPassword({ [EXCHANGE]: [issued(TOKEN), issued(second)] })
    const cluster = await result
    context.time.now += 86400_000 - 61_000
    expect(await cluster.login.current()).toMatchObject({ kind: 'bearer' })
    context.time.now += 2_000
    const renewed = await cluster.login.current()
    expect(renewed.kind === 'bearer' && renewed.token.reveal()).toBe(second)
  })

  test('a password that is refused meanwhile is tried once, not by every request', async () => {
    const basic = { status: 401, headers: { 'www-authenticate': 'Basic realm="openshift"' } }
    const authorize = `GET ${OAUTH}/oauth/authorize`
    const { network, context, result } = byPassword({ [authorize]: [loginScript()[authorize] as Scripted, basic] })
    const cluster = await result
    context.time.now += 86400_000 - 30_000
    // Near its end the old token is as good as ever.
    expect(await cluster.login.current()).toMatchObject({ kind: 'bearer' })
    context.time.now += 60_000
    for (let i = 0; i < 3; i++) expectError(await failureOf(cluster.login.current()), 'LOGIN_REJECTED', 'destination')
    expect(network.seen.filter(({ url }) => url.pathname === '/oauth/authorize')).toHaveLength(2)
  })
})

describe('a service account', () => {
  const serviceAccount = { namespace: 'ci', name: 'pusher' }
  const issued = (token: string, expirationTimestamp: string): Scripted => ({
    status: 201,
    body: { kind: 'TokenRequest', status: { token, expirationTimestamp } },
  })
  const good = { [REVIEWS]: review('bob'), [ACCOUNT_TOKEN]: issued('jwt.one.x', '2026-01-01T01:00:00Z') }

  test('opens the registry with a token of an hour that the user requests', async () => {
    const { network, result } = open(good, { serviceAccount })
    const cluster = await result
    expect(cluster.user).toBe('bob')
    expect(await cluster.login.current()).toEqual({ kind: 'bearer', token: new Secret('jwt.one.x') })
    const request = network.seen.at(-1)
    expect(JSON.parse(request?.body ?? '').spec).toEqual({ expirationSeconds: 3600 })
    expect(request?.headers.authorization).toBe(`Bearer ${TOKEN}`)
    await cluster.logout()
    expect(network.seen).toHaveLength(2)
  })

  test('gets a new token near the end of the old one, and not in a loop when the clocks differ', async () => {
    const script = {
      ...good,
      [ACCOUNT_TOKEN]: [issued('a.a.a', '2026-01-01T01:00:00Z'), issued('b.b.b', '2026-01-01T02:00:00Z')],
    }
    const { context, network, result } = open(script, { serviceAccount })
    const cluster = await result
    context.time.now += 3600_000
    await cluster.login.current()
    context.time.now += 10 * 3600_000
    await cluster.login.current()
    await cluster.login.current()
    await cluster.login.current()
    expect(network.seen.filter(({ url }) => url.pathname.endsWith('/token'))).toHaveLength(3)
  })

  test('is what a client certificate needs for the registry', async () => {
    const way = { kind: 'certificate' } as const
    const { network, result } = open(good, { way })
    const error = await failureOf(result)
    expectError(error, 'CREDENTIAL_MISSING', 'destination')
    expect(error.hint).toContain('destination-service-account')
    expect(network.seen).toEqual([])
    const opened = open(good, { way, serviceAccount })
    expect((await opened.result).user).toBe('bob')
    expect(opened.network.seen.some(({ headers }) => 'authorization' in headers)).toBe(false)
  })

  test('a client certificate that the API does not trust is TOKEN_REJECTED', async () => {
    const way = { kind: 'certificate' } as const
    expectError(
      await failureOf(open({ [REVIEWS]: UNAUTHORIZED }, { way, serviceAccount }).result),
      'TOKEN_REJECTED',
      'destination',
    )
  })

  test.each<[string, Scripted, Code, string]>([
    [
      'that does not exist',
      status(404, 'NotFound', 'serviceaccounts "pusher" not found', { kind: 'serviceaccounts', name: 'pusher' }),
      'CREDENTIAL_MISSING',
      'oc create serviceaccount pusher -n ci',
    ],
    [
      'in a project that does not exist',
      status(404, 'NotFound', 'namespaces "ci" not found', { kind: 'namespaces', name: 'ci' }),
      'PROJECT_MISSING',
      'service-account',
    ],
    [
      'whose tokens the user may not request',
      status(403, 'Forbidden', 'cannot create resource "serviceaccounts/token"'),
      'DENIED',
      'oc policy add-role-to-user token-of-pusher bob -n ci --role-namespace=ci',
    ],
    ['on a server that fails', status(500, 'InternalError', 'x'), 'UNAVAILABLE', 'later'],
  ])('%s', async (_, answer, code, hint) => {
    const error = await failureOf(open({ ...good, [ACCOUNT_TOKEN]: answer }, { serviceAccount }).result)
    expectError(error, code, 'destination')
    expect(error.hint).toContain(hint)
  })

  test('has a token that is registered as a secret at once', async () => {
    const { context, result } = open(good, { serviceAccount })
    await result
    expect(context.secrets.redact('token jwt.one.x')).toBe('token ***')
    expect(context.secrets.redact(createHash('sha256').update('other').digest('hex'))).not.toContain('***')
  })
})
