import { ignoreUnhandled } from '../core/async.ts'
import { PromoteError } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'
import { type Descriptor, isForeign, type Link, type Manifest } from '../oci/manifest.ts'
import { formatPlatform, matches, type Platform, platformOfConfig } from '../oci/platform.ts'
import { type Attachment, createFinder } from './attachments.ts'
import { type Budget, createBudget, type Held } from './budget.ts'
import type { Attached } from './events.ts'
import { leaveMissing } from './failures.ts'
import { BLOB_LIMIT, readBlob } from './read-blob.ts'
import { checkSigned } from './require-signed.ts'
import { checked, type Permits } from './semaphore.ts'
import type { Source } from './store.ts'

/**
 * `blob sha256:…` or `manifest sha256:…`: the same bytes may have both roles in one image. `manifest sha256:… TAG` is what
 * a tag of cosign's scheme names; at the destination that tag may have to be merged, and then gets another digest.
 */
export type Key = `${'blob' | 'manifest'} ${Digest}`

export function manifestKey(digest: Digest, tag?: string | null): Key {
  return tag ? `manifest ${digest} ${tag}` : `manifest ${digest}`
}

/** Tagged nodes and manifests that are copied have bytes. */
export function manifestOf({ key, manifest }: Node): Manifest {
  if (manifest === undefined) throw new PromoteError('INTERNAL', `no bytes for ${key}`)
  return manifest
}

export type Node = Readonly<{
  key: Key
  kind: 'blob' | 'manifest'
  descriptor: Descriptor
  /** Of manifests that are copied. */
  manifest?: Manifest
  /** What must be there before this may be written. */
  needs: readonly Key[]
  /** Why it is left out although a manifest names it. */
  leave?: string
  /** Set for what is attached to the image: the manifest that it speaks of, and its tag in cosign's scheme. */
  attachedTo?: Digest
  tag?: string
}>

/** Everything that belongs to one image. Iteration order of `nodes` is upload order. */
export type Graph = Readonly<{
  root: Manifest
  nodes: ReadonlyMap<Key, Node>
  platforms: readonly string[]
  attached: readonly Attached[]
}>

export type DiscoverOptions = Readonly<{
  platforms: readonly Platform[] | undefined
  referrers: boolean
  /** No signature is an error; that of the image may be left behind (`referrers: false`), but it must be there. */
  requireSigned?: boolean
  includeForeign?: boolean
  skipMissing?: boolean
  /**
   * Where the tag is at this image already. That proves no child, so each is asked for: read there instead of at the source,
   * the same request tells what the child consists of.
   */
  mirror?: Promise<Source | undefined>
  /** What the graphs of the run hold already. */
  held?: Held
}>

/** Deeper indexes than this are not made by any builder; it bounds what a hostile registry can make us read. */
const DEPTH = 8

/** A manifest with all that was found below and attached to it. */
type Found = Readonly<{
  manifest: Manifest
  children: readonly Found[]
  left: ReadonlyMap<Digest, string>
  /** Without `found`: met before, in another place of the image or under another tag. */
  attachments: readonly (Readonly<{ found?: Found }> & Attachment)[]
}>

const MISSING = 'the source does not have it'

/** Reads manifests only; blobs are named, not read (but for the config of a single image when platforms are wanted). */
export async function discover(
  source: Source,
  root: Manifest,
  options: DiscoverOptions,
  permits: Permits,
): Promise<Graph> {
  const budget = createBudget(source.name, options.held ?? { bytes: 0, links: 0 })
  // What waits for its turn is not asked for once the image has more than its budget.
  return discoverWithin(budget, source, root, options, checked(permits, budget.check)).catch((thrown: unknown) => {
    budget.release()
    throw thrown
  })
}

async function discoverWithin(
  budget: Budget,
  source: Source,
  root: Manifest,
  options: DiscoverOptions,
  permits: Permits,
): Promise<Graph> {
  const own = await checkPlatform(source, root, options.platforms)
  const { platforms, referrers, requireSigned = false, skipMissing = false } = options
  const attachmentsOf = referrers || requireSigned ? createFinder(source, permits, skipMissing, budget) : async () => []
  const readChild = childReader(source, options, permits)
  const seen = new Set<Digest>()

  const explore = async (manifest: Manifest, depth: number, about?: Promise<Attachment[]>): Promise<Found> => {
    seen.add(manifest.descriptor.digest)
    budget.count(manifest)
    if (depth > DEPTH)
      throw new PromoteError('UNSUPPORTED', `${source.name}: the image nests deeper than ${DEPTH} levels.`, {
        side: 'source',
      })
    const { wanted, left } = choose(manifest, platforms)
    budget.announce(wanted)
    const below = async (child: Descriptor): Promise<Found[]> => {
      // While the manifest is on its way: what is attached to it is found by its digest, which is known.
      const about = ignoreUnhandled(attachmentsOf(child.digest))
      const read = await readChild(manifest, child)
      if (read !== undefined) return [await explore(read, depth + 1, about)]
      left.set(child.digest, MISSING)
      return []
    }
    const [children, attachments] = await Promise.all([
      Promise.all(wanted.map(below)),
      about ?? attachmentsOf(manifest.descriptor.digest),
    ])
    const attached = attachments.map(async (attachment) => {
      const { digest } = attachment.manifest.descriptor
      if (seen.has(digest)) return attachment
      seen.add(digest)
      return { ...attachment, found: await explore(attachment.manifest, depth + 1) }
    })
    return { manifest, children: children.flat(), left, attachments: await Promise.all(attached) }
  }
  const found = await explore(root, 0)
  const graph = { ...flatten(found, options), ...own }
  if (requireSigned) await checkSigned(graph, source, permits)
  return referrers ? graph : { ...flatten(found, options, false), ...own }
}

