/** Token services of registries (distribution docs "token authentication", "oauth2"): one token for each set of scopes. */
import * as z from 'zod'
import type { Context } from '../core/context.ts'
import { asPromoteError, PromoteError, type Side } from '../core/errors.ts'
import type { Secret } from '../core/secret.ts'
import { displayUrl } from '../core/text.ts'
import { discard, type Request, type Response, type Send } from '../transport/request.ts'
import { type Credential, sameCredential } from './credential.ts'
import { json, registryError } from './response.ts'

const BODY_LIMIT = 1024 * 1024
/** Shorter lifetimes, and none, count as this many seconds (distribution's token specification). */
const SHORTEST_LIFE = 60
/** Renewed when a tenth of its life is left, at most so many milliseconds before its end. */
const EARLIEST_RENEWAL = 30_000

/** The realm and service that a registry named. */
export type Service = Readonly<{ realm: URL; service: string | undefined }>
export type Token = Readonly<{ secret: Secret; renewAt: number }>

const ANSWER = z.object({
  token: z.string().optional(),
  access_token: z.string().optional(),
  expires_in: z.number().optional().catch(undefined),
})

/** @param send without credentials of its own; must not repeat requests, the request that needs the token is repeated. */
export function tokenService(side: Side, send: Send, context: Context) {
  /** `token` is there once `flight` has brought it. */
  const held = new Map<string, { flight: Promise<Token>; token?: Token }>()
  let owner: Credential = { kind: 'anonymous' }
  return {
    /** From memory, or fetched; requests side by side share one exchange. */
    async token(service: Service, credential: Credential, scopes: readonly string[]): Promise<Token> {
      if (!sameCredential(owner, credential)) {
        held.clear()
        owner = credential
      }
      const key = [service.realm.href, service.service ?? '', ...scopes].join('\n')
      const known = held.get(key)
      if (known !== undefined && (known.token?.renewAt ?? Number.POSITIVE_INFINITY) > context.now()) return known.flight
      const fetched: typeof known = { flight: exchangeToken({ side, send, context, service, credential, scopes }) }
      held.set(key, fetched)
      fetched.flight.then(
        (token) => {
          fetched.token = token
        },
        () => {
          if (held.get(key) === fetched) held.delete(key)
        },
      )
      return fetched.flight
    },
    /** Forgets this token, if it still is the one in use. */
    drop(token: Token): void {
      for (const [key, one] of held) if (one.token === token) held.delete(key)
    },
  }
}

export type Tokens = ReturnType<typeof tokenService>

type Question = Readonly<{
  side: Side
  send: Send
  context: Context
  service: Service
  credential: Credential
  scopes: readonly string[]
}>

async function exchangeToken(question: Question): Promise<Token> {
  const { side, send, context, service, scopes } = question
  let res = await send(tokenRequest(question))
  if (scopes.length > 1 && [400, 401, 403].includes(res.status)) {
    // Some services refuse several scopes at once (oc has --skip-multiple-scopes for them); the first matters most.
    await discard(res)
    res = await send(tokenRequest({ ...question, scopes: scopes.slice(0, 1) }))
  }
  if (res.status < 200 || res.status > 299) throw await tokenRefused(res, question)
  const answer = await json(res, ANSWER, BODY_LIMIT).catch((thrown: unknown) => {
    throw asPromoteError(thrown, side)
  })
  const value = answer.token || answer.access_token
  if (value === undefined || value === '' || !/^[\x21-\x7e]+$/.test(value)) {
    const message = `${displayUrl(service.realm)}: the answer of the token service holds no token.`
    throw new PromoteError('PROTOCOL', message, { side })
  }
  // From the moment of receipt: `issued_at` is by the service's clock.
  const life = Math.max(SHORTEST_LIFE, answer.expires_in ?? 0) * 1000
  const renewAt = context.now() + life - Math.min(EARLIEST_RENEWAL, life / 10)
  return { secret: context.secrets.keep(value), renewAt }
}

function tokenRequest({ service, credential, scopes, context }: Question): Request {
  const url = new URL(service.realm)
  if (credential.kind === 'identity') {
    const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: 'image-promote' })
    if (service.service !== undefined) form.set('service', service.service)
    if (scopes.length > 0) form.set('scope', scopes.join(' '))
    form.set('refresh_token', credential.refreshToken.reveal())
    const headers = { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' }
    // The token is in the body, and a redirect would take it along.
    return { method: 'POST', url, headers, body: form.toString(), follow: false }
  }
  if (service.service !== undefined) url.searchParams.append('service', service.service)
  for (const scope of scopes) url.searchParams.append('scope', scope)
  const headers: Record<string, string> = { accept: 'application/json' }
  if (credential.kind === 'basic') headers.authorization = basic(credential, context)
  return { method: 'GET', url, headers }
}

/** The value of a Basic `Authorization` header. */
export function basic(credential: Extract<Credential, { kind: 'basic' }>, context: Context): string {
  return `Basic ${context.secrets.keepPair(credential.username, credential.password).reveal()}`
}

/** What a 401 or 403 says about a credential of each kind. */
const REFUSED = {
  basic: 'LOGIN_REJECTED',
  identity: 'TOKEN_REJECTED',
  bearer: 'CREDENTIAL_MISSING',
  anonymous: 'CREDENTIAL_MISSING',
} as const

function tokenRefused(res: Response, { side, service, credential, context }: Question): Promise<PromoteError> {
  const what = `asking the token service ${displayUrl(service.realm)}`
  const redact = (text: string) => context.secrets.redact(text)
  const { kind } = credential
  const isVerdict = res.status === 401 || res.status === 403
  const code = isVerdict || (kind === 'identity' && res.status === 400) ? REFUSED[kind] : undefined
  const hint =
    kind === 'anonymous'
      ? 'The registry wants a credential for this side.'
      : 'Check user name and password or token of this side, and what they may do.'
  return registryError(res, { side, what, code, hint: isVerdict ? hint : undefined, redact })
}

/**
 * The scopes of a token: what the request needs, most important first (some services read only the first one), then what
 * the challenge asks for beyond that.
 */
export function mergeScopes(wanted: readonly string[], asked: readonly string[]): readonly string[] {
  const all = [...wanted]
  for (const scope of asked) if (!all.some((one) => covers(one, scope))) all.push(scope)
  return all
}

/** `scope="repository:a:pull,push repository:b:pull"` of a challenge (distribution docs "token scope"). */
export function splitScopes(text: string | undefined): readonly string[] {
  return (text ?? '')
    .split(' ')
    .filter((scope) => scope !== '')
    .slice(0, 16)
}

/** `repository:a:pull,push` covers `repository:a:pull`. The name may hold a colon (host:port). */
function covers(one: string, other: string): boolean {
  const [mine, theirs] = [split(one), split(other)]
  return mine.resource === theirs.resource && theirs.actions.every((action) => mine.actions.includes(action))
}

function split(scope: string): { resource: string; actions: readonly string[] } {
  const colon = scope.lastIndexOf(':')
  return { resource: scope.slice(0, colon), actions: scope.slice(colon + 1).split(',') }
}
