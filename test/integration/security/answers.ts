import type { Rule } from '../../support/cluster/faults.ts'

/**
 * Answers as real servers gave them (OpenShift's API, OAuth server and registry; distribution; token services), as far as a client
 * reads them, and what a hostile server makes of them.
 */

type Server = 'api' | 'oauth' | 'source' | 'destination'
type Spoken = Readonly<{ path: RegExp; status: number; headers?: Record<string, string>; body?: unknown }>
export type Hostile = Readonly<{ server: Server; rule: Rule }>

const DIGEST = `sha256:${'ab'.repeat(32)}`
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
const envelope = (code: string, message: string) => ({ errors: [{ code, message, detail: { Tag: '1.0', name: 'x' } }] })
const status = (reason: string, code: number) => ({
  kind: 'Status',
  apiVersion: 'v1',
  status: 'Failure',
  message: 'imagestreams.image.openshift.io "app" is forbidden: User "developer" cannot get resource',
  reason,
  details: { name: 'app', kind: 'imagestreams', group: 'image.openshift.io' },
  code,
})

const REGISTRY: readonly Spoken[] = [
  {
    path: /./,
    status: 401,
    headers: {
      'WWW-Authenticate': 'Bearer realm="{evil}/openshift/token",service="{origin}",scope="repository:dev/app:pull"',
    },
    body: envelope('UNAUTHORIZED', 'authentication required'),
  },
  { path: /./, status: 401, headers: { 'WWW-Authenticate': 'Basic realm=openshift,error="access denied"' } },
  { path: /./, status: 403, body: envelope('DENIED', 'requested access to the resource is denied') },
  { path: /./, status: 404, body: envelope('MANIFEST_UNKNOWN', 'manifest unknown') },
  { path: /./, status: 429, headers: { 'Retry-After': '1' }, body: envelope('TOOMANYREQUESTS', 'pull rate limit') },
  {
    path: /./,
    status: 503,
    headers: { 'Content-Type': 'text/html' },
    body: '<html><title>Application is not available</title>',
  },
  { path: /./, status: 307, headers: { Location: '{evil}/v2/dev/app/blobs/x?signature=1' } },
  { path: /./, status: 301, headers: { Location: '{origin}/v2/other/victim/manifests/1.0' } },
  {
    path: /manifests/,
    status: 200,
    headers: { 'Content-Type': MANIFEST, 'Docker-Content-Digest': DIGEST },
    body: {
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: DIGEST, size: 2 },
      layers: [
        { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: DIGEST, size: 7, urls: ['{evil}/layer'] },
      ],
      annotations: { a: 'b' },
    },
  },
  {
    path: /referrers|manifests/,
    status: 200,
    headers: {
      'Content-Type': 'application/vnd.oci.image.index.v1+json',
      Link: '<{evil}/v2/dev/app/referrers/x?n=1>; rel="next"',
    },
    body: {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [
        {
          mediaType: MANIFEST,
          digest: DIGEST,
          size: 500,
          platform: { os: 'linux', architecture: 'amd64' },
          artifactType: 'a/b',
        },
      ],
    },
  },
  {
    path: /tags/,
    status: 200,
    headers: { Link: '</v2/dev/app/tags/list?last=1.0>; rel="next"' },
    body: { name: 'dev/app', tags: ['1.0'] },
  },
  { path: /uploads/, status: 202, headers: { Location: '{evil}/v2/out/app/blobs/uploads/1?_state=x', Range: '0-0' } },
  { path: /uploads/, status: 202, headers: { Location: '{origin}/v2/other/victim/manifests/1.0', Range: '0-5' } },
  {
    path: /uploads|manifests/,
    status: 201,
    headers: { 'Docker-Content-Digest': DIGEST, 'OCI-Subject': DIGEST, Location: '/x' },
  },
  {
    path: /token/,
    status: 200,
    body: {
      token: 'an-issued-token-of-the-service',
      access_token: 'x',
      expires_in: 60,
      issued_at: '2026-01-01T00:00:00Z',
    },
  },
  { path: /token/, status: 401, body: { details: 'incorrect username or password' } },
]
const API: readonly Spoken[] = [
  {
    path: /well-known/,
    status: 200,
    body: {
      issuer: '{evil}',
      authorization_endpoint: '{evil}/oauth/authorize',
      token_endpoint: '{origin}/oauth/token',
    },
  },
  { path: /./, status: 403, body: status('Forbidden', 403) },
  { path: /./, status: 401, body: status('Unauthorized', 401) },
  { path: /./, status: 302, headers: { Location: '{evil}/apis' } },
  {
    path: /selfsubject/,
    status: 201,
    body: { kind: 'SelfSubjectReview', status: { userInfo: { username: 'developer', groups: ['a'] } } },
  },
  {
    path: /imagestreams/,
    status: 200,
    body: {
      kind: 'ImageStream',
      metadata: { name: 'app', namespace: 'dev' },
      spec: { tags: [{ name: '1.0', from: { kind: 'DockerImage', name: '{evil}/a/b' } }] },
      status: {
        dockerImageRepository: '{evil}/dev/app',
        publicDockerImageRepository: '{evil}/dev/app',
        tags: [{ tag: '1.0', items: [{ image: DIGEST, created: 'x' }] }],
      },
    },
  },
]
const OAUTH: readonly Spoken[] = [
  {
    path: /authorize/,
    status: 401,
    headers: { 'WWW-Authenticate': 'Basic realm="openshift"', Warning: '199 x "failed"' },
  },
  {
    path: /authorize/,
    status: 401,
    headers: { 'WWW-Authenticate': 'Negotiate', Link: '<{evil}/oauth>; rel="related"' },
  },
  { path: /authorize/, status: 302, headers: { Location: '{evil}/oauth/token/implicit?code=sha256~abc&state=x' } },
  {
    path: /authorize/,
    status: 302,
    headers: { Location: '{origin}/oauth/token/implicit?error=access_denied&error_description=no' },
  },
  {
    path: /token/,
    status: 200,
    body: {
      access_token: 'sha256~AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
      expires_in: 86400,
      scope: 'user:full',
      token_type: 'Bearer',
    },
  },
  {
    path: /token/,
    status: 400,
    body: { error: 'invalid_grant', error_description: 'The provided authorization grant is invalid' },
  },
]
const SPOKEN = { api: API, oauth: OAUTH, source: REGISTRY, destination: REGISTRY }

