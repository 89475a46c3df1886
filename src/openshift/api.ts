import { z } from 'zod'
import type { Context } from '../core/context.ts'
import { asPromoteError, type Code, PromoteError } from '../core/errors.ts'
import { parseJson } from '../core/json.ts'
import { cut, displayUrl, oneLine, visible } from '../core/text.ts'
import type { Network } from '../http/client.ts'
import type { Login } from '../http/credential.ts'
import { readErrorBody } from '../http/error-body.ts'
import { header, retryAfter, text } from '../http/response.ts'
import type { Method, Request, Response, Send } from '../transport/request.ts'
import { afterRefusal } from './token-refusal.ts'

/** The sides that can have a cluster. */
export type ClusterSide = 'source' | 'destination'

/** Bytes of an answer: all objects but image streams are far smaller. */
export const OBJECT_LIMIT = 1024 * 1024
/** Bytes: an image stream has a history of each tag, and with thousands of tags some MiB. */
export const STREAM_LIMIT = 16 * 1024 * 1024
/** Characters of a server's text in a message. */
const QUOTE_LIMIT = 400

/** A response with its whole body. */
export type Reply = Readonly<{
  status: number
  html: boolean
  body: string
  /** Milliseconds. */
  retryAfter: number | undefined
  headers: Response['headers']
  /** The last address, if a redirect left the API's origin. */
  elsewhere: URL | undefined
}>

type RequestOptions = { body?: unknown; type?: string; limit?: number; afterCancel?: boolean; retry?: false }

/** The API server with one credential. Any status is a reply; a request without an answer throws a PromoteError. */
export type Kubernetes = Readonly<{
  url: URL
  side: ClusterSide
  network: Network
  context: Context
  /** The credential of the requests. Undefined: none, or a client certificate. */
  login: Login | undefined
  /** The same server with another credential. */
  as(login: Login): Kubernetes
  request(method: Method, path: string, options?: RequestOptions): Promise<Reply>
}>

export function kubernetes(url: URL, side: ClusterSide, network: Network, context: Context, login?: Login): Kubernetes {
  const send = login === undefined ? network.send : network.as(url, login)
  // Rancher serves the API of each cluster below a path.
  const base = url.pathname.replace(/(?<!\/)\/+$/, '')
  return {
    url,
    side,
    network,
    context,
    login,
    as: (other) => kubernetes(url, side, network, context, other),
    request: async (method, path, options = {}) => {
      const { type = 'application/json', limit = OBJECT_LIMIT, afterCancel, retry } = options
      const body = options.body === undefined ? undefined : JSON.stringify(options.body)
      const headers = { accept: 'application/json', ...(body === undefined ? {} : { 'content-type': type }) }
      const request: Request = { method, url: new URL(base + path, url), headers, body, afterCancel, retry }
      const reply = await read(send, request, limit, side)
      if (reply.elsewhere === undefined) return reply
      // The answer of another origin must not name the registry that gets the token, or the user.
      const to = displayUrl(reply.elsewhere)
      const message = `${url.host} redirected a request for its API to ${to}, whose answer is not used.`
      throw new PromoteError('NOT_A_CLUSTER', message, { side, status: reply.status, hint: apiUrlHint(url, side) })
    },
  }
}

/** Sends one request and reads its whole answer. Errors name the side. */
export async function read(send: Send, request: Request, limit: number, side: ClusterSide): Promise<Reply> {
  try {
    const res = await send(request)
    const body = await text(res, limit)
    const type = header(res, 'content-type') ?? ''
    const html = /^text\/html/i.test(type) || /^\s*<(?:!doctype html|html)/i.test(body)
    const elsewhere = res.leftOrigin === true ? res.url : undefined
    return { status: res.status, html, body, retryAfter: retryAfter(res), headers: res.headers, elsewhere }
  } catch (thrown) {
    throw asPromoteError(thrown, side)
  }
}

/** A path with each value as exactly one encoded segment: path`/api/v1/namespaces/${namespace}`. */
export function path(parts: TemplateStringsArray, ...values: readonly string[]): string {
  return parts.reduce((whole, part, i) => `${whole}${segment(values[i - 1] ?? '')}${part}`)
}

/** `.` and `..` leave the folder even when they are percent-encoded (WHATWG URL, "double-dot path segment"). */
function segment(value: string): string {
  if (value === '' || value === '.' || value === '..')
    throw new PromoteError('USAGE', `"${value}" is not a name that Kubernetes allows.`, { side: 'input' })
  return encodeURIComponent(value)
}

const statusSchema = z.looseObject({
  kind: z.literal('Status'),
  message: z.string().nullish(),
  reason: z.string().nullish(),
  details: z.looseObject({ name: z.string().nullish(), kind: z.string().nullish() }).nullish(),
})

/** The JSON of a reply, if it has this form. */
export function parsed<T>({ body }: Reply, schema: z.ZodType<T>): T | undefined {
  return schema.safeParse(parseJson(body)).data
}

/** meta/v1 Status, if the reply is one: then Kubernetes itself refused, and not a proxy in front of it. */
export function statusOf(reply: Reply): z.infer<typeof statusSchema> | undefined {
  return parsed(reply, statusSchema)
}

