import { type Descriptor, type Document, digestOf, parse, type Repository } from './repository.ts'

/**
 * Looks at a destination after a run, from the tag down, and says in sentences what is missing and what was lost. It shares
 * no code with `src`.
 */

export type Platform = NonNullable<Descriptor['platform']>

/** What a repository held before the run. */
export type Before = Readonly<{
  tags: ReadonlyMap<string, string>
  manifests: ReadonlyMap<string, Uint8Array>
}>

export type Demand = Readonly<{
  /** `prod/app`, for the sentences. */
  name: string
  destination: Repository
  tag: string
  /** Where the tag has to be. */
  digest: string
  /** Undefined: all. */
  platforms: readonly Platform[] | undefined
  /** Whether signatures and other referrers were asked for. */
  referrers: boolean
  /** Whether layers that are elsewhere by their URLs were asked for. */
  foreign: boolean
  /** Whether what the source lacks may be left out. */
  skipMissing: boolean
  /** Where the image came from; without it what is attached to it is not compared. */
  source: Repository | undefined
  before: Before | undefined
  /** What was looked at for another tag of the same source, destination and wishes: it is not looked at again. */
  seen?: Set<string>
}>

type Walk = Demand & Readonly<{ problems: string[]; seen: Set<string> }>

/** @returns one sentence for each thing that is missing, damaged or lost; empty when the image is whole. */
export async function problemsOf(demand: Demand): Promise<string[]> {
  const walk: Walk = { seen: new Set(), ...demand, problems: [] }
  const { destination, tag, digest, problems } = walk
  const at = await destination.digest(tag)
  const isThere = async () => digestOf((await destination.manifest(tag)) ?? Buffer.of(), digest) === digest
  if (at === undefined) problems.push(`the tag ${tag} does not exist`)
  else if (at !== digest && !(await isThere())) problems.push(`the tag ${tag} is at ${at}, not at ${digest}`)
  else await visit(walk, { digest }, `tag ${tag}`)
  return problems.map((problem) => `${demand.name}: ${problem}`)
}

/** What the repository held beside the tags that the run was asked to write. */
export async function lossesOf(
  name: string,
  destination: Repository,
  before: Before,
  written: ReadonlySet<string>,
): Promise<string[]> {
  const problems: string[] = []
  for (const [tag, digest] of before.tags) {
    if (written.has(tag)) continue
    const at = await destination.digest(tag)
    if (at === digest) continue
    const now = await destination.manifest(tag)
    if (now === undefined) problems.push(`the tag ${tag} is gone, it was at ${digest}`)
    else if (digestOf(now, digest) !== digest) problems.push(...changeOf(tag, before, digest, now))
  }
  for (const digest of before.manifests.keys())
    if ((await destination.manifest(digest)) === undefined) problems.push(`the manifest ${digest} is gone`)
  for (const tag of await destination.tags())
    if (!before.tags.has(tag) && !written.has(tag) && !/^sha(256|512)-[0-9a-f]{64}/.test(tag))
      problems.push(`the tag ${tag} is new, and no row names it`)
  return problems.map((problem) => `${name}: ${problem}`)
}

/** Only signature tags and lists of referrers may change, and only by growing. */
function changeOf(tag: string, before: Before, digest: string, now: Uint8Array): string[] {
  const [old, fresh] = [parse(before.manifests.get(digest)), parse(now)]
  const [, subject, suffix] = /^(sha\d+-[0-9a-f]{64})(?:\.(sig|att))?$/.exec(tag) ?? []
  if (subject === undefined) return [`the tag ${tag} was moved from ${digest} to ${digestOf(now)}`]
  if (suffix !== undefined)
    return lacking(old?.layers, fresh?.layers).map((layer) => `${tag} has lost the signature layer ${layer}`)
  // GitLab resolves this tag to the image that it names: that is not a list, and the image stays by digest.
  if (digest.replace(':', '-').startsWith(subject)) return []
  const listed = new Set(fresh?.manifests?.map((entry) => entry.digest))
  const gone = (old?.manifests ?? []).filter((entry) => !listed.has(entry.digest))
  return gone.map((entry) => `the list of referrers ${tag} has lost ${entry.digest}`)
}

/** Entries of `wanted` that `there` does not have with the same digest and annotations. */
function lacking(wanted: readonly Descriptor[] = [], there: readonly Descriptor[] = []): string[] {
  const key = ({ digest, annotations = {} }: Descriptor) =>
    JSON.stringify([digest, Object.entries(annotations).sort(([a], [b]) => (a < b ? -1 : 1))])
  const known = new Set(there.map(key))
  return wanted.filter((entry) => !known.has(key(entry))).map(({ digest }) => digest)
}

async function visit(walk: Walk, descriptor: Descriptor, from: string): Promise<void> {
  const { digest } = descriptor
  if (walk.seen.has(digest)) return
  walk.seen.add(digest)
  // What the source lacks may be left out, with all that is attached to it.
  if (walk.skipMissing && walk.source !== undefined && (await walk.source.manifest(digest)) === undefined) return
  const bytes = await walk.destination.manifest(digest)
  if (bytes === undefined) {
    walk.problems.push(`manifest ${digest}${platformText(descriptor)}, named by ${from}, is missing`)
    return
  }
  if (digestOf(bytes, digest) !== digest) walk.problems.push(`manifest ${digest} has the bytes of ${digestOf(bytes)}`)
  if (descriptor.size !== undefined && bytes.length !== descriptor.size)
    walk.problems.push(`manifest ${digest} has ${bytes.length} bytes, and ${from} says ${descriptor.size}`)
  const document = parse(bytes) ?? {}
  await visitBlobs(walk, document, digest)
  for (const child of childrenOf(document, walk.platforms)) await visit(walk, child, digest)
  if (walk.referrers && walk.source !== undefined) await visitAttached(walk, walk.source, digest)
}

