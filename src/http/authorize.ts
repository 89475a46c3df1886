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

type Origin = Pick<AuthorizeOptions, 'origin' | 'context' | 'side'>

/** Bytes of a refusal that are searched for words; longer ones are pages for people. */
const LONGEST_SAID = 4096

/** What a request carried. */
type Shown = Readonly<{ authorization: string; token?: Token | undefined }>

/** What a request with this credential carries. */
type Attempt = Readonly<{ credential: Credential; with: Shown | undefined }>

/** What the origin's challenges have taught. */
type Known = ReturnType<typeof newKnown>

function newKnown() {
  return {
    service: undefined as Service | undefined,
    basic: false,
    /** Scopes that challenges asked for, by the scopes of the request. */
    scopes: new Map<string, readonly string[]>(),
  }
}

/**
 * A bearer credential is sent at once. User and password, refresh token and anonymity wait for the first challenge of the
 * origin; from then on they go along without being asked. After a 401, or a 400 or 403 that speaks of an expired credential,
 * the request is repeated with a fresh token of the token service, then with what `login.renew` has; then the refusal is the
 * caller's. A streamed body cannot be repeated: its refusal is the caller's at once, and the next request of the same scopes
 * carries the fresh token.
 */
export function authorize(options: AuthorizeOptions): Layer {
  return (next) => {
    const authorizer = new Authorizer(options, next)
    return (request) => authorizer.send(request)
  }
}

class Authorizer {
  readonly #options: AuthorizeOptions
  readonly #next: Send
  readonly #tokens: Tokens
  /** Tokens for other origins, which never get the credential. */
  readonly #guests: Tokens
  readonly #known = newKnown()

  constructor(options: AuthorizeOptions, next: Send) {
    this.#options = options
    this.#next = next
    this.#tokens = tokenService(options.side, options.ask, options.context)
    this.#guests = tokenService(options.side, options.ask, options.context)
  }

  async send(request: Request): Promise<Response> {
    const { origin, login } = this.#options
    if (!mayReceiveCredential(origin, request.url, request.leftOrigin === true, 'token')) return this.#asGuest(request)
    const shown = await this.#showOrRenew(await login.current(), request)
    const first = await this.#next(signed(request, shown.with))
    const isSuspect = shown.with !== undefined && (first.status === 400 || first.status === 403)
    const start = isSuspect ? await beginning(first) : undefined
    let res = start === undefined ? first : { ...first, body: bodyOf(start) }
    if (res.status !== 401 && !saysExpired(start?.toString('utf8', 0, LONGEST_SAID) ?? '')) return res
    if (res.status === 401) learn(this.#known, await this.#challengesOf(res, request), request, this.#options)
    if (shown.with?.token !== undefined) this.#tokens.drop(shown.with.token)
    const fresh = await this.#showOrRenew(shown.credential, request)
    if (fresh.with !== undefined && fresh.with.authorization !== shown.with?.authorization) {
      if (isStream(request.body)) return { ...res, isRenewed: true }
      await discard(res)
      res = await this.#next(signed(request, fresh.with))
      if (res.status !== 401) return res
    }
    if (fresh.with === undefined || (await this.#isMerelyDenied(res, fresh.with, request))) return res
    const renewed = await this.#renew(fresh.credential)
    if (renewed === undefined) return res
    if (isStream(request.body)) return { ...res, isRenewed: true }
    await discard(res)
    return this.#next(signed(request, await this.#show(renewed, request)))
  }

  async #show(credential: Credential, request: Request): Promise<Shown | undefined> {
    const { origin, verified, context } = this.#options
    const known = this.#known
    if (credential.kind === 'bearer') return { authorization: `Bearer ${credential.token.reveal()}` }
    const plain = credential.kind === 'basic' && known.basic
    if (known.service !== undefined) {
      if (mayAskTokenService(origin, known.service.realm, credential.kind, verified)) {
        const wanted = request.scopes ?? []
        const scopes = mergeScopes(wanted, known.scopes.get(wanted.join(' ')) ?? [])
        const token = await this.#tokens.token(known.service, credential, scopes).catch((thrown) => {
          if (!plain || isVerdict(thrown)) throw thrown
        })
        if (token !== undefined) return { authorization: `Bearer ${token.secret.reveal()}`, token }
        // The registry offers Basic too, and its token service does not answer as one.
        known.service = undefined
      } else if (!plain && credential.kind !== 'anonymous') throw strangeService(this.#options, known.service)
    }
    return plain ? { authorization: basic(credential, context) } : undefined
  }

  /** A token service that refuses the credential is a refusal of the credential: renewed once. */
  async #showOrRenew(credential: Credential, request: Request): Promise<Attempt> {
    try {
      return { credential, with: await this.#show(credential, request) }
    } catch (thrown) {
      if (!(thrown instanceof PromoteError)) throw thrown
      // Without a credential the registry's own refusal says more than that of its token service.
      if (thrown.code === 'CREDENTIAL_MISSING') return { credential, with: undefined }
      if (thrown.code !== 'LOGIN_REJECTED' && thrown.code !== 'TOKEN_REJECTED') throw thrown
      const renewed = await this.#renew(credential)
      if (renewed === undefined) throw thrown
      return { credential: renewed, with: await this.#show(renewed, request) }
    }
  }

  async #renew(refused: Credential): Promise<Credential | undefined> {
    if (refused.kind === 'anonymous') return undefined
    const renewed = await this.#options.login.renew(refused)
    return renewed === undefined || sameCredential(renewed, refused) ? undefined : renewed
  }

  /**
   * A registry that another one redirects to may have a token service of its own. It is asked without any credential: none
   * of this run belongs to that origin.
   */
  async #asGuest(request: Request): Promise<Response> {
    const { verified, context, side } = this.#options
    const res = await this.#next(request)
    if (res.status !== 401 || (request.method !== 'GET' && request.method !== 'HEAD')) return res
    const known = newKnown()
    learn(known, parseChallenges(headerAll(res, 'www-authenticate')), request, { origin: request.url, context, side })
    const { service, scopes } = known
    if (service === undefined || !mayAskTokenService(request.url, service.realm, 'anonymous', verified)) return res
    const token = await this.#guests.token(service, ANONYMOUS, [...scopes.values()].flat()).catch(() => undefined)
    if (token === undefined) return res
    await discard(res)
    return this.#next(signed(request, { authorization: `Bearer ${token.secret.reveal()}` }))
  }

