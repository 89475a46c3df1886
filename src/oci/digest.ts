import { createHash, type Hash } from 'node:crypto'

export type Algorithm = 'sha256' | 'sha512'
/** OCI image-spec, descriptor.md "Digests": lower-case hex, 64 or 128 characters. */
export type Digest = `${Algorithm}:${string}`

/** What a tag points at. Null: the registry said that the tag does not exist. `unknown`: it was not read, or no answer tells. */
export type TagState = Digest | null | 'unknown'

const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/

export function isDigest(text: string): text is Digest {
  return DIGEST.test(text)
}

export function algorithmOf(digest: Digest): Algorithm {
  return digest.startsWith('sha512:') ? 'sha512' : 'sha256'
}

export function hashFor(digest: Digest): Hash {
  return createHash(algorithmOf(digest))
}

export function digestOf(bytes: Uint8Array, algorithm: Algorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}

/** The first 12 hex characters, for log lines: `sha256:5f2a…` → `5f2a9c31b04e`. */
export function shortDigest(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1).slice(0, 12)
}

/** distribution-spec "Referrers Tag Schema": the tag under which clients keep the referrers of `digest` themselves. */
export function referrersTag(digest: Digest): string {
  const [algorithm = '', hex = ''] = digest.split(':')
  return `${algorithm}-${hex.slice(0, 64)}`
}
