import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { Agent, request } from 'undici'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { MEDIA } from '../../support/cluster/distribution.ts'
import { createFaults } from '../../support/cluster/faults.ts'
import { listener } from '../../support/cluster/http.ts'
import {
  type BuiltImage,
  type BuiltManifest,
  describe as describeManifest,
  makeArtifact,
  makeCosign,
  makeImage,
  makeIndex,
  seedImage,
} from '../../support/cluster/image.ts'
import { type OpenShiftRegistry, openshiftRegistry } from '../../support/cluster/openshift-registry.ts'
import { listen, stop } from '../../support/cluster/plain.ts'
import { createRecorder, type Recorder } from '../../support/cluster/recorder.ts'
import { createStreams, type RegistryOptions, type Streams, type User, type Verb } from '../../support/cluster/state.ts'
import { createStorage } from '../../support/cluster/storage.ts'

/** Sections 8.2 to 8.9 of what the real registry was seen to do, one test a line. */

/** In `src`, `dst` and `small`: what each token may do. Nobody but root has rights anywhere else. */
const RIGHTS: Record<string, (verb: Verb, resource: string, ns: string) => boolean> = {
  root: () => true,
  alice: (_verb, _resource, ns) => ['src', 'dst', 'small'].includes(ns),
  viewer: (verb, _resource, ns) => ns === 'src' && verb === 'get',
  pusher: (verb, resource, ns) =>
    ns === 'dst' && resource === 'imagestreams/layers' && ['get', 'update'].includes(verb),
}

let streams: Streams
let registry: OpenShiftRegistry
let recorder: Recorder
let url: URL
let options: RegistryOptions
let server: Awaited<ReturnType<typeof listen>>
const faults = createFaults()
const agent = new Agent()
const upstream = createStorage()
let waits: number[]

beforeEach(async () => {
  streams = createStreams(() => 0)
  for (const name of ['src', 'dst', 'small']) streams.addProject(name)
  options = { exposed: true, apiDown: false, missingBlobDelay: 0 }
  recorder = createRecorder()
  waits = []
  const whoAmI = (token: string): User | undefined =>
    token in RIGHTS ? { name: token, uid: token, groups: [] } : undefined
  const allowed = (user: User, verb: Verb, resource: string, ns: string) =>
    RIGHTS[user.name]?.(verb, resource, ns) ?? false
  registry = openshiftRegistry(
    { whoAmI, allowed, streams, recorder, options },
    { upstream, sleep: async (ms) => waits.push(ms) },
  )
  server = await listen(listener(faults.layer(registry.handler), registry.log))
  url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
afterEach(async () => {
  faults.clear()
  expect([...registry.log.violations, ...recorder.unexpected]).toEqual([])
  await Promise.all([stop(server), registry.close()])
})
afterAll(() => agent.close())

type Call = { token?: string | undefined; headers?: Record<string, string>; body?: Uint8Array | string }
async function call(method: string, path: string, { token = 'alice', headers = {}, body }: Call = {}) {
  const answer = await request(new URL(path, url), {
    method: method as 'GET',
    headers: { ...(token !== '' && { authorization: `Bearer ${token}` }), ...headers },
    body: body ?? null,
    dispatcher: agent,
  })
  const bytes = Buffer.from(await answer.body.arrayBuffer())
  return { status: answer.statusCode, headers: answer.headers, bytes, text: bytes.toString() }
}
const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })
const put = (repository: string, reference: string, { bytes, mediaType }: BuiltManifest, token = 'alice') =>
  call('PUT', `/v2/${repository}/manifests/${reference}`, {
    token,
    body: bytes,
    headers: { 'content-type': mediaType },
  })
const get = (repository: string, reference: string, accept?: string, method = 'GET') =>
  call(method, `/v2/${repository}/manifests/${reference}`, accept === undefined ? {} : { headers: { accept } })
const fill = (repository: string, image: BuiltImage) => {
  for (const blob of image.blobs.values()) registry.store.putBlob(repository, blob)
}
async function begin(repository: string, query = '', token = 'alice') {
  const answer = await call('POST', `/v2/${repository}/blobs/uploads/${query}`, { token })
  return { status: answer.status, location: String(answer.headers.location), headers: answer.headers }
}

const image = makeImage({ seed: 21 })
const other = makeImage({ seed: 22 })
const layer = [...image.blobs.values()][0] as Uint8Array
const digest = digestOf(layer)
const HOME = 'registry.far.example.com/far/away'
const URLS = { urls: ['https://far.example.com/layer'] }
const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'
const nobody = digestOf(Buffer.from('nobody has this'))
const octets = { 'content-type': 'application/octet-stream' }
const EVERY = Object.values(MEDIA).join(', ')
const access = (name: string, ...actions: string[]) =>
  actions.map((action) => `{"Type":"repository","Class":"","Name":"${name}","Action":"${action}"}`).join(',')
const unauthorized = (detail: string) =>
  `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":${detail}}]}\n`
const DENIED = 'Basic realm=openshift,error="access denied"'
const UNKNOWN = '{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{}}]}\n'
const INVALID = '{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{}}]}\n'

