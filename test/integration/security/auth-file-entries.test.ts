import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { loginFromAuthFiles } from '../../../src/credentials/auth-file.ts'
import { openScene, type Scene } from '../../support/scene.ts'

let scene: Scene
let folder: string
beforeEach(() => {
  scene = openScene({ retries: 0 })
  folder = mkdtempSync(join(tmpdir(), 'entries-'))
})
afterEach(async () => {
  await scene.close()
  rmSync(folder, { recursive: true, force: true })
})

const basic = (user: string) => Buffer.from(`${user}:password-of-${user}`).toString('base64')

/** Asks for a manifest of each repository, in this order. @returns repository → users that were shown for it. */
async function shownTo(entries: (host: string) => Record<string, string>, repositories: readonly string[]) {
  const server = await scene.server(({ headers }) =>
    headers.authorization === undefined
      ? { status: 401, headers: { 'WWW-Authenticate': 'Basic realm="r"' } }
      : { status: 404 },
  )
  const auths = Object.entries(entries(server.url.host)).map(([key, user]) => [key, { auth: basic(user) }])
  const explicit = join(folder, 'auth.json')
  writeFileSync(explicit, JSON.stringify({ auths: Object.fromEntries(auths) }))
  for (const repository of repositories) {
    const key = { host: server.url.host, repository, plainHttp: true }
    const login = await loginFromAuthFiles(key, { explicit, side: 'destination' }, scene.lab.context)
    await scene.lab
      .open(server.url, repository, {}, login)
      .resolve('1')
      .catch(() => undefined)
  }
  return Object.fromEntries(
    repositories.map((repository) => {
      const own = server.asked.filter(({ target }) => target.startsWith(`/v2/${repository}/`))
      const users = own.map(({ headers }) =>
        Buffer.from(`${headers.authorization ?? ''}`.slice(6), 'base64').toString(),
      )
      return [repository, [...new Set(users.filter((one) => one !== '').map((one) => one.split(':')[0]))]]
    }),
  )
}

test.each<[string, (host: string) => Record<string, string>, Record<string, string[]>]>([
  [
    'two namespaces',
    (host) => ({ [`${host}/team-a`]: 'a', [`${host}/team-b`]: 'b' }),
    { 'team-a/x': ['a'], 'team-b/y': ['b'] },
  ],
  [
    'a namespace and the rest',
    (host) => ({ [host]: 'rest', [`${host}/team-a`]: 'a' }),
    { 'team-a/x': ['a'], 'team-b/y': ['rest'], 'team-ab/z': ['rest'] },
  ],
  [
    'a repository within a namespace',
    (host) => ({ [`${host}/team-a`]: 'a', [`${host}/team-a/x`]: 'x' }),
    { 'team-a/x': ['x'], 'team-a/y': ['a'], 'team-a/x/z': ['x'] },
  ],
  [
    'one with an entry and one without any',
    (host) => ({ [`${host}/team-a`]: 'a' }),
    { 'team-a/x': ['a'], 'team-b/y': [] },
  ],
  ['the exact key and one with a scheme', (host) => ({ [`http://${host}`]: 'old', [host]: 'new' }), { 'a/x': ['new'] }],
])('entries for %s are not mixed, in either order', async (_, entries, expected) => {
  const repositories = Object.keys(expected)
  expect(await shownTo(entries, repositories)).toEqual(expected)
  expect(await shownTo(entries, [...repositories].reverse())).toEqual(expected)
})
