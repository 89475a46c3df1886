import { describe, expect, it, test } from '@jest/globals'
import { Secrets } from '../../../src/core/secret.ts'
import type { Undo } from '../../../src/inputs/rollback-report.ts'
import { readRollback } from '../../../src/inputs/rollback-report.ts'
import { isInShard, parseShard } from '../../../src/inputs/shard.ts'
import { configOf, type Given, problemsOf } from './table.ts'

const OLD = `sha256:${'0'.repeat(64)}`
const NEW = `sha256:${'1'.repeat(64)}`
const REGISTRIES = ['--source-registry', 'a.example.com', '--destination-registry', 'b.example.com']
const withFlags = (...flags: string[]): Given => ({ argv: [...REGISTRIES, ...flags, '--', 'dev/app:1=prod/app:1'] })
const withImages = (...images: string[]): Given => ({ argv: [...REGISTRIES, '--', ...images] })
const withList = (list: string, ...flags: string[]): Given => ({
  argv: [...REGISTRIES, '--image-list', 'list', ...flags],
  files: { list },
})

const row = (more: object = {}) => ({
  source: 'a.example.com/dev/app:1',
  destination: 'b.example.com/prod/app:1',
  target: 'destination',
  tag: '1',
  digest: NEW,
  previousDigest: OLD,
  status: 'promoted',
  ...more,
})
const report = (rows: object[], more: object = {}) =>
  JSON.stringify({ schema: 'image-promote/report/v1', dryRun: false, status: 'done', images: rows, ...more })
const withReport = (text: string, ...flags: string[]): Given => ({
  argv: ['--destination-registry', 'b.example.com', '--rollback', 'before.json', ...flags],
  files: { 'before.json': text },
})

describe('a line with a glob', () => {
  it('is a set of tags, which keep their names', () => {
    const { images, sets } = configOf(withImages('dev/app:v1.*=prod/app', 'dev/web:*', 'dev/api:1=prod/api:2'))
    expect(images).toHaveLength(1)
    expect(sets).toEqual([
      {
        source: { repository: 'dev/app' },
        destination: { repository: 'prod/app' },
        select: { glob: 'v1.*' },
        exclude: [],
      },
      {
        source: { repository: 'dev/web' },
        destination: { repository: 'dev/web' },
        select: { glob: '*' },
        exclude: [],
      },
    ])
  })

  test.each([
    [
      'dev/app:v*=prod/app:v1',
      '"prod/app:v1": several tags are promoted from repository to repository: write "prod/app"',
    ],
    [`dev/app:v*@${NEW}=prod/app`, 'is not an image reference'],
    ['dev/*:v1=prod/app', '"prod/app": "*" stands for the names of repositories on both sides'],
    ['dev/app:v*=prod/*', '"prod/*": "*" stands for the names of repositories on both sides'],
    ['dev/app:1=prod/*', 'is not an image reference'],
    ['dev/*/app:1=prod/*', '"dev/*/app": "*" (or "**") stands once, in the last part of a repository'],
    ['dev/***:1=prod/*', '"dev/***": "*" (or "**") stands once'],
    ['dev/*-*:1=prod/*', 'is not an image reference'],
    ['*.example.com/app:1=prod/*', '"*" (or "**") stands once'],
    ['dev/A*:1=prod/*', 'a repository is lower case'],
    ['dev/*:1.*=prod/*:1', 'several tags are promoted from repository to repository: write "prod/*"'],
    [`dev/*@${NEW}=prod/*`, 'is not an image reference'],
    ['dev/*:1=oci:folder', 'tags are selected in registries only'],
    ['dev/app:v*=oci:folder', 'tags are selected in registries only'],
  ])('%s is refused', (line, problem) => {
    const problems = problemsOf(withImages(line))
    expect(problems).toHaveLength(1)
    expect(problems[0]).toContain(problem)
  })

  it('may not have additional tags, onto which all of them would go', () => {
    const problems = problemsOf({ argv: [...REGISTRIES, '--additional-tags', 'stable', '--', 'dev/app:v*=prod/app'] })
    expect(problems).toEqual([expect.stringContaining('--additional-tags: go with images that are named one by one')])
  })

  it('may not be promoted onto itself', () => {
    const both = ['--source-registry', 'a.example.com', '--destination-registry', 'a.example.com', '--', 'dev/app:v*']
    expect(problemsOf({ argv: both })).toEqual([
      expect.stringContaining('is source and destination on the same registry'),
    ])
  })
})

