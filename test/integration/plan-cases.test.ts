import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { digestOf } from '../../src/oci/digest.ts'
import type { Row } from '../../src/report/model.ts'
import { renderSummary } from '../../src/report/summary.ts'
import { type Folder, temporary, type Variables } from '../bundle/run.ts'
import { at, byToken, options, tagOf, writes } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import { makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { Attached, bundleOf, ec, envelopeOf, image, statementOf } from '../support/signed.ts'

/** An approved plan with several destinations, in parts, with layouts, with another writer, and with options of its own. */

const [OLD, NEW, FOREIGN] = [makeImage({ seed: 981 }), makeImage({ seed: 982 }), makeIndex({ seed: 983 })]
const KEY = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' })

const FORMS = ['bundle', 'att'] as const
const SCANNER = ec()

/** A result of the scanner about `image`. */
function scanOf(severity: string, scanFinishedOn: string): object {
  const scanner = { result: { Results: [{ Vulnerabilities: [{ Severity: severity }] }] } }
  return statementOf('https://cosign.sigstore.dev/attestation/vuln/v1', { scanner, metadata: { scanFinishedOn } })
}

/** `image` under the tag `1`, with what is attached to it. */
function seedAttached(repository: string, { all, blobs }: Attached): void {
  for (const { manifest, tag } of [{ manifest: image, tag: '1' }, ...all]) {
    const { bytes, descriptor } = manifest
    const root = { ...descriptor, bytes }
    const contents = [...blobs.values(), Buffer.from('{"a":1}'), Buffer.from('{}')]
    const held = new Map(contents.map((each) => [digestOf(each), each]))
    seedImage(from, repository, { root, manifests: [root], blobs: held, large: [] }, tag ?? undefined)
  }
}

let from: EmbeddedRegistry
let left: EmbeddedRegistry
let right: EmbeddedRegistry
let cluster: EmbeddedCluster
let folder: Folder

beforeAll(async () => {
  ;[from, left, right, cluster] = await Promise.all([startRegistry(), startRegistry(), startRegistry(), startCluster()])
})
beforeEach(() => {
  folder = temporary()
})
afterEach(() => {
  folder.remove()
  left.faults.clear()
})
afterAll(async () => {
  await Promise.all([from, left, right, cluster].map((each) => each.close()))
  expect([...from.violations, ...left.violations, ...right.violations, ...cluster.unexpected]).toEqual([])
})

const path = (name: string) => join(folder.path, name)
const told = (rows: readonly Row[]) =>
  rows.map(({ tag, status, error }) => `${tag} ${status}${error === null ? '' : ` ${error.code}`}`)
const sides = (more: Variables = {}) => options(at(from), at(left), more)
const both = () =>
  JSON.stringify([at(left), at(right)].map((each, index) => ({ name: ['east', 'west'][index], ...each })))

/** Makes a plan. */
async function plan(given: Variables, images: readonly string[]) {
  const { report, code } = await within({ ...given, 'dry-run': 'true', report: path('plan.json') }, images)
  expect([code, report.status]).toEqual([0, 'done'])
  return report
}
const apply = (given: Variables) => within({ ...given, plan: path('plan.json') }, [])
/** The problems with the inputs. */
async function refusal(given: Variables): Promise<string> {
  const before = [from, left, right].map(({ requests }) => requests.length)
  const said = await apply(given).then(
    () => 'it was applied',
    (thrown: Error) => thrown.message,
  )
  expect([from, left, right].map(({ requests }) => requests.length)).toEqual(before)
  return said
}

test('the summary of the plan and of its run name the SHA-256 of the file, which the run leaves as it is', async () => {
  seedImage(from, 'dev/digest', NEW, '1')
  const planned = await plan(sides(), ['dev/digest:1=prod/digest:1'])
  const bytes = readFileSync(path('plan.json'))
  const { report } = await apply(sides({ report: path('report.json') }))
  const digest = digestOf(bytes)
  expect([report.plan, told(report.images)]).toEqual([digest, ['1 promoted']])
  const hex = digest.slice('sha256:'.length)
  expect([renderSummary(planned).includes(hex), renderSummary(report).includes(hex)]).toEqual([true, true])
  expect(readFileSync(path('plan.json')).equals(bytes)).toBe(true)
})

describe('one plan for two destinations', () => {
  test('is applied to both, and a part that moved keeps both as they are', async () => {
    seedImage(from, 'dev/two', NEW, '1')
    seedImage(right, 'prod/two', OLD, '1')
    const given = options(at(from), {}, { destinations: both() })
    await plan(given, ['dev/two:1=prod/two:1'])
    seedImage(right, 'prod/two', FOREIGN, '1')
    const before = left.requests.length
    const moved = await apply(given)
    expect(told(moved.report.images)).toEqual(['1 cancelled ABANDONED', '1 failed GUARD'])
    expect(moved.report.images[1]?.error?.message).toContain(OLD.root.digest)
    expect([writes(left.requests.slice(before)), tagOf(left, 'prod/two', '1')]).toEqual([[], undefined])
    seedImage(right, 'prod/two', OLD, '1')
    const { code } = await apply(given)
    expect([code, tagOf(left, 'prod/two', '1'), tagOf(right, 'prod/two', '1')]).toEqual([
      0,
      NEW.root.digest,
      NEW.root.digest,
    ])
  })

  test('needs both by name, and each where it was', async () => {
    seedImage(from, 'dev/names', NEW, '1')
    await plan(options(at(from), {}, { destinations: both() }), ['dev/names:1=prod/names:1'])
    const one = JSON.stringify([{ name: 'east', ...at(left) }])
    expect(await refusal(options(at(from), {}, { destinations: one }))).toMatch(/"west": configure it/)
    const swapped = JSON.stringify([at(right), at(left)].map((each, i) => ({ name: ['east', 'west'][i], ...each })))
    const { code, report } = await apply(options(at(from), {}, { destinations: swapped }))
    expect([code, told(report.images)]).toEqual([1, ['1 failed GUARD', '1 failed GUARD']])
    expect([tagOf(left, 'prod/names', '1'), tagOf(right, 'prod/names', '1')]).toEqual([undefined, undefined])
  })
})

test('another source is not that of the plan, even with the same image', async () => {
  seedImage(from, 'dev/source', NEW, '1')
  seedImage(right, 'dev/source', NEW, '1')
  await plan(sides(), ['dev/source:1=prod/source:1'])
  const { code, report } = await apply(options(at(right), at(left)))
  expect([code, told(report.images), report.images[0]?.error?.side]).toEqual([1, ['1 failed GUARD'], 'source'])
})

test('a plan of a part, and a plan in parts', async () => {
  const images = ['a', 'b', 'c', 'd'].map((name) => `dev/part-${name}:1=prod/part-${name}:1`)
  for (const name of ['a', 'b', 'c', 'd']) seedImage(from, `dev/part-${name}`, NEW, '1')
  const first = await plan(sides({ shard: '1/2' }), images)
  const part = await apply(sides())
  expect(part.report.images.map(({ destination }) => destination)).toEqual(
    first.images.map(({ destination }) => destination),
  )
  await plan(sides(), images)
  const rest = await Promise.all(['1/2', '2/2'].map((shard) => apply(sides({ shard }))))
  const tags = ['a', 'b', 'c', 'd'].map((name) => tagOf(left, `prod/part-${name}`, '1'))
  expect([rest.map(({ code }) => code), tags]).toEqual([[0, 0], Array(4).fill(NEW.root.digest)])
  expect(rest.flatMap(({ report }) => report.images)).toHaveLength(4)
})

test.each([['oci:IN=oci:OUT:prod/app:2'], ['oci:IN:dev/app:1=oci-archive:OUT.tar:prod/app:2']])(
  'layouts: %s',
  async (line) => {
    seedImage(from, 'dev/app', NEW, '1')
    const [inside, outside] = [path('in'), path('out')]
    await within(options(at(from), {}), [`dev/app:1=oci:${inside}:dev/app:1`])
    const images = [line.replace('IN', inside).replace('OUT', outside)]
    await plan({}, images)
    const first = await apply({})
    const again = await apply({})
    expect([first.code, told(first.report.images), again.code]).toEqual([0, ['2 promoted'], 0])
    expect(first.report.images[0]?.digest).toBe(NEW.root.digest)
  },
)

test.each([['false'], ['true']])('another writer between check and tag is seen (atomic: %s)', async (atomic) => {
  const name = `race-${atomic}`
  seedImage(from, `dev/${name}`, NEW, '1')
  seedImage(left, `prod/${name}`, OLD, '1')
  await plan(sides(), [`dev/${name}:1=prod/${name}:1`])
  const meanwhile = { kind: 'meanwhile', do: () => void seedImage(left, `prod/${name}`, FOREIGN, '1') } as const
  left.faults.add({
    match: { method: ['PUT', 'PATCH'], path: new RegExp(`${name}/blobs/`), nth: 1 },
    do: meanwhile,
  })
  const { code, report } = await apply(sides({ atomic, report: path('report.json') }))
  expect([code, told(report.images)]).toEqual([1, ['1 failed TAG_MOVED']])
  expect(tagOf(left, `prod/${name}`, '1')).toBe(FOREIGN.root.digest)
})

test('a rollback takes the report of the run, and a plan that was refused leaves no image stream', async () => {
  seedImage(from, 'dev/back', NEW, '1')
  seedImage(left, 'prod/back', OLD, '1')
  await plan(sides(), ['dev/back:1=prod/back:1'])
  await apply(sides({ report: path('report.json') }))
  expect(tagOf(left, 'prod/back', '1')).toBe(NEW.root.digest)
  const { code } = await within(options({}, at(left), { rollback: path('report.json') }), [])
  expect([code, tagOf(left, 'prod/back', '1')]).toEqual([0, OLD.root.digest])

  const into = options(at(from), byToken(cluster, cluster.token('admin')))
  seedImage(cluster, 'prod/there', OLD, '1')
  await plan(into, ['dev/back:1=prod/fresh:1', 'dev/back:1=prod/there:1'])
  seedImage(cluster, 'prod/there', FOREIGN, '1')
  const refused = await apply(into)
  expect(told(refused.report.images)).toEqual(['1 cancelled ABANDONED', '1 failed GUARD'])
  expect(cluster.state.streams.get('prod', 'fresh')).toBeUndefined()
  seedImage(cluster, 'prod/there', OLD, '1')
  expect([(await apply(into)).code, tagOf(cluster, 'prod/fresh', '1')]).toEqual([0, NEW.root.digest])
})

describe('the options', () => {
  test('that choose images are excluded, those that say how are not', async () => {
    seedImage(from, 'dev/how', NEW, '1')
    await plan(sides(), ['dev/how:1=prod/how:1'])
    const excluded = {
      images: 'dev/how:1',
      'additional-tags': 'latest',
      'expect-current': 'absent',
      platforms: 'linux/amd64',
      referrers: 'false',
      'skip-missing': 'true',
      'include-foreign': 'true',
    }
    const said = await refusal(sides(excluded))
    for (const name of Object.keys(excluded)) expect(said).toContain(`--${name}: is excluded by --plan`)
    const how = { jobs: '1', atomic: 'true', report: path('report.json'), overwrite: 'same', platforms: 'all' }
    const { code, report } = await apply(sides({ ...how, 'dry-run': 'true' }))
    expect([code, told(report.images)]).toEqual([0, ['1 planned']])
    expect(renderSummary(report)).not.toContain('Applied')
    expect(told((await apply(sides(how))).report.images)).toEqual(['1 promoted'])
  })

  test('of the report: it is not written over the plan', async () => {
    seedImage(from, 'dev/same-file', NEW, '1')
    await plan(sides(), ['dev/same-file:1=prod/same-file:1'])
    expect(await refusal(sides({ report: path('plan.json') }))).toMatch(/--report: is the file of --plan/)
  })

  test.each(['report', 'plan'])('of the record: it is not written over the %s', async (name) => {
    seedImage(from, 'dev/same-record', NEW, '1')
    await plan(sides(), ['dev/same-record:1=prod/same-record:1'])
    const given = { report: path('report.json'), 'record-file': path(`${name}.json`) }
    expect(await refusal(sides(given))).toMatch(new RegExp(`--record-file: is the file of --${name}`))
  })

  test.each(FORMS)('of the policy: it is asked of what was attached after the plan, too: a %s', async (form) => {
    const name = `dev/scanned-${form}`
    const [clean, bad] = ['LOW', 'CRITICAL'].map((severity, day) => scanOf(severity, `2026-11-2${day}T00:00:00Z`))
    const attached = new Attached()
    const attach = (scan: object) => {
      if (form === 'bundle') attached.bundle(bundleOf(scan, SCANNER))
      else attached.att(envelopeOf(scan, SCANNER))
      seedAttached(name, attached)
    }
    const key = SCANNER.publicKey.export({ type: 'spki', format: 'pem' })
    folder.file('scanner.pem', String(key))
    const demand = '{ type: vuln, by: [scanner], max-severity: low }'
    const text = `version: 1\nsigners: { scanner: { keys: [scanner.pem] } }\nrules: [{ attested: [${demand}] }]\n`
    const given = sides({ policy: folder.file('policy.yaml', text) })
    attach(clean as object)
    await plan(given, [`${name}:1=prod/scanned-${form}:1`])
    attach(bad as object)
    const { report } = await apply(given)
    expect(told(report.images)).toEqual(['1 failed POLICY'])
    expect(report.images[0]?.error?.message).toContain('has a critical one')
    expect(tagOf(left, `prod/scanned-${form}`, '1')).toBeUndefined()
  })

  test('of the policy: it judges again, and a plan that was judged needs one', async () => {
    seedImage(from, 'dev/judged', NEW, '1')
    await plan(sides(), ['dev/judged:1=prod/judged:1'])
    const judged = await apply(sides({ 'signer-key': String(KEY) }))
    expect(told(judged.report.images)).toEqual(['1 failed SIGNATURE_MISSING'])
    const text = JSON.parse(readFileSync(path('plan.json'), 'utf8'))
    text.plans[0].rules = ['rule 1: signed by build — yes']
    folder.file('plan.json', JSON.stringify(text))
    expect(await refusal(sides())).toMatch(/was judged by a policy, and is judged again: give --policy/)
    delete text.plans[0].rules
    text.policy = NEW.root.digest
    folder.file('plan.json', JSON.stringify(text))
    expect(await refusal(sides())).toMatch(/was judged by a policy/)
  })
})
