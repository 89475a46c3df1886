import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

/** A proxy that opens tunnels by CONNECT and resolves names by its own list: every other name leads to loopback. */
export type NamingProxy = Readonly<{
  url: string
  /** `host:port` of every tunnel that was asked for. */
  asked: readonly string[]
  /** `host:port` → port on loopback; a name that is not there keeps its port. */
  names: Map<string, number>
  close(): Promise<void>
}>

/** @param credentials `user:password`, percent-encoded as they stand in the URL. */
export async function startProxy(credentials?: string): Promise<NamingProxy> {
  const asked: string[] = []
  const names = new Map<string, number>()
  const sockets = new Set<Socket>()
  const wanted =
    credentials === undefined ? undefined : `Basic ${Buffer.from(decodeURIComponent(credentials)).toString('base64')}`
  const server = createServer((_, response) => response.writeHead(405).end())
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket))
  }
  server.on('connect', (request: IncomingMessage, client: Socket, head: Buffer) => {
    const target = request.url ?? ''
    asked.push(target)
    keep(client)
    if (wanted !== undefined && request.headers['proxy-authorization'] !== wanted)
      return client.end('HTTP/1.1 407 Proxy Authentication Required\r\nConnection: close\r\n\r\n')
    const upstream = connect(names.get(target) ?? Number(target.split(':').at(-1)), '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      upstream.write(head)
      client.pipe(upstream).pipe(client)
    })
    keep(upstream)
    return client
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const user = credentials === undefined ? '' : `${credentials}@`
  return {
    url: `http://${user}127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    names,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((done) => server.close(done))
    },
  }
}
