import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Report } from '../../src/report/model.ts'
import { type Folder, temporary, type Variables } from '../bundle/run.ts'
import { tagOf } from '../bundle/sides.ts'
import { type Within, within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { pathOf, promised } from '../support/contents.ts'
import { diceOf } from '../support/dice.ts'
import { seeds } from '../support/random.ts'
import { attach, aWorld, type Trip, type World } from './worlds.ts'

/** A plan that was approved moves exactly what it says, or nothing, whatever has changed since it was made. */

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

const FOREIGN = makeImage({ seed: 2999 })
const STRANGER = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' })

const SIGNATURES = /sha256-[0-9a-f]{64}\.(?:sig|att|sbom)/

/** Undefined: the inputs were refused before anything was contacted. */
async function attempt(given: Variables): Promise<Within | undefined> {
  try {
    return await within(given, [])
  } catch (thrown) {
    if (String(thrown).includes('no report, exit code 2')) return undefined
    throw thrown
  }
}

const plannedTags = ({ plans = [] }: Report) =>
  plans.flatMap(({ destination, digest, tags, apply }) => {
    const all = [...tags.map(({ tag, from: at }) => ({ tag, at })), ...(apply?.stays ?? [])]
    return all.map(({ tag, at }) => ({ path: pathOf(destination), tag, at, digest }))
  })

/** Puts another image under a tag of the destination, or takes the tag away. */
function place({ target }: World, path: string, tag: string, there: 'foreign' | 'gone'): void {
  if (there === 'foreign') seedImage(target, path, FOREIGN, tag)
  else if ('tags' in target) target.store.repository(path).tags.delete(tag)
  else {
    const [namespace = '', name = ''] = path.split('/')
    target.state.streams.get(namespace, name)?.tags.delete(tag)
  }
}

type Change = Readonly<{ name: string; given?: Variables; outcome: 'applied' | 'refused' }>

/** What happens between the plan and its run, and whether the plan is still true after it. */
function change(seed: number, world: World, report: Report): Change {
  const roll = diceOf(seed + 50_000)
  const { one } = roll
  const trip: Trip = one(world.trips)
  const inPlan = plannedTags(report)
  const aTag = one(inPlan)
  const changes: Readonly<Record<string, () => Omit<Change, 'name'>>> = {
    nothing: () => ({ outcome: 'applied' }),
    'tag of the source moved': () => {
      seedImage(from, trip.source, FOREIGN, trip.tag)
      // Where source and destination are one registry, the repositories still differ.
      return { outcome: 'applied' }
    },
    'tag of the source deleted': () => {
      from.store.repository(trip.source).tags.delete(trip.tag)
      return { outcome: 'applied' }
    },
    'manifest of the source deleted': () => {
      const repository = from.store.repository(trip.source)
      repository.manifests.delete(trip.image.root.digest)
      for (const [tag, digest] of repository.tags) if (digest === trip.image.root.digest) repository.tags.delete(tag)
      const isNeeded = inPlan.some(({ digest }) => digest === trip.image.root.digest)
      return { outcome: isNeeded ? 'refused' : 'applied' }
    },
    'tag of the destination at another image': () => {
      if (aTag === undefined) return { outcome: 'applied' }
      const isElsewhere = aTag.at !== FOREIGN.root.digest && aTag.digest !== FOREIGN.root.digest
      place(world, aTag.path, aTag.tag, 'foreign')
      return { outcome: isElsewhere ? 'refused' : 'applied' }
    },
    'tag of the destination gone': () => {
      if (aTag === undefined || aTag.at === null) return { outcome: 'applied' }
      place(world, aTag.path, aTag.tag, 'gone')
      return { outcome: 'refused' }
    },
    'something attached': () => {
      attach(trip.image, { from, source: trip.source }, !world.hidesBlobs, { ...roll, chance: () => true })
      return { outcome: 'applied' }
    },
    'a policy': () => ({
      given: { 'signer-key': String(STRANGER) },
      outcome: inPlan.length > 0 ? 'refused' : 'applied',
    }),
  }
  const name = one(Object.keys(changes))
  return { name, ...(changes[name] as () => Omit<Change, 'name'>)() }
}

describe('a plan is applied as it was approved, or not at all', () => {
  test.each(seeds(12, 150))('in random state %i', async (seed) => {
    const name = `applied${seed}`
    const [plan, report] = [`${folder.path}/${name}-plan.json`, `${folder.path}/${name}.json`]
    const world = aWorld(seed, name, report, { from, to, cluster })
    const { look, target } = world
    const dry = await within({ ...world.given, 'dry-run': 'true', report: plan }, world.images)
    const { referrers: _, 'additional-tags': __, ...given } = world.given
    const kept = readFileSync(plan, 'utf8')
    const apply = (more: Variables = {}) => attempt({ ...given, ...more, plan })
    if (dry.report.status !== 'done') {
      const before = look()
      expect(await apply()).toBeUndefined()
      expect(look()).toEqual(before)
      return
    }
    const { name: what, given: more, outcome } = change(seed, world, dry.report)
    const before = look()
    const real = await apply(more)
    const after = look()
    if (real === undefined) throw new Error(`${what}: the plan was not read`)
    const isGuarded = given.overwrite === 'never' || given.overwrite === 'same'
    const said = real.report.images.map(
      ({ destination, status, error }) => `${destination} ${status} ${error?.message}`,
    )
    expect([what, real.code, said]).toEqual([what, outcome === 'applied' ? 0 : 1, said])
    if (outcome === 'refused') {
      expect([...after].sort()).toEqual([...before].sort())
      expect(real.report.images.filter(({ status }) => ['promoted', 'planned'].includes(status))).toEqual([])
      expect(real.report.images.filter(({ status, error }) => status === 'failed' && error !== null)).not.toEqual([])
      return
    }
    // All that was promised is there, and nothing else is new.
    const plans = dry.report.plans ?? []
    const promise = promised(plans)
    const certain = promised(
      plans.map((each) => ({ ...each, steps: each.steps.filter(({ why }) => !SIGNATURES.test(why)) })),
    )
    const listed = plans.flatMap(({ apply: { attached = [] } = {} }) => attached.map(({ tag }) => tag))
    const isListed = (each: string) => listed.some((tag) => tag !== null && each.includes(`:${tag} `))
    // A list that clients keep where the registry keeps none.
    const isIndex = (each: string) => /^tag .*:sha256-[0-9a-f]{64} /.test(each)
    // Two images of a plan may bring signatures for one tag: the run merges them into another manifest.
    const merged = new Set([...after].filter(isListed).map((each) => each.split(' ').at(-1)))
    const isOther = (each: string) => !isListed(each) && !isIndex(each) && !merged.has(each.split(' ').at(-1))
    const fresh = [...after].filter((each) => !before.has(each) && isOther(each))
    expect(fresh.filter((each) => !promise.has(each))).toEqual([])
    expect([...certain].filter((each) => !after.has(each))).toEqual([])
    for (const { path, tag, at, digest } of plannedTags(dry.report)) {
      const isSkipped = given.overwrite === 'skip' && at !== null && at !== digest
      expect(tagOf(target, path, tag)).toBe(isSkipped ? at : digest)
    }
    expect(real.report.plan).toBe(dry.report.plan ?? real.report.plan)
    if (isGuarded) return
    const again = await apply(more)
    expect([again?.code, [...look()].sort()]).toEqual([0, [...after].sort()])
    expect(again?.report.images.filter(({ status }) => status !== 'unchanged')).toEqual([])
    expect(readFileSync(plan, 'utf8')).toBe(kept)
  })
})
