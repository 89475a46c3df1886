import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { isPublic } from '../../../src/transport/public-address.ts'
import {
  type Authority,
  authority,
  CLIENTS,
  type Identity,
  type Lab,
  openLab,
  readAll,
  rejection,
} from '../../support/http-server.ts'

let ca: Authority
let leaf: Identity
let lab: Lab
beforeAll(async () => {
  ca = await authority('test CA')
  leaf = await ca.issue({ names: ['127.0.0.1', 'localhost', 'layers.test'] })
})
const hello = (_: unknown, response: { end: (text: string) => void }) => response.end('hello')
const loopback = (address: string) => address === '127.0.0.1' || address === '::1'
const refused = { code: 'UNSUPPORTED', side: 'source', transient: false }

describe.each(CLIENTS)('through %s', (_client, bulk) => {
  beforeEach(() => {
    lab = openLab({}, bulk)
  })
  afterEach(() => lab.close())

  describe('an address that text from a server may lead to', () => {
    test.each([
      '8.8.8.8',
      '172.15.0.1',
      '172.32.0.1',
      '100.63.255.255',
      '100.128.0.1',
      '223.255.255.255',
      '2606:4700::1111',
      '2a00:1450::1',
    ])('%s is public', (address) => expect(isPublic(address)).toBe(true))

    test.each([
      ...[
        '0.0.0.0',
        '10.0.0.1',
        '100.64.0.1',
        '127.0.0.1',
        '127.255.255.254',
        '169.254.169.254',
        '172.16.0.1',
        '172.31.255.255',
      ],
      ...[
        '192.0.0.192',
        '192.0.2.1',
        '192.168.1.1',
        '198.18.0.1',
        '198.51.100.7',
        '203.0.113.9',
        '224.0.0.1',
        '240.0.0.1',
        '255.255.255.255',
      ],
      ...['::', '::1', '::ffff:10.0.0.1', '::ffff:8.8.8.8', 'fe80::1', 'fc00::1', 'fd12:3456::1', 'fec0::1', 'ff02::1'],
      ...['64:ff9b::a00:1', '64:ff9b:1::1', '2001:db8::1', '2001::1', '2002:a00:1::1', '100::1'],
      ...['', 'localhost', '10.1', '8.8.8.8 ', 'fe80::1%eth0'],
    ])('%j is not', (address) => expect(isPublic(address)).toBe(false))
  })

  describe('a network that reaches some addresses only', () => {
    test('asks over https, by address and by name, without what belongs to the side', async () => {
      const { url, seen } = await lab.serve(hello, leaf)
      const network = lab.network({ ca: ca.pem, isAllowed: loopback })
      const named = new URL(url.href.replace('127.0.0.1', 'localhost'))
      for (const each of [url, named])
        expect(await readAll(await network.send({ method: 'GET', url: each }))).toBe('hello')
      for (const { headers } of seen) expect(Object.keys(headers)).not.toContain('authorization')
    })

    test.each([
      'https://127.0.0.1',
      'https://[::1]',
      'https://2130706433',
      'https://0x7f.1',
      'https://localhost',
      'https://10.0.0.1',
      'https://[fe80::1]',
      'https://169.254.169.254/latest/meta-data',
    ])('asks nothing of %s, which is no public address', async (text) => {
      const network = lab.network({ ca: ca.pem, isAllowed: isPublic })
      const error = await rejection(network.send({ method: 'GET', url: new URL(text) }))
      expect(error).toMatchObject(refused)
      expect(error.hint).toContain('include-foreign')
    })

    test('asks nothing over plain HTTP', async () => {
      const { url, seen } = await lab.serve(hello)
      const error = await rejection(lab.network({ isAllowed: () => true }).send({ method: 'GET', url }))
      expect(error).toMatchObject(refused)
      expect(seen).toEqual([])
    })

    test.each([
      ['another address', (port: string) => `https://127.0.0.2:${port}/`],
      ['a name that leads there', (port: string) => `https://localhost:${port}/`],
    ])('follows no redirect to %s', async (_what, location) => {
      const { url, seen } = await lab.serve((_request, response) => {
        response.writeHead(302, { location: location(url.port) }).end()
      }, leaf)
      const network = lab.network({ ca: ca.pem, isAllowed: (address) => address === '127.0.0.1' && seen.length === 0 })
      expect(await rejection(network.send({ method: 'GET', url }))).toMatchObject(refused)
      expect(seen).toHaveLength(1)
    })

    test('asks through a proxy, which looks names up by itself, only what was named', async () => {
      const { url } = await lab.serve(hello, leaf)
      const proxy = await lab.proxy()
      const behind = openLab({ HTTPS_PROXY: proxy.url })
      lab.after(() => behind.close())
      const network = behind.network({ ca: ca.pem, isAllowed: isPublic, hosts: ['layers.test'] })
      const elsewhere = new URL(`https://layers.test:${url.port}`)
      expect(await readAll(await network.send({ method: 'GET', url: elsewhere }))).toBe('hello')
      expect(proxy.targets).toEqual([`CONNECT layers.test:${url.port}`])
      expect(await rejection(network.send({ method: 'GET', url: new URL('https://10.0.0.1') }))).toMatchObject(refused)
      const other = new URL(`https://internal.test:${url.port}`)
      expect(await rejection(network.send({ method: 'GET', url: other }))).toMatchObject(refused)
      const unnamed = behind.network({ ca: ca.pem, isAllowed: isPublic })
      const error = await rejection(unnamed.send({ method: 'GET', url: elsewhere }))
      expect(error).toMatchObject({ ...refused, hint: expect.stringContaining('include-foreign: layers.test') })
      expect(proxy.targets).toHaveLength(1)
    })

    test('asks without a proxy only what was named, where hosts were named', async () => {
      const { url, seen } = await lab.serve(hello, leaf)
      const network = lab.network({ ca: ca.pem, isAllowed: () => true, hosts: ['layers.test'] })
      expect(await rejection(network.send({ method: 'GET', url }))).toMatchObject(refused)
      expect(seen).toEqual([])
    })
  })
})
