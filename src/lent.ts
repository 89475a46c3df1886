/**
 * Buffers that go round. A new one for every piece of a large body is memory outside of V8's heap, which V8 answers by
 * marking its heap some forty times for every GiB: a third of the CPU of a copy, and 70 MiB of buffers that wait to be
 * found dead (Node 24, 8 blobs of 128 MiB).
 */
const LOAN = Symbol('loan')

type Loan = { users: number; readonly end: () => void }
type Piece = Uint8Array & { [LOAN]?: Loan }

/** Keeps no more than this for the next one: what a pause between two blobs leaves over. */
const KEPT = 64

/** @param size bytes of each buffer. What is in it when it is lent is nobody's. */
export function lender(size: number): () => Buffer {
  const free: Buffer[] = []
  return () => {
    const buffer = free.pop() ?? Buffer.allocUnsafeSlow(size)
    const end = () => {
      if (free.length < KEPT) free.push(buffer)
    }
    Object.assign(buffer, { [LOAN]: { users: 1, end } satisfies Loan })
    return buffer
  }
}

/** So many readers get this piece; it is free when all of them have given it back. */
export function share(piece: Piece, users: number): void {
  if (piece[LOAN] !== undefined) piece[LOAN].users = users
}

/**
 * To be called, once, by a reader who is through with these bytes and knows that nobody it gave them to still reads. The
 * others need not know about loans: what never comes back is collected like any other buffer. A part of a piece
 * (`subarray`) is not on loan.
 */
export function giveBack(piece: Piece): void {
  const loan = piece[LOAN]
  if (loan === undefined) return
  loan.users -= 1
  if (loan.users > 0) return
  delete piece[LOAN]
  loan.end()
}
