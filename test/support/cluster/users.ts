import { createHash, randomBytes, randomUUID } from 'node:crypto'
import type { Allowed, Project, User, Verb } from './state.ts'

/** Who may log in, what roles allow, and which tokens are good at this moment. */

export interface Account {
  /** What the user types. The user's name in the cluster is `user.name` (they differ for kubeadmin). */
  readonly login: string
  readonly password: string
  readonly fullName: string
  readonly user: User
  readonly identities: readonly string[]
}

/** `ns` '*' binds in the whole cluster; `subject` is a user name or a group. */
export interface RoleBinding {
  subject: string
  role: Role
  ns: string
}

export interface Token {
  readonly kind: 'oauth' | 'serviceaccount' | 'external'
  readonly user: User
  /** Milliseconds since 1970. */
  readonly expires: number
  readonly scopes: readonly string[]
  /** Name of the OAuthAccessToken object; only OAuth tokens have one. */
  readonly objectName?: string
  /** False: made for another audience than the API server, so it is refused there. */
  readonly forApi: boolean
}

/** What a code stands for until it is redeemed: an OAuthAuthorizeToken. */
export interface AuthorizeToken {
  /** Name of the OAuth client. */
  readonly client: string
  readonly redirect: string
  readonly user: User
  readonly challenge: string
  readonly method: string
  /** Milliseconds since 1970. */
  readonly expires: number
}

export interface Identities {
  readonly accounts: Map<string, Account>
  readonly bindings: RoleBinding[]
  /** By the token itself. Deleting an entry revokes it everywhere. */
  readonly tokens: Map<string, Token>
  /** By the name of the object. */
  readonly authorizeTokens: Map<string, AuthorizeToken>
  allowed: Allowed
  whoAmI(token: string): User | undefined
  token(token: string): Token | undefined
  /** @param seconds lifetime */
  mintOauth(user: User, seconds: number): string
  mintServiceAccount(ns: string, name: string, seconds?: number, audiences?: readonly string[]): string
  /** A JWT of an identity provider that the API server trusts (external OIDC, workload identity). */
  mintExternal(user: User, seconds?: number): string
  revokeObject(objectName: string): boolean
}

export const DEFAULT_AUDIENCE = 'https://kubernetes.default.svc'

type Rule = readonly [verbs: readonly Verb[], resources: readonly string[]]
const READ: readonly Verb[] = ['get', 'list']
const WRITE: readonly Verb[] = ['get', 'list', 'create', 'update', 'patch', 'delete']
const STREAMS = ['imagestreams', 'imagestreamtags', 'imagestreamimages']
const registryViewer: Rule[] = [
  [READ, STREAMS],
  [['get'], ['imagestreams/layers', 'projects']],
]
const registryEditor: Rule[] = [
  [WRITE, STREAMS],
  [['get', 'update'], ['imagestreams/layers']],
  [['get'], ['projects']],
]
const view: Rule[] = [...registryViewer, [READ, ['resourcequotas', 'limitranges', 'serviceaccounts', 'configmaps']]]
const edit: Rule[] = [...registryEditor, ...view, [['create'], ['serviceaccounts/token']]]
const puller: Rule[] = [[['get'], ['imagestreams/layers']]]
const pusher: Rule[] = [[['get', 'update'], ['imagestreams/layers']]]

/** openshift-apiserver pkg/bootstrappolicy/policy.go, as far as images are concerned. */
const ROLES = {
  'cluster-admin': [[WRITE, ['*']]],
  admin: edit,
  edit,
  view,
  'registry-admin': registryEditor,
  'registry-editor': registryEditor,
  'registry-viewer': registryViewer,
  'system:image-puller': puller,
  'system:image-pusher': pusher,
  'system:image-builder': [...pusher, [['create'], ['imagestreams']]],
  'system:image-pruner': [[['get', 'list', 'delete'], ['images']]],
  'shared-resource-viewer': [
    [READ, STREAMS],
    [['get'], ['imagestreams/layers']],
  ],
  'basic-user': [
    [['get'], ['users/~']],
    [['create'], ['selfsubjectreviews', 'selfsubjectaccessreviews']],
  ],
  'system:oauth-token-deleter': [[['delete'], ['oauthaccesstokens', 'oauthauthorizetokens', 'useroauthaccesstokens']]],
} satisfies Record<string, readonly Rule[]>
export type Role = keyof typeof ROLES

