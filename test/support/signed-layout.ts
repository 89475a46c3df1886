/** The images in test/support/signing, as they are given to `readEvidence`. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Digest } from '../../src/oci/digest.ts'
import { type Descriptor, type Manifest, readManifest } from '../../src/oci/manifest.ts'
import { describeReferrer } from '../../src/oci/referrer.ts'
import { type BuiltImage, fallbackTag, makeFallbackIndex, type Seedable, seedImage } from './cluster/image.ts'

// Runs from build/test/support.
const SIGNING = join(import.meta.dirname, '..', '..', '..', 'test', 'support', 'signing')
const NAME = 'org.opencontainers.image.ref.name'

export const textOf = (name: string): string => readFileSync(join(SIGNING, name), 'utf8')
export const read = async ({ digest }: Pick<Descriptor, 'digest'>): Promise<Uint8Array> => blobOf(digest)

const blobOf = (digest: string): Buffer => readFileSync(join(SIGNING, 'layout', 'blobs', ...digest.split(':')))
const manifestOf = (digest: Digest): Manifest => readManifest(blobOf(digest), undefined, digest)

const index = readManifest(readFileSync(join(SIGNING, 'layout', 'index.json')), undefined)
const entries = index.links.map(({ descriptor }) => ({
  manifest: manifestOf(descriptor.digest),
  tag: descriptor.annotations?.[NAME] ?? null,
}))

/** @param child the first child of the index instead of the index. */
export function imageOf(tag: string, child = false): Manifest {
  const found = entries.find((each) => each.tag === tag)?.manifest
  const inner = found?.links.find(({ role }) => role === 'child')?.descriptor.digest
  if (found === undefined || (child && inner === undefined)) throw new Error(`The layout has no ${tag}.`)
  return child && inner !== undefined ? manifestOf(inner) : found
}

/** Referrers, and what the tags `.sig` and `.att` name. */
export function attachedTo({ descriptor: { digest } }: Manifest) {
  const isReferrer = ({ links }: Manifest) =>
    links.some(({ role, descriptor }) => role === 'subject' && descriptor.digest === digest)
  const tags = ['.sig', '.att'].map((suffix) => digest.replace(':', '-') + suffix)
  return [
    ...entries.filter(({ manifest }) => isReferrer(manifest)).map(({ manifest }) => ({ manifest, tag: null })),
    ...entries.filter(({ tag }) => tags.includes(tag ?? '')),
  ]
}

/** The image of that tag, as an image that a registry can be seeded with: with its children and everything that is attached. */
export function signedImage(tag: string): BuiltImage & Readonly<{ attached: ReadonlyMap<string, BuiltImage> }> {
  const image = imageOf(tag)
  const children = image.links
    .filter(({ role }) => role === 'child')
    .map(({ descriptor }) => manifestOf(descriptor.digest))
  const attached = [image, ...children].flatMap(attachedTo)
  const named = attached.map(
    ({ manifest, tag: name }) => [name ?? manifest.descriptor.digest, builtOf([manifest])] as const,
  )
  return { ...builtOf([...children, image]), attached: new Map(named) }
}

/** Puts it there under the tag `1`. Referrers are listed under tags too, which is what registries without the API need. */
export function seedSigned(into: Seedable, repository: string, tag: string): Digest {
  const image = signedImage(tag)
  seedImage(into, repository, image, '1')
  const lists = new Map<Digest, Descriptor[]>()
  for (const [name, each] of image.attached) {
    seedImage(into, repository, each, name.startsWith('sha256:') ? undefined : name)
    const manifest = manifestOf(each.root.digest)
    const subject = manifest.links.find(({ role }) => role === 'subject')?.descriptor.digest
    if (subject !== undefined) lists.set(subject, [...(lists.get(subject) ?? []), describeReferrer(manifest)])
  }
  for (const [subject, list] of lists) {
    const index = makeFallbackIndex(list)
    seedImage(into, repository, { root: index, manifests: [index], blobs: new Map(), large: [] }, fallbackTag(subject))
  }
  return image.root.digest
}

function builtOf(all: readonly Manifest[]): BuiltImage {
  const manifests = all.map(({ bytes, descriptor: { digest, mediaType } }) => ({ digest, mediaType, bytes }))
  const blobs = all.flatMap(({ links }) =>
    links.filter(({ kind }) => kind === 'blob').map(({ descriptor }) => descriptor.digest),
  )
  const root = manifests.at(-1)
  if (root === undefined) throw new Error('There is no manifest.')
  return { root, manifests, large: [], blobs: new Map(blobs.map((digest) => [digest, blobOf(digest)])) }
}
