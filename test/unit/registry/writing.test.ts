import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { confirm } from '../../../src/copy/confirm.ts'
import { PromoteError } from '../../../src/core/errors.ts'
import { Secret } from '../../../src/core/secret.ts'
import { fixedLogin } from '../../../src/credentials/login.ts'
import { ANONYMOUS, type Login } from '../../../src/http/credential.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { type Manifest, readManifest } from '../../../src/oci/manifest.ts'
import type { Send } from '../../../src/transport/request.ts'
import type { Effect } from '../../support/cluster/faults.ts'
import type { Answer } from '../../support/cluster/http.ts'
import { type BuiltImage, describe as entry, makeArtifact, makeImage, seedImage } from '../../support/cluster/image.ts'
import type { EmbeddedRegistry } from '../../support/cluster/plain.ts'
import { randomBytes } from '../../support/cluster/storage.ts'
import { testContext } from '../../support/copy.ts'
import { failure, pieces } from '../../support/lab.ts'
import { asked, openScene, type Scene } from '../../support/scene.ts'
import { begin, describeBlob, finish, parsed, push, put } from '../../support/target-contract.ts'

const REPOSITORY = 'dev/app'
const MIB = 1024 * 1024
const BYTES = randomBytes(51, 3 * MIB)
const BLOB = describeBlob(BYTES)
/** What one read of a socket may bring beyond the point where a connection is cut, a few times over. */
const READ = 256 * 1024

let scene: Scene
beforeEach(() => {
  scene = openScene()
})
afterEach(() => scene.close())

describe('a new blob', () => {
  test('costs one POST and one PUT', async () => {
    const registry = await scene.registry()
    await put(scene.lab.open(registry.url, REPOSITORY), BYTES)
    expect(asked(registry)).toEqual(['POST blobs/uploads/', 'PUT blobs/uploads/ID'])
    expect(registry.requests[0]?.path).toContain(`?mount=${BLOB.digest}&from=${REPOSITORY}`)
    expect(stored(registry)).toEqual(BYTES)
  })

  test('costs one POST when it is there already', async () => {
    const registry = await scene.registry()
    registry.store.putBlob(REPOSITORY, BYTES)
    expect(await scene.lab.open(registry.url, REPOSITORY).startUpload(BLOB)).toEqual({ state: 'present' })
    expect(asked(registry)).toEqual(['POST blobs/uploads/'])
  })

  test('costs one POST when another repository has it', async () => {
    const registry = await scene.registry()
    registry.store.putBlob('dev/base', BYTES)
    expect(await scene.lab.open(registry.url, REPOSITORY).startUpload(BLOB, 'dev/base')).toEqual({ state: 'mounted' })
    expect(asked(registry)).toEqual(['POST blobs/uploads/'])
  })

  test.each([400, 403, 404, 405, 409, 415, 422, 451, 500, 501, 503])(
    'is asked for by HEAD and begun plainly where mounting answers %d, from then on',
    async (status) => {
      const registry = await scene.registry()
      registry.faults.add({ do: { kind: 'status', status }, match: { method: 'POST', path: /mount=/ } })
      const target = scene.lab.open(registry.url, REPOSITORY)
      await put(target, BYTES)
      const before = registry.requests.length
      const other = randomBytes(52, 1000)
      await put(target, other)
      expect(asked(registry, before)).toEqual([
        `HEAD blobs/${digestOf(other)}`,
        'POST blobs/uploads/',
        'PUT blobs/uploads/ID',
      ])
      expect(await target.startUpload(BLOB)).toEqual({ state: 'present' })
    },
  )

  test.each([400, 401, 403, 404, 405, 409, 415, 418, 422, 500, 501, 502, 503])(
    'is uploaded when mounting it from elsewhere answers %d',
    async (status) => {
      const registry = await scene.registry()
      registry.faults.add({ do: { kind: 'status', status }, match: { method: 'POST', path: /from=dev\/base/ } })
      const target = scene.lab.open(registry.url, REPOSITORY)
      const begun = await target.startUpload(BLOB, 'dev/base')
      if (begun.state !== 'open') throw new Error(begun.state)
      await begun.upload.send(0, pieces(BYTES))
      expect(stored(registry)).toEqual(BYTES)
      // The blob's own repository is still asked and begun in one request.
      const requests = asked(registry).filter((line) => line !== 'GET /v2/')
      expect(requests).toEqual(['POST blobs/uploads/', 'POST blobs/uploads/', 'PUT blobs/uploads/ID'])
    },
  )

  test.each([502, 503, 429])('that meets %d for a moment is begun all the same', async (status) => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'status', status }, match: { method: 'POST', nth: 1 } })
    await put(scene.lab.open(registry.url, REPOSITORY), BYTES)
    expect(stored(registry)).toEqual(BYTES)
  })

  test('whose upload has no address is a PROTOCOL error', async () => {
    const server = await scene.server(() => ({ status: 202 }))
    const error = await failure(scene.lab.open(server.url, REPOSITORY).startUpload(BLOB))
    expect(error).toMatchObject({ code: 'PROTOCOL', side: 'destination', transient: false })
  })

  test('whose upload goes on at another origin takes no credential there', async () => {
    const elsewhere = await scene.server(async ({ body }) => {
      for await (const _chunk of body);
      return { status: 201 }
    })
    const server = await scene.server(({ headers }) =>
      headers.authorization === undefined
        ? { status: 401, headers: { 'WWW-Authenticate': 'Basic realm="r"' } }
        : { status: 202, headers: { Location: `${elsewhere.url}up/1?sig=a%2Bb` } },
    )
    const login = fixedLogin('jane', { kind: 'basic', username: 'jane', password: new Secret('secret-of-jane') })
    await put(scene.lab.open(server.url, REPOSITORY, {}, login), BYTES)
    expect(server.asked.at(-1)?.headers.authorization).toMatch(/^Basic /)
    expect(elsewhere.asked).toMatchObject([{ method: 'PUT', target: `/up/1?sig=a%2Bb&digest=${BLOB.digest}` }])
    expect(elsewhere.asked[0]?.headers.authorization).toBeUndefined()
  })
})

