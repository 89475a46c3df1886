import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { parse, parseAllDocuments } from 'yaml'
import { helpText } from '../src/inputs/help.ts'
import { OPTIONS, variableName } from '../src/inputs/options.ts'
import { VERSION } from '../src/version.ts'
import { codeBlocks, flagProblems, inputProblems, variableProblems } from './packaging/commands.ts'
import { generatedParts, withPart } from './packaging/generate.ts'
import { type Named, structureProblems, type Task, taskProblems } from './packaging/tekton.ts'

// Runs from build/test.
const ROOT = join(import.meta.dirname, '..', '..')
const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')
const documents = (text: string) =>
  parseAllDocuments(text).map((document) => {
    expect(document.errors).toEqual([])
    return document.toJS()
  })
const filesIn = (folder: string) => readdirSync(join(ROOT, folder)).map((name) => `${folder}/${name}`)

const action = parse(read('action.yml'))
const task = parse(read('tekton/image-promote.yaml')) as Task
const RESULTS = ['digest', 'images', 'promoted', 'report']

describe('the options table, and what is made from it', () => {
  test.each(generatedParts().map((part) => [part.file, part.part, part] as const))(
    '%s: %s as `node build/test/packaging/main.js` writes them',
    (file, _, part) => {
      const text = read(file)
      expect(text).toBe(withPart(text, part))
      expect(part.lines.length).toBeGreaterThan(10)
    },
  )

  test('a file without markers is an error, not a file without options', () => {
    expect(() => withPart('inputs:\n', { file: 'x.yml', part: 'inputs', lines: [] })).toThrow('no place')
  })

  test('action.yml has an input for every option of GitHub, with its default, and no other', () => {
    const options = OPTIONS.filter((option) => option.hosts.includes('github'))
    expect(Object.keys(action.inputs)).toEqual(options.map((option) => option.name))
    expect(options.map(({ name }) => action.inputs[name].default)).toEqual(options.map((option) => option.default))
  })

  test('the Task has a param for every option of Tekton but the secrets, and the image of its step', () => {
    const options = OPTIONS.filter((option) => option.hosts.includes('tekton') && option.type !== 'secret')
    expect(task.spec.params?.map(({ name }) => name)).toEqual(['image', ...options.map((option) => option.name)])
  })

  test('no param and no variable of the Task is named after a secret', () => {
    const secrets = OPTIONS.filter((option) => option.type === 'secret').map((option) => option.name)
    expect(secrets.length).toBeGreaterThan(0)
    expect(task.spec.params?.filter(({ name }) => secrets.includes(name))).toEqual([])
    expect(secrets.filter((name) => read('tekton/image-promote.yaml').includes(variableName(name)))).toEqual([])
  })

  test('--help names every option of the command line', () => {
    const help = helpText(VERSION)
    const missing = OPTIONS.filter((option) => option.hosts.includes('plain')).filter(
      ({ name }) => !help.includes(name),
    )
    // Both sides have the same options: help may say `--source-…` and `--destination-…` once.
    expect(missing.filter(({ name }) => !help.includes(name.replace(/^(?:source|destination)-/, '')))).toEqual([])
    expect(flagProblems(help)).toEqual([])
  })
})

describe('action.yml', () => {
  test('has the keys that the runner knows, runs on Node 24, and its main file is there', () => {
    expect(Object.keys(action).sort()).toEqual([
      'author',
      'branding',
      'description',
      'inputs',
      'name',
      'outputs',
      'runs',
    ])
    expect(action.runs).toEqual({ using: 'node24', main: 'dist/index.js' })
  })

  test('has the four outputs, described', () => {
    expect(Object.keys(action.outputs)).toEqual(RESULTS)
    for (const output of Object.values(action.outputs))
      expect(output).toEqual({ description: expect.stringMatching(/\w/) })
  })

  test('input names are lower case with hyphens', () => {
    for (const name of Object.keys(action.inputs)) expect(name).toMatch(/^[a-z]+(?:-[a-z]+)*$/)
  })
})

