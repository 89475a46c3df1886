import { z } from 'zod'
import type { Context } from '../context.ts'
import type { Credential } from '../credential.ts'
import { type FileToRead, fileError } from './read-file.ts'
import { basicCredential, bearerCredential } from './renewal.ts'

/** What a login is looked up for. */
export type RegistryKey = Readonly<{
  /** `host[:port]`, as it was written where that is known: a key that is the same word for word goes first. */
  host: string
  /** `namespace/name` */
  repository: string
  /** The registry speaks http: port 80 is its default, not 443. */
  plainHttp?: boolean | undefined
}>

/** One entry of `auths` (docker's `AuthConfig`, containers-auth.json(5)); what isn't read here may have any shape. */
const Entry = z.object({
  auth: z.string().nullish(),
  username: z.string().nullish(),
  password: z.string().nullish(),
  identitytoken: z.string().nullish(),
  registrytoken: z.string().nullish(),
})

const Anything = z.record(z.string(), z.unknown())

const File = z.looseObject({
  auths: Anything.nullish(),
  credHelpers: Anything.nullish(),
  credsStore: z.string().nullish(),
})

export type AuthFile = Readonly<{
  from: FileToRead
  /** Key as written → entry as written. */
  auths: ReadonlyMap<string, unknown>
  /** Key as written → name of the helper. */
  credHelpers: ReadonlyMap<string, unknown>
  credsStore: string | undefined
}>

/**
 * docker's config.json, containers' auth.json, or a `.dockercfg`, which has its hosts at the top (kubernetes.io/dockercfg).
 * Throws IO.
 */
export function parseAuthFile(text: string, from: FileToRead): AuthFile {
  const file = File.safeParse(parseJson(text, from))
  if (!file.success) throw malformed(from, describeIssue(file.error))
  const { auths, credHelpers, credsStore } = file.data
  const legacy = auths == null && credHelpers == null && credsStore == null
  return {
    from,
    auths: new Map(Object.entries((legacy ? file.data : auths) ?? {})),
    credHelpers: new Map(Object.entries(credHelpers ?? {})),
    credsStore: credsStore || undefined,
  }
}

/** The first thing that zod found: where and what was expected; never the value. */
export function describeIssue(error: z.ZodError, within = ''): string {
  const issue = error.issues[0]
  const where = [within, issue?.path.join('.') ?? ''].filter((part) => part !== '').join(', ')
  return `has an unexpected form${where === '' ? '' : ` (${where})`}: ${issue?.message ?? 'unknown'}`
}

/**
 * The helper named for a host: undefined where there is none; '' is docker's "no helper for this one", which turns
 * `credsStore` off.
 */
export function helperOf(file: AuthFile, host: string, plainHttp = false): string | undefined {
  const [first] = matching(file.credHelpers, host, plainHttp)
  if (first === undefined) return undefined
  const [, name] = first
  if (typeof name !== 'string') throw malformed(file.from, 'names a credential helper that is not a string')
  return name
}

export type Lookup = Readonly<{
  credential: Credential | undefined
  /** The key of its entry, as written. */
  entry?: string
  /** There is an entry, if only an empty one. */
  mentioned: boolean
}>

/**
 * The credential of the longest key that fits: `host/a/b`, `host/a`, `host` (containers-auth.json(5)). An empty entry (`{}`)
 * holds none. Throws IO.
 */
export function findEntry(file: AuthFile, key: RegistryKey, context: Context): Lookup {
  let mentioned = false
  for (const wanted of keysFor(key)) {
    for (const [entry, value] of matching(file.auths, wanted, key.plainHttp)) {
      mentioned = true
      const credential = readEntry(value, file.from, context)
      if (credential !== undefined) return { credential, entry, mentioned }
    }
  }
  return { credential: undefined, mentioned }
}

