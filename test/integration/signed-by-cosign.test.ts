/** Images that cosign 3.1.3 signed, and what must come out: test/support/signing/README.md. */
import { createHash } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import type { Manifest } from '../../src/oci/manifest.ts'
import { readEvidence } from '../../src/trust/evidence.ts'
import { readPublicKeys } from '../../src/trust/keyed.ts'
import { SignerVerifier } from '../../src/trust/keyless.ts'
import type { IdentitySigner, Signer } from '../../src/trust/signer-identity.ts'
import { attachedTo, imageOf, read, textOf } from '../support/signed-layout.ts'

const SIGNATURE = undefined
const PROVENANCE = 'https://slsa.dev/provenance/v1'
const SPDX = 'https://spdx.dev/Document'
const VULN = 'https://cosign.sigstore.dev/attestation/vuln/v1'
const PROMOTION = 'https://github.com/OWNER/image-promote/promotion/v1'

const key = (name: string): Signer => ({ keys: readPublicKeys(textOf(`${name}.pub`)), log: undefined })
const github: IdentitySigner = {
  issuer: 'https://token.actions.githubusercontent.com',
  subject: 'https://github.com/acme/*/.github/workflows/release.yaml@refs/tags/v*',
  claims: { 'source-repository': 'https://github.com/acme/*', runner: 'github-hosted' },
  trustedRoot: textOf('trusted_root.json'),
}
const gitlab: Signer = { ...github, issuer: 'https://gitlab.com' }
const web: Signer = { ...github, subject: 'https://github.com/acme/web/*' }

/** Who is found, or all reasons. */
async function judge(image: Manifest, signer: Signer, type: string | undefined): Promise<string> {
  const { evidence, refusals } = await readEvidence(image, attachedTo(image), read)
  expect(refusals).toEqual([])
  const wanted = evidence.filter(({ kind, predicateType }) =>
    type === SIGNATURE ? kind === 'signature' : kind === 'attestation' && predicateType === type,
  )
  const verifier = new SignerVerifier()
  const verdicts = await Promise.all(wanted.map((each) => verifier.verify(each, signer)))
  const accepted = verdicts.some((verdict) => 'signer' in verdict)
  return accepted ? 'accepted' : verdicts.map((verdict) => 'refusal' in verdict && verdict.refusal.reason).join(' ')
}

