import type { ByteStream } from '../core/async.ts'
import { PromoteError, reasonOf, type Side } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'

/** Where the files of an OCI layout are: a folder, or a tar archive. */
export interface LayoutFiles {
  /** What is in `index.json`; undefined while there is no layout. */
  index(): Promise<Uint8Array | undefined>
  /** Readers see the old index or the new one. */
  writeIndex(bytes: Uint8Array): Promise<void>
  /** Size of a blob in bytes; undefined when it is not there. */
  size(digest: Digest): Promise<number | undefined>
  /** The bytes of a blob that is there, from `offset` on; as long as `size` says. Not verified. */
  read(digest: Digest, offset: number): ByteStream
  /** A place for a blob, which readers see once it is committed. */
  draft(digest: Digest, size: number): Promise<Draft>
  /** An archive gets its name; nothing for a folder. */
  finish(): Promise<void>
  /** Removes what is unfinished. Never throws. */
  close(): Promise<void>
}

/** One blob on its way in. */
export interface Draft {
  write(bytes: Uint8Array, position: number): Promise<void>
  commit(): Promise<void>
  /** Nothing after a commit. Never throws. */
  discard(): Promise<void>
}

/** Writes all of a small file. */
export async function writeDraft(draft: Draft, bytes: Uint8Array): Promise<void> {
  try {
    await draft.write(bytes, 0)
    await draft.commit()
  } finally {
    await draft.discard()
  }
}

/** image-layout.md "index.json file"; with 300 bytes an entry this is 100,000 images. */
export const INDEX_LIMIT = 32 * 1024 * 1024
export const LAYOUT_FILE = 'oci-layout'
export const INDEX_FILE = 'index.json'
export const EMPTY_INDEX = Buffer.from('{"schemaVersion":2,"manifests":[]}')
export const LAYOUT_VERSION = Buffer.from('{"imageLayoutVersion":"1.0.0"}')

/** `sha256:5f2a…` → `blobs/sha256/5f2a…`. A digest has been checked: nothing else can be in the name. */
export function blobPath(digest: Digest): string {
  return `blobs/${digest.replace(':', '/')}`
}

/** A file of the layout; undefined when it is not there. */
export type FindFile = (name: string) => Promise<{ size: number; read(): Promise<Uint8Array> } | undefined>

/** @returns undefined if it is not a layout. @throws PromoteError UNSUPPORTED for another version than 1, the only one. */
export async function readIndex(find: FindFile): Promise<Uint8Array | undefined> {
  const small = async (name: string) => {
    const found = await find(name)
    if (found === undefined || found.size <= INDEX_LIMIT) return found?.read()
    throw new PromoteError('PROTOCOL', `has more than ${INDEX_LIMIT} bytes in ${name}`)
  }
  const file = await small(LAYOUT_FILE)
  if (file === undefined) return undefined
  const version = /"imageLayoutVersion"\s*:\s*"([^"]{0,40})"/.exec(Buffer.from(file).toString('utf8'))?.[1] ?? ''
  if (!version.startsWith('1.'))
    throw new PromoteError('UNSUPPORTED', `is an OCI layout of version ${JSON.stringify(version)}`, {
      hint: 'Version 1.0.0 is read and written.',
    })
  return (await small(INDEX_FILE)) ?? EMPTY_INDEX
}

/** The same storage, whose failures are PromoteErrors with the path and the side. */
export function withPath(storage: LayoutFiles, path: string, side: Side): LayoutFiles {
  const placed =
    <A extends unknown[], T>(call: (...args: A) => Promise<T>) =>
    (...args: A): Promise<T> =>
      call(...args).catch((thrown: unknown) => {
        throw ioError(thrown, path, side)
      })
  const { index, writeIndex, size, finish, close } = storage
  return {
    index: placed(index),
    writeIndex: placed(writeIndex),
    size: placed(size),
    async *read(digest, offset) {
      try {
        yield* storage.read(digest, offset)
      } catch (thrown) {
        throw ioError(thrown, path, side)
      }
    },
    draft: placed(async (digest, bytes) => {
      const draft = await storage.draft(digest, bytes)
      return { write: placed(draft.write), commit: placed(draft.commit), discard: draft.discard }
    }),
    finish: placed(finish),
    close,
  }
}

/** The system's errors with their reason, ours as the rest of a sentence. */
function ioError(thrown: unknown, path: string, side: Side): PromoteError {
  if (!(thrown instanceof PromoteError))
    return new PromoteError('IO', `${path}: ${reasonOf(thrown)}`, { side, cause: thrown })
  if (thrown.side !== undefined) return thrown
  return thrown.with({ message: `${path} ${thrown.message}.`, side })
}

/** @returns undefined when there is no such file. */
export function absent(thrown: unknown): undefined {
  const { code } = thrown as NodeJS.ErrnoException
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
  throw thrown
}
