import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Event, Row } from '../../src/report/model.ts'
import { type Folder, temporary } from '../bundle/run.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { promised } from '../support/contents.ts'
import { seeds } from '../support/random.ts'
import { aWorld } from './worlds.ts'

/** What a dry run prints is what the run after it does, whatever is at the destination: compared by what has changed there. */

let from: EmbeddedRegistry
let to: EmbeddedRegistry
let cluster: EmbeddedCluster
let folder: Folder

beforeAll(async () => {
  ;[from, to, cluster] = await Promise.all([startRegistry(), startRegistry(), startCluster()])
  folder = temporary()
})
afterAll(async () => {
  folder.remove()
  await Promise.all([from.close(), to.close(), cluster.close()])
  expect([...from.violations, ...to.violations, ...cluster.unexpected]).toEqual([])
})

function copied(events: readonly Event[]): string[] {
  return events
    .flatMap((event) => (event.event === 'step' && event.kind === 'blob' && event.do === 'copy' ? [event.digest] : []))
    .sort()
}

const told = (rows: readonly Row[]) =>
  rows.map(({ destination, status, error, digest, previousDigest }) => [
    destination,
    status === 'planned' ? 'promoted' : status,
    error?.code ?? null,
    digest,
    previousDigest,
  ])

describe('the run after a dry run does what was printed', () => {
  // 66: one image under several tags, and one job; a later tag must not be taken for one that was right before.
  test.each([...new Set([...seeds(10, 100), 66])])('in random state %i', async (seed) => {
    const { images, given, look, hidesBlobs } = aWorld(seed, `world${seed}`, `${folder.path}/world${seed}.json`, {
      from,
      to,
      cluster,
    })
    const before = look()
    const dry = await within({ ...given, 'dry-run': 'true' }, images)
    expect(look()).toEqual(before)
    const real = await within(given, images)
    expect(real.code).toBe(dry.code)
    expect(told(real.report.images)).toEqual(told(dry.report.images))

    const after = look()
    const fresh = new Set([...after].filter((each) => !before.has(each)))
    const plans = dry.report.plans ?? []
    const signatures = [...fresh].filter((each) => /^tag .*:sha256-/.test(each))
    const wanted = [...promised(plans)].filter((each) => !(hidesBlobs && each.startsWith('blob ') && before.has(each)))
    expect(new Set([...fresh].filter((each) => !signatures.includes(each)))).toEqual(new Set(wanted))
    // Nothing goes away but what tags were at.
    expect([...before].filter((each) => !after.has(each) && !each.startsWith('tag '))).toEqual([])

    const planned = plans.flatMap(({ steps }) =>
      steps.filter(({ do: what, kind }) => what === 'copy' && kind === 'blob').map(({ digest }) => digest),
    )
    // Nothing is sent that the plan does not send. What it sends may be mounted after all, where another image of the run
    // finds it in the same registry first.
    const spared: string[] = [...planned]
    for (const digest of copied(real.events)) {
      expect(spared).toContain(digest)
      spared.splice(spared.indexOf(digest), 1)
    }
    const known = [...before].map((each) => each.split(' ').at(-1))
    expect(spared.filter((digest) => !known.includes(digest))).toEqual([])
  })
})
