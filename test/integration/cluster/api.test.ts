import { createHash } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { ask, askApi, type Question, within } from '../../support/cluster/ask.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'

const IMAGES = '/apis/image.openshift.io/v1/namespaces'
const REVIEW = '/apis/authentication.k8s.io/v1/selfsubjectreviews'
const ME = '/apis/user.openshift.io/v1/users/~'
const DISCOVERY = '/.well-known/oauth-authorization-server'
const SELF_SUBJECT_REVIEW = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' }
const UNAUTHORIZED = {
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Failure',
  message: 'Unauthorized',
  reason: 'Unauthorized',
  code: 401,
}

let cluster: EmbeddedCluster
beforeAll(async () => {
  cluster = await startCluster()
})
afterEach(() => expect(cluster.unexpected).toEqual([]))
afterAll(() => cluster.close())
const api = (user: string, path: string, question?: Question) => askApi(cluster, user, path, question)

describe('without credentials', () => {
  test.each(['GET', 'HEAD'])('%s / is a 403 in JSON', async (method) => {
    const reply = await api('', '/', { method })
    expect(reply.status).toBe(403)
    expect(reply.headers['content-type']).toEqual(['application/json'])
    if (method === 'GET') expect(reply.json()).toMatchObject({ kind: 'Status', reason: 'Forbidden', code: 403 })
  })

  test('the version is open', async () => {
    expect((await api('', '/version?timeout=32s')).json()).toMatchObject({ major: '1', minor: '31' })
  })

  test('discovery is open and names the endpoints of the OAuth server', async () => {
    const reply = await api('', DISCOVERY, { headers: { 'X-CSRF-Token': '1' } })
    expect(reply.status).toBe(200)
    expect(reply.headers['content-type']).toEqual(['application/json'])
    expect(reply.json()).toEqual({
      issuer: cluster.oauth.origin,
      authorization_endpoint: `${cluster.oauth.origin}/oauth/authorize`,
      token_endpoint: `${cluster.oauth.origin}/oauth/token`,
      scopes_supported: [
        'user:check-access',
        'user:full',
        'user:info',
        'user:list-projects',
        'user:list-scoped-projects',
      ],
      response_types_supported: ['code', 'token'],
      grant_types_supported: ['authorization_code', 'implicit'],
      code_challenge_methods_supported: ['plain', 'S256'],
    })
  })

  test.each([ME, `${IMAGES}/dev/imagestreams`, `${IMAGES}/dev/imagestreams/app/layers`])(
    'GET %s is a 403, not a 401',
    async (path) => {
      const reply = await api('', path)
      expect(reply.status).toBe(403)
      expect(reply.json().message).toMatch(/^\S+( "\S+")? is forbidden: User "system:anonymous" cannot /)
    },
  )

  test('Basic counts as nobody', async () => {
    const url = new URL(ME, cluster.api)
    expect(await ask(cluster.ca.api, url, { basic: 'developer:developer-password' })).toMatchObject({ status: 403 })
  })
})

describe('a bad bearer token', () => {
  const bad = 'sha256~0000000000000000000000000000000000000000000'
  test.each(['/', '/version', DISCOVERY, ME, `${IMAGES}/dev/imagestreams`])(
    'is a 401 Status on GET %s',
    async (path) => {
      const reply = await ask(cluster.ca.api, new URL(path, cluster.api), { bearer: bad })
      expect([reply.status, reply.json()]).toEqual([401, UNAUTHORIZED])
    },
  )

  test('so are one that expired, one of the wrong audience and one of an account that is gone', async () => {
    const { serviceAccounts } = cluster.state.projects.get('test') ?? { serviceAccounts: new Set() }
    serviceAccounts.add('leaver')
    const leaver = cluster.serviceAccountToken('test', 'leaver')
    const path = '/api/v1/namespaces/ci/serviceaccounts/pipeline/token'
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: ['vault'] } }
    const vault = await api('ci:pipeline', path, { method: 'POST', body })
    const foreign = vault.json<{ status: { token: string } }>().status.token
    const old = cluster.token('developer')
    const check = (bearer: string) => ask(cluster.ca.api, new URL(ME, cluster.api), { bearer })
    expect(await check(leaver)).toMatchObject({ status: 200 })
    expect(await check(old)).toMatchObject({ status: 200 })
    expect(await check(foreign)).toMatchObject({ status: 401 })
    serviceAccounts.delete('leaver')
    cluster.advance(86_400)
    expect((await Promise.all([leaver, old].map(check))).map((reply) => reply.status)).toEqual([401, 401])
  })
})

