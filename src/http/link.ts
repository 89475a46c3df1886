/** More is no pagination link. */
const LONGEST = 8 * 1024

/**
 * The next page of a list (RFC 8288, distribution-spec "Listing Tags"): the target of the first link with `rel=next`,
 * resolved against `base`. A target on another origin is refused (GHSA-h7vf-4x9w-h99v): the request would carry a
 * credential there. Never throws.
 */
export function parseLink(header: string | undefined, base: URL): URL | undefined {
  if (header === undefined || header.length > LONGEST) return undefined
  let at = 0
  for (;;) {
    const open = header.indexOf('<', at)
    const close = open < 0 ? -1 : header.indexOf('>', open)
    if (close < 0) return undefined
    const end = endOfLink(header, close + 1)
    if (isNext(header.slice(close + 1, end))) return sameOrigin(header.slice(open + 1, close), base)
    at = end
  }
}

/** Up to the comma that separates links; one inside quotes does not. */
function endOfLink(header: string, from: number): number {
  let quoted = false
  for (let at = from; at < header.length; at++) {
    if (header[at] === '\\' && quoted) at++
    else if (header[at] === '"') quoted = !quoted
    else if (header[at] === ',' && !quoted) return at + 1
  }
  return header.length
}

function isNext(parameters: string): boolean {
  return parameters.split(';').some((parameter) => {
    const [name = '', value = ''] = parameter.split('=', 2)
    if (name.trim().toLowerCase() !== 'rel') return false
    return value.trim().replace(/^"|"$/g, '').toLowerCase().split(/\s+/).includes('next')
  })
}

function sameOrigin(target: string, base: URL): URL | undefined {
  if (!URL.canParse(target, base.href)) return undefined
  const url = new URL(target, base)
  return url.origin === base.origin && url.username === '' && url.password === '' ? url : undefined
}
