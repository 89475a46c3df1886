import { createHash } from 'node:crypto'
import { z } from 'zod'
import { within } from '../core/async.ts'
import { asPromoteError, PromoteError } from '../core/errors.ts'
import { getOrAsk } from '../core/memo.ts'
import type { Digest } from '../oci/digest.ts'
import {
  decode,
  failure,
  type Kubernetes,
  notByRole,
  parsed,
  path,
  type Reply,
  refusal,
  STREAM_LIMIT,
  saidBy,
  statusOf,
  word,
} from './api.ts'
import {
  type Layers,
  layersSchema,
  NO_LAYERS,
  type Stream,
  type StreamName,
  splitRepository,
  streamListSchema,
  streamPath,
  streamSchema,
  streamsPath,
  whyEmpty,
} from './stream-answers.ts'

/** The answer about a repository, or why there is none. */
type Found<T> = Readonly<{ state: 'found'; value: T } | { state: 'absent' | 'forbidden' }>

/** `unread`: the answer cannot be used; `exists` says whether it still shows that there is an image stream. */
type Listed = Found<Layers> | Readonly<{ state: 'unread'; exists: boolean }>

export type Ensured = 'exists' | 'created' | 'unknown'

export type Streams = ReturnType<typeof openStreams>

/** The image streams of one cluster. Answers are kept per repository; failures are not. */
export function openStreams(kube: Kubernetes, user: string) {
  const read = rememberAnswers((repository) => readStream(kube, repository))
  const layers = rememberAnswers((repository) => readLayers(kube, repository))
  const ensure = rememberAnswers(async (repository): Promise<Ensured> => {
    const known = await read(repository)
    if (known.state === 'found') return 'exists'
    if (known.state === 'forbidden') {
      const listed = await layers(repository)
      if (listed.state === 'found' || (listed.state === 'unread' && listed.exists)) return 'exists'
      // Without this right a push fails as well, and that error is explained.
      if (listed.state !== 'absent') return 'unknown'
    }
    const created = await createStream(kube, repository, user)
    read.forget(repository)
    if (created === undefined) return 'exists'
    read.remember(repository, { state: 'found', value: created })
    layers.remember(repository, { state: 'found', value: NO_LAYERS })
    return 'created'
  })
  const names = async (namespace: string): Promise<readonly string[]> => {
    const streams = await listStreams(kube, namespace, user)
    for (const stream of streams) read.remember(`${namespace}/${stream.name}`, { state: 'found', value: stream })
    return streams.map(({ name }) => `${namespace}/${name}`)
  }
  return { read, layers, ensure, names }
}

function rememberAnswers<T>(ask: (repository: string) => Promise<T>) {
  const asked = new Map<string, Promise<T>>()
  const get = (repository: string) => getOrAsk(asked, repository, () => ask(repository))
  return Object.assign(get, {
    remember: (repository: string, value: T) => void asked.set(repository, Promise.resolve(value)),
    forget: (repository: string) => void asked.delete(repository),
  })
}

export async function readStream(kube: Kubernetes, repository: string): Promise<Found<Stream>> {
  const reply = await kube.request('GET', streamPath(splitRepository(repository, kube.side)), { limit: STREAM_LIMIT })
  const tried = `Reading the image stream ${repository}`
  return missing(reply) ?? { state: 'found', value: decode(ok(reply, tried, kube), streamSchema, tried, kube) }
}

/** The image of a tag. See `Cluster.digestOf`. */
export function imageOf(name: string, tag: string, stream: Stream, { side, context }: Kubernetes): Digest | undefined {
  const digest = stream.tags.get(tag)
  const failed = stream.failedImports.get(tag)
  if (digest !== undefined && failed !== undefined)
    context.log.warn(
      `${side}: the latest import of ${name} failed, and an older image is promoted: ${saidBy(failed, context)}`,
    )
  const empty = digest === undefined ? whyEmpty(tag, stream) : undefined
  if (empty === undefined) return digest
  const hint = `Promote the image from where it is, or import it: oc tag ${word(empty.origin)} ${word(name)}`
  throw new PromoteError('NOT_FOUND', `${name} has no image: ${saidBy(empty.why, context)}.`, { side, hint })
}

/** Milliseconds. The real server takes a second for the layers of 6,000 images. */
const LAYERS_TIME = 15_000

/**
 * `imagestreams/layers`, which pullers may read even where they may not read the stream. The answer only saves requests:
 * rejects only if the run is cancelled.
 */
export async function readLayers(kube: Kubernetes, repository: string): Promise<Listed> {
  const layers = `${streamPath(splitRepository(repository, kube.side))}/layers`
  const tried = `Reading the layers of the image stream ${repository}`
  try {
    // A late answer is dropped; its size stays bounded.
    const reply = await within(kube.request('GET', layers, { limit: STREAM_LIMIT, retry: false }), LAYERS_TIME)
    if (reply === undefined)
      throw new PromoteError('STALLED', `${tried}: no complete answer within ${LAYERS_TIME / 1000} s.`)
    return missing(reply) ?? { state: 'found', value: decode(ok(reply, tried, kube), layersSchema, tried, kube) }
  } catch (thrown) {
    if (kube.context.signal.aborted) throw thrown
    const { message, status } = asPromoteError(thrown)
    kube.context.log.debug(`${message} The promotion goes on without it.`)
    return { state: 'unread', exists: status === 200 }
  }
}

/** Streams of a page: with a few hundred tags each they stay below the limit of one answer. */
const PAGE = 50
const MOST_PAGES = 2000

