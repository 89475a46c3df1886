import { closeSync, openSync, readSync } from 'node:fs'
import { shownPath } from '../core/content.ts'
import { decodeText } from '../core/text.ts'
import { PromoteError, type Side } from '../errors.ts'
import type { Secret } from '../secret.ts'

/** Auth files, kubeconfigs and tokens are kilobytes; Kubernetes itself allows a Secret 1 MiB. */
const LARGEST = 1024 * 1024

/** A file as far as this room cares. Messages say `<what> <path>`, never what is in it. */
export type FileToRead = Readonly<{ what: string; path: string; side: Side | undefined; text?: Secret }>

/** @param given the path of the file, or its text. */
export function fileOf(what: string, given: string | Secret, side: Side | undefined): FileToRead {
  return typeof given === 'string' ? { what, path: given, side } : { what, path: '(given as text)', side, text: given }
}

/** Reads at most 1 MiB, pipes (`/dev/fd/63`) included. Throws IO; `isAbsent` tells a missing file from a broken one. */
export function readBounded(file: FileToRead): Buffer {
  try {
    return readAtMost(file.path, LARGEST + 1)
  } catch (error) {
    throw fileError(file, `could not be read: ${reason(error)}.`, error)
  }
}

export function readText(file: FileToRead): string {
  try {
    return file.text?.reveal() ?? decodeText(readBounded(file))
  } catch (error) {
    throw error instanceof PromoteError ? error : fileError(file, `${(error as Error).message}.`)
  }
}

/** An error about a file. The cause is never a parser's: those quote what they stumbled on. */
export function fileError(file: FileToRead, problem: string, cause?: unknown, hint?: string): PromoteError {
  return new PromoteError('IO', `The ${file.what} ${shownPath(file.path)} ${problem}`, { side: file.side, cause, hint })
}

/** No file of that name, or no such folder. */
export function isAbsent(error: unknown): boolean {
  const code = errno(error instanceof PromoteError ? error.cause : error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}

function readAtMost(path: string, limit: number): Buffer {
  const handle = openSync(path, 'r')
  try {
    const parts: Buffer[] = []
    let total = 0
    for (;;) {
      const part = Buffer.alloc(Math.min(64 * 1024, limit - total))
      const count = readSync(handle, part)
      if (count === 0) return Buffer.concat(parts, total)
      parts.push(part.subarray(0, count))
      total += count
      if (total === limit) throw Object.assign(new Error('file too large'), { code: 'EFBIG' })
    }
  } finally {
    closeSync(handle)
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a folder',
  EFBIG: 'it is larger than 1 MiB',
}

function reason(error: unknown): string {
  const code = errno(error) ?? 'unknown error'
  return REASONS[code] === undefined ? code : `${REASONS[code]} (${code})`
}

function errno(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : undefined
}