function keysFor({ host, repository }: RegistryKey): string[] {
  const parts = repository.split('/').filter((part) => part !== '')
  return [...parts.map((_, index) => [host, ...parts.slice(0, parts.length - index)].join('/')), host]
}

/** Entries for the same place: the key that is the same word for word, other keys without a scheme, keys with one. */
function matching(entries: ReadonlyMap<string, unknown>, wanted: string, plainHttp = false): [string, unknown][] {
  const rank = (raw: string): number => (raw === wanted ? 0 : /^https?:/i.test(raw) ? 2 : 1)
  const place = normaliseKey(wanted, plainHttp)
  const fits = [...entries].filter(([raw]) => normaliseKey(raw, plainHttp) === place)
  return fits.sort(([one], [other]) => rank(one) - rank(other))
}

const DOCKER_HUB = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io'])

/**
 * `host[:port][/namespace…]`, however a key is written. A path after a scheme (docker's `https://host/v1/`) says
 * nothing; without one it's a namespace (containers-auth.json(5)). The default port is left out, as in a URL.
 */
export function normaliseKey(raw: string, plainHttp = false): string {
  const [, scheme, bare = ''] = /^(?:(https?):\/\/)?(.*)$/is.exec(raw) ?? []
  const isHttp = scheme === undefined ? plainHttp : scheme.toLowerCase() === 'http'
  const slash = bare.indexOf('/')
  const host = (slash < 0 ? bare : bare.slice(0, slash)).toLowerCase().replace(isHttp ? /:80$/ : /:443$/, '')
  const rest = slash < 0 || bare !== raw ? '' : bare.slice(slash + 1)
  const namespace = rest === 'v1/' || rest === 'v2/' ? '' : rest.endsWith('/') ? rest.slice(0, -1) : rest
  const name = DOCKER_HUB.has(host) ? 'docker.io' : host
  return namespace === '' ? name : `${name}/${namespace}`
}

function readEntry(value: unknown, from: FileToRead, context: Context): Credential | undefined {
  const entry = Entry.safeParse(value).data
  if (entry === undefined) throw malformed(from, 'has an entry of an unexpected form for this registry')
  // docker's order: a registry token is sent as it is, an identity token goes before user and password.
  if (entry.registrytoken) {
    const bearer = bearerCredential(entry.registrytoken, context)
    if (bearer === undefined) throw malformed(from, 'has a registrytoken for this registry that cannot be a token')
    return bearer
  }
  if (entry.identitytoken) return { kind: 'identity', refreshToken: context.secrets.keep(entry.identitytoken) }
  if (entry.auth) return decodeAuth(entry.auth, from, context)
  if (entry.username && entry.password) return basicCredential(entry.username, entry.password, context)
  return undefined
}

/** base64 of `user:password`; the password may hold colons and, from old dockers, NULs around it. */
function decodeAuth(auth: string, from: FileToRead, context: Context): Credential {
  context.secrets.keep(auth)
  const pair = decodeBase64(auth)
  const colon = pair?.indexOf(':') ?? -1
  if (pair === undefined || colon < 1)
    throw malformed(from, 'has an "auth" for this registry that is not base64 of user:password')
  return basicCredential(pair.slice(0, colon), trimNul(pair.slice(colon + 1)), context)
}

function decodeBase64(text: string): string | undefined {
  const compact = text.replace(/\s/g, '')
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(compact)) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(compact, 'base64'))
  } catch {
    return undefined
  }
}

function parseJson(text: string, from: FileToRead): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw malformed(from, 'is not JSON') // the parser's own message quotes the text
  }
}

function malformed(from: FileToRead, problem: string) {
  const hint = 'It should be a docker config.json or a containers auth.json, as docker login or podman login write it.'
  return fileError(from, `${problem}.`, undefined, hint)
}

function trimNul(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && text[start] === '\0') start += 1
  while (end > start && text[end - 1] === '\0') end -= 1
  return text.slice(start, end)
}
