import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { at, byToken, options, type SideOptions, tagOf } from '../../bundle/sides.ts'
import { within } from '../../bundle/within.ts'
import { startCluster } from '../../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import type { EmbeddedRegistry } from '../../support/cluster/plain.ts'
import { openScene, type Scene } from '../../support/scene.ts'

/** A source lists names of repositories, of which each becomes part of addresses at both sides. */

const IMAGE = makeImage({ seed: 981 })
const JSON_TYPE = { 'Content-Type': 'application/json' }

let scene: Scene
let to: EmbeddedRegistry
beforeEach(async () => {
  scene = openScene()
  to = await scene.registry()
})
afterEach(() => scene.close())

const promote = (from: SideOptions, images: string) => within(options(from, at(to), { images, retries: '0' }), [])

describe('the list of a registry', () => {
  const listing = (repositories: readonly unknown[], headers = {}) =>
    scene.server(({ path }) => {
      if (path !== '/v2/_catalog') return { status: path === '/v2/' ? 200 : 404, headers: {}, body: '{}' }
      return { status: 200, headers: { ...JSON_TYPE, ...headers }, body: JSON.stringify({ repositories }) }
    })

  test.each([
    ['ways out of the project', ['dev/../../secret', 'dev/..', 'dev/%2e%2e/x', '/dev/x', 'dev//x']],
    ['queries, fragments and tags', ['dev/a?b=c', 'dev/a#b', 'dev/a:other', 'dev/a@sha256:0', 'dev/a=prod/b']],
    ['what is no name', ['dev/', 'dev/A', 'dev/a b', 'dev/a\r\nHost: b', `dev/${'a'.repeat(300)}`, 7, null, {}]],
  ])('with %s leads nowhere', async (_, names) => {
    const { url, asked } = await listing([...names, 'dev/good'])
    const { code, infos } = await promote({ registry: url.origin }, 'dev/**:1=prod/**')
    const targets = new Set(asked.map(({ target }) => target).filter((target) => target !== '/v2/'))
    expect([code, targets]).toEqual([1, new Set(['/v2/_catalog', '/v2/dev/good/manifests/1'])])
    expect(infos.join('\n')).not.toMatch(/secret|other|Host: b/)
    expect([...to.requests.filter(({ method }) => method !== 'GET')]).toEqual([])
  })

  test('goes on at the same registry, whatever host its next page names', async () => {
    const evil = await scene.server(() => ({ status: 200, headers: JSON_TYPE, body: '{"repositories":["dev/x"]}' }))
    const { url, asked } = await listing([], { link: `<${evil.url.origin}/v2/_catalog?last=x>; rel="next"` })
    const { code } = await promote(
      { registry: url.origin, username: 'ci', password: 'password-of-ci' },
      'dev/*:1=prod/*',
    )
    expect([code, evil.asked]).toEqual([1, []])
    expect(asked.map(({ target }) => target)).toContain('/v2/_catalog?last=x')
  })

  test('with a name that looks like a host stays at the registry of each side', async () => {
    const evil = await scene.registry()
    const from = await scene.registry()
    for (const name of ['quay.io/app', 'localhost/app', '127.0.0.1/app']) seedImage(from, name, IMAGE, '1')
    const { code } = await promote(at(from), '**:1=**')
    expect([code, evil.requests.length]).toEqual([0, 0])
    expect(tagOf(to, 'quay.io/app', '1')).toBe(IMAGE.root.digest)
    expect([...to.tags('localhost/app').keys(), ...to.tags('127.0.0.1/app').keys()]).toEqual(['1', '1'])
  })
})

test('the image streams that a cluster lists lead to no other object of its API', async () => {
  const cluster = await startCluster({ name: 'dev' })
  scene.after(cluster.close)
  const names = ['../secrets/x', '..', 'a/b', 'a%2fb', 'a?watch=1', '']
  const tags = [{ tag: '1', items: [{ image: IMAGE.root.digest }] }]
  const items = names.map((name) => ({ metadata: { name }, status: { tags } }))
  const body = JSON.stringify({ metadata: {}, items })
  const match = { path: /\/imagestreams(?:\?|$)/ }
  cluster.faults.api.add({ match, do: { kind: 'status', status: 200, headers: JSON_TYPE, body } })
  const { code, report } = await promote(byToken(cluster, cluster.token('viewer')), 'dev/*:1=prod/*')
  expect([code, report.images.map(({ error }) => error?.code)]).toEqual([1, ['NOT_FOUND']])
  const asked = cluster.requests.filter(({ path }) => /\/namespaces\/|\/v2\/./.test(path))
  expect(asked.map(({ path }) => path)).toEqual([expect.stringMatching(/namespaces\/dev\/imagestreams\?limit=50/)])
})
