/** The HTTP client of one side: retry(redirect(authorize(debug log(limitConcurrency(transport))))). */
import type { Context } from '../core/context.ts'
import { asPromoteError } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import { displayUrl, oneLine } from '../core/text.ts'
import type { Layer, Send } from '../transport/request.ts'
import { openTransport, type TransportOptions } from '../transport/transport.ts'
import { authorize } from './authorize.ts'
import { limitConcurrency } from './concurrency.ts'
import type { Login } from './credential.ts'
import { redirect } from './redirect.ts'
import { type RetryOptions, retry } from './retry.ts'

/** The connections of one side: one secure context, one set of proxies, one stall timeout. */
export type Network = ReturnType<typeof openNetwork>

/** `ceiling`: most requests at once per origin. */
export type NetworkOptions = TransportOptions & RetryOptions & Readonly<{ ceiling?: number | undefined }>

/** @throws PromoteError USAGE when `ca` holds no certificate. */
export function openNetwork(options: NetworkOptions, context: Context) {
  const transport = openTransport(options, context)
  const wire = compose(transport.send, debugLog(context), limitConcurrency(context, options.ceiling))
  const patient: readonly Layer[] = [retry(options, context), redirect(options.side, context)]
  const verified = !options.insecureSkipTlsVerify
  const ask = compose(wire, redirect(options.side, context))
  // The same login on the same origin shares its tokens, however often it is asked for.
  const opened = new WeakMap<Login, Map<string, Send>>()
  return {
    /** With redirects and retries, without any credential. */
    send: compose(wire, ...patient),
    /**
     * The same, with the credential of `login` on requests to exactly `origin` (scheme, host and port); everything else
     * goes without. Understands Basic and Bearer challenges, token services, and renews through `login` after a 401.
     */
    as: (origin: URL, login: Login): Send => {
      const sends = getOrAdd(opened, login, () => new Map<string, Send>())
      const access = { side: options.side, origin, login, verified, ask, context }
      return getOrAdd(sends, origin.origin, () => compose(wire, ...patient, authorize(access)))
    },
    close: transport.close,
  }
}

/** The first layer is the outermost. */
export function compose(send: Send, ...layers: readonly Layer[]): Send {
  return layers.reduceRight((next, layer) => layer(next), send)
}

/** What may be read in a log; everything else in a query (upload state, signatures) is left out. */
const HARMLESS = ['digest', 'mount', 'from', 'n', 'last', 'tag', 'artifactType', 'service', 'scope', 'limit']

/** One debug line for every request on the wire: `GET https://host/path?n=100 200 12 ms`. No headers, no bodies. */
function debugLog({ log, now }: Context): Layer {
  return (next) => async (request) => {
    const started = now()
    const line = (outcome: string | number) =>
      log.debug(`${request.method} ${readable(request.url)} ${outcome} ${Math.round(now() - started)} ms`)
    try {
      const res = await next(request)
      line(res.status)
      return res
    } catch (thrown) {
      line(asPromoteError(thrown).code)
      throw thrown
    }
  }
}

export function readable(url: URL): string {
  if (url.search === '') return displayUrl(url)
  const shown = [...url.searchParams].filter(([name]) => HARMLESS.includes(name))
  const query = shown.map(([name, value]) => `${name}=${oneLine(value, 200)}`).join('&')
  return query === '' ? displayUrl(url) : `${displayUrl(url)}?${query}`
}
