import { afterEach, describe, expect, test } from '@jest/globals'
import type { TokenService } from '../../support/cluster/access.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, type PlainOptions, startRegistry } from '../../support/cluster/plain.ts'
import { createStorage } from '../../support/cluster/storage.ts'
import { type Arrived, openSessions, side, type Trip, travel, virtualClock } from './stage.ts'

/** Credentials that end in the middle of a promotion. */

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

const MIB = 1024 * 1024
const IMAGE = makeImage({ seed: 31, layers: [3000], large: [MIB] })
const SERVICE: TokenService = { user: 'ci', password: 'ci-password' }
const LOGIN = { username: SERVICE.user, password: SERVICE.password }

async function registry(options: PlainOptions): Promise<EmbeddedRegistry> {
  const opened = await startRegistry(options)
  closers.push(opened.close)
  return opened
}

/** A promotion between two registries with token services. */
async function withTokens(
  service: Partial<TokenService>,
  arrange: (at: Registries) => void = () => undefined,
  jobs = 8,
) {
  const clock = virtualClock()
  const access = { kind: 'token', ...SERVICE, ...service } as const
  const source = await registry({ access, now: clock.now })
  const destination = await registry({ access, now: clock.now, store: createStorage({ discard: true }) })
  seedImage(source, 'dev/app', IMAGE, 'v1')
  arrange({ source, destination })
  const arrived = await travel({
    images: ['dev/app:v1=prod/app:v1'],
    source: { ...side(source), ...LOGIN },
    destination: { ...side(destination), ...LOGIN },
    clock,
    config: { jobs },
  })
  return { source, destination, arrived }
}
type Registries = Readonly<{ source: EmbeddedRegistry; destination: EmbeddedRegistry }>

function expectArrived({ destination, arrived }: Readonly<{ destination: EmbeddedRegistry; arrived: Arrived }>): void {
  expect(arrived.row.error).toBeNull()
  expect(destination.tags('prod/app').get('v1')).toBe(IMAGE.root.digest)
  expect(openSessions(destination)).toBe(0)
  expect(destination.violations).toEqual([])
}

