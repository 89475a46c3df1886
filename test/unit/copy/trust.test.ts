import { verify } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { referrersTag } from '../../../src/oci/digest.ts'
import { MEDIA_TYPE, readManifest } from '../../../src/oci/manifest.ts'
import {
  type BuiltImage,
  type BuiltManifest,
  describe as entry,
  makeArtifact,
  makeFallbackIndex,
  makeImage,
  makeIndex,
} from '../../support/cluster/image.ts'
import { copyImage, missing, writes } from '../../support/copy.ts'
import { type MemoryStore, memoryStore } from '../../support/memory-store.ts'
import {
  attached,
  blob,
  cosignAttestation,
  cosignReferrer,
  cosignSignature,
  custom,
  notation,
  PUBLIC_KEY,
  SIGN,
  sigstoreBundle,
} from '../../support/shapes.ts'

const SPDX = 'application/spdx+json'

/** An index of two platforms with everything that tools attach to it and to its children. */
function furnished() {
  const image = makeIndex({ seed: 40 })
  const [amd64, arm64] = image.manifests as [BuiltManifest, BuiltManifest, BuiltManifest]
  const sbom = attached(image.root, SPDX, '{"spdxVersion":"SPDX-2.3"}', { 'org.example.made': 'here' })
  const bundle = sigstoreBundle(image.root, { annotations: { 'dev.sigstore.bundle.content': 'dsse-envelope' } })
  const parts: [BuiltImage, string?][] = [
    [image, 'v1'],
    [sbom],
    [sigstoreBundle(sbom.root)],
    [bundle],
    [notation(amd64)],
    ...[image.root, amd64, arm64].map((subject): [BuiltImage, string] => {
      const { image: signature, tag } = cosignSignature(subject)
      return [signature, tag]
    }),
  ]
  // One and the same SBOM for both platforms, by tag: cosign attach sbom.
  const common = makeArtifact({ seed: 41, artifactType: 'text/spdx+json' })
  for (const { digest } of [amd64, arm64]) parts.push([common, `${referrersTag(digest)}.sbom`])
  parts.push([makeArtifact({ seed: 42 }), `${referrersTag(arm64.digest)}.att`])
  return { image, amd64, arm64, sbom, bundle, parts }
}

function seeded(parts: readonly (readonly [BuiltImage, string?])[], options = {}): MemoryStore {
  const store = memoryStore({ side: 'source', ...options })
  for (const [image, tag] of parts) store.seed(image, tag)
  return store
}

/** Without the referrers API, what lists the attachments is a tag that the pushing client has kept. */
function keepTags(store: MemoryStore, parts: readonly (readonly [BuiltImage, string?])[]): void {
  const lists = new Map<string, ReturnType<typeof entry>[]>()
  for (const [{ root }] of parts) {
    const { subject, artifactType, annotations } = JSON.parse(Buffer.from(root.bytes).toString())
    if (!subject) continue
    const tag = referrersTag(subject.digest)
    lists.set(tag, [...(lists.get(tag) ?? []), { ...entry(root), artifactType, annotations }])
  }
  for (const [tag, list] of lists) {
    const index = makeFallbackIndex(list)
    store.manifests.set(index.digest, readManifest(index.bytes, index.mediaType))
    store.tagged.set(tag, index.digest)
  }
}

