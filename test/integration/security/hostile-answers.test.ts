import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { asCommand } from '../../bundle/secrets/hosts.ts'
import { leaks } from '../../bundle/secrets/search.ts'
import { secretsIn } from '../../bundle/secrets/servers.ts'
import { byPassword, options } from '../../bundle/sides.ts'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import type { Faults } from '../../support/cluster/faults.ts'
import { describe, makeArtifact, makeImage, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../../support/cluster/plain.ts'
import { randomOf, seeds } from '../../support/random.ts'
import { hostileAnswers } from './answers.ts'

/**
 * Real answers, changed by chance: a run ends in success or in an error that says what is wrong, in bounded time and memory, and
 * no credential reaches another origin than its own.
 */

jest.setTimeout(60_000)
const MiB = 1024 * 1024
const robot = { user: 'robot', password: 'rob0t-password-of-the-destination' }

let cluster: EmbeddedCluster
let target: EmbeddedRegistry
let evil: Server
let origin: string
let astray: string[]
/** Credentials by the side whose servers were shown them. */
const shown = { source: new Set<string>(), destination: new Set<string>() }

beforeAll(async () => {
  ;[cluster, target] = await Promise.all([startCluster(), startRegistry({ access: { kind: 'token', ...robot } })])
  const image = makeImage({ seed: 31 })
  seedImage(cluster, 'dev/app', image, '1.0')
  seedImage(cluster, 'dev/app', makeArtifact({ subject: describe(image.root) }))
  evil = createServer((request, response) => {
    const { authorization, cookie } = request.headers
    astray.push(`${request.method} ${request.url} ${authorization ?? ''} ${cookie ?? ''}`)
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"token":"x","access_token":"x"}')
  })
  await new Promise<void>((done) => evil.listen(0, '127.0.0.1', done))
  origin = `http://127.0.0.1:${(evil.address() as AddressInfo).port}`
})
afterAll(async () => {
  evil.closeAllConnections()
  await Promise.all([cluster.close(), target.close(), new Promise((done) => evil.close(done))])
})

const faults = (): Record<'api' | 'oauth' | 'source' | 'destination', Faults> => ({
  api: cluster.faults.api,
  oauth: cluster.faults.oauth,
  source: cluster.faults.registry,
  destination: target.faults,
})

/** Every server writes down which credentials it is shown; the fault itself strikes never. */
function listen(): void {
  for (const [server, { add }] of Object.entries(faults())) {
    const seen = shown[server === 'destination' ? 'destination' : 'source']
    const when = ({ headers }: Readonly<{ headers: Readonly<Record<string, unknown>> }>) => {
      for (const secret of secretsIn(headers.authorization)) seen.add(secret)
      return false
    }
    add({ match: { when }, do: { kind: 'latency', ms: 0 } })
  }
}

/** Highest sum of what this process holds beyond what it held before. */
function watchMemory(): () => number {
  const held = () => {
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
  const before = held()
  let most = before
  const timer = setInterval(() => {
    most = Math.max(most, held())
  }, 20)
  return () => {
    clearInterval(timer)
    return most - before
  }
}

async function problemsOf(seed: number): Promise<string[]> {
  astray = []
  for (const set of Object.values(shown)) set.clear()
  listen()
  const { api, oauth, registry } = cluster
  const origins = { api: api.origin, oauth: oauth.origin, source: registry.origin, destination: target.url.origin }
  for (const { server, rule } of hostileAnswers(randomOf(seed), origin, origins)) faults()[server].add(rule)
  const password = cluster.users.developer ?? ''
  const own = { registry: target.url.origin, username: robot.user, password: robot.password }
  const given = options(byPassword(cluster), own, {
    images: `dev/app:1.0=out/app-${seed}:1.0`,
    retries: '1',
    'stall-timeout': '5',
  })
  const memory = watchMemory()
  const cpu = process.cpuUsage()
  const { code, produced } = await asCommand(given).finally(() => {
    for (const each of Object.values(faults())) each.clear()
  })
  const { user } = process.cpuUsage(cpu)
  const most = memory()
  const text = Object.values(produced).join('\n')
  const secrets = [password, robot.password, ...shown.source, ...shown.destination].filter((each) => each.length >= 16)
  const ours = new Set([robot.password, `${robot.user}:${robot.password}`])
  return [
    ...([0, 1, 3].includes(code ?? -1) ? [] : [`exit code ${code}`]),
    ...(/\bINTERNAL\b/.test(text) ? [`a defect: ${/.{0,200}\bINTERNAL\b.{0,300}/.exec(text)}`] : []),
    ...(user > 2_000_000 ? [`${user / 1000} ms of CPU`] : []),
    ...(most > 300 * MiB ? [`${most / MiB} MiB`] : []),
    ...leaks({ ...produced, 'another origin': astray.join('\n') }, secrets),
    ...astray.filter((request) => / (basic|bearer) /i.test(request)).map((request) => `another origin: ${request}`),
    ...[...shown.destination]
      .filter((each) => each.includes(password) || each.startsWith('sha256~'))
      .map(() => 'source at destination'),
    ...[...shown.source].filter((each) => ours.has(each)).map(() => 'destination at source'),
  ]
}

test.each(seeds(25, 2000))('hostile answers of seed %i', async (seed) => {
  expect({ seed, problems: await problemsOf(seed) }).toEqual({ seed, problems: [] })
})
