import { isUtf8 } from 'node:buffer'
import { join } from 'node:path'
import { z } from 'zod'
import { contentKind, shownPath } from '../core/content.ts'
import type { Context } from '../core/context.ts'
import { PromoteError, type Side } from '../core/errors.ts'
import { type FileToRead, fileError, fileOf, isAbsent, readText } from '../core/files.ts'
import { parseJson } from '../core/json.ts'
import { getOrAdd, perRun } from '../core/memo.ts'
import type { Secret } from '../core/secret.ts'
import type { Credential, Login } from '../http/credential.ts'
import { isDockerHub } from '../oci/reference.ts'
import { askHelper } from './credential-helper.ts'
import { describeIssue } from './exec-plugin.ts'
import { basicCredential, bearerCredential, renewableLogin } from './login.ts'

/** What a login is looked up for. */
type RegistryKey = Readonly<{
  /** `host[:port]` as it was written, because a key with exactly this text goes first. */
  host: string
  /** `namespace/name` */
  repository: string
  /** The registry speaks http: port 80 is its default, not 443. */
  plainHttp?: boolean | undefined
}>

type AuthFileOptions = Readonly<{
  side: Side
  /** Text of an auth file with the entries of `registry-auth`, which go first. */
  registryAuth?: Secret | undefined
  /** The path or the text given as `…-auth-file`: then no other file is read. */
  explicit?: string | Secret | undefined
}>

type Lookup = Readonly<{ key: RegistryKey; options: AuthFileOptions; context: Context }>

/**
 * The login for a registry from docker's config.json or containers' auth.json, credential helpers included. Undefined:
 * no file has one. The given file must be readable and well formed (else IO, or HELPER when its helper fails); a file
 * that was not given is left out with a warning. `renew` reads the same file, or asks the same helper, again.
 *
 * @param key `docker.io` and its other names are one host; an entry for a longer part of the repository goes first.
 */
export async function loginFromAuthFiles(key: RegistryKey, options: AuthFileOptions, context: Context) {
  const lookup = { key, options, context }
  const own = options.registryAuth && (await loginFrom(options.registryAuth, lookup))
  if (own !== undefined) return own
  if (options.explicit !== undefined) return loginFrom(options.explicit, lookup)
  for (const given of [...variableOf(context), ...authFilePaths(context.env, process.platform)]) {
    const login = await loginFrom(given, lookup).catch((error: unknown) => {
      if (!(error instanceof PromoteError) || error.code !== 'IO') throw error
      const path = typeof given === 'string' ? given : 'DOCKER_AUTH_CONFIG'
      if (!isAbsent(error)) warnOnce(path, `${error.message} It is left out.`, context)
      return undefined
    })
    if (login !== undefined) return login
  }
  return undefined
}

/** DOCKER_AUTH_CONFIG of docker and GitLab: the text of a config.json, or its path where GitLab keeps it as a file. */
function variableOf({ env, secrets }: Context): (string | Secret)[] {
  const given = env.DOCKER_AUTH_CONFIG?.trim() ?? ''
  if (given === '') return []
  return [contentKind(given) === undefined ? given : secrets.keep(given)]
}

/** Where docker, Tekton and the containers tools keep logins; the first file that has an entry wins. */
export function authFilePaths(env: Context['env'], platform: NodeJS.Platform): string[] {
  const home = platform === 'win32' ? (env.USERPROFILE ?? env.HOME) : env.HOME
  const under = (folder: string | undefined, ...rest: string[]) => (folder ? [join(folder, ...rest)] : [])
  const config = env.XDG_CONFIG_HOME || (home ? join(home, '.config') : undefined)
  const paths = [
    ...under(env.REGISTRY_AUTH_FILE),
    ...under(env.DOCKER_CONFIG, 'config.json'),
    ...under(home, '.docker', 'config.json'),
    '/tekton/creds/.docker/config.json',
    ...under(env.XDG_RUNTIME_DIR, 'containers', 'auth.json'),
    ...under(config, 'containers', 'auth.json'),
  ]
  return [...new Set(paths)]
}

/** @property place the entry or helper that it is from, which is the identity of the login */
type Found = Readonly<{ credential: Credential; describe: string; place: string }>

/** One login for each entry, which repositories share. */
const loginsOf = perRun(() => new Map<string, Login>())

async function loginFrom(given: string | Secret, lookup: Lookup): Promise<Login | undefined> {
  const { options, context } = lookup
  const first = await lookIn(given, lookup, false)
  if (first === undefined) return undefined
  const id = JSON.stringify([options.side, typeof given === 'string' ? given : given.reveal(), first.place])
  const what = { describe: first.describe, renewedBy: 'file' } as const
  const make = () => renewableLogin(what, first, () => lookIn(given, lookup, true), context)
  return getOrAdd(loginsOf(context), id, make)
}

