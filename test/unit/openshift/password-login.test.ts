import { createHash } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { type Code, PromoteError } from '../../../src/core/errors.ts'
import { type Cluster, openCluster } from '../../../src/openshift/cluster.ts'
import {
  API,
  expectError,
  failureOf,
  loginScript,
  METADATA,
  OAUTH,
  REDIRECT,
  type Script,
  type Scripted,
  type ScriptedNetwork,
  scriptedNetwork,
  status,
  type TestContext,
  TOKEN,
  testContext,
} from '../../support/openshift.ts'

const DISCOVERY = `GET ${API}/.well-known/oauth-authorization-server`
const AUTHORIZE = `GET ${OAUTH}/oauth/authorize`
const EXCHANGE = `POST ${OAUTH}/oauth/token`
const PASSWORD = 'pa:ss wörd 4711'
const PAIR = Buffer.from(`bob:${PASSWORD}`, 'utf8').toString('base64')
const BASIC: Scripted = { status: 401, headers: { 'www-authenticate': 'Basic realm="openshift"' } }

type Attempt = { network: ScriptedNetwork; context: TestContext; result: Promise<Cluster> }

function login(replaced: Script = {}, username = 'bob', side: 'source' | 'destination' = 'source'): Attempt {
  const network = scriptedNetwork(loginScript(replaced))
  const context = testContext()
  const way = { kind: 'password', username, password: context.secrets.keep(PASSWORD) } as const
  const result = openCluster(side, { api: new URL(API), network, way, inCluster: false }, context)
  return { network, context, result }
}

/** Everything that left the process or is shown to people, searched for the password in every form. */
function expectPasswordOnlyAtAuthorize({ network, context }: Attempt, error?: PromoteError): void {
  const forms = [PASSWORD, PAIR, encodeURIComponent(PASSWORD), Buffer.from(PASSWORD).toString('base64'), 'pa%3Ass']
  const carries = (text: string): boolean => forms.some((form) => text.includes(form))
  for (const { method, url, headers, body } of network.seen) {
    const { authorization = '', ...others } = headers
    expect(carries(`${url.href} ${body} ${JSON.stringify(others)}`)).toBe(false)
    if (carries(authorization)) expect(`${method} ${url.origin}${url.pathname}`).toBe(AUTHORIZE)
  }
  expect(carries(context.lines.join('\n'))).toBe(false)
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    expect(carries(`${at.message} ${at instanceof PromoteError ? at.hint : ''}`)).toBe(false)
  }
}

async function expectFailure(attempt: Attempt, code: Code): Promise<PromoteError> {
  const error = await failureOf(attempt.result)
  expectError(error, code, 'source')
  expectPasswordOnlyAtAuthorize(attempt, error)
  return error
}

