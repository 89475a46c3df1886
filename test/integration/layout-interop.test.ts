import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { Variables } from '../bundle/run.ts'
import { at, byToken, differences, options, tagOf, writes } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import {
  type BuiltImage,
  describe as entry,
  fallbackTag,
  makeFallbackIndex,
  makeImage,
  makeIndex,
  seedImage,
} from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { attached, cosignSignature, sigstoreBundle } from '../support/shapes.ts'

/** Images between clusters that cannot see each other, and layouts between tools. */

let dev: EmbeddedCluster
let prod: EmbeddedCluster
let registry: EmbeddedRegistry
let folder: string

beforeAll(async () => {
  ;[dev, prod, registry] = await Promise.all([
    startCluster({ name: 'dev' }),
    startCluster({ name: 'prod' }),
    startRegistry(),
  ])
})
afterAll(async () => {
  await Promise.all([dev, prod, registry].map((each) => each.close()))
  expect([...dev.unexpected, ...prod.unexpected, ...registry.violations]).toEqual([])
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'interop-'))
})
afterEach(() => rm(folder, { recursive: true }))

/** One side only: the other one is a layout. */
const out = (images: readonly string[], more: Variables = {}) =>
  within(options(byToken(dev, dev.token('viewer')), {}, more), images)
const into = (images: readonly string[], more: Variables = {}) =>
  within(options({}, byToken(prod, prod.token('developer')), more), images)

/** An image with signatures in both forms, for itself and a child, as an OpenShift registry holds them. */
function signed(path: string, tag: string): BuiltImage[] {
  const image = makeIndex({ seed: 700, sharedLayers: 1 })
  const [child = image.root] = image.manifests
  const bundle = sigstoreBundle(image.root, { annotations: { made: 'here' } })
  const sbom = attached(child, 'application/spdx+json', '{"spdxVersion":"SPDX-2.3"}')
  const above = sigstoreBundle(sbom.root)
  seedImage(dev, path, image, tag)
  for (const part of [bundle, sbom, above]) seedImage(dev, path, part, `part-${part.root.digest.slice(7, 19)}`)
  for (const [subject, part] of [
    [image.root, bundle],
    [child, sbom],
    [sbom.root, above],
  ] as const) {
    const { artifactType, annotations } = JSON.parse(Buffer.from(part.root.bytes).toString())
    const list = makeFallbackIndex([{ ...entry(part.root), artifactType, annotations }])
    const index = { root: list, manifests: [list], blobs: new Map(), large: [] }
    seedImage(dev, path, index, fallbackTag(subject.digest))
  }
  const signatures = [image.root, child].map((subject) => cosignSignature(subject))
  for (const { image: part, tag: name } of signatures) seedImage(dev, path, part, name)
  return [image, bundle, sbom, above, ...signatures.map((each) => each.image)]
}

