import { request } from 'node:https'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { ask, type Question } from '../../support/cluster/ask.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { MEDIA } from '../../support/cluster/distribution.ts'
import { type BuiltManifest, makeImage, seedImage } from '../../support/cluster/image.ts'

/** Answers of the integrated registry that clients do not expect, each as the real one gave it. */

let cluster: EmbeddedCluster
beforeAll(async () => {
  cluster = await startCluster()
})
afterAll(async () => {
  expect(cluster.unexpected).toEqual([])
  await cluster.close()
})

type Call = Omit<Question, 'bearer'> & { user?: string }
function call(method: string, path: string, { user = 'developer', ...question }: Call = {}) {
  const bearer = user !== '' && !('authorization' in (question.headers ?? {})) && cluster.token(user)
  return ask(cluster.ca.registry, new URL(path, cluster.registry), { method, ...question, ...(bearer && { bearer }) })
}
const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })
const error = (code: string, message: string, detail?: unknown) =>
  `${JSON.stringify({ errors: [{ code, message, ...(detail !== undefined && { detail }) }] })}\n`
const UNKNOWN_UPLOAD = 'blob upload unknown to registry'
const WRONG_DIGEST = 'provided digest did not match uploaded content'
const TEXT = ['text/plain; charset=utf-8']
const image = makeImage({ seed: 61 })
const [layer = new Uint8Array(), config = new Uint8Array()] = [...image.blobs.values()]
const octets = { 'content-type': 'application/octet-stream' }

async function begin(repository: string): Promise<{ location: string; path: string }> {
  const { headers } = await call('POST', `/v2/${repository}/blobs/uploads/`)
  const location = headers.location?.[0] ?? ''
  return { location, path: new URL(location).pathname }
}