describe('GET /v2/', () => {
  test('no credentials: Bearer challenge without service and scope', async () => {
    const answer = await call('GET', '/v2/', { token: '' })
    expect([answer.status, answer.text]).toEqual([401, unauthorized('null')])
    expect(answer.headers['www-authenticate']).toBe(`Bearer realm="${url.origin}/openshift/token"`)
    expect(answer.headers['content-length']).toBe('87')
  })

  test.each<[string, Record<string, string>]>([
    ['a bad Bearer token', { authorization: 'Bearer bad' }],
    ['a bad token as the password of Basic', basic('x:bad')],
  ])('%s: unquoted Basic challenge', async (_, headers) => {
    const answer = await call('GET', '/v2/', { token: '', headers })
    expect([answer.status, answer.headers['www-authenticate'], answer.text]).toEqual([
      401,
      DENIED,
      unauthorized('null'),
    ])
  })

  test.each<[string, Record<string, string>]>([
    ['Bearer', { authorization: 'Bearer alice' }],
    ['Basic with any user name', basic('whoever:alice')],
    ['the anonymous token', { authorization: 'Bearer anonymous' }],
  ])('%s is good', async (_, headers) => {
    const answer = await call('GET', '/v2/', { token: '', headers })
    expect([answer.status, answer.text, answer.headers['content-length']]).toEqual([200, '{}', '2'])
    expect(answer.headers['docker-distribution-api-version']).toBe('registry/2.0')
    expect(answer.headers['x-registry-supports-signatures']).toBe('1')
  })

  test.each([
    ['X-Forwarded-*', { 'x-forwarded-host': 'reg.example.com', 'x-forwarded-proto': 'https' }],
    [
      'Forwarded',
      {
        'x-forwarded-host': 'reg.example.com',
        'x-forwarded-proto': 'https',
        forwarded: 'for=1.2.3.4;host=reg.example.com;proto=https',
      },
    ],
  ])('behind a route, %s gives the name in realms and Locations', async (_, headers) => {
    const asked = await call('GET', '/v2/', { token: '', headers })
    expect(asked.headers['www-authenticate']).toBe('Bearer realm="https://reg.example.com/openshift/token"')
    const begun = await call('POST', '/v2/src/app/blobs/uploads/', { headers })
    expect(begun.headers.location).toMatch(/^https:\/\/reg\.example\.com\/v2\/src\/app\/blobs\/uploads\//)
  })

  test.each([
    ['/', 200, ''],
    ['/healthz', 200, ''],
    ['/v2', 301, '<a href="/v2/">Moved Permanently</a>.\n\n'],
  ])('%s answers %i', async (path, status, text) => {
    const answer = await call('GET', path, { token: '' })
    expect([answer.status, answer.text]).toEqual([status, text])
  })
})

describe('the token endpoint', () => {
  const path = '/openshift/token'
  test.each<[string, string, string, Record<string, string>, number, string]>([
    ['without credentials gives anonymous', 'GET', path, {}, 200, '{"access_token":"anonymous","token":"anonymous"}\n'],
    [
      'echoes a good token',
      'GET',
      `${path}?service=foo&scope=repository:src/app:pull`,
      basic('x:alice'),
      200,
      '{"access_token":"alice","token":"alice"}\n',
    ],
    ['refuses a bad token without a word', 'GET', path, basic('x:bad'), 401, ''],
    [
      'refuses names that are not <project>/<name>',
      'GET',
      `${path}?scope=repository:a/b/c:pull`,
      basic('x:alice'),
      401,
      '{"details":"repository name \\"a/b/c\\" invalid: it must be of the format \\u003cproject\\u003e/\\u003cname\\u003e"}\n',
    ],
    ['knows no POST', 'POST', path, basic('x:alice'), 405, ''],
  ])('%s', async (_, method, target, headers, status, text) => {
    const answer = await call(method, target, { token: '', headers })
    expect([answer.status, answer.text]).toEqual([status, text])
    expect(answer.headers['www-authenticate']).toBeUndefined()
  })

  test('says so when the API cannot be reached', async () => {
    options.apiDown = true
    const answer = await call('GET', path, { token: '', headers: basic('x:alice') })
    expect([answer.status, answer.text]).toEqual([401, '{"details":"unable to validate token"}\n'])
  })
})

describe('authorization', () => {
  const refused: [string, string, string, string, string][] = [
    ['anonymous reading', 'GET', '/v2/src/app/tags/list', 'anonymous', `[${access('src/app', 'pull')}]`],
    ['a puller pushing', 'POST', '/v2/src/app/blobs/uploads/', 'viewer', `[${access('src/app', 'pull', 'push')}]`],
    [
      'reading in a missing project',
      'GET',
      '/v2/missingns/app/manifests/v1',
      'alice',
      `[${access('missingns/app', 'pull')}]`,
    ],
    [
      'pushing to a missing project',
      'PUT',
      '/v2/missingns/app/manifests/v1',
      'alice',
      `[${access('missingns/app', 'pull', 'push')}]`,
    ],
    ['a token that expired', 'GET', '/v2/src/app/tags/list', 'expired', `[${access('src/app', 'pull')}]`],
    ['deleting a manifest', 'DELETE', '/v2/src/app/manifests/v1', 'alice', `[${access('src/app', 'delete')}]`],
    ['deleting a blob', 'DELETE', `/v2/src/app/blobs/${nobody}`, 'alice', `[${access('src/app', 'delete')}]`],
    ['the catalog', 'GET', '/v2/_catalog', 'alice', '[{"Type":"registry","Class":"","Name":"catalog","Action":"*"}]'],
  ]
  test.each(refused)('%s is 401 with the accesses that were asked for', async (_, method, path, token, detail) => {
    const answer = await call(method, path, { token })
    expect([answer.status, answer.headers['www-authenticate'], answer.text]).toEqual([
      401,
      DENIED,
      unauthorized(detail),
    ])
  })

  test('without credentials a repository is 401 Bearer', async () => {
    const answer = await call('GET', '/v2/src/app/tags/list', { token: '' })
    expect(answer.headers['www-authenticate']).toContain('Bearer realm=')
    expect(answer.text).toBe(unauthorized(`[${access('src/app', 'pull')}]`))
  })

  test('cancelling an upload needs the right to push only', async () => {
    const { location } = await begin('dst/app', '', 'pusher')
    expect((await call('DELETE', location, { token: 'viewer' })).status).toBe(401)
    expect((await call('DELETE', location, { token: 'pusher' })).status).toBe(204)
  })

  test.each(['/v2/a/b/c/manifests/latest', '/v2/single/manifests/latest'])(
    '%s is 400 with an empty body',
    async (path) => {
      const answer = await call('GET', path)
      expect([answer.status, answer.text, answer.headers['content-type']]).toEqual([400, '', undefined])
    },
  )

  test.each([
    ['/v2/', 'alice', 400],
    ['/v2/src/app/manifests/v1', 'alice', 400],
    ['/v2/src/app/manifests/v1', '', 401],
    ['/v2/', 'anonymous', 200],
  ])('while the API is down, %s with token "%s" answers %i', async (path, token, status) => {
    options.apiDown = true
    const answer = await call('GET', path, { token })
    expect(answer.status).toBe(status)
    if (status === 400) expect(answer.text).toBe('')
  })

  test('without a route everything is the router’s 503 page', async () => {
    options.exposed = false
    const answer = await call('GET', '/v2/')
    expect([answer.status, answer.headers['content-type']]).toEqual([503, 'text/html'])
    expect(answer.text).toContain('<h1>Application is not available</h1>')
  })

  test('the catalog is for administrators', async () => {
    streams.create('src', 'app')
    expect((await call('GET', '/v2/_catalog', { token: 'root' })).text).toBe('{"repositories":["src/app"]}\n')
  })
})

describe('reading manifests', () => {
  const name = '{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}\n'
  const unknown = (detail: string) =>
    `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":${detail}}]}\n`
  const revision = (repository: string, of: string) => unknown(`{"Name":"${repository}","Revision":"${of}"}`)
  beforeEach(() => void seedImage(registry, 'src/app', image, 'v1'))

  test.each<[string, string, string, number, string]>([
    ['tag, stream missing', 'src/nope', 'latest', 404, name],
    ['tag missing in a stream', 'src/app', 'nosuch', 404, unknown('{"Tag":"nosuch"}')],
    ['digest, stream missing', 'src/nope', nobody, 500, UNKNOWN],
    ['digest not in a stream', 'src/app', nobody, 404, revision('src/app', nobody)],
  ])('%s', async (_, repository, reference, status, text) => {
    const answer = await get(repository, reference, EVERY)
    expect([answer.status, answer.text]).toEqual([status, text])
    const head = await get(repository, reference, EVERY, 'HEAD')
    expect([head.status, head.text, head.headers['content-length']]).toEqual([status, '', String(text.length)])
  })

  test('pushed by digest without a stream: 500; with a stream that does not refer to it: 404', async () => {
    fill('dst/new', other)
    expect((await put('dst/new', other.root.digest, other.root)).status).toBe(201)
    expect((await get('dst/new', other.root.digest, EVERY)).status).toBe(500)
    streams.create('dst', 'new')
    const answer = await get('dst/new', other.root.digest, EVERY)
    expect([answer.status, answer.text]).toEqual([404, revision('dst/new', other.root.digest)])
  })

  test('children are there once the index is tagged, those pushed later as soon as they come', async () => {
    const index = makeIndex({ seed: 30 })
    const [first, second] = index.manifests as [BuiltManifest, BuiltManifest]
    fill('dst/multi', index)
    await put('dst/multi', first.digest, first)
    expect((await get('dst/multi', first.digest, EVERY)).status).toBe(500)
    expect((await put('dst/multi', 'v1', index.root)).status).toBe(201)
    expect((await get('dst/multi', first.digest, EVERY)).bytes).toEqual(Buffer.from(first.bytes))
    expect((await get('dst/multi', second.digest, EVERY)).text).toBe(revision('dst/multi', second.digest))
    await put('dst/multi', second.digest, second)
    expect((await get('dst/multi', second.digest, EVERY)).status).toBe(200)
  })

  test('an old digest stays readable while it is in the history of the tag', async () => {
    seedImage(registry, 'src/app', other, 'v1')
    expect((await get('src/app', image.root.digest, EVERY)).status).toBe(200)
    expect((await get('src/app', 'v1', EVERY)).headers['docker-content-digest']).toBe(other.root.digest)
  })

  test('headers of a manifest, and HEAD the same', async () => {
    for (const method of ['GET', 'HEAD']) {
      const answer = await get('src/app', 'v1', MEDIA.manifest, method)
      expect(answer).toMatchObject({
        status: 200,
        headers: {
          'content-type': MEDIA.manifest,
          'content-length': String(image.root.bytes.length),
          'docker-content-digest': image.root.digest,
          etag: `"${image.root.digest}"`,
        },
      })
    }
  })

  test('If-None-Match with the digest is 304', async () => {
    const headers = { accept: EVERY, 'if-none-match': `"${image.root.digest}"` }
    expect((await call('GET', '/v2/src/app/manifests/v1', { headers })).status).toBe(304)
  })

  const OCI = 'OCI manifest found, but accept header does not support OCI manifests'
  const INDEX = 'OCI index found, but accept header does not support OCI indexes'
  const refusal = (message: string) => `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"${message}"}]}\n`
  const list = makeIndex({ seed: 31, docker: true })
  const index = makeIndex({ seed: 32 })
  const v2s2 = makeImage({ seed: 33, docker: true })
  const untyped = (() => {
    const { mediaType, ...rest } = JSON.parse(Buffer.from(index.root.bytes).toString()) as Record<string, unknown>
    const bytes = Buffer.from(JSON.stringify(rest))
    return { digest: digestOf(bytes), bytes, mediaType: String(mediaType) }
  })()
  const kinds = { oci: image, index, list, v2s2, untyped: { ...index, root: untyped, manifests: [untyped] } }
  const both = `${MEDIA.list},${MEDIA.v2s2}`

  test.each<[keyof typeof kinds, 'tag' | 'digest', string | undefined, number, string]>([
    ['oci', 'tag', undefined, 404, refusal(OCI)],
    ['oci', 'tag', '*/*', 404, refusal(OCI)],
    ['oci', 'digest', MEDIA.v2s2, 404, refusal(OCI)],
    ['oci', 'tag', `${MEDIA.manifest};q=0.5, */*`, 200, image.root.digest],
    ['index', 'tag', MEDIA.manifest, 404, refusal(INDEX)],
    ['index', 'digest', '*/*', 404, refusal(INDEX)],
    ['untyped', 'tag', MEDIA.manifest, 200, untyped.digest],
    ['list', 'tag', MEDIA.v2s2, 200, list.manifests[0]?.digest ?? ''],
    ['list', 'tag', both, 200, list.root.digest],
    ['list', 'tag', undefined, 400, INVALID],
    ['list', 'digest', undefined, 200, list.root.digest],
    ['v2s2', 'tag', undefined, 400, INVALID],
    ['v2s2', 'digest', '*/*', 200, v2s2.root.digest],
  ])('%s by %s with Accept %s answers %i', async (kind, by, accept, status, expected) => {
    seedImage(registry, 'src/kinds', kinds[kind], 'v1')
    const answer = await get('src/kinds', by === 'tag' ? 'v1' : kinds[kind].root.digest, accept)
    expect(answer.status).toBe(status)
    expect(status === 200 ? answer.headers['docker-content-digest'] : answer.text).toBe(expected)
    if (status === 200) expect(digestOf(answer.bytes)).toBe(expected)
  })

  test('an imported image is pulled through; when its home lost it, that is said', async () => {
    seedImage(upstream, 'far/away', other, 'v1')
    registry.importImage('src/app', other, 'imported', HOME)
    expect((await get('src/app', 'imported', EVERY)).bytes).toEqual(Buffer.from(other.root.bytes))
    const [blob, bytes] = [...other.blobs][0] as [string, Uint8Array]
    expect((await call('HEAD', `/v2/src/app/blobs/${blob}`)).headers['content-length']).toBe(String(bytes.length))
    expect((await call('GET', `/v2/src/app/blobs/${blob}`)).bytes).toEqual(Buffer.from(bytes))
    registry.importImage('src/app', makeImage({ seed: 77 }), 'imported', HOME)
    expect((await get('src/app', 'imported', EVERY)).text).toContain('OPENSHIFT_PULLTHROUGH_MANIFEST')
  })

  test.each(['GET', 'HEAD'])(
    '%s stores in the background what it pulls through; a mount and a push do not',
    async (method) => {
      const imported = makeImage({ seed: method === 'GET' ? 78 : 79 })
      seedImage(upstream, 'far/away', imported)
      registry.importImage('src/app', imported, 'imported', HOME)
      const [blob] = [...imported.blobs.keys()] as [Digest]
      const { status } = await begin('src/app', `?mount=${blob}&from=src/app`)
      const pushed = await put('src/app', 'pushed', imported.root)
      expect([status, pushed.status, registry.store.blobs.has(blob)]).toEqual([202, 201, false])
      expect((await call(method, `/v2/src/app/blobs/${blob}`)).status).toBe(200)
      await new Promise(setImmediate)
      expect(registry.store.blobs.has(blob)).toBe(true)
      expect((await begin('src/app', `?mount=${blob}&from=src/app`)).status).toBe(201)
    },
  )

  test('where its home is gone, a blob is unknown, and of a manifest the reason is told', async () => {
    const imported = makeIndex({ seed: 80 })
    seedImage(upstream, 'far/away', imported)
    registry.importImage('src/app', imported, 'imported', HOME)
    options.upstreamGone = true
    const [child] = imported.manifests as [BuiltManifest]
    const answer = await get('src/app', child.digest, EVERY)
    expect([answer.status, answer.text]).toEqual([404, expect.stringContaining('OPENSHIFT_PULLTHROUGH_MANIFEST')])
    expect(answer.text).toContain(`unable to pull manifest from ${HOME}@${child.digest}: Get`)
    const [blob] = [...imported.blobs.keys()]
    expect((await call('GET', `/v2/src/app/blobs/${blob}`)).text).toContain('BLOB_UNKNOWN')
  })

  test('the inventory names the children of an index that nobody has pushed, as missing', async () => {
    const index = makeIndex({ seed: 81 })
    const [first, second] = index.manifests as [BuiltManifest, BuiltManifest]
    fill('src/app', index)
    for (const [reference, manifest] of [
      [first.digest, first],
      ['v1', index.root],
    ] as const)
      await put('src/app', reference, manifest)
    const { images, blobs } = streams.layers('src', 'app') ?? { images: {}, blobs: {} }
    expect(images[second.digest]).toEqual({ layers: null, imageMissing: true })
    expect(images[first.digest]).toMatchObject({ imageMissing: false })
    expect(Object.keys(blobs)).not.toContain(second.digest)
  })

  test.each<[string, boolean, string, object, string]>([
    [
      'an OCI layer that is elsewhere',
      false,
      'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
      URLS,
      'MANIFEST_BLOB_UNKNOWN',
    ],
    ["docker's foreign layer", true, FOREIGN, URLS, ''],
    ["docker's foreign layer without an address", true, FOREIGN, {}, 'UNKNOWN'],
    ["docker's own layer with an address", true, 'application/vnd.docker.image.rootfs.diff.tar.gzip', URLS, 'UNKNOWN'],
  ])('a manifest with %s', async (_name, docker, mediaType, more, code) => {
    const base = makeImage({ seed: 82, docker })
    fill('src/app', base)
    const document = JSON.parse(Buffer.from(base.root.bytes).toString()) as { layers: object[] }
    document.layers.push({ mediaType, digest: nobody, size: 9, ...more })
    const bytes = Buffer.from(JSON.stringify(document))
    const answer = await put('src/app', 'v1', { ...base.root, bytes, digest: digestOf(bytes) })
    const errors = answer.status === 201 ? [] : (JSON.parse(answer.text) as { errors: { code: string }[] }).errors
    expect(errors[0]?.code ?? '').toBe(code)
  })
})

describe('blobs', () => {
  test('headers of GET, HEAD and a range', async () => {
    registry.store.putBlob('src/app', layer)
    const path = `/v2/src/app/blobs/${digest}`
    const common = {
      'accept-ranges': 'bytes',
      'cache-control': 'max-age=31536000',
      'content-type': 'application/octet-stream',
      'docker-content-digest': digest,
      etag: `"${digest}"`,
    }
    expect((await call('GET', path)).headers).toMatchObject({ ...common, 'content-length': '1000' })
    expect((await call('HEAD', path)).headers).toMatchObject({ ...common, 'content-length': '1000' })
    const part = await call('GET', path, { headers: { range: 'bytes=10-19' } })
    expect([part.status, part.headers['content-range'], part.bytes]).toEqual([
      206,
      'bytes 10-19/1000',
      Buffer.from(layer.subarray(10, 20)),
    ])
  })

  test('unknown, or known to other streams only: 404', async () => {
    registry.store.putBlob('src/app', layer)
    const answer = await call('GET', `/v2/src/nope/blobs/${digest}`)
    expect([answer.status, answer.text]).toEqual([
      404,
      `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry","detail":"${digest}"}]}\n`,
    ])
  })

  test('what the stream refers to is there without a link, manifests included', async () => {
    seedImage(registry, 'src/app', image, 'v1')
    streams.create('dst', 'tagged')
    streams.addTag('dst', 'tagged', 'v1', streams.images.get(image.root.digest) as never)
    expect((await call('HEAD', `/v2/dst/tagged/blobs/${digest}`)).status).toBe(200)
    expect((await call('GET', `/v2/dst/tagged/blobs/${image.root.digest}`)).bytes).toEqual(
      Buffer.from(image.root.bytes),
    )
  })

  test('storage redirects: 307 for GET and HEAD to a host that wants no Authorization', async () => {
    registry.store.putBlob('src/app', layer)
    const origin = (await registry.redirectBlobs()).origin
    const answers = await Promise.all(['GET', 'HEAD'].map((method) => call(method, `/v2/src/app/blobs/${digest}`)))
    expect(answers.map(({ status }) => status)).toEqual([307, 307])
    const location = String(answers[0]?.headers.location)
    expect(location.startsWith(`${origin}/`)).toBe(true)
    expect((await call('GET', location, { token: '' })).bytes).toEqual(Buffer.from(layer))
    expect((await call('GET', location)).status).toBe(400)
    expect(registry.log.violations.splice(0)).toHaveLength(1)
  })
})

describe('uploads', () => {
  const invalid = (detail: string) =>
    `{"errors":[{"code":"BLOB_UPLOAD_INVALID","message":"blob upload invalid"${detail}}]}\n`
  const range = '{"errors":[{"code":"RANGE_INVALID","message":"invalid content range"}]}\n'
  const patch = (location: string, body: Uint8Array, headers: Record<string, string> = {}) =>
    call('PATCH', location, { headers: { ...octets, ...headers }, body })

  test('begin: absolute Location with _state, uuid, Range 0-0', async () => {
    const { status, location, headers } = await begin('src/app')
    expect([status, headers.range, headers['content-length']]).toEqual([202, '0-0', '0'])
    expect(location.split('?_state=')[0]).toBe(
      `${url.origin}/v2/src/app/blobs/uploads/${headers['docker-upload-uuid']}`,
    )
    const state = Buffer.from(decodeURIComponent(location.split('?_state=')[1] ?? ''), 'base64url')
    expect(JSON.parse(state.subarray(32).toString())).toMatchObject({ Name: 'src/app', Offset: 0 })
  })

  test('one PUT, and the blob is there before any manifest and any stream', async () => {
    const { location } = await begin('src/app')
    const answer = await call('PUT', `${location}&digest=${digest}`, { headers: octets, body: layer })
    expect(answer).toMatchObject({
      status: 201,
      headers: { location: `${url.origin}/v2/src/app/blobs/${digest}`, 'docker-content-digest': digest },
    })
    expect((await call('HEAD', `/v2/src/app/blobs/${digest}`)).status).toBe(200)
    const after = await call('GET', location)
    expect([after.status, after.text]).toEqual([
      404,
      '{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry","detail":{}}]}\n',
    ])
    expect(registry.openUploads()).toBe(0)
  })

  test('each PATCH renews the Location; the old one is 416, and for GET still good', async () => {
    const { location } = await begin('src/app')
    const first = await patch(location, layer.subarray(0, 600))
    expect([first.status, first.headers.range]).toEqual([202, '0-599'])
    expect(first.headers.location).not.toBe(location)
    const stale = await patch(location, layer.subarray(600))
    expect([stale.status, stale.text]).toEqual([416, range])
    const status = await call('GET', location)
    expect([status.status, status.headers.range, status.headers.location]).toEqual([
      204,
      '0-599',
      first.headers.location,
    ])
    const last = await call('PUT', `${first.headers.location}&digest=${digest}`, { body: layer.subarray(600) })
    expect(last.status).toBe(201)
  })

  test.each<[string, Record<string, string>, number, string]>([
    ['a wrong start', { 'content-range': '12-1011' }, 416, range],
    [
      'a length that is not the range’s',
      { 'content-range': '0-5' },
      400,
      '{"errors":[{"code":"SIZE_INVALID","message":"provided length did not match content length"}]}\n',
    ],
    ['another Content-Type', { 'content-type': 'text/plain' }, 500, UNKNOWN],
  ])('PATCH with %s', async (_, headers, status, text) => {
    const answer = await patch((await begin('src/app')).location, layer, headers)
    expect([answer.status, answer.text]).toEqual([status, text])
  })

  test.each<[string, (location: string, uuid: string) => string, string]>([
    ['without _state', (location) => location.replace(/\?.*/, ''), invalid(',"detail":{}')],
    ['with a forged _state', (location) => location.replace(/_state=..../, '_state=AAAA'), invalid(',"detail":{}')],
    ['with the _state of another repository', (location) => location.replace('/src/', '/dst/'), invalid('')],
    [
      'with the _state of another session',
      (location, uuid) => location.replace(uuid, 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee'),
      invalid(''),
    ],
  ])('PATCH %s is 404', async (_, change, text) => {
    const { location, headers } = await begin('src/app')
    const answer = await patch(change(location, String(headers['docker-upload-uuid'])), layer)
    expect([answer.status, answer.text]).toEqual([404, text])
  })

  test.each(['PUT', 'PATCH'])('a broken %s is resumed', async (method) => {
    const { location } = await begin('src/app')
    const target = new URL(method === 'PUT' ? `${location}&digest=${digest}` : location)
    const headers = { ...octets, authorization: 'Bearer alice', 'content-length': '1000' }
    const broken = httpRequest(target, { method, headers })
    broken.on('error', () => {})
    broken.write(layer.subarray(0, 700))
    while (registry.log.stats.bytesIn < 700) await new Promise((next) => setImmediate(next))
    broken.destroy()
    while (registry.log.stats.active > 0) await new Promise((next) => setImmediate(next))
    const status = await call('GET', location)
    expect([status.status, status.headers.range]).toEqual([204, '0-699'])
    const rest = await call('PUT', `${status.headers.location}&digest=${digest}`, { body: layer.subarray(700) })
    expect(rest.status).toBe(201)
  })

  test('a 401 leaves the session alone', async () => {
    const { location } = await begin('src/app')
    const path = `${location}&digest=${digest}`
    expect((await call('PUT', path, { token: 'expired', body: layer })).status).toBe(401)
    expect((await call('PUT', path, { body: layer })).status).toBe(201)
  })

  test.each<[string, string, string]>([
    ['another digest', `&digest=${nobody}`, `{"Digest":"${nobody}","Reason":{}}`],
    ['no digest', '', '"digest missing"'],
  ])('a commit with %s is 400, and the bytes are kept', async (_, query, detail) => {
    const { location } = await begin('src/app')
    const answer = await call('PUT', `${location}${query}`, { body: layer })
    const message = 'provided digest did not match uploaded content'
    expect([answer.status, answer.text]).toEqual([
      400,
      `{"errors":[{"code":"DIGEST_INVALID","message":"${message}","detail":${detail}}]}\n`,
    ])
    expect((await call('GET', location)).headers.range).toBe(query === '' ? '0-0' : '0-999')
  })

  test('POST ?digest= ignores its body', async () => {
    const answer = await call('POST', `/v2/src/app/blobs/uploads/?digest=${digest}`, { body: layer })
    expect([answer.status, answer.headers.range]).toEqual([202, '0-0'])
    expect((await call('HEAD', `/v2/src/app/blobs/${digest}`)).status).toBe(404)
  })

  test.each<[string, string, string, string, number]>([
    ['with both rights', 'alice', 'dst/app', `?mount=${digest}&from=src/app`, 201],
    ['without pull on the source', 'pusher', 'dst/app', `?mount=${digest}&from=src/app`, 202],
    ['of an unknown blob', 'alice', 'dst/app', `?mount=${nobody}&from=src/app`, 202],
    ['from a stream that does not exist', 'alice', 'dst/app', `?mount=${digest}&from=src/nosuch`, 202],
    ['from a missing project', 'alice', 'dst/app', `?mount=${digest}&from=missingns/x`, 202],
    ['without from', 'alice', 'dst/app', `?mount=${digest}`, 202],
    ['from a malformed name', 'alice', 'dst/app', `?mount=${digest}&from=bad/repo/name`, 400],
    ['from itself, present', 'alice', 'src/app', `?mount=${digest}&from=src/app`, 201],
    ['from itself, absent', 'alice', 'dst/app', `?mount=${digest}&from=dst/app`, 202],
    ['without push', 'viewer', 'src/app', `?mount=${digest}&from=src/app`, 401],
  ])('a mount %s', async (_, token, repository, query, status) => {
    registry.store.putBlob('src/app', layer)
    const answer = await begin(repository, query, token)
    expect(answer.status).toBe(status)
    if (status === 201) {
      expect(answer.headers['docker-content-digest']).toBe(digest)
      expect(answer.location).toBe(`${url.origin}/v2/${repository}/blobs/${digest}`)
    }
    const there = (await call('HEAD', `/v2/${repository}/blobs/${digest}`)).status === 200
    expect(there).toBe(status === 201 || repository === 'src/app')
  })

  test('the session of a mount that was not possible is used for the upload', async () => {
    const { location } = await begin('dst/app', `?mount=${digest}&from=src/app`)
    expect((await call('PUT', `${location}&digest=${digest}`, { body: layer })).status).toBe(201)
  })
})

describe('pushing manifests', () => {
  const denied = '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}\n'
  beforeEach(() => fill('dst/app', image))

  test('by tag: the stream is created, and the answer names the digest', async () => {
    const answer = await put('dst/app', 'v1', image.root)
    expect(answer).toMatchObject({
      status: 201,
      text: '',
      headers: {
        location: `${url.origin}/v2/dst/app/manifests/${image.root.digest}`,
        'docker-content-digest': image.root.digest,
      },
    })
    expect(streams.resolve('dst', 'app', 'v1')).toBe(image.root.digest)
  })

  test('by digest: an Image of the cluster, no stream; again is fine', async () => {
    for (let i = 0; i < 2; i++) expect((await put('dst/app', image.root.digest, image.root, 'pusher')).status).toBe(201)
    expect(streams.get('dst', 'app')).toBeUndefined()
    expect(streams.images.has(image.root.digest)).toBe(true)
  })

  test('a tag without the right to create the stream is 403 DENIED, and fine once it is there', async () => {
    const answer = await put('dst/app', 'v1', image.root, 'pusher')
    expect([answer.status, answer.text]).toEqual([403, denied])
    streams.create('dst', 'app')
    expect((await put('dst/app', 'v1', image.root, 'pusher')).status).toBe(201)
  })

  test('quota and limit range are 403 DENIED', async () => {
    streams.projects.get('dst')?.quotas.set('streams', { 'openshift.io/imagestreams': '0' })
    expect((await put('dst/app', 'v1', image.root)).text).toBe(denied)
    expect(streams.get('dst', 'app')).toBeUndefined()
    streams.projects.get('dst')?.quotas.clear()
    streams.projects.get('dst')?.limits.set('size', { maxImageBytes: 10 })
    const answer = await put('dst/app', 'v1', image.root)
    expect([answer.status, answer.text]).toEqual([403, denied])
  })

  test('a limit does not stop blobs', async () => {
    streams.projects.get('small')?.limits.set('size', { maxImageBytes: 10 })
    const { location } = await begin('small/x')
    expect((await call('PUT', `${location}&digest=${digest}`, { body: layer })).status).toBe(201)
  })

  test('the same digest again does not lengthen the history', async () => {
    for (let i = 0; i < 2; i++) await put('dst/app', 'v1', image.root)
    expect(streams.get('dst', 'app')?.tags.get('v1')).toHaveLength(1)
  })

  test('missing blobs are waited for one by one and all named', async () => {
    options.missingBlobDelay = 3100
    const answer = await put('dst/app', 'v1', other.root)
    // The config, which is the last of the blobs, comes first.
    const errors = [...other.blobs.keys()]
      .slice(-1)
      .concat([...other.blobs.keys()].slice(0, -1))
      .map((detail) => ({
        code: 'MANIFEST_BLOB_UNKNOWN',
        message: 'blob unknown to registry',
        detail,
      }))
    expect(answer.status).toBe(400)
    expect(JSON.parse(answer.text).errors).toEqual(errors)
    expect(waits).toEqual(errors.map(() => 3100))
  })

  const edit = (
    { bytes, mediaType }: BuiltManifest,
    change: (document: Record<string, never>) => void,
  ): BuiltManifest => {
    const document = JSON.parse(Buffer.from(bytes).toString())
    change(document)
    const changed = Buffer.from(JSON.stringify(document))
    return { digest: digestOf(changed), bytes: changed, mediaType }
  }
  test('a wrong size in a descriptor is 500 with both sizes', async () => {
    const wrong = edit(image.root, (document) => Object.assign(document.layers?.[0] ?? {}, { size: 5 }))
    const answer = await put('dst/app', 'v1', wrong)
    const detail = `{"Digest":"${digest}","ActualSize":1000,"SizeInManifest":5}`
    const unknown = '{"code":"UNKNOWN","message":"unknown error"'
    expect([answer.status, answer.text]).toEqual([500, `{"errors":[${unknown}},${unknown},"detail":${detail}}]}\n`])
  })

  const typed = (mediaType: string): BuiltManifest => ({ ...image.root, mediaType })
  test.each<[string, BuiltManifest]>([
    ['OCI content as the docker type', typed(MEDIA.v2s2)],
    ['an image as an index', typed(MEDIA.index)],
    ['an unknown type', typed('application/vnd.oci.artifact.manifest.v1+json')],
    ['schema 1', typed('application/vnd.docker.distribution.manifest.v1+prettyjws')],
    ['no type', typed('')],
  ])('%s is 400 MANIFEST_INVALID', async (_, manifest) => {
    const headers: Record<string, string> = manifest.mediaType === '' ? {} : { 'content-type': manifest.mediaType }
    const answer = await call('PUT', '/v2/dst/app/manifests/v1', { headers, body: manifest.bytes })
    expect([answer.status, answer.text]).toEqual([400, INVALID])
  })

  test('another digest in the path is 400 DIGEST_INVALID', async () => {
    const answer = await put('dst/app', nobody, image.root)
    const message = 'provided digest did not match uploaded content'
    expect([answer.status, answer.text]).toEqual([
      400,
      `{"errors":[{"code":"DIGEST_INVALID","message":"${message}"}]}\n`,
    ])
  })

  test('more than 4 MiB is 400 and the end of the connection', async () => {
    const answer = await put('dst/app', 'big', { ...image.root, bytes: Buffer.alloc((4 << 20) + 1, ' ') })
    const text = INVALID.replace('{}', '"http: request body too large"')
    expect([answer.status, answer.text, answer.headers.connection]).toEqual([400, text, 'close'])
  })

  test('a tag that is none is 404 text/plain', async () => {
    const answer = await put('dst/app', 'bad%20tag', image.root)
    expect([answer.status, answer.text, answer.headers['content-type']]).toEqual([
      404,
      '404 page not found\n',
      'text/plain; charset=utf-8',
    ])
  })

  test('artifacts keep subject and type; there is no OCI-Subject, no referrers API', async () => {
    const artifact = makeArtifact({ subject: describeManifest(image.root) })
    fill('dst/art', artifact)
    const answer = await put('dst/art', 'art1', artifact.root)
    expect([answer.status, answer.headers['oci-subject']]).toEqual([201, undefined])
    expect((await get('dst/art', 'art1', EVERY)).bytes).toEqual(Buffer.from(artifact.root.bytes))
    const referrers = await call('GET', `/v2/dst/art/referrers/${image.root.digest}`)
    expect([referrers.status, referrers.text]).toEqual([404, '404 page not found\n'])
    expect(referrers.headers['x-registry-supports-signatures']).toBeUndefined()
  })

  test('cosign tags are tags', async () => {
    const { image: signature, tag } = makeCosign(image.root.digest)
    fill('dst/app', signature)
    expect((await put('dst/app', tag, signature.root)).status).toBe(201)
    expect(streams.tags('dst', 'app')).toEqual([tag])
  })
})

describe('listing and deleting', () => {
  test('tags come in no order, and paging follows that order', async () => {
    const tags = ['a', 'b', 'c', 'd', 'e']
    for (const tag of tags) seedImage(registry, 'src/app', image, tag)
    const all: string[] = JSON.parse((await call('GET', '/v2/src/app/tags/list')).text).tags
    expect([...all].sort()).toEqual(tags)
    expect(all).not.toEqual(tags)
    const page = await call('GET', '/v2/src/app/tags/list?n=2')
    expect(JSON.parse(page.text).tags).toEqual(all.slice(0, 2))
    expect(page.headers.link).toBe(`</v2/src/app/tags/list?last=${all[1]}&n=2>; rel="next"`)
  })

  test('tags of a missing stream', async () => {
    const answer = await call('GET', '/v2/src/app/tags/list', { token: 'viewer' })
    expect([answer.status, answer.text]).toEqual([
      404,
      '{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry","detail":{"name":"src/app"}}]}\n',
    ])
  })

  test('an administrator deletes a tag: 202 and nothing happens; a manifest in the stream: 405', async () => {
    seedImage(registry, 'src/app', image, 'v1')
    expect((await call('DELETE', '/v2/src/app/manifests/v1', { token: 'root' })).status).toBe(202)
    expect(streams.tags('src', 'app')).toEqual(['v1'])
    const answer = await call('DELETE', `/v2/src/app/manifests/${image.root.digest}`, { token: 'root' })
    const text = '{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}\n'
    expect([answer.status, answer.text]).toEqual([405, text])
  })

  test('signatures: none, or no such image', async () => {
    seedImage(registry, 'src/app', image, 'v1')
    const path = (of: string) => `/extensions/v2/src/app/signatures/${of}`
    expect((await call('GET', path(image.root.digest))).text).toBe('{"signatures":[]}')
    const absent = await call('GET', path(nobody))
    expect([absent.status, absent.text]).toEqual([404, ''])
  })

  test('an unknown path is noted as unexpected', async () => {
    expect((await call('GET', '/metrics')).status).toBe(404)
    expect(recorder.unexpected.splice(0)).toEqual(['registry: GET /metrics'])
  })
})

describe('faults', () => {
  test('they work here as around the plain registry', async () => {
    const fault = faults.add({ match: { path: /^\/v2\/$/, times: 1 }, do: { kind: 'status', status: 503 } })
    expect([(await call('GET', '/v2/')).status, (await call('GET', '/v2/')).status, fault.fired]).toEqual([503, 200, 1])
  })
})
