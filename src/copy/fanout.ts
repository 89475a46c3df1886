import type { Descriptor } from '../oci/manifest.ts'
import type { Permits } from './permits.ts'
import { openReading, type Share } from './reading.ts'

/** Milliseconds that the others wait, with a full window, for a destination that has not answered the begin of its upload. */
const PATIENCE = 10_000

/** What a destination's decision about a blob waits for: nothing, or answers about blobs that wait for nothing. */
export type Wave = 0 | 1

/** A place in the reading of one blob, taken before it is known whether the blob has to be sent. */
export interface Seat {
  /**
   * Resolves when the reading begins: all destinations that need the blob are in it, and it has one permit for them all.
   * Destinations that are still undecided then, or come later, get a reading of their own.
   */
  join(permits: Permits): Promise<Share>
  /** The blob is not needed here, or not now. The others wait no longer. */
  leave(): void
}

/** Takes a seat; all of them before the first one is joined or left. */
export type Fanout = (blob: Descriptor, registry: string, wave: Wave) => Seat

type Place = Readonly<{ registry: string; wave: Wave }>
type Joined = Place & Readonly<{ permits: Permits; begin: (share: Share) => void }>
type Crowd = Readonly<{ undecided: Set<Place>; joined: Joined[] }>

/**
 * Brings together the destinations that need the same bytes. Nothing can wait for itself: no permit is held while
 * waiting here, wave 0 waits for seats of wave 0 only, which are decided without waiting, and wave 1 for both.
 */
export function createFanout(permits: Permits, patience = PATIENCE): Fanout {
  const crowds = new Map<string, Crowd>()

  const beginIfComplete = (blob: Descriptor, { undecided, joined }: Crowd): void => {
    if (joined.length === 0) return
    const wave = Math.min(...joined.map((each) => each.wave))
    const here = new Set(joined.map((each) => each.registry))
    if ([...undecided].some((place) => place.wave <= wave && !here.has(place.registry))) return
    const party = joined.splice(0)
    const read = () =>
      new Promise<void>((over) => {
        const own = party.map((each) => each.permits)
        for (const [index, share] of openReading(blob, own, over, patience).entries()) party[index]?.begin(share)
      })
    void permits(read, blob.size)
  }

  return (blob, registry, wave) => {
    const key = `${blob.digest} ${blob.size}`
    const crowd = crowds.get(key) ?? { undecided: new Set(), joined: [] }
    crowds.set(key, crowd)
    const place = { registry, wave }
    crowd.undecided.add(place)
    return {
      join: (own) =>
        new Promise((begin) => {
          crowd.undecided.delete(place)
          crowd.joined.push({ ...place, permits: own, begin })
          beginIfComplete(blob, crowd)
        }),
      leave() {
        if (crowd.undecided.delete(place)) beginIfComplete(blob, crowd)
      },
    }
  }
}
