import { readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join, posix } from 'node:path'
import { type Facts, factsOf } from './source.ts'

/**
 * Lines, comments and all. A room is what one person holds in mind; the whole began at 6,500 and was raised when every
 * way into a cluster and every fault had its place, because leaving one out would have been the worse shape.
 */
export const LIMITS = { file: 400, function: 50, room: 2600, whole: 17_000 } as const

/** Files at the top that everybody may import. */
const ROOT_FILES = ['errors.ts', 'secret.ts', 'credential.ts', 'context.ts', 'buffer-pool.ts', 'version.ts', 'yaml.ts']

/** The story: the run, a side of it, one image in it, its tags, and what is told of it. */
const STORY_FILES = ['promote.ts', 'side.ts', 'rows.ts', 'work.ts', 'expand.ts', 'tags.ts', 'rollback.ts']

const PURE = ['root', 'oci', 'core']
const STAGES = [...PURE, 'inputs', 'wire', 'http', 'credentials', 'openshift', 'store', 'trust', 'copy', 'report']

/** Room → what it may import: rooms, or single files of a room. Its own room goes without saying. */
const SEES: Readonly<Record<string, readonly string[]>> = {
  core: ['errors.ts', 'secret.ts'],
  root: PURE,
  oci: PURE,
  inputs: PURE,
  // What is sent and what comes back is one contract for both.
  wire: [...PURE, 'http/send.ts', 'http/answer.ts', 'http/error-body.ts'],
  http: [...PURE, 'wire'],
  credentials: PURE,
  openshift: [...PURE, 'http', 'credentials', 'report/model.ts'],
  store: [...PURE, 'http', 'credentials'],
  trust: PURE,
  copy: [...PURE, 'store/store.ts', 'trust', 'report/model.ts'],
  report: PURE,
  promote: [...STAGES, 'host/host.ts'],
  host: [...PURE, 'promote', 'inputs', 'report'],
  index: [...PURE, 'promote', 'inputs', 'report', 'host'],
}

/** Who touches the outside world: undici, files, child processes, sockets, `process`. */
const OUTSIDE = ['host', 'wire', 'credentials', 'index', 'core/files.ts', 'store/folder.ts', 'store/archive.ts']

/** Built-in modules that only compute. */
const COMPUTING = [
  'vm',
  'crypto',
  'stream',
  'stream/promises',
  'util',
  'path',
  'url',
  'buffer',
  'events',
  'string_decoder',
]

/** Packages with a place of their own; every other dependency may be used where it helps. */
const PLACES: Readonly<Record<string, readonly string[]>> = {
  undici: OUTSIDE,
  '@actions/core': ['host/github.ts'],
  '@actions/exec': ['credentials'],
  '@sigstore/bundle': ['trust/keyless.ts'],
  '@sigstore/protobuf-specs': ['trust/keyless.ts'],
  '@sigstore/verify': ['trust/keyless.ts'],
}

/** The bundle holds what package.json names as its dependencies, and nothing that is there for tests. */
const MANIFEST = join(import.meta.dirname, '..', '..', '..', 'package.json')
const PACKAGES = Object.keys(JSON.parse(readFileSync(MANIFEST, 'utf8')).dependencies)

/** @param path relative to `src`, with forward slashes. */
export function violations(path: string, text: string): string[] {
  const facts = factsOf(text)
  return [...shape(path, facts), ...imports(path, facts), ...outside(path, facts)].map(
    (problem) => `${path}: ${problem}`,
  )
}

function shape(path: string, facts: Facts): string[] {
  const long = facts.functions.filter(({ lines }) => lines > LIMITS.function)
  return [
    ...(facts.lines > LIMITS.file ? [`${facts.lines} lines, at most ${LIMITS.file}`] : []),
    ...long.map(({ name, line, lines }) => `${name} in line ${line} has ${lines} lines, at most ${LIMITS.function}`),
    ...(facts.defaultExport ? ['has a default export'] : []),
    ...(facts.reExports ? ["exports another file's names"] : []),
    ...(/(?:^|\/)(?:utils?|common|misc)(?:\/|\.ts$)/.test(path) ? ['has a name that says nothing'] : []),
    ...(SEES[roomOf(path)] === undefined ? ['is in no room of the design'] : []),
  ]
}

function imports(path: string, facts: Facts): string[] {
  const own = roomOf(path)
  const allowed = [own, ...(SEES[own] ?? [])]
  return facts.imports
    .filter((module) => module.startsWith('.'))
    .map((module) => posix.join(posix.dirname(path), module))
    .filter((target) => !isIn(target, allowed))
    .map((target) => `may not import ${target}`)
}

function outside(path: string, facts: Facts): string[] {
  const reaches = isIn(path, OUTSIDE)
  const modules = facts.imports
    .filter((module) => !module.startsWith('.'))
    .filter((module) => !mayUse(path, module, reaches))
  const globals = reaches ? facts.globals.filter((name) => name === 'eval' || name === 'require') : facts.globals
  return [...modules.map((module) => `may not import ${module}`), ...globals.map((name) => `may not use ${name}`)]
}

function mayUse(path: string, module: string, reaches: boolean): boolean {
  if (module.startsWith('node:')) return reaches || COMPUTING.includes(module.slice('node:'.length))
  if (builtinModules.includes(module)) return false // written with `node:` or not at all
  const name = PACKAGES.find((each) => module === each || module.startsWith(`${each}/`))
  return name !== undefined && isIn(path, PLACES[name] ?? [roomOf(path)])
}

function isIn(path: string, places: readonly string[]): boolean {
  return places.includes(path) || places.includes(roomOf(path))
}

function roomOf(path: string): string {
  if (ROOT_FILES.includes(path)) return 'root'
  if (STORY_FILES.includes(path)) return 'promote'
  const slash = path.indexOf('/')
  return slash < 0 ? path.replace(/\.ts$/, '') : path.slice(0, slash)
}
