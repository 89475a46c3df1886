import { expect, test } from '@jest/globals'
import type { Digest } from '../../../src/oci/digest.ts'
import { historyLines, historyOf } from '../../../src/trust/history.ts'
import { SignerVerifier } from '../../../src/trust/keyless.ts'
import { PROMOTION_TYPE } from '../../../src/trust/record.ts'
import { Attached, bundleOf, ec, image, SPDX, statementOf } from '../../support/signed.ts'

const DIGEST = `sha256:${'5f'.repeat(32)}` as Digest
const keys = ec()
const signers = new Map([
  ['other', { keys: [ec().publicKey], log: undefined }],
  ['promoter', { keys: [keys.publicKey], log: undefined }],
])
const recordOf = (more: object = {}) => ({
  source: { name: 'registry.test.example/test/api', digest: { sha256: 'aa' } },
  destination: { name: 'registry.example/prod/api', digest: { sha256: 'aa' } },
  tags: [{ tag: '1.9.2', previous: { digest: { sha256: 'bb' } } }, { tag: 'new', previous: null }, { tag: 'unread' }],
  action: 'promote',
  promotedOn: '2026-11-27T10:00:41Z',
  ...more,
})
const attach = (...predicates: readonly unknown[]) => {
  const attached = new Attached()
  for (const predicate of predicates) attached.bundle(bundleOf(statementOf(PROMOTION_TYPE, predicate), keys))
  return attached
}
const read = async (attached: Attached) =>
  historyOf(image, attached.all, signers, new SignerVerifier(), attached.read).then(({ records }) => records)

test('the oldest comes first, whatever the order of the attachments and their time zones', async () => {
  const times = ['2026-11-27T10:00:41Z', '2026-11-27T10:30:00+02:00', '2025-01-01T00:00:00Z']
  const records = await read(attach(...times.map((promotedOn) => recordOf({ promotedOn }))))
  expect(records.map(({ promotedOn }) => promotedOn)).toEqual([times[2], times[1], times[0]])
})

test('what is not a record is left out: other types, and predicates that lack what a record has', async () => {
  const attached = attach({}, null, recordOf({ promotedOn: 'yesterday' }), recordOf({ tags: 'all' }))
  attached.bundle(bundleOf(statementOf(SPDX, recordOf()), keys)).bundle({ mediaType: 'v9.9' })
  expect(await read(attached)).toEqual([])
})

test('members that are there later are no obstacle, and long text is cut', async () => {
  const [record] = await read(attach(recordOf({ action: 'x'.repeat(10_000), approvedBy: 'alice' })))
  expect(record).toMatchObject({
    signer: 'promoter',
    run: null,
    actor: null,
    policy: null,
    action: expect.stringMatching(/^x{499}…$/),
  })
})

test('a history that is not read is no empty history', async () => {
  const attached = attach(recordOf())
  const stranger = ec()
  for (let count = 0; count < 100; count += 1)
    attached.bundle(bundleOf(statementOf(PROMOTION_TYPE, recordOf({ action: `${count}` })), stranger))
  await expect(read(attached)).rejects.toMatchObject({ code: 'UNSUPPORTED', message: /has 101 signatures/ })
})

test('a line has a bounded length, whatever a record names', async () => {
  const tags = Array.from({ length: 5000 }, (_, index) => ({ tag: `${index}-${'x'.repeat(400)}` }))
  const lines = historyLines('a:1', DIGEST, await read(attach(recordOf({ tags }))))
  expect(lines.map((line) => line.length).filter((length) => length >= 4000)).toEqual([4000])
})

test('text for a person', async () => {
  const run = { id: 'https://ci.example/run/1', actor: 'octo\u001b[31mcat\n::error::x' }
  const records = await read(attach(recordOf({ run, source: { digest: { sha256: 'aa' } } })))
  const [record] = records
  const unverified = { ...(record as (typeof records)[number]), signer: null, signedBy: null, problem: 'no key' }
  const key = record?.signedBy
  expect(historyLines('registry.example/prod/api:1', DIGEST, [unverified, ...records])).toEqual([
    `registry.example/prod/api:1 is at ${DIGEST}: 2 promotion records`,
    '  2026-11-27T10:00:41Z promote: an OCI layout → registry.example/prod/api',
    '    tags: 1.9.2 (before: sha256:bb), new (new), unread (before: unknown)',
    '    run: https://ci.example/run/1 by octocat ::error::x',
    '    NOT VERIFIED: no key',
    '  2026-11-27T10:00:41Z promote: an OCI layout → registry.example/prod/api',
    '    tags: 1.9.2 (before: sha256:bb), new (new), unread (before: unknown)',
    '    run: https://ci.example/run/1 by octocat ::error::x',
    `    signed by promoter: ${key}`,
  ])
  expect(historyLines('a:1', DIGEST, [])).toEqual([`a:1 is at ${DIGEST}: no promotion records`])
})
