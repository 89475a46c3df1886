import { algorithmOf, type Digest, digestOf, isDigest } from '../../../src/oci/digest.ts'
import {
  blobAnswer,
  blobUnknown,
  type Document,
  digestInvalid,
  type Entry,
  failure,
  failures,
  isForeign,
  isIndex,
  json,
  MANIFEST_LIMIT,
  MEDIA,
  manifestInvalid,
  nameUnknown,
  notFound,
  parseDocument,
  type Route,
  readAll,
  routeOf,
} from './distribution.ts'
import type { Answer, Handler, Incoming, Log } from './http.ts'
import type { Redirects } from './redirect.ts'
import type { Repository, Storage, StoredManifest } from './storage.ts'
import { created, createUploads, type Late, type UploadOptions } from './uploads.ts'

/** How a plain registry deviates from the friendliest one. All of them are things that registries in the field do. */
export interface Behaviour {
  /** False: 404 text/plain, and no OCI-Subject. */
  referrersApi?: boolean
  /** The most referrers in one answer; more go to the next page. */
  referrersPage?: number
  /** False: `artifactType=` is ignored and OCI-Filters-Applied is missing. */
  referrersFilter?: boolean
  /** The most tags, or repositories, in one answer. */
  tagsPage?: number
  /** False: `_catalog` answers 404, as where a registry does not list its repositories. */
  catalog?: boolean
  resume?: UploadOptions['resume']
  late?: Late
  /** False: `POST ?digest=` answers 202, as distribution does. */
  singlePost?: boolean
  /** False: `mount` from the repository itself answers 202 even when the blob is there. */
  mountSelf?: boolean
  /** False: every mount answers 202. */
  mount?: boolean
  /** `mount` without `from` looks in every repository (distribution-spec end-11, anonymous mount). */
  mountAnonymous?: boolean
  /** An existing tag cannot be put again, not even with the same digest (ECR). */
  immutableTags?: boolean
  chunkMinLength?: number
  /** Bodies of uploads beyond this many bytes answer 413 (a proxy in front). */
  maxBody?: number
  location?: 'absolute' | 'relative'
  /** False: no Docker-Content-Digest anywhere. */
  digestHeader?: boolean
  /**
   * Which manifests may name what is not there: `index` (default) as OpenShift and olareg, `none` as docker-registry, `all`
   * as the sparse data set of the conformance suite.
   */
  sparse?: 'none' | 'index' | 'all'
  /** True: 500 for a layer with URLs, as docker-registry and distribution with `validation.manifests` answer by default. */
  refusesUrls?: boolean
  /** False: DELETE answers 405. */
  deletes?: boolean
  /** True: GET and HEAD of an image manifest that `Accept` does not name answer 404. */
  strictAccept?: boolean
}

