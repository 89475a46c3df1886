/** Policies of docs/policy.md, asked of images that cosign 3.1.3 signed: test/support/signing/README.md. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { attachedTo, imageOf, read, textOf } from '../support/signed-layout.ts'
import { ask, policyOf } from '../unit/trust/judging.ts'

const PAGE = readFileSync(join(import.meta.dirname, '..', '..', '..', 'docs', 'policy.md'), 'utf8')
const [, cookbook = ''] = PAGE.split('## Six policies')
const [one = '', workflow = '', , scanned = '', , onward = ''] = [...cookbook.matchAll(/```yaml\n([\s\S]*?)```/g)].map(
  ([, text = '']) => text,
)
const FILES: Readonly<Record<string, string>> = {
  'build.pub': 'cosign.pub',
  'tekton-chains.pub': 'cosign.pub',
  'promoter.pub': 'promoter.pub',
  'trusted_root.json': 'trusted_root.json',
}
const HERE: Readonly<Record<string, string>> = {
  'https://tekton.acme.example/*': 'https://github.com/actions/*',
  'registry.test.example/*': '127.0.0.1:28431/e/*',
}
/** The policy with the names that the images have. */
const here = (text: string): string => {
  return Object.entries(HERE).reduce((rest, [theirs, ours]) => rest.replaceAll(theirs, ours), text)
}
const asked = async (text: string, tag: string) => {
  const subject = imageOf(tag)
  const policy = policyOf(text, (path) => textOf(FILES[path] ?? path))
  const config = { created: '2026-11-20T00:00:00Z', labels: { 'com.acme.cost-center': '4711' } }
  return ask(policy, subject, attachedTo(subject), read, config)
}

describe('of docs/policy.md', () => {
  test.each([
    ['one key', one, 'cos-new', 'yes'],
    ['one key, another signed', one, 'cos-newrsa', 'SIGNATURE_REJECTED'],
    ['one key, attested only', one, 'at-new', 'SIGNATURE_MISSING'],
    ['one key, the index', one, 'ix-top', 'yes'],
    ['one key, beside a record', one, 'e-newsig', 'yes'],
    ['one key, beside a record that hides it from cosign', one, 'e-oldsig', 'yes'],
    ['the workflow, a bundle', workflow, 'kl-new', 'yes'],
    ['the workflow, .sig', workflow, 'kl-old', 'yes'],
    ['the workflow, signed by a key', workflow, 'cos-new', 'SIGNATURE_REJECTED'],
    ['scanned, bundles', here(scanned), 'at-new', 'yes'],
    ['scanned, .att', here(scanned), 'at-old', 'yes'],
    ['scanned, by another builder', scanned, 'at-new', 'POLICY'],
    [
      'scanned, with a high one',
      here(scanned).replace('max-severity: high', 'max-severity: medium'),
      'at-new',
      'POLICY',
    ],
    ['scanned, too long ago', here(scanned).replace('7d', '1d'), 'at-new', 'POLICY'],
    ['scanned, signed only', here(scanned), 'cos-new', 'POLICY'],
    ['promoted before, a bundle', here(onward), 'e-newsig', 'yes'],
    ['promoted before, .att', here(onward), 'e-oldsig2', 'yes'],
    ['promoted before, elsewhere', onward, 'e-newsig', 'POLICY'],
    ['promoted before, never', here(onward), 'cos-new', 'POLICY'],
  ])('%s', async (_, policy, tag, expected) => expect((await asked(policy, tag)).answer).toBe(expected))

  test('an identity is named in the answer', async () => {
    const subject = 'https://github.com/acme/api/.github/workflows/release.yaml@refs/tags/v1.2.0'
    expect((await asked(workflow, 'kl-new')).lines).toEqual([`rule 1: signed by release — yes, ${subject}`])
  })
})
