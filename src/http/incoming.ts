/** The body of an answer between the socket that delivers it and the reader who takes it. */
import type { Dispatcher } from 'undici'

/** The socket is paused above this and resumed below half of it: enough to keep a reader busy, little per connection. */
const HIGH_WATER = 512 * 1024

/**
 * What the reader of a long body gets at once. Hashing and writing each 16 KiB record that TLS hands over costs more than
 * copying sixteen of them together; with larger pieces memory grows and time does not shrink.
 */
export const PIECE = 256 * 1024

/** A lent piece is overwritten when the reader asks for the next but one. */
const LENT = 2

export type IncomingTerms = Readonly<{
  /** Milliseconds that the reader waits for the next byte; waiting for the reader is not counted. */
  stallTimeout: number
  stalled: () => Error
  left: () => void
  /** A long body comes in pieces; `lent` ones are used again. `expected`: bytes, when it is known. */
  long: Readonly<{ lent: boolean; expected: number | undefined }> | undefined
}>

/**
 * What arrived before a break is delivered before the error, so that a reader can resume after it. A reader who stops
 * early closes the connection.
 */
export class Incoming {
  readonly #controller: Dispatcher.DispatchController
  readonly #terms: IncomingTerms
  readonly #chunks: Uint8Array[] = []
  /** The piece that is being filled. */
  #piece: Uint8Array | undefined
  #filled = 0
  readonly #lent: Uint8Array[] = []
  readonly #free: Uint8Array[] = []
  #arrived = 0
  #size = 0
  #paused = false
  #ended = false
  #error: Error | undefined
  #wake: (() => void) | undefined
  /** When the reader began to wait, or the last byte came while it waited. */
  #heard = 0

  constructor(controller: Dispatcher.DispatchController, terms: IncomingTerms) {
    this.#controller = controller
    this.#terms = terms
  }

  /** @param chunk is copied: the socket reads the next bytes into the same memory. */
  push(chunk: Uint8Array): void {
    this.#heard = performance.now()
    this.#size += chunk.byteLength
    if (this.#terms.long === undefined) this.#deliver(Buffer.from(chunk))
    else this.#gather(chunk)
    if (this.#size > HIGH_WATER && !this.#paused) {
      this.#paused = true
      this.#controller.pause()
    }
  }

  end(): void {
    this.#flush()
    this.#ended = true
    this.#wake?.()
  }

  fail(error: Error): void {
    this.#flush()
    this.#error ??= error
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const { stallTimeout, stalled, left } = this.#terms
    // One timer for the whole body, moved on while reading: cheaper than one for every record.
    let waiting = false
    const check = () => {
      const rest = this.#heard + stallTimeout - performance.now()
      if (waiting && rest <= 0) this.fail(stalled())
      else if (waiting) timer = setTimeout(check, rest)
    }
    let timer = setTimeout(check, stallTimeout)
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
          this.#heard = performance.now()
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
      left()
    }
  }

  #gather(chunk: Uint8Array): void {
    for (let rest = chunk; rest.byteLength > 0; ) {
      this.#piece ??= this.#free.pop() ?? this.#allocate(rest.byteLength)
      const part = rest.subarray(0, this.#piece.byteLength - this.#filled)
      this.#piece.set(part, this.#filled)
      this.#filled += part.byteLength
      this.#arrived += part.byteLength
      rest = rest.subarray(part.byteLength)
      if (this.#filled === this.#piece.byteLength) this.#flush()
    }
  }

  /** Never more than the body has left: most blobs of most images are small. */
  #allocate(least: number): Uint8Array {
    const left = (this.#terms.long?.expected ?? Number.POSITIVE_INFINITY) - this.#arrived
    return Buffer.allocUnsafeSlow(Math.min(PIECE, Math.max(left, least)))
  }

  #flush(): void {
    if (this.#piece !== undefined) this.#deliver(this.#piece.subarray(0, this.#filled))
    this.#piece = undefined
    this.#filled = 0
  }

  #deliver(chunk: Uint8Array): void {
    this.#chunks.push(chunk)
    this.#wake?.()
  }

  #taken(chunk: Uint8Array): void {
    this.#size -= chunk.byteLength
    if (this.#terms.long?.lent === true && chunk.byteLength === PIECE) {
      this.#lent.push(chunk)
      if (this.#lent.length > LENT) this.#free.push(this.#lent.shift() as Uint8Array)
    }
    if (this.#paused && this.#size < HIGH_WATER / 2) {
      this.#paused = false
      this.#controller.resume()
    }
  }
}
