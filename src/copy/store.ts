import type { Digest } from '../oci/digest.ts'
import type { Descriptor, Manifest } from '../oci/manifest.ts'

/** What a tag points at. Null: the registry said that the tag does not exist. `unread`: no answer tells. */
export type TagState = Digest | null | 'unread'

/**
 * The ports between the copy engine and whatever holds images. A store is one repository (`namespace/name` of a
 * registry, or an OCI layout). Failures are PromoteErrors that carry the store's side; `transient` says whether the same
 * call may succeed later. Small requests are already retried inside; blob bytes are not: the engine resumes those.
 */
export interface Source {
  /** For messages: `registry.example.com/dev/app`. */
  readonly name: string
  /** Tag or digest → the manifest, in one GET; its digest is that of the bytes, never a header's. NOT_FOUND when absent. */
  resolve(reference: string): Promise<Manifest>
  /** By digest, at most 4 MiB, hashed and compared; answered from memory when `resolve` has just read it. */
  manifest(descriptor: Descriptor): Promise<Manifest>
  /** The bytes from `offset` on. Breaking off is an error of the iteration, transient when trying again makes sense. */
  blob(descriptor: Descriptor, offset?: number): Promise<AsyncIterable<Uint8Array>>
  /** Everything whose `subject` is this digest: referrers API, else the fallback tag (distribution-spec 1.1). */
  referrers(subject: Digest): Promise<readonly Descriptor[]>
  /** Tag → descriptor when it is there, by HEAD where that is trustworthy; for tags that may well be absent. */
  find(tag: string): Promise<Descriptor | undefined>
  /** Every tag, page by page, for whoever selects among them. Absent where a store cannot list. */
  listTags?(): Promise<readonly string[]>
}

export interface Target extends Source {
  /** What is certainly stored, from one cheap inventory call; undefined where the store has none. */
  inventory(): Promise<ReadonlySet<Digest> | undefined>
  /** What the answers of the store prove. Absent or undefined: what it answers for is stored, and nothing else is known. */
  evidence?(): Promise<Evidence | undefined>
  /** Whether it is stored here. A hint: false also when the answer proves nothing (401, 403, 405, 5xx to probes). */
  has(descriptor: Descriptor, kind: 'blob' | 'manifest'): Promise<boolean>
  /**
   * Asks for the blob and begins its upload in one request where the store can.
   * @param mountFrom repository of the same registry that holds the blob.
   */
  startUpload(blob: Descriptor, mountFrom?: string): Promise<UploadStart>
  /**
   * Writes the exact bytes, by digest or under a tag.
   * @returns the digest that the store says it stored, if it says.
   */
  putManifest(manifest: Manifest, tag?: string): Promise<Digest | undefined>
  /**
   * Where a tag, or a manifest by its digest, is now; null when the store says that it does not exist.
   * @param proof reads the bytes, once, and also after the run was cancelled: what a write has come to.
   * @throws PromoteError when no answer tells: a refused read (403) is not absence.
   */
  locate(reference: string, proof?: boolean): Promise<Digest | null>
  /**
   * Removes the tag and leaves what it names. Absent where a store has no such thing.
   * @returns whether the tag is gone; false where the registry refuses (most do, or only for whole manifests).
   */
  removeTag?(tag: string): Promise<boolean>
  /**
   * True when the store lists `subject`'s referrers by itself once the manifest is put (distribution-spec "Pushing
   * Manifests with Subject"); false when the client must keep the fallback tag. Known after the first such put.
   */
  readonly listsReferrers: boolean | undefined
}

/**
 * OpenShift's registry answers also for what an image stream only refers to, and fetches it from elsewhere
 * (pull-through: openshift/image-registry pullthroughblobstore.go). A mount answered with 201 is the proof there.
 */
export type Evidence = Readonly<{
  /** True: no image of the repository was imported by reference, so that nothing is pulled through. Undefined: not known. */
  importFree: boolean | undefined
  /** All that the repository may hold, wherever the bytes are; undefined when it cannot be read. */
  named: ReadonlySet<Digest> | undefined
}>

export type UploadStart = Readonly<{ state: 'present' | 'mounted' } | { state: 'open'; upload: Upload }>

/** One open upload session. The engine drives it: send, and after a break `offset` then send again from there. */
export interface Upload {
  /**
   * Sends `body`, which starts at byte `from` of the blob and ends with the blob, and commits. `body` throws before its
   * last chunk when the bytes are not the digest's, so that a wrong blob is never completed.
   */
  send(from: number, body: AsyncIterable<Uint8Array>): Promise<void>
  /**
   * After a break: how many bytes the store has kept, −1 when the blob turns out to be complete. A store that lost the
   * session begins a new one and says 0. With `restart` a new one is begun in any case.
   */
  offset(restart?: boolean): Promise<number>
  /** Best effort; never throws. */
  cancel(): Promise<void>
}
