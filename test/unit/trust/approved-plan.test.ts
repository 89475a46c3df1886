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
      { ...row, destination: 'b.example/prod/app:1', previousDigest: NEW, status: 'unchanged' },
      { ...row, destination: 'b.example/prod/app:stable', previousDigest: OLD, status: 'planned' },
      { ...row, destination: 'b.example/prod/other:1', previousDigest: OLD, status: 'skipped' },
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

describe('refused, with what is wrong:', () => {
  test.each<[what: string, change: (report: Loose) => void, problem: RegExp]>([
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
