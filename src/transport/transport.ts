/** Requests to sockets: which connection, which proxy, which trust. Nothing is repeated or followed here. */
import type { X509Certificate } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { unescape as decoded } from 'node:querystring'
import type { Transform } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import Agent from 'undici/lib/dispatcher/agent.js'
import { through } from '../core/async.ts'
import type { Context } from '../core/context.ts'
import { PromoteError, type Side } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import { displayUrl } from '../core/text.ts'
import { VERSION } from '../core/version.ts'
import { type OnRead, openBulkClient } from './bulk-client.ts'
import { type ConnectOptions, connector, lazy, proxyRefused } from './connect.ts'
import { exchange, type WireRequest } from './exchange.ts'
import { networkError } from './network-errors.ts'
import { type ProxyServer, proxyFor } from './proxy.ts'
import { type AddressFilter, checkAddress, lookupAllowed } from './public-address.ts'
import { discard, isStream, type Request, type Response, type Send } from './request.ts'
import { ownAuthorities, trustContext } from './tls-trust.ts'

/** PEM. Shown to `origin` alone when there is one, else to every https server that asks. */
export type ClientCertificate = Readonly<{
  cert: string
  key: string
  origin?: string | undefined
  /**
   * False: left away from requests with a credential of their own. The API server looks at the certificate first, and
   * would answer for its user (kubernetes pkg/kubeapiserver/authenticator/config.go).
   */
  besideTokens?: boolean | undefined
}>

export type TransportOptions = Readonly<{
  side: Side
  /** PEM text, trusted beside the system's roots. */
  ca?: string | undefined
  insecureSkipTlsVerify: boolean
  /** Milliseconds without a byte after which an exchange counts as broken. */
  stallTimeout: number
  clientCertificate?: ClientCertificate | undefined
  /** Only https, and only to addresses for which this says true. */
  isAllowed?: AddressFilter | undefined
  /** With `isAllowed`: only these hosts, and through a proxy none but these. */
  hosts?: readonly string[] | undefined
}>

/** @throws PromoteError USAGE when `ca` holds no certificate. */
export function openTransport(options: TransportOptions, context: Context) {
  const authorities = ownAuthorities(options.ca, options.side)
  const closing = new AbortController()
  const running = AbortSignal.any([context.signal, closing.signal])
  // Node warns of a leak from the eleventh listener on; each request has one.
  setMaxListeners(0, closing.signal, running)
  const routes = openRoutes(options, context, closing.signal)
  const answered = new Set<string>()

  const send: Send = async (request) => {
    // A connection is free again one turn of the event loop after its answer. A request before that opens another one,
    // which costs two or three round trips before the first byte.
    await turn()
    const proxy = proxyFor(request.url, context.env)
    const explain = (thrown: unknown) =>
      networkError(thrown, {
        side: options.side,
        url: request.url,
        what: `${request.method} ${displayUrl(request.url)}`,
        known: answered.has(request.url.host),
        certificate: typeof thrown === 'object' && thrown !== null ? routes.shown.get(thrown) : undefined,
        authorities,
      })
    checkHeaders(request, options.side)
    if (options.isAllowed !== undefined)
      checkAddress(request.url, options.isAllowed, proxy !== undefined, options.side, options.hosts)
    const exact = await withoutEmptyStream(request)
    const signal = request.afterCancel === true ? closing.signal : running
    const exchangeOptions = { side: options.side, stallTimeout: options.stallTimeout, explain, signal }
    const res = decompressed(request, await exchange(exact, routes.wire(exact, proxy), exchangeOptions), options.side)
    const isFirst = !answered.has(request.url.host)
    if (res.status < 500) answered.add(request.url.host)
    if (res.status !== 407 || proxy === undefined) return isFirst ? { ...res, isFirst } : res
    await discard(res)
    throw proxyRefused(proxy, request.url.host, 407, 'Proxy Authentication Required', options.side)
  }
  return {
    send,
    close: async () => {
      closing.abort()
      await routes.close()
    },
  }
}

const DECODERS: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
}

/**
 * Some proxies compress although `identity` is asked for. Callers bound what they read of the decompressed answer. Blobs
 * stay as they come: they are counted and hashed.
 */
function decompressed({ method, isBlob }: Request, res: Response, side: Side): Response {
  const { 'content-encoding': encoding, 'content-length': length, ...headers } = res.headers
  const decoder = DECODERS[String(encoding ?? '').toLowerCase()]
  if (decoder === undefined || isBlob === true || method === 'HEAD' || length === '0') return res
  const body = async function* () {
    try {
      yield* through(res.body, decoder())
    } catch (thrown) {
      if (thrown instanceof PromoteError) throw thrown
      const message = `${method} ${displayUrl(res.url)}: the answer is not the ${encoding} that it claims to be.`
      throw new PromoteError('PROTOCOL', message, { side, cause: thrown })
    }
  }
  return { ...res, headers, body: body() }
}

