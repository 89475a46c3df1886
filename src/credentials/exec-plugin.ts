import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import type { Context } from '../core/context.ts'
import { PromoteError, type Side } from '../core/errors.ts'
import { parseJson } from '../core/json.ts'
import { bearerCredential } from './login.ts'
import { firstLine, runProgram } from './subprocess.ts'

const text = z.string().nullish()
/** `users[].user.exec` of a kubeconfig (client.authentication.k8s.io, v1 and v1beta1). */
export const ExecConfig = z.object({
  apiVersion: z.string(),
  command: z.string().min(1),
  args: z.array(z.string()).nullish(),
  env: z.array(z.object({ name: z.string().min(1), value: z.string() })).nullish(),
  interactiveMode: text,
  provideClusterInfo: z.boolean().nullish(),
  installHint: text,
})
export type ExecConfig = z.infer<typeof ExecConfig>

const expirationTimestamp = z.iso.datetime({ offset: true }).nullish()
const ExecCredential = z.object({
  apiVersion: z.string(),
  kind: z.literal('ExecCredential'),
  status: z.object({ token: text, clientCertificateData: text, clientKeyData: text, expirationTimestamp }),
})

/** @property cluster `spec.cluster` of what the plugin is told, for those that ask for it. */
export type ExecPlugin = Readonly<{ config: ExecConfig; cluster: object; kubeconfig: string; side: Side }>

export type ExecResult = ReturnType<typeof readResult>

/** Throws LOGIN_UNSUPPORTED for a plugin that needs a person or speaks another version; HELPER when it fails. */
export async function runExecPlugin(plugin: ExecPlugin, context: Context): Promise<ExecResult> {
  const { config, side } = plugin
  const what = `exec plugin ${config.command}`
  refuseUnsupported(config, what, side)
  keepNamedSecrets(config, context)
  const cluster = config.provideClusterInfo ? { cluster: plugin.cluster } : {}
  const spec = { ...cluster, interactive: false }
  const info = JSON.stringify({ kind: 'ExecCredential', apiVersion: config.apiVersion, spec })
  const env = Object.fromEntries((config.env ?? []).map(({ name, value }) => [name, value]))
  const program = {
    what,
    command: commandPath(config.command, plugin.kubeconfig),
    args: config.args ?? [],
    input: '',
    env: { ...env, KUBERNETES_EXEC_INFO: info },
    side,
    hint: config.installHint ? firstLine(config.installHint, context.secrets) : `Install ${config.command}.`,
  }
  const { exitCode, stdout, stderr } = await runProgram(program, context)
  if (exitCode === 0) return readResult(stdout, plugin, context)
  throw failed(what, `failed (exit code ${exitCode}): ${firstLine(stderr, context.secrets) || 'no message'}.`, side)
}

function refuseUnsupported({ interactiveMode, apiVersion }: ExecConfig, what: string, side: Side): void {
  const needsPerson = interactiveMode === 'Always'
  if (!needsPerson && /^client\.authentication\.k8s\.io\/v1(beta1)?$/.test(apiVersion)) return
  const [problem, hint] = needsPerson
    ? ['needs a person at a terminal (interactiveMode: Always)', 'Use another user of the kubeconfig, or a token.']
    : ['has an apiVersion other than client.authentication.k8s.io/v1 or v1beta1', 'Update the kubeconfig.']
  throw new PromoteError('LOGIN_UNSUPPORTED', `The ${what} ${problem}.`, { side, hint })
}

function readResult(stdout: string, plugin: ExecPlugin, context: Context) {
  const what = `exec plugin ${plugin.config.command}`
  const json = parseJson(stdout)
  if (json === undefined) throw failed(what, 'printed something that is not JSON.', plugin.side)
  const answer = ExecCredential.safeParse(json)
  if (!answer.success) throw failed(what, `${describeIssue(answer.error)}.`, plugin.side)
  const { apiVersion, status } = answer.data
  if (apiVersion !== plugin.config.apiVersion)
    throw failed(what, `answered in another version than ${plugin.config.apiVersion}.`, plugin.side)
  const credential = status.token ? bearerCredential(status.token, context) : undefined
  if (status.token && credential === undefined) throw failed(what, 'gave something that is not a token.', plugin.side)
  const { clientCertificateData: cert, clientKeyData: key } = status
  if ((cert ? 1 : 0) !== (key ? 1 : 0) || (credential === undefined && !cert))
    throw failed(what, 'gave neither a token nor a client certificate with its key.', plugin.side)
  return {
    credential,
    clientCertificate: cert && key ? { cert, key: keepPrivateKey(key, context) } : undefined,
    /** Milliseconds since the epoch. */
    expires: status.expirationTimestamp ? Date.parse(status.expirationTimestamp) : undefined,
  }
}

/** The first thing that zod found: where and what was expected; never the value. */
export function describeIssue(error: z.ZodError, within = ''): string {
  const issue = error.issues[0]
  const where = [within, issue?.path.join('.') ?? ''].filter((part) => part !== '').join(', ')
  return `has an unexpected form${where === '' ? '' : ` (${where})`}: ${issue?.message ?? 'unknown'}`
}

/** A PEM key's secret is between its first and last line: those two stand in innocent texts as well. */
export function keepPrivateKey(pem: string, context: Context): string {
  const body = pem.split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('-----'))
  context.secrets.keep(body.join('\n'))
  return pem
}

/** A failing plugin may quote what it was given: `--client-secret=…`, `--token …`, AZURE_CLIENT_SECRET. */
function keepNamedSecrets(config: ExecConfig, context: Context): void {
  const secretive = /secret|password|token|key/i
  for (const { name, value } of config.env ?? []) if (secretive.test(name)) context.secrets.keep(value)
  const args = config.args ?? []
  args.forEach((arg, index) => {
    const [name = '', ...rest] = arg.split('=')
    if (!name.startsWith('-') || !secretive.test(name)) return
    const value = rest.length > 0 ? rest.join('=') : args[index + 1]
    // A value with a hyphen in front may be a secret (one in 64 in base64url). Hiding another flag does no harm.
    if (value !== undefined) context.secrets.keep(value)
  })
}

/** client-go: a name is looked up in PATH, anything with a separator is relative to the kubeconfig. */
function commandPath(command: string, kubeconfig: string): string {
  return /[/\\]/.test(command) ? resolve(dirname(kubeconfig), command) : command
}

function failed(what: string, problem: string, side: Side): PromoteError {
  return new PromoteError('HELPER', `The ${what} ${problem}`, {
    side,
    hint: 'Run it by hand with the same arguments, or use a token.',
  })
}
