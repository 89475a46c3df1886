import { Ajv, type SchemaObject } from 'ajv'

/**
 * What the Task and the samples use of Tekton, closed to everything else: a misspelled key (`readonly`, `resources`) is
 * an error here, where a cluster would refuse it. Written after the CRDs of tektoncd/pipeline (config/300-crds) and
 * Kubernetes' core/v1.
 */
const text: SchemaObject = { type: 'string', minLength: 1 }
const texts = (): SchemaObject => ({ type: 'object', additionalProperties: { type: 'string' } })
const list = (items: SchemaObject): SchemaObject => ({ type: 'array', items, minItems: 1 })

function closed(properties: Record<string, SchemaObject>, required: string[] = []): SchemaObject {
  return { type: 'object', additionalProperties: false, properties, required }
}

const paramSpec = closed(
  { name: text, type: { enum: ['string', 'array'] }, description: text, default: { type: ['string', 'array'] } },
  ['name', 'type'],
)
const param = closed({ name: text, value: { type: ['string', 'array'] } }, ['name', 'value'])
const quantities = closed({ cpu: text, memory: text })
const securityContext = closed({
  allowPrivilegeEscalation: { const: false },
  readOnlyRootFilesystem: { const: true },
  runAsNonRoot: { const: true },
  capabilities: closed({ drop: { const: ['ALL'] } }, ['drop']),
  seccompProfile: closed({ type: { const: 'RuntimeDefault' } }, ['type']),
})
const variableName: SchemaObject = { type: 'string', pattern: '^[A-Z][A-Z0-9_]*$' }
const ofPod = closed({
  fieldRef: closed({ fieldPath: { type: 'string', pattern: "^metadata\\.(?:namespace|labels\\['[^']+'\\])$" } }),
})
const variable: SchemaObject = {
  anyOf: [
    closed({ name: variableName, value: { type: 'string' } }, ['name', 'value']),
    closed({ name: variableName, valueFrom: ofPod }, ['name', 'valueFrom']),
  ],
}
const result = closed({ name: text, type: { enum: ['string', 'array'] }, description: text, value: text }, [
  'name',
  'type',
])
const stepName: SchemaObject = { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' }
const inline = closed(
  {
    name: stepName,
    image: text,
    command: list(text),
    args: list(text),
    env: list(variable),
    computeResources: closed({ requests: quantities, limits: quantities }),
    volumeMounts: list(closed({ name: text, mountPath: { type: 'string', pattern: '^/' } }, ['name', 'mountPath'])),
    securityContext,
  },
  // Without a command the controller has to read the image's entrypoint from its registry.
  ['name', 'image', 'command'],
)
const referring = closed({ name: stepName, ref: closed({ name: text }, ['name']), params: list(param) }, [
  'name',
  'ref',
])
const taskSpec = closed(
  {
    description: text,
    params: list(paramSpec),
    workspaces: list(
      closed(
        {
          name: text,
          description: text,
          optional: { type: 'boolean' },
          readOnly: { type: 'boolean' },
          mountPath: text,
        },
        ['name'],
      ),
    ),
    results: list(result),
    volumes: list(closed({ name: text, emptyDir: closed({}) }, ['name'])),
    // A step with a reference has nothing else of its own (container_validation.go).
    steps: list({ anyOf: [inline, referring] }),
  },
  ['steps'],
)
const binding = closed(
  {
    name: text,
    secret: closed({ secretName: text }, ['secretName']),
    configMap: closed({ name: text }, ['name']),
    persistentVolumeClaim: closed({ claimName: text }, ['claimName']),
  },
  ['name'],
)
const local = closed({ kind: { const: 'Task' }, name: text }, ['kind', 'name'])
const resolved = closed({ resolver: { enum: ['cluster', 'git'] }, params: list(param) }, ['resolver', 'params'])
/** Manual approval gate of OpenShift Pipelines. */
const approval = closed(
  { apiVersion: { const: 'openshift-pipelines.org/v1alpha1' }, kind: { const: 'ApprovalTask' } },
  ['apiVersion', 'kind'],
)
const pipelineTask = closed(
  {
    name: text,
    runAfter: list(text),
    retries: { type: 'integer' },
    timeout: text,
    taskRef: { anyOf: [local, resolved, approval] },
    taskSpec,
    // Every combination of lists, or combinations that are written out.
    matrix: closed({
      params: list(param),
      include: list(closed({ name: text, params: list(param) }, ['name', 'params'])),
    }),
    params: list(param),
    workspaces: list(closed({ name: text, workspace: text }, ['name', 'workspace'])),
  },
  ['name'],
)
const pipelineSpec = closed(
  {
    params: list(paramSpec),
    workspaces: list(closed({ name: text, description: text }, ['name'])),
    tasks: list(pipelineTask),
    finally: list(pipelineTask),
    results: list(closed({ name: text, value: text }, ['name', 'value'])),
  },
  ['tasks'],
)
const stepActionSpec = closed(
  {
    description: text,
    params: list(paramSpec),
    results: list(result),
    image: text,
    command: list(text),
    args: list(text),
    env: list(variable),
    securityContext,
  },
  ['image', 'command'],
)

const metadata = closed({ name: text, generateName: text, labels: texts(), annotations: texts() })
function kind(apiVersion: string, name: string, rest: Record<string, SchemaObject>): SchemaObject {
  const head = { apiVersion: { const: apiVersion }, kind: { const: name }, metadata }
  return closed({ ...head, ...rest }, ['apiVersion', 'kind', 'metadata', ...Object.keys(rest)])
}

const SCHEMAS: Readonly<Record<string, SchemaObject>> = {
  Task: kind('tekton.dev/v1', 'Task', { spec: taskSpec }),
  StepAction: kind('tekton.dev/v1beta1', 'StepAction', { spec: stepActionSpec }),
  Pipeline: kind('tekton.dev/v1', 'Pipeline', { spec: pipelineSpec }),
  TaskRun: kind('tekton.dev/v1', 'TaskRun', {
    spec: closed({ taskRef: local, params: list(param), workspaces: list(binding) }, ['taskRef']),
  }),
  PipelineRun: kind('tekton.dev/v1', 'PipelineRun', {
    spec: closed(
      {
        pipelineRef: closed({ name: text }, ['name']),
        taskRunTemplate: closed({ serviceAccountName: text }),
        params: list(param),
        workspaces: list(binding),
      },
      ['pipelineRef'],
    ),
  }),
  Secret: kind('v1', 'Secret', { type: text, stringData: texts() }),
}

/** Problems of a document's structure; an unknown kind is one. */
export function structureProblems(document: { kind?: unknown }): string[] {
  const schema = SCHEMAS[String(document.kind)]
  if (schema === undefined) return [`no schema for the kind ${document.kind}`]
  const ajv = new Ajv({ allErrors: true, allowUnionTypes: true })
  ajv.validate(schema, document)
  return (ajv.errors ?? []).map((error) => `${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`)
}

export type Named = Readonly<{ name: string; type?: string; default?: unknown; mountPath?: string; optional?: boolean }>
export type Step = Readonly<{
  name?: string
  image?: string
  command?: readonly string[]
  args?: readonly string[]
  env?: readonly Readonly<{ name: string; value?: string }>[]
  volumeMounts?: readonly Readonly<{ name: string; mountPath: string }>[]
  ref?: Readonly<{ name: string }>
  params?: readonly Readonly<{ name: string; value: string | readonly string[] }>[]
}>
type Declared = Readonly<{
  params?: readonly Named[]
  workspaces?: readonly Named[]
  results?: readonly Named[]
  volumes?: readonly Named[]
}>
export type Task = Readonly<{ kind: string; spec: Declared & Readonly<{ steps: readonly Step[] }> }>
export type StepAction = Readonly<{ kind: string; spec: Declared & Step }>

/** The rules of tektoncd/pipeline's task_validation.go that a schema cannot say. */
export function taskProblems({ spec }: Task): string[] {
  const names = spec.steps.map(({ name }) => name)
  const results = spec.results?.map(({ name }) => `results.${name}.path`) ?? []
  return [
    ...nameProblems(spec),
    ...spec.steps.flatMap((each, index) => {
      const before = names.slice(0, index)
      return [...variableProblems(each, spec, results, before), ...mountProblems(each, spec)]
    }),
  ]
}

/** The same for stepaction_validation.go; results are those of the step. */
export function stepActionProblems({ spec }: StepAction): string[] {
  const results = spec.results?.map(({ name }) => `step.results.${name}.path`) ?? []
  return [
    ...nameProblems(spec),
    ...variableProblems({ ...spec, params: [] }, { params: spec.params ?? [] }, results, []),
  ]
}

/**
 * Tekton Chains takes results of these names for images that the TaskRun built, and signs them as such (tektoncd/chains,
 * docs/slsa-provenance.md).
 */
export function claimsBuild(name: string): boolean {
  return /IMAGE_URL$|IMAGE_DIGEST$|^IMAGES$|ARTIFACT_(?:INPUTS|OUTPUTS|URI|DIGEST)$/.test(name)
}

function nameProblems({ params, workspaces, results, volumes }: Declared): string[] {
  return Object.entries({ param: params, workspace: workspaces, result: results, volume: volumes }).flatMap(
    ([what, named = []]) => {
      const lower = named.map(({ name }) => name.toLowerCase())
      return [
        ...named.filter(({ name }) => !/^[A-Za-z_][\w.-]*$/.test(name)).map(({ name }) => `${what} ${name} is no name`),
        ...named
          .filter((_, index) => lower.indexOf(lower[index] ?? '') !== index)
          .map(({ name }) => `${what} ${name} is there twice`),
      ]
    },
  )
}

/** @param before names of the steps that have ended when this one starts. */
function variableProblems(
  each: Step,
  spec: Declared,
  results: readonly string[],
  before: readonly (string | undefined)[],
): string[] {
  const declared = new Set([
    ...(spec.params ?? []).map(({ name, type }) => (type === 'array' ? `params.${name}[*]` : `params.${name}`)),
    ...(spec.workspaces ?? []).flatMap(({ name }) => [`workspaces.${name}.path`, `workspaces.${name}.bound`]),
    ...results,
  ])
  const known = (name: string) =>
    declared.has(name) || before.some((step) => step !== undefined && name.startsWith(`steps.${step}.results.`))
  const lists = [...(each.command ?? []), ...(each.args ?? []), ...(each.params ?? []).flatMap(({ value }) => value)]
  const texts = [each.image ?? '', ...(each.env ?? []).map(({ value = '' }) => value)]
  const used = [...lists, ...texts].flatMap((value) =>
    [...value.matchAll(/\$\(([^)]*)\)/g)].map((match) => match[1] ?? ''),
  )
  const arrays = [...texts.filter(isArray), ...lists.filter((value) => isArray(value) && !/^\$\([^)]*\)$/.test(value))]
  return [
    ...used.filter((name) => !known(name)).map((name) => `$(${name}) is not declared`),
    ...arrays.map((value) => `${value} does not stand alone in args`),
  ]
}

