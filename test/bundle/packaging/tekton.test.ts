import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { parse } from 'yaml'
import { VERSION } from '../../../src/core/version.ts'
import { OPTIONS, variableName } from '../../../src/inputs/options.ts'
import { parsePolicy } from '../../../src/trust/policy-file.ts'
import { documents, filesIn, ROOT, read } from './files.ts'
import { STEP_ACTION, stepAction, TASK } from './generate.ts'
import {
  claimsBuild,
  type Named,
  pipelineProblems,
  type StepAction,
  stepActionProblems,
  structureProblems,
  type Task,
  taskProblems,
} from './tekton.ts'

const task = parse(read(TASK)) as Task
const action = parse(read(STEP_ACTION)) as StepAction
const RESULTS = ['digest', 'images', 'promoted', 'report']
const FOLDERS = ['source-auth', 'destination-auth', 'ca', 'sign', 'report']
const names = (named: readonly Named[] | undefined) => (named ?? []).map(({ name }) => name)

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
      sign: 'SIGN_DIR',
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
    const before = read(TASK)
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

/** What Artifact Hub knows: artifacthub/hub, docs/tekton_annotations.md and internal/tracker/source/tekton/tekton.go. */
const ARTIFACT_HUB = {
  categories: [
    'ai-machine-learning',
    'database',
    'integration-delivery',
    'monitoring-logging',
    'networking',
    'security',
    'storage',
    'streaming-messaging',
  ],
  annotations: [
    'alternativeName',
    'category',
    'changes',
    'license',
    'links',
    'maintainers',
    'provider',
    'recommendations',
    'screenshots',
  ],
}

test('no result makes Tekton Chains claim that the image was built here', () => {
  expect(RESULTS.filter(claimsBuild)).toEqual([])
  expect(['IMAGE_URL', 'APP_IMAGE_DIGEST', 'IMAGES', 'app-ARTIFACT_OUTPUTS'].every(claimsBuild)).toBe(true)
})

