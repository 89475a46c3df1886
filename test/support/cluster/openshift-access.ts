import { failure, type Route } from './distribution.ts'
import type { Answer, Incoming } from './http.ts'
import { ANONYMOUS, type RegistryDeps, type User, type Verb } from './state.ts'

/** Who may do what (openshift/image-registry pkg/dockerregistry/server/auth.go and token.go). */
export interface OpenShiftAccess {
  /** `deferred`: pull was denied on the repository of a mount; the upload goes on without it (pendingerrors.go). */
  check(request: Incoming, route: Route): { refusal: Answer } | { token: string; deferred: boolean }
  /** `/openshift/token` */
  token(request: Incoming): Answer
  userOf(token: string): User
}

/** What the token endpoint gives to callers without credentials. */
const ANONYMOUS_TOKEN = 'anonymous'

/** As it appears in the `detail` of a refusal: a Go struct without JSON names. */
interface AccessRecord {
  Type: string
  Class: string
  Name: string
  Action: string
}

type Check = 'allowed' | 'denied' | 'malformed'

export function openshiftAccess(deps: RegistryDeps): OpenShiftAccess {
  const userOf = (token: string) => (token === ANONYMOUS_TOKEN ? ANONYMOUS : (deps.whoAmI(token) ?? ANONYMOUS))

  function verify(user: User, record: AccessRecord, uploading: boolean): Check {
    if (record.Type === 'registry') return judge(deps.allowed(user, 'list', 'imagestreams', ''))
    const parts = record.Name.split('/')
    const [ns = '', name = ''] = parts
    if (parts.length !== 2 || ns === '' || name === '') return 'malformed'
    if (record.Action === 'delete' && !uploading) return judge(deps.allowed(user, 'delete', 'images', ''))
    const verb: Verb = record.Action === 'pull' ? 'get' : 'update'
    return judge(deps.allowed(user, verb, 'imagestreams/layers', ns, name))
  }

  return {
    userOf,
    check(request, route) {
      const records = recordsOf(request, route)
      const challenge = (header: string) => ({ refusal: unauthorized(header, records) })
      const token = tokenOf(request)
      if (token === undefined) return challenge(`Bearer realm="${realmOrigin(request)}/openshift/token"`)
      if (token === UNDECODABLE) return challenge('Basic realm=openshift,error="failed to decode credentials"')
      const anonymous = token === ANONYMOUS_TOKEN
      // The registry asks the API about every token and every right; when that fails it has no words for it.
      if (deps.options.apiDown && (!anonymous || records.length > 0)) return { refusal: { status: 400 } }
      if (!anonymous && !deps.whoAmI(token)) return challenge(DENIED)
      const pushes = new Set(records.filter(({ Action }) => Action === 'push').map(({ Name }) => Name))
      let deferred = false
      for (const record of records) {
        const result = verify(userOf(token), record, route.kind === 'uploads')
        if (result === 'malformed') return { refusal: { status: 400 } }
        if (result === 'allowed') continue
        if (record.Action !== 'pull' || pushes.size === 0 || pushes.has(record.Name)) return challenge(DENIED)
        deferred = true
      }
      return { token, deferred }
    },
    token(request) {
      if (request.method !== 'GET') return { status: 405 }
      for (const scope of request.query.getAll('scope')) {
        const [type = '', name = '', ...actions] = scope.split(':')
        // ResolveScopeSpecifiers (auth/token.go) skips what has not exactly three parts.
        if (
          actions.length === 1 &&
          /^(?:repository|signature)(?:\([a-z0-9]+\))?$/.test(type) &&
          !/^[^/]+\/[^/]+$/.test(name)
        )
          return refused(`repository name "${name}" invalid: it must be of the format <project>/<name>`)
      }
      if (!request.headers.authorization) return echo(ANONYMOUS_TOKEN)
      if (deps.options.apiDown) return refused('unable to validate token')
      const token = /^basic /i.test(request.headers.authorization) ? tokenOf(request) : undefined
      if (token !== undefined && deps.whoAmI(token)) return echo(token)
      return { status: 401, headers: { 'Content-Type': 'application/json' } }
    },
  }
}

/** Unquoted, and with a second parameter, as it is. */
const DENIED = 'Basic realm=openshift,error="access denied"'

function judge(allowed: boolean): Check {
  return allowed ? 'allowed' : 'denied'
}

/** No token looks like this. */
const UNDECODABLE = ''

/** Bearer, or the password of Basic with any user name. */
function tokenOf(request: Incoming): string | undefined {
  const [, scheme = '', value = ''] = /^(bearer|basic) (.*)$/i.exec(request.headers.authorization ?? '') ?? []
  if (scheme === '') return undefined
  if (scheme.toLowerCase() === 'bearer') return value
  const text = Buffer.from(value, 'base64').toString('utf8')
  return text.includes(':') ? text.slice(text.indexOf(':') + 1) : UNDECODABLE
}

/** library-go pkg/apiserver/httprequest SchemeHost: other headers than those that decide about a Location. */
function realmOrigin({ headers, encrypted }: Incoming): string {
  const first = (name: string) =>
    String(headers[name] ?? '')
      .split(',', 1)[0]
      ?.trim()
  const scheme = first('x-forwarded-proto') || (encrypted ? 'https' : 'http')
  const host = first('x-forwarded-host') || headers.host || ''
  const port = first('x-forwarded-host') && first('x-forwarded-port')
  if (!port || (port === (scheme === 'https' ? '443' : '80') && !/:\d+$/.test(host))) return `${scheme}://${host}`
  return `${scheme}://${host.replace(/:\d+$/, '')}:${port}`
}

/** registry/handlers/app.go appendAccessRecords, in its order. */
function recordsOf(request: Incoming, route: Route): AccessRecord[] {
  const record = (Type: string, Name: string, Action: string) => ({ Type, Class: '', Name, Action })
  if (route.kind === 'catalog') return [record('registry', 'catalog', '*')]
  if (!('repository' in route)) return []
  const reading = request.method === 'GET' || request.method === 'HEAD'
  const actions = reading ? ['pull'] : request.method === 'DELETE' ? ['delete'] : ['pull', 'push']
  const from = request.query.get('from')
  return [
    ...actions.map((action) => record('repository', route.repository, action)),
    ...(from !== null && from !== '' ? [record('repository', from, 'pull')] : []),
  ]
}

function unauthorized(challenge: string, records: readonly AccessRecord[]): Answer {
  const detail = records.length > 0 ? records : null
  const answer = failure(401, 'UNAUTHORIZED', 'authentication required', detail)
  return { ...answer, headers: { ...answer.headers, 'Www-Authenticate': challenge } }
}

function echo(token: string): Answer {
  const body = `${JSON.stringify({ access_token: token, token })}\n`
  return { status: 200, headers: { 'Content-Type': 'application/json' }, body }
}

function refused(details: string): Answer {
  const body = `${JSON.stringify({ details }).replaceAll('<', '\\u003c').replaceAll('>', '\\u003e')}\n`
  return { status: 401, headers: { 'Content-Type': 'application/json' }, body }
}