/** The OCI distribution API 1.1 over a storage. */
export function distributionRegistry(storage: Storage, log: Log, how: Behaviour, redirects?: Redirects): Handler {
  const digestHeader = (digest: string): Record<string, string> =>
    how.digestHeader === false ? {} : { 'Docker-Content-Digest': digest }
  const location = (request: Incoming, path: string) =>
    how.location === 'relative' ? path : `${request.origin}${path}`
  const uploads = createUploads(storage, log, {
    resume: how.resume ?? 'v3',
    chunkMinLength: how.chunkMinLength,
    singlePost: how.singlePost ?? true,
    checkPutRange: true,
    late: how.late && (() => how.late ?? {}),
    location,
    digestHeader,
  })

  async function blobs(request: Incoming, repository: Repository | undefined, digest: string): Promise<Answer> {
    if (!isDigest(digest)) return digestInvalid()
    const blob = repository?.blobs.has(digest) ? storage.blobs.get(digest) : undefined
    if (!repository || !blob) return blobUnknown(digest)
    if (request.method === 'DELETE') {
      if (how.deletes === false) return unsupported()
      repository.blobs.delete(digest)
      return { status: 202 }
    }
    if (!reads(request)) return unsupported()
    if (redirects) return redirects.answer(request, digest)
    const answer = blobAnswer(request, blob)
    if (how.digestHeader === false) delete answer.headers?.['Docker-Content-Digest']
    return answer
  }

  async function upload(request: Incoming, name: string, id: string | undefined): Promise<Answer> {
    const length = Number(request.headers['content-length'] ?? 0)
    if (length > (how.maxBody ?? Number.POSITIVE_INFINITY)) return tooLarge()
    if (id !== undefined) return uploads.continue(request, name, id)
    if (request.method !== 'POST') return unsupported()
    const digest = request.query.get('mount')
    if (digest !== null && isDigest(digest) && mountable(digest, name, request.query.get('from'))) {
      storage.repository(name).blobs.add(digest)
      return created(request, name, digest, { location, digestHeader })
    }
    return uploads.begin(request, name)
  }

  function mountable(digest: Digest, name: string, from: string | null): boolean {
    if (how.mount === false || !storage.blobs.has(digest)) return false
    if (from === name && how.mountSelf === false) return false
    if (from !== null) return storage.repositories.get(from)?.blobs.has(digest) === true
    return how.mountAnonymous !== false && [...storage.repositories.values()].some((other) => other.blobs.has(digest))
  }

  async function manifests(request: Incoming, name: string, reference: string): Promise<Answer> {
    if (request.method === 'PUT') return putManifest(request, name, reference)
    const repository = storage.repositories.get(name)
    if (!repository) return nameUnknown({ name })
    const digest = isDigest(reference) ? reference : repository.tags.get(reference)
    const manifest = digest && repository.manifests.get(digest)
    if (!manifest) return failure(404, 'MANIFEST_UNKNOWN', 'manifest unknown', { name, reference })
    if (request.method === 'DELETE') return deleteManifest(repository, reference, manifest)
    return reads(request) ? serve(request, manifest) : unsupported()
  }

  function serve(request: Incoming, manifest: StoredManifest): Answer {
    const { digest, bytes, mediaType } = manifest
    if (how.strictAccept && !String(request.headers.accept ?? '').includes(mediaType)) {
      return failure(404, 'MANIFEST_UNKNOWN', `manifest of type ${mediaType} is not acceptable`)
    }
    const headers = { 'Content-Type': mediaType, Etag: `"${digest}"`, ...digestHeader(digest) }
    if (request.headers['if-none-match'] === `"${digest}"`) return { status: 304, headers }
    return { status: 200, headers, body: bytes }
  }

  function deleteManifest(repository: Repository, reference: string, manifest: StoredManifest): Answer {
    if (how.deletes === false) return unsupported()
    if (!isDigest(reference)) {
      repository.tags.delete(reference)
      return { status: 202 }
    }
    repository.manifests.delete(manifest.digest)
    for (const [tag, digest] of repository.tags) if (digest === manifest.digest) repository.tags.delete(tag)
    return { status: 202 }
  }

  async function putManifest(request: Incoming, name: string, reference: string): Promise<Answer> {
    const bytes = await readAll(request.body, MANIFEST_LIMIT)
    if (!bytes) return failure(413, 'MANIFEST_INVALID', 'manifest is larger than 4 MiB')
    const mediaType =
      String(request.headers['content-type'] ?? '')
        .split(';')[0]
        ?.trim() ?? ''
    const document = parseDocument(bytes)
    if (!document || mediaType === '' || (document.mediaType ?? mediaType) !== mediaType) return manifestInvalid()
    const digest = digestOf(bytes, isDigest(reference) ? algorithmOf(reference) : 'sha256')
    if (isDigest(reference) && digest !== reference) return digestInvalid()
    const repository = storage.repository(name)
    const refused = missing(repository, document, mediaType)
    if (refused) return refused
    const tags = isDigest(reference) ? request.query.getAll('tag') : [reference]
    const fixed = how.immutableTags ? tags.find((tag) => repository.tags.has(tag)) : undefined
    if (fixed !== undefined) return tagFixed(name, fixed)
    repository.manifests.set(digest, { digest, bytes, mediaType })
    for (const tag of tags) repository.tags.set(tag, digest)
    const headers: Record<string, string> = {
      Location: location(request, `/v2/${name}/manifests/${reference}`),
      ...digestHeader(digest),
      ...(isDigest(reference) && tags.length > 0 && { 'OCI-Tag': tags.join(', ') }),
      ...(document.subject && how.referrersApi !== false && { 'OCI-Subject': document.subject.digest }),
    }
    return { status: 201, headers }
  }

  /** MANIFEST_BLOB_UNKNOWN for every blob (and, unless sparse, child) that is not there yet. */
  function missing(repository: Repository, document: Document, mediaType: string): Answer | undefined {
    const index = isIndex(mediaType)
    if (how.sparse === 'all' || (index && how.sparse !== 'none')) return undefined
    const wanted: Entry[] = index
      ? (document.manifests ?? [])
      : [...(document.config ? [document.config] : []), ...(document.layers ?? [])]
    const external = how.refusesUrls ? wanted.find(({ urls = [] }) => urls.length > 0) : undefined
    if (external) {
      const unknown = { code: 'UNKNOWN', message: 'unknown error' }
      const blob = { code: 'MANIFEST_BLOB_UNKNOWN', message: 'blob unknown to registry', detail: external.digest }
      return failures(500, [unknown, { ...unknown, detail: {} }, blob])
    }
    const has = (digest: Digest) => (index ? repository.manifests.has(digest) : repository.blobs.has(digest))
    const absent = wanted.filter((entry) => !isForeign(entry) && !has(entry.digest))
    if (absent.length === 0) return undefined
    const [code, message] = index
      ? ['MANIFEST_UNKNOWN', 'manifest unknown']
      : ['MANIFEST_BLOB_UNKNOWN', 'blob unknown to registry']
    return failures(
      400,
      absent.map((entry) => ({ code, message, detail: entry.digest })),
    )
  }

  function tags(request: Incoming, name: string): Answer {
    const repository = storage.repositories.get(name)
    if (!repository) return nameUnknown({ name })
    return paged(request, repository.tags.keys(), `/v2/${name}/tags/list`, (tags) => ({ name, tags }))
  }

  function catalog(request: Incoming): Answer {
    if (how.catalog === false) return notFound()
    return paged(request, storage.repositories.keys(), '/v2/_catalog', (repositories) => ({ repositories }))
  }

  /** distribution-spec "Listing Tags"; distribution lists its repositories in the same way. */
  function paged(request: Incoming, names: Iterable<string>, path: string, body: (page: string[]) => object): Answer {
    const asked = request.query.get('n')
    if (asked !== null && !/^\d+$/.test(asked)) {
      return failure(400, 'PAGINATION_NUMBER_INVALID', 'invalid number of results requested')
    }
    const last = request.query.get('last') ?? ''
    const all = [...names].sort().filter((name) => name > last)
    const size = Math.min(
      asked === null ? Number.POSITIVE_INFINITY : Number(asked),
      how.tagsPage ?? Number.POSITIVE_INFINITY,
    )
    const page = all.slice(0, size)
    const query = new URLSearchParams({ n: String(size), last: page.at(-1) ?? '' })
    const more = page.length > 0 && all.length > page.length
    return json(body(page), more ? next(location(request, path), query) : {})
  }

  function referrers(request: Incoming, name: string, digest: string): Answer {
    if (how.referrersApi === false) return notFound()
    if (!isDigest(digest)) return digestInvalid()
    const type = how.referrersFilter === false ? null : request.query.get('artifactType')
    const all = [...(storage.repositories.get(name)?.manifests.values() ?? [])]
      .flatMap((manifest) => referrer(manifest, digest))
      .filter((descriptor) => type === null || descriptor.artifactType === type)
    const start = Number(request.query.get('start') ?? 0)
    const end = start + (how.referrersPage ?? Number.POSITIVE_INFINITY)
    const query = new URLSearchParams({ ...(type !== null && { artifactType: type }), start: String(end) })
    const headers = {
      'Content-Type': MEDIA.index,
      ...(type !== null && { 'OCI-Filters-Applied': 'artifactType' }),
      ...(all.length > end && next(location(request, request.path), query)),
    }
    return json({ schemaVersion: 2, mediaType: MEDIA.index, manifests: all.slice(start, end) }, headers)
  }

  function dispatch(request: Incoming, route: Route): Promise<Answer> | Answer {
    switch (route.kind) {
      case 'ping':
        return reads(request) ? { ...json({}), body: '{}' } : unsupported()
      case 'catalog':
        return catalog(request)
      case 'blobs':
        return blobs(request, storage.repositories.get(route.repository), route.digest)
      case 'uploads':
        return upload(request, route.repository, route.id)
      case 'manifests':
        return manifests(request, route.repository, route.reference)
      case 'tags':
        return tags(request, route.repository)
      case 'referrers':
        return referrers(request, route.repository, route.digest)
    }
  }

  return async (request) => {
    const route = routeOf(request.path)
    if (!route) return /^\/v2\/.+\/(?:manifests|blobs)\/[^/]*:[^/]*$/.test(request.path) ? digestInvalid() : notFound()
    const answer = await dispatch(request, route)
    return { ...answer, headers: { 'Docker-Distribution-Api-Version': 'registry/2.0', ...answer.headers } }
  }
}

