/**
 * A second dispatcher beside undici's, for bodies of many MiB. undici takes what a socket has read: a buffer of 16 KiB
 * for every TLS record, and what V8 does about so much memory outside of its heap was a third of the CPU of a copy. Here each
 * connection reads into one buffer of its own (`onread`), from which whole pieces are gathered that go round.
 */
import type { Socket } from 'node:net'
import type { buildConnector, Dispatcher } from 'undici'
import errors from 'undici/lib/core/errors.js'
import type { Res } from '../http/send.ts'
import { giveBack, lender } from '../lent.ts'
import { AnswerParser } from './framing.ts'
import { addressOf } from './tunnel.ts'

/** What is handed on at once, either way: writing each TLS record of 16 KiB costs more than copying sixteen together. */
const PIECE = 256 * 1024
/** Bytes that arrive slower than this fills a piece are handed on all the same (milliseconds). */
const SLOW = 20
/** Milliseconds that a connection waits for its next request unless the server says how long; undici's default. */
const KEEP_ALIVE = 4000
const LONGEST_KEEP_ALIVE = 60_000
/** A server that closes after so many milliseconds may have begun to when the request comes. */
const CLOSING = 2000

/** Reads into the same buffer each time. The callback says whether to go on reading. */
export type OnRead = Readonly<{ buffer: Uint8Array; callback: (count: number, buffer: Buffer) => boolean }>

/** As an undici dispatcher: the same options and the same handlers, for GET, PUT and PATCH with or without a stream. */
export interface Lane extends Pick<Dispatcher, 'dispatch'> {
  destroy(): void
}

type Options = Dispatcher.DispatchOptions
type Handler = Dispatcher.DispatchHandler

/** @param connect makes one connection; through a tunnel `onread` has no effect, and 'data' events are used. */
export function openLane(connect: (onread: OnRead) => buildConnector.connector): Lane {
  const idle = new Map<string, Connection[]>()
  const all = new Set<Connection>()
  const lend = lender(PIECE)
  let closed = false

  const rest = (origin: string) => (connection: Connection) => {
    idle.set(origin, [...(idle.get(origin) ?? []), connection])
  }
  const forget = (origin: string) => (connection: Connection) => {
    all.delete(connection)
    const others = idle.get(origin)?.filter((each) => each !== connection) ?? []
    idle.set(origin, others)
  }
  const open = (origin: string, ready: (connection: Connection) => void, failed: (error: Error) => void): void => {
    const connection = new Connection(lend, rest(origin), forget(origin))
    connect(connection.onread)(addressOf(new URL(origin)), (...[error, socket]: [Error | null, Socket | null]) => {
      if (error !== null || socket === null) return failed(error ?? new errors.SocketError())
      if (closed) socket.destroy()
      if (closed) return failed(new errors.ClientDestroyedError())
      all.add(connection.on(socket))
      ready(connection)
    })
  }
  return {
    dispatch(options, handler) {
      const origin = String(options.origin)
      const waiting = idle.get(origin)?.pop()
      if (waiting !== undefined) waiting.ask(options, handler)
      else
        open(
          origin,
          (connection) => connection.ask(options, handler),
          (error) => handler.onResponseError?.(NOT_STARTED, error),
        )
      return true
    },
    destroy() {
      closed = true
      for (const connection of [...all]) connection.fail(new errors.ClientDestroyedError())
    },
  }
}

/** There is nothing yet that could be aborted. */
const NOT_STARTED: Dispatcher.DispatchController = {
  aborted: false,
  paused: false,
  reason: null,
  abort: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
}

/** One request on its connection. */
type Turn = {
  readonly handler: Handler
  readonly controller: Dispatcher.DispatchController
  readonly parser: AnswerParser
  answered: boolean
  /** The body is sent to its end. */
  sent: boolean
}

class Connection {
  readonly onread: OnRead
  readonly #lend: () => Buffer
  readonly #rest: (connection: Connection) => void
  readonly #forget: (connection: Connection) => void
  #socket: Socket | undefined
  #turn: Turn | undefined
  #paused = false
  #keepAlive = KEEP_ALIVE
  #timer: NodeJS.Timeout | undefined
  /** Gathered and not handed on yet. */
  #piece: Buffer | undefined
  #filled = 0
  #slow: NodeJS.Timeout | undefined

  constructor(lend: () => Buffer, rest: (connection: Connection) => void, forget: (connection: Connection) => void) {
    this.#lend = lend
    this.#rest = rest
    this.#forget = forget
    this.onread = {
      buffer: Buffer.allocUnsafeSlow(PIECE),
      callback: (count, buffer) => this.#receive(buffer.subarray(0, count)),
    }
  }

