import { retain } from '../buffer-pool.ts'

/**
 * Bytes of a blob that are kept for the slowest of its readers: as far as the fastest may be ahead. Eight pieces even out
 * what varies from one to the next; `jobs` windows are in memory at most, and with 4 MiB the process comes near 200 MiB.
 */
export const WINDOW = 2 * 1024 * 1024

/**
 * One stream, read once for several taps: who is first fetches the next piece, and it is dropped when the last one has
 * taken it. With one tap nothing is kept.
 */
export type Tee = {
  readonly taps: Set<Tap>
  readonly window: Uint8Array[]
  /** Bytes in the window. */
  held: number
  /** Pieces that everybody has taken. */
  dropped: number
  stream: AsyncIterator<Uint8Array> | undefined
  state: 'idle' | 'fetching' | 'ended' | Readonly<{ thrown: unknown }>
  waiting: (() => void)[]
  timer: NodeJS.Timeout | undefined
  /** Of the stream, after the last tap. */
  closed: Promise<unknown>
  /** Milliseconds that the others wait, with a full window, for a tap that is not running. */
  readonly patience: number
}

/** One reader's end of the stream. */
export type Tap = {
  /** Pieces that it has taken. */
  at: number
  /** A running tap is waited for as long as it takes: slow is not late. */
  running: boolean
  readonly onLate: () => void
}

export function createTee(patience: number): Tee {
  const empty = { window: [], held: 0, dropped: 0, waiting: [] }
  const idle = { stream: undefined, state: 'idle', timer: undefined, closed: Promise.resolve() } as const
  return { ...empty, ...idle, taps: new Set(), patience }
}

/** @param onLate called once when the others have waited for its first piece long enough. */
export function addTap(tee: Tee, onLate: () => void): Tap {
  const tap = { at: 0, running: false, onLate }
  tee.taps.add(tap)
  return tap
}

/** @returns the next piece; undefined at the end, and once the tap is closed. Throws, once, what ended the stream. */
export async function take(tee: Tee, tap: Tap): Promise<Uint8Array | undefined> {
  while (tee.taps.has(tap)) {
    const piece = tee.window[tap.at - tee.dropped]
    if (piece !== undefined) {
      tap.at += 1
      dropTaken(tee)
      return piece
    }
    if (typeof tee.state === 'object') {
      closeTap(tee, tap)
      throw tee.state.thrown
    }
    if (tee.state === 'ended') closeTap(tee, tap)
    else if (tee.state === 'fetching') await change(tee)
    else if (tee.held >= WINDOW) await waitForSlowest(tee)
    else await fetchPiece(tee)
  }
  return undefined
}

/** The last tap closes the stream. */
export function closeTap(tee: Tee, tap: Tap): void {
  if (!tee.taps.delete(tap)) return
  dropTaken(tee)
  wake(tee)
  if (tee.taps.size > 0) return
  clearTimeout(tee.timer)
  tee.closed = Promise.resolve(tee.stream?.return?.()).catch(() => undefined)
}

async function fetchPiece(tee: Tee): Promise<void> {
  tee.state = 'fetching'
  try {
    const step = await tee.stream?.next()
    const piece = step?.done === false ? step.value : undefined
    if (piece !== undefined) {
      retain(piece, tee.taps.size)
      tee.window.push(piece)
      tee.held += piece.length
    }
    tee.state = piece === undefined ? 'ended' : 'idle'
  } catch (thrown) {
    tee.state = { thrown }
  }
  wake(tee)
}

function dropTaken(tee: Tee): void {
  const slowest = Math.min(...[...tee.taps].map(({ at }) => at))
  const taken = tee.window.splice(0, Math.max(0, slowest - tee.dropped))
  if (taken.length === 0) return
  tee.dropped += taken.length
  for (const piece of taken) tee.held -= piece.length
  clearTimeout(tee.timer)
  tee.timer = undefined
  wake(tee)
}

function waitForSlowest(tee: Tee): Promise<void> {
  tee.timer ??= setTimeout(() => {
    for (const tap of tee.taps) if (!tap.running) tap.onLate()
  }, tee.patience)
  return change(tee)
}

function change({ waiting }: Tee): Promise<void> {
  return new Promise((resolve) => waiting.push(resolve))
}

function wake({ waiting }: Tee): void {
  for (const resolve of waiting.splice(0)) resolve()
}
