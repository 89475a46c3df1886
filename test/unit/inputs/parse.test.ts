import { generateKeyPairSync } from 'node:crypto'
import { delimiter } from 'node:path'
import { rootCertificates } from 'node:tls'
import { describe, expect, it } from '@jest/globals'
import { pemBlocks } from '../../../src/core/pem.ts'
import { Secrets } from '../../../src/core/secret.ts'
import type { Config } from '../../../src/inputs/config.ts'
import { configOf, type Given, problemsOf } from './table.ts'

const PEM = rootCertificates[0] ?? ''
const KEY = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
const HEX = 'a'.repeat(64)
const REGISTRIES = ['--source-registry', 'a.example.com', '--destination-registry', 'b.example.com']
const IMAGE = ['--', 'dev/app:1=prod/app:1']

/** A run between two registries, with more options in front. */
const withFlags = (...flags: string[]): Given => ({ argv: [...REGISTRIES, ...flags, ...IMAGE] })
/** The same between registries with these images. */
const withImages = (...images: string[]): Given => ({ argv: [...REGISTRIES, '--', ...images] })
/** A run whose source is described by these flags alone. */
const withSource = (flags: string[], env: Given['env'] = {}, files: Given['files'] = {}): Given => ({
  argv: ['--destination-registry', 'b.example.com', ...flags, ...IMAGE],
  env,
  files,
})

const CLUSTER = ['--source-cluster', 'https://api.example.com:6443']
const TOKEN = { IMAGE_PROMOTE_SOURCE_TOKEN: 'sha256~token' }
const PASSWORD = { IMAGE_PROMOTE_SOURCE_PASSWORD: 'secret' }
const files = { cfg: 'x', key: KEY, text: 'no pem', pem: PEM, broken: PEM.replace(/\n[^\n]{20}/, '\n!!') }

