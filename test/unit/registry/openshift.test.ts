import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Target } from '../../../src/copy/store.ts'
import { Secret } from '../../../src/core/secret.ts'
import { fixedLogin } from '../../../src/credentials/login.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import type { RegistryOptions } from '../../../src/registry/endpoint.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { describe as entry, makeImage, makeIndex } from '../../support/cluster/image.ts'
import { failure, type Lab, openLab } from '../../support/lab.ts'
import { describeBlob, parsed, push } from '../../support/target-contract.ts'

let cluster: EmbeddedCluster
let lab: Lab
beforeAll(async () => {
  cluster = await startCluster()
  lab = openLab({ ca: cluster.ca.registry })
})
afterAll(async () => {
  await lab.close()
  await cluster.close()
  expect(cluster.unexpected).toEqual([])
})

describe("OpenShift's registry", () => {
  test('takes the first image of an image stream that does not exist yet', async () => {
    const target = open('developer', 'dev/first')
    const index = makeIndex({ seed: 61 })
    for (const { descriptor } of parsed(index).links) expect(await target.has(descriptor, 'manifest')).toBe(false)
    expect(lab.slept).toEqual([])
    await push(target, index, 'v1')
    expect((await open('developer', 'dev/first').resolve('v1')).descriptor.digest).toBe(index.root.digest)
  })

  test('answers 500 for a digest of a stream that does not exist; that is NOT_FOUND', async () => {
    const digest = digestOf(Buffer.from('absent'))
    const error = await failure(open('developer', 'dev/nowhere').resolve(digest))
    expect(error).toMatchObject({ code: 'NOT_FOUND', side: 'destination', status: 500, transient: false })
    expect(error.hint).toContain('image stream')
  })

  test('answers a missing right and an expired token alike; they are told apart', async () => {
    const denied = await failure(open('viewer', 'dev/app').startUpload(describeBlob(Buffer.from('x'))))
    expect(denied).toMatchObject({ code: 'DENIED', side: 'destination', status: 401 })
    expect(denied.hint).toContain('viewer')
    const token = cluster.token('developer')
    cluster.revoke(token)
    const rejected = await failure(withToken(token, 'dev/app').resolve('v1'))
    expect(rejected).toMatchObject({ code: 'TOKEN_REJECTED', side: 'destination', status: 401 })
    for (const error of [denied, rejected])
      expect(JSON.stringify({ ...error, text: error.message })).not.toContain(token)
  })

  test('that cannot reach its API for a moment answers an empty 400, which is tried again', async () => {
    const image = makeImage({ seed: 62 })
    const slept: number[] = []
    const sleep = async (milliseconds: number): Promise<void> => {
      slept.push(milliseconds)
      cluster.options.registry.apiDown = slept.length < 3
    }
    const target = open('developer', 'dev/down', { context: { ...lab.context, sleep } })
    for (const step of [
      () => push(target, image),
      () => target.putManifest(parsed(image), 'v1'),
      () => target.find('v1'),
    ]) {
      cluster.options.registry.apiDown = true
      slept.length = 0
      await step()
      expect(slept).toHaveLength(3)
    }
  })

  test('that cannot reach its API at all is an error after three more tries', async () => {
    const slept: number[] = []
    const sleep = async (milliseconds: number): Promise<void> => void slept.push(milliseconds)
    cluster.options.registry.apiDown = true
    const target = open('developer', 'dev/down', { context: { ...lab.context, sleep } })
    const error = await failure(target.resolve('v1'))
    cluster.options.registry.apiDown = false
    expect(error).toMatchObject({ side: 'destination', status: 400 })
    expect(slept).toHaveLength(3)
  })

  test('keeps tags in no order and shows them all', async () => {
    const target = open('developer', 'dev/tags')
    const image = makeImage({ seed: 63 })
    await push(target, image)
    for (const tag of ['c', 'a', 'b']) await target.putManifest(parsed(image), tag)
    expect(new Set(await target.listTags?.())).toEqual(new Set(['a', 'b', 'c']))
  })

  test('shows a manifest that was put by digest once a tag leads to it', async () => {
    const target = open('developer', 'dev/children')
    const index = makeIndex({ seed: 64 })
    const child = index.manifests[0]
    if (child === undefined) throw new Error('an index has children')
    await push(target, index, 'v1')
    expect((await open('developer', 'dev/children').manifest(entry(child))).descriptor.digest).toBe(child.digest)
  })

  test('lets a pusher write a stream that exists and says DENIED where it would have to be created', async () => {
    cluster.state.streams.create('prod', 'app')
    const image = makeImage({ seed: 65 })
    await push(open('pusher', 'prod/app'), image, 'v1')
    const target = open('pusher', 'prod/other')
    const error = await failure(push(target, image, 'v1'))
    expect(error).toMatchObject({ code: 'DENIED', side: 'destination', status: 403 })
    expect(error.message).toContain('prod/other')
  })
})

function open(user: string, repository: string, more: Partial<RegistryOptions> = {}): Target {
  return withToken(cluster.token(user), repository, more, user)
}

function withToken(token: string, repository: string, more: Partial<RegistryOptions> = {}, user = 'jane'): Target {
  const login = fixedLogin(`token of ${user}`, { kind: 'bearer', token: new Secret(token) })
  return lab.open(cluster.registry, repository, more, login)
}