/** What a header cannot carry came from a server; undici's error would quote it. */
function checkHeaders({ method, url, headers = {} }: Request, side: Side): void {
  for (const [name, value] of Object.entries(headers))
    if (value !== undefined && /[^\t -~\u0080-\u00ff]/.test(String(value)))
      throw new PromoteError(
        'PROTOCOL',
        `${method} ${displayUrl(url)}: the header ${name} would have characters that no header has.`,
        { side, hint: 'A server gave a value for it that is not valid.' },
      )
}

/** undici cannot send an empty stream; it still has to be read, because it may throw at its end. */
async function withoutEmptyStream(request: Request): Promise<Request> {
  if (!isStream(request.body) || request.body.size > 0) return request
  for await (const chunk of request.body.stream) {
    if (chunk.byteLength > 0) throw new PromoteError('PROTOCOL', 'The bytes to send are more than announced.')
  }
  return { ...request, body: '' }
}

type Client = WireRequest['dispatcher'] & { destroy(): Promise<unknown> }

/** Ways to take: direct, or by which proxy; with or without the client certificate. */
function openRoutes(options: TransportOptions, context: Context, closing: AbortSignal) {
  const shown = new WeakMap<object, X509Certificate>()
  const clients = new Map<string, Client>()
  const trust = lazy(() => trustContext(context.env, options.ca, options.side, undefined))
  const identified = lazy(() => trustContext(context.env, options.ca, options.side, options.clientCertificate))
  const connectOptions = (identity: boolean): ConnectOptions => ({
    side: options.side,
    context: identity ? identified : trust,
    insecure: options.insecureSkipTlsVerify,
    timeout: options.stallTimeout,
    signal: closing,
    shown,
    lookup: options.isAllowed === undefined ? undefined : lookupAllowed(options.isAllowed, options.side),
  })
  const newClient = (proxy: ProxyServer | undefined, forwarded: boolean, identity: boolean, bulk: boolean): Client => {
    const own = forwarded ? { ...connectOptions(false), insecure: false } : connectOptions(identity)
    const authorization = proxy && proxyAuthorization(proxy.url, context)
    const tunnel = proxy === undefined || forwarded ? undefined : { ...proxy, authorization, context: trust }
    const open = (onread?: OnRead) => connector(own, tunnel, onread)
    return bulk ? openBulkClient(open) : new Agent({ connect: open() })
  }
  return {
    shown,
    async close() {
      await Promise.all([...clients.values()].map((client) => client.destroy()))
    },
    wire(request: Request, proxy: ProxyServer | undefined): WireRequest {
      const forwarded = isForwarded(request, proxy)
      const identity = !forwarded && showsIdentity(options.clientCertificate, request)
      const key = `${forwarded} ${identity} ${request.bulk === true} ${proxy?.url.href}`
      const dispatcher = getOrAdd(clients, key, () => newClient(proxy, forwarded, identity, request.bulk === true))
      return { dispatcher, ...lineOf(request, proxy, context) }
    },
  }
}

/** What the request looks like on the wire. */
function lineOf(request: Request, proxy: ProxyServer | undefined, context: Context): Omit<WireRequest, 'dispatcher'> {
  const { url } = request
  const headers = { ...request.headers, 'accept-encoding': 'identity', 'user-agent': `image-promote/${VERSION}` }
  const path = `${url.pathname}${url.search}`
  if (proxy === undefined || !isForwarded(request, proxy)) return { origin: url.origin, path, headers }
  const authorization = proxyAuthorization(proxy.url, context)
  const through = authorization === undefined ? {} : { 'proxy-authorization': authorization }
  return {
    origin: proxy.url.origin,
    path: `${url.origin}${path}`,
    headers: { ...headers, host: url.host, ...through },
  }
}

/** Plain HTTP is asked for in absolute form: many proxies allow CONNECT to 443 alone. */
function isForwarded({ url }: Request, proxy: ProxyServer | undefined): boolean {
  return proxy !== undefined && url.protocol === 'http:'
}

/** A certificate is a credential: with an `origin` it is shown there alone. */
function showsIdentity(identity: ClientCertificate | undefined, { url, headers, leftOrigin }: Request): boolean {
  if (leftOrigin === true) return false
  if (identity === undefined || url.protocol !== 'https:') return false
  if (identity.besideTokens === false && headers?.authorization !== undefined) return false
  return identity.origin === undefined || new URL(identity.origin).origin === url.origin
}

function proxyAuthorization(url: URL, context: Context): string | undefined {
  if (url.username === '' && url.password === '') return undefined
  context.secrets.keep(url.password)
  const password = context.secrets.keep(decoded(url.password))
  return `Basic ${context.secrets.keepPair(decoded(url.username), password).reveal()}`
}
