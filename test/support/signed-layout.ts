/** The images in test/support/signing, as they are given to `readEvidence`. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Digest } from '../../src/oci/digest.ts'
import { type Descriptor, type Manifest, readManifest } from '../../src/oci/manifest.ts'

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