function isArray(value: string): boolean {
  return value.includes('[*]')
}

function mountProblems(each: Step, spec: Declared): string[] {
  const volumes = new Set((spec.volumes ?? []).map(({ name }) => name))
  const mounts = each.volumeMounts ?? []
  const paths = [
    ...mounts.map(({ mountPath }) => mountPath),
    ...(spec.workspaces ?? []).flatMap(({ mountPath }) => mountPath ?? []),
  ]
  return [
    ...mounts.filter(({ name }) => !volumes.has(name)).map(({ name }) => `volume ${name} is not declared`),
    ...paths.filter((path, index) => paths.indexOf(path) !== index).map((path) => `${path} is mounted twice`),
  ]
}

type Value = string | readonly string[]
type PipelineTask = Readonly<{
  name: string
  runAfter?: readonly string[]
  params?: readonly Readonly<{ name: string; value: Value }>[]
  matrix?: Readonly<{ params: readonly Readonly<{ name: string; value: Value }>[] }>
  workspaces?: readonly Readonly<{ name: string; workspace: string }>[]
}>
export type Pipeline = Readonly<{
  spec: Omit<Declared, 'results'> &
    Readonly<{ tasks: readonly PipelineTask[]; results?: readonly Readonly<{ value: string }>[] }>
}>

