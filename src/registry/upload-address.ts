import { within } from '../core/async.ts'
import { asPromoteError } from '../core/errors.ts'
import { isUploadOf, isUploadSession, namesResource, refuseSecretInAddress } from '../http/credential-scope.ts'
import { header } from '../http/response.ts'
import { discard, type Response } from '../transport/request.ts'
import type { Endpoint } from './endpoint.ts'
import { badLocation, uploadLocation } from './headers.ts'

/** Where an upload session is: the registry names the address, and moves it with its answers. */
export type UploadAddress = {
  readonly endpoint: Endpoint
  location: URL
  /** It has been on another origin, or at an address of no known form: no credential goes along any more. */
  leftOrigin: boolean
}

/** Milliseconds that one request of a cancellation may take. */
const CANCEL_PATIENCE = 1500
/** Milliseconds for all tries to cancel. A cancelled run has 7.5 s on a GitHub runner, for this and for logging out. */
const CANCEL_SPAN = { cancelled: 3500, running: 10_000 }
/** First wait between two tries, doubled each time, and the longest (milliseconds). */
const CANCEL_WAIT = 50
const LONGEST_CANCEL_WAIT = 500

/** The address changes with every answer; distribution refuses the one before. */
export function follow(session: UploadAddress, res: Response): void {
  if (header(res, 'location') !== undefined)
    Object.assign(session, addressIn(session.endpoint, res, session.leftOrigin))
}

/**
 * Where the session goes on. The registry's credential goes along only to what looks like an upload session of that
 * registry. Other parts of the distribution API are refused: nothing else is written or deleted.
 */
export function addressIn(endpoint: Endpoint, res: Response, left = false): Omit<UploadAddress, 'endpoint'> {
  const { base, side, name, context } = endpoint
  const text = header(res, 'location')
  const what = `${name}: the upload goes on at`
  if (text !== undefined) refuseSecretInAddress(text, res.url, { what, side, secrets: context.secrets })
  try {
    const location = uploadLocation(text, res.url, base)
    const isHome = location.origin === base.origin
    const isSession = isUploadSession(location)
    if (isHome && !isSession && namesResource(location)) throw badLocation(text ?? '', 'is not that of an upload')
    return { location, leftOrigin: left || res.leftOrigin === true || !isHome || !isSession }
  } catch (thrown) {
    throw asPromoteError(thrown, side)
  }
}

/**
 * Deletes the session. Also sent when the run was cancelled. Never throws: sessions that stay are purged by the registry.
 *
 * distribution v3 refuses a DELETE (416) whose address is older than the last byte that it has received. Behind a router,
 * bytes go on arriving for seconds after the connection was closed. The status names the present address, and needs no
 * current one itself: ask, delete, and wait longer each time until nothing arrives in between.
 */
export async function cancelUpload(session: UploadAddress): Promise<void> {
  const { signal } = session.endpoint.context
  const started = performance.now()
  const left = (): number => CANCEL_SPAN[signal.aborted ? 'cancelled' : 'running'] - (performance.now() - started)
  let isStale = await staleAfter(session, ['DELETE'])
  for (let wait = CANCEL_WAIT; isStale; wait = Math.min(wait * 2, LONGEST_CANCEL_WAIT)) {
    isStale = await staleAfter(session, ['GET', 'DELETE'])
    if (!isStale || left() < wait) return
    await new Promise((resolve) => setTimeout(resolve, wait))
  }
}

/** @returns whether the registry refused the last request because more bytes have arrived. */
async function staleAfter(session: UploadAddress, methods: readonly ('DELETE' | 'GET')[]): Promise<boolean> {
  const { endpoint } = session
  let status: number | undefined
  for (const method of methods) {
    const { location: url, leftOrigin } = session
    // A server chose the address: nothing but this upload is deleted.
    if (method === 'DELETE' && !isUploadOf(endpoint.repository, url)) return false
    const request = { method, url, leftOrigin, retry: false, afterCancel: true }
    const answered = endpoint.call('push', request).then(async (res) => {
      await discard(res)
      if (method === 'GET' && res.status < 300) follow(session, res)
      return res.status
    })
    status = await within(answered, CANCEL_PATIENCE).catch(() => undefined)
    if (status === undefined || (method === 'GET' && status >= 300)) return false
  }
  return status === 416
}
