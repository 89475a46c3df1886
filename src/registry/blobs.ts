import { provingAnswers } from '../copy/store.ts'
import { type ByteStream, bodyOf } from '../core/async.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import { quote } from '../core/text.ts'
import { isFromStorage } from '../http/quirks.ts'
import { header } from '../http/response.ts'
import { shortDigest } from '../oci/digest.ts'
import { type Descriptor, embedded } from '../oci/manifest.ts'
import { discard, isBulk, type Request, type Response } from '../transport/request.ts'
import type { Endpoint } from './endpoint.ts'
import { contentLength, parseContentRange } from './headers.ts'

/** Where blobs are: a repository, or one address outside of it. */
export type BlobPlace = Pick<Endpoint, 'side' | 'name' | 'url' | 'call' | 'toError'>

/**
 * Opens a blob at `offset`. Always from the registry's own address: what it redirects to is signed for a few minutes.
 * The bytes are counted, not hashed: a caller that resumes hashes over all of its reads.
 */
export async function openBlob(endpoint: BlobPlace, blob: Descriptor, offset: number): Promise<ByteStream> {
  const data = embedded(blob)
  if (data !== undefined) return bodyOf(data.subarray(offset))
  if (offset > 0 && offset >= blob.size) return bodyOf(new Uint8Array())
  const reading = { endpoint, blob, offset, what: `reading blob ${shortDigest(blob.digest)}` }
  const { res, start } = await open(reading)
  const length = contentLength(header(res, 'content-length'))
  if (length !== undefined && encodingOf(res) === 'identity' && start + length > blob.size && res.status === 200) {
    await discard(res)
    throw wrongSize(reading, `${start + length} bytes are offered`)
  }
  return counted(reading, res, start)
}

type Reading = Readonly<{ endpoint: BlobPlace; blob: Descriptor; offset: number; what: string }>

function encodingOf(res: Response): string {
  return header(res, 'content-encoding') ?? 'identity'
}

/** @returns an answer whose first byte is byte `start` of the blob, `start` ≤ `offset`. */
async function open({ endpoint, blob, offset, what }: Reading): Promise<Readonly<{ res: Response; start: number }>> {
  const get = (range: string | undefined): Promise<Response> =>
    endpoint
      .call('pull', {
        method: 'GET',
        url: endpoint.url(`blobs/${blob.digest}`),
        // Proxies that compress on the way would change what is counted and hashed.
        headers: { 'accept-encoding': 'identity', ...(range === undefined ? {} : { range }) },
        isBlob: true,
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
  if (res.status !== 200) throw spent(await endpoint.toError(res, what, 'pull'), endpoint)
  return { res, start: 0 }
}

/** The HTTP layer has tried this often enough: the caller, which resumes bodies, does not try it again. */
function spent(thrown: unknown, endpoint: BlobPlace): PromoteError {
  return asPromoteError(thrown, endpoint.side).with({ transient: false })
}

async function* counted(reading: Reading, res: Response, start: number): AsyncGenerator<Uint8Array> {
  const { endpoint, blob, offset, what } = reading
  const encoding = encodingOf(res)
  let at = start
  try {
    for await (const chunk of res.body) {
      const skip = Math.max(0, Math.min(chunk.byteLength, offset - at))
      at += chunk.byteLength
      if (at > blob.size) {
        const hint = encoding === 'identity' ? '' : `, encoded as ${quote(encoding, 40)}`
        throw wrongSize(reading, `more came${hint}`)
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

function wrongSize({ endpoint, blob, what }: Reading, found: string): PromoteError {
  const { name, side } = endpoint
  const hint = 'The registry or a proxy serves damaged content for this digest.'
  const message = `${name}: ${what}: the manifest says ${blob.size} bytes, ${found}.`
  return new PromoteError('DIGEST_MISMATCH', message, { side, hint })
}

/** What the registry says of a blob whose size no manifest has. */
export async function offeredSize(endpoint: BlobPlace, { digest }: Descriptor): Promise<number | undefined> {
  const headers = { 'accept-encoding': 'identity' }
  const res = await endpoint.call('pull', { method: 'HEAD', url: endpoint.url(`blobs/${digest}`), headers })
  await discard(res)
  return res.status === 200 ? contentLength(header(res, 'content-length')) : undefined
}

/** @param sure ask until there is an answer; otherwise this is a hint and false is cheap. */
export async function isStored(endpoint: Endpoint, blob: Descriptor, sure: boolean): Promise<boolean> {
  const proving = provingAnswers(await endpoint.evidence())
  if (proving === 'none') return false
  const res = await probe(endpoint, `blobs/${blob.digest}`, { 'accept-encoding': 'identity' }, sure)
  if (res?.status !== 200) return false
  const length = header(res, 'content-length')
  const isWhole = length === undefined || Number(length) === blob.size
  return isWhole && (proving === 'all' || isFromStorage(res, endpoint.base, blob.digest))
}

/**
 * A HEAD whose failure means "not known to be there".
 * @param sure failures are thrown, after the usual tries; otherwise only the end of the run is.
 */
export async function probe(endpoint: Endpoint, path: string, headers: Request['headers'], sure = false) {
  const request = { method: 'HEAD', url: endpoint.url(path), headers, ...(sure ? {} : { retry: false }) } as const
  try {
    const res = await endpoint.call('pull', request)
    await discard(res)
    return res
  } catch (thrown) {
    if (sure || endpoint.context.signal.aborted) throw thrown
    return undefined
  }
}