/** All image streams of a project. `view`, `edit` and `registry-viewer` may list them, pullers may not. */
async function listStreams(kube: Kubernetes, namespace: string, user: string): Promise<readonly Stream[]> {
  const tried = `Listing the image streams of ${namespace} as ${user}`
  const found: Stream[] = []
  for (let page = 1, after = ''; page === 1 || after !== ''; page += 1) {
    const query = `limit=${PAGE}&continue=${encodeURIComponent(after)}`
    const reply = await kube.request('GET', `${streamsPath(namespace)}?${query}`, { limit: STREAM_LIMIT })
    if (reply.status === 403 && !reply.html) {
      const hint = `Check the project's name. If it is right, let an administrator of it run: oc policy add-role-to-user registry-viewer ${word(user)} -n ${namespace}   (or name the images one by one.)`
      throw refusal('DENIED', reply, tried, kube, hint)
    }
    const { items, metadata } = decode(ok(reply, tried, kube), streamListSchema, tried, kube)
    found.push(...items)
    after = metadata?.continue ?? ''
    if (page > MOST_PAGES) throw new PromoteError('PROTOCOL', `${tried}: the list does not end.`, { side: kube.side })
  }
  return found
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
 * Creates an empty stream: where there is none, the registry answers 500 to reads by digest, and creates one only with the
 * first tag. @returns the stream, which names the registry; undefined if another client created it at the same time
 */
async function createStream(kube: Kubernetes, repository: string, user: string): Promise<Stream | undefined> {
  const where = splitRepository(repository, kube.side)
  const body = { kind: 'ImageStream', apiVersion: 'image.openshift.io/v1', metadata: { name: where.name } }
  const reply = await kube.request('POST', streamsPath(where.namespace), { body, limit: STREAM_LIMIT })
  if (reply.status === 409 && statusOf(reply)?.reason === 'AlreadyExists') return undefined
  const tried = `Creating the image stream ${repository} as ${user}`
  const refused = reply.status < 400 ? undefined : notByRole(reply, tried, kube, where.namespace)
  if (refused !== undefined) throw refused
  const isProjectAbsent =
    reply.status === 404
      ? statusOf(reply)?.details?.kind === 'namespaces'
      : reply.status === 403 && !reply.html && (await projectState(kube, where.namespace)) === 'absent'
  if (isProjectAbsent) throw projectMissing(refusal('PROJECT_MISSING', reply, tried, kube), where)
  if (reply.status === 403 && !reply.html)
    throw streamMissing(refusal('STREAM_MISSING', reply, tried, kube), where, user)
  return decode(ok(reply, tried, kube), streamSchema, tried, kube)
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

/** Whether a project exists, as far as this user may know: 403 stands for absent and for invisible. */
export async function projectState(kube: Kubernetes, namespace: string): Promise<ProjectState> {
  const reply = await kube.request('GET', path`/apis/project.openshift.io/v1/projects/${namespace}`)
  if (reply.status === 200 && !reply.html)
    return parsed(reply, projectSchema)?.status?.phase === 'Terminating' ? 'terminating' : 'exists'
  return reply.status === 404 && statusOf(reply)?.details?.name === namespace ? 'absent' : 'unknown'
}

type ProjectState = 'exists' | 'terminating' | 'absent' | 'unknown'
const projectSchema = z.looseObject({ status: z.looseObject({ phase: z.string().nullish() }).nullish() })

/** @param error the refusal, whose message and side stay */
export function streamMissing(error: PromoteError, { namespace, name }: StreamName, user: string): PromoteError {
  const hint =
    `The image stream does not exist and ${user} may not create it. Let an administrator of the project run: ` +
    `oc create imagestream ${name} -n ${namespace}   (or, so that it may: ` +
    `oc policy add-role-to-user system:image-builder ${word(user)} -n ${namespace})`
  return error.with({ code: 'STREAM_MISSING', status: 403, transient: false, hint })
}

export function projectMissing(error: PromoteError, { namespace }: StreamName): PromoteError {
  const hint = `Check the project's name. It is never created by a promotion: oc new-project ${namespace}`
  return error.with({ code: 'PROJECT_MISSING', transient: false, hint })
}

/** The note about the last promotion to a tag. */
export type Note = Readonly<{
  tag: string
  source: string
  digest: Digest
  /** Page of the pipeline's run, where there is one. */
  run: string | undefined
  /** ISO 8601, UTC. */
  time: string
}>

/** A prefix without a dot belongs to no domain and to no part of OpenShift. */
const ANNOTATION_PREFIX = 'image-promote'
/** apimachinery `IsQualifiedName`: a tag may be longer, and may begin or end with other characters. */
const KEY_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/

/** `image-promote/<tag>`, or a hash if the tag cannot be part of a key. The value always has the tag. */
export function annotationKey(tag: string): string {
  const name = KEY_NAME.test(tag) ? tag : `tag.${createHash('sha256').update(tag).digest('hex').slice(0, 32)}`
  return `${ANNOTATION_PREFIX}/${name}`
}

/** Writes the notes into the stream's metadata, in one merge patch (RFC 7396): other annotations and the images stay. */
export async function annotate(kube: Kubernetes, repository: string, notes: readonly Note[]): Promise<void> {
  const annotations = Object.fromEntries(notes.map((note) => [annotationKey(note.tag), JSON.stringify(note)]))
  const reply = await kube.request('PATCH', streamPath(splitRepository(repository, kube.side)), {
    body: { metadata: { annotations } },
    type: 'application/merge-patch+json',
  })
  if (reply.status !== 200) throw failure(reply, `Annotating the image stream ${repository}`, kube)
}
