import type { Target } from '../copy/store.ts'
import type { ByteStream } from '../core/async.ts'
import { asPromoteError, PromoteError, type Side } from '../core/errors.ts'
import { displayUrl, quote } from '../core/text.ts'
import { registryError } from '../http/response.ts'
import { type Descriptor, isForeign } from '../oci/manifest.ts'
import type { Send } from '../transport/request.ts'
import { type BlobPlace, openBlob } from './blobs.ts'
import type { RegistryOptions } from './endpoint.ts'

/** Mirrors of one layer that are tried. */
const MOST_URLS = 8

/**
 * The store, and beside it the addresses that manifests name for layers which a registry need not hold.
 * @param send without any credential, and only to public addresses: every pusher can write these URLs.
 */
export function withForeign(store: Target, send: Send, options: Pick<RegistryOptions, 'side' | 'context'>): Target {
  const fromUrls = async (blob: Descriptor, offset: number, reason: PromoteError): Promise<ByteStream> => {
    let last = reason
    for (const text of (blob.urls ?? []).slice(0, MOST_URLS)) {
      try {
        if (!URL.canParse(text)) throw new PromoteError('PROTOCOL', `${quote(text, 200)} is not a URL.`)
        return await openBlob(placeOf(new URL(text), send, store.name, options.side), blob, offset)
      } catch (thrown) {
        last = asPromoteError(thrown, options.side)
        if (last.code === 'CANCELLED') throw last
        options.context.log.debug(`${store.name}: ${last.message}`)
      }
    }
    throw last
  }
  return {
    ...store,
    get listsReferrers() {
      return store.listsReferrers
    },
    async blob(descriptor, offset = 0) {
      try {
        return await store.blob(descriptor, offset)
      } catch (thrown) {
        const absent = thrown instanceof PromoteError && thrown.code === 'NOT_FOUND'
        if (!absent || !isForeign(descriptor)) throw thrown
        return fromUrls(descriptor, offset, thrown)
      }
    },
  }
}

/** What a registry is for one address that holds one blob. */
function placeOf(url: URL, send: Send, name: string, side: Side): BlobPlace {
  return {
    side,
    name: `${name} (layer at ${url.host})`,
    url: () => url,
    call: (_access, request) => send(request),
    toError: (res, what) => registryError(res, { side, what: `${displayUrl(url)}: ${what}` }),
  }
}
