import type { TokenService } from '../../support/cluster/access.ts'
import type { Effect, Rule } from '../../support/cluster/faults.ts'
import type { Incoming } from '../../support/cluster/http.ts'
import { type BuiltImage, makeImage, makeIndex, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, type PlainOptions, startRegistry } from '../../support/cluster/plain.ts'
import { randomOf } from '../../support/random.ts'
import { openSessions, side, travel, virtualClock } from './stage.ts'

/** A promotion under up to five faults and on registries with habits, all of them decided by a seed. */

export type Outcome = Readonly<{
  /** What was done to it, for the message of a failure. */
  schedule: readonly string[]
  /** `promoted`, or the code of the error. */
  result: string
  problems: readonly string[]
}>

function chance(seed: number) {
  const next = randomOf(seed)
  const below = (most: number) => Math.floor(next() * most)
  return {
    next,
    below,
    of: <T>(choices: readonly T[]): T => choices[below(choices.length)] as T,
    happens: (probability: number) => next() < probability,
  }
}
type Chance = ReturnType<typeof chance>

const SERVICE: TokenService = { user: 'ci', password: 'ci-password' }
const KIB = 1024
const SIZES = [1, 40, 700, 64 * KIB, 300 * KIB, 900 * KIB, 1500 * KIB]
/** Milliseconds; less, and a busy machine looks like a fault. */
const STALL = 600

function imageOf(dice: Chance): BuiltImage {
  const layers = Array.from({ length: 1 + dice.below(5) }, () => dice.of(SIZES) + dice.below(50))
  const seed = 60 + dice.below(5)
  return dice.happens(0.3) ? makeIndex({ seed, layersEach: layers.slice(0, 2) }) : makeImage({ seed, layers })
}

function habitsOf(dice: Chance): PlainOptions {
  return {
    resume: dice.of(['v3', 'v3', 'destroy', 'olareg']),
    location: dice.of(['absolute', 'relative']),
    digestHeader: dice.happens(0.8),
    mountSelf: dice.happens(0.8),
    ...(dice.happens(0.2) ? { redirect: dice.of([true, { uses: 1 }] as const) } : {}),
    ...(dice.happens(0.15) ? { chunkMinLength: 256 * KIB } : {}),
    ...(dice.happens(0.15) ? { maxBody: 1024 * KIB } : {}),
    ...(dice.happens(0.3)
      ? { access: { kind: 'token', ...SERVICE, ...(dice.happens(0.3) ? { uses: 4 + dice.below(6) } : {}) } }
      : {}),
  }
}

