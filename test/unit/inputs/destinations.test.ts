import { describe, expect, it } from '@jest/globals'
import { Secrets } from '../../../src/core/secret.ts'
import { configOf, type Given, problemsOf } from './table.ts'

const LIST = `
- name: east
  cluster: https://api.east.example:6443
  token-file: east-token
- name: west.2
  registry: registry.west.example
  username: promoter
  password-env: WEST_PASSWORD
  insecure-skip-tls-verify: true
- {name: lab_1, registry: "http://127.0.0.1:5000"}
`
const FILES = { 'east-token': 'sha256~east\n', 'list.yaml': LIST }
const ENV = {
  IMAGE_PROMOTE_IMAGES: 'dev/app:1=prod/app',
  IMAGE_PROMOTE_SOURCE_REGISTRY: 'registry.dev.example',
  WEST_PASSWORD: 'west-password',
}
const INPUTS = {
  INPUT_IMAGES: ENV.IMAGE_PROMOTE_IMAGES,
  'INPUT_SOURCE-REGISTRY': ENV.IMAGE_PROMOTE_SOURCE_REGISTRY,
  INPUT_DESTINATIONS: LIST,
}

function given(list: string | undefined, env: Record<string, string> = {}, more: Partial<Given> = {}): Given {
  const destinations = list === undefined ? {} : { IMAGE_PROMOTE_DESTINATIONS: list }
  return { env: { ...ENV, ...destinations, ...env }, files: FILES, ...more }
}

/** Problems of a list of one entry, without the option's name. */
function wrong(entry: string, kind: Given['kind'] = 'plain'): string[] {
  return problemsOf(given(`- name: east\n${entry.replace(/^/gm, '  ')}`, {}, { kind }))
    .filter((line) => !/^(?:github |tekton |--)images/.test(line))
    .map((line) => line.replace(/^(?:--|github |tekton )destinations: /, ''))
}

describe('without a list', () => {
  it('there is one destination, with the name destination', () => {
    const { destinations, source } = configOf(given(undefined, { IMAGE_PROMOTE_DESTINATION_REGISTRY: 'r.example' }))
    expect(destinations).toMatchObject([{ name: 'destination', side: 'destination', registry: { host: 'r.example' } }])
    expect(source.name).toBe('source')
  })
})

describe('a list of destinations', () => {
  it.each([
    ['YAML', given(LIST)],
    ['the path of a file', given('list.yaml')],
    ['a file by its own variable', given(undefined, { IMAGE_PROMOTE_DESTINATIONS_FILE: 'list.yaml' })],
    ['a file by its own flag', given(undefined, {}, { argv: ['--destinations-file', 'list.yaml'] })],
    ['an input of GitHub', given(undefined, INPUTS, { kind: 'github' })],
  ])('is read as %s', (_name, inputs) => {
    const { destinations } = configOf(inputs)
    expect(destinations).toMatchObject([
      { name: 'east', side: 'destination', registry: undefined, insecureSkipTlsVerify: false },
      {
        name: 'west.2',
        username: 'promoter',
        registry: { host: 'registry.west.example' },
        insecureSkipTlsVerify: true,
      },
      { name: 'lab_1', registry: { host: '127.0.0.1:5000', plainHttp: true } },
    ])
    expect(destinations.map(({ cluster }) => cluster?.toString())).toEqual([
      'https://api.east.example:6443/',
      undefined,
      undefined,
    ])
    expect(destinations.map(({ token, password }) => (token ?? password)?.reveal())).toEqual([
      'sha256~east',
      'west-password',
      undefined,
    ])
  })

  it('is read as JSON', () => {
    const list = JSON.stringify([
      { name: 'a', registry: 'a.example', 'insecure-skip-tls-verify': true },
      { name: 'b', registry: 'b.example', username: '0123', 'password-env': 'WEST_PASSWORD' },
    ])
    expect(configOf(given(list)).destinations).toMatchObject([
      { name: 'a', insecureSkipTlsVerify: true },
      { name: 'b', username: '0123' },
    ])
  })

  it('reads every value as text, also what YAML reads as a number or a boolean', () => {
    const { destinations } = configOf(
      given('- name: 007\n  registry: r.example\n  username: 0123\n  password-env: WEST_PASSWORD'),
    )
    expect(destinations).toMatchObject([{ name: '007', username: '0123' }])
  })

  it('its secrets are redacted in all messages that follow', () => {
    const secrets = new Secrets()
    configOf(given(LIST), secrets)
    expect(secrets.redact('sha256~east west-password')).toBe('*** ***')
    const problems = problemsOf(given(`${LIST}- name: bad\n  registry: west-password.example/x`), new Secrets())
    expect(problems.join()).not.toContain('west-password')
  })

  it('is never taken from the arguments', () => {
    const [problem] = problemsOf(given(undefined, {}, { argv: ['--destinations', '- name: top-secret'] }))
    expect(problem).toMatch(
      /^--destinations: arguments can be read .*--destinations-file PATH.*IMAGE_PROMOTE_DESTINATIONS/,
    )
    expect(problem).not.toContain('top-secret')
  })

  it('has exactly the options of a destination, by the same names', () => {
    const [problem] = wrong('cluster: in-cluster\nflavour: sweet')
    expect(problem).toMatch(/^east: flavour: is not a key of a destination/)
    expect(
      wrong('kubeconfig: kube\ncontext: prod\nservice-account: cd/promoter\nca: |\n  no\n  PEM\nauth-file: auth.json'),
    ).toEqual([
      expect.stringMatching(/^east: kubeconfig: "kube" cannot be read/),
      expect.stringMatching(/^east: ca: the text holds no PEM certificate/),
      expect.stringMatching(/^east: auth-file: "auth.json" cannot be read/),
    ])
  })
})