const NASTY: readonly unknown[] = [
  null,
  '',
  0,
  -1,
  1e308,
  2 ** 53,
  true,
  [],
  {},
  [[[[]]]],
  '\u0000\u001b[31m',
  '::error::x',
  '##vso[task.setvariable]',
  '%s%n',
  '../../..',
  'x'.repeat(70_000),
  '{evil}',
  'https://user:pass@{host}/',
  'http://[::1',
  '\u202e\ud800',
  '__proto__',
  'a/b\r\nx: y',
  DIGEST,
  'sha512:ff',
  Array(3000).fill({ tag: 'x', items: null }),
  { constructor: { prototype: 1 } },
  '-5',
  '99999999999999999999',
  'NaN',
]
const STATUSES = [
  100, 200, 201, 202, 204, 206, 301, 302, 307, 308, 400, 401, 403, 404, 405, 408, 409, 416, 418, 429, 500, 501, 503,
  599,
]

/**
 * @param random 0 ≤ x < 1.
 * @param evil origin of a server that belongs to none of the sides.
 * @param own origins of the servers.
 */
export function hostileAnswers(random: () => number, evil: string, own: Readonly<Record<Server, string>>): Hostile[] {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T
  const mutate = (value: unknown): unknown => {
    if (random() < 0.12) return pick(NASTY)
    if (Array.isArray(value)) return random() < 0.1 ? [...value, ...value, pick(NASTY)] : value.map(mutate)
    if (typeof value !== 'object' || value === null) return value
    const entries = Object.entries(value).flatMap(([name, each]): [string, unknown][] => {
      if (random() < 0.05) return []
      return random() < 0.03 ? [[String(pick(NASTY)).slice(0, 50), each]] : [[name, mutate(each)]]
    })
    return Object.fromEntries(entries)
  }
  let server: Server = 'api'
  const filled = (text: string) =>
    text.replaceAll('{origin}', own[server]).replaceAll('{evil}', evil).replaceAll('{host}', evil.replace(/^.*\//, ''))
  const bodyOf = (value: unknown): string => {
    const text = typeof value === 'string' ? value : JSON.stringify(mutate(value) ?? '')
    const at = Math.floor(random() * text.length)
    if (random() < 0.1) return text.slice(0, at)
    if (random() < 0.1) return `${text.slice(0, at)}${pick(['\u0000', '"', '{', '\ufffd', '\n'])}${text.slice(at + 1)}`
    return random() < 0.05 ? '['.repeat(50_000) : text
  }
  // What a server of Node cannot send is not what it can be asked for.
  const line = (text: string) =>
    filled(text)
      .replace(/[^\t\x20-\x7e]/g, '')
      .slice(0, 9000)
  const headersOf = (headers: Record<string, string>) =>
    Object.fromEntries(
      Object.entries(headers).flatMap(([name, value]) => {
        if (random() < 0.1) return []
        return [[name, line(random() < 0.2 ? String(pick(NASTY)) : value)]]
      }),
    )
  return Array.from({ length: 1 + Math.floor(random() * 3) }, (): Hostile => {
    server = pick(['api', 'oauth', 'source', 'source', 'destination', 'destination'] as const)
    const { path, status, headers = {}, body = '' } = pick<Spoken>(SPOKEN[server])
    const json = typeof body === 'object' ? { 'Content-Type': 'application/json' } : {}
    const match = { path, nth: 1 + Math.floor(random() * 3), times: pick([1, 2, 1000]) }
    const kind = random()
    if (kind < 0.08) return { server, rule: { match, do: { kind: 'corrupt', at: Math.floor(random() * 200) } } }
    if (kind < 0.16) return { server, rule: { match, do: { kind: 'headers', headers: headersOf(headers) } } }
    const code = random() < 0.15 ? pick(STATUSES) : status
    const answer = { headers: headersOf({ ...json, ...headers }), body: filled(bodyOf(body)) }
    return { server, rule: { match, do: { kind: 'status', status: Math.max(code, 200), ...answer } } }
  })
}
