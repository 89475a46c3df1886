import { join } from 'node:path'
import type { Context } from '../core/context.ts'
import { PromoteError, type Side } from '../core/errors.ts'
import { isAbsent, readText } from '../core/files.ts'
import { tokenFileLogin } from './login.ts'

/** Where Kubernetes mounts the pod's service account (kubernetes/client-go rest/config.go, InClusterConfig). */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

/** The cluster that this pod runs in. Throws CREDENTIAL_MISSING where there is no pod or no account, IO for a broken one. */
export function podCluster(context: Context, options: Readonly<{ side?: Side | undefined; folder?: string }> = {}) {
  const { side, folder = SERVICE_ACCOUNT } = options
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = context.env
  if (!host)
    throw new PromoteError('CREDENTIAL_MISSING', 'This is not a pod: KUBERNETES_SERVICE_HOST is not set.', {
      side,
      hint: '"in-cluster" works inside the cluster only: give the URL of its API server instead.',
    })
  const read = (name: string) => readText({ what: 'service account file', path: join(folder, name), side })
  try {
    // The service CA signs the internal registry's certificate on OpenShift.
    const ca = [read('ca.crt'), optional(() => read('service-ca.crt'))].filter((pem) => pem !== '')
    return {
      api: apiUrl(host, port ?? '443', side),
      ca: ca.map((pem) => `${pem.trim()}\n`).join(''),
      login: tokenFileLogin("pod's service account", { path: join(folder, 'token'), side }, context),
    }
  } catch (error) {
    if (!isAbsent(error)) throw error
    throw new PromoteError('CREDENTIAL_MISSING', (error as PromoteError).message, {
      side,
      cause: error,
      hint: 'The pod has no service account mounted (automountServiceAccountToken: false): mount one, or give a token.',
    })
  }
}

function apiUrl(host: string, port: string, side: Side | undefined): URL {
  const name = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
  const text = `https://${name}:${port}`
  if (/^[A-Za-z0-9.:[\]-]+$/.test(`${name}:${port}`) && URL.canParse(text)) return new URL(text)
  const message = 'KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not make an address.'
  throw new PromoteError('CREDENTIAL_MISSING', message, { side, hint: 'The kubelet sets them: do not override them.' })
}

function optional(read: () => string): string {
  try {
    return read()
  } catch (error) {
    if (isAbsent(error)) return ''
    throw error
  }
}
