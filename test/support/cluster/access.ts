import { randomUUID } from 'node:crypto'
import { failure, json, type Route } from './distribution.ts'
import type { Answer, Incoming } from './http.ts'

/** Who may do what on a plain registry: every client, one user by Basic, or a client with a token of its token service. */
export type Access =
  | { kind: 'anonymous' }
  | { kind: 'basic'; user: string; password: string }
  | ({ kind: 'token' } & TokenService)

export interface TokenService {
  user: string
  password: string
  /** Value of `service=`; default `embedded-registry`. */
  service?: string
  /** Tokens without credentials are given for pulling. */
  anonymousPull?: boolean
  /** Life of a token; default 300. Also sent as `expires_in`, unless `saysSeconds` lies. */
  seconds?: number
  /** What `expires_in` says instead; null leaves it out. */
  saysSeconds?: number | null
  /** A token is good for so many requests. */
  uses?: number
  /** The token service listens on a port of its own, which is another origin. */
  elsewhere?: boolean
  /** Rights of the user (`undefined` user = anonymous), beyond the password; default everything. */
  allows?: (repository: string, action: Action, user: string | undefined) => boolean
  /** Only the first `scope=` of a token request counts, as some registries do. */
  firstScopeOnly?: boolean
}

export type Action = 'pull' | 'push' | 'delete'

interface Token {
  readonly scopes: readonly string[]
  readonly expires: number
  left: number
}

export interface Gate {
  /** The refusal, or undefined when the request may pass. */
  check(request: Incoming, route: Route): Answer | undefined
  /** GET of the token service; path `/token`. */
  token(request: Incoming): Answer
  /** Tokens that were handed out so far. */
  issued(): number
  /** Ends every token now, as a restart of the service would. */
  revokeAll(): void
}

/**
 * @param now milliseconds since 1970.
 * @param realm where the token service is, for a request that came in at this registry.
 */
export function createGate(access: Access, now: () => number, realm: (request: Incoming) => string): Gate {
  const tokens = new Map<string, Token>()
  let issued = 0

  function bearer(service: TokenService, request: Incoming, route: Route): Answer | undefined {
    const needed = scopesOf(request, route)
    const challenge = (error?: string) =>
      unauthorized(
        [
          `Bearer realm="${realm(request)}"`,
          `service="${service.service ?? 'embedded-registry'}"`,
          ...(needed.length > 0 ? [`scope="${needed.join(' ')}"`] : []),
          ...(error ? [`error="${error}"`] : []),
        ].join(','),
      )
    const given = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
    if (given === undefined) return challenge()
    const token = tokens.get(given)
    if (!token || token.left <= 0 || token.expires <= now()) return challenge('invalid_token')
    token.left--
    return needed.every((scope) => covers(token.scopes, scope)) ? undefined : challenge('insufficient_scope')
  }

  function issue(service: TokenService, request: Incoming): Answer {
    const credentials = basic(request)
    if (credentials && (credentials.user !== service.user || credentials.password !== service.password)) {
      return failure(401, 'UNAUTHORIZED', 'authentication required')
    }
    if (!credentials && !service.anonymousPull) return failure(401, 'UNAUTHORIZED', 'authentication required')
    const asked = request.query.getAll('scope').flatMap((scope) => scope.split(' '))
    const scopes = (service.firstScopeOnly ? asked.slice(0, 1) : asked).flatMap((scope) =>
      granted(scope, (repository, action) =>
        credentials || action === 'pull' ? (service.allows?.(repository, action, credentials?.user) ?? true) : false,
      ),
    )
    const token = `embedded.${randomUUID()}`
    const seconds = service.seconds ?? 300
    tokens.set(token, { scopes, expires: now() + seconds * 1000, left: service.uses ?? Number.POSITIVE_INFINITY })
    issued++
    const says = service.saysSeconds === undefined ? seconds : service.saysSeconds
    return json({ token, ...(says !== null && { expires_in: says }), issued_at: new Date(now()).toISOString() })
  }

  return {
    check(request, route) {
      if (access.kind === 'anonymous') return undefined
      if (access.kind === 'token') return bearer(access, request, route)
      const given = basic(request)
      if (given?.user === access.user && given.password === access.password) return undefined
      return unauthorized('Basic realm="embedded registry"')
    },
    token(request) {
      if (access.kind !== 'token') return failure(404, 'UNSUPPORTED', 'no token service')
      return request.method === 'GET' ? issue(access, request) : failure(405, 'UNSUPPORTED', 'only GET')
    },
    issued: () => issued,
    revokeAll: () => tokens.clear(),
  }
}

function unauthorized(challenge: string): Answer {
  const answer = failure(401, 'UNAUTHORIZED', 'authentication required', null)
  return { ...answer, headers: { ...answer.headers, 'WWW-Authenticate': challenge } }
}

export function basic(request: Incoming): { user: string; password: string } | undefined {
  const encoded = /^Basic (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  return { user: text.slice(0, Math.max(colon, 0)), password: text.slice(colon + 1) }
}

/** distribution-spec leaves this open; all registries do as distribution's registry/handlers/app.go. */
function scopesOf(request: Incoming, route: Route): string[] {
  if (!('repository' in route)) return route.kind === 'catalog' ? ['registry:catalog:*'] : []
  const reading = request.method === 'GET' || request.method === 'HEAD'
  const actions = reading ? 'pull' : request.method === 'DELETE' && route.kind !== 'uploads' ? 'delete' : 'pull,push'
  const from = request.query.get('from')
  const mounting = route.kind === 'uploads' && request.query.has('mount') && from !== null
  return [`repository:${route.repository}:${actions}`, ...(mounting ? [`repository:${from}:pull`] : [])]
}

/** `repository:name:a,b` cut down to the actions that are allowed. */
function granted(scope: string, allows: (repository: string, action: Action) => boolean): string[] {
  const [type, name = '', actions = ''] = split(scope)
  if (type !== 'repository') return []
  const allowed = actions.split(',').filter((action) => allows(name, action as Action))
  return allowed.length > 0 ? [`repository:${name}:${allowed.join(',')}`] : []
}

function covers(scopes: readonly string[], needed: string): boolean {
  const [type, name, actions = ''] = split(needed)
  return actions.split(',').every((action) =>
    scopes.some((scope) => {
      const [t, n, a = ''] = split(scope)
      return t === type && n === name && a.split(',').includes(action)
    }),
  )
}

function split(scope: string): string[] {
  const first = scope.indexOf(':')
  const last = scope.lastIndexOf(':')
  return [scope.slice(0, first), scope.slice(first + 1, last), scope.slice(last + 1)]
}
