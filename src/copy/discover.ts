import { ignoreUnhandled } from '../core/async.ts'
import { PromoteError } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'
import { type Descriptor, isForeign, type Link, linked, type Manifest } from '../oci/manifest.ts'
import { formatPlatform, matches, type Platform, platformOfConfig } from '../oci/platform.ts'
import { type ApprovedAttachments, type Attachment, createFinder } from './attachments.ts'
import { BLOB_LIMIT, readBlob } from './blob-reader.ts'
import { type Budget, createBudget, type Held } from './budget.ts'
import type { Attached } from './events.ts'
import { leaveMissing } from './failures.ts'
import { type Graph, type Key, manifestKey, type Node } from './graph.ts'
import { checkSigned } from './require-signed.ts'
import { type Semaphore, withCheck } from './semaphore.ts'
import type { Source } from './store.ts'
import type { ManifestLookup } from './survey.ts'

export type DiscoverOptions = Readonly<{
  /** Undefined: all. */
  platforms: readonly Platform[] | undefined
  referrers: boolean
  /** No signature is an error. With `referrers: false` the signature must exist, and is not copied. */
  requireSigned?: boolean
  /** What is attached is read for a policy, also where it is not copied. */
  judged?: boolean
  includeForeign?: boolean | readonly string[]
  skipMissing?: boolean
  /** One for each destination: they are asked for each manifest while it is read at the source. */
  lookups?: readonly ManifestLookup[]
  /** What the graphs of the run hold already. */
  held?: Held
  /** Only what this lists is attached to the image, and all of it must be there. */
  approved?: ApprovedAttachments | undefined
}>

/** Builders do not nest indexes deeper than this. The limit bounds how much a hostile registry can make us read. */
const MAX_DEPTH = 8

/** What was found of one manifest: children that are not copied with the reason, and what is attached to it. */
type Found = Readonly<{ manifest: Manifest; left: ReadonlyMap<Digest, string>; attachments: readonly Attachment[] }>

const MISSING = 'the source does not have it'
const SOURCE = { side: 'source' } as const

/**
 * Reads the manifests of an image and of all that is attached to it. Blobs are not read, with two exceptions: the config of a
 * single image when platforms are selected, and signatures under `requireSigned`.
 */
export async function discover(
  source: Source,
  root: Manifest,
  options: DiscoverOptions,
  semaphore: Semaphore,
): Promise<Graph> {
  const budget = createBudget(source.name, options.held ?? { bytes: 0, links: 0 })
  // A manifest that waits for its permit is not read any more once the image has exceeded its budget.
  const permits = withCheck(semaphore, budget.check)
  const { referrers, requireSigned = false, judged = false, skipMissing = false, approved } = options
  const isSought = referrers || requireSigned || judged
  const attachmentsOf = isSought ? createFinder(source, permits, skipMissing, budget, approved) : async () => []
  try {
    const own = await checkPlatform(source, root, options.platforms)
    const found = await explore(source, root, options, permits, budget, attachmentsOf)
    const graph = { ...flatten(root, found, options, () => true), ...own }
    if (requireSigned) await checkSigned(graph, source, permits)
    if (!isSought || (referrers && approved === undefined)) return graph
    return { ...flatten(root, found, options, ({ isLeft }) => referrers && !isLeft), ...own, judged: graph }
  } catch (thrown) {
    budget.release()
    throw thrown
  }
}

