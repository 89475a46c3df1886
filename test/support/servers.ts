import type { Door } from './repository.ts'
import type { Before } from './verifier.ts'

/** The registries that run in this process, by the names that reports give them: so that the verifier finds each of them. */

export interface Server {
  /** Past faults, credentials and counters of the tests. Opened when it is first needed. */
  door(): Promise<Door>
  /** What the repositories hold now, by name; undefined where only the registry itself could tell. */
  snapshot?(): ReadonlyMap<string, Before>
  /** Whether the bytes are stored here, whatever the server answers: a pull-through answers for what is elsewhere. */
  stored?(digest: string): boolean
  /** Where a tag is, without a question to the server, which might fetch the image from elsewhere. */
  resolve?(repository: string, tag: string): string | undefined
}

const servers = new Map<string, Server>()

/** @param hosts `host:port`, or a host name alone. @returns what ends it. */
export function announce(hosts: readonly string[], server: Server): () => void {
  for (const host of hosts) servers.set(host, server)
  return () => {
    for (const host of hosts) if (servers.get(host) === server) servers.delete(host)
  }
}

export function serverAt(host: string): Server | undefined {
  return servers.get(host.replace(/^localhost:/, '127.0.0.1:'))
}

/** The names of those that were not ended yet. */
export function announced(): readonly string[] {
  return [...servers.keys()].sort()
}

/** Of all servers, by host. */
export function snapshots(): ReadonlyMap<string, ReadonlyMap<string, Before>> {
  const taken = [...servers].map(([host, server]) => [host, server.snapshot?.()] as const)
  return new Map(taken.flatMap(([host, snapshot]) => (snapshot === undefined ? [] : [[host, snapshot]])))
}
