import { describe, expect, it, test } from '@jest/globals'
import { collect, type Env } from '../../../src/inputs/collect.ts'
import { OPTIONS, variableName } from '../../../src/inputs/options.ts'
import { type Files, reading } from './table.ts'

const get = (argv: readonly string[], env: Env = {}, files: Files = {}) => collect(argv, env, reading(files))
const valueIn = (name: string, argv: readonly string[], env: Env = {}, files: Files = {}) => {
  const { raw, problems } = get(argv, env, files)
  expect(problems).toEqual([])
  return raw.get(name)?.value
}

describe('the table of options', () => {
  it('names every option once, in kebab case, with one sentence', () => {
    const names = OPTIONS.map((option) => option.name)
    expect(new Set(names).size).toBe(names.length)
    for (const { name, meaning } of OPTIONS) {
      expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/)
      expect(meaning).toMatch(/^\S[^\n]+[^.]\.$/)
    }
  })

  it('has the same options for both sides', () => {
    const of = (side: string) =>
      OPTIONS.filter((option) => option.name.startsWith(`${side}-`)).map(({ name, meaning, ...rest }) => ({
        ...rest,
        group: '',
        name: name.replace(`${side}-`, ''),
        meaning: meaning.replaceAll(side, 'SIDE'),
      }))
    expect(of('source')).toEqual(of('destination'))
    expect(of('source').map((option) => option.name)).toEqual([
      'cluster',
      'username',
      'password',
      'token',
      'service-account',
      'kubeconfig',
      'context',
      'oidc-audience',
      'registry',
      'ca',
      'insecure-skip-tls-verify',
      'auth-file',
    ])
  })

  it.each([
    ['platforms', 'all'],
    ['referrers', 'true'],
    ['dry-run', 'false'],
    ['jobs', '8'],
    ['retries', '5'],
    ['stall-timeout', '60'],
    ['progress', 'plain'],
    ['log-level', 'info'],
    ['summary', 'true'],
    ['output', 'text'],
    ['source-insecure-skip-tls-verify', 'false'],
  ])('gives %s the default %s', (name, value) => {
    expect(get([]).raw.get(name)).toEqual({ value, from: 'default' })
  })

  it('leaves everything else unset', () => {
    const set = [...get([]).raw.keys()]
    expect(set).toEqual(OPTIONS.filter((option) => option.default !== undefined).map((option) => option.name))
  })
})