describe('an upload that breaks off', () => {
  test('goes on with what the registry kept', async () => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'cut-request', after: 2 * MIB }, match: { method: 'PUT', nth: 1 } })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    expect(await failure(upload.send(0, pieces(BYTES)))).toMatchObject({ code: 'NETWORK', transient: true })
    expect(await finish(upload, BYTES)).toEqual([2 * MIB])
    expect(stored(registry)).toEqual(BYTES)
    expect(twice(registry)).toBeLessThan(READ)
    expect(asked(registry).slice(2)).toEqual(['GET blobs/uploads/ID', 'PATCH blobs/uploads/ID', 'PUT blobs/uploads/ID'])
  })

  test('more than once goes on each time', async () => {
    const registry = await scene.registry()
    registry.faults.add({
      do: { kind: 'cut-request', after: MIB },
      match: { method: ['PUT', 'PATCH'], nth: 1, times: 2 },
    })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    await failure(upload.send(0, pieces(BYTES)))
    expect(await finish(upload, BYTES)).toEqual([MIB, 2 * MIB])
    expect(stored(registry)).toEqual(BYTES)
    expect(twice(registry)).toBeLessThan(READ)
  })

  test('after its first byte begins anew: "0-0" does not say whether it arrived', async () => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'cut-request', after: 1 }, match: { method: 'PUT', nth: 1 } })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    await failure(upload.send(0, pieces(BYTES)))
    expect(await finish(upload, BYTES)).toEqual([0])
    expect(stored(registry)).toEqual(BYTES)
    expect(asked(registry).slice(2)).toEqual([
      'GET blobs/uploads/ID',
      'DELETE blobs/uploads/ID',
      'POST blobs/uploads/',
      'PUT blobs/uploads/ID',
    ])
  })

  test('with all bytes there is only committed', async () => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'lose-answer' }, match: { method: 'PATCH', nth: 1 } })
    registry.faults.add({ do: { kind: 'cut-request', after: 2 * MIB }, match: { method: 'PUT', nth: 1 } })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    await failure(upload.send(0, pieces(BYTES)))
    expect(await finish(upload, BYTES)).toEqual([2 * MIB, 3 * MIB])
    expect(twice(registry)).toBeLessThan(READ)
    expect(stored(registry)).toEqual(BYTES)
  })

  test('after the commit, before the answer, is complete', async () => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'lose-answer' }, match: { method: 'PUT', nth: 1 } })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    expect(await failure(upload.send(0, pieces(BYTES)))).toMatchObject({ transient: true })
    expect(await upload.offset()).toBe(-1)
    expect(twice(registry)).toBeLessThan(READ)
  })

  test.each<[what: string, effect: Effect]>([
    ['500', { kind: 'status', status: 500 }],
    [
      '503 of a proxy',
      { kind: 'status', status: 503, headers: { 'Content-Type': 'text/html' }, body: '<html></html>' },
    ],
    ['429', { kind: 'status', status: 429, headers: { 'Retry-After': '3' } }],
    ['401', { kind: 'status', status: 401 }],
    ['416', { kind: 'status', status: 416 }],
    ['404 BLOB_UPLOAD_UNKNOWN', { kind: 'status', status: 404, body: '{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}' }],
    ['400 BLOB_UPLOAD_INVALID', { kind: 'status', status: 400, body: '{"errors":[{"code":"BLOB_UPLOAD_INVALID"}]}' }],
  ])('with %s is transient and goes on', async (_what, effect) => {
    const registry = await scene.registry()
    registry.faults.add({ do: effect, match: { method: 'PUT', nth: 1 } })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    const error = await failure(upload.send(0, pieces(BYTES)))
    expect(error).toMatchObject({ side: 'destination', transient: true })
    await finish(upload, BYTES)
    expect(stored(registry)).toEqual(BYTES)
  })

  test('with an empty commit that fails for a moment is not sent again', async () => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'cut-request', after: 2 * MIB }, match: { method: 'PUT', nth: 1 } })
    registry.faults.add({ do: { kind: 'status', status: 500 }, match: { method: 'PUT', nth: 2 } })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    await failure(upload.send(0, pieces(BYTES)))
    expect(await finish(upload, BYTES)).toEqual([2 * MIB])
    expect(twice(registry)).toBeLessThan(READ)
  })

  test('with 416 again and again is begun anew', async () => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'cut-request', after: MIB }, match: { method: 'PUT', nth: 1 } })
    registry.faults.add({ do: { kind: 'status', status: 416 }, match: { method: 'PATCH', nth: 1, times: 2 } })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    await failure(upload.send(0, pieces(BYTES)))
    expect(await finish(upload, BYTES)).toEqual([MIB, MIB, 0])
    expect(stored(registry)).toEqual(BYTES)
  })

  test('frees the body that was not read to its end', async () => {
    const server = await scene.server(({ method }) =>
      method === 'POST'
        ? { status: 202, headers: { Location: '/up/1' } }
        : { status: 403, headers: { Connection: 'close' } },
    )
    const upload = await begin(scene.lab.open(server.url, REPOSITORY), BLOB)
    let closed = 0
    async function* body(): AsyncGenerator<Uint8Array> {
      try {
        yield* pieces(BYTES)
      } finally {
        closed += 1
      }
    }
    await failure(upload.send(0, body()))
    expect(closed).toBe(1)
  })
})

