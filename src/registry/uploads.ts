import type { Upload, UploadStart } from '../copy/store.ts'
import type { ByteStream } from '../core/async.ts'
import { PromoteError, undefinedIf } from '../core/errors.ts'
import { isEmpty400 } from '../http/quirks.ts'
import { header } from '../http/response.ts'
import { algorithmOf, isDigest, shortDigest } from '../oci/digest.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { type Body, discard, isBulk, type Response } from '../transport/request.ts'
import { isStored } from './blobs.ts'
import type { Endpoint } from './endpoint.ts'
import { bytesKept, chunkMinimum, withDigest } from './headers.ts'
import { addressIn, cancelUpload, follow, type UploadAddress } from './upload-address.ts'

/** What one repository has taught us about its uploads. */
export type UploadLimits = {
  /** False once `mount=D&from=<itself>` was refused: then HEAD asks and a plain POST begins. */
  probes: boolean
  /** Bytes in one request, once a body was too large for the registry or for a proxy before it. */
  largest: number | undefined
}

const MIB = 1024 * 1024
/** First size after a 413; nginx's and Cloudflare's defaults (1 MiB, 100 MiB) are on either side. */
const FIRST_CHUNK = 64 * MIB
/** nginx `client_max_body_size` is 1 MiB by default, the smallest limit in use. */
const SMALLEST_CHUNK = MIB
/** A quarter, not a half: 64, 16, 4, 1 MiB are found within the five tries that a transfer has by default. */
const SHRINK = 4
/** Registries read a blob once more when it is committed, and object stores copy it; slower than this is a stall. */
const COMMIT_SPEED = (16 * MIB) / 1000

/** A blob that is to be uploaded to a repository. */
type NewUpload = Readonly<{ endpoint: Endpoint; limits: UploadLimits; blob: Descriptor }>

/** One upload session; every answer moves it on. */
type UploadSession = UploadAddress &
  NewUpload & {
    readonly what: string
    /** `OCI-Chunk-Min-Length`. */
    minimum: number
    /** The most bytes that the store has said it keeps. */
    kept: number
    /** Answers that refused the credential, and 416, since something was accepted. */
    refused: number
    stale: number
  }

/** Asks for the blob and begins its upload in one request: distribution-spec "Mounting a blob from another repository". */
export async function startUpload(upload: NewUpload, mountFrom: string | undefined): Promise<UploadStart> {
  const { endpoint, limits, blob } = upload
  for (const from of new Set([mountFrom, endpoint.repository])) {
    if (from === undefined || (from === endpoint.repository && !limits.probes)) continue
    const begun = await tryMount(upload, from)
    if (begun !== undefined) return begun
  }
  if (await isStored(endpoint, blob, false)) return { state: 'present' }
  const res = await startSession(endpoint, blob)
  limits.probes = false
  return { state: 'open', upload: openSession(upload, res) }
}

/**
 * @returns undefined when the registry refuses, whatever it says: that decides nothing. Registries refuse a mount with
 * 400 to 415, 422, 500, 501 or 503, and token services the scope of the other repository. The plain upload tells what is wrong.
 */
async function tryMount(upload: NewUpload, from: string): Promise<UploadStart | undefined> {
  const { endpoint, blob } = upload
  const own = from === endpoint.repository
  const query = `?mount=${blob.digest}&from=${encodeURIComponent(from).replaceAll('%2F', '/')}`
  const scopes = own ? [] : [`repository:${from}:pull`]
  // Token services may refuse the scope of the other repository; a credential that is rejected for this one is not tried again.
  const unlessRejected = undefinedIf(({ code, transient }) => code !== 'CANCELLED' && (!own || transient))
  const first = await post(endpoint, query, scopes, false).catch(unlessRejected)
  if (first !== undefined) await discard(first)
  // 429 is not a refusal: the request is repeated later.
  const res = first?.status === 429 ? await post(endpoint, query, scopes) : first
  if (res === undefined) return undefined
  if (res !== first) await discard(res)
  if (res.status === 202) return { state: 'open', upload: openSession(upload, res) }
  const stored = header(res, 'docker-content-digest') ?? blob.digest
  return res.status !== 201 || stored !== blob.digest ? undefined : { state: own ? 'present' : 'mounted' }
}

