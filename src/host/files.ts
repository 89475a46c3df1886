import { randomBytes } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { appendFile, mkdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { attempt, plainReason } from '../core/files.ts'
import { PromoteError } from '../errors.ts'

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
 * A reader of `path` sees the old text or the new one, never half of it. Folders on the way are made.
 * @throws PromoteError IO.
 */
export async function writeWhole(path: string, text: string): Promise<void> {
  await replace(path, text)
}

/**
 * Checks that `writeWhole` can write there, before anything depends on it. Only folders on the way stay behind.
 * @throws PromoteError IO.
 */
export async function checkWritable(path: string): Promise<void> {
  await replace(path, undefined)
}

/** A pipe or a device is written to, not replaced. @param text undefined: only checks that it could be written. */
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
