import type { Answer, Incoming } from './http.ts'
import type { Recorder } from './recorder.ts'
import type { Streams, User, Verb } from './state.ts'
import { badRequest, Failure, json } from './status.ts'
import type { Identities, Token } from './users.ts'

/** What every endpoint of the API server gets, and what they share in reading requests and writing answers. */

export interface ApiDeps {
  readonly identities: Identities
  readonly streams: Streams
  readonly recorder: Recorder
  /** Live: what image streams tell about the registry. Without `public` there is no route. */
  readonly hosts: { internal: string; public?: string }
  /** Live: true = no integrated OAuth server. */
  readonly options: { oidc: boolean }
  /** Origin of the OAuth server. */
  readonly issuer: () => string
  readonly now: () => number
}

/** One authenticated request that reached its endpoint. */
export interface Call extends ApiDeps {
  readonly request: Incoming
  readonly user: User
  readonly token: Token | undefined
  /** The groups of the route's pattern, decoded. */
  readonly params: readonly string[]
  /** Throws 403 unless RBAC allows it. `ns` '' = cluster scope. */
  authorize(verb: Verb, resource: string, ns: string, name?: string): void
  /** The JSON body, which must come as one of these media types. */
  body(types?: readonly string[]): Promise<Record<string, unknown>>
}

export type Endpoint = readonly [method: string, path: RegExp, run: (call: Call) => Answer | Promise<Answer>]

const MAX_BODY = 1024 * 1024

export async function readBody(
  deps: ApiDeps,
  request: Incoming,
  types: readonly string[],
): Promise<Record<string, unknown>> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body) {
    size += chunk.length
    if (size > MAX_BODY) throw new Failure(413, 'RequestEntityTooLarge', 'Request entity too large: limit is 3145728')
    chunks.push(chunk)
  }
  const type = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim() ?? ''
  if (size > 0 && !types.includes(type)) {
    deps.recorder.refuse('api', request, `Content-Type ${type || 'missing'}`)
    throw new Failure(
      415,
      'UnsupportedMediaType',
      `the body of the request was in an unknown format - accepted media types include: ${types.join(', ')}`,
    )
  }
  try {
    const body: unknown = size === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString('utf8'))
    if (typeof body === 'object' && body !== null && !Array.isArray(body)) return body as Record<string, unknown>
  } catch {
    // Answered below.
  }
  throw badRequest(
    "the object provided is unrecognized (must be of type Object): couldn't get version/kind; json parse error",
  )
}

/** Kind and version must be what the path stands for. */
export function expectKind(body: Record<string, unknown>, apiVersion: string, kind: string): void {
  if (body.apiVersion === apiVersion && body.kind === kind) return
  throw badRequest(`${String(body.kind)} in version ${JSON.stringify(body.apiVersion)} cannot be handled as a ${kind}`)
}

export function timestamp(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`
}

/** `status` of a deletion. */
export function deleted(group: string, kind: string, name: string): Answer {
  return json(200, {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: { name, group, kind },
  })
}

export function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}
