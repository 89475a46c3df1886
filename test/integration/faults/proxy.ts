import { Agent, type IncomingMessage, request as send } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Access, createGate, type Gate } from '../../support/cluster/access.ts'
import { routeOf } from '../../support/cluster/distribution.ts'
import { createFaults, type Faults } from '../../support/cluster/faults.ts'
import {
  type Answer,
  Cut,
  createLog,
  type Handler,
  type Incoming,
  type Log,
  type Logged,
  listener,
  type Stats,
} from '../../support/cluster/http.ts'
import { listen, stop } from '../../support/cluster/plain.ts'
import { announce } from '../../support/servers.ts'

/** A registry behind a plain-HTTP reverse proxy that misbehaves by the same rules as the embedded registry. */
export interface FaultProxy {
  readonly url: URL
  readonly host: string
  readonly faults: Faults
  readonly stats: Stats
  readonly requests: readonly Logged[]
  readonly violations: readonly string[]
  readonly gate: Gate
  close(): Promise<void>
}

/** @param access who the proxy lets through; the registry behind it is open. */
export async function startProxy(upstream: URL, access: Access = { kind: 'anonymous' }): Promise<FaultProxy> {
  const log = createLog()
  const faults = createFaults()
  const agent = new Agent({ keepAlive: true })
  const gate = createGate(access, Date.now, ({ origin }) => `${origin}/token`)
  const forward = forwarder(upstream, agent, log)
  const handler: Handler = async (request) => {
    if (request.path === '/token' && access.kind === 'token') return gate.token(request)
    const route = routeOf(request.path)
    return (route && gate.check(request, route)) ?? forward(request)
  }
  const server = await listen(listener(faults.layer(handler), log))
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const leave = announce([url.host], { door: async () => ({ url: upstream }) })
  return {
    url,
    host: url.host,
    faults,
    stats: log.stats,
    requests: log.requests,
    violations: log.violations,
    gate,
    close: async () => {
      leave()
      await stop(server)
      agent.destroy()
    },
  }
}

/** What belongs to one connection and not to the message (RFC 9110 section 7.6.1). */
const HOP_BY_HOP = ['connection', 'keep-alive', 'transfer-encoding', 'authorization', 'expect']

function forwarder(upstream: URL, agent: Agent, log: Log): Handler {
  return async (request) => {
    const { method, target, headers, body, signal } = request
    noteBlob(request, log)
    // `Host` goes along: docker-registry makes its Locations of it, and they have to lead back here.
    const kept = Object.entries(headers).filter(([name]) => !HOP_BY_HOP.includes(name))
    const { hostname, port } = upstream
    const out = send({ hostname, port, method, path: target, headers: Object.fromEntries(kept), agent })
    const giveUp = () => out.destroy()
    signal.addEventListener('abort', giveUp)
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      out.once('response', resolve)
      out.once('error', reject)
    })
    // An answer may come before the body has ended; what the body does then is of no interest.
    const sent = pour(body, out)
    try {
      return answerOf(await Promise.race([answered, sent.then(() => answered)]), method)
    } catch (thrown) {
      out.destroy()
      answered.catch(() => undefined)
      throw thrown instanceof Cut ? thrown : new Cut()
    } finally {
      sent.catch(() => out.destroy())
    }
  }
}

function noteBlob({ method, path, query }: Incoming, log: Log): void {
  const digest = query.get('digest')
  if (method === 'PUT' && digest !== null && path.includes('/blobs/uploads/')) log.uploading(path, digest)
}

async function pour(body: AsyncIterable<Uint8Array>, out: ReturnType<typeof send>): Promise<void> {
  for await (const chunk of body) {
    if (out.destroyed) return
    if (!out.write(chunk)) await drained(out)
  }
  out.end()
}

function drained(out: ReturnType<typeof send>): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      out.off('drain', done).off('close', done)
      resolve()
    }
    out.on('drain', done).on('close', done)
  })
}

function answerOf(answer: IncomingMessage, method: string): Answer {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(answer.headers)) {
    if (value !== undefined && !HOP_BY_HOP.includes(name)) headers[name] = [value].flat().join(', ')
  }
  const { statusCode: status = 502 } = answer
  const bodiless = method === 'HEAD' || status === 204 || headers['content-length'] === '0'
  if (!bodiless) return { status, headers, body: answer }
  answer.resume()
  return { status, headers }
}
