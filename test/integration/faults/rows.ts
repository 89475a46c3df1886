import { clusterCertificates } from '../../support/cluster/certificates.ts'
import { type BuiltImage, makeImage, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, type PlainOptions, startRegistry } from '../../support/cluster/plain.ts'
import { createStorage } from '../../support/cluster/storage.ts'
import { announce, serverAt } from '../../support/servers.ts'
import { type Front, startFront } from './front.ts'
import { type Row, type Scene, TAG, TO, TOKENS } from './matrix.ts'
import { type FaultProxy, startProxy } from './proxy.ts'
import { type Arrived, again, type Clock, openSessions, realClock, side, travel, virtualClock } from './stage.ts'

/** What one row came to. */
export type Figures = Readonly<{
  id: string
  fault: string
  on: 'embedded' | 'docker-registry'
  /** `arrives`, or the code of the error. */
  result: string
  requests: number
  /** Bytes of blobs that the destination took a second time, and that the source gave a second time. */
  sentTwice: number
  readTwice: number
  seconds: number
  /** What is not as it has to be; empty when all is well. */
  problems: readonly string[]
}>

export type Terms = Readonly<{
  /** Bytes of a quarter of the large layer. */
  unit: number
  /** Waits are waited for. */
  real: boolean
  /** Milliseconds: the stall timeout of rows that stall. */
  stall: number
}>

const RESUMED = 2 * 1024 * 1024
const FROM = 'dev/app'

type Sides = Readonly<{ source: EmbeddedRegistry | FaultProxy; destination: EmbeddedRegistry | FaultProxy }>

/** A row on two embedded registries. */
export async function onEmbedded(row: Row, terms: Terms): Promise<Figures> {
  const image = imageOf(terms)
  const { source: from = {}, destination: to = {}, front: wanted } = row.embedded ?? {}
  const certificates = wanted?.tls === true ? await clusterCertificates({}) : undefined
  const clock = terms.real ? realClock() : virtualClock()
  const common: PlainOptions = {
    now: clock.now,
    ...(row.tokens === true ? { access: { kind: 'token', ...TOKENS } } : {}),
  }
  const tls = (of: 'source' | 'destination') =>
    certificates !== undefined && wanted?.side === of ? { tls: certificates.registry } : {}
  const source = await startRegistry({ ...common, ...tls('source'), ...from })
  const destination = await startRegistry({
    ...common,
    ...tls('destination'),
    store: createStorage({ discard: true }),
    ...to,
  })
  seedImage(source, FROM, image, TAG)
  const front =
    wanted === undefined
      ? undefined
      : await startFront(Number({ source, destination }[wanted.side].url.port), wanted.spoil)
  const behind = wanted && serverAt({ source, destination }[wanted.side].url.host)
  // Reports name the front; the verifier looks at the registry behind it.
  const retract = front && behind ? announce([`127.0.0.1:${front.port}`], behind) : undefined
  try {
    const stage = { terms, row, image, clock, sides: { source, destination }, stored: destination.store }
    const ca = certificates === undefined ? {} : { ca: certificates.ca.registry }
    return await measure(
      { ...stage, on: 'embedded', resumes: to.resume !== 'destroy', from: FROM, to: TO, front, ca },
      () => {
        const repository = destination.store.repositories.get(TO)
        const blobs = [...image.blobs.keys(), ...image.large.map(({ digest }) => digest)]
        return {
          tag: repository?.tags.get(TAG),
          missing: blobs.filter((digest) => repository?.blobs.has(digest) !== true),
        }
      },
    )
  } finally {
    retract?.()
    await Promise.all([source.close(), destination.close(), front?.close()])
  }
}

/**
 * One large layer whose connections end again and again, on both sides; on a registry that keeps nothing of a broken
 * upload, on the source's side alone.
 * @param size of the layer, @param every bytes between two cuts.
 */
