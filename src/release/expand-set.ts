import { asPromoteError, PromoteError } from '../core/errors.ts'
import { listed } from '../core/text.ts'
import type { ImagePair, ImageSet } from '../inputs/config.ts'
import { likeImage } from '../inputs/images.ts'
import { describeLeftOut, describeSelection, isExcluded, onlyTag, selectTags } from '../inputs/tag-selection.ts'
import { createTimes } from './creation-times.ts'
import type { Repository } from './repositories.ts'
import type { Run } from './run.ts'
import type { Session } from './session.ts'

/** One image of the list; `error` when its selection could not be made into images. */
export type Entry = Readonly<{ pair: ImagePair; error?: PromoteError }>

/** The images that a selection stands for, or why they cannot be told. What it leaves out is said in the log. */
export async function expandSet(set: ImageSet, source: Promise<Session>, run: Run): Promise<readonly Entry[]> {
  try {
    return await expandRepository(set, await source, run)
  } catch (thrown) {
    return [{ pair: likeImage(set), error: asPromoteError(thrown, 'source') }]
  }
}

/** The tags of one repository. @throws PromoteError NOT_FOUND when none is selected. */
async function expandRepository(set: ImageSet, session: Session, run: Run): Promise<readonly Entry[]> {
  const { select, platforms } = set
  const from = await session.repository(set.source)
  const patterns = set.exclude?.flatMap((pattern) => tagPattern(pattern, from.path)) ?? []
  const selection = { ...select, exclude: [...(select.exclude ?? []), ...patterns] }
  const times = { of: createTimes(from, run), now: run.context.now() }
  const { tags, leftOut } = await selectTags(selection, await tagsOf(from, onlyTag(select), run), times)
  const what = `${from.store.name}: ${describeSelection(select)} selects`
  if (tags.length === 0) {
    const hint = 'Look at the tags that are there; a regular expression has to fit the whole tag.'
    throw new PromoteError('NOT_FOUND', `${what} no tag${describeLeftOut(leftOut)}.`, { side: 'source', hint })
  }
  if (leftOut.size > 0) run.context.log.info(`${what} ${tags.length} tags${describeLeftOut(leftOut)}.`)
  const others = select['same-digest-tags'] ? await sameDigest(tags, selection.exclude, from, run) : []
  if (others.length > 0) run.context.log.info(`${what} with their digests also ${listed(others)}.`)
  return [...tags, ...others].map((tag) => ({
    pair: {
      source: { ...set.source, tag },
      destination: { ...set.destination, tag },
      ...(platforms && { platforms }),
    },
  }))
}

/** The glob for tags in a pattern of `exclude`: `:TAG` is for all repositories, `NAME:TAG` for those of the name. */
function tagPattern(pattern: string, path: string): string[] {
  const [name = '', tag] = pattern.split(':')
  return tag !== undefined && (name === '' || isExcluded(path, [name, `*/${name}`])) ? [tag] : []
}

/**
 * OpenShift tells all tags in the same answer as their digests. Other registries are asked for a list, or for the one tag.
 * @param only the tag that alone is meant
 */
async function tagsOf(from: Repository, only: string | undefined, { copy }: Run): Promise<Iterable<string>> {
  const { store, cluster, path } = from
  const stream = await cluster?.stream(path)
  if (stream !== undefined) return stream.tags.keys()
  if (only !== undefined) return (await copy.semaphore(() => store.locate(only))) === null ? [] : [only]
  if (store.listTags !== undefined) return copy.semaphore(store.listTags)
  throw new PromoteError('UNSUPPORTED', `${store.name}: its tags cannot be listed.`, { side: 'source' })
}

/** All other tags at the source that point at what one of these tags points at. */
async function sameDigest(tags: readonly string[], exclude: string[], from: Repository, run: Run): Promise<string[]> {
  const { store, cluster, path } = from
  const stream = await cluster?.stream(path)
  const at = async (tag: string) => stream?.tags.get(tag) ?? (await run.copy.semaphore(() => store.locate(tag)))
  const every = await selectTags({ glob: '*', exclude }, await tagsOf(from, undefined, run))
  const all = await Promise.all(every.tags.map(async (tag) => ({ tag, digest: await at(tag) })))
  const wanted = new Set(all.filter(({ tag }) => tags.includes(tag)).map(({ digest }) => digest))
  return all.filter(({ tag, digest }) => digest && wanted.has(digest) && !tags.includes(tag)).map(({ tag }) => tag)
}
