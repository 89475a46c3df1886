import { z } from 'zod'
import type { Code, PromoteError } from '../core/errors.ts'
import { getOrAdd } from '../core/memo.ts'
import { decode, type Kubernetes, path, saidBy, terminatingHint, word } from './api.ts'
import { isAlive, tokenOf } from './identity.ts'
import { projectMissing, projectState, readLayers, readStream, streamMissing } from './image-streams.ts'
import { type StreamName, splitRepository } from './stream-answers.ts'
import { afterRefusal, whyRefused } from './token-refusal.ts'

export type Rights = Readonly<{
  state: 'sufficient' | 'missing' | 'unknown'
  /** `update imagestreams/layers`, … */
  missing: readonly string[]
  /** The command that grants them; null when nothing is missing. */
  grant: string | null
}>

/** The user that logged in, and the user of the registry: another one if a service account opens it. */
export type Accounts = Readonly<{
  /** Creates streams and removes tags. */
  kube: Kubernetes
  /** The API with the credential that the registry is given. */
  registry: Kubernetes
  registryUser: string
}>

export type RefusedAccess = Readonly<{
  repository: string
  access: 'pull' | 'push'
  tag?: string | undefined
  /** Whether `GET /v2/` accepted the same token; undefined: not asked. */
  tokenAccepted?: boolean | undefined
}>

/** What was refused: the error of the registry, what was tried, and where. */
type Refusal = Accounts & Readonly<{ error: PromoteError; attempt: RefusedAccess; where: StreamName }>

/**
 * The integrated registry answers 401 to a missing right, a missing project and an expired token alike, and 403 (`DENIED`,
 * without a detail) to everything that stops a tag. The API tells them apart.
 * Source: image-registry pkg/dockerregistry/server/auth.go, Authorized.
 */
export async function explain(error: PromoteError, attempt: RefusedAccess, accounts: Accounts): Promise<PromoteError> {
  if (error.status !== 401 && error.status !== 403) return error
  const { kube, registry } = accounts
  const where = splitRepository(attempt.repository, kube.side)
  const refused = { error, attempt, where, ...accounts }
  if (error.status === 401) {
    const token = await tokenOf(registry.login)
    const alive = token === undefined || (await isAlive(kube, token))
    if (!alive || attempt.tokenAccepted === false) return tokenRefused(refused, alive ? undefined : token?.reveal())
  }
  const project = await projectState(registry, where.namespace)
  if (project === 'absent')
    return projectMissing(because(refused, 'PROJECT_MISSING', `The project ${where.namespace} does not exist.`), where)
  if (project === 'terminating') {
    const why = `The project ${where.namespace} is being deleted.`
    return because(refused, 'PROJECT_MISSING', why, terminatingHint(where.namespace))
  }
  return error.status === 403 && attempt.access === 'push' ? stopped(refused) : denied(refused, project === 'exists')
}

/** @param dead the token, if the API refuses it as well */
function tokenRefused(refused: Refusal, dead: string | undefined): PromoteError {
  const { side, url, context } = refused.kube
  const { login } = refused.registry
  if (dead !== undefined)
    return because(refused, 'TOKEN_REJECTED', whyRefused(dead, context.now()), login && afterRefusal(login, side, dead))
  const why = `The API ${url.host} accepts the same token: the registry belongs to another cluster or cannot reach its API.`
  const hint = `Check that ${side}-registry and ${side}-cluster are the same cluster.`
  return because(refused, 'TOKEN_REJECTED', why, hint)
}

function because({ error, kube: { side } }: Refusal, code: Code, why: string, hint?: string): PromoteError {
  return error.with({ code, message: `${error.message} ${why}`, side, cause: error, transient: false, hint })
}

