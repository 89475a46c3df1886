import { createHash, randomBytes } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { PIECE } from '../../src/http/incoming.ts'
import type { Network, Req } from '../../src/http/send.ts'
import { type Authority, authority, type Identity, type Lab, openLab, readAll } from './support.ts'

const MIB = 1024 * 1024

let lab: Lab
let ca: Authority
let identity: Identity

beforeAll(async () => {
  ca = await authority()
  identity = await ca.issue({ names: ['127.0.0.1', 'localhost'] })
})
beforeEach(() => {
  lab = openLab()
})
afterEach(() => lab.close())

const sha256 = (...parts: readonly Uint8Array[]): string => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}

/** A reader that lets the socket run ahead of it, so that it is paused and resumed again and again. */
async function readSlowly(body: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of body) {
    for (let i = 0; i < 3; i += 1) await turn()
    hash.update(chunk)
  }
  return hash.digest('hex')
}

function blobs(network: Network, url: URL, more: Partial<Req> = {}) {
  return network.send({ method: 'GET', url, long: true, ...more })
}

describe.each(['plain', 'TLS'] as const)('over %s sockets', (kind) => {
  const secure = () => (kind === 'TLS' ? identity : undefined)
  const trusting = () => lab.network(kind === 'TLS' ? { ca: ca.pem } : {})

  test('a slow reader gets every byte of several answers at once, each its own', async () => {
    const bodies = [0, 1, 2, 3].map((i) => randomBytes(3 * MIB + i * 1001))
    const { url } = await lab.serve(({ url: path }, response) => {
      response.end(bodies[Number(path.slice(1))])
    }, secure())
    const network = trusting()
    const digests = bodies.map(async (_, i) => readSlowly((await blobs(network, new URL(`/${i}`, url))).body))
    expect(await Promise.all(digests)).toEqual(bodies.map((body) => sha256(body)))
  })

  test('an answer that ends with its connection is read to its end first, however late', async () => {
    // Around the size at which the socket is paused: the end comes while bytes wait.
    const bodies = Array.from({ length: 12 }, (_, i) => randomBytes(512 * 1024 + i * 12_000))
    const { url } = await lab.serve(({ url: path }, response) => {
      response.writeHead(200, { connection: 'close', 'transfer-encoding': 'identity' })
      response.end(bodies[Number(path.slice(1))])
    }, secure())
    const network = trusting()
    for (const [i, body] of bodies.entries()) {
      const res = await blobs(network, new URL(`/${i}`, url))
      for (let late = 0; late < 20; late += 1) await turn()
      expect(await readSlowly(res.body)).toBe(sha256(body))
    }
  })

  test('one connection serves many answers, whole ones and abandoned ones', async () => {
    const body = randomBytes(MIB)
    const { url } = await lab.serve((_, response) => response.end(body), secure())
    const network = trusting()
    for (let i = 0; i < 4; i += 1) {
      const { body: left } = await blobs(network, url)
      for await (const chunk of left) if (chunk.byteLength > 0) break
      expect(await readSlowly((await blobs(network, url)).body)).toBe(sha256(body))
    }
  })

  test('an upload arrives as it was given, although the memory of each chunk is used again at once', async () => {
    const { url, server } = await lab.serve(() => undefined, secure())
    // Not the lab's own listener, which reads as fast as it can: this one waits until nothing more can be sent.
    server.removeAllListeners('request')
    server.on('request', async (request, response) => {
      for (let last = -1, same = 0; same < 50; same = last === given ? same + 1 : 0) {
        last = given
        await turn()
      }
      response.end(await readSlowly(request))
    })
    const sizes = Array.from({ length: 700 }, (_, i) => (i % 20 === 0 ? PIECE : 1 + ((i * 7919) % 60_000)))
    const sent = createHash('sha256')
    let given = 0
    async function* chunks(): AsyncGenerator<Uint8Array> {
      const memory = Buffer.alloc(PIECE)
      for (const size of sizes) {
        memory.fill(given)
        sent.update(memory.subarray(0, size))
        yield memory.subarray(0, size)
        given += 1
      }
    }
    const size = sizes.reduce((sum, one) => sum + one, 0)
    const res = await trusting().send({ method: 'PUT', url, body: { size, stream: chunks() } })
    expect(await readAll(res)).toBe(sent.digest('hex'))
  })
})

test('through localhost with both address families the bytes are the same', async () => {
  const body = randomBytes(2 * MIB)
  const { url } = await lab.serve((_, response) => response.end(body), identity)
  const named = new URL(`https://localhost:${url.port}`)
  expect(await readSlowly((await blobs(lab.network({ ca: ca.pem }), named)).body)).toBe(sha256(body))
})

describe('a long body', () => {
  const collect = async (lent: boolean) => {
    const body = randomBytes(16 * PIECE + 5)
    const { url } = await lab.serve((_, response) => response.end(body))
    const chunks: Uint8Array[] = []
    const copies: Uint8Array[] = []
    for await (const chunk of (await blobs(lab.network(), url, { lent })).body) {
      for (let i = 0; i < 5; i += 1) await turn()
      if (chunks.length > 0) expect(sha256(chunks.at(-1) as Uint8Array)).toBe(sha256(copies.at(-1) as Uint8Array))
      chunks.push(chunk)
      copies.push(Buffer.from(chunk))
    }
    return { body, chunks, copies }
  }

  test('comes in pieces that may be kept', async () => {
    const { body, chunks } = await collect(false)
    expect(chunks.map(({ byteLength }) => byteLength)).toEqual([...Array(16).fill(PIECE), 5])
    expect(sha256(...chunks)).toBe(sha256(body))
  })

  test('that is lent takes no more memory however long it is, and a piece stays until the next but one', async () => {
    const { body, chunks, copies } = await collect(true)
    expect(sha256(...copies)).toBe(sha256(body))
    expect(new Set(chunks.map(({ buffer }) => buffer)).size).toBeLessThan(8)
  })
})