describe('the Tekton Task', () => {
  test('has a structure that the API server accepts', () => expect(structureProblems(task)).toEqual([]))

  test('keeps the rules of the validating webhook', () => expect(taskProblems(task)).toEqual([]))

  test('has string results of the outputs’ names, and hands over a path for each', () => {
    expect(task.spec.results?.map(({ name, type }) => [name, type])).toEqual(RESULTS.map((name) => [name, 'string']))
    const env = task.spec.steps[0]?.env ?? []
    for (const name of RESULTS)
      expect(env).toContainEqual({
        name: `IMAGE_PROMOTE_RESULT_${variableName(name)}`,
        value: `$(results.${name}.path)`,
      })
  })

  test('has optional workspaces for credentials, CA and report, and hands over their paths', () => {
    const workspaces = {
      'source-auth': 'SOURCE_AUTH_DIR',
      'destination-auth': 'DESTINATION_AUTH_DIR',
      ca: 'CA_DIR',
      report: 'REPORT_DIR',
    }
    expect(task.spec.workspaces?.map(({ name, optional }) => [name, optional])).toEqual(
      Object.keys(workspaces).map((name) => [name, true]),
    )
    for (const [name, variable] of Object.entries(workspaces))
      expect(task.spec.steps[0]?.env).toContainEqual({
        name: `IMAGE_PROMOTE_${variable}`,
        value: `$(workspaces.${name}.path)`,
      })
  })

  test('is admitted by restricted-v2: no fixed user, no root, nothing but /tmp to write', () => {
    expect(JSON.stringify(task)).not.toContain('runAsUser')
    expect(task.spec.steps[0]).toMatchObject({
      securityContext: { allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: { drop: ['ALL'] } },
      volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }],
    })
  })

  const edited = (from: string, to: string) => {
    const before = read('tekton/image-promote.yaml')
    expect(before).toContain(from)
    return parse(before.replace(from, to)) as Task
  }

  test.each([
    ['resources instead of computeResources', 'computeResources:', 'resources:'],
    ['readonly instead of readOnly', 'readOnly: true', 'readonly: true'],
    ['a script', 'command: [node', 'script: [node'],
    ['a fixed user', 'runAsNonRoot: true', 'runAsUser: 0'],
    ['no command', 'command: [node, /opt/image-promote/index.js]', 'workingDir: /tmp'],
    ['a step name in capitals', '- name: promote\n', '- name: Promote\n'],
    ['an old version of the API', 'tekton.dev/v1\n', 'tekton.dev/v1beta1\n'],
  ])('the schema refuses %s', (_, from, to) => expect(structureProblems(edited(from, to))).not.toEqual([]))

  const ARGS = 'args: ["--", "$(params.images[*])"]'
  test.each([
    ['a param that is not declared', '$(params.image)', '$(params.nothing)', '$(params.nothing) is not declared'],
    [
      'an array inside of a text',
      ARGS,
      "args: ['x $(params.images[*])']",
      'x $(params.images[*]) does not stand alone in args',
    ],
    [
      'an array in env',
      'value: $(params.jobs)',
      "value: '$(params.images[*])'",
      '$(params.images[*]) does not stand alone in args',
    ],
    ['a name that is there twice', '- name: jobs', '- name: IMAGES', 'param IMAGES is there twice'],
    [
      'a volume that is not declared',
      '- name: tmp\n      emptyDir',
      '- name: temp\n      emptyDir',
      'volume tmp is not declared',
    ],
    ['a path that is mounted twice', '/var/run/image-promote/ca', '/tmp', '/tmp is mounted twice'],
  ])('the rules refuse %s', (_, from, to, problem) => expect(taskProblems(edited(from, to))).toContain(problem))
})

