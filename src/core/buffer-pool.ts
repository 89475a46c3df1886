/**
 * Buffers that are used again. A new buffer for every piece of a large body is memory outside of V8's heap. V8 answers by
 * marking its heap some forty times for every GiB: a third of the CPU of a copy, and 70 MiB of dead buffers (Node 24,
 * 8 blobs of 128 MiB).
 */
type Loan = { users: number; readonly free: () => void }

/** By memory and not by object: streams and parsers hand on new views of the same memory. */
const loans = new WeakMap<ArrayBufferLike, Loan>()

/** Most buffers that wait for their next use: what a pause between two blobs leaves over. */
const KEPT = 64

/**
 * @param size bytes of each buffer.
 * @returns gives out a buffer. Its content is undefined.
 */
export function createBufferPool(size: number): () => Buffer {
  const unused: Buffer[] = []
  return () => {
    const buffer = unused.pop() ?? Buffer.allocUnsafeSlow(size)
    const free = () => {
      if (unused.length < KEPT) unused.push(buffer)
    }
    loans.set(buffer.buffer, { users: 1, free })
    return buffer
  }
}

/** Says how many readers get this piece. It is free when all of them have released it. */
export function retain(piece: Uint8Array, users: number): void {
  const loan = loanOf(piece)
  if (loan !== undefined) loan.users = users
}

/**
 * Gives a piece back. Each reader calls it at most once, when nothing that it gave the bytes to reads them any more. A piece
 * that is never released is collected like any other buffer.
 */
export function release(piece: Uint8Array): void {
  const loan = loanOf(piece)
  if (loan === undefined) return
  loan.users -= 1
  if (loan.users > 0) return
  loans.delete(piece.buffer)
  loan.free()
}

/** A part of a buffer is not on loan: the rest of the buffer may still be read. */
function loanOf(piece: Uint8Array): Loan | undefined {
  return piece.byteLength === piece.buffer.byteLength ? loans.get(piece.buffer) : undefined
}
