import { z } from 'zod'
import { splitRepository } from './image-stream.ts'
import { decode, type Kubernetes, word } from './kubernetes.ts'

/** `resource` with its subresource: `imagestreams/layers`. Without `name`: for every object of the namespace. */
export type Question = Readonly<{ verb: string; resource: string; namespace: string; name?: string }>

/** Whether what a promotion does in a project is allowed, as far as the API tells. */
export type Rights = Readonly<{
  state: 'sufficient' | 'missing' | 'unknown'
  /** `update imagestreams/layers`, … */
  missing: readonly string[]
  /** The command that grants them; null when nothing is missing. */
  grant: string | null
}>

const accessSchema = z.looseObject({ status: z.looseObject({ allowed: z.boolean() }) })

/** SelfSubjectAccessReview (authorization.k8s.io/v1): asks and changes nothing. Undefined when the API won't tell. */
export async function isAllowed(kube: Kubernetes, question: Question): Promise<boolean | undefined> {
  const [resource = '', subresource] = question.resource.split('/')
  const { verb, namespace, name } = question
  const attributes = { namespace, name, verb, group: 'image.openshift.io', resource, subresource }
  const reply = await kube.request('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
    body: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes: attributes },
    },
  })
  if (reply.status !== 200 && reply.status !== 201) return undefined
  return decode(reply, accessSchema, `Asking for the right to ${verb} ${question.resource}`, kube).status.allowed
}

export type Parts = Readonly<{
  /** Who creates streams and removes tags. */
  kube: Kubernetes
  /** Who pushes. */
  registry: Kubernetes
  registryUser: string
}>

export type Needs = Readonly<{
  /** The image stream is not there yet. */
  create: boolean
  /** A tag that is new may have to go again (atomic, rollback). */
  remove: boolean
}>

/** Rights of the destination. A right to the whole project is asked for once, whatever the number of its streams. */
export function openRights({
  kube,
  registry,
  registryUser,
}: Parts): (repository: string, needs: Needs) => Promise<Rights> {
  const asked = new Map<string, Promise<boolean | undefined>>()
  const ask = (by: Kubernetes, question: Question): Promise<boolean | undefined> => {
    const key = JSON.stringify([by === kube, question])
    const known = asked.get(key) ?? isAllowed(by, question).catch(() => undefined)
    asked.set(key, known)
    return known
  }
  const may = async (by: Kubernetes, question: Question): Promise<boolean | undefined> => {
    const { name, ...everywhere } = question
    return (await ask(by, everywhere)) === true || ask(by, question)
  }
  return async (repository, { create, remove }) => {
    const { namespace, name } = splitRepository(repository, kube.side)
    const wanted = [
      { by: registry, verb: 'get', resource: 'imagestreams/layers' },
      { by: registry, verb: 'update', resource: 'imagestreams/layers' },
      ...(create ? [{ by: kube, verb: 'create', resource: 'imagestreams' }] : []),
      ...(remove ? [{ by: kube, verb: 'delete', resource: 'imagestreamtags' }] : []),
    ]
    const answers = await Promise.all(
      wanted.map(({ by, verb, resource }) => may(by, { verb, resource, namespace, name })),
    )
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
