import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createGunzip } from 'node:zlib'
import { readAll, through } from '../core/async.ts'
import { PromoteError } from '../core/errors.ts'
import type { Digest } from '../oci/digest.ts'
import { writeAll } from './directory.ts'
import {
  absent,
  blobPath,
  type Draft,
  EMPTY_INDEX,
  INDEX_FILE,
  LAYOUT_FILE,
  LAYOUT_VERSION,
  type LayoutFiles,
  readIndex,
} from './layout-files.ts'
import { BLOCK, type Cursor, makeHeader, padded, readEntries, type TarEntry } from './tar.ts'

const CHUNK = 256 * 1024
/** Small files of a compressed archive are kept when it is listed: each one read later costs reading all before it. */
const KEPT_FILE = 256 * 1024
const KEPT = 32 * 1024 * 1024

/** What is in an archive, and how its bytes are reached. */
type Contents = Readonly<{
  handle: FileHandle
  compressed: boolean
  entries: Map<string, TarEntry>
  kept: ReadonlyMap<string, Buffer>
}>

/** The archive that is being written, under another name until it is finished. The next entry goes to `position`. */
type Writer = { readonly path: string; position: number }

type State = {
  readonly file: string
  contents?: Promise<Contents | undefined> | undefined
  writer?: Promise<Writer> | undefined
  finished?: Promise<void> | undefined
  /** What will be written as `index.json`. */
  index?: Uint8Array
  /** Of the archive as it was: readers may still use them. */
  readonly stale: FileHandle[]
}

/**
 * An OCI layout in a tar archive. Listed once, then read where the entries are; a compressed one is decompressed again
 * for each large blob, because nothing is unpacked to disk. Blobs are written as they arrive, each where there is room
 * for it, into a file beside; `finish` adds the index and gives it its name. An archive that is there is copied first and
 * continued.
 */
export function openArchive(file: string): LayoutFiles {
  const state: State = { file, stale: [] }
  const writing = () => (state.writer ??= begin(state))
  const find = async (digest: Digest) => (await listed(state))?.entries.get(blobPath(digest))

  return {
    index: async () => state.index ?? (await indexOf(state)),
    async writeIndex(bytes) {
      await writing()
      state.index = bytes
    },
    size: async (digest) => (await find(digest))?.size,
    async *read(digest, offset) {
      const [there, entry] = [await listed(state), await find(digest)]
      if (there !== undefined && entry !== undefined) yield* readEntry(there, entry, offset)
    },
    draft: async (digest, size) => reserve(state, await writing(), blobPath(digest), size),
    finish: () => (state.finished ??= finish(state)),
    async close() {
      await release(await state.contents?.catch(() => undefined), state)
      const to = await state.writer?.catch(() => undefined)
      if (to !== undefined) await rm(to.path, { force: true }).catch(() => undefined)
    },
  }
}

function listed(state: State): Promise<Contents | undefined> {
  state.contents ??= list(state.file)
  return state.contents
}

/** @returns undefined when there is no archive. */
async function indexOf(state: State): Promise<Uint8Array | undefined> {
  const there = await listed(state)
  if (there === undefined) return undefined
  const index = await readIndex(async (name) => {
    const entry = there.entries.get(name)
    return entry && { size: entry.size, read: () => readAll(readEntry(there, entry, 0)) }
  })
  if (index !== undefined) return index
  throw new PromoteError('PROTOCOL', `holds no OCI layout: it has no file ${LAYOUT_FILE}`)
}

async function begin(state: State): Promise<Writer> {
  const { file } = state
  const before = await listed(state)
  // What it says now will be written over.
  state.index = (await indexOf(state)) ?? EMPTY_INDEX
  if (before?.compressed === true)
    throw new PromoteError('UNSUPPORTED', 'is compressed: nothing can be added to it', {
      hint: 'Decompress it with gunzip, or name another file.',
    })
  await mkdir(dirname(file), { recursive: true })
  const path = `${file}.${randomUUID()}.part`
  if (before !== undefined) await copyFile(file, path, constants.COPYFILE_FICLONE)
  const handle = await open(path, before === undefined ? 'wx+' : 'r+')
  if (before !== undefined) state.stale.push(before.handle)
  const entries = before?.entries ?? new Map<string, TarEntry>()
  state.contents = Promise.resolve({ handle, compressed: false, entries, kept: new Map() })
  state.finished = undefined
  return { path, position: appendPosition(entries) }
}

/** Closed before it is renamed: Windows renames no file that is open, and onto none. */
async function finish(state: State): Promise<void> {
  const [to, there] = [await state.writer, await state.contents]
  if (to === undefined || there === undefined) return
  await seal(there.handle, to, state.index ?? EMPTY_INDEX)
  await release(there, state)
  state.contents = undefined
  await rename(to.path, state.file)
  state.writer = undefined
}

async function release(there: Contents | undefined, { stale }: State): Promise<void> {
  const handles = [...stale.splice(0), ...(there === undefined ? [] : [there.handle])]
  await Promise.all(handles.map((handle) => handle.close().catch(() => undefined)))
}

/** @returns undefined when there is no such file. */
async function list(path: string): Promise<Contents | undefined> {
  const handle = await open(path, 'r').catch(absent)
  if (handle === undefined) return undefined
  try {
    const compressed = await isCompressed(handle)
    const entries = new Map<string, TarEntry>()
    const kept = new Map<string, Buffer>()
    const { size } = await handle.stat()
    const cursor = openCursor(handle, compressed)
    let left = KEPT
    for await (const entry of readEntries(cursor)) {
      if (!compressed && entry.content + entry.size > size) throw new PromoteError('PROTOCOL', 'is cut off')
      entries.delete(entry.name) // the last one of a name counts, and is where it ends
      entries.set(entry.name, entry)
      if (!compressed || entry.size > KEPT_FILE || entry.size > left) continue
      left -= entry.size
      kept.set(entry.name, await cursor.take(entry.size))
    }
    await cursor.close()
    return { handle, compressed, entries, kept }
  } catch (thrown) {
    await handle.close()
    throw thrown
  }
}

