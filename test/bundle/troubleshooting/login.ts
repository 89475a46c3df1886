import { podCluster } from '../../../src/credentials/pod-account.ts'
import { startCluster } from '../../support/cluster/cluster.ts'
import { startRegistry } from '../../support/cluster/plain.ts'
import { testContext } from '../../support/openshift.ts'
import { byPassword, byToken } from '../sides.ts'
import { answers, atApi, certificateUser, JSON_TYPE, kubeconfig, status } from './answers.ts'
import type { Situation, Stage } from './stage.ts'

/** Tokens, kubeconfigs and the other ways in. */

const review = /selfsubjectreviews/
const token =
  (value: string) =>
  ({ cluster }: Stage) =>
    byToken(cluster, value)
const jwt = (claims: object) =>
  ['{}', JSON.stringify(claims), 'signature'].map((part) => Buffer.from(part).toString('base64url')).join('.')
const execUser = (more: object = {}) => ({
  exec: { apiVersion: 'client.authentication.k8s.io/v1', command: process.execPath, ...more },
})

export const TOKENS: readonly Situation[] = [
  {
    when: 'the token was revoked',
    code: 'TOKEN_REJECTED',
    says: 'Asking … who we are, with the …: it answered 401 "Unauthorized". It is expired, was revoked (by a logout, say), or belongs to another cluster.',
    way: token(`sha256~${'A'.repeat(43)}`),
  },
  {
    when: 'the token is of OpenShift 4.5',
    code: 'TOKEN_REJECTED',
    says: 'Asking … who we are, with the …: it answered 401 "Unauthorized". It has the format of OpenShift before 4.6, …',
    way: token('B'.repeat(43)),
  },
  {
    when: 'the token is none',
    code: 'TOKEN_REJECTED',
    says: 'Asking … who we are, with the …: it answered 401 "Unauthorized". It has the shape of neither an OpenShift token ("sha256~…") nor a service account token.',
    way: token('secret-of-something-else'),
  },
  {
    when: 'the service account token has expired',
    code: 'TOKEN_REJECTED',
    says: 'Asking … who we are, with the …: it answered 401 "Unauthorized". The token of … expired at ….',
    way: token(jwt({ sub: 'system:serviceaccount:ci:pipeline', exp: 1_700_000_000 })),
  },
  {
    when: 'the service account token is of another cluster',
    code: 'TOKEN_REJECTED',
    says: 'Asking … who we are, with the …: it answered 401 "Unauthorized". The token of … is not expired: its account, pod or secret is gone, or another cluster issued it.',
    way: token(jwt({ sub: 'system:serviceaccount:ci:pipeline', exp: 4_000_000_000 })),
  },
  {
    when: 'the token is that of a CI system',
    code: 'TOKEN_REJECTED',
    says: 'Asking … who we are, with the …: it answered 401 "Unauthorized". The token of … was issued by …, not by a Kubernetes cluster, and this cluster does not accept it.',
    way: token(jwt({ iss: 'https://gitlab.example.com', sub: 'project_path:a/b', exp: 4_000_000_000 })),
  },
  {
    when: 'the service account token was made for something else',
    code: 'TOKEN_REJECTED',
    says: 'Asking … who we are, with the …: it answered 401 "Unauthorized". The token of … is for …, not for the API server of a cluster.',
    way: token(
      jwt({ iss: 'https://kubernetes.default.svc', sub: 'system:serviceaccount:ci:pipeline', aud: ['vault'] }),
    ),
  },
  {
    when: 'the service of the API is given outside of a pod',
    code: 'CREDENTIAL_MISSING',
    says: 'no way into the … cluster is configured',
    way: () => ({ cluster: 'https://kubernetes.default.svc' }),
  },
  {
    when: 'the token may not even ask for its own user',
    code: 'DENIED',
    says: 'Asking … who we are, with the …: it answered 403 "…" and 403 "…".',
    arrange: atApi(
      answers(
        /selfsubjectreviews|users\/~/,
        403,
        status(403, 'scopes [user:list-projects] prevent this action'),
        JSON_TYPE,
      ),
    ),
    way: ({ cluster }) => byToken(cluster, cluster.token('jane')),
  },
  {
    when: 'the cluster is not OpenShift',
    code: 'NOT_A_CLUSTER',
    says: 'Asking … who we are, with the …: it answered 404 "…" and 404 "…".',
    arrange: atApi(answers(/./, 404, status(404, 'the server could not find the requested resource'), JSON_TYPE)),
    way: ({ cluster }) => byToken(cluster, cluster.token('jane')),
  },
  {
    when: 'the API server is overloaded',
    code: 'RATE_LIMITED',
    says: 'Asking who we are: … answered 429 "…".',
    arrange: atApi(answers(review, 429, 'Too many requests, please try again later.', { 'Retry-After': '1' })),
    way: ({ cluster }) => byToken(cluster, cluster.token('jane')),
  },
  {
    when: 'the API server fails to say who we are',
    code: 'UNAVAILABLE',
    says: 'Asking who we are: … answered 5… "…".',
    arrange: atApi(answers(review, 503, status(503, 'apiserver is shutting down'), JSON_TYPE)),
    way: ({ cluster }) => byToken(cluster, cluster.token('jane')),
  },
  {
    when: '`in-cluster` is given outside of a pod',
    code: 'CREDENTIAL_MISSING',
    says: 'This is not a pod: KUBERNETES_SERVICE_HOST is not set.',
    way: () => ({ cluster: 'in-cluster' }),
  },
  {
    when: 'the pod has no service account',
    code: 'CREDENTIAL_MISSING',
    says: 'The service account file … could not be read: no such file or folder.',
    // The folder is the same on every machine, and a pod may be where this runs.
    instead: ({ folder }) => {
      const env = { KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443' }
      podCluster({ ...testContext(), env }, { side: 'source', folder: folder.path })
    },
  },
  {
    when: 'the account of service-account does not exist',
    code: 'CREDENTIAL_MISSING',
    says: 'Requesting a token of the service account … as …: … answered 404 "serviceaccounts … not found".',
    way: ({ cluster }) => ({ ...byPassword(cluster), 'service-account': 'prod/nosuch' }),
  },
  {
    when: 'the user may not request tokens of the service account',
    code: 'DENIED',
    says: 'Requesting a token of the service account … as …: … answered 403 "…".',
    way: ({ cluster }) => ({ ...byPassword(cluster, 'viewer'), 'service-account': 'prod/pusher' }),
  },
  {
    when: 'the project of the service account does not exist',
    code: 'PROJECT_MISSING',
    says: 'Requesting a token of the service account … as …: … answered 404 "namespaces … not found".',
    arrange: atApi(
      answers(
        /serviceaccounts\/x\/token/,
        404,
        status(404, 'namespaces "nowhere" not found', { name: 'nowhere', kind: 'namespaces' }),
        JSON_TYPE,
      ),
    ),
    way: ({ cluster }) => ({ ...byPassword(cluster), 'service-account': 'nowhere/x' }),
  },
]

export const KUBECONFIG: readonly Situation[] = [
  {
    when: 'a client certificate should open the registry',
    code: 'CREDENTIAL_MISSING',
    says: 'A client certificate opens the API, but not the registry, which knows tokens only.',
    way: async (stage) => kubeconfig(stage, certificateUser(await stage.cluster.clientCertificate('jane'))),
  },
  {
    when: 'the client certificate is of another cluster',
    code: 'TOKEN_REJECTED',
    says: 'Asking … who we are, with the client certificate: it answered …. The server does not trust this client certificate.',
    cluster: { name: 'here' },
    way: async (stage) => {
      const other = stage.also(await startCluster({ name: 'elsewhere' }))
      const user = certificateUser(await other.clientCertificate('jane'))
      return { ...kubeconfig(stage, user), 'service-account': 'prod/pusher' }
    },
  },
  {
    when: 'the kubeconfig has no such context',
    code: 'IO',
    says: 'The kubeconfig … has no … named ….',
    way: (stage) => ({ ...kubeconfig(stage, { token: 'x' }), context: 'there' }),
  },
  {
    when: 'a context is given, and no user has logged in here',
    code: 'IO',
    says: 'The kubeconfig … could not be read: no such file or folder.',
    way: () => ({ context: 'prod' }),
    run: ({ folder }) => ({ env: { HOME: folder.path } }),
  },
  {
    when: 'the kubeconfig has no current context',
    code: 'IO',
    says: 'The kubeconfig … has no current-context.',
    way: (stage) => kubeconfig(stage, { token: 'x' }, {}, ''),
  },
  {
    when: 'the kubeconfig is something else',
    code: 'IO',
    says: 'The kubeconfig … is not YAML: ….',
    way: ({ folder }) => ({ kubeconfig: folder.file('kubeconfig', 'a: [') }),
  },
  {
    when: 'the kubeconfig logs in by an auth-provider',
    code: 'LOGIN_UNSUPPORTED',
    says: 'The user … of the kubeconfig … logs in by an auth-provider, which Kubernetes removed in 1.26.',
    way: (stage) => kubeconfig(stage, { 'auth-provider': { name: 'oidc' } }),
  },
  {
    when: 'the kubeconfig acts as another user',
    code: 'LOGIN_UNSUPPORTED',
    says: 'The user … of the kubeconfig … acts as another user ("as"), which is not supported.',
    way: (stage) => kubeconfig(stage, { token: 'x', as: 'admin' }),
  },
  {
    when: 'the kubeconfig names a proxy',
    code: 'warning',
    says: '…: the proxy-url of the kubeconfig is not used: set HTTPS_PROXY instead',
    way: (stage) =>
      kubeconfig(stage, { token: stage.cluster.token('jane') }, { 'proxy-url': 'http://proxy.example.com' }),
  },
  {
    when: 'the kubeconfig names another TLS server name',
    code: 'warning',
    says: '…: the tls-server-name of the kubeconfig is not used: its server must have that name',
    way: (stage) => kubeconfig(stage, { token: stage.cluster.token('jane') }, { 'tls-server-name': 'api.example.com' }),
  },
  {
    when: 'the exec plugin wants a person',
    code: 'LOGIN_UNSUPPORTED',
    says: 'The exec plugin … needs a person at a terminal (interactiveMode: Always).',
    way: (stage) => kubeconfig(stage, execUser({ interactiveMode: 'Always' })),
  },
  {
    when: 'the exec plugin fails',
    code: 'HELPER',
    says: 'The exec plugin … failed (exit code …): ….',
    way: (stage) => kubeconfig(stage, execUser({ args: ['-e', 'console.error("no session"); process.exit(7)'] })),
  },
  {
    when: 'the exec plugin prints something else',
    code: 'HELPER',
    says: 'The exec plugin … printed something that is not JSON.',
    way: (stage) => kubeconfig(stage, execUser({ args: ['-e', 'console.log("hello")'] })),
  },
  {
    when: 'the exec plugin is not installed',
    code: 'HELPER',
    says: 'The exec plugin … could not be started: ….',
    way: (stage) => kubeconfig(stage, execUser({ command: 'no-such-plugin-of-anybody' })),
  },
]

export const OTHER_WAYS: readonly Situation[] = [
  {
    when: 'the job may not ask GitHub for a token',
    code: 'CREDENTIAL_MISSING',
    says: 'This job may not ask GitHub for an OIDC token.',
    way: ({ cluster }) => ({ cluster: cluster.api.origin, 'oidc-audience': 'openshift', ca: cluster.ca.bundle }),
    run: () => ({
      kind: 'github',
      oidcToken: async () => {
        throw new Error('Error message: Unable to get ACTIONS_ID_TOKEN_REQUEST_URL env variable')
      },
    }),
  },
  {
    when: 'GitHub gives no token',
    code: 'UNAVAILABLE',
    says: 'Asking GitHub for an OIDC token failed: ….',
    way: ({ cluster }) => ({ cluster: cluster.api.origin, 'oidc-audience': 'openshift', ca: cluster.ca.bundle }),
    run: () => ({
      kind: 'github',
      oidcToken: async () => {
        throw new Error('Failed to get ID Token. \n \n        Error Code : 500')
      },
    }),
  },
  {
    when: 'the auth file is something else',
    code: 'IO',
    says: 'The auth file … is not JSON.',
    way: ({ cluster, folder }) => ({
      registry: cluster.registryHost,
      'auth-file': folder.file('config.json', 'auths:'),
    }),
  },
  {
    when: 'the credential helper is not installed',
    code: 'HELPER',
    says: 'The credential helper docker-credential-… could not be started: ….',
    way: ({ cluster, folder }) => ({
      registry: cluster.registryHost,
      'auth-file': folder.file('config.json', '{"credsStore":"of-nobody"}'),
    }),
  },
  {
    when: 'a plain registry’s token service refuses user and password',
    code: 'LOGIN_REJECTED',
    says: 'asking the token service …: 401 ….',
    way: async ({ also }) => {
      const guarded = also(
        await startRegistry({ access: { kind: 'token', user: 'robot', password: 'robot-password' } }),
      )
      return { registry: guarded.url.origin, username: 'robot', password: 'not-the-password' }
    },
  },
  {
    when: 'a plain registry refuses user and password',
    code: 'LOGIN_REJECTED',
    says: '…: 401 UNAUTHORIZED "…".',
    way: async ({ also }) => {
      const guarded = also(
        await startRegistry({ access: { kind: 'basic', user: 'robot', password: 'robot-password' } }),
      )
      return { registry: guarded.url.origin, username: 'robot', password: 'not-the-password' }
    },
  },
  {
    when: 'a plain registry refuses a token',
    code: 'TOKEN_REJECTED',
    says: '…: 401 UNAUTHORIZED "…".',
    way: async ({ also }) => {
      const guarded = also(
        await startRegistry({ access: { kind: 'basic', user: 'robot', password: 'robot-password' } }),
      )
      return { registry: guarded.url.origin, token: 'not-the-token' }
    },
  },
  {
    when: 'a plain-HTTP registry names a token service elsewhere',
    code: 'UNSUPPORTED',
    says: '… names the token service …, which may not see the password of this side: ….',
    way: async ({ also }) => {
      const access = { kind: 'token', user: 'robot', password: 'robot-password', elsewhere: true } as const
      const guarded = also(await startRegistry({ access }))
      return { registry: guarded.url.origin, username: 'robot', password: 'robot-password' }
    },
  },
  {
    when: 'oidc-audience is given elsewhere than on GitHub',
    code: 'USAGE',
    blames: 'input',
    says: '…-oidc-audience: is there only for GitHub Actions…',
    way: ({ cluster }) => ({ cluster: cluster.api.origin, 'oidc-audience': 'openshift', ca: cluster.ca.bundle }),
  },
]
