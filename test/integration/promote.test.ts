import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import type { Row } from '../../src/report/model.ts'
import { temporary, type Variables } from '../bundle/run.ts'
import { at, byToken, differences, options, tagOf, writes } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import {
  type BuiltImage,
  describe as descriptorOf,
  makeArtifact,
  makeCosign,
  makeImage,
  makeIndex,
  seedImage,
} from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'

/** The story of a promotion, in this process, over real sockets. Every test has repositories of its own. */

// Slow where many things run at once.
jest.setTimeout(30_000)

let dev: EmbeddedCluster
let prod: EmbeddedCluster
let left: EmbeddedRegistry
let right: EmbeddedRegistry

beforeAll(async () => {
  ;[dev, prod] = await Promise.all([startCluster({ name: 'dev' }), startCluster({ name: 'prod' })])
  ;[left, right] = await Promise.all([startRegistry(), startRegistry()])
})

afterAll(async () => {
  await Promise.all([dev, prod, left, right].map((each) => each.close()))
  expect([...dev.unexpected, ...prod.unexpected, ...left.violations, ...right.violations]).toEqual([])
})

/** Between the clusters as these users; `more` are further options. */
function across(images: readonly string[], { as = 'developer', ...more }: Variables = {}) {
  return within(options(byToken(dev, dev.token('viewer')), byToken(prod, prod.token(as)), more), images)
}

/** Between the plain registries. */
const between = (images: readonly string[], more: Variables = {}) => within(options(at(left), at(right), more), images)

const sizeOf = (image: BuiltImage) =>
  [...image.manifests.map(({ bytes }) => bytes), ...image.blobs.values()].reduce((sum, { length }) => sum + length, 0)

const since = ({ requests }: EmbeddedCluster, from: number, server = 'registry') =>
  requests.slice(from).filter((request) => request.server === server)

function expectSums(rows: readonly Row[]): void {
  for (const { bytes } of rows) expect(bytes.copied + bytes.mounted + bytes.present).toBe(bytes.total)
}

describe('images of every shape arrive byte for byte, from a registry at a cluster and from a cluster at a registry', () => {
  beforeAll(() => void prod.state.streams.addProject('shapes'))

  test.each([
    ['an OCI image', makeImage({ seed: 51 })],
    ['an OCI image without its own media type', makeImage({ seed: 52, mediaType: false })],
    ['a docker image (v2 schema 2)', makeImage({ seed: 53, docker: true })],
    ['an OCI index', makeIndex({ seed: 54, annotations: { 'org.example.key': 'välue' } })],
    ['an index in an index', makeIndex({ seed: 55, nested: true })],
    ['an index with an attestation', makeIndex({ seed: 56, attestation: true })],
    ['an index whose images share layers', makeIndex({ seed: 57, sharedLayers: 2 })],
    ['a docker manifest list', makeIndex({ seed: 58, docker: true })],
    ['an artifact', makeArtifact({ seed: 59 })],
    ['an image with an empty layer', makeImage({ seed: 60, layers: [0, 1] })],
  ])('%s', async (name, image) => {
    const path = `shapes/${name
      .toLowerCase()
      .match(/[a-z0-9]+/g)
      ?.join('-')}`
    seedImage(left, path, image, 'v1')
    const admin = byToken(prod, prod.token('admin'))
    const up = await within(options(at(left), admin), [`${path}:v1`])
    expect([up.code, up.report.images]).toMatchObject([0, [{ status: 'promoted', digest: image.root.digest }]])
    expect(await differences(prod, path, image)).toEqual([])
    expect(tagOf(prod, path, 'v1')).toBe(image.root.digest)

    const down = await within(options(admin, at(right)), [`${path}:v1=${path}:v2`])
    expect([down.code, down.report.images]).toMatchObject([0, [{ status: 'promoted', digest: image.root.digest }]])
    expect(await differences(right, path, image)).toEqual([])
    expect(tagOf(right, path, 'v2')).toBe(image.root.digest)
  })
})

