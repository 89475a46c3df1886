import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { fixedLogin } from '../../../src/credentials/login.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import type { Answer, Incoming } from '../../support/cluster/http.ts'
import { pieces } from '../../support/lab.ts'
import { openScene, type Scene } from '../../support/scene.ts'

/** A server repeats the credential in an address that it names: whoever is there, and logs on the way, would have it. */

let scene: Scene
beforeEach(() => {
  scene = openScene({ retries: 0 })
})
afterEach(() => scene.close())

const BYTES = Buffer.from('a layer')
const BLOB = { mediaType: 'application/octet-stream', digest: digestOf(BYTES), size: BYTES.length }

const percent = (text: string) =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
const base64 = (text: string) => Buffer.from(text).toString('base64')
const FORMS: readonly (readonly [string, (secret: string) => string])[] = [
  ['plain', encodeURI],
  ['every byte percent-encoded', percent],
  ['percent-encoded twice', (secret) => encodeURIComponent(percent(secret))],
  ['one letter percent-encoded', (secret) => percent(secret.slice(0, 1)) + encodeURIComponent(secret.slice(1))],
  ['base64', (secret) => encodeURIComponent(base64(secret))],
  ['base64url', (secret) => Buffer.from(secret).toString('base64url')],
  ['base64 in a longer text', (secret) => encodeURIComponent(base64(`{"p":"${secret}"}`))],
  ['base64 with the user', (secret) => encodeURIComponent(base64(`user:${secret}`))],
  ['base64 twice', (secret) => encodeURIComponent(base64(base64(secret)))],
]
/** `abcd`: the shortest that is taken. */
const SECRETS = ['abcd', 'short-pw-12', 'sha256~QWERTYUIOPasdfghjklZXCVBNM1234567890', 'a b+c/d&e=f%g']

/** Where a server names an address, and what makes the client read it. */
type Named = (address: string, request: Incoming) => Answer | undefined
type Target = ReturnType<Scene['lab']['open']>
const PLACES: readonly (readonly [string, Named, (target: Target) => Promise<unknown>])[] = [
  ['a redirect', (address) => ({ status: 307, headers: { Location: address } }), (target) => target.resolve('1')],
  [
    'a Location',
    (address, { method }) => (method === 'POST' ? { status: 202, headers: { Location: address } } : undefined),
    async (target) => {
      const begun = await target.startUpload(BLOB)
      if (begun.state !== 'open') return
      await begun.upload.send(0, pieces(BYTES)).catch(() => undefined)
      await begun.upload.cancel()
    },
  ],
  [
    'a Link',
    (address) => ({
      status: 200,
      headers: { 'content-type': 'application/json', Link: `<${address}>; rel="next"` },
      body: '{"name":"c/d","tags":["1"]}',
    }),
    async (target) => target.listTags?.(),
  ],
  [
    'a realm',
    (address) => ({ status: 401, headers: { 'WWW-Authenticate': `Bearer realm="${address}",service="s"` } }),
    (target) => target.resolve('1'),
  ],
]

describe.each(PLACES)('%s with a secret of the run', (place, named, use) => {
  /** @returns the addresses that were asked for with `mark` in them, at either server. */
  async function ask(secret: string, text: string, where: 'path' | 'query', own: boolean): Promise<string[]> {
    const other = await scene.server(() => ({ status: 404 }))
    const home: Awaited<ReturnType<Scene['server']>> = await scene.server((request) => {
      // The credential is shown first.
      if (request.headers.authorization === undefined)
        return { status: 401, headers: { 'WWW-Authenticate': 'Basic realm="r"' } }
      const at = (own ? home : other).url.origin
      const session = place === 'a Location' && own ? '/v2/c/d/blobs/uploads/mark' : '/mark'
      const address = where === 'path' ? `${at}${session}-${text}` : `${at}${session}?x=${text}`
      return (request.target.includes('mark') ? undefined : named(address, request)) ?? { status: 404 }
    })
    const password = scene.lab.context.secrets.keep(secret)
    const login = fixedLogin('user', { kind: 'basic', username: 'user', password })
    await use(scene.lab.open(home.url, 'c/d', {}, login)).catch(() => undefined)
    expect(home.asked.length).toBeGreaterThan(1)
    return [...home.asked, ...other.asked].map(({ target }) => target).filter((target) => target.includes('mark'))
  }

  test.each(FORMS)('is not asked for: %s', async (_, form) => {
    for (const [index, secret] of SECRETS.entries()) {
      const own = index % 2 === 0
      expect({ secret, own, asked: await ask(secret, form(secret), own ? 'query' : 'path', own) }).toEqual({
        secret,
        own,
        asked: [],
      })
    }
  })

  test('is asked for when it holds something else', async () => {
    expect(await ask('short-pw-12', encodeURIComponent('any-pw-34'), 'query', true)).not.toEqual([])
  })
})