describe('a login by password', () => {
  test('takes four requests: discovery, authorize, token, who am I', async () => {
    const attempt = login()
    const cluster = await attempt.result
    expect(cluster.user).toBe('bob')
    expect(attempt.network.lines()).toEqual([
      'GET api.ocp.example.com:6443/.well-known/oauth-authorization-server',
      'GET oauth-openshift.apps.ocp.example.com/oauth/authorize',
      'POST oauth-openshift.apps.ocp.example.com/oauth/token',
      'POST api.ocp.example.com:6443/apis/authentication.k8s.io/v1/selfsubjectreviews',
    ])
    expectPasswordOnlyAtAuthorize(attempt)
  })

  test('sends what oc sends, with Basic on the first request and PKCE', async () => {
    const attempt = login()
    await attempt.result
    const [discovery, authorize, exchange, whoami] = attempt.network.seen
    expect(discovery?.headers).toEqual({ accept: 'application/json', 'x-csrf-token': '1' })
    const query = authorize?.url.searchParams
    expect(query?.get('client_id')).toBe('openshift-challenging-client')
    expect(query?.get('response_type')).toBe('code')
    expect(query?.get('redirect_uri')).toBe(REDIRECT)
    expect(query?.get('code_challenge_method')).toBe('S256')
    expect(authorize?.headers).toEqual({ 'x-csrf-token': '1', authorization: `Basic ${PAIR}` })
    expect(authorize?.req).toMatchObject({ follow: false, retry: false })
    const form = new URLSearchParams(exchange?.body)
    const verifier = form.get('code_verifier') ?? ''
    expect(verifier).toMatch(/^[\w-]{128}$/)
    expect(query?.get('code_challenge')).toBe(createHash('sha256').update(verifier).digest('base64url'))
    expect(form.get('code')).toBe('sha256~c0de')
    expect(form.get('grant_type')).toBe('authorization_code')
    expect(form.get('redirect_uri')).toBe(REDIRECT)
    expect(exchange?.headers.authorization).toBe('Basic b3BlbnNoaWZ0LWNoYWxsZW5naW5nLWNsaWVudDo=')
    expect(exchange?.req.follow).toBe(false)
    expect(whoami?.headers.authorization).toBe(`Bearer ${TOKEN}`)
  })

  test('leaves PKCE out where S256 is not offered', async () => {
    const { code_challenge_methods_supported: _, ...metadata } = METADATA
    const attempt = login({ [DISCOVERY]: { status: 200, body: metadata } })
    await attempt.result
    expect(attempt.network.seen[1]?.url.searchParams.has('code_challenge')).toBe(false)
    expect(attempt.network.seen[2]?.body).not.toContain('code_verifier')
  })

  test('refuses a user name with a colon before anything is sent', async () => {
    const attempt = login({}, 'system:admin')
    expectError(await failureOf(attempt.result), 'USAGE', 'source')
    expect(attempt.network.seen).toEqual([])
  })

  test('names the destination when it is the destination that fails', async () => {
    expectError(
      await failureOf(login({ [AUTHORIZE]: BASIC }, 'bob', 'destination').result),
      'LOGIN_REJECTED',
      'destination',
    )
  })
})

describe('discovery', () => {
  const rows: [string, Scripted, Code][] = [
    ['404: external OIDC', { status: 404, body: '404 page not found\n' }, 'LOGIN_UNSUPPORTED'],
    [
      '403 for anonymous: no OpenShift',
      status(403, 'Forbidden', 'User "system:anonymous" cannot get path "/.well-known/oauth-authorization-server"'),
      'LOGIN_UNSUPPORTED',
    ],
    ['401: no anonymous requests', status(401, 'Unauthorized', 'Unauthorized'), 'LOGIN_UNSUPPORTED'],
    [
      '200 HTML: the console',
      {
        status: 200,
        headers: { 'content-type': 'text/html; charset=utf-8' },
        body: '<!DOCTYPE html><title>Console</title>',
      },
      'NOT_A_CLUSTER',
    ],
    [
      '404 HTML: a web server',
      { status: 404, headers: { 'content-type': 'text/html' }, body: '<html>nginx</html>' },
      'NOT_A_CLUSTER',
    ],
    ['503 HTML: a router', { status: 503, headers: { 'content-type': 'text/html' }, body: '<html>' }, 'NOT_A_CLUSTER'],
    ['302: a login page', { status: 302, headers: { location: 'https://sso.example.com/' } }, 'NOT_A_CLUSTER'],
    ['200 that is no JSON', { status: 200, body: 'ok' }, 'NOT_A_CLUSTER'],
    ['200 with other JSON', { status: 200, body: { hello: 'world' } }, 'NOT_A_CLUSTER'],
    ['500', status(500, 'InternalError', 'etcd is sad'), 'UNAVAILABLE'],
    ['429', status(429, 'TooManyRequests', 'Too many requests, please try again later.'), 'RATE_LIMITED'],
    [
      'an http login page',
      { status: 200, body: { ...METADATA, authorization_endpoint: 'http://oauth/oauth/authorize' } },
      'PROTOCOL',
    ],
    [
      'an http token endpoint',
      { status: 200, body: { ...METADATA, token_endpoint: 'http://oauth/oauth/token' } },
      'PROTOCOL',
    ],
    ['a script as issuer', { status: 200, body: { ...METADATA, issuer: 'javascript:alert(1)' } }, 'PROTOCOL'],
    ['a user in an endpoint', { status: 200, body: { ...METADATA, token_endpoint: 'https://a:b@x/' } }, 'PROTOCOL'],
  ]
  test.each(rows)('that answers %s sends no password', async (_, answer, code) => {
    const attempt = login({ [DISCOVERY]: answer })
    await expectFailure(attempt, code)
    expect(attempt.network.seen).toHaveLength(1)
    expect(attempt.network.seen[0]?.req.follow).toBe(false)
  })

  test('of a console URL tells the URL of the API', async () => {
    const console_ = 'https://console-openshift-console.apps.ocp.example.com'
    const page = { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }
    const network = scriptedNetwork({ [`GET ${console_}/.well-known/oauth-authorization-server`]: page })
    const context = testContext()
    const way = { kind: 'password', username: 'bob', password: context.secrets.keep(PASSWORD) } as const
    const access = { api: new URL(console_), network, way, inCluster: false }
    const error = await failureOf(openCluster('source', access, context))
    expectError(error, 'NOT_A_CLUSTER', 'source')
    expect(error.hint).toContain('https://api.ocp.example.com:6443')
  })

  test('at a plain http URL is refused before anything is sent', async () => {
    const network = scriptedNetwork({})
    const context = testContext()
    const way = { kind: 'password', username: 'bob', password: context.secrets.keep(PASSWORD) } as const
    const access = { api: new URL('http://api.ocp.example.com'), network, way, inCluster: false }
    expectError(await failureOf(openCluster('source', access, context)), 'USAGE', 'source')
  })
})

