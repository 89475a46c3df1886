import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Latency = Readonly<{ url: URL; close: () => Promise<void> }>

/**
 * A plain-HTTP registry at a distance: every request waits before it is passed on, everything else streams. `Host` stays
 * as it is, so that the addresses which the registry answers lead here again.
 * @param delay milliseconds.
 */
export async function startLatency(registry: URL, delay: number): Promise<Latency> {
  const agent = new Agent({ keepAlive: true })
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 60_000 }, (asked, answer) => {
    setTimeout(() => {
      const { hostname, port } = registry
      const { method, url: path, headers } = asked
      const passed = request({ agent, hostname, port, method, path, headers }, (given) => {
        answer.writeHead(given.statusCode ?? 502, given.headers)
        given.pipe(answer)
      })
      passed.once('error', () => answer.destroy())
      answer.once('close', () => answer.writableFinished || passed.destroy())
      asked.pipe(passed)
    }, delay)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  return {
    url: new URL(`http://127.0.0.1:${port}`),
    close: async () => {
      server.closeAllConnections()
      agent.destroy()
      await new Promise((done) => server.close(done))
    },
  }
}