describe('who may do what', () => {
  test.each([
    ['no credentials', 'repository:app:pull', {}, 'app'],
    ['no credentials', 'repository:a/b/c:pull', {}, 'a/b/c'],
    ['a bad token', 'signature:/b:get', basic('x:bad'), '/b'],
    ['a class', 'repository(plugin):a/b/c:pull', {}, 'a/b/c'],
  ])('the token endpoint looks at the names first: %s, %s', async (_, scope, headers, name) => {
    const answer = await call('GET', `/openshift/token?scope=${scope}`, { user: '', headers })
    const why = `repository name \\"${name}\\" invalid: it must be of the format \\u003cproject\\u003e/\\u003cname\\u003e`
    expect([answer.status, answer.text]).toEqual([401, `{"details":"${why}"}\n`])
  })

  test.each(['repository:a/b:pull', 'repository:a', 'repository:a:pull:more', 'registry:a/b/c:*'])(
    'the token endpoint takes the scope %s or skips it',
    async (scope) => {
      expect((await call('GET', `/openshift/token?scope=${scope}`, { user: '' })).status).toBe(200)
    },
  )

  test.each(['/v2/', '/v2/dev/app/tags/list'])('an empty password cannot be decoded: %s', async (path) => {
    for (const headers of [basic('x:'), basic('no colon')]) {
      const { status, headers: got } = await call('GET', path, { headers })
      const challenge = 'Basic realm=openshift,error="failed to decode credentials"'
      expect([status, got['www-authenticate']]).toEqual([401, [challenge]])
    }
  })

  test.each([
    ['HEAD', '/v2/_catalog', 'nobody', 401],
    ['HEAD', '/v2/dev/app/tags/list', 'nobody', 401],
    ['DELETE', '/v2/dev/app/tags/list', 'developer', 401],
    ['HEAD', '/v2/_catalog', 'admin', 405],
    ['HEAD', '/v2/dev/app/tags/list', 'developer', 405],
    ['PUT', '/v2/dev/app/tags/list', 'developer', 405],
    ['POST', '/v2/dev/app/manifests/v1', 'developer', 405],
    ['POST', '/v2/', 'developer', 200],
    ['PUT', '/v2/', 'nobody', 200],
    ['PUT', '/v2/', '', 401],
  ])('rights are asked before the method: %s %s as "%s" is %i', async (method, path, user, status) => {
    const answer = await call(method, path, { user })
    expect(answer.status).toBe(status)
    expect(answer.headers['x-registry-supports-signatures']).toEqual(['1'])
    if (status !== 405) return
    expect(answer.headers['content-type']).toEqual(TEXT)
    expect(answer.text).toBe(method === 'HEAD' ? '' : 'Method not allowed\n')
    expect(answer.headers.allow).toEqual([path.includes('/manifests/') ? 'DELETE, GET, HEAD, PUT' : 'GET'])
  })

  test.each([
    ['GET', '/v2/DEV/app/manifests/v1', 401],
    ['POST', '/v2/Host.example:5000/app/blobs/uploads/', 401],
    ['GET', '/v2/dev/APP/manifests/v1', 404],
    ['GET', '/v2/-dev/app/tags/list', 404],
  ])('a name may begin as a host: %s %s is %i', async (method, path, status) => {
    const answer = await call(method, path)
    expect(answer.status).toBe(status)
    if (status === 404) expect([answer.text, answer.headers['content-type']]).toEqual(['404 page not found\n', TEXT])
    else expect(answer.json().errors).toMatchObject([{ code: 'UNAUTHORIZED' }])
  })

  test.each([
    ['GET', '/v2//dev/app/tags/list?n=1', '/v2/dev/app/tags/list?n=1', ''],
    ['PUT', '/v2/dev/app//manifests///v1', '/v2/dev/app/manifests/v1', ''],
    ['GET', '/openshift//token', '/openshift/token', ''],
    ['GET', '/v2', '/v2/', '<a href="/v2/">Moved Permanently</a>.\n\n'],
    ['GET', '/v2/_catalog/?n=1', '/v2/_catalog?n=1', '<a href="/v2/_catalog?n=1">Moved Permanently</a>.\n\n'],
    ['POST', '/v2/dev/app/blobs/uploads', '/v2/dev/app/blobs/uploads/', ''],
  ])('%s %s moved to the clean path', async (method, path, location, text) => {
    const answer = await call(method, path)
    expect([answer.status, answer.headers.location, answer.text]).toEqual([301, [location], text])
    expect(answer.headers['docker-distribution-api-version']).toEqual(['registry/2.0'])
  })

  test('signatures are behind the same dispatcher', async () => {
    for (const [user, status] of [
      ['developer', 404],
      ['nobody', 401],
    ] as const) {
      const answer = await call('GET', `/extensions/v2/dev/app/signatures/${digestOf(layer)}`, { user })
      expect([answer.status, answer.headers['x-registry-supports-signatures']]).toEqual([status, ['1']])
    }
  })

  test('the catalog is in the order of the API', async () => {
    const { streams } = cluster.state
    streams.create('test', 'zebra')
    streams.create('test', 'ant')
    const answer = await call('GET', '/v2/_catalog', { user: 'admin' })
    const mine = answer.json<{ repositories: string[] }>().repositories.filter((name) => name.startsWith('test/'))
    expect(mine).toEqual(streams.list('test').map(({ name }) => `test/${name}`))
  })

  test('behind a router of another port than 443 that ends TLS, Locations say http, and realms https', async () => {
    cluster.options.registry.edgeRouter = true
    const [asked, { location }] = [await call('GET', '/v2/', { user: '' }), await begin('dev/app')]
    cluster.options.registry.edgeRouter = false
    expect(asked.headers['www-authenticate']).toEqual([`Bearer realm="${cluster.registry.origin}/openshift/token"`])
    expect(location).toMatch(new RegExp(`^http://${cluster.registryHost}/v2/dev/app/blobs/uploads/`))
  })

  test.each([
    ['for=1.2.3.4;host=reg.example.com;proto=https', 'https://reg.example.com'],
    ['for=1.2.3.4;host="reg.example.com:8443";proto=https', 'https://reg.example.com:8443'],
    // As HAProxy writes it: not to be parsed, and then X-Forwarded-* does not count either.
    ['for=1.2.3.4;host=reg.example.com:8443;proto=http', 'https://127.0.0.1:PORT'],
  ])('Locations with Forwarded: %s', async (forwarded, origin) => {
    const other = { 'x-forwarded-host': 'reg.example.com', 'x-forwarded-port': '8443', 'x-forwarded-proto': 'https' }
    const { headers } = await call('POST', '/v2/dev/app/blobs/uploads/', { headers: { forwarded, ...other } })
    expect(new URL(headers.location?.[0] ?? '').origin).toBe(origin.replace('PORT', cluster.registry.port))
    const asked = await call('GET', '/v2/', { user: '', headers: { forwarded, ...other } })
    expect(asked.headers['www-authenticate']).toEqual(['Bearer realm="https://reg.example.com:8443/openshift/token"'])
  })
})