const SOURCE_TARGETS: readonly Rule['match'][] = [
  { method: 'GET', path: /\/blobs\/|^\/storage\// },
  { method: 'GET', path: /\/manifests\// },
  { path: /^\/token/ },
  {},
]
const DESTINATION_TARGETS: readonly Rule['match'][] = [
  { method: 'POST', path: /\/uploads\// },
  { method: ['PUT', 'PATCH'], path: /\/uploads\// },
  { method: ['GET', 'DELETE'], path: /\/uploads\// },
  { method: 'PUT', path: /\/manifests\// },
  { method: ['GET', 'HEAD'], path: /\/manifests\// },
  { method: 'HEAD' },
  { path: /^\/token/ },
  {},
]
const STATUS = [401, 403, 404, 408, 413, 416, 429, 500, 502, 503, 504, 522]

function effectOf(dice: Chance): Effect {
  const after = dice.of([0, 1, 1000, 100 * KIB, 600 * KIB, 1200 * KIB])
  const kind = dice.of([
    ...(['cut-response', 'cut-request', 'status', 'lose-answer', 'headers', 'corrupt'] as const),
    ...(['cut-response', 'cut-request', 'status', 'stall-request', 'stall-response', 'latency'] as const),
  ])
  switch (kind) {
    case 'status':
      return {
        kind,
        status: dice.of(STATUS),
        headers: dice.happens(0.3) ? { 'Retry-After': dice.of(['0', '2', '90']) } : {},
      }
    case 'headers':
      return {
        kind,
        headers: { [dice.of(['Location', 'Range', 'Docker-Content-Digest', 'Content-Range'])]: undefined },
      }
    case 'corrupt':
      return { kind, at: after }
    case 'latency':
      return { kind, ms: 20 }
    case 'lose-answer':
      return { kind }
    default:
      return { kind, after }
  }
}

function ruleOf(dice: Chance, targets: readonly Rule['match'][]): Rule {
  const forEver = dice.happens(0.06)
  const often = forEver ? {} : { nth: 1 + dice.below(4), times: 1 + dice.below(3) }
  const effect = effectOf(dice)
  const strikes = ({ method, path }: Incoming) => {
    // The PUT of a manifest is waited for as long as OpenShift needs, which is too long for a test.
    if (effect.kind.startsWith('stall')) return method !== 'PUT' || !path.includes('/manifests/')
    // A session that was begun and has no address cannot be cancelled.
    return effect.kind !== 'headers' || method !== 'POST'
  }
  return { match: { ...dice.of(targets), ...often, when: strikes }, do: effect }
}

export async function runSchedule(seed: number): Promise<Outcome> {
  const dice = chance(seed)
  const clock = virtualClock()
  const image = imageOf(dice)
  const before = makeImage({ seed: 99, layers: [100] })
  const [fromHabits, toHabits] = [habitsOf(dice), habitsOf(dice)]
  const source = await startRegistry({ ...fromHabits, now: clock.now })
  const destination = await startRegistry({ ...toHabits, now: clock.now })
  try {
    seedImage(source, 'dev/app', image, 'v1')
    const previous = dice.happens(0.5) ? seedImage(destination, 'prod/app', before, 'v1') : undefined
    const schedule: string[] = []
    for (let left = 1 + dice.below(5); left > 0; left -= 1) {
      const atSource = dice.happens(0.5)
      const rule = ruleOf(dice, atSource ? SOURCE_TARGETS : DESTINATION_TARGETS)
      ;(atSource ? source : destination).faults.add(rule)
      schedule.push(`${atSource ? 'source' : 'destination'}: ${describeRule(rule)}`)
    }
    const jobs = dice.of([1, 2, 8])
    const login = { username: SERVICE.user, password: SERVICE.password }
    const { row, lines } = await travel({
      images: ['dev/app:v1=prod/app:v1'],
      source: { ...side(source), ...login },
      destination: { ...side(destination), ...login },
      clock,
      random: dice.next,
      config: { jobs, stallTimeout: STALL },
    })
    return {
      schedule: [
        `source ${JSON.stringify(fromHabits)}`,
        `destination ${JSON.stringify(toHabits)}`,
        `jobs ${jobs}`,
        ...schedule,
      ],
      result: row.error?.code ?? row.status,
      problems: [...problemsOf(row, image, destination, previous), ...source.violations, ...destination.violations].map(
        (problem) => `${problem}\n${lines.slice(-12).join('\n')}`,
      ),
    }
  } finally {
    await Promise.all([source.close(), destination.close()])
  }
}

function problemsOf(
  { status, error }: Awaited<ReturnType<typeof travel>>['row'],
  image: BuiltImage,
  destination: EmbeddedRegistry,
  previous: string | undefined,
): string[] {
  const tag = destination.tags('prod/app').get('v1')
  const repository = destination.store.repositories.get('prod/app')
  const sessions = openSessions(destination)
  const left = sessions > 0 ? [`${sessions} upload sessions left open`] : []
  if (error !== null) {
    return [
      ...left,
      ...(error.code === 'INTERNAL' ? [`INTERNAL: ${error.message}`] : []),
      ...(error.side === null ? [`no side: ${error.message}`] : []),
      ...(status === 'failed' ? [] : [`${status} with an error`]),
      // The tag's PUT may have arrived although every answer to it was lost: then what it names is complete.
      ...(tag === previous || tag === image.root.digest ? [] : [`the tag is at ${tag}`]),
      ...(tag === image.root.digest ? absent(image, repository) : []),
    ]
  }
  return [
    ...left,
    ...(status === 'promoted' ? [] : [status]),
    ...(tag === image.root.digest ? [] : [`the tag is at ${tag}`]),
    ...absent(image, repository),
  ]
}

function absent(
  image: BuiltImage,
  repository: EmbeddedRegistry['store']['repositories'] extends Map<string, infer R> ? R | undefined : never,
) {
  const blobs = [...image.blobs.keys()].filter((digest) => repository?.blobs.has(digest) !== true)
  const manifests = image.manifests.filter(({ digest }) => repository?.manifests.has(digest) !== true)
  return [...blobs, ...manifests.map(({ digest }) => digest)].map((digest) => `${digest} is missing`)
}

function describeRule({ match = {}, do: effect }: Rule): string {
  const { method = 'any', path, nth, times } = match
  const when = nth === undefined ? 'always' : `from the ${nth}. on, ${times} times`
  return `${[method].flat().join('|')} ${path?.source ?? ''} ${when}: ${JSON.stringify(effect)}`
}
