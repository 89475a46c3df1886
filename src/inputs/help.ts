import { VERSION } from '../core/version.ts'
import { OPTIONS, type Option, onArgv } from './options.ts'

const WIDTH = 80
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

const START: readonly string[] = [
  'From one cluster to another:',
  '  image-promote --source-cluster https://api.test.example.com:6443 \\',
  '    --source-username ci --source-password-file test-password \\',
  '    --destination-cluster https://api.prod.example.com:6443 \\',
  '    --destination-token-file prod-token dev/app:1.2=prod/app:1.2',
  'From one registry to another, to see what would be done:',
  '  image-promote --dry-run --source-registry quay.io \\',
  '    --destination-registry registry.example.com team/app:1.2',
  'Back to what was there before a promotion that wrote a report:',
  '  image-promote --rollback report.json \\',
  '    --destination-registry registry.example.com',
  '',
  'Usage: image-promote [OPTIONS] SRC[=DST] ...   (here: node dist/index.js)',
]

const FOOT: readonly string[] = [
  'Sources of a value, first one wins: --NAME VALUE, --NAME-file PATH (- is stdin),',
  'IMAGE_PROMOTE_NAME, IMAGE_PROMOTE_NAME_FILE. Passwords and tokens come from a',
  'file or the environment only. Exit codes: 0 done, 1 all failed, 2 wrong usage,',
  '3 some images failed, 130 and 143 cancelled.',
]

const FEW = ['image-list', 'source-auth-file', 'source-ca', 'dry-run', 'overwrite', 'atomic', 'report']

/** What `--help`, `--help-all`, `--version` before `--`, and `completion SHELL` print, whatever else there is. */
export function answerTo(argv: readonly string[]): string | undefined {
  const end = argv.indexOf('--')
  const options = end === -1 ? argv : argv.slice(0, end)
  if (options.includes('--help-all')) return helpText(VERSION)
  if (options.some((option) => option === '--help' || option === '-h')) return shortHelp(VERSION)
  if (options.includes('--version')) return `image-promote ${VERSION}`
  return options[0] === 'completion' && options.length === 2 ? completion(options[1]) : undefined
}

function shortHelp(version: string): string {
  const few = OPTIONS.filter(({ name }) => FEW.includes(name))
  const more = 'All options: --help-all. Completion: completion bash, zsh or fish.'
  return [title(version), '', ...START, ...few.flatMap(describe), '', more].join('\n')
}

/** All options: at most 80 columns and 100 lines. */
export function helpText(version: string): string {
  const rows = OPTIONS.filter((option) => option.hosts.includes('plain'))
  const ofGroup = (group: Option['group']) => rows.filter((option) => option.group === group)
  const section = (title: string, group: Option['group']) => [title, ...ofGroup(group).flatMap(describe)]
  const names = (group: Option['group']) => {
    const all = ofGroup(group).map((option) => `--${option.name}${onArgv(option) ? '' : '-file'}`)
    return wrap(all.join(', '), WIDTH - 2).map((line) => `  ${line}`)
  }
  return [
    title(version),
    '',
    ...START,
    ...section('What:', 'what'),
    ...section('Source:', 'source'),
    'Destination, each as for the source:',
    ...names('destination'),
    'Who signed what is promoted, and who promoted it (see docs/policy.md):',
    ...names('trust'),
    ...section('Behaviour:', 'behaviour'),
    ...section('Output:', 'output'),
    '  --help, --help-all, --version, completion bash|zsh|fish',
    '',
    ...FOOT,
  ].join('\n')
}

const title = (version: string) => `image-promote ${version} copies images from registry to registry, byte for byte.`

/** A script for the shell, which reads it as in: source <(image-promote completion bash) */
function completion(shell: string | undefined): string | undefined {
  const names = OPTIONS.filter(({ hosts }) => hosts.includes('plain')).map((option) =>
    onArgv(option) ? option.name : `${option.name}-file`,
  )
  const words = [...names, 'help', 'help-all', 'version'].map((name) => `--${name}`).join(' ')
  if (shell === 'bash')
    return `_image_promote() { mapfile -t COMPREPLY < <(compgen -W "${words}" -- "$2"); }\ncomplete -o default -F _image_promote image-promote`
  if (shell === 'zsh')
    return `#compdef image-promote\n_image_promote() { compadd -- ${words}; _files; }\ncompdef _image_promote image-promote`
  if (shell !== 'fish') return undefined
  return words.replace(/--(\S+) ?/g, 'complete -c image-promote -l $1\n').trimEnd()
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
