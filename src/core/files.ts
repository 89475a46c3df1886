/** Reads and writes small files. Messages name a file and never quote its content; a path may be a misplaced secret. */
import { randomBytes } from 'node:crypto'
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { appendFile, mkdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { shownPath } from './content.ts'
import { PromoteError, type Side } from './errors.ts'
import type { Secret } from './secret.ts'
import { decodeText } from './text.ts'

/** Bytes. A full CA bundle has 220 KiB; Kubernetes allows 1 MiB for a Secret. */
const LARGEST = 1024 * 1024

const STDIN = 0

/**
 * A text file, a pipe such as the shell's `<(command)`, or standard input (`-`); throws an Error that says why not.
 * @param largest bytes.
 */
export function readInput(path: string, largest: number = LARGEST): string {
  return decodeText(readBounded(path, largest))
}

/** Messages call the file `<what> <path>`. `text` is the content, if the option holds the content instead of a path. */
export type FileToRead = Readonly<{ what: string; path: string; side: Side | undefined; text?: Secret }>

/** @param given the path of the file, or its text. */
export function fileOf(what: string, given: string | Secret, side: Side | undefined): FileToRead {
  return typeof given === 'string' ? { what, path: given, side } : { what, path: '(given as text)', side, text: given }
}

/** Like `readInput`, but throws IO of the side; `isAbsent` tells a missing file from other failures. */
export function readText(file: FileToRead): string {
  if (file.text !== undefined) return file.text.reveal()
  let bytes: Buffer
  try {
    bytes = readBounded(file.path, LARGEST)
  } catch (thrown) {
    const { message, cause } = thrown as Error
    throw fileError(file, `could not be read: ${message}.`, cause)
  }
  try {
    return decodeText(bytes)
  } catch (thrown) {
    throw fileError(file, `${(thrown as Error).message}.`)
  }
}

/** An error about a file. The cause must not be a parser's error, because those quote the text. */
export function fileError(file: FileToRead, problem: string, cause?: unknown, hint?: string): PromoteError {
  return new PromoteError('IO', `The ${file.what} ${shownPath(file.path)} ${problem}`, { side: file.side, cause, hint })
}

/** Whether the error says that the file or its folder does not exist. */
export function isAbsent(error: unknown): boolean {
  const { code } = (error instanceof PromoteError ? (error.cause ?? {}) : {}) as NodeJS.ErrnoException
  return code === 'ENOENT' || code === 'ENOTDIR'
}

function readBounded(path: string, largest: number): Buffer {
  const file = path === '-' ? STDIN : withPlainReason(() => openSync(path, 'r'))
  try {
    const chunks: Buffer[] = []
    for (let length = 0; length <= largest; ) {
      const chunk = Buffer.alloc(LARGEST)
      const read = withPlainReason(() => readSync(file, chunk))
      if (read === 0) return Buffer.concat(chunks)
      chunks.push(chunk.subarray(0, read))
      length += read
    }
    throw new Error(`it is larger than ${largest / LARGEST} MiB`)
  } finally {
    if (file !== STDIN) closeSync(file)
  }
}

/** Calls the file system. Throws an Error with a plain reason. */
export function withPlainReason<T>(call: () => T): T {
  try {
    return call()
  } catch (thrown) {
    throw new Error(plainReason(thrown), { cause: thrown })
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or folder',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is not a folder',
  ENAMETOOLONG: 'the path is too long',
  EEXIST: 'a part of the path is not a folder', // what a recursive mkdir says
  ENOSPC: 'the disk is full',
  EROFS: 'the file system is read-only',
}

/** Not Node's own message, because that repeats the path. */
function plainReason(thrown: unknown): string {
  const { code = 'unknown error' } = thrown as NodeJS.ErrnoException
  return REASONS[code] ?? code
}

export function isSameFile(path: string, other: string): boolean {
  const [a, b] = [path, other].map((each) => statSync(each, { throwIfNoEntry: false }))
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino
}

/** Names of the regular files in a folder, sorted. Kubernetes keeps the versions of a mounted Secret in `..` folders. */
export function listFiles(folder: string): string[] {
  return withPlainReason(() => readdirSync(folder))
    .filter((name) => !name.startsWith('..') && isFile(join(folder, name)))
    .sort()
}

export function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
}

/**
 * Replaces the file atomically: a reader sees the old text or the new text. Creates missing folders.
 * @throws PromoteError IO.
 */
export async function writeWhole(path: string, text: string): Promise<void> {
  await replace(path, text)
}

/**
 * Checks that `writeWhole` can write to `path`. Leaves nothing behind but the folders that it creates.
 * @throws PromoteError IO.
 */
export async function checkWritable(path: string): Promise<void> {
  await replace(path, undefined)
}

/** Writes to a pipe or a device without replacing it. @param text undefined: only check whether the file can be written. */
async function replace(path: string, text: string | undefined): Promise<void> {
  try {
    await makeFolder(dirname(path))
    const old = await stat(path).catch(() => undefined)
    if (old?.isDirectory() === true) throw Object.assign(new Error(), { code: 'EISDIR' })
    if (old !== undefined && !old.isFile()) return text === undefined ? undefined : await writeFile(path, text)
    const target = old === undefined ? path : await realpath(path)
    const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}`)
    try {
      await writeFile(temporary, text ?? '', { flag: 'wx', mode: 0o644 })
      if (text !== undefined) await rename(temporary, target)
    } finally {
      await rm(temporary, { force: true })
    }
  } catch (thrown) {
    throw cannotWrite(path, thrown)
  }
}

/** Not `recursive`: in /proc, where no folder can be created, that never ends (Node 20, 22, 24). */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException
    if (code !== 'ENOENT' || dirname(path) === path) {
      if ((await stat(path).catch(() => undefined))?.isDirectory() === true) return
      throw thrown
    }
    await makeFolder(dirname(path))
    await mkdir(path)
  }
}

/** Appends to a file that the host created, such as GITHUB_OUTPUT. */
export async function append(path: string, text: string): Promise<void> {
  await appendFile(path, text).catch((thrown) => {
    throw cannotWrite(path, thrown)
  })
}

function cannotWrite(path: string, thrown: unknown): PromoteError {
  return new PromoteError('IO', `${path} could not be written: ${plainReason(thrown)}`, { cause: thrown })
}
