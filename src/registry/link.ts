/** A longer header is not a pagination link. */
const LONGEST = 8 * 1024
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
  if (header.length > LONGEST) return 'unreadable'
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
