import { type ErrorDetail, PromoteError } from '../errors.ts'
import type { Digest } from '../oci/digest.ts'
import type { Descriptor, Link, Manifest } from '../oci/manifest.ts'
import { formatPlatform, matches, type Platform } from '../oci/platform.ts'
import type { Attached } from '../report/model.ts'
import type { Source } from '../store/store.ts'
import { type Attachment, createFinder } from './attachments.ts'
import type { Permits } from './permits.ts'

/** `blob sha256:…` or `manifest sha256:…`: the same bytes may have both roles in one image. */
export type Key = `${'blob' | 'manifest'} ${Digest}`

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

export type DiscoverOptions = Readonly<{ platforms: readonly Platform[] | undefined; referrers: boolean }>

/** Deeper indexes than this are not made by any builder; it bounds what a hostile registry can make us read. */
const DEPTH = 8
const MOST_MANIFESTS = 10_000

/** A manifest with all that was found below and attached to it. */
type Found = Readonly<{
  manifest: Manifest
  children: readonly Found[]
  left: ReadonlyMap<Digest, string>
  attachments: readonly (Readonly<{ found: Found }> & Attachment)[]
}>

/** Reads manifests only; blobs are named, not read (but for the config of a single image when platforms are wanted). */
export async function discover(
  source: Source,
  root: Manifest,
  options: DiscoverOptions,
  permits: Permits,
): Promise<Graph> {
  await checkPlatform(source, root, options.platforms)
  const attachmentsOf = options.referrers ? createFinder(source, permits) : async () => []
  const seen = new Set<Digest>()

  const explore = async (manifest: Manifest, depth: number): Promise<Found> => {
    seen.add(manifest.descriptor.digest)
    if (depth > DEPTH || seen.size > MOST_MANIFESTS) {
      throw new PromoteError('UNSUPPORTED', `${source.name}: the image nests deeper or wider than any real one`, {
        side: 'source',
      })
    }
    const { wanted, left } = choose(manifest, options.platforms)
    const [children, attachments] = await Promise.all([
      Promise.all(
        wanted.map(async (child) =>
          explore(await permits(() => source.manifest(child)).catch(missingChild(source, manifest, child)), depth + 1),
        ),
      ),
      attachmentsOf(manifest.descriptor.digest),
    ])
    const fresh = attachments.filter(({ manifest: found }) => !seen.has(found.descriptor.digest))
    for (const { manifest: found } of fresh) seen.add(found.descriptor.digest)
    const explored = await Promise.all(
      fresh.map(async (attachment) => ({ ...attachment, found: await explore(attachment.manifest, depth + 1) })),
    )
    return { manifest, children, left, attachments: explored }
  }
  const found = await explore(root, 0)
  return flatten(found, options.platforms)
}

