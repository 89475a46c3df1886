import type { Rule } from '../../support/cluster/faults.ts'
import { byPassword } from '../sides.ts'
import type { Stage } from './stage.ts'

/** What the situations have in common: answers that a server gives instead of its own, and kubeconfigs. */

export const HTML = { 'Content-Type': 'text/html' }
export const JSON_TYPE = { 'Content-Type': 'application/json' }

export function answers(path: RegExp, status: number, body = '', headers: Record<string, string> = {}): Rule {
  return { match: { path }, do: { kind: 'status', status, headers, body } }
}

export function atOauth(rule: Rule): (stage: Stage) => void {
  return ({ cluster }) => void cluster.faults.oauth.add(rule)
}

export function atApi(rule: Rule): (stage: Stage) => void {
  return ({ cluster }) => void cluster.faults.api.add(rule)
}

export function atRegistry(rule: Rule): (stage: Stage) => void {
  return ({ cluster }) => void cluster.faults.registry.add(rule)
}

/** meta/v1 Status. */
export function status(code: number, message: string, details = {}): string {
  return JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', message, code, details })
}

export function wrongPassword({ cluster }: Stage) {
  return { ...byPassword(cluster), password: 'not-the-password' }
}

/** A kubeconfig of the stage's cluster with this user. */
export function kubeconfig(
  { cluster, folder }: Pick<Stage, 'cluster' | 'folder'>,
  user: object,
  more: object = {},
  current = 'here',
) {
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': current,
    contexts: [{ name: 'here', context: { cluster: 'here', user: 'me' } }],
    clusters: [{ name: 'here', cluster: { server: cluster.api.origin, ...more } }],
    users: [{ name: 'me', user }],
  }
  return { kubeconfig: folder.file('kubeconfig', JSON.stringify(config)), ca: cluster.ca.bundle }
}

/** PEM → the user of a kubeconfig. */
export function certificateUser({ cert, key }: Readonly<{ cert: string; key: string }>) {
  const data = (pem: string) => Buffer.from(pem).toString('base64')
  return { 'client-certificate-data': data(cert), 'client-key-data': data(key) }
}