/** distribution-spec "Listing Referrers": what a descriptor in that list carries. */
function referrer(manifest: StoredManifest, subject: Digest): (Entry & { artifactType?: string })[] {
  const document = parseDocument(manifest.bytes)
  if (document?.subject?.digest !== subject) return []
  const artifactType = document.artifactType || document.config?.mediaType
  const { digest, mediaType, bytes } = manifest
  return [
    {
      mediaType,
      digest,
      size: bytes.length,
      ...(artifactType && { artifactType }),
      ...(document.annotations && { annotations: document.annotations }),
    },
  ]
}

function reads(request: Incoming): boolean {
  return request.method === 'GET' || request.method === 'HEAD'
}

function next(path: string, query: URLSearchParams): Record<string, string> {
  return { Link: `<${path}?${query}>; rel="next"` }
}

function unsupported(): Answer {
  return failure(405, 'UNSUPPORTED', 'The operation is unsupported.')
}

/** What nginx says before it hangs up. */
function tooLarge(): Answer {
  const body = '<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n</html>\r\n'
  return { status: 413, headers: { 'Content-Type': 'text/html', Connection: 'close' }, body }
}

/** ECR's words: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html */
function tagFixed(repository: string, tag: string): Answer {
  const message =
    `The image tag '${tag}' already exists in the '${repository}' repository ` +
    'and cannot be overwritten because the tag is immutable.'
  return failure(400, 'TAG_INVALID', message)
}
