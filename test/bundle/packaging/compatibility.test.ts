import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'

/** docs/compatibility.md and the quirks in the source cannot drift apart. */

const ROOT = join(import.meta.dirname, '..', '..', '..', '..')
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8')

type Row = Readonly<{ name: string; quirks: readonly string[]; tested: string }>

const rows = read('docs/compatibility.md')
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .slice(2)
  .map((line): Row => {
    const [name = '', , quirks = '', tested = ''] = line
      .slice(2, -2)
      .split(' |')
      .map((cell) => cell.trim())
    return {
      name: name.trim(),
      quirks: [...quirks.matchAll(/`(\w+)`/g)].map((each) => each[1] ?? ''),
      tested: tested.trim(),
    }
  })

const source = read('src/http/quirks.ts')
const exported = [...source.matchAll(/^export (?:async )?(?:function|const) (\w+)/gm)].map(([, name]) => name ?? '')

test('the table has every registry that is promised, and says how each was tested', () => {
  expect(rows.map(({ name }) => name)).toEqual([
    'OpenShift 4',
    'distribution 2.8 and 3',
    'Quay',
    'GHCR',
    'ECR',
    'GAR',
    'ACR',
    'Harbor',
    'Artifactory',
    'Nexus',
    'GitLab',
    'zot',
    'Docker Hub',
  ])
  for (const { tested } of rows) expect(tested).toMatch(/^(?:real|embedded|documentation)$/)
})

test('every quirk of the source is in the table, and no other', () => {
  const named = new Set(rows.flatMap(({ quirks }) => quirks))
  expect([...named].sort()).toEqual(exported.filter((name) => name !== 'REFUSALS').sort())
})

test('a registry that the source names for a refusal has that in its row', () => {
  const authors = [...source.matchAll(/^ {4}\/\/ By: (.*)$/gm)].map(([, by]) => by ?? '').join(' ')
  const known = { GAR: 'Artifact Registry', 'OpenShift 4': 'OpenShift', 'distribution 2.8 and 3': 'distribution' }
  const blamed = rows.filter(({ name }) => authors.includes((known as Record<string, string>)[name] ?? name))
  expect(blamed.length).toBeGreaterThan(8)
  for (const { name, quirks } of blamed) expect([name, quirks.includes('explainRefusal')]).toEqual([name, true])
})

test('the index of the documentation leads to the table', () => {
  expect(read('README.md')).toContain('docs/compatibility.md')
})
