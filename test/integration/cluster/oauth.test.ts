import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { ask, type Question, type Reply } from '../../support/cluster/ask.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import type { Identity } from '../../support/cluster/oauth.ts'
import { KUBEADMIN_PASSWORD } from '../../support/cluster/users.ts'

const CSRF = { 'X-CSRF-Token': '1' }
const VERIFIER = 'v'.repeat(128)
const CHALLENGE = createHash('sha256').update(VERIFIER).digest('base64url')
const GOOD = 'developer:developer-password'
const TOKEN = 'sha256~[A-Za-z0-9_][A-Za-z0-9_-]{42}'

let cluster: EmbeddedCluster
let page: string
beforeAll(async () => {
  cluster = await startCluster({ identity: 'request-header' })
  page = `${cluster.oauth.origin}/oauth/token`
})
afterAll(async () => {
  expect(cluster.unexpected).toEqual([])
  await cluster.close()
})

/** A complete request for a code, with `changes`; undefined leaves a parameter out. */
function authorize(changes: Record<string, string | undefined> = {}, question: Question = {}): Promise<Reply> {
  const values = {
    client_id: 'openshift-challenging-client',
    code_challenge: CHALLENGE,
    code_challenge_method: 'S256',
    redirect_uri: `${page}/implicit`,
    response_type: 'code',
    ...changes,
  }
  const given = Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined)
  const url = new URL(`/oauth/authorize?${new URLSearchParams(given)}`, cluster.oauth)
  return ask(cluster.ca.oauth, url, question)
}

interface Row {
  when: string
  identity?: Identity
  changes?: Record<string, string | undefined>
  ask: Question
  status: number
  /** `undefined`: the header is absent. PAGE stands for `https://<oauth>/oauth/token`. */
  headers?: Record<string, RegExp | undefined>
  text?: RegExp
}

const CACHE = 'no-cache, no-store, max-age=0, must-revalidate'
const ONCE = new RegExp(`^${CACHE}$`)
const NO_CHALLENGE = { 'www-authenticate': undefined }
const BASIC_CHALLENGE = { 'www-authenticate': /^Basic realm="openshift"$/, warning: undefined, link: undefined }
const CSRF_SENTENCE = 'A non-empty X-CSRF-Token header is required to receive basic-auth challenges'
const CODE = new RegExp(`^PAGE/implicit\\?code=${TOKEN}&state=$`)
const VISIT = 'You must obtain an API token by visiting PAGE/request'

