import { expect } from '@jest/globals'
import type { Context } from '../../src/core/context.ts'
import { type Code, PromoteError } from '../../src/core/errors.ts'
import { Secrets } from '../../src/core/secret.ts'
import type { Network } from '../../src/http/client.ts'
import type { Login } from '../../src/http/credential.ts'
import type { Request, Response, Send } from '../../src/transport/request.ts'

/** A network that is a table from requests to answers. What the table doesn't know fails the test that asked. */

export type Scripted = Readonly<{ status: number; headers?: Record<string, string | string[]>; body?: string | object }>
/** Key: `METHOD https://host/path`, without the query. A list is served once, from the front; its last answer stays. */
export type Script = Record<string, Scripted | readonly Scripted[] | ((request: Seen) => Scripted | Error)>
export type Seen = Readonly<{ method: string; url: URL; headers: Record<string, string>; body: string; req: Request }>

export type ScriptedNetwork = Network & Readonly<{ seen: Seen[]; lines: () => string[]; script: Script }>

export function scriptedNetwork(script: Script): ScriptedNetwork {
  const seen: Seen[] = []
  const served = new Map<string, number>()
  const answer = (request: Seen): Scripted => {
    const key = `${request.method} ${request.url.origin}${request.url.pathname}`
    const entry = script[key]
    if (entry === undefined) throw new Error(`unscripted request: ${key}`)
    if (typeof entry === 'function') {
      const made = entry(request)
      if (made instanceof Error) throw made
      return made
    }
    if (!('length' in entry)) return entry
    const index = served.get(key) ?? 0
    served.set(key, index + 1)
    return entry[Math.min(index, entry.length - 1)] as Scripted
  }
  const send: Send = async (req) => {
    const body = typeof req.body === 'string' ? req.body : ''
    const request = { method: req.method, url: req.url, headers: { ...req.headers }, body, req }
    seen.push(request)
    return resOf(answer(request), req.url)
  }
  return {
    seen,
    script,
    lines: () => seen.map(({ method, url }) => `${method} ${url.host}${url.pathname}`),
    send,
    as: (origin, login) => authorized(send, origin, login),
    close: async () => undefined,
  }
}

/** What the real network does for bearers: exactly that origin, and one renewal after a 401. */
function authorized(send: Send, origin: URL, login: Login): Send {
  return async (req) => {
    const credential = req.url.origin === origin.origin ? await login.current() : undefined
    if (credential?.kind !== 'bearer') return send(req)
    const carry = (token: string): Promise<Response> =>
      send({ ...req, headers: { ...req.headers, authorization: `Bearer ${token}` } })
    const res = await carry(credential.token.reveal())
    const renewed = res.status === 401 ? await login.renew(credential) : undefined
    return renewed?.kind === 'bearer' ? carry(renewed.token.reveal()) : res
  }
}

function resOf({ status, headers = {}, body = '' }: Scripted, url: URL): Response {
  const content = typeof body === 'string' ? body : JSON.stringify(body)
  const type = typeof body === 'string' ? 'text/plain' : 'application/json'
  return {
    status,
    url,
    headers: { 'content-type': type, ...headers },
    body: (async function* () {
      yield Buffer.from(content)
    })(),
  }
}

export type TestContext = Context & { lines: string[]; slept: number[]; time: { now: number }; cancel: () => void }

/** Time stands still unless a test moves it; sleeping moves it. */
export function testContext(): TestContext {
  const lines: string[] = []
  const slept: number[] = []
  const time = { now: Date.parse('2026-01-01T00:00:00Z') }
  const abort = new AbortController()
  const log = (level: string) => (line: string) => void lines.push(`${level} ${line}`)
  return {
    lines,
    slept,
    time,
    cancel: () => abort.abort(),
    log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    secrets: new Secrets(),
    signal: abort.signal,
    env: {},
    now: () => time.now,
    sleep: async (milliseconds) => {
      slept.push(milliseconds)
      time.now += milliseconds
    },
    random: () => 0.5,
  }
}

export async function failureOf(promise: Promise<unknown>): Promise<PromoteError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof PromoteError) return error
    throw error
  }
  throw new Error('expected a PromoteError, but nothing was thrown')
}

export function expectError(error: PromoteError, code: Code, side: string): void {
  // The message is part of the comparison, so that a wrong code is explained by the test's output.
  expect({ code: error.code, side: error.side, message: error.message }).toEqual({ code, side, message: error.message })
}

export function status(code: number, reason: string, message: string, details: object = {}): Scripted {
  const body = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, details, code }
  return { status: code, body }
}

export const API = 'https://api.ocp.example.com:6443'
export const OAUTH = 'https://oauth-openshift.apps.ocp.example.com'
export const REDIRECT = `${OAUTH}/oauth/token/implicit`
export const TOKEN = 'sha256~6hJTr0lfTbM6b9abDfQO6Xsokn3ZR-4QoD2XnHGQrCI'

export const METADATA = {
  issuer: OAUTH,
  authorization_endpoint: `${OAUTH}/oauth/authorize`,
  token_endpoint: `${OAUTH}/oauth/token`,
  code_challenge_methods_supported: ['plain', 'S256'],
}

/** A cluster where password login works and the user is bob; tests replace what they are about. */
export function loginScript(replaced: Script = {}): Script {
  return {
    [`GET ${API}/.well-known/oauth-authorization-server`]: { status: 200, body: METADATA },
    [`GET ${OAUTH}/oauth/authorize`]: { status: 302, headers: { location: `${REDIRECT}?code=sha256~c0de&state=` } },
    [`POST ${OAUTH}/oauth/token`]: {
      status: 200,
      body: { access_token: TOKEN, expires_in: 86400, scope: 'user:full', token_type: 'Bearer' },
    },
    [`POST ${API}/apis/authentication.k8s.io/v1/selfsubjectreviews`]: review('bob'),
    ...replaced,
  }
}

export function review(username: string): Scripted {
  return { status: 201, body: { kind: 'SelfSubjectReview', status: { userInfo: { username, groups: [] } } } }
}
