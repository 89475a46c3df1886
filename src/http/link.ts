/** A longer header is not a pagination link. */
const LONGEST = 8 * 1024

/** `unreadable`: there is a next page, and its address cannot be used. */
export type NextPage = URL | 'unreadable' | undefined

/**
 * The next page of a list (RFC 8288, distribution-spec "Listing Tags"): the target of the first link with `rel=next`,
 * resolved against `base`. Only its path and query are used, always on the origin of `base`: a registry behind a proxy may
 * name itself by its inner address, and a credential must not go elsewhere (GHSA-h7vf-4x9w-h99v). Never throws.
 */
export function nextPage(header: string, base: URL): NextPage {
  if (header.length > LONGEST) return 'unreadable'
  for (let at = 0; ; ) {
    const open = header.indexOf('<', at)
    if (open < 0) return saysNext(header.slice(at)) ? 'unreadable' : undefined
    const close = header.indexOf('>', open)
    if (close < 0) return 'unreadable'
    const end = endOfLink(header, close + 1)
    if (isNext(header.slice(close + 1, end))) return onOrigin(header.slice(open + 1, close), base)
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
