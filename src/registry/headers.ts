import { PromoteError } from '../core/errors.ts'
import { quote } from '../core/text.ts'

/** Header values of the distribution API, parsed. All of it is written by a server: bounded, checked, never trusted. */

/** A header longer than this is not an address; Node itself stops at 16 KiB for all headers together. */
const LONGEST_HEADER = 16 * 1024

/**
 * `Range` of an upload session, `0-<last byte>` inclusive (distribution-spec "Pushing a blob in chunks") → bytes kept.
 * @returns undefined when it cannot be told: `0-0` is what distribution says for no byte and for one byte.
 */
export function bytesKept(range: string | undefined): number | undefined {
  const last = /^(?:bytes=)?0-(-1|\d{1,15})$/.exec(range?.trim() ?? '')?.[1]
  if (last === undefined || last === '0') return undefined
  return Number(last) + 1
}

export type ContentRange = Readonly<{ from: number; to: number; total: number | undefined }>

/** `Content-Range` of a 206 (RFC 9110 section 14.4): `bytes 500-1499/8000`, total `*` when unknown. */
export function parseContentRange(value: string | undefined): ContentRange | undefined {
  const [, first, last, size] = /^bytes\s+(\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i.exec(value?.trim() ?? '') ?? []
  if (first === undefined) return undefined
  const range = { from: Number(first), to: Number(last), total: size === '*' ? undefined : Number(size) }
  const good = range.from <= range.to && (range.total === undefined || range.to < range.total)
  return good ? range : undefined
}

/**
 * Where an upload goes on. The path and query are the server's, untouched: distribution signs them (`_state`).
 * A registry behind a TLS proxy may call itself http: on the same host that is corrected; elsewhere it is refused.
 * Another origin is allowed; the credential does not go there.
 * @param base the registry; @param from what the answer came from, for relative addresses.
 * @throws PromoteError PROTOCOL
 */
export function uploadLocation(value: string | undefined, from: URL, base: URL): URL {
  if (value === undefined || value === '')
    throw new PromoteError('PROTOCOL', 'The answer to an upload has no Location.')
  if (value.length > LONGEST_HEADER || !URL.canParse(value, from.href)) throw badLocation(value, 'is not an address')
  const url = new URL(value, from)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw badLocation(value, 'is neither http nor https')
  if (url.username !== '' || url.password !== '') throw badLocation(value, 'carries a user name or password')
  url.hash = ''
  if (base.protocol !== 'https:' || url.protocol === 'https:') return url
  const same = url.hostname === base.hostname && (url.port === base.port || url.port === '')
  if (!same) throw badLocation(value, 'leaves https for http')
  return new URL(`${base.origin}${url.pathname}${url.search}`)
}

/** `&digest=…` after the query that is there, which is not encoded anew. */
export function withDigest(location: URL, digest: string): URL {
  const url = new URL(location)
  url.search = url.search === '' ? `?digest=${digest}` : `${url.search}&digest=${digest}`
  return url
}

/** `OCI-Chunk-Min-Length` in bytes; 0 when absent or absurd. */
export function chunkMinimum(value: string | undefined): number {
  const bytes = /^\d{1,10}$/.test(value ?? '') ? Number(value) : 0
  // More than 1 GiB for a single chunk would defeat its purpose.
  return bytes <= 1024 ** 3 ? bytes : 0
}

/** `Content-Length` in bytes. */
export function contentLength(value: string | undefined): number | undefined {
  return /^\d{1,15}$/.test(value ?? '') ? Number(value) : undefined
}

export function badLocation(value: string, why: string): PromoteError {
  // The query is left out: it may hold a signature that opens the upload.
  const shown = quote((value.split('?', 1)[0] ?? '').replace(/\/\/[^/@]*@/, '//'), 200)
  return new PromoteError('PROTOCOL', `The upload's Location ${shown} ${why}.`, {
    hint: 'Check what the proxy in front of the registry does with the Location header.',
  })
}

/** A longer header is not a pagination link. */
const LONGEST_LINK = 8 * 1024
/** `<target>; parameters`, up to the comma that separates links; a comma inside quotes does not. */
const LINK = /<([^<>]*)>((?:[^,"]|"(?:[^"\\]|\\[\s\S])*"?)*)/g

/** `unreadable`: there is a next page, and its address cannot be used. */
export type NextPage = URL | 'unreadable' | undefined

/**
 * The next page of a list (RFC 8288, distribution-spec "Listing Tags"): the target of the first link with `rel=next`,
 * resolved against `base`. Only its path and query are used, always on the origin of `base`: a registry behind a proxy may
 * name itself by its inner address, and a credential must not go elsewhere (GHSA-h7vf-4x9w-h99v). Never throws.
 */
export function nextPage(header: string, base: URL): NextPage {
  if (header.length > LONGEST_LINK) return 'unreadable'
  for (const [, target = '', parameters = ''] of header.matchAll(LINK))
    if (isNext(parameters)) return onOrigin(target, base)
  const rest = header.replace(LINK, '')
  return rest.includes('<') || saysNext(rest) ? 'unreadable' : undefined
}

function isNext(parameters: string): boolean {
  return parameters.split(';').some((parameter) => {
    const [name = '', value = ''] = parameter.split('=', 2)
    return name.trim().toLowerCase() === 'rel' && saysNext(value)
  })
}

function saysNext(value: string): boolean {
  return /(?:^|[\s"'=])next(?:$|[\s"',;])/i.test(value)
}

function onOrigin(target: string, base: URL): NextPage {
  if (!URL.canParse(target, base.href)) return 'unreadable'
  const { protocol, pathname, search } = new URL(target, base)
  if (protocol !== 'https:' && protocol !== 'http:') return 'unreadable'
  // Set as a path: `//host/…` would be read as another host.
  const next = new URL(base.origin)
  next.pathname = pathname
  next.search = search
  return next
}
