import { VERSION } from '../core/version.ts'
import { OPTIONS, type Option, onArgv } from './options.ts'

const WIDTH = 80
/** Where meanings begin. */
const COLUMN = 28

const PLACEHOLDERS: Readonly<Record<Option['type'], string>> = {
  string: 'TEXT',
  boolean: '',
  integer: 'N',
  list: 'LIST',
  secret: '-file PATH',
  path: 'PATH',
  enum: 'WORD',
  url: 'URL',
}

const FOOT: readonly string[] = [
  'Sources of a value, first one wins: --NAME VALUE, --NAME-file PATH,',
  'IMAGE_PROMOTE_NAME, IMAGE_PROMOTE_NAME_FILE. Passwords and tokens come from a',
  'file or the environment only. Exit codes: 0 done, 1 all failed, 2 wrong usage,',
  '3 some images failed, 130 and 143 cancelled.',
  'Example:',
  '  image-promote --source-cluster https://api.test.example.com:6443 \\',
  '    --source-username ci --source-password-file test-password \\',
  '    --destination-cluster https://api.prod.example.com:6443 \\',
  '    --destination-token-file prod-token -- dev/app:1.2=prod/app:1.2',
]

/** What `--help` and `--version` before `--` print, whatever else there is. */
export function answerTo(argv: readonly string[]): string | undefined {
  const end = argv.indexOf('--')
  const options = end === -1 ? argv : argv.slice(0, end)
  if (options.some((option) => option === '--help' || option === '-h')) return helpText(VERSION)
  return options.includes('--version') ? `image-promote ${VERSION}` : undefined
}

/** `--help` of the plain host: at most 80 columns and 70 lines. */
export function helpText(version: string): string {
  const rows = OPTIONS.filter((option) => option.hosts.includes('plain'))
  const ofGroup = (group: Option['group']) => rows.filter((option) => option.group === group)
  const section = (title: string, group: Option['group']) => [title, ...ofGroup(group).flatMap(describe)]
  const names = (group: Option['group']) => {
    const all = ofGroup(group).map((option) => `--${option.name}${onArgv(option) ? '' : '-file'}`)
    return wrap(all.join(', '), WIDTH - 2).map((line) => `  ${line}`)
  }
  return [
    `image-promote ${version} copies images from registry to registry, byte for byte.`,
    '',
    'Usage: image-promote [OPTIONS] -- SRC[=DST] ...   (here: node dist/index.js)',
    '',
    ...section('What:', 'what'),
    ...section('Source:', 'source'),
    'Destination, each as for the source:',
    ...names('destination'),
    'Who signed what is promoted (README.md, docs/policy.md):',
    ...names('trust'),
    ...section('Behaviour:', 'behaviour'),
    ...section('Output:', 'output'),
    '  --help, --version',
    '',
    ...FOOT,
  ].join('\n')
}

function describe(option: Option): string[] {
  const { name, type, meaning } = option
  const head = `  --${name}${type === 'secret' ? '' : ' '}${PLACEHOLDERS[type]}`.trimEnd()
  const preset = option.default === undefined || option.default === 'false' ? '' : ` [${option.default}]`
  const lines = wrap(`${meaning}${preset}`, WIDTH - COLUMN)
  const body = lines.map((line) => `${' '.repeat(COLUMN)}${line}`)
  return head.length < COLUMN ? [head.padEnd(COLUMN) + lines[0], ...body.slice(1)] : [head, ...body]
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}
