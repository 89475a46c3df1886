/**
 * The HTTP client for bodies of many MiB: undici's clients over connections that gather what they read.
 *
 * undici reads a buffer of 16 KiB for every TLS record. Allocating and collecting those buffers was a third of the CPU of a
 * copy. Here every socket reads straight into pieces of 256 KiB (`onread`), which are used again. Level with a parser of our own in time, CPU and memory (8 blobs of 128 MiB, Node 24, TLS and plain).
 */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { buildConnector, Dispatcher } from 'undici'
import Client from 'undici/lib/dispatcher/client.js'
import { createBufferPool, release } from '../core/buffer-pool.ts'

/** Writing each TLS record of 16 KiB costs more than copying sixteen of them into one piece first. */
const PIECE = 256 * 1024
/** Full pieces that wait for the parser; the socket is not read above that. */
const MOST_WAITING = 2
/** Unsent bytes above which the sender waits. Four pieces cost 14 MiB more with eight transfers and gain no time. */
const MOST_UNSENT = PIECE
/** Milliseconds after which a piece is handed on although it is not full: a slow server is not a silent one. */
const LONGEST_GATHERING = 20

/**
 * https://nodejs.org/api/net.html#new-netsocketoptions
 * @property buffer called before the first read and after each: where the next bytes go.
 * @property callback what was read; the result says whether to go on reading.
 */
export type OnRead = Readonly<{ buffer: () => Uint8Array; callback: (count: number, buffer: Uint8Array) => boolean }>

type Options = Dispatcher.DispatchOptions
type Handler = Dispatcher.DispatchHandler
type Controller = Dispatcher.DispatchController

/** As an undici dispatcher: the same options and handlers. `pause` holds the socket back. */
export interface BulkClient extends Pick<Dispatcher, 'dispatch'> {
  destroy(): Promise<unknown>
}

/** @param connect makes one connection. Through a tunnel `onread` has no effect, and 'data' events are used. */
export function openBulkClient(connect: (onread: OnRead) => buildConnector.connector): BulkClient {
  const acquire = createBufferPool(PIECE)
  const all: Line[] = []
  const idle = new Map<string, Line[]>()
  let isClosed = false
  return {
    dispatch(options, handler) {
      const origin = String(options.origin)
      const resting = idle.get(origin) ?? []
      idle.set(origin, resting)
      const line = resting.pop() ?? new Line(origin, connect, acquire)
      if (!all.includes(line)) all.push(line)
      if (isClosed) void line.client.destroy()
      return line.dispatch(options, handler, () => resting.push(line))
    },
    async destroy() {
      isClosed = true
      await Promise.all(all.map(({ client }) => client.destroy()))
    },
  }
}

/** One request at a time over one connection, which undici opens again when it was closed. */
class Line {
  readonly client: Client
  #connection: GatheringSocket | undefined

  constructor(origin: string, connect: (onread: OnRead) => buildConnector.connector, acquire: () => Buffer) {
    this.client = new Client(origin, {
      connect: (options, callback) => {
        const connection = new GatheringSocket(acquire)
        // Neither is always there, whatever the declaration says.
        connect(connection.onread)(options, (...[error, socket]: [Error | null, Socket | null]) => {
          if (socket) this.#connection = connection.attach(socket)
          if (socket) callback(null, connection as unknown as Socket)
          else callback(error ?? new Error('no connection'), null)
        })
      },
    })
  }

  /** @param done called when the line can take the next request. */
  dispatch(options: Options, handler: Handler, done: () => unknown): boolean {
    let controller: Controller | undefined
    return this.client.dispatch(options, {
      onRequestStart: (own, context) => {
        controller = this.#controlOf(own)
        handler.onRequestStart?.(controller, context)
      },
      onResponseStart: (own, status, headers, text) =>
        handler.onResponseStart?.(controller ?? own, status, headers, text),
      onResponseData: (own, bytes) => handler.onResponseData?.(controller ?? own, bytes),
      onResponseEnd: (own, trailers) => {
        this.#connection?.resumeReading()
        done()
        handler.onResponseEnd?.(controller ?? own, trailers)
      },
      onResponseError: (own, error) => {
        const tell = () => {
          done()
          handler.onResponseError?.(controller ?? own, error)
        }
        // Only a closed connection ends an upload for the server: a status or DELETE before that meets it going on.
        if (controller === undefined || this.#connection === undefined || this.#connection.closed) tell()
        else this.#connection.once('close', tell).destroy()
      },
    })
  }

  /**
   * A paused undici parser puts bytes back and parses them again at each piece, and fails an assertion when the other side
   * closes meanwhile. So `pause` does not reach it: the connection stops reading instead.
   */
  #controlOf(own: Controller): Controller {
    const control: Partial<Controller> = {
      abort: (reason) => own.abort(reason),
      pause: () => this.#connection?.stopReading(),
      resume: () => this.#connection?.resumeReading(),
    }
    return control as Controller
  }
}

