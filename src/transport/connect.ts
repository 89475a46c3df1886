/** How sockets come about: direct or through a proxy's CONNECT, TLS with the side's context, certificates kept for messages. */
import { X509Certificate } from 'node:crypto'
import { type IncomingMessage, request as plainRequest } from 'node:http'
import { request as tlsRequest } from 'node:https'
import type { LookupFunction, Socket } from 'node:net'
import type { SecureContext, TLSSocket } from 'node:tls'
import buildConnector from 'undici/lib/core/connect.js'
import { type ErrorDetail, PromoteError, type Side } from '../core/errors.ts'
import { oneLine } from '../core/text.ts'
import type { OnRead } from './bulk-client.ts'
import type { ProxyServer } from './proxy.ts'

export type ConnectOptions = Readonly<{
  side: Side
  /** Made when the first TLS connection needs it; plain-HTTP registries never do. */
  context: () => SecureContext
  insecure: boolean
  /** Milliseconds. */
  timeout: number
  /** Aborted when the network is closed. */
  signal: AbortSignal
  /** What each server showed, by the error that refused it. */
  shown: WeakMap<object, X509Certificate>
  /** Instead of `dns.lookup`, where not every address may be connected to. */
  lookup: LookupFunction | undefined
}>

/** A proxy that is asked for a tunnel. `authorization` is the value of Proxy-Authorization. */
type Tunnel = ProxyServer &
  Readonly<{
    authorization: string | undefined
    /** Trusts the same authorities, and shows no client certificate. */
    context: () => SecureContext
  }>

/**
 * Node gives up an address after 250 ms and tries the next: too short for another continent, where every address would
 * fail. https://nodejs.org/api/net.html#socketconnectoptions-connectlistener
 */
const ADDRESS_ATTEMPT = 2500

/** @param onread for one connection only: each needs a buffer of its own. */
export function connector(options: ConnectOptions, tunnel?: Tunnel, onread?: OnRead): buildConnector.connector {
  const common = {
    timeout: options.timeout,
    autoSelectFamilyAttemptTimeout: ADDRESS_ATTEMPT,
    ...(onread === undefined ? {} : { onread }),
  }
  const build = lazy(() => buildConnector(common as buildConnector.BuildOptions))
  const secure = lazy(() =>
    buildConnector({
      ...common,
      secureContext: options.context(),
      ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
      rejectUnauthorized: !options.insecure,
    } as buildConnector.BuildOptions),
  )
  const open: buildConnector.connector = (target, callback) => {
    if (target.protocol !== 'https:') return build()(target, callback)
    let shown: Buffer | undefined
    // The declaration says void, the connector returns its socket. A socket that is refused forgets the certificate
    // before it reports the error, so it is read when the handshake ends, before Node judges it.
    const socket = secure()(target, (...[error, connected]: [Error | null, Socket | TLSSocket | null]) => {
      if (error === null) return callback(null, connected as Socket)
      if (shown !== undefined) options.shown.set(error, new X509Certificate(shown))
      callback(error, null)
    }) as unknown as TLSSocket
    socket.prependOnceListener('secure', () => {
      // `getPeerX509Certificate` here would leave Node 20's own check of the name with a certificate without names.
      shown = socket.getPeerCertificate().raw
    })
  }
  if (tunnel === undefined) return (target, callback) => attempt(() => open(target, callback), callback)
  return (target, callback) => {
    throughProxy(tunnel, target, options).then(
      (httpSocket) => attempt(() => open({ ...target, httpSocket }, callback), callback),
      (error: Error) => callback(error, null),
    )
  }
}

/** A context that cannot be built is the request's error, not an exception in the dispatcher. */
function attempt(open: () => void, callback: buildConnector.Callback): void {
  try {
    open()
  } catch (thrown) {
    callback(thrown as Error, null)
  }
}

/** Builds once, and again only when building failed. */
export function lazy<T>(build: () => T): () => T {
  let built: { value: T } | undefined
  return () => {
    built ??= { value: build() }
    return built.value
  }
}

function throughProxy(tunnel: Tunnel, target: buildConnector.Options, options: ConnectOptions): Promise<Socket> {
  const authority = `${target.hostname.includes(':') ? `[${target.hostname.replace(/^\[|\]$/g, '')}]` : target.hostname}:${target.port || 443}`
  const authorization = tunnel.authorization === undefined ? {} : { 'proxy-authorization': tunnel.authorization }
  const https = tunnel.url.protocol === 'https:'
  return new Promise((resolve, reject) => {
    const refuse = ({ statusCode = 0, statusMessage = '' }: IncomingMessage) =>
      reject(proxyRefused(tunnel, authority, statusCode, statusMessage, options.side))
    const request = (https ? tlsRequest : plainRequest)({
      method: 'CONNECT',
      host: tunnel.url.hostname.replace(/^\[|\]$/g, ''),
      port: tunnel.url.port || (https ? 443 : 80),
      path: authority,
      headers: { host: authority, ...authorization },
      agent: false,
      signal: options.signal,
      timeout: options.timeout,
      ...(https ? { secureContext: tunnel.context() } : {}),
    })
    request.once('connect', (response, socket, head) => {
      socket.setTimeout(0)
      if (response.statusCode !== 200) {
        socket.destroy()
        return refuse(response)
      }
      if (head.length > 0) socket.unshift(head)
      resolve(socket as Socket)
    })
    // Some proxies answer a refusal as if CONNECT were an ordinary request.
    request.once('response', (response) => {
      response.destroy()
      refuse(response)
    })
    request.once('timeout', () => {
      request.destroy(proxyFailed(tunnel, authority, 'no answer in time', options.side))
    })
    request.once('error', (error) => {
      reject(error instanceof PromoteError ? error : proxyFailed(tunnel, authority, error.message, options.side, error))
    })
    request.end()
  })
}

export function proxyRefused(proxy: ProxyServer, target: string, status: number, words: string, side: Side) {
  const hint =
    status === 407
      ? `The proxy wants a user and password: ${proxy.name}=http://USER:PASSWORD@${proxy.url.host}, or name the host in NO_PROXY.`
      : `Allow ${target} in the proxy of ${proxy.name}, or name the host in NO_PROXY.`
  // A proxy that could not reach the target, or is restarting.
  const transient = status === 502 || status === 503 || status === 504
  return proxyError(proxy, target, `${status} "${oneLine(words, 200)}"`, { side, status, hint, transient })
}

function proxyFailed(proxy: ProxyServer, target: string, reason: string, side: Side, cause?: Error): PromoteError {
  const hint = `Check ${proxy.name}, or name the host in NO_PROXY.`
  return proxyError(proxy, target, oneLine(reason, 200), { side, cause, hint, transient: true })
}

function proxyError({ url }: ProxyServer, target: string, what: string, detail: ErrorDetail): PromoteError {
  return new PromoteError('NETWORK', `${target} through the proxy ${url.host}: ${what}.`, detail)
}
