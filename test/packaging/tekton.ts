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
const step = closed(
  {
    name: { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' },
    image: text,
    command: list(text),
    args: list(text),
    env: list(
      closed({ name: { type: 'string', pattern: '^[A-Z][A-Z0-9_]*$' }, value: { type: 'string' } }, ['name', 'value']),
    ),
    computeResources: closed({ requests: quantities, limits: quantities }),
    volumeMounts: list(closed({ name: text, mountPath: { type: 'string', pattern: '^/' } }, ['name', 'mountPath'])),
    securityContext,
  },
  // Without a command the controller has to read the image's entrypoint from its registry.
  ['name', 'image', 'command'],
)
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
    results: list(closed({ name: text, type: { enum: ['string', 'array'] }, description: text }, ['name', 'type'])),
    volumes: list(closed({ name: text, emptyDir: closed({}) }, ['name'])),
    steps: list(step),
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
const reference = closed({ kind: { const: 'Task' }, name: text }, ['kind', 'name'])
const pipelineTask = closed(
  {
    name: text,
    runAfter: list(text),
    retries: { type: 'integer' },
    timeout: text,
    taskRef: reference,
    taskSpec,
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
    results: list(closed({ name: text, value: text }, ['name', 'value'])),
  },
  ['tasks'],
)

const metadata = closed({ name: text, generateName: text, labels: texts(), annotations: texts() })
function kind(apiVersion: string, name: string, rest: Record<string, SchemaObject>): SchemaObject {
  const head = { apiVersion: { const: apiVersion }, kind: { const: name }, metadata }
  return closed({ ...head, ...rest }, ['apiVersion', 'kind', 'metadata', ...Object.keys(rest)])
}

const SCHEMAS: Readonly<Record<string, SchemaObject>> = {
  Task: kind('tekton.dev/v1', 'Task', { spec: taskSpec }),
  Pipeline: kind('tekton.dev/v1', 'Pipeline', { spec: pipelineSpec }),
  TaskRun: kind('tekton.dev/v1', 'TaskRun', {
    spec: closed({ taskRef: reference, params: list(param), workspaces: list(binding) }, ['taskRef']),
  }),
  PipelineRun: kind('tekton.dev/v1', 'PipelineRun', {
    spec: closed({ pipelineRef: closed({ name: text }, ['name']), params: list(param), workspaces: list(binding) }, [
      'pipelineRef',
    ]),
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
  name: string
  image: string
  command?: readonly string[]
  args?: readonly string[]
  env?: readonly Readonly<{ name: string; value: string }>[]
  volumeMounts?: readonly Readonly<{ name: string; mountPath: string }>[]
}>
export type Task = Readonly<{
  kind: string
  spec: Readonly<{
    params?: readonly Named[]
    workspaces?: readonly Named[]
    results?: readonly Named[]
    volumes?: readonly Named[]
    steps: readonly Step[]
  }>
}>

/** The rules of tektoncd/pipeline's task_validation.go that a schema cannot say. */
export function taskProblems({ spec }: Task): string[] {
  return [
    ...Object.entries({
      param: spec.params,
      workspace: spec.workspaces,
      result: spec.results,
      volume: spec.volumes,
    }).flatMap(([what, named]) => nameProblems(what, named ?? [])),
    ...spec.steps.flatMap((each) => [...variableProblems(each, spec), ...mountProblems(each, spec)]),
  ]
}

function nameProblems(what: string, named: readonly Named[]): string[] {
  const lower = named.map(({ name }) => name.toLowerCase())
  return [
    ...named.filter(({ name }) => !/^[A-Za-z_][\w.-]*$/.test(name)).map(({ name }) => `${what} ${name} is no name`),
    ...named
      .filter((_, index) => lower.indexOf(lower[index] ?? '') !== index)
      .map(({ name }) => `${what} ${name} is there twice`),
  ]
}

function variableProblems(each: Step, spec: Task['spec']): string[] {
  const declared = new Set([
    ...(spec.params ?? []).map(({ name, type }) => (type === 'array' ? `params.${name}[*]` : `params.${name}`)),
    ...(spec.results ?? []).map(({ name }) => `results.${name}.path`),
    ...(spec.workspaces ?? []).flatMap(({ name }) => [`workspaces.${name}.path`, `workspaces.${name}.bound`]),
  ])
  const lists = [...(each.command ?? []), ...(each.args ?? [])]
  const texts = [each.image, ...(each.env ?? []).map(({ value }) => value)]
  const used = [...lists, ...texts].flatMap((value) =>
    [...value.matchAll(/\$\(([^)]*)\)/g)].map((match) => match[1] ?? ''),
  )
  const arrays = [...texts.filter(isArray), ...lists.filter((value) => isArray(value) && !/^\$\([^)]*\)$/.test(value))]
  return [
    ...used.filter((name) => !declared.has(name)).map((name) => `$(${name}) is not declared`),
    ...arrays.map((value) => `${value} does not stand alone in args`),
  ]
}

function isArray(value: string): boolean {
  return value.includes('[*]')
}

function mountProblems(each: Step, spec: Task['spec']): string[] {
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