/** A plain upload session; nothing is sent yet. */
async function startSession(endpoint: Endpoint, blob: Descriptor): Promise<Response> {
  const res = await post(endpoint, '')
  if (![200, 201, 202].includes(res.status))
    throw await endpoint.toError(res, `beginning the upload of blob ${shortDigest(blob.digest)}`, 'push')
  await discard(res)
  return res
}

function post(endpoint: Endpoint, query: string, scopes?: readonly string[], retry?: boolean): Promise<Response> {
  const url = endpoint.url(`blobs/uploads/${query}`)
  return endpoint.call('push', { method: 'POST', url, scopes, body: new Uint8Array(), retry })
}

/** @param opened the 202 of the POST that began it. */
function openSession(upload: NewUpload, opened: Response): Upload {
  const session: UploadSession = {
    ...upload,
    what: `uploading blob ${shortDigest(upload.blob.digest)}`,
    ...entered(upload.endpoint, opened),
    kept: 0,
    refused: 0,
    stale: 0,
  }
  return {
    send: (from, body) => sendFrom(session, from, body),
    offset: (restart) => keptBytes(session, restart ?? false),
    cancel: () => cancelUpload(session),
  }
}

function entered(endpoint: Endpoint, opened: Response): Pick<UploadSession, 'location' | 'leftOrigin' | 'minimum'> {
  return { ...addressIn(endpoint, opened), minimum: chunkMinimum(header(opened, 'oci-chunk-min-length')) }
}

async function sendFrom(session: UploadSession, from: number, body: ByteStream): Promise<void> {
  const { size } = session.blob
  const { largest } = session.limits
  const limit = largest === undefined ? size : Math.max(largest, session.minimum)
  const iterator = body[Symbol.asyncIterator]()
  const stream = { [Symbol.asyncIterator]: () => iterator }
  try {
    if (from === 0 && 0 < size && size <= limit) await commit(session, { size, stream }, size)
    else await sendPieces(session, from, limit, createCutter(iterator))
  } finally {
    // A registry may answer before it has read everything. The source's connection is freed then.
    await iterator.return?.().catch(() => undefined)
  }
}

/** PATCH what is missing, then commit with an empty PUT: understood wherever a session can be continued at all. */
async function sendPieces(session: UploadSession, from: number, limit: number, pieces: Cutter): Promise<void> {
  const { size } = session.blob
  for (let at = from; at < size; ) {
    const length = Math.min(limit, size - at)
    // Without the unit `bytes`: distribution-spec "Pushing a blob in chunks".
    const range = { 'content-range': `${at}-${at + length - 1}` }
    const body = { size: length, stream: pieces.take(length) }
    const res = await request(session, { method: 'PATCH', url: session.location, body, length, headers: range })
    follow(session, res)
    at += length
  }
  await pieces.end()
  await commit(session, new Uint8Array(), 0)
}

type Cutter = ReturnType<typeof createCutter>

/** Cuts one body into pieces of chosen lengths, one after the other, without keeping more than a chunk. */
function createCutter(iterator: AsyncIterator<Uint8Array>) {
  let rest: Uint8Array = new Uint8Array()
  async function* take(length: number): AsyncGenerator<Uint8Array> {
    for (let missing = length; missing > 0; ) {
      if (rest.byteLength === 0) {
        const step = await iterator.next()
        if (step.done === true) return
        rest = step.value
      }
      const piece = rest.subarray(0, missing)
      rest = rest.subarray(piece.byteLength)
      missing -= piece.byteLength
      if (piece.byteLength > 0) yield piece
    }
  }
  return {
    take,
    /** Reads to the end, where the body may still say that it was wrong. */
    async end(): Promise<void> {
      const step = rest.byteLength > 0 ? undefined : await iterator.next()
      if (step?.done !== true) throw new PromoteError('INTERNAL', 'The body is longer than the blob.')
    },
  }
}

async function commit(session: UploadSession, body: Body, length: number): Promise<void> {
  const { endpoint, blob, what } = session
  const res = await request(session, { method: 'PUT', url: withDigest(session.location, blob.digest), body, length })
  const stored = header(res, 'docker-content-digest') ?? ''
  const comparable = isDigest(stored) && algorithmOf(stored) === algorithmOf(blob.digest)
  if (!comparable || stored === blob.digest) return
  const message = `${endpoint.name}: ${what}: the registry stored ${stored}, sent was ${blob.digest}.`
  throw new PromoteError('DIGEST_MISMATCH', message, { side: endpoint.side })
}

