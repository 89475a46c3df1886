import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { Row } from '../../src/report/model.ts'
import { type Folder, temporary, type Variables } from '../bundle/run.ts'
import { at, byToken, options, type SideOptions, tagOf } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { openScene } from '../support/scene.ts'

/** A project at once: every repository that has a tag, from clusters and from registries, over real sockets. */

const [ONE, TWO] = [makeImage({ seed: 971 }), makeImage({ seed: 972 })]

let dev: EmbeddedCluster
let prod: EmbeddedCluster
let left: EmbeddedRegistry
let right: EmbeddedRegistry
let folder: Folder
let scene: ReturnType<typeof openScene>

beforeAll(async () => {
  ;[dev, prod] = await Promise.all([startCluster({ name: 'dev' }), startCluster({ name: 'prod' })])
  ;[left, right] = await Promise.all([startRegistry({ tagsPage: 3 }), startRegistry()])
  for (const to of [dev, left]) {
    for (const name of ['api', 'web', 'jobs', 'tmp-1']) seedImage(to, `dev/${name}`, ONE, '1.9.2')
    seedImage(to, 'dev/web', TWO, '1.9.3')
    seedImage(to, 'dev/old', ONE, '1.0')
  }
  seedImage(left, 'dev/team/app', TWO, '1.9.2')
  seedImage(left, 'other/app', ONE, '1.9.2')
})
beforeEach(() => {
  folder = temporary()
  scene = openScene()
})
afterEach(async () => {
  folder.remove()
  await scene.close()
})
afterAll(async () => {
  await Promise.all([dev, prod, left, right].map((each) => each.close()))
  expect([...dev.unexpected, ...prod.unexpected, ...left.violations, ...right.violations]).toEqual([])
})

const viewer = () => byToken(dev, dev.token('viewer'))
const developer = () => byToken(prod, prod.token('developer'))
const promote = (from: SideOptions, to: SideOptions, images: readonly string[], more: Variables = {}) =>
  within(options(from, to, more), images)
