import type { CertificatePair } from './cluster/certificates.ts'
import { type Answer, createLog, type Handler, type Incoming, listener } from './cluster/http.ts'
import { type EmbeddedRegistry, listen, type PlainOptions, startRegistry, stop } from './cluster/plain.ts'
import { type Lab, openLab } from './lab.ts'

/** What one test opens; `close` belongs in `afterEach`. */
export interface Scene {
  readonly lab: Lab
  registry(options?: PlainOptions): Promise<EmbeddedRegistry>
  /** A server that answers as the test says, and what it was asked. */
  server(
    handler: (request: Incoming) => Answer | Promise<Answer>,
    tls?: CertificatePair,
  ): Promise<Readonly<{ url: URL; asked: Asked[] }>>
  after(close: () => Promise<unknown>): void
  close(): Promise<void>
}

export type Asked = Readonly<{ method: string; target: string; headers: Incoming['headers'] }>

export function openScene(options: Parameters<typeof openLab>[0] = {}): Scene {
  const lab = openLab(options)
  const closers: (() => Promise<unknown>)[] = [lab.close]
  return {
    lab,
    async registry(how = {}) {
      const registry = await startRegistry(how)
      closers.push(registry.close)
      return registry
    },
    async server(handler, tls) {
      const asked: Asked[] = []
      const noting: Handler = async (request) => {
        asked.push({ method: request.method, target: request.target, headers: request.headers })
        return handler(request)
      }
      const server = await listen(listener(noting, createLog()), tls)
      closers.push(() => stop(server))
      const address = server.address()
      if (typeof address !== 'object' || address === null) throw new Error('no port')
      return { url: new URL(`${tls === undefined ? 'http' : 'https'}://127.0.0.1:${address.port}`), asked }
    },
    after: (close) => void closers.push(close),
    async close() {
      for (const one of closers.splice(0)) await one()
    },
  }
}

/** `GET /v2/…`, in order, without the queries. */
export function asked(registry: EmbeddedRegistry, from = 0): string[] {
  return registry.requests.slice(from).map(({ method, path }) => {
    const [bare = ''] = path.split('?')
    return `${method} ${bare.replace(/^\/v2\/dev\/app\//, '').replace(/uploads\/[0-9a-f-]{36}/, 'uploads/ID')}`
  })
}
