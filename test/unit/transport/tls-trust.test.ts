import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createNetServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { Secret } from '../../../src/core/secret.ts'
import { fixedLogin } from '../../../src/credentials/login.ts'
import { discard } from '../../../src/transport/request.ts'
import {
  type Authority,
  authority,
  base64,
  CLIENTS,
  type Identity,
  type Lab,
  openLab,
  readAll,
  rejection,
} from '../../support/http-server.ts'

let ca: Authority
let other: Authority
let leaf: Identity
let lab: Lab
beforeAll(async () => {
  ca = await authority('test CA')
  other = await authority('another CA')
  leaf = await ca.issue({ names: ['127.0.0.1', 'registry.test'] })
})
const hello = (_: unknown, response: { end: (text: string) => void }) => response.end('hello')

describe.each(CLIENTS)('through %s', (_client, bulk) => {
  beforeEach(() => {
    lab = openLab({}, bulk)
  })
  afterEach(() => lab.close())

  describe('a certificate', () => {
    test('of the authority given for the side is accepted', async () => {
      const { url } = await lab.serve(hello, leaf)
      expect(await readAll(await lab.network({ ca: ca.pem }).send({ method: 'GET', url }))).toBe('hello')
    })

    describe('of an issuing authority that is given without its root', () => {
      test.each(['alone', 'with its issuer', 'with the whole chain'])('is accepted, sent %s', async (sent) => {
        const issuing = await ca.delegate('issuing CA')
        const own = await issuing.issue()
        const chain = { alone: '', 'with its issuer': issuing.pem, 'with the whole chain': `${issuing.pem}\n${ca.pem}` }
        const cert = `${own.cert}\n${chain[sent as keyof typeof chain]}`
        const { url } = await lab.serve(hello, { ...own, cert })
        expect(await readAll(await lab.network({ ca: issuing.pem }).send({ method: 'GET', url }))).toBe('hello')
      })

      test('says nothing about what another authority below the same root has signed', async () => {
        const [mine, theirs] = [await ca.delegate('mine'), await ca.delegate('theirs')]
        const own = await theirs.issue()
        const { url } = await lab.serve(hello, { ...own, cert: `${own.cert}\n${theirs.pem}` })
        const error = await rejection(lab.network({ ca: mine.pem }).send({ method: 'GET', url }))
        expect(error).toMatchObject({ code: 'TLS', side: 'source' })
      })

      test('is accepted as the certificate of the server itself', async () => {
        const { url } = await lab.serve(hello, leaf)
        expect(await readAll(await lab.network({ ca: leaf.cert }).send({ method: 'GET', url }))).toBe('hello')
      })
    })

    test('of an authority given to the other side is not', async () => {
      const { url, seen } = await lab.serve(hello, leaf)
      await discard(await lab.network({ side: 'destination', ca: ca.pem }).send({ method: 'GET', url }))
      const error = await rejection(lab.network({ side: 'source' }).send({ method: 'GET', url }))
      expect(error).toMatchObject({ code: 'TLS', side: 'source', transient: false })
      expect(seen).toHaveLength(1)
    })

    test('of an unknown authority is refused with its subject, issuer and the option that mends it', async () => {
      const { url } = await lab.serve(hello, leaf)
      const network = lab.network({ side: 'destination', ca: other.pem })
      const error = await rejection(network.send({ method: 'GET', url }))
      expect(error).toMatchObject({ code: 'TLS', side: 'destination', transient: false })
      expect(error.message).toContain(url.host)
      expect(error.message).toContain('subject "CN=127.0.0.1"')
      expect(error.message).toContain('issuer "CN=test CA"')
      expect(error.hint).toContain('destination-ca')
      expect(error.hint).toContain('destination-insecure-skip-tls-verify')
      expect(lab.slept).toEqual([])
    })

    test('for another name is refused with the names that it has', async () => {
      const { url } = await lab.serve(hello, await ca.issue({ names: ['one.test', 'two.test'] }))
      const error = await rejection(lab.network({ ca: ca.pem }).send({ method: 'GET', url }))
      expect(error).toMatchObject({ code: 'TLS', side: 'source' })
      expect(error.message).toContain('DNS:one.test, DNS:two.test')
      // A resumed session must not skip the check.
      expect(await rejection(lab.network({ ca: ca.pem }).send({ method: 'GET', url }))).toMatchObject({ code: 'TLS' })
    })

    test.each([
      ['has expired', new Date(Date.UTC(2020, 0, 1)), new Date(Date.UTC(2021, 0, 1)), '2021'],
      ['is not valid yet', new Date(Date.UTC(2090, 0, 1)), new Date(Date.UTC(2091, 0, 1)), '2090'],
    ])('that %s is refused with its dates', async (what, from, to, year) => {
      const { url } = await lab.serve(hello, await ca.issue({ from, to }))
      const error = await rejection(lab.network({ ca: ca.pem }).send({ method: 'GET', url }))
      expect(error.code).toBe('TLS')
      expect(error.message).toContain(what)
      expect(error.message).toContain(year)
    })

    test('of the service CA names the ConfigMap that holds its authority', async () => {
      const service = await authority('openshift-service-serving-signer@1700000000')
      const { url } = await lab.serve(hello, await service.issue())
      const error = await rejection(lab.network({ ca: ca.pem }).send({ method: 'GET', url }))
      expect(error.code).toBe('TLS')
      expect(error.hint).toContain('openshift-service-ca.crt')
    })

    test('of a route is not vouched for by the service CA, and the message says so', async () => {
      const service = await authority('openshift-service-serving-signer@1700000000')
      const { url } = await lab.serve(hello, leaf)
      const error = await rejection(lab.network({ ca: service.pem }).send({ method: 'GET', url }))
      expect(error.code).toBe('TLS')
      expect(error.hint).toContain("source-ca holds is the cluster's service CA")
      expect(error.hint).toContain('kube-root-ca.crt')
    })

    test('of anybody is accepted when the side says so', async () => {
      const { url } = await lab.serve(hello, leaf)
      const network = lab.network({ insecureSkipTlsVerify: true })
      expect(await readAll(await network.send({ method: 'GET', url }))).toBe('hello')
    })
  })

  describe('the trust of the platform', () => {
    let folder: string
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'trust-'))
      lab.after(() => rmSync(folder, { recursive: true }))
    })
    const inside = (env: Record<string, string>) => {
      const own = openLab(env)
      lab.after(() => own.close())
      return own.network()
    }

    test('SSL_CERT_DIR is a list of folders whose files need no hashed names (OpenShift Pipelines)', async () => {
      const { url } = await lab.serve(hello, leaf)
      mkdirSync(join(folder, 'custom', 'sub'), { recursive: true })
      writeFileSync(join(folder, 'custom', 'ca-bundle.crt'), `# bundle\n${other.pem}\n${ca.pem}\n`)
      writeFileSync(join(folder, 'custom', 'noise'), 'nothing of interest')
      const list = [join(folder, 'absent'), join(folder, 'custom')].join(delimiter)
      await discard(await inside({ SSL_CERT_DIR: list }).send({ method: 'GET', url }))
    })

    test.each(['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS'])('%s is read', async (name) => {
      const { url } = await lab.serve(hello, leaf)
      writeFileSync(join(folder, 'ca.pem'), ca.pem)
      await discard(await inside({ [name]: join(folder, 'ca.pem') }).send({ method: 'GET', url }))
    })

    test('a damaged certificate among them spoils nothing', async () => {
      const { url } = await lab.serve(hello, leaf)
      const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
      writeFileSync(join(folder, 'ca.pem'), `${broken}${ca.pem}`)
      const network = inside({ SSL_CERT_FILE: join(folder, 'ca.pem') })
      expect(await readAll(await network.send({ method: 'GET', url }))).toBe('hello')
    })
  })

  test.each(['not a certificate', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'])(
    'the authority of a side that is %j is a USAGE error before anything is sent',
    (pem) => {
      expect(() => lab.network({ ca: pem })).toThrow(expect.objectContaining({ code: 'USAGE', side: 'source' }))
    },
  )

  describe('a handshake', () => {
    test('with a port that speaks plain HTTP is TLS, and says so', async () => {
      const { url } = await lab.serve(hello)
      const error = await rejection(lab.network().send({ method: 'GET', url: new URL(`https://${url.host}`) }))
      expect(error).toMatchObject({ code: 'TLS', transient: false })
      expect(error.hint).toContain(`http://${url.host}`)
    })

    test('that the server breaks off with an alert is NETWORK and transient', async () => {
      // TLS alert record: fatal, internal_error.
      const server = createNetServer((socket: Socket) => {
        socket.on('error', () => undefined).once('data', () => socket.end(Buffer.from([21, 3, 3, 0, 2, 2, 80])))
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      lab.after(() => new Promise((resolve) => server.close(resolve)))
      const url = new URL(`https://127.0.0.1:${(server.address() as { port: number }).port}`)
      const error = await rejection(lab.network({ retries: 1 }).send({ method: 'GET', url }))
      expect(error).toMatchObject({ code: 'NETWORK', transient: true })
      expect(lab.slept).toHaveLength(1)
    })

    test('that is never answered is given up after the stall timeout', async () => {
      const sockets: Socket[] = []
      const server = createNetServer((socket) => void sockets.push(socket.on('error', () => undefined).resume()))
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      lab.after(() => {
        for (const socket of sockets) socket.destroy()
        return new Promise((resolve) => server.close(resolve))
      })
      const url = new URL(`https://127.0.0.1:${(server.address() as { port: number }).port}`)
      const network = lab.network({ retries: 0, stallTimeout: 60 })
      expect(await rejection(network.send({ method: 'GET', url }))).toMatchObject({ code: 'NETWORK', transient: true })
    })
  })

  test('a client certificate is shown to its origin alone', async () => {
    const mine = await ca.issue({ names: ['jane'] })
    const shown: string[] = []
    const options = { ...leaf, requestCert: true, rejectUnauthorized: false, ca: ca.pem }
    const answer = (_: unknown, response: { end: () => void }, raw: { socket: unknown }) => {
      shown.push(String((raw.socket as TLSSocket).getPeerCertificate().subject?.CN))
      response.end()
    }
    const api = await lab.serve(answer, options)
    const registry = await lab.serve(answer, options)
    const network = lab.network({ ca: ca.pem, clientCertificate: { ...mine, origin: api.url.href } })
    await discard(await network.send({ method: 'GET', url: api.url }))
    await discard(await network.send({ method: 'GET', url: registry.url }))
    expect(shown).toEqual(['jane', 'undefined'])
  })

  test('a client certificate that does not fit its key is a USAGE error of the request', async () => {
    const [mine, yours] = [await ca.issue(), await ca.issue()]
    const network = lab.network({ clientCertificate: { cert: mine.cert, key: yours.key } })
    const sent = network.send({ method: 'GET', url: new URL('https://127.0.0.1:9/') })
    expect(await rejection(sent)).toMatchObject({ code: 'USAGE', side: 'source', transient: false })
  })

  describe('a proxy', () => {
    const behind = (env: Record<string, string>) => {
      const own = openLab(env)
      lab.after(() => own.close())
      return own
    }

    test('tunnels https, end to end verified with the trust of the side', async () => {
      const { url, seen } = await lab.serve(hello, leaf)
      const proxy = await lab.proxy()
      const target = new URL(`https://registry.test:${url.port}/v2/`)
      const own = behind({ HTTPS_PROXY: proxy.url })
      expect(await readAll(await own.network({ ca: ca.pem }).send({ method: 'GET', url: target }))).toBe('hello')
      expect(proxy.targets).toEqual([`CONNECT registry.test:${url.port}`])
      expect(seen[0]?.headers['proxy-authorization']).toBeUndefined()
      expect(await rejection(own.network().send({ method: 'GET', url: target }))).toMatchObject({ code: 'TLS' })
    })

    test('forwards plain http', async () => {
      const { url, seen } = await lab.serve(hello)
      const proxy = await lab.proxy()
      const target = new URL(`http://registry.test:${url.port}/v2/?n=1`)
      expect(
        await readAll(await behind({ http_proxy: proxy.url }).network().send({ method: 'GET', url: target })),
      ).toBe('hello')
      expect(proxy.targets).toEqual([`GET ${target.href}`])
      expect(seen[0]?.headers.host).toBe(target.host)
    })

    test('gets its own user and password, and nobody else does', async () => {
      const tls = await lab.serve(hello, leaf)
      const plain = await lab.serve(hello)
      const proxy = await lab.proxy({ credentials: 'proxy-user:proxy-pass' })
      const own = behind({ HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url })
      const network = own.network({ ca: ca.pem })
      const url = new URL(`https://registry.test:${tls.url.port}/`)
      const send = network.as(url, fixedLogin('test', { kind: 'bearer', token: new Secret('registry-token') }))
      expect(await readAll(await send({ method: 'GET', url }))).toBe('hello')
      const plainUrl = new URL(`http://registry.test:${plain.url.port}/`)
      expect(await readAll(await network.send({ method: 'GET', url: plainUrl }))).toBe('hello')
      expect(tls.seen[0]?.headers['proxy-authorization']).toBeUndefined()
      expect(tls.seen[0]?.headers.authorization).toBe('Bearer registry-token')
      expect(plain.seen[0]?.headers['proxy-authorization']).toBeUndefined()
      expect(own.lines.join('\n')).not.toContain('proxy-pass')
      expect(own.context.secrets.redact(`proxy-pass ${base64('proxy-user:proxy-pass')}`)).toBe('*** ***')
    })

    test.each(['https', 'http'])('that wants a password says so for %s, without showing anything', async (scheme) => {
      const proxy = await lab.proxy({ credentials: 'user:right-one' })
      const wrong = proxy.url.replace('right-one', 'wrong-one')
      const own = behind({ HTTPS_PROXY: wrong, HTTP_PROXY: wrong })
      const sent = own
        .network({ side: 'destination' })
        .send({ method: 'GET', url: new URL(`${scheme}://registry.test/`) })
      const error = await rejection(sent)
      expect(error).toMatchObject({ code: 'NETWORK', side: 'destination', status: 407, transient: false })
      expect(error.hint).toContain(`${scheme.toUpperCase()}_PROXY`)
      expect(`${error.message}${error.hint}`).not.toContain('wrong-one')
    })

    test('that refuses the host is named, and one that cannot reach it is transient', async () => {
      for (const [refuse, transient] of [
        [403, false],
        [503, true],
      ] as const) {
        const proxy = await lab.proxy({ refuse })
        const sent = behind({ HTTPS_PROXY: proxy.url })
          .network({ retries: 0 })
          .send({ method: 'GET', url: new URL('https://registry.test/') })
        expect(await rejection(sent)).toMatchObject({ code: 'NETWORK', status: refuse, transient })
      }
    })

    test('is passed by for what NO_PROXY names', async () => {
      const { url } = await lab.serve(hello)
      const proxy = await lab.proxy()
      const own = behind({ HTTP_PROXY: proxy.url, NO_PROXY: '.invalid' })
      await rejection(own.network({ retries: 0 }).send({ method: 'GET', url: new URL('http://registry.invalid/') }))
      expect(await readAll(await own.network().send({ method: 'GET', url }))).toBe('hello')
      expect(proxy.targets).toEqual([])
    })
  })
})