const BAD: readonly (readonly [what: string, given: Given, ...problems: string[]])[] = [
  // options
  ['an unknown option', withFlags('--jbos', '3'), '--jbos: unknown option; did you mean --jobs?'],
  ['a word for a boolean', withFlags('--dry-run', 'yes'), '--dry-run: "yes" is neither true nor false'],
  ['an unknown word', withFlags('--progress', 'fancy'), '--progress: "fancy" is none of plain, quiet, json'],
  ['jobs of 0', withFlags('--jobs', '0'), '--jobs: "0" is not a whole number from 1 to 256'],
  ['jobs of 257', withFlags('--jobs', '257'), '--jobs: "257" is not a whole number from 1 to 256'],
  ['negative retries', withFlags('--retries', '-1'), '--retries: "-1" is not a whole number from 0 to 100'],
  ['a fraction', withFlags('--stall-timeout', '1.5'), '--stall-timeout: "1.5" is not a whole number'],
  ['a number with a unit', withFlags('--stall-timeout', '60s'), '--stall-timeout: "60s" is not a whole number'],
  ['hexadecimal', withFlags('--jobs', '0x8'), '--jobs: "0x8" is not a whole number'],
  [
    'a bad tag',
    withFlags('--additional-tags', 'ok,-no,a:b'),
    '--additional-tags: "-no" is not a valid tag',
    '"a:b" is not a valid tag',
  ],
  ['a bad platform', withFlags('--platforms', 'linux/amd64/v1/x/y'), '--platforms: '],
  ['a secret on argv', withFlags('--source-token', 'abc'), '--source-token: arguments can be read'],

  // images
  ['no image', { argv: REGISTRIES }, '--images: names no image: write SRC or SRC=DST'],
  ['comments alone', withImages('# nothing', ' , '), '--images: names no image'],
  [
    'upper case',
    withImages('dev/App:1'),
    '--images: "dev/App:1" is not an image reference: a repository is lower case',
  ],
  [
    'an empty tag',
    withImages('dev/app:'),
    '--images: "dev/app:" is not an image reference: the tag after ":" is empty',
  ],
  ['double @', withImages(`dev/app@sha256:${HEX}@sha256:${HEX}=x/y:1`), '--images: ', 'more than one "@"'],
  ['a short digest', withImages('dev/app@sha256:abc=x/y:1'), '--images: ', '64 hexadecimal digits'],
  ['a destination with a digest', withImages(`dev/app:1=prod/app@sha256:${HEX}`), '--images: ', 'write "prod/app:TAG"'],
  ['two =', withImages('a/b:1=c/d:1=e/f:1'), '--images: ', 'more than one "="'],
  ['nothing before =', withImages('=prod/app:1'), '--images: "=prod/app:1" lacks the image before "="'],
  ['nothing after =', withImages('dev/app:1='), '--images: "dev/app:1=" lacks the image after "="'],
  ['a digest without a tag', withImages(`dev/app@sha256:${HEX}`), '--images: ', 'give the destination a tag'],
  ['a digest to no tag', withImages(`dev/app@sha256:${HEX}=prod/app`), '--images: ', '=prod/app:TAG'],
  ['duplicate destinations', withImages('a/b:1=x/y:1', 'c/d:1=x/y:1'), '--images: "x/y:1" is the destination of more'],
  [
    'duplicates with and without the host',
    withImages('a/b:1=x/y:1', 'c/d:1=b.example.com/x/y:1'),
    '--images: "b.example.com/x/y:1" is the destination of more than one',
  ],
  [
    'additional tags that are a destination already',
    { argv: [...REGISTRIES, '--additional-tags', '2', '--', 'a/b:1=x/y:1', 'c/d:1=x/y:2'] },
    '--additional-tags: "x/y:2" is the destination of more than one',
  ],
  [
    'two images for the same additional tag',
    { argv: [...REGISTRIES, '--additional-tags', 'latest', '--', 'a/b:1=x/y:1', 'a/b:2=x/y:2'] },
    '--additional-tags: "x/y:latest" is the destination of more than one',
  ],
  [
    'an additional tag twice',
    withFlags('--additional-tags', 'x,x'),
    '--additional-tags: "prod/app:x" is the destination',
  ],
  [
    'an image onto itself',
    { argv: ['--source-registry', 'a.example.com', '--destination-registry', 'A.example.com', '--', 'a/b:1'] },
    '--images: "a/b:1" is source and destination on the same registry',
  ],
  [
    'an image onto itself by host',
    withImages('dev/app:1=a.example.com/dev/app:1'),
    '--images: "dev/app:1" is source and destination',
  ],
  [
    'an image onto itself on one cluster',
    {
      argv: [...CLUSTER, '--destination-cluster', 'https://api.example.com:6443', '--', 'a/b'],
      env: { ...TOKEN, IMAGE_PROMOTE_DESTINATION_TOKEN: 'other-token' },
    },
    '--images: "a/b:latest" is source and destination',
  ],
  [
    'an image onto itself under another name of Docker Hub',
    withImages('docker.io/alpine:3=index.docker.io/library/alpine:3'),
    '--images: "docker.io/library/alpine:3" is source and destination',
  ],
  [
    'a side without a place',
    { argv: ['--destination-registry', 'b.example.com', '--', 'dev/app:1', 'other/app:1'] },
    '--source-registry: where is "dev/app:1"? Set source-cluster',
  ],
  [
    'a destination without a place',
    { argv: ['--', 'quay.io/dev/app:1'] },
    '--destination-registry: where is "dev/app:1"?',
  ],

  // addresses
  [
    'http for a cluster',
    withSource(['--source-cluster', 'http://api.x:6443'], TOKEN),
    '--source-cluster: ',
    'write https://',
  ],
  [
    'no scheme',
    withSource(['--source-cluster', 'api.x:6443'], TOKEN),
    '--source-cluster: "api.x:6443" is not a valid URL: write https://',
  ],
  ['a path', withSource(['--source-cluster', 'https://api.x/k8s'], TOKEN), '--source-cluster: ', 'has a path'],
  ['a query', withSource(['--source-cluster', 'https://api.x/?a=b'], TOKEN), '--source-cluster: ', 'has a path'],
  ['no host', withSource(['--source-cluster', 'https://'], TOKEN), '--source-cluster: "https://" is not a valid URL'],
  [
    'ftp',
    withSource(['--source-cluster', 'ftp://api.x'], TOKEN),
    '--source-cluster: "ftp://api.x" is not an https URL',
  ],
  [
    'a registry with a path',
    withSource(['--source-registry', 'a.example.com/dev']),
    '--source-registry: ',
    'has a path',
  ],
  ['a registry with a blank', withSource(['--source-registry', 'a b']), '--source-registry: "a b" is not a registry'],
  [
    'a registry with a bad port',
    withSource(['--source-registry', 'a:99999']),
    '--source-registry: "a:99999" is not a registry',
  ],
  [
    'a registry by docker://',
    withSource(['--source-registry', 'docker://a']),
    '--source-registry: ',
    'write host[:port]',
  ],

  // credentials
  ['password without user', withSource([...CLUSTER], PASSWORD), '--source-password: needs --source-username too'],
  [
    'user without password',
    withSource([...CLUSTER, '--source-username', 'u']),
    '--source-username: needs --source-password or',
  ],
  [
    'token and password',
    withSource([...CLUSTER, '--source-username', 'u'], { ...TOKEN, ...PASSWORD }),
    '--source-token: excludes --source-password',
  ],
  [
    'a user with a colon',
    withSource([...CLUSTER, '--source-username', 'u:pw'], PASSWORD),
    '--source-username: "u:…" has a ":"',
  ],
  [
    'a token with a blank',
    withSource(CLUSTER, { IMAGE_PROMOTE_SOURCE_TOKEN: 'Bearer abc' }),
    '--source-token: holds a blank',
  ],
  ['a cluster without a way in', withSource(CLUSTER), '--source-cluster: needs a way in: --source-username and'],
  [
    'a service account without a cluster',
    withSource(['--source-registry', 'a', '--source-service-account', 'ns/sa']),
    '--source-service-account: needs --source-cluster',
  ],
  [
    'a malformed service account',
    withSource(['--source-cluster', 'in-cluster', '--source-service-account', 'ns:sa']),
    '--source-service-account: "ns:sa" is not a service account: write namespace/name',
  ],
  [
    'a context and a cluster',
    withSource([...CLUSTER, '--source-context', 'dev']),
    '--source-cluster: is excluded by --source-context',
  ],
  [
    'a context and a token',
    withSource(['--source-context', 'dev'], TOKEN),
    '--source-token: is excluded by --source-context',
  ],
  [
    'a user of the kind system:',
    withSource([...CLUSTER, '--source-username', 'system:serviceaccount:ci:pusher'], TOKEN),
    '--source-username: "system:…" has a ":", which no login can carry: give its token alone',
  ],
  [
    'a list of kubeconfigs of which none exists',
    withFlags('--source-kubeconfig', ['/nowhere/a', '/nowhere/b'].join(delimiter)),
    '--source-kubeconfig: "/nowhere/a',
  ],
  [
    'a kubeconfig and a cluster',
    withSource(['--source-kubeconfig', 'cfg', '--source-cluster', 'in-cluster'], {}, files),
    '--source-cluster: is excluded by --source-kubeconfig',
  ],
  [
    'a kubeconfig and user and password',
    withSource(['--source-kubeconfig', 'cfg', '--source-username', 'u'], PASSWORD, files),
    '--source-username: is excluded by --source-kubeconfig',
    '--source-password: is excluded by --source-kubeconfig',
  ],
  [
    'a kubeconfig and a token',
    withSource(['--source-kubeconfig', 'cfg'], TOKEN, files),
    '--source-token: is excluded by',
  ],

  // hosts
  [
    'OIDC outside GitHub',
    withFlags('--source-oidc-audience', 'x'),
    '--source-oidc-audience: is there only for GitHub Actions',
  ],
  [
    'summary on the command line',
    withFlags('--summary', 'false'),
    '--summary: is there only for GitHub Actions and Tekton',
  ],
  [
    'output on GitHub',
    { ...withFlags('--output', 'json'), kind: 'github' },
    'github output: is there only for the command line',
  ],
  [
    'OIDC without a cluster',
    { ...withFlags('--source-oidc-audience', 'x'), kind: 'github' },
    'github source-oidc-audience: needs github source-cluster',
  ],
  [
    'OIDC and a token',
    { ...withSource([...CLUSTER, '--source-oidc-audience', 'x'], TOKEN), kind: 'github' },
    'github source-oidc-audience: excludes github source-token',
  ],

  // files
  [
    'a CA that is no PEM',
    { ...withFlags('--source-ca', 'text'), files },
    '--source-ca: "text" holds no PEM certificate',
  ],
  ['a CA that is a key', { ...withFlags('--source-ca', 'key'), files }, '--source-ca: "key" holds no PEM certificate'],
  ['a key as text', withFlags('--source-ca', KEY), '--source-ca: the text holds no PEM certificate'],
  [
    'a damaged CA',
    { ...withFlags('--source-ca', 'broken'), files },
    '--source-ca: certificate 1 of "broken" is damaged',
  ],
  [
    'an absent CA',
    withFlags('--source-ca', '/ca.pem'),
    '--source-ca: "/ca.pem" is neither PEM text nor a readable file',
  ],
  [
    'an absent auth file',
    withFlags('--source-auth-file', '/x'),
    '--source-auth-file: "/x" cannot be read: no such file',
  ],
  ['an absent kubeconfig', withSource(['--source-kubeconfig', '/x']), '--source-kubeconfig: "/x" cannot be read'],
  ['an absent password file', withFlags('--source-password-file', '/x'), '--source-password-file: cannot be read'],
]

