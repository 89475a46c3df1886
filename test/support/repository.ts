import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { type IncomingMessage, Agent as PlainAgent, request as plainRequest } from 'node:http'
import { Agent as TlsAgent, request as tlsRequest } from 'node:https'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gunzipSync } from 'node:zlib'
import { extract } from 'tar-stream'

/** Reads repositories for the verifier. Nothing here comes from `src`: a mistake there must not repeat itself here. */

export type Descriptor = Readonly<{
  mediaType?: string
  digest: string
  size?: number
  platform?: Readonly<{ os: string; architecture: string; variant?: string; 'os.version'?: string }>
  annotations?: Readonly<Record<string, string>>
  urls?: readonly string[]
}>

export type Document = Readonly<{
  mediaType?: string
  config?: Descriptor
  layers?: readonly Descriptor[]
  manifests?: readonly Descriptor[]
  subject?: Descriptor
}>

/** One repository as its readers see it. */
export interface Repository {
  /** Bytes of a manifest by tag or digest; undefined when the registry says that it does not have it. */
  manifest(reference: string): Promise<Buffer | undefined>
  /** Where a tag is; undefined when it does not exist. */
  digest(tag: string): Promise<string | undefined>
  /** Size of a blob that is stored; undefined when it is not. */
  blob(digest: string): Promise<number | undefined>
  /** The list of the referrers API; undefined where there is no such API. */
  referrers(subject: string): Promise<readonly Descriptor[] | undefined>
  /** The names of all tags. */
  tags(): Promise<readonly string[]>
}

/** Where a registry answers, and how it lets the verifier in. */
export type Door = Readonly<{ url: URL; ca?: string; authorization?: string }>

const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ')

const plainAgent = new PlainAgent({ keepAlive: true })
const tlsAgent = new TlsAgent({ keepAlive: true })

type Answer = Readonly<{ status: number; headers: IncomingMessage['headers']; body: Buffer }>

async function ask(door: Door, method: string, path: string): Promise<Answer> {
  const { protocol, hostname, port } = door.url
  const headers = { accept: ACCEPT, ...(door.authorization && { authorization: door.authorization }) }
  const to = { hostname, port, path, method, headers }
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const sent =
      protocol === 'https:'
        ? tlsRequest({ ...to, agent: tlsAgent, ca: door.ca, rejectUnauthorized: door.ca !== undefined }, resolve)
        : plainRequest({ ...to, agent: plainAgent }, resolve)
    sent.once('error', reject).end()
  })
  return { status: response.statusCode ?? 0, headers: response.headers, body: await buffer(response) }
}

export function overHttp(door: Door, name: string): Repository {
  const at = (rest: string) => `/v2/${name}/${rest}`
  const unclear = (what: string, { status, body }: Answer) =>
    new Error(`the verifier asked ${door.url.host} for ${what} and was told ${status} ${body.toString('utf8', 0, 300)}`)
  const manifest = async (reference: string) => {
    const answer = await ask(door, 'GET', at(`manifests/${reference}`))
    if (answer.status === 200) return answer.body
    // OpenShift says 500 for a digest of an image stream that does not exist.
    if (answer.status === 404 || answer.status === 500) return undefined
    throw unclear(reference, answer)
  }
  return {
    manifest,
    digest: (tag) => manifest(tag).then(digestIfThere),
    async blob(digest) {
      const answer = await ask(door, 'HEAD', at(`blobs/${digest}`))
      if (answer.status === 404) return undefined
      // Object storage has it: the registry only points there.
      if (answer.status === 307) return Number.NaN
      if (answer.status === 200) return Number(answer.headers['content-length'])
      throw unclear(digest, answer)
    },
    async referrers(subject) {
      const answer = await ask(door, 'GET', at(`referrers/${subject}`))
      if (answer.status === 404) return undefined
      if (answer.status !== 200) throw unclear(`referrers of ${subject}`, answer)
      const next = /<([^>]+)>/.exec(String(answer.headers.link ?? ''))?.[1]
      return [...entriesOf(answer.body), ...(next === undefined ? [] : await following(door, next))]
    },
    async tags() {
      const answer = await ask(door, 'GET', at('tags/list?n=10000'))
      if (answer.status === 404) return []
      if (answer.status !== 200) throw unclear('tags', answer)
      return JSON.parse(answer.body.toString()).tags ?? []
    },
  }
}

async function following(door: Door, target: string): Promise<readonly Descriptor[]> {
  const { pathname, search } = new URL(target, door.url)
  const answer = await ask(door, 'GET', pathname + search)
  const next = /<([^>]+)>/.exec(String(answer.headers.link ?? ''))?.[1]
  return [...entriesOf(answer.body), ...(next === undefined ? [] : await following(door, next))]
}

/** Files of a layout by their path inside it. */
export interface Files {
  read(path: string): Promise<Buffer | undefined>
  size(path: string): Promise<number | undefined>
}

export function filesIn(folder: string): Files {
  return {
    read: (path) => readFile(join(folder, path)).catch(() => undefined),
    size: async (path) => (await stat(join(folder, path)).catch(() => undefined))?.size,
  }
}

export function filesOf(archive: string): Files {
  let found: Promise<Map<string, Buffer>> | undefined
  const files = async () => (found ??= unpacked(archive))
  return {
    read: async (path) => (await files()).get(path),
    size: async (path) => (await files()).get(path)?.length,
  }
}

async function unpacked(archive: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  const bytes = await readFile(archive)
  const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b
  const reading = Readable.from([isGzip ? gunzipSync(bytes) : bytes]).pipe(extract())
  for await (const entry of reading) files.set(entry.header.name.replace(/^\.\//, ''), await buffer(entry))
  return files
}

/** An OCI layout (image-spec image-layout.md). Its names are `<prefix><tag>`. */
export function inLayout({ read, size }: Files, prefix: string): Repository {
  const fileOf = (digest: string) => `blobs/${digest.replace(':', '/')}`
  const entries = async () => entriesOf(await read('index.json'))
  const nameOf = ({ annotations }: Descriptor) => annotations?.['org.opencontainers.image.ref.name']
  const manifest = async (reference: string) => {
    if (reference.includes(':')) return read(fileOf(reference))
    const entry = (await entries()).find((each) => nameOf(each) === prefix + reference)
    return entry && read(fileOf(entry.digest))
  }
  return {
    manifest,
    digest: (tag) => manifest(tag).then(digestIfThere),
    blob: (digest) => size(fileOf(digest)),
    async referrers(subject) {
      const found: Descriptor[] = []
      for (const entry of await entries())
        if (parse(await manifest(entry.digest))?.subject?.digest === subject) found.push(entry)
      return found
    },
    tags: async () =>
      (await entries()).flatMap((entry) => {
        const name = nameOf(entry)
        return name?.startsWith(prefix) ? [name.slice(prefix.length)] : []
      }),
  }
}

/** @param like a digest whose algorithm is wanted; default SHA-256. */
export function digestOf(bytes: Uint8Array, like = 'sha256:'): string {
  const [algorithm = ''] = like.split(':')
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}

function digestIfThere(bytes: Uint8Array | undefined): string | undefined {
  return bytes && digestOf(bytes)
}

/** Undefined when the bytes are not a JSON object. */
export function parse(bytes: Uint8Array | undefined): Document | undefined {
  try {
    const document = JSON.parse(Buffer.from(bytes ?? []).toString('utf8'))
    return typeof document === 'object' && document !== null ? document : undefined
  } catch {
    return undefined
  }
}

function entriesOf(bytes: Uint8Array | undefined): readonly Descriptor[] {
  return parse(bytes)?.manifests ?? []
}
