import { connect } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { ask, within } from '../../support/cluster/ask.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { makeIndex, seedImage } from '../../support/cluster/image.ts'

const ME = '/apis/user.openshift.io/v1/users/~'

let cluster: EmbeddedCluster
beforeAll(async () => {
  cluster = await startCluster()
})
afterEach(() => expect(cluster.unexpected).toEqual([]))
afterAll(() => cluster.close())

describe('certificates', () => {
  const handshake = (other: EmbeddedCluster, url: URL, ca: string, servername = 'localhost') =>
    new Promise<string>((done) => {
      const socket = connect({ port: Number(url.port), host: '127.0.0.1', ca, servername })
      socket.on('secureConnect', () => done('trusted'))
      socket.on('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message))
      socket.on('close', () => done('closed'))
      socket.setTimeout(5000, () => socket.destroy())
      socket.on('secureConnect', () => socket.destroy())
      expect(other.unexpected).toEqual([])
    })

  test('each of the three servers is vouched for by its own authority and by no other', async () => {
    const mains = ['api', 'oauth', 'registry'] as const
    for (const server of mains) {
      const each = mains.map((ca) => handshake(cluster, cluster[server], cluster.ca[ca]))
      const expected = mains.map((ca) => (ca === server ? 'trusted' : 'SELF_SIGNED_CERT_IN_CHAIN'))
      expect(await Promise.all(each)).toEqual(expected)
      expect(await handshake(cluster, cluster[server], cluster.ca.bundle)).toBe('trusted')
    }
  })

  test('they may be expired, for another name, or without their authority', () =>
    within({ certificates: { api: 'expired', oauth: 'wrong-name', registry: 'leaf-only' } }, async (other) => {
      expect(await handshake(other, other.api, other.ca.api)).toBe('CERT_HAS_EXPIRED')
      expect(await handshake(other, other.oauth, other.ca.oauth)).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
      expect(await handshake(other, other.registry, other.ca.api)).toBe('UNABLE_TO_VERIFY_LEAF_SIGNATURE')
    }))

  test('names of their own are in the URLs and in the certificates', () =>
    within({ hostnames: { api: 'api.cluster.example' } }, async (other) => {
      expect(other.api.hostname).toBe('api.cluster.example')
      expect(await handshake(other, other.api, other.ca.api, 'api.cluster.example')).toBe('trusted')
    }))
})

test('requests are recorded in order across the servers, with the kind of credential and the status', () =>
  within({}, async (other) => {
    await ask(other.ca.api, new URL('/version', other.api))
    await ask(other.ca.oauth, new URL('/healthz', other.oauth))
    await ask(other.ca.api, new URL(ME, other.api), { bearer: other.token('jane') })
    await ask(other.ca.registry, new URL('/v2/', other.registry), { basic: `x:${other.token('jane')}` })
    expect(other.requests).toEqual([
      { server: 'api', method: 'GET', path: '/version', authorization: 'none', status: 200 },
      { server: 'oauth', method: 'GET', path: '/healthz', authorization: 'none', status: 200 },
      { server: 'api', method: 'GET', path: ME, authorization: 'bearer', status: 200 },
      { server: 'registry', method: 'GET', path: '/v2/', authorization: 'basic', status: 200 },
    ])
  }))

test('faults strike in front of the API and are recorded', () =>
  within({}, async (other) => {
    other.faults.api.add({ do: { kind: 'status', status: 503 }, match: { nth: 1 } })
    const get = async () => (await ask(other.ca.api, new URL('/version', other.api))).status
    expect([await get(), await get()]).toEqual([503, 200])
    expect(other.requests.map((request) => request.status)).toEqual([503, 200])
  }))

test('a seeded image is in the image stream and in the registry, and opens with the tokens of the cluster', () =>
  within({}, async (other) => {
    const digest = seedImage(other, 'dev/app', makeIndex(), '1.0')
    const bearer = other.token('viewer')
    const tag = new URL('/apis/image.openshift.io/v1/namespaces/dev/imagestreamtags/app:1.0', other.api)
    const known = await ask(other.ca.api, tag, { bearer })
    const manifest = new URL('/v2/dev/app/manifests/1.0', other.registry)
    const headers = { accept: 'application/vnd.oci.image.index.v1+json' }
    const stored = await ask(other.ca.registry, manifest, { bearer, method: 'HEAD', headers })
    expect(known.json()).toMatchObject({ image: { metadata: { name: digest } } })
    expect(stored).toMatchObject({ status: 200, headers: { 'docker-content-digest': [digest] } })
    other.revoke(bearer)
    const late = await ask(other.ca.registry, manifest, { bearer, method: 'HEAD', headers })
    expect(late).toMatchObject({ status: 401 })
  }))

test('a registry without a route answers the page of the router', () =>
  within({ registryExposed: false }, async (other) => {
    const reply = await ask(other.ca.registry, new URL('/v2/', other.registry))
    expect(reply).toMatchObject({ status: 503, headers: { 'content-type': ['text/html'] } })
    expect(reply.text).toContain('Application is not available')
  }))
