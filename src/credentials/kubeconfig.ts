import { delimiter, dirname, join, resolve } from 'node:path'
import { unescape as decoded } from 'node:querystring'
import { z } from 'zod'
import type { Context } from '../core/context.ts'
import { PromoteError, type Side } from '../core/errors.ts'
import { type FileToRead, fileError, fileOf, isFile, readText } from '../core/files.ts'
import { pemBlocks } from '../core/pem.ts'
import type { Secret } from '../core/secret.ts'
import { listed } from '../core/text.ts'
import { parseYaml } from '../core/yaml.ts'
import type { Login } from '../http/credential.ts'
import {
  describeIssue,
  ExecConfig,
  type ExecPlugin,
  type ExecResult,
  keepPrivateKey,
  runExecPlugin,
} from './exec-plugin.ts'
import { basicCredential, bearerCredential, fixedLogin, type Issued, renewableLogin, tokenFileLogin } from './login.ts'

/** A token that ends within this time may be refused on its way. Milliseconds. */
const MARGIN = 10_000

const text = z.string().nullish()
const Named = z.array(z.looseObject({ name: z.string() })).nullish()
const Config = z.object({ 'current-context': text, contexts: Named, clusters: Named, users: Named })
const ContextEntry = z.object({ context: z.object({ cluster: z.string(), user: text }) })
const ClusterEntry = z.object({
  cluster: z.object({
    server: z.string(),
    'certificate-authority': text,
    'certificate-authority-data': text,
    'insecure-skip-tls-verify': z.boolean().nullish(),
    'tls-server-name': text,
    'proxy-url': text,
    extensions: z.array(z.object({ name: z.string(), extension: z.unknown().optional() })).nullish(),
  }),
})
/** Loose: for what is not supported only its presence counts. */
const User = z.looseObject({
  token: text,
  tokenFile: text,
  username: text,
  password: text,
  'client-certificate': text,
  'client-certificate-data': text,
  'client-key': text,
  'client-key-data': text,
  exec: ExecConfig.nullish(),
})
const UserEntry = z.object({ user: User.nullish() })
type Cluster = z.infer<typeof ClusterEntry>['cluster']
type User = z.infer<typeof User>

/** One file and who reads it. Paths in the file are relative to it. */
type Reader = Readonly<{ file: FileToRead; side: Side; context: Context }>

/** The files of a list, merged as client-go does (tools/clientcmd/loader.go): the first file that has a name wins. */
type Merged = Reader & Readonly<{ configs: readonly Readonly<{ reader: Reader; config: z.infer<typeof Config> }>[] }>

/**
 * One context of a kubeconfig (YAML or JSON; default: its current context). Its exec plugin is run at once.
 *
 * @param given a path, a list of paths as KUBECONFIG has it, or the text; undefined: what KUBECONFIG names, or ~/.kube/config
 * @throws PromoteError IO (unreadable, malformed, parts missing), HELPER (plugin), LOGIN_UNSUPPORTED
 */
export async function readKubeconfig(
  given: string | Secret | undefined,
  contextName: string | undefined,
  context: Context,
  side: Side,
) {
  const all = merge(given ?? defaultPath(context.env), context, side)
  const chosen = contextName ?? all.configs.map(({ config }) => config['current-context']).find(Boolean)
  if (!chosen) throw broken(all, 'has no current-context.', `Name one of its contexts: ${names(all, 'contexts')}.`)
  const parts = part(all, 'contexts', chosen, ContextEntry).value.context
  const { value, reader } = part(all, 'clusters', parts.cluster, ClusterEntry)
  const { cluster } = value
  const user = parts.user ? part(all, 'users', parts.user, UserEntry) : undefined
  const ca = pem(cluster, 'certificate-authority', 'CERTIFICATE', reader)
  const proxyUrl = cluster['proxy-url'] || undefined
  if (proxyUrl !== undefined) keepProxyPassword(proxyUrl, context)
  const who = `user ${parts.user} of the kubeconfig ${user?.reader.file.path}`
  return {
    server: serverUrl(cluster.server, reader), // https; may have a path (clusters behind Rancher)
    ca, // PEM
    insecure: cluster['insecure-skip-tls-verify'] ?? false,
    ...(user?.value.user && (await waysIn(user.value.user, who, execCluster(cluster, ca), user.reader))),
    proxyUrl,
    tlsServerName: cluster['tls-server-name'] || undefined,
  }
}

