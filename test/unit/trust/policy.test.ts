import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import type { VerifiedSigner } from '../../../src/trust/evidence.ts'
import { type Candidate, findingLine, judge } from '../../../src/trust/policy.ts'
import type { Policy } from '../../../src/trust/policy-file.ts'
import { ago, attestation, candidate, DAY, digest, image, key, NOW, policyOf as parsed, signature } from './judging.ts'

const PUBLIC = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'pem', type: 'spki' })
const readFile = (path: string): string => (path.endsWith('.pub') ? PUBLIC.toString() : '{}')

const policyOf = (text: string): Policy => parsed(text, readFile)
const SIGNERS = 'signers: { build: { keys: [a.pub] }, qa: { keys: [b.pub] }, security: { keys: [c.pub] } }'
const rules = (text: string): Policy => policyOf(`version: 1\n${SIGNERS}\nrules: ${text}`)
const judged = (policy: Policy, promoted: Candidate) => judge(policy, promoted, NOW)
/** `yes`, or the code of the refusal. */
const answer = (policy: Policy, promoted: Candidate): string => judged(policy, promoted).refusal?.code ?? 'yes'
const lines = (policy: Policy, promoted: Candidate): string[] => judged(policy, promoted).findings.map(findingLine)

const PROVENANCE = 'https://slsa.dev/provenance/v1'
const SPDX = 'https://spdx.dev/Document'
const VULN = 'https://cosign.sigstore.dev/attestation/vuln/v1'
const PROMOTION = 'https://github.com/OWNER/image-promote/promotion/v1'