describe('upload sessions', () => {
  test('the status is told without _state and with that of another secret, and the new Location is good', async () => {
    const { location, path } = await begin('dev/status')
    await call('PATCH', location, { headers: octets, body: 'abc' })
    for (const asked of [path, `${path}?_state=${'A'.repeat(80)}`, location]) {
      const answer = await call('GET', asked)
      expect([answer.status, answer.headers.range]).toEqual([204, ['0-2']])
      expect(answer.headers['docker-upload-uuid']).toEqual([path.split('/').at(-1)])
      const fresh = answer.headers.location?.[0] ?? ''
      expect((await call('PATCH', fresh, { headers: { ...octets, 'content-range': '3-2' } })).status).toBe(416)
      expect(new URL(fresh).searchParams.get('_state')).toBeTruthy()
    }
  })

  test('the status of another repository’s session, and the writing to it', async () => {
    const { location } = await begin('dev/mine')
    const other = location.replace('/dev/mine/', '/dev/other/')
    const status = await call('GET', other)
    expect([status.status, status.text]).toEqual([404, error('BLOB_UPLOAD_UNKNOWN', UNKNOWN_UPLOAD, {})])
    for (const method of ['PATCH', 'PUT', 'DELETE']) {
      const answer = await call(method, other)
      expect([answer.status, answer.text]).toEqual([404, error('BLOB_UPLOAD_INVALID', 'blob upload invalid')])
    }
  })

  test.each([
    ['GET', {}],
    ['PATCH', undefined],
    ['PUT', undefined],
    ['DELETE', undefined],
  ])('%s without an id knows no upload', async (method, detail) => {
    const before = cluster.openUploads()
    const answer = await call(method, '/v2/dev/app/blobs/uploads/')
    expect([answer.status, answer.text]).toEqual([404, error('BLOB_UPLOAD_UNKNOWN', UNKNOWN_UPLOAD, detail)])
    expect(cluster.openUploads()).toBe(before)
  })

  test('DELETE wants the _state of the offset that the session has now', async () => {
    const { location, path } = await begin('dev/gone')
    await call('PATCH', location, { headers: octets, body: 'abc' })
    const stale = await call('DELETE', location)
    expect([stale.status, stale.text]).toEqual([416, error('RANGE_INVALID', 'invalid content range')])
    const bare = await call('DELETE', path)
    expect([bare.status, bare.text]).toEqual([404, error('BLOB_UPLOAD_INVALID', 'blob upload invalid', {})])
    const fresh = (await call('GET', path)).headers.location?.[0] ?? ''
    const deleted = await call('DELETE', fresh)
    expect([deleted.status, deleted.headers['docker-upload-uuid']]).toEqual([204, [path.split('/').at(-1)]])
    expect((await call('GET', path)).text).toBe(error('BLOB_UPLOAD_UNKNOWN', UNKNOWN_UPLOAD, {}))
  })

  /** Sends so much of a body of 1000 bytes, and is gone. */
  async function breakOff(location: string, body: string): Promise<void> {
    const headers = { authorization: `Bearer ${cluster.token('developer')}`, 'content-length': '1000' }
    const broken = request(location, { method: 'PATCH', ca: cluster.ca.registry, headers })
    broken.on('error', () => {})
    broken.write(body)
    const { pathname } = new URL(location)
    while (cluster.stats.paths.get(pathname)?.bytesIn !== body.length) await new Promise((next) => setImmediate(next))
    broken.destroy()
    while (cluster.stats.active > 0) await new Promise((next) => setImmediate(next))
  }

  test.each([
    ['twice, unless told otherwise', undefined, ['0-0', '0-9']],
    ['as often as it is told', { deletes: 4 }, ['0-0', '0-1', '0-2', '0-9']],
    ['for as long as it is told', { milliseconds: 60_000 }, ['0-0', '0-1', '0-2', '0-3', '0-4']],
  ])('a body that broke off goes on arriving: DELETE is refused %s', async (_, late, ranges) => {
    if (late) cluster.options.registry.late = late
    const { location } = await begin('dev/late')
    await breakOff(location, '0123456789')
    let at = location
    const seen: unknown[] = []
    for (let i = 0; i < ranges.length; i++) {
      expect((await call('DELETE', at)).status).toBe(416)
      const { headers } = await call('GET', at)
      seen.push(headers.range?.[0])
      at = headers.location?.[0] ?? ''
    }
    delete cluster.options.registry.late
    expect(seen).toEqual(ranges)
    expect((await call('DELETE', at)).status).toBe(late && 'milliseconds' in late ? 416 : 204)
  })

  test('who asks for the status first, or goes on, finds everything arrived', async () => {
    const { location } = await begin('dev/late')
    await breakOff(location, '0123456789')
    expect((await call('GET', location)).headers.range).toEqual(['0-9'])
    expect((await call('PATCH', location, { headers: octets, body: 'x' })).status).toBe(416)
  })

  test.each([
    ['bytes 0-4/5', 'strconv.ParseInt: parsing "bytes 0": invalid syntax'],
    ['0-4/5', 'strconv.ParseInt: parsing "4/5": invalid syntax'],
    ['bytes 5', 'invalid content range format, bytes 5'],
  ])('Content-Range: %s', async (range, detail) => {
    const { location } = await begin('dev/app')
    const answer = await call('PATCH', location, { headers: { ...octets, 'content-range': range }, body: 'abcde' })
    expect([answer.status, answer.text]).toEqual([500, error('UNKNOWN', 'unknown error', detail)])
  })

  test('a blob that is named by sha512 is stored by sha256, and read by both', async () => {
    const body = 'sixty-four bytes of digest'
    const [long, short] = (['sha512', 'sha256'] as const).map((one) => digestOf(Buffer.from(body), one))
    const { location } = await begin('dev/long')
    const answer = await call('PUT', `${location}&digest=${long}`, { headers: octets, body })
    expect(answer.status).toBe(201)
    expect(answer.headers['docker-content-digest']).toEqual([short])
    expect(answer.headers.location).toEqual([`${cluster.registry.origin}/v2/dev/long/blobs/${short}`])
    for (const digest of [long, short]) {
      const read = await call('GET', `/v2/dev/long/blobs/${digest}`)
      expect([read.status, read.text, read.headers['docker-content-digest']]).toEqual([200, body, [short]])
    }
    const mounted = await call('POST', `/v2/dev/other/blobs/uploads/?mount=${long}&from=dev/long`)
    expect([mounted.status, mounted.headers['docker-content-digest']]).toEqual([201, [short]])
    const named = manifest({ ...describe_(config), digest: long }, [])
    cluster.store.putBlob('dev/long', config)
    expect(
      (await put('dev/long', 'v1', manifest(describe_(config), [{ digest: long, size: body.length }]))).status,
    ).toBe(201)
    expect((await put('dev/long', long ?? '', named)).text).toBe(error('DIGEST_INVALID', WRONG_DIGEST))
  })
})