describe('cosign 3.1.3', () => {
  test.each<readonly [string, string, Signer, string | undefined, string]>([
    ['cos-new', 'P-256 in a bundle', key('cosign'), SIGNATURE, 'accepted'],
    ['cos-oldrsa', 'RSA under .sig', key('imp-rsa'), SIGNATURE, 'accepted'],
    ['cos-newrsa', 'RSA in a bundle', key('imp-rsa'), SIGNATURE, 'accepted'],
    ['cos-oldp384', 'P-384 under .sig', key('imp-p384'), SIGNATURE, 'accepted'],
    ['cos-newp384', 'P-384 in a bundle', key('imp-p384'), SIGNATURE, 'accepted'],
    ['cos-olded', 'Ed25519ph under .sig', key('imp-ed25519'), SIGNATURE, 'ED25519PH'],
    ['cos-newed', 'Ed25519ph in a bundle', key('imp-ed25519'), SIGNATURE, 'ED25519PH'],
    ['cos-newrsa', 'another key', key('cosign'), SIGNATURE, 'OTHER_KEY'],
    ['cos-new', 'another key of the same kind', key('imp-other'), SIGNATURE, 'OTHER_KEY'],
    ['kl-new', 'keyless in a bundle', github, SIGNATURE, 'accepted'],
    ['kl-old', 'keyless under .sig', github, SIGNATURE, 'accepted'],
    ['kl-new', 'another issuer', gitlab, SIGNATURE, 'OTHER_ISSUER'],
    ['kl-old', 'another subject', web, SIGNATURE, 'OTHER_SUBJECT'],
    ['kl-old', 'a key is wanted, a certificate is there', key('cosign'), SIGNATURE, 'OTHER_KEY'],
    ['cos-new', 'a certificate is wanted, a key is there', github, SIGNATURE, 'OTHER_KEY'],
    ['at-new', 'attestations are not signatures, bundles', key('cosign'), SIGNATURE, ''],
    ['at-old', 'attestations are not signatures, .att', key('cosign'), SIGNATURE, ''],
    ['at-new', 'provenance in a bundle', key('cosign'), PROVENANCE, 'accepted'],
    ['at-new', 'SPDX in a bundle', key('cosign'), SPDX, 'accepted'],
    ['at-new', 'a scan in a bundle', key('cosign'), VULN, 'accepted'],
    ['at-old', 'provenance under .att', key('cosign'), PROVENANCE, 'accepted'],
    ['at-old', 'SPDX under .att', key('cosign'), SPDX, 'accepted'],
    ['at-old', 'a scan under .att', key('cosign'), VULN, 'accepted'],
    ['at-klnew', 'keyless provenance in a bundle', github, PROVENANCE, 'accepted'],
    ['at-klold', 'keyless provenance under .att', github, PROVENANCE, 'accepted'],
    ['at-klold', 'no SPDX', github, SPDX, ''],
    ['kl-rec', 'a keyless promotion record', github, PROMOTION, 'accepted'],
    ['ix-rec', 'an index that is signed with its children', key('cosign'), SIGNATURE, 'accepted'],
    ['ix-top', 'an index that is signed alone', key('cosign'), SIGNATURE, 'accepted'],
    ['e-oldsig', '.sig beside a record as a bundle', key('cosign'), SIGNATURE, 'accepted'],
    ['e-oldsig', 'a record as a bundle beside .sig', key('promoter'), PROMOTION, 'accepted'],
    ['e-oldsig2', '.sig beside a record under .att', key('cosign'), SIGNATURE, 'accepted'],
    ['e-oldsig2', 'a record under .att beside .sig', key('promoter'), PROMOTION, 'accepted'],
    ['e-newsig', 'two bundles: the signature', key('cosign'), SIGNATURE, 'accepted'],
    ['e-newsig', 'two bundles: the record is not a signature', key('promoter'), SIGNATURE, 'OTHER_KEY'],
    ['e-newsig', 'two bundles: the record', key('promoter'), PROMOTION, 'accepted'],
  ])('%s: %s', async (tag, _, signer, type, expected) => {
    expect(await judge(imageOf(tag), signer, type)).toBe(expected)
  })

  test.each([
    ['ix-rec', 'accepted'],
    ['ix-top', ''],
  ])('the first child of %s', async (tag, expected) => {
    expect(await judge(imageOf(tag, true), key('cosign'), SIGNATURE)).toBe(expected)
  })

  test('the verified signer is the key or the certificate', async () => {
    const found = async (tag: string, signer: Signer) => {
      const { evidence } = await readEvidence(imageOf(tag), attachedTo(imageOf(tag)), read)
      return Promise.all(evidence.map((each) => new SignerVerifier().verify(each, signer)))
    }
    const [cosign] = readPublicKeys(textOf('cosign.pub'))
    const spki = cosign?.export({ format: 'der', type: 'spki' }) ?? ''
    const sha256 = createHash('sha256').update(spki).digest('hex')
    expect(await found('cos-new', key('cosign'))).toEqual([{ signer: { method: 'key', key: sha256 } }])
    expect(await found('kl-old', github)).toMatchObject([
      {
        signer: {
          method: 'certificate',
          issuer: 'https://token.actions.githubusercontent.com',
          subject: 'https://github.com/acme/api/.github/workflows/release.yaml@refs/tags/v1.2.0',
          claims: { 'source-ref': 'refs/tags/v1.2.0', trigger: 'push' },
        },
      },
    ])
  })

  test('names of what cosign signed', async () => {
    const read1 = async (tag: string) => (await readEvidence(imageOf(tag), attachedTo(imageOf(tag)), read)).evidence
    expect((await read1('cos-new'))[0]?.names).toEqual([])
    expect((await read1('cos-oldrsa'))[0]?.names).toEqual([expect.stringMatching(/\/fx\/|\/[a-z]/)])
  })
})
