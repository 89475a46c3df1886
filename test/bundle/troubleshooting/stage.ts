import type { Code } from '../../../src/core/errors.ts'
import type { ClusterOptions, EmbeddedCluster } from '../../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../../support/cluster/plain.ts'
import { type Folder, temporary } from '../run.ts'
import { at, byPassword, options, type SideOptions } from '../sides.ts'
import { type Outcome, type RunOptions, run, told, type Variables } from './run.ts'
import { sharedClusters } from './shared.ts'

/** An embedded cluster on one side, a plain registry on the other, and what is wrong between them. */
export type Stage = Readonly<{
  cluster: EmbeddedCluster
  plain: EmbeddedRegistry
  folder: Folder
  /** Closed with the stage. */
  also<T extends { close(): unknown }>(opened: T): T
}>

export type Situation = Readonly<{
  when: string
  code: Code | 'warning'
  /** The message as the page has it: `…` stands for anything. */
  says: string
  /** Which side the cluster is on, and so where it fails; default source. */
  side?: 'source' | 'destination'
  /** Side of the error when it is another one than the cluster's. */
  blames?: 'input' | 'source' | 'destination' | null
  cluster?: ClusterOptions
  arrange?: (stage: Stage) => unknown
  /** How the cluster is entered; default: password of the developer. */
  way?: (stage: Stage) => SideOptions | Promise<SideOptions>
  images?: string
  more?: (stage: Stage) => Variables
  run?: (stage: Stage) => RunOptions | Promise<RunOptions>
  /** Throws the error in place of a promotion, where one cannot be brought into the situation. */
  instead?: (stage: Stage) => void
}>

/** For `when` of a fault that never strikes: something happens when the request comes. */
export function onThatOccasion(happens: () => unknown): () => boolean {
  return () => {
    happens()
    return false
  }
}

export const CLUSTERS = sharedClusters()

/** 2 layers of 1 KiB. */
export const IMAGE = makeImage({ seed: 21 })

export async function play(situation: Situation): Promise<Outcome & Readonly<{ unexpected: readonly string[] }>> {
  const { side = 'source', way = ({ cluster }: Stage) => byPassword(cluster) } = situation
  const [{ cluster, close }, plain] = await Promise.all([CLUSTERS.borrow(situation.cluster ?? {}), startRegistry()])
  const folder = temporary()
  const closing: { close(): unknown }[] = [{ close }, plain, { close: folder.remove }]
  const before = cluster.unexpected.length
  const stage: Stage = {
    cluster,
    plain,
    folder,
    also: (opened) => {
      closing.unshift(opened)
      return opened
    },
  }
  try {
    seedImage(cluster, 'dev/app', IMAGE, '1.0')
    seedImage(plain, 'team/app', IMAGE, '1.0')
    if (situation.instead !== undefined) return { ...(await failing(situation.instead, stage)), unexpected: [] }
    await situation.arrange?.(stage)
    const entered = await way(stage)
    const images = situation.images ?? (side === 'source' ? 'dev/app:1.0=out/app:1.0' : 'team/app:1.0=prod/app:1.0')
    const sides = side === 'source' ? ([entered, at(plain)] as const) : ([at(plain), entered] as const)
    const given = options(...sides, { images, retries: '1', ...situation.more?.(stage) })
    const outcome = await run(given, await situation.run?.(stage))
    return { ...outcome, unexpected: cluster.unexpected.slice(before) }
  } finally {
    for (const each of closing) await each.close()
  }
}

async function failing(instead: (stage: Stage) => void, stage: Stage): Promise<Outcome> {
  const nothing = { report: undefined, rows: [], events: [], log: [], warnings: [], slept: [] }
  try {
    instead(stage)
    return { ...nothing, error: undefined }
  } catch (thrown) {
    return { ...nothing, error: told(thrown) }
  }
}
