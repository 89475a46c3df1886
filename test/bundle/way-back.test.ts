import { readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { Report } from '../../src/report/model.ts'
import { makeImage, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { type Folder, start, temporary, type Variables } from './run.ts'
import { at, options, tagOf, variables } from './sides.ts'
import { within } from './within.ts'

/** The report is the way back: whatever is tried between, a rollback with it restores what was there before the first try. */

const PROGRAM = fileURLToPath(new URL('../../src/index.js', import.meta.url))
const OLD = makeImage({ seed: 970 })
const NEW = [makeImage({ seed: 971 }), makeImage({ seed: 972 })] as const
const NEWER = makeImage({ seed: 973 })
const APPS = ['api', 'web'] as const

let from: EmbeddedRegistry
let to: EmbeddedRegistry
let folder: Folder
let scenes = 0
beforeAll(async () => {
  ;[from, to] = await Promise.all([startRegistry(), startRegistry()])
})
afterAll(async () => {
  await Promise.all([from.close(), to.close()])
})
/** Of one test: namespace of its repositories. */
let own = ''
beforeEach(() => {
  folder = temporary()
  own = `run${scenes++}`
  seedImage(from, `${own}/api`, NEW[0], '1')
  seedImage(from, `${own}/web`, NEW[1], '1')
  seedImage(to, `${own}/api`, OLD, '1')
})
afterEach(() => folder.remove())

const lines = () => APPS.map((app) => `${own}/${app}:1`)
const path = (name = 'report.json') => join(folder.path, name)
const read = (name?: string): Report => JSON.parse(readFileSync(path(name), 'utf8'))
const promote = (images = lines(), given: Variables = {}, env: Variables = {}) =>
  within(options(at(from), at(to), { report: path(), ...given }), images, env)
const rollBack = (given: Variables = {}) =>
  within({ ...options(at(from), at(to)), rollback: path(), report: path('back.json'), ...given }, [])
const tags = () => APPS.map((app) => tagOf(to, `${own}/${app}`, '1'))
const BEFORE = [OLD.root.digest, undefined]
const AFTER = NEW.map(({ root }) => root.digest)
const rows = ({ images }: Report) => images.map(({ status, previousDigest }) => [status, previousDigest])

async function expectWayBack(): Promise<void> {
  const { code, report } = await rollBack()
  expect([code, report.status, tags()]).toEqual([0, 'done', BEFORE])
}

test('two tries, of which the first moved one of the tags', async () => {
  const denied = to.faults.add({
    match: { method: 'PUT', path: /web\/manifests/ },
    do: { kind: 'status', status: 403 },
  })
  expect(await promote()).toMatchObject({ code: 3, report: { status: 'partial' } })
  denied.remove()
  const { code, report } = await promote()
  expect([code, tags()]).toEqual([0, AFTER])
  expect(rows(report)).toEqual([
    ['unchanged', OLD.root.digest],
    ['promoted', null],
  ])
  expect(rows(read())).toEqual(rows(report))
  await expectWayBack()
})

test.each<[string, Variables]>([
  ['by the same command', {}],
  ['of a job of GitHub', { GITHUB_RUN_ID: '7' }],
  ['of a PipelineRun of Tekton', { IMAGE_PROMOTE_RUN_ID: 'ffb2' }],
])('a re-run onto the same file after success, %s', async (_, env) => {
  const first = await promote(lines(), {}, env)
  const second = await promote(lines(), {}, env)
  expect(second.report.run).toBe(first.report.run)
  expect(rows(second.report)).toEqual([
    ['unchanged', OLD.root.digest],
    ['unchanged', null],
  ])
  expect(second.events.filter(({ event }) => event === 'image')).toMatchObject([
    { row: { previousDigest: OLD.root.digest } },
    { row: { previousDigest: null } },
  ])
  await expectWayBack()
})

test('a try that fails before it has read any tag', async () => {
  await promote()
  const gone = to.faults.add({ match: { path: /./ }, do: { kind: 'status', status: 403 } })
  expect((await promote()).code).toBe(1)
  gone.remove()
  await expectWayBack()
})

test('a try whose list has lost an image, of the same run', async () => {
  const env = { GITHUB_RUN_ID: '8' }
  await promote(lines(), {}, env)
  const { report } = await promote(lines().slice(0, 1), {}, env)
  expect(report.images).toHaveLength(2)
  await expectWayBack()
})

test('a source that moved between two tries of one run', async () => {
  const env = { CI_PIPELINE_ID: '9' }
  await promote(lines(), {}, env)
  seedImage(from, `${own}/api`, NEWER, '1')
  const { report } = await promote(lines(), {}, env)
  expect(rows(report)[0]).toEqual(['promoted', OLD.root.digest])
  await expectWayBack()
})

test.each(['PUT', 'HEAD'])(
  'killed after the first tag has moved, then run again (%s of the second)',
  async (method) => {
    const given = variables(options(at(from), at(to), { report: path(), jobs: '1' }))
    const running = start(['--', ...lines()], { bundle: PROGRAM, env: given })
    const kill = async () => {
      running.child.kill('SIGKILL')
      await running.ended
    }
    const match = { method: 'PUT', path: new RegExp(`${own}/api/manifests/1$`) }
    const fault = to.faults.add({ match, do: { kind: method === 'PUT' ? 'afterwards' : 'meanwhile', do: kill } })
    await running.ended
    fault.remove()
    expect(read().status).toBe('moving')
    if (method === 'PUT') {
      expect((await promote()).code).toBe(0)
      expect(tags()).toEqual(AFTER)
    }
    await expectWayBack()
  },
)

describe('a rollback', () => {
  test('that failed leaves the report for one that succeeds', async () => {
    await promote()
    const denied = to.faults.add({
      match: { method: 'PUT', path: /api\/manifests/ },
      do: { kind: 'status', status: 403 },
    })
    expect((await rollBack()).code).not.toBe(0)
    denied.remove()
    await expectWayBack()
  })

  test('does not write over what it reads, whatever the path is called', async () => {
    await promote()
    const before = readFileSync(path(), 'utf8')
    const name = path('same.json')
    symlinkSync(path(), name)
    for (const report of [path(), join(folder.path, '.', 'x', '..', 'report.json'), name])
      expect((await rollBack({ report })).warnings).toEqual([expect.stringContaining('it stays as it is')])
    expect([readFileSync(path(), 'utf8'), tags()]).toEqual([before, BEFORE])
  })
})

test('another run starts a report of its own', async () => {
  await promote(lines(), {}, { GITHUB_RUN_ID: '1' })
  const { report } = await promote(lines(), {}, { GITHUB_RUN_ID: '2' })
  expect([report.run, rows(report)]).toEqual(['2', AFTER.map((digest) => ['unchanged', digest])])
})

test('the next release by the same command goes back to this one', async () => {
  await promote()
  seedImage(from, `${own}/api`, NEWER, '1')
  const { report } = await promote(lines().slice(0, 1))
  expect(rows(report)).toEqual([['promoted', NEW[0].root.digest]])
})

test('a dry run does not write over the report of a promotion that has not finished', async () => {
  await promote([...lines(), `${own}/absent:1`])
  const before = readFileSync(path(), 'utf8')
  await expect(promote(lines(), { 'dry-run': 'true' })).rejects.toThrow(/exit code 2/)
  expect(readFileSync(path(), 'utf8')).toBe(before)
  await expectWayBack()
})

test('a report of more than a thousand rows can be read again', async () => {
  await promote()
  const report = read()
  const [row] = report.images
  const more = Array.from({ length: 2000 }, () => ({
    ...row,
    status: 'failed',
    digest: null,
    error: { code: 'DENIED' },
  }))
  folder.file('report.json', JSON.stringify({ ...report, images: [...report.images, ...more] }, null, 2))
  await expectWayBack()
})
