import { createDeferred } from '../core/async.ts'
import { retain } from '../core/buffer-pool.ts'
import { asPromoteError } from '../core/errors.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { BlobReader } from './blob-reader.ts'
import type { Semaphore } from './semaphore.ts'

export type ReadAhead = Readonly<{
  /** Bytes that are kept for the slowest subscriber: the fastest may be this far ahead. */
  window: number
  /** Milliseconds that a full window, or the permit of those that have finished, is kept for one that has not started to read. */
  patience: number
}>

/** Eight pieces even out differences in speed. There are at most `jobs` windows; with 4 MiB the process comes near 200 MiB. */
export const READ_AHEAD: ReadAhead = { window: 2 * 1024 * 1024, patience: 10_000 }

const ignore = () => undefined

/**
 * One blob, read and hashed once for all subscribers. The first subscriber that needs the next piece reads it; the piece is
 * dropped when all have taken it. The upload of a destination that breaks goes on alone, and the others are not disturbed.
 */
export class Broadcast {
  readonly blob: Descriptor
  /** The reader that all share. Set when the first subscriber starts to read. */
  reader: BlobReader | undefined
  readonly #readAhead: ReadAhead
  readonly #members = new Set<Subscriber>()
  /** The members that have not taken everything. */
  readonly #reading = new Set<Subscriber>()
  readonly #window: Uint8Array[] = []
  #bytes = 0
  #dropped = 0
  #stream: AsyncGenerator<Uint8Array> | undefined
  /** The read of the next piece, while it runs. */
  #pending: Promise<void> | undefined
  #end: Readonly<{ thrown?: unknown }> | undefined
  #timer: NodeJS.Timeout | undefined
  /** Resolves when something has changed that a subscriber may wait for. */
  #change = createDeferred<void>()
  #closed: Promise<void> | undefined
  readonly #over = createDeferred<void>()

  constructor(blob: Descriptor, readAhead: ReadAhead) {
    this.blob = blob
    this.#readAhead = readAhead
  }

  /** Resolves when all subscribers have left and the source is closed. */
  get over(): Promise<void> {
    return this.#over.promise
  }

  /** @param semaphore for retries that the subscriber makes while others are still in the broadcast. */
  subscribe(semaphore: Semaphore): Subscriber {
    const subscriber = new Subscriber(this, semaphore)
    this.#members.add(subscriber)
    this.#reading.add(subscriber)
    return subscriber
  }

  has(subscriber: Subscriber): boolean {
    return this.#members.has(subscriber)
  }

  get size(): number {
    return this.#members.size
  }

