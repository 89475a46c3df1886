import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { isOfType, parseTime, textAt, timeOf, worstSeverity } from '../../../src/trust/predicate.ts'

describe('the type', () => {
  test.each([
    ['slsa-provenance', 'https://slsa.dev/provenance/v1', true],
    ['slsa-provenance', 'https://slsa.dev/provenance/v0.2', true],
    ['slsa-provenance', 'https://slsa.dev/verification_summary/v1', false],
    ['slsa-provenance', 'https://slsa.dev/provenance.evil.example/v1', false],
    ['spdx', 'https://spdx.dev/Document', true],
    ['spdx', 'https://spdx.dev/Document/v2.3', true],
    ['spdx', 'https://spdx.dev/Documents', false],
    ['cyclonedx', 'https://cyclonedx.org/bom/v1.6', true],
    ['vuln', 'https://cosign.sigstore.dev/attestation/vuln/v1', true],
    ['vuln', 'https://in-toto.io/attestation/vulns/v0.2', true],
    ['promotion', 'https://github.com/OWNER/image-promote/promotion/v1', true],
    ['https://spdx.dev/Document', 'https://spdx.dev/Document/v2.3', false],
    ['https://acme.example/review/v1', 'https://acme.example/review/v1', true],
    ['toString', 'toString', true],
    ['spdx', undefined, false],
  ])('%s and %s: %s', (wanted, found, expected) => expect(isOfType(wanted, found)).toBe(expected))
})

const scan = (result: unknown) => ({ scanner: { result } })
const trivy = (...severities: unknown[]) =>
  scan({
    Results: [{ Target: 'os' }, { Target: 'app', Vulnerabilities: severities.map((Severity) => ({ Severity })) }],
  })
const grype = (...severities: unknown[]) =>
  scan({ matches: severities.map((severity) => ({ vulnerability: { severity } })) })
const vulns = (...scores: unknown[]) => scan(scores.map((severity) => ({ id: 'CVE-1', severity })))

describe('the worst severity', () => {
  test.each<[string, unknown, string | undefined]>([
    ['Trivy', trivy('LOW', 'HIGH', 'MEDIUM'), 'high'],
    ['Trivy without a finding', trivy(), 'none'],
    ['Trivy with a target of null', scan({ Results: [{ Vulnerabilities: null }] }), 'none'],
    ['Trivy that scanned nothing', scan({ Results: [] }), undefined],
    ['Trivy that leaves the list out', scan({ SchemaVersion: 2, ArtifactName: 'api' }), undefined],
    ['Trivy with UNKNOWN', trivy('LOW', 'UNKNOWN'), undefined],
    ['Trivy without a severity', trivy('LOW', undefined), undefined],
    ['Trivy with text instead of a list', scan({ Results: [{ Vulnerabilities: 'none' }] }), undefined],
    ['Trivy with a target that is a text', scan({ Results: ['os'] }), undefined],
    ['Grype', grype('Negligible', 'Critical'), 'critical'],
    ['Grype without a finding', grype(), 'none'],
    ['Grype with a new word', grype('Low', 'Catastrophic'), undefined],
    ['in-toto', vulns([{ method: 'nvd', score: 'medium' }], [{ method: 'nvd', score: 'low' }]), 'medium'],
    ['in-toto by CVSS', vulns([{ method: 'cvss_score', score: '9.8' }]), 'critical'],
    ['in-toto, CVSS 6.9', vulns([{ method: 'CVSSv3', score: '6.9' }]), 'medium'],
    ['in-toto, CVSS 0', vulns([{ method: 'cvss', score: '0.0' }]), 'none'],
    ['in-toto, CVSS 0.05', vulns([{ method: 'cvss', score: '0.05' }]), 'none'],
    ['in-toto, CVSS 11', vulns([{ method: 'cvss', score: '11' }]), undefined],
    ['in-toto by EPSS, which is no severity', vulns([{ method: 'epss', score: '0.97' }]), undefined],
    ['in-toto without a score', vulns([]), undefined],
    [
      'in-toto with a vulnerability object',
      scan([{ vulnerability: { id: '1', severity: [{ score: 'high' }] } }]),
      'high',
    ],
    ['in-toto without a finding', vulns(), 'none'],
    ['a list of Trivy 0.1', scan([{ Target: 'os', Vulnerabilities: [] }]), undefined],
    ['nothing', {}, undefined],
    ['text', scan('all good'), undefined],
    ['null', null, undefined],
    ['a SARIF report', scan({ runs: [{ results: [] }] }), undefined],
  ])('%s', (_, predicate, expected) => expect(worstSeverity(predicate)).toBe(expected))
})

test('no predicate makes the readers throw', () => {
  const read = (predicate: unknown) => [worstSeverity(predicate), timeOf(predicate), textAt(predicate, 'a.0.b')]
  const results = fc.constantFrom('scanner', 'result', 'Results', 'matches', 'Vulnerabilities', 'Severity', 'metadata')
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(fc.jsonValue({ maxDepth: 1 }), fc.array(tie('tree')), fc.dictionary(results, tie('tree'))),
  }))
  fc.assert(
    fc.property(tree, (predicate) => read({ scanner: { result: predicate } }).length === read(predicate).length),
  )
})

test('a time is RFC 3339, and of the first member that says one', () => {
  expect(parseTime('2026-11-26T09:00:10Z')).toBe(Date.UTC(2026, 10, 26, 9, 0, 10))
  expect(parseTime('2026-11-26T10:00:10.5+01:00')).toBe(Date.UTC(2026, 10, 26, 9, 0, 10, 500))
  for (const text of ['2026', '1', 'Nov 26 2026', '2026-11-26', '2026-13-26T09:00:10Z', '', 5, null, undefined, {}])
    expect(parseTime(text)).toBeUndefined()
  expect(timeOf({ metadata: { scanFinishedOn: '2026-11-26T09:00:10Z' }, timeCreated: '1999-01-01T00:00:00Z' })).toBe(
    Date.UTC(2026, 10, 26, 9, 0, 10),
  )
  // A time that cannot be read is not replaced by another one.
  expect(timeOf({ metadata: { scanFinishedOn: 'yesterday' }, promotedOn: '2026-11-26T09:00:10Z' })).toBeUndefined()
})

test('members are found by their names alone', () => {
  const predicate = { a: { b: ['x', { c: 5 }], d: true, e: null } }
  expect(textAt(predicate, 'a.b.1.c')).toBe('5')
  expect(textAt(predicate, 'a.d')).toBe('true')
  for (const path of ['a', 'a.e', 'a.b', 'a.x', 'a.b.0.length', 'constructor.name', '__proto__', 'a.toString', ''])
    expect(textAt(predicate, path)).toBeUndefined()
  expect(textAt('text', 'length')).toBeUndefined()
})
