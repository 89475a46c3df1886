import type { Context } from '../core/context.ts'
import { asPromoteError, PromoteError, undefinedIf } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import { quote } from '../core/text.ts'
import { isEmpty400, isStreamMissing } from '../http/quirks.ts'
import { bytes, header, isTransient } from '../http/response.ts'
import { algorithmOf, type Digest, digestOf, isDigest, shortDigest } from '../oci/digest.ts'
import {
  ACCEPT,
  type Descriptor,
  embedded,
  isForeign,
  MANIFEST_LIMIT,
  type Manifest,
  readManifest,
  withSizes,
} from '../oci/manifest.ts'
import { isTag } from '../oci/reference.ts'
import { discard, type Request, type Response } from '../transport/request.ts'
import { offeredSize } from './blobs.ts'
import type { Endpoint } from './endpoint.ts'
import { contentLength } from './headers.ts'

/** What is kept of manifests that were read: enough for any real image, little beside the transfers. */
const CACHE_LIMIT = 16 * 1024 * 1024
/** OpenShift and distribution wait this long for each blob they cannot see yet, one after the other (`verifyLayer`). */
const WAIT_PER_BLOB = 3_500
/** A read that proves a write waits so long for its answer (milliseconds), and so long in all once the run is cancelled. */
const PROOF_TIMEOUT = 10_000
const PROOF_TIMEOUT_CANCELLED = 2_000

export type Manifests = ReturnType<typeof createManifests>

/** Reading and writing the manifests of one repository. `resolve`, `manifest`, `find` and `locate` are those of `Target`. */
export function createManifests(endpoint: Endpoint) {
  const cache = createCache()

  const get: Get = (reference, expected, how) => read(endpoint, cache, reference, expected, how)
  const flights = new Map<Digest, Promise<Manifest>>()
  const resolve = async (reference: string): Promise<Manifest> => {
    if (!isDigest(reference)) return get(checkedTag(endpoint, reference))
    const known = cache.get(reference)
    if (known !== undefined) return known
    // Many tags of one digest are asked for side by side.
    return getOrAdd(flights, reference, () => get(reference, reference).finally(() => flights.delete(reference)))
  }
  /** `resolve`, but undefined when there is none, or none that this credential may see. */
  const look = (tag: string): Promise<Manifest | undefined> => resolve(tag).catch(unlessAbsent)

  return {
    resolve,
    look,
    /** This repository has given the manifest out. */
    has: (digest: Digest) => cache.get(digest) !== undefined,
    async manifest(descriptor: Descriptor): Promise<Manifest> {
      const [known, data] = [cache.get(descriptor.digest), embedded(descriptor)]
      if (known !== undefined) return known
      return data === undefined ? get(descriptor.digest, descriptor) : readManifest(data, undefined, descriptor)
    },
    async find(tag: string): Promise<Descriptor | undefined> {
      const hint = await head(endpoint, checkedTag(endpoint, tag))
      return hint === 'absent' ? undefined : (hint ?? (await look(tag))?.descriptor)
    },
    locate: (reference: string, proof = false) => locate(endpoint, get, reference, proof),
    put: (manifest: Manifest, tag?: string) => put(endpoint, manifest, tag),
  }
}

type Get = (reference: string, expected?: Digest | Descriptor, how?: Partial<Request>) => Promise<Manifest>

async function read(
  endpoint: Endpoint,
  cache: Cache,
  reference: string,
  expected?: Digest | Descriptor,
  how: Partial<Request> = {},
): Promise<Manifest> {
  const what = `reading manifest ${shown(reference)}`
  const url = endpoint.url(`manifests/${reference}`)
  const headers = { accept: ACCEPT, 'accept-encoding': 'identity' }
  const res = await endpoint.call('pull', { method: 'GET', url, headers, ...how })
  if (res.status !== 200) throw await readError(endpoint, res, what, reference)
  try {
    const body = await bytes(res, MANIFEST_LIMIT)
    const found = readManifest(body, header(res, 'content-type'), expected ?? statedSha512(res, body))
    const manifest = await withSizes(found, (blob) => offeredSize(endpoint, blob))
    cache.keep(manifest)
    return manifest
  } catch (thrown) {
    throw placed(endpoint, what, thrown)
  }
}