const CSRF = 'A non-empty X-CSRF-Token header is required to receive basic-auth challenges'
const VISIT = `You must obtain an API token by visiting ${OAUTH}/oauth/token/request`
const LDAP = 'Error: LDAP Result Code 200 "Network Error": dial tcp 10.0.0.1:636: connect: connection refused'
const CLAIM = 'Error: user "bob" cannot be claimed by identity "ldap:x" because it is already mapped to [htpasswd:bob]'

describe('/oauth/authorize', () => {
  const redirect = (location: string): Scripted => ({ status: 302, headers: { location } })
  const rows: [string, Scripted, Code][] = [
    ['401 Basic: wrong password', BASIC, 'LOGIN_REJECTED'],
    [
      '401 Basic in one line with others',
      { status: 401, headers: { 'www-authenticate': 'Negotiate, Basic realm="x"' } },
      'LOGIN_REJECTED',
    ],
    [
      '401 Basic in a line of its own',
      { status: 401, headers: { 'www-authenticate': ['Negotiate', 'Basic realm="x"'] } },
      'LOGIN_REJECTED',
    ],
    [
      '401 CSRF warning: wrong password behind a proxy',
      { status: 401, headers: { warning: `199 Origin "${CSRF}"` }, body: `${CSRF}\n` },
      'LOGIN_REJECTED',
    ],
    [
      '401 with Link: only single sign-on',
      {
        status: 401,
        headers: { link: `<${OAUTH}/oauth/token/request>; rel="related"`, warning: `199 Origin "${VISIT}"` },
        body: `${VISIT}\n`,
      },
      'LOGIN_UNSUPPORTED',
    ],
    ['401 with the sentence alone', { status: 401, body: `${VISIT}\n` }, 'LOGIN_UNSUPPORTED'],
    [
      '401 Negotiate alone: Kerberos',
      { status: 401, headers: { 'www-authenticate': 'Negotiate' } },
      'LOGIN_UNSUPPORTED',
    ],
    ['401 without a word', { status: 401 }, 'LOGIN_UNSUPPORTED'],
    ['500 Error: identity provider down', { status: 500, body: `${LDAP}\n` }, 'IDENTITY_PROVIDER'],
    ['500 Error: mapping conflict', { status: 500, body: CLAIM }, 'IDENTITY_PROVIDER'],
    [
      '500 Error: lookup failed',
      { status: 500, body: 'Error: lookup of user for "ldap:bob" failed: not found' },
      'IDENTITY_PROVIDER',
    ],
    [
      '302 to a RequestHeader proxy',
      redirect('https://proxy.corp.example.com/challenging-proxy/oauth/authorize?client_id=x'),
      'LOGIN_UNSUPPORTED',
    ],
    [
      '302 with a code to another host',
      redirect('https://evil.example.com/oauth/token/implicit?code=sha256~stolen'),
      'LOGIN_UNSUPPORTED',
    ],
    ['302 to the login page', redirect('/login?then=x'), 'LOGIN_UNSUPPORTED'],
    [
      '302 unsupported_response_type',
      redirect(`${REDIRECT}?error=unsupported_response_type&error_description=no`),
      'PROTOCOL',
    ],
    ['302 invalid_scope', redirect(`${REDIRECT}?error=invalid_scope&error_description=%5B0%5D%3A+Invalid`), 'PROTOCOL'],
    ['302 access_denied', redirect(`${REDIRECT}?error=access_denied&error_description=no`), 'LOGIN_REJECTED'],
    ['302 with a token in the fragment', redirect(`${REDIRECT}#access_token=sha256~x&token_type=Bearer`), 'PROTOCOL'],
    ['302 with an empty code', redirect(`${REDIRECT}?code=&state=`), 'PROTOCOL'],
    ['302 without Location', { status: 302 }, 'PROTOCOL'],
    ['302 with a broken Location', redirect('https://['), 'PROTOCOL'],
    [
      '400 unauthorized_client',
      { status: 400, body: { error: 'unauthorized_client', error_description: 'The client…' } },
      'LOGIN_UNSUPPORTED',
    ],
    ['400 invalid_request', { status: 400, body: { error: 'invalid_request' } }, 'PROTOCOL'],
    [
      '200 HTML: a login form',
      { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' },
      'LOGIN_UNSUPPORTED',
    ],
    ['403 of a firewall', { status: 403, headers: { 'content-type': 'text/html' }, body: '<html>' }, 'PROTOCOL'],
  ]
  test.each(rows)('%s', async (_, answer, code) => {
    const attempt = login({ [AUTHORIZE]: answer })
    const error = await expectFailure(attempt, code)
    expect(error.hint === undefined && code !== 'PROTOCOL').toBe(false)
    expect(attempt.network.seen).toHaveLength(2)
    expect(attempt.context.slept).toEqual([])
  })

  test('a wrong password hints at single sign-on, because kubeadmin makes such clusters ask for one', async () => {
    expect((await failureOf(login({ [AUTHORIZE]: BASIC }).result)).hint).toContain('single sign-on')
  })

  test('the page for tokens is named', async () => {
    const error = await failureOf(login({ [AUTHORIZE]: { status: 401, body: `${VISIT}\n` } }).result)
    expect(error.hint).toContain(`${OAUTH}/oauth/token/request`)
  })

  test('the words of a broken identity provider are quoted, and the password may still be wrong', async () => {
    const error = await failureOf(login({ [AUTHORIZE]: { status: 500, body: LDAP } }).result)
    expect(error.message).toContain('connection refused')
    expect(error.hint).toContain('wrong password')
  })

  test('the host of a RequestHeader proxy is named and asked nothing', async () => {
    const attempt = login({ [AUTHORIZE]: redirect('https://proxy.corp.example.com/x') })
    expect((await failureOf(attempt.result)).message).toContain('proxy.corp.example.com')
    expect(attempt.network.lines().join()).not.toContain('proxy.corp')
  })

  test('a server that echoes the password is quoted without it', async () => {
    const attempt = login({ [AUTHORIZE]: { status: 500, body: `Error: bind as ${PASSWORD} (${PAIR}) failed` } })
    const error = await expectFailure(attempt, 'IDENTITY_PROVIDER')
    expect(error.message).toContain('***')
  })

  test('a stranger text of the server is one clean, bounded line', async () => {
    const body = `Error: \u001b[31mred\u001b[0m\n::set-output name=x::y\n${'x'.repeat(5000)}`
    const error = await failureOf(login({ [AUTHORIZE]: { status: 500, body } }).result)
    expect(error.message).not.toMatch(/\p{Cc}/u)
    expect(error.message.length).toBeLessThan(700)
  })
})

describe('a busy OAuth server', () => {
  const busy: Scripted = {
    status: 429,
    headers: { 'retry-after': '7' },
    body: 'Too many requests, please try again later.',
  }
  const good = loginScript()[AUTHORIZE] as Scripted

  test('is asked again after the time it names', async () => {
    const attempt = login({ [AUTHORIZE]: [busy, { status: 503 }, good] })
    expect((await attempt.result).user).toBe('bob')
    expect(attempt.context.slept[0]).toBe(7000)
    expect(attempt.context.slept).toHaveLength(2)
    expectPasswordOnlyAtAuthorize(attempt)
  })

  test('that stays busy is RATE_LIMITED', async () => {
    const attempt = login({ [AUTHORIZE]: busy })
    await expectFailure(attempt, 'RATE_LIMITED')
    expect(attempt.network.seen).toHaveLength(1 + 4)
  })

  test('that asks for an hour is left alone', async () => {
    const attempt = login({ [AUTHORIZE]: { ...busy, headers: { 'retry-after': '3600' } } })
    await expectFailure(attempt, 'RATE_LIMITED')
    expect(attempt.context.slept).toEqual([])
  })

  test('that stays down is UNAVAILABLE', async () => {
    await expectFailure(
      login({ [AUTHORIZE]: { status: 503, headers: { 'content-type': 'text/html' }, body: '<html>' } }),
      'UNAVAILABLE',
    )
  })

  test('whose connection breaks is asked again, and the last error is the network’s', async () => {
    const cut = new PromoteError('NETWORK', 'reset', { transient: true })
    let times = 0
    const attempt = login({ [AUTHORIZE]: () => (++times < 3 ? cut : good) })
    expect((await attempt.result).user).toBe('bob')
    await expectFailure(login({ [AUTHORIZE]: () => cut }), 'NETWORK')
  })

  test('whose certificate is unknown is asked once', async () => {
    const attempt = login({ [AUTHORIZE]: () => new PromoteError('TLS', 'unknown CA') })
    await expectFailure(attempt, 'TLS')
    expect(attempt.network.seen).toHaveLength(2)
  })
})

describe('/oauth/token', () => {
  const refusal = (error: string): Scripted => ({ status: 400, body: { error, error_description: 'The …' } })
  const rows: [string, Scripted, Code, number][] = [
    ['400 invalid_grant: wrong verifier or old code', refusal('invalid_grant'), 'PROTOCOL', 4],
    ['400 unauthorized_client: code used up', refusal('unauthorized_client'), 'PROTOCOL', 4],
    ['400 invalid_request: no client', refusal('invalid_request'), 'PROTOCOL', 1],
    ['400 access_denied', refusal('access_denied'), 'PROTOCOL', 1],
    ['400 unsupported_grant_type', refusal('unsupported_grant_type'), 'PROTOCOL', 1],
    ['500', { status: 500, body: 'Error: storage' }, 'IDENTITY_PROVIDER', 1],
    ['503', { status: 503 }, 'UNAVAILABLE', 4],
    ['200 without a token', { status: 200, body: {} }, 'PROTOCOL', 1],
    ['200 HTML', { status: 200, body: '<html>' }, 'PROTOCOL', 1],
    [
      '200 with a token of another type',
      { status: 200, body: { access_token: 'x', token_type: 'mac' } },
      'PROTOCOL',
      1,
    ],
    [
      '200 with a line break in the token',
      { status: 200, body: { access_token: 'a\r\nb', token_type: 'Bearer' } },
      'PROTOCOL',
      1,
    ],
    ['302', { status: 302, headers: { location: 'https://evil.example.com/' } }, 'PROTOCOL', 1],
  ]
  test.each(rows)('%s', async (_, answer, code, tries) => {
    const attempt = login({ [EXCHANGE]: answer })
    await expectFailure(attempt, code)
    expect(attempt.network.seen.filter(({ method }) => method === 'POST')).toHaveLength(tries)
  })

  test('a code that was used up by a lost answer is replaced by a new one', async () => {
    const attempt = login({ [EXCHANGE]: [refusal('unauthorized_client'), loginScript()[EXCHANGE] as Scripted] })
    expect((await attempt.result).user).toBe('bob')
    expect(attempt.network.seen).toHaveLength(6)
  })

  test('nothing that a refusal says contains the code or the verifier', async () => {
    const attempt = login({ [EXCHANGE]: (seen) => ({ status: 400, body: `bad ${seen.body}` }) })
    const error = await failureOf(attempt.result)
    const form = new URLSearchParams(attempt.network.seen[2]?.body)
    for (const name of ['code', 'code_verifier']) expect(error.message).not.toContain(form.get(name))
  })
})
