import type { Promote } from '../../src/host/run-promotion.ts'
import type { Config } from '../../src/inputs/config.ts'
import { filesIn, filesOf, inLayout, overHttp, type Repository } from './repository.ts'
import { type Server, serverAt, snapshots } from './servers.ts'
import { type Before, lossesOf, type Platform, problemsOf } from './verifier.ts'

/**
 * Lets the verifier look at every run of the tests: all helpers that start a promotion, in this process or in one of its
 * own, go through here. A row that says `promoted` or `unchanged` has to be true.
 */

export type Row = Readonly<{ source: string; destination: string; tag: string; digest: string | null; status: string }>

/** What was asked for, by the row's destination. */
export type Wishes = (row: Row) => Readonly<{
  platforms: readonly Platform[] | undefined
  referrers: boolean
  foreign: boolean
  skipMissing: boolean
}>

type Snapshots = ReturnType<typeof snapshots>
const UNWRITTEN: Before = { tags: new Map(), manifests: new Map() }

let excuse: string | undefined

/**
 * The one way past the verifier.
 * @param reason why what this run leaves is not whole, or cannot be looked at: a sentence.
 */
export async function unverified<T>(reason: string, work: () => Promise<T>): Promise<T> {
  excuse = reason
  try {
    return await work()
  } finally {
    excuse = undefined
  }
}

/** @returns the verifier's look at the rows of a run that begins now; it throws an error with all that is wrong. */
export function watch(): (rows: readonly Row[], wishes: Wishes) => Promise<void> {
  const before = snapshots()
  const excused = excuse !== undefined
  return async (rows, wishes) => {
    if (excused) return
    const problems = await faultsOf(rows, wishes, before)
    if (problems.length > 0) throw new Error(`The verifier disagrees with the report:\n${problems.join('\n')}`)
  }
}

/** The same promotion under watch; `verify` throws what was found, after the run has ended. */
export function watched(promote: Promote): Readonly<{ promote: Promote; verify: () => void }> {
  let failure: unknown
  return {
    promote: async (config, host, context) => {
      const look = watch()
      const report = await promote(config, host, context)
      await look(config.rollback === undefined ? report.images : [], wishesOf(config)).catch((thrown) => {
        failure = thrown
      })
      return report
    },
    verify() {
      if (failure !== undefined) throw failure
    },
  }
}

function wishesOf(config: Config): Wishes {
  const named = (place: Readonly<{ repository: string; tag?: string | undefined }>, row: Row) =>
    row.destination.endsWith(`${place.repository}:${row.tag}`) && (place.tag ?? row.tag) === row.tag
  return (row) => {
    const own = [...config.images, ...config.sets].find(({ destination }) => named(destination, row))
    return {
      platforms: (own?.platforms ?? config.platforms) as readonly Platform[] | undefined,
      // Of a plan, what it lists is attached: the source may have more by now.
      referrers: config.referrers && config.plan === undefined,
      foreign: config.includeForeign !== false,
      skipMissing: config.skipMissing,
    }
  }
}

/** Sentences about all rows that say that an image is there, and about what their repositories lost. */
export async function faultsOf(rows: readonly Row[], wishes: Wishes, before: Snapshots): Promise<string[]> {
  const problems: string[] = []
  const arrived = rows.filter(({ digest, status }) => digest !== null && /^(promoted|unchanged)$/.test(status))
  const seen = new Map<string, Set<string>>()
  for (const row of arrived) problems.push(...(await rowProblems(row, wishes, before, seen)))
  return [...problems, ...(await lossesIn(arrived, rows, before))]
}

/** What the repositories of `rows` have lost, beside the tags of the rows `written`. */
export async function lossesIn(rows: readonly Row[], written: readonly Row[], before: Snapshots): Promise<string[]> {
  const problems: string[] = []
  const tags = new Map<string, Set<string>>()
  for (const { destination, tag } of written) {
    const { name } = placeOf(destination, tag)
    tags.set(name, (tags.get(name) ?? new Set()).add(tag))
  }
  const places = new Map(
    rows.map(({ destination, tag }) => [placeOf(destination, tag).name, placeOf(destination, tag)]),
  )
  for (const [name, place] of places) {
    const held = beforeOf(place, before)
    const repository = held && (await place.open(true))
    if (repository) problems.push(...(await lossesOf(name, repository, held, tags.get(name) ?? new Set())))
  }
  return problems
}

async function rowProblems(
  row: Row,
  wishes: Wishes,
  before: Snapshots,
  looked: Map<string, Set<string>>,
): Promise<string[]> {
  const { source, destination, tag, digest } = row
  const place = placeOf(destination, tag)
  const there = await place.open(true)
  if (there === undefined) return [`${place.name}: the verifier knows no such server`]
  const origin = placeOf(source, undefined)
  const from = await origin.open(false)
  const wished = wishes(row)
  const key = JSON.stringify([place.name, origin.name, wished])
  const seen = looked.get(key) ?? new Set()
  looked.set(key, seen)
  return problemsOf({
    ...wished,
    seen,
    name: place.name,
    destination: there,
    tag,
    digest: digest ?? '',
    source: from,
    before: beforeOf(place, before),
  })
}

type Place = Readonly<{
  /** Without the tag. */
  name: string
  host: string
  repository: string
  /** With `stored` only what the server itself holds. */
  open(stored: boolean): Promise<Repository | undefined>
}>

/** `host/repository:tag[@digest]`, `oci:folder:name` or `oci-archive:file:name`. */
function placeOf(text: string, tag: string | undefined): Place {
  const plain = text.replace(/@sha\d+:[0-9a-f]+$/, '')
  const [, kind, path = '', name = ''] = /^(oci|oci-archive):((?:[A-Za-z]:)?[^:]+):?(.*)$/.exec(plain) ?? []
  if (kind !== undefined) {
    const files = kind === 'oci' ? filesIn(path) : filesOf(path)
    const prefix = name.slice(0, name.lastIndexOf(tag ?? name.split(':').at(-1) ?? ''))
    return { name: plain, host: '', repository: '', open: async () => inLayout(files, prefix) }
  }
  const slash = plain.indexOf('/')
  const host = plain.slice(0, slash)
  const repository = plain.slice(slash + 1).replace(/:[^/:]*$/, '')
  const open = (stored: boolean) => openAt(serverAt(host), repository, stored)
  return { name: `${host}/${repository}`, host, repository, open }
}

async function openAt(server: Server | undefined, name: string, stored: boolean): Promise<Repository | undefined> {
  if (server === undefined) return undefined
  const repository = overHttp(await server.door(), name)
  if (!stored || server.stored === undefined) return repository
  const held = (digest: string) => !digest.includes(':') || server.stored?.(digest) === true
  return {
    ...repository,
    digest: async (tag) => server.resolve?.(name, tag),
    blob: async (digest) => (held(digest) ? repository.blob(digest) : undefined),
    manifest: async (reference) => (held(reference) ? repository.manifest(reference) : undefined),
  }
}

function beforeOf({ host, repository }: Place, before: Snapshots): Before | undefined {
  const held = before.get(host)
  return held && (held.get(repository) ?? UNWRITTEN)
}
