import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { digestOf, referrersTag } from '../../../src/oci/digest.ts'
import { type Descriptor, MEDIA_TYPE } from '../../../src/oci/manifest.ts'
import type { Answer, Incoming } from '../../support/cluster/http.ts'
import {
  describe as entry,
  makeArtifact,
  makeFallbackIndex,
  makeImage,
  makeIndex,
  seedImage,
} from '../../support/cluster/image.ts'
import { randomBytes } from '../../support/cluster/storage.ts'
import { collect, failure } from '../../support/lab.ts'
import { asked, openScene, type Scene } from '../../support/scene.ts'
import { describeBlob } from '../../support/target-contract.ts'

const REPOSITORY = 'dev/app'
const BYTES = randomBytes(31, 100_000)
const BLOB = describeBlob(BYTES)
const OFFSET = 40_000

let scene: Scene
beforeEach(() => {
  scene = openScene()
})
afterEach(() => scene.close())

describe('a blob read from an offset', () => {
  type Server = (request: Incoming) => Answer
  const whole: Answer = { status: 200, body: BYTES }
  const partial =
    (from: number, range: string): Server =>
    (request) =>
      request.headers.range === undefined
        ? whole
        : { status: 206, headers: { 'Content-Range': range }, body: BYTES.subarray(from) }

  test.each<[what: string, server: Server, requests: number]>([
    ['as asked for', partial(OFFSET, `bytes ${OFFSET}-99999/100000`), 1],
    ['with an unknown total', partial(OFFSET, `bytes ${OFFSET}-99999/*`), 1],
    ['from an earlier byte on', partial(30_000, 'bytes 30000-99999/100000'), 1],
    ['as a whole, Range ignored', () => whole, 1],
    ['from a later byte on: asked again as a whole', partial(50_000, 'bytes 50000-99999/100000'), 2],
    ['with another total: asked again as a whole', partial(OFFSET, `bytes ${OFFSET}-99999/100001`), 2],
    ['as multipart/byteranges: asked again as a whole', partial(0, 'nonsense'), 2],
    ['as 416: asked again as a whole', (request) => (request.headers.range === undefined ? whole : { status: 416 }), 2],
  ])('is right when the registry answers %s', async (_what, handler, requests) => {
    const server = await scene.server(handler)
    const read = await collect(await scene.lab.open(server.url, REPOSITORY).blob(BLOB, OFFSET))
    expect(read.equals(BYTES.subarray(OFFSET))).toBe(true)
    expect(server.asked).toHaveLength(requests)
    expect(server.asked[0]?.headers).toMatchObject({ range: `bytes=${OFFSET}-`, 'accept-encoding': 'identity' })
  })

  test('costs no request at its end', async () => {
    const server = await scene.server(() => whole)
    expect(await collect(await scene.lab.open(server.url, REPOSITORY).blob(BLOB, BLOB.size))).toHaveLength(0)
    expect(server.asked).toEqual([])
  })
})