describe('the six policies of docs/policy.md', () => {
  const page = readFileSync(join(import.meta.dirname, '..', '..', '..', '..', 'docs', 'policy.md'), 'utf8')
  const [, cookbook = ''] = page.split('## Six policies')
  const [one, workflow, people, scanned, places, onward] = [...cookbook.matchAll(/```yaml\n([\s\S]*?)```/g)].map(
    ([, text = '']) => policyOf(text),
  ) as [Policy, Policy, Policy, Policy, Policy, Policy]

  const github: VerifiedSigner = {
    method: 'certificate',
    issuer: 'https://token.actions.githubusercontent.com',
    subject: 'https://github.com/acme/api/.github/workflows/release.yaml@refs/tags/v1.2.0',
    claims: {},
  }
  const build = signature('build')
  const provenance = (id = 'https://tekton.acme.example/chains') => {
    return attestation('chains', PROVENANCE, { runDetails: { builder: { id } } })
  }
  const scan = (severities: readonly unknown[], days = 1) => {
    const Results = [{ Target: 'os', Vulnerabilities: severities.map((Severity) => ({ Severity })) }]
    return attestation('chains', VULN, { scanner: { result: { Results } }, metadata: { scanFinishedOn: ago(days) } })
  }
  const chains = (vuln = scan(['HIGH', 'LOW'])) => [provenance(), attestation('chains', SPDX), vuln]
  const promoted = (name = 'registry.test.example/test/api', by = 'promoter') => {
    return attestation(by, PROMOTION, { destination: { name }, promotedOn: ago(3) })
  }
  const labels = { 'com.acme.cost-center': '4711' }

  test.each<[string, Policy, Candidate, string]>([
    ['1: signed by the key', one, candidate(image([build])), 'yes'],
    ['1: not signed', one, candidate(image([])), 'SIGNATURE_MISSING'],
    ['1: attested only', one, candidate(image([attestation('build', SPDX)])), 'SIGNATURE_MISSING'],
    ['1: promoted only', one, candidate(image([attestation('build', PROMOTION)])), 'SIGNATURE_MISSING'],
    ['1: signed by another key', one, candidate(image([signature('evil')])), 'SIGNATURE_REJECTED'],
    ['1: garbage beside it', one, candidate(image([signature('evil'), build])), 'yes'],
    ['2: signed by the workflow', workflow, candidate(image([signature({ release: github })])), 'yes'],
    ['2: signed by a key', workflow, candidate(image([build])), 'SIGNATURE_REJECTED'],
    ['3: build, to test', people, candidate(image([build]), { destination: 'test' }), 'yes'],
    ['3: build alone, to production', people, candidate(image([build])), 'SIGNATURE_REJECTED'],
    ['3: build and one', people, candidate(image([build, signature('qa')])), 'SIGNATURE_REJECTED'],
    [
      '3: build and one twice',
      people,
      candidate(image([build, signature('qa'), signature('qa')])),
      'SIGNATURE_REJECTED',
    ],
    ['3: build and two', people, candidate(image([build, signature('qa'), signature('owner')])), 'yes'],
    [
      '3: two, without the build',
      people,
      candidate(image([signature('qa'), signature('owner')])),
      'SIGNATURE_REJECTED',
    ],
    ['4: everything', scanned, candidate(image(chains())), 'yes'],
    ['4: an old scan', scanned, candidate(image(chains(scan(['LOW'], 8)))), 'POLICY'],
    ['4: an old scan and a new one', scanned, candidate(image([...chains(scan([], 8)), scan([], 1)])), 'yes'],
    ['4: a scan of tomorrow', scanned, candidate(image(chains(scan([], -1)))), 'POLICY'],
    [
      '4: a clean scan, and a newer one',
      scanned,
      candidate(image([...chains(scan([], 2)), scan(['CRITICAL'], 1)])),
      'POLICY',
    ],
    [
      '4: a clean scan, and a newer one by somebody else',
      scanned,
      candidate(image([...chains(scan([], 2)), { ...scan(['CRITICAL'], 1), verdicts: signature('evil').verdicts }])),
      'yes',
    ],
    ['4: a critical one', scanned, candidate(image(chains(scan(['CRITICAL'])))), 'POLICY'],
    ['4: an unknown severity', scanned, candidate(image(chains(scan(['UNKNOWN'])))), 'POLICY'],
    [
      '4: an unreadable result',
      scanned,
      candidate(image(chains(attestation('chains', VULN, { scanner: {} })))),
      'POLICY',
    ],
    ['4: no SBOM', scanned, candidate(image([provenance(), scan([])])), 'POLICY'],
    [
      '4: another builder',
      scanned,
      candidate(image([...chains().slice(1), provenance('https://evil.example/')])),
      'POLICY',
    ],
    ['4: by another key', scanned, candidate(image([...chains().slice(1), attestation('x', PROVENANCE)])), 'POLICY'],
    ['4: signed, and nothing attested', scanned, candidate(image([signature('chains')])), 'POLICY'],
    ['5: ours, signed', places, candidate(image([build])), 'yes'],
    ['5: ours, not signed', places, candidate(image([])), 'SIGNATURE_MISSING'],
    ['5: a mirror', places, candidate(image([]), { source: 'quay.io/acme-mirror/redis' }), 'yes'],
    ['5: elsewhere', places, candidate(image([]), { source: 'quay.io/other/redis' }), 'POLICY'],
    [
      '5: a host that begins alike',
      places,
      candidate(image([build]), { source: 'registry.test.example.evil/a' }),
      'POLICY',
    ],
    ['6: as wanted', onward, candidate(image([promoted()], { labels })), 'yes'],
    ['6: never promoted', onward, candidate(image([], { labels })), 'POLICY'],
    [
      '6: promoted to elsewhere',
      onward,
      candidate(image([promoted('registry.dev.example/api')], { labels })),
      'POLICY',
    ],
    ['6: promoted by another key', onward, candidate(image([promoted(undefined, 'evil')], { labels })), 'POLICY'],
    ['6: too old', onward, candidate(image([promoted()], { labels, created: ago(91) })), 'POLICY'],
    ['6: of 1970', onward, candidate(image([promoted()], { labels, created: '1970-01-01T00:00:00Z' })), 'POLICY'],
    ['6: of 1980', onward, candidate(image([promoted()], { labels, created: '1980-01-01T00:00:00Z' })), 'POLICY'],
    ['6: of no time', onward, candidate(image([promoted()], { labels, created: undefined })), 'POLICY'],
    ['6: without an owner', onward, candidate(image([promoted()])), 'POLICY'],
    [
      '6: a debug build',
      onward,
      candidate(image([promoted()], { labels: { ...labels, 'com.acme.debug': '' } })),
      'POLICY',
    ],
    ['6: to test', onward, candidate(image([promoted()]), { destination: 'test' }), 'POLICY'],
  ])('%s', (_, policy, image_, expected) => expect(answer(policy, image_)).toBe(expected))
})