describe('a refusal in the middle of an upload', () => {
  test('is a verdict when the fresh credential is refused as well', async () => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'status', status: 401 }, match: { method: 'PUT' } })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY, { login: someone() }), BLOB)
    expect(await failure(upload.send(0, pieces(BYTES)))).toMatchObject({ code: 'TOKEN_REJECTED', transient: true })
    await upload.offset()
    expect(await failure(upload.send(0, pieces(BYTES)))).toMatchObject({ code: 'DENIED', transient: false })
  })

  test('counts anew after progress', async () => {
    const registry = await scene.registry()
    registry.faults.add({ do: { kind: 'status', status: 401 }, match: { method: 'PUT', nth: 1 } })
    registry.faults.add({ do: { kind: 'cut-request', after: MIB }, match: { method: 'PUT', nth: 1 } })
    registry.faults.add({ do: { kind: 'status', status: 401 }, match: { method: 'PATCH', nth: 1 } })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY, { login: someone() }), BLOB)
    expect(await failure(upload.send(0, pieces(BYTES)))).toMatchObject({ code: 'TOKEN_REJECTED', transient: true })
    // The second PUT is cut after a MiB; the PATCH after it meets 401 once more.
    expect(await finish(upload, BYTES)).toEqual([0, MIB, MIB])
    expect(stored(registry)).toEqual(BYTES)
  })

  test('by digest is final and stores nothing', async () => {
    const registry = await scene.registry()
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    const error = await failure(upload.send(0, pieces(randomBytes(53, 3 * MIB))))
    expect(error).toMatchObject({ code: 'DIGEST_MISMATCH', side: 'destination', transient: false })
    expect(error.server).toMatchObject([{ code: 'DIGEST_INVALID' }])
    expect(registry.store.blobs.has(BLOB.digest)).toBe(false)
  })

  test('is what it is when another digest was stored', async () => {
    const registry = await scene.registry()
    const headers = { 'Docker-Content-Digest': digestOf(Buffer.from('another')) }
    registry.faults.add({ do: { kind: 'headers', headers }, match: { method: 'PUT' } })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    expect(await failure(upload.send(0, pieces(BYTES)))).toMatchObject({ code: 'DIGEST_MISMATCH', transient: false })
  })
})

