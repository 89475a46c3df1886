import type { CopyRun } from '../../src/copy/copy-run.ts'
import { discover } from '../../src/copy/discover.ts'
import type { Attached, Bytes } from '../../src/copy/events.ts'
import { execute, putManifest } from '../../src/copy/execute.ts'
import type { Graph } from '../../src/copy/graph.ts'
import { Platforms } from '../../src/copy/graph.ts'
import { makePlan, type Plan } from '../../src/copy/plan.ts'
import { createSemaphore } from '../../src/copy/semaphore.ts'
import type { Source, Target } from '../../src/copy/store.ts'
import { findTags, ManifestLookup, survey } from '../../src/copy/survey.ts'
import type { Context } from '../../src/core/context.ts'
import { PromoteError } from '../../src/core/errors.ts'
import { Secrets } from '../../src/core/secret.ts'
import { parsePlatform } from '../../src/oci/platform.ts'
import type { Event } from '../../src/report/model.ts'
import type { MemoryStore } from './memory-store.ts'

const quiet = () => undefined

/** A context that never waits; what it would have waited for is in `waits`. */
export function testContext(): Context & { waits: number[]; warnings: string[]; stop: AbortController } {
  const waits: number[] = []
  const warnings: string[] = []
  const stop = new AbortController()
  return {
    log: { debug: quiet, info: quiet, warn: (line) => void warnings.push(line), error: quiet },
    secrets: new Secrets(),
    signal: stop.signal,
    env: {},
    now: () => 0,
    sleep: async (milliseconds) => {
      if (stop.signal.aborted) throw new PromoteError('CANCELLED', 'stopped while waiting')
      waits.push(milliseconds)
    },
    random: () => 0.5,
    waits,
    warnings,
    stop,
  }
}

export function testRun(over: Partial<CopyRun> = {}): CopyRun & { events: Event[] } {
  const events: Event[] = []
  return {
    context: testContext(),
    semaphore: createSemaphore(4),
    retries: 3,
    mountSources: new Map(),
    tagWrites: new Map(),
    platforms: new Platforms(),
    emit: (event) => void events.push(event),
    events,
    ...over,
  }
}

export type CopyOptions = Readonly<{
  reference?: string
  tags?: readonly string[]
  platforms?: readonly string[]
  referrers?: boolean
  requireSigned?: boolean
  includeForeign?: boolean
  skipMissing?: boolean
  dryRun?: boolean
  mountFrom?: string
  repository?: string
  run?: CopyRun
}>

/** The stages between login and report, on stores: what `promote.ts` does with one image. */
export async function copyImage(
  source: Source,
  target: Target,
  options: CopyOptions = {},
): Promise<{ graph: Graph; plan: Plan; bytes: Bytes; attached: readonly Attached[] }> {
  const { reference = 'v1', tags = ['v1'], referrers = true, dryRun = false, mountFrom, run = testRun() } = options
  const { semaphore } = run
  const root = await source.resolve(reference)
  const place = { target, tags: await findTags(target, tags, semaphore) }
  const lookup = new ManifestLookup(Promise.resolve(place), semaphore)
  const wanted = { ...options, platforms: options.platforms?.map(parsePlatform), referrers, lookups: [lookup] }
  const graph = await discover(source, root, wanted, semaphore)
  const plan = makePlan(graph, await survey(place, graph, lookup, dryRun, semaphore), mountFrom)
  if (dryRun) return { graph, plan, bytes: plan.bytes, attached: plan.attached }
  const repository = options.repository ?? target.name
  const route = { image: 0, source, target, registry: 'memory', repository, mountFrom }
  const copy = { plan, route, moved: { ...plan.bytes, copied: 0, mounted: 0 } }
  const [attached = []] = await Promise.all(execute([copy], run))
  for (const move of plan.tags) await putManifest(root, move, copy, run)
  return { graph, plan, bytes: copy.moved, attached }
}

/** Digests that the target lacks of what the source's image consists of. */
export function missing(
  target: MemoryStore,
  image: { manifests: readonly { digest: string }[]; blobs: ReadonlyMap<string, unknown> },
): string[] {
  const manifests = image.manifests
    .filter(({ digest }) => !target.manifests.has(digest as never))
    .map(({ digest }) => digest)
  return [...manifests, ...[...image.blobs.keys()].filter((digest) => !target.blobs.has(digest as never))]
}

/** Calls that write. */
export function writes(store: MemoryStore): string[] {
  return store.calls.filter((call) => /^(begin|send|put) /.test(call))
}