describe('a line with "*" for the repository', () => {
  test.each<[line: string, source: string, tag: string, destination: object]>([
    ['dev/*:1.9.2=prod/*', 'dev/*', '1.9.2', { repository: 'prod/*' }],
    ['dev/*=prod/*', 'dev/*', 'latest', { repository: 'prod/*' }],
    ['dev/*:1.9.2', 'dev/*', '1.9.2', { repository: 'dev/*' }],
    ['dev/*:v1.*=prod/team-*', 'dev/*', 'v1.*', { repository: 'prod/team-*' }],
    ['dev/**:1=prod/**', 'dev/**', '1', { repository: 'prod/**' }],
    ['dev/api-*:1=prod/*', 'dev/api-*', '1', { repository: 'prod/*' }],
    ['**:1=mirror/**', '**', '1', { repository: 'mirror/**' }],
    ['dev/*:1=prod/*:stable', 'dev/*', '1', { repository: 'prod/*', tag: 'stable' }],
    ['dev/*:1=quay.io/org/*', 'dev/*', '1', { host: 'quay.io', repository: 'org/*' }],
  ])('%s', (line, source, glob, destination) => {
    const [set, ...more] = configOf(withImages(line)).sets
    expect([set, more]).toEqual([{ source: { repository: source }, select: { glob }, destination, exclude: [] }, []])
  })

  it('may have additional tags where it names one tag, which each of the repositories gets', () => {
    const given = (image: string) => ({ argv: [...REGISTRIES, '--additional-tags', 'stable', '--', image] })
    expect(configOf(given('dev/*:1=prod/*')).additionalTags).toEqual(['stable'])
    expect(problemsOf(given('dev/*:1.*=prod/*'))).toEqual([expect.stringContaining('go with images that are named')])
  })

  it('leaves out what exclude names, and all sets of the run do', () => {
    const list = '- { source: dev/*, destination: prod/*, tags: { semver: ^1 }, exclude: [tmp-*, "app:*-rc*"] }'
    const flags = ['--exclude', ':edge', '--exclude', 'dev/x*', '--', 'dev/*:2=prod/*']
    const { sets } = configOf({ argv: [...REGISTRIES, '--image-list', list, ...flags] })
    const both = [':edge', 'dev/x*']
    expect(sets.map(({ exclude }) => exclude)).toEqual([both, ['tmp-*', 'app:*-rc*', ...both]])
  })

  test.each<[flags: string[], problem: string]>([
    [['--exclude', 'tmp', '--', 'dev/app:1'], '--exclude: goes with selections'],
    [['--exclude', 'TMP', '--', 'dev/*:1'], '--exclude: "TMP" is none of NAME, :TAG and NAME:TAG'],
    [['--exclude', 'a:b:c', '--', 'dev/*:1'], '--exclude: "a:b:c" is none of'],
    [['--exclude', 'a:', '--', 'dev/*:1'], '--exclude: "a:" is none of'],
    [['--image-list', '- { source: dev/app:1, exclude: a }'], 'exclude is for selections, not for one image'],
    [['--image-list', '- { source: dev/*, exclude: A }'], '"A" is none of'],
    [['--image-list', `- { source: "dev/*:1", expect-current: ${OLD} }`], 'is for one tag, not for a selection'],
  ])('%j is refused', (flags, problem) => {
    const problems = problemsOf({ argv: [...REGISTRIES, ...flags] })
    expect(problems).toEqual([expect.stringContaining(problem)])
  })
})

