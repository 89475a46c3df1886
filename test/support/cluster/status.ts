import type { Answer } from './http.ts'
import type { User, Verb } from './state.ts'

/** The error bodies of the Kubernetes API (apimachinery pkg/api/errors), word for word. */

const GROUPS: Readonly<Record<string, string>> = {
  imagestreams: 'image.openshift.io',
  imagestreamtags: 'image.openshift.io',
  imagestreamimages: 'image.openshift.io',
  users: 'user.openshift.io',
  oauthaccesstokens: 'oauth.openshift.io',
  oauthauthorizetokens: 'oauth.openshift.io',
  useroauthaccesstokens: 'oauth.openshift.io',
  projects: 'project.openshift.io',
  selfsubjectreviews: 'authentication.k8s.io',
  selfsubjectaccessreviews: 'authorization.k8s.io',
}

/** Thrown by an endpoint: the request ends with this Status. */
export class Failure extends Error {
  readonly answer: Answer
  constructor(code: number, reason: string, message: string, details?: object) {
    super(message)
    this.answer = json(code, {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason,
      ...(details && { details }),
      code,
    })
  }
}

/** Go's encoder ends every body with a newline. */
export function json(status: number, body: object): Answer {
  return { status, headers: { 'Content-Type': 'application/json' }, body: `${JSON.stringify(body)}\n` }
}

export function unauthorized(): Failure {
  return new Failure(401, 'Unauthorized', 'Unauthorized')
}

export function notFound(resource: string, name: string): Failure {
  return new Failure(404, 'NotFound', `${qualified(resource)} "${name}" not found`, about(resource, name))
}

export function conflict(resource: string, name: string): Failure {
  return new Failure(409, 'AlreadyExists', `${qualified(resource)} "${name}" already exists`, about(resource, name))
}

export function badRequest(message: string): Failure {
  return new Failure(400, 'BadRequest', message)
}

/** @param kind e.g. `ImageStream`; @param cause e.g. `metadata.name: Required value`. */
export function invalid(kind: string, resource: string, name: string, cause: string): Failure {
  const [field, ...rest] = cause.split(': ')
  const details = {
    name,
    group: GROUPS[resource] ?? '',
    kind,
    causes: [{ reason: 'FieldValueInvalid', message: rest.join(': '), field }],
  }
  return new Failure(422, 'Invalid', `${kind}${suffix(resource)} "${name}" is invalid: ${cause}`, details)
}

/** Admission (quota, limit range) refuses with a reason of its own. */
export function refused(resource: string, name: string, why: string): Failure {
  return new Failure(403, 'Forbidden', `${qualified(resource)} "${name}" is forbidden: ${why}`, about(resource, name))
}

/** RBAC refuses. `resource` may carry a subresource: `serviceaccounts/token`. */
export function forbidden(user: User, verb: Verb, resource: string, ns: string, name = ''): Failure {
  const main = resource.split('/', 1)[0] ?? ''
  const where = ns === '' ? 'at the cluster scope' : `in the namespace "${ns}"`
  const what = `${qualified(main)}${name ? ` "${name}"` : ''} is forbidden`
  const why = `User "${user.name}" cannot ${verb} resource "${resource}" in API group "${GROUPS[main] ?? ''}" ${where}`
  return new Failure(403, 'Forbidden', `${what}: ${why}`, about(main, name))
}

/** @param verb the request's method in lower case */
export function forbiddenPath(user: User, path: string, verb = 'get'): Failure {
  return new Failure(403, 'Forbidden', `forbidden: User "${user.name}" cannot ${verb} path "${path}"`, {})
}

/** A group or path that the server does not have. */
export function noSuchPath(): Answer {
  return { status: 404, headers: { 'Content-Type': 'text/plain; charset=utf-8' }, body: '404 page not found\n' }
}

function qualified(resource: string): string {
  return `${resource}${suffix(resource)}`
}

function suffix(resource: string): string {
  return GROUPS[resource] ? `.${GROUPS[resource]}` : ''
}

function about(resource: string, name: string): object {
  return { ...(name && { name }), ...(GROUPS[resource] && { group: GROUPS[resource] }), kind: resource }
}