const authorizeRows: readonly Row[] = [
  {
    when: 'no X-CSRF-Token and no credentials',
    ask: {},
    status: 401,
    headers: {
      ...NO_CHALLENGE,
      warning: new RegExp(`^199 Origin "${CSRF_SENTENCE}"$`),
      'content-type': /^text\/plain/,
    },
    text: new RegExp(`^${CSRF_SENTENCE}\\n$`),
  },
  { when: 'no credentials', ask: { headers: CSRF }, status: 401, headers: BASIC_CHALLENGE, text: /^$/ },
  {
    when: 'a wrong password',
    ask: { headers: CSRF, basic: 'developer:wrong' },
    status: 401,
    headers: BASIC_CHALLENGE,
    text: /^$/,
  },
  {
    when: 'an unknown user',
    ask: { headers: CSRF, basic: 'stranger:x' },
    status: 401,
    headers: BASIC_CHALLENGE,
    text: /^$/,
  },
  {
    when: 'a wrong password without X-CSRF-Token',
    ask: { basic: 'developer:wrong' },
    status: 401,
    headers: { ...NO_CHALLENGE, warning: new RegExp(CSRF_SENTENCE) },
  },
  {
    when: 'a user without password',
    ask: { headers: CSRF, basic: 'developer:' },
    status: 401,
    headers: BASIC_CHALLENGE,
  },
  { when: 'a bearer token', ask: { headers: CSRF, bearer: 'x' }, status: 401, headers: BASIC_CHALLENGE },
  {
    when: 'malformed base64',
    ask: { headers: { ...CSRF, authorization: 'Basic ***' } },
    status: 500,
    headers: { 'content-type': /^text\/plain/ },
    text: /^Error: no valid base64 data in basic auth scheme found$/,
  },
  {
    when: 'Basic without a colon',
    ask: { headers: CSRF, basic: 'developer' },
    status: 500,
    headers: { 'content-type': /^text\/plain/, 'cache-control': ONCE },
    text: /^Error: invalid Authorization header$/,
  },
  {
    when: 'a good password and response_type=token',
    changes: { response_type: 'token', code_challenge: undefined, code_challenge_method: undefined },
    ask: { headers: CSRF, basic: GOOD },
    status: 302,
    headers: {
      location: new RegExp(
        `^PAGE/implicit#access_token=${TOKEN}&expires_in=86400&scope=user%3Afull&token_type=Bearer$`,
      ),
      'content-length': /^0$/,
      'set-cookie': /^ssn=[^;]+; Path=\/; HttpOnly; Secure$/,
    },
  },
  {
    when: 'a good password, response_type=token and a state',
    changes: { response_type: 'token', state: 'a b' },
    ask: { headers: CSRF, basic: GOOD },
    status: 302,
    headers: { location: /&scope=user%3Afull&state=a\+b&token_type=Bearer$/ },
  },
  {
    when: 'a good password without X-CSRF-Token',
    ask: { basic: GOOD },
    status: 302,
    headers: { location: CODE },
  },
  {
    when: 'a good password and response_type=code',
    ask: { headers: CSRF, basic: GOOD },
    status: 302,
    headers: { location: CODE, 'content-length': /^0$/ },
  },
  {
    when: 'a password with a colon and an umlaut',
    ask: { headers: CSRF, basic: 'jane:pa:ss wörd' },
    status: 302,
    headers: { location: CODE },
  },
  { when: 'POST', ask: { method: 'POST', headers: CSRF, basic: GOOD }, status: 302, headers: { location: CODE } },
  {
    when: 'no redirect_uri',
    changes: { redirect_uri: undefined },
    ask: { headers: CSRF, basic: GOOD },
    status: 302,
    headers: { location: CODE },
  },
  {
    when: 'an unknown client',
    changes: { client_id: 'somebody' },
    ask: { headers: CSRF, basic: GOOD },
    status: 400,
    text: /^{"error":"unauthorized_client","error_description":"The client is not authorized to request a token using this method."}\n$/,
  },
  {
    when: 'a foreign redirect_uri',
    changes: { redirect_uri: 'https://evil.example.com/' },
    ask: { headers: CSRF, basic: GOOD },
    status: 400,
    text: /^{"error":"invalid_request","error_description":"The request is missing a required parameter, /,
  },
  {
    when: 'an unknown response_type',
    changes: { response_type: 'id_token' },
    ask: { headers: CSRF, basic: GOOD },
    status: 302,
    headers: {
      location: /^PAGE\/implicit\?error=unsupported_response_type&error_description=The\+authorization\+server/,
    },
  },
  {
    when: 'a bad scope',
    changes: { scope: 'foo' },
    ask: { headers: CSRF, basic: GOOD },
    status: 302,
    headers: {
      'set-cookie': /^ssn=[^;]+; Path=\/; HttpOnly; Secure$/,
      location:
        /^PAGE\/implicit\?error=invalid_scope&error_description=%5B0%5D%3A\+Invalid\+value%3A\+%22foo%22%3A\+no\+scope\+handler\+found$/,
    },
  },
  {
    when: 'a PKCE method that nobody knows, and a challenge that is too short',
    changes: { code_challenge_method: 'S512', code_challenge: 'short' },
    ask: { headers: CSRF, basic: GOOD },
    status: 302,
    headers: {
      location:
        /\?error=invalid_request&error_description=code_challenge_method\+transform\+algorithm\+not\+supported\+%28rfc7636%29$/,
    },
  },
  ...['short', 'x'.repeat(129), 'ü'.repeat(43)].map(
    (code_challenge): Row => ({
      when: `a PKCE challenge of a wrong form: ${code_challenge.slice(0, 9)}`,
      changes: { code_challenge, state: 'z' },
      ask: { headers: CSRF, basic: GOOD },
      status: 302,
      headers: {
        location: /\?error=invalid_request&error_description=code_challenge\+invalid\+%28rfc7636%29&state=z$/,
        'set-cookie': undefined,
      },
    }),
  ),
  {
    when: 'a PKCE challenge of a wrong form and response_type=token, which has none',
    changes: { code_challenge: 'short', response_type: 'token' },
    ask: { basic: GOOD },
    status: 302,
    headers: { location: /^PAGE\/implicit#access_token=/ },
  },
  { when: 'HEAD', ask: { method: 'HEAD', headers: CSRF, basic: GOOD }, status: 302, headers: { location: CODE } },
  { when: 'HEAD without credentials', ask: { method: 'HEAD', headers: CSRF }, status: 401, headers: BASIC_CHALLENGE },
  {
    when: 'openshift-cli-client names none of its two addresses',
    changes: { client_id: 'openshift-cli-client', redirect_uri: undefined },
    ask: { headers: CSRF, basic: GOOD },
    status: 400,
    text: /^{"error":"invalid_request",/,
  },
  ...['http://127.0.0.1:53682/callback', 'http://127.0.0.1/callback', 'http://[::1]/callback'].map(
    (redirect_uri): Row => ({
      when: `openshift-cli-client listens at ${redirect_uri}`,
      changes: { client_id: 'openshift-cli-client', redirect_uri },
      ask: { basic: GOOD },
      status: 302,
      headers: { location: new RegExp(`^${redirect_uri.replaceAll(/[[\]]/g, '\\$&')}\\?code=${TOKEN}&state=$`) },
    }),
  ),
  ...['http://127.0.0.1:53682/other', 'https://127.0.0.1/callback', 'http://evil.example.com/callback'].map(
    (redirect_uri): Row => ({
      when: `openshift-cli-client asks for ${redirect_uri}`,
      changes: { client_id: 'openshift-cli-client', redirect_uri },
      ask: { basic: GOOD },
      status: 400,
      text: /^{"error":"invalid_request",/,
    }),
  ),
  ...[{}, { basic: GOOD }].map(
    (credentials): Row => ({
      when: `only single sign-on, ${'basic' in credentials ? 'with' : 'without'} credentials`,
      identity: 'sso',
      ask: { headers: CSRF, ...credentials },
      status: 401,
      headers: {
        ...NO_CHALLENGE,
        link: /^<PAGE\/request>; rel="related"$/,
        warning: new RegExp(`^199 Origin "${VISIT}"$`),
        'content-type': /^text\/plain/,
      },
      text: new RegExp(`^${VISIT}\\n$`),
    }),
  ),
  {
    when: 'single sign-on with kubeadmin, password of a user',
    identity: 'sso-kubeadmin',
    ask: { headers: CSRF, basic: GOOD },
    status: 401,
    headers: BASIC_CHALLENGE,
  },
  {
    when: 'single sign-on with kubeadmin, password of kubeadmin',
    identity: 'sso-kubeadmin',
    ask: { headers: CSRF, basic: `kubeadmin:${KUBEADMIN_PASSWORD}` },
    status: 302,
    headers: { location: CODE },
  },
  {
    when: 'LDAP is down',
    identity: 'ldap-down',
    ask: { headers: CSRF, basic: GOOD },
    status: 500,
    headers: { 'content-type': /^text\/plain/, location: undefined },
    text: /^Error: LDAP Result Code 200 "Network Error": dial tcp .*: connect: connection refused$/,
  },
  {
    when: 'LDAP is down, no credentials',
    identity: 'ldap-down',
    ask: { headers: CSRF },
    status: 401,
    headers: BASIC_CHALLENGE,
  },
  {
    when: 'LDAP is down and htpasswd knows the user',
    identity: 'ldap-down-htpasswd',
    ask: { headers: CSRF, basic: GOOD },
    status: 302,
    headers: { location: CODE },
  },
  {
    when: 'LDAP is down and htpasswd does not know the password',
    identity: 'ldap-down-htpasswd',
    ask: { headers: CSRF, basic: 'developer:wrong' },
    status: 500,
    text: /^Error: LDAP Result Code 200/,
  },
  ...[{}, { basic: GOOD }].map(
    (credentials): Row => ({
      when: `RequestHeader, ${'basic' in credentials ? 'with' : 'without'} credentials`,
      identity: 'request-header',
      ask: { headers: CSRF, ...credentials },
      status: 302,
      headers: {
        ...NO_CHALLENGE,
        location:
          /^https:\/\/127\.0\.0\.1:\d+\/challenging-proxy\/oauth\/authorize\?client_id=openshift-challenging-client&.*&response_type=code$/,
      },
    }),
  ),
  {
    when: 'the identity is claimed by another provider',
    identity: 'claim-conflict',
    ask: { headers: CSRF, basic: GOOD },
    status: 500,
    text: /^Error: user "developer" cannot be claimed by identity "ldap:developer" because it is already mapped to \[htpasswd:developer\]$/,
  },
  {
    when: 'lookup mapping without a user made in advance',
    identity: 'lookup',
    ask: { headers: CSRF, basic: GOOD },
    status: 500,
    text: /^Error: lookup of user for "developer" failed: /,
  },
  {
    when: 'the browser client without credentials',
    changes: { client_id: 'openshift-browser-client', redirect_uri: undefined },
    ask: { headers: CSRF },
    status: 302,
    headers: { location: /^\/login\?then=%2Foauth%2Fauthorize%3Fclient_id%3Dopenshift-browser-client%26/ },
  },
  {
    when: 'too many requests',
    identity: 'busy',
    ask: { headers: CSRF, basic: GOOD },
    status: 429,
    headers: { 'retry-after': /^\d+$/, 'content-type': /^text\/plain/ },
    text: /^Too many requests, please try again later\.\n$/,
  },
]

describe('GET /oauth/authorize answers as the real server', () => {
  test.each(authorizeRows)('$status when: $when', async (row) => {
    cluster.options.oauth.identity = row.identity ?? 'htpasswd'
    const reply = await authorize(row.changes, row.ask)
    const plain = (text: string) => text.replaceAll(page, 'PAGE').replaceAll(encodeURIComponent(page), 'PAGE')
    expect(reply.status).toBe(row.status)
    for (const [name, pattern] of Object.entries(row.headers ?? {})) {
      const value = reply.headers[name]?.map(plain)
      if (pattern === undefined) expect(value).toBeUndefined()
      else expect(value).toEqual([expect.stringMatching(pattern)])
    }
    if (row.text) expect(plain(reply.text)).toMatch(row.text)
  })

  test('a busy server refuses as many requests as it was told, then answers again', async () => {
    Object.assign(cluster.options.oauth, { identity: 'busy', busyRequests: 2 })
    const statuses = []
    for (let i = 0; i < 3; i++) statuses.push((await authorize({}, { headers: CSRF, basic: GOOD })).status)
    Object.assign(cluster.options.oauth, { identity: 'htpasswd', busyRequests: Number.POSITIVE_INFINITY })
    expect(statuses).toEqual([429, 429, 302])
  })

  test.each<[string, number, Record<string, string>, Question]>([
    ['a redirect to the client', 302, {}, { basic: GOOD }],
    ['an error that goes to the client', 302, { scope: 'foo' }, { basic: GOOD }],
    ['an error for the reader', 400, { client_id: 'somebody' }, {}],
  ])('osin sends the first three headers a second time: %s', async (_, status, changes, question) => {
    const reply = await authorize(changes, question)
    expect(reply.status).toBe(status)
    expect(reply.headers).toMatchObject({
      'cache-control': [CACHE, CACHE],
      pragma: ['no-cache', 'no-cache'],
      expires: ['0', 'Fri, 01 Jan 1990 00:00:00 GMT'],
      'x-frame-options': ['DENY'],
    })
  })

  test('every response carries the security headers', async () => {
    const { headers } = await authorize({}, { headers: CSRF })
    expect(headers).toMatchObject({
      'cache-control': [CACHE],
      pragma: ['no-cache'],
      expires: ['0'],
      'referrer-policy': ['strict-origin-when-cross-origin'],
      'x-frame-options': ['DENY'],
      'x-content-type-options': ['nosniff'],
      'x-dns-prefetch-control': ['off'],
      'x-xss-protection': ['1; mode=block'],
      'audit-id': [expect.stringMatching(/^[0-9a-f-]{36}$/)],
    })
  })

  test('the proxy of a RequestHeader provider asks for Kerberos', async () => {
    cluster.options.oauth.identity = 'request-header'
    const { headers } = await authorize({}, { headers: CSRF })
    cluster.options.oauth.identity = 'htpasswd'
    const proxied = await ask(cluster.ca.oauth, headers.location?.[0] ?? '')
    expect(proxied).toMatchObject({ status: 401, headers: { 'www-authenticate': ['Negotiate'] } })
    expect(cluster.requests.at(-1)).toMatchObject({ server: 'sso', authorization: 'none', status: 401 })
  })

  test('the page behind the final redirect only explains itself', async () => {
    const reply = await ask(cluster.ca.oauth, `${page}/implicit`)
    expect(reply.status).toBe(200)
    expect(reply.text).toMatch(/^You have reached this page by following a redirect Location header/)
    expect(reply.headers['cache-control']).toEqual([CACHE])
  })
})

test('what the OAuth server does not have is forbidden to everybody, and noted as unexpected', async () => {
  const other = await startCluster()
  for (const [method, path] of Object.entries({ GET: '/oauth/device', POST: '/device', HEAD: '/' })) {
    const reply = await ask(other.ca.oauth, new URL(path, other.oauth), { method })
    expect([reply.status, reply.headers['content-type']]).toEqual([403, ['application/json']])
    if (method === 'HEAD') continue
    expect(reply.json()).toEqual({
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: `forbidden: User "system:anonymous" cannot ${method.toLowerCase()} path "${path}"`,
      reason: 'Forbidden',
      details: {},
      code: 403,
    })
  }
  expect(other.unexpected).toEqual(['oauth: GET /oauth/device', 'oauth: POST /device'])
  await other.close()
})
