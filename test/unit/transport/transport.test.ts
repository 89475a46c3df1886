import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { VERSION } from '../../../src/core/version.ts'
import { bytes, header } from '../../../src/http/response.ts'
import { discard } from '../../../src/transport/request.ts'
import { CLIENTS, type Lab, openLab, readAll, rejection } from '../../support/http-server.ts'

let lab: Lab
async function* chunks(...parts: string[]) {
  for (const part of parts) yield Buffer.from(part)
}

/** The address of a port that nobody listens on. */
async function closedPort(): Promise<URL> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return new URL(`http://127.0.0.1:${port}/`)
}

describe.each(CLIENTS)('through %s', (_client, bulk) => {
  beforeEach(() => {
    lab = openLab({}, bulk)
  })
  afterEach(() => lab.close())

  describe('a request', () => {
    test('says who sends it and asks for the bytes as they are', async () => {
      const { url, seen } = await lab.serve((_, response) => response.end('hello'))
      const res = await lab.network().send({ method: 'GET', url, headers: { accept: 'text/plain' } })
      expect(await readAll(res)).toBe('hello')
      expect(seen[0]?.headers).toMatchObject({
        'accept-encoding': 'identity',
        'user-agent': `image-promote/${VERSION}`,
        accept: 'text/plain',
      })
      expect(seen[0]?.headers.expect).toBeUndefined()
      expect(seen[0]?.headers.authorization).toBeUndefined()
    })

    test('names the version of package.json', () => {
      expect(VERSION).toBe(JSON.parse(readFileSync('package.json', 'utf8')).version)
    })

    test('with a stream announces its length and is not chunked', async () => {
      const { url, seen } = await lab.serve((_, response) => response.end())
      const body = { size: 6, stream: chunks('one', 'two') }
      await discard(await lab.network().send({ method: 'PUT', url, body }))
      expect(seen[0]).toMatchObject({ method: 'PUT', body: 'onetwo', headers: { 'content-length': '6' } })
      expect(seen[0]?.headers['transfer-encoding']).toBeUndefined()
    })

    test('with an empty stream is sent, and the stream is read to its end', async () => {
      const { url, seen } = await lab.serve((_, response) => response.end())
      let finished = false
      const stream = (async function* () {
        yield new Uint8Array(0)
        finished = true
      })()
      await discard(await lab.network().send({ method: 'PUT', url, body: { size: 0, stream } }))
      expect(seen[0]?.headers['content-length']).toBe('0')
      expect(finished).toBe(true)
    })

    test('whose stream throws rejects with exactly what was thrown', async () => {
      const { url, seen } = await lab.serve((_, response) => response.end())
      const mine = new Error('digest mismatch')
      const stream = (async function* () {
        yield Buffer.from('abc')
        throw mine
      })()
      const sent = lab.network().send({ method: 'PUT', url, body: { size: 6, stream } })
      await expect(sent).rejects.toBe(mine)
      expect(seen).toHaveLength(0)
    })

    test('is answered while its stream is still being sent', async () => {
      const lone = await lab.serve(() => undefined)
      lone.server.removeAllListeners('request')
      lone.server.on('request', (_request, response) => response.writeHead(413).end('too large'))
      const stream = (async function* () {
        for (;;) {
          yield new Uint8Array(64 * 1024)
          await new Promise((resolve) => setImmediate(resolve))
        }
      })()
      const res = await lab.network().send({ method: 'PUT', url: lone.url, body: { size: 2 ** 30, stream } })
      expect(res.status).toBe(413)
      await discard(res)
    })

    test.each([
      ['gzip', gzipSync],
      ['x-gzip', gzipSync],
      ['deflate', deflateSync],
      ['br', brotliCompressSync],
    ])('in %s is decompressed, although identity was asked for', async (encoding, compress) => {
      const { url } = await lab.serve((_, response) =>
        response.writeHead(200, { 'content-encoding': encoding }).end(compress(Buffer.from('{"tags":[]}'))),
      )
      const res = await lab.network().send({ method: 'GET', url })
      expect(await readAll(res)).toBe('{"tags":[]}')
      expect(res.headers['content-length']).toBeUndefined()
    })

    test('that is not what its encoding says is PROTOCOL, and a blob stays as it is', async () => {
      const { url } = await lab.serve((_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'))
      const network = lab.network({ retries: 0 })
      const error = await rejection(network.send({ method: 'GET', url }))
      expect(error).toMatchObject({ code: 'PROTOCOL', side: 'source' })
      expect(await readAll(await network.send({ method: 'GET', url, isBlob: true }))).toBe('x')
    })

    test('that unpacks to more than is asked for is read no further', async () => {
      const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024))
      const { url } = await lab.serve((_, response) =>
        response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb),
      )
      const res = await lab.network().send({ method: 'GET', url })
      await expect(bytes(res, 4 * 1024 * 1024)).rejects.toMatchObject({ code: 'PROTOCOL' })
    })

    test('is marked until the host has answered something below 500', async () => {
      const statuses = [503, 500, 404, 503]
      const { url } = await lab.serve((_, response) => response.writeHead(statuses.shift() ?? 0).end())
      const { send } = lab.network({ retries: 0 })
      const marks: (boolean | undefined)[] = []
      for (let count = 0; count < 4; count += 1) {
        const res = await send({ method: 'HEAD', url })
        await discard(res)
        marks.push(res.isFirst)
      }
      expect(marks).toEqual([true, true, true, undefined])
    })

    test('HEAD keeps its connection for the next ones', async () => {
      const sockets = new Set<unknown>()
      const { url } = await lab.serve((_, response, raw) => {
        sockets.add(raw.socket)
        response.setHeader('content-length', '5').end()
      })
      const network = lab.network()
      for (let n = 0; n < 6; n++) await discard(await network.send({ method: 'HEAD', url }))
      expect(sockets.size).toBe(1)
    })

    test('keeps repeated headers of the answer apart', async () => {
      const { url } = await lab.serve((_, response) => {
        response.setHeader('www-authenticate', ['Basic realm="a"', 'Bearer realm="b"']).end()
      })
      const res = await lab.network().send({ method: 'GET', url })
      expect(res.headers['www-authenticate']).toEqual(['Basic realm="a"', 'Bearer realm="b"'])
      expect(header(res, 'www-authenticate')).toBe('Basic realm="a"')
      expect(header(res, '__proto__')).toBeUndefined()
      await discard(res)
    })
  })

  describe('a broken connection', () => {
    test('to a closed port is NETWORK, transient, and names side and address', async () => {
      const url = await closedPort()
      const error = await rejection(lab.network({ side: 'destination', retries: 0 }).send({ method: 'GET', url }))
      expect(error).toMatchObject({ code: 'NETWORK', side: 'destination', transient: true })
      expect(error.message).toContain(url.host)
    })

    test('to an unknown name is NETWORK and not worth repeating', async () => {
      const url = new URL('http://registry.invalid/v2/')
      const error = await rejection(lab.network().send({ method: 'GET', url, retry: false }))
      expect(error).toMatchObject({ code: 'NETWORK', side: 'source' })
      expect(error.message).toContain('registry.invalid')
    })

    test.each([
      'registry.tools.svc',
      'image-registry.openshift-image-registry.svc.cluster.local',
      'registry.CLUSTER.local',
    ])('to %s says that such a name exists only inside a cluster', async (host) => {
      const error = await rejection(lab.network().send({ method: 'GET', url: new URL(`http://${host}:5000/v2/`) }))
      expect(error).toMatchObject({ code: 'NETWORK', side: 'source', transient: false })
      expect(error.hint).toContain('only inside a cluster')
    })

    test('in the middle of a body delivers what came before it, then a transient error', async () => {
      const { url } = await lab.serve((_, response) => {
        response.setHeader('content-length', '100')
        response.write('partial', () => response.destroy())
      })
      const res = await lab.network().send({ method: 'GET', url, isBlob: true })
      let got = ''
      const reading = (async () => {
        for await (const chunk of res.body) got += Buffer.from(chunk).toString()
      })()
      expect(await rejection(reading)).toMatchObject({ code: 'NETWORK', side: 'source', transient: true })
      expect(got).toBe('partial')
    })

    test('before any answer is retried when the body can be sent again', async () => {
      let cut = 0
      const { url, seen } = await lab.serve((_, response, raw) => {
        if (cut++ === 0) raw.socket.destroy()
        else response.end('ok')
      })
      const res = await lab.network().send({ method: 'PUT', url, body: 'again' })
      expect(await readAll(res)).toBe('ok')
      expect(seen.map((one) => one.body)).toEqual(['again', 'again'])
    })

    test('by a server that does not speak HTTP is PROTOCOL', async () => {
      const server = createServer((socket) =>
        socket
          .on('error', () => undefined)
          .resume()
          .end('SSH-2.0-OpenSSH_9.2\r\n'),
      )
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      lab.after(() => new Promise((resolve) => server.close(resolve)))
      const url = new URL(`http://127.0.0.1:${(server.address() as { port: number }).port}/`)
      expect(await rejection(lab.network().send({ method: 'GET', url }))).toMatchObject({
        code: 'PROTOCOL',
        side: 'source',
      })
    })
  })

  describe('a connection is given up', () => {
    /** Answers with bytes without end; `closed` resolves when the reader has gone. */
    async function endless() {
      let gone = () => undefined as unknown
      const closed = new Promise((resolve) => {
        gone = () => resolve('closed')
      })
      const { url } = await lab.serve((_, response) => {
        response.on('close', gone)
        const more = () => {
          while (!response.destroyed && response.write(Buffer.alloc(64 * 1024)));
        }
        response.on('drain', more)
        more()
      })
      return { url, closed }
    }

    test('when the reader of an answer stops early', async () => {
      const { url, closed } = await endless()
      const res = await lab.network().send({ method: 'GET', url })
      for await (const chunk of res.body) if (chunk.byteLength > 0) break
      expect(await closed).toBe('closed')
    })

    test('when an answer is discarded that does not end', async () => {
      const { url, closed } = await endless()
      await discard(await lab.network().send({ method: 'GET', url }))
      expect(await closed).toBe('closed')
    })

    test('at the source, when the destination of its bytes breaks off', async () => {
      const { url, closed } = await endless()
      const broken = await lab.serve(() => undefined)
      broken.server.removeAllListeners('request')
      broken.server.on('request', (request) => request.once('data', () => request.socket.destroy()))
      const network = lab.network()
      const res = await network.send({ method: 'GET', url })
      const sent = network.send({ method: 'PUT', url: broken.url, body: { size: 2 ** 32, stream: res.body } })
      expect(await rejection(sent)).toMatchObject({ code: 'NETWORK', transient: true })
      expect(await closed).toBe('closed')
    })
  })

  describe('a stall', () => {
    const soon = { stallTimeout: 60, retries: 0 }
    /** For what has to succeed first: a busy machine may take 60 ms for anything. */
    const later = { stallTimeout: 500, retries: 0 }
    const TOO_LONG = 800

    test('before the answer is STALLED', async () => {
      const { url } = await lab.serve(() => undefined)
      expect(await rejection(lab.network(soon).send({ method: 'GET', url }))).toMatchObject({
        code: 'STALLED',
        side: 'source',
        transient: true,
      })
    })

    test('before the answer is borne as long as the request has responseTimeout', async () => {
      const { url } = await lab.serve((_, response) => void setTimeout(() => response.end('late'), 200))
      const res = await lab.network(soon).send({ method: 'PUT', url, body: 'x', responseTimeout: 10_000 })
      expect(await readAll(res)).toBe('late')
    })

    test('within the answer is STALLED after the bytes that came', async () => {
      const { url } = await lab.serve((_, response) => void response.write('some'))
      const res = await lab.network(later).send({ method: 'GET', url, isBlob: true })
      let got = ''
      const reading = (async () => {
        for await (const chunk of res.body) got += Buffer.from(chunk).toString()
      })()
      expect(await rejection(reading)).toMatchObject({ code: 'STALLED', transient: true })
      expect(got).toBe('some')
    })

    test('of the reader does not count', async () => {
      const size = 8 * 1024 * 1024
      const { url } = await lab.serve((_, response) => response.end(Buffer.alloc(size)))
      const res = await lab.network(later).send({ method: 'GET', url })
      let got = 0
      for await (const chunk of res.body) {
        if (got === 0) await new Promise((resolve) => setTimeout(resolve, TOO_LONG))
        got += chunk.byteLength
      }
      expect(got).toBe(size)
    })

    test('of a server that stops taking an upload is STALLED', async () => {
      const lone = await lab.serve(() => undefined)
      lone.server.removeAllListeners('request')
      lone.server.on('request', (request) => request.pause())
      const stream = (async function* () {
        for (;;) yield new Uint8Array(256 * 1024)
      })()
      const body = { size: 2 ** 32, stream }
      const error = await rejection(lab.network(soon).send({ method: 'PUT', url: lone.url, body }))
      expect(error).toMatchObject({ code: 'STALLED', side: 'source', transient: true })
      expect(error.message).toContain('upload')
    })

    test('of the source of an upload does not count', async () => {
      const { url, seen } = await lab.serve((_, response) => response.end())
      const stream = (async function* () {
        yield Buffer.from('one')
        await new Promise((resolve) => setTimeout(resolve, TOO_LONG))
        yield Buffer.from('two')
      })()
      await discard(await lab.network(later).send({ method: 'PUT', url, body: { size: 6, stream } }))
      expect(seen[0]?.body).toBe('onetwo')
    })
  })

  describe('cancelling the run', () => {
    test('ends a request that waits for its answer', async () => {
      const { url } = await lab.serve(() => lab.cancel())
      expect(await rejection(lab.network().send({ method: 'GET', url }))).toMatchObject({ code: 'CANCELLED' })
    })

    test('ends the reading of an answer', async () => {
      const { url } = await lab.serve((_, response) => void response.write('some'))
      const res = await lab.network().send({ method: 'GET', url, isBlob: true })
      const reading = bytes(res, 1000)
      setImmediate(lab.cancel)
      expect(await rejection(reading)).toMatchObject({ code: 'CANCELLED' })
    })

    test('lets no new request out', async () => {
      const { url, seen } = await lab.serve((_, response) => response.end())
      const network = lab.network()
      lab.cancel()
      expect(await rejection(network.send({ method: 'GET', url }))).toMatchObject({ code: 'CANCELLED' })
      expect(seen).toHaveLength(0)
    })
  })

  test('a request of the logout is sent although the run is cancelled, and before it, survives the cancellation', async () => {
    const { url } = await lab.serve((_, response) => {
      lab.cancel()
      setImmediate(() => response.end('bye'))
    })
    const network = lab.network()
    const request = { method: 'DELETE', url, afterCancel: true } as const
    expect(await readAll(await network.send(request))).toBe('bye')
    expect(await readAll(await network.send(request))).toBe('bye')
  })

  test('a closed network ends everything that is under way', async () => {
    const network = lab.network()
    const { url } = await lab.serve(() => void network.close())
    expect(await rejection(network.send({ method: 'GET', url, afterCancel: true }))).toMatchObject({
      code: 'CANCELLED',
    })
  })

  test('the debug log shows method, address, status and time, and of the query only what is harmless', async () => {
    const { url } = await lab.serve((_, response) => response.end())
    const target = new URL('/v2/a/blobs/uploads/x?_state=secretstate&digest=sha256:1', url)
    await discard(
      await lab.network().send({ method: 'PUT', url: target, headers: { authorization: 'Bearer abcd' }, body: 'q' }),
    )
    expect(lab.lines).toEqual([`PUT ${url.origin}/v2/a/blobs/uploads/x?digest=sha256:1 200 0 ms`])
  })
})
