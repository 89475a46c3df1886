import { generateKeyPairSync } from 'node:crypto'
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { digestOf } from '../../../src/oci/digest.ts'
import { parsePolicy, policyOfOne } from '../../../src/trust/policy-file.ts'

const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const PUBLIC = pair.publicKey.export({ format: 'pem', type: 'spki' }).toString()
const PRIVATE = pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()

const FILES: Readonly<Record<string, string>> = {
  'build.pub': PUBLIC,
  'two.pub': `two keys\n${PUBLIC}${PUBLIC}`,
  'build.key': PRIVATE,
  'notes.txt': 'nothing here',
  'root.json': '{}',
}
const readFile = (path: string): string => {
  const text = FILES[path]
  if (text === undefined) throw new Error(`${path} does not exist`)
  return text
}

function read(text: string) {
  const problems: string[] = []
  const policy = parsePolicy(text, readFile, (problem) => problems.push(problem))
  return { policy, problems }
}

/** Problems of a policy with one signer `build` and these rules, without the line. */
const ofRules = (rules: string) =>
  read(
    `version: 1\nsigners: { build: { keys: [build.pub] }, qa: { keys: [build.pub] } }\nrules: ${rules}`,
  ).problems.map((problem) => problem.replace(/^line \d+: /, ''))
const ofSigner = (signer: string) =>
  read(`version: 1\nsigners: { build: ${signer} }\nrules: [{ nothing: true }]`).problems.map((problem) =>
    problem.replace(/^line \d+: /, ''),
  )

test('a policy is read with everything in it', () => {
  const text = `version: 1
signers:
  build: { keys: [build.pub, two.pub], log: true, trusted-root: root.json }
  release:
    issuer: https://token.actions.githubusercontent.com
    subject: https://github.com/acme/*/.github/workflows/release.yaml@refs/tags/v*
    claims: { source-repository: https://github.com/acme/*, runner: github-hosted }
    trusted-root: root.json
rules:
  - images: [registry.test.example/*]
    destinations: [production]
    signed: [{ by: [build, release], at-least: 2, identity: [registry.test.example/*] }]
    attested: [{ type: vuln, by: [build], max-age: 12h, max-severity: high, where: { scanner.uri: '*trivy*' } }]
    max-age: 2w
    labels: { com.acme.owner: '*', com.acme.debug: false }
    annotations: { org.opencontainers.image.source: https://github.com/acme/* }
  - nothing: true
`
  const { policy, problems } = read(text)
  expect(problems).toEqual([])
  expect(policy?.digest).toBe(digestOf(Buffer.from(text)))
  const { keys, ...build } = (policy?.signers.get('build') ?? {}) as { keys: readonly unknown[] }
  expect(keys).toHaveLength(3)
  expect(build).toEqual({ log: '{}' })
  expect(policy?.signers.get('release')).toEqual({
    issuer: 'https://token.actions.githubusercontent.com',
    subject: 'https://github.com/acme/*/.github/workflows/release.yaml@refs/tags/v*',
    claims: { 'source-repository': 'https://github.com/acme/*', runner: 'github-hosted' },
    trustedRoot: '{}',
  })
  expect(policy?.rules).toEqual([
    {
      images: ['registry.test.example/*'],
      destinations: ['production'],
      signed: [{ by: ['build', 'release'], 'at-least': 2, identity: ['registry.test.example/*'] }],
      attested: [
        {
          type: 'vuln',
          by: ['build'],
          'at-least': 1,
          'max-age': 12 * 3_600_000,
          'max-severity': 'high',
          where: { 'scanner.uri': '*trivy*' },
        },
      ],
      'max-age': 14 * 24 * 3_600_000,
      labels: { 'com.acme.owner': '*', 'com.acme.debug': false },
      annotations: { 'org.opencontainers.image.source': 'https://github.com/acme/*' },
    },
    { signed: [], attested: [], labels: {}, annotations: {}, nothing: true },
  ])
})

test('JSON and keys as text are read too', () => {
  const policy = { version: 1, signers: { build: { keys: [PUBLIC] } }, rules: [{ signed: [{ by: ['build'] }] }] }
  expect(read(JSON.stringify(policy)).problems).toEqual([])
})

