/** One request and one answer; everything else (credentials, redirects, retries) is a layer around a `Send`. */

import type { ByteStream } from '../core/async.ts'

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** Its size is always known: many proxies refuse chunked uploads. */
type Streamed = Readonly<{ size: number; stream: ByteStream }>
export type Body = Uint8Array | string | Streamed

/** A stream is sent once; a retry, a redirect or a new token cannot send it again. */
export function isStream(body: Body | undefined): body is Streamed {
  return typeof body === 'object' && 'stream' in body
}

export type Request = Readonly<{
  method: Method
  url: URL
  /**
   * Lower-case names. Never `authorization`: the authorize layer alone sets it, except to a token service and, in
   * `openshift/oauth.ts`, to the two https OAuth endpoints that the cluster's discovery named, with `follow: false`.
   */
  headers?: Readonly<Record<string, string>> | undefined
  body?: Body | undefined
  /** What a registry's token must allow, most important first: `repository:dev/app:pull,push`. */
  scopes?: readonly string[] | undefined
  /** Milliseconds to wait for the answer to begin once the request is sent; default the stall timeout. */
  responseTimeout?: number | undefined
  /** `false`: exactly one try, the caller resumes or judges by itself. */
  retry?: boolean | undefined
  /** The answer's body is a blob, which the caller resumes; any other body that breaks off makes the request a failure. */
  isBlob?: boolean | undefined
  /** Many MiB on either way: takes the bulk client (`bulk-client.ts`). */
  bulk?: boolean | undefined
  /** Sent also after the run was cancelled: the logout. The caller bounds it. */
  afterCancel?: boolean | undefined
  /** `false`: a 3xx is handed to the caller. */
  follow?: boolean | undefined
  /** No credential goes along: another origin chose this address. Set by redirects and upload sessions, and never taken back. */
  leftOrigin?: boolean | undefined
}>

export type Response = Readonly<{
  status: number
  /** Lower-case names; repeated headers as an array, as they stood on the wire. */
  headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** Where the answer came from, after redirects. */
  url: URL
  /** Redirects have been on another origin, even if they came back: the answer is that origin's word. */
  leftOrigin?: boolean | undefined
  /** The credential was refused, and the next request carries another one: this one could not be repeated. */
  isRenewed?: boolean | undefined
  /** The host has answered nothing below 500 before. */
  isFirst?: boolean | undefined
  /** Consume it or `discard` it, always: an unread body holds its connection. Errors are PromoteErrors. */
  body: ByteStream
}>

/** Rejects with a PromoteError (NETWORK, TLS, STALLED, CANCELLED, …) when there is no answer; any status resolves. */
export type Send = (request: Request) => Promise<Response>
export type Layer = (next: Send) => Send

/** From so many bytes on a connection of the bulk client is worth it. */
const BULK = 1024 * 1024

export function isBulk(bytes: number): boolean {
  return bytes > BULK
}

/**
 * Enough for every error envelope; a proxy's HTML page is cut. Reading so much of an unwanted body keeps its connection;
 * for more it costs less to close the connection.
 */
const SHORT = 64 * 1024

/** Frees the connection. Never throws. */
export async function discard(res: Response): Promise<void> {
  await beginning(res)
}

/** The first 64 KiB, or what came before a break. Never throws. */
export async function beginning(res: Response): Promise<Buffer> {
  const parts: Uint8Array[] = []
  let size = 0
  try {
    for await (const part of res.body) {
      parts.push(part)
      size += part.byteLength
      if (size > SHORT) break
    }
  } catch {
    // What came before still explains a refusal; an answer that is not wanted needs no reason.
  }
  return Buffer.concat(parts).subarray(0, SHORT)
}
