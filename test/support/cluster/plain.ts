import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Digest } from '../../../src/oci/digest.ts'
import { announce } from '../servers.ts'
import { type Access, createGate, type Gate } from './access.ts'
import { routeOf } from './distribution.ts'
import { createFaults, type Faults } from './faults.ts'
import { createLog, type Handler, type Logged, listener, type Stats } from './http.ts'
import { createRedirects, type RedirectOptions } from './redirect.ts'
import { type Behaviour, distributionRegistry } from './registry.ts'
import { createStorage, type Storage, type StorageOptions } from './storage.ts'

export interface PlainOptions extends Behaviour, StorageOptions {
  /** https with this certificate; without it plain http. */
  tls?: { cert: string; key: string }
  /** Default anonymous. */
  access?: Access
  /** Shared with another registry, or filled beforehand. */
  store?: Storage
  /** Blob reads answer 307 to another port that serves signed URLs. */
  redirect?: RedirectOptions | true
  /** Milliseconds since 1970; decides about tokens and signed URLs. */
  now?: () => number
  /** 0, or a fixed port for the command line. */
  port?: number
}

export interface EmbeddedRegistry {
  readonly url: URL
  /** `127.0.0.1:port` */
  readonly host: string
  readonly store: Storage
  readonly faults: Faults
  readonly stats: Stats
  readonly requests: readonly Logged[]
  /** What a well-behaved client does not do, and failures of the emulator itself; to be empty at the end of a test. */
  readonly violations: readonly string[]
  readonly gate: Gate
  tags(repository: string): ReadonlyMap<string, Digest>
  close(): Promise<void>
}

/** An OCI registry on 127.0.0.1, on a port that the system chooses, until it is closed. */
export async function startRegistry(options: PlainOptions = {}): Promise<EmbeddedRegistry> {
  const log = createLog()
  const store = options.store ?? createStorage(options)
  const now = options.now ?? Date.now
  const faults = createFaults()
  const origins = new Map<string, string>()
  const access = options.access ?? { kind: 'anonymous' }
  const elsewhere = access.kind === 'token' && access.elsewhere === true
  const gate = createGate(access, now, (request) => `${elsewhere ? origins.get('token') : request.origin}/token`)
  const redirect = options.redirect === true ? {} : options.redirect
  const redirects = redirect && createRedirects(store, log, redirect, now, () => origins.get('storage') ?? '')
  const registry = distributionRegistry(store, log, options, redirects)
  const tokens: Handler = async (request) => gate.token(request)

  const main: Handler = async (request) => {
    if (request.path === '/token' && access.kind === 'token' && !elsewhere) return tokens(request)
    const route = routeOf(request.path)
    return (route && gate.check(request, route)) ?? registry(request)
  }
  const start = async (name: string, handler: Handler, port = 0) => {
    const server = await listen(listener(faults.layer(handler), log), options.tls, port)
    const { port: chosen } = server.address() as AddressInfo
    origins.set(name, `${options.tls ? 'https' : 'http'}://127.0.0.1:${chosen}`)
    return server
  }
  const servers = [await start('registry', main, options.port)]
  if (redirects) servers.push(await start('storage', redirects.handler))
  if (elsewhere) servers.push(await start('token', tokens))
  const url = new URL(origins.get('registry') ?? '')
  const door = verifierDoor(distributionRegistry(store, createLog(), options))
  const leave = announce([url.host], { door: door.open, snapshot: () => snapshotOf(store) })

  return {
    url,
    host: url.host,
    store,
    faults,
    stats: log.stats,
    requests: log.requests,
    violations: log.violations,
    gate,
    tags: (repository) => store.repositories.get(repository)?.tags ?? new Map(),
    close: async () => {
      leave()
      await Promise.all([...servers.map(stop), door.close()])
    },
  }
}

/** A port for the verifier alone: without faults, credentials and counters. */
export function verifierDoor(handler: Handler) {
  let server: Promise<Server> | undefined
  return {
    async open() {
      server ??= listen(listener(handler, createLog()))
      const { port } = (await server).address() as AddressInfo
      return { url: new URL(`http://127.0.0.1:${port}`) }
    },
    close: async () => server && stop(await server),
  }
}

/** Maps are copied, bytes are not. */
function snapshotOf({ repositories }: Storage) {
  const copies = [...repositories].map(([name, { tags, manifests }]) => {
    const bytes = [...manifests].map(([digest, manifest]) => [digest, manifest.bytes] as const)
    return [name, { tags: new Map(tags), manifests: new Map(bytes) }] as const
  })
  return new Map(copies)
}

/** Long enough that a test never meets the race between a reused connection and the end of its idle time. */
const IDLE = 60_000

export async function listen(on: RequestListener, tls?: { cert: string; key: string }, port = 0): Promise<Server> {
  const options = { keepAliveTimeout: IDLE, requestTimeout: 0, noDelay: true }
  const server = tls ? createTlsServer({ ...tls, ...options }, on) : createServer(options, on)
  server.on('checkContinue', on)
  server.on('clientError', (_error, socket) => socket.destroy())
  await new Promise<void>((done, fail) => server.once('error', fail).listen(port, '127.0.0.1', done))
  return server
}

export async function stop(server: Server): Promise<void> {
  const closed = new Promise<void>((done) => server.close(() => done()))
  server.closeAllConnections()
  await closed
}