describe('everything that is attached to an index and its children', () => {
  test.each([
    ['both registries list referrers', true, true],
    ['the destination lists none', true, false],
    ['the source lists none', false, true],
    ['neither lists any', false, false],
  ])('arrives when %s', async (_what, at, to) => {
    const { image, parts, sbom, bundle, amd64 } = furnished()
    const source = seeded(parts, { referrersApi: at })
    if (!at) keepTags(source, parts)
    const target = memoryStore({ referrersApi: to })
    await copyImage(source, target)
    for (const [part, tag] of parts) {
      expect(missing(target, part)).toEqual([])
      if (tag !== undefined) expect([tag, target.tagged.get(tag)]).toEqual([tag, part.root.digest])
    }
    const listed = await target.referrers(image.root.digest)
    expect(
      new Map(listed.map(({ digest, artifactType, annotations }) => [digest, [artifactType, annotations]])),
    ).toEqual(
      new Map([
        [sbom.root.digest, [SPDX, { 'org.example.made': 'here' }]],
        [
          bundle.root.digest,
          ['application/vnd.dev.sigstore.bundle.v0.3+json', { 'dev.sigstore.bundle.content': 'dsse-envelope' }],
        ],
      ]),
    )
    expect(await target.referrers(amd64.digest)).toHaveLength(1)
    expect(await target.referrers(sbom.root.digest)).toHaveLength(1)
    target.calls.length = 0
    await copyImage(source, target)
    expect(writes(target)).toEqual([])
  })

  test('is what a verifier needs: the signature under the tag is good at the destination', async () => {
    const { image, parts } = furnished()
    const target = memoryStore()
    await copyImage(seeded(parts), target)
    const manifest = await target.resolve(`${referrersTag(image.root.digest)}.sig`)
    const layer = manifest.links.find((link) => link.role === 'layer')?.descriptor
    const payload = target.blobs.get(layer?.digest ?? image.root.digest) ?? Buffer.alloc(0)
    const signature = layer?.annotations?.['dev.cosignproject.cosign/signature'] ?? ''
    expect(verify('sha256', payload, PUBLIC_KEY, Buffer.from(signature, 'base64'))).toBe(true)
    expect(JSON.parse(Buffer.from(payload).toString()).critical.image).toEqual({
      'docker-manifest-digest': image.root.digest,
    })
  })

  test('is reported once each, with its tag', async () => {
    const { parts } = furnished()
    const { graph } = await copyImage(seeded(parts), memoryStore())
    expect(graph.attached).toHaveLength(parts.length - 1)
    expect(new Set(graph.attached.map(({ digest, tag }) => `${digest} ${tag}`)).size).toBe(parts.length - 1)
  })

  test('of a platform that is not wanted stays where it is', async () => {
    const { parts, arm64 } = furnished()
    const { graph } = await copyImage(seeded(parts), memoryStore(), { platforms: ['linux/amd64'] })
    expect(graph.attached.filter(({ subject }) => subject === arm64.digest)).toEqual([])
    expect(graph.attached).not.toHaveLength(0)
  })

  test('is found where a tag names a manifest that has the image as its subject, too', async () => {
    const image = makeImage({ seed: 43 })
    const bundle = sigstoreBundle(image.root)
    const tag = `${referrersTag(image.root.digest)}.sig`
    const target = memoryStore()
    await copyImage(
      seeded([
        [image, 'v1'],
        [bundle, tag],
      ]),
      target,
    )
    expect(target.tagged.get(tag)).toBe(bundle.root.digest)
    expect((await target.referrers(image.root.digest)).map(({ digest }) => digest)).toEqual([bundle.root.digest])
  })

  test('is listed also when it is itself a child of the index', async () => {
    const image = makeImage({ seed: 44 })
    const sbom = attached(image.root, SPDX, '{}')
    const index = custom({ manifests: [entry(image.root), entry(sbom.root)] }, { below: [image, sbom] })
    const target = memoryStore({ referrersApi: false })
    const source = seeded([[index, 'v1']])
    await copyImage(source, target)
    expect((await target.referrers(image.root.digest)).map(({ digest }) => digest)).toEqual([sbom.root.digest])
  })

  test('and is promoted by itself is listed at a registry that lists nothing, before its tag is there', async () => {
    const image = makeImage({ seed: 45 })
    const sbom = attached(image.root, SPDX, '{}')
    const target = memoryStore({ referrersApi: false })
    await copyImage(seeded([[sbom, 'v1']]), target)
    expect((await target.referrers(image.root.digest)).map(({ digest }) => digest)).toEqual([sbom.root.digest])
    expect(target.calls.filter((call) => call.startsWith('put ')).at(-1)).toBe('put v1')
  })

  test('a cosign tag that leads back to the image ends there', async () => {
    const image = makeImage({ seed: 46 })
    const tag = `${referrersTag(image.root.digest)}.att`
    const source = seeded([
      [image, 'v1'],
      [image, tag],
    ])
    const target = memoryStore()
    await copyImage(source, target)
    expect(target.tagged.get(tag)).toBe(image.root.digest)
  })
})

