/** Requests to sockets: which connection, which proxy, which trust. Nothing is repeated or followed here. */
import type { X509Certificate } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import Agent from 'undici/lib/dispatcher/agent.js'
import type { Context } from '../context.ts'
import { PromoteError, type Side } from '../errors.ts'
import { discard, place } from '../http/answer.ts'
import type { Req, Res, Send } from '../http/send.ts'
import { VERSION } from '../version.ts'
import { exchange, type Wire } from './exchange.ts'
import { failure } from './failure.ts'
import { type Lane, type OnRead, openLane } from './lane.ts'
import { type ProxyServer, proxyFor } from './proxy.ts'
import { checkReach, lookupWithin, type Reach } from './reach.ts'
import { ownAuthorities, trustContext } from './trust.ts'
import { connector, lazy, proxyRefused, type Tunnel, type Wiring } from './tunnel.ts'

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
  ca?: string | undefined
  insecureSkipTlsVerify: boolean
  stallTimeout: number
  clientCertificate?: ClientCertificate | undefined
  /** Only https, and only to addresses for which this says true. */
  reach?: Reach | undefined
}>

export type Transport = Readonly<{ send: Send; close: () => Promise<void> }>

export function openTransport(options: TransportOptions, context: Context): Transport {
  const authorities = ownAuthorities(options.ca, options.side)
  const cancels = cancellations(context.signal, options.side)
  const routes = openRoutes(options, context)
  const answered = new Set<string>()

  const send = async (request: Req): Promise<Res> => {
    const proxy = proxyFor(request.url, context.env)
    const explain = (thrown: unknown) =>
      failure(thrown, {
        side: options.side,
        url: request.url,
        what: `${request.method} ${place(request.url)}`,
        known: answered.has(request.url.host),
        certificate: typeof thrown === 'object' && thrown !== null ? routes.shown.get(thrown) : undefined,
        authorities,
      })
    if (request.afterCancel !== true) cancels.check()
    if (options.reach !== undefined) await checkReach(request.url, options.reach, proxy !== undefined, options.side)
    const exact = await withoutEmptyStream(request)
    const terms = {
      side: options.side,
      stallTimeout: options.stallTimeout,
      explain,
      onCancel: cancels.add(request.afterCancel === true),
    }
    const res = await exchange(exact, routes.wire(exact, proxy), terms)
    answered.add(request.url.host)
    if (res.status !== 407 || proxy === undefined) return res
    await discard(res)
    throw proxyRefused(proxy, request.url.host, 407, 'Proxy Authentication Required', options.side)
  }
  return {
    send,
    close: async () => {
      cancels.close()
      await routes.close()
    },
  }
}

/** undici cannot send an empty stream; it still has to be read, because it may throw at its end. */
async function withoutEmptyStream(request: Req): Promise<Req> {
  if (typeof request.body !== 'object' || !('stream' in request.body) || request.body.size > 0) return request
  for await (const chunk of request.body.stream) {
    if (chunk.byteLength > 0) throw new PromoteError('PROTOCOL', 'The bytes to send are more than announced.')
  }
  return { ...request, body: '' }
}

/** One listener on the run's signal for any number of requests; each more would earn a warning from Node. */
function cancellations(signal: AbortSignal, side: Side) {
  const running = new Set<(reason: PromoteError) => void>()
  const sheltered = new Set<(reason: PromoteError) => void>()
  const cancelled = () => new PromoteError('CANCELLED', 'Cancelled.', { side })
  const end = (all: ReadonlySet<(reason: PromoteError) => void>) => {
    for (const cancel of [...all]) cancel(cancelled())
  }
  const cancel = () => end(running)
  signal.addEventListener('abort', cancel)
  return {
    check: () => {
      if (signal.aborted) throw cancelled()
    },
    /** @param afterCancel ended by closing the network only. */
    add: (afterCancel: boolean) => (one: (reason: PromoteError) => void) => {
      const set = afterCancel ? sheltered : running
      set.add(one)
      return () => void set.delete(one)
    },
    close: () => {
      signal.removeEventListener('abort', cancel)
      end(running)
      end(sheltered)
    },
  }
}

/** Two clients for one way: undici's for everything, and one for bodies of many MiB. */
type Way = Readonly<{ agent: () => Agent; lane: () => Lane; close: () => Promise<void> }>
type Open = (onread?: OnRead) => ReturnType<typeof connector>

function newWay(open: Open): Way {
  const opened: { destroy: () => unknown }[] = []
  const kept = <T extends { destroy: () => unknown }>(one: T): T => {
    opened.push(one)
    return one
  }
  return {
    agent: lazy(() => kept(new Agent({ connect: open() }))),
    lane: lazy(() => kept(openLane(open))),
    close: async () => void (await Promise.all(opened.map((one) => one.destroy()))),
  }
}

/** Ways to take: direct, or by which proxy; with or without the client certificate. */
function openRoutes(options: TransportOptions, context: Context) {
  const closing = new AbortController()
  setMaxListeners(0, closing.signal)
  const shown = new WeakMap<object, X509Certificate>()
  const ways = new Map<string, Way>()
  const trust = lazy(() => trustContext(context.env, options.ca, options.side, undefined))
  const identified = lazy(() => trustContext(context.env, options.ca, options.side, options.clientCertificate))
  const wiring = (identity: boolean): Wiring => ({
    side: options.side,
    context: identity ? identified : trust,
    insecure: options.insecureSkipTlsVerify,
    timeout: options.stallTimeout,
    signal: closing.signal,
    shown,
    lookup: options.reach === undefined ? undefined : lookupWithin(options.reach, options.side),
  })
  const dispatcher = ({ bulk }: Req, key: string, open: Open) => {
    const way = ways.get(key) ?? newWay(open)
    ways.set(key, way)
    return bulk === true ? way.lane() : way.agent()
  }
  const wire = (request: Req, proxy: ProxyServer | undefined): Wire => {
    const { url } = request
    const headers = { ...request.headers, 'accept-encoding': 'identity', 'user-agent': `image-promote/${VERSION}` }
    const identity = showsIdentity(options.clientCertificate, request)
    const path = `${url.pathname}${url.search}`
    const authorization = proxy === undefined ? undefined : proxyAuthorization(proxy.url, context)
    if (proxy !== undefined && url.protocol === 'http:') {
      // Plain HTTP is asked for in absolute form: many proxies allow CONNECT to 443 alone.
      const open: Open = (onread) => connector({ ...wiring(false), insecure: false }, undefined, onread)
      const through = authorization === undefined ? {} : { 'proxy-authorization': authorization }
      return {
        dispatcher: dispatcher(request, `forward ${proxy.url.href}`, open),
        origin: proxy.url.origin,
        path: `${url.origin}${path}`,
        headers: { ...headers, host: url.host, ...through },
      }
    }
    const tunnel: Tunnel | undefined =
      proxy === undefined ? undefined : { url: proxy.url, name: proxy.name, authorization, context: trust }
    const key = `${proxy === undefined ? 'direct' : `tunnel ${proxy.url.href}`} ${identity}`
    const open: Open = (onread) => connector(wiring(identity), tunnel, onread)
    return { dispatcher: dispatcher(request, key, open), origin: url.origin, path, headers }
  }
  const close = async () => {
    closing.abort()
    await Promise.all([...ways.values()].map((way) => way.close()))
  }
  return { wire, close, shown }
}

/** A certificate is a credential: with an `origin` it is shown there alone. */
function showsIdentity(identity: TransportOptions['clientCertificate'], { url, headers }: Req): boolean {
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

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
