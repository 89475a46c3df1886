import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { discard } from '../../src/http/answer.ts'
import type { Network } from '../../src/http/send.ts'
import { type Answer, authority, type Lab, openLab, rejection } from '../http/support.ts'

let lab: Lab
beforeEach(() => {
  lab = openLab()
})
afterEach(() => lab.close())

/** A server that counts connections, with or without TLS, and the client for it. */
async function counting(tls: boolean, answer: Answer = (_, response) => response.end()) {
  const ca = await authority()
  const { url, server } = await lab.serve(answer, tls ? await ca.issue() : undefined)
  const sockets = new Set<Socket>()
  let all = 0
  server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => {
    all += 1
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  const network = lab.network(tls ? { ca: ca.pem } : {})
  return { url, server, network, sockets, all: () => all }
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 2))
}

const ask = async (network: Network, url: URL, times: number): Promise<void> => {
  await Promise.all(Array.from({ length: times }, async () => discard(await network.send({ method: 'GET', url }))))
}

describe.each([
  ['plain', false],
  ['TLS', true],
])('connections that are opened ahead, %s,', (_name, tls) => {
  test('are what the requests after them go over', async () => {
    const { network, url, all } = await counting(tls)
    network.warm(url, 3)
    await until(() => all() === 3)
    await ask(network, url, 3)
    expect(all()).toBe(3)
    await ask(network, url, 5)
    expect(all()).toBe(5)
  })

  test('are waited for by requests that come before they are open', async () => {
    const { network, url, all } = await counting(tls)
    network.warm(url, 2)
    // Long enough to begin, which is behind whatever is ready; not long enough to be open.
    for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    await ask(network, url, 2)
    expect(all()).toBe(2)
  })

  test('are left alone when the server has closed them', async () => {
    const { network, url, sockets, all } = await counting(tls)
    network.warm(url, 2)
    await until(() => all() === 2)
    for (const socket of sockets) socket.end()
    await until(() => sockets.size === 0)
    await ask(network, url, 2)
    expect(all()).toBe(4)
    expect(lab.slept).toEqual([])
  })

  test('end with the network', async () => {
    const { network, url, sockets, all } = await counting(tls)
    network.warm(url, 2)
    await until(() => all() === 2)
    await network.close()
    await until(() => sockets.size === 0)
  })
})

describe('opening connections ahead', () => {
  test('counts those that are there', async () => {
    const { network, url, all, sockets } = await counting(false)
    await ask(network, url, 2)
    network.warm(url, 3)
    network.warm(url, 3)
    await until(() => all() === 3)
    await ask(network, url, 3)
    expect([all(), sockets.size]).toEqual([3, 3])
  })

  test('stays within the ceiling of requests to an origin', async () => {
    const { url, all } = await counting(false)
    const network = lab.network({ ceiling: 2 })
    network.warm(url, 50)
    await ask(network, url, 2)
    expect(all()).toBe(2)
  })

  test('fails in silence; the request says what is wrong', async () => {
    const { network, url, server } = await counting(false)
    await new Promise((resolve) => (server as Server).close(resolve))
    network.warm(url, 2)
    expect(await rejection(network.send({ method: 'GET', url, retry: false }))).toMatchObject({ code: 'NETWORK' })
  })
})