describe('an entry that is wrong', () => {
  it.each([
    [
      'registry: r.example\npassword: west-password',
      /^east: password: stands in no list: use password-file PATH or password-env/,
    ],
    ['registry: r.example\ntoken: abc', /^east: token: stands in no list/],
    ['registry: r.example\nusernam: me', /^east: usernam: is not a key of a destination; did you mean username\?/],
    ['registry: r.example\ndestination-username: me', /did you mean username\?/],
    ['registry: https://r.example/path', /^east: registry: .* has a path/],
    ['cluster: http://api.example', /^east: cluster: .*write https/],
    ['cluster: https://api.example', /^east: cluster: needs a way in: username and password-file, or token-file/],
    ['username: me', /^east: needs cluster, registry or kubeconfig/],
    ['registry: r.example\nusername: [a, b]', /^east: username: is not text/],
    ['registry: r.example\ninsecure-skip-tls-verify: maybe', /"maybe" is neither true nor false/],
    ['registry: r.example\ntoken-file: missing', /^east: token-file: cannot be read: no such file/],
    ['registry: r.example\ntoken-env: NOT_SET', /^east: token-env: the variable "NOT_SET" is empty or not set/],
    ['registry: r.example\ntoken-env: WEST_PASSWORD\ntoken-file: east-token', /^east: token-env: excludes token-file/],
    [
      'registry: r.example\nusername: me\ntoken-file: east-token\npassword-env: WEST_PASSWORD',
      /^east: token: excludes password-file/,
    ],
    ['cluster: in-cluster\noidc-audience: x', /^east: oidc-audience: is there only for GitHub Actions/],
  ])('%j', (entry, problem) => {
    expect(wrong(entry)).toContainEqual(expect.stringMatching(problem))
    expect(wrong(entry).join()).not.toContain('west-password')
  })

  it('may ask for the OIDC token of a runner where there is one', () => {
    expect(wrong('cluster: https://api.example\noidc-audience: x', 'github')).toEqual([])
  })

  it.each([
    ['- registry: r.example', /^--destinations: entry 1: needs a name/],
    ['- name: "a b"\n  registry: r.example', /^--destinations: a b: needs a name of A-Z/],
    ['- {name: a, registry: r.example}\n- {name: a, registry: s.example}', /^--destinations: a: is the name of two/],
    [
      '- {name: a, registry: r.example}\n- {name: b, registry: r.example}',
      /^--destinations: a and b are the same registry/,
    ],
    ['- text', /^--destinations: entry 1: is not a set of keys/],
    ['- [1, 2]', /^--destinations: entry 1: is not a set of keys/],
    ['[]', /^--destinations: is not a list of destinations/],
    ['name: a\nregistry: r.example', /^--destinations: is not a list of destinations/],
    ['- {name: a', /^--destinations: is not YAML/],
    ['missing.yaml', /^--destinations: "missing.yaml" cannot be read: no such file/],
  ])('%j', (list, problem) => {
    expect(problemsOf(given(list))).toContainEqual(expect.stringMatching(problem))
  })

  it('does not hide the problems of other entries', () => {
    const list =
      '- name: a\n  registry: a b\n- cluster: nowhere\n  token-file: east-token\n- name: c\n  registry: c.example\n  secret: x'
    expect(problemsOf(given(list))).toEqual([
      expect.stringMatching(/^--destinations: a: registry: /),
      expect.stringMatching(/^--destinations: entry 2: needs a name/),
      expect.stringMatching(/^--destinations: entry 2: cluster: /),
      expect.stringMatching(/^--destinations: c: secret: is not a key/),
    ])
  })
})

describe('beside a list', () => {
  it.each([
    ['cluster', 'https://api.example'],
    ['registry', 'r.example'],
    ['username', 'me'],
    ['password', 'very-secret'],
    ['token', 'very-secret'],
    ['ca', 'ca.pem'],
    ['insecure-skip-tls-verify', 'true'],
  ])('destination-%s is refused', (name, value) => {
    const variable = `IMAGE_PROMOTE_DESTINATION_${name.toUpperCase().replaceAll('-', '_')}`
    expect(problemsOf(given(LIST, { [variable]: value }))).toEqual([
      `--destination-${name}: is excluded by --destinations`,
    ])
  })

  it('defaults that a runner sets do not count as given', () => {
    expect(problemsOf(given(undefined, { ...INPUTS, 'INPUT_DESTINATION-INSECURE-SKIP-TLS-VERIFY': 'false' }))).toEqual(
      [],
    )
  })

  it.each(['dev/app:1=quay.io/prod/app', 'dev/app:1=oci:folder'])(
    'a line with a registry or layout of its own is refused: %s',
    (images) => {
      expect(problemsOf(given(LIST, { IMAGE_PROMOTE_IMAGES: images }))).toEqual([
        expect.stringMatching(/^--images: .* has a place of its own, and --destinations has them all$/),
      ])
    },
  )

  it('an image that would be copied onto itself is found at every destination', () => {
    const list = '- {name: a, registry: a.example}\n- {name: b, registry: registry.dev.example}'
    expect(problemsOf(given(list, { IMAGE_PROMOTE_IMAGES: 'dev/app:1' }))).toEqual([
      expect.stringMatching(/^--images: .* is source and destination on the same registry/),
    ])
  })
})