describe('a blob', () => {
  test('that is embedded in its descriptor costs no request', async () => {
    const server = await scene.server(() => ({ status: 500 }))
    const bytes = Buffer.from('{}')
    const descriptor: Descriptor = { ...describeBlob(bytes), data: bytes.toString('base64') }
    const target = scene.lab.open(server.url, REPOSITORY)
    expect(await collect(await target.blob(descriptor))).toEqual(bytes)
    expect(await collect(await target.blob(descriptor, 1))).toEqual(Buffer.from('}'))
    expect(server.asked).toEqual([])
  })

  test('that is cut goes on where it was, and only the rest is read again', async () => {
    const registry = await scene.registry()
    registry.store.putBlob(REPOSITORY, BYTES)
    registry.faults.add({
      do: { kind: 'cut-response', after: OFFSET },
      match: { method: 'GET', path: /blobs/, nth: 1 },
    })
    const target = scene.lab.open(registry.url, REPOSITORY)
    const got: Uint8Array[] = []
    const error = await failure(gather(await target.blob(BLOB), got))
    expect(error).toMatchObject({ code: 'NETWORK', side: 'destination', transient: true })
    const offset = Buffer.concat(got).length
    expect(offset).toBeLessThanOrEqual(OFFSET)
    await gather(await target.blob(BLOB, offset), got)
    expect(Buffer.concat(got).equals(BYTES)).toBe(true)
    expect(asked(registry)).toEqual([`GET blobs/${BLOB.digest}`, `GET blobs/${BLOB.digest}`])
  })

  test('that ends too early without an error of the connection is transient', async () => {
    const server = await scene.server(() => ({ status: 200, body: stream(BYTES.subarray(0, 10)) }))
    const error = await failure(scene.lab.open(server.url, REPOSITORY).blob(BLOB).then(collect))
    expect(error).toMatchObject({ code: 'NETWORK', side: 'destination', transient: true })
    expect(error.message).toContain('byte 10 of 100000')
  })

  test.each<[what: string, answer: () => Answer]>([
    ['by Content-Length', () => ({ status: 200, body: Buffer.concat([BYTES, BYTES]) })],
    ['without saying so', () => ({ status: 200, body: stream(Buffer.concat([BYTES, BYTES])) })],
  ])('that is longer than its descriptor is refused: %s', async (_what, answer) => {
    const server = await scene.server(answer)
    const error = await failure(scene.lab.open(server.url, REPOSITORY).blob(BLOB).then(collect))
    expect(error).toMatchObject({ code: 'DIGEST_MISMATCH', side: 'destination', transient: false })
    expect(error.message).toContain('100000')
  })

  test('is always asked of the registry, never of the signed address it redirected to', async () => {
    const registry = await scene.registry({ redirect: { uses: 1 } })
    registry.store.putBlob(REPOSITORY, BYTES)
    const target = scene.lab.open(registry.url, REPOSITORY)
    for (const offset of [0, OFFSET])
      expect((await collect(await target.blob(BLOB, offset))).equals(BYTES.subarray(offset))).toBe(true)
    expect(registry.violations).toEqual([])
  })

  test('that answers 503 for a moment is read all the same', async () => {
    const registry = await scene.registry()
    registry.store.putBlob(REPOSITORY, BYTES)
    registry.faults.add({ do: { kind: 'status', status: 503 }, match: { method: 'GET', nth: 1 } })
    expect((await collect(await scene.lab.open(registry.url, REPOSITORY).blob(BLOB))).equals(BYTES)).toBe(true)
  })
})

