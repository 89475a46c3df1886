import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Keys and certificates take long to make. A test file gets those that the first file of the run made for the same request.
 * Requests repeated within a file get keys of their own.
 */

/** Set by jest/global-setup.ts: the folder of what any test file of this run has asked for. */
const folder = process.env.TEST_CERTIFICATES
const counts = new Map<string, number>()

/** A new test file begins, whose requests are counted anew. */
export function forgetRequests(): void {
  counts.clear()
}

/** @param request what tells the values apart. @param make its value has to survive JSON. */
export async function reused<T>(request: unknown, make: () => Promise<T>): Promise<T> {
  const path = pathOf(request)
  return readKept<T>(path) ?? keep(path, await make())
}

export function reusedSync<T>(request: unknown, make: () => T): T {
  const path = pathOf(request)
  return readKept<T>(path) ?? keep(path, make())
}

function pathOf(request: unknown): string | undefined {
  const text = JSON.stringify(request)
  const count = (counts.get(text) ?? 0) + 1
  counts.set(text, count)
  return folder && join(folder, createHash('sha256').update(`${count} ${text}`).digest('hex'))
}

function readKept<T>(path: string | undefined): T | undefined {
  try {
    return path === undefined ? undefined : JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}

function keep<T>(path: string | undefined, made: T): T {
  if (folder === undefined || path === undefined) return made
  mkdirSync(folder, { recursive: true })
  // Two workers may make the same one: each keeps its own, and a file is whole whenever it is there.
  writeFileSync(`${path}.${process.pid}`, JSON.stringify(made))
  renameSync(`${path}.${process.pid}`, path)
  return made
}
