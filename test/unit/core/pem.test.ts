import { rootCertificates } from 'node:tls'
import { describe, expect, test } from '@jest/globals'
import { pemBlocks } from '../../../src/core/pem.ts'

const [ONE = '', TWO = ''] = rootCertificates
const whole = (pem: string) => pemBlocks(`${pem}\n`, 'CERTIFICATE')

describe('a certificate is read', () => {
  test.each([
    ['as it is', ONE],
    ['with CRLF', ONE.replaceAll('\n', '\r\n')],
    ['with CR alone', ONE.replaceAll('\n', '\r')],
    ['with literal \\n', ONE.replaceAll('\n', '\\n')],
    ['with literal \\r\\n', ONE.replaceAll('\n', '\\r\\n')],
    ['with \\n that was escaped twice', ONE.replaceAll('\n', '\\\\n')],
    ['with blanks for line ends', ONE.replaceAll('\n', ' ')],
    ['with no line ends at all', ONE.replaceAll('\n', '')],
    ['after a byte order mark', `\ufeff${ONE}`],
    ['indented, as in YAML', ONE.replaceAll('\n', '\n    ')],
    ['in quotes, as in JSON', JSON.stringify(ONE)],
  ])('%s', (_, text) => expect(pemBlocks(text, 'CERTIFICATE')).toEqual(whole(ONE)))
})

test('several are read in their order, without what stands between them', () => {
  const text = `# one\\n${ONE}\r\nsubject: two ${TWO.replaceAll('\n', ' ')}-----BEGIN CERTIFICATE-----`
  expect(pemBlocks(text, 'CERTIFICATE')).toEqual([...whole(ONE), ...whole(TWO)])
})

test('blocks of another kind are left out', () => {
  const key = '-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n'
  expect(pemBlocks(key + ONE, 'PRIVATE KEY')).toEqual([key])
  expect(pemBlocks('-----BEGIN CERTIFICATE-----AAAA-----END PUBLIC KEY-----', 'CERTIFICATE')).toEqual([])
})

test('the headers of an encrypted key stay lines of their own', () => {
  const key = `-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n`
  expect(pemBlocks(key, 'PRIVATE KEY')).toEqual([key])
})