describe('the answer as data', () => {
  const policy = rules(
    '[{ signed: [{ by: [build] }] }, { destinations: [production], signed: [{ by: [qa, security], at-least: 2 }] }]',
  )

  test('says which rule, by whom, on what evidence', () => {
    const signatures = [signature('build'), { ...signature('qa'), attachment: digest('7') }, signature('security')]
    const { findings, verified, refusal } = judged(policy, candidate(image(signatures)))
    expect(refusal).toBeUndefined()
    expect(verified).toEqual([
      { rule: 1, by: 'build', kind: 'signature', attachment: digest('5') },
      { rule: 2, by: 'qa', kind: 'signature', attachment: digest('7') },
      { rule: 2, by: 'security', kind: 'signature', attachment: digest('5') },
    ])
    expect(findings[0]).toEqual({
      rule: 1,
      destinations: [],
      kind: 'signature',
      wants: 'signed by build',
      met: true,
      proofs: [{ signer: 'build', by: key('build'), attachment: digest('5') }],
      reasons: [],
    })
  })

  test('is printed for a person', () => {
    expect(lines(policy, candidate(image([signature('build'), signature('qa'), signature('security')])))).toEqual([
      'rule 1: signed by build — yes, key 6275696c…',
      'rule 2 (production): signed by 2 of qa, security — yes, qa: key 71610000…, security: key 73656375…',
    ])
    expect(lines(policy, candidate(image([signature('qa')])))).toEqual([
      `rule 1: signed by build — no: ${digest('5')}: is signed by another key`,
      'rule 2 (production): signed by 2 of qa, security — no: 1 of 2 (qa)',
    ])
    expect(lines(policy, candidate(image([]), { destination: 'test' }))).toEqual([
      'rule 1: signed by build — no: it carries no signature',
    ])
    expect(lines(rules('[{ nothing: true }]'), candidate(image([])))).toEqual(['rule 1: nothing — yes'])
  })

  test('a rule with everything says what it wants', () => {
    const all = rules(`
  - signed: [{ by: [build, qa], identity: [registry.test.example/*] }]
    attested: [{ type: vuln, by: [qa], max-age: 36h, max-severity: low, where: { scanner.uri: '*trivy*' } }]
    max-age: 2w
    labels: { owner: '*', debug: false }
    annotations: { source: https://* }
`)
    expect(judged(all, candidate(image([]))).findings.map(({ wants }) => wants)).toEqual([
      'signed by build or qa for registry.test.example/*',
      'vuln by qa made within 36h with nothing above low where scanner.uri is *trivy*',
      'built within 14d',
      'label owner = *',
      'no label debug',
      'annotation source = https://*',
    ])
  })

  test('a refusal names the image, every rule that is not met, and why', () => {
    const { refusal } = judged(policy, candidate(image([attestation('build', SPDX)])))
    expect(refusal).toEqual({
      code: 'SIGNATURE_MISSING',
      message:
        `registry.test.example/team/api: ${digest('a')}: rule 1 wants signed by build: it carries no signature. ` +
        'rule 2 wants signed by 2 of qa, security: it carries no signature',
      hint: 'Attestations are attached (1), and no signature. Sign the image (cosign sign) before it is promoted.',
    })
    const none = judged(rules('[{ images: [other/*], nothing: true }]'), candidate(image([])))
    expect(none.refusal).toMatchObject({
      code: 'POLICY',
      message: 'no rule is about registry.test.example/team/api → production',
    })
    expect(none.findings).toEqual([])
  })

  test('more than five reasons are counted', () => {
    const many = Array.from({ length: 9 }, (_, at) => {
      const attachment = digest(String(at))
      const refusal = { reason: 'OTHER_KEY', message: `reason ${at}`, attachment } as const
      return { ...signature('x'), attachment, verdicts: new Map([['build', { refusal }]]) }
    })
    const { refusal } = judged(rules('[{ signed: [{ by: [build] }] }]'), candidate(image(many)))
    expect(refusal?.message).toMatch(/: reason 0; reason 1; reason 2; reason 3; reason 4; and 4 more$/)
  })

  test('an attachment that could not be read is a reason, and makes a missing signature a rejected one', () => {
    const refusals = [{ reason: 'NOTARY', message: 'is signed by Notary Project', attachment: digest('9') } as const]
    const { refusal } = judged(rules('[{ signed: [{ by: [build] }] }]'), candidate(image([], { refusals })))
    expect(refusal).toMatchObject({ code: 'SIGNATURE_REJECTED', message: expect.stringContaining('Notary Project') })
  })

  test('text of strangers is one visible line', () => {
    const subject = 'https://evil.example/\n::warning::\u001b[31mred\u202e'
    const stranger: VerifiedSigner = { method: 'certificate', issuer: 'https://i.example', subject, claims: {} }
    const [line = ''] = lines(
      rules('[{ signed: [{ by: [build] }] }]'),
      candidate(image([signature({ build: stranger })])),
    )
    expect(line).toBe('rule 1: signed by build — yes, https://evil.example/ ::warning::red')
    const scan = attestation('build', VULN, { scanner: { uri: `a\n${'x'.repeat(5000)}` } })
    const where = rules("[{ attested: [{ type: vuln, by: [build], where: { scanner.uri: 'b' } }] }]")
    const [long = ''] = lines(where, candidate(image([scan])))
    expect(long.length).toBeLessThan(600)
    expect(long).not.toContain('\n')
  })
})