describe('precedence', () => {
  const sources: readonly (readonly [from: string, argv: readonly string[], env: Env])[] = [
    ['--report', ['--report', 'flag'], {}],
    ['--report-file (flag-file)', ['--report-file', 'flag-file'], {}],
    ['IMAGE_PROMOTE_REPORT', [], { IMAGE_PROMOTE_REPORT: 'variable' }],
    ['IMAGE_PROMOTE_REPORT_FILE (variable-file)', [], { IMAGE_PROMOTE_REPORT_FILE: 'variable-file' }],
    ['default', [], {}],
  ]
  const files = { 'flag-file': 'flag-file\n', 'variable-file': 'variable-file\n' }

  test.each(sources.slice(0, -1).map(([from], index) => [from, index] as const))(
    '%s beats everything after it',
    (from, index) => {
      const rest = sources.slice(index)
      const argv = rest.flatMap(([, flags]) => flags)
      const env = Object.assign({}, ...rest.map(([, , variables]) => variables))
      const { raw, problems } = get(argv, env, files)
      expect(problems).toEqual([])
      expect(raw.get('report')?.from).toBe(from)
      expect(raw.get('report')?.value).toBe(['flag', 'flag-file', 'variable', 'variable-file'][index])
    },
  )

  test.each(sources.slice(0, -1).map(([from], index) => [from, index] as const))(
    'an empty value of %s counts as unset',
    (_, index) => {
      const empty = sources
        .slice(0, -1)
        .map(([, argv, env]) => [
          argv.map((arg) => (arg.startsWith('--') ? arg : 'empty')),
          Object.fromEntries(Object.keys(env).map((name) => [name, name.endsWith('_FILE') ? 'empty' : ''])),
        ]) as [string[], Env][]
      const [argv, env] = empty[index] ?? [[], {}]
      const flags = argv[0] === '--report' ? ['--report', ''] : argv
      expect(valueIn('report', flags, env, { empty: '\n' })).toBe(undefined)
    },
  )

  it.each<[string, Env]>([
    ['of another value', { IMAGE_PROMOTE_REPORT: 'variable' }],
    ['of a file', { IMAGE_PROMOTE_REPORT_FILE: 'variable-file' }],
    ['of an option that the workflow leaves out', { IMAGE_PROMOTE_DESTINATION_REGISTRY: 'evil.example' }],
    ['that no option has', { IMAGE_PROMOTE_JOBBS: '3' }],
  ])('an action reads only its inputs, and warns once of a variable %s', (_, env) => {
    const { raw, problems, warnings } = get([], { ...env, IMAGE_PROMOTE_JOBS: '9', INPUT_REPORT: 'input' }, files)
    const set = [...raw.values()].filter(({ from }) => from !== 'default')
    expect([set, problems, warnings?.length]).toEqual([[{ value: 'input', from: 'INPUT_REPORT' }], [], 1])
    for (const name of [...Object.keys(env), 'IMAGE_PROMOTE_JOBS']) expect(warnings?.[0]).toContain(name)
  })

  it('an action without ignored variables has no warning', () => {
    expect(get([], { INPUT_REPORT: 'input', IMAGE_PROMOTE_JOBS: '', IMAGE_PROMOTE_CA_DIR: '/x' }).warnings).toEqual([])
  })

  it('a command line does not read INPUT_ variables', () => {
    const { raw, warnings } = get(['--jobs', '3'], { INPUT_REPORT: 'input', IMAGE_PROMOTE_RETRIES: '1' })
    expect(['jobs', 'retries', 'report'].map((name) => raw.get(name)?.value)).toEqual(['3', '1', undefined])
    expect(warnings).toEqual([])
  })

  it('reads GitHub inputs with hyphen before those with underscore', () => {
    expect(valueIn('dry-run', [], { 'INPUT_DRY-RUN': 'true', INPUT_DRY_RUN: 'false' })).toBe('true')
    expect(valueIn('dry-run', [], { 'INPUT_DRY-RUN': '', INPUT_DRY_RUN: 'true' })).toBe('true')
  })

  it('takes positionals before the variable, and joins them with --images', () => {
    const env = { IMAGE_PROMOTE_IMAGES: 'c:1' }
    expect(valueIn('images', ['--', 'a:1', '--jobs', 'b:1'], env)).toBe('a:1\n--jobs\nb:1')
    expect(valueIn('images', ['--images', 'a:1', '--', 'b:1'], env)).toBe('a:1\nb:1')
    expect(valueIn('images', ['--'], env)).toBe('c:1')
    expect(valueIn('images', ['--', ''], env)).toBe('c:1')
  })

  it('RUNNER_DEBUG=1 sets log-level to debug, although action.yml sets its default', () => {
    expect(valueIn('log-level', [], { RUNNER_DEBUG: '1', 'INPUT_LOG-LEVEL': 'info' })).toBe('debug')
    expect(valueIn('log-level', [], { RUNNER_DEBUG: '0' })).toBe('info')
  })
})

