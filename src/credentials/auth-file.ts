import { join } from 'node:path'
import type { Context } from '../context.ts'
import { shownPath } from '../core/content.ts'
import type { Credential, Login } from '../credential.ts'
import { PromoteError, type Side } from '../errors.ts'
import type { Secret } from '../secret.ts'
import { findEntry, helperOf, normaliseKey, parseAuthFile, type RegistryKey } from './auth-entry.ts'
import { askHelper } from './credential-helper.ts'
import { fileOf, isAbsent, readText } from './read-file.ts'
import { renewableLogin } from './renewal.ts'

export type AuthFileOptions = Readonly<{
  /** The path or the text given as `…-auth-file`: then this file alone. */
  explicit?: string | Secret | undefined
  side: Side
}>

/**
 * The login for a registry from docker's config.json or containers' auth.json, credential helpers included. Undefined:
 * no file has one. The given file must be readable and well formed (else IO, or HELPER when its helper fails); a file
 * that is merely found is left out with a warning. `renew` reads the same file, or asks the same helper, again.
 *
 * @param key `docker.io` and its other names are one host; an entry for a longer part of the repository goes first.
 */
export async function loginFromAuthFiles(
  key: RegistryKey,
  options: AuthFileOptions,
  context: Context,
): Promise<Login | undefined> {
  if (options.explicit !== undefined) return loginFrom(options.explicit, key, options, context)
  for (const path of authFilePaths(context.env, process.platform)) {
    const login = await loginFrom(path, key, options, context).catch((error: unknown) => {
      if (!(error instanceof PromoteError) || error.code !== 'IO') throw error
      if (!isAbsent(error)) warnOnce(path, `${error.message} It is left out.`, context)
      return undefined
    })
    if (login !== undefined) return login
  }
  return undefined
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

/** @property place which entry or helper it is from, and so which login it is. */
type Found = Readonly<{ credential: Credential; describe: string; place: string }>

/** One login for each entry: what two repositories share and what they do not follows from the entry, not from its words. */
const loginsOfRun = new WeakMap<Context['secrets'], Map<string, Login>>()

async function loginFrom(
  given: string | Secret,
  key: RegistryKey,
  options: AuthFileOptions,
  context: Context,
): Promise<Login | undefined> {
  const first = await lookIn(given, key, options, context, false)
  if (first === undefined) return undefined
  const logins = loginsOfRun.get(context.secrets) ?? new Map<string, Login>()
  loginsOfRun.set(context.secrets, logins)
  const id = JSON.stringify([options.side, typeof given === 'string' ? given : given.reveal(), first.place])
  const what = { describe: first.describe, renewedBy: 'file' } as const
  const login = logins.get(id) ?? renewableLogin(what, first, () => lookIn(given, key, options, context, true), context)
  logins.set(id, login)
  return login
}

/** Within one file: the helper named for the host, then its entry, then the helper for everything. */
async function lookIn(
  given: string | Secret,
  key: RegistryKey,
  options: AuthFileOptions,
  context: Context,
  again: boolean,
): Promise<Found | undefined> {
  const from = fileOf('auth file', given, options.side)
  const { path } = from
  const file = parseAuthFile(readText(from), from)
  const ask = async (name: string): Promise<Found | undefined> => {
    const host = normaliseKey(key.host, key.plainHttp)
    const credential = await askHelper({ name, host, side: options.side }, context, again)
    const describe = `credential helper ${name} of the auth file ${path}`
    return credential && { credential, describe, place: `${name} ${host}` }
  }
  const own = helperOf(file, key.host, key.plainHttp)
  const helped = own ? await ask(own) : undefined
  if (helped !== undefined) return helped
  const entry = findEntry(file, key, context)
  if (entry.credential !== undefined) {
    const place = `entry ${normaliseKey(key.host, key.plainHttp)} ${entry.entry}`
    return { credential: entry.credential, describe: `auth file ${path}`, place }
  }
  if (file.credsStore === undefined || own !== undefined) return undefined
  // docker leaves an empty entry for each host whose login it gave to the store. Without one, a store that isn't
  // installed here (docker-credential-desktop in a pod) is no reason to stop a copy that needs nothing from it.
  const needed = options.explicit !== undefined || entry.mentioned
  return ask(file.credsStore).catch((error: unknown) => {
    if (needed || !(error instanceof PromoteError) || error.code !== 'HELPER') throw error
    warnOnce(path, `${error.message} The auth file ${shownPath(path)} is left out.`, context)
    return undefined
  })
}

/** Both sides and every image look into the same files: one warning for each is enough. */
const warnedInRun = new WeakMap<Context['secrets'], Set<string>>()

function warnOnce(path: string, line: string, context: Context): void {
  const warned = warnedInRun.get(context.secrets) ?? new Set<string>()
  warnedInRun.set(context.secrets, warned)
  if (!warned.has(path)) context.log.warn(line)
  warned.add(path)
}
