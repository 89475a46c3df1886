import { asPromoteError, PromoteError } from '../core/errors.ts'
import type { ImagePair, ImageSet } from '../inputs/config.ts'
import { likeImage } from '../inputs/images.ts'
import { isInShard } from '../inputs/shard.ts'
import { describeSelection, selectTags } from '../inputs/tag-selection.ts'
import { formatReference } from '../oci/reference.ts'
import type { Run } from './run.ts'
import type { Repository, Side } from './session.ts'

/** What is on the list once all its tags are known: images, and what could not be made into images. */
export type Expanded = Readonly<{ pair: ImagePair; error?: PromoteError }>

/** The images of the run, in the order of the list; of them the shard, if there is one. */
export async function expand(source: Promise<Side>, { config }: Run): Promise<readonly Expanded[]> {
  const named = config.images.map((pair): Expanded => ({ pair }))
  const selected = await Promise.all(config.sets.map((set) => expandSet(set, source)))
  const all = unique([...named, ...selected.flat()])
  const { shard } = config
  if (shard === undefined) return all
  return all.filter(({ pair }) => isInShard(formatReference(pair.destination), shard))
}

async function expandSet(set: ImageSet, source: Promise<Side>): Promise<Expanded[]> {
  const { select, destination, platforms } = set
  try {
    const side = await source
    const from = await side.repository(set.source)
    const tags = selectTags(select, await tagsOf(from))
    if (tags.length === 0)
      throw new PromoteError('NOT_FOUND', `${from.store.name}: no tag is selected by ${describeSelection(select)}.`, {
        side: 'source',
        hint: 'Look at the tags that are there; a regular expression has to fit the whole tag.',
      })
    return tags.map((tag) => ({
      pair: {
        source: { ...set.source, tag },
        destination: { ...destination, tag },
        ...(platforms === undefined ? {} : { platforms }),
      },
    }))
  } catch (thrown) {
    return [{ pair: likeImage(set), error: asPromoteError(thrown, 'source') }]
  }
}

/** OpenShift: from the one read that answers for their digests too. Elsewhere one listing. */
async function tagsOf({ store, cluster, path }: Repository): Promise<Iterable<string>> {
  const stream = await cluster?.stream(path)
  if (stream !== undefined) return stream.tags.keys()
  if (store.listTags !== undefined) return store.listTags()
  throw new PromoteError('UNSUPPORTED', `${store.name}: its tags cannot be listed.`, { side: 'source' })
}

/** What two selections have in common is promoted once; two images for one tag are a mistake that a selection can hide. */
function unique(all: readonly Expanded[]): Expanded[] {
  const seen = new Map<string, string>()
  return all.flatMap((each): Expanded[] => {
    const { pair } = each
    if (each.error !== undefined) return [each]
    const [from, to] = [formatReference(pair.source), formatReference(pair.destination)]
    const before = seen.get(to)
    seen.set(to, before ?? from)
    if (before === undefined) return [each]
    if (before === from) return []
    const error = new PromoteError('USAGE', `${to} is the destination of ${before} and of ${from}.`, {
      side: 'input',
      hint: 'Narrow the selections, so that each tag has one image.',
    })
    return [{ pair, error }]
  })
}