/** What undici takes for its socket: whole pieces come out of it, however the socket below delivers them. */
class GatheringSocket extends Duplex {
  readonly onread: OnRead
  readonly #acquire: () => Buffer
  #socket: Socket | undefined
  #piece: Buffer | undefined
  #filled = 0
  readonly #waiting: Buffer[] = []
  #timer: NodeJS.Timeout | undefined
  /** The parser wants the next piece. */
  #wanted = false
  #held = false
  #isRead = true
  /** The next bytes are the head of an answer: they are handed on at once. */
  #headExpected = true
  #over: Readonly<{ error: Error | undefined }> | undefined

  constructor(acquire: () => Buffer) {
    // A higher mark in object mode would let `read()` join the pieces that wait.
    super({ readableObjectMode: true, readableHighWaterMark: 1, writableHighWaterMark: MOST_UNSENT })
    this.#acquire = acquire
    this.onread = {
      buffer: () => this.#room(),
      callback: (count, { buffer, byteOffset }) => this.#take(Buffer.from(buffer, byteOffset, count)),
    }
  }

  attach(socket: Socket): this {
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => {
      if (!this.#take(bytes)) socket.pause()
    })
    socket.once('end', () => this.#finish(undefined))
    socket.on('error', (error) => this.#finish(error))
    socket.once('close', () => this.#finish(undefined))
    return this
  }

  stopReading(): void {
    this.#held = true
  }

  resumeReading(): void {
    this.#held = false
    this.#deliver()
  }

  ref(): this {
    this.#socket?.ref()
    return this
  }

  unref(): this {
    this.#socket?.unref()
    return this
  }

  override _read(): void {
    this.#wanted = true
    this.#deliver()
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: () => void): void {
    this._writev([{ chunk }], done)
  }

  /** A failed write is told by the socket's `error`, behind what was read before it: an answer explains more. */
  override _writev(chunks: readonly { chunk: Uint8Array }[], done: () => void): void {
    this.#headExpected = true
    let left = chunks.length
    this.#socket?.cork()
    for (const { chunk } of chunks)
      this.#socket?.write(chunk, (error) => {
        release(chunk)
        left -= 1
        if (left === 0 && !error) done()
      })
    this.#socket?.uncork()
  }

  override _final(done: () => void): void {
    this.#socket?.end()
    done()
  }

  /** Closed when the socket is, not before. */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#timer)
    const socket = this.#socket
    if (socket === undefined || socket.closed) done(error)
    else socket.once('close', () => done(error)).destroy()
  }

  /** The free rest of the current piece. */
  #room(): Buffer {
    this.#piece ??= this.#acquire()
    return this.#piece.subarray(this.#filled)
  }

  /** @returns whether there is room for more. */
  #take(bytes: Buffer): boolean {
    for (let from = 0; from < bytes.length; ) {
      const room = this.#room()
      // Bytes are elsewhere when they came by 'data', or when a part of the piece was handed on since the socket got its room.
      const isThere = bytes.buffer === room.buffer && bytes.byteOffset === room.byteOffset
      const count = isThere ? bytes.length : bytes.copy(room, 0, from)
      this.#filled += count
      from += count
      if (this.#filled === PIECE) this.#flush()
    }
    if (this.#headExpected) this.#flush()
    else if (this.#filled > 0)
      this.#timer ??= setTimeout(() => {
        this.#flush()
        this.#deliver()
      }, LONGEST_GATHERING)
    this.#headExpected = false
    this.#isRead = this.#waiting.length < MOST_WAITING
    this.#deliver()
    return this.#isRead
  }

  #flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const piece = this.#piece
    if (piece === undefined || this.#filled === 0) return
    const isFull = this.#filled === PIECE
    this.#waiting.push(isFull ? piece : Buffer.from(piece.subarray(0, this.#filled)))
    if (isFull) this.#piece = undefined
    this.#filled = 0
  }

  #deliver(): void {
    for (let piece = this.#next(); piece !== undefined; piece = this.#next()) this.#wanted = this.push(piece)
    if (!this.#isRead && this.#waiting.length < MOST_WAITING) {
      this.#isRead = true
      this.#socket?.resume()
    }
    if (this.#over === undefined || !this.#wanted || this.#waiting.length > 0 || this.#held) return
    this.#wanted = false
    if (this.#over.error === undefined) this.push(null)
    else this.destroy(this.#over.error)
  }

  #next(): Buffer | undefined {
    return this.#wanted && !this.#held ? this.#waiting.shift() : undefined
  }

  /** What arrived before the end is delivered before it. */
  #finish(error: Error | undefined): void {
    if (this.#over !== undefined) return
    this.#over = { error }
    this.#flush()
    this.#deliver()
  }
}