/** Finds all manifests, side by side. */
async function explore(
  source: Source,
  root: Manifest,
  options: DiscoverOptions,
  semaphore: Semaphore,
  budget: Budget,
  attachmentsOf: (subject: Digest) => Promise<Attachment[]>,
): Promise<ReadonlyMap<Digest, Found>> {
  const { referrers, skipMissing = false, lookups = [], platforms } = options
  const seen = new Set<Digest>()
  const found = new Map<Digest, Found>()
  const askDestinations = (manifest: Descriptor) => {
    for (const lookup of lookups) void lookup.ask(manifest)
  }
  const visit = async (manifest: Manifest, depth: number, attachments?: Promise<Attachment[]>): Promise<void> => {
    const { digest } = manifest.descriptor
    seen.add(digest)
    budget.count(manifest)
    if (depth > MAX_DEPTH)
      throw new PromoteError('UNSUPPORTED', `${source.name}: the image nests deeper than ${MAX_DEPTH} levels.`, SOURCE)
    const { wanted, left } = choose(manifest, platforms)
    budget.announce(wanted)
    const visitChild = async (child: Descriptor): Promise<void> => {
      askDestinations(child)
      // The digest is known already, so the search for what is attached need not wait for the manifest.
      const attached = ignoreUnhandled(attachmentsOf(child.digest))
      const read = await readChild(source, manifest, child, skipMissing, semaphore)
      if (read === undefined) left.set(child.digest, MISSING)
      else await visit(read, depth + 1, attached)
    }
    const visitAttachment = async ({ manifest: attached, tag }: Attachment): Promise<void> => {
      const { descriptor } = attached
      if (seen.has(descriptor.digest)) return
      // What has a tag in cosign's scheme is asked for by its tag (`attached-tags.ts`).
      if (referrers && tag === undefined) askDestinations(descriptor)
      await visit(attached, depth + 1)
    }
    const [own] = await Promise.all([attachments ?? attachmentsOf(digest), ...wanted.map(visitChild)])
    found.set(digest, { manifest, left, attachments: own })
    await Promise.all(own.map(visitAttachment))
  }
  askDestinations(root.descriptor)
  await visit(root, 0)
  return found
}

/** @returns undefined when the source does not have the child, and `skipMissing` allows that. */
function readChild(source: Source, parent: Manifest, child: Descriptor, skipMissing: boolean, semaphore: Semaphore) {
  return semaphore(() => source.manifest(child), child.size).catch((thrown: unknown) => {
    const platform = child.platform === undefined ? '' : ` (${formatPlatform(child.platform)})`
    const named = `${source.name}: ${parent.descriptor.digest} names ${child.digest}${platform}`
    const hint =
      'Promote only the platforms that are there, with the option platforms, or leave out what is not with skip-missing.'
    return leaveMissing(thrown, skipMissing, named, { message: `${named}, which is not there`, hint })
  })
}

/** Which children of an index are copied, and why the others are not. Nested indexes have no platform: they are searched. */
function choose(manifest: Manifest, platforms: readonly Platform[] | undefined) {
  const children = linked(manifest, 'child')
  const left = new Map<Digest, string>()
  if (platforms === undefined) return { wanted: unique(children), left }
  const fits = (child: Descriptor) =>
    child.platform === undefined || platforms.some((wanted) => matches(wanted, child.platform as Platform))
  const kept = new Set(children.filter((child) => !isAttestation(child) && fits(child)).map((child) => child.digest))
  for (const child of children) {
    const about = child.annotations?.['vnd.docker.reference.digest'] as Digest | undefined
    if (isAttestation(child) && about !== undefined && kept.has(about)) kept.add(child.digest)
    const name = child.platform === undefined ? 'unknown' : formatPlatform(child.platform)
    if (!kept.has(child.digest)) left.set(child.digest, `platform ${name} is not wanted`)
  }
  return { wanted: unique(children.filter((child) => kept.has(child.digest))), left }
}

/** BuildKit lists provenance and SBOM as children of platform unknown/unknown: https://docs.docker.com/build/metadata/attestations/attestation-storage/ */
function isAttestation(child: Descriptor): boolean {
  return child.annotations?.['vnd.docker.reference.type'] === 'attestation-manifest'
}

function unique(descriptors: readonly Descriptor[]): Descriptor[] {
  return [...new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor])).values()]
}

/**
 * The platform of a single image is in its config, not in its manifest.
 * @returns the platform if the config was read.
 * @throws PromoteError PLATFORM_MISSING when the image has none of the wanted platforms.
 */
async function checkPlatform(source: Source, root: Manifest, platforms: readonly Platform[] | undefined) {
  const [config] = linked(root, 'config')
  if (platforms === undefined || root.shape === 'index' || config === undefined || config.size > BLOB_LIMIT) return {}
  const actual = platformOfConfig(await readBlob(source, config))
  if (actual === undefined) return {}
  if (!platforms.some((wanted) => matches(wanted, actual))) throw noPlatform(platforms, [formatPlatform(actual)])
  return { platforms: [formatPlatform(actual)] }
}

function noPlatform(wanted: readonly Platform[], there: readonly string[]): PromoteError {
  const list = wanted.map(formatPlatform).join(', ')
  const message = `the source image has no ${list}; it has ${there.join(', ') || 'no platform at all'}`
  const hint = 'Correct the option platforms, or leave it out to promote all of them.'
  return new PromoteError('PLATFORM_MISSING', message, { side: 'source', hint })
}

