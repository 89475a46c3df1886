import { generateKeyPairSync } from 'node:crypto'
import { afterEach, describe, expect, test } from '@jest/globals'
import { type Folder, temporary, type Variables } from '../bundle/run.ts'
import { at, byPassword, options, tagOf, writes } from '../bundle/sides.ts'
import { type Within, within } from '../bundle/within.ts'
import { startCluster } from '../support/cluster/cluster.ts'
import { makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { seedSigned, textOf } from '../support/signed-layout.ts'

/** What a promotion signs is what the next one verifies: in this process, over real sockets. */

const closing: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

async function registry(): Promise<EmbeddedRegistry> {
  const started = await startRegistry()
  closing.push(started.close)
  return started
}

function folder(): Folder {
  const made = temporary()
  closing.push(made.remove)
  return made
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
