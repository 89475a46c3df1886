import { algorithmOf, type Digest, digestOf } from '../oci/digest.ts'
import { type Descriptor, embedded } from '../oci/manifest.ts'
import { formatPlatform, parsePlatform, platformOfConfig } from '../oci/platform.ts'
import type { Target } from '../store/store.ts'
import type { Graph } from './graph.ts'

const CONFIG = /^application\/vnd\.(?:oci\.image\.config|docker\.container\.image)\.v1\+json$/
/** Configs are a few KiB; nothing larger is kept while it passes. */
const LIMIT = 1024 * 1024

/** Only the config of a single image says its platform. No request is made for that: configs are looked into as they pass. */
export function createPlatforms() {
  const seen = new Map<Digest, string | undefined>()
  // Readings are shared by the store that they read from: each has one view.
  const views = new WeakMap<Target, Target>()

  async function* noting({ digest }: Descriptor, body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const chunks: Uint8Array[] = []
    for await (const chunk of body) {
      chunks.push(chunk)
      yield chunk
    }
    const bytes = Buffer.concat(chunks)
    if (digestOf(bytes, algorithmOf(digest)) === digest) seen.set(digest, nameOf(bytes))
  }
  const viewOf = (source: Target): Target => ({
    ...source,
    get listsReferrers() {
      return source.listsReferrers
    },
    async blob(descriptor, offset = 0) {
      const body = await source.blob(descriptor, offset)
      const isConfig = CONFIG.test(descriptor.mediaType) && descriptor.size <= LIMIT && offset === 0
      return isConfig ? noting(descriptor, body) : body
    },
  })
  return {
    watch(source: Target): Target {
      const view = views.get(source) ?? viewOf(source)
      views.set(source, view)
      return view
    },
    of({ root, platforms }: Graph): readonly string[] {
      const config = root.links.find(({ role }) => role === 'config')?.descriptor
      if (config === undefined || !CONFIG.test(config.mediaType)) return platforms
      const data = embedded(config)
      const name = data === undefined ? seen.get(config.digest) : nameOf(data)
      return name === undefined ? platforms : [name]
    },
  }
}

/** Whoever built the image wrote this: what is no platform's name is not repeated in reports. */
function nameOf(config: Uint8Array): string | undefined {
  try {
    const platform = platformOfConfig(config)
    if (platform !== undefined) parsePlatform(formatPlatform(platform))
    return platform && formatPlatform(platform)
  } catch {
    return undefined
  }
}
