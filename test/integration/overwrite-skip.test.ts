import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { at, byToken, options, tagOf, writes } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'

/** `overwrite: skip`: what exists stays as it is, the run succeeds and says so. */

const [OLD, NEW] = [makeImage({ seed: 960 }), makeImage({ seed: 961 })] as const

let from: EmbeddedRegistry
let to: EmbeddedRegistry
let cluster: EmbeddedCluster
beforeAll(async () => {
  ;[from, to, cluster] = await Promise.all([startRegistry(), startRegistry(), startCluster()])
  seedImage(from, 'dev/app', NEW, '1')
})
afterAll(async () => {
  await Promise.all([from.close(), to.close(), cluster.close()])
})

const told = (
  images: readonly { tag: string; status: string; digest: string | null; previousDigest: string | null }[],
) => images.map(({ tag, status, digest, previousDigest }) => [tag, status, digest, previousDigest])

test('a tag with another digest stays, and nothing is sent for it', async () => {
  seedImage(to, 'prod/stays', OLD, '1')
  const before = to.requests.length
  const { code, report } = await within(options(at(from), at(to), { overwrite: 'skip' }), ['dev/app:1=prod/stays'])
  const old = OLD.root.digest
  expect([code, report.status, told(report.images)]).toEqual([0, 'done', [['1', 'skipped', old, old]]])
  expect(report.images[0]).toMatchObject({ sourceDigest: NEW.root.digest, error: null, bytes: { copied: 0 } })
  expect([tagOf(to, 'prod/stays', '1'), writes(to.requests.slice(before))]).toEqual([old, []])
})

test('new tags of the same image are written, and a tag with the same digest is unchanged', async () => {
  seedImage(to, 'prod/some', OLD, '1')
  seedImage(to, 'prod/some', NEW, 'same')
  const given = { overwrite: 'skip', 'additional-tags': 'new,same' }
  const { code, report } = await within(options(at(from), at(to), given), ['dev/app:1=prod/some'])
  expect([code, report.images.map(({ tag, status }) => `${tag} ${status}`)]).toEqual([
    0,
    ['1 skipped', expect.stringMatching(/^new promoted$/), expect.stringMatching(/^same (unchanged|promoted)$/)],
  ])
  expect(tagOf(to, 'prod/some', '1')).toBe(OLD.root.digest)
  expect(tagOf(to, 'prod/some', 'new')).toBe(NEW.root.digest)
})

test.each([
  ['a dry run', { 'dry-run': 'true' }],
  ['all or nothing', { atomic: 'true', report: '/dev/null' }],
])('at a cluster, as %s', async (_, given) => {
  if (process.platform === 'win32') return
  seedImage(cluster, 'prod/app', OLD, '1')
  const sides = options(at(from), byToken(cluster, cluster.token('admin')), { overwrite: 'skip', ...given })
  const { code, report } = await within(sides, ['dev/app:1=prod/app'])
  expect([code, report.images.map(({ status }) => status)]).toEqual([0, ['skipped']])
  expect(tagOf(cluster, 'prod/app', '1')).toBe(OLD.root.digest)
  expect(cluster.unexpected).toEqual([])
})
