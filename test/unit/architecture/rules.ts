import { builtinModules } from 'node:module'
import { posix } from 'node:path'
import { type Facts, factsOf } from './source.ts'

/**
 * Lines: of a file, function and folder with comments, of the whole without comments, blank lines and trust, so that a docstring
 * does not compete with code. A folder is what one person keeps in mind. Growth past a limit is a reason to look for a
 * better shape, not to raise it.
 */
export const LIMITS = { file: 350, function: 50, folder: 2550, whole: 14_000 } as const

/**
 * The layers, from the bottom up. A file may import its own folder and every folder on an earlier line, types included;
 * folders on one line do not know each other. `copy/store.ts` holds the ports that registries and layouts implement.
 */
export const LAYERS: readonly (readonly string[])[] = [
  ['core'],
  ['oci'],
  ['transport'],
  ['http'],
  ['credentials'],
  ['copy/store.ts'],
  ['openshift', 'registry', 'layout'],
  ['trust'],
  ['copy'],
  ['report'],
  ['inputs'],
  ['release'],
  ['promote'],
  ['host'],
  ['index'],
]

/** Copying knows registries and layouts only by their ports, and HTTP not at all; pure folders see pure ones. */
const ONLY: Readonly<Record<string, readonly string[]>> = {
  copy: ['core', 'oci', 'trust', 'copy/store.ts'],
  'copy/store.ts': ['core', 'oci'],
  trust: ['core', 'oci'],
  layout: ['core', 'oci', 'copy/store.ts'],
  report: ['core', 'oci', 'trust', 'copy/events.ts', 'openshift/denial.ts'],
  inputs: ['core', 'oci', 'trust', 'report/model.ts'],
}

/** Who touches the outside world: undici, files, child processes, sockets, `process`. */
const OUTSIDE = ['host', 'transport', 'credentials', 'layout', 'index', 'core/files.ts']

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

/**
 * The packages that the bundle may hold, and the modules that may use them. npm does not tell them from
 * those of the tests: all are development dependencies, so that installing the package fetches nothing.
 */
const PLACES: Readonly<Record<string, readonly string[] | 'anywhere'>> = {
  undici: OUTSIDE,
  '@actions/core': ['host/github.ts'],
  '@actions/exec': ['credentials/subprocess.ts'],
  '@sigstore/bundle': ['trust/keyless.ts'],
  '@sigstore/protobuf-specs': ['trust/keyless.ts'],
  '@sigstore/verify': ['trust/keyless.ts'],
  semver: 'anywhere',
  yaml: 'anywhere',
  zod: 'anywhere',
}

/** @param path relative to `src`, with forward slashes. */
export function violations(path: string, text: string): string[] {
  const facts = factsOf(text)
  return [...shape(path, facts), ...imports(path, facts), ...outside(path, facts)].map(
    (problem) => `${path}: ${problem}`,
  )
}

/** Files that import each other in a circle, types included: each circle once, as `a.ts > b.ts > a.ts`. */
export function cycles(files: readonly Readonly<{ path: string; text: string }>[]): string[] {
  const imported = new Map(
    files.map(({ path, text }) => [
      path,
      factsOf(text)
        .imports.filter((module) => module.startsWith('.'))
        .map((module) => posix.join(posix.dirname(path), module)),
    ]),
  )
  const found: string[] = []
  const done = new Set<string>()
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) found.push([...trail.slice(trail.indexOf(path)), path].join(' > '))
    if (done.has(path) || trail.includes(path)) return
    for (const target of imported.get(path) ?? []) visit(target, [...trail, path])
    done.add(path)
  }
  for (const { path } of files) visit(path, [])
  return found
}

function shape(path: string, facts: Facts): string[] {
  const long = facts.functions.filter(({ lines }) => lines > LIMITS.function)
  return [
    ...(facts.lines > LIMITS.file ? [`${facts.lines} lines, at most ${LIMITS.file}`] : []),
    ...long.map(({ name, line, lines }) => `${name} in line ${line} has ${lines} lines, at most ${LIMITS.function}`),
    ...(facts.defaultExport ? ['has a default export'] : []),
    ...(facts.reExports ? ["exports another file's names"] : []),
    ...(/(?:^|\/)(?:utils?|common|misc)(?:\/|\.ts$)/.test(path) ? ['has a name that says nothing'] : []),
    ...(layerOf(path) < 0 ? ['is in no folder of the design'] : []),
  ]
}

function imports(path: string, facts: Facts): string[] {
  return facts.imports
    .filter((module) => module.startsWith('.'))
    .map((module) => posix.join(posix.dirname(path), module))
    .filter((target) => !maySee(path, target))
    .map((target) => `may not import ${target}`)
}

function maySee(path: string, target: string): boolean {
  if (target.endsWith('.d.ts') || folderOf(path) === folderOf(target)) return true
  const only = ONLY[path] ?? ONLY[folderOf(path)]
  return layerOf(target) < layerOf(path) && (only === undefined || isIn(target, only))
}

function layerOf(path: string): number {
  const own = LAYERS.findIndex((layer) => layer.includes(path))
  return own >= 0 ? own : LAYERS.findIndex((layer) => layer.includes(folderOf(path)))
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
  const [, places] = Object.entries(PLACES).find(([each]) => module === each || module.startsWith(`${each}/`)) ?? []
  return places === 'anywhere' || (places !== undefined && isIn(path, places))
}

function isIn(path: string, places: readonly string[]): boolean {
  return places.includes(path) || places.includes(folderOf(path))
}

function folderOf(path: string): string {
  const slash = path.indexOf('/')
  return slash < 0 ? path.replace(/\.ts$/, '') : path.slice(0, slash)
}