describe('a registry that takes only small bodies', () => {
  test('gets chunks that fit, and the next blob is cut from the start', async () => {
    const registry = await scene.registry({ maxBody: 2 * MIB })
    const target = scene.lab.open(registry.url, REPOSITORY)
    const upload = await begin(target, BLOB)
    expect(await failure(upload.send(0, pieces(BYTES)))).toMatchObject({ status: 413, transient: true })
    await finish(upload, BYTES)
    expect(stored(registry)).toEqual(BYTES)
    const before = registry.requests.length
    const other = randomBytes(54, 2.5 * MIB)
    await put(target, other)
    expect(asked(registry, before)).toEqual([
      'POST blobs/uploads/',
      'PATCH blobs/uploads/ID',
      'PATCH blobs/uploads/ID',
      'PATCH blobs/uploads/ID',
      'PUT blobs/uploads/ID',
    ])
    expect(Buffer.concat(await chunksOf(registry, digestOf(other))).equals(other)).toBe(true)
  })

  test('and only large chunks gets what it asks for', async () => {
    const registry = await scene.registry({ maxBody: 2.5 * MIB, chunkMinLength: 2 * MIB })
    const sizes: number[] = []
    registry.faults.add({
      do: { kind: 'latency', ms: 0 },
      match: { method: 'PATCH', when: ({ headers }) => sizes.push(Number(headers['content-length'])) > 0 },
    })
    const bytes = randomBytes(55, 5 * MIB)
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), describeBlob(bytes))
    await failure(upload.send(0, pieces(bytes)))
    await finish(upload, bytes)
    expect(sizes).toEqual([2 * MIB, 2 * MIB, MIB])
    expect(registry.store.blobs.has(digestOf(bytes))).toBe(true)
  })

  test('or none at all is an error, in the end', async () => {
    const registry = await scene.registry({ maxBody: 10 })
    const upload = await begin(scene.lab.open(registry.url, REPOSITORY), BLOB)
    const first = await failure(upload.send(0, pieces(BYTES)))
    expect(first.transient).toBe(true)
    await upload.offset()
    expect(await failure(upload.send(0, pieces(BYTES)))).toMatchObject({ status: 413, transient: false })
  })
})