describe('bad input', () => {
  it.each(BAD)('%s is a problem that names the option', (_, given, ...expected) => {
    const problems = problemsOf(given)
    const text = problems.join('\n')
    for (const part of expected) expect(text).toContain(part)
    // One mistake is told once: a line per option that the row names.
    const named = expected.filter((part) => /^(--|github )/.test(part)).length
    expect(problems).toHaveLength(Math.max(named, expected.some((part) => part.startsWith('"a:b"')) ? 2 : 1))
  })

  it('all problems are reported at once, with the names that the host uses', () => {
    const given: Given = {
      env: {
        INPUT_IMAGES: 'dev/App:1',
        INPUT_JOBS: 'many',
        INPUT_PROGRESS: 'loud',
        'INPUT_SOURCE-CLUSTER': 'http://api.x',
        'INPUT_SOURCE-PASSWORD': 'hunter2',
      },
      kind: 'github',
    }
    expect(problemsOf(given).map((problem) => problem.split(': ')[0])).toEqual([
      'github jobs',
      'github progress',
      'github images',
      'github source-cluster',
      'github source-password',
    ])
  })

  it.each([
    [withSource(['--source-cluster', 'https://jane:hunter2@api.x:6443'], TOKEN)],
    [withSource(['--source-cluster', 'jane:hunter2@api.x:6443'], TOKEN)],
    [withSource(['--source-registry', 'jane:hunter2@a.example.com'])],
    [withSource(['--source-registry', 'http://jane:hunter2@a.example.com'])],
    [withImages('jane:hunter2@quay.io/dev/app:1')],
    [withImages('dev/app:1=docker://jane:hunter2@quay.io/dev/app:1')],
    [withImages('dev/app:1=jane:hunter2@quay.io/dev/app:1=x')],
    [withSource([...CLUSTER, '--source-username', 'jane:hunter2'], PASSWORD)],
    [withFlags('--source-token', 'hunter2')],
  ])('does not quote credentials: %j', (given) => {
    const problems = problemsOf(given)
    expect(problems).toHaveLength(1)
    expect(problems[0]).not.toContain('hunter2')
  })

  it('registers secrets before it reports a problem, and hides them in it', () => {
    const kept: string[] = []
    const given = withSource([...CLUSTER, '--source-username', 'jane', '--progress', 'hunter2'], {
      IMAGE_PROMOTE_SOURCE_PASSWORD: 'hunter2',
    })
    const problems = problemsOf(given, new Secrets((value) => kept.push(value)))
    expect(kept).toContain('hunter2')
    expect(problems).toEqual(['--progress: "***" is none of plain, quiet, json'])
  })
})