describe('flags', () => {
  it.each([
    [['--dry-run'], 'true'],
    [['--dry-run', '--jobs', '3'], 'true'],
    [['--dry-run', 'false'], 'false'],
    [['--dry-run=false'], 'false'],
    [['--dry-run', '--', 'true'], 'true'],
  ])('%j sets dry-run to %s', (argv, value) => {
    expect(valueIn('dry-run', argv)).toBe(value)
  })

  it.each([
    [['dev/a:1']],
    [['dev/a:1', '--dry-run']],
    [['--dry-run', 'dev/a:1']],
    [['--dry-run', 'true', 'dev/a:1', '--jobs', '3']],
    [['--jobs', '3', 'dev/a:1']],
    [['--jobs=3', '--', 'dev/a:1']],
    [['--include-foreign', 'dev/a:1']],
    [['--include-foreign', 'mcr.microsoft.com', 'dev/a:1']],
  ])('images may stand before, between and after options: %j', (argv) =>
    expect(valueIn('images', argv)).toBe('dev/a:1'),
  )

  it('keeps images in their order, before and after options and "--"', () => {
    expect(valueIn('images', ['a/b:1', '--dry-run', 'c/d:2=e/f', '--', '--x', 'g/h'])).toBe(
      'a/b:1\nc/d:2=e/f\n--x\ng/h',
    )
  })

  it('finds two images without "=", which other tools take for source and destination', () => {
    expect(get(['dev/a:1', 'prod/a:1']).suggestion).toContain('"dev/a:1=prod/a:1"')
    for (const argv of [['dev/a:1'], ['dev/a:1=b/c', 'prod/a:1'], ['a/b:1', 'c/d:1', 'e/f:1']])
      expect(get(argv)).toMatchObject({ suggestion: undefined })
  })

  it('takes everything after the first "=" as the value', () => {
    expect(valueIn('images', ['--images=dev/a:1=prod/a:1'])).toBe('dev/a:1=prod/a:1')
  })

  it('collects repeated lists and refuses other repetitions', () => {
    expect(valueIn('images', ['--images', 'a:1', '--images', 'b:1'])).toBe('a:1\nb:1')
    expect(get(['--jobs', '1', '--jobs', '2']).problems).toEqual(['--jobs: is given twice'])
    expect(get(['--report-file', 'a', '--report-file', 'b'], {}, { a: 'x' }).problems).toEqual([
      '--report-file: is given twice',
    ])
  })

  it.each([
    [['--jbos', '3'], '--jbos: unknown option; did you mean --jobs?'],
    [['--destination-pasword-file', 'x'], 'did you mean --destination-password-file?'],
    [['--no-referrers'], '--no-referrers: unknown option; write --referrers false'],
    [['--quite-another-thing'], '--quite-another-thing: unknown option; --help-all lists them'],
    [['--jobs'], '--jobs: needs a value, as in --jobs VALUE'],
    [['--jobs', '--dry-run'], '--jobs: needs a value'],
    [['--source-token-file'], '--source-token-file: needs the path of a file'],
    [['-x'], 'argument 1 is neither an option nor an image'],
    [['--dry-run', 'true', 'app'], 'argument 3 is neither an option nor an image'],
    [['--src-creds', 'me:hunter2'], '--src-creds: unknown option; use --source-username with --source-password-file'],
    [
      ['--dest-tls-verify=false'],
      'use --destination-insecure-skip-tls-verify, or http://HOST as --destination-registry',
    ],
    [['--authfile', 'x'], 'use --(source|destination)-auth-file'],
    [['--all'], '--all: unknown option; all platforms are copied without it'],
    [['-a'], '-a: all platforms are copied without it'],
    [['-f', 'dev/app:1'], '-f: use --image-list'],
    [['--insecure'], '--insecure: unknown option; use --(source|destination)-insecure-skip-tls-verify'],
    [['--retry-times', '3'], '--retry-times: unknown option; use --retries'],
    [['copy', 'dev/app:1=prod/app:1'], 'copy: leave it out: this program has no commands'],
    [['constructor', 'dev/app:1'], 'argument 1 is neither an option nor an image'],
    [['--oops-file', 'x'], '--oops-file: unknown option'],
    [['--report-file', 'absent'], '--report-file: cannot be read: no such file or folder'],
  ])('%j is a problem', (argv, problem) => {
    const { problems } = get(argv)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toContain(problem)
  })

  it.each([
    [['--source-password', 'hunter2']],
    [['--source-password=hunter2']],
    [['--destination-token', 'hunter2']],
    [['--destination-token=hunter2']],
    [['--source-pasword', 'hunter2']],
    [['--source-pasword=hunter2']],
    [['hunter2']],
  ])('%j is refused, and its value is not quoted', (argv) => {
    const { raw, problems } = get(argv)
    expect(problems).toHaveLength(1)
    expect(JSON.stringify([problems, [...raw]])).not.toContain('hunter2')
  })

  it('says where a secret may come from', () => {
    const [problem] = get(['--source-password', 'hunter2']).problems
    expect(problem).toContain('--source-password-file PATH')
    expect(problem).toContain('IMAGE_PROMOTE_SOURCE_PASSWORD')
  })
})

