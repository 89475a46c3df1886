import { asPromoteError, PromoteError } from '../core/errors.ts'
import { decode, failure, type Kubernetes, path, type Reply, STREAM_LIMIT, said, statusOf, word } from './api.ts'
import {
  type Layers,
  layersSchema,
  NO_LAYERS,
  type Repository,
  type Stream,
  splitRepository,
  streamPath,
  streamSchema,
  streamsPath,
} from './stream-answers.ts'

/** What a question about a repository brought: the thing, or why there is none. */
type Found<T> = Readonly<{ state: 'found'; value: T } | { state: 'absent' | 'forbidden' }>

/** `unread`: the answer cannot be used, whatever it is; `exists` says whether it shows that there is an image stream. */
type Listed = Found<Layers> | Readonly<{ state: 'unread'; exists: boolean }>

export type Ensured = 'exists' | 'created' | 'unknown'

export type Streams = ReturnType<typeof openStreams>

/** The image streams of one cluster; everything is asked once per repository, failures are asked again. */
export function openStreams(kube: Kubernetes, user: string, registryUser: string) {
  const read = once((repository) => readStream(kube, repository))
  const layers = once((repository) => readLayers(kube, repository))
  const ensure = once(async (repository): Promise<Ensured> => {
    const known = await read(repository)
    if (known.state === 'found') return 'exists'
    if (known.state === 'forbidden') {
      const listed = await layers(repository)
      if (listed.state === 'found' || (listed.state === 'unread' && listed.exists)) return 'exists'
      // Without this right nothing can be pushed; the push will fail and be explained.
      if (listed.state !== 'absent') return 'unknown'
    }
    const created = await createStream(kube, repository, user, registryUser)
    read.forget(repository)
    if (created === undefined) return 'exists'
    read.remember(repository, { state: 'found', value: created })
    layers.remember(repository, { state: 'found', value: NO_LAYERS })
    return 'created'
  })
  return { read, layers, ensure }
}

function once<T>(ask: (repository: string) => Promise<T>) {
  const asked = new Map<string, Promise<T>>()
  const get = (repository: string): Promise<T> => {
    const known = asked.get(repository)
    if (known !== undefined) return known
    const answer = ask(repository)
    asked.set(repository, answer)
    answer.catch(() => asked.get(repository) === answer && asked.delete(repository))
    return answer
  }
  return Object.assign(get, {
    remember: (repository: string, value: T) => void asked.set(repository, Promise.resolve(value)),
    forget: (repository: string) => void asked.delete(repository),
  })
}

/** What the stream is now. */
export async function readStream(kube: Kubernetes, repository: string): Promise<Found<Stream>> {
  const reply = await kube.request('GET', streamPath(splitRepository(repository, kube.side)), { limit: STREAM_LIMIT })
  const tried = `Reading the image stream ${repository}`
  return missing(reply) ?? { state: 'found', value: decode(ok(reply, tried, kube), streamSchema, tried, kube) }
}

/**
 * `imagestreams/layers`: pullers have the right to it, also where they may not read the stream. The answer only saves
 * requests: rejects only when the run is cancelled.
 */
export async function readLayers(kube: Kubernetes, repository: string): Promise<Listed> {
  const layers = `${streamPath(splitRepository(repository, kube.side))}/layers`
  const tried = `Reading the layers of the image stream ${repository}`
  try {
    const reply = await withinTime(kube.request('GET', layers, { limit: STREAM_LIMIT, once: true }), tried)
    return missing(reply) ?? { state: 'found', value: decode(ok(reply, tried, kube), layersSchema, tried, kube) }
  } catch (thrown) {
    if (kube.context.signal.aborted) throw thrown
    const { message, status } = asPromoteError(thrown)
    kube.context.log.debug(`${message} The promotion goes on without it.`)
    return { state: 'unread', exists: status === 200 }
  }
}

/** Milliseconds. The real server takes a second for the layers of 6,000 images. */
const LAYERS_PATIENCE = 15_000

/** Rejects when the answer takes longer. A late answer is dropped; its size stays bounded. */
async function withinTime<T>(asked: Promise<T>, tried: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const error = new PromoteError('STALLED', `${tried}: no complete answer within ${LAYERS_PATIENCE / 1000} s.`)
    timer = setTimeout(() => reject(error), LAYERS_PATIENCE)
  })
  try {
    return await Promise.race([asked, late])
  } finally {
    clearTimeout(timer)
  }
}

