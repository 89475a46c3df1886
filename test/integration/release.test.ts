import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { Report, Row } from '../../src/report/model.ts'
import { type Folder, temporary, type Variables } from '../bundle/run.ts'
import { at, byToken, differences, options, tagOf, writes } from '../bundle/sides.ts'
import { type Within, within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { type BuiltImage, makeCosign, makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { hasDockerRegistry, type RealRegistry, startDockerRegistry } from '../support/docker-registry.ts'
import { openLab } from '../support/lab.ts'
import { push } from '../support/target-contract.ts'

/**
 * Promotions of releases, in this process, over real sockets: conditions, all or nothing, the way back, many images.
 * Every test has repositories of its own.
 */

const [OLD, NEW, FOREIGN] = [makeImage({ seed: 901 }), makeImage({ seed: 902 }), makeIndex({ seed: 903 })]

let dev: EmbeddedCluster
let prod: EmbeddedCluster
let left: EmbeddedRegistry
let right: EmbeddedRegistry
let folder: Folder

beforeAll(async () => {
  ;[dev, prod] = await Promise.all([startCluster({ name: 'dev' }), startCluster({ name: 'prod' })])
  ;[left, right] = await Promise.all([startRegistry(), startRegistry()])
})
beforeEach(() => {
  folder = temporary()
})
afterEach(() => {
  folder.remove()
  for (const { faults } of [left, right]) faults.clear()
  prod.faults.registry.clear()
})
afterAll(async () => {
  await Promise.all([dev, prod, left, right].map((each) => each.close()))
  expect([...dev.unexpected, ...prod.unexpected, ...left.violations, ...right.violations]).toEqual([])
})

const between = (images: readonly string[], more: Variables = {}) => within(options(at(left), at(right), more), images)
const across = (images: readonly string[], { as = 'developer', ...more }: Variables = {}, env: Variables = {}) =>
  within(options(byToken(dev, dev.token('viewer')), byToken(prod, prod.token(as)), more), images, env)
const told = (rows: readonly Row[]) =>
  rows.map(({ tag, status, error }) => `${tag} ${status}${error === null ? '' : ` ${error.code}`}`)
const reportAt = () => join(folder.path, 'report.json')
const readReport = (): Report => JSON.parse(readFileSync(reportAt(), 'utf8'))
const listFile = (entries: unknown) => folder.file('list.yaml', JSON.stringify(entries))

/** The two kinds of destination; `clean` names repositories, because a cluster has projects. */
type Place = Readonly<{
  name: string
  promote: (images: readonly string[], more?: Variables) => Promise<Within>
  source: (image: BuiltImage, repository: string, tag: string) => void
  there: (image: BuiltImage, repository: string, tag: string) => void
  tag: (repository: string, tag: string) => string | undefined
  faults: () => EmbeddedRegistry['faults']
}>
const PLACES: readonly Place[] = [
  {
    name: 'a cluster',
    promote: (images, more) => across(images, more),
    source: (image, repository, tag) => void seedImage(dev, repository, image, tag),
    there: (image, repository, tag) => void seedImage(prod, repository, image, tag),
    tag: (repository, tag) => tagOf(prod, repository, tag),
    faults: () => prod.faults.registry,
  },
  {
    name: 'a registry',
    promote: (images, more) => between(images, more),
    source: (image, repository, tag) => void seedImage(left, repository, image, tag),
    there: (image, repository, tag) => void seedImage(right, repository, image, tag),
    tag: (repository, tag) => tagOf(right, repository, tag),
    faults: () => right.faults,
  },
]

describe.each(PLACES)('the conditions at $name', ({ promote, source, there, tag, faults }) => {
  const [was, is] = [OLD.root.digest, NEW.root.digest]

  test.each<[name: string, more: Variables, present: BuiltImage | undefined, expected: string]>([
    ['same-absent', { overwrite: 'same' }, undefined, 'promoted'],
    ['same-equal', { overwrite: 'same' }, NEW, 'unchanged'],
    ['same-other', { overwrite: 'same' }, OLD, 'failed GUARD'],
    ['never-absent', { overwrite: 'never' }, undefined, 'promoted'],
    ['never-equal', { overwrite: 'never' }, NEW, 'failed GUARD'],
    ['never-other', { overwrite: 'never' }, OLD, 'failed GUARD'],
    ['always-other', { overwrite: 'always' }, OLD, 'promoted'],
    ['expect-right', { 'expect-current': was }, OLD, 'promoted'],
    ['expect-wrong', { 'expect-current': FOREIGN.root.digest }, OLD, 'failed GUARD'],
    ['expect-done', { 'expect-current': was }, NEW, 'unchanged'],
    ['expect-gone', { 'expect-current': was }, undefined, 'failed GUARD'],
    ['absent-absent', { 'expect-current': 'absent' }, undefined, 'promoted'],
    ['absent-there', { 'expect-current': 'absent' }, OLD, 'failed GUARD'],
  ])('%s', async (name, more, present, expected) => {
    const [from, to] = [`dev/guard-${name}`, `prod/guard-${name}`]
    source(NEW, from, '1')
    if (present !== undefined) there(present, to, '1')
    const planned = await promote([`${from}:1=${to}:1`], { ...more, 'dry-run': 'true' })
    expect(told(planned.report.images)).toEqual([`1 ${expected === 'promoted' ? 'planned' : expected}`])
    const { report, code } = await promote([`${from}:1=${to}:1`], more)
    expect(told(report.images)).toEqual([`1 ${expected}`])
    expect(code).toBe(expected.startsWith('failed') ? 1 : 0)
    expect(report.images[0]?.previousDigest ?? undefined).toBe(present?.root.digest)
    expect(tag(to, '1')).toBe(expected === 'promoted' ? is : present?.root.digest)
  })

  test.each<[name: string, more: Variables, before: BuiltImage | undefined]>([
    ['expect', { 'expect-current': was }, OLD],
    ['absent', { 'expect-current': 'absent' }, undefined],
    ['same', { overwrite: 'same' }, undefined],
    ['never', { overwrite: 'never' }, undefined],
    ['atomic', { atomic: 'true' }, OLD],
  ])('%s: another writer between the check and the tag is seen, and its tag stays', async (name, more, before) => {
    const [from, to] = [`dev/race-${name}`, `prod/race-${name}`]
    source(NEW, from, '1')
    if (before !== undefined) there(before, to, '1')
    const foreign = { kind: 'meanwhile', do: () => there(FOREIGN, to, '1') } as const
    // The first byte of a blob arrives after the check and before the tag.
    faults().add({ match: { method: ['PUT', 'PATCH'], path: new RegExp(`${to}/blobs/`), nth: 1 }, do: foreign })
    const { report, code } = await promote([`${from}:1=${to}:1`], { ...more, report: reportAt() })
    expect([code, told(report.images)]).toEqual([1, ['1 failed TAG_MOVED']])
    expect(report.images[0]?.error).toMatchObject({ side: 'destination' })
    expect(tag(to, '1')).toBe(FOREIGN.root.digest)
  })
})

if (hasDockerRegistry()) {
  describe('the conditions at Debian’s docker-registry', () => {
    let real: RealRegistry
    const lab = openLab()
    beforeAll(async () => {
      real = (await startDockerRegistry()) as RealRegistry
    })
    afterAll(async () => {
      await lab.close()
      await real.close()
    })
    const promote = (name: string, more: Variables) =>
      within(options(at(left), { registry: real.url.origin }, { report: reportAt(), ...more }), [
        `dev/real:1=prod/${name}:1`,
      ])
    const there = (image: BuiltImage, name: string) => push(lab.open(real.url, `prod/${name}`), image, '1')
    const tag = async (name: string) => (await lab.open(real.url, `prod/${name}`).find('1'))?.digest

    test.each<[name: string, more: Variables, present: BuiltImage | undefined, expected: string]>([
      ['never', { overwrite: 'never' }, OLD, 'failed GUARD'],
      ['same', { overwrite: 'same' }, OLD, 'failed GUARD'],
      ['equal', { overwrite: 'same' }, NEW, 'unchanged'],
      ['expect', { 'expect-current': OLD.root.digest }, OLD, 'promoted'],
      ['absent', { 'expect-current': 'absent' }, OLD, 'failed GUARD'],
      ['new', { 'expect-current': 'absent' }, undefined, 'promoted'],
    ])('%s', async (name, more, present, expected) => {
      seedImage(left, 'dev/real', NEW, '1')
      if (present !== undefined) await there(present, name)
      const { report } = await promote(name, more)
      expect(told(report.images)).toEqual([`1 ${expected}`])
      expect(await tag(name)).toBe(expected === 'promoted' ? NEW.root.digest : present?.root.digest)
    })

    test.each<[name: string, more: Variables, before: BuiltImage | undefined]>([
      ['race-expect', { 'expect-current': OLD.root.digest }, OLD],
      ['race-never', { overwrite: 'never' }, undefined],
      ['race-atomic', { atomic: 'true' }, OLD],
    ])('%s: another writer between the check and the tag is seen, and its tag stays', async (name, more, before) => {
      seedImage(left, 'dev/real', NEW, '1')
      if (before !== undefined) await there(before, name)
      left.faults.add({
        match: { path: /\/blobs\//, nth: 1 },
        do: { kind: 'meanwhile', do: () => there(makeImage({ seed: 904 }), name) },
      })
      const { report } = await promote(name, more)
      expect(told(report.images)).toEqual(['1 failed TAG_MOVED'])
      expect(await tag(name)).toBe(makeImage({ seed: 904 }).root.digest)
    })

    test('a new tag of an atomic promotion that failed stays, and the report says so', async () => {
      seedImage(left, 'dev/real', NEW, '1')
      const images = ['dev/real:1=prod/stuck:1', 'dev/real:1=prod/stuck:2']
      await there(OLD, 'stuck')
      // The second tag is written by somebody else meanwhile; which of the two comes first is open.
      left.faults.add({
        match: { path: /\/blobs\//, nth: 1 },
        do: { kind: 'meanwhile', do: () => push(lab.open(real.url, 'prod/stuck'), makeImage({ seed: 905 }), '1') },
      })
      const run = await within(
        options(at(left), { registry: real.url.origin }, { report: reportAt(), atomic: 'true' }),
        images,
      )
      expect([run.code, run.report.status]).toEqual([1, 'failed'])
      const [first, second] = run.report.images
      expect(first).toMatchObject({ status: 'failed', error: { code: 'TAG_MOVED' }, digest: null })
      const now = (await lab.open(real.url, 'prod/stuck').find('2'))?.digest ?? null
      expect([second?.status, second?.digest]).toEqual(now === null ? ['cancelled', null] : ['failed', NEW.root.digest])
    })
  })
}

describe('all or nothing', () => {
  const APPS = ['api', 'web', 'jobs'] as const
  /** `name-api:1` and so on; `web` has a tag at the destination already. */
  const seed = (place: Place, name: string) => {
    for (const [index, app] of APPS.entries()) place.source(makeImage({ seed: 910 + index }), `dev/${name}-${app}`, '1')
    place.there(OLD, `prod/${name}-web`, '1')
    return APPS.map((app) => `dev/${name}-${app}:1=prod/${name}-${app}:1`)
  }
  const digests = APPS.map((_, index) => makeImage({ seed: 910 + index }).root.digest)
  const before = [undefined, OLD.root.digest, undefined]

  test.each(PLACES)(
    'at $name: every manifest is there and the report is on disk before the first tag moves',
    async (place) => {
      const images = seed(place, 'order')
      const seen: unknown[] = []
      const look = () => {
        const { status, images: rows } = readReport()
        seen.push([
          status,
          told(rows),
          rows.map(({ digest }) => digest),
          rows.map(({ previousDigest }) => previousDigest),
          APPS.map((app) => place.tag(`prod/order-${app}`, '1')),
        ])
      }
      place.faults().add({
        match: { method: 'PUT', path: /order-\w+\/manifests\/1$/, nth: 1 },
        do: { kind: 'meanwhile', do: look },
      })
      const { code, report } = await place.promote(images, { atomic: 'true', report: reportAt() })
      expect([code, told(report.images)]).toEqual([0, ['1 promoted', '1 promoted', '1 promoted']])
      expect(seen).toEqual([
        ['moving', ['1 planned', '1 planned', '1 planned'], digests, [null, OLD.root.digest, null], before],
      ])
      expect(APPS.map((app) => place.tag(`prod/order-${app}`, '1'))).toEqual(digests)
      expect(readReport()).toEqual(report)
    },
  )

  test.each(PLACES)('at $name: when one tag is refused, all are where they were', async (place) => {
    const images = seed(place, 'refused')
    const refuse = { kind: 'status', status: 403, body: '{"errors":[{"code":"DENIED","message":"no"}]}' } as const
    place.faults().add({ match: { method: 'PUT', path: /refused-jobs\/manifests\/1$/ }, do: refuse })
    const { code, report } = await place.promote(images, { atomic: 'true', report: reportAt(), jobs: '1' })
    expect([code, report.status]).toEqual([1, 'failed'])
    expect(told(report.images).at(-1)).toMatch(/^1 failed (?:DENIED|CREDENTIAL_MISSING)$/)
    for (const row of report.images.slice(0, 2)) {
      expect(row).toMatchObject({
        status: expect.stringMatching(/^(?:reverted|cancelled)$/),
        digest: null,
        error: { code: 'ABANDONED' },
      })
    }
    expect(told(report.images)).toContain('1 reverted ABANDONED')
    expect(APPS.map((app) => place.tag(`prod/refused-${app}`, '1'))).toEqual(before)
  })

  test.each(PLACES)('at $name: when one image cannot be copied, no tag moves', async (place) => {
    const images = seed(place, 'broken')
    place
      .faults()
      .add({ match: { method: ['PUT', 'PATCH'], path: /broken-jobs\/blobs\// }, do: { kind: 'status', status: 403 } })
    const { code, report } = await place.promote(images, { atomic: 'true', report: reportAt() })
    expect(code).toBe(1)
    expect(told(report.images)).toEqual([
      '1 cancelled ABANDONED',
      '1 cancelled ABANDONED',
      expect.stringMatching(/^1 failed/),
    ])
    expect(APPS.map((app) => place.tag(`prod/broken-${app}`, '1'))).toEqual(before)
  })

  test('when one image is not there at all, nothing is copied', async () => {
    const images = seed(PLACES[1] as Place, 'absent')
    const from = right.requests.length
    const { report } = await between([...images, 'dev/absent-none:1=prod/absent-none:1'], {
      atomic: 'true',
      report: reportAt(),
    })
    expect(told(report.images)).toEqual([
      '1 cancelled ABANDONED',
      '1 cancelled ABANDONED',
      '1 cancelled ABANDONED',
      '1 failed NOT_FOUND',
    ])
    expect(writes(right.requests.slice(from))).toEqual([])
    const again = await between([...images, 'dev/absent-none:1=prod/absent-none:1'], {
      atomic: 'true',
      report: reportAt(),
      'dry-run': 'true',
    })
    expect(told(again.report.images)).toEqual(told(report.images))
  })

  test('when the report cannot be written, nothing moves', async () => {
    const images = seed(PLACES[1] as Place, 'unwritten')
    const file = folder.file('file', '')
    const promise = between(images, { atomic: 'true', report: join(file, 'report.json') })
    // Publishing fails as well, and is what the run ends with.
    await promise.then(
      ({ report }) =>
        expect(told(report.images)).toEqual([
          '1 cancelled ABANDONED',
          '1 cancelled ABANDONED',
          '1 cancelled ABANDONED',
        ]),
      () => undefined,
    )
    expect(APPS.map((app) => tagOf(right, `prod/unwritten-${app}`, '1'))).toEqual(before)
  })

  test('over several destinations: one that refuses keeps the others as they were', async () => {
    const third = await startRegistry()
    try {
      seedImage(left, 'dev/both', NEW, '1')
      for (const place of [right, third]) seedImage(place, 'prod/both', OLD, '1')
      third.faults.add({ match: { method: 'PUT', path: /manifests\/1$/ }, do: { kind: 'status', status: 403 } })
      const destinations = JSON.stringify([
        { name: 'east', registry: right.url.origin },
        { name: 'west', registry: third.url.origin },
      ])
      const { code, report } = await within(
        options(at(left), {}, { destinations, atomic: 'true', report: reportAt() }),
        ['dev/both:1=prod/both:1'],
      )
      expect([code, report.images.map(({ target, status }) => `${target} ${status}`)]).toEqual([
        1,
        [expect.stringMatching(/^east (?:reverted|cancelled)$/), 'west failed'],
      ])
      expect([tagOf(right, 'prod/both', '1'), tagOf(third, 'prod/both', '1')]).toEqual([
        OLD.root.digest,
        OLD.root.digest,
      ])
      third.faults.clear()
      const second = await within(options(at(left), {}, { destinations, atomic: 'true', report: reportAt() }), [
        'dev/both:1=prod/both:1',
      ])
      expect(second.report.images.map(({ status }) => status)).toEqual(['promoted', 'promoted'])
      const back = await within(
        options({}, {}, { destinations, rollback: reportAt(), report: join(folder.path, 'back.json') }),
        [],
      )
      expect(back.report.images.map(({ target, status }) => `${target} ${status}`)).toEqual([
        'east reverted',
        'west reverted',
      ])
      expect([tagOf(right, 'prod/both', '1'), tagOf(third, 'prod/both', '1')]).toEqual([
        OLD.root.digest,
        OLD.root.digest,
      ])
    } finally {
      await third.close()
    }
  })
})

describe('the way back', () => {
  const rollback = (place: Place, more: Variables = {}) => {
    const file = folder.file('before.json', readFileSync(reportAt(), 'utf8'))
    return place.promote([], { rollback: file, ...more })
  }

  test.each(PLACES)('at $name: the tags of a promotion go back, new ones go, and nothing is copied', async (place) => {
    for (const app of ['a', 'b']) place.source(NEW, `dev/back-${app}`, '1')
    place.there(OLD, 'prod/back-a', '1')
    await place.promote(['dev/back-a:1=prod/back-a:1', 'dev/back-b:1=prod/back-b:1'], { report: reportAt() })
    expect(['a', 'b'].map((app) => place.tag(`prod/back-${app}`, '1'))).toEqual([NEW.root.digest, NEW.root.digest])

    const planned = await rollback(place, { 'dry-run': 'true' })
    expect([planned.code, told(planned.report.images)]).toEqual([0, ['1 planned', '1 planned']])
    const { code, report } = await rollback(place)
    expect([code, report.status, told(report.images)]).toEqual([0, 'done', ['1 reverted', '1 reverted']])
    expect(report.images.map(({ digest, previousDigest }) => [digest, previousDigest])).toEqual([
      [OLD.root.digest, NEW.root.digest],
      [null, NEW.root.digest],
    ])
    expect(['a', 'b'].map((app) => place.tag(`prod/back-${app}`, '1'))).toEqual([OLD.root.digest, undefined])

    const again = await rollback(place)
    expect([again.code, told(again.report.images)]).toEqual([0, ['1 unchanged', '1 unchanged']])
  })

  test.each(PLACES)('at $name: what somebody has written since stays', async (place) => {
    for (const app of ['c', 'd']) {
      place.source(NEW, `dev/back-${app}`, '1')
      place.there(OLD, `prod/back-${app}`, '1')
    }
    await place.promote(['dev/back-c:1=prod/back-c:1', 'dev/back-d:1=prod/back-d:1'], { report: reportAt() })
    place.there(FOREIGN, 'prod/back-c', '1')
    for (const dryRun of ['true', 'false']) {
      const { code, report } = await rollback(place, { 'dry-run': dryRun })
      expect([code, told(report.images)]).toEqual([
        3,
        ['1 failed TAG_MOVED', `1 ${dryRun === 'true' ? 'planned' : 'reverted'}`],
      ])
    }
    expect(['c', 'd'].map((app) => place.tag(`prod/back-${app}`, '1'))).toEqual([FOREIGN.root.digest, OLD.root.digest])
  })

  test('a new tag that the account may not remove stays, and is reported', async () => {
    seedImage(dev, 'dev/back-e', NEW, '1')
    await across(['dev/back-e:1=prod/back-e:1'], { report: reportAt() })
    const file = folder.file('before.json', readFileSync(reportAt(), 'utf8'))
    const { code, report } = await across([], { as: 'builder', rollback: file })
    expect([code, told(report.images)]).toEqual([1, ['1 failed UNSUPPORTED']])
    expect(tagOf(prod, 'prod/back-e', '1')).toBe(NEW.root.digest)
  })

  test('needs the destination that the report names', async () => {
    seedImage(left, 'dev/back-f', NEW, '1')
    const destinations = JSON.stringify([{ name: 'east', registry: right.url.origin }])
    await within(options(at(left), {}, { destinations, report: reportAt() }), ['dev/back-f:1=prod/back-f:1'])
    const back = within(options({}, at(right), { rollback: reportAt(), report: join(folder.path, 'b.json') }), [])
    await expect(back).rejects.toThrow('--rollback: names the destination "east": configure it as that run did')
    expect(tagOf(right, 'prod/back-f', '1')).toBe(NEW.root.digest)
  })

  test('the report of the rollback never replaces that of the promotion', async () => {
    seedImage(left, 'dev/back-g', NEW, '1')
    seedImage(right, 'prod/back-g', OLD, '1')
    await between(['dev/back-g:1=prod/back-g:1'], { report: reportAt() })
    const { code, report } = await within(options({}, at(right), { rollback: reportAt(), report: reportAt() }), [])
    expect([code, told(report.images), told(readReport().images)]).toEqual([0, ['1 reverted'], ['1 promoted']])
  })
})

describe('many images', () => {
  test('a glob takes the tags that fit, with their signatures, and each keeps its name', async () => {
    for (const tag of ['v1.0', 'v1.1', 'v2.0'])
      seedImage(left, 'dev/glob', makeImage({ seed: Number(tag.slice(1)) * 10 }), tag)
    const signed = makeImage({ seed: 11 })
    const { image, tag: signature } = makeCosign(signed.root.digest)
    seedImage(left, 'dev/glob', image, signature)
    const { code, report } = await between(['dev/glob:v1.*=prod/glob'])
    expect([code, told(report.images)]).toEqual([0, ['v1.0 promoted', 'v1.1 promoted']])
    expect([...right.tags('prod/glob').keys()].sort()).toEqual([signature, 'v1.0', 'v1.1'])
    expect(tagOf(right, 'prod/glob', 'v1.1')).toBe(signed.root.digest)
  })

  test('a list mixes images and selections of all kinds, with platforms of their own', async () => {
    const index = makeIndex({ seed: 77 })
    seedImage(left, 'dev/list', index, 'one')
    for (const tag of ['1.0.0', '1.1.0', '1.2.0', '2.0.0', '2.1.0-rc.1'])
      seedImage(left, 'dev/versions', makeImage({ seed: 78 }), tag)
    const list = listFile([
      { source: 'dev/list:one', destination: 'prod/list', platforms: ['linux/amd64'], 'expect-current': 'absent' },
      { source: 'dev/versions', destination: 'prod/versions', tags: { semver: '^1.1' } },
      { source: 'dev/versions', destination: 'prod/newest', tags: { latest: 2 } },
      { source: 'dev/versions', destination: 'prod/regex', tags: { regex: '2\\..*' } },
    ])
    const { code, report } = await between([], { 'image-list': list })
    expect(code).toBe(0)
    expect(
      report.images.map(({ destination, platforms }) => [destination.replace(/^[^/]+\//, ''), ...platforms]),
    ).toEqual([
      ['prod/list:one', 'linux/amd64'],
      ['prod/versions:1.1.0', 'linux/amd64'],
      ['prod/versions:1.2.0', 'linux/amd64'],
      ['prod/newest:2.0.0', 'linux/amd64'],
      ['prod/newest:1.2.0', 'linux/amd64'],
      ['prod/regex:2.0.0', 'linux/amd64'],
      ['prod/regex:2.1.0-rc.1', 'linux/amd64'],
    ])
  })

  test('a selection that finds nothing is a failure of its own; the others are promoted', async () => {
    seedImage(left, 'dev/some', NEW, 'v1')
    const { code, report } = await between([
      'dev/some:v*=prod/some',
      'dev/some:x*=prod/some',
      'dev/nowhere:*=prod/nowhere',
    ])
    expect([code, told(report.images)]).toEqual([3, ['v1 promoted', 'x* failed NOT_FOUND', '* failed NOT_FOUND']])
    expect(report.images[1]).toMatchObject({
      source: 'dev/some:x*',
      destination: 'prod/some:x*',
      error: { side: 'source' },
    })
  })

  test('what two selections have in common is promoted once; two images for one tag are refused', async () => {
    for (const name of ['twice', 'other']) seedImage(left, `dev/${name}`, NEW, 'v1')
    const same = await between(['dev/twice:v*=prod/twice', 'dev/twice:*1=prod/twice'])
    expect(told(same.report.images)).toEqual(['v1 promoted'])
    const clash = await between(['dev/twice:v*=prod/clash', 'dev/other:v?=prod/clash'])
    expect(told(clash.report.images)).toEqual(['v1 promoted', 'v1 failed USAGE'])
  })

  test('a thousand tags at clusters: one read of the image stream per side, and no image tag asked for by itself', async () => {
    const images = Array.from({ length: 10 }, (_, index) => makeImage({ seed: 930 + index, layers: 1 }))
    for (let index = 0; index < 1000; index += 1) {
      const image = images[index % 10] as BuiltImage
      seedImage(dev, 'dev/thousand', image, `v${index}`)
      if (index < 990) seedImage(prod, 'prod/thousand', image, `v${index}`)
    }
    const [a, b] = [dev.requests.length, prod.requests.length]
    const { code, report } = await across(['dev/thousand:v*=prod/thousand'])
    expect([code, report.images.length]).toEqual([0, 1000])
    expect(report.images.filter(({ status }) => status === 'promoted')).toHaveLength(10)
    const reads = (from: EmbeddedCluster, since: number) =>
      from.requests.slice(since).filter(({ path }) => /imagestreams\/thousand$/.test(path)).length
    expect([reads(dev, a), reads(prod, b)]).toEqual([1, 1])
    const manifests = (from: EmbeddedCluster, since: number, method: string) =>
      from.requests.slice(since).filter((request) => request.method === method && /\/manifests\//.test(request.path))
        .length
    // Ten images are read and ten tags are written. What is attached to each image is asked for by name: four tags.
    expect([
      manifests(dev, a, 'HEAD'),
      manifests(dev, a, 'GET'),
      manifests(prod, b, 'HEAD'),
      manifests(prod, b, 'PUT'),
    ]).toEqual([30, 20, 0, 10])
  })

  test('a thousand tags between registries: one listing, and at most one question per tag and side', async () => {
    for (let index = 0; index < 1000; index += 1) {
      seedImage(left, 'dev/thousand', makeImage({ seed: 940 + (index % 10), layers: 1 }), `v${index}`)
      if (index < 990)
        seedImage(right, 'prod/thousand', makeImage({ seed: 940 + (index % 10), layers: 1 }), `v${index}`)
    }
    const [a, b] = [left.requests.length, right.requests.length]
    const { report } = await between(['dev/thousand:v*=prod/thousand'])
    expect(report.images.filter(({ status }) => status === 'unchanged')).toHaveLength(990)
    const asked = (from: EmbeddedRegistry, since: number, match: RegExp) =>
      from.requests.slice(since).filter(({ method, path }) => match.test(`${method} ${path}`)).length
    expect(asked(left, a, /tags\/list/)).toBe(1)
    expect(asked(left, a, /manifests\/v/)).toBeLessThanOrEqual(1000)
    expect(asked(right, b, /^HEAD .*manifests\/v/)).toBeLessThanOrEqual(1000)
    expect(asked(right, b, /^GET .*manifests\//)).toBe(0)
  })

  test('without fail-fast the others go on, with it nothing new begins, and the run says which', async () => {
    const names = Array.from({ length: 6 }, (_, index) => `ff${index}`)
    for (const name of names) seedImage(left, `dev/${name}`, makeImage({ seed: 950 + Number(name.slice(2)) }), '1')
    const refuse = () =>
      right.faults.add({ match: { method: 'POST', path: /ff0\/blobs/ }, do: { kind: 'status', status: 403 } })
    const lines = names.map((name) => `dev/${name}:1=prod/${name}:1`)
    refuse()
    const first = await between(
      lines.map((line) => line.replace('=prod', '=free')),
      { jobs: '1' },
    )
    expect([first.code, first.report.status]).toEqual([3, 'partial'])
    expect(told(first.report.images).slice(1)).toEqual(names.slice(1).map(() => '1 promoted'))
    const second = await between(lines, { jobs: '1', 'fail-fast': 'true' })
    expect([second.code, second.report.status]).toEqual([1, 'failed'])
    expect(told(second.report.images)).toEqual([
      expect.stringContaining('1 failed'),
      ...names.slice(1).map(() => '1 cancelled ABANDONED'),
    ])
    expect(names.map((name) => right.tags(`prod/${name}`).size)).toEqual([0, 0, 0, 0, 0, 0])
  })

  test('shards promote everything together, and nothing twice', async () => {
    const names = Array.from({ length: 24 }, (_, index) => `shard${index}`)
    for (const name of names) seedImage(left, `dev/${name}`, makeImage({ seed: 960, layers: 1 }), '1')
    const lines = names.map((name) => `dev/${name}:1=prod/${name}:1`)
    const parts = await Promise.all([1, 2, 3, 4].map((index) => between(lines, { shard: `${index}/4` })))
    expect(parts.map(({ code }) => code)).toEqual([0, 0, 0, 0])
    const promoted = parts.flatMap(({ report }) => report.images.map(({ destination }) => destination))
    expect(promoted.sort()).toEqual(names.map((name) => `${right.host}/prod/${name}:1`).sort())
    // A part of a short list may be empty.
    const alone = await Promise.all([1, 2, 3].map((index) => between(lines.slice(0, 1), { shard: `${index}/3` })))
    expect(alone.map(({ code, report }) => [code, report.status, report.images.length]).sort()).toEqual([
      [0, 'done', 0],
      [0, 'done', 0],
      [0, 'done', 1],
    ])
  })
})

describe('at the image stream', () => {
  const GITHUB = { GITHUB_SERVER_URL: 'https://github.example.com', GITHUB_REPOSITORY: 'o/r', GITHUB_RUN_ID: '7' }

  test('annotate notes source, digest, run and time for each tag, in one request per stream', async () => {
    seedImage(dev, 'dev/noted', NEW, '1')
    const from = prod.requests.length
    const { code, report } = await across(
      ['dev/noted:1=prod/noted:1'],
      { annotate: 'true', 'additional-tags': 'stable' },
      GITHUB,
    )
    expect([code, told(report.images)]).toEqual([0, ['1 promoted', 'stable promoted']])
    const annotations = prod.state.streams.get('prod', 'noted')?.annotations ?? {}
    const note = {
      source: `${dev.registryHost}/dev/noted:1`,
      digest: NEW.root.digest,
      run: 'https://github.example.com/o/r/actions/runs/7',
    }
    expect(Object.entries(annotations).map(([key, value]) => [key, JSON.parse(value)])).toEqual([
      ['image-promote/1', { tag: '1', ...note, time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) }],
      ['image-promote/stable', { tag: 'stable', ...note, time: expect.any(String) }],
    ])
    expect(prod.requests.slice(from).filter(({ method }) => method === 'PATCH')).toHaveLength(1)
    const again = await across(['dev/noted:1=prod/noted:1'], { annotate: 'true' })
    expect([again.code, prod.requests.slice(from).filter(({ method }) => method === 'PATCH').length]).toEqual([0, 1])
  })

  test('a missing right to annotate is a warning, and the promotion is done', async () => {
    seedImage(dev, 'dev/unnoted', NEW, '1')
    const { code, report, warnings } = await across(['dev/unnoted:1=prod/unnoted:1'], {
      as: 'builder',
      annotate: 'true',
    })
    expect([code, told(report.images)]).toEqual([0, ['1 promoted']])
    expect(warnings).toEqual([expect.stringContaining('prod/unnoted: not annotated: ')])
  })
})

describe('the plan', () => {
  test('says whether the rights suffice, and writes nothing', async () => {
    seedImage(dev, 'dev/rights', NEW, '1')
    const plan = async (as: string, more: Variables = {}) =>
      across(['dev/rights:1=prod/rights:1'], { as, 'dry-run': 'true', ...more })
    const good = await plan('builder')
    expect(good.report.plans).toMatchObject([
      {
        source: `${dev.registryHost}/dev/rights:1`,
        destination: `${prod.registryHost}/prod/rights:1`,
        target: 'destination',
        digest: NEW.root.digest,
        tags: [{ tag: '1', from: null, to: NEW.root.digest }],
        rights: { state: 'sufficient', missing: [], grant: null },
      },
    ])
    expect(good.warnings).toEqual([])
    const { report, warnings, events } = await plan('pusher')
    const rights = {
      state: 'missing',
      missing: ['create imagestreams'],
      grant: 'oc policy add-role-to-user system:image-builder pusher -n prod',
    }
    expect(report.plans?.[0]?.rights).toEqual(rights)
    expect(events.find(({ event }) => event === 'plan')).toMatchObject({ rights })
    expect(warnings).toEqual([
      expect.stringContaining('the right to create imagestreams is missing: oc policy add-role-to-user'),
    ])
    const atomic = await plan('builder', { atomic: 'true', report: reportAt() })
    expect(atomic.report.plans?.[0]?.rights).toMatchObject({ state: 'missing', missing: ['delete imagestreamtags'] })
    expect(prod.state.streams.get('prod', 'rights')).toBeUndefined()
  })

  test('is in the report of a dry run, and only there', async () => {
    seedImage(left, 'dev/planned', NEW, '1')
    const dry = await between(['dev/planned:1=prod/planned:1', 'dev/none:1=prod/none:1'], { 'dry-run': 'true' })
    expect(dry.report.plans?.map(({ destination }) => destination)).toEqual([`${right.host}/prod/planned:1`])
    expect(dry.report.plans?.[0]?.steps.map(({ do: what }) => what)).toEqual(['copy', 'copy', 'copy', 'push', 'tag'])
    const real = await between(['dev/planned:1=prod/planned:1'])
    expect(real.report.plans).toBeUndefined()
    expect(await differences(right, 'prod/planned', NEW)).toEqual([])
  })

  test('counts what images have in common once', async () => {
    const shared = { layers: 3, seed: 7 }
    const images = [1, 2, 3].map((seed) => makeImage({ seed: 970 + seed, shared, layers: 1 }))
    for (const [index, image] of images.entries()) seedImage(left, `dev/share${index}`, image, '1')
    seedImage(left, 'dev/share0', images[1] as BuiltImage, '2')
    const lines = [
      'dev/share0:1=prod/s0:1',
      'dev/share1:1=prod/s1:1',
      'dev/share0:2=prod/s0:2',
      'dev/share2:1=prod/s2:1',
    ]
    const dry = await between(lines, { 'dry-run': 'true' })
    const sum = (report: Report, pick: 'copied' | 'mounted' | 'present') =>
      report.images.reduce((total, { bytes }) => total + bytes[pick], 0)
    const real = await between(lines)
    for (const pick of ['copied', 'mounted', 'present'] as const)
      expect([pick, sum(dry.report, pick)]).toEqual([pick, sum(real.report, pick)])
  })
})
