import { generateKeyPairSync } from 'node:crypto'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import { seedSigned, textOf } from '../../support/signed-layout.ts'
import { onThatOccasion, type Situation, type Stage } from './stage.ts'

/** What the user has demanded, and what stands against it. */

const KEY = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
/** The image's own manifest is the first one that is put. */
const afterTheFirst = () => {
  let seen = 0
  return () => ++seen > 1
}
const OTHER = makeImage({ seed: 29 })
/** An image that cosign signed, in the place of the image. */
const signed = (tag: string) => ({
  images: 'dev/signed:1=out/app:1.0',
  arrange: ({ cluster }: Stage) => seedSigned(cluster, 'dev/signed', tag),
})
const inPlace = ({ cluster }: Stage) => seedImage(cluster, 'prod/app', OTHER, '1.0')

export const CONDITIONS: readonly Situation[] = [
  {
    when: 'the tag exists, and none may be replaced',
    code: 'GUARD',
    side: 'destination',
    says: '… is at sha256:…, and ….',
    arrange: inPlace,
    more: () => ({ overwrite: 'never' }),
  },
  {
    when: 'the tag exists, and has to be absent',
    code: 'GUARD',
    side: 'destination',
    says: '… is at sha256:…, and ….',
    arrange: inPlace,
    more: () => ({ 'expect-current': 'absent' }),
  },
  {
    when: 'the tag has to be at a digest, and does not exist',
    code: 'GUARD',
    side: 'destination',
    says: '… does not exist, and it is expected to be at sha256:….',
    more: () => ({ 'expect-current': OTHER.root.digest }),
  },
  {
    when: 'none may be replaced, and the tag cannot be read',
    code: 'GUARD',
    side: 'destination',
    says: '… could not be read: the registry refused, and ….',
    arrange: (stage) => {
      const { cluster } = stage
      inPlace(stage)
      const refused = { kind: 'status', status: 403, body: '{}' } as const
      cluster.faults.api.add({ match: { method: 'GET', path: /imagestreams\/app$/ }, do: refused })
      cluster.faults.registry.add({
        match: { method: ['GET', 'HEAD'], path: /prod\/app\/manifests\/1\.0$/ },
        do: refused,
      })
    },
    more: () => ({ overwrite: 'never' }),
  },
  {
    when: 'another client writes the tag while the image is copied',
    code: 'TAG_MOVED',
    side: 'destination',
    says: '…, and is … now: another client has written it.',
    arrange: (stage) => {
      const when = onThatOccasion(() => inPlace(stage))
      stage.cluster.faults.registry.add({ match: { path: /\/blobs\/uploads\//, when }, do: { kind: 'latency', ms: 0 } })
    },
    more: () => ({ overwrite: 'never' }),
  },
  {
    when: 'another image of an atomic promotion fails',
    code: 'ABANDONED',
    side: 'destination',
    blames: null,
    says: '…, because another part of the promotion failed: ….',
    images: 'team/app:1.0=prod/app:1.0, team/absent:1.0=prod/absent:1.0',
    more: ({ folder }) => ({ atomic: 'true', report: `${folder.path}/report.json` }),
  },
  {
    when: 'a signature is demanded, and there is none',
    code: 'SIGNATURE_MISSING',
    says: '…: sha256:… carries no signature…',
    more: () => ({ 'require-signed': 'true' }),
  },
  {
    when: 'a key has to have signed, and there is no signature',
    code: 'SIGNATURE_MISSING',
    says: '…: sha256:…: rule … wants signed by …: it carries no signature',
    more: () => ({ 'signer-key': textOf('cosign.pub') }),
  },
  {
    when: 'another key has signed',
    code: 'SIGNATURE_REJECTED',
    says: '…: sha256:…: rule … wants signed by …: The attachment sha256:… is signed by another key …',
    ...signed('cos-newrsa'),
    more: () => ({ 'signer-key': textOf('cosign.pub') }),
  },
  {
    when: 'another identity has signed',
    code: 'SIGNATURE_REJECTED',
    says: '…: sha256:…: rule … wants signed by …: The attachment sha256:… is signed by "…"',
    ...signed('kl-new'),
    more: () => ({
      'signer-issuer': 'https://token.actions.githubusercontent.com',
      'signer-subject': 'https://github.com/acme/web/*',
      'trusted-root': textOf('trusted_root.json'),
    }),
  },
  {
    when: 'an identity has signed where a key is wanted',
    code: 'SIGNATURE_REJECTED',
    says: '…: sha256:…: rule … wants signed by …: The attachment sha256:… is signed with a certificate, not by one of the keys',
    ...signed('kl-new'),
    more: () => ({ 'signer-key': textOf('cosign.pub') }),
  },
  {
    when: 'the record may not be written',
    code: 'SIGNING',
    side: 'destination',
    says: '…: the promotion was not signed, and no tag was moved: …',
    arrange: ({ cluster }) => {
      const match = { method: 'PUT', path: /manifests\/sha256:/, when: afterTheFirst() }
      cluster.faults.registry.add({ match, do: { kind: 'status', status: 403, body: '{}' } })
    },
    more: () => ({ 'sign-key': KEY }),
  },
  {
    when: 'no rule is about the image',
    code: 'POLICY',
    says: 'no rule is about … → …',
    more: () => ({ policy: 'version: 1\nrules: [{ images: [other/*], nothing: true }]' }),
  },
  {
    when: 'a rule is not met',
    code: 'POLICY',
    says: '…: sha256:…: rule … wants …',
    more: () => ({ policy: 'version: 1\nrules: [{ labels: { owner: "*" } }]' }),
  },
]