describe('rights at the destination', () => {
  const index = makeIndex({ seed: 61 })
  beforeAll(() => void seedImage(dev, 'dev/rights', index, '1.0'))

  test.each(['developer', 'builder'])('%s: a first promotion makes the image stream', async (as) => {
    const run = await across([`dev/rights:1.0=prod/by-${as}:1.0`], { as })
    expect([run.code, run.warnings]).toEqual([0, []])
    expect(await differences(prod, `prod/by-${as}`, index)).toEqual([])
    expect(tagOf(prod, `prod/by-${as}`, '1.0')).toBe(index.root.digest)
  })

  test('a pusher promotes where the image stream exists, the first time and again', async () => {
    prod.state.streams.create('prod', 'there')
    const first = await across(['dev/rights:1.0=prod/there:1.0'], { as: 'pusher' })
    expect([first.code, first.report.images[0]?.status]).toEqual([0, 'promoted'])
    expect(await differences(prod, 'prod/there', index)).toEqual([])
    const before = prod.requests.length
    const second = await across(['dev/rights:1.0=prod/there:1.0'], { as: 'pusher' })
    expect([second.code, second.report.images[0]?.status]).toEqual([0, 'unchanged'])
    expect(writes(since(prod, before))).toEqual([])
  })

  test('a pusher is told at once where it does not, and no byte is sent', async () => {
    const before = prod.requests.length
    const run = await across(['dev/rights:1.0=prod/not-there:1.0'], { as: 'pusher' })
    expect(run.code).toBe(1)
    const hint = expect.stringContaining('oc create imagestream not-there -n prod')
    expect(run.report.images).toMatchObject([
      { status: 'failed', digest: null, error: { code: 'STREAM_MISSING', side: 'destination', hint } },
    ])
    expect(writes(since(prod, before))).toEqual([])
  })

  test('a project that is missing is told at once, and never made', async () => {
    const before = prod.requests.length
    const run = await across(['dev/rights:1.0=nowhere/app:1.0'])
    expect(run.code).toBe(1)
    expect(run.report.images).toMatchObject([{ error: { code: 'PROJECT_MISSING', side: 'destination' } }])
    expect(writes(since(prod, before))).toEqual([])
    expect(prod.state.projects.has('nowhere')).toBe(false)
  })

  test('who does not even see the project of the source is told so', async () => {
    const given = options(byToken(dev, dev.token('nobody')), byToken(prod, prod.token('developer')))
    const run = await within(given, ['dev/rights:1.0=prod/unseen:1.0'])
    expect(run.code).toBe(1)
    expect(run.report.images).toMatchObject([{ error: { code: 'PROJECT_MISSING', side: 'source' } }])
    expect(tagOf(prod, 'prod/unseen', '1.0')).toBeUndefined()
  })

  test('several images go into one missing stream, which is made once', async () => {
    const images = [1, 2, 3].map((number) => makeImage({ seed: 62 + number }))
    for (const [number, image] of images.entries()) seedImage(dev, 'dev/many', image, `v${number}`)
    const before = prod.requests.length
    const run = await across(images.map((_, number) => `dev/many:v${number}=prod/many:v${number}`))
    expect(run.code).toBe(0)
    for (const [number, image] of images.entries()) {
      expect(await differences(prod, 'prod/many', image)).toEqual([])
      expect(tagOf(prod, 'prod/many', `v${number}`)).toBe(image.root.digest)
    }
    const made = since(prod, before, 'api').filter(
      ({ method, path }) => method === 'POST' && path.endsWith('/imagestreams'),
    )
    expect(made.map(({ status }) => status)).toEqual([201])
  })
})

