import type { Context } from '../core/context.ts'
import { PromoteError, type Side } from '../core/errors.ts'
import { displayUrl } from '../core/text.ts'
import { discard, isStream, type Layer, type Request, type Response } from '../transport/request.ts'
import { refuseSecretInAddress } from './credential-scope.ts'
import { DIRECT } from './quirks.ts'
import { header } from './response.ts'

/** curl allows 50, Go 10; registries need one or two. */
const MOST_HOPS = 10
const REDIRECTS = new Set([301, 302, 303, 307, 308])
/** What names the sender; it stays on the origin that it was meant for. */
const PRIVATE = ['authorization', 'cookie', 'proxy-authorization']

/**
 * Follows redirects of GET and HEAD, and 307 and 308 of requests whose body can be sent again. A hop that has left the
 * first origin is marked `leftOrigin` for good and goes without credentials. https → http is followed only for the bytes of
 * a blob, because its digest is verified. An address with a secret in it is refused. `url` of the answer is where it came
 * from, `leftOrigin` whether another origin chose that. Every other 3xx is the caller's.
 */
export function redirect(side: Side, context: Context): Layer {
  const warned = new Set<string>()
  const allowPlain = (request: Request, target: URL): void => {
    if (request.url.protocol !== 'https:' || target.protocol !== 'http:') return
    const isVerified = request.method === 'GET' && request.isBlob === true
    if (!isVerified) throw refused(request, `redirects from https to plain http (${displayUrl(target)})`, side, PLAIN)
    if (warned.has(target.host)) return
    warned.add(target.host)
    context.log.warn(
      `${side}: ${request.url.host} redirects blobs to plain http at ${target.host}. They are read there without a credential, and their digests are verified; others on the network can see them.`,
    )
  }
  return (next) => async (first) => {
    const seen = new Set<string>()
    let request = first
    for (;;) {
      const res = await next(request).catch((thrown: unknown) => {
        throw request === first ? thrown : unreached(first, request, thrown)
      })
      const location = header(res, 'location')
      if (location === undefined || !isFollowed(request, res.status))
        return request.leftOrigin === true ? { ...res, leftOrigin: true } : res
      await discard(res)
      seen.add(request.url.href)
      const target = targetOf(request, location, side, context)
      allowPlain(request, target)
      if (seen.size > MOST_HOPS || seen.has(target.href)) {
        throw refused(request, `redirects without end (${seen.size} so far, now to ${displayUrl(target)})`, side)
      }
      request = hop(first, request, target)
    }
  }
}

function isFollowed(request: Request, status: Response['status']): boolean {
  if (request.follow === false || !REDIRECTS.has(status)) return false
  if (request.method === 'GET' || request.method === 'HEAD') return true
  return (status === 307 || status === 308) && !isStream(request.body)
}

function targetOf(request: Request, location: string, side: Side, { secrets }: Context): URL {
  const what = `${request.method} ${displayUrl(request.url)}: the server redirects to`
  refuseSecretInAddress(location, request.url, { what, side, secrets })
  if (!URL.canParse(location, request.url.href))
    throw refused(request, 'redirects to something that is not a URL', side)
  const target = new URL(location, request.url)
  target.hash = ''
  target.username = ''
  target.password = ''
  if (target.protocol !== 'https:' && target.protocol !== 'http:') {
    throw refused(request, `redirects to a ${target.protocol} address`, side)
  }
  return target
}

function hop(first: Request, request: Request, target: URL): Request {
  const leftOrigin = request.leftOrigin === true || target.origin !== first.url.origin
  if (!leftOrigin) return { ...request, url: target }
  const headers = Object.entries(request.headers ?? {}).filter(([name]) => !PRIVATE.includes(name.toLowerCase()))
  return { ...request, url: target, leftOrigin, headers: Object.fromEntries(headers) }
}

/** The address is the server's choice: what to do about it is said of the server, not of the spelling. */
function unreached(first: Request, { url }: Request, thrown: unknown): unknown {
  if (!(thrown instanceof PromoteError) || !['NETWORK', 'TLS', 'STALLED'].includes(thrown.code)) return thrown
  const unknown = thrown.message.includes('(ENOTFOUND)') ? ', which does not resolve' : ''
  const message = `${first.method} ${displayUrl(first.url)}: the server redirected to ${url.host}${unknown}. ${thrown.message}`
  return thrown.with({ message, hint: unknown === '' ? thrown.hint : DIRECT })
}

const PLAIN =
  'Only blobs are read over plain http after a redirect. A proxy in front of the registry that does not pass on X-Forwarded-Proto: https often causes this.'

const ADDRESS = 'Check the address of the registry, and a proxy or gateway in front of it.'

function refused({ method, url }: Request, what: string, side: Side, hint = ADDRESS): PromoteError {
  return new PromoteError('PROTOCOL', `${method} ${displayUrl(url)}: the server ${what}.`, { side, hint })
}
