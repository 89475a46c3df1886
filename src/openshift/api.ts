import { z } from 'zod'
import type { Context } from '../core/context.ts'
import { asPromoteError, type Code, PromoteError } from '../core/errors.ts'
import { displayUrl, oneLine, visible } from '../core/text.ts'
import type { Network } from '../http/client.ts'
import type { Login } from '../http/credential.ts'
import { readErrorBody } from '../http/error-body.ts'
import { header, retryAfter, text } from '../http/response.ts'
import type { Method, Request, Response, Send } from '../transport/request.ts'
import { afterRefusal } from './token-refusal.ts'

/** The sides that can have a cluster. */
export type ClusterSide = 'source' | 'destination'

/** Every object but image streams fits many times over. */
export const OBJECT_LIMIT = 1024 * 1024
/** An image stream keeps a history per tag: thousands of tags make some MiB. */
export const STREAM_LIMIT = 16 * 1024 * 1024
/** Enough of a server's words for a reader; the rest is repetition. */
const QUOTE_LIMIT = 400

/** An answer, read to its end. */
export type Reply = Readonly<{
  status: number
  html: boolean
  body: string
  /** Milliseconds. */
  retryAfter: number | undefined
  headers: Response['headers']
  /** A redirect left the API's origin: its last address. */
  elsewhere: URL | undefined
}>

type RequestOptions = { body?: unknown; type?: string; limit?: number; afterCancel?: boolean; once?: boolean }

/** The API server as one credential sees it. Any status is a reply; no answer at all is a PromoteError. */
export type Kubernetes = Readonly<{
  url: URL
  side: ClusterSide
  network: Network
  context: Context
  /** Whose credential the requests carry. Undefined: nobody's, or that of a client certificate. */
  login: Login | undefined
  /** The same server, as another credential sees it. */
  as(login: Login): Kubernetes
  request(method: Method, path: string, options?: RequestOptions): Promise<Reply>
}>

export function kubernetes(
  url: URL,
  side: ClusterSide,
  network: Network,
  context: Context,
  login?: Login | undefined,
): Kubernetes {
  const send = login === undefined ? network.send : network.as(url, login)
  // Rancher keeps the API of each cluster below a path.
  const base = url.pathname.replace(/(?<!\/)\/+$/, '')
  return {
    url,
    side,
    network,
    context,
    login,
    as: (other) => kubernetes(url, side, network, context, other),
    request: async (method, path, options = {}) => {
      const { type = 'application/json', limit = OBJECT_LIMIT, afterCancel, once = false } = options
      const body = options.body === undefined ? undefined : JSON.stringify(options.body)
      const headers = { accept: 'application/json', ...(body === undefined ? {} : { 'content-type': type }) }
      const request: Request = { method, url: new URL(base + path, url), headers, body, afterCancel }
      const reply = await read(send, once ? { ...request, retry: false } : request, limit, side)
      if (reply.elsewhere !== undefined) throw redirected(url, reply, reply.elsewhere, side)
      return reply
    },
  }
}

/** One request and its whole answer; failures name the side. */
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

/** What another origin says decides nothing: which registry gets the token, who logged in, what is there. */
function redirected(api: URL, { status }: Reply, to: URL, side: ClusterSide): PromoteError {
  const message = `${api.host} redirected a request for its API to ${displayUrl(to)}, whose answer is not used.`
  return new PromoteError('NOT_A_CLUSTER', message, { side, status, hint: apiUrlHint(api, side) })
}

/** A path with each value as exactly one encoded segment: path`/api/v1/namespaces/${namespace}`. */
export function path(parts: TemplateStringsArray, ...values: readonly string[]): string {
  return parts.reduce((whole, part, i) => `${whole}${segment(values[i - 1] ?? '')}${part}`)
}

/** `.` and `..` would climb out of the path even when percent-encoded (WHATWG URL, "double-dot path segment"). */
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

/** The JSON of a reply, when it has this form. */
export function parsed<T>({ body }: Reply, schema: z.ZodType<T>): T | undefined {
  try {
    return schema.safeParse(JSON.parse(body)).data
  } catch {
    return undefined
  }
}

/** meta/v1 Status, when the reply is one: a refusal by Kubernetes itself and not by something in front of it. */
export function statusOf(reply: Reply): z.infer<typeof statusSchema> | undefined {
  return parsed(reply, statusSchema)
}

/** The server's own words for a message: `403 "imagestreams … is forbidden"`, bounded and without secrets. */
export function said({ status, html, body }: Reply, { secrets }: Context): string {
  const { server, said } = readErrorBody(body, html ? 'text/html' : '', (text) => secrets.redact(text))
  const message = server[0]?.message ?? ''
  return `${status} ${message === '' ? said : `"${message}"`}`.trim()
}

/** Text of a server, bounded and clean; a server may echo what it was sent, so it is redacted (before a cut could hide that). */
export function saidBy(words: string, context: Context): string {
  return oneLine(context.secrets.redact(visible(words)), QUOTE_LIMIT)
}

/** A name as one word of a command to paste: a server chose it. */
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
  const message = `${tried}: ${kube.url.host} answered ${said(reply, kube.context)}.`
  return new PromoteError(codeOf(reply), message, {
    side: kube.side,
    status: reply.status,
    retryAfter: reply.retryAfter,
    transient: reply.status === 429 || reply.status >= 500,
    hint: hintOf(codeOf(reply), kube),
  })
}

function codeOf(reply: Reply): Code {
  if (reply.status === 401) return 'TOKEN_REJECTED'
  if (reply.status === 429) return 'RATE_LIMITED'
  if (reply.html || reply.status === 404) return 'NOT_A_CLUSTER'
  if (reply.status === 403) return 'DENIED'
  return reply.status >= 500 ? 'UNAVAILABLE' : 'PROTOCOL'
}

function hintOf(code: Code, kube: Kubernetes): string | undefined {
  if (code === 'TOKEN_REJECTED' && kube.login !== undefined) return afterRefusal(kube.login, kube.side)
  if (code === 'NOT_A_CLUSTER') return apiUrlHint(kube.url, kube.side)
  if (code === 'UNAVAILABLE' || code === 'RATE_LIMITED')
    return 'The API server is overloaded or restarting: run again later.'
  return undefined
}

/** The usual mistake is the console's URL; its host name tells the API's. */
export function apiUrlHint(url: URL, side: ClusterSide): string {
  const domain = /\.apps\.(.+)/s.exec(url.hostname)?.[1]
  const example = `https://api.${domain ?? '<cluster>'}:6443`
  return `Set ${side}-cluster to the URL of the API server, usually ${example}; \`oc whoami --show-server\` prints it.`
}