/** Puts what was found in upload order: config and layers, children, the manifest itself, then what is attached to it. */
function flatten(
  root: Manifest,
  found: ReadonlyMap<Digest, Found>,
  { platforms, includeForeign = false }: DiscoverOptions,
  isCopied: (attachment: Attachment) => boolean,
): Graph {
  const nodes = new Map<Key, Node>()
  const attached = new Map<string, Attached>()
  const visited = new Set<Digest>()
  const again: Attachment[] = []
  const there: Platform[] = []
  const visit = (digest: Digest, about?: Attachment): void => {
    const known = found.get(digest)
    if (known === undefined || visited.has(digest)) return void (about && again.push(about))
    visited.add(digest)
    const { manifest, left, attachments } = known
    for (const link of manifest.links) if (link.kind === 'blob') addBlob(nodes, link, includeForeign !== false)
    const children = linked(manifest, 'child')
    for (const child of children) if (!left.has(child.digest)) visit(child.digest)
    for (const child of children) {
      if (child.platform !== undefined && !isAttestation(child) && left.get(child.digest) !== MISSING)
        there.push(child.platform)
      addLeftOut(nodes, child, left)
    }
    addManifest(nodes, manifest, about)
    for (const attachment of attachments.filter(isCopied)) {
      const { artifactType, subject, tag = null } = attachment
      const { digest } = attachment.manifest.descriptor
      visit(digest, attachment)
      attached.set(`${digest} ${subject} ${tag}`, { digest, artifactType, subject, tag })
    }
  }
  visit(root.descriptor.digest)
  for (const attachment of again) addManifest(nodes, attachment.manifest, attachment)
  const names = platformNames(root, there, platforms)
  return { root, nodes, attached: [...attached.values()], platforms: names }
}

/** @throws PromoteError PLATFORM_MISSING when an index lacks a wanted platform. */
function platformNames(root: Manifest, there: readonly Platform[], wanted: readonly Platform[] | undefined): string[] {
  const missing = (wanted ?? []).filter((each) => !there.some((actual) => matches(each, actual)))
  if (root.shape === 'index' && missing.length > 0) throw noPlatform(missing, [...new Set(there.map(formatPlatform))])
  const kept = there.filter((actual) => wanted === undefined || wanted.some((each) => matches(each, actual)))
  return [...new Set(kept.map(formatPlatform))]
}

function addManifest(nodes: Map<Key, Node>, manifest: Manifest, about: Attachment | undefined): void {
  const { descriptor } = manifest
  const key = manifestKey(descriptor.digest, about?.tag)
  if (nodes.has(key)) return
  const needs = manifest.links
    .filter((link) => link.role !== 'subject')
    .map((link): Key => `${link.kind} ${link.descriptor.digest}`)
  const subject: Key[] = about === undefined ? [] : [`manifest ${about.subject}`]
  nodes.set(key, {
    key,
    kind: 'manifest',
    descriptor,
    manifest,
    needs: [...new Set([...needs, ...subject])],
    ...(about === undefined ? {} : { attachedTo: about.subject }),
    ...(about?.tag === undefined ? {} : { tag: about.tag }),
  })
}

function addBlob(nodes: Map<Key, Node>, { descriptor }: Link, includeForeign: boolean): void {
  const key: Key = `blob ${descriptor.digest}`
  // The same bytes may be an ordinary layer of another manifest: then they are copied.
  const known = nodes.get(key)
  if (known !== undefined && known.leave === undefined) return
  // OCI image-spec, layer.md "Non-Distributable Layers": the descriptor keeps its URL, and the bytes are not copied.
  const left = isForeign(descriptor) && !includeForeign
  nodes.set(key, {
    key,
    kind: 'blob',
    descriptor,
    needs: [],
    ...(left ? { leave: 'non-distributable layer: its URL stays in the manifest' } : {}),
  })
}

function addLeftOut(nodes: Map<Key, Node>, descriptor: Descriptor, left: ReadonlyMap<Digest, string>): void {
  const leave = left.get(descriptor.digest)
  const key: Key = `manifest ${descriptor.digest}`
  if (leave !== undefined && !nodes.has(key)) nodes.set(key, { key, kind: 'manifest', descriptor, needs: [], leave })
}