describe('different signers', () => {
  const two = rules('[{ signed: [{ by: [build, qa, security], at-least: 2 }] }]')
  const alice: VerifiedSigner = {
    method: 'certificate',
    issuer: 'https://i.example',
    subject: 'alice@acme.example',
    claims: {},
  }
  const bob = { ...alice, subject: 'bob@acme.example' }

  test.each<[string, Candidate, string]>([
    ['one key twice', candidate(image([signature('build'), signature('build')])), 'SIGNATURE_REJECTED'],
    ['one key under two names', candidate(image([signature({ build: key('k'), qa: key('k') })])), 'SIGNATURE_REJECTED'],
    [
      'one identity that fits two signers, signing twice',
      candidate(image([signature({ build: alice, qa: alice }), signature({ build: alice, qa: alice })])),
      'SIGNATURE_REJECTED',
    ],
    [
      'the same name at two issuers',
      candidate(image([signature({ build: alice }), signature({ qa: { ...alice, issuer: 'https://j.example' } })])),
      'yes',
    ],
    [
      'two keys of one signer',
      candidate(image([signature({ qa: key('1') }), signature({ qa: key('2') })])),
      'SIGNATURE_REJECTED',
    ],
    [
      'a broad signer does not take the place of a narrow one',
      candidate(image([signature({ build: alice, qa: alice }), signature({ build: bob })])),
      'yes',
    ],
    [
      'also in the other order',
      candidate(image([signature({ build: bob }), signature({ build: alice, qa: alice })])),
      'yes',
    ],
    [
      'also through three',
      candidate(
        image([
          signature({ build: alice, qa: alice, security: alice }),
          signature({ build: bob }),
          signature({ build: bob, qa: bob }),
        ]),
      ),
      'yes',
    ],
    ['an old form and a bundle', candidate(image([{ ...signature('build'), form: 'sig' }, signature('qa')])), 'yes'],
  ])('%s', (_, promoted, expected) => expect(answer(two, promoted)).toBe(expected))

  test('of attestations too', () => {
    const attested = rules('[{ attested: [{ type: spdx, by: [build, qa], at-least: 2 }] }]')
    expect(answer(attested, candidate(image([attestation('build', SPDX), attestation('build', SPDX)])))).toBe('POLICY')
    expect(answer(attested, candidate(image([attestation('build', SPDX), attestation('qa', SPDX)])))).toBe('yes')
  })
})