describe.each([
  ['Task', TASK],
  ['StepAction', STEP_ACTION],
])('%s', (_, file) => {
  const { metadata, spec } = parse(read(file))

  test('has the annotations of a catalog, and the version of the package in label and image', () => {
    expect(metadata.labels['app.kubernetes.io/version']).toBe(VERSION)
    expect(spec.params[0]).toMatchObject({ name: 'image', default: expect.stringMatching(`:${VERSION}$`) })
    const { annotations } = metadata
    for (const name of ['pipelines.minVersion', 'categories', 'tags', 'displayName', 'platforms', 'catalog-url'])
      expect(annotations[`tekton.dev/${name}`]).toMatch(/\w/)
  })

  test('has the annotations of Artifact Hub that it accepts, and shows pictures that are there', () => {
    const { annotations } = metadata
    expect(ARTIFACT_HUB.categories).toContain(annotations['artifacthub.io/category'])
    expect(annotations['artifacthub.io/license']).toBe('Apache-2.0')
    const names = Object.keys(annotations).flatMap((key) => /^artifacthub\.io\/(.*)/.exec(key)?.[1] ?? [])
    expect(names.filter((name) => !ARTIFACT_HUB.annotations.includes(name))).toEqual([])
    // The link to the source it adds itself, to the file of that version.
    const links = parse(annotations['artifacthub.io/links']) as { name: string; url: string }[]
    expect(links.map(({ name }) => name)).toEqual(['documentation', 'support'])
    const pictures = parse(annotations['artifacthub.io/screenshots']) as { title: string; url: string }[]
    for (const { title, url } of pictures) {
      const [, version, path = ''] = /\/image-promote\/v([\d.]+)\/(.*)$/.exec(url) ?? []
      expect([title, version, existsSync(join(ROOT, path))]).toEqual([expect.stringMatching(/\w/), VERSION, true])
    }
  })

  test('is what Artifact Hub finds from the root that is registered, where its metadata file lies', () => {
    const root = file.split('/').slice(0, 2).join('/')
    // NAME/NAME.yaml below it; the version is the tag, and the label has to say the same.
    expect(file).toBe(`${root}/${metadata.name}/${metadata.name}.yaml`)
    expect(spec.description).toMatch(/\w/)
    const text = read(`${root}/artifacthub-repo.yml`)
    expect(text).toContain(`https://github.com/OWNER/image-promote/${root},`)
    const about = parse(text)
    expect(Object.keys(about).filter((key) => !['repositoryID', 'owners', 'ignore'].includes(key))).toEqual([])
    expect(about.repositoryID).toMatch(/^(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?$/)
  })

  test('lies beside its README and samples in a folder of its name, as catalogs want it', () => {
    const folder = file.slice(0, file.lastIndexOf('/'))
    expect(file).toBe(`${folder}/${metadata.name}.yaml`)
    expect(filesIn(folder)).toContain(`${folder}/README.md`)
    expect(filesIn(`${folder}/samples`).length).toBeGreaterThan(0)
  })
})

describe('the StepAction', () => {
  test('is what the generator makes of the Task', () => expect(read(STEP_ACTION)).toBe(stepAction(read(TASK))))

  test('has a structure that the API server accepts, and keeps the rules of its webhook', () => {
    expect(structureProblems(action)).toEqual([])
    expect(stepActionProblems(action)).toEqual([])
  })

  test('takes folders by params, has no volume and no workspace, and never needs a root file system', () => {
    expect(names(action.spec.params)).toEqual([...names(task.spec.params), ...FOLDERS.map((name) => `${name}-dir`)])
    expect(JSON.stringify(action)).not.toMatch(/volume|\$\(workspaces/)
    expect(action.spec.env).toContainEqual({ name: 'HOME', value: '/tekton/home' })
  })

  test('hands its step the same variables as the Task', () => {
    expect(action.spec.env?.map(({ name }) => name)).toEqual(task.spec.steps[0]?.env?.map(({ name }) => name))
    for (const name of RESULTS)
      expect(action.spec.env).toContainEqual({
        name: `IMAGE_PROMOTE_RESULT_${variableName(name)}`,
        value: `$(step.results.${name}.path)`,
      })
  })

  test.each([
    ['a result of the Task', '$(step.results.digest.path)', '$(results.digest.path)'],
    ['a workspace', '$(params.ca-dir)', '$(workspaces.ca.path)'],
    ['an array in env', '$(params.jobs)', '"$(params.images[*])"'],
  ])('the rules refuse %s', (_, from, to) => {
    const text = read(STEP_ACTION)
    expect(text).toContain(from)
    expect(stepActionProblems(parse(text.replace(from, to)))).toHaveLength(1)
  })
})

const SAMPLES = filesIn('tekton').filter((file) => file.includes('/samples/'))

describe.each(SAMPLES)('%s', (file) => {
  const found = documents(read(file))

  test('has documents of a valid structure, and uses Task or StepAction with params that exist', () => {
    expect(found.flatMap(structureProblems)).toEqual([])
    const uses = found.flatMap(usesIn)
    expect(uses.length).toBeGreaterThan(0)
    for (const use of uses) expectUse(use)
  })

  test('refers to nothing that is not there', () => {
    const of = (kind: string) => found.filter((document) => document.kind === kind)
    expect(of('Task').flatMap(taskProblems)).toEqual([])
    expect(of('Pipeline').flatMap(pipelineProblems)).toEqual([])
    for (const { spec } of of('PipelineRun')) {
      const pipeline = of('Pipeline').find(({ metadata }) => metadata.name === spec.pipelineRef.name)
      expect(names(spec.params)).toEqual(names(pipeline?.spec.params))
      expect(names(spec.workspaces)).toEqual(names(pipeline?.spec.workspaces))
    }
  })

  test('names itself in the command that starts it', () => expect(read(file)).toContain(`oc create -f ${file}`))
})

test('the samples show a build, an approval, a matrix and the service account pipeline', () => {
  const all = SAMPLES.map(read).join('\n')
  for (const part of ['IMAGE_DIGEST)', 'kind: ApprovalTask', 'matrix:', 'serviceAccountName: pipeline'])
    expect(all).toContain(part)
})

test.each([
  ['tekton/task/image-promote/samples/chains.yaml', ({ spec }: Sample) => named(spec?.params, 'policy')],
  ['docs/samples/github-attested.yml', ({ jobs }: Sample) => jobs?.promote?.steps.at(-1)?.with?.policy],
])('the policy in %s is one that is understood', (file, policyIn) => {
  const [document] = documents(read(file))
  const problems: string[] = []
  const policy = parsePolicy(
    policyIn(document) ?? '',
    () => '{}',
    (problem) => problems.push(problem),
  )
  expect(problems).toEqual([])
  expect(policy?.rules.flatMap(({ attested }) => attested.map(({ type }) => type))).toEqual(['slsa-provenance'])
})

type Sample = Readonly<{
  spec?: Readonly<{ params: readonly Given[] }>
  jobs?: Readonly<Record<string, Readonly<{ steps: readonly Readonly<{ with?: Readonly<Record<string, string>> }>[] }>>>
}>
const named = (all: readonly Given[] | undefined, name: string) =>
  all?.find((each) => each.name === name)?.value as string | undefined

describe('the checks of samples find', () => {
  const matrix = read('tekton/task/image-promote/samples/matrix.yaml')
  test.each([
    ['a param that is not declared', 'params.regions[*]', 'params.region[*]', '$(params.region[*]) is not declared'],
    ['a workspace that is not there', 'workspace: regions', 'workspace: region', 'workspace region is missing'],
  ])('%s', (_, from, to, problem) => {
    expect(matrix).toContain(from)
    expect(pipelineProblems(documents(matrix.replace(from, to))[0])).toContain(problem)
  })
})

type Given = Readonly<{ name: string; value?: unknown }>
type Use = Readonly<{
  of: Task | StepAction
  params: readonly Given[]
  matrix: readonly Given[]
  workspaces: readonly Given[]
}>

/** Places that run the Task or the StepAction. */
function usesIn(document: unknown): Use[] {
  if (typeof document !== 'object' || document === null) return []
  const {
    taskRef,
    ref,
    params = [],
    workspaces = [],
    matrix,
  } = document as Partial<Use> & {
    taskRef?: { name?: string }
    ref?: { name?: string }
    matrix?: { params?: readonly Given[] }
  }
  const of = ref?.name === 'image-promote' ? action : taskRef?.name === 'image-promote' ? task : undefined
  const own = of === undefined ? [] : [{ of, params, workspaces, matrix: matrix?.params ?? [] }]
  return [...own, ...Object.values(document).flatMap(usesIn)]
}

function expectUse({ of, params, matrix, workspaces }: Use): void {
  const declared = new Map((of.spec.params ?? []).map(({ name, type }) => [name, type]))
  for (const { name, value } of params)
    expect([name, Array.isArray(value) ? 'array' : 'string']).toEqual([name, declared.get(name)])
  // A matrix hands out strings.
  for (const { name } of matrix) expect([name, declared.get(name)]).toEqual([name, 'string'])
  expect(names(of.spec.workspaces)).toEqual(expect.arrayContaining(workspaces.map(({ name }) => name)))
  expect([...params, ...matrix].map(({ name }) => name)).toContain('images')
}

test('no param and no variable is named after a secret', () => {
  const secrets = OPTIONS.filter((option) => option.type === 'secret').map((option) => option.name)
  expect(secrets.length).toBeGreaterThan(0)
  for (const { spec } of [task, action]) expect(names(spec.params).filter((name) => secrets.includes(name))).toEqual([])
  for (const file of [TASK, STEP_ACTION])
    expect(secrets.filter((name) => read(file).includes(variableName(name)))).toEqual([])
})