/** @returns undefined for what is missing, where that may be. */
function childReader(source: Source, { mirror, skipMissing = false }: DiscoverOptions, permits: Permits) {
  return async (parent: Manifest, child: Descriptor): Promise<Manifest | undefined> => {
    const there = await mirror
    const copy = there && (await permits(() => there.manifest(child), child.size).catch(() => undefined))
    if (copy !== undefined) return copy
    return permits(() => source.manifest(child), child.size).catch((thrown: unknown) => {
      const platform = child.platform === undefined ? '' : ` (${formatPlatform(child.platform)})`
      const named = `${source.name}: ${parent.descriptor.digest} names ${child.digest}${platform}`
      const hint =
        'Promote only the platforms that are there, with the option platforms, or leave out what is not with skip-missing.'
      return leaveMissing(thrown, skipMissing, named, { message: `${named}, which is not there`, hint })
    })
  }
}

/** Which children of an index are copied, and why the others are not. Nested indexes are searched, not matched. */
function choose(
  manifest: Manifest,
  platforms: readonly Platform[] | undefined,
): { wanted: Descriptor[]; left: Map<Digest, string> } {
  const children = manifest.links.filter((link) => link.role === 'child').map((link) => link.descriptor)
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

/** BuildKit puts provenance and SBOM beside the platforms, as children of platform unknown/unknown: https://docs.docker.com/build/metadata/attestations/attestation-storage/ */
function isAttestation(child: Descriptor): boolean {
  return child.annotations?.['vnd.docker.reference.type'] === 'attestation-manifest'
}

function unique(descriptors: readonly Descriptor[]): Descriptor[] {
  return [...new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor])).values()]
}

/**
 * A single image has no platform in its manifest; the config says it.
 * @returns its platform, if the config was read.
 */
async function checkPlatform(
  source: Source,
  root: Manifest,
  platforms: readonly Platform[] | undefined,
): Promise<Partial<Pick<Graph, 'platforms'>>> {
  const config = root.links.find((link) => link.role === 'config')?.descriptor
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

/** Post-order: config and layers, children, the manifest itself, then what is attached to it. */
function flatten(found: Found, { platforms, includeForeign = false }: DiscoverOptions, withAttached = true): Graph {
  const nodes = new Map<Key, Node>()
  const attached = new Map<string, Attached>()
  const again: Attachment[] = []
  const there: Platform[] = []
  const attach = ({ manifest, artifactType, subject, tag }: Attachment) => {
    const { digest } = manifest.descriptor
    attached.set(`${digest} ${subject} ${tag}`, { digest, artifactType, subject, tag: tag ?? null })
  }
  const visit = ({ manifest, children, left, attachments }: Found, about?: Attachment): void => {
    if (nodes.has(manifestKey(manifest.descriptor.digest, about?.tag))) return
    for (const link of manifest.links) if (link.kind === 'blob') addBlob(nodes, link, includeForeign)
    for (const child of children) visit(child)
    for (const { descriptor } of manifest.links.filter((link) => link.role === 'child')) {
      const { platform, digest } = descriptor
      if (platform !== undefined && !isAttestation(descriptor) && left.get(digest) !== MISSING) there.push(platform)
      addLeftOut(nodes, descriptor, left)
    }
    addManifest(nodes, manifest, about)
    for (const attachment of withAttached ? attachments : []) {
      if (attachment.found === undefined) again.push(attachment)
      else visit(attachment.found, attachment)
      attach(attachment)
    }
  }
  visit(found)
  for (const attachment of again) addManifest(nodes, attachment.manifest, attachment)
  const missing = (platforms ?? []).filter(
    (wanted) => found.manifest.shape === 'index' && !there.some((actual) => matches(wanted, actual)),
  )
  if (missing.length > 0) throw noPlatform(missing, [...new Set(there.map(formatPlatform))])
  const kept = there.filter((actual) => platforms === undefined || platforms.some((wanted) => matches(wanted, actual)))
  const names = [...new Set(kept.map(formatPlatform))]
  return { root: found.manifest, nodes, attached: [...attached.values()], platforms: names }
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
  // The same bytes may be somebody's ordinary layer.
  const known = nodes.get(key)
  if (known !== undefined && known.leave === undefined) return
  // OCI image-spec, layer.md "Non-Distributable Layers": the URL in the descriptor stays, the bytes do not travel.
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
