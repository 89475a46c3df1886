import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import type { Variables } from '../bundle/run.ts'
import { at, byPassword, differences, options, type SideOptions, tagOf, writes } from '../bundle/sides.ts'
import { type Within, within } from '../bundle/within.ts'
import { startCluster } from '../support/cluster/cluster.ts'
import { makeImage, seedImage } from '../support/cluster/image.ts'
import type { EmbeddedRegistry } from '../support/cluster/plain.ts'
import { openedByTests } from '../support/each-test.ts'
import { seedSigned, signedImage, textOf } from '../support/signed-layout.ts'

/** A policy at work: images that cosign signed, in this process, over real sockets. */

const { closing, registry, folder } = openedByTests()

const KEY = { 'signer-key': textOf('cosign.pub') }
const GITHUB = {
  'signer-issuer': 'https://token.actions.githubusercontent.com',
  'signer-subject': 'https://github.com/acme/*/.github/workflows/release.yaml@refs/tags/v*',
  'trusted-root': textOf('trusted_root.json'),
}

/** Promotes `dev/app:1`, which is the image of that tag in the layout. */
async function promote(tag: string, more: Variables, to?: SideOptions): Promise<Within & { from: EmbeddedRegistry }> {
  const from = await registry()
  seedSigned(from, 'dev/app', tag)
  const into = to ?? at(await registry())
  return { from, ...(await within(options(at(from), into, more), ['dev/app:1=prod/app:1'])) }
}

const outcome = ({ code, report }: Within) => [code, ...report.images.map(({ status, error }) => error?.code ?? status)]

describe('a signer without a policy file', () => {
  test.each<readonly [string, string, Variables, string]>([
    ['a key, a bundle', 'cos-new', KEY, 'promoted'],
    ['a key, .sig', 'cos-oldrsa', { 'signer-key': textOf('imp-rsa.pub') }, 'promoted'],
    ['one of several keys', 'cos-new', { 'signer-key': textOf('imp-rsa.pub') + textOf('cosign.pub') }, 'promoted'],
    ['another key', 'cos-newrsa', KEY, 'SIGNATURE_REJECTED'],
    ['attestations alone', 'at-new', KEY, 'SIGNATURE_MISSING'],
    ['an identity, a bundle', 'kl-new', GITHUB, 'promoted'],
    ['an identity, .sig', 'kl-old', GITHUB, 'promoted'],
    [
      'another identity',
      'kl-new',
      { ...GITHUB, 'signer-subject': 'https://github.com/acme/web/*' },
      'SIGNATURE_REJECTED',
    ],
    ['a key where an identity is wanted', 'cos-new', GITHUB, 'SIGNATURE_REJECTED'],
    ['an index that is signed itself', 'ix-top', KEY, 'promoted'],
    ['an index of which one platform goes', 'ix-top', { ...KEY, platforms: 'linux/amd64' }, 'promoted'],
    ['a signature that is not copied', 'cos-new', { ...KEY, referrers: 'false' }, 'promoted'],
  ])('%s', async (_, tag, more, expected) => {
    const run = await promote(tag, more)
    expect(outcome(run)).toEqual([expected === 'promoted' ? 0 : 1, expected])
    const { verified, attached, error } = run.report.images[0] ?? {}
    if (expected === 'promoted') expect(verified).toMatchObject([{ rule: 1, kind: 'signature' }])
    else expect([verified, error?.side]).toEqual([[], 'source'])
    if (more.referrers === 'false') expect(attached).toEqual([])
  })

  test('a refused image is not written, and the destination gets no image stream', async () => {
    const cluster = await startCluster()
    closing.push(cluster.close)
    const refused = await promote('cos-newrsa', KEY, byPassword(cluster))
    expect(outcome(refused)).toEqual([1, 'SIGNATURE_REJECTED'])
    expect(writes(cluster.requests).filter((each) => /imagestream|blobs|manifests/.test(each))).toEqual([])
    const accepted = await promote('cos-new', KEY, byPassword(cluster))
    expect(outcome(accepted)).toEqual([0, 'promoted'])
    expect(tagOf(cluster, 'prod/app', '1')).toBe(signedImage('cos-new').root.digest)
  })

  test('is judged in a dry run too, and the plan has the rules', async () => {
    const refused = await promote('cos-newrsa', { ...KEY, 'dry-run': 'true' })
    expect(outcome(refused)).toEqual([1, 'SIGNATURE_REJECTED'])
    const planned = await promote('cos-new', { ...KEY, 'dry-run': 'true' })
    expect(outcome(planned)).toEqual([0, 'planned'])
    expect(planned.report.plans?.[0]?.rules).toEqual([
      expect.stringMatching(/^rule 1: signed by signer-key — yes, key [0-9a-f]{8}…$/),
    ])
    expect(planned.report).not.toHaveProperty('policy')
  })

  test('a registry that lists other signatures once it was judged changes nothing', async () => {
    const [from, to] = [await registry(), await registry()]
    const digest = seedSigned(from, 'dev/app', 'cos-new')
    const other = signedImage('cos-newrsa')
    const [listing = ''] = [...signedImage('cos-new').attached.keys()]
    // Each manifest is asked once, before it is judged.
    let listed = 0
    const when = () => {
      listed += 1
      return listed > 1
    }
    const body = JSON.stringify({ schemaVersion: 2, manifests: [] })
    from.faults.add({ match: { path: /referrers/, when }, do: { kind: 'status', status: 200, body } })
    const run = await within(options(at(from), at(to), KEY), ['dev/app:1=prod/app:1'])
    expect(outcome(run)).toEqual([0, 'promoted'])
    const lists = from.requests.map(({ path }) => path).filter((path) => path.includes('/referrers/'))
    expect(new Set(lists).size).toBe(lists.length)
    expect([run.report.images[0]?.digest, run.report.images[0]?.verified?.[0]?.attachment]).toEqual([digest, listing])
    expect(to.tags('prod/app').get('1')).not.toBe(other.root.digest)
  })

  test('without one of the options nothing is asked that was not asked before', async () => {
    const plain = await promote('cos-new', {})
    const judged = await promote('cos-new', KEY)
    const asked = ({ from }: typeof plain) => from.requests.map(({ method, path }) => `${method} ${path}`).sort()
    // The payload of the signature is read once more: it is judged before it is copied.
    const more = asked(judged).length - asked(plain).length
    expect(more).toBe(1)
    expect(plain.report.images[0]).not.toHaveProperty('verified')
  })
})

