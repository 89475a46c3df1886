import { type Digest, digestOf, isDigest } from '../../../src/oci/digest.ts'
import {
  type Document,
  digestInvalid,
  type Entry,
  type Failure,
  failure,
  failures,
  isIndex,
  MANIFEST_LIMIT,
  MEDIA,
  manifestInvalid,
  nameUnknown,
  parseDocument,
  readAll,
} from './distribution.ts'
import { parseJson } from './go-json.ts'
import type { Answer, Incoming } from './http.ts'
import { type BlobRef, type Image, INTERNAL_REGISTRY, type PlatformRef, type RegistryDeps, type User } from './state.ts'
import type { Repository, Storage, StoredBlob, StoredManifest } from './storage.ts'

/** Manifests of the integrated registry (image-registry manifestservice.go, tagservice.go; distribution manifests.go). */
export interface ManifestDeps extends RegistryDeps {
  store: Storage
  upstream: Upstream
  visible(repository: string, digest: string): StoredBlob | undefined
  location(request: Incoming, path: string): string
  sleep(milliseconds: number): Promise<unknown>
}

/** The registries that images were imported from. */
export interface Upstream {
  /** @param reference `host/path`, with or without digest; undefined: not reachable, unknown, or the registry itself. */
  repository(reference: string): Repository | undefined
  /** A blob that one of the stream's images may have been imported with. */
  blob(name: string, digest: Digest): StoredBlob | undefined
}

export interface OpenShiftManifests {
  answer(request: Incoming, repository: string, reference: string, user: User): Promise<Answer>
  /** Manifests are stored as blobs and can be read as such. */
  asBlob(digest: Digest): StoredBlob | undefined
}

