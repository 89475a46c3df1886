import { createHash } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { release } from '../../../src/core/buffer-pool.ts'
import { authority, CLIENTS, type Lab, openLab, rejection } from '../../support/http-server.ts'

let lab: Lab
const MIB = 1024 * 1024

/** A server of bytes: what it answers to a connection's first bytes is the test's. */
async function raw(answer: (socket: Socket) => void): Promise<URL> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('data', () => answer(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  lab.after(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => server.close(resolve))
  })
  return new URL(`http://127.0.0.1:${(server.address() as { port: number }).port}`)
}

/** Every four bytes of every body differ. */
function noise(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at < size; at += 4) bytes.writeUInt32LE(Math.imul(at + seed, 2_654_435_761) >>> 0, at)
  return bytes
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

describe.each(CLIENTS)('through %s', (_client, bulk) => {
  beforeEach(() => {
    lab = openLab({}, bulk)
  })
  afterEach(() => lab.close())

  test.each([
    ['ends', (socket: Socket) => socket.end()],
    ['is reset', (socket: Socket) => socket.resetAndDestroy()],
  ])('an answer that closes, whose connection %s while nobody reads, is an error of that answer', async (_, finish) => {
    const body = noise(MIB, 1)
    const url = await raw(async (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6291456\r\n\r\n')
      // One read at a time: undici's parser is between two of them when it is told to pause, and then hears of the end.
      for (let at = 0; at < body.length && !socket.destroyed; at += 16_384) {
        socket.write(body.subarray(at, at + 16_384))
        await pause(2)
        if (at === 528 * 1024) finish(socket)
      }
    })
    const res = await lab.network({ retries: 0 }).send({ method: 'GET', url, isBlob: true })
    let got = Buffer.alloc(0)
    const reading = (async () => {
      for await (const chunk of res.body) {
        got = Buffer.concat([got, chunk])
        if (got.length === chunk.length) await pause(300)
      }
    })()
    expect(await rejection(reading)).toMatchObject({ code: 'NETWORK', transient: true })
    expect(got.equals(body.subarray(0, got.length))).toBe(true)
  })

  test('a reader who waits holds the server back, or is told that more came than anybody asked for', async () => {
    const size = 16 * MIB
    let sent: () => void = () => undefined
    const isSent = new Promise<void>((resolve) => {
      sent = resolve
    })
    const { url } = await lab.serve((_, response) => response.end(Buffer.alloc(size), sent))
    const res = await lab.network({ retries: 0 }).send({ method: 'GET', url, isBlob: true })
    let got = 0
    const reading = (async () => {
      for await (const chunk of res.body) {
        // A client that reads on has it all then, or has ended the answer.
        if (got === 0) await (bulk ? pause(300) : Promise.race([isSent.then(() => pause(300)), pause(5000)]))
        got += chunk.length
      }
    })()
    if (bulk) await reading
    else expect(await rejection(reading)).toMatchObject({ code: 'PROTOCOL', transient: false })
    expect(got === size).toBe(bulk)
  })

  test('a body without an end is cut where the connection ends', async () => {
    const url = await raw((socket) => socket.end(`HTTP/1.1 200 OK\r\n\r\n${'a'.repeat(100_000)}`))
    const res = await lab.network().send({ method: 'GET', url, isBlob: true })
    let size = 0
    for await (const chunk of res.body) size += chunk.length
    expect(size).toBe(100_000)
  })

  test('a server that speaks something else is PROTOCOL', async () => {
    const url = await raw((socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n'))
    const error = await rejection(lab.network({ retries: 0 }).send({ method: 'GET', url, isBlob: true }))
    expect(error).toMatchObject({ code: 'PROTOCOL', transient: false })
  })
})

describe('the bulk client', () => {
  beforeEach(() => {
    lab = openLab({}, true)
  })
  afterEach(() => lab.close())

  test.each(['http', 'https'])('goes on with the same connection over %s', async (scheme) => {
    const ca = await authority()
    const sockets = new Set<unknown>()
    const identity = scheme === 'https' ? await ca.issue() : undefined
    const { url, seen } = await lab.serve((request, response, message) => {
      sockets.add(message.socket)
      response.end(request.body === '' ? 'x'.repeat(300_000) : 'stored')
    }, identity)
    const network = lab.network({ ca: ca.pem })
    for (let n = 0; n < 4; n += 1) {
      const method = n % 2 === 0 ? 'GET' : 'PUT'
      const stream = (async function* () {
        yield Buffer.from('some')
        yield Buffer.from('thing')
      })()
      const body = method === 'PUT' ? { body: { size: 9, stream } } : {}
      const res = await network.send({ method, url, ...body })
      let size = 0
      for await (const chunk of res.body) size += chunk.length
      expect(size).toBe(method === 'PUT' ? 6 : 300_000)
    }
    expect(seen.map(({ body }) => body)).toEqual(['', 'something', '', 'something'])
    expect(sockets.size).toBe(1)
  })

  test('has a connection for each request that is under way, and none that the server has closed', async () => {
    const sockets = new Set<Socket>()
    const { url } = await lab.serve((_, response, { socket }) => {
      sockets.add(socket)
      setTimeout(() => response.end('x'), 50)
    })
    const network = lab.network({ retries: 0 })
    const get = async () => {
      const res = await network.send({ method: 'GET', url, isBlob: true })
      for await (const _ of res.body);
    }
    await Promise.all([get(), get(), get()])
    expect(sockets.size).toBe(3)
    for (const socket of sockets) socket.destroy()
    await pause(20)
    await get()
    expect(sockets.size).toBe(4)
  })

  test('never lends a buffer that somebody reads', async () => {
    const bodies = [1, 2, 3, 4].map((seed) => noise(1.5 * MIB, seed))
    const { url } = await lab.serve((request, response) => response.end(bodies[Number(request.url.slice(1))]))
    const network = lab.network()
    const read = async (index: number) => {
      const res = await network.send({ method: 'GET', url: new URL(`/${index}`, url), isBlob: true })
      const hash = createHash('sha256')
      for await (const chunk of res.body) {
        await pause(index)
        hash.update(chunk)
        release(chunk)
      }
      return hash.digest('hex')
    }
    expect(await Promise.all(bodies.map((_, index) => read(index)))).toEqual(bodies.map(sha256))
  })

  test('hands on what comes slowly', async () => {
    const url = await raw((socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nslow'))
    const res = await lab.network().send({ method: 'GET', url, isBlob: true })
    for await (const chunk of res.body) {
      expect(Buffer.from(chunk).toString()).toBe('slow')
      break
    }
  })

  test('sends no header that holds another one', async () => {
    const { url, seen } = await lab.serve((_, response) => response.end())
    const headers = { range: 'bytes=0-\r\nAuthorization: Basic eA==' }
    await rejection(lab.network({ retries: 0 }).send({ method: 'GET', url, headers }))
    expect(seen).toEqual([])
  })
})