describe('a manifest', () => {
  const image = makeImage({ seed: 32 })

  test('is read once, by one GET that names every type', async () => {
    const registry = await scene.registry({ strictAccept: true })
    seedImage(registry, REPOSITORY, image, 'v1')
    const target = scene.lab.open(registry.url, REPOSITORY)
    const first = await target.resolve('v1')
    expect(await target.manifest(first.descriptor)).toBe(first)
    expect(await target.resolve(image.root.digest)).toBe(first)
    expect(asked(registry)).toEqual(['GET manifests/v1'])
  })

  test('by tag is read anew each time: tags move', async () => {
    const registry = await scene.registry()
    seedImage(registry, REPOSITORY, image, 'v1')
    const target = scene.lab.open(registry.url, REPOSITORY)
    await target.resolve('v1')
    const next = seedImage(registry, REPOSITORY, makeImage({ seed: 33 }), 'v1')
    expect((await target.resolve('v1')).descriptor.digest).toBe(next)
  })

  test('more of them than the cache holds are still right', async () => {
    const registry = await scene.registry()
    const filling = 'x'.repeat(3_500_000)
    const large = Array.from({ length: 6 }, (_, seed) => makeImage({ seed: 40 + seed, annotations: { filling } }))
    for (const one of large) seedImage(registry, REPOSITORY, one)
    const target = scene.lab.open(registry.url, REPOSITORY)
    for (const { root } of [...large, ...large.slice(-2), ...large.slice(0, 1)])
      expect((await target.manifest(entry(root))).descriptor.digest).toBe(root.digest)
    // The last two are answered from memory; the first had to make room.
    expect(registry.requests).toHaveLength(7)
  })

  test('that was changed on the way is refused, by tag too when the size in the index says so', async () => {
    const registry = await scene.registry()
    seedImage(registry, REPOSITORY, image, 'v1')
    registry.faults.add({ do: { kind: 'corrupt', at: 30 }, match: { path: /manifests/ } })
    const target = scene.lab.open(registry.url, REPOSITORY)
    const expected = { code: 'DIGEST_MISMATCH', side: 'destination' }
    expect(await failure(target.manifest(entry(image.root)))).toMatchObject(expected)
    expect(await failure(target.resolve(image.root.digest))).toMatchObject(expected)
  })

  test('of a tag is named by its bytes, whatever the header says', async () => {
    const registry = await scene.registry()
    seedImage(registry, REPOSITORY, image, 'v1')
    const headers = { 'Docker-Content-Digest': digestOf(Buffer.from('another')) }
    registry.faults.add({ do: { kind: 'headers', headers } })
    expect((await scene.lab.open(registry.url, REPOSITORY).resolve('v1')).descriptor.digest).toBe(image.root.digest)
  })

  test.each<[what: string, answer: Answer, code: string]>([
    [
      'HTML with status 200',
      { status: 200, headers: { 'Content-Type': 'text/html' }, body: '<html></html>' },
      'PROTOCOL',
    ],
    ['more than 4 MiB', { status: 200, body: Buffer.alloc(5 * 1024 * 1024, ' ') }, 'PROTOCOL'],
    ['schema 1', { status: 200, body: '{"schemaVersion":1}' }, 'UNSUPPORTED'],
    ['a redirect that is not followed', { status: 304 }, 'PROTOCOL'],
  ])('that is %s is an error that names the place', async (_what, answer, code) => {
    const server = await scene.server(() => answer)
    const error = await failure(scene.lab.open(server.url, REPOSITORY).resolve('v1'))
    expect(error).toMatchObject({ code, side: 'destination' })
    expect(error.message).toContain(server.url.host)
  })

  test.each(['', '../../etc', 'a b', 'v1?x=y', 'sha256:abc', 'ä'])('is not asked for under %j', async (reference) => {
    const server = await scene.server(() => ({ status: 200 }))
    const target = scene.lab.open(server.url, REPOSITORY)
    expect((await failure(target.resolve(reference))).code).toBe('USAGE')
    expect((await failure(target.find(reference))).code).toBe('USAGE')
    expect(server.asked).toEqual([])
  })
})

describe('a tag that may be absent', () => {
  const image = makeImage({ seed: 34 })

  test('costs one HEAD, there or not', async () => {
    const registry = await scene.registry()
    seedImage(registry, REPOSITORY, image, 'v1')
    const target = scene.lab.open(registry.url, REPOSITORY)
    expect(await target.find('v1')).toEqual(entry(image.root))
    expect(await target.find('v2')).toBeUndefined()
    expect(asked(registry)).toEqual(['HEAD manifests/v1', 'HEAD manifests/v2'])
  })

  test.each([
    ['403', { kind: 'status', status: 403 }],
    ['405', { kind: 'status', status: 405 }],
    ['400', { kind: 'status', status: 400 }],
    ['500', { kind: 'status', status: 500 }],
    ['200 without a digest', { kind: 'headers', headers: { 'Docker-Content-Digest': undefined } }],
    ['200 with a digest that is none', { kind: 'headers', headers: { 'Docker-Content-Digest': 'sha256:1' } }],
    ['200 as text/plain', { kind: 'headers', headers: { 'Content-Type': 'text/plain; charset=utf-8' } }],
    ['nothing', { kind: 'lose-answer' }],
  ] as const)('is found by GET when HEAD answers %s', async (_what, effect) => {
    const registry = await scene.registry()
    seedImage(registry, REPOSITORY, image, 'v1')
    registry.faults.add({ do: effect, match: { method: 'HEAD' } })
    expect(await scene.lab.open(registry.url, REPOSITORY).find('v1')).toEqual(entry(image.root))
    expect(asked(registry)).toEqual(['HEAD manifests/v1', 'GET manifests/v1'])
  })

  test('is absent where the registry refuses to show what it does not have', async () => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'status', status: 403 }, match: { path: /manifests/ } })
    expect(await scene.lab.open(registry.url, REPOSITORY).find('v1')).toBeUndefined()
  })

  test('is not called absent when the registry has failed', async () => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'status', status: 500 } })
    const error = await failure(scene.lab.open(registry.url, REPOSITORY).find('v1'))
    expect(error).toMatchObject({ code: 'UNAVAILABLE', side: 'destination', transient: true })
  })
})

