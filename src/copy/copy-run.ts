import type { Context } from '../core/context.ts'
import type { ReadAhead } from './broadcast.ts'
import type { CopyEvent } from './events.ts'
import type { Platforms } from './graph.ts'
import type { Semaphore } from './semaphore.ts'

/** What the copies of all images of a run share. */
export type CopyRun = Readonly<{
  context: Context
  semaphore: Semaphore
  /** How many times a transfer without progress is tried again. */
  retries: number
  /** `registry digest` → the repository that has the blob, once it is there. Later images mount it from there. */
  mountSources: Map<string, Promise<string>>
  platforms: Platforms
  /** Tag → the last write of it, for tags that are read, changed and written. */
  tagWrites: Map<string, Promise<unknown>>
  emit: (event: CopyEvent) => void
  /** Throws when nothing new may begin. */
  check?: () => void
  /** Default `READ_AHEAD`. */
  readAhead?: ReadAhead
}>

/** Runs the work on one tag one piece after the other: each reads the tag, changes what it found and writes it. */
export function inTurn<T>({ tagWrites }: CopyRun, tag: string, work: () => Promise<T>): Promise<T> {
  const result = (tagWrites.get(tag) ?? Promise.resolve()).then(work)
  const ended = result.catch(() => undefined)
  tagWrites.set(tag, ended)
  return result
}
