import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { at, byToken, differences, options, tagOf, writes } from '../bundle/sides.ts'
import { run, type Variables } from '../bundle/troubleshooting/run.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import type { Effect, Faults } from '../support/cluster/faults.ts'
import { type BuiltImage, type BuiltManifest, makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { createStorage } from '../support/cluster/storage.ts'
import { type RealRegistry, startDockerRegistry } from '../support/docker-registry.ts'
import { unverified } from '../support/watch.ts'

/** `promoted` and `unchanged` mean: stored at the destination, all of it. Nothing else is taken for that. */

jest.setTimeout(60_000)

/** Where images were imported from. */
const HOME = 'registry.far.example.com/far/away'
const upstream = createStorage()
let dev: EmbeddedRegistry
let prod: EmbeddedCluster
let plain: EmbeddedRegistry

beforeAll(async () => {
  const started = await Promise.all([startRegistry(), startCluster({ name: 'prod', upstream }), startRegistry()])
  ;[dev, prod, plain] = started
})
afterEach(() => {
  for (const faults of [prod.faults.api, prod.faults.registry, dev.faults]) faults.clear()
  Object.assign(prod.options.registry, { upstreamGone: false, mirror: true })
  expect([...dev.violations, ...prod.unexpected, ...plain.violations]).toEqual([])
})
afterAll(async () => void (await Promise.all([dev, prod, plain].map((each) => each.close()))))

async function promotion(images: string, as = 'developer', more: Variables = {}, excuse?: string) {
  const given = options(at(dev), byToken(prod, prod.token(as)), { images, referrers: 'false', ...more })
  const { rows, error, log } = await (excuse === undefined ? run(given) : unverified(excuse, () => run(given)))
  return { error, rows, log, statuses: rows.map(({ status }) => status) }
}

const sinceNow = (registry: EmbeddedCluster | EmbeddedRegistry) => {
  const before = registry.requests.length
  return () => registry.requests.slice(before)
}

/** A right that reads the image stream, and one that does not. */
describe.each([
  ['developer', 400],
  ['pusher', 500],
])('as %s, at OpenShift', (user, seeds) => {
  const name = (what: string) => `prod/${what}-${user}`
  const stream = (path: string) => prod.state.streams.create('prod', path.replace('prod/', ''))

  test('an index of which one platform was promoted is completed', async () => {
    const image = makeIndex({ seed: seeds + 1 })
    seedImage(dev, 'dev/sparse', image, '1')
    stream(name('sparse'))
    const line = `dev/sparse:1=${name('sparse')}:1`
    await promotion(line, user, { platforms: 'linux/amd64' })
    expect(await differences(prod, name('sparse'), image)).not.toEqual([])
    expect(await promotion(line, user)).toMatchObject({ error: undefined, statuses: ['promoted'] })
    expect(await differences(prod, name('sparse'), image)).toEqual([])
    const asked = sinceNow(prod)
    expect(await promotion(line, user)).toMatchObject({ statuses: ['unchanged'] })
    expect(writes(asked().filter(({ path }) => path.startsWith('/v2/')))).toEqual([])
  })

  test('it is also where another project has imported the whole of it, so that each child is known', async () => {
    const image = makeIndex({ seed: seeds + 2 })
    seedImage(dev, 'dev/known', image, '1')
    stream(name('known'))
    const line = `dev/known:1=${name('known')}:1`
    await promotion(line, user, { platforms: 'linux/amd64' })
    seedImage(upstream, 'far/away', image)
    prod.importImage('dev/elsewhere', image, '1', HOME)
    expect(await promotion(line, user)).toMatchObject({ error: undefined, statuses: ['promoted'] })
    expect(await differences(prod, name('known'), image)).toEqual([])
  })

  test.each([
    ['can be reached', false],
    ['is gone', true],
  ])('a base that the stream only refers to is sent, whose home %s', async (_, upstreamGone) => {
    const shared = { layers: 2, seed: upstreamGone ? seeds + 3 : seeds + 4 }
    const [base, image] = [makeImage({ seed: seeds + 5, layers: 0, shared }), makeImage({ seed: seeds + 6, shared })]
    const path = name(upstreamGone ? 'gone' : 'based')
    seedImage(dev, 'dev/based', image, '1')
    seedImage(upstream, 'far/away', base)
    prod.importImage(path, base, 'base', HOME)
    Object.assign(prod.options.registry, { upstreamGone, mirror: false })
    expect(
      await promotion(`dev/based:1=${path}:1`, user, {}, 'The base that is only referred to may be gone.'),
    ).toMatchObject({ error: undefined, statuses: ['promoted'] })
    expect(await differences(prod, path, image)).toEqual([])
  })

  test.each([
    ['an image', makeImage({ seed: seeds + 7 })],
    ['an index', makeIndex({ seed: seeds + 8 })],
  ])('%s that its tag only refers to is stored, under the same tag', async (what, image) => {
    const path = name(what.replace(' ', '-'))
    seedImage(dev, 'dev/same', image, '1')
    seedImage(upstream, 'far/away', image)
    prod.importImage(path, image, '1', HOME)
    prod.options.registry.mirror = false
    expect(await promotion(`dev/same:1=${path}:1`, user)).toMatchObject({ error: undefined, statuses: ['promoted'] })
    expect(await differences(prod, path, image)).toEqual([])
    const [reference] = prod.state.streams.references('prod', path.replace('prod/', ''))
    expect(reference).toBe(`${prod.state.hosts.internal}/${path}@${image.root.digest}`)
  })

  test.each<[string, Effect]>([
    ['is refused', { kind: 'status', status: 403, body: 'no' }],
    ['fails', { kind: 'status', status: 500, body: '{}' }],
    ['is asked of a proxy', { kind: 'status', status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }],
    ['has another form', { kind: 'status', status: 200, body: '{"images":{"sha256:1":7}}' }],
    ['breaks off', { kind: 'cut-response', after: 20 }],
  ])('an inventory that %s stops nothing', async (what, effect) => {
    const image = makeIndex({ seed: seeds + 9 })
    const path = name(what.replaceAll(' ', '-'))
    seedImage(dev, 'dev/without', image, '1')
    stream(path)
    prod.faults.api.add({ match: { path: /\/layers$/ }, do: effect })
    expect(await promotion(`dev/without:1=${path}:1`, user)).toMatchObject({ error: undefined, statuses: ['promoted'] })
    expect(await differences(prod, path, image)).toEqual([])
  })
})

test('an inventory of 6500 images of 12 layers, 17 MB, stops nothing', async () => {
  const digest = (seed: number): Digest => `sha256:${seed.toString(16).padStart(64, 'f')}`
  const layer = (seed: number) => ({
    digest: digest(seed),
    size: 1,
    mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
  })
  const { streams } = prod.state
  streams.create('prod', 'large')
  for (let each = 0; each < 6500; each += 1) {
    const layers = Array.from({ length: 12 }, (_, at) => layer(1e6 + each * 12 + at))
    streams.addTag('prod', 'large', 'old', { ...layer(each), layers, manifests: [] })
  }
  const image = makeIndex({ seed: 310 })
  seedImage(dev, 'dev/large', image, '1')
  expect(JSON.stringify(streams.layers('prod', 'large')).length).toBeGreaterThan(16 * 1024 * 1024)
  for (const user of ['builder', 'developer'])
    expect(await promotion('dev/large:1=prod/large:1', user, {}, 'The old images are names only.')).toMatchObject({
      error: undefined,
    })
  expect(await differences(prod, 'prod/large', image)).toEqual([])
  streams.remove('prod', 'large')
})

test.each([false, true])('an index under its tag is completed at a plain registry, nested: %s', async (nested) => {
  const image = makeIndex({ seed: nested ? 311 : 312, nested })
  const path = nested ? 'prod/nested' : 'prod/sparse'
  seedImage(dev, path, image, '1')
  seedImage(plain, path, image, '1')
  const there = plain.store.repositories.get(path)
  there?.manifests.delete((image.manifests[0] as BuiltManifest).digest)
  const { rows } = await run(options(at(dev), at(plain), { images: `${path}:1`, referrers: 'false' }))
  expect(rows.map(({ status }) => status)).toEqual(['promoted'])
  expect(await differences(plain, path, image)).toEqual([])
})

describe('skip-missing', () => {
  const skip = { 'skip-missing': 'true' }
  const image = makeIndex({ seed: 320 })
  const [first] = image.manifests as [BuiltManifest]
  const lose = (effect: Effect, faults: Faults = dev.faults) =>
    faults.add({ match: { method: 'GET', path: new RegExp(`/manifests/${first.digest}`) }, do: effect })
  const answer = (status: number, body: string, type = 'application/json'): Effect => ({
    kind: 'status',
    status,
    headers: { 'content-type': type },
    body,
  })
  const error = (code: string, message: string) => JSON.stringify({ errors: [{ code, message }] })

  test('leaves out what the registry says it does not have', async () => {
    seedImage(dev, 'dev/skip', image, '1')
    for (const code of ['MANIFEST_UNKNOWN', 'NOT_FOUND']) {
      dev.faults.clear()
      lose(answer(404, error(code, 'manifest unknown')))
      const path = `prod/skip-${code.toLowerCase().replace('_', '-')}`
      const excuse = 'Only the answer says that the child is missing.'
      const { statuses } = await promotion(`dev/skip:1=${path}:1`, 'developer', skip, excuse)
      expect(statuses).toEqual(['promoted'])
    }
  })

  test.each<[string, Effect, string]>([
    [
      'pull-through',
      answer(404, error('OPENSHIFT_PULLTHROUGH_MANIFEST', 'unable to pull: refused')),
      'unable to pull: refused',
    ],
    ["a proxy's page", answer(404, '<html><title>Blocked</title></html>', 'text/html'), 'Blocked'],
    ['an empty 404', answer(404, ''), '404'],
    [
      '404 of two minds',
      answer(404, JSON.stringify({ errors: [{ code: 'MANIFEST_UNKNOWN' }, { code: 'DENIED' }] })),
      'DENIED',
    ],
    ['a server in trouble', answer(500, error('UNKNOWN', 'disk full')), 'disk full'],
  ])('does not leave out what %s hides', async (what, effect, said) => {
    seedImage(dev, 'dev/skip', image, '1')
    lose(effect)
    const path = `prod/hidden-${what.replaceAll(/\W/g, '')}`
    const { error: told } = await promotion(`dev/skip:1=${path}:1`, 'developer', skip)
    expect(told).toMatchObject({ side: 'source', message: expect.stringContaining(said) })
    expect(tagOf(prod, path, '1')).toBeUndefined()
  })

  test('tells why an imported child cannot be read, and fails', async () => {
    const imported = makeIndex({ seed: 321 })
    seedImage(upstream, 'far/away', imported)
    prod.importImage('dev/imported', imported, '1', HOME)
    prod.store.repository('dev/imported').manifests.set(imported.root.digest, imported.root)
    prod.options.registry.upstreamGone = true
    const given = options(byToken(prod, prod.token('jane')), at(plain), { images: 'dev/imported:1', ...skip })
    const { error: told } = await run(given)
    expect(told).toMatchObject({
      code: 'NOT_FOUND',
      side: 'source',
      message: expect.stringContaining('connection refused'),
    })
  })
})

describe('a non-distributable layer that the registry wants to have', () => {
  const base = makeImage({ seed: 330 })
  const layer = digestOf(Buffer.from('somewhere else'))
  const image = ((): BuiltImage => {
    const document = JSON.parse(Buffer.from(base.root.bytes).toString()) as { layers: object[] }
    const mediaType = 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip'
    document.layers.push({ mediaType, digest: layer, size: 14, urls: ['https://far.example.com/layer'] })
    const bytes = Buffer.from(JSON.stringify(document))
    const root = { ...base.root, bytes, digest: digestOf(bytes) }
    return { ...base, root, manifests: [root] }
  })()
  const refused = {
    code: 'UNSUPPORTED',
    side: 'destination',
    message: expect.stringMatching(`non-distributable layer ${layer}.*include-foreign`),
  }
  const count = (requests: readonly { method: string; path: string }[]) => [
    requests.filter(({ method, path }) => method === 'PUT' && path.includes('/manifests/')).length,
    requests.filter(({ method, path }) => method === 'POST' && path.includes('/uploads/')).length,
  ]
  let docker: RealRegistry | undefined
  afterAll(() => docker?.close())

  test('is named where OpenShift refuses, and nothing is sent again', async () => {
    seedImage(dev, 'dev/foreign', image, '1')
    const asked = sinceNow(prod)
    const { error } = await promotion('dev/foreign:1=prod/foreign:1')
    expect(error).toMatchObject(refused)
    expect(count(asked())).toEqual([1, image.blobs.size])
  })

  test('is named where a registry answers 500 for ever', async () => {
    const registry = await startRegistry({ refusesUrls: true })
    seedImage(dev, 'dev/foreign', image, '1')
    const { error, slept } = await run(options(at(dev), at(registry), { images: 'dev/foreign:1' }))
    await registry.close()
    expect([error, slept]).toEqual([expect.objectContaining(refused), []])
    expect(count(registry.requests)).toEqual([1, image.blobs.size])
  })

  test('another failure of such an image is still tried again', async () => {
    seedImage(dev, 'dev/foreign', image, '1')
    const busy: Effect = { kind: 'status', status: 503, body: '' }
    const registry = await startRegistry()
    registry.faults.add({ match: { method: 'PUT', path: /\/manifests\//, nth: 1, times: 2 }, do: busy })
    const { error } = await run(options(at(dev), at(registry), { images: 'dev/foreign:1', referrers: 'false' }))
    await registry.close()
    expect(error).toBeUndefined()
  })

  test('is named by a real docker-registry', async () => {
    docker = await startDockerRegistry()
    if (docker === undefined) return
    seedImage(dev, 'dev/foreign', image, '1')
    const { error, slept } = await run(options(at(dev), { registry: docker.url.origin }, { images: 'dev/foreign:1' }))
    expect([error, slept]).toEqual([expect.objectContaining(refused), []])
  })
})
