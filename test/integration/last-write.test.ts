import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import type { Config } from '../../src/inputs/config.ts'
import type { Row } from '../../src/report/model.ts'
import { type Folder, temporary, type Variables } from '../bundle/run.ts'
import { at, byToken, options, tagOf } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import type { Effect, Rule } from '../support/cluster/faults.ts'
import { type BuiltImage, makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { side, travel } from './faults/stage.ts'

/** The last write of a promotion, when its answer is lost or wrong: what is said of the tag is what was read. */

const [OLD, NEW, OTHER] = [makeImage({ seed: 951 }), makeImage({ seed: 952 }), makeImage({ seed: 953 })]
const [was, is] = [OLD.root.digest, NEW.root.digest]

let from: EmbeddedRegistry
let to: EmbeddedRegistry
let folder: Folder
let number = 0

beforeAll(async () => {
  ;[from, to] = await Promise.all([startRegistry(), startRegistry()])
  folder = temporary()
})
afterEach(() => to.faults.clear())
afterAll(async () => {
  folder.remove()
  await Promise.all([from.close(), to.close()])
  expect([...from.violations, ...to.violations]).toEqual([])
})

type Scene = Readonly<{
  before?: BuiltImage | null
  image?: BuiltImage
  config?: Partial<Config>
  signal?: AbortSignal
}>

/** Promotes to a repository of its own, with `rules` at the requests for its tag. */
async function promoteWith(rules: readonly Rule[], { before = OLD, image = NEW, config, signal }: Scene = {}) {
  number += 1
  const name = `write-${number}`
  seedImage(from, `dev/${name}`, image, 'v1')
  if (before !== null) seedImage(to, `prod/${name}`, before, 'v1')
  for (const rule of rules)
    to.faults.add({ ...rule, match: { path: new RegExp(`${name}/manifests/v1$`), ...rule.match } })
  const { row, report, events } = await travel({
    images: [`dev/${name}:v1=prod/${name}:v1`],
    source: side(from),
    destination: side(to),
    config: { retries: 1, ...config },
    ...(signal && { signal }),
  })
  return { row, report, events, tag: to.tags(`prod/${name}`).get('v1'), repository: `prod/${name}` }
}

const put = (effect: Effect, more: Rule['match'] = {}): Rule => ({ match: { method: 'PUT', ...more }, do: effect })
/** What was read before the write is not meant. */
let written = false
const afterWrite = (effect: Effect, times?: number): readonly Rule[] => {
  written = false
  const note = { kind: 'afterwards', do: () => (written = true) } as const
  const match = { method: ['GET', 'HEAD'], when: () => written, ...(times && { times }) }
  return [put(note), { match, do: effect }]
}
const shows = ({ root }: BuiltImage): Effect => ({
  kind: 'other-answer',
  status: 200,
  headers: { 'Content-Type': root.mediaType, 'Docker-Content-Digest': root.digest },
  body: root.bytes,
})
const noDigest: Effect = { kind: 'headers', headers: { 'Docker-Content-Digest': undefined } }
const said = ({ status, error }: Row) => `${status}${error === null ? '' : ` ${error.code}`}`

describe('a tag that was written', () => {
  test.each<[string, Effect]>([
    ['the connection is cut before the answer', { kind: 'lose-answer' }],
    ['a gateway answers 504', { kind: 'other-answer', status: 504 }],
    ['a gateway answers 502', { kind: 'other-answer', status: 502 }],
    ['the registry answers 500', { kind: 'other-answer', status: 500 }],
    ['the answer is 401', { kind: 'other-answer', status: 401 }],
    ['a front answers 403', { kind: 'other-answer', status: 403, body: '<html>blocked</html>' }],
    ['the answer names another digest', { kind: 'headers', headers: { 'Docker-Content-Digest': OTHER.root.digest } }],
    ['the answer names no digest', noDigest],
  ])('is promoted although %s', async (_, effect) => {
    for (const before of [OLD, null]) {
      const { row, report, tag } = await promoteWith([put(effect)], { before })
      expect([said(row), row.digest, tag, report.status]).toEqual(['promoted', is, is, 'done'])
      expect(row.previousDigest).toBe(before?.root.digest ?? null)
    }
  })

  test('is promoted although the answer never comes', async () => {
    // An index: a registry gets 3.5 s more for each blob of an image.
    const image = makeIndex({ seed: 954 })
    const config = { retries: 0, stallTimeout: 250 }
    const { row, tag } = await promoteWith([put({ kind: 'stall-response' })], { image, config })
    expect([said(row), tag]).toEqual(['promoted', image.root.digest])
  })

  test('is promoted when a cache shows it some seconds late', async () => {
    for (const first of [put(noDigest), put({ kind: 'lose-answer' })]) {
      const { row } = await promoteWith([first, ...afterWrite(shows(OLD), 3)])
      expect(said(row)).toBe('promoted')
    }
  })

  test('is unknown when it cannot be read afterwards', async () => {
    const unreadable: Effect[] = [
      { kind: 'status', status: 403 },
      { kind: 'status', status: 503 },
      { kind: 'status', status: 404, headers: { 'Content-Type': 'text/html' }, body: '<html>no such page</html>' },
      { kind: 'cut-response', after: 0 },
    ]
    for (const effect of unreadable) {
      const { row, report } = await promoteWith([put({ kind: 'lose-answer' }), ...afterWrite(effect)])
      expect([said(row), row.digest, row.previousDigest, report.status]).toEqual([
        'unknown NETWORK',
        null,
        was,
        'failed',
      ])
    }
  })

  test('is unknown when it is at something else afterwards', async () => {
    const { row } = await promoteWith([put({ kind: 'lose-answer' }), ...afterWrite(shows(OTHER))])
    expect(said(row)).toBe('unknown NETWORK')
    expect(row.error?.message).toContain(OTHER.root.digest)
  })
})

describe('a tag that was not written', () => {
  test.each<[string, Effect, string]>([
    ['a gateway answers 504', { kind: 'status', status: 504 }, 'failed UNAVAILABLE'],
    ['the connection is cut in the body', { kind: 'cut-request', after: 10 }, 'failed NETWORK'],
    ['the answer is 401', { kind: 'status', status: 401 }, 'failed CREDENTIAL_MISSING'],
    ['the registry refuses', { kind: 'status', status: 400 }, 'failed PROTOCOL'],
  ])('is failed when %s', async (_, effect, expected) => {
    for (const before of [OLD, null]) {
      const { row, tag } = await promoteWith([put(effect)], { before })
      expect([said(row), row.digest, tag]).toEqual([expected, null, before?.root.digest])
    }
  })

  test('is failed when the registry says that it was written, and shows the old one for good', async () => {
    const { row } = await promoteWith([put(noDigest), ...afterWrite(shows(OLD))])
    expect(said(row)).toBe('failed DIGEST_MISMATCH')
    expect(row.error?.message).toContain(was)
  })

  test('says what was sent before, and nothing more', async () => {
    const { row } = await promoteWith([put({ kind: 'status', status: 400 })])
    const blobs = [...NEW.blobs.values()].reduce((sum, { byteLength }) => sum + byteLength, 0)
    expect(row.bytes.copied).toBeGreaterThanOrEqual(blobs)
  })
})

describe('a run that is stopped while the tag is written', () => {
  test.each<[string, (abort: () => void) => Rule[], string, string]>([
    ['is promoted when the tag was', (abort) => [put({ kind: 'afterwards', do: abort })], 'promoted', is],
    [
      'is promoted when the registry writes it a little later',
      (abort) => [put({ kind: 'meanwhile', do: () => late(abort) }), put({ kind: 'status', status: 500 })],
      'promoted',
      is,
    ],
    [
      'is cancelled when the tag was not',
      (abort) => [put({ kind: 'meanwhile', do: abort }), put({ kind: 'status', status: 500 })],
      'cancelled CANCELLED',
      was,
    ],
  ])('%s', async (_, rules, expected, tag) => {
    const stop = new AbortController()
    const run = await promoteWith(
      rules(() => stop.abort('SIGTERM')),
      { signal: stop.signal },
    )
    expect([said(run.row), run.tag]).toEqual([expected, tag])
  })

  test('is unknown when the tag cannot be read any more, and the run counts as cancelled', async () => {
    const stop = new AbortController()
    const stopped = put({ kind: 'afterwards', do: () => stop.abort('SIGTERM') })
    const { row, report } = await promoteWith([stopped, ...afterWrite({ kind: 'stall-response' })], {
      signal: stop.signal,
    })
    expect([said(row), report.status]).toEqual(['unknown CANCELLED', 'cancelled'])
  })
})

function late(abort: () => void): void {
  abort()
  setTimeout(() => seedImage(to, `prod/write-${number}`, NEW, 'v1'), 100)
}

test('a manifest by digest whose answer is lost is there when the registry has it', async () => {
  const image = makeIndex({ seed: 955 })
  const children = { path: /manifests\/sha256:/ }
  const { row, tag } = await promoteWith([put({ kind: 'lose-answer' }, children)], { image })
  expect([said(row), tag]).toEqual(['promoted', image.root.digest])
  const absent = makeIndex({ seed: 956 })
  const refused = await promoteWith([put({ kind: 'status', status: 502 }, children)], { image: absent })
  expect([said(refused.row), refused.tag]).toEqual(['failed UNAVAILABLE', was])
})

describe('where a tag was before', () => {
  const refuses: Rule = { match: { method: ['GET', 'HEAD'] }, do: { kind: 'status', status: 403 } }

  test('is unknown when reading it was refused, and the run goes on', async () => {
    for (const before of [OLD, null]) {
      const { row, tag } = await promoteWith([refuses], { before })
      expect([said(row), row.previousDigest, tag]).toEqual(['promoted', 'unknown', is])
    }
  })

  test('has to be known where a condition or the way back needs it', async () => {
    const conditions: Partial<Config>[] = [{ overwrite: 'never' }, { overwrite: 'same' }, { atomic: true }]
    for (const config of conditions) {
      const { row, tag } = await promoteWith([refuses], { config })
      expect([said(row), row.error?.side, row.previousDigest, tag]).toEqual([
        'failed GUARD',
        'destination',
        'unknown',
        was,
      ])
      expect(row.error?.message).toContain('could not be read')
    }
  })

  test('is told of an image that the source does not have, where it was read', async () => {
    seedImage(to, 'prod/sourceless', OLD, 'v1')
    const { row } = await travel({
      images: ['dev/none:v1=prod/sourceless:v1'],
      source: side(from),
      destination: side(to),
    })
    expect([said(row), row.previousDigest]).toEqual(['failed NOT_FOUND', was])
  })
})

describe('a rollback of a tag that may have moved', () => {
  const rollback = async (repository: string, row: object, more: Variables = {}) => {
    const destination = `${to.host}/${repository}:v1`
    const rows = [{ destination, target: 'destination', tag: 'v1', digest: null, sourceDigest: is, ...row }]
    const report = { schema: 'image-promote/report/v1', dryRun: false, status: 'failed', images: rows }
    const file = folder.file(`${repository.replace('/', '-')}.json`, JSON.stringify(report))
    const run = await within(options({}, at(to), { rollback: file, retries: '0', ...more }), [])
    return { row: run.report.images[0] as Row, tag: to.tags(repository).get('v1') }
  }

  test.each<[string, BuiltImage, string, string]>([
    ['puts it back when it has', NEW, 'reverted', was],
    ['leaves it when it has not', OLD, 'unchanged', was],
    ['leaves what another client has written', OTHER, 'failed TAG_MOVED', OTHER.root.digest],
  ])('%s', async (_, now, expected, tag) => {
    const repository = `prod/undo-${expected.replace(' ', '-').toLowerCase()}`
    for (const image of [OLD, NEW]) seedImage(to, repository, image)
    seedImage(to, repository, now, 'v1')
    const done = await rollback(repository, { status: 'unknown', previousDigest: was })
    expect([said(done.row), done.row.previousDigest, done.tag]).toEqual([expected, now.root.digest, tag])
  })

  test('cannot put it back where nothing tells what it was', async () => {
    seedImage(to, 'prod/undo-unread', NEW, 'v1')
    const { row, tag } = await rollback('prod/undo-unread', {
      status: 'promoted',
      digest: is,
      previousDigest: 'unknown',
    })
    expect([said(row), tag]).toEqual(['failed UNSUPPORTED', is])
  })

  test('reads the tag when its own answer is lost', async () => {
    for (const image of [OLD, NEW]) seedImage(to, 'prod/undo-lost', image)
    seedImage(to, 'prod/undo-lost', NEW, 'v1')
    to.faults.add({ match: { method: 'PUT', path: /undo-lost/ }, do: { kind: 'lose-answer' } })
    const { row, tag } = await rollback('prod/undo-lost', { status: 'promoted', digest: is, previousDigest: was })
    expect([said(row), tag]).toEqual(['reverted', was])
  })

  test('says nothing of a tag that it could not read', async () => {
    seedImage(to, 'prod/undo-blind', NEW, 'v1')
    to.faults.add({ match: { path: /undo-blind/ }, do: { kind: 'status', status: 403 } })
    const { row } = await rollback('prod/undo-blind', { status: 'promoted', digest: is, previousDigest: was })
    expect([said(row), row.digest, row.previousDigest]).toEqual(['failed CREDENTIAL_MISSING', null, 'unknown'])
  })
})

describe('all tags or none', () => {
  let prod: EmbeddedCluster
  beforeAll(async () => {
    prod = await startCluster({ name: 'prod' })
  })
  afterEach(() => {
    prod.faults.registry.clear()
    prod.faults.api.clear()
  })
  afterAll(() => prod.close())
  const lost = (method: string, path: RegExp): Rule => ({ match: { method, path }, do: { kind: 'lose-answer' } })

  /** `new` has no tag before, `old` has one; `refused` fails when the others have moved. */
  const atomic = async (name: string, ...rules: readonly Rule[]) => {
    const apps = ['new', 'old', 'refused'].map((app) => `${name}-${app}`)
    for (const app of apps) seedImage(from, `dev/${app}`, NEW, 'v1')
    seedImage(prod, `prod/${name}-old`, OLD, 'v1')
    for (const rule of rules) prod.faults.registry.add(rule)
    prod.faults.registry.add({
      match: { method: 'PUT', path: /refused\/manifests\/v1$/ },
      do: { kind: 'status', status: 400 },
    })
    const given = options(at(from), byToken(prod, prod.token('developer')), {
      atomic: 'true',
      jobs: '1',
      retries: '0',
      report: folder.file(`${name}.json`, ''),
    })
    const { report } = await within(
      given,
      apps.map((app) => `dev/${app}:v1=prod/${app}:v1`),
    )
    const rows = report.images.map((row) => [said(row), row.digest])
    return { rows, tags: apps.map((app) => tagOf(prod, `prod/${app}`, 'v1')) }
  }

  test('a tag whose answer was lost goes back with the others', async () => {
    const { rows, tags } = await atomic('lost', lost('PUT', /lost-(?:new|old)\/manifests\/v1$/))
    expect(tags).toEqual([undefined, was, undefined])
    expect(rows[0]).toEqual(['reverted ABANDONED', null])
    expect(rows[1]).toEqual(['reverted ABANDONED', null])
  })

  test('a tag whose removal was answered by nothing is read before it is called removed', async () => {
    prod.faults.api.add(lost('DELETE', /imagestreamtags/))
    const { rows, tags } = await atomic('removed')
    expect([rows[0], tags[0]]).toEqual([['reverted ABANDONED', null], undefined])
  })

  test('a tag that cannot be read on the way back is unknown', async () => {
    let reads = false
    prod.faults.registry.add({
      match: { method: 'PUT', path: /blind-refused\/manifests\/v1$/ },
      do: { kind: 'meanwhile', do: () => (reads = true) },
    })
    const blind: Rule = {
      match: { method: ['GET', 'HEAD'], path: /blind-old\/manifests\/v1$/, when: () => reads },
      do: { kind: 'status', status: 403 },
    }
    const { rows } = await atomic('blind', blind)
    expect(rows[1]?.[0]).toMatch(/^unknown /)
    expect(rows[1]?.[1]).toBeNull()
  })
})
