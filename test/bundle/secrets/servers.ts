import type { EmbeddedCluster } from '../../support/cluster/cluster.ts'
import type { Faults, Match, Rule } from '../../support/cluster/faults.ts'
import type { EmbeddedRegistry } from '../../support/cluster/plain.ts'

/** What servers hear, and servers that repeat it. */

type Server = Readonly<{ faults: Faults; requests: readonly Readonly<{ path: string }>[] }>

/** Every credential that reaches these servers, wherever it came from: passwords, tokens that were issued, Basic pairs. */
export function overhear(...servers: readonly (EmbeddedCluster | EmbeddedRegistry)[]): Set<string> {
  const heard = new Set<string>()
  const when = ({ headers }: Heard) => {
    for (const secret of secretsIn(headers.authorization)) heard.add(secret)
    if (headers['proxy-authorization'] !== undefined) throw new Error('Proxy-Authorization reached a server')
    return false
  }
  for (const faults of servers.flatMap(faultsOf)) faults.add({ match: { when }, do: { kind: 'latency', ms: 0 } })
  return heard
}

type Heard = Readonly<{ headers: Readonly<Record<string, string | string[] | undefined>> }>

function faultsOf({ faults }: EmbeddedCluster | EmbeddedRegistry): Faults[] {
  return 'add' in faults ? [faults as Faults] : Object.values(faults)
}

/** Addresses that these servers are asked for from now on. */
export function watchUrls(...servers: readonly Pick<Server, 'requests'>[]): () => string {
  const before = servers.map(({ requests }) => requests.length)
  return () => servers.flatMap(({ requests }, at) => requests.slice(before[at]).map(({ path }) => path)).join('\n')
}

/** The secret parts of an Authorization header; the empty secret of OpenShift's public OAuth client is none. */
export function secretsIn(authorization: unknown): string[] {
  const [, scheme = '', value = ''] = /^(basic|bearer) (.+)$/i.exec(String(authorization)) ?? []
  if (scheme.toLowerCase() !== 'basic') return scheme === '' ? [] : [value]
  const pair = Buffer.from(value, 'base64').toString('utf8')
  const password = pair.slice(pair.indexOf(':') + 1)
  return password === '' ? [] : [password, pair]
}

export type Repeat = (
  secret: string,
  pair: string,
  header: string,
) => Readonly<{ headers?: Record<string, string>; body?: string }>

/** Answers with what the request carried, in the words of `repeat`; requests without a credential pass. */
export function repeating(match: Match, status: number, repeat: Repeat): Rule {
  let answer: ReturnType<Repeat> = {}
  const when = ({ headers }: Heard) => {
    const [secret, pair = secret] = secretsIn(headers.authorization)
    if (secret === undefined) return false
    answer = repeat(secret, pair ?? '', String(headers.authorization))
    return true
  }
  return {
    match: { ...match, when },
    do: {
      kind: 'status',
      status,
      get headers() {
        return answer.headers ?? {}
      },
      get body() {
        return answer.body ?? ''
      },
    },
  }
}
