import { afterEach, describe, expect, jest, test } from '@jest/globals'
import type { Digest } from '../../src/oci/digest.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { describe as descriptorOf, makeArtifact, makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, type PlainOptions, startRegistry } from '../support/cluster/plain.ts'
import type { Variables } from './run.ts'
import { at, byPassword, byToken, differences, options } from './sides.ts'
import { within } from './within.ts'

/**
 * What a promotion costs in requests. The numbers are exact: one more is a round trip that everybody pays on every run,
 * one less is a check that is gone. For an image of 5 layers oras asks 28 and then 3 times, skopeo 39 and 11 times.
 */

// Slow where many things run at once.
jest.setTimeout(30_000)

const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

async function registry(how?: PlainOptions): Promise<EmbeddedRegistry> {
  const started = await startRegistry(how)
  closing.push(async () => {
    await started.close()
    expect(started.violations).toEqual([])
  })
  return started
}

async function cluster(): Promise<EmbeddedCluster> {
  const started = await startCluster()
  closing.push(async () => {
    await started.close()
    expect(started.unexpected).toEqual([])
  })
  return started
}

/** `GET app/manifests/v1 200`: digests cut, upload sessions as ID. */
function shown({ method, path, status }: Readonly<{ method: string; path: string; status: number }>): string {
  const [bare = ''] = path.split('?')
  const brief = bare
    .replace(/^\/v2\/(dev|prod)\//, '')
    .replace(/uploads\/[0-9a-f-]{36}$/, 'uploads/ID')
    .replace(/sha256[:~-][\w-]{20,}(?=$|\.\w+$)/, 'DIGEST')
  return `${method} ${brief} ${status}`
}

type Asked = Readonly<{ source: string[]; destination: string[] }>
const ALONE = { referrers: 'false' }

async function cost(from: EmbeddedRegistry, to: EmbeddedRegistry, line: string, more: Variables = {}): Promise<Asked> {
  const before = [from.requests.length, to.requests.length]
  const { code, warnings } = await within(options(at(from), at(to), more), [line])
  expect([code, warnings]).toEqual([0, []])
  const asked = {
    source: from === to ? [] : from.requests.slice(before[0]).map(shown),
    destination: to.requests.slice(before[1]).map(shown),
  }
  const since = to.requests.slice(before[1])
  const tags = since.filter(({ path }) => /manifests\/[^:]+$/.test(path))
  const absent = tags.filter(({ method, status }) => method === 'HEAD' && status === 404).map(({ path }) => path)
  // A tag that has just been absent is not asked for again.
  expect(tags.filter(({ method, path }) => method === 'GET' && absent.includes(path))).toEqual([])
  return asked
}

const numbers = ({ source, destination }: Asked) => [source.length, destination.length]

describe('requests to a source and a destination registry, with nothing attached', () => {
  const platforms = ['linux/amd64', 'linux/arm64', 'linux/ppc64le', 'linux/s390x']
  test.each([
    ['an image of 5 layers', makeImage({ seed: 31, layers: 5 }), [7, 15], [1, 1], [5, 1]],
    ['an image of 40 layers', makeImage({ seed: 32, layers: 40 }), [42, 85], [1, 1], [5, 1]],
    ['an index of 4 images of 5 layers', makeIndex({ seed: 33, layersEach: 5, platforms }), [29, 59], [5, 5], [25, 5]],
  ])('%s', async (_name, image, cold, again, withReferrers) => {
    const [from, to] = [await registry(), await registry()]
    seedImage(from, 'dev/app', image, 'v1')
    const line = 'dev/app:v1=prod/app:v1'
    expect(numbers(await cost(from, to, line, ALONE))).toEqual(cold)
    expect(numbers(await cost(from, to, line, ALONE))).toEqual(again)
    expect(numbers(await cost(from, to, line))).toEqual(withReferrers)
  })

  test('a second run asks once on either side; with referrers four more at the source', async () => {
    const [from, to] = [await registry(), await registry()]
    seedImage(from, 'dev/app', makeImage({ seed: 34 }), 'v1')
    await cost(from, to, 'dev/app:v1=prod/app:v1', ALONE)
    const destination = ['HEAD app/manifests/v1 200']
    expect(await cost(from, to, 'dev/app:v1=prod/app:v1', ALONE)).toEqual({
      source: ['GET app/manifests/v1 200'],
      destination,
    })
    // No list of tags proves that one is absent, so each of cosign's is asked for by name.
    const tags = ['att', 'sbom', 'sig'].map((suffix) => `HEAD app/manifests/DIGEST.${suffix} 404`)
    const source = ['GET app/manifests/v1 200', 'GET app/referrers/DIGEST 200', ...tags]
    const asked = await cost(from, to, 'dev/app:v1=prod/app:v1')
    // They are asked side by side, over a connection each: which of them arrives first is chance.
    expect({ ...asked, source: [...asked.source].sort() }).toEqual({ source, destination })
  })

  test('the children of an index are asked for one by one, also where its tag is right; what is not there is sent', async () => {
    const [from, to] = [await registry(), await registry()]
    const image = makeIndex({ seed: 36, platforms: ['linux/amd64', 'linux/arm64'] })
    seedImage(from, 'dev/app', image, 'v1')
    await cost(from, to, 'dev/app:v1=prod/app:v1', ALONE)
    const child = image.manifests.find((manifest) => manifest !== image.root)?.digest as Digest
    to.store.repositories.get('prod/app')?.manifests.delete(child)
    const { source, destination } = await cost(from, to, 'dev/app:v1=prod/app:v1', ALONE)
    expect(source).toEqual(['GET app/manifests/v1 200', ...Array(2).fill('GET app/manifests/DIGEST 200')])
    expect(destination.filter((line) => line.startsWith('HEAD')).sort()).toEqual([
      'HEAD app/manifests/DIGEST 200',
      'HEAD app/manifests/DIGEST 404',
      'HEAD app/manifests/v1 200',
    ])
    expect(destination.at(-1)).toBe('PUT app/manifests/DIGEST 201')
    expect(await differences(to, 'prod/app', image)).toEqual([])
  })

  test('one more tag for what is there moves no layer and asks for none', async () => {
    const [from, to] = [await registry(), await registry()]
    seedImage(from, 'dev/app', makeImage({ seed: 35, layers: 5 }), 'v1')
    await cost(from, to, 'dev/app:v1=prod/app:v1', ALONE)
    expect(await cost(from, to, 'dev/app:v1=prod/app:v2', ALONE)).toEqual({
      source: ['GET app/manifests/v1 200'],
      destination: ['HEAD app/manifests/v2 404', 'HEAD app/manifests/DIGEST 200', 'PUT app/manifests/v2 201'],
    })
  })

  test('another repository of the same registry: one mount for each blob, and no byte of them', async () => {
    const both = await registry()
    seedImage(both, 'dev/app', makeImage({ seed: 36, layers: 5 }), 'v1')
    const { destination } = await cost(both, both, 'dev/app:v1=prod/app:v1', ALONE)
    expect(destination).toHaveLength(10)
    expect(destination.filter((line) => line === 'POST app/blobs/uploads/ 201')).toHaveLength(6)
    expect(both.requests.filter(({ path }) => path.includes('/uploads/?mount=')).length).toBe(6)
  })

  test('a signature costs its own bytes, and nothing the second time but the questions for it', async () => {
    const [from, to] = [await registry(), await registry()]
    const image = makeImage({ seed: 37 })
    seedImage(from, 'dev/app', image, 'v1')
    seedImage(from, 'dev/app', makeArtifact({ subject: descriptorOf(image.root) }))
    await cost(from, to, 'dev/app:v1=prod/app:v1')
    const again = await cost(from, to, 'dev/app:v1=prod/app:v1')
    expect(again.destination.filter((line) => !/^(GET|HEAD) /.test(line))).toEqual([])
    expect(numbers(again)).toEqual([10, 3])
  })
})

/** The scenario '300 images' of test/bench/scenarios.ts, smaller; the floors are those that are worked out there. */
describe('requests for all images of a repository, on bases that they share', () => {
  const [images, bases, jobs] = [30, 3, 8]
  const blobs = bases * 4 + images * 2
  const floor = 1 + 2 * images + 3 * blobs
  const unchanged = 1 + 2 * images
  const line = 'dev/app:*=prod/app'

  async function filled(how: PlainOptions): Promise<readonly [EmbeddedRegistry, EmbeddedRegistry]> {
    const [from, to] = [await registry(how), await registry(how)]
    for (let i = 0; i < images; i += 1) {
      const image = makeImage({ seed: 5000 + i, shared: { layers: 4, seed: 50 + (i % bases) }, layers: 1 })
      seedImage(from, 'dev/app', image, `v${i}`)
    }
    return [from, to]
  }

  const byKind = (lines: readonly string[]) => {
    const counts: Record<string, number> = {}
    for (const each of lines) {
      const kind = each.replace(/\/v\d+ /, '/TAG ')
      counts[kind] = (counts[kind] ?? 0) + 1
    }
    return counts
  }
  const sum = (asked: Asked) => asked.source.length + asked.destination.length

  test('the floor, where each tag was and whether each manifest is there; again: what is there, once on either side', async () => {
    const [from, to] = await filled({})
    const cold = await cost(from, to, line, ALONE)
    const read = { 'GET app/tags/list 200': 1, 'GET app/manifests/TAG 200': images }
    expect(byKind(cold.source)).toEqual({ ...read, 'GET app/blobs/DIGEST 200': blobs })
    expect(byKind(cold.destination)).toEqual({
      'HEAD app/manifests/TAG 404': images,
      'HEAD app/manifests/DIGEST 404': images,
      'POST app/blobs/uploads/ 202': blobs,
      'PUT app/blobs/uploads/ID 201': blobs,
      'PUT app/manifests/TAG 201': images,
    })
    expect(sum(cold)).toBe(floor + 2 * images)
    expect(sum(cold)).toBeLessThanOrEqual(1.25 * floor)
    const again = await cost(from, to, line, ALONE)
    expect([byKind(again.source), byKind(again.destination)]).toEqual([read, { 'HEAD app/manifests/TAG 200': images }])
    expect(sum(again)).toBe(unchanged)
  })

  test('with referrers four questions more for each image, and hardly more where there is no API', async () => {
    const [from, to] = await filled({})
    expect(sum(await cost(from, to, line))).toBe(floor + 2 * images + 4 * images)
    expect(sum(await cost(from, to, line))).toBe(unchanged + 4 * images)
    // The fallback tag and cosign's three, and once or a few times the question whether there is an API.
    const [older, old] = await filled({ referrersApi: false })
    const cold = sum(await cost(older, old, line))
    expect(cold).toBeGreaterThan(floor + 2 * images + 4 * images)
    expect(cold).toBeLessThanOrEqual(floor + 2 * images + 4 * images + jobs)
    expect(sum(await cost(older, old, line))).toBeLessThanOrEqual(unchanged + 4 * images + jobs)
  })
})

describe('requests to the API and the OAuth server of two clusters', () => {
  const DISCOVERY = 'api GET /.well-known/oauth-authorization-server 200'
  const LOGIN = [DISCOVERY, 'oauth GET /oauth/authorize 302', 'oauth POST /oauth/token 200']
  const WHO = 'api POST /apis/authentication.k8s.io/v1/selfsubjectreviews 201'
  const LOGOUT = 'api DELETE /apis/oauth.openshift.io/v1/oauthaccesstokens/DIGEST 200'
  const STREAMS = '/apis/image.openshift.io/v1/namespaces'
  const READ = `api GET ${STREAMS}/dev/imagestreams/app 200`

  const asked = ({ requests }: EmbeddedCluster, from = 0) =>
    requests
      .slice(from)
      .filter(({ server }) => server !== 'registry')
      .map((request) => `${request.server} ${shown(request)}`)

  test('by password: five and the logout at the source, seven with the logout at the destination', async () => {
    const [from, to] = [await cluster(), await cluster()]
    seedImage(from, 'dev/app', makeIndex({ seed: 41 }), '1.0')
    const given = options(byPassword(from), byPassword(to))
    const { code } = await within(given, ['dev/app:1.0=prod/app:1.0'])
    expect(code).toBe(0)
    expect(asked(from)).toEqual([...LOGIN, WHO, READ, LOGOUT])
    const absent = `api GET ${STREAMS}/prod/imagestreams/app 404`
    expect(asked(to)).toEqual([...LOGIN, WHO, absent, `api POST ${STREAMS}/prod/imagestreams 201`, LOGOUT])

    const [source, destination] = [from.requests.length, to.requests.length]
    await within(given, ['dev/app:1.0=prod/app:1.0'])
    expect(asked(from, source)).toEqual([...LOGIN, WHO, READ, LOGOUT])
    const present = `api GET ${STREAMS}/prod/imagestreams/app 200`
    expect(asked(to, destination)).toEqual([
      ...LOGIN,
      WHO,
      present,
      `api GET ${STREAMS}/prod/imagestreams/app/layers 200`,
      LOGOUT,
    ])
  })

  test('by token, several images of one repository: two at the source, three at the destination', async () => {
    const [from, to] = [await cluster(), await cluster()]
    const tags = ['1', '2', '3']
    for (const tag of tags) seedImage(from, 'dev/app', makeImage({ seed: 42 + Number(tag) }), tag)
    const given = options(byToken(from, from.token('viewer')), byToken(to, to.token('jane')))
    const { code } = await within(
      given,
      tags.map((tag) => `dev/app:${tag}=prod/app:${tag}`),
    )
    expect(code).toBe(0)
    expect(asked(from)).toEqual([WHO, READ])
    const create = [`api GET ${STREAMS}/prod/imagestreams/app 404`, `api POST ${STREAMS}/prod/imagestreams 201`]
    expect(asked(to)).toEqual([WHO, ...create])
  })
})

describe('tokens on the server', () => {
  const minted = ({ state }: EmbeddedCluster) => [...state.tokens.keys()]
  const count = ({ requests }: EmbeddedCluster, method: string, path: string) =>
    requests.filter((request) => request.method === method && request.path.includes(path)).length

  test.each([
    ['a promotion that succeeds', 'dev/app:1.0', 0],
    ['an image that is missing', 'dev/absent:1.0', 1],
  ])('those of a password login are deleted after %s', async (_name, source, code) => {
    const [from, to] = [await cluster(), await cluster()]
    seedImage(from, 'dev/app', makeImage(), '1.0')
    const run = await within(options(byPassword(from), byPassword(to)), [`${source}=prod/app:1.0`])
    expect(run.code).toBe(code)
    for (const each of [from, to]) {
      expect([minted(each), count(each, 'POST', '/oauth/token'), count(each, 'DELETE', '/oauthaccesstokens/')]).toEqual(
        [[], 1, 1],
      )
    }
  })

  test.each(['source', 'destination'] as const)(
    'when only the %s refuses, the other side is logged out again',
    async (side) => {
      const [from, to] = [await cluster(), await cluster()]
      seedImage(from, 'dev/app', makeImage(), '1.0')
      seedImage(from, 'dev/app', makeImage(), '1.0')
      const refused = { [`${side}-password`]: 'wrong' }
      const run = await within(options(byPassword(from), byPassword(to), refused), ['dev/app:1.0=prod/app:1.0'])
      expect(run.code).toBe(1)
      expect(run.report.images).toMatchObject([{ error: { code: 'LOGIN_REJECTED', side } }])
      const [good, bad] = side === 'source' ? [to, from] : [from, to]
      expect([minted(from), minted(to)]).toEqual([[], []])
      expect([count(good, 'POST', '/oauth/token'), count(bad, 'POST', '/oauth/token')]).toEqual([1, 0])
    },
  )

  test('a token that was given is left alone, also beside one that was not, and after a failure', async () => {
    const [from, to] = [await cluster(), await cluster()]
    const given = from.token('developer')
    const run = await within(options(byToken(from, given), byPassword(to)), ['dev/absent:1.0=prod/app:1.0'])
    expect(run.code).toBe(1)
    expect([minted(from), minted(to)]).toEqual([[given], []])
    expect(count(from, 'DELETE', '/oauthaccesstokens/')).toBe(0)
  })

  test('one that ended in the middle is replaced by a new login, and both are cleaned up', async () => {
    const [from, to] = [await cluster(), await cluster()]
    seedImage(from, 'dev/app', makeImage(), '1.0')
    let ended = false
    const revoke = () => {
      if (!ended) for (const token of minted(to)) to.revoke(token)
      ended = true
      return true
    }
    to.faults.registry.add({ match: { method: 'POST', when: revoke, nth: 1 }, do: { kind: 'latency', ms: 0 } })
    const run = await within(options(byPassword(from), byPassword(to)), ['dev/app:1.0=prod/app:1.0'])
    expect([run.code, ended]).toEqual([0, true])
    expect([minted(from), minted(to), count(to, 'POST', '/oauth/token')]).toEqual([[], [], 2])
  })
})
