import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Report } from '../../src/report/model.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { randomOf, seeds } from '../support/random.ts'
import { start, temporary, type Variables } from './run.ts'
import { at, byToken, options, tagOf, variables } from './sides.ts'
import { within } from './within.ts'

/**
 * An atomic promotion whose process is killed at any of its requests, before or after the server has seen it: the next run
 * finishes it, or a rollback with the report that it left restores what was there.
 */

const SEEDS = seeds(5, 100)
const [OLD, ...IMAGES] = [
  makeImage({ seed: 980 }),
  makeImage({ seed: 981 }),
  makeImage({ seed: 982 }),
  makeImage({ seed: 983 }),
]
const APPS = ['new', 'moved', 'also'] as const
const NEW = IMAGES.map((image) => image.root.digest)
const BEFORE = [undefined, OLD?.root.digest, OLD?.root.digest]

/** How often the end came where. */
const reached = new Map<string, number>()

let from: EmbeddedRegistry
let to: EmbeddedRegistry
let cluster: EmbeddedCluster
beforeAll(async () => {
  ;[from, to, cluster] = await Promise.all([startRegistry(), startRegistry(), startCluster()])
})
afterAll(async () => {
  await Promise.all([from.close(), to.close(), cluster.close()])
  expect(cluster.unexpected).toEqual([])
  // With as many kills as this each kind of end occurs; a few may miss one.
  if (SEEDS.length >= 100)
    expect([...reached.keys()].sort()).toEqual([
      'after the tags',
      'among the tags',
      'before the report',
      'before the tags',
    ])
})

/** What the process asks of the destination's registry for this run of three images; a cluster's API tells the tags. */
const REQUESTS = { registry: 32, cluster: 29 }

function scene(seed: number) {
  const random = randomOf(seed)
  const isCluster = random() < 0.4
  const target = isCluster ? cluster : to
  const repository = (app: string) => `${isCluster ? 'prod' : 'release'}/kill${seed}-${app}`
  const lines = APPS.map((app, index) => {
    const image = IMAGES[index]
    if (image === undefined || OLD === undefined) throw new Error('an image for each')
    seedImage(from, `dev/kill${seed}-${app}`, image, '1')
    if (BEFORE[index] !== undefined) seedImage(target, repository(app), OLD, '1')
    return `dev/kill${seed}-${app}:1=${repository(app)}:1`
  })
  // Most of them late: there the tags move.
  const requests = REQUESTS[isCluster ? 'cluster' : 'registry']
  const nth = random() < 0.25 ? 1 + Math.floor(random() * requests) : requests - Math.floor(random() * 9)
  const sides = options(at(from), isCluster ? byToken(cluster, cluster.token('admin')) : at(to))
  const tags = () => APPS.map((app) => tagOf(target, repository(app), '1'))
  const faults = isCluster ? cluster.faults.registry : to.faults
  return { lines, sides, tags, faults, nth, seen: random() < 0.5 }
}

/** Runs the program in a process of its own and kills it at its n-th request. @returns whether it was killed. */
async function runAndKill(seed: number, scenery: ReturnType<typeof scene>, given: Variables): Promise<boolean> {
  const { lines, faults, nth, seen } = scenery
  const running = start(['--', ...lines], { env: variables({ ...scenery.sides, ...given }) })
  const kill = async () => {
    running.child.kill('SIGKILL')
    await running.ended
  }
  const match = { path: new RegExp(`kill${seed}-`), nth }
  const fault = faults.add({ match, do: seen ? { kind: 'meanwhile', do: kill } : { kind: 'afterwards', do: kill } })
  const { code, stderr } = await running.ended
  fault.remove()
  if (code !== null) expect([code, stderr]).toEqual([0, expect.any(String)])
  return code === null
}

describe('after a kill', () => {
  test.each(SEEDS)('at a random point (%i)', async (seed) => {
    const folder = temporary()
    try {
      const scenery = scene(seed)
      const report = join(folder.path, 'report.json')
      const killed = await runAndKill(seed, scenery, { atomic: 'true', report })
      const left: Report | undefined = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : undefined
      const moved = scenery.tags().filter((tag, index) => tag === NEW[index]).length
      const point =
        left === undefined
          ? 'before the report'
          : moved === 0
            ? 'before the tags'
            : moved < NEW.length
              ? 'among the tags'
              : 'after the tags'
      reached.set(point, (reached.get(point) ?? 0) + 1)
      if (left === undefined) expect(scenery.tags()).toEqual(BEFORE)
      else {
        expect(left.status).toBe(killed ? 'moving' : 'done')
        expect(left.images.map(({ digest, previousDigest }) => [digest, previousDigest ?? undefined])).toEqual(
          NEW.map((digest, index) => [digest, BEFORE[index]]),
        )
      }
      if (left !== undefined && seed % 2 === 0) {
        const { code, report: back } = await within(
          { ...scenery.sides, rollback: report, report: join(folder.path, 'back.json') },
          [],
        )
        expect([code, back.status, scenery.tags()]).toEqual([0, 'done', BEFORE])
        for (const row of back.images) expect(['reverted', 'unchanged']).toContain(row.status)
        return
      }
      const { code, report: next } = await within({ ...scenery.sides, atomic: 'true', report }, scenery.lines)
      expect([code, next.status, scenery.tags()]).toEqual([0, 'done', NEW])
      for (const row of next.images) expect(['promoted', 'unchanged']).toContain(row.status)
    } finally {
      folder.remove()
    }
  })
})

describe('a signal', () => {
  test('among the tags waits for the last of them', async () => {
    // Windows has no signal that a program could wait with.
    if (process.platform === 'win32') return
    const folder = temporary()
    const { lines, sides, tags, faults } = scene(1000)
    const given = { atomic: 'true', report: join(folder.path, 'report.json') }
    const running = start(['--', ...lines], { env: variables({ ...sides, ...given }) })
    const stop = () =>
      new Promise<void>((heard) => {
        running.child.stderr?.on('data', (text) => String(text).includes('SIGTERM: stopping') && heard())
        running.child.kill('SIGTERM')
      })
    const match = { method: 'PUT', path: /kill1000-\w+\/manifests\/1$/, nth: 1 }
    const fault = faults.add({ match, do: { kind: 'meanwhile', do: stop } })
    const { code } = await running.ended
    expect([fault.fired, code, tags()]).toEqual([1, 0, NEW])
    fault.remove()
    folder.remove()
  })
})