const POLICY = `version: 1
signers: { build: { keys: [keys/build.pub] }, promoter: { keys: [keys/promoter.pub] } }
rules:
  - signed: [{ by: [build] }]
  - { destinations: [production], attested: [{ type: promotion, by: [promoter] }] }
`

describe('a policy file', () => {
  const files = { 'policy.yaml': POLICY, 'build.pub': textOf('cosign.pub'), 'promoter.pub': textOf('promoter.pub') }
  const given = (text = POLICY): string => {
    const { path } = folder({ ...files, 'policy.yaml': text.replaceAll('keys/', '') })
    return join(path, 'policy.yaml')
  }

  test('one destination is refused, and the other gets the image', async () => {
    const [from, test, production] = await Promise.all([registry(), registry(), registry()])
    const image = makeImage({ seed: 5 })
    seedSigned(from, 'dev/app', 'cos-new')
    seedImage(from, 'dev/none', image, '1')
    const destinations = JSON.stringify([
      { name: 'test', ...at(test) },
      { name: 'production', ...at(production) },
    ])
    const run = await within({ ...options(at(from), {}), policy: given(), destinations }, ['dev/app:1', 'dev/none:1'])
    expect(outcome(run)).toEqual([3, 'promoted', 'POLICY', 'SIGNATURE_MISSING', 'SIGNATURE_MISSING'])
    expect(run.report.policy).toMatch(/^sha256:/)
    expect(run.report.images[1]?.error?.message).toContain('rule 2 wants promotion by promoter')
    expect(await differences(test, 'dev/app', signedImage('cos-new'))).toEqual([])
    expect(writes(production.requests)).toEqual([])
  })

  test('labels and age are those of each image that is promoted', async () => {
    const config = (labels: object) => ({ config: { Labels: labels } })
    const rules = (rule: string) => ({ policy: `version: 1\nrules: [{ ${rule} }]` })
    const from = await registry()
    seedImage(from, 'dev/app', makeImage({ config: config({ owner: 'me' }) }), '1')
    const ask = async (rule: string) =>
      outcome(await within(options(at(from), at(await registry()), rules(rule)), ['dev/app:1=prod/app:1']))
    expect(await ask('labels: { owner: "*", debug: false }')).toEqual([0, 'promoted'])
    expect(await ask('labels: { owner: you }')).toEqual([1, 'POLICY'])
    expect(await ask('max-age: 1h')).toEqual([1, 'POLICY'])
    expect(await ask('images: [dev/*], nothing: true')).toEqual([0, 'promoted'])
    expect(await ask('images: [prod/*], nothing: true')).toEqual([1, 'POLICY'])
  })

  test('everything that is wrong is told at once, and nothing is contacted', async () => {
    const from = await registry()
    const wrong = async (more: Variables) =>
      within(options(at(from), at(from), more), ['dev/app:1=prod/app:1']).catch(({ message }) => message as string)
    const policy = given(POLICY.replace('build.pub', 'absent.pub').replace('[build]', '[bild]'))
    const text = await wrong({ policy, ...KEY })
    expect(text).toMatch(
      /exit code 2[\s\S]*excluded by[\s\S]*line 2: [^\n]*keys [^\n]*cannot be read[\s\S]*line 4: [\s\S]*bild/,
    )
    expect(await wrong({ 'signer-issuer': 'https://x.example' })).toContain(
      '--signer-issuer: needs --signer-subject and --trusted-root',
    )
    expect(await wrong({ ...GITHUB, 'signer-subject': '*' })).toMatch(/--signer-subject: fits everyone/)
    expect(await wrong({ ...GITHUB, 'trusted-root': '{}' })).toMatch(/exit code 2[\s\S]*--trusted-root: /)
    expect(await wrong({ 'signer-key': textOf('trusted_root.json') })).toMatch(/--signer-key: /)
    expect(from.requests).toEqual([])
  })
})