describe('a good configuration', () => {
  const side = (given: Given): Config['source'] => configOf(given).source

  it('has the defaults of the table', () => {
    const config = configOf(withFlags())
    expect(config).toMatchObject({
      platforms: undefined,
      referrers: true,
      additionalTags: [],
      dryRun: false,
      jobs: 8,
      retries: 5,
      stallTimeout: 60_000,
      report: undefined,
      progress: 'plain',
      logLevel: 'info',
      summary: true,
      output: 'text',
    })
    expect(config.source).toEqual({
      side: 'source',
      name: 'source',
      cluster: undefined,
      username: undefined,
      password: undefined,
      token: undefined,
      serviceAccount: undefined,
      kubeconfig: undefined,
      context: undefined,
      oidcAudience: undefined,
      registry: { host: 'a.example.com', plainHttp: false },
      ca: undefined,
      insecureSkipTlsVerify: false,
      authFile: undefined,
    })
  })

  it('has the values that were given', () => {
    const flags = ['--platforms', 'linux/amd64,linux/arm64/v8', '--referrers', 'FALSE', '--additional-tags', 'a,b']
    const more = ['--dry-run', '--jobs', '1', '--retries', '0', '--stall-timeout', '5', '--report', 'r.json']
    const last = ['--progress', 'json', '--log-level', 'debug', '--output', 'json']
    expect(configOf(withFlags(...flags, ...more, ...last))).toMatchObject({
      platforms: [
        { os: 'linux', architecture: 'amd64' },
        { os: 'linux', architecture: 'arm64' },
      ],
      referrers: false,
      additionalTags: ['a', 'b'],
      dryRun: true,
      jobs: 1,
      retries: 0,
      stallTimeout: 5000,
      report: 'r.json',
      progress: 'json',
      logLevel: 'debug',
      output: 'json',
    })
  })

  it('accepts every way to log in', () => {
    const user = ['--source-username', 'jane']
    expect(side(withSource([...CLUSTER, ...user], PASSWORD)).password?.reveal()).toBe('secret')
    expect(side(withSource(CLUSTER, TOKEN)).token?.reveal()).toBe('sha256~token')
    expect(side(withSource(['--source-cluster', 'in-cluster'])).cluster).toBe('in-cluster')
    expect(side(withSource(['--source-registry', 'a', ...user], TOKEN)).username).toBe('jane')
    expect(side(withSource(['--source-registry', 'a'], TOKEN)).token).toBeDefined()
    expect(side(withSource(['--source-kubeconfig', 'cfg', '--source-context', 'dev'], {}, files)).context).toBe('dev')
    expect(side(withFlags('--source-context', 'dev')).kubeconfig).toBeUndefined()
    expect(side(withSource(['--source-cluster', 'https://kubernetes.default.svc'])).cluster?.toString()).toContain(
      'svc',
    )
    const list = ['absent', 'cfg'].join(delimiter)
    expect(side(withSource(['--source-kubeconfig', list], {}, files)).kubeconfig).toBe(list)
    const account = ['--source-service-account', 'ns/sa.x']
    const expected = { namespace: 'ns', name: 'sa.x' }
    expect(side(withSource([...CLUSTER, ...account], TOKEN)).serviceAccount).toEqual(expected)
    expect(side(withSource(['--source-kubeconfig', 'cfg', ...account], {}, files)).serviceAccount).toEqual(expected)
    const oidc = withSource([...CLUSTER, '--source-oidc-audience', 'me'])
    expect(side({ ...oidc, kind: 'github' }).oidcAudience).toBe('me')
    expect(side({ ...withFlags('--source-auth-file', 'cfg'), files }).authFile).toBe('cfg')
  })

  it.each([
    ['https://api.example.com:6443', 'https://api.example.com:6443/'],
    ['https://api.example.com:6443/', 'https://api.example.com:6443/'],
    ['HTTPS://API.example.com', 'https://api.example.com/'],
  ])('reads the cluster %s', (text, href) => {
    expect(side(withSource(['--source-cluster', text], TOKEN)).cluster?.toString()).toBe(href)
  })

  it.each([
    ['quay.io', 'quay.io', false],
    ['Quay.io:5000', 'quay.io:5000', false],
    ['https://quay.io/', 'quay.io', false],
    ['http://127.0.0.1:5001', '127.0.0.1:5001', true],
    ['[::1]:5000', '[::1]:5000', false],
    ['localhost', 'localhost', false],
    ['docker.io', 'docker.io', false],
  ])('reads the registry %s', (text, host, plainHttp) => {
    expect(side(withSource(['--source-registry', text])).registry).toEqual({ host, plainHttp })
  })

  it('reads one or more CAs from text or a file, without the text between them', () => {
    const text = `# mine\n${PEM}\n${KEY}\n${rootCertificates[1]}`
    const expected = pemBlocks(`${PEM}\n${rootCertificates[1]}`, 'CERTIFICATE').join('')
    expect(side(withFlags('--source-ca', text)).ca).toBe(expected)
    expect(side({ ...withFlags('--source-ca', 'f'), files: { f: text } }).ca).toBe(expected)
    expect(side({ ...withFlags('--source-ca-file', 'f'), files: { f: text } }).ca).toBe(expected)
  })
})