const describe_ = (bytes: Uint8Array) => ({ mediaType: OCI_CONFIG, digest: digestOf(bytes), size: bytes.length })
const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json'
const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip'

function manifest(of: unknown, layers: readonly object[], more: object = {}): BuiltManifest {
  const all = layers.map((one) => ({ mediaType: LAYER, ...one }))
  const document = { schemaVersion: 2, mediaType: MEDIA.manifest, config: of, layers: all, ...more }
  const bytes = Buffer.from(JSON.stringify(document))
  return { digest: digestOf(bytes), bytes, mediaType: MEDIA.manifest }
}

function put(repository: string, reference: string, { bytes, mediaType }: Omit<BuiltManifest, 'digest'>) {
  const body = Buffer.from(bytes).toString()
  return call('PUT', `/v2/${repository}/manifests/${reference}`, { headers: { 'content-type': mediaType }, body })
}

describe('manifests', () => {
  const absent = digestOf(Buffer.from('nobody has this'))
  const blobUnknown = (digest: Digest) => ({
    code: 'MANIFEST_BLOB_UNKNOWN',
    message: 'blob unknown to registry',
    detail: digest,
  })

  test.each([
    ['null', { config: null }],
    ['missing', { config: undefined }],
    ['without a digest', { config: { mediaType: OCI_CONFIG, size: 2 } }],
    ['with a digest of a wrong form', { config: { mediaType: OCI_CONFIG, size: 2, digest: 'nothing' } }],
  ])('a config that is %s is 400 DIGEST_INVALID without detail', async (_, more) => {
    const answer = await put('prod/app', 'v1', manifest(undefined, [], more))
    expect([answer.status, answer.text]).toEqual([400, error('DIGEST_INVALID', WRONG_DIGEST)])
  })

  test('what is missing is named in the order config, layers, whatever is wrong with each', async () => {
    const other = digestOf(Buffer.from('nor this'))
    const { status, text } = await put(
      'prod/app',
      'v1',
      manifest({ ...describe_(config), digest: absent }, [{ digest: other }]),
    )
    expect([status, JSON.parse(text).errors]).toEqual([400, [absent, other].map(blobUnknown)])
    const mixed = await put('prod/app', 'v1', manifest(null, [{ digest: other }]))
    const [first, second] = mixed.json<{ errors: object[] }>().errors
    expect([mixed.status, first, second]).toEqual([
      400,
      { code: 'DIGEST_INVALID', message: WRONG_DIGEST },
      blobUnknown(other),
    ])
  })

  test.each([
    [1, MEDIA.manifest],
    [3, MEDIA.manifest],
    [undefined, MEDIA.manifest],
    [1, MEDIA.index],
  ])('schemaVersion %s with %s is a 500 that stays', async (schemaVersion, mediaType) => {
    cluster.store.putBlob('prod/app', config)
    const document = mediaType === MEDIA.index ? { manifests: [] } : { config: describe_(config), layers: [] }
    const bytes = Buffer.from(JSON.stringify({ schemaVersion, mediaType, ...document }))
    for (let i = 0; i < 2; i++) {
      const answer = await put('prod/app', 'v1', { bytes, mediaType })
      expect([answer.status, answer.text]).toEqual([500, error('UNKNOWN', 'unknown error', {})])
    }
  })

  test.each([
    ['{"schemaVersion":2x', 19],
    ['{', 1],
    ['[1, 2', 5],
    ['{"a": tru }', 10],
    ['{"a": "b\\q"}', 10],
    ['{"a": 1} {', 10],
    ['{"a" 1}', 6],
    ['{a}', 2],
    ['[1.]', 4],
    ['', 0],
  ])('no JSON (%s) is 400 with the offset of the error', async (text, offset) => {
    const answer = await put('prod/app', 'v1', { bytes: Buffer.from(text), mediaType: MEDIA.manifest })
    expect([answer.status, answer.text]).toEqual([
      400,
      error('MANIFEST_INVALID', 'manifest invalid', { Offset: offset }),
    ])
  })

  test('a digest that is none is taken for a tag', async () => {
    const missing = await call('GET', '/v2/prod/nosuch/manifests/sha256:zz')
    expect([missing.status, missing.text]).toEqual([
      404,
      error('NAME_UNKNOWN', 'repository name not known to registry'),
    ])
    seedImage(cluster, 'prod/there', image, 'v1')
    const answer = await call('GET', '/v2/prod/there/manifests/sha256:zz')
    expect(answer.text).toBe(error('MANIFEST_UNKNOWN', 'manifest unknown', { Tag: 'sha256:zz' }))
  })

  test('If-None-Match counts with and without quotes', async () => {
    seedImage(cluster, 'prod/there', image, 'v1')
    const ask = (etag: string) =>
      call('GET', '/v2/prod/there/manifests/v1', { headers: { accept: MEDIA.manifest, 'if-none-match': etag } })
    for (const etag of [image.root.digest, `"${image.root.digest}"`]) expect((await ask(etag)).status).toBe(304)
    expect((await ask(absent)).status).toBe(200)
  })

  test.each([
    [['v1'], 'NOSUCH', []],
    [['v1'], 'v0', []],
    [['v1'], 'v2', []],
    [['a', 'b', 'c', 'd'], 'zz', []],
  ])('tags %j after %s: nothing, for the list is searched as if it were sorted', async (tags, last, rest) => {
    const repository = `prod/tags${tags.length}${last.toLowerCase()}`
    for (const tag of tags) seedImage(cluster, repository, image, tag)
    const answer = await call('GET', `/v2/${repository}/tags/list?last=${last}`)
    expect([answer.status, answer.json()]).toEqual([200, { name: repository, tags: rest }])
  })
})

