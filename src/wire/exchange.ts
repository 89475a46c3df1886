/** One request on the wire and its answer. */
import type { Dispatcher } from 'undici'
import { displayUrl } from '../core/text.ts'
import { PromoteError, type Side } from '../errors.ts'
import type { Body, Req, Res } from '../http/send.ts'
import { Incoming } from './incoming.ts'

export type Terms = Readonly<{
  side: Side
  /** Milliseconds. */
  stallTimeout: number
  /** Turns what was thrown by the connection into an error of this project. */
  explain: (thrown: unknown) => PromoteError
  /** Registers what must happen when the run is cancelled; returns how to forget it. */
  onCancel: (cancel: (reason: PromoteError) => void) => () => void
}>

/** Where the request stands on the wire; differs from its URL behind a proxy. */
export type Wire = Readonly<{
  dispatcher: Pick<Dispatcher, 'dispatch'>
  origin: string
  path: string
  headers: Readonly<Record<string, string>>
}>

/**
 * Sends `request` once.
 *
 * Time is counted only while the other side owes something: a connection, room for the next bytes of the body (stall
 * timeout), the beginning of the answer (`patience`), the next bytes of the answer (stall timeout). A slow source of an
 * upload or a slow reader of an answer never breaks a connection. undici's own timeouts cannot tell these apart.
 */
export function exchange(request: Req, wire: Wire, terms: Terms): Promise<Res> {
  return new Promise((resolve, reject) => {
    const one = new Exchange(request, terms, { resolve, reject })
    try {
      one.start(wire)
    } catch (thrown) {
      one.onResponseError(undefined, thrown as Error)
    }
  })
}

type Settle = Readonly<{ resolve: (res: Res) => void; reject: (error: unknown) => void }>

class Exchange implements Dispatcher.DispatchHandler {
  readonly #request: Req
  readonly #terms: Terms
  readonly #settle: Settle
  readonly #forget: () => void
  #controller: Dispatcher.DispatchController | undefined
  #incoming: Incoming | undefined
  #timer: NodeJS.Timeout | undefined
  /** The request failed, whatever the connection says later. */
  #over = false
  /** What the caller's own stream threw. */
  #ours: { thrown: unknown } | undefined

  constructor(request: Req, terms: Terms, settle: Settle) {
    this.#request = request
    this.#terms = terms
    this.#settle = settle
    this.#forget = terms.onCancel((reason) => this.#break(reason))
  }

  start(wire: Wire): void {
    this.#owe('connect', this.#terms.stallTimeout)
    wire.dispatcher.dispatch(
      {
        origin: wire.origin,
        path: wire.path,
        method: this.#request.method,
        headers: { ...wire.headers, ...lengthOf(this.#request.body) },
        // The declaration forgets iterables; the documentation and the code have them.
        body: this.#outgoing(this.#request.body) as unknown as Uint8Array | null,
        headersTimeout: 0,
        bodyTimeout: 0,
        // undici closes the connection after every HEAD otherwise: a handshake for each probe.
        reset: false,
      },
      this,
    )
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#over) controller.abort(new Error('given up while connecting'))
    else if (isStream(this.#request.body)) this.#owesNothing()
    else this.#owe('answer', this.#request.patience ?? this.#terms.stallTimeout)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: Res['headers']): void {
    if (status < 200 || this.#over) return
    this.#owesNothing()
    this.#incoming = new Incoming(controller, {
      stallTimeout: this.#terms.stallTimeout,
      stalled: () => this.#late('answer body', this.#terms.stallTimeout),
      pausable: this.#request.bulk === true,
      flooded: () => this.#flood(),
      left: this.#forget,
    })
    this.#settle.resolve({ status, headers, url: this.#request.url, body: this.#incoming })
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Uint8Array): void {
    this.#incoming?.push(chunk)
  }

  onResponseEnd(): void {
    this.#forget()
    this.#incoming?.end()
  }

  onResponseError(_controller: Dispatcher.DispatchController | undefined, error: Error): void {
    if (this.#over) return
    if (this.#ours !== undefined) this.#fail(this.#ours.thrown)
    else this.#fail(this.#terms.explain(error))
  }

  /** undici takes the next chunk when the socket has room for it again. */
  async *#stream(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const chunk of stream) {
        this.#owe('body', this.#terms.stallTimeout)
        yield chunk
        this.#owesNothing()
      }
    } catch (thrown) {
      this.#ours = { thrown }
      throw thrown
    }
    this.#owe('answer', this.#request.patience ?? this.#terms.stallTimeout)
  }

  #outgoing(body: Body | undefined): Uint8Array | AsyncIterable<Uint8Array> | null {
    if (body === undefined) return null
    if (isStream(body)) return this.#stream(body.stream)
    return typeof body === 'string' ? Buffer.from(body, 'utf8') : body
  }

  #owe(what: Debt, milliseconds: number): void {
    this.#owesNothing()
    if (this.#over || this.#incoming !== undefined) return
    this.#timer = setTimeout(() => this.#break(this.#late(what, milliseconds)), milliseconds)
  }

  #owesNothing(): void {
    clearTimeout(this.#timer)
  }

  #late(what: Debt, milliseconds: number): PromoteError {
    const { method, url } = this.#request
    const message = `${method} ${displayUrl(url)}: ${DEBTS[what]} for ${milliseconds / 1000} s.`
    return new PromoteError(what === 'connect' ? 'NETWORK' : 'STALLED', message, {
      side: this.#terms.side,
      transient: true,
      hint: what === 'connect' ? 'Check the network, firewalls and HTTPS_PROXY.' : undefined,
    })
  }

  #flood(): PromoteError {
    const { method, url } = this.#request
    const message = `${method} ${displayUrl(url)}: the answer is longer than anybody asked for.`
    return new PromoteError('PROTOCOL', message, { side: this.#terms.side })
  }

  #break(reason: PromoteError): void {
    if (this.#over) return
    this.#fail(reason)
    this.#controller?.abort(reason)
  }

  #fail(reason: unknown): void {
    this.#over = true
    this.#owesNothing()
    this.#forget()
    this.#incoming?.fail(reason as Error)
    this.#settle.reject(reason)
  }
}

type Debt = keyof typeof DEBTS

const DEBTS = {
  connect: 'no connection',
  body: 'the server has not taken the next bytes of the upload',
  answer: 'no answer',
  'answer body': 'not one byte of the answer came',
} as const

function isStream(body: Body | undefined): body is Readonly<{ size: number; stream: AsyncIterable<Uint8Array> }> {
  return typeof body === 'object' && 'stream' in body
}

function lengthOf(body: Body | undefined): Record<string, string> {
  return isStream(body) ? { 'content-length': String(body.size) } : {}
}