describe('images', () => {
  const pairs = (...images: string[]) => configOf(withImages(...images)).images.map((pair) => pair)
  const one = (image: string) => pairs(image)[0]

  it.each([
    ['dev/app', { repository: 'dev/app', tag: 'latest' }, { repository: 'dev/app', tag: 'latest' }],
    ['dev/app:1', { repository: 'dev/app', tag: '1' }, { repository: 'dev/app', tag: '1' }],
    ['dev/app:1=prod/app', { repository: 'dev/app', tag: '1' }, { repository: 'prod/app', tag: '1' }],
    ['dev/app=prod/app', { repository: 'dev/app', tag: 'latest' }, { repository: 'prod/app', tag: 'latest' }],
    ['dev/app:1 = prod/app:2', { repository: 'dev/app', tag: '1' }, { repository: 'prod/app', tag: '2' }],
    [
      'docker.io/alpine:3',
      { host: 'docker.io', repository: 'library/alpine', tag: '3' },
      { host: undefined, repository: 'library/alpine', tag: '3' },
    ],
    [
      'docker://quay.io/a/b/c:1=ghcr.io/d/e',
      { host: 'quay.io', repository: 'a/b/c', tag: '1' },
      { host: 'ghcr.io', repository: 'd/e', tag: '1' },
    ],
    [
      `dev/app@sha256:${HEX}=prod/app:1`,
      { repository: 'dev/app', digest: `sha256:${HEX}`, tag: undefined },
      { repository: 'prod/app', tag: '1' },
    ],
    [
      `dev/app:1@sha256:${HEX}`,
      { repository: 'dev/app', digest: `sha256:${HEX}`, tag: '1' },
      { repository: 'dev/app', tag: '1' },
    ],
  ])('%s', (image, source, destination) => {
    expect(one(image)).toEqual({ source, destination })
  })

  it('are read from lines and commas, without comments and empty ones', () => {
    const text = '# release 7\na/b:1, c/d:1=x/d:1  # the second\r\n\n,e/f:1,\n  # a/b:9'
    expect(pairs(text).map((pair) => pair.destination.repository)).toEqual(['a/b', 'x/d', 'e/f'])
  })

  it('may go to another tag of the same repository; by digest to any tag', () => {
    const same = (image: string) => ({
      argv: ['--source-registry', 'a.example.com', '--destination-registry', 'a.example.com', '--', image],
    })
    expect(problemsOf(same('a/b:1=a/b:2'))).toEqual([])
    expect(problemsOf(same(`a/b@sha256:${HEX}=a/b:2`))).toEqual([])
    expect(problemsOf(same('a/b:1=c/b:1'))).toEqual([])
  })

  it('need no configured registry if each one names its host', () => {
    expect(problemsOf({ argv: ['--', 'quay.io/a/b:1=ghcr.io/a/b:1'] })).toEqual([])
  })
})
