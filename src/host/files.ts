import { randomBytes } from 'node:crypto'
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { appendFile, mkdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { decodeText } from '../core/text.ts'
import { PromoteError } from '../errors.ts'

/** Lists of images, CA bundles (a full one has 220 KiB) and credentials are far smaller. */
const LONGEST_INPUT = 1024 * 1024

/** A text file, or a pipe such as the shell's `<(command)`; at most 1 MiB. Throws an Error that says why not. */
export function readInput(path: string): string {
  const file = attempt(() => openSync(path, 'r'))
  try {
    const buffer = Buffer.alloc(LONGEST_INPUT + 1)
    let length = 0
    for (;;) {
      const read = attempt(() => readSync(file, buffer, length, buffer.length - length, null))
      length += read
      if (length > LONGEST_INPUT) throw new Error('it is larger than 1 MiB')
      if (read === 0) return decodeText(buffer.subarray(0, length))
    }
  } finally {
    closeSync(file)
  }
}

/** Names of the plain files in a folder, sorted. Kubernetes keeps the versions of a mounted Secret in `..` folders. */
export function listFiles(folder: string): string[] {
  return attempt(() => readdirSync(folder))
    .filter((name) => !name.startsWith('..') && isFile(join(folder, name)))
    .sort()
}

export function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
}

/**
 * Whoever reads `path` sees the old text or the new one, never half of it. Folders on the way are made.
 * @throws PromoteError IO.
 */
export async function writeWhole(path: string, text: string): Promise<void> {
  try {
    await makeFolder(dirname(path))
    const old = await stat(path).catch(() => undefined)
    // A pipe or a device is written to, not replaced.
    if (old !== undefined && !old.isFile()) return await writeFile(path, text)
    const target = old === undefined ? path : await realpath(path)
    const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}`)
    try {
      await writeFile(temporary, text, { flag: 'wx', mode: 0o644 })
      await rename(temporary, target)
    } finally {
      await rm(temporary, { force: true })
    }
  } catch (thrown) {
    throw cannotWrite(path, thrown)
  }
}

/** Not `recursive`: below /proc and the like, where nothing can be made, that tries for ever (seen on Node 20, 22, 24). */
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

/** For files that the host made for us: they exist, and keep what is in them. */
export async function append(path: string, text: string): Promise<void> {
  await appendFile(path, text).catch((thrown) => {
    throw cannotWrite(path, thrown)
  })
}

function cannotWrite(path: string, thrown: unknown): PromoteError {
  return new PromoteError('IO', `${path} could not be written: ${plainReason(thrown)}`, { cause: thrown })
}

function attempt<T>(call: () => T): T {
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
  ENOTDIR: 'a part of the path is no folder',
  ENAMETOOLONG: 'the path is too long',
  EEXIST: 'a part of the path is no folder', // what a recursive mkdir says
  ENOSPC: 'the disk is full',
  EROFS: 'the file system is read-only',
}

/** Node's own messages repeat the path, which may be a secret in the wrong place. */
function plainReason(thrown: unknown): string {
  const { code = 'unknown error' } = thrown as NodeJS.ErrnoException
  return REASONS[code] ?? code
}