export async function cutAllAlong(
  { size, every }: Readonly<{ size: number; every: number }>,
  terms: Terms,
  registry?: URL,
): Promise<Figures> {
  const row: Row = {
    id: registry === undefined ? 'L1' : 'L2',
    fault: `layer of ${size >> 20} MiB, cut every ${every >> 20} MiB${registry === undefined ? ' on both sides' : ' at the source'}`,
    ...(registry === undefined ? { readAgain: 'any' } : {}),
    rules: ({ layer }) => ({
      source: [{ match: { method: 'GET', path: new RegExp(layer) }, do: { kind: 'cut-response', after: every } }],
      destination:
        registry === undefined
          ? [{ match: { method: ['PUT', 'PATCH'], path: /uploads\// }, do: { kind: 'cut-request', after: every } }]
          : [],
    }),
  }
  const whole = { ...terms, unit: size / 4 }
  return registry === undefined ? onEmbedded(row, whole) : onRegistry(row, registry, whole)
}

/** A row on a real registry, whose two sides are fault proxies before it. */
export async function onRegistry(row: Row, registry: URL, terms: Terms): Promise<Figures> {
  const image = imageOf(terms)
  const to = `${TO}-${row.id.toLowerCase()}`
  await seed(registry, image)
  const access = row.tokens === true ? ({ kind: 'token', ...TOKENS } as const) : undefined
  const source = await startProxy(registry, access)
  const destination = await startProxy(registry, access)
  const clock = terms.real ? realClock() : virtualClock()
  try {
    const stage = { terms, row, image, clock, sides: { source, destination }, stored: undefined }
    return await measure(
      { ...stage, on: 'docker-registry', resumes: false, from: FROM, to, front: undefined, ca: {} },
      () => lookAt(registry, to, image),
    )
  } finally {
    await Promise.all([source.close(), destination.close()])
  }
}

/** Puts the image there by promoting it, without a fault. */
async function seed(registry: URL, image: BuiltImage): Promise<void> {
  const source = await startRegistry()
  try {
    seedImage(source, FROM, image, TAG)
    const images = [`${FROM}:${TAG}=${FROM}:${TAG}`]
    const { row } = await travel({ images, source: side(source), destination: side({ url: registry }) })
    if (row.error !== null) throw new Error(`seeding failed: ${row.error.message}`)
  } finally {
    await source.close()
  }
}

async function lookAt(registry: URL, repository: string, image: BuiltImage): Promise<Found> {
  const head = (path: string) =>
    fetch(new URL(`/v2/${repository}/${path}`, registry), {
      method: 'HEAD',
      headers: { accept: image.root.mediaType },
    })
  const blobs = [...image.blobs.keys(), ...image.large.map(({ digest }) => digest)]
  const tag = (await head(`manifests/${TAG}`)).headers.get('docker-content-digest') ?? undefined
  const there = await Promise.all(blobs.map(async (digest) => (await head(`blobs/${digest}`)).ok))
  return { tag, missing: blobs.filter((_, at) => there[at] !== true) }
}

function imageOf({ unit }: Terms): BuiltImage {
  return makeImage({ seed: 4, layers: [2000], large: [4 * unit] })
}

type Stage = Readonly<{
  terms: Terms
  row: Row
  image: BuiltImage
  clock: Clock
  sides: Sides
  stored: Scene['stored']
  on: Figures['on']
  resumes: boolean
  from: string
  to: string
  front: Front | undefined
  ca: { ca?: string }
}>
type Found = Readonly<{ tag: string | undefined; missing: readonly string[] }>

async function measure(stage: Stage, look: () => Found | Promise<Found>): Promise<Figures> {
  const { row, image, sides, clock, front, terms } = stage
  const faults = arrange(stage)
  const login = row.tokens === true ? { username: TOKENS.user, password: TOKENS.password } : {}
  const at = (of: 'source' | 'destination') => ({ ...addressed(stage, of), ...login, ...stage.ca })
  const began = performance.now()
  const arrived = await travel({
    images: [`${stage.from}:${TAG}=${stage.to}:${TAG}`],
    source: at('source'),
    destination: at('destination'),
    clock,
    ...(row.stalls === true ? { config: { stallTimeout: terms.stall } } : {}),
    onWait: async (number) => {
      if (number === 2) await front?.open()
    },
  })
  const seconds = (performance.now() - began) / 1000
  const twice = again(sides.source, sides.destination, image)
  const found = await look()
  const struck = faults.map(({ fired }) => fired).concat(front === undefined ? [] : [front.spoiled])
  return {
    id: row.id,
    fault: row.fault,
    on: stage.on,
    result: arrived.row.error?.code ?? 'arrives',
    requests: sides.source.stats.requests + sides.destination.stats.requests,
    sentTwice: twice.sent,
    readTwice: twice.read,
    seconds,
    problems: [
      ...problemsOf(stage, arrived, found, twice),
      ...(struck.length === 0 || struck.some((count) => count === 0)
        ? [`faults that struck: ${struck.join(', ')}`]
        : []),
    ],
  }
}

function arrange({ row, image, sides, stored }: Stage) {
  const [large] = image.large
  if (large === undefined) throw new Error('no large layer')
  const scene: Scene = {
    image,
    layer: large.digest,
    unit: large.size / 4,
    gates: { source: sides.source.gate, destination: sides.destination.gate },
    stored,
    places: sides,
  }
  const { source = [], destination = [] } = row.rules(scene)
  return [
    ...source.map((rule) => sides.source.faults.add(rule)),
    ...destination.map((rule) => sides.destination.faults.add(rule)),
  ]
}

function addressed({ row, sides, front }: Stage, of: 'source' | 'destination') {
  const place = sides[of]
  if (front === undefined || row.embedded?.front?.side !== of) return side(place)
  const url = new URL(place.url)
  url.port = String(front.port)
  return side({ url })
}

function problemsOf(
  { row, image, sides, on, resumes }: Stage,
  { row: result, lines }: Arrived,
  found: Found,
  twice: ReturnType<typeof again>,
) {
  const layer = image.large[0]?.size ?? 0
  const resumed = Math.min(RESUMED, layer / 8)
  const most = (allowed: Row['sentAgain']): number => {
    if (allowed === 'any') return Number.POSITIVE_INFINITY
    return allowed === 'layer' || (allowed !== undefined && !resumes) ? layer + resumed : resumed
  }
  const wanted = row.ends === undefined ? ['promoted', undefined] : ['failed', row.ends]
  const checks: readonly [boolean, string][] = [
    [
      result.status === wanted[0] && result.error?.code === wanted[1],
      `${result.status}, ${result.error?.code ?? 'no error'}: ${result.error?.message ?? ''} ${lines.at(-1) ?? ''}`,
    ],
    [row.ends !== undefined || found.tag === image.root.digest, `the tag is at ${found.tag}`],
    [row.ends === undefined || found.tag === undefined, `the tag moved to ${found.tag}`],
    [row.ends !== undefined || found.missing.length === 0, `missing: ${found.missing.join(', ')}`],
    [twice.sent <= most(row.sentAgain), `${twice.sent} bytes sent twice`],
    [twice.read <= most(row.readAgain), `${twice.read} bytes read twice`],
    [openSessions(sides.destination) <= 0, `${openSessions(sides.destination)} upload sessions left open`],
    [row.ends === undefined || (result.error?.side ?? null) !== null, 'the error names no side'],
    [
      on !== 'embedded' || row.sourceRequests === undefined || sides.source.stats.requests === row.sourceRequests,
      `${sides.source.stats.requests} requests to the source`,
    ],
  ]
  const violations = [...sides.source.violations, ...sides.destination.violations]
  return [...checks.flatMap(([good, problem]) => (good ? [] : [problem])), ...violations]
}