describe('a manifest that is put', () => {
  const image = makeImage({ seed: 56 })

  test('costs one PUT, with its exact bytes and type', async () => {
    const registry = await scene.registry()
    for (const bytes of image.blobs.values()) registry.store.putBlob(REPOSITORY, bytes)
    const target = scene.lab.open(registry.url, REPOSITORY)
    expect(await target.putManifest(parsed(image), 'v1')).toBe(image.root.digest)
    expect(asked(registry)).toEqual(['PUT manifests/v1'])
    const kept = registry.store.repository(REPOSITORY).manifests.get(image.root.digest)
    expect(kept).toMatchObject({ mediaType: image.root.mediaType })
    expect(Buffer.from(kept?.bytes ?? []).equals(image.root.bytes)).toBe(true)
  })

  test.each<[what: string, effect: Effect]>([
    ['500', { kind: 'status', status: 500 }],
    ['503', { kind: 'status', status: 503 }],
    ['429', { kind: 'status', status: 429 }],
    ['a lost answer', { kind: 'lose-answer' }],
  ])('meets %s for a moment and arrives', async (_what, effect) => {
    const registry = await scene.registry()
    for (const bytes of image.blobs.values()) registry.store.putBlob(REPOSITORY, bytes)
    registry.faults.add({ do: effect, match: { method: 'PUT', nth: 1 } })
    const target = scene.lab.open(registry.url, REPOSITORY)
    expect(await target.putManifest(parsed(image), 'v1')).toBe(image.root.digest)
    expect(registry.tags(REPOSITORY).get('v1')).toBe(image.root.digest)
  })

  test('under an immutable tag is done when the tag has it already, and refused otherwise', async () => {
    const registry = await scene.registry({ immutableTags: true })
    seedImage(registry, REPOSITORY, image, 'v1')
    const other = makeImage({ seed: 57 })
    seedImage(registry, REPOSITORY, other)
    const target = scene.lab.open(registry.url, REPOSITORY)
    const write = ({ root }: BuiltImage, manifest: Manifest) =>
      confirm(
        { target, reference: 'v1', from: image.root.digest, to: root.digest },
        (begin) => {
          begin()
          return target.putManifest(manifest, 'v1')
        },
        testContext(),
      )
    await write(image, parsed(image))
    const error = await failure(write(other, parsed(other)))
    expect(error).toMatchObject({ side: 'destination', status: 400, transient: false })
    expect(error.message).toContain('immutable')
  })

  test('is answered with the digest that the registry says it stored, also when that is another one', async () => {
    const registry = await scene.registry()
    for (const bytes of image.blobs.values()) registry.store.putBlob(REPOSITORY, bytes)
    const target = scene.lab.open(registry.url, REPOSITORY)
    const another = digestOf(Buffer.from('another'))
    const answers: [string | undefined, string | undefined][] = [
      [undefined, undefined],
      ['nonsense', undefined],
      [another, another],
      [digestOf(image.root.bytes, 'sha512'), image.root.digest],
    ]
    for (const [header, expected] of answers) {
      const rule = registry.faults.add({ do: { kind: 'headers', headers: { 'Docker-Content-Digest': header } } })
      expect(await target.putManifest(parsed(image), 'v1')).toBe(expected)
      rule.remove()
    }
  })

  test('with OCI-Subject from a registry that lists nothing is not believed', async () => {
    const registry = await scene.registry({ referrersApi: false })
    registry.faults.add({
      do: { kind: 'headers', headers: { 'OCI-Subject': image.root.digest } },
      match: { method: 'PUT' },
    })
    const target = scene.lab.open(registry.url, REPOSITORY)
    await push(target, image, 'v1')
    await push(target, makeArtifact({ subject: entry(image.root) }))
    expect(target.listsReferrers).toBe(false)
  })

  test('waits for a registry that looks for each blob', async () => {
    const responseTimeout: (number | undefined)[] = []
    const registry = await scene.registry()
    seedImage(registry, REPOSITORY, image)
    const send = scene.lab.send(registry.url)
    const spy: typeof send = (request) => {
      responseTimeout.push(request.responseTimeout)
      return send(request)
    }
    const target = scene.lab.open(registry.url, REPOSITORY, { send: spy, stallTimeout: 10_000 })
    await target.putManifest(parsed(image), 'v1')
    expect(responseTimeout).toEqual([10_000 + 3 * 3_500])
  })
})

function scopesOf(send: Send) {
  const scopes: (readonly string[] | undefined)[] = []
  const spy: Send = (request) => {
    scopes.push(request.scopes)
    return send(request)
  }
  return { scopes, spy }
}

