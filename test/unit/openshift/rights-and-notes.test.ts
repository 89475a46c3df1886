import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { Secret } from '../../../src/core/secret.ts'
import { fixedLogin } from '../../../src/credentials/login.ts'
import { type Network, openNetwork } from '../../../src/http/client.ts'
import { type Cluster, openCluster } from '../../../src/openshift/cluster.ts'
import { annotationKey, type Note } from '../../../src/openshift/image-streams.ts'
import { runUrl } from '../../../src/release/run.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import { expectError, failureOf, testContext } from '../../support/openshift.ts'

/** What a promotion asks of image streams beyond copying: rights, notes, and removing a tag. One cluster, a stream per test. */

const IMAGE = makeImage({ seed: 5 })
let embedded: EmbeddedCluster
let network: Network

beforeAll(async () => {
  embedded = await startCluster()
  const side = { side: 'destination', insecureSkipTlsVerify: false, stallTimeout: 5000, retries: 1 } as const
  network = openNetwork({ ...side, ca: embedded.ca.bundle }, testContext())
})
afterAll(async () => {
  await Promise.all([network.close(), embedded.close()])
  expect(embedded.unexpected).toEqual([])
})

async function as(user: string): Promise<Cluster> {
  const login = fixedLogin('token', { kind: 'bearer', token: new Secret(embedded.token(user)) })
  return openCluster(
    'destination',
    { api: embedded.api, network, inCluster: false, way: { kind: 'token', login } },
    testContext(),
  )
}

function stream(name: string) {
  const found = embedded.state.streams.get('prod', name)
  if (found === undefined) throw new Error(`there is no stream prod/${name}`)
  return found
}

describe('rights, asked without writing', () => {
  test.each<[user: string, create: boolean, remove: boolean, state: string, missing: string[], role: string | null]>([
    ['developer', true, true, 'sufficient', [], null],
    ['builder', true, false, 'sufficient', [], null],
    ['builder', true, true, 'missing', ['delete imagestreamtags'], 'registry-editor'],
    ['pusher', false, false, 'sufficient', [], null],
    ['pusher', true, false, 'missing', ['create imagestreams'], 'system:image-builder'],
    ['viewer', false, false, 'missing', ['update imagestreams/layers'], 'system:image-pusher'],
    [
      'nobody',
      true,
      false,
      'missing',
      ['get imagestreams/layers', 'update imagestreams/layers', 'create imagestreams'],
      'system:image-builder',
    ],
  ])('of %s (create %s, remove %s): %s', async (user, create, remove, state, missing, role) => {
    const rights = await (await as(user)).rights('prod/app', { create, remove })
    const grant = role === null ? null : `oc policy add-role-to-user ${role} ${user} -n prod`
    expect(rights).toEqual({ state, missing, grant })
  })

  test('the standard roles that the commands grant are enough', async () => {
    for (const role of ['system:image-pusher', 'system:image-builder', 'registry-editor'] as const) {
      embedded.state.bindings.push({ subject: 'nobody', role, ns: 'prod' })
      const needs = { create: role !== 'system:image-pusher', remove: role === 'registry-editor' }
      expect((await (await as('nobody')).rights('prod/app', needs)).state).toBe('sufficient')
      embedded.state.bindings.pop()
    }
  })

  test('for 300 image streams of one project are two requests', async () => {
    const cluster = await as('developer')
    const before = embedded.requests.length
    const names = Array.from({ length: 300 }, (_, index) => `prod/app${index}`)
    const all = await Promise.all(names.map((name) => cluster.rights(name, { create: false, remove: false })))
    expect(new Set(all.map(({ state }) => state))).toEqual(new Set(['sufficient']))
    expect(embedded.requests.length - before).toBe(2)
  })

  test('are unknown where the API will not tell', async () => {
    const cluster = await as('developer')
    const fault = embedded.faults.api.add({
      match: { path: /selfsubjectaccessreviews/ },
      do: { kind: 'status', status: 403 },
    })
    expect(await cluster.rights('prod/app', { create: true, remove: true })).toEqual({
      state: 'unknown',
      missing: [],
      grant: null,
    })
    fault.remove()
  })
})