describe('image-list', () => {
  const LIST = `
- source: dev/app:1.2
  destination: prod/app
  platforms: [linux/amd64]
  expect-current: ${OLD}
- source: dev/web
  destination: prod/web
  tags: { semver: ^1.2, latest: 3 }
- { "source": "dev/api:1", "expect-current": "absent" }
- source: dev/jobs:v1.*
  destination: prod/jobs
`
  it('holds single images and selections, in YAML', () => {
    const { images, sets } = configOf(withList(LIST))
    expect(images).toEqual([
      {
        source: { repository: 'dev/app', tag: '1.2' },
        destination: { host: undefined, repository: 'prod/app', tag: '1.2' },
        platforms: [{ os: 'linux', architecture: 'amd64' }],
        expectCurrent: OLD,
      },
      {
        source: { repository: 'dev/api', tag: '1' },
        destination: { host: undefined, repository: 'dev/api', tag: '1' },
        expectCurrent: 'absent',
      },
    ])
    expect(sets.map(({ source, select }) => [source.repository, select])).toEqual([
      ['dev/web', { semver: '^1.2', latest: 3 }],
      ['dev/jobs', { glob: 'v1.*' }],
    ])
  })

  test.each([LIST, '[{ "source": "dev/app:1" }]', '- source: dev/app:1', '- { source: dev/app:1 }'])(
    'is a text as well as a file: %j',
    (list) => expect(configOf({ argv: [...REGISTRIES, '--image-list', list] })).toEqual(configOf(withList(list))),
  )

  it('that stands in an option itself is kept secret no more than another', () => {
    const secrets = new Secrets()
    configOf({ argv: [...REGISTRIES, '--image-list', '- source: dev/app:1'] }, secrets)
    expect(secrets.redact('dev/app:1')).toBe('dev/app:1')
  })

  it('is read as JSON too, and goes together with images', () => {
    const json = JSON.stringify([{ source: 'dev/web:1', destination: 'prod/web' }])
    const { images } = configOf({
      argv: [...REGISTRIES, '--image-list', 'l', '--', 'dev/app:1=prod/app'],
      files: { l: json },
    })
    expect(images.map(({ destination }) => destination.repository)).toEqual(['prod/app', 'prod/web'])
  })

  test.each<[what: string, list: string, ...problems: string[]]>([
    ['nothing', '', 'is not a list of 1 to 10000 images'],
    ['a map', 'images: []', 'is not a list'],
    ['an empty list', '[]', 'is not a list'],
    ['no YAML', '- source: "x', '--image-list: is not YAML: MISSING_CHAR in line 1'],
    [
      'an unknown member',
      '- { source: dev/app:1, tag: 1 }',
      'entry 1 ("dev/app:1"): "tag" is not a member of an entry',
    ],
    ['no source', '- { destination: prod/app:1 }', 'entry 1: source: '],
    ['a word for an entry', '- dev/app:1', 'entry 1: '],
    ['two images in one', '- source: dev/app:1=prod/app:1', '"dev/app:1=prod/app:1" is not one image'],
    [
      'two problems',
      '- source: dev/App:1\n- source: dev/web:1\n  platforms: [x]',
      'entry 1 ("dev/App:1"): ',
      'entry 2 ("dev/web:1"): "x" is not a platform',
    ],
    ['a tag and a selection', '- { source: dev/app:1, destination: prod/app, tags: { glob: "*" } }', 'write "dev/app"'],
    [
      'a bad expectation',
      '- { source: dev/app:1, expect-current: latest }',
      'expect-current: is neither a digest nor absent',
    ],
    [
      'an expectation of many',
      `- { source: dev/app, expect-current: ${OLD}, tags: { latest: 1 } }`,
      'is for one tag, not for a selection',
    ],
    ['deep nesting', `- source: ${'['.repeat(5000)}${']'.repeat(5000)}`, 'is nested more than 100 deep'],
    [
      'too many aliases',
      `- &a [x,x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 200 }, () => '- [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]').join('\n')}`,
      'is not YAML that can be read',
    ],
  ])('with %s is refused', (_, list, ...problems) => {
    const found = problemsOf(withList(list))
    expect(found.length).toBeGreaterThan(0)
    for (const problem of problems) expect(found.join('\n')).toContain(problem)
  })

  it('stops telling what is wrong after twenty entries', () => {
    const list = Array.from({ length: 50 }, (_, index) => `- source: dev/App${index}`).join('\n')
    const problems = problemsOf(withList(list))
    expect(problems).toHaveLength(21)
    expect(problems.at(-1)).toBe('--image-list: and more')
  })

  it('is a file that can be read', () =>
    expect(problemsOf({ argv: [...REGISTRIES, '--image-list', 'absent'] })).toEqual([
      '--image-list: "absent" cannot be read: no such file or folder',
    ]))
})

describe('the conditions of a promotion', () => {
  it('are none by default', () =>
    expect(configOf(withFlags())).toMatchObject({
      sets: [],
      overwrite: 'always',
      atomic: false,
      failFast: false,
      shard: undefined,
      annotate: false,
      rollback: undefined,
    }))

  it('are taken over', () => {
    const flags = ['--overwrite', 'same', '--expect-current', OLD, '--fail-fast', '--annotate', '--shard', '3/8']
    const config = configOf(withFlags(...flags))
    expect(config).toMatchObject({ overwrite: 'same', failFast: true, annotate: true, shard: { index: 3, of: 8 } })
    expect(config.images[0]?.expectCurrent).toBe(OLD)
    expect(configOf(withFlags('--atomic', '--report', 'r.json')).atomic).toBe(true)
  })

  test.each<[flags: string[], ...problems: string[]]>([
    [['--overwrite', 'sometimes'], '--overwrite: "sometimes" is none of always, same, skip, never'],
    [['--atomic'], '--atomic: needs --report'],
    [['--atomic', '--report', 'r', '--shard', '1/2'], '--shard: is excluded by --atomic'],
    [['--shard', '0/8'], '--shard: "0/8" is not a part of a list'],
    [['--shard', '9/8'], '--shard: "9/8" is not a part of a list'],
    [['--shard', '3'], '--shard: "3" is not a part of a list'],
    [['--shard', '1/9999'], '--shard: "1/9999" is not a part of a list'],
    [['--expect-current', 'latest'], '--expect-current: "latest" is neither a digest'],
    [['--expect-current', 'absent', '--additional-tags', 'a'], '--expect-current: goes with one tag'],
    [
      ['--rollback', 'nowhere'],
      '--images: is excluded by --rollback',
      '--rollback: "nowhere" cannot be read: no such file',
    ],
  ])('%j', (flags, ...problems) => {
    const found = problemsOf(withFlags(...flags))
    expect(found).toHaveLength(problems.length)
    for (const [index, problem] of problems.entries()) expect(found[index]).toContain(problem)
  })

  it('expect-current is for one image', () => {
    const two = { argv: [...REGISTRIES, '--expect-current', 'absent', '--', 'dev/a:1', 'dev/b:1'] }
    expect(problemsOf(two)).toEqual([expect.stringContaining('--expect-current: goes with one image')])
  })
})

