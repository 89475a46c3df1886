import { z } from 'zod'
import { type Code, PromoteError } from '../core/errors.ts'
import { type ClusterSide, type Kubernetes, parsed, parseUrl, type Reply, said, saidBy } from './api.ts'

/** The request whose answer is judged. */
export type Asked = Readonly<{
  kube: Kubernetes
  username: string
  endpoint: URL
  /** The only address whose query may hold our code. */
  redirectUri: string
}>

/**
 * The authorization code in the answer of `/oauth/authorize` to a request with user and password.
 * @throws PromoteError LOGIN_REJECTED, LOGIN_UNSUPPORTED, IDENTITY_PROVIDER, …
 * Source: oauth-server pkg/oauth/handlers/default_auth_handler.go, AuthenticationNeeded, and osin response.go.
 */
export function judgeAuthorization(reply: Reply, asked: Asked): string {
  if (reply.status >= 300 && reply.status < 400) return codeFrom(reply, asked)
  if (reply.status === 401) throw unauthorized(reply, asked)
  const words = said(reply, asked.kube.context)
  if (reply.status === 400 && oauthErrorOf(reply) === 'unauthorized_client')
    throw unsupported(`it does not know the client of oc: ${words}`, asked, 400)
  if (reply.status === 200) throw unsupported(`it answered ${words}, a page for people`, asked, 200)
  throw oauthFailure(reply, asked, `Logging in as ${asked.username}`)
}

/** What 429, 5xx and unexpected answers of both OAuth endpoints mean. */
export function oauthFailure(reply: Reply, asked: Asked, tried: string): PromoteError {
  const { status, retryAfter } = reply
  const { side, context } = asked.kube
  const transient = [429, 502, 503, 504].includes(status)
  const message = `${tried}: ${asked.endpoint.host} answered ${said(reply, context)}.`
  const failed = (code: Code, hint: string) =>
    new PromoteError(code, message, { side, status, retryAfter, transient, hint })
  if (status === 429) return failed('RATE_LIMITED', 'The OAuth server is overloaded: run again later.')
  if (status > 500) return failed('UNAVAILABLE', 'The OAuth server is down or its route has no pod: run again later.')
  if (status < 500) return failed('PROTOCOL', tokenHint(side))
  // Each 500 of the OAuth server is an identity provider or the mapping of its user (DefaultsErrorHandler prints `Error: …`).
  return failed(
    'IDENTITY_PROVIDER',
    "The cluster's identity provider failed or would not map the user; its administrator sees why in the logs of " +
      'oauth-openshift. With several providers a wrong password may hide behind this: check it, or use a token.',
  )
}

function codeFrom(reply: Reply, asked: Asked): string {
  const { kube, username, endpoint, redirectUri } = asked
  const { location } = reply.headers
  const target = typeof location === 'string' ? parseUrl(location, endpoint) : undefined
  if (target === undefined) {
    const message = `Logging in as ${username}: ${endpoint.host} answered ${reply.status} without a usable Location.`
    throw new PromoteError('PROTOCOL', message, { side: kube.side, status: reply.status })
  }
  if (target.origin + target.pathname !== redirectUri) {
    // A RequestHeader provider sends the client to a proxy. The password was for the OAuth server and goes nowhere else.
    const where = saidBy(target.host + target.pathname, kube.context)
    const what =
      target.origin === endpoint.origin ? `its page ${where}, which is for browsers` : `another host, ${where}`
    throw unsupported(`it redirected to ${what}; the password was not sent there`, asked, 302)
  }
  const code = target.searchParams.get('code')
  if (code !== null && code !== '') return code
  const answers = new URLSearchParams(`${target.search.slice(1)}&${target.hash.slice(1)}`)
  throw redirectError(answers.get('error'), answers.get('error_description') ?? '', reply, asked)
}

function redirectError(error: string | null, description: string, reply: Reply, asked: Asked): PromoteError {
  const { side, context } = asked.kube
  const words = saidBy(`${error ?? 'neither code nor error'} ${description}`, context)
  const failed = (code: Code, hint: string, transient = false) =>
    new PromoteError(code, `Logging in as ${asked.username}: ${asked.endpoint.host} redirected with "${words}".`, {
      side,
      status: reply.status,
      hint,
      transient,
    })
  if (error === 'access_denied') return failed('LOGIN_REJECTED', rejectedHint(side))
  if (error === 'server_error' || error === 'temporarily_unavailable')
    return failed('IDENTITY_PROVIDER', tokenHint(side), true)
  return failed('PROTOCOL', tokenHint(side))
}

function unauthorized(reply: Reply, asked: Asked): PromoteError {
  const schemes = lines(reply.headers['www-authenticate'])
  const words = `${reply.body} ${lines(reply.headers.warning).join(' ')}`
  const { side, context } = asked.kube
  const answered = `it answered ${said(reply, context)}`
  const isBasic = schemes.some((line) => /(?:^|,)\s*basic(?:\s|$)/i.test(line))
  if (!isBasic && schemes.some((line) => /(?:^|,)\s*negotiate\b/i.test(line)))
    return unsupported('it asks for Kerberos (Negotiate)', asked, 401)
  // X-CSRF-Token: the server rejected the password and would have sent a challenge if a proxy had not removed that header.
  if (isBasic || /X-CSRF-Token/i.test(words)) {
    const message = `Logging in as ${asked.username} at ${asked.endpoint.host}: ${answered}; user name or password is wrong.`
    return new PromoteError('LOGIN_REJECTED', message, { side, status: 401, hint: rejectedHint(side) })
  }
  const page = tokenPage(reply, words)
  return unsupported(answered, asked, 401, page && ` Tokens are shown to people at ${saidBy(page, context)}`)
}

function tokenPage(reply: Reply, words: string): string | undefined {
  const linked = lines(reply.headers.link).find((line) => /rel="?related"?/i.test(line))
  return /<([^<>]+)>/.exec(linked ?? '')?.[1] ?? /by visiting (https:\/\/[^\s"]+)/.exec(words)?.[1]
}

const oauthErrorSchema = z.looseObject({ error: z.string(), error_description: z.string().nullish() })

/** The `error` of an OAuth error body (RFC 6749 section 5.2). */
export function oauthErrorOf(reply: Reply): string | undefined {
  return parsed(reply, oauthErrorSchema)?.error
}

function unsupported(what: string, { kube, username, endpoint }: Asked, status: number, visit = ''): PromoteError {
  const message = `Logging in as ${username} at ${endpoint.host}: ${what}. This cluster takes no password from a program.`
  const hint = `${tokenHint(kube.side)}${visit}`
  return new PromoteError('LOGIN_UNSUPPORTED', message, { side: kube.side, status, hint })
}

/** With single sign-on and kubeadmin left in place the server asks for a password and refuses every SSO user's. */
function rejectedHint(side: ClusterSide): string {
  return (
    `Check ${side}-username and ${side}-password. If people log in to this cluster by single sign-on, ` +
    `no such password exists for it: use ${side}-token.`
  )
}

export function tokenHint(side: ClusterSide): string {
  return `Use a token: ${side}-token, best of a service account (\`oc create token <name> -n <namespace>\`).`
}

function lines(value: string | readonly string[] | undefined): readonly string[] {
  return [value ?? []].flat()
}
