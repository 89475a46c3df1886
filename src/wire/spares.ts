/** Connections that are open before somebody needs them: over distance, TCP and TLS take two round trips before the first byte. */
import type { Socket } from 'node:net'
import type { buildConnector } from 'undici'
import { addressOf } from './tunnel.ts'

/** Milliseconds. Routers close a new connection that stays silent: HAProxy's `timeout http-request`, 10 s on OpenShift. */
const LONGEST_SILENCE = 5_000

type Connect = buildConnector.connector
type Opened = Promise<Socket | undefined>

/** Of one origin. */
type Place = {
  /** On their way to being open. */
  opening: number
  /** Open, whoever has them. */
  readonly alive: Set<Socket>
  /** Open or on their way, and taken by nobody. */
  readonly waiting: Set<Opened>
}

export type Spares = Readonly<{
  connect: Connect
  /** Opens as many as are missing of `count`, together with those that are in use or waiting. Failures are silent. */
  warm: (origin: URL, count: number) => void
  close: () => void
}>

/** @param open how one connection comes about; whoever finds no good spare one opens its own, and sees what is wrong. */
export function keepSpares(open: Connect): Spares {
  const places = new Map<string, Place>()
  let isClosed = false
  const placeOf = (origin: string): Place => {
    const place = places.get(origin) ?? { opening: 0, alive: new Set(), waiting: new Set() }
    places.set(origin, place)
    return place
  }
  return {
    connect(options, callback) {
      const place = placeOf(`${options.protocol}//${options.host}`)
      const [spare] = place.waiting
      if (spare === undefined) return opened(open, place, options, callback)
      place.waiting.delete(spare)
      void spare.then((socket) => {
        if (socket === undefined || socket.destroyed) opened(open, place, options, callback)
        else callback(null, socket.pause())
      })
    },
    warm(url, count) {
      if (isClosed) return
      const place = placeOf(url.origin)
      const options = addressOf(url)
      for (let has = place.alive.size + place.opening; has < count; has += 1) addSpare(open, place, options)
    },
    close() {
      isClosed = true
      for (const { waiting } of places.values()) for (const spare of waiting) discard(waiting, spare)
    },
  }
}

function opened(open: Connect, place: Place, options: buildConnector.Options, callback: buildConnector.Callback) {
  const { alive } = place
  place.opening += 1
  // Neither is always there, whatever the declaration says.
  open(options, (...[error, socket]: [Error | null, Socket | null]) => {
    place.opening -= 1
    if (!socket) return callback(error ?? new Error('no connection'), null)
    alive.add(socket)
    socket.once('close', () => alive.delete(socket))
    callback(null, socket)
  })
}

function addSpare(open: Connect, place: Place, options: buildConnector.Options): void {
  const { waiting } = place
  const spare: Opened = new Promise((resolve) => {
    opened(open, place, options, (...[, socket]: [Error | null, Socket | null]) => {
      // What comes unasked is a farewell: it is read, so that the end behind it is seen.
      resolve(socket?.resume())
    })
  })
  waiting.add(spare)
  void spare.then((socket) => {
    const drop = () => discard(waiting, spare)
    if (socket === undefined) return drop()
    socket.once('close', drop)
    setTimeout(drop, LONGEST_SILENCE).unref()
  })
}

/** Not when somebody has taken it. */
function discard(waiting: Set<Opened>, spare: Opened): void {
  if (waiting.delete(spare)) void spare.then((socket) => socket?.destroy())
}