describe('a shard', () => {
  const names = Array.from({ length: 800 }, (_, index) => `registry.example.com/prod/app${index}:1.0`)

  it('has every name in exactly one of its parts, and the parts are about equal', () => {
    const parts = [1, 2, 3, 4, 5, 6, 7, 8].map((index) => names.filter((name) => isInShard(name, { index, of: 8 })))
    expect(parts.flat().sort()).toEqual([...names].sort())
    for (const part of parts) expect(Math.abs(part.length - 100)).toBeLessThan(35)
  })

  it('keeps a name whatever else is on the list, today and tomorrow', () => {
    const first = names
      .slice(0, 8)
      .map((name) => [1, 2, 3, 4, 5, 6, 7, 8].find((index) => isInShard(name, { index, of: 8 })))
    expect(first).toEqual([4, 2, 6, 4, 1, 6, 3, 8])
    expect(parseShard('1/1')).toEqual({ index: 1, of: 1 })
  })
})

describe('the report of a rollback', () => {
  const undo = (more: Partial<Undo> = {}) => ({
    destination: { host: 'b.example.com', repository: 'prod/app', tag: '1' },
    target: 'destination',
    promoted: NEW,
    previous: OLD,
    ...more,
  })

  it('tells which tags were moved, and from where', () => {
    const config = configOf(
      withReport(
        report([row(), row({ status: 'unchanged', previousDigest: NEW }), row({ status: 'failed', digest: null })]),
      ),
    )
    expect(config.rollback).toEqual([undo()])
    expect([config.images, config.sets]).toEqual([[], []])
  })

  it('has tags that did not exist, and failed ones that moved all the same', () => {
    const rows = [
      row({ previousDigest: null }),
      row({ status: 'failed', destination: 'b.example.com/prod/app:2', tag: '2' }),
    ]
    expect(readRollback(report(rows)).map(({ previous, destination }) => [destination.tag, previous])).toEqual([
      ['1', null],
      ['2', OLD],
    ])
  })

  it('of a killed run has tags that may have moved', () => {
    expect(readRollback(report([row({ status: 'planned' })], { status: 'moving' }))).toEqual([undo()])
  })

  test.each<[what: string, text: string, problem: string]>([
    ['no JSON', 'x', 'is not JSON'],
    ['another document', '{}', 'is not a report of image-promote: schema'],
    ['a digest that is none', report([row({ digest: 'latest' })]), 'is not a report of image-promote: images.0.digest'],
    ['a dry run', report([row({ status: 'planned' })], { dryRun: true }), 'is the report of a dry run'],
    ['nothing that moved', report([row({ status: 'unchanged', previousDigest: NEW })]), 'has no tag that was moved'],
    ['plans that never began', report([row({ status: 'planned' })]), 'has no tag that was moved'],
    ['another tag than its name', report([row({ tag: '2' })]), 'is damaged'],
    ['a name that is none', report([row({ destination: 'b.example.com/Prod:1' })]), 'is not an image reference'],
  ])('with %s is refused', (_, text, problem) =>
    expect(problemsOf(withReport(text))).toEqual([expect.stringContaining(problem)]),
  )

  test.each([
    ['--image-list', 'x'],
    ['--shard', '1/2'],
    ['--expect-current', 'absent'],
    ['--additional-tags', 'a'],
    ['--atomic', 'true'],
    ['--annotate', 'true'],
  ])('excludes %s', (name, value) => {
    const problems = problemsOf(withReport(report([row()]), name, value, '--report', 'r.json'))
    expect(problems.filter((problem) => problem.startsWith(`${name}: is excluded by --rollback`))).toHaveLength(1)
  })
})
