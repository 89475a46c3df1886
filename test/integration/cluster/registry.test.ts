import { createHash } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { Agent, request } from 'undici'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import {
  describe as describeManifest,
  makeArtifact,
  makeCosign,
  makeImage,
  makeIndex,
  seedImage,
} from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, type PlainOptions, startRegistry } from '../../support/cluster/plain.ts'
import { synthetic } from '../../support/cluster/storage.ts'

const agent = new Agent({ keepAliveTimeout: 1000 })
const open: EmbeddedRegistry[] = []

async function start(options: PlainOptions = {}): Promise<EmbeddedRegistry> {
  const registry = await startRegistry(options)
  open.push(registry)
  return registry
}

type Call = { headers?: Record<string, string>; body?: Uint8Array | string }
async function call(registry: { url: URL }, method: string, path: string, { headers = {}, body }: Call = {}) {
  const url = new URL(path, registry.url)
  const answer = await request(url, { method: method as 'GET', headers, body: body ?? null, dispatcher: agent })
  const bytes = Buffer.from(await answer.body.arrayBuffer())
  const parsed = () => JSON.parse(bytes.toString())
  return { status: answer.statusCode, headers: answer.headers, bytes, text: bytes.toString(), json: parsed }
}

const code = (answer: { json(): { errors: { code: string }[] } }) => answer.json().errors[0]?.code
const octets = { 'content-type': 'application/octet-stream' }

/** Starts a session and returns its Location. */
async function begin(registry: EmbeddedRegistry, repository = 'a/b', query = ''): Promise<string> {
  const answer = await call(registry, 'POST', `/v2/${repository}/blobs/uploads/${query}`)
  expect(answer.status).toBe(202)
  return String(answer.headers.location)
}

/** Sends the head and a part of the body of a request, waits until the server has the part, and hangs up. */
async function breakOff(registry: EmbeddedRegistry, method: string, location: string, size: number, part: Uint8Array) {
  const before = registry.stats.bytesIn
  const req = httpRequest(new URL(location, registry.url), { method, headers: { ...octets, 'content-length': size } })
  req.on('error', () => {})
  req.write(part)
  await until(() => registry.stats.bytesIn - before >= part.length)
  req.destroy()
  await until(() => registry.stats.active === 0)
}

async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((next) => setImmediate(next))
}

afterEach(async () => {
  for (const registry of open) expect(registry.violations).toEqual([])
  await Promise.all(open.splice(0).map((registry) => registry.close()))
})
afterAll(() => agent.close())

