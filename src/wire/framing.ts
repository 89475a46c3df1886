/** Answers of HTTP/1.1 servers, taken from the bytes as they come (RFC 9112). Only what a GET, PUT or PATCH can bring. */
import errors from 'undici/lib/core/errors.js'
import type { Res } from '../http/send.ts'

export type Receiver = Readonly<{
  /** The final answer; interim ones (1xx) are left out. */
  head: (status: number, headers: Res['headers']) => void
  /** Bytes of the body: a view that is valid during the call only. */
  data: (bytes: Uint8Array) => void
  /** @param reusable the connection is where the next answer would begin. */
  end: (reusable: boolean) => void
}>

/** All lines before the body, and after it: what Node and undici allow (`http.maxHeaderSize`). */
const HEAD_LIMIT = 16 * 1024
const LINE_FEED = 10

/** What the next bytes are; `rest`: everything up to the end of the connection. */
type Part = 'status' | 'fields' | 'body' | 'size' | 'chunk' | 'gap' | 'trailers' | 'rest' | 'over'

export class AnswerParser {
  readonly #receiver: Receiver
  #part: Part = 'status'
  /** The beginning of a line whose end has not come. */
  #begun = ''
  /** Bytes of lines that count for the limit. */
  #lines = 0
  /** Bytes of the body, or of the chunk, that are still to come. */
  #left = 0
  #status = 0
  #headers: Record<string, string | string[]> = Object.create(null)
  #reusable = false

  constructor(receiver: Receiver) {
    this.#receiver = receiver
  }

  /** Throws what undici's parser would throw. */
  take(bytes: Buffer): void {
    let at = 0
    while (at < bytes.length) {
      if (this.#part === 'over') throw malformed('more came than the answer')
      else if (this.#part === 'rest') at = this.#data(bytes, at, bytes.length)
      else if (this.#part === 'body' || this.#part === 'chunk') at = this.#counted(bytes, at)
      else at = this.#line(bytes, at)
    }
  }

  /** The other side has ended the connection. */
  close(): void {
    if (this.#part === 'rest') this.#end()
    else if (this.#part !== 'over') throw new errors.SocketError('other side closed')
  }

  #data(bytes: Buffer, from: number, to: number): number {
    this.#receiver.data(bytes.subarray(from, to))
    return to
  }

  #counted(bytes: Buffer, from: number): number {
    const to = Math.min(bytes.length, from + this.#left)
    this.#left -= to - from
    this.#data(bytes, from, to)
    if (this.#left === 0 && this.#part === 'chunk') this.#part = 'gap'
    else if (this.#left === 0) this.#end()
    return to
  }

  #line(bytes: Buffer, from: number): number {
    const feed = bytes.indexOf(LINE_FEED, from)
    const to = feed === -1 ? bytes.length : feed
    this.#lines += to - from + 1
    if (this.#lines > HEAD_LIMIT) throw new errors.HeadersOverflowError()
    this.#begun += bytes.toString('latin1', from, to)
    if (feed === -1) return to
    const line = this.#begun.slice(0, -1)
    if (!this.#begun.endsWith('\r') || /[\r\0]/.test(line)) throw malformed('a line does not end with CR LF')
    this.#begun = ''
    this.#apply(line)
    return feed + 1
  }

  #apply(line: string): void {
    if (this.#part === 'status') this.#statusLine(line)
    else if (this.#part === 'fields' && line !== '') this.#field(line)
    else if (this.#part === 'fields') this.#headDone()
    else if (this.#part === 'size') this.#chunkSize(line)
    else if (this.#part === 'gap' && line !== '') throw malformed('a chunk is longer than its size')
    else if (this.#part === 'gap') this.#begin('size')
    else if (line === '') this.#end() // of the trailers; what they say is not used
  }

  #begin(part: Part): void {
    this.#part = part
    this.#lines = 0
  }

  #statusLine(line: string): void {
    const [, minor, status] = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: |$)/.exec(line) ?? []
    if (status === undefined) throw malformed('Expected HTTP/1.1')
    this.#status = Number(status)
    this.#reusable = minor === '1'
    this.#part = 'fields'
  }

  #field(line: string): void {
    const colon = line.indexOf(':')
    const name = line.slice(0, Math.max(0, colon)).toLowerCase()
    // Also what begins with a space: the continuation of the line before, which nobody may send any more.
    if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name)) throw malformed('a header without a name')
    const value = line.slice(colon + 1).trim()
    const before = this.#headers[name]
    this.#headers[name] = before === undefined ? value : [...[before].flat(), value]
  }

  #headDone(): void {
    const status = this.#status
    if (status === 101) throw malformed('101 was not asked for')
    const headers = this.#headers
    this.#headers = Object.create(null)
    if (status < 200) {
      this.#part = 'status' // the limit goes on: interim answers without end are an answer that is too large
      return
    }
    const connection = tokens(headers.connection)
    if (connection.includes('close')) this.#reusable = false
    const coding = tokens(headers['transfer-encoding'])
    const length = lengthOf(headers['content-length'])
    const none = status === 204 || status === 304
    if (!none && coding.length > 0) {
      if (coding.join() !== 'chunked') throw malformed(`an unknown transfer coding`)
      // RFC 9112 6.3: a length beside it is somebody's mistake or attack.
      if (length !== undefined) this.#reusable = false
      this.#begin('size')
    } else if (!none && length === undefined) {
      this.#reusable = false
      this.#part = 'rest'
    } else {
      this.#left = none ? 0 : (length ?? 0)
      this.#part = 'body'
    }
    this.#receiver.head(status, headers)
    if (this.#part === 'body' && this.#left === 0) this.#end()
  }

  #chunkSize(line: string): void {
    const [, size] = /^([0-9A-Fa-f]{1,13})[ \t]*(?:;|$)/.exec(line) ?? []
    if (size === undefined) throw malformed('a chunk without a size')
    this.#left = Number.parseInt(size, 16)
    this.#begin(this.#left === 0 ? 'trailers' : 'chunk')
  }

  #end(): void {
    this.#part = 'over'
    this.#receiver.end(this.#reusable)
  }
}

function lengthOf(value: string | readonly string[] | undefined): number | undefined {
  const all = new Set(tokens(value))
  if (all.size === 0) return undefined
  const [length = ''] = all
  // RFC 9112 6.3: the same number twice is one; anything else has no length at all.
  if (all.size > 1 || !/^\d{1,15}$/.test(length)) throw malformed('Content-Length is no number')
  return Number(length)
}

function tokens(value: string | readonly string[] | undefined): string[] {
  const parts = [value ?? []].flat().flatMap((line) => line.split(','))
  return parts.map((part) => part.trim().toLowerCase()).filter((part) => part !== '')
}

function malformed(what: string): Error {
  return new errors.HTTPParserError(`Parse Error: ${what}`)
}