describe('who am I', () => {
  test('SelfSubjectReview answers 201 with name, groups and scopes of a user', async () => {
    const reply = await api('jane', REVIEW, { method: 'POST', body: SELF_SUBJECT_REVIEW })
    expect(reply.status).toBe(201)
    expect(reply.json()).toMatchObject({
      kind: 'SelfSubjectReview',
      apiVersion: 'authentication.k8s.io/v1',
      metadata: { creationTimestamp: expect.stringMatching(/Z$/) },
      status: {
        userInfo: {
          username: 'jane',
          uid: expect.any(String),
          groups: ['system:authenticated:oauth', 'system:authenticated'],
          extra: { 'scopes.authorization.openshift.io': ['user:full'] },
        },
      },
    })
  })

  test('SelfSubjectReview of a service account', async () => {
    const reply = await api('ci:pipeline', REVIEW, { method: 'POST', body: SELF_SUBJECT_REVIEW })
    expect(reply.json()).toMatchObject({
      status: {
        userInfo: {
          username: 'system:serviceaccount:ci:pipeline',
          groups: ['system:serviceaccounts', 'system:serviceaccounts:ci', 'system:authenticated'],
        },
      },
    })
  })

  test('users/~ of a user', async () => {
    const reply = await api('jane', ME)
    expect(reply.json()).toMatchObject({
      kind: 'User',
      apiVersion: 'user.openshift.io/v1',
      metadata: { name: 'jane', uid: expect.any(String) },
      fullName: 'Jane Doe',
      identities: ['htpasswd:jane'],
      groups: ['system:authenticated', 'system:authenticated:oauth'],
    })
  })

  test.each([
    [
      'ci:pipeline',
      'system:serviceaccount:ci:pipeline',
      ['system:authenticated', 'system:serviceaccounts', 'system:serviceaccounts:ci'],
    ],
    ['kubeadmin', 'kube:admin', ['system:authenticated', 'system:cluster-admins']],
  ])('users/~ of %s is a virtual user', async (user, name, groups) => {
    const reply = await api(user, ME)
    expect(reply.status).toBe(200)
    expect(reply.json()).toMatchObject({ metadata: { name }, identities: null, groups })
  })

  test('a client certificate opens the API', async () => {
    const pair = await cluster.clientCertificate('jane')
    const reply = await ask(cluster.ca.api, new URL(ME, cluster.api), { pair })
    expect(reply.json()).toMatchObject({ metadata: { name: 'jane' } })
  })

  test('a header that pretends to be a client certificate does not', async () => {
    const headers = { 'x-embedded-client-certificate': JSON.stringify({ name: 'jane', groups: [] }) }
    expect(await ask(cluster.ca.api, new URL(ME, cluster.api), { headers })).toMatchObject({ status: 403 })
  })
})

test('with external OIDC discovery and the groups user and oauth are 404, the rest works with foreign tokens', () =>
  within({ oidc: true }, async (other) => {
    const bearer = other.token('jane')
    const get = (path: string, question: Question = {}) => ask(other.ca.api, new URL(path, other.api), question)
    expect(bearer).toMatch(/^eyJ[\w-]+\.[\w-]+\.[\w-]+$/)
    expect(await get(DISCOVERY)).toMatchObject({ status: 404 })
    expect(await get(ME, { bearer })).toMatchObject({ status: 404 })
    const name = 'sha256~8HBKUJpkbM0YIYz1wLeesErCuxkBFY1KO-glskfPDkk'
    const path = `/apis/oauth.openshift.io/v1/oauthaccesstokens/${name}`
    expect(await get(path, { bearer, method: 'DELETE' })).toMatchObject({ status: 404 })
    const review = await get(REVIEW, { bearer, method: 'POST', body: SELF_SUBJECT_REVIEW })
    expect(review.json()).toMatchObject({ status: { userInfo: { username: 'jane' } } })
    expect(await get(`${IMAGES}/dev/imagestreams`, { bearer })).toMatchObject({ status: 200 })
  }))

