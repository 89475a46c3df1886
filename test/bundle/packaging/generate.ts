import { parse, stringify } from 'yaml'
import { type Group, OPTIONS, type Option, variableName } from '../../../src/inputs/options.ts'

/**
 * The parts of action.yml, the Tekton Task and docs/options.md that say what the options are. `main.ts` writes them between
 * the markers in those files; `packaging.test.ts` fails when a file differs.
 */
export type Generated = Readonly<{ file: string; part: string; lines: readonly string[] }>

export const TASK = 'tekton/task/image-promote/image-promote.yaml'

export function generatedParts(): readonly Generated[] {
  const onGithub = OPTIONS.filter((option) => option.hosts.includes('github'))
  const onTekton = OPTIONS.filter((option) => option.hosts.includes('tekton') && option.type !== 'secret')
  return [
    { file: 'action.yml', part: 'inputs', lines: onGithub.flatMap(actionInput) },
    { file: TASK, part: 'params', lines: onTekton.flatMap(taskParam) },
    { file: TASK, part: 'env', lines: onTekton.filter((option) => option.name !== 'images').flatMap(taskVariable) },
    { file: 'docs/options.md', part: 'options', lines: optionTables() },
  ]
}

export const STEP_ACTION = 'tekton/stepaction/image-promote/image-promote.yaml'

/**
 * The StepAction, made from the text of the Task. It has no workspaces and no volume of its own: folders are params, and
 * its results are those of the step.
 */
export function stepAction(task: string): string {
  const { metadata, spec } = parse(task)
  const [step] = spec.steps
  const folders = spec.workspaces.map(({ name, description }: { name: string; description: string }) => ({
    name: `${name}-dir`,
    type: 'string',
    description: `Folder, of a workspace for instance. ${description}`,
    default: '',
  }))
  const env = step.env.map(({ name, value, valueFrom }: { name: string; value: string; valueFrom?: object }) => ({
    name,
    // Tekton gives every step this folder, which anybody may write.
    ...(valueFrom ? { valueFrom } : { value: name === 'HOME' ? '/tekton/home' : forStepAction(value) }),
  }))
  const document = {
    apiVersion: 'tekton.dev/v1beta1',
    kind: 'StepAction',
    metadata,
    spec: {
      description: spec.description.replace('from the workspaces alone', 'from the files in two folders alone'),
      params: [...spec.params, ...folders],
      results: spec.results,
      image: step.image,
      command: step.command,
      args: step.args,
      env,
      securityContext: step.securityContext,
    },
  }
  return `# Generated from ${TASK}: node build/test/bundle/packaging/main.js\n${stringify(document, { lineWidth: 120 })}`
}

function forStepAction(value: string): string {
  return value
    .replace(/\$\(workspaces\.([\w-]+)\.path\)/g, '$(params.$1-dir)')
    .replace(/\$\(results\.(\w+)\.path\)/g, '$(step.results.$1.path)')
}

/** The text of a file with one part replaced; the markers are comments that name the part. */
export function withPart(text: string, { file, part, lines }: Generated): string {
  const rows = text.split('\n')
  const start = rows.findIndex((row) => row.includes(`generated ${part} from`))
  const end = rows.findIndex((row) => row.includes(`end of generated ${part}`))
  if (start < 0 || end < start) throw new Error(`${file} has no place for the generated ${part}`)
  return [...rows.slice(0, start + 1), ...lines, ...rows.slice(end)].join('\n')
}

function actionInput(option: Option): string[] {
  return [
    `  ${option.name}:`,
    `    description: ${quoted(option.meaning)}`,
    '    required: false',
    ...(option.default === undefined ? [] : [`    default: ${quoted(option.default)}`]),
  ]
}

/** Strings by env, the one array by args: Tekton expands arrays in args alone. */
function taskParam(option: Option): string[] {
  const array = option.name === 'images'
  return [
    `    - name: ${option.name}`,
    `      type: ${array ? 'array' : 'string'}`,
    `      description: ${quoted(option.meaning)}`,
    ...(array ? [] : [`      default: ${quoted(option.default ?? '')}`]),
  ]
}

function taskVariable({ name }: Option): string[] {
  return [`        - name: IMAGE_PROMOTE_${variableName(name)}`, `          value: $(params.${name})`]
}

const HEADINGS: Readonly<Record<Group, string>> = {
  what: 'What is promoted',
  source: 'Source',
  destination: 'Destination',
  trust: 'Who signed it, and where it may go ([policy](policy.md))',
  behaviour: 'Behaviour',
  output: 'Output',
}

function optionTables(): string[] {
  const groups = Object.keys(HEADINGS) as Group[]
  return groups.flatMap((group) => [
    '',
    `**${HEADINGS[group]}**`,
    '',
    ...table([['option', 'default', 'meaning'], ...OPTIONS.filter((option) => option.group === group).map(optionRow)]),
    ...(group === 'output' ? [''] : []),
  ])
}

function optionRow(option: Option): string[] {
  const marks = [
    ...(option.type === 'secret' ? ['secret'] : []),
    ...(option.range === undefined ? [] : [`${option.range[0]} to ${option.range[1]}`]),
    ...(option.hosts.length === 3 ? [] : [`${option.hosts.map((host) => HOST_NAMES[host]).join(' and ')} only`]),
  ]
  const name = `\`${option.name}\`${marks.length === 0 ? '' : ` (${marks.join(', ')})`}`
  return [name, option.default === undefined ? '' : `\`${option.default}\``, option.meaning.replaceAll('|', '\\|')]
}

const HOST_NAMES = { github: 'GitHub', tekton: 'Tekton', plain: 'command line' } as const

/** A YAML string in double quotes; the meanings have nothing in them that JSON escapes otherwise. */
function quoted(text: string): string {
  return JSON.stringify(text)
}

/** A Markdown table with columns of even width, as the formatter writes it. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (cells: readonly string[], fill: string) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0, fill)).join(' | ')} |`
  const [head = [], ...body] = rows
  return [
    line(head, ' '),
    line(
      head.map(() => '-'),
      '-',
    ),
    ...body.map((row) => line(row, ' ')),
  ]
}
