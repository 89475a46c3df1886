import { type Digest, isDigest } from '../../src/oci/digest.ts'
import { type Answer, Cut, type Incoming } from './http.ts'
import type { StoredBlob } from './storage.ts'

/** What the plain and the OpenShift registry have in common: routes, error envelope, blobs, the reading of manifests. */

export const MEDIA = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  list: 'application/vnd.docker.distribution.manifest.list.v2+json',
  v2s2: 'application/vnd.docker.distribution.manifest.v2+json',
} as const

/** distribution-spec "Pushing Manifests": registries SHOULD take 4 MiB; all real ones draw the line there. */
export const MANIFEST_LIMIT = 4 << 20

export type Failure = Readonly<{ code: string; message: string; detail?: unknown }>

/** @param status that of the first error. */
export function failures(status: number, errors: readonly Failure[]): Answer {
  // Go's encoder writes these three as escapes, and a newline at the end.
  const json = JSON.stringify({ errors }).replace(/[<>&]/g, (sign) => `\\u00${sign.charCodeAt(0).toString(16)}`)
  return { status, headers: { 'Content-Type': 'application/json' }, body: `${json}\n` }
}

export function failure(status: number, code: string, message: string, detail?: unknown): Answer {
  return failures(status, [{ code, message, ...(detail !== undefined && { detail }) }])
}

/** The mux of the Go registries knows no such route. */
export function notFound(): Answer {
  return {
    status: 404,
    headers: { 'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff' },
    body: '404 page not found\n',
  }
}

export function json(body: unknown, headers: Record<string, string> = {}): Answer {
  return { status: 200, headers: { 'Content-Type': 'application/json', ...headers }, body: `${JSON.stringify(body)}\n` }
}

export const blobUnknown = (digest: string) => failure(404, 'BLOB_UNKNOWN', 'blob unknown to registry', digest)
export const nameUnknown = (detail?: unknown) =>
  failure(404, 'NAME_UNKNOWN', 'repository name not known to registry', detail)
export const manifestInvalid = (detail: unknown = {}) => failure(400, 'MANIFEST_INVALID', 'manifest invalid', detail)
export const digestInvalid = (detail?: unknown) =>
  failure(400, 'DIGEST_INVALID', 'provided digest did not match uploaded content', detail)

export type Route =
  | { kind: 'ping' | 'catalog' }
  | { kind: 'manifests'; repository: string; reference: string }
  | { kind: 'blobs'; repository: string; digest: string }
  | { kind: 'uploads'; repository: string; id?: string }
  | { kind: 'tags'; repository: string }
  | { kind: 'referrers'; repository: string; digest: string }

const NAME = String.raw`(?<repository>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)`
const TAG = '[A-Za-z0-9_][A-Za-z0-9._-]{0,127}'
/** A digest that is not one still reaches its handler: distribution answers DIGEST_INVALID, not 404. */
const DIGEST = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}'
const ROUTES: readonly [RegExp, (found: Record<string, string>) => Route][] = [
  [/^\/v2\/$/, () => ({ kind: 'ping' })],
  [/^\/v2\/_catalog$/, () => ({ kind: 'catalog' })],
  route(`/manifests/(?<reference>${TAG}|${DIGEST})`, (g) => ({ kind: 'manifests', ...g }) as Route),
  route(`/blobs/uploads/(?<id>[a-zA-Z0-9-_.=]+)`, (g) => ({ kind: 'uploads', ...g }) as Route),
  route(`/blobs/uploads/?`, (g) => ({ kind: 'uploads', ...g }) as Route),
  route(`/blobs/(?<digest>${DIGEST})`, (g) => ({ kind: 'blobs', ...g }) as Route),
  route(`/tags/list`, (g) => ({ kind: 'tags', ...g }) as Route),
  route(`/referrers/(?<digest>[^/]+)`, (g) => ({ kind: 'referrers', ...g }) as Route),
]

function route(rest: string, make: (groups: Record<string, string>) => Route): (typeof ROUTES)[number] {
  return [new RegExp(`^/v2/${NAME}${rest}$`), make]
}