describe('TokenRequest', () => {
  const request = (spec: object = {}) => ({
    method: 'POST',
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec },
  })
  const path = (ns: string, name: string) => `/api/v1/namespaces/${ns}/serviceaccounts/${name}/token`

  test('201 with a JWT that opens the API as the account and ends when it says', async () => {
    const reply = await api('developer', path('prod', 'pusher'), request({ audiences: null, expirationSeconds: 600 }))
    expect(reply.status).toBe(201)
    const { status, ...rest } = reply.json<{ status: { token: string; expirationTimestamp: string } }>()
    expect(rest).toMatchObject({
      kind: 'TokenRequest',
      apiVersion: 'authentication.k8s.io/v1',
      metadata: { name: 'pusher', namespace: 'prod' },
      spec: { audiences: ['https://kubernetes.default.svc'], expirationSeconds: 600, boundObjectRef: null },
    })
    const me = () => ask(cluster.ca.api, new URL(ME, cluster.api), { bearer: status.token })
    expect((await me()).json()).toMatchObject({ metadata: { name: 'system:serviceaccount:prod:pusher' } })
    cluster.advance(600)
    expect(await me()).toMatchObject({ status: 401 })
  })

  test('an hour when no lifetime is asked for', async () => {
    const reply = await api('developer', path('prod', 'pusher'), request())
    expect(reply.json()).toMatchObject({ spec: { expirationSeconds: 3600 } })
  })

  test('422 below ten minutes', async () => {
    const reply = await api('developer', path('prod', 'pusher'), request({ expirationSeconds: 599 }))
    expect([reply.status, reply.json().message]).toEqual([
      422,
      expect.stringContaining('may not specify a duration less than 10 minutes'),
    ])
  })

  test('404 for an account that is missing', async () => {
    const reply = await api('developer', path('prod', 'nosuch'), request())
    expect([reply.status, reply.json().message]).toEqual([404, 'serviceaccounts "nosuch" not found'])
  })

  test('403 without the right', async () => {
    const reply = await api('viewer', path('prod', 'pusher'), request())
    expect([reply.status, reply.json().message]).toEqual([
      403,
      'serviceaccounts "pusher" is forbidden: User "viewer" cannot create resource "serviceaccounts/token" in API group "" in the namespace "prod"',
    ])
  })
})

describe('logout', () => {
  const nameOf = (token: string) => `sha256~${createHash('sha256').update(token.slice(7)).digest('base64url')}`
  const remove = (resource: string, token: string, bearer: string) => {
    const url = new URL(`/apis/oauth.openshift.io/v1/${resource}/${nameOf(token)}`, cluster.api)
    return ask(cluster.ca.api, url, { method: 'DELETE', bearer })
  }
  const answers = (bearer: string) => [
    ask(cluster.ca.api, new URL(ME, cluster.api), { bearer }),
    ask(cluster.ca.registry, new URL('/v2/', cluster.registry), { bearer }),
  ]
  const statuses = async (token: string) => (await Promise.all(answers(token))).map((reply) => reply.status)

  test('the object name is the hash that oc computes', () => {
    expect(nameOf('sha256~6hJTr0lfTbM6b9abDfQO6Xsokn3ZR-4QoD2XnHGQrCI')).toBe(
      'sha256~8HBKUJpkbM0YIYz1wLeesErCuxkBFY1KO-glskfPDkk',
    )
  })

  test.each(['oauthaccesstokens', 'useroauthaccesstokens'])(
    'DELETE %s: the token is refused by API and registry from then on',
    async (resource) => {
      const token = cluster.token('jane')
      expect(await statuses(token)).toEqual([200, 200])
      expect((await remove(resource, token, token)).json()).toMatchObject({ kind: 'Status', status: 'Success' })
      expect(await statuses(token)).toEqual([401, 401])
    },
  )

  test('404 for a token that is gone', async () => {
    const token = cluster.token('jane')
    cluster.revoke(token)
    expect(await remove('oauthaccesstokens', token, cluster.token('jane'))).toMatchObject({ status: 404 })
  })

  test('403 for nobody, who knows the name all the same', async () => {
    const token = cluster.token('jane')
    const url = new URL(`/apis/oauth.openshift.io/v1/oauthaccesstokens/${nameOf(token)}`, cluster.api)
    expect(await ask(cluster.ca.api, url, { method: 'DELETE' })).toMatchObject({ status: 403 })
    expect(await statuses(token)).toEqual([200, 200])
  })

  test("useroauthaccesstokens hides other people's tokens", async () => {
    const token = cluster.token('jane')
    expect(await remove('useroauthaccesstokens', token, cluster.token('developer'))).toMatchObject({ status: 404 })
    expect(await statuses(token)).toEqual([200, 200])
  })
})

test('what the API server does not have is noted as unexpected', async () => {
  const other = await startCluster()
  const reply = await ask(other.ca.api, new URL('/api/v1/pods', other.api), { bearer: other.token('admin') })
  expect(reply.status).toBe(404)
  expect(other.unexpected).toEqual(['api: GET /api/v1/pods'])
  await other.close()
})