type Part = Readonly<{
  method: 'PATCH' | 'PUT'
  url: URL
  body: Body
  /** Bytes of the body. */
  length: number
  headers?: Readonly<Record<string, string>>
}>

async function request(session: UploadSession, { method, url, body, length, headers }: Part): Promise<Response> {
  const { endpoint, blob } = session
  const res = await endpoint.call('push', {
    method,
    url,
    headers: { 'content-type': 'application/octet-stream', ...headers },
    body,
    leftOrigin: session.leftOrigin,
    // An empty body can be sent again by the HTTP layer; a stream is continued by the engine.
    ...(length > 0 ? { retry: false } : {}),
    bulk: isBulk(length),
    ...(method === 'PUT' ? { responseTimeout: endpoint.stallTimeout + Math.ceil(blob.size / COMMIT_SPEED) } : {}),
  })
  // 201 for a PATCH: ECR. 204 and 200 for the PUT: registries older than the specification.
  const good = method === 'PUT' ? [200, 201, 204] : [200, 201, 202, 204]
  if (!good.includes(res.status)) throw await refusedPart(session, res, length)
  await discard(res)
  session.refused = 0
  session.stale = 0
  return res
}

/** Every refusal in the middle of an upload: a transient error makes copy/transfer.ts go on, any other is final. */
async function refusedPart(session: UploadSession, res: Response, length: number): Promise<PromoteError> {
  const { endpoint, what, limits, minimum } = session
  const { status } = res
  if (status === 401 || res.isRenewed === true) {
    session.refused += 1
    // The credential was renewed below; whether the new one is any better shows with the next request.
    if (session.refused === 1) {
      await discard(res)
      const message = `${endpoint.name}: ${what}: ${status} in the middle of the upload.`
      return new PromoteError('TOKEN_REJECTED', message, { side: endpoint.side, status, transient: true })
    }
  }
  const error = await endpoint.toError(res, what, 'push')
  const says = (code: string): boolean => error.server.some((entry) => entry.code === code)
  if (says('DIGEST_INVALID'))
    return error.with({
      code: 'DIGEST_MISMATCH',
      hint: 'What arrived is not what was sent: a proxy between here and the registry changes or drops bytes.',
      transient: false,
    })
  if (status === 413) return shrink(limits, minimum, length) ? error.with({ transient: true }) : error
  if (status === 416) session.stale += 1
  const lost = says('BLOB_UPLOAD_UNKNOWN') || says('BLOB_UPLOAD_INVALID') || (status === 404 && !says('NAME_UNKNOWN'))
  return isEmpty400(res, endpoint.repository) || lost || status === 416 ? error.with({ transient: true }) : error
}

async function keptBytes(session: UploadSession, anew: boolean): Promise<number> {
  const { endpoint, blob } = session
  if (anew || session.stale > 1) {
    await cancelUpload(session)
    return restart(session)
  }
  const { location: url, leftOrigin } = session
  const res = await endpoint.call('push', { method: 'GET', url, leftOrigin })
  await discard(res)
  const alive = res.status >= 200 && res.status < 300
  const kept = alive ? bytesKept(header(res, 'range')) : undefined
  if (alive) follow(session, res)
  if (kept !== undefined && kept <= blob.size) {
    // It moves: what was stale is the address from before bytes that arrived late, not the session.
    if (kept > session.kept) Object.assign(session, { refused: 0, stale: 0 })
    session.kept = Math.max(session.kept, kept)
    return kept
  }
  // The session is gone: because the commit arrived and only its answer was lost, or together with the bytes
  // (docker-registry 2.8 destroys a session whose upload broke off; ECR has no status).
  if (!alive && (await isStored(endpoint, blob, true))) return -1
  if (res.status !== 404) await cancelUpload(session)
  return restart(session)
}

async function restart(session: UploadSession): Promise<number> {
  const { endpoint, blob } = session
  Object.assign(session, entered(endpoint, await startSession(endpoint, blob)), { stale: 0 })
  return 0
}

/** @returns false when there is nothing smaller to try. */
function shrink(limits: UploadLimits, minimum: number, length: number): boolean {
  const smallest = Math.max(SMALLEST_CHUNK, minimum)
  if (length <= smallest) return false
  const next = Math.max(smallest, Math.min(FIRST_CHUNK, Math.floor(length / SHRINK)))
  limits.largest = Math.min(limits.largest ?? next, next)
  return true
}
