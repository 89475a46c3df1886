import { afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { asCommand } from '../../bundle/secrets/hosts.ts'
import { options, type SideOptions } from '../../bundle/sides.ts'
import { type CertificatePair, makeCa } from '../../support/cluster/certificates.ts'
import { openScene, type Scene } from '../../support/scene.ts'
import { api, json, redirect, STREAM, shownTo, TOKEN } from './hostile-cluster.ts'

/** Whoever listens on the way waits for the token of a cluster on a connection that is not encrypted. */

let ca: string
let tls: CertificatePair
let scene: Scene
type Server = Awaited<ReturnType<Scene['server']>>
/** A registry without TLS, whose address the cluster names as its own, and the cluster. */
let plain: Server
let cluster: Server
beforeAll(async () => {
  const authority = await makeCa('of the cluster')
  ca = authority.cert
  tls = await authority.issue({ names: ['127.0.0.1'] })
})
beforeEach(async () => {
  scene = openScene()
  plain = await scene.server(() => ({ status: 401, headers: { 'www-authenticate': 'Bearer realm="x"' } }))
  const status = { publicDockerImageRepository: `${plain.url.host}/dev/app`, tags: [] }
  cluster = await scene.server(
    api(({ path }) => (path === STREAM ? json(200, { metadata: { name: 'app' }, spec: {}, status }) : undefined)),
    tls,
  )
})
afterEach(() => scene.close())

async function run(side: 'source' | 'destination', own: SideOptions, images: string) {
  const other = await scene.registry()
  const attacked = { cluster: cluster.url.origin, token: TOKEN, ca, ...own }
  const free = { registry: other.url.origin }
  const [source, destination] = side === 'source' ? [attacked, free] : [free, attacked]
  return asCommand(options(source, destination, { images, retries: '0' }))
}

test.each<[string, 'source' | 'destination', (host: string) => SideOptions]>([
  ['a source registry written with http', 'source', (host) => ({ registry: `http://${host}` })],
  ['a destination registry written with http', 'destination', (host) => ({ registry: `http://${host}` })],
  ['a scheme in capitals', 'source', (host) => ({ registry: `HTTP://${host}` })],
  ['a trailing slash', 'source', (host) => ({ registry: `http://${host}/` })],
  [
    'certificates that are not verified',
    'source',
    (host) => ({ registry: `http://${host}`, 'insecure-skip-tls-verify': 'true' }),
  ],
])('%s gets no token of the cluster', async (_, side, own) => {
  const images = side === 'source' ? 'dev/app:1=c/d:1' : 'a/b:1=dev/app:1'
  const { code, produced } = await run(side, own(plain.url.host), images)
  expect([code === 0, shownTo(plain)]).toEqual([false, []])
  expect(Object.values(produced).join()).toContain('over https only')
})

test.each([
  ['that the cluster names', {}, 'dev/app:1=c/d:1'],
  ['that the reference names', {}, 'HOST/dev/app:1=c/d:1'],
])('the registry %s is asked over https, although only http answers there', async (_, own, images) => {
  const { code } = await run('source', own, images.replace('HOST', plain.url.host))
  expect([code, plain.asked]).toEqual([1, []])
})

test('an API without https is refused before it is asked', async () => {
  const { code } = await run('source', { cluster: plain.url.origin }, 'dev/app:1=c/d:1')
  expect([code, plain.asked]).toEqual([2, []])
})

test('an API that redirects to http is not followed there with the token', async () => {
  const away = await scene.server(
    api(({ path }) => (path === STREAM ? redirect(plain.url.origin + STREAM) : undefined)),
    tls,
  )
  const { code } = await run('source', { cluster: away.url.origin }, 'dev/app:1=c/d:1')
  expect([code, shownTo(plain)]).toEqual([1, []])
})