/** undefined: no such route (404 text/plain). */
export function routeOf(path: string): Route | undefined {
  for (const [pattern, make] of ROUTES) {
    const found = pattern.exec(path)
    if (found) return make({ ...found.groups })
  }
  return undefined
}

/** GET and HEAD of a blob with what Go's http.ServeContent makes of `Range` and `If-Range`. */
export function blobAnswer(request: Incoming, blob: StoredBlob): Answer {
  const headers: Record<string, string> = {
    'Accept-Ranges': 'bytes',
    'Cache-Control': 'max-age=31536000',
    'Content-Type': 'application/octet-stream',
    'Docker-Content-Digest': blob.digest,
    Etag: `"${blob.digest}"`,
  }
  if (request.headers['if-none-match'] === `"${blob.digest}"`) return { status: 304, headers }
  const range = wanted(request, blob)
  if (range === 'bad') {
    return {
      status: 416,
      headers: { ...headers, 'Content-Type': 'text/plain; charset=utf-8', 'Content-Range': `bytes */${blob.size}` },
      body: 'invalid range: failed to overlap\n',
    }
  }
  const [start, end] = range ?? [0, blob.size]
  if (range) headers['Content-Range'] = `bytes ${start}-${end - 1}/${blob.size}`
  headers['Content-Length'] = String(end - start)
  return { status: range ? 206 : 200, headers, body: guarded(blob, start, end, request.signal) }
}

/** Stops reading files and making bytes once nobody listens. */
async function* guarded(blob: StoredBlob, start: number, end: number, signal: AbortSignal) {
  for await (const chunk of blob.read(start, end)) {
    if (signal.aborted) throw new Cut()
    yield chunk
  }
}

/** RFC 9110 section 14: one range, from–to, open or suffix; several at once are answered with everything. */
function wanted(request: Incoming, blob: StoredBlob): [number, number] | 'bad' | undefined {
  const header = request.headers.range
  const valid = request.headers['if-range']
  if (header === undefined || (valid !== undefined && valid !== `"${blob.digest}"`) || header.includes(','))
    return undefined
  const found = /^bytes=(\d*)-(\d*)$/.exec(header.replaceAll(' ', ''))
  const [, from = '', to = ''] = found ?? []
  if (!found || (from === '' && to === '')) return 'bad'
  const start = from === '' ? Math.max(0, blob.size - Number(to)) : Number(from)
  const end = from === '' || to === '' ? blob.size : Math.min(Number(to) + 1, blob.size)
  return start < end ? [start, end] : 'bad'
}

/** Reads a body that has to fit; undefined when it does not. */
export async function readAll(body: AsyncIterable<Uint8Array>, limit: number): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > limit) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

export interface Entry {
  mediaType: string
  digest: Digest
  size: number
  platform?: { os: string; architecture: string; variant?: string }
  urls?: string[]
  data?: string
}

/** The members of a manifest or index that a registry looks at. */
export interface Document {
  schemaVersion: number
  mediaType?: string
  artifactType?: string
  config?: Entry
  layers?: Entry[]
  manifests?: Entry[]
  subject?: Entry
  annotations?: Record<string, string>
}

/** undefined: not JSON, not schema 2, or an entry without a digest. */
export function parseDocument(bytes: Uint8Array): Document | undefined {
  let document: Document
  try {
    document = JSON.parse(Buffer.from(bytes).toString('utf8')) as Document
  } catch {
    return undefined
  }
  if (typeof document !== 'object' || document === null || document.schemaVersion !== 2) return undefined
  const entries = [...(document.layers ?? []), ...(document.manifests ?? []), document.config, document.subject]
  return entries.every((entry) => !entry || isDigest(entry.digest)) ? document : undefined
}

export function isIndex(mediaType: string): boolean {
  return mediaType === MEDIA.index || mediaType === MEDIA.list
}

/** Layers that nobody pushes: image-spec layer.md "Non-Distributable Layers", docker foreign layers. */
export function isForeign(entry: Entry): boolean {
  return /nondistributable|foreign/.test(entry.mediaType) || (entry.urls?.length ?? 0) > 0
}
