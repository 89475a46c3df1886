/** Small servers on real sockets, certificates, and a context whose clock and sleep are in the test's hands. */
import * as http from 'node:http'
import * as https from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Context } from '../../src/core/context.ts'
import { PromoteError } from '../../src/core/errors.ts'
import { Secrets } from '../../src/core/secret.ts'
import { type Network, type NetworkOptions, openNetwork } from '../../src/http/client.ts'
import type { Response, Send } from '../../src/transport/request.ts'
import { type Ca, makeCa } from './cluster/certificates.ts'

export type Lab = Readonly<{
  context: Context
  /** What was logged. */
  lines: string[]
  /** What was slept. */
  slept: number[]
  cancel: () => void
  /** A server that is closed with the lab. */
  serve: (answer: Answer, tls?: Identity & { [option: string]: unknown }) => Promise<Served>
  proxy: (options?: { credentials?: string; refuse?: number }) => Promise<Proxied>
  network: (options?: Partial<NetworkOptions>) => Network
  /** Anything else that must be closed. */
  after: (close: () => unknown) => void
  close: () => Promise<void>
}>

export type Seen = Readonly<{ method: string; url: string; headers: http.IncomingHttpHeaders; body: string }>
export type Answer = (request: Seen, response: http.ServerResponse, raw: http.IncomingMessage) => void
export type Served = Readonly<{ url: URL; seen: Seen[]; server: http.Server }>
export type Proxied = Readonly<{ url: string; targets: string[] }>
export type Identity = Readonly<{ cert: string; key: string }>

/** Both HTTP clients owe the same; `bulk` chooses the second. */
export const CLIENTS = [
  ['undici', false],
  ['the bulk client', true],
] as const

/**
 * Everything opened by a lab is closed by its `close`, which belongs in `afterEach`.
 * @param bulk all requests but HEAD take the bulk client.
 */
export function openLab(env: Record<string, string> = {}, bulk = false): Lab {
  const closers: (() => unknown)[] = []
  const lines: string[] = []
  const slept: number[] = []
  const stop = new AbortController()
  const log = (line: string) => void lines.push(line)
  let clock = Date.UTC(2026, 0, 1)
  const context: Context = {
    log: { debug: log, info: log, warn: log, error: log },
    secrets: new Secrets(),
    signal: stop.signal,
    env,
    now: () => clock,
    sleep: async (milliseconds) => {
      if (stop.signal.aborted) throw new PromoteError('CANCELLED', 'Cancelled.')
      slept.push(milliseconds)
      clock += milliseconds
    },
    random: () => 0.5,
  }
  return {
    context,
    lines,
    slept,
    cancel: () => stop.abort(),
    serve: (answer, tls) => serve(answer, tls, closers),
    proxy: (options = {}) => connectProxy(options, closers),
    network: (options = {}) => {
      const opened = openNetwork(
        { side: 'source', insecureSkipTlsVerify: false, stallTimeout: 5000, retries: 3, ...options },
        context,
      )
      closers.push(() => opened.close())
      return bulk ? throughBulkClient(opened) : opened
    },
    after: (close) => void closers.push(close),
    close: async () => {
      for (const close of closers.splice(0).reverse()) await close()
    },
  }
}

function throughBulkClient(network: Network): Network {
  const marked =
    (send: Send): Send =>
    (request) =>
      send({ ...request, bulk: request.method === 'GET' || request.method === 'PUT' || request.method === 'PATCH' })
  return { ...network, send: marked(network.send), as: (...access) => marked(network.as(...access)) }
}

async function serve(
  answer: Answer,
  tls: (Identity & { [option: string]: unknown }) | undefined,
  closers: (() => unknown)[],
): Promise<Served> {
  const seen: Seen[] = []
  const listener: http.RequestListener = (request, response) => {
    const chunks: Buffer[] = []
    request.on('error', () => undefined)
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8')
      const one = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body }
      seen.push(one)
      answer(one, response, request)
    })
  }
  const server = tls === undefined ? http.createServer(listener) : https.createServer(tls, listener)
  const port = await listen(server, closers)
  return { url: new URL(`${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`), seen, server }
}

/** A server whose connections are cut when it is closed. */
export async function listen(server: http.Server, closers: (() => unknown)[]): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(
    () =>
      new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      }),
  )
  return (server.address() as AddressInfo).port
}

/** Tunnels by CONNECT, forwards requests in absolute form. Every host name leads to loopback. */
async function connectProxy(
  options: { credentials?: string; refuse?: number },
  closers: (() => unknown)[],
): Promise<Proxied> {
  const targets: string[] = []
  const sockets = new Set<Socket>()
  const wanted = options.credentials === undefined ? undefined : `Basic ${base64(options.credentials)}`
  const statusFor = (headers: http.IncomingHttpHeaders) =>
    options.refuse ?? (wanted !== undefined && headers['proxy-authorization'] !== wanted ? 407 : 200)
  const server = http.createServer((request, response) => {
    const target = new URL(request.url ?? '')
    targets.push(`${request.method} ${target.href}`)
    const status = statusFor(request.headers)
    if (status !== 200) {
      response.writeHead(status).end('refused by the proxy')
      return
    }
    const { 'proxy-authorization': _, ...headers } = request.headers
    const path = `${target.pathname}${target.search}`
    const options = {
      host: '127.0.0.1',
      port: target.port,
      method: request.method,
      path,
      headers,
      agent: false as const,
    }
    const forward = http.request(options, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    request.pipe(forward)
  })
  server.on('connect', (request: http.IncomingMessage, client: Socket, head: Buffer) => {
    targets.push(`CONNECT ${request.url}`)
    const status = statusFor(request.headers)
    if (status !== 200) {
      client.end(`HTTP/1.1 ${status} No\r\n\r\n`)
      return
    }
    const upstream = connect(Number(request.url?.split(':').at(-1)), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      upstream.write(head)
      client.pipe(upstream).pipe(client)
    })
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
    }
  })
  const port = await listen(server, closers)
  closers.push(() => {
    for (const socket of sockets) socket.destroy()
  })
  const user = options.credentials === undefined ? '' : `${options.credentials}@`
  return { url: `http://${user}127.0.0.1:${port}`, targets }
}

export function base64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64')
}

export async function readAll(res: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of res.body) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

/** What a promise was rejected with; a promise that resolves fails the test. */
export async function rejection(promise: Promise<unknown>): Promise<PromoteError> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  if ('error' in outcome && outcome.error instanceof PromoteError) return outcome.error
  throw new Error(`expected a PromoteError, got ${JSON.stringify(outcome)} ${'error' in outcome ? outcome.error : ''}`)
}

export type Authority = Readonly<{
  pem: string
  issue: (options?: Leaf) => Promise<Identity>
  /** An authority below this one. */
  delegate: (commonName: string) => Promise<Authority>
}>
type Leaf = Readonly<{ names?: readonly string[]; from?: Date; to?: Date }>

/** A certificate authority whose servers send their own certificate alone. */
export async function authority(commonName = 'test CA'): Promise<Authority> {
  return sendingLeaves(await makeCa(commonName))
}

function sendingLeaves(ca: Ca): Authority {
  return {
    pem: ca.cert,
    issue: ({ names = ['127.0.0.1'], from, to } = {}) => ca.issue({ names, from, to, leafOnly: true }),
    delegate: async (commonName) => sendingLeaves(await ca.delegate(commonName)),
  }
}
