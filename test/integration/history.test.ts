import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import type { Variables } from '../bundle/run.ts'
import { at, options, writes } from '../bundle/sides.ts'
import { type Within, within } from '../bundle/within.ts'
import { makeImage, seedImage } from '../support/cluster/image.ts'
import type { EmbeddedRegistry } from '../support/cluster/plain.ts'
import { openedByTests } from '../support/each-test.ts'
import { seedSigned } from '../support/signed-layout.ts'

/** The records that promotions left are read back, over real sockets. */

const { registry, folder } = openedByTests()

function keys() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const sign = { 'sign-key': privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() }
  return { sign, verify: { 'signer-key': publicKey.export({ format: 'pem', type: 'spki' }).toString() } }
}
const [ours, other] = [keys(), keys()]

const promote = (from: EmbeddedRegistry, to: EmbeddedRegistry, image: string, more: Variables, env: Variables = {}) =>
  within(options(at(from), at(to), more), [image], env)
const read = (to: EmbeddedRegistry, history: string, more: Variables = {}) =>
  within(options({}, at(to), { history, ...more }), [])
const records = ({ report }: Within) => report.images.flatMap(({ history = [] }) => history)

const GITHUB = { GITHUB_SERVER_URL: 'https://github.com', GITHUB_REPOSITORY: 'acme/api', GITHUB_RUN_ID: '42' }

describe('the history', () => {
  test('follows an image from dev to test to production', async () => {
    const [dev, staging, prod] = [await registry(), await registry(), await registry()]
    const digest = seedImage(dev, 'dev/app', makeImage(), '1')
    const before = seedImage(prod, 'prod/app', makeImage({ seed: 2 }), 'stable')
    await promote(dev, staging, 'dev/app:1=test/app:1', ours.sign)
    await promote(staging, prod, 'test/app:1=prod/app:stable', ours.sign, { ...GITHUB, GITHUB_ACTOR: 'octocat' })
    const sent = [dev, staging, prod].map(({ requests }) => requests.length)
    const done = await read(prod, 'prod/app:stable', ours.verify)
    expect([done.code, done.report.status]).toEqual([0, 'done'])
    expect(done.report.images).toMatchObject([{ status: 'read', digest, destination: `${prod.host}/prod/app:stable` }])
    expect(records(done)).toMatchObject([
      {
        action: 'promote',
        source: `${dev.host}/dev/app`,
        destination: `${staging.host}/test/app`,
        tags: [{ tag: '1', previous: null }],
        run: null,
        signer: 'signer-key',
        problem: null,
      },
      {
        source: `${staging.host}/test/app`,
        destination: `${prod.host}/prod/app`,
        tags: [{ tag: 'stable', previous: before }],
        run: 'https://github.com/acme/api/actions/runs/42',
        actor: 'octocat',
        signedBy: expect.stringMatching(/^key [0-9a-f]{64}$/),
      },
    ])
    // Only the destination was asked, and nothing was written there.
    expect([dev.requests.length, staging.requests.length]).toEqual([sent[0], sent[1]])
    expect(writes(prod.requests.slice(sent[2]))).toEqual([])
  })

  test('says what is not verified: without a key, and by another key', async () => {
    const [from, to] = [await registry(), await registry()]
    seedImage(from, 'dev/app', makeImage({ seed: 3 }), '1')
    await promote(from, to, 'dev/app:1=prod/app:1', other.sign)
    const [unread] = records(await read(to, 'prod/app:1'))
    expect(unread).toMatchObject({ signer: null, signedBy: null, problem: expect.stringContaining('signer-key') })
    const [refused] = records(await read(to, 'prod/app:1', ours.verify))
    expect(refused).toMatchObject({ signer: null, problem: expect.stringContaining('is signed by another key') })
    const policy = `version: 1
signers: { a: { keys: [${JSON.stringify(ours.verify['signer-key'])}] }, b: { keys: [${JSON.stringify(other.verify['signer-key'])}] } }
rules: [{ nothing: true }]`
    expect(records(await read(to, 'prod/app:1', { policy }))).toMatchObject([{ signer: 'b', problem: null }])
  })

  test('has records of the old form, and those of a rollback', async () => {
    const [from, to, files] = [await registry(), await registry(), folder()]
    seedSigned(from, 'dev/app', 'cos-oldrsa')
    await promote(from, to, 'dev/app:1=prod/app:1', ours.sign)
    expect(records(await read(to, 'prod/app:1', ours.verify))).toMatchObject([{ form: 'att', signer: 'signer-key' }])
    const report = `${files.path}/report.json`
    seedImage(from, 'dev/app', makeImage({ seed: 8 }), '2')
    await promote(from, to, 'dev/app:2=prod/app:1', { report })
    await within(options({}, at(to), { ...ours.sign, rollback: report }), [])
    const all = records(await read(to, 'prod/app:1', ours.verify))
    expect(all.map(({ action, signer }) => [action, signer])).toEqual([
      ['promote', 'signer-key'],
      ['rollback', 'signer-key'],
    ])
  })

  test('is read of several images at several destinations; one that is not there fails alone', async () => {
    const [from, one, two] = [await registry(), await registry(), await registry()]
    const digest = seedImage(from, 'dev/app', makeImage({ seed: 4 }), '1')
    await promote(from, one, 'dev/app:1=prod/app:1', ours.sign)
    const destinations = JSON.stringify([one, two].map(({ url }, at) => ({ name: `at${at}`, registry: url.origin })))
    const history = `prod/app:1\nprod/app@${digest} # by digest`
    const done = await within({ history, destinations }, [])
    expect(done.code).toBe(3)
    expect(done.report.images.map(({ target, status, error }) => [target, error?.code ?? status])).toEqual([
      ['at0', 'read'],
      ['at1', 'NOT_FOUND'],
      ['at0', 'read'],
      ['at1', 'NOT_FOUND'],
    ])
    expect(records(done).map(({ attachment }) => attachment).length).toBe(2)
    const missing = await read(two, 'prod/app')
    expect([missing.code, missing.report.images[0]?.error?.code]).toEqual([1, 'NOT_FOUND'])
  })

  test('of an image that was never promoted is empty', async () => {
    const to = await registry()
    seedImage(to, 'prod/app', makeImage({ seed: 5 }), '1')
    const done = await read(to, 'prod/app:1', ours.verify)
    expect([done.code, done.report.images[0]?.history]).toEqual([0, []])
  })

  test.each([
    ['images', { images: 'dev/app:1' }],
    ['rollback', { rollback: 'report.json' }],
    ['sign-key', ours.sign],
    ['atomic', { atomic: 'true', report: 'report.json' }],
  ])('excludes %s', async (name, more: Variables) => {
    await expect(within({ history: 'registry.example/prod/app:1', ...more }, [])).rejects.toThrow(
      new RegExp(`--${name}: is excluded by --history`),
    )
  })
})
