/** Puts the credential of one origin on the requests to that origin, in the form that the server asks for. */
import { bodyOf } from '../core/async.ts'
import type { Context } from '../core/context.ts'
import { asPromoteError, PromoteError, type Side } from '../core/errors.ts'
import { displayUrl } from '../core/text.ts'
import {
  beginning,
  discard,
  isStream,
  type Layer,
  type Request,
  type Response,
  type Send,
} from '../transport/request.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import { ANONYMOUS, type Credential, type Login, sameCredential } from './credential.ts'
import { mayAskTokenService, mayReceiveCredential, refuseSecretInAddress } from './credential-scope.ts'
import { acceptsCredential, saysExpired } from './quirks.ts'
import { headerAll } from './response.ts'
import {
  basic,
  mergeScopes,
  type Service,
  splitScopes,
  type Token,
  type Tokens,
  tokenService,
} from './token-service.ts'

export type AuthorizeOptions = Readonly<{
  side: Side
  origin: URL
  login: Login
  /** Certificates are verified on this side. */
  verified: boolean
  /** Reaches token services: follows redirects, repeats nothing, knows no credential. */
  ask: Send
  context: Context
}>

/** Bytes of a refusal that are searched for words; longer ones are pages for people. */
const LONGEST_SAID = 4096

/** What a request carried. */
type Shown = Readonly<{ authorization: string; token?: Token | undefined }>

/** What the origin's challenges have taught. */
type Known = {
  service?: Service | undefined
  basic: boolean
  /** Scopes that challenges asked for, by the scopes of the request. */
  scopes: Map<string, readonly string[]>
}

/**
 * A bearer credential is sent at once. User and password, refresh token and anonymity wait for the first challenge of the
 * origin; from then on they go along without being asked. After a 401, or a 400 or 403 that speaks of an expired credential,
 * the request is repeated with a fresh token of the token service, then with what `login.renew` has; then the refusal is the
 * caller's. A streamed body cannot be repeated: its refusal is the caller's at once, and the next request of the same scopes
 * carries the fresh token.
 */
export function authorize(access: AuthorizeOptions): Layer {
  const tokens = tokenService(access.side, access.ask, access.context)
  const guests = tokenService(access.side, access.ask, access.context)
  const known: Known = { basic: false, scopes: new Map() }

  const show = async (credential: Credential, request: Request): Promise<Shown | undefined> => {
    if (credential.kind === 'bearer') return { authorization: `Bearer ${credential.token.reveal()}` }
    const plain = credential.kind === 'basic' && known.basic
    if (known.service !== undefined) {
      if (mayAskTokenService(access.origin, known.service.realm, credential.kind, access.verified)) {
        const wanted = request.scopes ?? []
        const scopes = mergeScopes(wanted, known.scopes.get(wanted.join(' ')) ?? [])
        const token = await tokens.token(known.service, credential, scopes).catch((thrown) => {
          if (!plain || isVerdict(thrown)) throw thrown
        })
        if (token !== undefined) return { authorization: `Bearer ${token.secret.reveal()}`, token }
        // The registry offers Basic too, and its token service does not answer as one.
        known.service = undefined
      } else if (!plain && credential.kind !== 'anonymous') throw strangeService(access, known.service)
    }
    return plain ? { authorization: basic(credential, access.context) } : undefined
  }

  return (next) => async (request) => {
    if (!mayReceiveCredential(access.origin, request.url, request.leftOrigin === true, 'token'))
      return asGuest(access, guests, next, request)
    const credential = await access.login.current()
    const shown = await showOrRenew(access, credential, (one) => show(one, request))
    const first = await next(signed(request, shown.with))
    const isSuspect = shown.with !== undefined && (first.status === 400 || first.status === 403)
    const start = isSuspect ? await beginning(first) : undefined
    let res = start === undefined ? first : { ...first, body: bodyOf(start) }
    if (res.status !== 401 && !saysExpired(start?.toString('utf8', 0, LONGEST_SAID) ?? '')) return res
    if (res.status === 401) learn(known, await challengesOf(res, request, access, next, known), request, access)
    if (shown.with?.token !== undefined) tokens.drop(shown.with.token)
    const fresh = await showOrRenew(access, shown.credential, (one) => show(one, request))
    if (fresh.with !== undefined && fresh.with.authorization !== shown.with?.authorization) {
      if (isStream(request.body)) return { ...res, isRenewed: true }
      await discard(res)
      res = await next(signed(request, fresh.with))
      if (res.status !== 401) return res
    }
    if (fresh.with === undefined || (await isMerelyDenied(res, fresh.with, request, access, next))) return res
    const renewed = await renew(access, fresh.credential)
    if (renewed === undefined) return res
    if (isStream(request.body)) return { ...res, isRenewed: true }
    await discard(res)
    return next(signed(request, await show(renewed, request)))
  }
}

/** The token service has answered: it refuses this credential, or the run is over. */
function isVerdict(thrown: unknown): boolean {
  const { code } = asPromoteError(thrown)
  return code === 'LOGIN_REJECTED' || code === 'CANCELLED'
}