describe('referrers', () => {
  const image = makeImage({ seed: 35 })
  const subject = entry(image.root)
  const signatures = [1, 2, 3, 4, 5].map((seed) => makeArtifact({ subject, seed, artifactType: 'application/x' }))
  const digests = new Set(signatures.map(({ root }) => root.digest))
  const list = (...manifests: unknown[]): string => JSON.stringify({ schemaVersion: 2, manifests })
  const one = entry(signatures[0]?.root ?? image.root)

  test('are collected over all pages', async () => {
    const registry = await scene.registry({ referrersPage: 2 })
    seedImage(registry, REPOSITORY, image, 'v1')
    for (const each of signatures) seedImage(registry, REPOSITORY, each)
    const found = await scene.lab.open(registry.url, REPOSITORY).referrers(image.root.digest)
    expect(new Set(found.map(({ digest }) => digest))).toEqual(digests)
    expect(registry.requests).toHaveLength(3)
  })

  test('come from the fallback tag without the API, which is asked once', async () => {
    const registry = await scene.registry({ referrersApi: false })
    seedImage(registry, REPOSITORY, image, 'v1')
    const index = makeFallbackIndex(signatures.map(({ root }) => entry(root)))
    registry.store.putManifest(REPOSITORY, index.bytes, index.mediaType, referrersTag(image.root.digest))
    const target = scene.lab.open(registry.url, REPOSITORY)
    expect(new Set((await target.referrers(image.root.digest)).map(({ digest }) => digest))).toEqual(digests)
    expect(await target.referrers(signatures[0]?.root.digest ?? image.root.digest)).toEqual([])
    expect(asked(registry).filter((line) => line.includes('referrers'))).toHaveLength(1)
  })

  test.each([
    ['without the API, one question tells it for all that are asked at once', false, 1],
    ['with the API, each is asked for', true, 5],
  ])('%s', async (_name, referrersApi, questions) => {
    const registry = await scene.registry({ referrersApi })
    const target = scene.lab.open(registry.url, REPOSITORY)
    await Promise.all(signatures.map(({ root }) => target.referrers(root.digest)))
    expect(asked(registry).filter((line) => line.includes('referrers'))).toHaveLength(questions)
  })

  test.each<[what: string, answer: Answer]>([
    ['a web page', { status: 200, headers: { 'Content-Type': 'text/html' }, body: '<html></html>' }],
    ['400', { status: 400 }],
    ['403', { status: 403 }],
    ['405', { status: 405 }],
    ['501', { status: 501 }],
  ])('come from the fallback tag when the API answers %s', async (_what, answer) => {
    const server = await scene.server(({ path }) =>
      path.includes('/referrers/')
        ? answer
        : { status: 200, headers: { 'Content-Type': MEDIA_TYPE.ociIndex }, body: list(one) },
    )
    expect(await scene.lab.open(server.url, REPOSITORY).referrers(image.root.digest)).toMatchObject([one])
  })

  test('are not called absent when the registry has failed', async () => {
    const server = await scene.server(() => ({ status: 502 }))
    const error = await failure(scene.lab.open(server.url, REPOSITORY).referrers(image.root.digest))
    expect(error).toMatchObject({ code: 'UNAVAILABLE', transient: true })
  })

  test('that nobody can read do not hide the others', async () => {
    const broken = [
      { ...one, digest: 'sha256:1' },
      { ...one, size: -1 },
      null,
      7,
      'x',
      { ...one, mediaType: undefined },
    ]
    const server = await scene.server(() => ({
      status: 200,
      headers: { 'Content-Type': MEDIA_TYPE.ociIndex },
      body: list(...broken, one, one),
    }))
    expect(await scene.lab.open(server.url, REPOSITORY).referrers(image.root.digest)).toMatchObject([one])
  })

  const subjects = (target: string) => target.includes('/referrers/')
  const json = (body: string, more = {}): Answer => ({ status: 200, headers: { ...more }, body })
  const page = (target: string, link: string): Answer => json(list(target.includes('after') ? [] : one), { Link: link })

  test('are read to the end where the next page is named by an inner address', async () => {
    const elsewhere = await scene.server(() => json(list()))
    const [first, second] = [signatures[0]?.root ?? image.root, signatures[1]?.root ?? image.root].map(entry)
    const server = await scene.server(({ target }) =>
      target.includes('after=1')
        ? json(list(second))
        : json(list(first), { Link: `<${elsewhere.url}v2/dev/app/referrers/x?after=1>; rel="next"` }),
    )
    expect(await scene.lab.open(server.url, REPOSITORY).referrers(image.root.digest)).toMatchObject([first, second])
    expect(elsewhere.asked).toEqual([])
  })

  test.each<[what: string, next: (target: string) => Answer]>([
    ['leads to a page that was read', (target) => page(target, `<${target}>; rel="next"`)],
    ['cannot be read', (target) => page(target, '<http://[>; rel="next"')],
    ['is not there', (target) => (target.includes('after') ? { status: 404 } : page(target, '<?after=1>; rel="next"'))],
    ['is a web page', (target) => (target.includes('after') ? json('<html>') : page(target, '<?after=1>; rel="next"'))],
    ['is empty', (target) => (target.includes('after') ? json('') : page(target, '<?after=1>; rel="next"'))],
  ])('whose next page %s are not all: the fallback tag is asked, and its absence is no proof', async (_what, next) => {
    const two = entry(signatures[1]?.root ?? image.root)
    for (const tagged of [true, false]) {
      const server = await scene.server(({ target }) => {
        if (subjects(target)) return next(target)
        return tagged ? json(list(two), { 'Content-Type': MEDIA_TYPE.ociIndex }) : { status: 404 }
      })
      const found = scene.lab.open(server.url, REPOSITORY).referrers(image.root.digest)
      if (tagged) expect(await found).toMatchObject([one, two])
      else expect(await failure(found)).toMatchObject({ side: 'destination' })
    }
  })

  test('whose pages never end are an error', async () => {
    let at = 0
    const server = await scene.server(({ target }) =>
      target.includes('manifests') ? { status: 404 } : json(list(one), { Link: `</v2/more?page=${++at}>; rel="next"` }),
    )
    expect(await failure(scene.lab.open(server.url, REPOSITORY).referrers(image.root.digest))).toMatchObject({
      code: 'PROTOCOL',
    })
    expect(server.asked).toHaveLength(101)
  })

  test.each<[what: string, answer: Answer]>([
    ['nothing', json('')],
    ['an error envelope with 200', json('{"errors":[{"code":"UNSUPPORTED"}]}')],
    ['an index of another kind', json(JSON.stringify({ mediaType: MEDIA_TYPE.dockerList, manifests: [one] }))],
    ['204', { status: 204 }],
    ['a redirect to a login page', { status: 302, headers: { Location: '/login' } }],
    ['a redirect to nowhere', { status: 302, headers: { Location: 'http://127.0.0.1:1/' } }],
    ['a redirect without an address', { status: 302 }],
    ['a redirect in a circle', { status: 302, headers: { Location: '/v2/dev/app/referrers/a' } }],
  ])('are not called absent when the API answers %s: the tag is asked, and it is told', async (_what, answer) => {
    const server = await scene.server(({ target }) => {
      if (subjects(target)) return answer
      return target === '/login' ? json('<title>Sign in</title>') : { status: 404 }
    })
    const target = scene.lab.open(server.url, REPOSITORY)
    for (const { root } of signatures.slice(0, 2)) expect(await target.referrers(root.digest)).toEqual([])
    expect(server.asked.filter(({ target: path }) => path.includes('/manifests/sha256-'))).toHaveLength(2)
    expect(scene.lab.lines.filter((line) => line.includes('attached by tags'))).toHaveLength(1)
  })

  test('are not what stands under the fallback tag when that is not a list of them', async () => {
    const platforms = makeIndex({ seed: 37 })
    const child = { ...entry(image.root), platform: { os: 'linux', architecture: 'amd64' } }
    const bodies = [image.root.bytes, platforms.root.bytes, Buffer.from(list(child))]
    for (const [at, body] of bodies.entries()) {
      const server = await scene.server(({ target }) =>
        subjects(target) ? { status: 404 } : json(Buffer.from(body).toString()),
      )
      const subject = at === 1 ? platforms.root.digest : image.root.digest
      expect(await scene.lab.open(server.url, REPOSITORY).referrers(subject)).toEqual([])
    }
  })
})

