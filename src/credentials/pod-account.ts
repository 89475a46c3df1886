import { join } from 'node:path'
import type { Context } from '../core/context.ts'
import { PromoteError, type Side } from '../core/errors.ts'
import { isAbsent, readText } from '../core/files.ts'
import { pemBlocks } from '../core/pem.ts'
import { tokenFileLogin } from './login.ts'

/** Where Kubernetes mounts the pod's service account (kubernetes/client-go rest/config.go, InClusterConfig). */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'
/** Names of the API's service for pods of its own cluster. */
const API_SERVICE = /^kubernetes(?:\.default(?:\.svc(?:\.cluster\.local)?)?)?\.?$/

/**
 * The API of the cluster that this pod runs in, and the pod's account there.
 * @throws PromoteError CREDENTIAL_MISSING where there is no pod or no account, IO if a file of the account is broken
 */
export function podCluster(context: Context, options: Readonly<{ side?: Side | undefined; folder?: string }> = {}) {
  const { side, folder = SERVICE_ACCOUNT } = options
  const missing = (message: string, hint: string, cause?: unknown) =>
    new PromoteError('CREDENTIAL_MISSING', message, { side, hint, cause })
  if (!context.env.KUBERNETES_SERVICE_HOST)
    throw missing(
      'This is not a pod: KUBERNETES_SERVICE_HOST is not set.',
      '"in-cluster" works inside the cluster only: give the URL of its API server instead.',
    )
  const api = apiOf(context.env)
  if (api === undefined)
    throw missing(
      'KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not make an address.',
      'The kubelet sets them: do not override them.',
    )
  try {
    const ca = readCa('ca.crt', folder, side, false) + readCa('service-ca.crt', folder, side, true)
    const file = { path: join(folder, 'token'), side }
    return { api, ca, login: tokenFileLogin("pod's service account", file, context) }
  } catch (error) {
    if (!isAbsent(error)) throw error
    const hint =
      'The pod has no service account mounted (automountServiceAccountToken: false): mount one, or give a token.'
    throw missing((error as PromoteError).message, hint, error)
  }
}

/** Whether an API is that of the cluster that this pod runs in: by the service's name or by its address. */
export function isPodApi(api: URL, env: Context['env']): boolean {
  return Boolean(env.KUBERNETES_SERVICE_HOST) && (API_SERVICE.test(api.hostname) || apiOf(env)?.origin === api.origin)
}

/** The CAs of the cluster that this pod runs in, as PEM. On OpenShift the service CA signs the registry's certificate. */
export function podCa(folder = SERVICE_ACCOUNT): string {
  return readCa('ca.crt', folder, undefined, true) + readCa('service-ca.crt', folder, undefined, true)
}

function readCa(name: string, folder: string, side: Side | undefined, mayBeAbsent: boolean): string {
  try {
    return pemBlocks(readText({ what: 'service account file', path: join(folder, name), side }), 'CERTIFICATE').join('')
  } catch (error) {
    if (mayBeAbsent && isAbsent(error)) return ''
    throw error
  }
}

/** What the kubelet tells every pod; undefined if that is not an address. */
function apiOf({ KUBERNETES_SERVICE_HOST: host = '', KUBERNETES_SERVICE_PORT: port = '443' }: Context['env']) {
  const name = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
  const text = `https://${name}:${port}`
  return /^[A-Za-z0-9.:[\]-]+$/.test(`${name}:${port}`) && URL.canParse(text) ? new URL(text) : undefined
}
