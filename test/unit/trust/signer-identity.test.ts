import { describe, expect, test } from '@jest/globals'
import {
  checkIdentity,
  type Extension,
  fits,
  namesRepository,
  readIdentity,
} from '../../../src/trust/signer-identity.ts'

const URI = 'https://github.com/acme/api/.github/workflows/release.yaml@refs/tags/v1'
const ISSUER = 'https://token.actions.githubusercontent.com'

describe('a pattern', () => {
  test.each([
    ['acme/api', 'acme/api', true],
    ['acme/api', 'acme/api2', false],
    ['acme/api', 'x/acme/api', false],
    ['acme.corp', 'acmeXcorp', false],
    ['*', 'anything', true],
    ['*', '', true],
    ['acme/*', 'acme/', true],
    ['acme/*', 'acm', false],
    ['*/api', 'acme/api', true],
    ['*/api', 'acme/apis', false],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['a*b*c', 'a-b-c', true],
    ['a*b*c', 'a-c-b', false],
    ['a**c', 'abc', true],
    ['ab*bc', 'abc', false],
    ['(a+)+$', 'aaaa', false],
    ['*', 'a\nb', false],
    ['a\nb', 'a\nb', false],
    ['v*', 'v1\u0000', false],
  ])('%j and %j: %s', (pattern, text, expected) => expect(fits(pattern, text)).toBe(expected))

  test('with a hundred wildcards needs no time on a text that almost fits', () => {
    expect(fits(`${'*a'.repeat(100)}b`, 'a'.repeat(100_000))).toBe(false)
  })
})

describe('an identity', () => {
  const wanted = { issuer: ISSUER, subject: URI, claims: {}, trustedRoot: '' }
  const found = { issuer: ISSUER, subject: URI, claims: { runner: 'github-hosted' } }
  const reasonOf = (change: object, identity: object = {}) => {
    try {
      checkIdentity({ ...found, ...identity }, { ...wanted, ...change })
      return 'accepted'
    } catch (thrown) {
      return (thrown as { reason: string }).reason
    }
  }

  test.each<readonly [string, object, string]>([
    ['is the wanted one', {}, 'accepted'],
    ['has another issuer', { issuer: 'https://gitlab.com' }, 'OTHER_ISSUER'],
    ['has an issuer that is one letter longer', { issuer: ISSUER.slice(0, -1) }, 'OTHER_ISSUER'],
    ['fits no pattern for an issuer, which has none', { issuer: '*' }, 'OTHER_ISSUER'],
    ['is another subject', { subject: 'https://github.com/acme/web/*' }, 'OTHER_SUBJECT'],
    ['has the subject as a part', { subject: 'acme/api' }, 'OTHER_SUBJECT'],
    ['fits a pattern', { subject: 'https://github.com/acme/*/release.yaml@refs/tags/v*' }, 'accepted'],
    ['fits a pattern without @', { subject: 'https://github.com/acme/*' }, 'accepted'],
    ['has the claim', { claims: { runner: 'github-*' } }, 'accepted'],
    ['has another claim', { claims: { runner: 'self-hosted' } }, 'OTHER_CLAIM'],
    ['lacks the claim', { claims: { 'source-ref': '*' } }, 'OTHER_CLAIM'],
    ['lacks a claim with the name of a method', { claims: { toString: '*' } }, 'OTHER_CLAIM'],
  ])('that %s', (_, change, expected) => expect(reasonOf(change)).toBe(expected))

  test.each([
    ['https://github.com/acme/x/.github/workflows/evil.yaml@refs/heads/a/release.yaml@refs/tags/v1', 'OTHER_SUBJECT'],
    ['https://github.com/acme/x/release.yaml@refs/tags/v1\nx', 'OTHER_SUBJECT'],
    ['https://github.com/acme/x/release.yaml', 'OTHER_SUBJECT'],
    ['https://github.com/acme/x/release.yaml@refs/tags/v1@beta', 'accepted'],
  ])('%j, measured by a pattern for a tag', (subject, expected) => {
    const pattern = 'https://github.com/acme/*/release.yaml@refs/tags/v*'
    expect(reasonOf({ subject: pattern }, { subject })).toBe(expected)
  })
})

describe('repositories that are named', () => {
  test.each([
    [['registry.example/ns/app'], ['registry.example/ns/*'], true],
    [['registry.example/ns/app:1.2'], ['registry.example/ns/app'], true],
    [['registry.example:5000/ns/app@sha256:00'], ['registry.example:5000/ns/app'], true],
    [['registry.example/ns/app:1.2'], ['*:1.2'], true],
    [['evil.example/ns/app'], ['registry.example/*'], false],
    [['evil.example/registry.example/ns/app'], ['registry.example/*'], false],
    [[], ['*'], false],
  ])('%j and %j: %s', (names, patterns, expected) => expect(namesRepository(names, patterns)).toBe(expected))
})

describe('a certificate', () => {
  const der = (tag: number, content: Uint8Array | string): Uint8Array => {
    const bytes = Buffer.from(content)
    const { length } = bytes
    const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255]
    return Buffer.concat([Buffer.of(tag, ...size), bytes])
  }
  const names = (...entries: readonly Uint8Array[]) => ({ oid: '2.5.29.17', value: der(0x30, Buffer.concat(entries)) })
  const claim = (number: number, text: string) => ({ oid: `1.3.6.1.4.1.57264.1.${number}`, value: der(0x0c, text) })
  const old = { oid: '1.3.6.1.4.1.57264.1.1', value: Buffer.from(ISSUER) }
  const uri = names(der(0x86, URI))

  test.each<readonly [string, readonly Extension[], object]>([
    ['of a workflow', [uri, claim(8, ISSUER)], { issuer: ISSUER, subject: URI, claims: {} }],
    ['of a person', [names(der(0x81, 'a@b.example')), claim(8, ISSUER)], { subject: 'a@b.example' }],
    ['with the old issuer alone', [uri, old], { issuer: ISSUER }],
    ['whose new issuer counts', [uri, old, claim(8, 'https://new.example')], { issuer: 'https://new.example' }],
    ['with claims', [uri, claim(8, ISSUER), claim(14, 'refs/tags/v1')], { claims: { 'source-ref': 'refs/tags/v1' } }],
    ['with a long name', [names(der(0x86, 'x'.repeat(200))), old], { subject: 'x'.repeat(200) }],
    ['with a longer name', [names(der(0x86, 'x'.repeat(2000))), old], { subject: 'x'.repeat(2000) }],
  ])('%s', (_, extensions, expected) => expect(readIdentity(extensions)).toMatchObject(expected))

  test.each<readonly [string, readonly Extension[]]>([
    ['without an issuer', [uri]],
    ['without a name', [old]],
    ['with two names', [names(der(0x86, URI), der(0x86, 'https://evil.example')), old]],
    ['with a name of another kind', [names(der(0x82, 'host.example')), old]],
    ['whose name is cut', [{ ...uri, value: uri.value.subarray(0, -1) }, old]],
    ['with the extension twice', [uri, uri, old]],
    ['with the claim twice', [uri, old, claim(14, 'a'), claim(14, 'b')]],
    // For the library's decoder the byte 0xaf is a slash.
    ['whose name is not UTF-8', [names(der(0x86, Buffer.from('https:\xaf\xafgithub.com', 'latin1'))), old]],
    ['with nothing', []],
  ])('%s is refused', (_, extensions) => expect(() => readIdentity(extensions)).toThrow())
})
