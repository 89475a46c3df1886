import { PromoteError } from '../core/errors.ts'
import { listed } from '../core/text.ts'
import { isForeign, type Link, type Manifest } from '../oci/manifest.ts'
import { formatPlatform } from '../oci/platform.ts'
import type { Graph, Node } from './graph.ts'

/** How registries say that they do not have a manifest: distribution-spec "Error Codes", and Harbor's NOT_FOUND. */
const ABSENT = ['MANIFEST_UNKNOWN', 'NAME_UNKNOWN', 'BLOB_UNKNOWN', 'NOT_FOUND']

/** The codes with which registries refuse an index because of a missing child. */
const CHILD_ABSENT = ['MANIFEST_BLOB_UNKNOWN', 'MANIFEST_UNKNOWN', 'BLOB_UNKNOWN', 'MANIFEST_INVALID', 'NAME_UNKNOWN']

/**
 * Whether the source itself says that it does not have the manifest. Other 404 answers only say that it could not be fetched
 * now: the page of a proxy, or OpenShift's OPENSHIFT_PULLTHROUGH_MANIFEST for an upstream registry that failed.
 */
function isSaidAbsent({ code, status, server }: PromoteError): boolean {
  if (code !== 'NOT_FOUND') return false
  // An OCI layout has no status. Its folder was read, so the manifest is absent.
  if (status === undefined) return true
  return status === 404 && server.length > 0 && server.every((entry) => ABSENT.includes(entry.code))
}

/**
 * Decides about a manifest that another manifest or a list names, and that could not be read. Returns when it is to be left
 * out.
 * @param what names the manifest: the start of a sentence.
 * @param absent the error when the source does not have it and `skipMissing` is not set.
 */
export function leaveMissing(
  thrown: unknown,
  skipMissing: boolean,
  what: string,
  absent: Readonly<{ message: string; hint: string }>,
): undefined {
  if (!(thrown instanceof PromoteError) || thrown.code !== 'NOT_FOUND') throw thrown
  const detail = { side: 'source', cause: thrown } as const
  if (!isSaidAbsent(thrown))
    throw thrown.with({
      ...detail,
      message: `${what}, which could not be read: ${thrown.message}`,
      hint: 'The source does not say that it is missing, so skip-missing does not leave it out. Find out why it cannot be read.',
    })
  if (!skipMissing) throw new PromoteError('NOT_FOUND', absent.message, { ...detail, hint: absent.hint })
}

/**
 * The blobs that must be sent again after the registry has refused a manifest.
 * @throws PromoteError that explains the refusal, when sending blobs again would not help.
 */
export function missingBlobs(thrown: unknown, manifest: Manifest, graph: Graph): Node[] {
  if (!(thrown instanceof PromoteError)) throw thrown
  const foreign = refusedForeign(thrown, manifest, graph)
  if (foreign !== undefined) throw foreign
  const entries = thrown.server.filter(isMissingBlob)
  const sendable = (entries.length === 0 ? [] : manifest.links)
    .flatMap((link) => nodeOf(link, graph) ?? [])
    .filter(({ kind, leave }) => kind === 'blob' && leave === undefined)
  // Most registries name the digest somewhere in the detail of MANIFEST_BLOB_UNKNOWN. For the others, all blobs are sent again.
  const text = JSON.stringify(entries)
  const named = sendable.filter(({ descriptor }) => text.includes(descriptor.digest))
  if (sendable.length === 0) throw refusedSparse(thrown, manifest, graph) ?? thrown
  return named.length > 0 ? named : sendable
}

/** The registry refused a manifest because of a missing blob. Nothing was written. */
export function isMissingBlob({ code }: Readonly<{ code: string }>): boolean {
  return code === 'MANIFEST_BLOB_UNKNOWN' || code === 'BLOB_UNKNOWN'
}

function nodeOf({ kind, descriptor }: Link, graph: Graph): Node | undefined {
  return graph.nodes.get(`${kind} ${descriptor.digest}`)
}

/** The error for an index of which children were left out, where the registry requires all of them. */
function refusedSparse(thrown: PromoteError, manifest: Manifest, graph: Graph): PromoteError | undefined {
  if (manifest.shape !== 'index' || !thrown.server.some(({ code }) => CHILD_ABSENT.includes(code))) return undefined
  const children = manifest.links.filter((link) => link.role === 'child')
  const copied = children.filter((link) => nodeOf(link, graph)?.leave === undefined)
  const left = children.length - copied.length
  if (left === 0) return undefined
  const names = copied.map(({ descriptor: { digest, platform } }) =>
    platform === undefined ? digest : `${digest} (${formatPlatform(platform)})`,
  )
  return thrown.with({
    code: 'UNSUPPORTED',
    message: `${thrown.message} The registry requires all children of an index: ${left} of ${children.length} were left out.`,
    cause: thrown,
    transient: false,
    hint: `Promote all of it, or these by digest, SRC@DIGEST=DST:TAG, each with a tag of its own: ${listed(names, 20)}.`,
  })
}

/**
 * The error for a non-distributable layer that the registry requires, or whose URLs it refuses. Other layers that it misses do
 * not matter then, because to send them again changes nothing.
 */
function refusedForeign(thrown: PromoteError, manifest: Manifest, graph: Graph): PromoteError | undefined {
  const missing = JSON.stringify(thrown.server.filter(({ code }) => /BLOB_UNKNOWN$/.test(code)))
  const named = manifest.links.filter(({ descriptor }) => isForeign(descriptor) && missing.includes(descriptor.digest))
  const left = named.find((link) => nodeOf(link, graph)?.leave !== undefined)
  // 400 for a layer that is copied means an ordinary missing blob: it is sent again.
  const layer = left ?? (thrown.status === 400 ? undefined : named[0])
  if (layer === undefined) return undefined
  const { digest } = layer.descriptor
  const why =
    left === undefined
      ? `The registry refuses the non-distributable layer ${digest}, even with its bytes (include-foreign).`
      : `The registry refuses the non-distributable layer ${digest} without its bytes, and they are copied only with include-foreign.`
  return thrown.with({
    code: 'UNSUPPORTED',
    message: `${thrown.message} ${why}`,
    cause: thrown,
    transient: false,
    hint:
      thrown.status === 400
        ? 'Set include-foreign, if the licence of the layer allows it to be copied.'
        : 'docker-registry and distribution take URLs of layers only where their setting validation.manifests.urls.allow fits them.',
  })
}
