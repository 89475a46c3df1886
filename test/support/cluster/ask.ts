import { Agent, request } from 'node:https'
import { type ClusterOptions, type EmbeddedCluster, startCluster } from './cluster.ts'

/** What a test asks a server, over a verified connection of its own. */
export interface Question {
  method?: string
  headers?: Record<string, string>
  /** Objects are sent as JSON, `URLSearchParams` as a form. */
  body?: string | object
  bearer?: string
  /** `user:password` */
  basic?: string
  /** A client certificate. */
  pair?: { cert: string; key: string }
}

export interface Reply {
  readonly status: number
  /** Every line of every header, names in lower case. */
  readonly headers: Readonly<Record<string, string[] | undefined>>
  readonly text: string
  /** The body as JSON; throws when it is none. */
  json<T = Record<string, unknown>>(): T
}

/** @param ca PEM of the only authority that counts */
export async function ask(ca: string, url: URL | string, question: Question = {}): Promise<Reply> {
  const { body, bearer, basic } = question
  const form = body instanceof URLSearchParams
  const payload = body === undefined ? undefined : form || typeof body === 'string' ? `${body}` : JSON.stringify(body)
  const headers: Record<string, string> = {
    ...(body !== undefined && { 'content-type': form ? 'application/x-www-form-urlencoded' : 'application/json' }),
    ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
    ...(basic !== undefined && { authorization: `Basic ${Buffer.from(basic, 'utf8').toString('base64')}` }),
    ...question.headers,
  }
  const agent = new Agent({ ca, ...question.pair })
  try {
    return await new Promise<Reply>((done, fail) => {
      const sent = request(url, { agent, method: question.method ?? 'GET', headers }, (res) => {
        const chunks: Buffer[] = []
        res.on('data', (chunk: Buffer) => chunks.push(chunk))
        res.on('error', fail)
        res.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8')
          done({ status: res.statusCode ?? 0, headers: res.headersDistinct, text, json: () => JSON.parse(text) })
        })
      })
      sent.on('error', fail)
      sent.end(payload)
    })
  } finally {
    agent.destroy()
  }
}

/** @param user login name, `ns:account`, or '' for an anonymous user */
export function askApi(cluster: EmbeddedCluster, user: string, path: string, question: Question = {}): Promise<Reply> {
  const [ns = '', account] = user.split(':')
  const bearer = account === undefined ? user && cluster.token(user) : cluster.serviceAccountToken(ns, account)
  return ask(cluster.ca.api, new URL(path, cluster.api), { ...question, ...(bearer && { bearer }) })
}

/** Runs in a cluster of its own, which must not have met anything unexpected. */
export async function within(options: ClusterOptions, run: (cluster: EmbeddedCluster) => Promise<void>): Promise<void> {
  const cluster = await startCluster(options)
  try {
    await run(cluster)
    if (cluster.unexpected.length > 0) throw new Error(`unexpected: ${cluster.unexpected.join(', ')}`)
  } finally {
    await cluster.close()
  }
}
