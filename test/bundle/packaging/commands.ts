import { OPTIONS, variableName } from '../../../src/inputs/options.ts'

/** What documents and samples say about options, compared with the table. */
const NAMES = new Set(OPTIONS.map((option) => option.name))
const FLAGS = new Set([
  'help',
  'help-all',
  'version',
  ...OPTIONS.filter((option) => option.type !== 'secret' && option.hosts.includes('plain')).map(
    (option) => option.name,
  ),
  ...OPTIONS.filter((option) => option.hosts.includes('plain')).map((option) => `${option.name}-file`),
])
const VARIABLES = new Set([
  ...OPTIONS.flatMap(({ name }) => [variableName(name), variableName(`${name}-file`)]),
  // What the Task hands over, and a switch of the tests.
  ...['SOURCE_AUTH_DIR', 'DESTINATION_AUTH_DIR', 'CA_DIR', 'REPORT_DIR', 'SIGN_DIR', 'RUN_ID', 'TASK_RUN', 'NAMESPACE'],
  ...['DIGEST', 'IMAGES', 'PROMOTED', 'REPORT'].map((result) => `RESULT_${result}`),
  'SEEDS',
  // What documents call a variable of any name.
  ...['NAME', 'NAME_FILE'],
])

export type Block = Readonly<{ language: string; text: string }>

/** The fenced blocks of a Markdown document. */
export function codeBlocks(markdown: string): Block[] {
  return [...markdown.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map(([, language = '', text = '']) => ({
    language,
    text,
  }))
}

/** What follows the program: by its file, its name, or what a starter calls it by. */
const CALL =
  /(?:index\.js|(?:^|[\s$])image-promote(?=\s+-)|\b(?:npx|podman run|docker run) .*image-promote\S*(?=\s+-))(.*)$/

/** Unknown flags in calls of this program; calls of other programs are not looked at. */
export function flagProblems(text: string): string[] {
  const calls = text
    .replace(/\\\n\s*/g, ' ')
    .split('\n')
    .map((line) => CALL.exec(line)?.[1])
    .filter((call) => call !== undefined)
  return calls.flatMap((call) => {
    const options = call.split(/\s--(?:\s|$)/)[0] ?? ''
    const names = [...options.matchAll(/\s--([a-z][a-z-]*)/g)].map((match) => match[1] ?? '')
    return names.filter((name) => !FLAGS.has(name)).map((name) => `--${name} is not an option`)
  })
}

/** Unknown `IMAGE_PROMOTE_…` names, wherever they stand. */
export function variableProblems(text: string): string[] {
  const names = [...text.matchAll(/\bIMAGE_PROMOTE_([A-Z0-9_]+)/g)].map((match) => match[1] ?? '')
  return [...new Set(names)]
    .filter((name) => !VARIABLES.has(name))
    .map((name) => `IMAGE_PROMOTE_${name} is no variable`)
}

/** Keys under `with:` of steps that use this action, anywhere in a parsed document. */
export function inputProblems(document: unknown): string[] {
  if (typeof document !== 'object' || document === null) return []
  const { uses, with: inputs } = document as { uses?: unknown; with?: object }
  const own = typeof uses === 'string' && /(?:^|\/)image-promote(?:@|$)|^\.\/$/.test(uses)
  const unknown = own ? Object.keys(inputs ?? {}).filter((name) => !isInput(name)) : []
  return [...unknown.map((name) => `input ${name} is not an option`), ...Object.values(document).flatMap(inputProblems)]
}

function isInput(name: string): boolean {
  return NAMES.has(name) && OPTIONS.some((option) => option.name === name && option.hosts.includes('github'))
}
