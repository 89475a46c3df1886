import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { asCommand } from '../../bundle/secrets/hosts.ts'
import { options } from '../../bundle/sides.ts'
import { type CertificatePair, makeCa } from '../../support/cluster/certificates.ts'
import { type Answer, Cut } from '../../support/cluster/http.ts'
import { openScene, type Scene } from '../../support/scene.ts'
import { api, json, redirect } from './hostile-cluster.ts'

/** A server gives a token an absurd life, and does not take it back. */

const ISSUED = 'sha256~obtained-by-password-0123456789'
const DELETED = '/apis/oauth.openshift.io/v1/oauthaccesstokens/'

let ca: string
let tls: CertificatePair
let scene: Scene
beforeAll(async () => {
  const authority = await makeCa('of the cluster')
  ca = authority.cert
  tls = await authority.issue({ names: ['127.0.0.1'] })
  scene = openScene()
})
afterAll(() => scene.close())

const KEPT = json(500, { kind: 'Status', message: 'no' })

/** @param expires JSON text of `expires_in`; empty: no such member. */
async function logInAndOut(expires: string, logout: () => Answer) {
  let origin = ''
  const token = `{"access_token":"${ISSUED}","token_type":"Bearer"${expires === '' ? '' : `,"expires_in":${expires}`}}`
  const cluster = await scene.server(
    api(({ method, path }) => {
      if (path.startsWith('/.well-known'))
        return json(200, {
          issuer: origin,
          authorization_endpoint: `${origin}/oauth/authorize`,
          token_endpoint: `${origin}/oauth/token`,
          code_challenge_methods_supported: ['S256'],
        })
      if (path === '/oauth/authorize') return redirect(`${origin}/oauth/token/implicit?code=abcdefgh`)
      if (path === '/oauth/token') return { ...json(200, {}), body: token }
      return method === 'DELETE' ? logout() : undefined
    }),
    tls,
  )
  origin = cluster.url.origin
  const source = { cluster: origin, username: 'u', password: 'password-of-u-0123', ca }
  const given = options(source, { registry: 'http://127.0.0.1:1' }, { images: 'dev/app:1=c/d:1', retries: '0' })
  const { code, produced } = await asCommand(given)
  const said = Object.values(produced).join('\n')
  const deleted = cluster.asked.filter(({ method, target }) => method === 'DELETE' && target.startsWith(DELETED))
  expect([code, deleted.length > 0, said.includes(ISSUED)]).toEqual([1, true, false])
  expect(said).not.toContain('INTERNAL')
  return said
}

describe('a token that could not be deleted is named, and its end', () => {
  test.each(['1e300', '9007199254740993', '-1e300', '"soon"', 'null', '[]', '', '1e999'])(
    'with an expires_in of %s, which means nothing',
    async (expires) => {
      const said = await logInAndOut(expires, () => KEPT)
      expect(said).toContain('could not be deleted')
      expect(said).toContain('it lives until it is deleted')
      expect(said).not.toMatch(/Invalid|NaN|expires at [+-]/)
    },
  )

  test.each<[string, () => Answer]>([
    ['an error', () => KEPT],
    ['a refusal', () => json(403, { kind: 'Status', reason: 'Forbidden', message: 'not yours' })],
    ['a page of a proxy', () => ({ status: 200, headers: { 'content-type': 'text/html' }, body: '<html>Welcome' })],
    ['a page that knows nothing of it', () => ({ status: 404, headers: { 'content-type': 'text/html' }, body: '<p>' })],
    ['a redirect to another page', () => redirect('https://127.0.0.1:1/login')],
    [
      'a connection that is cut',
      () => {
        throw new Cut()
      },
    ],
  ])('when the server answers with %s', async (_, logout) => {
    const said = await logInAndOut('86400', logout)
    expect(said).toContain('could not be deleted')
    expect(said).toMatch(/it expires at \d{4}-\d\d-\d\dT/)
  })
})

test.each([
  ['deleted', () => json(200, { kind: 'Status', status: 'Success' })],
  ['gone already', () => json(404, { kind: 'Status', status: 'Failure', reason: 'NotFound', message: 'gone' })],
])('one that is %s needs no warning', async (_, logout) => {
  expect(await logInAndOut('86400', logout)).not.toContain('could not be deleted')
})
