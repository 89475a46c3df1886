import { readdirSync, readFileSync } from 'node:fs'
import { basename, join, sep } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { cycles, LIMITS, violations } from './rules.ts'
import { factsOf } from './source.ts'

// Runs from build/test/unit/architecture.
const SRC = join(import.meta.dirname, '..', '..', '..', '..', 'src')

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  // Declarations say what somebody else's modules look like.
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
  .map((name) => ({ path: name.split(sep).join('/'), text: readFileSync(join(SRC, name), 'utf8') }))

describe('the source tree', () => {
  test('keeps the import rule, the sizes and the shape of the design', () => {
    expect(files.length).toBeGreaterThan(10)
    expect(files.flatMap(({ path, text }) => violations(path, text))).toEqual([])
  })

  test(`has no folder of more than ${LIMITS.folder} lines`, () => {
    const folders = new Map<string, number>()
    for (const { path, text } of files) {
      const folder = path.split('/')[0] ?? path
      folders.set(folder, (folders.get(folder) ?? 0) + factsOf(text).lines)
    }
    expect([...folders].filter(([, lines]) => lines > LIMITS.folder)).toEqual([])
  })

  test('has no two files of one name, and no cycle of imports', () => {
    const names = files.map(({ path }) => basename(path))
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([])
    expect(cycles(files)).toEqual([])
  })

  test(`is below ${LIMITS.whole} lines of code as a whole, without trust`, () => {
    const counted = files.filter(({ path }) => !path.startsWith('trust/'))
    expect(counted.reduce((sum, { text }) => sum + factsOf(text).code, 0)).toBeLessThanOrEqual(LIMITS.whole)
  })
})

/** Foreign text is cut in core/text.ts alone. These cut lists, hashes, what is parsed and not shown, or names of a file format. */
const CUTS = [
  'trust/claim',
  'oci/digest',
  'http/token-service',
  'http/challenge',
  'http/error-body',
  'http/response',
  'report/closing-text',
]
  .concat(
    'report/live',
    'report/summary',
    'openshift/image-streams',
    'registry/external-layers',
    'layout/tar',
    'report/make-report',
  )
  .concat('host/github', 'core/secret', 'core/text')

