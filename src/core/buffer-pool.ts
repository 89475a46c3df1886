/**
 * A pool of reusable buffers. Allocating a new buffer for each piece of a large body makes V8 collect garbage about forty
 * times per GiB. The pool saves a third of the CPU time of a copy, and 70 MiB of memory (Node 24, 8 blobs of 128 MiB).
 */
type Loan = { users: number; readonly free: () => void }

/** The key is the memory and not the view: streams and parsers pass on new views of the same memory. */
const loans = new WeakMap<ArrayBufferLike, Loan>()

/** Maximum number of unused buffers that are kept. */
const KEPT = 64

/**
 * @param size bytes of each buffer.
 * @returns a function that returns a buffer with undefined content.
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

/** Sets how many readers get this piece. It returns to the pool when all of them have released it. */
export function retain(piece: Uint8Array, users: number): void {
  const loan = loanOf(piece)
  if (loan !== undefined) loan.users = users
}

/**
 * Returns a piece to the pool. Each reader calls it at most once, when it no longer needs the bytes. A piece that is never
 * released is garbage-collected like any other buffer.
 */
export function release(piece: Uint8Array): void {
  const loan = loanOf(piece)
  if (loan === undefined) return
  loan.users -= 1
  if (loan.users > 0) return
  loans.delete(piece.buffer)
  loan.free()
}

/** Undefined for a part of a buffer: other code may still read the rest of that buffer. */
function loanOf(piece: Uint8Array): Loan | undefined {
  return piece.byteLength === piece.buffer.byteLength ? loans.get(piece.buffer) : undefined
}