describe('cluster → layout → cluster', () => {
  let count = 0
  test.each([
    ['a folder', (name: string) => `oci:${name}`, async () => undefined],
    ['an archive', (name: string) => `oci-archive:${name}.tar`, async () => undefined],
    [
      'an archive that was compressed on the way',
      (name: string) => `oci-archive:${name}.tar`,
      async (path: string) => writeFile(`${path}.tar`, gzipSync(await readFile(`${path}.tar`))),
    ],
  ])('through %s, everything is byte for byte the same', async (_what, place, onTheWay) => {
    const [from, to] = [`dev/out${++count}`, `prod/in${count}`]
    const parts = signed(from, '1.2')
    const layout = place(join(folder, 'images'))
    const first = await out([`${from}:1.2=${layout}`], { 'require-signed': 'true' })
    expect(first.report.images).toMatchObject([{ status: 'promoted', destination: `${layout}:${from}:1.2` }])
    expect(first.report.images[0]?.attached).toHaveLength(5)
    await onTheWay(join(folder, 'images'))
    const second = await into([`${layout}=${to}:1.2`], { 'require-signed': 'true' })
    expect(second.report.images).toMatchObject([{ status: 'promoted', source: `${layout}:${from}:1.2` }])
    for (const part of parts) expect(await differences(prod, to, part)).toEqual([])
    expect(tagOf(prod, to, '1.2')).toBe(parts[0]?.root.digest)
    expect(second.report.images[0]?.attached).toHaveLength(5)
    const again = await into([`${layout}=${to}:1.2`])
    expect(again.report.images).toMatchObject([{ status: 'unchanged' }])
  })

  test('several images and tags of one run are in one archive, and a failed one leaves the others', async () => {
    const images = [701, 702, 703].map((seed) => makeImage({ seed, shared: { layers: 2, seed: 9 } }))
    for (const [i, image] of images.entries()) seedImage(dev, `dev/many${i}`, image, '1')
    const archive = `oci-archive:${join(folder, 'a.tar')}`
    const lines = ['dev/many0:1', 'dev/many1:1', 'dev/many2:1', 'dev/absent:1'].map((line) => `${line}=${archive}`)
    const { report, code } = await out(lines, { 'additional-tags': 'stable' })
    expect(report.images.map(({ status }) => status)).toEqual([...Array(6).fill('promoted'), 'failed', 'failed'])
    expect(code).toBe(3)
    const back = await within(options({}, at(registry)), [
      `${archive}:dev/many0:1=dev/many0`,
      `${archive}:dev/many1:stable=dev/many1`,
      `${archive}:dev/many2:1`,
    ])
    expect(back.report.images.map(({ status }) => status)).toEqual(Array(3).fill('promoted'))
    for (const [i, image] of images.entries()) expect(await differences(registry, `dev/many${i}`, image)).toEqual([])
  })

  test('an archive that cannot get its name was not written, and every row says so', async () => {
    seedImage(registry, 'un/named', makeImage({ seed: 704 }), '1')
    const path = join(folder, 'a.tar')
    const inTheWay = ({ path: asked }: { path: string }) => {
      if (asked.includes('/un/named/blobs/')) mkdirSync(join(path, 'x'), { recursive: true })
      return false
    }
    const rule = registry.faults.add({ do: { kind: 'latency', ms: 0 }, match: { when: inTheWay } })
    const { report } = await within(options(at(registry), {}), [`un/named:1=oci-archive:${path}`])
    rule.remove()
    expect(report.images).toMatchObject([
      { status: 'failed', digest: null, error: { code: 'IO', side: 'destination' } },
    ])
    expect(readdirSync(folder)).toEqual(['a.tar'])
  })

  test('a dry run writes nothing', async () => {
    seedImage(dev, 'dev/dry', makeImage({ seed: 705 }), '1')
    for (const place of [`oci:${folder}/a`, `oci-archive:${folder}/a.tar`]) {
      const { report } = await out([`dev/dry:1=${place}`], { 'dry-run': 'true' })
      expect(report.images).toMatchObject([{ status: 'planned' }])
    }
    expect(existsSync(`${folder}/a`) || existsSync(`${folder}/a.tar`)).toBe(false)
  })

  test('nothing is written to the cluster for an image without a signature, not even an image stream', async () => {
    const layout = `oci:${join(folder, 'images')}`
    seedImage(registry, 'un/signed', makeImage({ seed: 706 }), '1')
    await within(options(at(registry), {}), [`un/signed:1=${layout}`])
    const before = prod.requests.length
    const { report } = await into([`${layout}=prod/unsigned:1`], { 'require-signed': 'true' })
    expect(report.images).toMatchObject([{ status: 'failed', error: { code: 'SIGNATURE_MISSING', side: 'source' } }])
    const made = writes(prod.requests.slice(before)).filter((request) => /imagestreams|\/v2\//.test(request))
    expect(made).toEqual([])
    expect(prod.state.streams.get('prod', 'unsigned')).toBeUndefined()
  })
})

if (isThere('/usr/bin/skopeo')) {
  describe('skopeo', () => {
    const image = makeIndex({ seed: 710 })
    const single = makeImage({ seed: 711 })
    beforeAll(() => {
      seedImage(registry, 'sk/index', image, '1.2')
      seedImage(registry, 'sk/single', single, '1.2')
    })

    test.each([
      ['folder', (path: string) => `oci:${path}`],
      ['archive', (path: string) => `oci-archive:${path}.tar`],
    ])('reads our %s', async (kind, place) => {
      const layout = place(join(folder, 'ours'))
      await within(options(at(registry), {}), [`sk/index:1.2=${layout}`, `sk/single:1.2=${layout}:plain`])
      expect(JSON.parse(await skopeo('inspect', '--raw', `${layout}:plain`))).toEqual(
        JSON.parse(String(single.root.bytes)),
      )
      if (kind === 'folder')
        expect(await skopeo('inspect', '--raw', `${layout}:sk/index:1.2`)).toBe(String(image.root.bytes))
      const copied = `docker://${registry.host}/sk/from-${kind}:1`
      await skopeo('copy', '--all', '--preserve-digests', '--dest-tls-verify=false', `${layout}:sk/index:1.2`, copied)
      expect(await differences(registry, `sk/from-${kind}`, image)).toEqual([])
    })

    test.each([
      ['folder', (path: string) => `oci:${path}`, false],
      ['archive', (path: string) => `oci-archive:${path}.tar`, false],
      ['compressed archive', (path: string) => `oci-archive:${path}.tar`, true],
    ])('is read by us: its %s', async (kind, place, compress) => {
      const layout = place(join(folder, 'theirs'))
      const from = `docker://${registry.host}/sk/index:1.2`
      await skopeo('copy', '--all', '--preserve-digests', '--src-tls-verify=false', from, `${layout}:v1`)
      if (compress) await writeFile(`${folder}/theirs.tar`, gzipSync(gunzip(await readFile(`${folder}/theirs.tar`))))
      const name = `sk/ours-${kind.replace(' ', '-')}`
      const { report } = await within(options({}, at(registry)), [`${layout}:v1=${name}:1`])
      expect(report.images).toMatchObject([{ status: 'promoted', digest: image.root.digest }])
      expect(await differences(registry, name, image)).toEqual([])
    })

    test('adds an image to our folder, and we to its', async () => {
      const layout = `oci:${join(folder, 'both')}`
      await within(options(at(registry), {}), [`sk/index:1.2=${layout}:one`])
      const from = `docker://${registry.host}/sk/single:1.2`
      await skopeo('copy', '--preserve-digests', '--src-tls-verify=false', from, `${layout}:two`)
      await within(options(at(registry), {}), [`sk/single:1.2=${layout}:three`])
      const names = ['one', 'two', 'three'].map((name) => `${layout}:${name}=sk/both:${name}`)
      const { report } = await within(options({}, at(registry)), names)
      const [index, theirs, ours] = report.images.map(({ digest }) => digest)
      expect([index, theirs, ours]).toEqual([image.root.digest, single.root.digest, single.root.digest])
    })
  })
} else {
  test('layouts were not tried with skopeo: it is not installed', () => undefined)
}

/** With REAL_REGISTRIES=required its absence is an error. */
function isThere(path: string): boolean {
  if (existsSync(path)) return true
  if (process.env.REAL_REGISTRIES === 'required') throw new Error(`${path} is missing: apt-get install skopeo`)
  return false
}

/** skopeo may or may not have compressed it already. */
function gunzip(bytes: Buffer): Buffer {
  return bytes.readUInt16BE(0) === 0x1f8b ? gunzipSync(bytes) : bytes
}

async function skopeo(...argv: string[]): Promise<string> {
  const policy = join(folder, 'policy.json')
  await writeFile(policy, '{"default":[{"type":"insecureAcceptAnything"}]}')
  const child = spawn('/usr/bin/skopeo', ['--policy', policy, '--tmpdir', folder, ...argv], {
    env: { HOME: folder, PATH: '/usr/bin:/bin' },
  })
  const text = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text.out += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text.err += chunk
  })
  const code = await new Promise((done, fail) => child.once('error', fail).once('close', done))
  if (code !== 0) throw new Error(`skopeo ${argv.join(' ')}: ${text.err}`)
  return text.out.replace(/\n$/, '')
}
