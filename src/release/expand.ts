import { readBlob } from '../copy/blob-reader.ts'
import { isPlatformConfig } from '../copy/graph.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import { parseJson } from '../core/json.ts'
import { listed } from '../core/text.ts'
import type { ImagePair, ImageSet } from '../inputs/config.ts'
import { isProject, likeImage } from '../inputs/images.ts'
import { isInShard } from '../inputs/shard.ts'
import { describeLeftOut, describeSelection, isExcluded, onlyTag, selectTags } from '../inputs/tag-selection.ts'
import type { Digest } from '../oci/digest.ts'
import type { Manifest } from '../oci/manifest.ts'
import { formatReference, isRepository, type Reference } from '../oci/reference.ts'
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

/** The images that a selection stands for, or why they cannot be told. What it leaves out is said in the log. */
async function expandSet(set: ImageSet, source: Promise<Session>, run: Run): Promise<readonly Entry[]> {
  return orError(set, async () => {
    const session = await source
    if (isProject(set.source)) return expandProject(set, session, run)
    const found = await expandRepository(set, session, run)
    if (found instanceof PromoteError) throw found
    return found
  })
}

async function orError<T>(set: ImageSet, expand: () => Promise<T>): Promise<T | readonly Entry[]> {
  return expand().catch((thrown: unknown) => [{ pair: likeImage(set), error: asPromoteError(thrown, 'source') }])
}

/** All repositories of a project, or of a registry, that have such a tag. Each of them fails for itself. */
async function expandProject(set: ImageSet, session: Session, run: Run): Promise<readonly Entry[]> {
  const { source, destination, exclude } = set
  const [before = '', after = ''] = source.repository.split(/\*+/)
  const isDeep = source.repository.includes('**')
  const all = (await siblings(source, session, run)).filter(isRepository)
  const fitting = all
    .filter((path) => path.startsWith(before) && path.endsWith(after) && path.length > before.length + after.length)
    .map((path) => ({ path, name: path.slice(before.length, path.length - after.length) }))
    .filter(({ name }) => isDeep || !name.includes('/'))
  const leftOut = new Map<string, string[]>([])
  const note = (why: string, path: string) => leftOut.set(why, [...(leftOut.get(why) ?? []), path])
  const expanded = fitting.map(async ({ path, name }): Promise<readonly Entry[]> => {
    if (isExcluded(path, exclude) || isExcluded(name, exclude)) return note('excluded', path) && []
    const repository = destination.repository.replace(/\*+/, () => name)
    const one = { ...set, source: { ...source, repository: path }, destination: { ...destination, repository } }
    const found = await orError(one, () => expandRepository(one, session, run))
    return found instanceof PromoteError ? note('without such a tag', path) && [] : found
  })
  const entries = (await Promise.all(expanded)).flat()
  const taken = fitting.length - [...leftOut.values()].flat().length
  const said = `${formatReference(likeImage(set).source)}: ${taken} of ${fitting.length} repositories are taken${describeLeftOut(leftOut)}.`
  if (taken > 0) run.context.log.info(said)
  if (taken > 0) return entries
  const hint = `The source lists ${all.length} repositories to this account. Check what stands before "*", the tag, and exclude.`
  throw new PromoteError('NOT_FOUND', said, { side: 'source', hint })
}

/** The names of all repositories of the same project of a cluster, or of the same registry. */
async function siblings(source: Reference, session: Session, { config }: Run): Promise<readonly string[]> {
  const namespace = source.repository.replace(/\/?[^/]*$/, '')
  const isOwn = (source.host ?? config.source.registry) === undefined
  if (isOwn && session.cluster !== undefined) return session.cluster.repositoriesOf(namespace)
  const { cluster, catalog } = await session.repository(source)
  return (await cluster?.repositoriesOf(namespace)) ?? (await catalog?.()) ?? []
}

/** The tags of one repository. @returns the error when none is selected. */
async function expandRepository(set: ImageSet, session: Session, run: Run): Promise<readonly Entry[] | PromoteError> {
  const { select, destination, platforms } = set
  const from = await session.repository(set.source)
  const patterns = set.exclude?.flatMap((pattern) => tagPattern(pattern, from.path)) ?? []
  const selection = { ...select, exclude: [...(select.exclude ?? []), ...patterns] }
  const times = { of: createTimes(from, run), now: run.context.now() }
  const { tags, leftOut } = await selectTags(selection, await tagsOf(from, onlyTag(select), run), times)
  const what = `${from.store.name}: ${describeSelection(select)} selects`
  if (tags.length === 0) {
    const hint = 'Look at the tags that are there; a regular expression has to fit the whole tag.'
    return new PromoteError('NOT_FOUND', `${what} no tag${describeLeftOut(leftOut)}.`, { side: 'source', hint })
  }
  if (leftOut.size > 0) run.context.log.info(`${what} ${tags.length} tags${describeLeftOut(leftOut)}.`)
  const others = select['same-digest-tags'] ? await sameDigest(tags, selection.exclude, from, run) : []
  if (others.length > 0) run.context.log.info(`${what} with their digests also ${listed(others)}.`)
  return [...tags, ...others].map((tag) => ({
    pair: { source: { ...set.source, tag }, destination: { ...destination, tag: destination.tag ?? tag }, platforms },
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

/** OCI image-spec annotations.md. */
const CREATED = 'org.opencontainers.image.created'
/** No image is older: builds that are to be reproducible write 1970 or 1980. */
const EARLIEST = Date.UTC(2000)

/**
 * When the image of a tag was made (milliseconds since 1970; undefined where nothing tells). OpenShift tells when the tag
 * got the image. Elsewhere the manifest's annotation tells, or the image config: two requests, three for an index.
 */
function createTimes({ store, cluster, path }: Repository, { copy: { semaphore } }: Run) {
  const known = new Map<Digest, Promise<number | undefined>>()
  const read = async ({ annotations, links }: Manifest, isChild = false): Promise<number | undefined> => {
    const stated = timeOf(annotations?.[CREATED])
    // Attestations have the platform unknown/unknown.
    const child = links.find(({ role, descriptor }) => role === 'child' && descriptor.platform?.os !== 'unknown')
    const config = links.find(({ role, descriptor }) => role === 'config' && isPlatformConfig(descriptor))?.descriptor
    if (stated !== undefined) return stated
    if (child !== undefined && !isChild) return read(await semaphore(() => store.manifest(child.descriptor)), true)
    return config && timeOf(Object(parseJson(await semaphore(() => readBlob(store, config), config.size))).created)
  }
  return async (tag: string): Promise<number | undefined> => {
    const stream = await cluster?.stream(path)
    if (stream !== undefined) return timeOf(stream.created.get(tag))
    const root = await semaphore(() => store.resolve(tag))
    const time = known.get(root.descriptor.digest) ?? read(root)
    known.set(root.descriptor.digest, time)
    return time
  }
}

function timeOf(stated: unknown): number | undefined {
  const time = typeof stated === 'string' ? Date.parse(stated) : stated
  return typeof time === 'number' && time >= EARLIEST ? time : undefined
}
