import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, sep } from 'node:path'
import { PromoteError } from '../core/errors.ts'
import {
  absent,
  blobPath,
  type Draft,
  INDEX_FILE,
  LAYOUT_FILE,
  LAYOUT_VERSION,
  type LayoutFiles,
  readIndex,
  writeDraft,
} from './layout-files.ts'

/** Large enough that reading costs little, small enough for many blobs at once. */
const CHUNK = 256 * 1024
/** Beside what it will replace: on the same file system, and not among the blobs. */
const UNFINISHED = '.image-promote-'

/** An OCI layout in a folder. The folder is made when the first thing is written to it. */
export function openFolder(root: string): LayoutFiles {
  const drafts = new Set<Draft>()
  let made: Promise<void> | undefined
  const ready = () => (made ??= makeLayout(root))

  return {
    index: () => readIndex((name) => find(root, name)),
    async writeIndex(bytes) {
      await ready()
      await writeDraft(await openDraft(root, INDEX_FILE), bytes)
    },
    size: async (digest) => (await find(root, blobPath(digest)))?.size,
    async *read(digest, offset) {
      const found = await find(root, blobPath(digest))
      if (found === undefined || offset >= found.size) return
      yield* createReadStream(found.path, { start: offset, highWaterMark: CHUNK })
    },
    async draft(digest) {
      await ready()
      const draft = await openDraft(root, blobPath(digest))
      drafts.add(draft)
      return {
        write: draft.write,
        commit: () => draft.commit().finally(() => drafts.delete(draft)),
        discard: () => draft.discard().finally(() => drafts.delete(draft)),
      }
    },
    finish: async () => undefined,
    close: async () => void (await Promise.all([...drafts].map((draft) => draft.discard()))),
  }
}

/** The file with that name, wherever links inside the folder lead; undefined when it is not there. */
async function inside(root: string, name: string): Promise<string | undefined> {
  const real = await realpath(join(root, name)).catch(absent)
  if (real === undefined) return undefined
  const base = await realpath(root)
  if (real === base || real.startsWith(base.endsWith(sep) ? base : base + sep)) return real
  throw new PromoteError('IO', `has a link that leads out of it: ${name}`)
}

async function find(root: string, name: string) {
  const path = await inside(root, name)
  const found = path === undefined ? undefined : await stat(path).catch(absent)
  if (path === undefined || found === undefined) return undefined
  // A named pipe would never end.
  if (!found.isFile()) throw new PromoteError('IO', `has something else where a file should be: ${name}`)
  return { path, size: found.size, read: () => readFile(path) }
}

/** Not into a folder that holds something else. */
async function makeLayout(root: string): Promise<void> {
  await mkdir(root, { recursive: true })
  if ((await readIndex((name) => find(root, name))) !== undefined) return
  const others = (await readdir(root)).filter((name) => !name.startsWith(UNFINISHED))
  if (others.length > 0)
    throw new PromoteError('IO', `holds other things and is not an OCI layout: it has no file ${LAYOUT_FILE}`, {
      hint: 'Name a folder that is empty, or not there yet.',
    })
  await writeDraft(await openDraft(root, LAYOUT_FILE), LAYOUT_VERSION)
}

/** Written beside, then renamed: what has the name is complete. */
async function openDraft(root: string, name: string): Promise<Draft> {
  // Before anything is made where a link leads.
  await inside(root, 'blobs')
  await mkdir(dirname(join(root, name)), { recursive: true })
  const folder = await inside(root, dirname(name))
  if (folder === undefined) throw new Error(`the folder of ${name} is not there`)
  const unfinished = join(root, `${UNFINISHED}${randomUUID()}`)
  const handle = await open(unfinished, 'wx')
  let closed: Promise<void> | undefined
  const close = () => (closed ??= handle.close())
  return {
    write: (bytes, position) => writeAll(handle, bytes, position),
    async commit() {
      await close()
      await rename(unfinished, join(folder, basename(name)))
    },
    async discard() {
      await close().catch(() => undefined)
      await rm(unfinished, { force: true }).catch(() => undefined)
    },
  }
}

/** A write may take less than it was given. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.byteLength - at, position + at)
    at += bytesWritten
  }
}