async function locate(endpoint: Endpoint, get: Get, reference: string, proof: boolean): Promise<Digest | null> {
  const expected = isDigest(reference) ? reference : undefined
  if (expected === undefined) checkedTag(endpoint, reference)
  if (proof) return digestOrAbsent(inTime(get(reference, expected, PROOF), endpoint.context))
  const hint = await head(endpoint, reference)
  return hint === 'absent' ? null : (hint?.digest ?? digestOrAbsent(get(reference, expected)))
}

const PROOF: Partial<Request> = { retry: false, afterCancel: true, responseTimeout: PROOF_TIMEOUT }

async function digestOrAbsent(reading: Promise<Manifest>): Promise<Digest | null> {
  try {
    return (await reading).descriptor.digest
  } catch (thrown) {
    // A 404 page of a proxy has no error codes. OpenShift's own codes name what it could not fetch from elsewhere.
    const { code, server } = asPromoteError(thrown)
    if (code === 'NOT_FOUND' && server.some((entry) => !entry.code.startsWith('OPENSHIFT_'))) return null
    throw thrown
  }
}

/** Once the run is cancelled nothing is waited for longer than a moment. */
function inTime<T>(work: Promise<T>, { signal }: Context): Promise<T> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined
    const late = () => reject(new PromoteError('CANCELLED', 'not answered before the run ended'))
    const start = () => {
      timer = setTimeout(late, PROOF_TIMEOUT_CANCELLED)
    }
    signal.addEventListener('abort', start)
    if (signal.aborted) start()
    const stop = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', start)
    }
    work.finally(stop).then(resolve, reject)
  })
}

/**
 * A HEAD is a hint: anything but 404 and a complete 200 is asked again with GET, which also explains. A missing
 * Docker-Content-Digest, `text/plain`, 403 and 405 are known from several registries.
 */
async function head(endpoint: Endpoint, tag: string): Promise<Descriptor | 'absent' | undefined> {
  const headers = { accept: ACCEPT }
  const url = endpoint.url(`manifests/${tag}`)
  const res = await endpoint.call('pull', { method: 'HEAD', url, headers, retry: false }).catch(unlessFinal)
  if (res === undefined) return undefined
  await discard(res)
  const mediaType = header(res, 'content-type')?.split(';', 1)[0]?.trim() ?? ''
  // A 404 in HTML or plain text may be a proxy's: GET tells whose it is.
  if (res.status === 404) return mediaType.startsWith('text/') ? undefined : 'absent'
  const digest = header(res, 'docker-content-digest') ?? ''
  const size = contentLength(header(res, 'content-length'))
  if (res.status !== 200 || !isDigest(digest) || !size || !ACCEPT.split(', ').includes(mediaType)) return undefined
  return { mediaType, digest, size }
}

async function put(endpoint: Endpoint, manifest: Manifest, tag: string | undefined) {
  const { descriptor, links } = manifest
  const reference = tag === undefined ? descriptor.digest : checkedTag(endpoint, tag)
  const blobs = links.filter((link) => link.kind === 'blob').length
  const what = `writing manifest ${shown(reference)}`
  const headers = { 'content-type': descriptor.mediaType }
  const responseTimeout = endpoint.stallTimeout + blobs * WAIT_PER_BLOB
  const url = endpoint.url(`manifests/${reference}`)
  const request: Request = { method: 'PUT', url, headers, body: manifest.bytes, responseTimeout }
  const foreign = links.filter((link) => isForeign(link.descriptor)).map((link) => link.descriptor.digest)
  const res = await send(endpoint, request, what, foreign)
  const subject = header(res, 'oci-subject')
  if (res.status >= 200 && res.status < 300) {
    await discard(res)
    return { digest: stored(manifest, header(res, 'docker-content-digest')), subject }
  }
  // ECR (400), ACR (409) and Harbor (412) refuse to write an immutable tag even when it would not change: `copy/confirm.ts`.
  throw await endpoint.toError(res, what, 'push', tag)
}