/** Bound on every cluster, whatever its users are. */
const STANDARD_BINDINGS: readonly RoleBinding[] = [
  { subject: 'system:cluster-admins', role: 'cluster-admin', ns: '*' },
  { subject: 'system:authenticated', role: 'basic-user', ns: '*' },
  { subject: 'system:authenticated', role: 'system:oauth-token-deleter', ns: '*' },
  { subject: 'system:authenticated', role: 'shared-resource-viewer', ns: 'openshift' },
]

/** The people and machines of the embedded cluster: password (people only) and roles by namespace. */
export const PEOPLE: Readonly<Record<string, { password: string; fullName: string; roles: Record<string, Role> }>> = {
  developer: { password: 'developer-password', fullName: 'Dana Developer', roles: inAll('admin') },
  jane: { password: 'pa:ss wörd', fullName: 'Jane Doe', roles: inAll('edit') },
  puller: { password: 'puller-password', fullName: '', roles: { dev: 'system:image-puller' } },
  pusher: { password: 'pusher-password', fullName: '', roles: { prod: 'system:image-pusher' } },
  builder: { password: 'builder-password', fullName: '', roles: { prod: 'system:image-builder' } },
  viewer: { password: 'viewer-password', fullName: '', roles: inAll('view') },
  nobody: { password: 'nobody-password', fullName: '', roles: {} },
  admin: { password: 'admin-password', fullName: 'Cluster Admin', roles: { '*': 'cluster-admin' } },
}
/** Stored in the secret kube-system/kubeadmin; its user is `kube:admin` (oauth-server pkg/authenticator/password/bootstrap). */
export const KUBEADMIN_PASSWORD = 'kubea-dminp-asswo-rdfor'
export const SERVICE_ACCOUNTS: Readonly<Record<string, Record<string, Role>>> = {
  'ci:pipeline': { ci: 'edit', dev: 'registry-viewer', prod: 'registry-editor' },
  'dev:puller': { dev: 'system:image-puller' },
  'prod:pusher': { prod: 'system:image-pusher' },
}

function inAll(role: Role): Record<string, Role> {
  return { dev: role, test: role, prod: role }
}

/** @param now milliseconds since 1970 */
export function createIdentities(projects: ReadonlyMap<string, Project>, now: () => number): Identities {
  const bindings = [...STANDARD_BINDINGS]
  const bind = (subject: string, roles: Record<string, Role>) => {
    for (const [ns, role] of Object.entries(roles)) bindings.push({ subject, role, ns })
  }
  for (const [login, { roles }] of Object.entries(PEOPLE)) bind(login, roles)
  for (const [account, roles] of Object.entries(SERVICE_ACCOUNTS)) {
    const [ns = '', name = ''] = account.split(':')
    projects.get(ns)?.serviceAccounts.add(name)
    bind(`system:serviceaccount:${account}`, roles)
  }
  return {
    accounts: createAccounts(),
    bindings,
    authorizeTokens: new Map(),
    allowed: (user, verb, resource, ns) => decide(bindings, user, verb, resource, ns),
    ...createTokens(projects, now),
  }
}

function createAccounts(): Map<string, Account> {
  const accounts = new Map<string, Account>()
  for (const [login, { password, fullName }] of Object.entries(PEOPLE)) {
    const groups = ['system:authenticated:oauth', 'system:authenticated']
    const user = { name: login, uid: randomUUID(), groups }
    accounts.set(login, { login, password, fullName, user, identities: [`htpasswd:${login}`] })
  }
  const groups = ['system:cluster-admins', 'system:authenticated']
  const user = { name: 'kube:admin', uid: '', groups }
  const kubeadmin = { login: 'kubeadmin', password: KUBEADMIN_PASSWORD, fullName: '', user, identities: [] }
  return accounts.set('kubeadmin', kubeadmin)
}

type Tokens = Omit<Identities, 'authorizeTokens' | 'accounts' | 'bindings' | 'allowed'>

