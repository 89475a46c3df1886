import { asPromoteError, PromoteError } from '../core/errors.ts'
import type { ImagePair, ImageSet } from '../inputs/config.ts'
import { likeImage } from '../inputs/images.ts'
import { isInShard } from '../inputs/shard.ts'
import { describeSelection, selectTags } from '../inputs/tag-selection.ts'
import { formatReference } from '../oci/reference.ts'
import type { ImageJob, ListedImage } from './image.ts'
import type { Repository } from './repositories.ts'
import { markFailed, type Run } from './run.ts'
import type { Session } from './session.ts'

/** One image of the list; `error` when its selection could not be made into images. */
type Entry = Readonly<{ pair: ImagePair; error?: PromoteError }>

/**
 * The images of the run in the order of the list, each with a job for each destination. Selections of tags are looked up at
 * the source. With a shard, only the images that belong to it.
 */
export async function listImages(source: Promise<Session>, run: Run): Promise<readonly ListedImage[]> {
  const { config, context } = run
  const entries = await listEntries(source, run)
  const images = entries.length * config.destinations.length
  return entries.map(({ pair, error }, position): ListedImage => {
    const jobs = config.destinations.map(({ name }, index): ImageJob => {
      const tags = [...new Set([pair.destination.tag, ...config.additionalTags])]
      const number = position * config.destinations.length + index
      const repository = formatReference({ ...pair.destination, tag: undefined })
      const source = formatReference(pair.source)
      return { number, images, pair, tags, target: name, began: context.now(), source, repository }
    })
    if (error !== undefined) for (const job of jobs) markFailed({ job }, error, run)
    return { pair, jobs }
  })
}

async function listEntries(source: Promise<Session>, { config }: Run): Promise<readonly Entry[]> {
  const named = config.images.map((pair): Entry => ({ pair }))
  const selected = await Promise.all(config.sets.map((set) => expandSet(set, source)))
  const all = unique([...named, ...selected.flat()])
  const { shard } = config
  if (shard === undefined) return all
  return all.filter(({ pair }) => isInShard(formatReference(pair.destination), shard))
}

async function expandSet(set: ImageSet, source: Promise<Session>): Promise<Entry[]> {
  const { select, destination, platforms } = set
  try {
    const session = await source
    const from = await session.repository(set.source)
    const tags = selectTags(select, await tagsOf(from))
    if (tags.length === 0)
      throw new PromoteError('NOT_FOUND', `${from.store.name}: no tag is selected by ${describeSelection(select)}.`, {
        side: 'source',
        hint: 'Look at the tags that are there; a regular expression has to fit the whole tag.',
      })
    return tags.map((tag) => ({
      pair: { source: { ...set.source, tag }, destination: { ...destination, tag }, ...(platforms && { platforms }) },
    }))
  } catch (thrown) {
    return [{ pair: likeImage(set), error: asPromoteError(thrown, 'source') }]
  }
}

/** OpenShift tells all tags in the same answer as their digests. Other registries are asked for a list. */
async function tagsOf({ store, cluster, path }: Repository): Promise<Iterable<string>> {
  const stream = await cluster?.stream(path)
  if (stream !== undefined) return stream.tags.keys()
  if (store.listTags !== undefined) return store.listTags()
  throw new PromoteError('UNSUPPORTED', `${store.name}: its tags cannot be listed.`, { side: 'source' })
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