/**
 * A registry that wants the bytes of a non-distributable layer says so each time: docker-registry 2.8 and distribution 3.1
 * with 500, which is repeated only when it does not name such a layer.
 */
async function send(endpoint: Endpoint, request: Request, what: string, foreign: readonly Digest[]): Promise<Response> {
  if (foreign.length === 0) return endpoint.call('push', request)
  const res = await endpoint.call('push', { ...request, retry: false }).catch(unlessFinal)
  if (res !== undefined && !isTransient(res.status) && !isEmpty400(res, endpoint.repository)) return res
  const error = res && (await endpoint.toError(res, what, 'push'))
  const missing = error?.server.filter(({ code }) => code === 'MANIFEST_BLOB_UNKNOWN' || code === 'BLOB_UNKNOWN')
  if (missing?.some((entry) => foreign.some((digest) => JSON.stringify(entry).includes(digest)))) throw error
  return endpoint.call('push', request)
}

/** A registry that names by sha256 what we name by sha512 has still stored these bytes. */
function stored({ descriptor, bytes: content }: Manifest, answered: string | undefined): Digest | undefined {
  if (answered === undefined || !isDigest(answered)) return undefined
  return answered === digestOf(content, algorithmOf(answered)) ? descriptor.digest : answered
}

async function readError(endpoint: Endpoint, res: Response, what: string, reference: string): Promise<PromoteError> {
  const error = await endpoint.toError(res, what, 'pull')
  if (!isDigest(reference) || !isStreamMissing(res, error)) return error
  const hint = 'OpenShift answers so when the image stream does not exist; check the namespace and the name.'
  return error.with({ code: 'NOT_FOUND', hint, transient: false, retryAfter: undefined })
}

/** A tag may point at something named by sha512; only the algorithm is believed, the digest is that of the bytes. */
function statedSha512(res: Response, body: Uint8Array): Digest | undefined {
  const stated = header(res, 'docker-content-digest') ?? ''
  const sha512 = isDigest(stated) && algorithmOf(stated) === 'sha512' && digestOf(body, 'sha512') === stated
  return sha512 ? stated : undefined
}

function placed(endpoint: Endpoint, what: string, thrown: unknown): PromoteError {
  const error = asPromoteError(thrown, endpoint.side)
  const { code, message } = error
  if (message.startsWith(endpoint.name) || code === 'CANCELLED' || code === 'NETWORK') return error
  return error.with({ message: `${endpoint.name}: ${what}: ${message}` })
}

function checkedTag(endpoint: Endpoint, tag: string): string {
  if (isTag(tag)) return tag
  const message = `${endpoint.name}: ${quote(tag, 140)} is neither a tag nor a digest.`
  throw new PromoteError('USAGE', message, { side: endpoint.side })
}

/** Artifactory and GitLab refuse to show what is absent; a credential that is refused everywhere is still an error. */
const unlessAbsent = undefinedIf(({ code, status }) => code === 'NOT_FOUND' || code === 'DENIED' || status === 403)

const unlessFinal = undefinedIf(({ transient }) => transient)

function shown(reference: string): string {
  return isDigest(reference) ? shortDigest(reference) : reference
}

type Cache = ReturnType<typeof createCache>

/** The manifest that was read first goes first. */
function createCache() {
  const entries = new Map<Digest, Manifest>()
  let size = 0
  return {
    get: (digest: Digest) => entries.get(digest),
    keep(manifest: Manifest) {
      if (entries.has(manifest.descriptor.digest)) return
      entries.set(manifest.descriptor.digest, manifest)
      size += manifest.bytes.byteLength
      for (const [oldest, { bytes: content }] of entries) {
        if (size <= CACHE_LIMIT) return
        entries.delete(oldest)
        size -= content.byteLength
      }
    },
  }
}