function defaultPath({ KUBECONFIG, HOME, USERPROFILE }: Context['env']): string {
  return KUBECONFIG || join(HOME || USERPROFILE || '~', '.kube', 'config')
}

/** Files of a list that do not exist are left out, as client-go does; one of them has to exist. */
function merge(given: string | Secret, context: Context, side: Side): Merged {
  const isList = typeof given === 'string' && !isFile(given) && given.includes(delimiter)
  const paths = isList ? given.split(delimiter).filter((path) => path !== '') : [given]
  const there = paths.filter((path) => typeof path !== 'string' || isFile(path))
  const configs = (there.length > 0 ? there : [paths[0] ?? given]).map((path) => {
    const reader: Reader = { file: fileOf('kubeconfig', path, side), side, context }
    return { reader, config: check(Config, parse(reader.file), '', reader) }
  })
  return { file: fileOf('kubeconfig', given, side), side, context, configs }
}

/** One of them at least. */
type WaysIn = Readonly<{
  /** `bearer`, or `basic` for a user with a password: that opens the OAuth server, not the API. */
  login?: Login | undefined
  /** PEM both; the key is registered as a secret. */
  clientCertificate?: Readonly<{ cert: string; key: string }> | undefined
}>

export type Kubeconfig = Awaited<ReturnType<typeof readKubeconfig>>

/** client-go's order where several are given: tokenFile, token, exec plugin, user and password. */
async function waysIn(user: User, who: string, cluster: ExecPlugin['cluster'], reader: Reader): Promise<WaysIn> {
  refuseUnsupported(user, who, reader)
  const { context, side, file } = reader
  const own = { clientCertificate: clientCertificate(user, reader) }
  if (user.tokenFile) {
    const path = beside(user.tokenFile, reader)
    return { ...own, login: tokenFileLogin(`token file of ${who}`, { path, side }, context) }
  }
  if (user.token) {
    const bearer = bearerCredential(user.token.trim(), context)
    if (bearer === undefined) throw broken(reader, 'has a token with characters that no token has.')
    return { ...own, login: fixedLogin(`token of ${who}`, bearer) }
  }
  if (user.exec) {
    const plugin = { config: user.exec, cluster, kubeconfig: file.path, side }
    return execWaysIn(plugin, own, who, context)
  }
  if (!user.username || user.password == null) return own
  return { ...own, login: fixedLogin(`password of ${who}`, basicCredential(user.username, user.password, context)) }
}

function refuseUnsupported(user: User, who: string, { side }: Reader): void {
  const isOther = ['as', 'as-uid', 'as-groups', 'as-user-extra'].some((name) => user[name] != null)
  if (user['auth-provider'] == null && !isOther) return
  const [problem, hint] = isOther
    ? ['acts as another user ("as"), which is not supported', 'Use a user of its own rights.']
    : [
        'logs in by an auth-provider, which Kubernetes removed in 1.26',
        'Write the kubeconfig again with an exec plugin (kubelogin, gke-gcloud-auth-plugin), or give a token.',
      ]
  throw new PromoteError('LOGIN_UNSUPPORTED', `The ${who} ${problem}.`, { side, hint })
}

/** @param own what the kubeconfig has beside the plugin; a certificate of the plugin goes first */
async function execWaysIn(plugin: ExecPlugin, own: WaysIn, who: string, context: Context): Promise<WaysIn> {
  const issuedBy = ({ credential, expires }: ExecResult): Issued | undefined =>
    credential && { credential, renewAt: expires === undefined ? undefined : expires - MARGIN }
  const first = await runExecPlugin(plugin, context)
  const certificate = { clientCertificate: first.clientCertificate ?? own.clientCertificate }
  const issued = issuedBy(first)
  if (issued === undefined) return certificate
  const again = async () => issuedBy(await runExecPlugin(plugin, context))
  const what = { describe: `exec plugin of ${who}`, renewedBy: 'plugin' } as const
  return { ...certificate, login: renewableLogin(what, issued, again, context) }
}

