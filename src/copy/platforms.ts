import type { Digest } from '../oci/digest.ts'
import { type Descriptor, embedded, linked } from '../oci/manifest.ts'
import { formatPlatform, parsePlatform, platformOfConfig } from '../oci/platform.ts'
import type { Graph } from './graph.ts'

const CONFIG = /^application\/vnd\.(?:oci\.image\.config|docker\.container\.image)\.v1\+json$/
/** Configs are a few KiB. A larger one is not kept in memory. */
const LIMIT = 1024 * 1024

export function isPlatformConfig({ mediaType, size }: Descriptor): boolean {
  return CONFIG.test(mediaType) && size <= LIMIT
}

/** The platforms of single images, which are only in their configs. They are noted when a config is copied, without a request. */
export class Platforms {
  readonly #names = new Map<Digest, string | undefined>()

  note(config: Digest, bytes: Uint8Array): void {
    this.#names.set(config, nameOf(bytes))
  }

  of({ root, platforms }: Graph): readonly string[] {
    const [config] = linked(root, 'config')
    if (config === undefined || !CONFIG.test(config.mediaType)) return platforms
    const data = embedded(config)
    const name = data === undefined ? this.#names.get(config.digest) : nameOf(data)
    return name === undefined ? platforms : [name]
  }
}

/** The content of a config is untrusted: only valid names of platforms get into reports. */
function nameOf(config: Uint8Array): string | undefined {
  try {
    const platform = platformOfConfig(config)
    if (platform !== undefined) parsePlatform(formatPlatform(platform))
    return platform && formatPlatform(platform)
  } catch {
    return undefined
  }
}