describe('a plain registry, uploads', () => {
  const bytes = makeImage({ layers: [5000], seed: 3 })
    .blobs.values()
    .next().value as Uint8Array
  const digest = digestOf(bytes)

  test('a blob is pushed in one PUT and read back byte for byte', async () => {
    const registry = await start()
    const answer = await call(registry, 'PUT', `${await begin(registry)}&digest=${digest}`, { body: bytes })
    expect(answer.status).toBe(201)
    expect(answer.headers['docker-content-digest']).toBe(digest)
    expect(answer.headers.location).toBe(`${registry.url.origin}/v2/a/b/blobs/${digest}`)
    expect((await call(registry, 'GET', `/v2/a/b/blobs/${digest}`)).bytes).toEqual(Buffer.from(bytes))
    expect(registry.stats.received(digest)).toBe(5000)
    expect(registry.stats.sent(digest)).toBe(5000)
    expect((await call(registry, 'GET', String(answer.headers.location).replace('a/b', 'other/name'))).status).toBe(404)
  })

  test('a blob is pushed in chunks; each answer has the next Location, an old one is 416', async () => {
    const registry = await start()
    const first = await begin(registry)
    const one = await call(registry, 'PATCH', first, {
      headers: { ...octets, 'content-range': '0-1999' },
      body: bytes.subarray(0, 2000),
    })
    expect([one.status, one.headers.range]).toEqual([202, '0-1999'])
    const stale = await call(registry, 'PATCH', first, { headers: octets, body: 'x' })
    expect([stale.status, code(stale)]).toEqual([416, 'RANGE_INVALID'])
    const early = await call(registry, 'PATCH', String(one.headers.location), {
      headers: { ...octets, 'content-range': '3000-4999' },
      body: bytes.subarray(3000),
    })
    expect([early.status, code(early)]).toEqual([416, 'RANGE_INVALID'])
    const status = await call(registry, 'GET', first)
    expect([status.status, status.headers.range]).toEqual([204, '0-1999'])
    const last = await call(registry, 'PUT', `${status.headers.location}&digest=${digest}`, {
      body: bytes.subarray(2000),
    })
    expect(last.status).toBe(201)
    expect((await call(registry, 'GET', first)).status).toBe(404)
  })

  test('a session is cancelled once', async () => {
    const registry = await start()
    const location = await begin(registry)
    expect((await call(registry, 'DELETE', location)).status).toBe(204)
    const again = await call(registry, 'DELETE', location)
    expect([again.status, code(again)]).toEqual([404, 'BLOB_UPLOAD_UNKNOWN'])
  })

  test.each([
    ['another digest', `&digest=${digestOf(Buffer.from('x'))}`],
    ['no digest', ''],
    ['a malformed digest', '&digest=sha256:12'],
  ])('%s at the commit is DIGEST_INVALID', async (_, query) => {
    const registry = await start()
    const answer = await call(registry, 'PUT', `${await begin(registry)}${query}`, { body: bytes })
    expect([answer.status, code(answer)]).toEqual([400, 'DIGEST_INVALID'])
    expect((await call(registry, 'HEAD', `/v2/a/b/blobs/${digest}`)).status).toBe(404)
  })

  test.each([
    ['with', true, 201],
    ['without', false, 202],
  ])('a registry %s the single POST answers %s → %i', async (_, singlePost, status) => {
    const registry = await start({ singlePost })
    const answer = await call(registry, 'POST', `/v2/a/b/blobs/uploads/?digest=${digest}`, { body: bytes })
    expect(answer.status).toBe(status)
    expect((await call(registry, 'HEAD', `/v2/a/b/blobs/${digest}`)).status).toBe(singlePost ? 200 : 404)
  })

  test('the empty blob is a blob', async () => {
    const registry = await start()
    const empty = digestOf(Buffer.alloc(0))
    expect((await call(registry, 'PUT', `${await begin(registry)}&digest=${empty}`)).status).toBe(201)
    const head = await call(registry, 'HEAD', `/v2/a/b/blobs/${empty}`)
    expect([head.status, head.headers['content-length']]).toEqual([200, '0'])
    expect((await call(registry, 'GET', `/v2/a/b/blobs/${empty}`)).bytes.length).toBe(0)
  })

  test('sha512 works, announced or not', async () => {
    const registry = await start()
    const long = digestOf(bytes, 'sha512')
    for (const query of ['', '?digest-algorithm=sha512']) {
      const location = await begin(registry, `a/b${query.length}`, query)
      expect((await call(registry, 'PUT', `${location}&digest=${long}`, { body: bytes })).status).toBe(201)
    }
    expect((await call(registry, 'GET', `/v2/a/b0/blobs/${long}`)).bytes).toEqual(Buffer.from(bytes))
  })

  test.each(['PUT', 'PATCH'])('after a broken %s the session knows what arrived and goes on', async (method) => {
    const registry = await start()
    const location = await begin(registry)
    const query = method === 'PUT' ? `&digest=${digest}` : ''
    await breakOff(registry, method, `${location}${query}`, 5000, bytes.subarray(0, 1234))
    const status = await call(registry, 'GET', location)
    expect([status.status, status.headers.range]).toEqual([204, '0-1233'])
    const rest = await call(registry, 'PUT', `${status.headers.location}&digest=${digest}`, {
      body: bytes.subarray(1234),
    })
    expect(rest.status).toBe(201)
  })

  test('docker-registry 2.8 ends the session at the first request after a broken body', async () => {
    const registry = await start({ resume: 'destroy' })
    const location = await begin(registry)
    await breakOff(registry, 'PUT', `${location}&digest=${digest}`, 5000, bytes.subarray(0, 1234))
    const status = await call(registry, 'GET', location)
    expect([status.status, code(status)]).toEqual([404, 'BLOB_UPLOAD_INVALID'])
    expect(code(await call(registry, 'GET', location))).toBe('BLOB_UPLOAD_UNKNOWN')
  })

  test('olareg calls an empty session 0--1 and sends Range with 416', async () => {
    const registry = await start({ resume: 'olareg' })
    const location = await begin(registry)
    expect((await call(registry, 'GET', location)).headers.range).toBe('0--1')
    const headers = { ...octets, 'content-range': '10-11' }
    const refused = await call(registry, 'PATCH', location, { headers, body: 'xx' })
    expect([refused.status, refused.headers.range]).toEqual([416, '0--1'])
  })

  test('a chunk below OCI-Chunk-Min-Length may only be the last', async () => {
    const registry = await start({ chunkMinLength: 1000 })
    const begun = await call(registry, 'POST', '/v2/a/b/blobs/uploads/')
    expect(begun.headers['oci-chunk-min-length']).toBe('1000')
    const short = await call(registry, 'PATCH', String(begun.headers.location), { headers: octets, body: 'short' })
    expect(short.status).toBe(202)
    const next = await call(registry, 'PATCH', String(short.headers.location), { headers: octets, body: 'next' })
    expect(next.status).toBe(416)
  })

  test('a proxy in front refuses large bodies with 413', async () => {
    const registry = await start({ maxBody: 4096 })
    const answer = await call(registry, 'PUT', `${await begin(registry)}&digest=${digest}`, { body: bytes })
    expect([answer.status, answer.headers['content-type']]).toEqual([413, 'text/html'])
  })

  test('Locations are relative when asked', async () => {
    const registry = await start({ location: 'relative' })
    expect(await begin(registry)).toMatch(/^\/v2\/a\/b\/blobs\/uploads\//)
  })

  const mounts: [string, PlainOptions, string, number][] = [
    ['from a repository that has the blob', {}, `mount=${digest}&from=src/app`, 201],
    ['from a repository that has not', {}, `mount=${digest}&from=src/none`, 202],
    ['of a blob that nobody has', {}, `mount=${digestOf(Buffer.from('?'))}&from=src/app`, 202],
    ['without from', {}, `mount=${digest}`, 201],
    ['without from, not supported', { mountAnonymous: false }, `mount=${digest}`, 202],
    ['at all, not supported', { mount: false }, `mount=${digest}&from=src/app`, 202],
  ]
  test.each(mounts)('mounting %s', async (_, options, query, status) => {
    const registry = await start(options)
    registry.store.putBlob('src/app', bytes)
    const answer = await call(registry, 'POST', `/v2/dst/app/blobs/uploads/?${query}`)
    expect(answer.status).toBe(status)
    expect((await call(registry, 'HEAD', `/v2/dst/app/blobs/${digest}`)).status).toBe(status === 201 ? 200 : 404)
  })

  test.each([
    [true, 201],
    [false, 202],
  ])('mounting from the repository itself with mountSelf %s answers %i', async (mountSelf, status) => {
    const registry = await start({ mountSelf })
    registry.store.putBlob('src/app', bytes)
    const answer = await call(registry, 'POST', `/v2/src/app/blobs/uploads/?mount=${digest}&from=src/app`)
    expect(answer.status).toBe(status)
  })
})

describe('a plain registry, reading', () => {
  const blob = makeImage({ layers: [3000], seed: 9 })
    .blobs.values()
    .next().value as Uint8Array
  const digest = digestOf(blob)
  test.each<[string, number, string | undefined, number]>([
    ['bytes=500-1499', 206, 'bytes 500-1499/3000', 1000],
    ['bytes=500-', 206, 'bytes 500-2999/3000', 2500],
    ['bytes=-500', 206, 'bytes 2500-2999/3000', 500],
    ['bytes=-5000', 206, 'bytes 0-2999/3000', 3000],
    ['bytes=2000-5000', 206, 'bytes 2000-2999/3000', 1000],
    ['bytes=500-0', 416, undefined, -1],
    ['bytes=3000-', 416, 'bytes */3000', -1],
    ['bytes=x', 416, undefined, -1],
    ['bytes=0-2999,5-6', 200, undefined, 3000],
  ])('Range %s', async (range, status, contentRange, length) => {
    const registry = await start()
    registry.store.putBlob('a/b', blob)
    const answer = await call(registry, 'GET', `/v2/a/b/blobs/${digest}`, { headers: { range } })
    expect([answer.status, answer.headers['content-range']]).toEqual([status, contentRange])
    if (length < 0) return
    const [, first = '0'] = /bytes (\d+)-/.exec(contentRange ?? '') ?? []
    expect(answer.bytes).toEqual(Buffer.from(blob.subarray(Number(first), Number(first) + length)))
  })

  test('If-Range with another ETag gets everything', async () => {
    const registry = await start()
    registry.store.putBlob('a/b', blob)
    const headers = { range: 'bytes=10-', 'if-range': '"sha256:other"' }
    expect((await call(registry, 'GET', `/v2/a/b/blobs/${digest}`, { headers })).status).toBe(200)
  })

  test('blob reads redirect to another origin that refuses Authorization, other methods and expired URLs', async () => {
    let now = 1_000_000
    const registry = await start({ redirect: { seconds: 10, uses: 2 }, now: () => now })
    registry.store.putBlob('a/b', blob)
    const answers = await Promise.all(
      ['GET', 'HEAD'].map((method) => call(registry, method, `/v2/a/b/blobs/${digest}`)),
    )
    expect(answers.map(({ status }) => status)).toEqual([307, 307])
    const signed = String(answers[0]?.headers.location)
    expect(new URL(signed).origin).not.toBe(registry.url.origin)
    expect((await call(registry, 'GET', signed)).bytes).toEqual(Buffer.from(blob))
    expect((await call(registry, 'HEAD', signed)).status).toBe(403)
    expect((await call(registry, 'GET', signed, { headers: { range: 'bytes=2990-' } })).bytes.length).toBe(10)
    expect((await call(registry, 'GET', signed)).status).toBe(403)
    const second = String((await call(registry, 'GET', `/v2/a/b/blobs/${digest}`)).headers.location)
    now += 10_000
    expect((await call(registry, 'GET', second)).status).toBe(403)
    const refused = await call(registry, 'GET', second, { headers: { authorization: 'Bearer secret' } })
    expect(refused.status).toBe(400)
    expect((registry.violations as string[]).splice(0)).toHaveLength(1)
    expect(registry.stats.sent(digest)).toBe(3010)
  })

  test('without the digest header nothing tells the digest but the bytes', async () => {
    const registry = await start({ digestHeader: false })
    seedImage(registry, 'a/b', makeImage(), 'v1')
    for (const path of [`/v2/a/b/manifests/v1`, `/v2/a/b/blobs/${makeImage().blobs.keys().next().value}`]) {
      const answer = await call(registry, 'HEAD', path)
      expect([answer.status, answer.headers['docker-content-digest']]).toEqual([200, undefined])
    }
  })

  test('tags come sorted, in pages with Link, and n=0 is an empty list', async () => {
    const registry = await start({ tagsPage: 2 })
    for (const tag of ['v3', 'v1', 'v2', 'latest']) seedImage(registry, 'a/b', makeImage(), tag)
    const first = await call(registry, 'GET', '/v2/a/b/tags/list')
    expect(first.json()).toEqual({ name: 'a/b', tags: ['latest', 'v1'] })
    const [, next = ''] = /^<([^>]+)>; rel="next"$/.exec(String(first.headers.link)) ?? []
    const second = await call(registry, 'GET', next)
    expect([second.json().tags, second.headers.link]).toEqual([['v2', 'v3'], undefined])
    expect((await call(registry, 'GET', '/v2/a/b/tags/list?n=1&last=v1')).json().tags).toEqual(['v2'])
    const none = await call(registry, 'GET', '/v2/a/b/tags/list?n=0')
    expect([none.json().tags, none.headers.link]).toEqual([[], undefined])
    expect(code(await call(registry, 'GET', '/v2/a/none/tags/list'))).toBe('NAME_UNKNOWN')
  })
})

describe('a plain registry, manifests', () => {
  const image = makeImage({ seed: 4 })
  const index = makeIndex({ seed: 5 })
  const put = (registry: EmbeddedRegistry, reference: string, { bytes, mediaType }: typeof image.root) =>
    call(registry, 'PUT', `/v2/a/b/manifests/${reference}`, { body: bytes, headers: { 'content-type': mediaType } })
  const fill = (registry: EmbeddedRegistry, built = image) => {
    for (const blob of built.blobs.values()) registry.store.putBlob('a/b', blob)
  }

  test('by tag, by digest and with several tags at once; read back byte for byte', async () => {
    const registry = await start()
    fill(registry)
    expect((await put(registry, 'v1', image.root)).status).toBe(201)
    expect((await put(registry, image.root.digest, image.root)).status).toBe(201)
    const several = await put(registry, `${image.root.digest}?tag=x&tag=y`, image.root)
    expect([several.status, several.headers['oci-tag']]).toEqual([201, 'x, y'])
    expect([...registry.tags('a/b').keys()]).toEqual(['v1', 'x', 'y'])
    for (const reference of ['v1', 'y', image.root.digest]) {
      const answer = await call(registry, 'GET', `/v2/a/b/manifests/${reference}`)
      expect(answer.bytes).toEqual(Buffer.from(image.root.bytes))
      expect(answer.headers['content-type']).toBe(image.root.mediaType)
      expect(answer.headers['docker-content-digest']).toBe(image.root.digest)
    }
  })

  test('blobs that are not there are all named', async () => {
    const registry = await start()
    const answer = await put(registry, 'v1', image.root)
    expect(answer.status).toBe(400)
    expect(
      answer
        .json()
        .errors.map((error: { detail: string }) => error.detail)
        .sort(),
    ).toEqual([...image.blobs.keys()].sort())
  })

  test.each<[PlainOptions['sparse'] & string, number, number]>([
    ['none', 400, 400],
    ['index', 201, 400],
    ['all', 201, 201],
  ])(
    'with sparse %s an index without children answers %i, an image without blobs %i',
    async (sparse, onIndex, onImage) => {
      const registry = await start({ sparse })
      expect((await put(registry, 'index', index.root)).status).toBe(onIndex)
      expect((await put(registry, 'image', image.root)).status).toBe(onImage)
    },
  )

  const big = (size: number) =>
    Buffer.from(
      JSON.stringify({ schemaVersion: 2, manifests: [], annotations: { pad: '' } }).replace(
        '""',
        `"${'x'.repeat(size)}"`,
      ),
    )
  test.each<[string, string, Uint8Array, string, number, string]>([
    [
      'another digest in the path',
      digestOf(Buffer.from('x')),
      image.root.bytes,
      image.root.mediaType,
      400,
      'DIGEST_INVALID',
    ],
    ['a malformed digest', 'sha256:zz', image.root.bytes, image.root.mediaType, 400, 'DIGEST_INVALID'],
    ['no JSON', 'v1', Buffer.from('{'), image.root.mediaType, 400, 'MANIFEST_INVALID'],
    ['another media type', 'v1', image.root.bytes, index.root.mediaType, 400, 'MANIFEST_INVALID'],
    ['more than 4 MiB', 'v1', big(4 << 20), index.root.mediaType, 413, 'MANIFEST_INVALID'],
  ])('%s is refused', async (_, reference, bytes, mediaType, status, expected) => {
    const registry = await start()
    fill(registry)
    const answer = await put(registry, reference, { digest: digestOf(bytes), bytes, mediaType })
    expect([answer.status, code(answer)]).toEqual([status, expected])
  })

  test('a manifest just below 4 MiB is taken', async () => {
    const registry = await start()
    const bytes = big((4 << 20) - 100)
    expect(
      (await put(registry, 'v1', { digest: digestOf(bytes), bytes, mediaType: index.root.mediaType })).status,
    ).toBe(201)
  })

  test('an immutable tag is put once', async () => {
    const registry = await start({ immutableTags: true })
    fill(registry)
    expect((await put(registry, 'v1', image.root)).status).toBe(201)
    expect(code(await put(registry, 'v1', image.root))).toBe('TAG_INVALID')
    expect((await put(registry, image.root.digest, image.root)).status).toBe(201)
  })

  test('deleting a tag leaves the manifest, deleting the manifest takes its tags', async () => {
    const registry = await start()
    seedImage(registry, 'a/b', image, 'v1')
    seedImage(registry, 'a/b', image, 'v2')
    const path = (reference: string) => `/v2/a/b/manifests/${reference}`
    expect((await call(registry, 'DELETE', path('v1'))).status).toBe(202)
    expect((await call(registry, 'HEAD', path('v1'))).status).toBe(404)
    expect((await call(registry, 'HEAD', path(image.root.digest))).status).toBe(200)
    expect((await call(registry, 'DELETE', path(image.root.digest))).status).toBe(202)
    expect(registry.tags('a/b').size).toBe(0)
    const blob = `/v2/a/b/blobs/${image.blobs.keys().next().value}`
    expect((await call(registry, 'DELETE', blob)).status).toBe(202)
    expect((await call(registry, 'DELETE', blob)).status).toBe(404)
  })

  test('referrers are listed, filtered and paged, and OCI-Subject says so', async () => {
    const registry = await start({ referrersPage: 1 })
    const subject = describeManifest(image.root)
    const sbom = makeArtifact({ subject, seed: 1, artifactType: 'type/sbom', annotations: { a: 'b' } })
    const other = makeArtifact({ subject, seed: 2, artifactType: 'type/other' })
    for (const artifact of [sbom, other]) fill(registry, artifact)
    const answer = await put(registry, sbom.root.digest, sbom.root)
    expect(answer.headers['oci-subject']).toBe(image.root.digest)
    await put(registry, other.root.digest, other.root)
    const path = `/v2/a/b/referrers/${image.root.digest}`
    const first = await call(registry, 'GET', path)
    expect(first.json().manifests).toEqual([
      { ...describeManifest(sbom.root), artifactType: 'type/sbom', annotations: { a: 'b' } },
    ])
    const [, next = ''] = /^<([^>]+)>; rel="next"$/.exec(String(first.headers.link)) ?? []
    const second = await call(registry, 'GET', next)
    expect([second.json().manifests[0].digest, second.headers.link]).toEqual([other.root.digest, undefined])
    const filtered = await call(registry, 'GET', `${path}?artifactType=type/other`)
    expect(filtered.json().manifests.map(({ digest }: { digest: string }) => digest)).toEqual([other.root.digest])
    expect(filtered.headers['oci-filters-applied']).toBe('artifactType')
    const nobody = await call(registry, 'GET', `/v2/a/b/referrers/${digestOf(Buffer.from('x'))}`)
    expect([nobody.status, nobody.json().manifests]).toEqual([200, []])
  })

  const deviations: [string, PlainOptions, string, string, number][] = [
    ['deletes are switched off', { deletes: false }, 'DELETE', '/v2/a/b/manifests/v1', 405],
    [
      'deletes of blobs are switched off',
      { deletes: false },
      'DELETE',
      `/v2/a/b/blobs/${image.blobs.keys().next().value}`,
      405,
    ],
    ['Accept is taken seriously', { strictAccept: true }, 'GET', '/v2/a/b/manifests/v1', 404],
    ['a tag is none', {}, 'PUT', '/v2/a/b/manifests/bad%20tag', 404],
  ]
  test.each(deviations)('%s', async (_, options, method, path, status) => {
    const registry = await start(options)
    seedImage(registry, 'a/b', image, 'v1')
    expect((await call(registry, method, path)).status).toBe(status)
  })

  test('a registry that knows no filter lists everything and does not claim to filter', async () => {
    const registry = await start({ referrersFilter: false })
    seedImage(registry, 'a/b', makeArtifact({ subject: describeManifest(image.root), artifactType: 'type/sbom' }))
    const answer = await call(registry, 'GET', `/v2/a/b/referrers/${image.root.digest}?artifactType=type/other`)
    expect(answer.json().manifests).toHaveLength(1)
    expect(answer.headers['oci-filters-applied']).toBeUndefined()
  })

  test('without the referrers API there is 404 and no OCI-Subject', async () => {
    const registry = await start({ referrersApi: false })
    const artifact = makeArtifact({ subject: describeManifest(image.root) })
    fill(registry, artifact)
    expect((await put(registry, 'art', artifact.root)).headers['oci-subject']).toBeUndefined()
    const answer = await call(registry, 'GET', `/v2/a/b/referrers/${image.root.digest}`)
    expect([answer.status, answer.text]).toEqual([404, '404 page not found\n'])
  })
})

describe('a plain registry, access', () => {
  const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })

  test('Basic credentials are asked for and checked', async () => {
    const registry = await start({ access: { kind: 'basic', user: 'u', password: 'p' } })
    const asked = await call(registry, 'GET', '/v2/')
    expect([asked.status, asked.headers['www-authenticate']]).toEqual([401, 'Basic realm="embedded registry"'])
    expect((await call(registry, 'GET', '/v2/', { headers: basic('u:wrong') })).status).toBe(401)
    expect((await call(registry, 'GET', '/v2/', { headers: basic('u:p') })).status).toBe(200)
  })

  test('the token service gives tokens for scopes; they expire by time and by use', async () => {
    let now = 5_000
    const registry = await start({
      access: { kind: 'token', user: 'u', password: 'p', seconds: 60, uses: 3, elsewhere: true },
      now: () => now,
    })
    seedImage(registry, 'a/b', makeImage(), 'v1')
    const path = '/v2/a/b/manifests/v1'
    const challenge = String((await call(registry, 'GET', path)).headers['www-authenticate'])
    const [, realm, service, scope] = /^Bearer realm="([^"]+)",service="([^"]+)",scope="([^"]+)"$/.exec(challenge) ?? []
    expect([service, scope]).toEqual(['embedded-registry', 'repository:a/b:pull'])
    const fetchToken = async (wanted = scope) => {
      const answer = await call(registry, 'GET', `${realm}?scope=${wanted}`, { headers: basic('u:p') })
      return { authorization: `Bearer ${answer.json().token}` }
    }
    expect(new URL(String(realm)).origin).not.toBe(registry.url.origin)
    expect((await call(registry, 'GET', `${realm}?scope=${scope}`, { headers: basic('u:x') })).status).toBe(401)

    const headers = await fetchToken()
    for (const expected of [200, 200, 200, 401]) {
      expect((await call(registry, 'GET', path, { headers })).status).toBe(expected)
    }
    const short = await fetchToken()
    const push = await call(registry, 'POST', '/v2/a/b/blobs/uploads/', { headers: short })
    expect(push.headers['www-authenticate']).toContain('scope="repository:a/b:pull,push",error="insufficient_scope"')
    now += 60_000
    expect((await call(registry, 'GET', path, { headers: short })).headers['www-authenticate']).toContain(
      'invalid_token',
    )
    const mount = await call(registry, 'POST', `/v2/c/d/blobs/uploads/?mount=${digestOf(Buffer.from(''))}&from=a/b`)
    expect(mount.headers['www-authenticate']).toContain('scope="repository:c/d:pull,push repository:a/b:pull"')
    expect(registry.gate.issued()).toBe(2)
  })

  test('anonymous tokens pull and do not push', async () => {
    const registry = await start({ access: { kind: 'token', user: 'u', password: 'p', anonymousPull: true } })
    const { token } = (await call(registry, 'GET', '/token?scope=repository:a/b:pull,push')).json()
    const headers = { authorization: `Bearer ${token}` }
    expect((await call(registry, 'GET', '/v2/a/b/tags/list', { headers })).status).toBe(404)
    expect((await call(registry, 'POST', '/v2/a/b/blobs/uploads/', { headers })).status).toBe(401)
  })
})

