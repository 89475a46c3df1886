import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Report, Row } from '../../src/report/model.ts'
import { type Folder, temporary, type Variables } from '../bundle/run.ts'
import { at, byToken, options, type SideOptions } from '../bundle/sides.ts'
import { type Within, within } from '../bundle/within.ts'
import { contentsOf, promised } from '../support/contents.ts'
import { seeds } from '../support/random.ts'
import { snapshots } from '../support/servers.ts'
import { lossesIn } from '../support/watch.ts'
import { aWorld, kindOf, type Servers, startServers, type Target, type World } from './destination-states.ts'

/**
 * Whatever a destination holds, whatever the source has and whatever is asked for: after the run the verifier agrees with
 * the report. What is `promoted` or `unchanged` is whole (every run of `within` is looked at for that); what failed has left
 * the old tag alone; nothing that was there is lost; a dry run changes nothing and says what the run after it does.
 */

let servers: Servers
let folder: Folder
beforeAll(async () => {
  servers = await startServers()
  folder = temporary()
})
afterAll(async () => {
  folder.remove()
  const { sources, registry, bare, strict, cluster } = servers
  const registries = [...sources, registry, bare, strict]
  await Promise.all([...registries, cluster].map((each) => each.close()))
  expect([...registries.flatMap(({ violations }) => violations), ...cluster.unexpected]).toEqual([])
})

/** One destination by options of its own, several by a list. */
function sidesOf({ source, targets, name }: World): Variables {
  const sides = targets.map((target): SideOptions => {
    if ('tags' in target) return at(target)
    return byToken(target, target.token('admin'))
  })
  const [only = {}] = sides
  if (sides.length === 1) return options(at(source), only)
  const entries = sides.map(({ token, ...side }, index) => ({
    name: `target${index}`,
    ...side,
    ...(token === undefined ? {} : { 'token-file': folder.file(`${name}-token`, token) }),
  }))
  return { ...options(at(source), {}), destinations: JSON.stringify(entries) }
}

function run(world: World, more: Variables = {}): Promise<Within> {
  const { report, ...given } = world.given
  const paths = report === undefined ? {} : { report: join(folder.path, report) }
  return within({ ...sidesOf(world), ...given, ...paths, ...more }, world.images)
}

const contents = ({ targets, name }: World) => targets.map((target) => [...contentsOf(target, `${name}-dst`)].sort())

const told = (rows: readonly Row[]) =>
  rows.map(({ destination, status, error, digest, previousDigest }) => [
    destination,
    status === 'planned' ? 'promoted' : status,
    error?.code ?? null,
    digest,
    previousDigest,
  ])

/** Why a run may fail, by the options and by what the destination does not take. */
function reasonsOf(world: World): ReadonlySet<string> {
  const { given, targets, hasDigestTag } = world
  const isStrict = targets.includes(servers.strict)
  return new Set([
    ...(given.overwrite === undefined ? [] : ['GUARD']),
    ...(given.platforms === undefined ? [] : ['PLATFORM_MISSING']),
    ...(given['require-signed'] === undefined ? [] : ['SIGNATURE_MISSING']),
    ...(given.atomic === undefined ? [] : ['ABANDONED']),
    // It refuses an index of which a part was left out.
    ...((given.platforms ?? given['skip-missing']) !== undefined && isStrict ? ['UNSUPPORTED'] : []),
    ...(refusesForeign(world) ? ['UNSUPPORTED'] : []),
    // What is under the tag for the list of referrers is no list, and stays as it is.
    ...(hasDigestTag ? ['UNSUPPORTED'] : []),
  ])
}

/** OpenShift and docker-registry ask for the bytes of a layer that is elsewhere. */
function refusesForeign({ given, targets, isForeign }: World): boolean {
  const { strict, cluster } = servers
  return (
    isForeign && given['include-foreign'] === undefined && targets.some((each) => each === strict || each === cluster)
  )
}

function expectReasons(world: World, { images }: Report): void {
  const reasons = reasonsOf(world)
  expect(images.filter(({ error }) => error !== null && !reasons.has(error.code)).map(({ error }) => error)).toEqual([])
}

/** The tags of rows that failed are where they were, and nothing else is lost. */
async function expectUntouched(before: ReturnType<typeof snapshots>, { images }: Report): Promise<void> {
  const failed = images.filter(({ status }) => status !== 'promoted' && status !== 'unchanged')
  const moved = images.filter((row) => !failed.includes(row) || row.digest !== null)
  const now = snapshots()
  for (const { destination, tag, digest, status } of failed) {
    const [, host = '', path = ''] = /^([^/]+)\/(.*):[^:]*$/.exec(destination) ?? []
    const at = (state: typeof now) => state.get(host)?.get(path)?.tags.get(tag)
    if (digest === null) expect([destination, status, at(now)]).toEqual([destination, status, at(before)])
  }
  expect(await lossesIn(failed, moved, before)).toEqual([])
}

/** What the plans promise is what has come, apart from lists and signatures, which are merged at the destination. */
function expectPlanned(before: readonly string[][], after: readonly string[][], { plans = [] }: Report): void {
  const promises = promised(plans)
  const merged = (each: string) => /:sha\d+-[0-9a-f]{64}/.test(each)
  for (const [index, contents] of after.entries()) {
    const old = new Set(before[index])
    const tagged = new Set(contents.filter(merged).map((each) => each.split(' ').at(-1)))
    const news = contents.filter((each) => !old.has(each) && !merged(each) && !tagged.has(each.split(' ').at(-1)))
    expect(
      news
        .filter((each) => each.startsWith('manifest') || each.startsWith('tag'))
        .filter((each) => !promises.has(each)),
    ).toEqual([])
  }
}

test.each(seeds(10, 300))('in the random state %i the report is true', async (seed) => {
  const world = aWorld(seed, servers)
  const scene = {
    seed,
    given: world.given,
    targets: world.targets.map((each: Target) => kindOf(each, servers)),
    told: world.told,
  }
  try {
    const before = { contents: contents(world), snapshots: snapshots() }
    const dry = seed % 2 === 0 ? await run(world, { 'dry-run': 'true' }) : undefined
    expect(contents(world)).toEqual(before.contents)
    const real = await run(world)
    expectReasons(world, real.report)
    await expectUntouched(before.snapshots, real.report)
    // What these destinations refuse is known when they refuse it.
    const isRefused = world.targets.includes(servers.strict) || world.hasDigestTag || refusesForeign(world)
    if (dry === undefined || isRefused) return
    expect(told(real.report.images)).toEqual(told(dry.report.images))
    expectPlanned(before.contents, contents(world), dry.report)
  } catch (thrown) {
    throw new Error(`${JSON.stringify(scene, null, 1)}\n${thrown instanceof Error ? thrown.stack : thrown}`)
  }
})
