import type { ByteStream } from '../core/async.ts'
import type { Digest } from '../oci/digest.ts'
import type { Descriptor, Manifest } from '../oci/manifest.ts'

/**
 * The ports between the copy engine and whatever holds images. A store is one repository (`namespace/name` of a
 * registry, or an OCI layout). Failures are PromoteErrors with the store's side; `transient` says whether the same call may
 * succeed later. Stores retry small requests themselves. The transfer of blobs is resumed by the copy engine.
 */
export interface Source {
  /** For messages: `registry.example.com/dev/app`. */
  readonly name: string
  /** Reads the manifest of a tag or digest, in one GET. Its digest is computed from the bytes. NOT_FOUND when absent. */
  resolve(reference: string): Promise<Manifest>
  /** Reads a manifest of at most 4 MiB and checks its digest. Answered from memory when it was read before. */
  manifest(descriptor: Descriptor): Promise<Manifest>
  /** The bytes from `offset` on. A break is an error of the iteration, transient when another try makes sense. */
  blob(descriptor: Descriptor, offset?: number): Promise<ByteStream>
  /** All manifests whose `subject` is this digest: by the referrers API, else the fallback tag (distribution-spec 1.1). */
  referrers(subject: Digest): Promise<readonly Descriptor[]>
  /** The descriptor of a tag that may be absent, by HEAD where the answer to that is usable. */
  find(tag: string): Promise<Descriptor | undefined>
  /** All tags. Missing where a store cannot list them. */
  listTags?(): Promise<readonly string[]>
}

export interface Target extends Source {
  /** All that is certainly stored, in one request. Undefined where the store has no such request. */
  inventory(): Promise<ReadonlySet<Digest> | undefined>
  /** What the answers of the store prove. Missing or undefined: a positive answer proves that the content is stored. */
  evidence?(): Promise<Evidence | undefined>
  /** Whether this is stored here. False also when the answer proves nothing (401, 403, 405, 5xx). */
  has(descriptor: Descriptor, kind: 'blob' | 'manifest'): Promise<boolean>
  /**
   * Asks for the blob and starts its upload, in one request where the store can.
   * @param mountFrom repository of the same registry that holds the blob.
   */
  startUpload(blob: Descriptor, mountFrom?: string): Promise<UploadStart>
  /**
   * Writes the exact bytes, by digest or under a tag.
   * @returns the digest that the store says it stored, if it says.
   */
  putManifest(manifest: Manifest, tag?: string): Promise<Digest | undefined>
  /**
   * The digest that a tag points at, or that of a manifest. Null when the store says that it does not exist.
   * @param proof reads the bytes, without a retry, and also after the run was cancelled: to find out how a write ended.
   * @throws PromoteError when no answer tells. A refused read (403) does not prove absence.
   */
  locate(reference: string, proof?: boolean): Promise<Digest | null>
  /**
   * Removes the tag, and not its manifest. Missing where a store cannot.
   * @returns whether the tag is gone. Most registries refuse.
   */
  removeTag?(tag: string): Promise<boolean>
  /**
   * True when the store lists referrers itself, false when the client must keep the fallback tag (distribution-spec "Pushing
   * Manifests with Subject"). Undefined until the first manifest with a subject was put.
   */
  readonly listsReferrers: boolean | undefined
}

/**
 * OpenShift's registry also answers for content that an image stream only refers to, and fetches it from another registry
 * (pull-through: openshift/image-registry pullthroughblobstore.go). `provingAnswers` says which answers are a proof there.
 */
export type Evidence = Readonly<{
  /** Whether images of the repository were imported by reference: these are pulled through. */
  imports: 'none' | 'some' | 'unknown'
  /** All that the repository names, wherever the bytes are. Undefined when it cannot be read. */
  named: ReadonlySet<Digest> | undefined
}>

/**
 * Which answer of a store, to the question whether it has some content, proves that the content is stored there: each one, none,
 * or only one that shows that it is from the registry's own storage.
 * @param evidence of the store; undefined where nothing is pulled through.
 */
export function provingAnswers(evidence: Evidence | undefined): 'all' | 'from-storage' | 'none' {
  if (evidence === undefined || evidence.imports === 'none') return 'all'
  return evidence.imports === 'some' ? 'none' : 'from-storage'
}

export type UploadStart = Readonly<{ state: 'present' | 'mounted' } | { state: 'open'; upload: Upload }>

/** One open upload session. After a break, call `offset`, and send again from there. */
export interface Upload {
  /**
   * Sends `body`, the bytes of the blob from `from` to its end, and commits. `body` throws before its last chunk when the
   * bytes do not match the digest, so that a wrong blob is never completed.
   */
  send(from: number, body: ByteStream): Promise<void>
  /**
   * After a break: how many bytes the store has kept, −1 when the blob is complete. When the session is lost, and with
   * `restart`, a new one is started, and the answer is 0.
   */
  offset(restart?: boolean): Promise<number>
  /** Best effort; never throws. */
  cancel(): Promise<void>
}
