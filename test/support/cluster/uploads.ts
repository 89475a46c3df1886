import { createHmac, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto'
import { type Algorithm, algorithmOf, type Digest, hashFor, isDigest } from '../../../src/oci/digest.ts'
import { digestInvalid, failure, failures, uploadUnknown } from './distribution.ts'
import type { Answer, Incoming, Log } from './http.ts'
import type { Staging, Storage, StoredBlob } from './storage.ts'

/**
 * Upload sessions as distribution v3 keeps them (registry/handlers/blobupload.go): the Location carries `_state`, an
 * HMAC over name, id and offset, and is new after every answer. What the registries of the field do differently is in
 * `UploadOptions`.
 */
export interface UploadOptions {
  /**
   * `v3`: what arrived is kept, GET tells how much. `destroy` (docker-registry 2.8): after a broken body the next
   * request, GET included, answers 404 BLOB_UPLOAD_INVALID and the session is gone; `Content-Range` is not looked at.
   * `olareg`: as v3, but an empty session says `Range: 0--1`, and 416 carries Range and Location.
   */
  resume: 'v3' | 'destroy' | 'olareg'
  /** Sent as OCI-Chunk-Min-Length; a shorter chunk may only be the last. */
  chunkMinLength?: number | undefined
  /** False: `POST ?digest=` answers 202 and the body is not looked at (distribution). */
  singlePost: boolean
  /** Whether the PUT's Content-Range is checked (distribution does not look at it). */
  checkPutRange: boolean
  /** Blobs are stored and named by sha256, whatever the client calls them (distribution v3); they are found by both. */
  canonical?: boolean
  location(request: Incoming, path: string): string
  /** How long a body goes on arriving after the client has gone; asked when one breaks off. Default: for two DELETEs. */
  late?: (() => Late) | undefined
  /** Header names and values for every 201 of this digest. */
  digestHeader(digest: string): Record<string, string>
}

/**
 * What a router still has in its buffers reaches the registry after the client has closed the connection: offset and
 * `_state` move on, and a DELETE with the `_state` of a moment ago is 416. Other requests come later, when all is there.
 */
export interface Late {
  /** So many DELETEs find that bytes have come in since the last answer … */
  readonly deletes?: number
  /** … and all that come within so many milliseconds of the first. */
  readonly milliseconds?: number
}

/** The last bytes of a body, which are still on their way; when it breaks off they arrive late. */
interface Arrival {
  bytes: Uint8Array
  deletes: number
  readonly milliseconds: number
  /** Milliseconds since 1970, from the first DELETE on. */
  until?: number
}

interface Session {
  readonly id: string
  readonly repository: string
  readonly staging: Staging
  readonly started: string
  /** A body broke off after some bytes. */
  broken: boolean
  /** The last chunk was shorter than chunkMinLength. */
  short: boolean
  late: Arrival | undefined
}

export interface Uploads {
  begin(request: Incoming, repository: string): Promise<Answer>
  /** GET, HEAD, PATCH, PUT and DELETE of a session. */
  continue(request: Incoming, repository: string, id: string): Promise<Answer>
  /** Sessions that are neither committed nor cancelled. */
  open(): number
}

export function createUploads(storage: Storage, log: Log, options: UploadOptions): Uploads {
  const sessions = new Map<string, Session>()
  const secret = randomBytes(32)

  async function begin(request: Incoming, repository: string): Promise<Answer> {
    const digest = request.query.get('digest')
    const algorithm = (
      options.canonical ? 'sha256' : (request.query.get('digest-algorithm') ?? digest?.split(':')[0] ?? 'sha256')
    ) as Algorithm
    if (algorithm !== 'sha256' && algorithm !== 'sha512') return digestInvalid('unsupported digest algorithm')
    const session: Session = {
      id: randomUUID(),
      repository,
      staging: storage.stage(algorithm),
      started: new Date().toISOString(),
      broken: false,
      short: false,
      late: undefined,
    }
    if (digest !== null && options.singlePost) {
      await receive(session, request)
      log.arrived(digest, session.staging.size)
      const answer = await commit(session, request, digest)
      if (answer.status !== 201) await session.staging.drop()
      return answer
    }
    sessions.set(session.id, session)
    const minimum = options.chunkMinLength
    return accepted(session, request, minimum ? { 'OCI-Chunk-Min-Length': String(minimum) } : {})
  }

  async function proceed(request: Incoming, repository: string, id: string): Promise<Answer> {
    const found = await resume(request, repository, id)
    if ('status' in found) return found
    switch (request.method) {
      case 'GET':
      case 'HEAD':
        return { ...accepted(found, request), status: 204 }
      case 'PATCH':
        return patch(found, request)
      case 'PUT':
        return put(found, request)
      case 'DELETE':
        sessions.delete(id)
        await found.staging.drop()
        return { status: 204, headers: { 'Docker-Upload-Uuid': id } }
      default:
        return failure(405, 'UNSUPPORTED', 'The operation is unsupported.')
    }
  }

  /** The session behind a Location, or why there is none. */
  async function resume(request: Incoming, repository: string, id: string): Promise<Session | Answer> {
    let offset = 0
    const reading = request.method === 'GET' || request.method === 'HEAD'
    // distribution v3 tells the status to every client that knows the session; docker-registry 2.8 wants its `_state` for that, too.
    if (!reading || options.resume === 'destroy') {
      const state = unpack(request.query.get('_state'))
      if (!state) return uploadInvalid({})
      if (state.Name !== repository || state.UUID !== id) return uploadInvalid()
      offset = state.Offset
    }
    const session = sessions.get(id)
    if (session?.repository !== repository) return uploadUnknown({})
    await arrive(session, request.method)
    if (session.broken && options.resume === 'destroy') {
      sessions.delete(id)
      await session.staging.drop()
      return uploadInvalid({})
    }
    return reading || offset === session.staging.size ? session : rangeInvalid(session, request)
  }

  async function patch(session: Session, request: Incoming): Promise<Answer> {
    const type = request.headers['content-type']
    if (type !== undefined && type !== 'application/octet-stream') return failure(500, 'UNKNOWN', 'unknown error', {})
    const refused = checkRange(session, request)
    if (refused) return refused
    const before = session.staging.size
    if (session.short) return failure(416, 'SIZE_INVALID', `an earlier chunk was below ${options.chunkMinLength} bytes`)
    await receive(session, request)
    session.short = session.staging.size - before < (options.chunkMinLength ?? 0)
    return accepted(session, request)
  }

  async function put(session: Session, request: Incoming): Promise<Answer> {
    const digest = request.query.get('digest')
    if (digest === null) return digestInvalid('digest missing')
    if (!isDigest(digest)) return digestInvalid('digest parsing failed')
    const refused = options.checkPutRange ? checkRange(session, request) : undefined
    if (refused) return refused
    log.uploading(request.path, digest)
    await receive(session, request)
    const answer = await commit(session, request, digest)
    if (answer.status === 201) sessions.delete(session.id)
    return answer
  }

  async function receive(session: Session, request: Incoming): Promise<void> {
    const { staging } = session
    const before = staging.size
    const { deletes = 0, milliseconds = 0 } = options.late?.() ?? { deletes: 2 }
    const late: Arrival = { bytes: new Uint8Array(), deletes, milliseconds }
    session.late = late
    try {
      for await (const chunk of request.body) {
        await staging.append(late.bytes)
        late.bytes = chunk
      }
    } catch (error) {
      session.broken = staging.size + late.bytes.length > before
      throw error
    }
    session.late = undefined
    await staging.append(late.bytes)
  }

  /** One more byte before each DELETE while they are late; everything before anything else. */
  async function arrive(session: Session, method: string): Promise<void> {
    const { late, staging } = session
    // A status between two DELETEs tells what is there now.
    if (!late || (late.until !== undefined && /^(?:GET|HEAD)$/.test(method))) return
    let count = late.bytes.length
    if (method === 'DELETE') {
      late.until ??= Date.now() + late.milliseconds
      if (--late.deletes > 0 || Date.now() < late.until) count = Math.min(count, 1)
    }
    const bytes = late.bytes.subarray(0, count)
    late.bytes = late.bytes.subarray(count)
    await staging.append(bytes)
  }

  async function commit(session: Session, request: Incoming, digest: string): Promise<Answer> {
    if (!isDigest(digest)) return digestInvalid('digest parsing failed')
    const blob = await session.staging.commit(digest)
    if (!blob) return digestInvalid({ Digest: digest, Reason: {} })
    const { blobs } = storage.repository(session.repository)
    blobs.add(digest)
    const canonical = options.canonical ? await sha256Of(blob) : digest
    if (canonical !== digest) {
      for (const name of [canonical, digest]) storage.blobs.set(name, { ...blob, digest: canonical })
      blobs.add(canonical)
    }
    return created(request, session.repository, canonical, options)
  }

  function checkRange(session: Session, request: Incoming): Answer | undefined {
    const header = request.headers['content-range']
    if (header === undefined || options.resume === 'destroy') return undefined
    const [start = '', end] = cutAt(header, '-')
    if (end === undefined) return failure(500, 'UNKNOWN', 'unknown error', `invalid content range format, ${header}`)
    const bad = [start, end].find((text) => !/^[+-]?\d+$/.test(text))
    if (bad !== undefined)
      return failure(
        500,
        'UNKNOWN',
        'unknown error',
        `strconv.ParseInt: parsing ${JSON.stringify(bad)}: invalid syntax`,
      )
    if (Number(start) > Number(end) || Number(start) !== session.staging.size) return rangeInvalid(session, request)
    const length = request.headers['content-length']
    if (length !== undefined && Number(length) !== Number(end) - Number(start) + 1) {
      return failure(400, 'SIZE_INVALID', 'provided length did not match content length')
    }
    return undefined
  }

  function rangeInvalid(session: Session, request: Incoming): Answer {
    const answer = failure(416, 'RANGE_INVALID', 'invalid content range')
    if (options.resume !== 'olareg') return answer
    return { ...answer, headers: { ...accepted(session, request).headers, ...answer.headers } }
  }

  function accepted(session: Session, request: Incoming, more: Record<string, string> = {}): Answer {
    const { id, repository, staging } = session
    const last = staging.size === 0 && options.resume !== 'olareg' ? 0 : staging.size - 1
    const state = encodeURIComponent(
      pack({ Name: repository, UUID: id, Offset: staging.size, StartedAt: session.started }),
    )
    const Location = `${options.location(request, `/v2/${repository}/blobs/uploads/${id}`)}?_state=${state}`
    return { status: 202, headers: { 'Docker-Upload-Uuid': id, Location, Range: `0-${last}`, ...more } }
  }

  function pack(state: State): string {
    const message = Buffer.from(JSON.stringify(state))
    const mac = createHmac('sha256', secret).update(message).digest()
    // Go's URLEncoding keeps the padding.
    return Buffer.concat([mac, message]).toString('base64').replaceAll('+', '-').replaceAll('/', '_')
  }

  function unpack(text: string | null): State | undefined {
    const bytes = Buffer.from(text ?? '', 'base64url')
    const mac = createHmac('sha256', secret).update(bytes.subarray(32)).digest()
    if (bytes.length <= 32 || !timingSafeEqual(mac, bytes.subarray(0, 32))) return undefined
    return JSON.parse(bytes.subarray(32).toString()) as State
  }

  return { begin, continue: proceed, open: () => sessions.size }
}

/** Go's strings.Cut: without `separator` there is no second part. */
function cutAt(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator)
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}

async function sha256Of({ digest, size, read }: StoredBlob): Promise<Digest> {
  if (algorithmOf(digest) === 'sha256') return digest
  const hash = hashFor('sha256:')
  for await (const chunk of read(0, size)) hash.update(chunk)
  return `sha256:${hash.digest('hex')}`
}

/** registry/handlers/hmac.go */
interface State {
  Name: string
  UUID: string
  Offset: number
  StartedAt: string
}

/** The 201 of an upload or a mount. */
export function created(
  request: Incoming,
  repository: string,
  digest: Digest,
  options: Pick<UploadOptions, 'location' | 'digestHeader'>,
): Answer {
  const Location = options.location(request, `/v2/${repository}/blobs/${digest}`)
  return { status: 201, headers: { Location, ...options.digestHeader(digest) } }
}

function uploadInvalid(detail?: unknown): Answer {
  return failures(404, [
    { code: 'BLOB_UPLOAD_INVALID', message: 'blob upload invalid', ...(detail !== undefined && { detail }) },
  ])
}