describe('a signature that names a repository', () => {
  const named = rules('[{ signed: [{ by: [build], identity: [registry.test.example/team/*] }] }]')
  const unnamed = rules('[{ signed: [{ by: [build] }] }]')
  test.each<[string, Policy, readonly string[], string]>([
    ['another one, not asked', unnamed, ['registry.other.example/api'], 'yes'],
    ['another one', named, ['registry.other.example/api'], 'SIGNATURE_REJECTED'],
    ['the wanted one', named, ['registry.test.example/team/api'], 'yes'],
    ['with a tag', named, ['registry.test.example/team/api:1.2'], 'yes'],
    ['one of two', named, ['registry.other.example/api', 'registry.test.example/team/api'], 'yes'],
    ['none, as bundles of cosign do', named, [], 'SIGNATURE_REJECTED'],
  ])('%s', (_, policy, names, expected) => {
    expect(answer(policy, candidate(image([signature('build', names)])))).toBe(expected)
  })
})

describe('an index', () => {
  const child = (letter: string, ...evidence: Parameters<typeof image>[0]) =>
    image(evidence, { digest: digest(letter) })
  const signed = rules('[{ signed: [{ by: [build] }] }]')
  const attested = rules('[{ attested: [{ type: spdx, by: [build] }] }]')
  const sbom = attestation('build', SPDX)

  test('is signed itself; signed children are not enough', () => {
    const children = [child('b', signature('build')), child('c', signature('build'))]
    expect(answer(signed, candidate(image([signature('build')]), { children }))).toBe('yes')
    expect(answer(signed, candidate(image([]), { children }))).toBe('SIGNATURE_MISSING')
  })

  test('is attested itself, or each of its children is', () => {
    expect(answer(attested, candidate(image([sbom]), { children: [child('b')] }))).toBe('yes')
    expect(answer(attested, candidate(image([]), { children: [child('b', sbom), child('c', sbom)] }))).toBe('yes')
    const { refusal } = judged(attested, candidate(image([]), { children: [child('b', sbom), child('c')] }))
    expect(refusal).toMatchObject({ code: 'POLICY', message: expect.stringContaining(`${digest('c')} carries none`) })
  })

  test('is as old as the oldest child, and has the labels of all', () => {
    const old = image([], { digest: digest('b'), created: ago(5), labels: { owner: 'a' } })
    const young = image([], { digest: digest('c'), created: ago(1), labels: {} })
    const index = image([], { created: undefined, labels: undefined })
    const age = (days: number) => answer(rules(`[{ max-age: ${days}d }]`), candidate(index, { children: [young, old] }))
    expect([age(4), age(6)]).toEqual(['POLICY', 'yes'])
    const label = (text: string) =>
      answer(rules(`[{ labels: { ${text} } }]`), candidate(index, { children: [young, old] }))
    expect([label("owner: '*'"), label('owner: false'), label('debug: false')]).toEqual(['POLICY', 'POLICY', 'yes'])
  })
})

