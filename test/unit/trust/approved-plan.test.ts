import { describe, expect, test } from '@jest/globals'
import { type Digest, digestOf } from '../../../src/oci/digest.ts'
import { type ApprovedPlan, readApprovedPlan } from '../../../src/trust/approved-plan.ts'

const [OLD, NEW, SIG]: Digest[] = ['0', '1', '2'].map((digit): Digest => `sha256:${digit.repeat(64)}`) as Digest[]
const SIG_TAG = `sha256-${'1'.repeat(64)}.sig`

// biome-ignore lint/suspicious/noExplicitAny: what a person with an editor may make of it
type Loose = any

/** The report of a dry run: one tag moves, one stays, and one image is skipped altogether. */
function aReport(change: (report: Loose) => void = () => undefined): string {
  const row = { source: 'a.example/dev/app:1', target: 'destination', sourceDigest: NEW, bytes: {}, attached: [] }
  const at = (name: string, tag: string) => ({ destination: `b.example/prod/${name}:${tag}`, tag })
  const report = {
    schema: 'image-promote/report/v1',
    started: '2026-01-01T00:00:00.000Z',
    finished: '2026-01-01T00:00:01.000Z',
    run: '7',
    dryRun: true,
    status: 'done',
    choices: { referrers: true, skipMissing: false, includeForeign: false },
    plans: [
      {
        source: 'a.example/dev/app:1',
        destination: 'b.example/prod/app:1',
        target: 'destination',
        digest: NEW,
        steps: [],
        certain: true,
        bytes: {},
        tags: [{ tag: 'stable', from: OLD, to: NEW }],
        apply: {
          source: 'dev/app:1',
          destination: 'prod/app:1',
          platforms: null,
          stays: [{ tag: '1', at: NEW }],
          attached: [{ digest: SIG, artifactType: 'x', subject: NEW, tag: SIG_TAG }],
          contents: SIG,
        },
      },
    ],
    images: [
      { ...row, ...at('app', '1'), digest: NEW, previousDigest: NEW, status: 'unchanged' },
      { ...row, ...at('app', 'stable'), digest: NEW, previousDigest: OLD, status: 'planned' },
      { ...row, ...at('other', '1'), digest: OLD, previousDigest: OLD, status: 'skipped' },
    ],
  }
  change(report)
  return JSON.stringify(report)
}

function read(text: string): { plan: ApprovedPlan | undefined; problems: string[] } {
  const problems: string[] = []
  return { plan: readApprovedPlan(text, (problem) => problems.push(problem)), problems }
}

test('a plan is read with its tags in the order of the table, and recognised by the SHA-256 of its file', () => {
  const text = aReport()
  const { plan, problems } = read(text)
  expect(problems).toEqual([])
  expect(plan?.digest).toBe(digestOf(Buffer.from(text)))
  expect(plan?.images.map(({ target, tags }) => [target, [...tags]])).toEqual([
    [
      'destination',
      [
        ['1', { from: NEW, stays: true }],
        ['stable', { from: OLD, stays: false }],
      ],
    ],
  ])
})

type Case = [what: string, change: (report: Loose) => void, problem: RegExp]