/** What the server said, for a message: `403 "imagestreams … is forbidden"`, bounded and without secrets. */
export function said({ status, html, body }: Reply, { secrets }: Context): string {
  const { server, said } = readErrorBody(body, html ? 'text/html' : '', (text) => secrets.redact(text))
  const message = server[0]?.message ?? ''
  return `${status} ${message === '' ? said : `"${message}"`}`.trim()
}

/** Text of a server for a message: redacted, because a server may repeat what it was sent, and bounded after that. */
export function saidBy(words: string, context: Context): string {
  return oneLine(context.secrets.redact(visible(words)), QUOTE_LIMIT)
}

/** A name that a server chose, as one word of a shell command. */
export function word(name: string): string {
  return /^[\w.:@/+=-]+$/.test(name) ? name : `'${name.replaceAll("'", `'\\''`)}'`
}

/** `new URL` without the exception; URL.parse came with Node 22. */
export function parseUrl(text: string, base?: URL): URL | undefined {
  return URL.canParse(text, base?.href) ? new URL(text, base) : undefined
}

export function decode<T>(reply: Reply, schema: z.ZodType<T>, tried: string, kube: Kubernetes): T {
  const data = parsed(reply, z.unknown())
  if (data === undefined) throw failure(reply, tried, kube)
  const result = schema.safeParse(data)
  if (result.success) return result.data
  const where = saidBy(result.error.issues.map((issue) => issue.path.join('.')).join(', '), kube.context)
  const message = `${tried}: ${kube.url.host} answered with unexpected JSON (at ${where}).`
  throw new PromoteError('PROTOCOL', message, { side: kube.side, status: reply.status })
}

/** What an unexpected answer of the API means. */
export function failure(reply: Reply, tried: string, kube: Kubernetes): PromoteError {
  if (reply.status === 401)
    return refusal('TOKEN_REJECTED', reply, tried, kube, kube.login && afterRefusal(kube.login, kube.side))
  if (reply.html || reply.status === 404)
    return refusal('NOT_A_CLUSTER', reply, tried, kube, apiUrlHint(kube.url, kube.side))
  if (reply.status === 403) return refusal('DENIED', reply, tried, kube)
  if (!isTransient(reply)) return refusal('PROTOCOL', reply, tried, kube)
  const code = reply.status === 429 ? 'RATE_LIMITED' : 'UNAVAILABLE'
  return refusal(code, reply, tried, kube, 'The API server is overloaded or restarting: run again later.')
}

/** An error that quotes an answer of the API after what was tried. */
export function refusal(code: Code, reply: Reply, tried: string, kube: Kubernetes, hint?: string): PromoteError {
  const { status, retryAfter } = reply
  const message = `${tried}: ${kube.url.host} answered ${said(reply, kube.context)}.`
  return new PromoteError(code, message, { side: kube.side, status, retryAfter, transient: isTransient(reply), hint })
}

function isTransient({ status }: Reply): boolean {
  return status === 429 || status >= 500
}

/** The usual mistake is the console's URL; its host name tells the API's. */
export function apiUrlHint(url: URL, side: ClusterSide): string {
  const domain = /\.apps\.(.+)/s.exec(url.hostname)?.[1]
  const example = `https://api.${domain ?? '<cluster>'}:6443`
  return `Set ${side}-cluster to the URL of the API server, usually ${example}; \`oc whoami --show-server\` prints it.`
}

/**
 * A change that was refused although the user has the role: quota, a project that is being deleted, an admission webhook or
 * policy, a token with narrow scopes. Undefined: RBAC refused it (`User "x" cannot create resource …`), or the answer is not a refusal.
 * Sources: kubernetes plugin/pkg/admission (resourcequota, namespace/lifecycle), apiserver pkg/admission/plugin (webhook/errors,
 * policy/validating).
 */
export function notByRole(reply: Reply, tried: string, kube: Kubernetes, project: string): PromoteError | undefined {
  const words = cut(statusOf(reply)?.message ?? '', 4000)
  const has = (...parts: readonly string[]) => parts.every((part) => words.includes(part))
  const because = (code: Code, hint: string) => refusal(code, reply, tried, kube, hint)
  if (has('failed calling webhook'))
    return because('UNAVAILABLE', 'A webhook of the cluster does not answer: tell its owner, and run again later.')
  if (has('admission webhook', ' denied the request') || has('ValidatingAdmissionPolicy', ' denied request'))
    return because(
      'DENIED',
      'No role is missing: a policy of the cluster refuses it. Do what it asks for, or talk to its owner.',
    )
  if (reply.status !== 403 || words === '') return undefined
  if (/exceeded quota|status unknown for quota|forbidden: (?:(?!forbidden: )[^"])*exceeds/i.test(words))
    return because(
      'QUOTA',
      `Remove image streams that are not needed, or have the quota raised: oc describe quota -n ${project}`,
    )
  if (has('because it is being terminated')) return because('PROJECT_MISSING', terminatingHint(project))
  if (has('prevent this action'))
    return because('DENIED', 'The scopes of the token do not allow it: use a token with the scope user:full.')
  if (has('cannot create ')) return undefined
  return because('DENIED', 'The cluster refuses it for the reason that it gives, and not for a missing role.')
}

export function terminatingHint(project: string): string {
  return `The project ${project} is being deleted. Create it again when it is gone, or promote to another project.`
}
