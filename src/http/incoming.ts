/** The body of an answer between the socket that delivers it and the reader who takes it. */
import type { Dispatcher } from 'undici'

/** The socket is paused above this and resumed below half of it: enough to keep a reader busy, little per connection. */
const HIGH_WATER = 512 * 1024

/**
 * Chunks stay as they come. What arrived before a break is delivered before the error, so that a reader can resume after
 * it. A reader who stops early closes the connection.
 * @param stallTimeout milliseconds that the reader waits for the next byte; waiting for the reader is not counted.
 */
export class Incoming {
  readonly #chunks: Uint8Array[] = []
  readonly #controller: Dispatcher.DispatchController
  readonly #stallTimeout: number
  readonly #stalled: () => Error
  readonly #left: () => void
  #size = 0
  #paused = false
  #ended = false
  #error: Error | undefined
  #wake: (() => void) | undefined

  constructor(
    controller: Dispatcher.DispatchController,
    terms: Readonly<{ stallTimeout: number; stalled: () => Error; left: () => void }>,
  ) {
    this.#controller = controller
    this.#stallTimeout = terms.stallTimeout
    this.#stalled = terms.stalled
    this.#left = terms.left
  }

  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk)
    this.#size += chunk.byteLength
    if (this.#size > HIGH_WATER && !this.#paused) {
      this.#paused = true
      this.#controller.pause()
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
      if (waiting) this.fail(this.#stalled())
    }, this.#stallTimeout)
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
      this.#left()
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
