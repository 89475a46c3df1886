import { PromoteError } from '../core/errors.ts'
import type { ImagePair } from '../inputs/config.ts'
import { isInShard } from '../inputs/shard.ts'
import { formatReference } from '../oci/reference.ts'
import { type Entry, expandSet } from './expand-set.ts'
import type { ImageJob, ListedImage } from './image.ts'
import { markFailed, type Run } from './run.ts'
import type { Session } from './session.ts'

/**
 * The images of the run in the order of the list, each with a job for each destination. Selections of tags are looked up at
 * the source. With a shard, only the images that belong to it.
 */
export async function listImages(source: Promise<Session>, run: Run): Promise<readonly ListedImage[]> {
  const { config, context } = run
  const entries = await listEntries(source, run)
  const targetsOf = ({ approved }: ImagePair) =>
    config.destinations.map(({ name }) => name).filter((name) => approved?.has(name) ?? true)
  const images = entries.reduce((sum, { pair }) => sum + targetsOf(pair).length, 0)
  let count = 0
  return entries.map(({ pair, error }): ListedImage => {
    const jobs = targetsOf(pair).map((target): ImageJob => {
      const approved = pair.approved?.get(target)
      const tags = [...new Set(approved?.tags.keys() ?? [pair.destination.tag, ...config.additionalTags])]
      const number = count++
      const repository = formatReference({ ...pair.destination, tag: undefined })
      const source = formatReference(pair.source)
      return { number, images, pair, tags, target, began: context.now(), source, repository, approved }
    })
    if (error !== undefined) for (const job of jobs) markFailed({ job }, error, run)
    return { pair, jobs }
  })
}

async function listEntries(source: Promise<Session>, run: Run): Promise<readonly Entry[]> {
  const { config } = run
  const named = config.images.map((pair): Entry => ({ pair }))
  const selected = await Promise.all(config.sets.map((set) => expandSet(set, source, run)))
  const all = unique([...named, ...selected.flat()])
  const { shard } = config
  if (shard === undefined) return all
  return all.filter(({ pair }) => isInShard(formatReference(pair.destination), shard))
}

/** An image that two selections have in common is promoted once. Two images for one tag are an error of the later one. */
function unique(all: readonly Entry[]): Entry[] {
  const seen = new Map<string, string>()
  return all.flatMap((entry): Entry[] => {
    const { pair } = entry
    if (entry.error !== undefined) return [entry]
    const [from, to] = [formatReference(pair.source), formatReference(pair.destination)]
    const before = seen.get(to)
    seen.set(to, before ?? from)
    if (before === undefined) return [entry]
    if (before === from) return []
    const error = new PromoteError('USAGE', `${to} is the destination of ${before} and of ${from}.`, {
      side: 'input',
      hint: 'Narrow the selections, so that each tag has one image.',
    })
    return [{ pair, error }]
  })
}