test('every problem is told at once, with its line', () => {
  const { policy, problems } = read(`version: 2
signers:
  build:
    keys: [missing.pub]
    kyes: [build.pub]
  anyone:
    issuer: https://issuer.example
    subject: '*'
    trusted-root: root.json
rules:
  - signed:
      - by: [bulid]
  - singed: [{ by: [build] }]
  - {}
  - attested:
      - type: slsa-provanance
        by: [build]
        max-age: 7 days
rule: []
`)
  expect(policy).toBeUndefined()
  expect(problems).toEqual([
    'line 1: version is not 1',
    'line 5: signer build: kyes is not a member that exists',
    'line 8: signer anyone: subject fits everyone',
    'line 12: rule 1: signed.by names "bulid", which is not among the signers',
    'line 13: rule 2: singed is not a member that exists',
    'line 14: rule 3 asks for nothing; if that is meant, say nothing: true',
    'line 16: rule 4: attested.type is no URI and not one of slsa-provenance, spdx, cyclonedx, vuln, promotion',
    'line 18: rule 4: attested.max-age is not a time such as 12h, 7d or 2w',
    'line 19: rule is not a member that exists',
  ])
})

test.each<[string, string | RegExp]>([
  ['[]', 'rules is an empty list'],
  ['5', 'rules is not a list'],
  ['[5]', 'rule 1 is not a map'],
  ['[null]', 'rule 1 is not a map'],
  ['[{}]', /^rule 1 asks for nothing/],
  ['[{ nothing: false }]', /^rule 1: nothing is not true$/],
  ['[{ nothing: true, max-age: 1d }]', 'rule 1 says nothing: true and asks for something'],
  ['[{ destinations: [production] }]', /^rule 1 asks for nothing/],
  ['[{ labels: {} }]', /^rule 1 asks for nothing/],
  ['[{ signed: [] }]', 'rule 1: signed is an empty list'],
  ['[{ signed: { by: [build] } }]', 'rule 1: signed is not a list'],
  ['[{ signed: [{}] }]', 'rule 1: signed.by is missing'],
  ['[{ signed: [{ by: build }] }]', 'rule 1: signed.by is not a list'],
  ['[{ signed: [{ by: [] }] }]', 'rule 1: signed.by is an empty list'],
  ['[{ signed: [{ by: [build, build] }] }]', 'rule 1: signed.by names a signer twice'],
  ['[{ signed: [{ by: [build], at-least: 2 }] }]', 'rule 1: signed.at-least is more than there are signers in by'],
  ['[{ signed: [{ by: [build], at-least: 0 }] }]', 'rule 1: signed.at-least is less than 1'],
  ['[{ signed: [{ by: [build], at-least: two }] }]', 'rule 1: signed.at-least is not a whole number'],
  ['[{ signed: [{ by: [toString] }] }]', /names "toString", which is not among the signers/],
  ['[{ signed: [{ by: [__proto__] }] }]', /names "__proto__", which is not among the signers/],
  ['[{ signed: [{ by: [build], identity: [] }] }]', 'rule 1: signed.identity is an empty list'],
  ['[{ attested: [{ by: [build] }] }]', 'rule 1: attested.type is missing'],
  ['[{ attested: [{ by: [build], type: sbom }] }]', /^rule 1: attested.type is no URI and not one of/],
  ['[{ attested: [{ by: [build], type: https://sigstore.dev/cosign/sign/v1 }] }]', /is that of a signature/],
  ['[{ attested: [{ by: [build], type: vuln, max-severity: severe }] }]', /max-severity is not one of none, /],
  [
    '[{ attested: [{ by: [build], type: vuln, where: { a: 5 } }] }]',
    'rule 1: attested.where.a is not text; put it in quotes',
  ],
  ['[{ max-age: 0d }]', /max-age is not a time/],
  ['[{ max-age: 90 }]', 'rule 1: max-age is not text; put it in quotes'],
  ['[{ max-age: 3m }]', /max-age is not a time/],
  ['[{ labels: { a: true } }]', 'rule 1: labels.a is neither text in quotes nor false'],
  ['[{ labels: { a: 1.0 } }]', 'rule 1: labels.a is neither text in quotes nor false'],
  ["[{ images: ['*/app'], nothing: true }]", /^rule 1: images begins with \*\//],
  ['[{ images: [], nothing: true }]', 'rule 1: images is an empty list'],
  ['[{ image: [a], nothing: true }]', 'rule 1: image is not a member that exists'],
])('rules: %s', (rules, problem) => {
  expect(ofRules(rules)).toEqual([typeof problem === 'string' ? problem : expect.stringMatching(problem)])
})

test.each<[string, string | RegExp]>([
  ['{}', 'signer build needs keys, or issuer, subject and trusted-root'],
  ['build.pub', 'signer build is not a map'],
  ['{ keys: build.pub }', 'signer build: keys is not a list'],
  ['{ keys: [] }', 'signer build: keys is an empty list'],
  ['{ keys: [missing.pub] }', 'signer build: keys missing.pub does not exist'],
  ['{ keys: [notes.txt] }', /^signer build: keys holds no PEM public key/],
  ['{ keys: [build.key] }', /^signer build: keys holds a PRIVATE KEY/],
  ['{ keys: [build.pub], log: true }', 'signer build has log: true without trusted-root, or the reverse'],
  ['{ keys: [build.pub], trusted-root: root.json }', 'signer build has log: true without trusted-root, or the reverse'],
  ['{ keys: [build.pub], log: true, trusted-root: missing.json }', /trusted-root missing.json does not exist/],
  ['{ keys: [build.pub], subject: a@acme.example }', 'signer build has keys and an identity: make it two signers'],
  ['{ issuer: https://a.example, subject: a@b.example }', /^signer build needs keys, or issuer/],
  ['{ issuer: https://a.example, trusted-root: root.json }', /^signer build needs keys, or issuer/],
  ['{ issuer: a.example, subject: a@b.example, trusted-root: root.json }', /^signer build: issuer is not a URL/],
  ['{ issuer: https://*.example, subject: a@b.example, trusted-root: root.json }', /has a \*: it is compared/],
  ["{ issuer: https://a.example, subject: '**', trusted-root: root.json }", 'signer build: subject fits everyone'],
  ["{ issuer: https://a.example, subject: '*@*', trusted-root: root.json }", 'signer build: subject fits everyone'],
  [
    '{ issuer: https://a.example, subject: https://*/*@*, trusted-root: root.json }',
    'signer build: subject fits everyone',
  ],
  [
    '{ issuer: https://a.example, subject: a@b.example, claims: { runer: x }, trusted-root: root.json }',
    /^signer build: claims has a name that is not one of build-signer, runner/,
  ],
])('signer: %s', (signer, problem) => {
  expect(ofSigner(signer)).toEqual([typeof problem === 'string' ? problem : expect.stringMatching(problem)])
})

test.each([
  ['text', 'line 1: the policy is not a map'],
  ['[]', 'line 1: the policy is not a map'],
  ['version: 1', 'line 1: rules is missing'],
  ['version: 1\nversion: 1\n', /is not YAML: DUPLICATE_KEY in line 2/],
  ["version: 1\nrules: [{ images: ['a, nothing: true }]", /is not YAML/],
  ['['.repeat(5000), /nested more than 100 deep/],
])('%.40s is refused', (text, problem) => {
  const { policy, problems } = read(text)
  expect(policy).toBeUndefined()
  expect(problems).toContainEqual(typeof problem === 'string' ? problem : expect.stringMatching(problem))
})

test('an endless list of mistakes is cut', () => {
  const { problems } = read(`version: 1\nrules:\n${'  - {}\n'.repeat(500)}`)
  expect(problems).toHaveLength(21)
  expect(problems.at(-1)).toBe('and more')
})

test('whatever stands in the file is told or read, and never thrown', () => {
  const names = ['version', 'signers', 'rules', 'keys', 'by', 'signed', 'attested', 'labels', '__proto__', 'where']
  const key = fc.constantFrom(...names)
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { depthSize: 'medium' },
      fc.constantFrom<unknown>(null, 1, true, false, '', '*', 'build', 'build.pub', '1d'),
      fc.array(tie('tree'), { maxLength: 3 }),
      fc.dictionary(key, tie('tree'), { maxKeys: 4 }),
    ),
  }))
  const document = fc.record({ version: fc.constant(1), signers: tree, rules: fc.array(tree, { maxLength: 3 }) })
  fc.assert(
    fc.property(fc.oneof(tree, document), (value) => {
      const { policy, problems } = read(JSON.stringify(value))
      expect(policy === undefined).toBe(problems.length > 0)
    }),
    { numRuns: 200 },
  )
})

test('many mistakes of one kind are cut too', () => {
  const wide = Object.fromEntries(Array.from({ length: 2000 }, (_, at) => [`member${at}`, 1]))
  expect(read(JSON.stringify({ version: 1, rules: [wide] })).problems).toHaveLength(21)
})

test('the line of a value behind an alias is that of the alias, or of what it names', () => {
  const { problems } = read(`version: 1
signers: { build: { keys: [build.pub] } }
rules:
  - signed: &none
      - by: [nobody]
  - signed: *none
`)
  expect(problems).toEqual([
    'line 5: rule 1: signed.by names "nobody", which is not among the signers',
    'line 5: rule 2: signed.by names "nobody", which is not among the signers',
  ])
})

test('a policy of one signer asks every image for it', () => {
  const signer = { keys: [pair.publicKey], log: undefined }
  const { rules, signers, digest } = policyOfOne('signer-key', signer)
  expect(signers.get('signer-key')).toBe(signer)
  expect(rules.map(({ signed }) => signed)).toEqual([[{ by: ['signer-key'], 'at-least': 1 }]])
  expect(digest).toBeUndefined()
})
