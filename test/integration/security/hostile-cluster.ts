import type { Answer } from '../../support/cluster/http.ts'
import type { Scene } from '../../support/scene.ts'

/** An API server over which an attacker has a say, on loopback. */

export const TOKEN = 'sha256~cluster-token-abcdefghijklmnop'
export const STREAM = '/apis/image.openshift.io/v1/namespaces/dev/imagestreams/app'

export const json = (status: number, body: object): Answer => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
})
export const redirect = (location: string, status = 302): Answer => ({ status, headers: { location } })
export const shownTo = (server: Awaited<ReturnType<Scene['server']>>) =>
  server.asked.filter(({ headers }) => (headers.authorization ?? '').includes(TOKEN)).map(({ target }) => target)

/** Knows its user; `answer` says the rest, by path without the query. Everything else is not there. */
export function api(
  answer: (request: Readonly<{ method: string; path: string }>) => Answer | undefined,
): Parameters<Scene['server']>[0] {
  return ({ method, target }) => {
    const path = target.split('?')[0] ?? ''
    const own = answer({ method, path })
    if (own !== undefined) return own
    if (path.endsWith('/selfsubjectreviews'))
      return json(201, { status: { userInfo: { username: 'bob', groups: [] } } })
    return json(404, { kind: 'Status', status: 'Failure', reason: 'NotFound', message: 'not found', code: 404 })
  }
}