function createTokens(projects: ReadonlyMap<string, Project>, now: () => number): Tokens {
  const tokens = new Map<string, Token>()
  /** OAuth and foreign tokens end with their entry; those of service accounts also with their account. */
  function token(value: string): Token | undefined {
    const found = tokens.get(value)
    if (!found?.forApi || found.expires <= now()) return undefined
    const [, , ns, name] = found.user.name.split(':')
    const alive = found.kind !== 'serviceaccount' || projects.get(ns ?? '')?.serviceAccounts.has(name ?? '')
    return alive ? found : undefined
  }
  function keep(value: string, entry: Omit<Token, 'expires'>, seconds: number): string {
    tokens.set(value, { ...entry, expires: now() + seconds * 1000 })
    return value
  }
  const end = (seconds: number) => Math.floor(now() / 1000) + seconds
  return {
    tokens,
    token,
    whoAmI: (value) => token(value)?.user,
    mintOauth(user, seconds) {
      const value = oauthToken()
      const objectName = tokenObjectName(value)
      return keep(value, { kind: 'oauth', user, scopes: ['user:full'], objectName, forApi: true }, seconds)
    },
    mintServiceAccount(ns, name, seconds = 3600, audiences = []) {
      const user = serviceAccountUser(ns, name)
      const aud = audiences.length > 0 ? audiences : [DEFAULT_AUDIENCE]
      const value = jwt({ iss: DEFAULT_AUDIENCE, sub: user.name, aud, exp: end(seconds) })
      const forApi = aud.includes(DEFAULT_AUDIENCE)
      return keep(value, { kind: 'serviceaccount', user, scopes: [], forApi }, seconds)
    },
    mintExternal(user, seconds = 3600) {
      const value = jwt({ iss: 'https://issuer.example.com', sub: user.name, exp: end(seconds) })
      return keep(value, { kind: 'external', user, scopes: [], forApi: true }, seconds)
    },
    revokeObject(objectName) {
      const found = [...tokens].find(([, entry]) => entry.objectName === objectName)
      return found !== undefined && tokens.delete(found[0])
    },
  }
}

function decide(bindings: readonly RoleBinding[], user: User, verb: Verb, resource: string, ns: string): boolean {
  const subjects = new Set([user.name, ...user.groups])
  const local = ns === '' ? [] : namespaceBindings(ns)
  return [...bindings, ...local].some(
    (binding) =>
      subjects.has(binding.subject) &&
      (binding.ns === '*' || (ns !== '' && binding.ns === ns)) &&
      ROLES[binding.role].some(
        ([verbs, resources]) =>
          (verbs as readonly string[]).includes(verb) &&
          ((resources as readonly string[]).includes(resource) || resources[0] === '*'),
      ),
  )
}

/** Bound in every new project: its service accounts may pull, its builder may push. */
function namespaceBindings(ns: string): RoleBinding[] {
  return [
    { subject: `system:serviceaccounts:${ns}`, role: 'system:image-puller', ns },
    { subject: `system:serviceaccount:${ns}:builder`, role: 'system:image-builder', ns },
  ]
}

export function serviceAccountUser(ns: string, name: string): User {
  const groups = ['system:serviceaccounts', `system:serviceaccounts:${ns}`, 'system:authenticated']
  const hash = createHash('sha256').update(`${ns}/${name}`).digest('hex')
  const uid = hash.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5')
  return { name: `system:serviceaccount:${ns}:${name}`, uid, groups }
}

/** Access tokens and authorization codes have the same shape; the 43 characters never start with `-`. */
export function oauthToken(): string {
  const secret = randomBytes(32).toString('base64url')
  return secret.startsWith('-') ? oauthToken() : `sha256~${secret}`
}

/** oauth-server pkg/osinserver/registrystorage/storage.go TokenToObjectName */
export function tokenObjectName(token: string): string {
  return `sha256~${createHash('sha256').update(token.slice('sha256~'.length)).digest('base64url')}`
}

/** JWT-shaped. The signature is not verified: the emulator remembers the tokens that it issued. */
function jwt(claims: Record<string, unknown>): string {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const header = encode({ alg: 'RS256', kid: 'embedded' })
  return `${header}.${encode({ ...claims, jti: randomUUID() })}.${randomBytes(256).toString('base64url')}`
}