  /** Google's registries answer 401 without a challenge on everything but `/v2/`. */
  async #challengesOf(res: Response, request: Request): Promise<readonly Challenge[]> {
    const challenges = parseChallenges(headerAll(res, 'www-authenticate'))
    const mute = challenges.length === 0 && this.#known.service === undefined && !this.#known.basic
    if (!mute || !isRegistry(request) || request.url.pathname === '/v2/') return challenges
    const ping = await this.#next({ method: 'GET', url: new URL('/v2/', this.#options.origin) })
    const asked = ping.status === 401 ? parseChallenges(headerAll(ping, 'www-authenticate')) : []
    await discard(ping)
    return asked
  }

  /** Without this, every missing right would cost a new login. */
  async #isMerelyDenied(res: Response, shown: Shown, request: Request): Promise<boolean> {
    if (shown.token !== undefined || !isRegistry(request) || request.url.pathname === '/v2/') return false
    const challenges = parseChallenges(headerAll(res, 'www-authenticate'))
    if (!challenges.some((one) => one.parameters.get('error') === 'access denied')) return false
    return acceptsCredential((ping) => this.#next(signed(ping, shown)), this.#options.origin)
  }
}

/** The token service has answered: it refuses this credential, or the run is over. */
function isVerdict(thrown: unknown): boolean {
  const { code } = asPromoteError(thrown)
  return code === 'LOGIN_REJECTED' || code === 'CANCELLED'
}

function signed(request: Request, shown: Shown | undefined): Request {
  if (shown === undefined) return request
  return { ...request, headers: { ...request.headers, authorization: shown.authorization } }
}

function isRegistry(request: Request): boolean {
  return request.url.pathname.startsWith('/v2/')
}

/** A token service once named stays: OpenShift answers a bad token with a Basic challenge alone, which only means "denied". */
function learn(known: Known, challenges: readonly Challenge[], request: Request, by: Origin): void {
  const { origin, context, side } = by
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

function strangeService(access: AuthorizeOptions, service: Service): PromoteError {
  const message = `${displayUrl(access.origin)} names the token service ${displayUrl(service.realm)}, which may not see the password of this side: registry and token service must both be https with verified certificates, or one and the same plain-HTTP address.`
  return new PromoteError('UNSUPPORTED', message, {
    side: access.side,
    hint: `Use https for the registry${access.verified ? '' : `, and ${access.side}-ca instead of ${access.side}-insecure-skip-tls-verify`}.`,
  })
}
