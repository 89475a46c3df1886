/** One request on the wire and its answer. */
import type { Dispatcher } from 'undici'
import { createDeferred, ignoreUnhandled } from '../core/async.ts'
import { type Code, type ErrorDetail, PromoteError, type Side } from '../core/errors.ts'
import { displayUrl } from '../core/text.ts'
import { type Body, isStream, type Request, type Response } from './request.ts'

/** The socket is paused above this and resumed below half of it: enough to keep a reader busy, little per connection. */
const HIGH_WATER = 512 * 1024
/** Of an answer that cannot be paused: twice the largest that is wanted, a manifest. */
const MOST_UNREAD = 8 * 1024 * 1024

export type ExchangeOptions = Readonly<{
  side: Side
  /** Milliseconds. */
  stallTimeout: number
  /** Turns what was thrown by the connection into an error of this project. */
  explain: (thrown: unknown) => PromoteError
  /** Aborted when the run is cancelled or its connections are closed. */
  signal: AbortSignal
}>

/** Where the request goes on the wire; differs from its URL behind a proxy. */
export type WireRequest = Readonly<{
  dispatcher: Pick<Dispatcher, 'dispatch'>
  origin: string
  path: string
  headers: Readonly<Record<string, string>>
}>

type Controller = Dispatcher.DispatchController
type Waiting = keyof typeof WAITING

const WAITING = {
  connect: 'no connection',
  body: 'the server has not taken the next bytes of the upload',
  answer: 'no answer',
  'answer body': 'not one byte of the answer came',
} as const

/**
 * Sends `request` once.
 *
 * The timer runs only while we wait for the server: for a connection, for room for the next bytes of the body (stall
 * timeout), for the beginning of the answer (`responseTimeout`), for its next bytes (stall timeout). A slow source of an
 * upload or a slow reader of an answer never breaks a connection. undici's own timeouts cannot tell these apart.
 */
export function exchange(request: Request, wire: WireRequest, options: ExchangeOptions): Promise<Response> {
  const one = new Exchange(request, options)
  try {
    one.start(wire)
  } catch (thrown) {
    one.onResponseError(undefined, thrown as Error)
  }
  return one.response.promise
}

class Exchange implements Dispatcher.DispatchHandler {
  readonly response = createDeferred<Response>()
  readonly #request: Request
  readonly #options: ExchangeOptions
  readonly #cancel = (): void => this.#break(new PromoteError('CANCELLED', 'Cancelled.', { side: this.#options.side }))
  #controller: Controller | undefined
  #timer: NodeJS.Timeout | undefined
  /** Why the request failed, whatever the connection says later. */
  #failure: { reason: unknown } | undefined
  /** What the caller's own stream threw. */
  #ours: { thrown: unknown } | undefined
  /** Parts of the answer's body that are not read yet, and their bytes. */
  readonly #chunks: Uint8Array[] = []
  #unread = 0
  #isAnswered = false
  #isPaused = false
  #isEnded = false
  #wake: (() => void) | undefined

  constructor(request: Request, options: ExchangeOptions) {
    this.#request = request
    this.#options = options
  }