/** 401 with a good token: no right to pull (get imagestreams/layers) or to push (update as well). */
async function denied(refused: Refusal, isProjectThere: boolean): Promise<PromoteError> {
  const { kube, registry, registryUser, where } = refused
  const { access, repository } = refused.attempt
  // Read again, because it may have been removed since the start. The right to read layers is the right to pull.
  const stream = await readStream(kube, repository)
  const layers = await readLayers(registry, repository)
  const pushing = stream.state === 'absent' ? 'system:image-builder' : 'system:image-pusher'
  const role = access === 'pull' ? 'system:image-puller' : pushing
  const command = `oc policy add-role-to-user ${role} ${word(registryUser)} -n ${where.namespace}`
  if (!isProjectThere && stream.state === 'forbidden' && layers.state === 'forbidden') {
    const why = `${registryUser} sees nothing of the project ${where.namespace}: it does not exist, or no right was given.`
    const hint = `Check the project's name. If it exists, let an administrator of it run: ${command}`
    return because(refused, 'PROJECT_MISSING', why, hint)
  }
  const why = `The token is good, but ${registryUser} may not ${access} ${repository}.`
  return because(refused, 'DENIED', why, `Let an administrator of the project run: ${command}`)
}

/** 403 on a tag: the stream may not be created, or a quota or limit range refuses the image. */
async function stopped(refused: Refusal): Promise<PromoteError> {
  const { error, attempt, kube, registry, registryUser, where } = refused
  const stream = await readStream(kube, attempt.repository)
  const layers = stream.state === 'forbidden' ? await readLayers(registry, attempt.repository) : stream
  const question = { verb: 'create', resource: 'imagestreams', ...where }
  if (layers.state === 'absent' && (await isAllowed(registry, question)) === false)
    return streamMissing(error.with({ side: kube.side }), where, registryUser)
  const limits = [...(await quotas(kube, where)), ...(await limitRanges(kube, where))]
  const shown = `oc describe quota,limits -n ${where.namespace}`
  if (limits.length > 0) {
    const hint = `Remove tags and streams that are not needed, or have the limit raised: ${shown}`
    return because(refused, 'QUOTA', `The project limits images: ${limits.join('; ')}.`, hint)
  }
  const hint =
    `One of: the image stream may not be created (oc policy add-role-to-user system:image-builder ${word(registryUser)} -n ` +
    `${where.namespace}), a quota or limit range (${shown}), an admission policy.`
  return because(refused, 'DENIED', 'The cluster does not say why.', hint)
}

const amounts = z.record(z.string(), z.string()).nullish()
const metadata = z.looseObject({ name: z.string() })
const quotaSchema = z.looseObject({ metadata, status: z.looseObject({ hard: amounts, used: amounts }).nullish() })
const limits = z.array(z.looseObject({ type: z.string(), max: amounts })).nullish()
const limitSchema = z.looseObject({ metadata, spec: z.looseObject({ limits }).nullish() })

/** Empty where the list may not be read. */
async function list<T>(kube: Kubernetes, where: StreamName, kind: string, schema: z.ZodType<T>): Promise<T[]> {
  const reply = await kube.request('GET', path`/api/v1/namespaces/${where.namespace}/${kind}`)
  if (reply.status !== 200) return []
  return decode(reply, z.looseObject({ items: z.array(schema) }), `Listing ${kind}`, kube).items
}

/** Quotas on image resources (`openshift.io/imagestreams`, …) that are used up. */
async function quotas(kube: Kubernetes, where: StreamName): Promise<string[]> {
  const items = await list(kube, where, 'resourcequotas', quotaSchema)
  return items.flatMap(({ metadata: { name }, status }) =>
    Object.entries(status?.hard ?? {})
      .filter(([key, hard]) => isImageResource(key) && Number(status?.used?.[key] ?? 0) >= Number(hard))
      .map(([key, hard]) => saidBy(`quota ${name} allows ${hard} ${key} and all are used`, kube.context)),
  )
}

