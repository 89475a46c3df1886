import { asPromoteError, PromoteError } from '../errors.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { createFeed, type Feed, type Reader, type Trunk } from './feed.ts'
import type { Permits } from './permits.ts'
import { addTap, closeTap, createTee, type Tap, type Tee, take } from './tee.ts'

/** One destination's share of a reading. */
export interface Share {
  /** Its first `read(0)` is the one that all share; what follows after a break is read for this destination alone. */
  feed(reader: Reader): Feed
  /**
   * Runs a try. The first one has the permit of the reading; a later one waits for its own, unless no other destination
   * is left in the reading.
   */
  turn<T>(work: () => Promise<T>): Promise<T>
  /** To be called at the end, whatever it was. The others go on. */
  leave(): void
}

/** One blob, read and hashed once for all destinations that need it. */
type Reading = {
  readonly blob: Descriptor
  readonly tee: Tee
  readonly members: Set<Tap>
  /** The feed that is shared, once somebody has begun to read, and where it reads from. */
  trunk: Readonly<{ feed: Trunk; reader: Reader }> | undefined
}

/**
 * @param permits of each destination, for the tries that it makes alone.
 * @param over called when all destinations have left and the source is closed.
 */
export function openReading(
  blob: Descriptor,
  permits: readonly Permits[],
  over: () => void,
  patience: number,
): readonly Share[] {
  const reading: Reading = { blob, tee: createTee(patience), members: new Set(), trunk: undefined }
  const leave = (tap: Tap) => {
    closeTap(reading.tee, tap)
    if (reading.members.delete(tap) && reading.members.size === 0) void reading.tee.closed.then(over)
  }
  const taps = permits.map(() => {
    const tap: Tap = addTap(reading.tee, () => leave(tap))
    reading.members.add(tap)
    return tap
  })
  return taps.map((tap, index) => {
    const { members } = reading
    const own = permits[index] as Permits
    let tried = false
    return {
      leave: () => leave(tap),
      feed: (reader) => createShared(reading, tap, reader),
      turn(work) {
        const alone = tried ? members.size === 1 : true
        tried = true
        if (members.has(tap) && alone) return work()
        leave(tap)
        return own(work, blob.size)
      },
    }
  })
}

function createShared(reading: Reading, tap: Tap, reader: Reader): Feed {
  const { blob, tee } = reading
  tap.running = true
  let failure: PromoteError | undefined
  let alone: Feed | undefined
  const goAlone = () => {
    alone ??= reading.trunk?.feed.fork(reader) ?? createFeed(blob, reader)
    return alone
  }
  const failed = (thrown: unknown): PromoteError => {
    const error = asPromoteError(thrown, 'source')
    // Read from another repository of the source: what this one has may be in order.
    if (reading.trunk?.reader.source !== reader.source) return worthTrying(error)
    failure = error
    return error
  }
  return {
    read(from) {
      if (alone !== undefined || from > 0 || !tee.taps.has(tap)) return goAlone().read(from)
      reading.trunk ??= {
        reader,
        feed: createFeed(blob, { ...reader, onBytes: () => undefined }),
      }
      tee.stream ??= reading.trunk.feed.read(0)[Symbol.asyncIterator]()
      return pieces(tee, tap, reader.onBytes, failed)
    },
    get failure() {
      return alone === undefined ? failure : alone.failure
    },
    reset: () => goAlone().reset(),
  }
}

/** No generator: one that waits for the slowest destination could not be closed before that one has moved. */
function pieces(
  tee: Tee,
  tap: Tap,
  onBytes: (bytes: number) => void,
  failed: (thrown: unknown) => PromoteError,
): AsyncIterableIterator<Uint8Array> {
  let taken = 0
  return {
    [Symbol.asyncIterator]() {
      return this
    },
    async next() {
      if (taken > 0) onBytes(taken)
      taken = 0
      try {
        const value = await take(tee, tap)
        taken = value?.length ?? 0
        return value === undefined ? { done: true, value } : { done: false, value }
      } catch (thrown) {
        throw failed(thrown)
      }
    },
    async return() {
      closeTap(tee, tap)
      return { done: true, value: undefined }
    },
  }
}

function worthTrying(error: PromoteError): PromoteError {
  return new PromoteError(error.code, error.message, { ...error, cause: error.cause, transient: true })
}
