import { quote } from '../core/text.ts'
import { asPromoteError, PromoteError } from '../errors.ts'
import { discard, header } from '../http/answer.ts'
import { isBulk, type Req, type Res } from '../http/send.ts'
import { shortDigest } from '../oci/digest.ts'
import { type Descriptor, embedded } from '../oci/manifest.ts'
import type { Endpoint } from './endpoint.ts'
import { contentLength, parseContentRange } from './wire.ts'

/** Where blobs are: a repository, or one address outside of it. */
export type BlobPlace = Pick<Endpoint, 'side' | 'name' | 'url' | 'call' | 'verdict'>

/**
 * Opens a blob at `offset`. Always from the registry's own address: what it redirects to is signed for a few minutes.
 * The bytes are counted, not hashed: who reads from several places (resumption) hashes over all of them.
 */
export async function openBlob(
  endpoint: BlobPlace,
  blob: Descriptor,
  offset: number,
): Promise<AsyncIterable<Uint8Array>> {
  const data = embedded(blob)
  if (data !== undefined) return one(data.subarray(offset))
  if (offset > 0 && offset >= blob.size) return one(new Uint8Array())
  const what = `reading blob ${shortDigest(blob.digest)}`
  const { res, start } = await open(endpoint, blob, offset, what)
  const length = contentLength(header(res, 'content-length'))
  const encoding = header(res, 'content-encoding') ?? 'identity'
  if (length !== undefined && encoding === 'identity' && start + length > blob.size && res.status === 200) {
    await discard(res)
    throw wrongSize(endpoint, blob, what, `${start + length} bytes are offered`)
  }
  return counted(endpoint, blob, res, { start, offset, what, encoding })
}

/** @returns an answer whose first byte is byte `start` of the blob, `start` ≤ `offset`. */
async function open(
  endpoint: BlobPlace,
  blob: Descriptor,
  offset: number,
  what: string,
): Promise<Readonly<{ res: Res; start: number }>> {
  const get = (range: string | undefined): Promise<Res> =>
    endpoint
      .call('pull', {
        method: 'GET',
        url: endpoint.url(`blobs/${blob.digest}`),
        // Proxies that compress on the way would change what is counted and hashed.
        headers: { 'accept-encoding': 'identity', ...(range === undefined ? {} : { range }) },
        long: true,
        bulk: isBulk(blob.size - offset),
      })
      .catch((thrown: unknown) => {
        throw spent(thrown, endpoint)
      })
  let res = await get(offset > 0 ? `bytes=${offset}-` : undefined)
  if (res.status === 206) {
    const range = parseContentRange(header(res, 'content-range'))
    const usable =
      range !== undefined && range.from <= offset && offset <= range.to && (range.total ?? blob.size) === blob.size
    if (usable) return { res, start: range.from }
  }
  if (offset > 0 && (res.status === 206 || res.status === 416)) {
    // Another range than the one asked for (multipart from some CDNs), or "not satisfiable" inside the blob.
    await discard(res)
    res = await get(undefined)
  }
  if (res.status !== 200) throw spent(await endpoint.verdict(res, what, 'pull'), endpoint)
  return { res, start: 0 }
}

/** The HTTP layer has tried this often enough; whoever resumes the body does not multiply those tries by its own. */
function spent(thrown: unknown, endpoint: BlobPlace): PromoteError {
  const error = asPromoteError(thrown, endpoint.side)
  return error.transient
    ? new PromoteError(error.code, error.message, { ...error, cause: error.cause, transient: false })
    : error
}

type Reading = Readonly<{ start: number; offset: number; what: string; encoding: string }>

async function* counted(endpoint: BlobPlace, blob: Descriptor, res: Res, reading: Reading): AsyncGenerator<Uint8Array> {
  const { what, offset, encoding } = reading
  let at = reading.start
  try {
    for await (const chunk of res.body) {
      const skip = Math.max(0, Math.min(chunk.byteLength, offset - at))
      at += chunk.byteLength
      if (at > blob.size) {
        const hint = encoding === 'identity' ? '' : `, encoded as ${quote(encoding, 40)}`
        throw wrongSize(endpoint, blob, what, `more came${hint}`)
      }
      if (skip < chunk.byteLength) yield skip === 0 ? chunk : chunk.subarray(skip)
    }
  } catch (thrown) {
    throw asPromoteError(thrown, endpoint.side)
  }
  if (at < blob.size)
    throw new PromoteError('NETWORK', `${endpoint.name}: ${what}: the answer ended at byte ${at} of ${blob.size}.`, {
      side: endpoint.side,
      transient: true,
    })
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.byteLength > 0) yield bytes
}

function wrongSize(endpoint: BlobPlace, blob: Descriptor, what: string, found: string): PromoteError {
  return new PromoteError(
    'DIGEST_MISMATCH',
    `${endpoint.name}: ${what}: the manifest says ${blob.size} bytes, ${found}.`,
    { side: endpoint.side, hint: 'The registry or a proxy serves damaged content for this digest.' },
  )
}

/** @param sure ask until there is an answer; otherwise this is a hint and false is cheap. */
export async function isStored(endpoint: Endpoint, blob: Descriptor, sure: boolean): Promise<boolean> {
  const { importFree } = (await endpoint.evidence()) ?? { importFree: true }
  if (importFree === false) return false
  return isThere(endpoint, blob, sure, importFree ? () => true : (res) => isFromStorage(endpoint, blob, res))
}

/**
 * OpenShift's registry writes the digest in an entity tag with quotes when the blob is in its storage, and without them
 * when it asks another registry (openshift/image-registry pullthroughblobstore.go setResponseHeaders). It redirects only
 * to its own storage.
 */
function isFromStorage(endpoint: Endpoint, { digest }: Descriptor, res: Res): boolean {
  return res.url.origin !== endpoint.base.origin || header(res, 'etag') === `"${digest}"`
}

async function isThere(
  endpoint: BlobPlace,
  blob: Descriptor,
  sure: boolean,
  isFine: (res: Res) => boolean,
): Promise<boolean> {
  const request: Req = {
    method: 'HEAD',
    url: endpoint.url(`blobs/${blob.digest}`),
    headers: { 'accept-encoding': 'identity' },
    ...(sure ? {} : { retry: false }),
  }
  try {
    const res = await endpoint.call('pull', request)
    await discard(res)
    const length = header(res, 'content-length')
    return res.status === 200 && (length === undefined || Number(length) === blob.size) && isFine(res)
  } catch (thrown) {
    if (sure || (thrown instanceof PromoteError && thrown.code === 'CANCELLED')) throw thrown
    return false
  }
}
