import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { type Folder, temporary } from '../../bundle/run.ts'
import { asCommand } from '../../bundle/secrets/hosts.ts'
import { options } from '../../bundle/sides.ts'
import { type CertificatePair, makeCa } from '../../support/cluster/certificates.ts'
import { openScene, type Scene } from '../../support/scene.ts'

/** A report is changed on its way to the rollback, and a line of a list names a registry of the attacker. */

const PASSWORD = 'password-of-the-destination-0123'
const [NOW, BEFORE] = ['a', 'b'].map((digit) => `sha256:${digit.repeat(64)}`)

let scene: Scene
let folder: Folder
let evil: Awaited<ReturnType<Scene['server']>>
let home: Awaited<ReturnType<Scene['server']>>
let tls: CertificatePair
let ca: string
beforeEach(async () => {
  const authority = await makeCa('of both')
  ca = authority.cert
  tls = await authority.issue({ names: ['127.0.0.1', 'localhost'] })
  scene = openScene()
  folder = temporary()
  const ask = { status: 401, headers: { 'www-authenticate': 'Basic realm="r"' } }
  evil = await scene.server(({ headers }) => (headers.authorization === undefined ? ask : { status: 404 }), tls)
  home = await scene.server(({ headers }) => (headers.authorization === undefined ? ask : { status: 404 }), tls)
})
afterEach(async () => {
  folder.remove()
  await scene.close()
})

const authFile = () => {
  const auth = Buffer.from(`other:password-of-another-0123`).toString('base64')
  return folder.file('auth.json', JSON.stringify({ auths: { [evil.url.host]: { auth } } }))
}
const destination = () => ({ registry: home.url.host, username: 'promoter', password: PASSWORD, ca })

describe('a report that somebody has changed', () => {
  async function rollBack(row: object, own: Record<string, string>) {
    const rows = [{ target: 'destination', tag: '1', digest: NOW, previousDigest: BEFORE, status: 'promoted', ...row }]
    const report = { schema: 'image-promote/report/v1', dryRun: false, status: 'done', images: rows }
    const rollback = folder.file('changed.json', JSON.stringify(report))
    const given = { rollback, retries: '0' }
    return asCommand({ ...options({}, own), ...given })
  }

  test.each<[string, (evil: URL, home: URL) => object]>([
    ['another host', ({ host }) => ({ destination: `${host}/infra/router:1` })],
    ['another name of it', ({ port }) => ({ destination: `localhost:${port}/infra/router:1` })],
    [
      'the configured host as a user name',
      ({ host }, home) => ({ destination: `${home.host}@${host}/infra/router:1` }),
    ],
    ['an address with a scheme', ({ host }) => ({ destination: `https://${host}/infra/router:1` })],
    ['a way out of the name', ({ host }, home) => ({ destination: `${home.host}/..//${host}/router:1` })],
    ['a target that is not configured', ({ host }) => ({ target: 'west', destination: `${host}/infra/router:1` })],
    ['another tag than in its name', ({ host }) => ({ destination: `${host}/infra/router:2` })],
    ['a digest that is a path', ({ host }) => ({ destination: `${host}/a/b:1`, previousDigest: '../../x' })],
  ])('goes nowhere else with %s, even where an auth file has an entry for it', async (_, change) => {
    const own = { ...destination(), 'auth-file': authFile() }
    const { username: _u, password: _p, ...byFile } = own
    const { code } = await rollBack(change(evil.url, home.url), byFile)
    expect([code === 0, evil.asked]).toEqual([false, []])
    expect(home.asked.filter(({ method }) => method !== 'GET' && method !== 'HEAD')).toEqual([])
  })

  test('is followed at the registry that is configured', async () => {
    await rollBack({ destination: `${home.url.host}/infra/router:1` }, destination())
    expect(home.asked.filter(({ headers }) => headers.authorization !== undefined)).not.toEqual([])
    expect(evil.asked).toEqual([])
  })
})

describe('a line that names another registry', () => {
  test.each<[string, (host: string) => Record<string, string>]>([
    ['of images', (host) => ({ images: `a/b:1=${host}/c/d:1` })],
    ['of a list', (host) => ({ 'image-list': list({ source: 'a/b:1', destination: `${host}/c/d:1` }) })],
    ['with a source there', (host) => ({ 'image-list': list({ source: `${host}/a/b:1`, destination: 'c/d:1' }) })],
    ['by another name', (host) => ({ images: `a/b:1=${host.replace('127.0.0.1', 'localhost')}/c/d:1` })],
  ])('opens nothing with the credential of its side: %s', async (_, given) => {
    const side = { registry: home.url.host, username: 'promoter', password: PASSWORD, ca }
    await asCommand(options(side, side, { retries: '0', ...given(evil.url.host) }))
    const shown = [...evil.asked].filter(({ headers }) => headers.authorization !== undefined)
    expect(shown).toEqual([])
    expect(evil.asked.length + home.asked.length).toBeGreaterThan(0)
  })

  const list = (entry: object) => folder.file('images.json', JSON.stringify([entry]))
})