/** The shape of `spec.cluster` (client.authentication.k8s.io/v1, Cluster). */
function execCluster(cluster: Cluster, ca: string | undefined): ExecPlugin['cluster'] {
  const extension = cluster.extensions?.find(({ name }) => name === 'client.authentication.k8s.io/exec')
  return {
    server: cluster.server,
    'tls-server-name': cluster['tls-server-name'] ?? undefined,
    'insecure-skip-tls-verify': cluster['insecure-skip-tls-verify'] ?? undefined,
    'certificate-authority-data': ca && Buffer.from(ca, 'utf8').toString('base64'),
    'proxy-url': cluster['proxy-url'] ?? undefined,
    config: extension?.extension,
  }
}

function clientCertificate(user: User, reader: Reader): WaysIn['clientCertificate'] {
  if (user['client-key-data']) reader.context.secrets.keep(user['client-key-data'])
  const key = pem(user, 'client-key', 'PRIVATE KEY', reader)
  const cert = pem(user, 'client-certificate', 'CERTIFICATE', reader)
  if (key !== undefined) keepPrivateKey(key, reader.context)
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined || key === undefined)
    throw broken(reader, 'has a client certificate without its key, or a key without its certificate.')
  return { cert, key }
}

/** PEM from `<name>-data` (base64) or the file `<name>`; the data goes first, as in client-go. */
function pem(
  from: Readonly<Record<string, unknown>>,
  name: string,
  label: 'CERTIFICATE' | 'PRIVATE KEY',
  reader: Reader,
): string | undefined {
  const [data, path] = [from[`${name}-data`], from[name]] as (string | null | undefined)[]
  if (!data && !path) return undefined
  const text = data
    ? Buffer.from(data, 'base64').toString('utf8')
    : readText({ what: `${name} file`, path: beside(path ?? '', reader), side: reader.side })
  const blocks = pemBlocks(text, label)
  if (blocks.length > 0) return blocks.join('')
  throw broken(reader, data ? `has a ${name}-data that is not base64 of PEM.` : `names a ${name} that is not PEM.`)
}

function serverUrl(text: string, reader: Reader): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const hint = 'It should look like https://api.example.com:6443.'
  if (url?.protocol !== 'https:') throw broken(reader, 'has a server that is not an https URL.', hint)
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw broken(reader, 'has a server URL with a user, a query or a fragment in it.', hint)
  return url
}

/** An exec plugin is told the proxy and may quote it. */
function keepProxyPassword(proxy: string, { secrets }: Context): void {
  const { username, password } = URL.canParse(proxy) ? new URL(proxy) : { username: '', password: '' }
  if (password === '') return
  secrets.keep(password)
  secrets.keepPair(decoded(username), secrets.keep(decoded(password)))
}

function parse(file: FileToRead): unknown {
  const text = readText(file)
  try {
    return parseYaml(text, { repeatedKeys: true })
  } catch (error) {
    throw fileError(file, `${(error as Error).message}.`)
  }
}

function check<T>(schema: z.ZodType<T>, value: unknown, where: string, reader: Reader): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw broken(reader, `${describeIssue(result.error, where)}.`)
}

type Lists = 'contexts' | 'clusters' | 'users'

/** The entry of that name, checked, with the file that has it. */
function part<T>(all: Merged, list: Lists, name: string, schema: z.ZodType<T>): { value: T; reader: Reader } {
  const kind = list.slice(0, -1)
  for (const { config, reader } of all.configs) {
    const found = config[list]?.find((entry) => entry.name === name)
    if (found !== undefined) return { value: check(schema, found, `${kind} ${name}`, reader), reader }
  }
  throw broken(all, `has no ${kind} named ${name}.`, `It has: ${names(all, list)}.`)
}

function names({ configs }: Merged, list: Lists): string {
  const all = configs.flatMap(({ config }) => config[list]?.map(({ name }) => name) ?? [])
  return all.length === 0 ? 'none' : listed(all)
}

function beside(path: string, { file }: Reader): string {
  return resolve(dirname(file.path), path)
}

function broken(reader: Reader, problem: string, hint?: string): PromoteError {
  return fileError(reader.file, problem, undefined, hint)
}