  leave(subscriber: Subscriber): void {
    this.close(subscriber)
    if (this.#members.delete(subscriber) && this.#members.size === 0) this.#over.resolve(this.#closed)
  }

  /** The subscriber takes no more pieces. When it was the last one, the source is closed. */
  close(subscriber: Subscriber): void {
    if (!this.#reading.delete(subscriber)) return
    this.#dropTaken()
    this.#wake()
    if (this.#reading.size > 0) this.#limitWait()
    else this.#closeSource()
  }

  #closeSource(): void {
    clearTimeout(this.#timer)
    this.#closed = this.#stream?.return(undefined).then(ignore, ignore)
  }

  /** @returns the next piece; undefined at the end. Throws, once, what ended the stream. */
  async take(subscriber: Subscriber): Promise<Uint8Array | undefined> {
    while (this.#reading.has(subscriber)) {
      const piece = this.#window[subscriber.taken - this.#dropped]
      if (piece !== undefined) {
        subscriber.taken += 1
        this.#dropTaken()
        return piece
      }
      if (this.#end !== undefined) {
        this.close(subscriber)
        if ('thrown' in this.#end) throw this.#end.thrown
      } else {
        if (this.#bytes < this.#readAhead.window) this.#pending ??= this.#readNext()
        else this.#limitWait()
        await this.#change.promise
      }
    }
    return undefined
  }

  async #readNext(): Promise<void> {
    this.#stream ??= this.reader?.read(0)
    try {
      const piece = (await this.#stream?.next())?.value
      if (piece === undefined) this.#end = {}
      else {
        retain(piece, this.#reading.size)
        this.#window.push(piece)
        this.#bytes += piece.length
      }
    } catch (thrown) {
      this.#end = { thrown }
    }
    this.#pending = undefined
    this.#wake()
  }

  #dropTaken(): void {
    const slowest = Math.min(...[...this.#reading].map(({ taken }) => taken))
    const dropped = this.#window.splice(0, Math.max(0, slowest - this.#dropped))
    if (dropped.length === 0) return
    this.#dropped += dropped.length
    for (const piece of dropped) this.#bytes -= piece.length
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#wake()
  }

  /**
   * Subscribers that have started to read are waited for without a limit; the timer excludes those that have not. With blobs
   * smaller than the window the others have finished by then, and a registry that does not answer would keep every permit.
   */
  #limitWait(): void {
    this.#timer ??= setTimeout(() => {
      for (const subscriber of this.#reading) if (subscriber.state === 'waiting') this.leave(subscriber)
    }, this.#readAhead.patience)
  }

  #wake(): void {
    this.#change.resolve()
    this.#change = createDeferred()
  }
}

/** One destination in a broadcast. */
export class Subscriber {
  /** Number of pieces that it has taken. */
  taken = 0
  state: 'waiting' | 'shared' | 'alone' = 'waiting'
  readonly #broadcast: Broadcast
  readonly #semaphore: Semaphore
  #tries = 0

  constructor(broadcast: Broadcast, semaphore: Semaphore) {
    this.#broadcast = broadcast
    this.#semaphore = semaphore
  }

  /** Must be called at the end, whatever the outcome. The others go on. */
  leave(): void {
    this.#broadcast.leave(this)
  }

  /**
   * Runs one try of the upload. The first try uses the permit of the broadcast. For a later one the subscriber leaves the
   * broadcast and waits for a permit of its own, unless it is the only one left.
   */
  run<T>(work: () => Promise<T>): Promise<T> {
    this.#tries += 1
    if (this.#broadcast.has(this) && (this.#tries === 1 || this.#broadcast.size === 1)) return work()
    this.leave()
    return this.#semaphore(work, this.#broadcast.blob.size)
  }

  /**
   * The bytes from `from` on: the first time the pieces that all share, after a break those that `reader` reads for this
   * subscriber alone. This is no generator, because a generator that waits for the slowest destination cannot be closed.
   * @param onBytes is called when the upload asks for the next piece: then it has taken the one before.
   */
  read(reader: BlobReader, from: number, onBytes: (bytes: number) => void): AsyncIterableIterator<Uint8Array> {
    const alone = this.#begin(reader, from)
    let taken = 0
    const iterator: AsyncIterableIterator<Uint8Array> = {
      [Symbol.asyncIterator]: () => iterator,
      next: async () => {
        if (taken > 0) onBytes(taken)
        const value = alone === undefined ? await this.#take(reader) : (await alone.next()).value
        taken = value?.length ?? 0
        return value === undefined ? { done: true, value } : { done: false, value }
      },
      return: async () => {
        await alone?.return(undefined)
        this.#broadcast.close(this)
        return { done: true, value: undefined }
      },
    }
    return iterator
  }

  /** @returns undefined when the pieces of the broadcast are used. */
  #begin(reader: BlobReader, from: number): AsyncGenerator<Uint8Array, undefined> | undefined {
    const broadcast = this.#broadcast
    if (this.state === 'waiting' && broadcast.has(this)) {
      this.state = 'shared'
      broadcast.reader ??= new BlobReader(broadcast.blob, reader.options)
      return undefined
    }
    if (this.state === 'shared' && from > 0 && broadcast.reader !== undefined) reader.continueFrom(broadcast.reader)
    this.state = 'alone'
    broadcast.close(this)
    return reader.read(from)
  }

  async #take(reader: BlobReader): Promise<Uint8Array | undefined> {
    try {
      return await this.#broadcast.take(this)
    } catch (thrown) {
      const error = asPromoteError(thrown, 'source')
      // The broadcast read from another repository of the source. The one of this subscriber may be in order.
      if (this.#broadcast.reader?.options.source !== reader.options.source) throw error.with({ transient: true })
      reader.failure = error
      throw error
    }
  }
}