describe('a token of a token service', () => {
  test.each([
    [2, 1],
    [4, 1],
    // All blobs go side by side: no token is good for fewer requests than are under way.
    [8, 2],
  ])('that is good for %i requests is replaced as often as it takes, with %i jobs', async (uses, jobs) => {
    const all = await withTokens({ uses }, () => undefined, jobs)
    expectArrived(all)
    expect(all.destination.gate.issued()).toBeGreaterThan(1)
  })

  test('is replaced at whichever request to the destination it ends', async () => {
    const { destination: counted } = await withTokens({})
    const steps = counted.requests.filter(({ path }) => path.startsWith('/v2/')).length
    expect(steps).toBeGreaterThan(8)
    for (let step = 1; step <= steps; step += 1) {
      let ended = 0
      expectArrived(await withTokens({}, ({ destination }) => endsAt(destination, step, () => (ended += 1))))
      expect(ended).toBe(1)
    }
  })

  test('is replaced at whichever request to the source it ends', async () => {
    // The second request is the first one with a token: refused then, it was never accepted, which is a verdict.
    for (const step of [1, 3, 4, 5]) {
      let ended = 0
      expectArrived(await withTokens({}, ({ source }) => endsAt(source, step, () => (ended += 1))))
      expect(ended).toBe(1)
    }
  })

  test('that is refused although it is fresh is a verdict, and no session stays open', async () => {
    const { destination, arrived } = await withTokens({}, ({ destination }) => {
      destination.faults.add({
        match: { method: ['PUT', 'PATCH'], path: /uploads\// },
        do: { kind: 'status', status: 401 },
      })
    })
    expect(arrived.row.error).toMatchObject({ side: 'destination' })
    expect(['DENIED', 'TOKEN_REJECTED']).toContain(arrived.row.error?.code)
    expect(openSessions(destination)).toBe(0)
    expect(destination.tags('prod/app').has('v1')).toBe(false)
    expect(destination.stats.requests).toBeLessThan(40)
  })
})

test('a token that was given, and ends on the way, is refused with a hint that it cannot be renewed', async () => {
  const access = { kind: 'token', ...SERVICE } as const
  const source = await registry({})
  const destination = await registry({ access, store: createStorage({ discard: true }) })
  seedImage(source, 'dev/app', IMAGE, 'v1')
  const basic = Buffer.from(`${SERVICE.user}:${SERVICE.password}`).toString('base64')
  const asked = await fetch(new URL('/token?scope=repository:prod/app:pull,push', destination.url), {
    headers: { authorization: `Basic ${basic}` },
  })
  const { token } = (await asked.json()) as { token: string }
  endsAt(destination, 5, () => undefined)
  const { row } = await travel({
    images: ['dev/app:v1=prod/app:v1'],
    source: side(source),
    destination: { ...side(destination), token },
  })
  expect(row.error).toMatchObject({ code: 'TOKEN_REJECTED', side: 'destination' })
  expect(row.error?.hint).toMatch(/expired or revoked, and it cannot be renewed/)
  expect(destination.tags('prod/app').has('v1')).toBe(false)
})

function endsAt({ faults, gate }: EmbeddedRegistry, step: number, then: () => void): void {
  let seen = 0
  const when = () => {
    seen += 1
    if (seen === step) {
      gate.revokeAll()
      then()
    }
    return false
  }
  faults.add({ match: { path: /^\/v2\//, when }, do: { kind: 'latency', ms: 0 } })
}

describe("a cluster's token", () => {
  async function clusters(): Promise<readonly [EmbeddedCluster, EmbeddedCluster]> {
    const both = [await startCluster({ name: 'dev' }), await startCluster({ name: 'prod' })] as const
    closers.push(...both.map(({ close }) => close))
    seedImage(both[0], 'dev/app', IMAGE, 'v1')
    return both
  }
  const at = ({ api, ca }: EmbeddedCluster) => ({ cluster: api.origin, ca: ca.bundle })
  const password = { username: 'developer', password: 'developer-password' }
  const between = (from: EmbeddedCluster, to: EmbeddedCluster, more: Pick<Trip, 'destination'>): Trip => ({
    images: ['dev/app:v1=prod/app:v1'],
    source: { ...at(from), ...password },
    destination: { ...at(to), ...more.destination },
  })
  /** Revokes whatever token comes with the n-th request that matches. */
  const revoked = (cluster: EmbeddedCluster, method: string, path: RegExp) => {
    let done = false
    cluster.faults.registry.add({
      match: {
        method,
        path,
        when: ({ headers }) => {
          if (!done) cluster.revoke((headers.authorization ?? '').replace(/^Bearer /i, ''))
          done = true
          return false
        },
      },
      do: { kind: 'latency', ms: 0 },
    })
    return () => done
  }

  test.each([
    ['POST', /blobs\/uploads\//],
    ['PUT', /blobs\/uploads\//],
    ['PUT', /manifests\//],
  ])('that is revoked before a %s is replaced by logging in again', async (method, path) => {
    const [from, to] = await clusters()
    const done = revoked(to, method, path)
    const { row } = await travel(between(from, to, { destination: password }))
    expect(row.error).toBeNull()
    expect(done()).toBe(true)
    expect(to.store.repositories.get('prod/app')?.tags.get('v1')).toBe(IMAGE.root.digest)
    expect(to.openUploads()).toBe(0)
    expect(to.unexpected).toEqual([])
  })

  test('that was given, and is revoked, ends the run with a hint to get a new one', async () => {
    const [from, to] = await clusters()
    const done = revoked(to, 'PUT', /blobs\/uploads\//)
    const token = to.token('developer')
    const { row } = await travel(between(from, to, { destination: { token } }))
    expect(done()).toBe(true)
    expect(row.error).toMatchObject({ code: 'TOKEN_REJECTED', side: 'destination' })
    expect(row.error?.hint).toMatch(/new token/)
    expect(to.store.repositories.get('prod/app')?.tags.has('v1')).not.toBe(true)
  })
})
