import { generateKeyPairSync } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { Ajv } from 'ajv'
import type { Variables } from '../bundle/run.ts'
import { at, byPassword, options, tagOf, writes } from '../bundle/sides.ts'
import { type Within, within } from '../bundle/within.ts'
import { startCluster } from '../support/cluster/cluster.ts'
import { makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import type { EmbeddedRegistry } from '../support/cluster/plain.ts'
import { openedByTests } from '../support/each-test.ts'
import { seedSigned, textOf } from '../support/signed-layout.ts'

/** What a promotion signs is what the next one verifies: in this process, over real sockets. */

const { closing, registry, folder } = openedByTests()

const SCHEMA = join(import.meta.dirname, '..', '..', '..', 'docs', 'promotion-record.schema.json')
function schemaErrors(statement: unknown) {
  const validate = new Ajv({ allowUnionTypes: true, validateFormats: false }).compile(
    JSON.parse(readFileSync(SCHEMA, 'utf8')),
  )
  validate(statement)
  return validate.errors ?? []
}

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const SIGN = { 'sign-key': pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() }
const PUBLIC = pair.publicKey.export({ format: 'pem', type: 'spki' }).toString()

const outcome = ({ code, report }: Within) => [code, ...report.images.map(({ status, error }) => error?.code ?? status)]
const manifestWrites = ({ requests }: EmbeddedRegistry) =>
  writes(requests)
    .filter((each) => each.includes('/manifests/'))
    .map((each) => each.replace(/.*\/manifests\//, ''))
const run = (from: EmbeddedRegistry, to: EmbeddedRegistry, more: Variables, images = ['dev/app:1=prod/app:1']) =>
  within(options(at(from), at(to), more), images)
/** From there on, by a policy. */
async function onward(from: EmbeddedRegistry, rule: string, image = 'prod/app:1') {
  const policy = `version: 1\nsigners: { promoter: { keys: [${JSON.stringify(PUBLIC)}] } }\nrules: [{ ${rule} }]`
  return outcome(await run(from, await registry(), { policy }, [image]))
}
const RECORDED = 'attested: [{ type: promotion, by: [promoter], where: { destination.name: "*/prod/app" } }]'
const SIGNED = 'signed: [{ by: [promoter], identity: ["*/prod/app"] }]'

describe('the record', () => {
  test.each([
    ['nothing', 'cos-plain', 'bundle'],
    ['bundles', 'cos-new', 'bundle'],
    ['.sig alone', 'cos-oldrsa', 'att'],
  ])('beside %s, before the tag, and not twice', async (_, tag, form) => {
    const [from, to] = [await registry(), await registry()]
    if (tag === 'cos-plain') seedImage(from, 'dev/app', makeImage(), '1')
    else seedSigned(from, 'dev/app', tag)
    const first = await run(from, to, SIGN)
    expect(outcome(first)).toEqual([0, 'promoted'])
    expect(first.report.images[0]?.record).toMatchObject({ form })
    expect(manifestWrites(to).at(-1)).toBe('1')
    expect(await onward(to, RECORDED)).toEqual([0, 'promoted'])
    const before = manifestWrites(to).length
    expect(outcome(await run(from, to, SIGN))).toEqual([0, 'unchanged'])
    // The tag is taken away: it moves again, as the record that is there says.
    to.store.repositories.get('prod/app')?.tags.delete('1')
    const again = await run(from, to, SIGN)
    expect([outcome(again), again.report.images[0]?.record]).toEqual([[0, 'promoted'], null])
    expect(manifestWrites(to).slice(before)).toEqual(expect.arrayContaining(['1']))
  })

  test('has all tags of a digest, names the policy and who signed', async () => {
    const [from, to] = [await registry(), await registry()]
    seedSigned(from, 'dev/app', 'cos-new')
    const more = { ...SIGN, 'signer-key': textOf('cosign.pub') }
    const { report } = await run(from, to, more, ['dev/app:1=prod/app:1', 'dev/app:1=prod/app:2'])
    const records = new Set(report.images.map(({ record }) => record?.digest))
    expect([report.status, records.size]).toEqual(['done', 1])
    expect(await onward(to, `attested: [{ type: promotion, by: [promoter], where: { action: promote } }]`)).toEqual([
      0,
      'promoted',
    ])
  })

  test('into OpenShift, and onward from there', async () => {
    const cluster = await startCluster()
    closing.push(cluster.close)
    const from = await registry()
    const digest = seedImage(from, 'dev/app', makeImage({ seed: 3 }), '1')
    const to = byPassword(cluster)
    const signed = await within(options(at(from), to, { ...SIGN, sign: 'both' }), ['dev/app:1=prod/app:1'])
    expect(outcome(signed)).toEqual([0, 'promoted'])
    expect(tagOf(cluster, 'prod/app', '1')).toBe(digest)
    const out = await registry()
    const verified = await within(options(to, at(out), { 'signer-key': PUBLIC }), ['prod/app:1'])
    expect(outcome(verified)).toEqual([0, 'promoted'])
  })

  test('is written in a rollback too', async () => {
    const [from, to, files] = [await registry(), await registry(), folder()]
    seedImage(from, 'dev/app', makeImage({ seed: 8 }), '1')
    seedImage(to, 'prod/app', makeImage({ seed: 9 }), '1')
    const report = `${files.path}/report.json`
    expect(outcome(await run(from, to, { report }))).toEqual([0, 'promoted'])
    const back = await within(options({}, at(to), { ...SIGN, rollback: report }), [])
    expect(outcome(back)).toEqual([0, 'reverted'])
    const rollback = 'attested: [{ type: promotion, by: [promoter], where: { action: rollback } }]'
    expect(await onward(to, rollback)).toEqual([0, 'promoted'])
  })

  test.each(['false', 'true'])('that is refused moves no tag (atomic: %s)', async (atomic) => {
    const [from, to, files] = [await registry(), await registry(), folder()]
    for (const name of ['app', 'web'])
      seedImage(from, `dev/${name}`, makeImage({ seed: name.length + atomic.length }), '1')
    const body = JSON.stringify({ errors: [{ code: 'DENIED', message: 'no attachments here' }] })
    const root = (await run(from, to, { 'dry-run': 'true' })).report.images[0]?.sourceDigest ?? ''
    const match = { method: 'PUT', path: new RegExp(`app/manifests/sha256:(?!${root.replace('sha256:', '')})`) }
    to.faults.add({ match, do: { kind: 'status', status: 403, body } })
    const images = ['dev/app:1=prod/app:1', 'dev/web:1=prod/web:1']
    const done = await run(from, to, { ...SIGN, atomic, report: `${files.path}/r.json` }, images)
    expect(outcome(done)).toEqual(atomic === 'true' ? [1, 'SIGNING', 'ABANDONED'] : [3, 'SIGNING', 'promoted'])
    expect(to.tags('prod/app').get('1')).toBeUndefined()
  })

  test('a dry run loads the key and writes nothing', async () => {
    const [from, to] = [await registry(), await registry()]
    seedImage(from, 'dev/app', makeImage(), '1')
    expect(outcome(await run(from, to, { ...SIGN, 'dry-run': 'true' }))).toEqual([0, 'planned'])
    expect(writes(to.requests)).toEqual([])
    await expect(run(from, to, { 'sign-key': PUBLIC, 'dry-run': 'true' })).rejects.toThrow(
      /--sign-key.*is a public key/,
    )
    await expect(run(from, to, { 'sign-as': 'x' })).rejects.toThrow(/needs --sign-key/)
  })
})

describe('the image signature', () => {
  test('is made for an index and each of its images, once', async () => {
    const [from, to] = [await registry(), await registry()]
    const index = makeIndex({ seed: 6 })
    seedImage(from, 'dev/app', index, '1')
    const done = await run(from, to, { ...SIGN, sign: 'image' })
    expect([outcome(done), done.report.images[0]?.record]).toEqual([[0, 'promoted'], null])
    const tags = [...to.tags('prod/app').keys()].filter((tag) => tag.endsWith('.sig'))
    expect(tags.length).toBe(index.manifests.length)
    expect(await onward(to, SIGNED)).toEqual([0, 'promoted'])
    const before = [...to.tags('prod/app')]
    to.store.repositories.get('prod/app')?.tags.delete('1')
    expect(outcome(await run(from, to, { ...SIGN, sign: 'image' }))).toEqual([0, 'promoted'])
    expect([...to.tags('prod/app')].sort()).toEqual(before.sort())
  })

  test('is added to what the destination has, and names the repository that pods pull', async () => {
    const [from, to] = [await registry(), await registry()]
    seedSigned(from, 'dev/app', 'cos-oldrsa')
    const as = 'image-registry.openshift-image-registry.svc:5000'
    expect(outcome(await run(from, to, { ...SIGN, sign: 'both', 'sign-as': as }))).toEqual([0, 'promoted'])
    expect(await onward(to, `signed: [{ by: [promoter], identity: ["${as}/prod/app"] }]`)).toEqual([0, 'promoted'])
    expect(outcome(await run(to, await registry(), { 'signer-key': textOf('imp-rsa.pub') }, ['prod/app:1']))).toEqual([
      0,
      'promoted',
    ])
  })
})

describe('record-file', () => {
  const read = (path: string) => readFileSync(path, 'utf8')
  const statements = (path: string) =>
    read(path)
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line))
  const two = ['dev/app:1=prod/app:1', 'dev/app:1=prod/app:2', 'dev/web:1=prod/web:1']

  test('is a line for each digest, without a key, and asks nothing more of the destination', async () => {
    const [from, to, other, files] = [await registry(), await registry(), await registry(), folder()]
    const app = seedImage(from, 'dev/app', makeImage({ seed: 11 }), '1')
    seedImage(from, 'dev/web', makeImage({ seed: 12 }), '1')
    const before = seedImage(to, 'prod/app', makeImage({ seed: 13 }), '2')
    seedImage(other, 'prod/app', makeImage({ seed: 13 }), '2')
    const path = `${files.path}/new/records.jsonl`
    expect(outcome(await run(from, to, { 'record-file': path }, two))).toEqual([0, ...Array(3).fill('promoted')])
    await run(from, other, {}, two)
    const asked = ({ requests }: EmbeddedRegistry) => requests.map(({ method, path }) => `${method} ${path}`).length
    expect(asked(to)).toBe(asked(other))
    const [first, second, ...more] = statements(path)
    expect([more, second.subject[0].name]).toEqual([[], `${to.host}/prod/web`])
    expect(first).toMatchObject({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: `${to.host}/prod/app`, digest: { sha256: app.slice(7) } }],
      predicate: {
        action: 'promote',
        tags: [
          { tag: '1', previous: null },
          { tag: '2', previous: { digest: { sha256: before.slice(7) } } },
        ],
      },
    })
    expect(schemaErrors(first)).toEqual([])
    // What was promoted already is not promoted again: the file of the next run is empty.
    await run(from, to, { 'record-file': path }, two)
    expect(read(path)).toBe('')
  })

  test('is a folder with statement and predicate of what has moved, and of nothing else', async () => {
    const [from, to, files] = [await registry(), await registry(), folder()]
    seedImage(from, 'dev/app', makeImage({ seed: 14 }), '1')
    seedImage(from, 'dev/web', makeImage({ seed: 15 }), '1')
    const match = { method: 'PUT', path: /prod\/app\/manifests\/1$/ }
    to.faults.add({ match, do: { kind: 'status', status: 403, body: '{"errors":[{"code":"DENIED"}]}' } })
    const images = ['dev/app:1=prod/app:1', 'dev/web:1=prod/web:1']
    const done = await run(from, to, { ...SIGN, 'record-file': `${files.path}/r/` }, images)
    expect(outcome(done)).toEqual([3, 'CREDENTIAL_MISSING', 'promoted'])
    expect(readdirSync(`${files.path}/r`).sort()).toEqual(['1.predicate.json', '1.statement.json'])
    const [statement] = statements(`${files.path}/r/1.statement.json`)
    expect(statement.subject[0].name).toBe(`${to.host}/prod/web`)
    expect(JSON.parse(read(`${files.path}/r/1.predicate.json`))).toEqual(statement.predicate)
  })

  test.each(['all or none', 'a dry run'])('%s that moved nothing leaves no statement', async (what) => {
    const [from, to, files] = [await registry(), await registry(), folder()]
    seedImage(from, 'dev/app', makeImage({ seed: 16 }), '1')
    seedImage(from, 'dev/web', makeImage({ seed: 17 }), '1')
    const path = `${files.path}/records.jsonl`
    to.faults.add({ match: { method: 'PUT', path: /prod\/web\/manifests\/1$/ }, do: { kind: 'status', status: 403 } })
    const more: Variables =
      what === 'a dry run' ? { 'dry-run': 'true' } : { atomic: 'true', report: `${files.path}/r.json` }
    await run(from, to, { 'record-file': path, ...more }, ['dev/app:1=prod/app:1', 'dev/web:1=prod/web:1'])
    expect(what === 'a dry run' ? existsSync(path) : read(path)).toBe(what === 'a dry run' ? false : '')
  })

  test('has what a rollback put back', async () => {
    const [from, to, files] = [await registry(), await registry(), folder()]
    seedImage(from, 'dev/app', makeImage({ seed: 18 }), '1')
    const before = seedImage(to, 'prod/app', makeImage({ seed: 19 }), '1')
    const [report, path] = [`${files.path}/report.json`, `${files.path}/records.jsonl`]
    await run(from, to, { report })
    await within(options({}, at(to), { 'record-file': path, rollback: report }), [])
    expect(statements(path)).toMatchObject([
      { subject: [{ digest: { sha256: before.slice(7) } }], predicate: { action: 'rollback' } },
    ])
  })

  test('that cannot be written stops the run before anything is contacted', async () => {
    const [from, to, files] = [await registry(), await registry(), folder()]
    const file = files.file('taken', '')
    await expect(run(from, to, { 'record-file': `${file}/` })).rejects.toThrow(/could not be written/)
    expect([...from.requests, ...to.requests]).toEqual([])
  })
})