describe('the report', () => {
  test('has a row for each image and tag, sums that add up, and is the same in its file', async () => {
    const [older, newer] = [makeImage({ seed: 71 }), makeImage({ seed: 72 })]
    const size = sizeOf(newer)
    seedImage(left, 'rows/app', newer, 'v2')
    seedImage(right, 'rows/app', older, 'stable')
    const folder = temporary()
    const file = join(folder.path, 'new', 'report.json')
    const run = await between(['rows/app:v2'], { 'additional-tags': 'stable,latest', report: file })
    const written = JSON.parse(readFileSync(file, 'utf8'))
    folder.remove()

    expect(run.code).toBe(0)
    expect(written).toEqual(run.report)
    const { started, finished, ...rest } = run.report
    expect([started, finished].map((time) => new Date(time).toISOString())).toEqual([started, finished])
    const digest = newer.root.digest
    const common = {
      source: `${left.host}/rows/app:v2`,
      sourceDigest: digest,
      target: 'destination',
      digest,
      status: 'promoted',
      attached: [],
      error: null,
      platforms: ['linux/amd64'],
      milliseconds: expect.any(Number),
    }
    const row = (tag: string, previousDigest: string | null, bytes: object) => {
      return { ...common, destination: `${right.host}/rows/app:${tag}`, tag, previousDigest, bytes }
    }
    const there = { total: size, copied: 0, mounted: 0, present: size }
    expect(rest).toEqual({
      schema: 'image-promote/report/v1',
      run: expect.any(String),
      dryRun: false,
      status: 'done',
      images: [
        row('v2', null, { total: size, copied: size, mounted: 0, present: 0 }),
        row('stable', older.root.digest, there),
        row('latest', null, there),
      ],
    })
    for (const tag of ['v2', 'stable', 'latest']) expect(tagOf(right, 'rows/app', tag)).toBe(digest)
  })

  test('has the platform of a single image when its config passed by, and asks for none', async () => {
    const images = [
      makeImage({ seed: 171, platform: 'linux/arm64/v8' }),
      makeImage({ seed: 172, docker: true, platform: 'windows/amd64', config: { 'os.version': '10.0.17763.1817' } }),
      makeImage({ seed: 173, platform: 'no name <b>/amd64' }),
      makeArtifact({ seed: 174 }),
    ]
    const lines = images.map((image, index) => {
      seedImage(left, 'platform/app', image, `v${index}`)
      return `platform/app:v${index}`
    })
    const platforms = async (more: Variables = {}) =>
      (await between(lines, more)).report.images.map((row) => row.platforms)
    expect(await platforms({ 'dry-run': 'true' })).toEqual([[], [], [], []])
    expect(await platforms()).toEqual([['linux/arm64/v8'], ['windows(10.0.17763.1817)/amd64'], [], []])
    const from = left.requests.length
    expect(await platforms()).toEqual([[], [], [], []])
    expect(left.requests.slice(from).filter(({ path }) => path.includes('/blobs/'))).toEqual([])
    const [line = ''] = lines
    const asked = await between([line], { platforms: 'linux/arm64' })
    expect(asked.report.images[0]).toMatchObject({ status: 'unchanged', platforms: ['linux/arm64/v8'] })
  })

  test('tells promoted, unchanged and failed images apart, and each tag', async () => {
    const image = makeImage({ seed: 73 })
    seedImage(left, 'status/app', image, 'v1')
    seedImage(right, 'status/app', image, 'v1')
    const lines = ['status/app:v1', 'status/app:v1=status/new:v1', 'status/absent:v1']
    const run = await between(lines, { 'additional-tags': 'extra' })
    const { images, status } = run.report
    expect([run.code, status]).toEqual([3, 'partial'])
    const told = images.map((row) => [row.destination.replace(`${right.host}/`, ''), row.status, row.previousDigest])
    const { digest } = image.root
    expect(told).toEqual([
      ['status/app:v1', 'unchanged', digest],
      ['status/app:extra', 'promoted', null],
      ['status/new:v1', 'promoted', null],
      ['status/new:extra', 'promoted', null],
      ['status/absent:v1', 'failed', null],
      ['status/absent:extra', 'failed', null],
    ])
    expectSums(images)
    expect(run.events.filter(({ event }) => event === 'image')).toHaveLength(images.length)
  })

  test('counts what was mounted, and what was there, as what it was', async () => {
    const image = makeImage({ seed: 74, layers: [5000, 6000] })
    seedImage(right, 'bytes/app', image, 'v1')
    const run = await within(options(at(right), at(right)), ['bytes/app:v1=bytes/other:v1'])
    const manifest = image.root.bytes.length
    const total = sizeOf(image)
    expect(run.report.images[0]?.bytes).toEqual({ total, copied: manifest, mounted: total - manifest, present: 0 })
    expect(right.stats.received([...image.blobs.keys()][0] ?? '')).toBe(0)
    const again = await within(options(at(right), at(right)), ['bytes/app:v1=bytes/other:v1'])
    expect(again.report.images[0]?.bytes).toEqual({ total, copied: 0, mounted: 0, present: total })
  })

  test('names the platforms and everything that is attached, which has arrived too', async () => {
    const index = makeIndex({ seed: 75, platforms: ['linux/amd64', 'linux/arm64/v8'] })
    const sbom = makeArtifact({ seed: 76, subject: descriptorOf(index.root) })
    const { image: signature, tag } = makeCosign(index.root.digest)
    seedImage(left, 'with/things', index, 'v1')
    seedImage(left, 'with/things', sbom)
    seedImage(left, 'with/things', signature, tag)
    const run = await between(['with/things:v1'])
    const subject = index.root.digest
    const attached = expect.arrayContaining([
      { digest: sbom.root.digest, artifactType: 'application/vnd.example.sbom.v1', subject, tag: null },
      expect.objectContaining({ digest: signature.root.digest, subject, tag }),
    ])
    expect(run.report.images).toMatchObject([{ platforms: ['linux/amd64', 'linux/arm64/v8'], status: 'promoted' }])
    expect(run.report.images[0]?.attached).toEqual(attached)
    expect(run.report.images[0]?.attached).toHaveLength(2)
    for (const image of [index, sbom, signature]) expect(await differences(right, 'with/things', image)).toEqual([])
    expect(tagOf(right, 'with/things', tag)).toBe(signature.root.digest)
  })
})

