import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { Variables } from '../bundle/run.ts'
import { at, byToken, options } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { openScene } from '../support/scene.ts'

/** Tags by the time of their image, and all tags of a digest: what is asked for, and what is promoted. */

const DAY = 86_400_000
const ago = (days: number) => new Date(Date.now() - days * DAY).toISOString()
let seed = 980
const made = (created: unknown, more: object = {}) => makeImage({ seed: ++seed, config: { created }, ...more })

let right: EmbeddedRegistry
let scene: ReturnType<typeof openScene>

beforeAll(async () => {
  right = await startRegistry()
})
beforeEach(() => {
  scene = openScene()
})
afterEach(() => scene.close())
afterAll(async () => {
  await right.close()
  expect(right.violations).toEqual([])
})

const list = (tags: object) => ({
  'image-list': JSON.stringify([{ source: 'dev/app', destination: 'prod/app', tags }]),
})
const promote = (from: Parameters<typeof options>[0], tags: object, more: Variables = {}) =>
  within(options(from, at(right), { 'dry-run': 'true', ...list(tags), ...more }), [])
const tagsIn = async (running: ReturnType<typeof promote>) => {
  const { report } = await running
  return report.images.map(({ tag, error }) => (error === null ? tag : error.code))
}
const asked = (registry: EmbeddedRegistry, kind: RegExp) =>
  registry.requests.filter(({ path }) => kind.test(path)).length

