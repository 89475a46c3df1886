import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { loginFromAuthFiles } from '../../../src/credentials/auth-file.ts'
import { readKubeconfig } from '../../../src/credentials/kubeconfig.ts'
import { collect, type Env } from '../../../src/inputs/collect.ts'
import { parse } from '../../../src/inputs/parse.ts'
import { leaks } from '../../bundle/secrets/search.ts'
import { openRoom, type Room } from '../../support/credentials.ts'

/** A credential helper, or a plugin of a kubeconfig, keeps everything that it finds in its environment. */

const SOURCE = 'source-password-0123456789'
const DESTINATION = 'sha256~destination-token-0123456789'
const WEST = 'west&password/+"of production'
const EAST = 'east-token-0123456789abcdef'
const FILED = 'password-out-of-a-file-0123'
const ALL = [SOURCE, DESTINATION, WEST, EAST, FILED]
const base64 = (text: string) => Buffer.from(text).toString('base64')

let room: Room
beforeEach(() => {
  room = openRoom()
  const dump = JSON.stringify(join(room.folder, 'dump'))
  const keep = `appendFileSync(${dump}, Object.entries(process.env).map((pair) => pair.join('=')).join('\\n'))`
  room.program('docker-credential-spy', `stdin(); ${keep}; say({ Username: 'u', Secret: 'from-the-helper' })`)
  room.program('plugin', `${keep}; fail('no')`)
})
afterEach(() => room.close())

/** The run's environment, as its inputs are read. */
function given(env: Env, kind: 'plain' | 'github' = 'plain'): void {
  Object.assign(room.env, env)
  const read = (path: string) => readFileSync(path, 'utf8')
  const place = { kind, spell: (option: string) => `--${option}` } as const
  parse(collect([], room.env, read), place, room.context.secrets, read)
}

const HELPER = async () => {
  const explicit = room.file('auth.json', { credHelpers: { 'r.example': 'spy' } })
  const key = { host: 'r.example', repository: 'a/b', plainHttp: false }
  const login = await loginFromAuthFiles(key, { explicit, side: 'source' }, room.context)
  await login?.current()
}
const PLUGIN = async () => {
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'plugin', interactiveMode: 'Never' }
  const path = room.file('kubeconfig', {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
    clusters: [{ name: 'k', cluster: { server: 'https://127.0.0.1:9' } }],
    users: [{ name: 'u', user: { exec } }],
  })
  const { login } = await readKubeconfig(path, undefined, room.context, 'source')
  await login?.current()
}

const LIST = [
  { name: 'west', registry: 'west.example', username: 'w', 'password-env': 'WEST_PASSWORD' },
  { name: 'east', registry: 'east.example', 'token-env': 'path_to_the_east' },
]

test.each([
  ['a credential helper', HELPER],
  ['an exec plugin', PLUGIN],
])('%s sees none of the secrets, whatever the variables are called', async (_, start) => {
  const file = room.file('password', `${FILED}\n`)
  given({
    IMAGE_PROMOTE_IMAGES: 'a/b:1=c/d',
    IMAGE_PROMOTE_SOURCE_REGISTRY: 'r.example',
    IMAGE_PROMOTE_SOURCE_USERNAME: 'u',
    IMAGE_PROMOTE_SOURCE_PASSWORD: SOURCE,
    IMAGE_PROMOTE_DESTINATIONS: JSON.stringify([
      ...LIST,
      { name: 'north', registry: 'north.example', username: 'n', 'password-file': file },
    ]),
    WEST_PASSWORD: WEST,
    path_to_the_east: EAST,
    // The same secrets as other tools have them.
    NORTH: FILED,
    DOCKER_AUTH_CONFIG: JSON.stringify({ auths: { r: { auth: base64(`u:${SOURCE}`) } } }),
    DATABASE_URL: `postgres://w:${encodeURIComponent(WEST)}@db.example/x`,
    AS_JSON: JSON.stringify({ password: WEST }),
    SHIFTED: base64(`abc${EAST}`),
    URL_SAFE: Buffer.from(`>>?${WEST}`).toString('base64url'),
    HARMLESS: 'needed by the helper',
  })
  await start().catch(() => undefined)
  const seen = readFileSync(join(room.folder, 'dump'), 'utf8')
  expect(seen).toContain('HARMLESS=needed by the helper')
  expect(leaks({ seen }, ALL)).toEqual([])
})

test.each([
  ['a credential helper', HELPER],
  ['an exec plugin', PLUGIN],
])('%s in a step of GitHub sees neither inputs nor the tokens of the job', async (_, start) => {
  const OIDC = 'request-token-of-the-job-0123'
  given(
    {
      GITHUB_ACTIONS: 'true',
      INPUT_IMAGES: 'a/b:1=c/d:1',
      'INPUT_SOURCE-REGISTRY': 'r.example',
      'INPUT_DESTINATION-REGISTRY': 's.example',
      'INPUT_DESTINATION-TOKEN': DESTINATION,
      IMAGE_PROMOTE_SOURCE_PASSWORD: SOURCE,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: OIDC,
      ACTIONS_RUNTIME_TOKEN: EAST,
      COPY_OF_IT: `Bearer ${DESTINATION}`,
      HARMLESS: 'needed',
    },
    'github',
  )
  await start().catch(() => undefined)
  const seen = readFileSync(join(room.folder, 'dump'), 'utf8')
  expect(seen).toContain('HARMLESS=needed')
  expect(leaks({ seen }, [...ALL, OIDC])).toEqual([])
})