describe('what is promoted', () => {
  test('a digest beside the tag is what the tag has to point at', async () => {
    const [meant, moved] = [makeImage({ seed: 81 }), makeImage({ seed: 82 })]
    seedImage(left, 'pin/app', meant)
    seedImage(left, 'pin/app', moved, 'v1')
    const before = right.requests.length
    const run = await between([`pin/app:v1@${meant.root.digest}=pin/app:v1`])
    expect(run.code).toBe(1)
    expect(run.report.images).toMatchObject([{ status: 'failed', error: { code: 'TAG_MISMATCH', side: 'source' } }])
    expect(writes(right.requests.slice(before))).toEqual([])
    const matching = await between([`pin/app:v1@${moved.root.digest}=pin/app:v1`])
    expect(matching.report.images).toMatchObject([{ status: 'promoted', digest: moved.root.digest }])
    expect(matching.report.images[0]?.source).toBe(`${left.host}/pin/app:v1@${moved.root.digest}`)
  })

  test('a digest alone goes under the tag of the destination', async () => {
    const index = makeIndex({ seed: 83 })
    seedImage(dev, 'dev/by-digest', index, 'other')
    const run = await across([`dev/by-digest@${index.root.digest}=prod/by-digest:v7`])
    expect([run.code, run.report.images]).toMatchObject([
      0,
      [{ tag: 'v7', digest: index.root.digest, status: 'promoted' }],
    ])
    expect(tagOf(prod, 'prod/by-digest', 'v7')).toBe(index.root.digest)
    expect(await differences(prod, 'prod/by-digest', index)).toEqual([])
  })

  test('some platforms only: the index keeps its digest, the other images stay behind', async () => {
    const index = makeIndex({ seed: 84, platforms: ['linux/amd64', 'linux/arm64/v8', 'linux/s390x'] })
    seedImage(left, 'some/app', index, 'v1')
    const run = await between(['some/app:v1'], { platforms: 'linux/arm64' })
    expect([run.code, run.report.images[0]?.platforms]).toEqual([0, ['linux/arm64/v8']])
    const [amd, arm, z] = index.manifests.map(({ digest }) =>
      right.store.repositories.get('some/app')?.manifests.has(digest),
    )
    expect([amd, arm, z, tagOf(right, 'some/app', 'v1')]).toEqual([false, true, false, index.root.digest])
  })
})

describe('where bytes go', () => {
  test('what several images share is read once and sent once, and mounted in the other repositories', async () => {
    const image = makeImage({ seed: 87, layers: [5000, 6000] })
    for (const path of ['shared/one', 'shared/two']) seedImage(left, path, image, 'v1')
    const run = await between(['shared/one:v1', 'shared/two:v1', 'shared/one:v1=shared/one:v2'])
    const manifest = image.root.bytes.length
    const total = sizeOf(image)
    expect(run.report.images.map(({ bytes }) => bytes)).toEqual([
      { total, copied: total, mounted: 0, present: 0 },
      { total, copied: manifest, mounted: total - manifest, present: 0 },
      { total, copied: manifest, mounted: 0, present: total - manifest },
    ])
    const passed = [...image.blobs].map(([digest, { length }]) => {
      return [left.stats.sent(digest) - length, right.stats.received(digest) - length]
    })
    expect(passed).toEqual(passed.map(() => [0, 0]))
  })

  test('a new tag in the same repository moves none', async () => {
    const image = makeImage({ seed: 85, layers: [5000] })
    seedImage(right, 'retag/app', image, 'v1')
    const run = await within(options(at(right), at(right)), ['retag/app:v1=retag/app:v2'])
    expect([run.code, run.report.images[0]?.status, run.report.images[0]?.bytes.copied]).toEqual([0, 'promoted', 0])
    expect(tagOf(right, 'retag/app', 'v2')).toBe(image.root.digest)
    expect([...image.blobs.keys()].map((digest) => right.stats.sent(digest))).toEqual([0, 0])
  })

  test('an object store that a registry hands its blobs to never sees a credential', async () => {
    const source = await startCluster()
    const store = await source.redirectBlobs()
    const index = makeIndex({ seed: 86 })
    seedImage(source, 'dev/app', index, '1.0')
    const given = options(byToken(source, source.token('puller')), at(right))
    const run = await within(given, ['dev/app:1.0=redirected/app:1.0'])
    await source.close()
    expect([run.code, store.origin]).toEqual([0, expect.not.stringContaining(source.registryHost)])
    expect(await differences(right, 'redirected/app', index)).toEqual([])
    expect([...index.blobs.keys()].filter((digest) => source.stats.sent(digest) === 0)).toEqual([])
    expect(source.unexpected).toEqual([])
  })
})

