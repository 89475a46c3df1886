import { connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP port in front of a server, for what happens before HTTP: the port is closed, or the handshake fails. */
export interface Front {
  readonly port: number
  /** Until then connections are refused. */
  open(): Promise<void>
  /** Connections that were spoiled. */
  readonly spoiled: number
  close(): Promise<void>
}

export type Spoil =
  /** The port is closed before `open`. */
  | 'refused'
  /** The first two connections end with a fatal alert, as from a router that restarts. */
  | 'alert'
  /** The first two connections end without a word once the client has spoken. */
  | 'cut'

/** TLS 1.2 record, fatal alert 80 (internal_error): RFC 5246 section 7.2. */
const ALERT = Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x50])
const SPOILED = 2

export async function startFront(target: number, spoil: Spoil): Promise<Front> {
  const sockets = new Set<Socket>()
  let spoiled = 0
  const server = createServer((client) => {
    sockets.add(client)
    client.on('error', () => client.destroy())
    if (spoil === 'refused' || spoiled >= SPOILED) return bridge(client, target, sockets)
    spoiled += 1
    client.once('data', () => (spoil === 'alert' ? client.end(ALERT) : client.resetAndDestroy()))
  })
  const port = await listenOn(server, 0)
  const shut = () => new Promise<void>((done) => server.close(() => done()))
  if (spoil === 'refused') await shut()
  return {
    port,
    get spoiled() {
      return spoiled
    },
    open: async () => {
      if (server.listening) return
      spoiled += 1
      await listenOn(server, port)
    },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      if (server.listening) await shut()
    },
  }
}

function bridge(client: Socket, target: number, sockets: Set<Socket>): void {
  const server = connect(target, '127.0.0.1')
  sockets.add(server)
  server.on('error', () => client.destroy())
  client.on('close', () => server.destroy())
  client.pipe(server).pipe(client)
}

async function listenOn(server: Server, port: number): Promise<number> {
  await new Promise<void>((done, fail) => server.once('error', fail).listen(port, '127.0.0.1', done))
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('no port')
  return address.port
}
