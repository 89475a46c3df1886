import { z } from 'zod'
import { PromoteError } from '../errors.ts'
import { type Repository, splitRepository } from './image-stream.ts'
import { decode, type Kubernetes, OBJECT_LIMIT, path, saidBy, word } from './kubernetes.ts'
import { isAllowed } from './rights.ts'
import { openStreams, projectMissing, projectState, type Streams, streamMissing } from './streams.ts'
import { afterRefusal, whyRefused } from './token.ts'

export type Attempt = Readonly<{
  repository: string
  access: 'pull' | 'push'
  tag?: string | undefined
  /** What `GET /v2/` said to the same token; undefined: not asked. */
  tokenAccepted?: boolean | undefined
}>

/** What the explanation can ask; `registry` sees the API with the credential that the registry was given. */
export type Witness = Readonly<{
  kube: Kubernetes
  registry: Kubernetes
  registryUser: string
  /** Of the registry's credential. */
  token: () => Promise<string | undefined>
  alive: () => Promise<boolean>
}>

/**
 * The integrated registry says 401 to a missing right, a missing project and an expired token alike, and 403 to everything
 * that stops a tag (`DENIED`, no detail). The API knows which it was.
 * Source: image-registry pkg/dockerregistry/server/auth.go, Authorized.
 */
export async function explain(error: PromoteError, attempt: Attempt, witness: Witness): Promise<PromoteError> {
  if (error.status !== 401 && error.status !== 403) return error
  const where = splitRepository(attempt.repository, witness.kube.side)
  if (error.status === 401) {
    const alive = await witness.alive()
    if (!alive || attempt.tokenAccepted === false) return tokenRefused(error, alive, witness)
  }
  const project = await projectState(witness.registry, where.namespace)
  if (project === 'absent')
    return projectMissing(`${error.message} The project ${where.namespace} does not exist.`, where, witness.kube, 404)
  if (error.status === 403 && attempt.access === 'push') return stopped(error, attempt, where, witness)
  return denied(error, attempt, where, project, witness)
}

async function tokenRefused(error: PromoteError, alive: boolean, witness: Witness): Promise<PromoteError> {
  const { side, url, context } = witness.kube
  const why = alive
    ? `The API ${url.host} accepts the same token: the registry belongs to another cluster or cannot reach its API.`
    : whyRefused((await witness.token()) ?? '', context.now())
  return new PromoteError('TOKEN_REJECTED', `${error.message} ${why}`, {
    ...error,
    side,
    cause: error,
    transient: false,
    hint: alive
      ? `Check that ${side}-registry and ${side}-cluster are the same cluster.`
      : witness.registry.login && afterRefusal(witness.registry.login, side),
  })
}

/** 401 with a good token: no right to pull (get imagestreams/layers) or to push (update as well). */
async function denied(
  error: PromoteError,
  attempt: Attempt,
  where: Repository,
  project: 'exists' | 'unknown',
  witness: Witness,
): Promise<PromoteError> {
  const { kube, registry, registryUser } = witness
  const stream = await look(kube).read(attempt.repository)
  const layers = await look(registry).layers(attempt.repository)
  const role = roleFor(attempt, stream.state === 'absent')
  const command = `oc policy add-role-to-user ${role} ${word(registryUser)} -n ${where.namespace}`
  if (project === 'unknown' && stream.state === 'forbidden' && layers.state === 'forbidden') {
    const message = `${error.message} ${registryUser} sees nothing of the project ${where.namespace}: it does not exist, or no right was given.`
    const missing = projectMissing(message, where, kube, error.status ?? 401)
    return new PromoteError(missing.code, message, {
      ...missing,
      cause: error,
      hint: `Check the project's name. If it exists, let an administrator of it run: ${command}`,
    })
  }
  const message = `${error.message} The token is good, but ${registryUser} may not ${attempt.access} ${attempt.repository}.`
  return new PromoteError('DENIED', message, {
    ...error,
    side: kube.side,
    cause: error,
    transient: false,
    hint: `Let an administrator of the project run: ${command}`,
  })
}

