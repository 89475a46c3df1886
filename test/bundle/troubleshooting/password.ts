import { byPassword } from '../sides.ts'
import { answers, atApi, atOauth, HTML, JSON_TYPE, status, wrongPassword } from './answers.ts'
import type { Situation } from './stage.ts'

/** Everything that the OAuth server and what stands before it can answer to user and password. */

const discovery = /^\/\.well-known\//
const authorize = /^\/oauth\/authorize/
const exchange = /^\/oauth\/token/
const oauthError = (error: string) => JSON.stringify({ error, error_description: 'as osin says it' })

export const PASSWORD: readonly Situation[] = [
  {
    when: 'the password is wrong',
    code: 'LOGIN_REJECTED',
    says: 'Logging in as … at …: it answered 401; user name or password is wrong.',
    way: wrongPassword,
  },
  {
    when: 'people log in by single sign-on, and kubeadmin was never removed',
    code: 'LOGIN_REJECTED',
    says: 'Logging in as … at …: it answered 401; user name or password is wrong.',
    cluster: { identity: 'sso-kubeadmin' },
  },
  {
    when: 'a proxy takes the header X-CSRF-Token away and the password is wrong',
    code: 'LOGIN_REJECTED',
    says: 'Logging in as … at …: it answered 401 "A non-empty X-CSRF-Token header is required …"; user name or password is wrong.',
    arrange: atOauth(
      answers(authorize, 401, 'A non-empty X-CSRF-Token header is required to receive basic-auth challenges\n', {
        Warning: '199 Origin "A non-empty X-CSRF-Token header is required to receive basic-auth challenges"',
      }),
    ),
  },
  {
    when: 'the OAuth server says access_denied',
    code: 'LOGIN_REJECTED',
    says: 'Logging in as …: … redirected with "access_denied …".',
    arrange: ({ cluster }) => {
      const Location = `${cluster.oauth.origin}/oauth/token/implicit?error=access_denied&error_description=no`
      cluster.faults.oauth.add(answers(authorize, 302, '', { Location }))
    },
  },
  {
    when: 'there is single sign-on alone',
    code: 'LOGIN_UNSUPPORTED',
    says: 'Logging in as … at …: it answered 401 "You must obtain an API token by visiting …". This cluster takes no password from a program.',
    cluster: { identity: 'sso' },
  },
  {
    when: 'a RequestHeader provider sends people to its proxy',
    code: 'LOGIN_UNSUPPORTED',
    says: 'Logging in as … at …: it redirected to another host, …; the password was not sent there. This cluster takes no password from a program.',
    cluster: { identity: 'request-header' },
  },
  {
    when: 'the OAuth server sends people to its login page',
    code: 'LOGIN_UNSUPPORTED',
    says: 'Logging in as … at …: it redirected to its page …, which is for browsers; the password was not sent there. This cluster takes no password from a program.',
    arrange: atOauth(answers(authorize, 302, '', { Location: '/login?then=x' })),
  },
  {
    when: 'the OAuth server answers with a login form',
    code: 'LOGIN_UNSUPPORTED',
    says: 'Logging in as … at …: it answered 200 with an HTML page…, a page for people. This cluster takes no password from a program.',
    arrange: atOauth(answers(authorize, 200, '<!doctype html><title>Log in</title>', HTML)),
  },
  {
    when: 'the OAuth server wants Kerberos',
    code: 'LOGIN_UNSUPPORTED',
    says: 'Logging in as … at …: it asks for Kerberos (Negotiate). This cluster takes no password from a program.',
    arrange: atOauth(answers(authorize, 401, '', { 'WWW-Authenticate': 'Negotiate' })),
  },
  {
    when: 'the OAuth client of oc was removed',
    code: 'LOGIN_UNSUPPORTED',
    says: 'Logging in as … at …: it does not know the client of oc: 400 "…". This cluster takes no password from a program.',
    arrange: atOauth(answers(authorize, 400, oauthError('unauthorized_client'), JSON_TYPE)),
  },
  {
    when: 'the cluster has external OIDC',
    code: 'LOGIN_UNSUPPORTED',
    says: 'Asking for the OAuth server: … answered 404 "…". It has no OAuth server of its own (external OIDC).',
    cluster: { oidc: true },
  },
  {
    when: 'LDAP is down',
    code: 'IDENTITY_PROVIDER',
    says: 'Logging in as …: … answered 500 "Error: LDAP …".',
    cluster: { identity: 'ldap-down' },
  },
  {
    when: 'LDAP is down and the password of another provider is wrong',
    code: 'IDENTITY_PROVIDER',
    says: 'Logging in as …: … answered 500 "Error: LDAP …".',
    cluster: { identity: 'ldap-down-htpasswd' },
    way: wrongPassword,
  },
  {
    when: 'the user is mapped to another identity',
    code: 'IDENTITY_PROVIDER',
    says: 'Logging in as …: … answered 500 "Error: user … cannot be claimed by identity … because it is already mapped to …".',
    cluster: { identity: 'claim-conflict' },
  },
  {
    when: 'the user was not made in advance',
    code: 'IDENTITY_PROVIDER',
    says: 'Logging in as …: … answered 500 "Error: lookup of user for … failed: …".',
    cluster: { identity: 'lookup' },
  },
  {
    when: 'the identity provider is not there for a moment',
    code: 'IDENTITY_PROVIDER',
    says: 'Logging in as …: … redirected with "server_error …".',
    arrange: ({ cluster }) => {
      const Location = `${cluster.oauth.origin}/oauth/token/implicit?error=server_error&error_description=no`
      cluster.faults.oauth.add(answers(authorize, 302, '', { Location }))
    },
  },
  {
    when: 'the OAuth server is busy to the end',
    code: 'RATE_LIMITED',
    says: 'Logging in as …: … answered 429 "Too many requests, please try again later.".',
    cluster: { identity: 'busy' },
  },
  {
    when: 'the OAuth server has no pod',
    code: 'UNAVAILABLE',
    says: 'Logging in as …: … answered 503 with an HTML page….',
    arrange: atOauth(answers(/./, 503, '<html><h1>Application is not available</h1>', HTML)),
  },
  {
    when: 'the OAuth server refuses the request',
    code: 'PROTOCOL',
    says: 'Logging in as …: … answered 400 "…".',
    arrange: atOauth(answers(authorize, 400, oauthError('invalid_request'), JSON_TYPE)),
  },
  {
    when: 'the redirect carries an error',
    code: 'PROTOCOL',
    says: 'Logging in as …: … redirected with "…".',
    arrange: ({ cluster }) => {
      const Location = `${cluster.oauth.origin}/oauth/token/implicit?error=invalid_scope&error_description=no`
      cluster.faults.oauth.add(answers(authorize, 302, '', { Location }))
    },
  },
  {
    when: 'the redirect leads nowhere',
    code: 'PROTOCOL',
    says: 'Logging in as …: … answered 302 without a usable Location.',
    arrange: atOauth(answers(authorize, 302)),
  },
  ...['invalid_grant', 'unauthorized_client', 'invalid_request', 'access_denied', 'unsupported_grant_type'].map(
    (error): Situation => ({
      when: `the code is answered with ${error}`,
      code: 'PROTOCOL',
      says: 'Exchanging the code for a token as …: … answered 400 "…".',
      arrange: atOauth(answers(exchange, 400, oauthError(error), JSON_TYPE)),
    }),
  ),
  {
    when: 'the token endpoint gives no token',
    code: 'PROTOCOL',
    says: 'Exchanging the code for a token as …: … answered 200 without a bearer token.',
    arrange: atOauth(answers(exchange, 200, '{}', JSON_TYPE)),
  },
  {
    when: 'the cluster names an OAuth server without https',
    code: 'PROTOCOL',
    says: 'Asking for the OAuth server: the … that … names is not an https URL; a password is sent over https only.',
    arrange: atApi(
      answers(
        discovery,
        200,
        JSON.stringify({ issuer: 'https://x', authorization_endpoint: 'http://x/a', token_endpoint: 'https://x/t' }),
        JSON_TYPE,
      ),
    ),
  },
  {
    when: 'the URL is the one of the console',
    code: 'NOT_A_CLUSTER',
    says: 'Asking for the OAuth server: … answered … with an HTML page…, as a web console or a proxy does.',
    arrange: atApi(answers(/./, 200, '<!doctype html><title>Red Hat OpenShift</title>', HTML)),
  },
  {
    when: 'the URL leads to some other web service',
    code: 'NOT_A_CLUSTER',
    says: 'Asking for the OAuth server: … answered, but not as OpenShift does.',
    arrange: atApi(answers(/./, 200, '{"hello":"world"}', JSON_TYPE)),
  },
  {
    when: 'the API server is broken',
    code: 'UNAVAILABLE',
    says: 'Asking for the OAuth server: … answered 5… "…".',
    arrange: atApi(answers(discovery, 500, status(500, 'etcdserver: request timed out'), JSON_TYPE)),
  },
  {
    when: 'the user name has a colon',
    code: 'USAGE',
    blames: 'input',
    says: '… has a ":", which no login can carry…',
    way: ({ cluster }) => ({ ...byPassword(cluster), username: 'system:admin' }),
  },
]