/** LimitRanges of the types `openshift.io/Image` and `openshift.io/ImageStream`. */
async function limitRanges(kube: Kubernetes, where: StreamName): Promise<string[]> {
  const items = await list(kube, where, 'limitranges', limitSchema)
  const all = items.flatMap(({ metadata: { name }, spec }) => (spec?.limits ?? []).map((limit) => ({ ...limit, name })))
  return all.flatMap(({ name, type, max }) => {
    const sizes = isImageResource(type) ? Object.entries(max ?? {}) : []
    return sizes.map(([key, size]) =>
      saidBy(`limit range ${name} allows at most ${size} ${key} per ${type}`, kube.context),
    )
  })
}

function isImageResource(key: string): boolean {
  return /^openshift\.io\/image/i.test(key)
}

/** `resource` with its subresource: `imagestreams/layers`. Without `name`: for every object of the namespace. */
type Question = Readonly<{ verb: string; resource: string; namespace: string; name?: string }>

const accessSchema = z.looseObject({ status: z.looseObject({ allowed: z.boolean() }) })

/** SelfSubjectAccessReview (authorization.k8s.io/v1): asks and changes nothing. Undefined when the API won't tell. */
async function isAllowed(kube: Kubernetes, question: Question): Promise<boolean | undefined> {
  const [resource = '', subresource] = question.resource.split('/')
  const { verb, namespace, name } = question
  const spec = { resourceAttributes: { namespace, name, verb, group: 'image.openshift.io', resource, subresource } }
  const body = { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview', spec }
  const reply = await kube.request('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', { body })
  if (reply.status !== 200 && reply.status !== 201) return undefined
  return decode(reply, accessSchema, `Asking for the right to ${verb} ${question.resource}`, kube).status.allowed
}

export type Needs = Readonly<{
  /** The image stream is not there yet. */
  create: boolean
  /** A tag that is new may have to go again (atomic, rollback). */
  remove: boolean
}>

/** Rights of the destination. A right to the whole project is asked for once, for all of its streams. */
export function openRights(accounts: Accounts): (repository: string, needs: Needs) => Promise<Rights> {
  const { kube, registry, registryUser } = accounts
  const asked = new Map<string, Promise<boolean | undefined>>()
  const ask = (by: Kubernetes, question: Question): Promise<boolean | undefined> => {
    const key = JSON.stringify([by === kube, question])
    return getOrAdd(asked, key, () => isAllowed(by, question).catch(() => undefined))
  }
  return async (repository, { create, remove }) => {
    const { namespace, name } = splitRepository(repository, kube.side)
    const wanted = [
      { by: registry, verb: 'get', resource: 'imagestreams/layers' },
      { by: registry, verb: 'update', resource: 'imagestreams/layers' },
      ...(create ? [{ by: kube, verb: 'create', resource: 'imagestreams' }] : []),
      ...(remove ? [{ by: kube, verb: 'delete', resource: 'imagestreamtags' }] : []),
    ]
    const may = async ({ by, verb, resource }: (typeof wanted)[number]) =>
      (await ask(by, { verb, resource, namespace })) === true || ask(by, { verb, resource, namespace, name })
    const answers = await Promise.all(wanted.map(may))
    const missing = wanted
      .filter((_, index) => answers[index] === false)
      .map(({ verb, resource }) => `${verb} ${resource}`)
    if (missing.length > 0) return { state: 'missing', missing, grant: grantOf(missing, registryUser, namespace) }
    return { state: answers.includes(undefined) ? 'unknown' : 'sufficient', missing, grant: null }
  }
}

/** The smallest standard role that has them: openshift-apiserver pkg/bootstrappolicy/policy.go. */
function grantOf(missing: readonly string[], user: string, namespace: string): string {
  const has = (right: string) => missing.includes(right)
  const role = has('delete imagestreamtags')
    ? 'registry-editor'
    : has('create imagestreams')
      ? 'system:image-builder'
      : 'system:image-pusher'
  return `oc policy add-role-to-user ${role} ${word(user)} -n ${namespace}`
}