const told = (rows: readonly Row[]) =>
  rows.map(({ destination, status, error }) => {
    const name = destination.replace(/^[^/]*[.:][^/]*\//, '')
    return `${name} ${status}${error === null ? '' : ` ${error.code}`}`
  })
const reports = () => join(folder.path, 'report.json')

describe('a project of a cluster', () => {
  test('is one list of image streams; each repository that has the tag is promoted, the others are counted', async () => {
    const before = dev.requests.length
    const { code, report, infos } = await promote(viewer(), developer(), ['dev/*:1.9.2=prod/*'])
    expect([code, told(report.images)]).toEqual([
      0,
      ['prod/api:1.9.2 promoted', 'prod/jobs:1.9.2 promoted', 'prod/tmp-1:1.9.2 promoted', 'prod/web:1.9.2 promoted'],
    ])
    expect(infos).toContain('dev/*:1.9.2: 4 of 5 repositories are taken; left out: 1 without such a tag (dev/old).')
    expect(tagOf(prod, 'prod/web', '1.9.2')).toBe(ONE.root.digest)
    const streams = dev.requests.slice(before).filter(({ path }) => /\/imagestreams(?:\/|\?|$)/.test(path))
    expect(streams.map(({ path }) => path)).toEqual([expect.stringMatching(/namespaces\/dev\/imagestreams\?limit=50/)])
  })

  test('of more streams than a page has is read to its end', async () => {
    for (let index = 0; index < 120; index += 1) seedImage(dev, `test/app-${index}`, ONE, index === 119 ? '7' : '6')
    const { report } = await promote(viewer(), at(right), ['test/*:7=many/*'])
    expect(told(report.images)).toEqual(['many/app-119:7 promoted'])
  })

  test('that may not be listed names the role', async () => {
    const puller = byToken(dev, dev.token('puller'))
    const { code, report } = await promote(puller, at(right), ['dev/*:1.9.2=prod/*'])
    expect([code, told(report.images)]).toEqual([1, ['prod/*:1.9.2 failed DENIED']])
    expect(report.images[0]?.error).toMatchObject({ side: 'source' })
    expect(report.images[0]?.error?.hint).toContain('oc policy add-role-to-user registry-viewer puller -n dev')
  })

  test('is found by the address of its registry, too', async () => {
    const from = `${dev.registryHost}/dev/*:1.9.2=prod/host-*`
    const { report } = await promote(viewer(), at(right), [from], { exclude: '*-1,w*' })
    expect(told(report.images)).toEqual(['prod/host-api:1.9.2 promoted', 'prod/host-jobs:1.9.2 promoted'])
  })
})

describe('a project of a registry', () => {
  test('is a list over several pages; one question tells whether a repository has the tag', async () => {
    const before = left.requests.length
    const { code, report, infos } = await promote(at(left), at(right), ['dev/*:1.9.2=prod/*:stable'])
    expect([code, told(report.images)]).toEqual([
      0,
      [
        'prod/api:stable promoted',
        'prod/jobs:stable promoted',
        'prod/tmp-1:stable promoted',
        'prod/web:stable promoted',
      ],
    ])
    expect(infos).toContain('dev/*:1.9.2: 4 of 5 repositories are taken; left out: 1 without such a tag (dev/old).')
    const asked = left.requests.slice(before).map(({ method, path }) => `${method} ${path.replace(/\?.*/, '')}`)
    expect(asked.filter((line) => line === 'GET /v2/_catalog')).toHaveLength(3)
    expect(asked.filter((line) => line.endsWith('/tags/list'))).toEqual([])
    expect(asked.filter((line) => line === 'HEAD /v2/dev/old/manifests/1.9.2')).toHaveLength(1)
  })

  test.each<[images: string, more: Variables, expected: string[]]>([
    ['dev/**:1.9.2=a/**', { exclude: 'tmp-*' }, ['a/api:1.9.2', 'a/jobs:1.9.2', 'a/team/app:1.9.2', 'a/web:1.9.2']],
    ['**:1.9.2=b/**', { exclude: 'dev/*' }, ['b/other/app:1.9.2']],
    ['dev/**:1.9.2=c-**', { exclude: 'dev/team/*,api,jobs,:1.9.2' }, []],
    ['dev/w*:1.9.*=d/*', { exclude: ':*.2' }, ['d/eb:1.9.3']],
    ['dev/w*:1.9.*=e/*', { exclude: 'web:1.9.2' }, ['e/eb:1.9.3']],
    ['dev/w*:1.9.*=f/*', { exclude: 'api:1.9.2,dev/web:1.9.3' }, ['f/eb:1.9.2']],
  ])('%s %j', async (images, more, expected) => {
    const { report } = await promote(at(left), at(right), [images], { ...more, 'dry-run': 'true' })
    const [first] = report.images
    if (expected.length === 0) expect(first?.error).toMatchObject({ code: 'NOT_FOUND', side: 'source' })
    else expect(told(report.images)).toEqual(expected.map((name) => `${name} planned`))
  })

  test('may be in a list, with a choice of tags in each repository', async () => {
    const list = '- { source: dev/*, destination: newest/*, tags: { semver: ">=1", latest: 1 }, exclude: [tmp-*] }'
    const { report } = await promote(at(left), at(right), [], { 'image-list': list })
    expect(told(report.images)).toEqual([
      'newest/api:1.9.2 promoted',
      'newest/jobs:1.9.2 promoted',
      'newest/old:1.0 promoted',
      'newest/web:1.9.3 promoted',
    ])
  })

  test('without such a tag anywhere is an error that counts what is there', async () => {
    const { code, report } = await promote(at(left), at(right), ['dev/*:8=prod/*', 'nowhere/*:1=prod/*'])
    expect([code, told(report.images)]).toEqual([1, ['prod/*:8 failed NOT_FOUND', 'prod/*:1 failed NOT_FOUND']])
    expect(report.images[0]?.error?.message).toContain('5 without such a tag (dev/api, dev/jobs, dev/old, …)')
    expect(report.images[1]?.error?.message).toContain('0 of 0 repositories')
  })

  test('a repository that fails does so alone', async () => {
    left.faults.add({ match: { path: /dev\/jobs\/manifests/ }, do: { kind: 'status', status: 403 } })
    try {
      const { code, report } = await promote(at(left), at(right), ['dev/*:1.9.2=alone/*'])
      expect([code, told(report.images)]).toEqual([
        3,
        [
          'alone/api:1.9.2 promoted',
          'alone/jobs:1.9.2 failed CREDENTIAL_MISSING',
          'alone/tmp-1:1.9.2 promoted',
          'alone/web:1.9.2 promoted',
        ],
      ])
    } finally {
      left.faults.clear()
    }
  })

  test.each<[name: string, options: Parameters<typeof startRegistry>[0], side: SideOptions, code: string]>([
    ['has no list', { catalog: false }, {}, 'UNSUPPORTED'],
    [
      'lists nothing for this account',
      { access: { kind: 'token', user: 'ci', password: 'password-of-ci' } },
      { username: 'ci', password: 'password-of-ci' },
      'UNSUPPORTED',
    ],
    [
      'wants a credential',
      { access: { kind: 'basic', user: 'ci', password: 'password-of-ci' } },
      {},
      'CREDENTIAL_MISSING',
    ],
    [
      'refuses the credential',
      { access: { kind: 'basic', user: 'ci', password: 'password-of-ci' } },
      { username: 'ci', password: 'another-password' },
      'LOGIN_REJECTED',
    ],
  ])('of a registry that %s is an error', async (_, how, side, expected) => {
    const closed = await scene.registry(how)
    seedImage(closed, 'dev/api', ONE, '1')
    const { code, report } = await promote(at(closed, side), at(right), ['dev/*:1=prod/*'])
    expect([code, told(report.images)]).toEqual([1, [`prod/*:1 failed ${expected}`]])
    const { hint = '' } = report.images[0]?.error ?? {}
    expect(hint?.includes('name the images one by one')).toBe(expected !== 'LOGIN_REJECTED')
  })
})

describe('a project together with', () => {
  test('all or nothing, and the way back', async () => {
    seedImage(right, 'back/web', TWO, '1.9.2')
    const images = ['dev/*:1.9.2=back/*']
    const { code, report } = await promote(at(left), at(right), images, { atomic: 'true', report: reports() })
    expect([code, report.images.length]).toEqual([0, 4])
    const back = await within(options({}, at(right), { rollback: reports() }), [])
    expect([back.code, new Set(back.report.images.map(({ status }) => status))]).toEqual([0, new Set(['reverted'])])
    expect([tagOf(right, 'back/web', '1.9.2'), tagOf(right, 'back/api', '1.9.2')]).toEqual([TWO.root.digest, undefined])
  })

  test('several destinations, and parts of the list, which have each image once', async () => {
    const third = await scene.registry()
    const destinations = JSON.stringify([
      { name: 'east', registry: right.url.origin },
      { name: 'west', registry: third.url.origin },
    ])
    const parts = await Promise.all(
      ['1/2', '2/2'].map((shard) => promote(at(left), {}, ['dev/*:1.9.2=shard/*'], { destinations, shard })),
    )
    const rows = parts.flatMap(({ report }) => report.images)
    const names = rows.map(({ target, destination }) => `${target} ${destination.replace(/^[^/]*\//, '')}`)
    expect(names.sort()).toEqual(
      ['east', 'west'].flatMap((to) => ['api', 'jobs', 'tmp-1', 'web'].map((name) => `${to} shard/${name}:1.9.2`)),
    )
  })

  test('a dry run, which writes nothing and shows each image', async () => {
    const { report, infos } = await promote(viewer(), at(right), ['dev/*:1.9.2=dry/*'], { 'dry-run': 'true' })
    expect(told(report.images)).toEqual(['api', 'jobs', 'tmp-1', 'web'].map((name) => `dry/${name}:1.9.2 planned`))
    expect(infos.join('\n')).toContain('4 of 5 repositories are taken')
    expect(right.tags('dry/api').size).toBe(0)
  })
})
