import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { askApi, type Question } from '../../support/cluster/ask.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../../support/cluster/image.ts'

const IMAGES = '/apis/image.openshift.io/v1/namespaces'

let cluster: EmbeddedCluster
beforeAll(async () => {
  cluster = await startCluster()
  seedImage(cluster, 'dev/app', makeImage(), '1.0')
  cluster.state.streams.create('prod', 'app')
})
afterEach(() => expect(cluster.unexpected).toEqual([]))
afterAll(() => cluster.close())
const api = (user: string, path: string, question?: Question) => askApi(cluster, user, path, question)

describe('rights', () => {
  const stream = { apiVersion: 'image.openshift.io/v1', kind: 'ImageStream', metadata: { name: 'new' } }
  const create = (ns: string) => ({ path: `${IMAGES}/${ns}/imagestreams`, method: 'POST', body: stream })
  const get = (path: string) => ({ path, method: 'GET' })
  const questions = {
    'list streams in dev': get(`${IMAGES}/dev/imagestreams`),
    'list streams in prod': get(`${IMAGES}/prod/imagestreams`),
    'list streams in openshift': get(`${IMAGES}/openshift/imagestreams?limit=1`),
    'read tag in dev': get(`${IMAGES}/dev/imagestreamtags/app:1.0`),
    'read layers in dev': get(`${IMAGES}/dev/imagestreams/app/layers`),
    'read layers in prod': get(`${IMAGES}/prod/imagestreams/app/layers`),
    'create stream in prod': create('prod'),
    'read project prod': get('/apis/project.openshift.io/v1/projects/prod'),
    'read quotas of prod': get('/api/v1/namespaces/prod/resourcequotas'),
    'read limits of prod': get('/api/v1/namespaces/prod/limitranges'),
  }
  const names = Object.keys(questions) as (keyof typeof questions)[]
  const everything = '200 200 200 200 200 200 201 200 200 200'

  test.each([
    ['developer', everything],
    ['jane', everything],
    ['admin', everything],
    ['kubeadmin', everything],
    ['viewer', '200 200 200 200 200 200 403 200 200 200'],
    ['puller', '403 403 200 403 200 403 403 403 403 403'],
    ['pusher', '403 403 200 403 403 200 403 403 403 403'],
    ['builder', '403 403 200 403 403 200 201 403 403 403'],
    ['nobody', '403 403 200 403 403 403 403 403 403 403'],
    ['ci:pipeline', '200 200 200 200 200 200 201 200 403 403'],
    ['dev:puller', '403 403 200 403 200 403 403 403 403 403'],
    ['dev:default', '403 403 200 403 200 403 403 403 403 403'],
    ['prod:pusher', '403 403 200 403 403 200 403 403 403 403'],
    ['prod:builder', '403 403 200 403 403 200 201 403 403 403'],
    ['', '403 403 403 403 403 403 403 403 403 403'],
  ])('of %s', async (user, expected) => {
    const got: number[] = []
    for (const name of names) {
      const { path, ...question } = questions[name]
      got.push((await api(user, path, question)).status)
    }
    cluster.state.streams.remove('prod', 'new')
    const say = (codes: readonly (number | string)[]) => names.map((name, i) => `${name}: ${codes[i]}`)
    expect(say(got)).toEqual(say(expected.split(' ')))
  })

  test('SelfSubjectAccessReview agrees with what the endpoints do', async () => {
    const kind = { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview' }
    const attributes = {
      namespace: 'prod',
      verb: 'update',
      group: 'image.openshift.io',
      resource: 'imagestreams',
      subresource: 'layers',
    }
    const review = async (user: string, change: object = {}) => {
      const body = { ...kind, spec: { resourceAttributes: { ...attributes, ...change } } }
      const reply = await api(user, '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', { method: 'POST', body })
      expect(reply.status).toBe(201)
      return reply.json<{ status: { allowed: boolean } }>().status.allowed
    }
    expect(await review('pusher')).toBe(true)
    expect(await review('puller')).toBe(false)
    expect(await review('pusher', { verb: 'create', subresource: '' })).toBe(false)
    expect(await review('builder', { verb: 'create', subresource: '' })).toBe(true)
  })

  test.each(['prod', 'nosuch'])('a stranger cannot tell whether project %s exists', async (name) => {
    const reply = await api('nobody', `/apis/project.openshift.io/v1/projects/${name}`)
    expect([reply.status, reply.json().message]).toEqual([
      403,
      `projects.project.openshift.io "${name}" is forbidden: User "nobody" cannot get resource "projects" in API group "project.openshift.io" in the namespace "${name}"`,
    ])
  })

  test('a member sees the project, an administrator sees that one is missing', async () => {
    const reply = await api('developer', '/apis/project.openshift.io/v1/projects/prod')
    expect(reply.json()).toMatchObject({ kind: 'Project', metadata: { name: 'prod' }, status: { phase: 'Active' } })
    expect(await api('admin', '/apis/project.openshift.io/v1/projects/nosuch')).toMatchObject({ status: 404 })
  })

  test('the list of projects has those of the user', async () => {
    const reply = await api('developer', '/apis/project.openshift.io/v1/projects')
    const { items } = reply.json<{ items: { metadata: { name: string } }[] }>()
    expect(items.map((item) => item.metadata.name)).toEqual(['dev', 'test', 'prod'])
  })
})