describe('the time of an image at a registry', () => {
  let left: EmbeddedRegistry
  beforeEach(async () => {
    left = await scene.registry()
  })

  test.each<[string, unknown]>([
    ['tomorrow', ago(-1)],
    ['the year 9999', '9999-12-31T00:00:00Z'],
    ['a number', Date.now() + 30 * DAY],
  ])('is not in the future: an image of %s is not the newest for good', async (_, created) => {
    seedImage(left, 'dev/app', made(ago(3)), 'real')
    seedImage(left, 'dev/app', made(created), 'forged')
    expect(await tagsIn(promote(at(left), { latest: 1, by: 'created' }))).toEqual(['real'])
    expect(await tagsIn(promote(at(left), { 'newer-than': '30d' }))).toEqual(['real'])
  })

  test('is that of its config, or of its annotation; that of an index is that of its first platform', async () => {
    seedImage(left, 'dev/app', made(ago(3)), 'config')
    seedImage(
      left,
      'dev/app',
      made(ago(99), { annotations: { 'org.opencontainers.image.created': ago(2) } }),
      'annotated',
    )
    seedImage(left, 'dev/app', made(ago(1), { docker: true }), 'docker')
    const annotations = { 'org.opencontainers.image.created': ago(0.5) }
    seedImage(left, 'dev/app', makeIndex({ seed: ++seed, annotations }), 'index')
    expect(await tagsIn(promote(at(left), { latest: 4, by: 'created' }))).toEqual([
      'index',
      'docker',
      'annotated',
      'config',
    ])
    expect(await tagsIn(promote(at(left), { 'newer-than': '36h' }))).toEqual(['docker', 'index'])
    // Made in January 2026, as all platforms of the builder are.
    seedImage(left, 'dev/app', makeIndex({ seed: ++seed, attestation: true }), 'old-index')
    seedImage(left, 'dev/app', makeIndex({ seed: ++seed, nested: true }), 'nested')
    const { infos } = await promote(at(left), { latest: 9, by: 'created' })
    expect(infos.join('\n')).toContain('selects 5 tags; left out: 1 without a creation time (nested)')
  })

  test.each<[what: string, created: unknown]>([
    ['1970', '1970-01-01T00:00:00Z'],
    ['1980', '1980-01-01T00:00:01Z'],
    ['the first year', '0001-01-01T00:00:00Z'],
    ['no date', 'yesterday'],
    ['a number', 5],
    ['null', null],
  ])('of %s is none, which is said and never chosen', async (_, created) => {
    seedImage(left, 'dev/app', made(created), 'reproducible')
    seedImage(left, 'dev/app', made(ago(5)), 'dated')
    const { report, infos } = await promote(at(left), { latest: 2, by: 'created' })
    expect(report.images.map(({ tag }) => tag)).toEqual(['dated'])
    expect(infos.join('\n')).toContain('left out: 1 without a creation time (reproducible)')
    const none = await promote(at(left), { regex: 'repro.*', 'newer-than': '9999w' })
    expect(none.report.images[0]?.error?.message).toContain('selects no tag; left out:')
  })

  test('is asked for once for each image that the other conditions have left', async () => {
    const image = made(ago(3))
    for (const tag of ['1.0', '1.1', 'edge']) seedImage(left, 'dev/app', image, tag)
    for (const tag of ['2.0', '2.1']) seedImage(left, 'dev/app', made(ago(4)), tag)
    const configs = /\/blobs\//
    await promote(at(left), { semver: '^1' })
    expect(asked(left, configs)).toBe(0)
    await promote(at(left), { semver: '^1', 'newer-than': '30d' })
    expect(asked(left, configs)).toBe(1)
    await promote(at(left), { semver: '^2', 'newer-than': '30d' })
    expect(asked(left, configs)).toBe(3)
  })

  test('that cannot be read fails the selection, after as many tries as any other request', async () => {
    seedImage(left, 'dev/app', made(ago(3)), '1.0')
    left.faults.add({ match: { path: /\/blobs\// }, do: { kind: 'status', status: 404 } })
    expect(await tagsIn(promote(at(left), { 'newer-than': '30d' }))).toEqual(['NOT_FOUND'])
    left.faults.clear()
    left.faults.add({ match: { path: /\/blobs\//, nth: 1 }, do: { kind: 'status', status: 503 } })
    expect(await tagsIn(promote(at(left), { 'newer-than': '30d' }))).toEqual(['1.0'])
  })

  test('all tags of a digest come with one that is selected, but for those that are excluded', async () => {
    const [one, two] = [made(ago(3)), made(ago(4))]
    for (const tag of ['1', '1.9', '1.9.2', 'latest', 'tmp']) seedImage(left, 'dev/app', one, tag)
    for (const tag of ['1.8', 'old']) seedImage(left, 'dev/app', two, tag)
    const same = { glob: '1.9.2', exclude: 'tmp', 'same-digest-tags': true }
    expect(await tagsIn(promote(at(left), same))).toEqual(['1.9.2', '1', '1.9', 'latest'])
    const { infos } = await promote(at(left), { latest: 2, 'same-digest-tags': true }, { exclude: ':1' })
    expect(infos.join('\n')).toContain('selects with their digests also latest, tmp.')
  })
})

describe('at a cluster', () => {
  let dev: EmbeddedCluster
  beforeEach(async () => {
    dev = await startCluster({ name: 'dev' })
    scene.after(dev.close)
  })

  test('the image stream tells when a tag got its image, and what else is at it, without a request for an image', async () => {
    const [one, two] = [made('1970-01-01T00:00:00Z'), made(ago(1))]
    seedImage(dev, 'dev/app', two, 'early')
    seedImage(dev, 'dev/app', one, 'late')
    seedImage(dev, 'dev/app', one, 'alias')
    const times = { early: ago(20), late: ago(2), alias: ago(9) }
    const stream = dev.state.streams.get('dev', 'app')
    for (const [tag, created] of Object.entries(times)) {
      const [event] = stream?.tags.get(tag) ?? []
      if (event !== undefined) stream?.tags.set(tag, [{ ...event, created }])
    }
    const viewer = byToken(dev, dev.token('viewer'))
    expect(await tagsIn(promote(viewer, { latest: 1, by: 'created' }))).toEqual(['late'])
    expect(await tagsIn(promote(viewer, { 'newer-than': '10d' }))).toEqual(['alias', 'late'])
    expect(await tagsIn(promote(viewer, { latest: 1, by: 'created', 'same-digest-tags': true }))).toEqual([
      'late',
      'alias',
    ])
    expect(dev.requests.filter(({ path }) => path.includes(two.root.digest))).toEqual([])
    expect(dev.unexpected).toEqual([])
  })
})
