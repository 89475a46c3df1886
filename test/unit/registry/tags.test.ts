import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import { hasDockerRegistry, startDockerRegistry } from '../../support/docker-registry.ts'
import { failure } from '../../support/lab.ts'
import { openScene, type Scene } from '../../support/scene.ts'
import { push } from '../../support/target-contract.ts'

/** Listing all tags of a repository, and removing one. */

const IMAGE = makeImage({ seed: 3 })
let scene: Scene
beforeEach(() => {
  scene = openScene()
})
afterEach(() => scene.close())

const list = (tags: readonly unknown[], link?: string) => ({
  status: 200,
  headers: { 'Content-Type': 'application/json', ...(link === undefined ? {} : { Link: link }) },
  body: JSON.stringify({ name: 'dev/app', tags }),
})

describe('all tags of a repository', () => {
  test('come page by page, each page asked for once', async () => {
    const registry = await scene.registry({ tagsPage: 100 })
    const tags = Array.from({ length: 1000 }, (_, index) => `v${index}`)
    for (const tag of tags) seedImage(registry, 'dev/app', IMAGE, tag)
    const found = await scene.lab.open(registry.url, 'dev/app').listTags?.()
    expect([...(found ?? [])].sort()).toEqual([...tags].sort())
    expect(registry.requests).toHaveLength(10)
    expect(registry.violations).toEqual([])
  })

  test('are what a registry says, without repetitions and without what is not a valid tag', async () => {
    const { url } = await scene.server(() => list(['v1', 'v1', 7, null, '../v2', 'v2']))
    expect(await scene.lab.open(url, 'dev/app').listTags?.()).toEqual(['v1', 'v2'])
  })

  test('are read to the end where the registry names itself by an inner address', async () => {
    const { url, asked } = await scene.server(({ target }) =>
      target.includes('last=v1')
        ? list(['v2'])
        : list(['v1'], '<http://registry.internal:5000/v2/dev/app/tags/list?last=v1>; rel="next"'),
    )
    expect(await scene.lab.open(url, 'dev/app').listTags?.()).toEqual(['v1', 'v2'])
    expect(asked.map(({ target }) => target)).toEqual(['/v2/dev/app/tags/list', '/v2/dev/app/tags/list?last=v1'])
  })

  const next = '<?last=v1>; rel="next"'
  const then = (answer: object) => (target: string) =>
    target.includes('last=') ? { status: 200, ...answer } : list(['v1'], next)
  test.each<[string, (target: string) => object]>([
    ['goes round in a circle', () => list(['v1'], next)],
    ['goes on at an address that cannot be read', () => list(['v1'], '</v2/dev/app/tags/list?last=v1; rel="next"')],
    ['goes on with an empty answer', then({ body: '' })],
    ['goes on with a web page', then({ body: '<html>' })],
    ['goes on with an error envelope', then({ body: '{"errors":[]}' })],
    ['goes on with 404', then({ status: 404 })],
    ['goes on with a redirect to nowhere', then({ status: 302 })],
    ['is an error envelope', () => ({ status: 200, body: '{"errors":[{"code":"UNKNOWN"}]}' })],
    ['is empty', () => ({ status: 200, body: '' })],
  ])('are not known when the list %s', async (_what, answer) => {
    const { url } = await scene.server(({ target }) => answer(target) as ReturnType<typeof list>)
    const found = scene.lab.open(url, 'dev/app').listTags?.() ?? Promise.resolve()
    expect(await failure(found)).toMatchObject({ side: 'destination', transient: false })
  })

  test.each([
    [404, 'NOT_FOUND'],
    [403, 'CREDENTIAL_MISSING'],
  ])('are an error of that side when the registry answers %d', async (status, code) => {
    const { url } = await scene.server(() => ({ status, body: '{"errors":[]}' }))
    const target = scene.lab.open(url, 'dev/app')
    expect(await failure(target.listTags?.() ?? Promise.resolve())).toMatchObject({ code, side: 'destination' })
  })

  test('are not taken from a web page', async () => {
    const { url } = await scene.server(() => ({
      status: 200,
      headers: { 'Content-Type': 'text/html' },
      body: '<html>',
    }))
    expect(await failure(scene.lab.open(url, 'dev/app').listTags?.() ?? Promise.resolve())).toMatchObject({
      side: 'destination',
    })
  })
})

describe('removing a tag', () => {
  test('leaves the manifest and its other tags', async () => {
    const registry = await scene.registry()
    for (const tag of ['v1', 'v2']) seedImage(registry, 'dev/app', IMAGE, tag)
    const target = scene.lab.open(registry.url, 'dev/app')
    expect(await target.removeTag?.('v1')).toBe(true)
    expect([...registry.tags('dev/app')]).toEqual([['v2', IMAGE.root.digest]])
    expect(await target.find('v2')).toMatchObject({ digest: IMAGE.root.digest })
  })

  test('is not done where the registry refuses', async () => {
    const registry = await scene.registry({ deletes: false })
    seedImage(registry, 'dev/app', IMAGE, 'v1')
    expect(await scene.lab.open(registry.url, 'dev/app').removeTag?.('v1')).toBe(false)
    expect(registry.tags('dev/app').get('v1')).toBe(IMAGE.root.digest)
  })

  test('is not done where the registry says so and does nothing, as OpenShift’s does', async () => {
    const { url } = await scene.server(({ method }) => ({ status: method === 'DELETE' ? 202 : 200 }))
    expect(await scene.lab.open(url, 'dev/app').removeTag?.('v1')).toBe(false)
  })

  test('is left to whoever can do it', async () => {
    const { url, asked } = await scene.server(() => ({ status: 500 }))
    const target = scene.lab.open(url, 'dev/app', { removeTag: async (tag) => tag === 'v1' })
    expect([await target.removeTag?.('v1'), await target.removeTag?.('v2')]).toEqual([true, false])
    expect(asked).toEqual([])
  })
})

if (hasDockerRegistry()) {
  describe('Debian’s docker-registry', () => {
    test('lists its tags, and refuses to remove one without harm to it', async () => {
      const real = await startDockerRegistry()
      if (real === undefined) throw new Error('it was there a moment ago')
      scene.after(real.close)
      const target = scene.lab.open(real.url, 'dev/app')
      for (const tag of ['v1', 'v2']) await push(target, IMAGE, tag)
      expect([...((await target.listTags?.()) ?? [])].sort()).toEqual(['v1', 'v2'])
      expect(await target.removeTag?.('v1')).toBe(false)
      expect(await target.find('v1')).toMatchObject({ digest: IMAGE.root.digest })
      expect(await target.find('v2')).toMatchObject({ digest: IMAGE.root.digest })
    })
  })
}