/** Within one file: the helper named for the host, then its entry, then the helper for everything. */
async function lookIn(given: string | Secret, lookup: Lookup, again: boolean): Promise<Found | undefined> {
  const { key, options, context } = lookup
  const from = fileOf('auth file', given, options.side)
  const file = parseAuthFile(readText(from), from)
  const host = normaliseKey(key.host, key.plainHttp)
  const ask = async (name: string): Promise<Found | undefined> => {
    const credential = await askHelper({ name, host, side: options.side }, context, again)
    const describe = `credential helper ${name} of the auth file ${from.path}`
    return credential && { credential, describe, place: `${name} ${host}` }
  }
  const own = helperOf(file, key.host, key.plainHttp)
  const helped = own ? await ask(own) : undefined
  if (helped !== undefined) return helped
  const { credential, entry, mentioned } = findEntry(file, key, context)
  if (credential !== undefined)
    return {
      credential,
      describe: given === options.registryAuth ? 'registry-auth' : `auth file ${from.path}`,
      place: `entry ${host} ${entry}`,
    }
  if (file.credsStore === undefined || own !== undefined) return undefined
  // docker leaves an empty entry for each host whose login it gave to the store. Without one, a store that isn't
  // installed here (docker-credential-desktop in a pod) is no reason to stop a copy that needs nothing from it.
  const needed = options.explicit !== undefined || mentioned
  return ask(file.credsStore).catch((error: unknown) => {
    if (needed || !(error instanceof PromoteError) || error.code !== 'HELPER') throw error
    warnOnce(from.path, `${error.message} The auth file ${shownPath(from.path)} is left out.`, context)
    return undefined
  })
}

/** Both sides and every image read the same files: one warning for each file is enough. */
const warnedOf = perRun(() => new Set<string>())

function warnOnce(path: string, line: string, context: Context): void {
  if (!warnedOf(context).has(path)) context.log.warn(line)
  warnedOf(context).add(path)
}

const text = z.string().nullish()
/** One entry of `auths` (docker's `AuthConfig`, containers-auth.json(5)). */
const Entry = z.object({ auth: text, username: text, password: text, identitytoken: text, registrytoken: text })
const Anything = z.record(z.string(), z.unknown()).nullish()
const File = z.looseObject({ auths: Anything, credHelpers: Anything, credsStore: text })

type AuthFile = ReturnType<typeof parseAuthFile>

/**
 * docker's config.json, containers' auth.json, or a `.dockercfg`, which has its hosts at the top (kubernetes.io/dockercfg).
 * Throws IO.
 */
export function parseAuthFile(text: string, from: FileToRead) {
  const json = parseJson(text)
  if (json === undefined) throw malformed(from, 'is not JSON')
  const file = File.safeParse(json)
  if (!file.success) throw malformed(from, describeIssue(file.error))
  const { auths, credHelpers, credsStore } = file.data
  const legacy = auths == null && credHelpers == null && credsStore == null
  return {
    from,
    // The keys of both maps are as written.
    auths: new Map(Object.entries((legacy ? file.data : auths) ?? {})),
    credHelpers: new Map(Object.entries(credHelpers ?? {})),
    credsStore: credsStore || undefined,
  }
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

/**
 * The credential of the longest key that fits: `host/a/b`, `host/a`, `host` (containers-auth.json(5)), with that key as
 * written. An empty entry (`{}`) holds none, and counts as `mentioned`. Throws IO.
 */
export function findEntry(file: AuthFile, key: RegistryKey, context: Context) {
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
  const name = isDockerHub(host) ? 'docker.io' : host
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

/** base64 of `user:password`. The password may have colons, and NULs around it that old dockers wrote. */
function decodeAuth(auth: string, from: FileToRead, context: Context): Credential {
  context.secrets.keep(auth)
  const compact = auth.replace(/\s/g, '')
  const bytes = /^[A-Za-z0-9+/_-]*={0,2}$/.test(compact) ? Buffer.from(compact, 'base64') : Buffer.alloc(0)
  const pair = isUtf8(bytes) ? bytes.toString('utf8') : ''
  const colon = pair.indexOf(':')
  if (colon < 1) throw malformed(from, 'has an "auth" for this registry that is not base64 of user:password')
  return basicCredential(pair.slice(0, colon), pair.slice(colon + 1).replace(/^\0+|(?<!\0)\0+$/g, ''), context)
}

function malformed(from: FileToRead, problem: string) {
  const hint = 'It should be a docker config.json or a containers auth.json, as docker login or podman login write it.'
  return fileError(from, `${problem}.`, undefined, hint)
}