/** As it is now: what was there at the beginning may be gone. Layers are exactly the right that a pull needs. */
function look(kube: Kubernetes): Pick<Streams, 'read' | 'layers'> {
  return openStreams(kube, '', '')
}

function roleFor(attempt: Attempt, streamAbsent: boolean): string {
  if (attempt.access === 'pull') return 'system:image-puller'
  return streamAbsent ? 'system:image-builder' : 'system:image-pusher'
}

/** 403 on a tag: the stream may not be created, or a quota or limit range says no. */
async function stopped(
  error: PromoteError,
  attempt: Attempt,
  where: Repository,
  witness: Witness,
): Promise<PromoteError> {
  const { kube, registry, registryUser } = witness
  const stream = await look(kube).read(attempt.repository)
  const layers = stream.state === 'forbidden' ? await look(registry).layers(attempt.repository) : stream
  if (
    layers.state === 'absent' &&
    (await isAllowed(registry, { verb: 'create', resource: 'imagestreams', ...where })) === false
  )
    return streamMissing(error.message, where, kube, registryUser)
  const limits = [...(await quotas(kube, where)), ...(await limitRanges(kube, where))]
  if (limits.length > 0)
    return new PromoteError('QUOTA', `${error.message} The project limits images: ${limits.join('; ')}.`, {
      ...error,
      side: kube.side,
      cause: error,
      transient: false,
      hint: `Remove tags and streams that are not needed, or have the limit raised: oc describe quota,limits -n ${where.namespace}`,
    })
  return new PromoteError('DENIED', `${error.message} The cluster does not say why.`, {
    ...error,
    side: kube.side,
    cause: error,
    transient: false,
    hint:
      `One of: the image stream may not be created (oc policy add-role-to-user system:image-builder ${word(registryUser)} -n ` +
      `${where.namespace}), a quota or limit range (oc describe quota,limits -n ${where.namespace}), the project is being deleted.`,
  })
}

const amounts = z.record(z.string(), z.string()).nullish()
const quotasSchema = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({ name: z.string() }),
      status: z.looseObject({ hard: amounts, used: amounts }).nullish(),
    }),
  ),
})

/** Quotas on image resources (`openshift.io/imagestreams`, …) that are used up. */
async function quotas(kube: Kubernetes, { namespace }: Repository): Promise<string[]> {
  const reply = await kube.request('GET', path`/api/v1/namespaces/${namespace}/resourcequotas`)
  if (reply.status !== 200) return []
  return decode(reply, quotasSchema, 'Listing quotas', kube).items.flatMap(({ metadata, status }) =>
    Object.entries(status?.hard ?? {})
      .filter(([key, hard]) => isImageResource(key) && Number(status?.used?.[key] ?? 0) >= Number(hard))
      .map(([key, hard]) => saidBy(`quota ${metadata.name} allows ${hard} ${key} and all are used`, kube.context)),
  )
}

const limitsSchema = z.looseObject({
  items: z.array(
    z.looseObject({
      metadata: z.looseObject({ name: z.string() }),
      spec: z.looseObject({ limits: z.array(z.looseObject({ type: z.string(), max: amounts })).nullish() }).nullish(),
    }),
  ),
})

/** LimitRanges of the types `openshift.io/Image` and `openshift.io/ImageStream`. */
async function limitRanges(kube: Kubernetes, { namespace }: Repository): Promise<string[]> {
  const reply = await kube.request('GET', path`/api/v1/namespaces/${namespace}/limitranges`, { limit: OBJECT_LIMIT })
  if (reply.status !== 200) return []
  return decode(reply, limitsSchema, 'Listing limit ranges', kube).items.flatMap(({ metadata, spec }) =>
    (spec?.limits ?? [])
      .filter(({ type }) => isImageResource(type))
      .flatMap(({ type, max }) => Object.entries(max ?? {}).map(([key, value]) => ({ type, key, value })))
      .map(({ type, key, value }) =>
        saidBy(`limit range ${metadata.name} allows at most ${value} ${key} per ${type}`, kube.context),
      ),
  )
}

function isImageResource(key: string): boolean {
  return /^openshift\.io\/image/i.test(key)
}