describe('a list that names what was deleted', () => {
  const image = makeImage({ seed: 47 })
  const gone = attached(image.root, SPDX, '{"gone":true}')
  const there = attached(image.root, SPDX, '{"gone":false}')
  const source = seeded([[image, 'v1'], [gone], [there]], { referrersApi: false })
  keepTags(source, [[gone], [there]])
  source.manifests.delete(gone.root.digest)

  test('is an error that names it', async () => {
    await expect(copyImage(source, memoryStore())).rejects.toMatchObject({
      code: 'NOT_FOUND',
      side: 'source',
      message: expect.stringContaining(gone.root.digest),
      hint: expect.stringContaining('skip-missing'),
    })
  })

  test('is passed over with skip-missing', async () => {
    const target = memoryStore({ referrersApi: false })
    const { graph } = await copyImage(source, target, { skipMissing: true })
    expect(graph.attached.map(({ digest }) => digest)).toEqual([there.root.digest])
    expect((await target.referrers(image.root.digest)).map(({ digest }) => digest)).toEqual([there.root.digest])
  })
})

describe('require-signed', () => {
  const index = makeIndex({ seed: 48 })
  const [amd64, arm64] = index.manifests as [BuiltManifest, BuiltManifest]
  const image = makeImage({ seed: 49 })
  const nested = makeIndex({ seed: 50, nested: true })
  const inner = nested.manifests.at(-2) as BuiltManifest
  type Parts = readonly (readonly [BuiltImage, string?])[]
  const cosigned = (subject: BuiltManifest): [BuiltImage, string] => {
    const { image: signature, tag } = cosignSignature(subject)
    return [signature, tag]
  }
  const unsigned = { code: 'SIGNATURE_MISSING', side: 'source' }
  const sbomBundle = sigstoreBundle(image.root, { predicateType: 'https://spdx.dev/Document' })
  const messageOf = ({ digest }: BuiltManifest) => ({
    dsseEnvelope: undefined,
    messageSignature: {
      messageDigest: { algorithm: 'SHA2_256', digest: Buffer.from(digest.slice(7), 'hex').toString('base64') },
      signature: 'MEUC',
    },
  })
  const [message, other] = [messageOf(image.root), messageOf(amd64)]
  const signatureTag = `${referrersTag(image.root.digest)}.sig`
  const attested = cosignAttestation(image.root, SIGN)
  const attestation: [BuiltImage, string] = [attested.image, attested.tag]
  const bare = blob(
    JSON.stringify({ critical: { image: { 'docker-manifest-digest': image.root.digest } } }),
    'application/vnd.dev.cosign.simplesigning.v1+json',
  )
  const payloadAlone = custom({ config: bare.descriptor, layers: [bare.descriptor] }, { blobs: [bare] })

  test.each<[string, Parts]>([
    ['a cosign signature by tag', [[image, 'v1'], cosigned(image.root)]],
    ['a Sigstore bundle', [[image, 'v1'], [sigstoreBundle(image.root)]]],
    ['a notation signature', [[image, 'v1'], [notation(image.root)]]],
    ['a cosign signature as a referrer', [[image, 'v1'], [cosignReferrer(image.root)]]],
    ['a signed index', [[index, 'v1'], cosigned(index.root)]],
    ['an index of which every child is signed', [[index, 'v1'], cosigned(amd64), [sigstoreBundle(arm64)]]],
    ['an index within an index that is signed', [[nested, 'v1'], cosigned(inner)]],
    ['an image with an SBOM and a signature', [[image, 'v1'], [sbomBundle], [sigstoreBundle(image.root)]]],
    ['a signature over the bytes of the manifest', [[image, 'v1'], [sigstoreBundle(image.root, { bundle: message })]]],
    [
      'a signature in the docker format',
      [
        [image, 'v1'],
        [cosignSignature(image.root, [''], MEDIA_TYPE.dockerManifest).image, `${referrersTag(image.root.digest)}.sig`],
      ],
    ],
  ])('lets %s through', async (_what, parts) => {
    const target = memoryStore()
    await copyImage(seeded(parts), target, { requireSigned: true })
    expect(target.tagged.get('v1')).toBe(parts[0]?.[0].root.digest)
  })

  test.each<[string, Parts]>([
    ['nothing attached', [[image, 'v1']]],
    ['an SBOM alone', [[image, 'v1'], [attached(image.root, SPDX, '{}')]]],
    ['an SBOM in a bundle', [[image, 'v1'], [sbomBundle]]],
    [
      'a record of a promotion in a bundle',
      [[image, 'v1'], [sigstoreBundle(image.root, { predicateType: 'https://example.test/promotion/v1' })]],
    ],
    [
      'a bundle that states a signature of another image',
      [[image, 'v1'], [sigstoreBundle(image.root, { about: amd64 })]],
    ],
    [
      'a bundle whose envelope is not signed',
      [[image, 'v1'], [sigstoreBundle(image.root, { bundle: { dsseEnvelope: { signatures: [] } } })]],
    ],
    [
      'a bundle of a version that does not exist',
      [
        [image, 'v1'],
        [sigstoreBundle(image.root, { bundle: { mediaType: 'application/vnd.dev.sigstore.bundle.v9.9+json' } })],
      ],
    ],
    [
      'a signature over the bytes of another manifest',
      [[image, 'v1'], [sigstoreBundle(amd64, { bundle: message })], [sigstoreBundle(image.root, { bundle: other })]],
    ],
    ['an attestation under its tag that says it is a signature', [[image, 'v1'], attestation]],
    [
      'a signature tag without a signature',
      [
        [image, 'v1'],
        [cosignSignature(image.root, []).image, signatureTag],
      ],
    ],
    [
      'a signature tag with the signature of another image',
      [
        [image, 'v1'],
        [cosignSignature(amd64).image, signatureTag],
      ],
    ],
    [
      'a signature tag with a payload that is not signed',
      [
        [image, 'v1'],
        [payloadAlone, signatureTag],
      ],
    ],
    [
      'an attestation by tag alone',
      [
        [image, 'v1'],
        [makeArtifact({ seed: 51 }), `${referrersTag(image.root.digest)}.att`],
      ],
    ],
    [
      'a signature tag that holds no signature',
      [
        [image, 'v1'],
        [makeIndex({ seed: 52 }), `${referrersTag(image.root.digest)}.sig`],
      ],
    ],
    ['a signature of something else', [[image, 'v1'], [sigstoreBundle(amd64)]]],
    ['an index of which one child is not signed', [[index, 'v1'], cosigned(amd64)]],
    [
      'a signed SBOM',
      [[image, 'v1'], [attached(image.root, SPDX, '{}')], [sigstoreBundle(attached(image.root, SPDX, '{}').root)]],
    ],
  ])('refuses %s before anything is written at the destination', async (_what, parts) => {
    const target = memoryStore()
    await expect(copyImage(seeded(parts), target, { requireSigned: true })).rejects.toMatchObject(unsigned)
    expect(writes(target)).toEqual([])
  })

  test('names the children that are not signed', async () => {
    const failing = copyImage(seeded([[index, 'v1'], cosigned(amd64)]), memoryStore(), { requireSigned: true })
    const error = await failing.catch((thrown: Error) => thrown.message)
    expect(error).toContain(arm64.digest)
    expect(error).not.toContain(amd64.digest)
  })

  test('asks for a signature of the platforms that are copied, and of no other', async () => {
    const source = seeded([[index, 'v1'], cosigned(amd64)])
    await copyImage(source, memoryStore(), { requireSigned: true, platforms: ['linux/amd64'] })
    const other = copyImage(source, memoryStore(), { requireSigned: true, platforms: ['linux/arm64'] })
    await expect(other).rejects.toMatchObject(unsigned)
  })

  test('with referrers: false wants the signature there and leaves it behind', async () => {
    const target = memoryStore()
    const options = { requireSigned: true, referrers: false }
    const { graph } = await copyImage(seeded([[image, 'v1'], cosigned(image.root)]), target, options)
    expect(graph.attached).toEqual([])
    expect([...target.tagged.keys()]).toEqual(['v1'])
    await expect(copyImage(seeded([[image, 'v1']]), memoryStore(), options)).rejects.toMatchObject(unsigned)
  })

  test('believes the manifest, not what a list says of it', async () => {
    const sbom = attached(image.root, SPDX, '{}')
    const source = seeded([[image, 'v1'], [sbom]], { referrersApi: false })
    const lie = makeFallbackIndex([{ ...entry(sbom.root), artifactType: 'application/vnd.cncf.notary.signature' }])
    source.manifests.set(lie.digest, readManifest(lie.bytes, lie.mediaType))
    source.tagged.set(referrersTag(image.root.digest), lie.digest)
    await expect(copyImage(source, memoryStore(), { requireSigned: true })).rejects.toMatchObject(unsigned)
  })
})