export function openshiftManifests(deps: ManifestDeps): OpenShiftManifests {
  const { streams, store } = deps

  function bytesOf(digest: Digest): StoredManifest | undefined {
    const home = [...store.repositories.values()].find((repository) => repository.manifests.has(digest))
    return home?.manifests.get(digest)
  }

  /** pullthroughmanifestservice.go remoteGet: what is pulled through is stored as well, without a look at its blobs. */
  function pullThrough(repository: string, digest: Digest): StoredManifest | Answer {
    const [ns = '', name = ''] = repository.split('/')
    const from = streams.origin(ns, name, digest) ?? ''
    if (from.startsWith(`${INTERNAL_REGISTRY}/`)) return unknown({ Name: repository, Revision: digest })
    const found = deps.upstream.repository(from)?.manifests.get(digest)
    if (found) {
      if (deps.options.mirror !== false) store.repository(repository).manifests.set(digest, found)
      return found
    }
    const why = deps.options.upstreamGone
      ? `Get "https://${from.split('/')[0]}/v2/": dial tcp 192.0.2.1:443: connect: connection refused`
      : 'manifest unknown: manifest unknown'
    return failure(404, 'OPENSHIFT_PULLTHROUGH_MANIFEST', `unable to pull manifest from ${from}@${digest}: ${why}`)
  }

  /** The manifest as this stream shows it, or what the registry says instead. */
  function find(repository: string, digest: Digest): StoredManifest | Answer {
    const [ns = '', name = ''] = repository.split('/')
    // imagestream.go resolveUpstreamRef wraps the API's 404 as Unknown.
    if (!streams.get(ns, name)) return failure(500, 'UNKNOWN', 'unknown error', {})
    if (!streams.image(ns, name, digest)) return unknown({ Name: repository, Revision: digest })
    return bytesOf(digest) ?? pullThrough(repository, digest)
  }

  function read(request: Incoming, repository: string, reference: string): Answer {
    const [ns = '', name = ''] = repository.split('/')
    const byTag = !isDigest(reference)
    if (byTag && !streams.get(ns, name)) return nameUnknown()
    const digest = byTag ? streams.resolve(ns, name, reference) : reference
    if (digest === undefined) return unknown({ Tag: reference })
    if ([digest, `"${digest}"`].includes(request.headers['if-none-match'] ?? '')) return { status: 304 }
    const found = find(repository, digest as Digest)
    if ('status' in found) return found
    const child = negotiate(request, found, byTag)
    if ('status' in child) return child
    if (child.digest === found.digest) return serve(found)
    const rewritten = find(repository, child.digest)
    return 'status' in rewritten ? rewritten : serve(rewritten)
  }

  async function write(request: Incoming, repository: string, reference: string, user: User): Promise<Answer> {
    const bytes = await readAll(request.body, MANIFEST_LIMIT)
    if (!bytes) {
      const answer = manifestInvalid('http: request body too large')
      return { ...answer, headers: { ...answer.headers, Connection: 'close' } }
    }
    const mediaType =
      String(request.headers['content-type'] ?? '')
        .split(';')[0]
        ?.trim() ?? ''
    const parsed = parseJson<Document>(bytes)
    if ('Offset' in parsed) return manifestInvalid(parsed)
    const document = parsed.value
    if (!wellTyped(document, mediaType)) return manifestInvalid()
    const digest = digestOf(bytes)
    if (isDigest(reference) && reference !== digest) return digestInvalid()
    const faults = await verify(repository, document, mediaType)
    if (faults.length > 0) return failures(faults[0]?.code === 'UNKNOWN' ? 500 : 400, faults)
    // "unrecognized manifest schema version" and, from the API, a name that is not a valid tag: errors without a code of their own.
    if (document.schemaVersion !== 2 || reference.includes(':') !== isDigest(reference))
      return failure(500, 'UNKNOWN', 'unknown error', {})
    const manifest = { digest, bytes, mediaType }
    store.repository(repository).manifests.set(digest, manifest)
    const image = toImage(manifest)
    // With the registry's own rights; what can be read is the stream's affair.
    streams.images.set(digest, image)
    const denied = isDigest(reference) ? undefined : tag(repository, reference, image, user)
    if (denied) return denied
    const Location = deps.location(request, `/v2/${repository}/manifests/${digest}`)
    return { status: 201, headers: { Location, 'Docker-Content-Digest': digest } }
  }

  /** ImageStreamMapping; a missing stream is created with the caller's rights. */
  function tag(repository: string, name: string, image: Image, user: User): Answer | undefined {
    const [ns = '', stream = ''] = repository.split('/')
    const missing = !streams.get(ns, stream)
    if (missing && !deps.allowed(user, 'create', 'imagestreams', ns)) return denied()
    if (streams.refusal(ns, stream) !== undefined) return denied()
    // The stream comes first and stays, also when its first image is refused.
    if (missing) streams.create(ns, stream)
    if (streams.refusal(ns, stream, image) !== undefined) return denied()
    streams.addTag(ns, stream, name, image)
    store.repository(repository).tags.set(name, image.digest as Digest)
    return undefined
  }

  /** Config and layers only, in this order: children of lists and indexes are not looked at. */
  async function verify(repository: string, document: Document, mediaType: string): Promise<Failure[]> {
    const faults: Failure[] = []
    const entries: Partial<Entry>[] = document.manifests ? [] : [document.config ?? {}, ...(document.layers ?? [])]
    for (const entry of entries as Entry[]) {
      const external = mediaType === MEDIA.v2s2 ? externalLayer(entry) : undefined
      if (external === 'fine') continue
      if (external === 'wrong') {
        faults.push({ code: 'UNKNOWN', message: 'unknown error' }, { code: 'UNKNOWN', message: 'unknown error' })
        continue
      }
      if (!isDigest(entry.digest ?? '')) {
        // Without detail, unlike the same code elsewhere (registry/handlers/manifests.go PutManifest).
        faults.push({ code: 'DIGEST_INVALID', message: 'provided digest did not match uploaded content' })
        continue
      }
      const blob = deps.visible(repository, entry.digest)
      if (!blob) {
        // verifyLayer waits for storage that is not consistent yet, one blob after the other.
        await deps.sleep(deps.options.missingBlobDelay)
        faults.push({ code: 'MANIFEST_BLOB_UNKNOWN', message: 'blob unknown to registry', detail: entry.digest })
      } else if (blob.size !== entry.size) {
        const detail = { Digest: entry.digest, ActualSize: blob.size, SizeInManifest: entry.size }
        faults.push(
          { code: 'UNKNOWN', message: 'unknown error' },
          { code: 'UNKNOWN', message: 'unknown error', detail },
        )
      }
    }
    return faults
  }

  /** Only administrators come this far (pruning). */
  function remove(repository: string, reference: string): Answer {
    const [ns = '', name = ''] = repository.split('/')
    if (!isDigest(reference)) return { status: 202 } // tagservice.go Untag does nothing
    if (streams.image(ns, name, reference)) return failure(405, 'UNSUPPORTED', 'The operation is unsupported.')
    return store.repositories.get(repository)?.manifests.delete(reference)
      ? { status: 202 }
      : unknown({ Name: repository, Revision: reference })
  }

  return {
    async answer(request, repository, reference, user) {
      if (request.method === 'PUT') return write(request, repository, reference, user)
      return request.method === 'DELETE' ? remove(repository, reference) : read(request, repository, reference)
    },
    asBlob(digest) {
      const bytes = bytesOf(digest)?.bytes
      if (!bytes) return undefined
      const read = async function* (start: number, end: number) {
        yield bytes.subarray(start, end)
      }
      return { digest, size: bytes.length, read }
    },
  }
}

