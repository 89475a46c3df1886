import type { IncomingHttpHeaders, IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { TLSSocket } from 'node:tls'

/**
 * The registries of the tests are functions from a request to an answer; bodies are streams in both directions, so that
 * faults are functions over streams and blobs of any size pass. Here is the only place that knows node's sockets.
 */

export interface Incoming {
  readonly method: string
  /** Path and query as on the wire. */
  readonly target: string
  /** As on the wire, without the query. */
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** `scheme://host` as the client sees it: Forwarded, X-Forwarded-* or Host (distribution, api/v2/urls.go). */
  readonly origin: string
  /** The request came by TLS to this server. */
  readonly encrypted: boolean
  /** To be read once. The first read answers `Expect: 100-continue`. Throws when the client goes away. */
  readonly body: AsyncIterable<Uint8Array>
  /** Aborted when the connection or the answer has ended. */
  readonly signal: AbortSignal
}

export interface Answer {
  status: number
  /** Several values are several lines. */
  headers?: Record<string, string | readonly string[]>
  /** An iterable that throws cuts the connection after what it has yielded. */
  body?: Uint8Array | string | AsyncIterable<Uint8Array>
}

export type Handler = (request: Incoming) => Promise<Answer>
export type Layer = (next: Handler) => Handler

/** Thrown by a handler or a body: the connection ends here, without (the rest of) an answer. */
export class Cut extends Error {}

export interface Tally {
  requests: number
  /** Bytes of bodies that arrived. */
  bytesIn: number
  /** Bytes of bodies that were handed to the socket. */
  bytesOut: number
}

export interface Logged {
  readonly method: string
  /** With the query. */
  readonly path: string
  /** 0 until (and unless) an answer began. */
  status: number
  readonly authorization: 'none' | 'basic' | 'bearer' | 'other'
}

/** Everything that passed: counted per path (without the query) and, through uploads and downloads, per blob. */
export interface Stats extends Tally {
  readonly paths: Map<string, Tally>
  /** Requests in progress now, and the most there ever were. */
  active: number
  peak: number
  /** Bytes that arrived for this blob in every upload session (or single POST) that ever named its digest. */
  received(digest: string): number
  /** Bytes of this blob (or manifest, by digest) that were sent, redirect targets included. */
  sent(digest: string): number
}

export interface Log {
  readonly requests: Logged[]
  readonly stats: Stats
  /** What no well-behaved client does, and routes that do not exist. */
  readonly violations: string[]
  /** The path of an upload session belongs to this blob … */
  uploading(path: string, digest: string): void
  /** … or so many bytes do, that came without a session. */
  arrived(digest: string, bytes: number): void
  left(digest: string, bytes: number): void
}

export function createLog(): Log {
  const paths = new Map<string, Tally>()
  const uploads = new Map<string, Set<string>>()
  const direct = new Map<string, number>()
  const out = new Map<string, number>()
  const stats: Stats = {
    requests: 0,
    bytesIn: 0,
    bytesOut: 0,
    active: 0,
    peak: 0,
    paths,
    received: (digest) =>
      [...(uploads.get(digest) ?? [])].reduce(
        (sum, path) => sum + (paths.get(path)?.bytesIn ?? 0),
        direct.get(digest) ?? 0,
      ),
    sent: (digest) => out.get(digest) ?? 0,
  }
  return {
    requests: [],
    stats,
    violations: [],
    uploading: (path, digest) => void uploads.set(digest, (uploads.get(digest) ?? new Set()).add(path)),
    arrived: (digest, bytes) => void direct.set(digest, (direct.get(digest) ?? 0) + bytes),
    left: (digest, bytes) => void out.set(digest, (out.get(digest) ?? 0) + bytes),
  }
}

/** Serves `handler` on a node server and keeps the log; errors that are not cuts answer 500 and count as violations. */
export function listener(handler: Handler, log: Log): RequestListener {
  return (req, res) => {
    serve(handler, log, req, res).catch((error: unknown) => {
      log.violations.push(`the emulator failed: ${error instanceof Error ? error.stack : String(error)}`)
      req.socket.destroy()
    })
  }
}

async function serve(handler: Handler, log: Log, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const { pathname, searchParams } = split(req.url ?? '/')
  const tally = log.stats.paths.get(pathname) ?? { requests: 0, bytesIn: 0, bytesOut: 0 }
  log.stats.paths.set(pathname, tally)
  tally.requests++
  log.stats.requests++
  log.stats.peak = Math.max(log.stats.peak, ++log.stats.active)
  const entry: Logged = {
    method: req.method ?? '',
    path: req.url ?? '',
    status: 0,
    authorization: scheme(req.headers.authorization),
  }
  log.requests.push(entry)
  const ended = new AbortController()
  const count = (way: 'bytesIn' | 'bytesOut', bytes: number) => {
    tally[way] += bytes
    log.stats[way] += bytes
  }
  res.on('close', () => ended.abort())
  try {
    const answer = await handler({
      method: entry.method,
      target: entry.path,
      path: pathname,
      query: searchParams,
      headers: req.headers,
      origin: originOf(req),
      encrypted: isEncrypted(req),
      body: bodyOf(req, res, (bytes) => count('bytesIn', bytes)),
      signal: ended.signal,
    })
    entry.status = answer.status
    const digest = answer.status < 300 ? pathname.slice(pathname.lastIndexOf('/') + 1) : ''
    await write(answer, req, res, (bytes) => {
      count('bytesOut', bytes)
      if (digest.includes(':')) log.left(digest, bytes)
    })
  } catch (error) {
    // A client that went away breaks reads and writes. That is allowed, and there is no client left to answer.
    const gone = error instanceof Cut || req.destroyed || res.destroyed || ended.signal.aborted
    res.socket?.destroySoon()
    if (!gone) throw error
  } finally {
    log.stats.active--
  }
}

/** No URL parser: it would tidy up the path, and a registry routes on what was sent. */
function split(target: string): { pathname: string; searchParams: URLSearchParams } {
  const at = target.indexOf('?')
  if (at < 0) return { pathname: target, searchParams: new URLSearchParams() }
  return { pathname: target.slice(0, at), searchParams: new URLSearchParams(target.slice(at + 1)) }
}

function originOf(req: IncomingMessage): string {
  const one = (name: string) =>
    String(req.headers[name] ?? '')
      .split(',')[0]
      ?.trim() ?? ''
  const header = one('forwarded')
  const [proto, host] = header === '' ? [one('x-forwarded-proto'), one('x-forwarded-host')] : forwardedIn(header)
  return `${proto || (isEncrypted(req) ? 'https' : 'http')}://${host || one('host')}`
}

function isEncrypted(req: IncomingMessage): boolean {
  return (req.socket as TLSSocket).encrypted === true
}

/**
 * Protocol and host of RFC 7239 `Forwarded`. A value with a colon must be quoted; HAProxy does not quote `host=name:8443`.
 * distribution then ignores the header, and X-Forwarded-* as well (headerparser.go, urls.go).
 */
function forwardedIn(header: string): [proto: string, host: string] {
  const token = "[A-Za-z0-9!#$%&'*+.^_`|~-]+"
  const pair = new RegExp(`^\\s*(${token})=(?:"([^"]*)"|(${token}))\\s*$`)
  const pairs = header.split(';').map((text) => pair.exec(text))
  if (pairs.includes(null)) return ['', '']
  const of = (name: string) => pairs.find((found) => found?.[1]?.toLowerCase() === name)
  const value = (name: string) => of(name)?.[2] ?? of(name)?.[3] ?? ''
  return [value('proto'), value('host')]
}

function scheme(authorization: string | undefined): Logged['authorization'] {
  if (!authorization) return 'none'
  const name = authorization.split(' ', 1)[0]?.toLowerCase()
  return name === 'basic' || name === 'bearer' ? name : 'other'
}

async function* bodyOf(
  req: IncomingMessage,
  res: ServerResponse,
  count: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  if (/100-continue/i.test(req.headers.expect ?? '')) res.writeContinue()
  for await (const chunk of req.iterator({ destroyOnReturn: false })) {
    count(chunk.length)
    yield chunk
  }
}

async function write(answer: Answer, req: IncomingMessage, res: ServerResponse, count: (bytes: number) => void) {
  const body = typeof answer.body === 'string' ? Buffer.from(answer.body) : answer.body
  res.statusCode = answer.status
  // The registries are Go programs; node's phrase for 416 differs.
  if (answer.status === 416) res.statusMessage = 'Requested Range Not Satisfiable'
  for (const [name, value] of Object.entries(answer.headers ?? {})) res.setHeader(name, value)
  const bodiless = req.method === 'HEAD' || answer.status === 204 || answer.status === 304
  if (body === undefined || body instanceof Uint8Array || bodiless) {
    const static_ = body instanceof Uint8Array ? body : Buffer.alloc(0)
    if (answer.status !== 204 && answer.status !== 304 && !res.hasHeader('Content-Length')) {
      res.setHeader('Content-Length', static_.length)
    }
    if (!bodiless) count(static_.length)
    res.end(bodiless ? undefined : static_)
  } else {
    res.flushHeaders()
    await pump(body, res, count)
    res.end()
  }
  // Node drains a body that was not read at all; one that was read in part is drained here, so that the connection lives.
  if (!req.complete) req.resume()
}

async function pump(body: AsyncIterable<Uint8Array>, res: ServerResponse, count: (bytes: number) => void) {
  for await (const chunk of body) {
    if (res.destroyed) throw new Cut()
    count(chunk.length)
    if (res.write(chunk)) continue
    await new Promise<void>((done) => {
      const settle = () => {
        res.off('drain', settle)
        res.off('close', settle)
        done()
      }
      res.on('drain', settle)
      res.on('close', settle)
    })
  }
}
