import { createHmac, randomBytes } from 'node:crypto'
import type { Digest } from '../../../src/oci/digest.ts'
import { blobAnswer } from './distribution.ts'
import type { Answer, Handler, Incoming, Log } from './http.ts'
import type { Storage } from './storage.ts'

/** Blobs served from object storage: another origin, signed URLs, no tolerance for a second kind of authorization. */
export interface RedirectOptions {
  /** A signed URL is good for so long; default 1200, as distribution's S3 driver. */
  seconds?: number
  /** A signed URL is good for so many requests; default any number. */
  uses?: number
}

export interface Redirects {
  /** The registry's 307. */
  answer(request: Incoming, digest: Digest): Answer
  /** The storage host. */
  readonly handler: Handler
}

const AMZ = 'X-Amz-Signature'

/** @param origin the storage host, known once it listens. */
export function createRedirects(
  storage: Storage,
  log: Log,
  options: RedirectOptions,
  now: () => number,
  origin: () => string,
): Redirects {
  const secret = randomBytes(16)
  const used = new Map<string, number>()
  const sign = (method: string, digest: string, expires: string, nonce: string) =>
    createHmac('sha256', secret).update(`${method} ${digest} ${expires} ${nonce}`).digest('hex')

  async function handler(request: Incoming): Promise<Answer> {
    const digest = request.path.slice(request.path.lastIndexOf('/') + 1) as Digest
    if (request.headers.authorization !== undefined) {
      log.violations.push(`Authorization was sent to the storage host: ${request.method} ${request.path}`)
      return denied(400, 'InvalidArgument', 'Only one auth mechanism allowed')
    }
    const expires = request.query.get('Expires') ?? ''
    const nonce = request.query.get('X-Nonce') ?? ''
    const signature = request.query.get(AMZ) ?? ''
    if (signature !== sign(request.method, digest, expires, nonce)) {
      return denied(403, 'SignatureDoesNotMatch', 'The request signature we calculated does not match')
    }
    const count = (used.get(signature) ?? 0) + 1
    used.set(signature, count)
    if (Number(expires) <= now() || count > (options.uses ?? Number.POSITIVE_INFINITY)) {
      return denied(403, 'AccessDenied', 'Request has expired')
    }
    const blob = storage.blobs.get(digest)
    if (!blob) return denied(404, 'NoSuchKey', 'The specified key does not exist.')
    const answer = blobAnswer(request, blob)
    const { 'Docker-Content-Digest': _, ...headers } = answer.headers ?? {}
    return { ...answer, headers }
  }

  return {
    handler,
    answer(request, digest) {
      const expires = String(now() + (options.seconds ?? 1200) * 1000)
      const nonce = randomBytes(4).toString('hex')
      const query = `Expires=${expires}&X-Nonce=${nonce}&${AMZ}=${sign(request.method, digest, expires, nonce)}`
      const Location = `${origin()}/storage/${digest}?${query}`
      return { status: 307, headers: { Location, 'Content-Type': 'application/octet-stream' } }
    },
  }
}

function denied(status: number, code: string, message: string): Answer {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`
  return { status, headers: { 'Content-Type': 'application/xml' }, body }
}