describe('whether something is there', () => {
  const image = makeImage({ seed: 36 })

  test.each([401, 403, 404, 405, 429, 500, 503])('is "no" after %d, at once', async (status) => {
    const server = await scene.server(() => ({ status }))
    const target = scene.lab.open(server.url, REPOSITORY)
    expect(await target.has(BLOB, 'blob')).toBe(false)
    expect(await target.has(entry(image.root), 'manifest')).toBe(false)
    expect(server.asked.filter(({ method }) => method === 'HEAD')).toHaveLength(2)
    expect(scene.lab.slept).toEqual([])
  })

  test('is "no" for a blob of another size', async () => {
    const registry = await scene.registry()
    registry.store.putBlob(REPOSITORY, BYTES)
    const target = scene.lab.open(registry.url, REPOSITORY)
    expect(await target.has({ ...BLOB, size: BLOB.size - 1 }, 'blob')).toBe(false)
    expect(await target.has(BLOB, 'blob')).toBe(true)
  })

  test('is answered by the inventory where there is one, which is asked once', async () => {
    const server = await scene.server(() => ({ status: 500 }))
    let calls = 0
    const inventory = async () => new Set([calls++ === 0 ? BLOB.digest : image.root.digest])
    const target = scene.lab.open(server.url, REPOSITORY, { inventory })
    expect(await target.inventory()).toEqual(new Set([BLOB.digest]))
    expect(await target.has(BLOB, 'blob')).toBe(true)
    expect(await target.has(entry(image.root), 'manifest')).toBe(false)
    expect([calls, server.asked]).toEqual([1, []])
  })

  test('is asked by HEAD when the inventory fails', async () => {
    const registry = await scene.registry()
    registry.store.putBlob(REPOSITORY, BYTES)
    const inventory = () => Promise.reject(new Error('no API'))
    const target = scene.lab.open(registry.url, REPOSITORY, { inventory })
    expect(await target.inventory()).toBeUndefined()
    expect(await target.has(BLOB, 'blob')).toBe(true)
  })

  test('is not "no" but CANCELLED once the run is', async () => {
    const registry = await scene.registry()
    const target = scene.lab.open(registry.url, REPOSITORY)
    scene.lab.cancel()
    expect(await failure(target.has(BLOB, 'blob'))).toMatchObject({ code: 'CANCELLED' })
    expect(await failure(target.has(BLOB, 'manifest'))).toMatchObject({ code: 'CANCELLED' })
    expect(await failure(target.find('v1'))).toMatchObject({ code: 'CANCELLED' })
    expect(await failure(target.listTags?.() ?? Promise.resolve())).toMatchObject({ code: 'CANCELLED' })
    expect(await failure(target.startUpload(BLOB))).toMatchObject({ code: 'CANCELLED' })
  })
})

test('a nested index with an attestation is read with all that it names', async () => {
  const registry = await scene.registry()
  const index = makeIndex({ nested: true, attestation: true })
  seedImage(registry, REPOSITORY, index, 'v1')
  const target = scene.lab.open(registry.url, REPOSITORY)
  const root = await target.resolve('v1')
  const inner = await target.manifest(root.links[0]?.descriptor ?? root.descriptor)
  expect(inner.links.map((link) => link.descriptor.platform?.os)).toEqual(['linux', 'linux', 'unknown'])
})

async function* stream(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function gather(from: AsyncIterable<Uint8Array>, into: Uint8Array[]): Promise<void> {
  for await (const chunk of from) into.push(chunk)
}
