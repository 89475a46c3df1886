import { randomBytes } from 'node:crypto'
import { type Digest, isDigest } from '../../../src/oci/digest.ts'
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
export const uploadUnknown = (detail?: unknown) =>
  failure(404, 'BLOB_UPLOAD_UNKNOWN', 'blob upload unknown to registry', detail)
export const digestInvalid = (detail?: unknown) =>
  failure(400, 'DIGEST_INVALID', 'provided digest did not match uploaded content', detail)

export type Route =
  | { kind: 'ping' | 'catalog' }
  | { kind: 'manifests'; repository: string; reference: string }
  | { kind: 'blobs'; repository: string; digest: string }
  | { kind: 'uploads'; repository: string; id?: string }
  | { kind: 'tags'; repository: string }
  | { kind: 'referrers'; repository: string; digest: string }

const COMPONENT = String.raw`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
const NAME = `${COMPONENT}(?:/${COMPONENT})*`
const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?'
const TAG = '[A-Za-z0-9_][A-Za-z0-9._-]{0,127}'

/** @param slash what may end the address of new uploads */
function routesOf(name: string, digest: string, slash: string): readonly [Route['kind'], RegExp][] {
  const route = (rest: string) => new RegExp(`^/v2/(?<repository>${name})${rest}$`)
  return [
    ['ping', /^\/v2\/$/],
    ['catalog', /^\/v2\/_catalog$/],
    ['manifests', route(`/manifests/(?<reference>${TAG}|${digest})`)],
    ['uploads', route(`/blobs/uploads/(?<id>[a-zA-Z0-9-_.=]+)`)],
    ['uploads', route(`/blobs/uploads${slash}`)],
    ['blobs', route(`/blobs/(?<digest>${digest})`)],
    ['tags', route('/tags/list')],
    ['referrers', route('/referrers/(?<digest>[^/]+)')],
  ]
}

/** A digest of a wrong form still reaches its handler: distribution answers DIGEST_INVALID, not 404. */
const ROUTES = routesOf(NAME, '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}', '/?')

/**
 * distribution v3 at the version that OpenShift uses (registry/api/v2/descriptors.go): a name may begin with a host name,
 * and a digest has the lax form of go-digest.
 */
const OPENSHIFT_ROUTES = routesOf(
  String.raw`(?:${LABEL}(?:\.${LABEL})*(?::[0-9]+)?/)?${NAME}`,
  '[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+',
  '/',
).filter(([kind]) => kind !== 'referrers')

function find(routes: typeof ROUTES, path: string): Route | undefined {
  for (const [kind, pattern] of routes) {
    const found = pattern.exec(path)
    if (found) return { kind, ...found.groups } as Route
  }
  return undefined
}

/** undefined: no such route (404 text/plain). */
export const routeOf = (path: string) => find(ROUTES, path)
export const openshiftRouteOf = (path: string) => find(OPENSHIFT_ROUTES, path)

/** GET and HEAD of a blob: what distribution sets, and what Go's http.ServeContent makes of it. */
export function blobAnswer(request: Incoming, blob: StoredBlob): Answer {
  const { digest, size } = blob
  const own = { 'Docker-Content-Digest': digest }
  const headers: Record<string, string> = { ...own, 'Cache-Control': 'max-age=31536000', Etag: `"${digest}"` }
  if (request.headers['if-none-match'] === `"${digest}"`) return { status: 304, headers }
  const spans = wanted(request, blob)
  if (typeof spans === 'string') return unsatisfiable(spans, size, own)
  const all = { ...headers, 'Accept-Ranges': 'bytes', 'Content-Type': OCTETS }
  const [first, second] = spans
  if (first && second) return multipart(blob, spans, all, request.signal)
  const [start, end] = first ?? [0, size]
  const range = first && { 'Content-Range': contentRange(first, size) }
  return {
    status: first ? 206 : 200,
    headers: { ...all, ...range, 'Content-Length': String(end - start) },
    body: guarded(blob, start, end, request.signal),
  }
}

const OCTETS = 'application/octet-stream'
const contentRange = ([start, end]: Span, size: number) => `bytes ${start}-${end - 1}/${size}`

/** Since Go 1.23 http.ServeContent takes Etag and Cache-Control out of an error. */
function unsatisfiable(why: string, size: number, own: Record<string, string>): Answer {
  const headers = { ...own, 'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff' }
  const range = why === NO_OVERLAP && { 'Content-Range': `bytes */${size}` }
  return { status: 416, headers: { ...headers, ...range }, body: `${why}\n` }
}

/** RFC 9110 section 14.6, as Go's mime/multipart writes it. */
function multipart(
  blob: StoredBlob,
  spans: readonly Span[],
  headers: Record<string, string>,
  signal: AbortSignal,
): Answer {
  const boundary = randomBytes(30).toString('hex')
  const heads = spans.map(
    (span, i) =>
      `${i > 0 ? '\r\n' : ''}--${boundary}\r\nContent-Range: ${contentRange(span, blob.size)}\r\nContent-Type: ${OCTETS}\r\n\r\n`,
  )
  const tail = `\r\n--${boundary}--\r\n`
  async function* body() {
    for (const [i, [start, end]] of spans.entries()) {
      yield Buffer.from(heads[i] ?? '')
      yield* guarded(blob, start, end, signal)
    }
    yield Buffer.from(tail)
  }
  const bytes = spans.reduce((sum, [start, end]) => sum + end - start, [...heads, tail].join('').length)
  const type = `multipart/byteranges; boundary=${boundary}`
  return { status: 206, headers: { ...headers, 'Content-Type': type, 'Content-Length': String(bytes) }, body: body() }
}

/** Stops reading files and making bytes once the client has gone. */
async function* guarded(blob: StoredBlob, start: number, end: number, signal: AbortSignal) {
  for await (const chunk of blob.read(start, end)) {
    if (signal.aborted) throw new Cut()
    yield chunk
  }
}

/** Bytes from the first to before the second. */
type Span = readonly [start: number, end: number]
const INVALID_RANGE = 'invalid range'
const NO_OVERLAP = 'invalid range: failed to overlap'

/** RFC 9110 section 14 as Go reads it (net/http parseRange): none = everything, or what is wrong with the header. */
function wanted(request: Incoming, { digest, size }: StoredBlob): readonly Span[] | string {
  const valid = request.headers['if-range']
  const header = valid === undefined || valid === `"${digest}"` ? request.headers.range : undefined
  if (header === undefined) return []
  if (!header.startsWith('bytes=')) return INVALID_RANGE
  const spans: Span[] = []
  const parts = header.slice('bytes='.length).split(',')
  for (const part of parts.map((text) => text.trim()).filter((text) => text !== '')) {
    const [, from = '', to = ''] = /^(\d*) *- *(\d*)$/.exec(part) ?? []
    if (from === '' && to === '') return INVALID_RANGE
    if (from !== '' && Number(from) >= size) continue
    if (from !== '' && to !== '' && Number(to) < Number(from)) return INVALID_RANGE
    if (from === '') spans.push([Math.max(0, size - Number(to)), size])
    else spans.push([Number(from), to === '' ? size : Math.min(Number(to) + 1, size)])
  }
  if (spans.length === 0) return size === 0 ? [] : NO_OVERLAP
  // More than the whole is answered with the whole.
  return spans.reduce((sum, [start, end]) => sum + end - start, 0) > size ? [] : spans
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

/** Layers that a plain registry does not ask for: image-spec layer.md "Non-Distributable Layers", docker foreign layers. */
export function isForeign(entry: Entry): boolean {
  return /nondistributable|foreign/.test(entry.mediaType) || (entry.urls?.length ?? 0) > 0
}
