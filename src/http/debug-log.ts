import type { Context } from '../core/context.ts'
import { asPromoteError } from '../core/errors.ts'
import { displayUrl, oneLine } from '../core/text.ts'
import type { Layer } from '../transport/request.ts'

/** What may be read in a log; everything else in a query (upload state, signatures) is left out. */
const HARMLESS = ['digest', 'mount', 'from', 'n', 'last', 'tag', 'artifactType', 'service', 'scope', 'limit']

/** One debug line for every request on the wire: `GET https://host/path?n=100 200 12 ms`. No headers, no bodies. */
export function debugLog({ log, now }: Context): Layer {
  return (next) => async (request) => {
    const started = now()
    const line = (outcome: string | number) =>
      log.debug(`${request.method} ${readable(request.url)} ${outcome} ${Math.round(now() - started)} ms`)
    try {
      const res = await next(request)
      line(res.status)
      return res
    } catch (thrown) {
      line(asPromoteError(thrown).code)
      throw thrown
    }
  }
}

export function readable(url: URL): string {
  if (url.search === '') return displayUrl(url)
  const shown = [...url.searchParams].filter(([name]) => HARMLESS.includes(name))
  const query = shown.map(([name, value]) => `${name}=${oneLine(value, 200)}`).join('&')
  return query === '' ? displayUrl(url) : `${displayUrl(url)}?${query}`
}