function missing(reply: Reply): Exclude<Found<never>, { state: 'found' }> | undefined {
  if (reply.html || (reply.status !== 403 && reply.status !== 404)) return undefined
  return { state: reply.status === 403 ? 'forbidden' : 'absent' }
}

function ok(reply: Reply, tried: string, kube: Kubernetes): Reply {
  if (reply.status >= 200 && reply.status < 300) return reply
  throw failure(reply, tried, kube)
}

/**
 * Creates an empty stream: the registry answers 500 to reads by digest where none is, and makes one only at the first tag.
 * @returns what the answer tells (the registry's address among it); undefined when somebody else was faster
 */
async function createStream(
  kube: Kubernetes,
  repository: string,
  user: string,
  registryUser: string,
): Promise<Stream | undefined> {
  const where = splitRepository(repository, kube.side)
  const reply = await kube.request('POST', streamsPath(where.namespace), {
    body: { kind: 'ImageStream', apiVersion: 'image.openshift.io/v1', metadata: { name: where.name } },
    limit: STREAM_LIMIT,
  })
  const tried = `Creating the image stream ${repository} as ${user}`
  if (reply.status === 409) return undefined
  if (reply.status === 403 && !reply.html) throw await forbidden(reply, tried, kube, where, registryUser)
  if (reply.status === 404 && statusOf(reply)?.details?.kind === 'namespaces')
    throw projectMissing(`${tried}: ${kube.url.host} answered ${said(reply, kube.context)}.`, where, kube, 404)
  return decode(ok(reply, tried, kube), streamSchema, tried, kube)
}

async function forbidden(
  reply: Reply,
  tried: string,
  kube: Kubernetes,
  where: Repository,
  registryUser: string,
): Promise<PromoteError> {
  const message = `${tried}: ${kube.url.host} answered ${said(reply, kube.context)}.`
  // resourcequota admission says Forbidden as well (`exceeded quota: …, requested: openshift.io/imagestreams=1, …`).
  if (/exceeded quota|forbidden: (?:(?!forbidden: )[^"])*exceeds/i.test(statusOf(reply)?.message ?? '')) {
    const hint = `Remove image streams that are not needed, or have the quota raised: oc describe quota -n ${where.namespace}`
    return new PromoteError('QUOTA', message, { side: kube.side, status: 403, hint })
  }
  if ((await projectState(kube, where.namespace)) === 'absent') return projectMissing(message, where, kube, 403)
  return streamMissing(message, where, kube, registryUser)
}

/**
 * The registry's own DELETE of a tag does nothing (image-registry tagservice.go Untag), the API's does it.
 * @returns whether the tag is gone; false when the right is missing.
 */
export async function removeStreamTag(kube: Kubernetes, repository: string, tag: string): Promise<boolean> {
  const { namespace, name } = splitRepository(repository, kube.side)
  const address = path`/apis/image.openshift.io/v1/namespaces/${namespace}/imagestreamtags/${`${name}:${tag}`}`
  const reply = await kube.request('DELETE', address)
  if (reply.status === 200 || reply.status === 202) return true
  if (reply.html || (reply.status !== 404 && reply.status !== 403))
    throw failure(reply, `Removing the tag ${tag} of ${repository}`, kube)
  return reply.status === 404 && statusOf(reply) !== undefined
}

/** Whether a project exists, as far as this user may know: 403 stands for missing and for invisible alike. */
export async function projectState(kube: Kubernetes, namespace: string): Promise<'exists' | 'absent' | 'unknown'> {
  const reply = await kube.request('GET', path`/apis/project.openshift.io/v1/projects/${namespace}`)
  if (reply.status === 200 && !reply.html) return 'exists'
  return reply.status === 404 && statusOf(reply)?.details?.name === namespace ? 'absent' : 'unknown'
}

export function streamMissing(message: string, where: Repository, { side }: Kubernetes, user: string): PromoteError {
  const { namespace, name } = where
  const hint =
    `The image stream does not exist and ${user} may not create it. Let an administrator of the project run: ` +
    `oc create imagestream ${name} -n ${namespace}   (or, so that it may: ` +
    `oc policy add-role-to-user system:image-builder ${word(user)} -n ${namespace})`
  return new PromoteError('STREAM_MISSING', message, { side, status: 403, hint })
}

export function projectMissing(message: string, where: Repository, { side }: Kubernetes, status: number): PromoteError {
  const hint = `Check the project's name. It is never created by a promotion: oc new-project ${where.namespace}`
  return new PromoteError('PROJECT_MISSING', message, { side, status, hint })
}
