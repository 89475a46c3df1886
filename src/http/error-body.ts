/** The words of a server that refused: untrusted, so control characters are removed and the length is bounded first. */

import type { ServerError } from '../core/errors.ts'
import { isRecord } from '../core/json.ts'
import { oneLine, visible } from '../core/text.ts'

const SAID_LIMIT = 500
/** More entries say nothing new: a manifest with 100 missing blobs repeats itself. */
const ENTRIES = 8
const DETAIL_LIMIT = 2000

export type ErrorBody = Readonly<{
  server: readonly ServerError[]
  /** One line, quoted where it is the server's prose; empty when there is none. */
  said: string
}>

/**
 * @param contentType decides only what is left open by the text itself: JSON is often sent as text/plain.
 * @param redact takes secrets out of a text, before anything is cut: a server may echo what it was sent.
 */
export function readErrorBody(body: string, contentType: string, redact = (text: string) => text): ErrorBody {
  const trimmed = redact(visible(body)).trim()
  if (trimmed === '') return { server: [], said: '' }
  // Once more after parsing: JSON can spell every character in another way.
  const data = parse(trimmed, redact)
  if (isRecord(data)) return readJson(data)
  if (/html/i.test(contentType) || /^<(?:!doctype|html)/i.test(trimmed)) {
    const title = titleOf(trimmed)
    return { server: [], said: title === '' ? 'with an HTML page' : `with an HTML page: "${said(title)}"` }
  }
  return { server: [], said: `"${said(trimmed)}"` }
}

function said(text: string): string {
  return oneLine(text, SAID_LIMIT)
}

function readJson(data: Record<string, unknown>): ErrorBody {
  const entries = (Array.isArray(data.errors) ? data.errors : []).filter(isRecord).slice(0, ENTRIES).map(entryOf)
  if (entries.length > 0) return { server: entries, said: said(entries.map(sentence).join('; ')) }
  // Kubernetes Status: reason and message. OAuth (RFC 6749 5.2): error and error_description.
  const code = string(data.reason) || string(data.error)
  // `details` and `detail`: OpenShift's and Docker Hub's token services.
  const texts = [data.message, data.error_description, data.details, data.detail]
  const message = texts.map(string).find((text) => text !== '') ?? ''
  if (code === '' && message === '') return { server: [], said: '' }
  const entry: ServerError = { code: oneLine(code, 100), message: said(message), ...detailOf(data.details) }
  return { server: [entry], said: sentence(entry) }
}

function entryOf(raw: Record<string, unknown>): ServerError {
  const code = oneLine(string(raw.code) || 'UNKNOWN', 100)
  return { code, message: said(string(raw.message)), ...detailOf(raw.detail) }
}

function sentence(entry: ServerError): string {
  const { code, message, detail } = entry
  const addition = typeof detail === 'string' && detail !== message ? ` (${oneLine(detail, 200)})` : ''
  return [code, message && `"${message}"`].filter((part) => part !== '').join(' ') + addition
}

/** A detail is kept as data for the rooms that know it, unless it is null or huge. */
function detailOf(detail: unknown): { detail?: unknown } {
  if (detail === undefined || detail === null) return {}
  if (typeof detail === 'string') return { detail: said(detail) }
  try {
    return JSON.stringify(detail).length > DETAIL_LIMIT ? {} : { detail }
  } catch {
    // Nested deeper than the stack.
    return {}
  }
}

/** Found by index, not by one expression: 64 KiB of untrusted text would cost too much. */
function titleOf(html: string): string {
  const lower = html.toLowerCase()
  for (const tag of ['title', 'h1']) {
    const open = lower.indexOf(`<${tag}`)
    const from = open < 0 ? -1 : lower.indexOf('>', open)
    const to = from < 0 ? -1 : lower.indexOf(`</${tag}`, from)
    if (to > 0) return html.slice(from + 1, to)
  }
  return ''
}

function parse(text: string, redact: (text: string) => string): unknown {
  try {
    return JSON.parse(text, (_, value) => (typeof value === 'string' ? redact(visible(value)) : value))
  } catch {
    return undefined
  }
}

function string(value: unknown): string {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : ''
}
