/** The body of an answer between the socket that delivers it and the reader who takes it. */
import type { Dispatcher } from 'undici'

/** The socket is paused above this and resumed below half of it: enough to keep a reader busy, little per connection. */
const HIGH_WATER = 512 * 1024
/** Of an answer that cannot be paused: twice the largest that is wanted, a manifest. */
const MOST_UNREAD = 8 * 1024 * 1024

export type IncomingTerms = Readonly<{
  /** Milliseconds that the reader waits for the next byte; waiting for the reader is not counted. */
  stallTimeout: number
  stalled: () => Error
  /** False: undici's connections, which fail an assertion when the other side closes while they are paused. */
  pausable: boolean
  flooded: () => Error
  left: () => void
}>

/**
 * Chunks stay as they come. What arrived before a break is delivered before the error, so that a reader can resume after
 * it. A reader who stops early closes the connection.
 */
export class Incoming {
  readonly #chunks: Uint8Array[] = []
  readonly #controller: Dispatcher.DispatchController
  readonly #terms: IncomingTerms
  #size = 0
  #paused = false
  #ended = false
  #error: Error | undefined
  #wake: (() => void) | undefined

  constructor(controller: Dispatcher.DispatchController, terms: IncomingTerms) {
    this.#controller = controller
    this.#terms = terms
  }

  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk)
    this.#size += chunk.byteLength
    if (this.#size > HIGH_WATER && !this.#paused && this.#terms.pausable) {
      this.#paused = true
      this.#controller.pause()
    }
    if (this.#size > MOST_UNREAD && this.#error === undefined) {
      this.fail(this.#terms.flooded())
      this.#controller.abort(this.#error as unknown as Error)
    }
    this.#wake?.()
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  fail(error: Error): void {
    this.#error ??= error
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    // One timer for the whole body, moved on while reading: cheaper than one for every 16 KiB.
    let waiting = false
    const timer = setTimeout(() => {
      if (waiting) this.fail(this.#terms.stalled())
    }, this.#terms.stallTimeout)
    try {
      for (;;) {
        const chunk = this.#chunks.shift()
        if (chunk !== undefined) {
          this.#taken(chunk)
          yield chunk
        } else if (this.#error !== undefined) throw this.#error
        else if (this.#ended) return
        else {
          waiting = true
          timer.refresh()
          await new Promise<void>((resolve) => {
            this.#wake = resolve
          })
          waiting = false
        }
      }
    } finally {
      clearTimeout(timer)
      this.#wake = undefined
      this.#chunks.length = 0
      if (!this.#ended) this.#controller.abort(this.#error ?? new Error('the reader stopped'))
      this.#terms.left()
    }
  }

  #taken(chunk: Uint8Array): void {
    this.#size -= chunk.byteLength
    if (this.#paused && this.#size < HIGH_WATER / 2) {
      this.#paused = false
      this.#controller.resume()
    }
  }
}