/** What a Pipeline refers to is there: its params, its workspaces, its tasks (pipeline_validation.go). */
export function pipelineProblems({ spec }: Pipeline): string[] {
  const names = new Set(spec.tasks.map(({ name }) => name))
  const params = new Set((spec.params ?? []).map(({ name, type }) => `params.${name}${type === 'array' ? '[*]' : ''}`))
  const workspaces = new Set((spec.workspaces ?? []).map(({ name }) => name))
  const given = (task: PipelineTask) => [...(task.params ?? []), ...(task.matrix?.params ?? [])]
  const values = spec.tasks.flatMap((task) => given(task).flatMap(({ value }) => value))
  const used = [...values, ...(spec.results ?? []).map(({ value }) => value)].flatMap((value) =>
    [...value.matchAll(/\$\(([^)]*)\)/g)].map((match) => match[1] ?? ''),
  )
  const known = (name: string) =>
    params.has(name) || name.startsWith('context.') || names.has(/^tasks\.([^.]+)\.results\./.exec(name)?.[1] ?? '')
  return [
    ...used.filter((name) => !known(name)).map((name) => `$(${name}) is not declared`),
    ...spec.tasks.flatMap(({ workspaces: bound = [], runAfter = [], name }) => [
      ...bound
        .filter(({ workspace }) => !workspaces.has(workspace))
        .map((one) => `workspace ${one.workspace} is missing`),
      ...runAfter.filter((task) => !names.has(task) || task === name).map((task) => `task ${task} is missing`),
    ]),
  ]
}
