import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { fixedLogin } from '../../../src/credentials/login.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import type { Answer, Incoming } from '../../support/cluster/http.ts'
import { pieces } from '../../support/lab.ts'
import { type Asked, openScene, type Scene } from '../../support/scene.ts'

/** A registry lets uploads go to a host of its choice, and that host, or an odd answer, names addresses of the registry. */

const BYTES = Buffer.from('the bytes of a layer')
const BLOB = { mediaType: 'application/octet-stream', digest: digestOf(BYTES), size: BYTES.length }
const VICTIM = `/v2/prod/victim/manifests/sha256:${'a'.repeat(64)}`

let scene: Scene
beforeEach(() => {
  scene = openScene({ retries: 0 })
})
afterEach(() => scene.close())

type Server = Readonly<{ url: URL; asked: Asked[] }>
type Answering = (request: Incoming, to: { registry: string; storage: string }) => Answer | undefined

/** Begins an upload at `location`, sends, asks what is kept, and cancels; no failure of a step ends it. */
async function attack(location: string, storage: Answering, registry: Answering = () => undefined) {
  const to = { registry: '', storage: '' }
  const other: Server = await scene.server((request) => storage(request, to) ?? { status: 404 })
  const home: Server = await scene.server((request) => {
    if (request.headers.authorization === undefined)
      return { status: 401, headers: { 'WWW-Authenticate': 'Basic realm="r"' } }
    const own = registry(request, to)
    if (own !== undefined) return own
    if (request.method !== 'POST') return { status: request.method === 'DELETE' ? 204 : 404 }
    const named = location.replace('STORAGE', to.storage).replace('REGISTRY', to.registry)
    return { status: 202, headers: { Location: named } }
  })
  Object.assign(to, { registry: home.url.origin, storage: other.url.origin })
  const password = scene.lab.context.secrets.keep('prod-password-42')
  const login = fixedLogin('user prod', { kind: 'basic', username: 'prod', password })
  const quiet = () => undefined
  const begun = await scene.lab.open(home.url, 'c/d', {}, login).startUpload(BLOB).catch(quiet)
  if (begun?.state === 'open') {
    await begun.upload.send(0, pieces(BYTES)).catch(quiet)
    await begun.upload.offset().catch(quiet)
    await begun.upload.offset(true).catch(quiet)
    await begun.upload.cancel()
  }
  return { home, other }
}

const withCredential = ({ asked }: Server) => asked.filter(({ headers }) => headers.authorization !== undefined)
const elsewhere = (server: Server) => server.asked.filter(({ target }) => !target.includes('/v2/c/d/blobs/'))

describe('an upload that has left the origin of its registry', () => {
  test.each<[string, Answering]>([
    [
      'a status',
      ({ method }, { registry }) =>
        method === 'PUT' ? undefined : { status: 204, headers: { Range: '0-0', Location: registry + VICTIM } },
    ],
    [
      'the path of an upload session',
      ({ method }, { registry }) =>
        method === 'PUT'
          ? undefined
          : { status: 204, headers: { Location: `${registry}/v2/prod/victim/blobs/uploads/1` } },
    ],
    ['a redirect', (_, { registry }) => ({ status: 307, headers: { Location: registry + VICTIM } })],
    [
      'a session that is encoded',
      (_, { registry }) => ({
        status: 204,
        headers: { Location: `${registry}/v2/x/blobs/uploads/..%2f..%2f..%2fprod%2fvictim%2fmanifests%2fsha256:aa` },
      }),
    ],
  ])('takes no credential back with it: %s', async (_, storage) => {
    const { home, other } = await attack('STORAGE/upload/1', storage)
    expect(withCredential(other)).toEqual([])
    expect(withCredential(home).filter(({ target }) => target.includes('victim'))).toEqual([])
    expect(elsewhere(home).filter(({ method }) => method === 'DELETE')).toEqual([])
  })

  test('neither when the registry itself answers with a redirect there and back', async () => {
    const { home, other } = await attack(
      '/v2/c/d/blobs/uploads/1',
      (_, { registry }) => ({ status: 307, headers: { Location: registry + VICTIM } }),
      ({ method, target }, { storage }) =>
        method === 'GET' && target.includes('uploads/1')
          ? { status: 307, headers: { Location: `${storage}/x` } }
          : undefined,
    )
    expect(other.asked.length).toBeGreaterThan(0)
    expect(withCredential(other)).toEqual([])
    expect(withCredential(home).filter(({ target }) => target.includes('victim'))).toEqual([])
  })
})

describe('of its own registry', () => {
  test.each([
    VICTIM,
    `REGISTRY${VICTIM}`,
    '/v2/prod/victim/blobs/sha256:00',
    '/v2/uploads/victim/manifests/live',
    '/v2/c/d/blobs/uploads/../../manifests/live',
    '/v2/c/d/blobs/uploads/1%2f..%2f..%2fmanifests%2flive',
  ])('%s is no upload: nothing is sent there', async (location) => {
    const { home } = await attack(location, () => undefined)
    expect(elsewhere(home)).toEqual([])
    expect(home.asked.filter(({ target }) => target.includes('manifests'))).toEqual([])
  })

  test('the upload of another repository is not cancelled', async () => {
    const { home } = await attack('/v2/prod/victim/blobs/uploads/1', () => undefined)
    expect(home.asked.filter(({ method }) => method === 'DELETE')).toEqual([])
  })

  test('its own upload is continued and cancelled with the credential', async () => {
    const { home } = await attack('/v2/c/d/blobs/uploads/1?_state=x', () => undefined)
    expect(withCredential(home).map(({ method }) => method)).toEqual(expect.arrayContaining(['PUT', 'DELETE']))
  })
})
