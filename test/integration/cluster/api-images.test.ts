import { createHash } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { ask, askApi, type Question, within } from '../../support/cluster/ask.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { type Image, INTERNAL_REGISTRY } from '../../support/cluster/state.ts'

const IMAGES = '/apis/image.openshift.io/v1/namespaces'
const digest = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`
const layer = (text: string, size: number) => ({
  digest: digest(text),
  size,
  mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip',
})
const config = { digest: digest('config'), size: 7, mediaType: 'application/vnd.oci.image.config.v1+json' }
const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const indexType = 'application/vnd.oci.image.index.v1+json'
const SINGLE: Image = {
  digest: digest('single'),
  mediaType: manifestType,
  size: 400,
  config,
  layers: [layer('one', 1000), layer('two', 2000)],
  manifests: [],
}
const CHILD: Image = { ...SINGLE, digest: digest('child'), layers: [layer('three', 3000)] }
const INDEX: Image = {
  digest: digest('index'),
  mediaType: indexType,
  size: 500,
  layers: [],
  manifests: [
    { digest: CHILD.digest, size: 400, mediaType: manifestType, platform: { os: 'linux', architecture: 'arm64' } },
  ],
}

let cluster: EmbeddedCluster
beforeAll(async () => {
  cluster = await startCluster()
  for (const ns of ['dev', 'prod']) cluster.state.streams.create(ns, 'app')
  cluster.state.streams.images.set(CHILD.digest, CHILD)
  cluster.state.streams.addTag('dev', 'app', '1.0', SINGLE)
  cluster.state.streams.addTag('dev', 'app', 'multi', INDEX)
})
afterEach(() => expect(cluster.unexpected).toEqual([]))
afterAll(() => cluster.close())
const api = (user: string, path: string, question?: Question) => askApi(cluster, user, path, question)

describe('image streams', () => {
  const repositories = (path: string) => ({
    dockerImageRepository: `${INTERNAL_REGISTRY}/${path}`,
    publicDockerImageRepository: `${cluster.registryHost}/${path}`,
  })
  const stream = (name: string, metadata: object = {}) => ({
    method: 'POST',
    body: { apiVersion: 'image.openshift.io/v1', kind: 'ImageStream', metadata: { name, ...metadata } },
  })

  test('a stream tells both registries, the history of its tags, newest first', async () => {
    const { streams } = cluster.state
    const second = { ...SINGLE, digest: digest('second') }
    streams.addTag('test', streams.create('test', 'app').name, 'v', SINGLE)
    streams.addTag('test', 'app', 'v', second)
    streams.addTag('test', 'app', 'v', second)
    const reply = await api('developer', `${IMAGES}/test/imagestreams/app`)
    expect(reply.json()).toMatchObject({
      kind: 'ImageStream',
      apiVersion: 'image.openshift.io/v1',
      metadata: { name: 'app', namespace: 'test', resourceVersion: expect.stringMatching(/^\d+$/) },
      status: {
        ...repositories('test/app'),
        tags: [{ tag: 'v', items: [{ image: second.digest }, { image: SINGLE.digest }] }],
      },
    })
    streams.remove('test', 'app')
  })

  test('without a route there is no public repository', () =>
    within({ registryExposed: false }, async (other) => {
      const url = new URL(`${IMAGES}/openshift/imagestreams`, other.api)
      const list = await ask(other.ca.api, url, { bearer: other.token('nobody') })
      const { items } = list.json<{ items: { status: object }[] }>()
      expect(items.map((item) => item.status)).toEqual([
        { dockerImageRepository: `${INTERNAL_REGISTRY}/openshift/cli` },
      ])
    }))

  test('limit pages through a list by name', async () => {
    for (const name of ['c', 'a', 'b']) cluster.state.streams.create('test', name)
    type Page = {
      metadata: { continue?: string; remainingItemCount?: number }
      items: { metadata: { name: string } }[]
    }
    const page = async (query: string) => (await api('developer', `${IMAGES}/test/imagestreams?${query}`)).json<Page>()
    const first = await page('limit=2')
    const second = await page(`limit=2&continue=${first.metadata.continue}`)
    for (const name of ['c', 'a', 'b']) cluster.state.streams.remove('test', name)
    expect([first, second].map(({ items }) => items.map((item) => item.metadata.name))).toEqual([['a', 'b'], ['c']])
    expect([first.metadata.remainingItemCount, second.metadata.continue]).toEqual([1, undefined])
  })

  test('creation tells the registry too; the second one is a 409', async () => {
    const reply = await api('builder', `${IMAGES}/prod/imagestreams`, stream('fresh', { annotations: { a: 'b' } }))
    expect(reply.status).toBe(201)
    expect(reply.json()).toMatchObject({ metadata: { annotations: { a: 'b' } }, status: repositories('prod/fresh') })
    const again = await api('builder', `${IMAGES}/prod/imagestreams`, stream('fresh'))
    expect([again.status, again.json()]).toMatchObject([
      409,
      { reason: 'AlreadyExists', message: 'imagestreams.image.openshift.io "fresh" already exists' },
    ])
    cluster.state.streams.remove('prod', 'fresh')
  })

  test.each([
    ['a name that no repository may have', stream('Upper'), 422],
    ['another namespace in the body', stream('x', { namespace: 'dev' }), 400],
    ['another kind', { method: 'POST', body: { apiVersion: 'v1', kind: 'Pod' } }, 400],
    ['a body that is no JSON', { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } }, 400],
  ])('creation with %s is refused', async (_, question, status) => {
    expect(await api('builder', `${IMAGES}/prod/imagestreams`, question)).toMatchObject({ status })
  })

  test('403 with the reason when the quota is used up; the lists show quota and limits', async () => {
    const project = cluster.state.projects.get('prod')
    const hard = { 'openshift.io/imagestreams': '1' }
    project?.quotas.set('streams', hard)
    project?.limits.set('size', { maxImageBytes: 10 })
    const reply = await api('developer', `${IMAGES}/prod/imagestreams`, stream('two'))
    const quotas = await api('developer', '/api/v1/namespaces/prod/resourcequotas')
    const limits = await api('developer', '/api/v1/namespaces/prod/limitranges')
    project?.quotas.clear()
    project?.limits.clear()
    const why =
      'requested: openshift.io/imagestreams=1, used: openshift.io/imagestreams=1, limited: openshift.io/imagestreams=1'
    expect([reply.status, reply.json().message]).toEqual([
      403,
      `imagestreams.image.openshift.io "two" is forbidden: exceeded quota: streams, ${why}`,
    ])
    expect(quotas.json()).toMatchObject({ kind: 'ResourceQuotaList', items: [{ status: { hard, used: hard } }] })
    expect(limits.json()).toMatchObject({
      kind: 'LimitRangeList',
      items: [{ spec: { limits: [{ type: 'openshift.io/Image', max: { storage: '10' } }] } }],
    })
  })

  test('a merge patch sets and removes annotations', async () => {
    const patch = (annotations: object) => ({
      method: 'PATCH',
      headers: { 'content-type': 'application/merge-patch+json' },
      body: { metadata: { annotations } },
    })
    const path = `${IMAGES}/prod/imagestreams/app`
    await api('developer', path, patch({ 'example.com/by': 'x', keep: '1' }))
    const reply = await api('developer', path, patch({ 'example.com/by': null, more: '2' }))
    expect(reply.json()).toMatchObject({ metadata: { annotations: { keep: '1', more: '2' } } })
    expect(reply.text).not.toContain('example.com/by')
    expect(await api('pusher', path, patch({ a: 'b' }))).toMatchObject({ status: 403 })
  })

  test('404 for a stream that is missing', async () => {
    const reply = await api('developer', `${IMAGES}/dev/imagestreams/nosuch`)
    expect([reply.status, reply.json()]).toMatchObject([
      404,
      {
        message: 'imagestreams.image.openshift.io "nosuch" not found',
        details: { name: 'nosuch', group: 'image.openshift.io', kind: 'imagestreams' },
      },
    ])
  })

  test('layers name every blob and image, the children of an index and the manifests themselves included', async () => {
    const reply = await api('puller', `${IMAGES}/dev/imagestreams/app/layers`)
    const gzip = 'application/vnd.oci.image.layer.v1.tar+gzip'
    expect(reply.json()).toMatchObject({
      kind: 'ImageStreamLayers',
      apiVersion: 'image.openshift.io/v1',
      blobs: {
        [digest('one')]: { size: 1000, mediaType: gzip },
        [digest('two')]: { size: 2000, mediaType: gzip },
        [digest('three')]: { size: 3000, mediaType: gzip },
        [config.digest]: { size: 7, mediaType: config.mediaType },
        [SINGLE.digest]: { size: null, mediaType: manifestType },
        [INDEX.digest]: { size: null, mediaType: indexType },
      },
      images: {
        [SINGLE.digest]: { layers: [digest('one'), digest('two')], config: config.digest },
        [INDEX.digest]: { layers: null, manifests: [CHILD.digest] },
        [CHILD.digest]: { layers: [digest('three')], config: config.digest },
      },
    })
  })
})

describe('image stream tags', () => {
  const tag = (from: object | undefined, metadata: object = {}) => ({
    method: 'PUT',
    body: {
      apiVersion: 'image.openshift.io/v1',
      kind: 'ImageStreamTag',
      metadata,
      ...(from && { tag: { name: 'x', from, referencePolicy: { type: 'Local' } } }),
    },
  })
  const dev = (id: string) => `${IMAGES}/dev/imagestreamtags/${id}`

  test.each(['app:1.0', 'app%3A1.0'])('%s of a push: the digest, no spec tag', async (id) => {
    const reply = await api('viewer', dev(id))
    expect(reply.status).toBe(200)
    expect(reply.json()).toMatchObject({
      kind: 'ImageStreamTag',
      apiVersion: 'image.openshift.io/v1',
      metadata: { name: 'app:1.0', namespace: 'dev' },
      tag: null,
      generation: 1,
      lookupPolicy: { local: false },
      image: {
        metadata: { name: SINGLE.digest, annotations: { 'openshift.io/image.managed': 'true' } },
        dockerImageReference: `${INTERNAL_REGISTRY}/dev/app@${SINGLE.digest}`,
        dockerImageManifestMediaType: manifestType,
        dockerImageMetadata: { kind: 'DockerImage', apiVersion: '1.0', Size: 3007 },
        dockerImageLayers: [{ name: digest('one'), size: 1000 }, { name: digest('two') }],
      },
    })
  })

  test('an index lists its manifests', async () => {
    expect((await api('viewer', dev('app:multi'))).json()).toMatchObject({
      image: {
        dockerImageManifestMediaType: indexType,
        dockerImageManifests: [
          { digest: CHILD.digest, mediaType: manifestType, manifestSize: 400, architecture: 'arm64', os: 'linux' },
        ],
      },
    })
  })

  test.each([
    ['nosuch:1', 'imagestreams.image.openshift.io "nosuch" not found'],
    ['app:nosuch', 'imagestreamtags.image.openshift.io "app:nosuch" not found'],
  ])('404 for %s', async (id, message) => {
    const reply = await api('viewer', dev(id))
    expect([reply.status, reply.json().message]).toEqual([404, message])
  })

  test('PUT creates stream and tag from an image of another project, then updates it', async () => {
    const from = { kind: 'ImageStreamImage', name: `app@${SINGLE.digest}`, namespace: 'dev' }
    const path = `${IMAGES}/test/imagestreamtags/copy:stable`
    const first = await api('developer', path, tag(from, { annotations: { why: 'tested' } }))
    expect([first.status, first.json()]).toMatchObject([
      201,
      {
        metadata: { annotations: { why: 'tested' } },
        tag: { name: 'stable', from },
        image: { metadata: { name: SINGLE.digest } },
      },
    ])
    expect(await api('developer', path, tag(from))).toMatchObject({ status: 200 })
    const stale = await api('developer', path, tag(from, { resourceVersion: '1' }))
    expect([stale.status, stale.json().reason]).toEqual([409, 'Conflict'])
    const alias = await api(
      'developer',
      `${IMAGES}/test/imagestreamtags/copy:alias`,
      tag({ kind: 'ImageStreamTag', name: 'copy:stable' }),
    )
    expect(alias.json()).toMatchObject({ image: { metadata: { name: SINGLE.digest } } })
    cluster.state.streams.remove('test', 'copy')
  })

  test('PUT without tag is a 400 for one that was only pushed', async () => {
    const reply = await api('developer', dev('app:1.0'), tag(undefined, { annotations: { a: 'b' } }))
    expect([reply.status, reply.json().message]).toEqual([
      400,
      'imagestreamtag 1.0 is not a spec tag in imagestream dev/app, cannot be updated',
    ])
  })

  test('PUT is refused for viewers, for images that do not exist, and from projects that the user cannot pull from', async () => {
    const from = { kind: 'ImageStreamImage', name: `app@${digest('nothing')}` }
    expect(await api('viewer', dev('app:x'), tag(from))).toMatchObject({ status: 403 })
    expect(await api('developer', dev('app:x'), tag(from))).toMatchObject({ status: 422 })
    expect(await api('developer', dev('app:x'), tag({ ...from, namespace: 'ci' }))).toMatchObject({ status: 403 })
    expect(cluster.state.streams.get('dev', 'app')?.spec.size).toBe(0)
  })

  test('DELETE removes the tag', async () => {
    cluster.state.streams.addTag('dev', 'app', 'old', SINGLE)
    const remove = () => api('developer', dev('app:old'), { method: 'DELETE' })
    expect((await remove()).json()).toMatchObject({ kind: 'Status', status: 'Success' })
    expect(await remove()).toMatchObject({ status: 404 })
    expect(cluster.state.streams.resolve('dev', 'app', 'old')).toBeUndefined()
  })

  test.each([
    ['the whole digest', SINGLE.digest],
    ['its beginning', SINGLE.digest.slice(0, 20)],
    ['the digest of a child', CHILD.digest],
  ])('imagestreamimages finds %s', async (_, id) => {
    const reply = await api('viewer', `${IMAGES}/dev/imagestreamimages/app@${id}`)
    expect(reply.json<{ image: { metadata: { name: string } } }>().image.metadata.name.startsWith(id)).toBe(true)
  })

  test('imagestreamimages is a 404 for images of other streams', async () => {
    expect(await api('admin', `${IMAGES}/prod/imagestreamimages/app@${SINGLE.digest}`)).toMatchObject({ status: 404 })
  })
})