describe('storage', () => {
  test('blobs in a folder survive the same requests and leave no upload behind', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'registry-'))
    const registry = await start({ folder })
    const bytes = Buffer.alloc(100_000, 'abc')
    const digest = digestOf(bytes)
    for (const repository of ['a/b', 'c/d']) {
      const location = await begin(registry, repository)
      expect((await call(registry, 'PUT', `${location}&digest=${digest}`, { body: bytes })).status).toBe(201)
    }
    const answer = await call(registry, 'GET', `/v2/c/d/blobs/${digest}`, { headers: { range: 'bytes=99990-' } })
    expect(answer.bytes).toEqual(bytes.subarray(99_990))
    expect(await readdir(folder)).toEqual([digest.replace(':', '-')])
    await rm(folder, { recursive: true })
  })

  test('discarding storage checks digests and keeps sizes', async () => {
    const registry = await start({ discard: true })
    const bytes = Buffer.alloc(50_000, 'x')
    const wrong = await call(registry, 'PUT', `${await begin(registry)}&digest=${digestOf(Buffer.from(''))}`, {
      body: bytes,
    })
    expect(wrong.status).toBe(400)
    await call(registry, 'PUT', `${await begin(registry)}&digest=${digestOf(bytes)}`, { body: bytes })
    expect((await call(registry, 'HEAD', `/v2/a/b/blobs/${digestOf(bytes)}`)).headers['content-length']).toBe('50000')
  })

  test('synthetic blobs have the digest they claim, at every offset, and no two pieces alike', async () => {
    const size = 3 * (1 << 20) + 77
    const blob = synthetic(11, size)
    const whole: Uint8Array[] = []
    for await (const chunk of blob.read(0, size)) whole.push(chunk)
    const bytes = Buffer.concat(whole)
    expect(`sha256:${createHash('sha256').update(bytes).digest('hex')}`).toBe(blob.digest)
    const registry = await start()
    registry.store.putSynthetic('a/b', 11, size)
    const headers = { range: 'bytes=1048570-2097160' }
    const part = await call(registry, 'GET', `/v2/a/b/blobs/${blob.digest}`, { headers })
    expect(part.bytes.equals(bytes.subarray(1_048_570, 2_097_161))).toBe(true)
    expect(bytes.subarray(0, 4096).equals(bytes.subarray(1 << 20, (1 << 20) + 4096))).toBe(false)
  })

  test('images are the same for the same seed and different for another', () => {
    const digests = (seed: number) =>
      [makeImage({ seed }), makeIndex({ seed, nested: true }), makeIndex({ seed, docker: true })].map(
        ({ root }) => root.digest,
      )
    expect(digests(1)).toEqual(digests(1))
    expect(new Set([...digests(1), ...digests(2)]).size).toBe(6)
    const { image, tag } = makeCosign(makeImage().root.digest)
    expect(tag).toBe(`${makeImage().root.digest.replace(':', '-')}.sig`)
    expect(image.blobs.size).toBe(2)
  })
})

