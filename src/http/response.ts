/** Reading answers, always bounded, and turning a refusal into the project's error. */
import type { ZodType } from 'zod'
import { readAll } from '../core/async.ts'
import { type Code, PromoteError, type Side } from '../core/errors.ts'
import { parseJson } from '../core/json.ts'
import { displayUrl, oneLine } from '../core/text.ts'
import { beginning, type Response } from '../transport/request.ts'
import { type ErrorBody, readErrorBody } from './error-body.ts'

/** The first value of a header, by lower-case name. */
export function header(res: Response, name: string): string | undefined {
  return headerAll(res, name)[0]
}

/** Every line of a header as it stood on the wire. */
export function headerAll(res: Response, name: string): readonly string[] {
  if (!Object.hasOwn(res.headers, name)) return []
  const value = res.headers[name]
  if (value === undefined) return []
  return typeof value === 'string' ? [value] : value
}

/** The whole body. Longer than `limit` bytes: PROTOCOL, and the connection is given up. */
export async function bytes(res: Response, limit: number): Promise<Uint8Array> {
  const isTooLong = Number(header(res, 'content-length') ?? 0) > limit
  const most = isTooLong ? 0 : limit
  const body = await readAll(res.body, most)
  if (body.length > most) throw unreadable(res, `the answer is longer than ${limit} bytes`)
  return body
}

function unreadable(res: Response, why: string): PromoteError {
  return new PromoteError('PROTOCOL', `${displayUrl(res.url)}: ${why}.`, { status: res.status })
}

export async function text(res: Response, limit: number): Promise<string> {
  return Buffer.from(await bytes(res, limit)).toString('utf8')
}

/** The body parsed by a zod schema; anything else is PROTOCOL. The body is not quoted: it may hold a token. */
export async function json<T>(res: Response, schema: ZodType<T>, limit: number): Promise<T> {
  const data = parseJson(await bytes(res, limit))
  if (data === undefined) {
    const type = header(res, 'content-type') ?? 'no content type'
    throw unreadable(res, `the answer is not JSON (${oneLine(type, 100)})`)
  }
  const parsed = schema.safeParse(data)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const where = oneLine(issue?.path.map(String).join('.') || 'the document', 100)
  throw unreadable(res, `unexpected JSON at ${where}: ${oneLine(issue?.message ?? '', 200)}`)
}

/** Nothing was decided by these; 522 is Cloudflare's "origin timed out". */
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504, 522])

export function isTransient(status: number): boolean {
  return TRANSIENT.has(status)
}

/**
 * Reads at most 64 KiB of a refusal. Understands the distribution error envelope, Kubernetes Status, OAuth errors,
 * `{"details"}`, `{"message"}`, plain text and the title of an HTML page.
 * @param about `what`: what was tried, `GET https://host/path`; `code`: when the caller knows better than the status;
 * `redact`: takes secrets out before the text is cut, which could leave a part of one.
 */
export async function registryError(
  res: Response,
  about: Readonly<{
    side: Side
    what: string
    code?: Code | undefined
    hint?: string | undefined
    redact?: (text: string) => string
  }>,
): Promise<PromoteError> {
  const body = readErrorBody((await beginning(res)).toString('utf8'), header(res, 'content-type') ?? '', about.redact)
  const said = body.said === '' ? 'without an explanation' : body.said
  const code = about.code ?? codeOf(res.status, body)
  return new PromoteError(code, `${about.what}: ${res.status} ${said}.`, {
    side: about.side,
    hint: about.hint ?? (code === 'PROTOCOL' && body.server.length > 0 ? OWN_WORDS : HINTS[code]),
    status: res.status,
    server: body.server,
    retryAfter: retryAfter(res),
    transient: isTransient(res.status),
  })
}

/** For a refusal in the words of a registry. */
const OWN_WORDS =
  'The registry understood the request and refuses it for the reason that it gives; ask its administrator.'

/** What to do where nothing more is known about the refusal. */
const HINTS: Readonly<Partial<Record<Code, string>>> = {
  NOT_FOUND: 'Check project, name and tag, and that this is the right side.',
  RATE_LIMITED: 'Lower jobs, log in where this was anonymous, or run it again later.',
  UNAVAILABLE: 'Run it again later; what is copied already is not sent again.',
  PROTOCOL: 'Check that this is a registry, and what a proxy before it does.',
}

function codeOf(status: number, body: ErrorBody): Code {
  if (status === 429 || body.server.some((entry) => entry.code === 'TOOMANYREQUESTS')) return 'RATE_LIMITED'
  if (status === 401) return 'TOKEN_REJECTED'
  if (status === 403) return 'DENIED'
  if (status === 404) return 'NOT_FOUND'
  return status >= 500 || isTransient(status) ? 'UNAVAILABLE' : 'PROTOCOL'
}

/** Milliseconds that the answer asks to wait (RFC 9110 10.2.3). */
export function retryAfter(res: Response, now: number = Date.now()): number | undefined {
  return parseRetryAfter(header(res, 'retry-after'), header(res, 'date'), now)
}

/** Seconds or an HTTP-date; a date counts from the server's own clock, which may be far from ours. */
export function parseRetryAfter(value: string | undefined, date: string | undefined, now: number): number | undefined {
  const wanted = value?.trim() ?? ''
  if (/^\d{1,9}(?:\.\d+)?$/.test(wanted)) return Math.ceil(Number(wanted) * 1000)
  // `Date.parse` takes much more than an HTTP-date, "-5" for one.
  if (!/^[A-Z][a-z]{2}/.test(wanted)) return undefined
  const at = Date.parse(wanted)
  if (Number.isNaN(at)) return undefined
  const theirs = Date.parse(date?.slice(0, 64) ?? '')
  return Math.max(0, at - (Number.isNaN(theirs) ? now : theirs))
}
