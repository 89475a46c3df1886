import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { fixedLogin } from '../../../src/credentials/login.ts'
import { openNetwork } from '../../../src/http/client.ts'
import { openCluster } from '../../../src/openshift/cluster.ts'
import { asCommand } from '../../bundle/secrets/hosts.ts'
import { options } from '../../bundle/sides.ts'
import { type CertificatePair, makeCa } from '../../support/cluster/certificates.ts'
import type { Answer } from '../../support/cluster/http.ts'
import { openScene, type Scene } from '../../support/scene.ts'
import { api, json, redirect, STREAM, shownTo, TOKEN } from './hostile-cluster.ts'

/** The owner of a project writes addresses into image streams, and answers of the API are led elsewhere. */

let ca: string
let tls: CertificatePair
let scene: Scene
let evil: Awaited<ReturnType<Scene['server']>>
/** What `evil` answers to anything that is not a registry's. */
let lie: () => Answer
beforeAll(async () => {
  const authority = await makeCa('of everybody here')
  ca = authority.cert
  tls = await authority.issue({ names: ['127.0.0.1', 'localhost'] })
})
beforeEach(async () => {
  scene = openScene({ retries: 0, ca })
  lie = () => json(404, {})
  // It takes every request for a registry's and asks for a token.
  evil = await scene.server(({ target }) => {
    if (!target.startsWith('/v2/')) return lie()
    return { status: 401, headers: { 'www-authenticate': `Bearer realm="${evil.url.origin}/openshift/token"` } }
  }, tls)
})
afterEach(() => scene.close())

const stream = (status: object, spec: object = {}): Answer =>
  json(200, { kind: 'ImageStream', metadata: { name: 'app', namespace: 'dev' }, spec, status: { ...status, tags: [] } })

/** HOST is the attacker's. */
type Owned = (host: string) => Answer
const internal =
  (text: string): Owned =>
  (host) => {
    const dockerImageRepository = text.replace('HOST', host)
    return stream({ dockerImageRepository }, { dockerImageRepository })
  }
const OWNED: readonly (readonly [string, Owned])[] = [
  ['a host of the owner', internal('HOST/x/y')],
  ['the name of the service as a user name', internal('image-registry.openshift-image-registry.svc:5000@HOST/x/y')],
  ['the name of the service as a path', internal('HOST/image-registry.openshift-image-registry.svc:5000/y')],
  ['a host with a scheme', internal('https://HOST/dev/app')],
  ['a host before a fragment', internal('HOST#image-registry.openshift-image-registry.svc:5000/dev/app')],
]

async function clusterWith(answer: Answer) {
  return scene.server(
    api(({ path }) => (path === STREAM ? answer : undefined)),
    tls,
  )
}

async function promoteFrom(cluster: URL, more: Record<string, string> = {}) {
  const target = await scene.registry()
  const source = { cluster: cluster.origin, token: TOKEN, ca, ...more }
  const given = { images: 'dev/app:1=c/d:1', retries: '0' }
  return asCommand(options(source, { registry: target.url.origin }, given))
}

describe('the token of a cluster, from outside', () => {
  test.each(OWNED)('does not go where the internal address leads: %s', async (_, owned) => {
    const cluster = await clusterWith(owned(evil.url.host))
    const { code } = await promoteFrom(cluster.url)
    expect([code, shownTo(evil)]).toEqual([1, []])
    expect(shownTo(cluster)).toContain(STREAM)
  })

  test.each<[string, () => Answer]>([
    ['found', () => redirect(`${evil.url.origin}/answer`)],
    ['temporary', () => redirect(`${evil.url.origin}/answer`, 307)],
    ['permanent', () => redirect(`${evil.url.origin}${STREAM}`, 308)],
    ['of the same host by another name', () => redirect(`https://localhost:${evil.url.port}/answer`, 302)],
  ])('does not go where an answer names that came through a redirect: %s', async (_, answer) => {
    lie = () => stream({ publicDockerImageRepository: `${evil.url.host}/dev/app` })
    const cluster = await clusterWith(answer())
    const { code } = await promoteFrom(cluster.url)
    expect([code, shownTo(evil)]).toEqual([1, []])
  })

  test('does not go where a list of streams names that came through a redirect', async () => {
    lie = () => json(200, { items: [{ status: { publicDockerImageRepository: `${evil.url.host}/dev/app` } }] })
    const cluster = await scene.server(
      api(({ path }) => (path.endsWith('/imagestreams') ? redirect(`${evil.url.origin}/list`) : undefined)),
      tls,
    )
    await promoteFrom(cluster.url)
    expect(shownTo(evil)).toEqual([])
  })

  test('does not go to a host that the owner has named and the workflow repeats', async () => {
    const cluster = await clusterWith(internal('HOST/dev/app')(evil.url.host))
    await promoteFrom(cluster.url, { registry: evil.url.host })
    expect(evil.asked.length).toBeGreaterThan(0)
    expect(shownTo(evil)).toEqual([])
  })

  test('goes to the public address, which the cluster alone writes', async () => {
    const cluster = await clusterWith(stream({ publicDockerImageRepository: `${evil.url.host}/dev/app` }))
    await promoteFrom(cluster.url)
    expect(shownTo(evil)).not.toEqual([])
  })
})

describe('the token of a pod', () => {
  async function askFromPod(cluster: URL) {
    const { context } = scene.lab
    const how = { side: 'source', insecureSkipTlsVerify: false, stallTimeout: 5000, retries: 0, ca } as const
    const network = openNetwork(how, context)
    scene.after(network.close)
    const token = context.secrets.keep(TOKEN)
    const way = { kind: 'token', login: fixedLogin('pod', { kind: 'bearer', token }) } as const
    const opened = await openCluster('source', { api: cluster, network, way, inCluster: true }, context)
    const found = await opened.registryFor('dev/app').catch(() => undefined)
    if (found !== undefined) {
      const base = new URL(`https://${found.host}`)
      const asking = network.as(base, opened.login)({ method: 'GET', url: new URL('/v2/dev/app/manifests/1', base) })
      await asking.catch(() => undefined)
    }
    return opened.ownsRegistry(evil.url.host, 'dev/app')
  }

  test.each(OWNED)('does not go where the internal address leads: %s', async (_, owned) => {
    const cluster = await clusterWith(owned(evil.url.host))
    expect(await askFromPod(cluster.url)).toBe(false)
    expect(shownTo(evil)).toEqual([])
    expect(shownTo(cluster)).toContain(STREAM)
  })

  test.each(['publicDockerImageRepository', 'dockerImageRepository'])(
    'does not go where %s of a redirected answer leads',
    async (member) => {
      lie = () => stream({ [member]: `${evil.url.host}/dev/app` })
      const cluster = await clusterWith(redirect(`${evil.url.origin}/answer`))
      expect(await askFromPod(cluster.url).catch(() => false)).toBe(false)
      expect(shownTo(evil)).toEqual([])
    },
  )
})