/** manifestschema2handler.go verifyLayer. For OCI manifests there is no such rule: each layer has to be there. */
function externalLayer({ mediaType, urls = [] }: Entry): 'fine' | 'wrong' | undefined {
  if (mediaType === 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip')
    return urls.length > 0 ? 'fine' : 'wrong'
  return urls.length > 0 ? 'wrong' : undefined
}

/** What `Accept` makes of a manifest (distribution registry/handlers/manifests.go GetManifest). */
function negotiate(request: Incoming, found: StoredManifest, byTag: boolean): { digest: Digest } | Answer {
  const accepted = String(request.headers.accept ?? '')
    .split(',')
    .map((type) => type.split(';')[0]?.trim())
  const { mediaType, bytes } = found
  const document = parseDocument(bytes)
  if (mediaType === MEDIA.manifest && !accepted.includes(MEDIA.manifest)) {
    return failure(404, 'MANIFEST_UNKNOWN', 'OCI manifest found, but accept header does not support OCI manifests')
  }
  // An index without `mediaType` is not recognised as one, and served to every client.
  if (document?.mediaType === MEDIA.index && !accepted.includes(MEDIA.index)) {
    return failure(404, 'MANIFEST_UNKNOWN', 'OCI index found, but accept header does not support OCI indexes')
  }
  if (!byTag || accepted.includes(mediaType)) return found
  // Schema 1 is what a client without Accept is taken to want; the conversion fails.
  if (mediaType === MEDIA.v2s2) return manifestInvalid()
  if (mediaType !== MEDIA.list) return found
  const child = document?.manifests?.find(
    ({ platform }) => platform?.architecture === 'amd64' && platform.os === 'linux',
  )
  if (!child) return failure(404, 'MANIFEST_UNKNOWN', 'manifest unknown')
  return child.mediaType === MEDIA.v2s2 && !accepted.includes(MEDIA.v2s2) ? manifestInvalid() : child
}

/** distribution.UnmarshalManifest: known types only, and the body must be of the type that the header names. */
function wellTyped(document: Document, mediaType: string): boolean {
  const types: readonly string[] = Object.values(MEDIA)
  if (!types.includes(mediaType) || typeof document !== 'object' || document === null) return false
  const docker = mediaType === MEDIA.v2s2 || mediaType === MEDIA.list
  if (docker ? document.mediaType !== mediaType : (document.mediaType ?? mediaType) !== mediaType) return false
  return isIndex(mediaType)
    ? (document.manifests ?? []).every((child) => isDigest(child.digest)) && !document.config && !document.layers
    : !document.manifests
}

/** The Image object that the API server derives from a manifest. */
export function toImage({ digest, bytes, mediaType }: StoredManifest): Image {
  const document = parseDocument(bytes)
  const reference = ({ digest, size, mediaType }: Entry): BlobRef => ({ digest, size, mediaType })
  return {
    digest,
    mediaType,
    size: bytes.length,
    ...(document?.config && { config: reference(document.config) }),
    layers: (document?.layers ?? []).map(reference),
    manifests: (document?.manifests ?? []).map((child) => ({
      ...reference(child),
      ...(child.platform && { platform: child.platform as PlatformRef }),
    })),
  }
}

function serve({ digest, bytes, mediaType }: StoredManifest): Answer {
  const headers = { 'Content-Type': mediaType, 'Docker-Content-Digest': digest, Etag: `"${digest}"` }
  return { status: 200, headers, body: bytes }
}

function unknown(detail: unknown): Answer {
  return failure(404, 'MANIFEST_UNKNOWN', 'manifest unknown', detail)
}

function denied(): Answer {
  return failure(403, 'DENIED', 'requested access to the resource is denied')
}
