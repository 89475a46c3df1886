import { type ClusterOptions, type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'

/** Making certificates takes longer than most promotions: tests that need no cluster of their own share one by name. */

export type Borrowed = Readonly<{ cluster: EmbeddedCluster; close(): unknown }>

export interface SharedClusters {
  /** A shared cluster as if just started, or a new one where the options ask for more than the shared ones can do. */
  borrow(options: ClusterOptions): Promise<Borrowed>
  close(): Promise<void>
}

export function sharedClusters(): SharedClusters {
  const known = new Map<string, Promise<EmbeddedCluster>>()
  return {
    async borrow(options) {
      const { identity = 'htpasswd', oidc = false, name = '', ...more } = options
      if (Object.keys(more).length > 0 || identity === 'request-header') {
        const cluster = await startCluster(options)
        return { cluster, close: cluster.close }
      }
      const started = known.get(name) ?? startCluster({ name })
      known.set(name, started)
      const cluster = await started
      Object.assign(cluster.options.oauth, { identity })
      Object.assign(cluster.options.api, { oidc })
      const hosts = { ...cluster.state.hosts }
      return { cluster, close: () => renew(cluster, hosts) }
    },
    async close() {
      for (const started of known.values()) await (await started).close()
    },
  }
}

/** As it was when it was started. */
function renew(cluster: EmbeddedCluster, hosts: EmbeddedCluster['state']['hosts']): void {
  const { state, faults, options, store, requests } = cluster
  for (const each of Object.values(faults)) each.clear()
  Object.assign(options.registry, { exposed: true, apiDown: false })
  Object.assign(state.hosts, hosts)
  for (const project of state.projects.values()) {
    const { name, quotas, limits } = project
    project.terminating = false
    quotas.clear()
    limits.clear()
    for (const stream of state.streams.list(name)) state.streams.remove(name, stream.name)
  }
  state.streams.create('openshift', 'cli')
  state.tokens.clear()
  store.repositories.clear()
  requests.splice(0)
}
