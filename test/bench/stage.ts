import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { seedImage } from '../support/cluster/image.ts'
import { startRegistry as startEmbedded } from '../support/cluster/plain.ts'
import { createStorage } from '../support/cluster/storage.ts'
import { startLatency } from './latency.ts'
import { type Figures, measure } from './measure.ts'
import { type Files, type Registry, type RegistryProgram, startRegistry } from './registries.ts'
import type { Scenario } from './scenarios.ts'
import { check, seed, type Tagged } from './seed.ts'
import type { Tool } from './tools.ts'

/** One run of a tool. `requests` of both registries, `bytes` that the source gave out (undefined: not counted). */
export type Sample = Figures & Readonly<{ requests: number; bytes: number | undefined }>

/** Where everything takes place: source registries with all images for the whole time, a new destination for each run. */
export type Stage = Readonly<{
  prepare: (scenario: Scenario) => Promise<void>
  /** Undefined: the tool is not for this. */
  run: (scenario: Scenario, tool: Tool) => Promise<Sample | undefined>
  close: () => Promise<void>
}>

type Closing = (() => Promise<void>)[]

export async function openStage(program: RegistryProgram, files: Files): Promise<Stage> {
  const start = (tls: boolean) => startRegistry(program, files, { storage: 'source', tls, keep: true })
  const [plain, secure] = await Promise.all([start(false), start(true)])
  const images = new Map<string, readonly Tagged[]>()
  let runs = 0

  const imagesOf = ({ title, images: make }: Scenario): readonly Tagged[] => {
    const made = images.get(title) ?? make()
    images.set(title, made)
    return made
  }

  /** A registry with nothing in it, or with what the scenario says is there. */
  const destination = async (scenario: Scenario): Promise<Registry> => {
    runs += 1
    const registry = await startRegistry(program, files, { storage: `destination-${runs}`, tls: scenario.tls })
    const there = scenario.there?.() ?? []
    await seed(registry.url, files.ca, `prod/${scenario.name}`, there)
    if (scenario.inside === true) await seed(registry.url, files.ca, `dev/${scenario.name}`, imagesOf(scenario))
    return registry
  }

  /** The registries of one run; `closing` is filled from the first to the last that was begun. */
  const setting = async (scenario: Scenario, closing: Closing) => {
    const targets: Registry[] = []
    for (let i = 0; i < (scenario.destinations ?? 1); i += 1) {
      const target = scenario.embedded === true ? await embedded(undefined) : await destination(scenario)
      closing.push(target.close)
      targets.push(target)
    }
    const inside = scenario.inside === true ? targets[0] : undefined
    const source = inside ?? (scenario.embedded === true ? await embedded(scenario) : scenario.tls ? secure : plain)
    if (scenario.embedded === true) closing.push(source.close)
    const seen = async (url: URL): Promise<string> => {
      if (scenario.delay === 0) return url.host
      const distance = await startLatency(url, scenario.delay)
      closing.push(distance.close)
      return distance.url.host
    }
    const to = await Promise.all(targets.map((target) => seen(target.url)))
    return { source, targets, from: inside === undefined ? await seen(source.url) : (to[0] ?? ''), to }
  }

  const embedded = async (scenario: Scenario | undefined): Promise<Registry> => {
    const registry = await startEmbedded(scenario === undefined ? { store: createStorage({ discard: true }) } : {})
    for (const { image, tag } of scenario === undefined ? [] : imagesOf(scenario))
      seedImage(registry.store, `dev/${scenario?.name}`, image, tag)
    const traffic = async () => ({ requests: registry.requests.length, bytes: 0 })
    return { url: registry.url, traffic, close: () => registry.close() }
  }

  const run = async (scenario: Scenario, tool: Tool): Promise<Sample | undefined> => {
    const closing: Closing = []
    const home = join(files.path, `home-${runs}`)
    try {
      const { source, targets, from, to } = await setting(scenario, closing)
      const registries = [...new Set([source, ...targets])]
      const before = await Promise.all(registries.map((registry) => registry.traffic()))
      await mkdir(home, { recursive: true })
      const tags = imagesOf(scenario).map(({ tag }) => tag)
      const names = { source: `dev/${scenario.name}`, destination: `prod/${scenario.name}` }
      const command = tool.command({ from, to, tls: scenario.tls, ca: files.ca, tags, home, ...names })
      if (command === undefined) return undefined
      const figures = await measure(command, environment(home, scenario, files))
      const after = await Promise.all(registries.map((registry) => registry.traffic()))
      for (const target of targets) await check(target.url, files.ca, names.destination, imagesOf(scenario))
      const counts = after.map((traffic, i) => traffic.requests - (before[i]?.requests ?? 0))
      const bytes = (after[0]?.bytes ?? 0) - (before[0]?.bytes ?? 0)
      const requests = counts.reduce((sum, count) => sum + count, 0)
      return { ...figures, requests, bytes: scenario.embedded === true ? undefined : bytes }
    } finally {
      for (const close of closing.reverse()) await close()
      await rm(home, { recursive: true, force: true })
    }
  }

  const seeded = new Set<string>()
  return {
    run,
    prepare: async (scenario) => {
      if (scenario.embedded === true || scenario.inside === true || seeded.has(scenario.name)) return
      seeded.add(scenario.name)
      await seed(plain.url, files.ca, `dev/${scenario.name}`, imagesOf(scenario))
    },
    close: async () => {
      await Promise.all([plain.close(), secure.close()])
    },
  }
}

/** Nothing of the caller's reaches the tools: no proxies, no credentials, no caches of the run before. */
function environment(home: string, scenario: Scenario, files: Files): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    HOME: home,
    TMPDIR: files.path,
    // Where root's skopeo keeps what it knows about registries is HOME for everybody else.
    _CONTAINERS_ROOTLESS_UID: '1000',
    ...(scenario.tls ? { SSL_CERT_FILE: files.ca } : {}),
  }
}
