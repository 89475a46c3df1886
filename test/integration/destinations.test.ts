import { afterEach, describe, expect, test } from '@jest/globals'
import { workspaceInputs } from '../../src/host/tekton.ts'
import type { Row } from '../../src/report/model.ts'
import { type Folder, temporary, type Variables } from '../bundle/run.ts'
import { at, byPassword, differences, options, type SideOptions, tagOf, writes } from '../bundle/sides.ts'
import { type Within, within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { type BuiltImage, makeCosign, makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'

/** One run to several destinations, in this process, over real sockets. */

const closing: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

async function registry(): Promise<EmbeddedRegistry> {
  const started = await startRegistry()
  closing.push(async () => {
    await started.close()
    expect(started.violations).toEqual([])
  })
  return started
}

async function cluster(name: string): Promise<EmbeddedCluster> {
  const started = await startCluster({ name })
  closing.push(async () => {
    await started.close()
    expect(started.unexpected).toEqual([])
  })
  return started
}

function folder(): Folder {
  const made = temporary()
  closing.push(() => made.remove())
  return made
}

const NAMES = ['east', 'west', 'south'] as const

/** The list as a user writes it: secrets in files. */
function listOf(places: readonly SideOptions[], files: Folder): string {
  const entries = places.map(({ password, ...place }, index) => {
    const name = NAMES[index] ?? ''
    return { name, ...place, ...(password === undefined ? {} : { 'password-file': files.file(name, `${password}\n`) }) }
  })
  return JSON.stringify(entries)
}

function promoteTo(
  from: SideOptions,
  to: readonly SideOptions[],
  images: readonly string[],
  more: Variables = {},
): Promise<Within> {
  return within({ ...options(from, {}, more), destinations: listOf(to, folder()) }, images)
}

function told(rows: readonly Row[]): string[] {
  return rows.map(({ target, destination, status }) => `${target} ${destination.replace(/^[^/]+/, '')} ${status}`)
}

function bytesOfBlobs({ blobs }: BuiltImage): number {
  return [...blobs.values()].reduce((sum, { length }) => sum + length, 0)
}

/** Bytes of the image's blobs that went out. */
function sent({ stats }: EmbeddedRegistry | EmbeddedCluster, { blobs }: BuiltImage): number {
  return [...blobs.keys()].reduce((sum, digest) => sum + stats.sent(digest), 0)
}

async function threeRegistries(): Promise<[EmbeddedRegistry, EmbeddedRegistry[]]> {
  const [from, ...to] = await Promise.all([1, 2, 3, 4].map(registry))
  return [from as EmbeddedRegistry, to]
}

const ALONE = { referrers: 'false' }

describe('one source and three registries', () => {
  test('bring every image and tag everywhere, read every blob once, and have a row for each', async () => {
    const [from, to] = await threeRegistries()
    const [app, web] = [makeIndex({ seed: 61, sharedLayers: 2 }), makeImage({ seed: 62, layers: [700_000, 20] })]
    seedImage(from, 'dev/app', app, '1')
    seedImage(from, 'dev/web', web, '2')
    const lines = ['dev/app:1=prod/app', 'dev/web:2=prod/web']
    const { code, report } = await promoteTo(
      at(from),
      to.map((each) => at(each)),
      lines,
      { 'additional-tags': 'stable' },
    )
    expect([code, report.status]).toEqual([0, 'done'])
    expect(told(report.images)).toEqual(
      ['app:1', 'web:2'].flatMap((image) =>
        NAMES.flatMap((name) => [
          `${name} /prod/${image} promoted`,
          `${name} /prod/${image.replace(/\d/, 'stable')} promoted`,
        ]),
      ),
    )
    for (const each of to) {
      expect([await differences(each, 'prod/app', app), await differences(each, 'prod/web', web)]).toEqual([[], []])
      expect([...each.tags('prod/app').keys()].sort()).toEqual(['1', 'stable'])
    }
    expect([sent(from, app), sent(from, web)]).toEqual([bytesOfBlobs(app), bytesOfBlobs(web)])
  })

  test('of more images than are under way at once, every blob is read once', async () => {
    const [from, to] = await threeRegistries()
    const images = Array.from({ length: 10 }, (_, i) =>
      makeImage({ shared: { layers: 2, seed: 70 + (i % 2) }, layers: [2000], seed: 700 + i }),
    )
    for (const [index, image] of images.entries()) seedImage(from, 'dev/app', image, `v${index}`)
    const places = to.map((each) => at(each))
    const { code } = await promoteTo(at(from), places, ['dev/app:v*=prod/app'], { ...ALONE, jobs: '1' })
    expect(code).toBe(0)
    for (const image of images)
      expect(await Promise.all(to.map((each) => differences(each, 'prod/app', image)))).toEqual([[], [], []])
    for (const digest of new Set(images.flatMap(({ blobs }) => [...blobs.keys()])))
      expect(from.stats.sent(digest)).toBe(images.find(({ blobs }) => blobs.has(digest))?.blobs.get(digest)?.length)
  })

  test('a second run writes nothing anywhere, and one that lacks it gets it without the others being written to', async () => {
    const [from, to] = await threeRegistries()
    const image = makeImage({ seed: 63 })
    seedImage(from, 'dev/app', image, '1')
    for (const each of to.slice(0, 2)) seedImage(each, 'dev/app', image, '1')
    const { code, report } = await promoteTo(
      at(from),
      to.map((each) => at(each)),
      ['dev/app:1'],
      ALONE,
    )
    expect(code).toBe(0)
    expect(report.images.map(({ status }) => status)).toEqual(['unchanged', 'unchanged', 'promoted'])
    expect(to.slice(0, 2).flatMap((each) => writes(each.requests))).toEqual([])
    expect(await differences(to[2] as EmbeddedRegistry, 'dev/app', image)).toEqual([])
    expect(sent(from, image)).toBe(bytesOfBlobs(image))
  })

  test('signatures arrive at each of them', async () => {
    const [from, to] = await threeRegistries()
    const image = makeImage({ seed: 64 })
    seedImage(from, 'dev/app', image, '1')
    const signature = makeCosign(image.root.digest)
    const { tag } = signature
    const { digest } = signature.image.root
    seedImage(from, 'dev/app', signature.image, tag)
    const { code, report } = await promoteTo(
      at(from),
      to.map((each) => at(each)),
      ['dev/app:1'],
    )
    expect(code).toBe(0)
    for (const row of report.images) expect(row.attached).toMatchObject([{ digest, tag }])
    for (const each of to) expect(each.tags('dev/app').get(tag)).toBe(digest)
  })

  test('a dry run plans each of them and asks them alone', async () => {
    const [from, to] = await threeRegistries()
    const image = makeImage({ seed: 65 })
    seedImage(from, 'dev/app', image, '1')
    seedImage(to[1] as EmbeddedRegistry, 'dev/app', image, '1')
    const { code, report } = await promoteTo(
      at(from),
      to.map((each) => at(each)),
      ['dev/app:1'],
      { ...ALONE, 'dry-run': 'true' },
    )
    expect(code).toBe(0)
    expect(told(report.images)).toEqual([
      'east /dev/app:1 planned',
      'west /dev/app:1 unchanged',
      'south /dev/app:1 planned',
    ])
    expect(to.flatMap((each) => writes(each.requests))).toEqual([])
    expect(sent(from, image)).toBe(0)
  })
})

describe('a destination that fails', () => {
  test('fails alone, is named, and makes the exit code 3', async () => {
    const [from, to] = await threeRegistries()
    const [app, web] = [makeImage({ seed: 66, layers: [900_000] }), makeImage({ seed: 67 })]
    seedImage(from, 'dev/app', app, '1')
    seedImage(from, 'dev/web', web, '1')
    const broken = to[1] as EmbeddedRegistry
    const body = JSON.stringify({ errors: [{ code: 'DENIED', message: 'no room here' }] })
    broken.faults.add({ match: { method: ['POST', 'PUT'] }, do: { kind: 'status', status: 403, body } })
    const { code, report } = await promoteTo(
      at(from),
      to.map((each) => at(each)),
      ['dev/app:1', 'dev/web:1'],
      ALONE,
    )
    expect([code, report.status]).toEqual([3, 'partial'])
    expect(told(report.images)).toEqual([
      'east /dev/app:1 promoted',
      'west /dev/app:1 failed',
      'south /dev/app:1 promoted',
      'east /dev/web:1 promoted',
      'west /dev/web:1 failed',
      'south /dev/web:1 promoted',
    ])
    for (const { error } of report.images.filter(({ target }) => target === 'west'))
      expect(error).toMatchObject({
        code: 'CREDENTIAL_MISSING',
        side: 'destination',
        message: expect.stringMatching(/^west: .*no room/),
      })
    expect(broken.tags('dev/app').size).toBe(0)
    for (const each of [to[0], to[2]] as EmbeddedRegistry[]) {
      expect([await differences(each, 'dev/app', app), await differences(each, 'dev/web', web)]).toEqual([[], []])
    }
    expect([sent(from, app), sent(from, web)]).toEqual([bytesOfBlobs(app), bytesOfBlobs(web)])
  })

  test('in the middle of a blob is tried again alone, from where it broke off', async () => {
    const [from, to] = await threeRegistries()
    const image = makeImage({ seed: 68, layers: [3_000_000] })
    seedImage(from, 'dev/app', image, '1')
    const broken = to[0] as EmbeddedRegistry
    broken.faults.add({ match: { method: ['PUT', 'PATCH'], nth: 1 }, do: { kind: 'cut-request', after: 1_500_000 } })
    const { code, report, events } = await promoteTo(
      at(from),
      to.map((each) => at(each)),
      ['dev/app:1'],
      ALONE,
    )
    expect([code, report.status]).toEqual([0, 'done'])
    expect(events.filter(({ event }) => event === 'retry')).toMatchObject([{ image: 0 }])
    for (const each of to) expect(await differences(each, 'dev/app', image)).toEqual([])
    for (const each of to.slice(1)) {
      const received = [...image.blobs.keys()].reduce((sum, digest) => sum + each.stats.received(digest), 0)
      expect(received).toBe(bytesOfBlobs(image))
    }
    const again = sent(from, image) - bytesOfBlobs(image)
    expect(again).toBeGreaterThan(0)
    expect(again).toBeLessThan(bytesOfBlobs(image))
  })

  test('and a source that fails as well: each row tells both', async () => {
    const [from, to] = await threeRegistries()
    const [east, west, gone] = to as [EmbeddedRegistry, EmbeddedRegistry, EmbeddedRegistry]
    gone.faults.add({ match: { method: 'HEAD' }, do: { kind: 'status', status: 400 } })
    gone.faults.add({ match: { method: 'GET' }, do: { kind: 'status', status: 500 } })
    const places = [east, west, gone].map((each) => at(each))
    const { code, report } = await promoteTo(at(from), places, ['dev/absent:1'], { ...ALONE, retries: '0' })
    expect([code, report.status]).toEqual([1, 'failed'])
    expect(report.images.map(({ error }) => error?.code)).toEqual(['NOT_FOUND', 'NOT_FOUND', 'NOT_FOUND'])
    expect(report.images.map(({ error }) => error?.message.includes('And the destination south: '))).toEqual([
      false,
      false,
      true,
    ])
  })
})

describe('one source and several clusters', () => {
  const line = 'dev/app:1=prod/app:1'
  const image = makeImage({ seed: 69, layers: 3 })

  async function clusters(): Promise<[EmbeddedCluster, EmbeddedCluster, EmbeddedCluster]> {
    const [from, east, west] = await Promise.all(['dev', 'east', 'west'].map(cluster))
    if (from === undefined || east === undefined || west === undefined) throw new Error('three clusters were started')
    seedImage(from, 'dev/app', image, '1')
    return [from, east, west]
  }

  const count = ({ requests }: EmbeddedCluster, method: string, path: string) =>
    requests.filter((request) => request.method === method && request.path.includes(path)).length

  test('each with its own login, CA and registry; the tokens of all are deleted', async () => {
    const [from, east, west] = await clusters()
    const { code, report, events } = await promoteTo(
      byPassword(from),
      [east, west].map((to) => byPassword(to)),
      [line],
    )
    expect([code, report.status]).toEqual([0, 'done'])
    expect(report.images.map(({ target, destination }) => [target, destination])).toEqual([
      ['east', `${east.registryHost}/prod/app:1`],
      ['west', `${west.registryHost}/prod/app:1`],
    ])
    for (const to of [east, west]) expect(tagOf(to, 'prod/app', '1')).toBe(image.root.digest)
    for (const each of [from, east, west]) expect(count(each, 'DELETE', '/oauthaccesstokens/')).toBe(1)
    expect(events.flatMap((event) => (event.event === 'login' ? [event.target] : [])).sort()).toEqual([
      'east',
      'source',
      'west',
    ])
    expect(sent(from, image)).toBe(bytesOfBlobs(image))
  })

  test('one that refuses the login fails its rows alone, and the others are logged out', async () => {
    const [from, east, west] = await clusters()
    const places = [{ ...byPassword(east), password: 'wrong' }, byPassword(west)]
    const { code, report } = await promoteTo(byPassword(from), places, [line])
    expect([code, report.status]).toEqual([3, 'partial'])
    expect(report.images).toMatchObject([
      { target: 'east', status: 'failed', error: { code: 'LOGIN_REJECTED', side: 'destination' } },
      { target: 'west', status: 'promoted', error: null },
    ])
    expect(report.images[0]?.error?.message).toMatch(/^east: /)
    expect(east.state.streams.get('prod', 'app')).toBeUndefined()
    for (const each of [from, west]) expect(count(each, 'DELETE', '/oauthaccesstokens/')).toBe(1)
  })

  test('none gets an image stream for an image that the source does not have', async () => {
    const [from, east, west] = await clusters()
    const { code } = await promoteTo(
      byPassword(from),
      [east, west].map((to) => byPassword(to)),
      ['dev/none:1=prod/none'],
    )
    expect(code).toBe(1)
    for (const to of [east, west]) {
      expect(to.state.streams.get('prod', 'none')).toBeUndefined()
      expect(count(to, 'POST', '/imagestreams')).toBe(0)
    }
  })

  test('one CA vouches for its own destination and for no other', async () => {
    const [from, east, west] = await clusters()
    const { ca: _, ...trustless } = byPassword(west)
    const { code, report } = await promoteTo(byPassword(from), [byPassword(east), trustless], [line])
    expect(code).toBe(3)
    expect(report.images).toMatchObject([
      { target: 'east', status: 'promoted' },
      { target: 'west', status: 'failed', error: { code: 'TLS', side: 'destination' } },
    ])
  })
})

describe('in Tekton', () => {
  test('the workspaces are for the source and for files that entries name, not for destinations that no option describes', () => {
    const files = folder()
    files.file('token', 'of a single destination')
    const dirs = { IMAGE_PROMOTE_SOURCE_AUTH_DIR: files.path, IMAGE_PROMOTE_DESTINATION_AUTH_DIR: files.path }
    const found = (env: Variables) =>
      Object.keys(workspaceInputs({ ...dirs, ...env }).env).filter((name) => /TOKEN/.test(name))
    expect(found({})).toEqual(['IMAGE_PROMOTE_SOURCE_TOKEN_FILE', 'IMAGE_PROMOTE_DESTINATION_TOKEN_FILE'])
    for (const name of ['IMAGE_PROMOTE_DESTINATIONS', 'IMAGE_PROMOTE_DESTINATIONS_FILE'])
      expect(found({ [name]: 'list.yaml' })).toEqual(['IMAGE_PROMOTE_SOURCE_TOKEN_FILE'])
  })
})