describe('the samples', () => {
  test.each(filesIn('tekton/samples'))('%s: every document has a valid structure, and knows the Task', (file) => {
    const found = documents(read(file))
    expect(found.length).toBeGreaterThan(0)
    expect(found.flatMap(structureProblems)).toEqual([])
    expect(found.flatMap(taskUses).length).toBeGreaterThan(0)
    for (const use of found.flatMap(taskUses)) expectUseOfTask(use)
  })

  test('docs/samples/github-workflow.yml passes inputs that exist and starts with no permissions', () => {
    const [workflow] = documents(read('docs/samples/github-workflow.yml'))
    expect(inputProblems(workflow)).toEqual([])
    expect(JSON.stringify(workflow)).toContain('/image-promote@')
    expect(workflow.permissions).toEqual({})
  })

  test('an input that does not exist is found', () => {
    expect(inputProblems({ jobs: [{ uses: 'OWNER/image-promote@v1', with: { imagse: 'x' } }] })).toEqual([
      'input imagse is no option',
    ])
  })

  test('docs/samples/gitlab-ci.yml has jobs with scripts of known flags', () => {
    const [pipeline] = documents(read('docs/samples/gitlab-ci.yml'))
    const scripts = Object.values(pipeline as Record<string, { script?: string[] }>).flatMap((job) => job.script ?? [])
    expect(scripts.length).toBe(2)
    for (const script of scripts) expectShell(script)
  })

  test('docs/samples/Jenkinsfile: braces balance, and the shell parts are shell with known flags', () => {
    const text = read('docs/samples/Jenkinsfile')
    expect(unbalanced(text)).toBe('')
    const parts = [...text.matchAll(/\bsh\s+(?:'''([\s\S]*?)'''|'([^'\n]*)')/g)].map(
      (match) => match[1] ?? match[2] ?? '',
    )
    expect(parts).toHaveLength((text.match(/\bsh\s+['"]/g) ?? []).length)
    for (const part of parts) expectShell(part)
  })

  test('docs/samples/promote.sh is shell with known flags', () => expectShell(read('docs/samples/promote.sh')))

  test.each([...filesIn('docs/samples'), ...filesIn('tekton/samples')])(
    '%s names only variables that exist',
    (file) => {
      expect(variableProblems(read(file))).toEqual([])
    },
  )
})

const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  ...filesIn('docs').filter((file) => file.endsWith('.md')),
]

describe.each(PAGES)('%s', (page) => {
  const text = read(page)

  test('names flags, variables and inputs that exist', () => {
    const blocks = codeBlocks(text)
    expect(text.match(/^```/gm)?.length ?? 0).toBe(blocks.length * 2)
    expect(blocks.flatMap((block) => flagProblems(block.text))).toEqual([])
    expect(variableProblems(text)).toEqual([])
    const yaml = blocks.filter((block) => block.language === 'yaml').flatMap((block) => documents(block.text))
    expect(yaml.flatMap(inputProblems)).toEqual([])
    for (const use of yaml.flatMap(taskUses)) expectUseOfTask(use)
  })

  test('shell blocks are shell', () => {
    for (const block of codeBlocks(text).filter(({ language }) => language === 'sh')) expectShell(block.text)
  })

  test('links to files that are there', () => {
    const links = [...text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map((match) => match[1] ?? '')
    expect(links.filter((link) => !existsSync(join(ROOT, dirname(page), link)))).toEqual([])
  })
})

test('the checks of pages find what is wrong', () => {
  expect(flagProblems('node dist/index.js --imagse x --dry-run -- --not-looked-at')).toEqual(['--imagse is no option'])
  expect(flagProblems('image-promote \\\n  --source-token secret')).toEqual(['--source-token is no option'])
  expect(flagProblems('git clone --depth 1 https://github.com/OWNER/image-promote.git')).toEqual([])
  expect(variableProblems('IMAGE_PROMOTE_IMAGSE=x')).toEqual(['IMAGE_PROMOTE_IMAGSE is no variable'])
})

test('docs/troubleshooting.md has a section for every error code, and none for a code that does not exist', () => {
  const declared = [...read('src/errors.ts').matchAll(/^ {2}\| '([A-Z_]+)'/gm)].map((match) => match[1] ?? '')
  const sections = [...read('docs/troubleshooting.md').matchAll(/^### `([A-Z_]+)`/gm)].map((match) => match[1] ?? '')
  expect(declared.length).toBeGreaterThan(20)
  expect(sections.sort()).toEqual(declared.sort())
})

describe('the workflows', () => {
  test.each(filesIn('.github/workflows'))('%s: no permissions by default, actions pinned by commit', (file) => {
    const [workflow] = documents(read(file))
    expect(workflow.permissions).toEqual({})
    for (const job of Object.values(workflow.jobs) as { permissions?: object }[]) expect(job.permissions).toBeDefined()
    const uses = [...read(file).matchAll(/uses: (.*)/g)]
      .map((match) => match[1] ?? '')
      .filter((each) => !each.startsWith('./'))
    for (const each of uses) expect(each).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
  })
})

test('.ci/run is executable Bash', () => {
  if (!hasProgram('bash')) return
  expect(spawnSync('bash', ['-n', join(ROOT, '.ci', 'run')], { encoding: 'utf8' }).stderr).toBe('')
  if (process.platform !== 'win32') expect(statSync(join(ROOT, '.ci', 'run')).mode & 0o111).not.toBe(0)
})

type Use = Readonly<{ params: readonly Named[]; workspaces: readonly Named[] }>

/** Places that run the Task, in TaskRuns and Pipelines. */
function taskUses(document: unknown): Use[] {
  if (typeof document !== 'object' || document === null) return []
  const { taskRef, params = [], workspaces = [] } = document as Partial<Use> & { taskRef?: { name?: string } }
  const own = taskRef?.name === 'image-promote' ? [{ params, workspaces }] : []
  return [...own, ...Object.values(document).flatMap(taskUses)]
}

function expectUseOfTask({ params, workspaces }: Use): void {
  const names = (named: readonly Named[] | undefined) => (named ?? []).map(({ name }) => name)
  expect(names(task.spec.params)).toEqual(expect.arrayContaining(names(params)))
  expect(names(task.spec.workspaces)).toEqual(expect.arrayContaining(names(workspaces)))
  expect(names(params)).toContain('images')
}

function expectShell(script: string): void {
  expect(flagProblems(script)).toEqual([])
  expect(variableProblems(script)).toEqual([])
  if (!hasProgram('sh')) return
  expect(spawnSync('sh', ['-n'], { input: script, encoding: 'utf8' }).stderr).toBe('')
}

function hasProgram(name: string): boolean {
  try {
    execFileSync(name, ['-c', 'exit 0'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** The first bracket of Groovy text that has no partner, strings and comments left out. */
function unbalanced(text: string): string {
  const closing: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' }
  const bare = text.replace(/'''[\s\S]*?'''|'[^'\n]*'|"[^"\n]*"|\/\/.*/g, '')
  const open: string[] = []
  for (const [bracket] of bare.matchAll(/[()[\]{}]/g)) {
    const expected = closing[bracket]
    if (expected !== undefined) open.push(expected)
    else if (open.pop() !== bracket) return bracket
  }
  return open.join('')
}