  start({ dispatcher, origin, path, headers }: WireRequest): void {
    const { method, body } = this.#request
    if (this.#options.signal.aborted) this.#cancel()
    if (this.#failure !== undefined) return
    this.#options.signal.addEventListener('abort', this.#cancel)
    this.#waitFor('connect')
    const length = isStream(body) ? { 'content-length': String(body.size) } : {}
    dispatcher.dispatch(
      {
        origin,
        path,
        method,
        headers: { ...headers, ...length },
        // The declaration forgets iterables; the documentation and the code have them.
        body: this.#outgoing(body) as unknown as Uint8Array | null,
        headersTimeout: 0,
        bodyTimeout: 0,
        // undici closes the connection after every HEAD otherwise: a handshake for each probe.
        reset: false,
      },
      this,
    )
  }

  onRequestStart(controller: Controller): void {
    this.#controller = controller
    if (this.#failure !== undefined) controller.abort(new Error('given up while connecting'))
    else if (isStream(this.#request.body)) clearTimeout(this.#timer)
    else this.#waitFor('answer')
  }

  onResponseStart(controller: Controller, status: number, headers: Response['headers']): void {
    if (status < 200 || this.#failure !== undefined) return
    clearTimeout(this.#timer)
    this.#isAnswered = true
    const body = { [Symbol.asyncIterator]: () => this.#incoming(controller) }
    this.response.resolve({ status, headers, url: this.#request.url, body })
  }

  onResponseData(controller: Controller, chunk: Uint8Array): void {
    this.#chunks.push(chunk)
    this.#unread += chunk.byteLength
    // undici's own connections fail an assertion when the other side closes while they are paused.
    if (this.#unread > HIGH_WATER && !this.#isPaused && this.#request.bulk === true) {
      this.#isPaused = true
      controller.pause()
    }
    if (this.#unread > MOST_UNREAD)
      this.#break(this.#error('PROTOCOL', 'the answer is longer than any that is asked for.'))
    this.#wake?.()
  }

  onResponseEnd(): void {
    this.#options.signal.removeEventListener('abort', this.#cancel)
    this.#isEnded = true
    this.#wake?.()
  }

  onResponseError(_controller: Controller | undefined, error: Error): void {
    if (this.#failure !== undefined) return
    if (this.#ours !== undefined) this.#fail(this.#ours.thrown)
    else this.#fail(this.#options.explain(error))
  }

  /** undici takes the next chunk when the socket has room for it again. */
  async *#stream(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const chunk of stream) {
        this.#waitFor('body')
        yield chunk
        clearTimeout(this.#timer)
      }
    } catch (thrown) {
      this.#ours = { thrown }
      throw thrown
    }
    this.#waitFor('answer')
  }

  #outgoing(body: Body | undefined): Uint8Array | AsyncIterable<Uint8Array> | null {
    if (body === undefined) return null
    if (isStream(body)) return this.#stream(body.stream)
    return typeof body === 'string' ? Buffer.from(body, 'utf8') : body
  }

  #waitFor(what: Waiting): void {
    clearTimeout(this.#timer)
    if (this.#failure !== undefined || this.#isAnswered) return
    const { stallTimeout } = this.#options
    const timeout = what === 'answer' ? (this.#request.responseTimeout ?? stallTimeout) : stallTimeout
    this.#timer = setTimeout(() => this.#break(this.#late(what, timeout)), timeout)
  }

  #late(what: Waiting, milliseconds: number): PromoteError {
    const isConnecting = what === 'connect'
    return this.#error(isConnecting ? 'NETWORK' : 'STALLED', `${WAITING[what]} for ${milliseconds / 1000} s.`, {
      transient: true,
      hint: isConnecting ? 'Check the network, firewalls and HTTPS_PROXY.' : undefined,
    })
  }

  #error(code: Code, what: string, detail: ErrorDetail = {}): PromoteError {
    const { method, url } = this.#request
    return new PromoteError(code, `${method} ${displayUrl(url)}: ${what}`, { side: this.#options.side, ...detail })
  }

  #break(reason: PromoteError): void {
    if (this.#failure !== undefined) return
    this.#fail(reason)
    this.#controller?.abort(reason)
  }

  #fail(reason: unknown): void {
    this.#failure = { reason }
    clearTimeout(this.#timer)
    this.#options.signal.removeEventListener('abort', this.#cancel)
    this.#wake?.()
    // After an answer has begun, this goes nowhere: its reader gets the reason.
    this.response.resolve(ignoreUnhandled(Promise.reject(reason)))
  }

  /**
   * The body of the answer. What arrived before a break is delivered before the error, so that a reader can resume after
   * it. A reader that stops early closes the connection. The timer does not run while we wait for the reader.
   */
  async *#incoming(controller: Controller): AsyncGenerator<Uint8Array, void, undefined> {
    const { stallTimeout } = this.#options
    // One timer for the whole body, moved on while reading: cheaper than one for every 16 KiB.
    const timer = setTimeout(() => {
      if (this.#wake !== undefined) this.#fail(this.#late('answer body', stallTimeout))
    }, stallTimeout)
    try {
      for (;;) {
        const chunk = this.#chunks.shift()
        if (chunk !== undefined) {
          this.#taken(chunk, controller)
          yield chunk
        } else if (this.#failure !== undefined) throw this.#failure.reason
        else if (this.#isEnded) return
        else {
          timer.refresh()
          await new Promise<void>((resolve) => {
            this.#wake = resolve
          })
          this.#wake = undefined
        }
      }
    } finally {
      clearTimeout(timer)
      this.#chunks.length = 0
      if (!this.#isEnded) controller.abort(new Error('the reader stopped'))
      this.#options.signal.removeEventListener('abort', this.#cancel)
    }
  }

  #taken(chunk: Uint8Array, controller: Controller): void {
    this.#unread -= chunk.byteLength
    if (this.#isPaused && this.#unread < HIGH_WATER / 2) {
      this.#isPaused = false
      controller.resume()
    }
  }
}
