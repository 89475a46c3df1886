import { PromoteError } from '../core/errors.ts'

/** The body of a request whose sender may stop early, or which may fail itself. */
export function guard(body: AsyncIterable<Uint8Array>) {
  const iterator = body[Symbol.asyncIterator]()
  let failure: unknown
  async function* watched(): AsyncGenerator<Uint8Array> {
    try {
      for (let step = await iterator.next(); step.done !== true; step = await iterator.next()) yield step.value
    } catch (thrown) {
      failure = thrown ?? new PromoteError('INTERNAL', 'The body failed without a reason.')
      throw failure
    }
  }
  return {
    stream: watched(),
    /** What the body itself threw: the source's error, not a network error of the upload. */
    failure: (): unknown => failure,
    /** Ends the body if it was not read to its end, so that its connection is freed. */
    close: async (): Promise<void> => void (await Promise.resolve(iterator.return?.()).catch(() => undefined)),
  }
}

export type Cutter = Readonly<{
  take(length: number): AsyncIterable<Uint8Array>
  /** Reads to the end, where the body may still say that it was wrong. */
  end(): Promise<void>
}>

/** Cuts one stream into pieces of chosen lengths, one after the other, without keeping more than a chunk. */
export function cutter(stream: AsyncIterable<Uint8Array>): Cutter {
  const iterator = stream[Symbol.asyncIterator]()
  let rest: Uint8Array = new Uint8Array()
  async function* take(length: number): AsyncGenerator<Uint8Array> {
    for (let missing = length; missing > 0; ) {
      if (rest.byteLength === 0) {
        const step = await iterator.next()
        if (step.done === true) return
        rest = step.value
      }
      const piece = rest.subarray(0, missing)
      rest = rest.subarray(piece.byteLength)
      missing -= piece.byteLength
      if (piece.byteLength > 0) yield piece
    }
  }
  return {
    take,
    async end() {
      const step = rest.byteLength > 0 ? undefined : await iterator.next()
      if (step?.done !== true) throw new PromoteError('INTERNAL', 'The body is longer than the blob.')
    },
  }
}