test('foreign text is cut and quoted in one place', () => {
  const cutting = /\.substr(?:ing)?\(|\.slice\(0, (?:\d|[A-Z]{2})|JSON\.stringify\([^)]*\.slice\(/
  const cuts = files.filter(({ path, text }) => !CUTS.includes(path.replace(/\.ts$/, '')) && cutting.test(text))
  expect(cuts.map(({ path }) => path)).toEqual([])
  const quotes = files.filter(({ text }) => /function (?:quote|oneLine|displayUrl|cut)\b/.test(text))
  expect(quotes.map(({ path }) => path)).toEqual(['core/text.ts'])
})

describe('the rules refuse', () => {
  test.each([
    [
      'copy sees no HTTP',
      'copy/execute.ts',
      "import { send } from '../http/client.ts'",
      'may not import http/client.ts',
    ],
    [
      'types count as imports',
      'copy/a.ts',
      "import type { Send } from '../http/client.ts'",
      'may not import http/client.ts',
    ],
    ['so do dynamic ones', 'copy/a.ts', "await import('../http/client.ts')", 'may not import http/client.ts'],
    [
      'and types by import()',
      'copy/a.ts',
      "type A = import('../http/client.ts').Send",
      'may not import http/client.ts',
    ],
    [
      'copy sees only the port',
      'copy/a.ts',
      "import { R } from '../registry/repository.ts'",
      'may not import registry/repository.ts',
    ],
    ['oci is pure', 'oci/a.ts', "import { x } from '../inputs/config.ts'", 'may not import inputs/config.ts'],
    [
      'core imports nothing',
      'core/errors.ts',
      "import { x } from '../http/client.ts'",
      'may not import http/client.ts',
    ],
    ['no folder sees the story', 'registry/a.ts', "import { x } from '../promote.ts'", 'may not import promote.ts'],
    ['the story sees no host', 'promote.ts', "import { x } from './host/cli.ts'", 'may not import host/cli.ts'],
    ['undici has its places', 'openshift/a.ts', "import { Agent } from 'undici'", 'may not import undici'],
    [
      '@actions/core has one file',
      'host/cli.ts',
      "import * as core from '@actions/core'",
      'may not import @actions/core',
    ],
    [
      'deep imports are no way around',
      'host/cli.ts',
      "import '@actions/core/lib/core'",
      'may not import @actions/core/lib/core',
    ],
    [
      '@actions/exec has one file',
      'host/github.ts',
      "import { exec } from '@actions/exec'",
      'may not import @actions/exec',
    ],
    ['files', 'inputs/a.ts', "import { readFileSync } from 'node:fs'", 'may not import node:fs'],
    [
      'files in a registry',
      'registry/repository.ts',
      "import fs from 'node:fs/promises'",
      'may not import node:fs/promises',
    ],
    ['child processes', 'copy/a.ts', "import { spawn } from 'node:child_process'", 'may not import node:child_process'],
    ['a built-in without node:', 'host/a.ts', "import fs from 'fs'", 'may not import fs'],
    ['an unknown package', 'host/a.ts', "import _ from 'lodash'", 'may not import lodash'],
    ['a package that is there for tests', 'inputs/a.ts', "import fc from 'fast-check'", 'may not import fast-check'],
    ['a computed import', 'http/a.ts', 'await import(name)', 'may not import <computed>'],
    ['process', 'report/a.ts', 'const e = process.env', 'may not use process'],
    ['process by globalThis', 'report/a.ts', 'globalThis.process.exit()', 'may not use globalThis'],
    ['fetch', 'openshift/a.ts', 'await fetch(url)', 'may not use fetch'],
    ['require', 'http/a.ts', "require('node:fs')", 'may not use require'],
    ['a default export', 'oci/a.ts', 'export default 1', 'has a default export'],
    ['a named default', 'oci/a.ts', 'const a = 1\nexport { a as default }', 'has a default export'],
    ['a re-export', 'oci/a.ts', "export { a } from './b.ts'", "exports another file's names"],
    ['a re-export of all', 'oci/a.ts', "export * from './b.ts'", "exports another file's names"],
    [
      'a re-export in two steps',
      'oci/a.ts',
      "import { a } from './b.ts'\nexport { a }",
      "exports another file's names",
    ],
    ['utils', 'registry/utils.ts', 'export const a = 1', 'has a name that says nothing'],
    ['a new folder', 'services/a.ts', 'export const a = 1', 'is in no folder of the design'],
    ['a long file', 'oci/a.ts', 'x\n'.repeat(LIMITS.file + 1), `${LIMITS.file + 1} lines, at most ${LIMITS.file}`],
  ])('%s', (_, path, text, problem) => expect(violations(path, text)).toContain(`${path}: ${problem}`))

  const body = 'x()\n'.repeat(LIMITS.function - 1)
  test.each([
    ['function f(a: { b: string }): Promise<{ c: number }> {', '}', 'f'],
    ['const f = async () => {', '}', 'f'],
    ['const f = () => [', ']', 'f'],
    ['class A {\n  m() {', '} }', 'm'],
    ['const o = {\n  m() {', '} }', 'm'],
    ['export const o = { m: function () {', '} }', 'a nameless function'],
    ['g(() => {', '})', 'a nameless function'],
  ])('a long function: %s', (head, tail, name) => {
    const lines = head.includes('[') ? 'x,\n'.repeat(LIMITS.function - 1) : body
    const long = factsOf(`${head}\n${lines}${tail}`).functions.filter((each) => each.lines > LIMITS.function)
    expect(long.map((each) => each.name)).toEqual([name])
    const shorter = lines.slice(lines.indexOf('\n') + 1)
    const fits = factsOf(`${head}\n${shorter}${tail}`).functions
    expect(fits.map((each) => each.lines)).toEqual([LIMITS.function])
  })
})

describe('the rules allow', () => {
  test.each([
    [
      'copy/execute.ts',
      "import type { Target } from './store.ts'\nimport type { Evidence } from '../trust/evidence.ts'",
    ],
    [
      'registry/repository.ts',
      "import { a } from '../http/client.ts'\nimport type { b } from '../copy/store.ts'\nimport { c } from '../oci/digest.ts'",
    ],
    ['layout/directory.ts', "import { open } from 'node:fs/promises'\nprocess.cwd()"],
    ['layout/archive.ts', "import { createGunzip } from 'node:zlib'"],
    ['transport/transport.ts', "import { Agent } from 'undici'\nimport { readFileSync } from 'node:fs'\nprocess.env"],
    ['host/github.ts', "import * as core from '@actions/core'\nimport { run } from '../promote.ts'"],
    ['credentials/subprocess.ts', "import { exec } from '@actions/exec'"],
    ['inputs/parse.ts', "import { z } from 'zod'\nimport { PromoteError } from '../core/errors.ts'"],
    ['oci/digest.ts', "import { createHash } from 'node:crypto'"],
    ['report/a.ts', 'const a = { process: 1, fetch() {} }\na.process\nexport { a }\n// process, fetch'],
  ])('%s', (path, text) => expect(violations(path, text)).toEqual([]))
})