  on(socket: Socket): this {
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => {
      if (!this.#receive(bytes)) socket.pause()
    })
    socket.once('end', () => this.#ended())
    socket.once('error', (error) => this.fail(error))
    socket.once('close', () => this.fail(new errors.SocketError('other side closed')))
    return this
  }

  ask(options: Options, handler: Handler): void {
    clearTimeout(this.#timer)
    const controller = this.#control()
    const turn: Turn = { handler, controller, parser: this.#parser(), answered: false, sent: false }
    this.#turn = turn
    handler.onRequestStart?.(controller, {})
    if (this.#turn !== turn) return
    this.#send(turn, options).catch((thrown: unknown) => {
      // Whoever has answered has had enough of the body.
      if (this.#turn === turn && !turn.answered) this.fail(thrown as Error)
    })
  }

  /**
   * Ends the connection, and with it the request that is under way: told when the connection is closed, because a
   * question that comes before the other side has seen that is answered as if the upload went on.
   */
  fail(error: Error): void {
    const turn = this.#turn
    const socket = this.#socket
    this.#flush()
    this.#leave()
    const tell = () => turn?.handler.onResponseError?.(turn.controller, error)
    if (socket === undefined || socket.closed) tell()
    else socket.once('close', tell)
  }

  #leave(): void {
    this.#turn = undefined
    this.#piece = undefined
    clearTimeout(this.#timer)
    clearTimeout(this.#slow)
    this.#forget(this)
    // Anything that comes after this is nobody's; without a listener an error would end the process.
    this.#socket?.on('error', () => undefined)
    this.#socket?.destroy()
  }

  #control(): Dispatcher.DispatchController {
    const own = { aborted: false, paused: false, reason: null as Error | null }
    const isMine = () => this.#turn?.controller === controller
    const controller: Dispatcher.DispatchController = {
      get aborted() {
        return own.aborted
      },
      get paused() {
        return own.paused
      },
      get reason() {
        return own.reason
      },
      abort: (reason) => {
        if (own.aborted || !isMine()) return
        Object.assign(own, { aborted: true, reason })
        this.fail(reason)
      },
      pause: () => {
        own.paused = true
        if (isMine()) this.#paused = true
      },
      resume: () => {
        own.paused = false
        if (!isMine() || !this.#paused) return
        this.#paused = false
        this.#socket?.resume()
      },
    }
    return controller
  }

  #parser(): AnswerParser {
    return new AnswerParser({
      head: (status, headers) => {
        const turn = this.#turn as Turn
        turn.answered = true
        this.#keepAlive = keepAliveOf(headers)
        turn.handler.onResponseStart?.(turn.controller, status, headers as never)
      },
      data: (bytes) => this.#gather(bytes),
      end: (reusable) => this.#over(reusable),
    })
  }

  /** @returns whether there is room for more. */
  #receive(bytes: Buffer): boolean {
    try {
      if (this.#turn === undefined) throw new errors.SocketError('bytes that nobody asked for')
      this.#turn.parser.take(bytes)
    } catch (thrown) {
      this.fail(thrown as Error)
    }
    return !this.#paused
  }

  #ended(): void {
    try {
      this.#turn?.parser.close()
      this.#leave()
    } catch (thrown) {
      this.fail(thrown as Error)
    }
  }

  #gather(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; ) {
      this.#piece ??= this.#lend()
      const part = bytes.subarray(from, from + PIECE - this.#filled)
      this.#piece.set(part, this.#filled)
      this.#filled += part.length
      from += part.length
      if (this.#filled === PIECE) this.#flush()
    }
    if (this.#filled > 0) this.#slow ??= setTimeout(() => this.#flush(), SLOW)
  }

  #flush(): void {
    clearTimeout(this.#slow)
    this.#slow = undefined
    const { handler, controller } = this.#turn ?? {}
    const [piece, filled] = [this.#piece, this.#filled]
    if (piece === undefined || filled === 0 || handler === undefined || controller === undefined) return
    this.#filled = 0
    if (filled === PIECE) this.#piece = undefined
    handler.onResponseData?.(controller, filled === PIECE ? piece : Buffer.from(piece.subarray(0, filled)))
  }

  #over(reusable: boolean): void {
    this.#flush()
    const turn = this.#turn as Turn
    // An answer before the body is sent: where the body ends is where the next request would begin.
    const kept = reusable && turn.sent
    if (kept) this.#idle()
    else this.#leave()
    turn.handler.onResponseEnd?.(turn.controller, {})
  }

  #idle(): void {
    this.#turn = undefined
    this.#paused = false
    this.#socket?.resume()
    this.#timer = setTimeout(() => this.#leave(), this.#keepAlive)
    this.#rest(this)
  }

  async #send(turn: Turn, options: Options): Promise<void> {
    const { head, body, size } = messageOf(options)
    await this.#write(head)
    let left = size
    for await (const piece of body) {
      if (this.#turn !== turn || turn.answered) return
      left -= piece.byteLength
      if (left < 0) break
      // Handed over: the next request of this connection can only come behind it.
      turn.sent = left === 0
      await this.#write(piece)
      giveBack(piece)
    }
    if (left !== 0) throw new errors.RequestContentLengthMismatchError()
    turn.sent = true
  }

  /** Resolves when the bytes are the system's. */
  #write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket?.write(bytes, (error) => (error === null || error === undefined ? resolve() : reject(error)))
    })
  }
}

function messageOf({ method, path, origin, headers, body }: Options) {
  const given = headers as Readonly<Record<string, string>>
  const whole = body === null || body instanceof Uint8Array
  const size = whole ? (body?.byteLength ?? 0) : Number(given['content-length'])
  const length = method === 'GET' ? {} : { 'content-length': String(size) }
  const fields = { host: new URL(String(origin)).host, connection: 'keep-alive', ...given, ...length }
  const lines = [`${method} ${path} HTTP/1.1`, ...Object.entries(fields).map(([name, value]) => `${name}: ${value}`)]
  // A line feed in a value would begin a header of somebody else's.
  if (lines.some((line) => /[^\t\x20-\x7e\x80-\xff]/.test(line)))
    throw new errors.InvalidArgumentError('invalid header')
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
  return { head, size, body: whole ? [body ?? new Uint8Array()] : (body as unknown as AsyncIterable<Uint8Array>) }
}

function keepAliveOf(headers: Res['headers']): number {
  const [, seconds] = /timeout=(\d{1,6})/i.exec([headers['keep-alive'] ?? ''].flat().join()) ?? []
  if (seconds === undefined) return KEEP_ALIVE
  return Math.min(LONGEST_KEEP_ALIVE, Math.max(0, Number(seconds) * 1000 - CLOSING))
}