describe('refused, with what is wrong:', () => {
  test.each<Case>([
    ['a promotion', (r) => Object.assign(r, { dryRun: false }), /^dryRun: .*only the report of a dry run/],
    ['a dry run with failures', (r) => Object.assign(r, { status: 'partial' }), /^status: is not done/],
    ['a row that failed', (r) => Object.assign(r.images[1], { status: 'failed' }), /^images\.1\.status: is not done/],
    ['a rollback, which has no plans', (r) => delete r.plans, /^plans: is missing: the report is of a rollback/],
    ['an older version, without what is to be applied', (r) => delete r.plans[0].apply, /^plans\.0\.apply: is missing/],
    ['a newer version', (r) => Object.assign(r, { schema: 'image-promote/report/v2' }), /^schema: .*another version/],
    [
      'a newer member',
      (r) => Object.assign(r.plans[0], { until: 'noon' }),
      /^plans\.0: "until": edited, or of a newer/,
    ],
    ['a newer choice', (r) => Object.assign(r.choices, { decrypt: true }), /^choices: "decrypt"/],
    [
      'a digest that is none',
      (r) => Object.assign(r.plans[0], { digest: 'latest' }),
      /^plans\.0\.digest: is not a dig/,
    ],
    [
      'another image in plans than in images',
      (r) => Object.assign(r.plans[0], { digest: OLD }),
      /do not agree about b/,
    ],
    ['another tag', (r) => Object.assign(r.plans[0].tags[0], { tag: 'latest' }), /do not agree about .*:latest/],
    ['another place before', (r) => Object.assign(r.plans[0].tags[0], { from: null }), /do not agree about .*:stable/],
    [
      'another destination',
      (r) => Object.assign(r.plans[0], { destination: 'c.example/x:1' }),
      /agree about c\.example/,
    ],
    [
      'a row without a plan',
      (r) => r.images.push({ ...r.images[1], destination: 'b.example/x:1' }),
      /agree about .*x:1/,
    ],
    ['a plan that is there twice', (r) => r.plans.push(r.plans[0]), /do not agree about .*prod\/app:1/],
    ['a tag that moves to another image', (r) => Object.assign(r.plans[0].tags[0], { to: OLD }), /would move to/],
    // What people read of a row: what happens, from where, to what.
    ...(['unchanged', 'skipped'] as const).map(
      (status): Case => [
        `a row that is ${status}, whose tag moves`,
        (r: Loose) => Object.assign(r.images[1], { status }),
        /do not agree about .*:stable/,
      ],
    ),
    ...(['source', 'sourceDigest', 'digest', 'previousDigest', 'tag'] as const).map(
      (member): Case => [
        `a row with another ${member}`,
        (r: Loose) => Object.assign(r.images[1], { [member]: member.endsWith('igest') ? SIG : 'other' }),
        /do not agree about .*:stable/,
      ],
    ),
    ['a row that is there twice', (r) => r.images.push(r.images[1]), /do not agree about .*:stable/],
    ['a tag that stays, and is said to be skipped', (r) => (r.images[0].status = 'skipped'), /agree about .*app:1 /],
    [
      'one tag of two plans, at two images',
      (r) => {
        const [other, row] = [
          { ...r.plans[0], digest: OLD, tags: [{ tag: 'stable', from: null, to: OLD }] },
          r.images[1],
        ]
        r.plans.push({ ...other, apply: { ...other.apply, stays: [], attached: [] } })
        r.images.push({ ...row, sourceDigest: OLD, digest: OLD, previousDigest: null })
      },
      /do not agree about .*:stable/,
    ],
    ...['../../evil/app/manifests/1', '1@sha256:0', '%2e%2e', '1\n2', ''].map(
      (tag): Case => [
        `${JSON.stringify(tag)} as a tag`,
        (r: Loose) => Object.assign(r.plans[0].tags[0], { tag }),
        /^plans\.0\.tags\.0\.tag: is not a tag/,
      ],
    ),
    [
      'another digest in the source of the registry',
      (r) => Object.assign(r.plans[0], { source: `dev/app:1@${OLD}` }),
      /names another digest than sha256:1/,
    ],
    [
      'another digest in the source as it was asked for',
      (r) => Object.assign(r.plans[0].apply, { source: `dev/app@${OLD}` }),
      /names another digest than sha256:1/,
    ],
    [
      'an image as a signature',
      (r) => Object.assign(r.plans[0].apply.attached[0], { tag: 'v1' }),
      /v1 is not a tag of/,
    ],
  ])('%s', (_, change, problem) => {
    const { plan, problems } = read(aReport(change))
    expect(plan).toBeUndefined()
    expect(problems).toContainEqual(expect.stringMatching(problem))
  })

  test.each([
    ['no JSON', 'plan: yes'],
    ['a broken end', aReport().slice(0, -1)],
    ['a list', '[]'],
    ['nothing', '""'],
  ])('%s', (_, text) => expect(read(text)).toEqual({ plan: undefined, problems: [expect.any(String)] }))

  test('text of the file is one visible line, and cut', () => {
    const name = `b.example/x\n::error::done\u001b[31m${'z'.repeat(1000)}:1`
    const { problems } = read(aReport((r) => Object.assign(r.images[1], { destination: name })))
    expect(problems).toHaveLength(2)
    for (const problem of problems) expect(problem).toMatch(/^[\x20-\x7e]{1,499}…?$/)
  })

  test.each([
    ['rows', (r: Loose, wrong: unknown[]) => (r.images = wrong)],
    ['tags', (r: Loose, wrong: unknown[]) => (r.plans[0].tags = wrong)],
    ['hosts', (r: Loose, wrong: unknown[]) => (r.choices.includeForeign = wrong)],
  ])('%s, of which a million are wrong', (_, change) => {
    const { plan, problems } = read(aReport((r) => change(r, Array(1_000_000).fill(0))))
    expect([plan, problems.length <= 21]).toEqual([undefined, true])
  })

  test('everything at once, up to twenty problems', () => {
    const two = (report: Loose) => Object.assign(report, { dryRun: false, status: 'failed' })
    expect(read(aReport(two)).problems).toHaveLength(2)
    const many = (report: Loose) => {
      report.images = Array.from({ length: 30 }, () => ({}))
    }
    const { problems } = read(aReport(many))
    expect([problems.length, problems.at(-1)]).toEqual([21, expect.stringMatching(/^and \d+ more problems$/)])
  })
})