describe('blobs', () => {
  const path = `/v2/dev/blob/blobs/${digestOf(layer)}`
  beforeAll(() => void cluster.store.putBlob('dev/blob', layer))

  test.each(['sha256:zz', `sha256:${'a'.repeat(63)}`, `sha999:${'a'.repeat(64)}`])(
    'a digest of a wrong form is 400 (%s)',
    async (digest) => {
      for (const method of ['GET', 'POST']) {
        const answer = await call(method, `/v2/dev/blob/blobs/${digest}`)
        expect([answer.status, answer.text]).toEqual([400, error('DIGEST_INVALID', WRONG_DIGEST, {})])
      }
    },
  )

  test('two ranges are a multipart answer', async () => {
    const text = 'twenty letters, plain'
    const digest = cluster.store.putBlob('dev/blob', Buffer.from(text))
    const answer = await call('GET', `/v2/dev/blob/blobs/${digest}`, { headers: { range: 'bytes=0-1, 5-6' } })
    const [, boundary] =
      /^multipart\/byteranges; boundary=([0-9a-f]{60})$/.exec(answer.headers['content-type']?.[0] ?? '') ?? []
    const part = (range: string, bytes: string) =>
      `--${boundary}\r\nContent-Range: bytes ${range}/${text.length}\r\nContent-Type: application/octet-stream\r\n\r\n${bytes}\r\n`
    expect(answer.text).toBe(`${part('0-1', 'tw')}${part('5-6', 'y ')}--${boundary}--\r\n`)
    expect([answer.status, answer.headers['content-range']]).toEqual([206, undefined])
  })

  test.each([
    ['bytes=5000-', 'invalid range: failed to overlap\n', [`bytes */${layer.length}`]],
    ['bytes=5-1', 'invalid range\n', undefined],
  ])('416 (%s) has neither Etag nor Cache-Control', async (range, text, contentRange) => {
    const answer = await call('GET', path, { headers: { range } })
    expect([answer.status, answer.text, answer.headers['content-range']]).toEqual([416, text, contentRange])
    expect(answer.headers.etag).toBeUndefined()
    expect(answer.headers['cache-control']).toBeUndefined()
    expect(answer.headers['content-type']).toEqual(TEXT)
    expect(answer.headers['docker-content-digest']).toEqual([digestOf(layer)])
  })

  test('304 has no Content-Type; without quotes it is no ETag here', async () => {
    const answer = await call('GET', path, { headers: { 'if-none-match': `"${digestOf(layer)}"` } })
    expect([answer.status, answer.headers['content-type']]).toEqual([304, undefined])
    expect(answer.headers.etag).toEqual([`"${digestOf(layer)}"`])
    expect((await call('GET', path, { headers: { 'if-none-match': digestOf(layer) } })).status).toBe(200)
  })
})