describe('variables', () => {
  it.each([
    ['IMAGE_PROMOTE_JBOS', 'IMAGE_PROMOTE_JBOS: unknown variable; did you mean IMAGE_PROMOTE_JOBS?'],
    ['IMAGE_PROMOTE_SOURCE_REGISTRI', 'did you mean IMAGE_PROMOTE_SOURCE_REGISTRY?'],
    ['IMAGE_PROMOTE_QUITE_SOMETHING', 'unset it, or see --help'],
    ['IMAGE_PROMOTE_SOURCE_CA_DIR', 'unknown variable'],
  ])('%s is unknown', (name, problem) => {
    const { problems } = get([], { [name]: 'hunter2' })
    expect(problems).toHaveLength(1)
    expect(problems[0]).toContain(problem)
    expect(problems[0]).not.toContain('hunter2')
  })

  it.each([
    'IMAGE_PROMOTE_SOURCE_AUTH_DIR',
    'IMAGE_PROMOTE_DESTINATION_AUTH_DIR',
    'IMAGE_PROMOTE_CA_DIR',
    'IMAGE_PROMOTE_REPORT_DIR',
    'IMAGE_PROMOTE_RESULT_DIGEST',
    'INPUT_SOMETHING',
    'HOME',
  ])('%s is no problem', (name) => {
    expect(get([], { [name]: '/x' }).problems).toEqual([])
  })

  it.each([
    ['IMAGE_PROMOTE_SERVICE_HOST', '172.30.9.9'],
    ['IMAGE_PROMOTE_SERVICE_PORT_HTTPS_WEB', '8443'],
    ['IMAGE_PROMOTE_PORT', 'tcp://172.30.9.9:8080'],
    ['IMAGE_PROMOTE_PORT_53_UDP_ADDR', 'fd02::9'],
    ['IMAGE_PROMOTE_REPORTS_SERVICE_HOST', '172.30.9.9'],
    ['IMAGE_PROMOTE_REPORTS_PORT', 'sctp://[fd02::9]:80'],
    ['IMAGE_PROMOTE_REPORTS_PORT_8080_SCTP', 'sctp://[fd02::9]:80'],
  ])('%s is a variable of a Kubernetes Service', (name, value) => {
    expect(get([], { [name]: value })).toMatchObject({ problems: [] })
  })

  it.each([
    ['IMAGE_PROMOTE_SOURCE_PORT', '8080'],
    ['IMAGE_PROMOTE_RE_PORT', 'report.json'],
    ['IMAGE_PROMOTE_SERVICE_ACCOUNT', 'a/b'],
  ])('%s is not', (name, value) => {
    expect(get([], { [name]: value }).problems).toEqual([expect.stringContaining('unknown variable')])
  })

  it('an empty unknown variable is not a problem: it counts as unset', () => {
    expect(get([], { IMAGE_PROMOTE_OLD_NAME: '' }).problems).toEqual([])
  })

  it('knows a variable and its file for every option', () => {
    for (const { name } of OPTIONS) {
      expect(valueIn(name, [], { [`IMAGE_PROMOTE_${variableName(name)}`]: 'x' })).toBe('x')
      expect(valueIn(name, [], { [`IMAGE_PROMOTE_${variableName(name)}_FILE`]: 'f' }, { f: 'x\n' })).toBe('x')
    }
  })

  it('reads source-auth-file as the option, not as the file of a source-auth', () => {
    expect(valueIn('source-auth-file', [], { IMAGE_PROMOTE_SOURCE_AUTH_FILE: '/auth.json' })).toBe('/auth.json')
    expect(valueIn('source-auth-file', ['--source-auth-file', '/auth.json'])).toBe('/auth.json')
  })
})

describe('secrets', () => {
  it.each([
    ['p w \n', 'p w '],
    ['pw\r\n', 'pw'],
    ['\ufeffpw', 'pw'],
    [' pw', ' pw'],
    ['a\nb\n', 'a\nb'],
  ])('a file with %j holds %j', (text, secret) => {
    expect(valueIn('source-password', ['--source-password-file', 'f'], {}, { f: text })).toBe(secret)
  })

  it('keeps the blanks of a password and drops those around other values', () => {
    expect(valueIn('source-password', [], { IMAGE_PROMOTE_SOURCE_PASSWORD: ' pw ' })).toBe(' pw ')
    expect(valueIn('report', [], { IMAGE_PROMOTE_REPORT: ' r.json \n' })).toBe('r.json')
  })

  it('names the file in the origin, not the value', () => {
    const { raw } = get(['--source-password-file', 'f'], {}, { f: 'hunter2' })
    expect(raw.get('source-password')?.from).toBe('--source-password-file (f)')
  })
})