/** After the last blob: index and version, where they come last, are written anew. */
function appendPosition(entries: ReadonlyMap<string, TarEntry>): number {
  const inOrder = [...entries.values()].sort((a, b) => a.header - b.header)
  while ([INDEX_FILE, LAYOUT_FILE].includes(inOrder.at(-1)?.name ?? '')) inOrder.pop()
  const last = inOrder.at(-1)
  return last === undefined ? 0 : last.content + padded(last.size)
}

/** RFC 1952 section 2.3.1; zstd: RFC 8878 section 3.1.1; xz and bzip2: their own magic. */
async function isCompressed(handle: FileHandle): Promise<boolean> {
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(6), 0, 6, 0)
  const magic = buffer.toString('hex', 0, bytesRead)
  const others = { zstd: '28b52ffd', xz: 'fd377a585a00', bzip2: '425a68' }
  const [other] = Object.entries(others).find(([, start]) => magic.startsWith(start)) ?? []
  if (other === undefined) return magic.startsWith('1f8b')
  throw new PromoteError('UNSUPPORTED', `is compressed with ${other}`, { hint: 'Decompress it, or use gzip.' })
}

type Opened = Cursor & Readonly<{ close(): Promise<unknown> }>

/** Reads on from any later position. A compressed archive is decompressed up to there. */
function openCursor(handle: FileHandle, compressed: boolean): Opened {
  let chunks = compressed ? through(plain(handle, 0), createGunzip({ chunkSize: CHUNK })) : plain(handle, 0)
  let buffer: Buffer = Buffer.alloc(0)
  let position = 0
  const more = async (): Promise<boolean> => {
    const { value, done } = await chunks.next()
    if (done !== true) buffer = buffer.length === 0 ? value : Buffer.concat([buffer, value])
    return done !== true
  }
  return {
    get position() {
      return position
    },
    async take(bytes) {
      while (buffer.length < bytes && (await more()));
      const taken = buffer.subarray(0, bytes)
      buffer = buffer.subarray(taken.length)
      position += taken.length
      return taken
    },
    async seek(to) {
      if (!compressed && to - position > buffer.length) {
        await chunks.return(undefined)
        chunks = plain(handle, to)
        buffer = Buffer.alloc(0)
        position = to
      }
      while (position < to) {
        if (buffer.length === 0 && !(await more())) throw new PromoteError('PROTOCOL', 'is cut off')
        const skipped = Math.min(buffer.length, to - position)
        buffer = buffer.subarray(skipped)
        position += skipped
      }
    },
    close: () => chunks.return(undefined),
  }
}

async function* plain(handle: FileHandle, start: number): AsyncGenerator<Buffer> {
  for (let at = start; ; ) {
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafeSlow(CHUNK), 0, CHUNK, at)
    if (bytesRead === 0) return
    at += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}

async function* readEntry(there: Contents, entry: TarEntry, offset: number): AsyncGenerator<Uint8Array> {
  const kept = there.kept.get(entry.name)
  if (kept !== undefined) return yield kept.subarray(offset)
  const end = entry.content + entry.size
  const cursor = openCursor(there.handle, there.compressed)
  try {
    await cursor.seek(entry.content + offset)
    while (cursor.position < end) {
      const bytes = await cursor.take(Math.min(CHUNK, end - cursor.position))
      if (bytes.length === 0) throw new PromoteError('PROTOCOL', 'is cut off')
      yield bytes
    }
  } finally {
    await cursor.close()
  }
}

/**
 * Takes the next place in the archive: the size is known before the bytes, so several blobs can arrive at once. Until
 * `commit` the header names a file that readers of layouts ignore, so that the archive stays valid if the blob never comes.
 */
async function reserve(state: State, to: Writer, name: string, size: number): Promise<Draft> {
  const there = await listed(state)
  if (there === undefined) throw new Error('the archive is closed')
  const { handle, entries } = there
  const header = makeHeader(name, size)
  const at = to.position
  const content = at + header.length
  const end = content + padded(size)
  to.position = end
  let isOpen = true
  const ignored = `.image-promote/unfinished-${at}`
  await writeAll(handle, makeHeader(ignored, end - at - makeHeader(ignored, end - at).length), at)
  return {
    write: (bytes, position) => writeAll(handle, bytes, content + position),
    async commit() {
      await writeAll(handle, Buffer.alloc(padded(size) - size), content + size)
      await writeAll(handle, header, at)
      entries.set(name, { name, size, header: at, content })
      isOpen = false
    },
    async discard() {
      if (isOpen && to.position === end) to.position = at
      isOpen = false
    },
  }
}

/** Index and version, the end of the archive. */
async function seal(handle: FileHandle, { position }: Writer, index: Uint8Array): Promise<void> {
  const file = (name: string, bytes: Uint8Array) => {
    const padding = Buffer.alloc(padded(bytes.byteLength) - bytes.byteLength)
    return [makeHeader(name, bytes.byteLength), bytes, padding]
  }
  const files = [...file(INDEX_FILE, index), ...file(LAYOUT_FILE, LAYOUT_VERSION)]
  const tail = Buffer.concat([...files, Buffer.alloc(2 * BLOCK)])
  await writeAll(handle, tail, position)
  await handle.truncate(position + tail.length)
  await handle.sync()
}