/**
 * A registry that another one redirects to may have a token service of its own. It is asked without any credential: none
 * of this run belongs to that origin.
 */
async function asGuest(access: AuthorizeOptions, tokens: Tokens, next: Send, request: Request): Promise<Response> {
  const res = await next(request)
  if (res.status !== 401 || (request.method !== 'GET' && request.method !== 'HEAD')) return res
  const known: Known = { basic: false, scopes: new Map() }
  const { context, side } = access
  learn(known, parseChallenges(headerAll(res, 'www-authenticate')), request, { origin: request.url, context, side })
  const { service, scopes } = known
  if (service === undefined || !mayAskTokenService(request.url, service.realm, 'anonymous', access.verified)) return res
  const token = await tokens.token(service, ANONYMOUS, [...scopes.values()].flat()).catch(() => undefined)
  if (token === undefined) return res
  await discard(res)
  return next(signed(request, { authorization: `Bearer ${token.secret.reveal()}` }))
}

/** A token service that refuses the credential is a refusal of the credential: renewed once. */
async function showOrRenew(
  access: AuthorizeOptions,
  credential: Credential,
  show: (credential: Credential) => Promise<Shown | undefined>,
): Promise<{ credential: Credential; with: Shown | undefined }> {
  try {
    return { credential, with: await show(credential) }
  } catch (thrown) {
    if (!(thrown instanceof PromoteError)) throw thrown
    // Without a credential the registry's own refusal says more than that of its token service.
    if (thrown.code === 'CREDENTIAL_MISSING') return { credential, with: undefined }
    if (thrown.code !== 'LOGIN_REJECTED' && thrown.code !== 'TOKEN_REJECTED') throw thrown
    const renewed = await renew(access, credential)
    if (renewed === undefined) throw thrown
    return { credential: renewed, with: await show(renewed) }
  }
}

async function renew(access: AuthorizeOptions, refused: Credential): Promise<Credential | undefined> {
  if (refused.kind === 'anonymous') return undefined
  const renewed = await access.login.renew(refused)
  return renewed === undefined || sameCredential(renewed, refused) ? undefined : renewed
}

function signed(request: Request, shown: Shown | undefined): Request {
  if (shown === undefined) return request
  return { ...request, headers: { ...request.headers, authorization: shown.authorization } }
}

function isRegistry(request: Request): boolean {
  return request.url.pathname.startsWith('/v2/')
}

/** Google's registries answer 401 without a challenge on everything but `/v2/`. */
async function challengesOf(
  res: Response,
  request: Request,
  access: AuthorizeOptions,
  next: Send,
  known: Known,
): Promise<readonly Challenge[]> {
  const challenges = parseChallenges(headerAll(res, 'www-authenticate'))
  const mute = challenges.length === 0 && known.service === undefined && !known.basic
  if (!mute || !isRegistry(request) || request.url.pathname === '/v2/') return challenges
  const ping = await next({ method: 'GET', url: new URL('/v2/', access.origin) })
  const asked = ping.status === 401 ? parseChallenges(headerAll(ping, 'www-authenticate')) : []
  await discard(ping)
  return asked
}

/** A token service once named stays: OpenShift answers a bad token with a Basic challenge alone, which only means "denied". */
function learn(
  known: Known,
  challenges: readonly Challenge[],
  request: Request,
  access: Pick<AuthorizeOptions, 'origin' | 'context' | 'side'>,
): void {
  const { origin, context, side } = access
  for (const { scheme, parameters } of challenges) {
    if (scheme === 'basic' && (known.service === undefined || challenges.length > 1)) known.basic = true
    const realm = parameters.get('realm')
    if (scheme !== 'bearer' || realm === undefined || !URL.canParse(realm, origin.href)) continue
    const what = `${displayUrl(request.url)}: the registry names as its token service`
    refuseSecretInAddress(realm, request.url, { what, side, secrets: context.secrets })
    known.service = { realm: new URL(realm, origin), service: parameters.get('service') }
    known.scopes.set((request.scopes ?? []).join(' '), splitScopes(parameters.get('scope')))
  }
}

/** Without this, every missing right would cost a new login. */
async function isMerelyDenied(
  res: Response,
  shown: Shown,
  request: Request,
  access: AuthorizeOptions,
  next: Send,
): Promise<boolean> {
  if (shown.token !== undefined || !isRegistry(request) || request.url.pathname === '/v2/') return false
  const challenges = parseChallenges(headerAll(res, 'www-authenticate'))
  if (!challenges.some((one) => one.parameters.get('error') === 'access denied')) return false
  return acceptsCredential((ping) => next(signed(ping, shown)), access.origin)
}

function strangeService(access: AuthorizeOptions, service: Service): PromoteError {
  const message = `${displayUrl(access.origin)} names the token service ${displayUrl(service.realm)}, which may not see the password of this side: registry and token service must both be https with verified certificates, or one and the same plain-HTTP address.`
  return new PromoteError('UNSUPPORTED', message, {
    side: access.side,
    hint: `Use https for the registry${access.verified ? '' : `, and ${access.side}-ca instead of ${access.side}-insecure-skip-tls-verify`}.`,
  })
}