describe('the scopes of a request', () => {
  test('name the repository, and second the one that is mounted from', async () => {
    const registry = await scene.registry()
    const { scopes, spy } = scopesOf(scene.lab.send(registry.url))
    const target = scene.lab.open(registry.url, REPOSITORY, { send: spy })
    await target.find('v1')
    await target.startUpload(BLOB)
    await target.startUpload(BLOB, 'dev/base')
    expect(scopes).toEqual([
      ['repository:dev/app:pull'],
      ['repository:dev/app:pull,push'],
      ['repository:dev/app:pull,push', 'repository:dev/base:pull'],
    ])
  })

  test('of a repository that will be written to are those of writing from the first one on: one token for all', async () => {
    const registry = await scene.registry()
    const { scopes, spy } = scopesOf(scene.lab.send(registry.url))
    const target = scene.lab.open(registry.url, REPOSITORY, { send: spy, writes: true })
    await target.find('v1')
    await target.startUpload(BLOB)
    expect(scopes).toEqual(Array(2).fill(['repository:dev/app:pull,push']))
  })

  test('are those of reading where the token service refuses more to who may only read', async () => {
    const registry = await scene.registry()
    const send = scene.lab.send(registry.url)
    const scopes: (readonly string[] | undefined)[] = []
    const strict: typeof send = async (request) => {
      scopes.push(request.scopes)
      if (request.scopes?.[0]?.endsWith('push'))
        throw new PromoteError('LOGIN_REJECTED', 'requested access is denied', { side: 'destination', status: 403 })
      return send(request)
    }
    const target = scene.lab.open(registry.url, REPOSITORY, { send: strict, writes: true })
    expect([await target.find('v1'), await target.find('v2')]).toEqual([undefined, undefined])
    await expect(target.startUpload(BLOB)).rejects.toMatchObject({ code: 'LOGIN_REJECTED' })
    const [reading, writing] = [['repository:dev/app:pull'], ['repository:dev/app:pull,push']]
    expect(scopes).toEqual([writing, reading, reading, writing])
  })
})

describe('a refusal', () => {
  const refusing = (ping: number, status = 401) =>
    scene.server(({ path }): Answer => ({ status: path === '/v2/' ? ping : status }))

  test('of a credential that is good for nothing is TOKEN_REJECTED', async () => {
    const server = await refusing(401)
    const error = await failure(scene.lab.open(server.url, REPOSITORY, { login: someone() }).resolve('v1'))
    expect(error).toMatchObject({ code: 'TOKEN_REJECTED', side: 'destination' })
    expect(error.hint).toContain('token of jane')
  })

  test.each([401, 403])('of a good credential with %d is DENIED, with repository and right', async (status) => {
    const server = await refusing(200, status)
    const target = scene.lab.open(server.url, REPOSITORY, { login: someone() })
    const pull = await failure(target.resolve('v1'))
    expect(pull).toMatchObject({ code: 'DENIED', side: 'destination', status })
    expect(pull.message).toContain(`${server.url.host}/dev/app`)
    expect(pull.hint).toContain('pull from')
    expect((await failure(target.startUpload(BLOB))).hint).toContain('push to')
  })

  test('without any credential is CREDENTIAL_MISSING', async () => {
    const server = await refusing(401)
    const target = scene.lab.open(server.url, REPOSITORY, { login: fixedLogin('no credential', ANONYMOUS) })
    expect(await failure(target.resolve('v1'))).toMatchObject({ code: 'CREDENTIAL_MISSING', side: 'destination' })
  })

  test('is explained by whoever knows more', async () => {
    const server = await refusing(200)
    const asked: unknown[] = []
    const explain = async (error: PromoteError, access: string, tag?: string) => {
      asked.push([error.code, access, tag])
      return new PromoteError('PROJECT_MISSING', 'there is no project dev', { side: 'destination' })
    }
    const target = scene.lab.open(server.url, REPOSITORY, { login: someone(), explain })
    const manifest = readManifest(makeImage().root.bytes, undefined)
    expect(await failure(target.putManifest(manifest, 'v1'))).toMatchObject({ code: 'PROJECT_MISSING' })
    expect(await failure(target.resolve('v1'))).toMatchObject({ code: 'PROJECT_MISSING' })
    expect(asked).toEqual([
      ['DENIED', 'push', 'v1'],
      ['DENIED', 'pull', undefined],
    ])
  })
})

function someone(): Login {
  return fixedLogin('token of jane', { kind: 'bearer', token: new Secret('token-of-jane') })
}

/** Bytes that reached the registry although it had them. */
function twice(registry: EmbeddedRegistry): number {
  return registry.stats.received(BLOB.digest) - BYTES.byteLength
}

function stored(registry: EmbeddedRegistry): Buffer | undefined {
  const blob = registry.store.repository(REPOSITORY).blobs.has(BLOB.digest)
  // The registry has compared the digest: what it holds under this name are these bytes.
  return blob && registry.store.blobs.get(BLOB.digest)?.size === BYTES.byteLength ? BYTES : undefined
}

async function chunksOf(registry: EmbeddedRegistry, digest: ReturnType<typeof digestOf>): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  const blob = registry.store.blobs.get(digest)
  for await (const chunk of blob?.read(0, blob.size) ?? []) chunks.push(chunk)
  return chunks
}