describe('the notes on an image stream', () => {
  const note = (tag: string): Note => ({
    tag,
    source: 'a.example.com/dev/app:1',
    digest: IMAGE.root.digest,
    run: 'https://github.example.com/o/r/actions/runs/7',
    time: '2026-01-01T00:00:00.000Z',
  })

  test('are annotations, one per tag, beside those that are there; the image stays', async () => {
    seedImage(embedded, 'prod/noted', IMAGE, '1')
    stream('noted').annotations['example.com/owner'] = 'team-a'
    const cluster = await as('developer')
    const before = embedded.requests.length
    await cluster.annotate('prod/noted', [note('1'), note('stable')])
    expect(embedded.requests.length - before).toBe(1)
    expect(stream('noted').annotations).toEqual({
      'example.com/owner': 'team-a',
      'image-promote/1': JSON.stringify(note('1')),
      'image-promote/stable': JSON.stringify(note('stable')),
    })
    expect(embedded.state.streams.resolve('prod', 'noted', '1')).toBe(IMAGE.root.digest)
    await cluster.annotate('prod/noted', [{ ...note('1'), source: 'b.example.com/dev/app:2' }])
    expect(JSON.parse(stream('noted').annotations['image-promote/1'] ?? '')).toMatchObject({
      source: 'b.example.com/dev/app:2',
    })
  })

  test('need a right that pushers lack, and the error says so', async () => {
    embedded.state.streams.create('prod', 'refused')
    const error = await failureOf((await as('pusher')).annotate('prod/refused', [note('1')]))
    expectError(error, 'DENIED', 'destination')
    expect(stream('refused').annotations).toEqual({})
  })

  test.each([
    ['1.2.3', 'image-promote/1.2.3'],
    ['a'.repeat(63), `image-promote/${'a'.repeat(63)}`],
    ['a'.repeat(64), expect.stringMatching(/^image-promote\/tag\.[0-9a-f]{32}$/)],
    ['_build', expect.stringMatching(/^image-promote\/tag\.[0-9a-f]{32}$/)],
    ['1.2-', expect.stringMatching(/^image-promote\/tag\.[0-9a-f]{32}$/)],
  ])('the key for the tag %s is one that Kubernetes takes', (tag, key) => {
    expect(annotationKey(tag)).toEqual(key)
    // apimachinery pkg/util/validation IsQualifiedName
    expect(annotationKey(tag)).toMatch(
      /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\/[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/,
    )
  })

  test.each<[Record<string, string>, string | undefined]>([
    [
      { GITHUB_SERVER_URL: 'https://github.example.com', GITHUB_REPOSITORY: 'o/r', GITHUB_RUN_ID: '7' },
      'https://github.example.com/o/r/actions/runs/7',
    ],
    [{ GITHUB_SERVER_URL: 'https://github.example.com' }, undefined],
    [{ CI_JOB_URL: 'https://gitlab.example.com/g/p/-/jobs/9' }, 'https://gitlab.example.com/g/p/-/jobs/9'],
    [{ BUILD_URL: 'https://jenkins.example.com/job/x/3/' }, 'https://jenkins.example.com/job/x/3/'],
    [{ BUILD_URL: 'https://user:password@jenkins.example.com/job/x/3/' }, undefined],
    [{ BUILD_URL: 'javascript:alert(1)' }, undefined],
    [{ IMAGE_PROMOTE_NAMESPACE: 'prod', IMAGE_PROMOTE_TASK_RUN: 'promote-x7k2p' }, 'prod/promote-x7k2p'],
    [{ IMAGE_PROMOTE_NAMESPACE: 'prod', IMAGE_PROMOTE_TASK_RUN: '' }, undefined],
    [{ IMAGE_PROMOTE_NAMESPACE: 'a/b', IMAGE_PROMOTE_TASK_RUN: 'c d' }, undefined],
    [{ BUILD_URL: `https://jenkins.example.com/${'x'.repeat(600)}` }, undefined],
    [{}, undefined],
  ])('%j names the run %s', (env, url) => expect(runUrl(env)).toBe(url))
})

describe('removing a tag through the API', () => {
  test('takes the tag and leaves the others', async () => {
    for (const tag of ['1', '2']) seedImage(embedded, 'prod/removed', IMAGE, tag)
    const cluster = await as('developer')
    expect(await cluster.removeTag('prod/removed', '1')).toBe(true)
    expect(embedded.state.streams.tags('prod', 'removed')).toEqual(['2'])
    // Again, as after an answer that was lost.
    expect(await cluster.removeTag('prod/removed', '1')).toBe(true)
  })

  test('is not done without the right', async () => {
    seedImage(embedded, 'prod/kept', IMAGE, '1')
    expect(await (await as('builder')).removeTag('prod/kept', '1')).toBe(false)
    expect(embedded.state.streams.tags('prod', 'kept')).toEqual(['1'])
  })

  test('fails when the API fails', async () => {
    const cluster = await as('developer')
    const fault = embedded.faults.api.add({ match: { method: 'DELETE' }, do: { kind: 'status', status: 500 } })
    expectError(await failureOf(cluster.removeTag('prod/kept', '1')), 'UNAVAILABLE', 'destination')
    fault.remove()
  })
})
