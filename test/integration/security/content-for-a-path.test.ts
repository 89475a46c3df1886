import { describe, expect, test } from '@jest/globals'
import { contentKind } from '../../../src/core/content.ts'
import { PromoteError } from '../../../src/core/errors.ts'
import { fileError } from '../../../src/core/files.ts'
import { Secret, Secrets } from '../../../src/core/secret.ts'
import { collect, type Env } from '../../../src/inputs/collect.ts'
import { OPTIONS, variableName } from '../../../src/inputs/options.ts'
import { parse } from '../../../src/inputs/parse.ts'
import { leaks } from '../../bundle/secrets/search.ts'
import { configOf } from '../../unit/inputs/table.ts'

/** Promise: the content of a file where its path is wanted, and a secret in any wrong option, is in no message. */

const TOKEN = 'sha256~QWERTYUIOPasdfghjklZXCVBNM1234567890abcdef'
const JWT = `eyJhbGciOiJSUzI1NiJ9.${Buffer.from('{"sub":"system:serviceaccount:a:b"}').toString('base64url')}.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg`
const PASSWORD = 'hunter2-Production'
const AUTH = Buffer.from(`promoter:${PASSWORD}`).toString('base64')
const KEY = 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7'
const DOCKER = JSON.stringify({ auths: { 'registry.example': { auth: AUTH } } })
const KUBE = `apiVersion: v1\nkind: Config\nclusters: []\nusers:\n- name: p\n  user:\n    token: ${TOKEN}\n    password: ${PASSWORD}\n`
const base64 = (text: string) => Buffer.from(text).toString('base64')

const CONTENTS: readonly (readonly [name: string, text: string])[] = [
  ['an OpenShift token', TOKEN],
  ['a JSON Web Token', JWT],
  ['a docker config', DOCKER],
  ['a docker config that is indented', JSON.stringify(JSON.parse(DOCKER), null, 2)],
  ['a kubeconfig', KUBE],
  ['a kubeconfig as JSON', JSON.stringify({ apiVersion: 'v1', clusters: [], users: [{ user: { token: TOKEN } }] })],
  ['a private key', `-----BEGIN PRIVATE KEY-----\n${KEY}\n-----END PRIVATE KEY-----\n`],
  ['a private key in one line', `-----BEGIN PRIVATE KEY-----\\n${KEY}\\n-----END PRIVATE KEY-----`],
  ['base64 of a docker config', base64(DOCKER)],
  ['base64 of a kubeconfig', base64(KUBE)],
  ['base64 of user and password', AUTH],
  ['JSON in a JSON text', JSON.stringify(DOCKER)],
  ['a long text', `${TOKEN}${'x'.repeat(5000)}`],
]
const PARTS = [TOKEN, JWT, PASSWORD, AUTH, KEY, base64(DOCKER), base64(KUBE)]

/** Files do not exist, and say so in the words of the system, which repeat the path. */
const absent = (path: string): string => {
  throw new Error(`ENOENT: no such file or directory, open '${path}'`)
}

/** Everything that a run says about these inputs. */
function said(env: Env, argv: readonly string[] = []): string {
  const secrets = new Secrets()
  try {
    const collected = collect(argv, env, (path) => (contentKind(path) === undefined ? '' : absent(path)))
    const place = { kind: 'plain', spell: (option: string) => `--${option}` } as const
    const config = parse(collected, place, secrets, absent)
    const origins = [...collected.raw].map(([option, { from }]) => `${option} ${from}`)
    return secrets.redact([JSON.stringify(config), ...origins, ...(collected.warnings ?? [])].join('\n'))
  } catch (thrown) {
    if (!(thrown instanceof PromoteError) || thrown.code !== 'USAGE') throw thrown
    return [thrown.message, String(thrown.cause)].join('\n')
  }
}

describe.each(CONTENTS)('%s', (_, text) => {
  test('is recognised', () => {
    expect(contentKind(text)).toMatch(/^(?:an? |JSON|YAML|PEM|base64 of )/)
  })

  test('is in no error about a file that the environment names', () => {
    const { message } = fileError({ what: 'auth file', path: text, side: 'source' }, 'could not be read.')
    expect(leaks({ message }, PARTS)).toEqual([])
  })

  test('is in no message, whichever option it is given to, in whatever way', () => {
    const images = { IMAGE_PROMOTE_IMAGES: 'a/b:1=c/d:1' }
    const texts = OPTIONS.flatMap(({ name }) => {
      const variable = `IMAGE_PROMOTE_${variableName(name)}`
      return [
        said({ ...images, [variable]: text }),
        said({ ...images, [`${variable}_FILE`]: text }),
        said({ [`INPUT_${name.toUpperCase()}`]: text }),
        said(images, [`--${name}`, text]),
        said({}, [`--${name}-file`, text, '--', 'a/b:1=c/d:1']),
      ]
    })
    const keys = ['kubeconfig', 'auth-file', 'ca', 'token-file', 'password-file', 'registry', 'cluster', 'context']
    const lists = keys.map((key) =>
      JSON.stringify([{ name: 'east', registry: 'r.example', username: 'u', [key]: text }]),
    )
    texts.push(...lists.map((list) => said({ ...images, IMAGE_PROMOTE_DESTINATIONS: list })))
    const lines = new Set(texts.join('\n').split('\n'))
    expect(lines.size).toBeGreaterThan(50)
    expect(leaks({ said: [...lines].join('\n') }, PARTS)).toEqual([])
  })
})

test.each(['hunter2', 'tR0ub4dor&3-of-Production', 'ghp_0123456789abcdefghij0123456789abcdef'])(
  'a password without any shape is not repeated where the path of its file is wanted: %s',
  (password) => {
    const text = said({ IMAGE_PROMOTE_SOURCE_PASSWORD_FILE: password }) + said({}, ['--source-token-file', password])
    expect(text).not.toContain(password)
  },
)

describe('what is meant for sure is taken', () => {
  const env = (more: Env): Env => ({
    IMAGE_PROMOTE_IMAGES: 'a/b:1=c/d:1',
    IMAGE_PROMOTE_SOURCE_REGISTRY: 'r.example',
    IMAGE_PROMOTE_DESTINATION_REGISTRY: 's.example',
    ...more,
  })

  test.each([DOCKER, base64(DOCKER)])('an auth file, as text and as base64', (text) => {
    const masked: string[] = []
    const secrets = new Secrets((form) => masked.push(form))
    const { source } = configOf({ env: env({ IMAGE_PROMOTE_SOURCE_AUTH_FILE: text }) }, secrets)
    expect((source.authFile as Secret).reveal()).toBe(DOCKER)
    expect(masked).toContain(text)
  })

  test('a kubeconfig', () => {
    const { IMAGE_PROMOTE_SOURCE_REGISTRY: _, ...rest } = env({ IMAGE_PROMOTE_SOURCE_KUBECONFIG: KUBE })
    const { source } = configOf({ env: rest })
    expect(source.kubeconfig).toBeInstanceOf(Secret)
  })

  test('but not from the command line, which every process can read', () => {
    expect(said(env({}), ['--source-auth-file', DOCKER])).toMatch(/--source-auth-file: holds the text of a file/)
  })
})