describe('faults', () => {
  let registry: EmbeddedRegistry
  const bytes = Buffer.alloc(200_000, 'fault')
  let digest: Digest
  beforeAll(async () => {
    registry = await startRegistry()
    digest = registry.store.putBlob('a/b', bytes)
  })
  afterEach(() => registry.faults.clear())
  afterAll(() => registry.close())
  const get = () => call(registry, 'GET', `/v2/a/b/blobs/${digest}`)
  const path = /\/blobs\/sha256/

  test('an answer is cut after so many bytes, for the request that was meant', async () => {
    const fault = registry.faults.add({ match: { path, nth: 2 }, do: { kind: 'cut-response', after: 70_000 } })
    expect((await get()).bytes.length).toBe(200_000)
    const answer = await request(new URL(`/v2/a/b/blobs/${digest}`, registry.url), { dispatcher: agent })
    let arrived = 0
    const reading = (async () => {
      for await (const chunk of answer.body) arrived += (chunk as Uint8Array).length
    })()
    await expect(reading).rejects.toThrow()
    expect(arrived).toBe(70_000)
    expect((await get()).bytes.length).toBe(200_000)
    expect(fault.fired).toBe(1)
  })

  test('a request body is cut after so many bytes, and these have arrived', async () => {
    const fault = registry.faults.add({ match: { method: 'PUT' }, do: { kind: 'cut-request', after: 100_000 } })
    const location = await begin(registry)
    await expect(call(registry, 'PUT', `${location}&digest=${digest}`, { body: bytes })).rejects.toThrow()
    await until(() => registry.stats.active === 0)
    expect((await call(registry, 'GET', location)).headers.range).toBe('0-99999')
    expect(fault.fired).toBe(1)
  })

  test('a status is answered so many times, with its headers', async () => {
    registry.faults.add({
      name: 'busy',
      match: { path, times: 2 },
      do: { kind: 'status', status: 429, headers: { 'Retry-After': '1' }, body: 'slow down' },
    })
    const answers = [await get(), await get(), await get()]
    expect(answers.map(({ status }) => status)).toEqual([429, 429, 200])
    expect([answers[0]?.headers['retry-after'], answers[0]?.text]).toEqual(['1', 'slow down'])
    expect(registry.faults.fired('busy')).toBe(2)
  })

  test('a byte is corrupted and the length is kept', async () => {
    registry.faults.add({ match: { path }, do: { kind: 'corrupt', at: 150_000 } })
    const answer = await get()
    expect(answer.bytes.length).toBe(200_000)
    expect([...answer.bytes.keys()].filter((at) => answer.bytes[at] !== bytes[at])).toEqual([150_000])
  })

  test('a lost answer: the request was carried out', async () => {
    const fresh = Buffer.from('committed without a word')
    const location = await begin(registry)
    registry.faults.add({ match: { method: 'PUT' }, do: { kind: 'lose-answer' } })
    await expect(call(registry, 'PUT', `${location}&digest=${digestOf(fresh)}`, { body: fresh })).rejects.toThrow()
    expect((await call(registry, 'HEAD', `/v2/a/b/blobs/${digestOf(fresh)}`)).status).toBe(200)
  })

  test.each(['stall-response', 'stall-request'] as const)('%s keeps the connection open and silent', async (kind) => {
    const fault = registry.faults.add({ match: { path: /blobs/, times: 1 }, do: { kind, after: 1000 } })
    const silent = new AbortController()
    const url = kind === 'stall-response' ? `/v2/a/b/blobs/${digest}` : `/v2/a/b/blobs/uploads/?digest=${digest}`
    const sent = request(new URL(url, registry.url), {
      method: kind === 'stall-response' ? 'GET' : 'POST',
      body: kind === 'stall-response' ? null : bytes,
      dispatcher: agent,
      signal: silent.signal,
    }).then(async ({ body }) => body.arrayBuffer())
    sent.catch(() => {})
    await until(() => fault.fired === 1)
    silent.abort()
    await expect(sent).rejects.toThrow()
    expect((await get()).status).toBe(200)
  })

  test('a request is sent elsewhere, or answered with other headers', async () => {
    registry.faults.add({ match: { path, nth: 1 }, do: { kind: 'redirect', to: 'https://storage.example.com' } })
    registry.faults.add({
      match: { path, nth: 1 },
      do: { kind: 'headers', headers: { Etag: undefined, 'X-New': '1' } },
    })
    expect((await get()).headers.location).toBe(`https://storage.example.com/v2/a/b/blobs/${digest}`)
    const answer = await get()
    expect([answer.headers.etag, answer.headers['x-new']]).toEqual([undefined, '1'])
  })

  test('a rule waits for its turn: after so many requests, on a condition', async () => {
    registry.faults.add({
      match: { afterRequests: registry.requests.length + 1, when: ({ headers }) => headers['x-bad'] === '1' },
      do: { kind: 'status', status: 503 },
    })
    const bad = () => call(registry, 'GET', '/v2/', { headers: { 'x-bad': '1' } })
    expect([(await bad()).status, (await bad()).status, (await get()).status]).toEqual([200, 503, 200])
  })

  test('everything is logged', async () => {
    await call(registry, 'GET', '/v2/none/manifests/v1?x=y', { headers: { authorization: 'Bearer t' } })
    expect(registry.requests.at(-1)).toEqual({
      method: 'GET',
      path: '/v2/none/manifests/v1?x=y',
      status: 404,
      authorization: 'bearer',
    })
  })
})