describe('which rules are about an image', () => {
  test.each<[pattern: string, source: string, fits: boolean]>([
    ['team/*', 'registry.test.example/team/api', true],
    ['team/*', 'quay.io/team/api', false],
    ['team/*', 'registry.test.example/steam/api', false],
    ['*', 'quay.io/team/api', true],
    ['*.example/team/*', 'registry.test.example/team/api', true],
    ['*.example/team/*', 'quay.io/team/api', false],
    ['quay.io/*', 'quay.io/team/sub/api', true],
    ['team-*/api', 'registry.test.example/team-a/api', true],
    ['localhost/a', 'localhost/a', true],
    ['registry.test.example/team/api', 'registry.test.example/team/api2', false],
  ])('%s and %s: %s', (pattern, source, expected) => {
    const policy = rules(JSON.stringify([{ images: [pattern], nothing: true }]))
    expect(answer(policy, candidate(image([]), { source })) === 'yes').toBe(expected)
  })

  test('a source without a registry, an OCI layout, is asked by its name', () => {
    const policy = rules('[{ images: [team/*], nothing: true }]')
    expect(answer(policy, candidate(image([]), { source: 'team/api', registry: undefined }))).toBe('yes')
  })

  test('every rule that fits counts, in any order', () => {
    const both = ['{ nothing: true }', '{ signed: [{ by: [build] }] }']
    for (const text of [both, [...both].reverse()])
      expect(answer(rules(`[${text}]`), candidate(image([])))).toBe('SIGNATURE_MISSING')
  })

  test('each destination is judged by itself', () => {
    const policy = rules(
      "[{ destinations: ['prod-*'], signed: [{ by: [build] }] }, { destinations: [test], nothing: true }]",
    )
    const at = (destination: string) => answer(policy, candidate(image([]), { destination }))
    expect([at('test'), at('prod-eu'), at('prod'), at('tests')]).toEqual([
      'yes',
      'SIGNATURE_MISSING',
      'POLICY',
      'POLICY',
    ])
  })
})

test.each<[string, string, Parameters<typeof image>[1], string]>([
  ['an artifact without a config of labels', '{ labels: { debug: false } }', { labels: undefined }, 'POLICY'],
  ['a label of an object', '{ labels: { toString: false } }', {}, 'yes'],
  ['an annotation', "{ annotations: { team: 'pay*' } }", { annotations: { team: 'payments' } }, 'yes'],
  ['another annotation', '{ annotations: { team: pay } }', { annotations: { team: 'payments' } }, 'POLICY'],
  ['no annotations', '{ annotations: { team: false } }', { annotations: undefined }, 'yes'],
  ['an image of the next hour', '{ max-age: 1d }', { created: ago(-0.02) }, 'yes'],
  ['an image of next year', '{ max-age: 1d }', { created: new Date(NOW + 365 * DAY).toISOString() }, 'POLICY'],
])('%s', (_, rule, more, expected) => expect(answer(rules(`[${rule}]`), candidate(image([], more)))).toBe(expected))

test('a newer scan of another scanner or another signer replaces none', () => {
  const policy = rules(`
  - attested:
      - { type: vuln, by: [build], max-severity: low, where: { scanner.uri: trivy } }
      - { type: vuln, by: [build, qa], at-least: 2, max-severity: high }
`)
  const scan = (by: string, uri: string, days: number, Severity = 'LOW') => {
    const result = { Results: [{ Vulnerabilities: [{ Severity }] }] }
    return attestation(by, VULN, { scanner: { uri, result }, metadata: { scanFinishedOn: ago(days) } })
  }
  const at = (...scans: ReturnType<typeof scan>[]) => answer(policy, candidate(image(scans)))
  expect(at(scan('build', 'trivy', 3), scan('build', 'grype', 2, 'HIGH'), scan('qa', 'grype', 1))).toBe('yes')
  expect(at(scan('build', 'trivy', 3), scan('build', 'trivy', 2, 'HIGH'), scan('qa', 'grype', 1))).toBe('POLICY')
})

test('a predicate is asked by the members of where, all of them', () => {
  const policy = rules("[{ attested: [{ type: spdx, by: [build], where: { a.b: 'x*', n: '5' } }] }]")
  const at = (predicate: unknown) => answer(policy, candidate(image([attestation('build', SPDX, predicate)])))
  expect(at({ a: { b: 'xy' }, n: 5 })).toBe('yes')
  expect([at({ a: { b: 'xy' } }), at({ a: { b: 'y' }, n: 5 }), at({ n: 5 }), at(null)]).toEqual(Array(4).fill('POLICY'))
  const any = rules("[{ attested: [{ type: spdx, by: [build], where: { a: '*' } }] }]")
  expect(answer(any, candidate(image([attestation('build', SPDX, { a: null })])))).toBe('POLICY')
})