async function visitBlobs(walk: Walk, { config, layers = [] }: Document, from: string): Promise<void> {
  for (const blob of [...(config ? [config] : []), ...layers]) {
    if (isForeign(blob) && !walk.foreign) continue
    if (walk.seen.has(`blob ${blob.digest}`)) continue
    walk.seen.add(`blob ${blob.digest}`)
    const size = await walk.destination.blob(blob.digest)
    if (size === undefined) walk.problems.push(`blob ${blob.digest}, named by ${from}, is missing`)
    else if (blob.size !== undefined && !Number.isNaN(size) && size !== blob.size)
      walk.problems.push(`blob ${blob.digest} has ${size} bytes, and ${from} says ${blob.size}`)
  }
}

/** OCI image-spec layer.md "Non-Distributable Layers": the bytes may stay where the URLs are. */
function isForeign({ mediaType = '', urls = [] }: Descriptor): boolean {
  return urls.length > 0 && /nondistributable|foreign/.test(mediaType)
}

/** The children that were asked for. Indexes without a platform are searched; attestations go with their image. */
function childrenOf({ manifests = [] }: Document, platforms: readonly Platform[] | undefined): readonly Descriptor[] {
  if (platforms === undefined) return manifests
  const about = ({ annotations }: Descriptor) =>
    annotations?.['vnd.docker.reference.type'] === 'attestation-manifest'
      ? annotations['vnd.docker.reference.digest']
      : undefined
  const own = manifests.filter(
    (child) => about(child) === undefined && (child.platform === undefined || fits(child.platform, platforms)),
  )
  const digests = new Set(own.map(({ digest }) => digest))
  return [...own, ...manifests.filter((child) => digests.has(about(child) ?? ''))]
}

function fits(actual: Platform, platforms: readonly Platform[]): boolean {
  return platforms.some(
    (wanted) =>
      plainName(wanted) === plainName(actual) && (actual['os.version'] ?? '').startsWith(wanted['os.version'] ?? ''),
  )
}

/** `linux/arm64/v8` and `linux/aarch64` are `linux/arm64`; `linux/arm` is `linux/arm/v7`. */
function plainName({ os, architecture, variant = '' }: Platform): string {
  const known: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64', i386: '386' }
  const name = known[architecture] ?? architecture
  const usual = { arm64: 'v8', arm: 'v7', amd64: 'v1' }[name]
  return `${os}/${name}/${variant === '' ? (usual ?? '') : variant.replace(/^(\d)$/, 'v$1')}`
}

/** Whatever the source has for this manifest: by `subject` in its list, and under the tags of cosign. */
async function visitAttached(walk: Walk, source: Repository, digest: string): Promise<void> {
  const fallback = digest.replace(':', '-')
  const listed = await listedBy(source, digest)
  const there = new Set(listed.length > 0 ? (await listedBy(walk.destination, digest)).map((each) => each.digest) : [])
  for (const entry of listed) {
    const bytes = await source.manifest(entry.digest)
    if (parse(bytes)?.subject?.digest !== digest) continue
    if (!there.has(entry.digest)) walk.problems.push(`${entry.digest} is not listed as a referrer of ${digest}`)
    await visit(walk, { digest: entry.digest }, `the referrers of ${digest}`)
  }
  for (const suffix of ['sig', 'att', 'sbom']) await visitTagged(walk, source, `${fallback}.${suffix}`)
}

/** By the referrers API, and where there is none by the fallback tag (distribution-spec "Referrers Tag Schema"). */
async function listedBy(repository: Repository, digest: string): Promise<readonly Descriptor[]> {
  const byApi = await repository.referrers(digest)
  if (byApi !== undefined) return byApi
  const entries = parse(await repository.manifest(digest.replace(':', '-')))?.manifests ?? []
  return entries.some(({ platform }) => platform !== undefined) ? [] : entries
}

async function visitTagged(walk: Walk, source: Repository, tag: string): Promise<void> {
  const wanted = await source.manifest(tag)
  if (wanted === undefined) return
  const digest = await walk.destination.digest(tag)
  if (digest === undefined) {
    walk.problems.push(`the tag ${tag} is missing`)
    return
  }
  const now = await walk.destination.manifest(digest)
  const before = walk.before?.tags.get(tag)
  const kept = tag.endsWith('.sbom') && digest === before
  if (digest !== digestOf(wanted) && !kept) {
    if (tag.endsWith('.sbom')) walk.problems.push(`${tag} is neither what the source has nor what was there`)
    for (const layer of lacking(parse(wanted)?.layers, parse(now)?.layers))
      walk.problems.push(`${tag} lacks the layer ${layer} of the source`)
  }
  await visit(walk, { digest }, `tag ${tag}`)
}

function platformText({ platform }: Descriptor): string {
  return platform === undefined ? '' : ` (${platform.os}/${platform.architecture})`
}