describe('a dry run', () => {
  test('tells the plan and changes nothing, not even a missing image stream', async () => {
    const index = makeIndex({ seed: 91 })
    seedImage(dev, 'dev/dry', index, '1.0')
    const before = prod.requests.length
    const run = await across(['dev/dry:1.0=prod/dry:1.0'], { 'dry-run': 'true' })
    expect([run.code, run.report.dryRun, run.report.status]).toEqual([0, true, 'done'])
    const size = sizeOf(index)
    const bytes = { total: size, copied: size, mounted: 0, present: 0 }
    expect(run.report.images).toMatchObject([
      { status: 'planned', digest: index.root.digest, previousDigest: null, bytes },
    ])
    const plan = run.events.find(({ event }) => event === 'plan')
    expect(plan).toMatchObject({ bytes, tags: [{ tag: '1.0', from: null, to: index.root.digest }] })
    expect(prod.state.streams.get('prod', 'dry')).toBeUndefined()
    expect(writes(since(prod, before))).toEqual([])
    // Reviews are questions, although they are POSTs.
    const review = /^POST \/apis\/(authentication|authorization)\.k8s\.io\/v1\/selfsubject(access)?reviews$/
    expect(writes(since(prod, before, 'api')).filter((line) => !review.test(line))).toEqual([])
  })

  test('says what is there already', async () => {
    const [image, other] = [makeImage({ seed: 92, layers: [4000] }), makeImage({ seed: 92, layers: [4000, 3000] })]
    seedImage(left, 'dry/app', other, 'v1')
    seedImage(right, 'dry/app', image, 'v1')
    const before = right.requests.length
    const run = await between(['dry/app:v1'], { 'dry-run': 'true' })
    const { present = 0 } = run.report.images[0]?.bytes ?? {}
    expect(run.report.images).toMatchObject([{ status: 'planned', previousDigest: image.root.digest }])
    expect(present).toBe(4000)
    expectSums(run.report.images)
    expect(writes(right.requests.slice(before))).toEqual([])
    seedImage(right, 'dry/app', other, 'v1')
    const again = await between(['dry/app:v1'], { 'dry-run': 'true' })
    expect(again.report.images).toMatchObject([{ status: 'unchanged' }])
  })
})

describe('tags come last', () => {
  test('the first tag of any image is written after the last blob of every image', async () => {
    const images = [makeImage({ seed: 101, layers: 3 }), makeIndex({ seed: 102 })]
    for (const [number, image] of images.entries()) seedImage(left, `last/app${number}`, image, 'v1')
    const before = right.requests.length
    const run = await between(['last/app0:v1', 'last/app1:v1'], { 'additional-tags': 'a,b' })
    expect(run.code).toBe(0)
    const puts = writes(right.requests.slice(before)).filter((line) => line.startsWith('PUT '))
    const tags = puts.map((line) => /\/manifests\/(v1|a|b)$/.test(line))
    expect(tags.indexOf(true)).toBe(tags.length - 6)
    expect(tags.slice(-6)).toEqual(Array(6).fill(true))
  })

  test('bytes that are not their digest’s keep the tag where it was', async () => {
    const [before, after] = [makeImage({ seed: 103 }), makeImage({ seed: 104, layers: [2000, 3000] })]
    const source = await startRegistry()
    seedImage(source, 'bad/app', after, 'v1')
    seedImage(right, 'bad/app', before, 'v1')
    source.faults.add({ match: { method: 'GET', path: /\/blobs\// }, do: { kind: 'corrupt', at: 10 } })
    const run = await within(options(at(source), at(right)), ['bad/app:v1'])
    await source.close()
    expect(run.code).toBe(1)
    expect(run.report.images).toMatchObject([
      {
        status: 'failed',
        digest: null,
        previousDigest: before.root.digest,
        error: { code: 'DIGEST_MISMATCH', side: 'source' },
      },
    ])
    expect(tagOf(right, 'bad/app', 'v1')).toBe(before.root.digest)
    expect(right.store.repositories.get('bad/app')?.manifests.has(after.root.digest)).toBe(false)
  })
})