function missingChild(source: Source, parent: Manifest, child: Descriptor) {
  return (thrown: unknown): never => {
    if (!(thrown instanceof PromoteError) || thrown.code !== 'NOT_FOUND') throw thrown
    const detail: ErrorDetail = {
      side: 'source',
      cause: thrown,
      hint: 'Promote only the platforms that are there, with the option platforms.',
    }
    const platform = child.platform === undefined ? '' : ` (${formatPlatform(child.platform)})`
    throw new PromoteError(
      'NOT_FOUND',
      `${source.name}: ${parent.descriptor.digest} names ${child.digest}${platform}, which is not there`,
      detail,
    )
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
    if (!kept.has(child.digest))
      left.set(
        child.digest,
        `platform ${child.platform === undefined ? 'unknown' : formatPlatform(child.platform)} is not wanted`,
      )
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

/** A single image has no platform in its manifest; the config says it. */
async function checkPlatform(
  source: Source,
  root: Manifest,
  platforms: readonly Platform[] | undefined,
): Promise<void> {
  const config = root.links.find((link) => link.role === 'config')?.descriptor
  if (platforms === undefined || root.shape === 'index' || config === undefined || config.size > 4 * 1024 * 1024) return
  const chunks: Uint8Array[] = []
  for await (const chunk of await source.blob(config)) chunks.push(chunk)
  const actual = platformOfConfig(Buffer.concat(chunks))
  if (actual !== undefined && !platforms.some((wanted) => matches(wanted, actual)))
    throw noPlatform(platforms, [formatPlatform(actual)])
}

function platformOfConfig(bytes: Uint8Array): Platform | undefined {
  try {
    const { os, architecture, variant } = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>
    if (typeof os !== 'string' || typeof architecture !== 'string') return undefined
    return { os, architecture, ...(typeof variant === 'string' ? { variant } : {}) }
  } catch {
    return undefined // an artifact: its config is no image config, and it has no platform
  }
}

function noPlatform(wanted: readonly Platform[], there: readonly string[]): PromoteError {
  const list = wanted.map(formatPlatform).join(', ')
  return new PromoteError(
    'PLATFORM_MISSING',
    `the source image has no ${list}; it has ${there.join(', ') || 'no platform at all'}`,
    {
      side: 'source',
      hint: 'Correct the option platforms, or leave it out to promote all of them.',
    },
  )
}

/** Post-order: config and layers, children, the manifest itself, then what is attached to it. */
function flatten(found: Found, platforms: readonly Platform[] | undefined): Graph {
  const nodes = new Map<Key, Node>()
  const attached: Attached[] = []
  const there: Platform[] = []
  const visit = ({ manifest, children, left, attachments }: Found, about?: Attachment): void => {
    const key: Key = `manifest ${manifest.descriptor.digest}`
    if (nodes.has(key)) return
    for (const link of manifest.links) if (link.kind === 'blob') addBlob(nodes, link)
    for (const child of children) visit(child)
    for (const link of manifest.links.filter((each) => each.role === 'child')) {
      if (link.descriptor.platform !== undefined && !isAttestation(link.descriptor))
        there.push(link.descriptor.platform)
      addLeftOut(nodes, link.descriptor, left)
    }
    const needs = manifest.links
      .filter((link) => link.role !== 'subject')
      .map((link): Key => `${link.kind} ${link.descriptor.digest}`)
    const subject: Key[] = about === undefined ? [] : [`manifest ${about.subject}`]
    nodes.set(key, {
      key,
      kind: 'manifest',
      descriptor: manifest.descriptor,
      manifest,
      needs: [...new Set([...needs, ...subject])],
      ...(about === undefined ? {} : { attachedTo: about.subject }),
      ...(about?.tag === undefined ? {} : { tag: about.tag }),
    })
    for (const attachment of attachments) {
      visit(attachment.found, attachment)
      const { digest } = attachment.found.manifest.descriptor
      attached.push({
        digest,
        artifactType: attachment.artifactType,
        subject: attachment.subject,
        tag: attachment.tag ?? null,
      })
    }
  }
  visit(found)
  const missing = (platforms ?? []).filter(
    (wanted) => found.manifest.shape === 'index' && !there.some((actual) => matches(wanted, actual)),
  )
  if (missing.length > 0) throw noPlatform(missing, [...new Set(there.map(formatPlatform))])
  const kept = there.filter((actual) => platforms === undefined || platforms.some((wanted) => matches(wanted, actual)))
  return { root: found.manifest, nodes, attached, platforms: [...new Set(kept.map(formatPlatform))] }
}

function addBlob(nodes: Map<Key, Node>, { descriptor }: Link): void {
  const key: Key = `blob ${descriptor.digest}`
  if (nodes.has(key)) return
  // OCI image-spec, layer.md "Non-Distributable Layers": the URL in the descriptor stays, the bytes do not travel.
  const foreign = (descriptor.urls?.length ?? 0) > 0 && /nondistributable|\.foreign\./.test(descriptor.mediaType)
  nodes.set(key, {
    key,
    kind: 'blob',
    descriptor,
    needs: [],
    ...(foreign ? { leave: 'non-distributable layer: its URL stays in the manifest' } : {}),
  })
}

function addLeftOut(nodes: Map<Key, Node>, descriptor: Descriptor, left: ReadonlyMap<Digest, string>): void {
  const leave = left.get(descriptor.digest)
  const key: Key = `manifest ${descriptor.digest}`
  if (leave !== undefined && !nodes.has(key)) nodes.set(key, { key, kind: 'manifest', descriptor, needs: [], leave })
}
