import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { type Code, PromoteError } from '../../../src/core/errors.ts'
import { type Digest, digestOf, referrersTag } from '../../../src/oci/digest.ts'
import {
  ACCEPT,
  type Descriptor,
  embedded,
  MANIFEST_LIMIT,
  type Manifest,
  MEDIA_TYPE,
  readManifest,
  withSizes,
} from '../../../src/oci/manifest.ts'

const CONFIG = descriptor('application/vnd.oci.image.config.v1+json', 'config')
const LAYER = descriptor('application/vnd.oci.image.layer.v1.tar+gzip', 'layer')
const CHILD = { ...descriptor(MEDIA_TYPE.ociManifest, 'child'), platform: { os: 'linux', architecture: 'amd64' } }
const IMAGE = { schemaVersion: 2, config: CONFIG, layers: [LAYER] }

type Read = Readonly<{
  document: object
  contentType?: string
  mediaType: string
  shape: 'image' | 'index'
  links: string[]
}>

const SHAPES: Readonly<Record<string, Read>> = {
  'OCI manifest': {
    document: { ...IMAGE, mediaType: MEDIA_TYPE.ociManifest },
    mediaType: MEDIA_TYPE.ociManifest,
    shape: 'image',
    links: ['blob config', 'blob layer'],
  },
  'docker v2s2': {
    document: { ...IMAGE, mediaType: MEDIA_TYPE.dockerManifest },
    mediaType: MEDIA_TYPE.dockerManifest,
    shape: 'image',
    links: ['blob config', 'blob layer'],
  },
  'OCI index': {
    document: { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [CHILD] },
    mediaType: MEDIA_TYPE.ociIndex,
    shape: 'index',
    links: ['manifest child'],
  },
  'docker list': {
    document: { schemaVersion: 2, mediaType: MEDIA_TYPE.dockerList, manifests: [CHILD] },
    mediaType: MEDIA_TYPE.dockerList,
    shape: 'index',
    links: ['manifest child'],
  },
  'nested index': {
    document: { schemaVersion: 2, manifests: [{ ...CHILD, mediaType: MEDIA_TYPE.ociIndex }] },
    mediaType: MEDIA_TYPE.ociIndex,
    shape: 'index',
    links: ['manifest child'],
  },
  'empty index': {
    document: { schemaVersion: 2, manifests: [] },
    mediaType: MEDIA_TYPE.ociIndex,
    shape: 'index',
    links: [],
  },
  'index of Go nil slices': {
    document: { schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: null },
    mediaType: MEDIA_TYPE.ociIndex,
    shape: 'index',
    links: [],
  },
  'manifest of Go nil slices': {
    document: { schemaVersion: 2, config: CONFIG, layers: null, annotations: null },
    mediaType: MEDIA_TYPE.ociManifest,
    shape: 'image',
    links: ['blob config'],
  },
  'artifact with any config': {
    document: { ...IMAGE, config: { ...CONFIG, mediaType: 'application/x.helm+json' }, artifactType: 'application/x' },
    mediaType: MEDIA_TYPE.ociManifest,
    shape: 'image',
    links: ['blob config', 'blob layer'],
  },
  'artifact with subject': {
    document: { ...IMAGE, subject: CHILD },
    mediaType: MEDIA_TYPE.ociManifest,
    shape: 'image',
    links: ['blob config', 'blob layer', 'manifest subject'],
  },
  'index with subject': {
    document: { schemaVersion: 2, manifests: [CHILD], subject: CHILD },
    mediaType: MEDIA_TYPE.ociIndex,
    shape: 'index',
    links: ['manifest child', 'manifest subject'],
  },
  'old OCI artifact': {
    document: { mediaType: MEDIA_TYPE.ociArtifact, blobs: [LAYER], subject: CHILD },
    mediaType: MEDIA_TYPE.ociArtifact,
    shape: 'image',
    links: ['blob layer', 'manifest subject'],
  },
  'BuildKit cache index': {
    document: {
      schemaVersion: 2,
      manifests: [LAYER, { ...CONFIG, mediaType: 'application/vnd.buildkit.cacheconfig.v0' }],
    },
    mediaType: MEDIA_TYPE.ociIndex,
    shape: 'index',
    links: ['blob layer', 'blob layer'],
  },
  'the same layer twice': {
    document: { ...IMAGE, layers: [LAYER, LAYER] },
    mediaType: MEDIA_TYPE.ociManifest,
    shape: 'image',
    links: ['blob config', 'blob layer', 'blob layer'],
  },
  'media type from the answer': {
    document: IMAGE,
    contentType: `${MEDIA_TYPE.dockerManifest}; charset=utf-8`,
    mediaType: MEDIA_TYPE.dockerManifest,
    shape: 'image',
    links: ['blob config', 'blob layer'],
  },
  'text/plain is no media type': {
    document: IMAGE,
    contentType: 'text/plain',
    mediaType: MEDIA_TYPE.ociManifest,
    shape: 'image',
    links: ['blob config', 'blob layer'],
  },
  "an index's type on an image": {
    document: IMAGE,
    contentType: MEDIA_TYPE.ociIndex,
    mediaType: MEDIA_TYPE.ociManifest,
    shape: 'image',
    links: ['blob config', 'blob layer'],
  },
  "the document's own type beats the answer's": {
    document: { ...IMAGE, mediaType: MEDIA_TYPE.ociManifest },
    contentType: MEDIA_TYPE.dockerManifest,
    mediaType: MEDIA_TYPE.ociManifest,
    shape: 'image',
    links: ['blob config', 'blob layer'],
  },
  'a platform that nobody can read': {
    document: { schemaVersion: 2, manifests: [{ ...CHILD, platform: {}, annotations: { a: 1 } }] },
    mediaType: MEDIA_TYPE.ociIndex,
    shape: 'index',
    links: ['manifest child'],
  },
}

const BAD: readonly (readonly [what: string, document: unknown, code: Code])[] = [
  ['schema 1', { schemaVersion: 1, name: 'dev/app', fsLayers: [] }, 'UNSUPPORTED'],
  ['schema 1 by type', { mediaType: 'application/vnd.docker.distribution.manifest.v1+prettyjws' }, 'UNSUPPORTED'],
  ['schema 3', { schemaVersion: 3, config: CONFIG, layers: [] }, 'UNSUPPORTED'],
  ['an index that is an image too', { schemaVersion: 2, manifests: [CHILD], config: CONFIG, layers: [] }, 'PROTOCOL'],
  [
    'an image type on an index',
    { schemaVersion: 2, mediaType: MEDIA_TYPE.ociManifest, manifests: [CHILD] },
    'PROTOCOL',
  ],
  ['an index type on an image', { ...IMAGE, mediaType: MEDIA_TYPE.dockerList }, 'PROTOCOL'],
  ['nothing', {}, 'PROTOCOL'],
  ['null', null, 'PROTOCOL'],
  ['a list', [], 'PROTOCOL'],
  ['a number', 7, 'PROTOCOL'],
  ['members of every object', JSON.parse('{"__proto__": {"layers": []}, "constructor": 1, "toString": 2}'), 'PROTOCOL'],
  ['a negative size', { ...IMAGE, config: { ...CONFIG, size: -1 } }, 'PROTOCOL'],
  ['a size with a fraction', { ...IMAGE, config: { ...CONFIG, size: 1.5 } }, 'PROTOCOL'],
  ['a size beyond 2^53', { ...IMAGE, config: { ...CONFIG, size: 2 ** 54 } }, 'PROTOCOL'],
  ['a size in words', { ...IMAGE, config: { ...CONFIG, size: '12' } }, 'PROTOCOL'],
  ['an unknown algorithm', { ...IMAGE, config: { ...CONFIG, digest: `md5:${'a'.repeat(32)}` } }, 'PROTOCOL'],
  ['a digest that is a path', { ...IMAGE, config: { ...CONFIG, digest: 'sha256:../../etc/passwd' } }, 'PROTOCOL'],
  ['a digest in upper case', { ...IMAGE, config: { ...CONFIG, digest: CONFIG.digest.toUpperCase() } }, 'PROTOCOL'],
  ['a layer without media type', { ...IMAGE, layers: [{ ...LAYER, mediaType: undefined }] }, 'PROTOCOL'],
  ['layers that are no list', { ...IMAGE, layers: { 0: LAYER } }, 'PROTOCOL'],
]

describe('a manifest', () => {
  test.each(Object.entries(SHAPES))('%s is read', (_name, { document, contentType, mediaType, shape, links }) => {
    const bytes = encode(document)
    const manifest = readManifest(bytes, contentType)
    expect(manifest.descriptor).toEqual({ mediaType, digest: digestOf(bytes), size: bytes.byteLength })
    expect(manifest.bytes).toBe(bytes)
    expect(manifest.shape).toBe(shape)
    expect(manifest.links.map((link) => `${link.kind} ${link.role}`)).toEqual(links)
  })

  test.each(BAD)('%s is refused', (_what, document, code) => {
    expect(failure(() => readManifest(encode(document), undefined))).toMatchObject({ code })
  })

  test.each([
    ['nothing at all', new Uint8Array()],
    ['HTML', Buffer.from('<html></html>')],
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0xff, 0x7d])],
    ['half a document', encode(IMAGE).subarray(0, 40)],
    ['more than 4 MiB', Buffer.alloc(MANIFEST_LIMIT + 1, ' ')],
    ['deep nesting', Buffer.from('['.repeat(1_000_000))],
  ])('%s is no manifest', (_what, bytes) => {
    expect(failure(() => readManifest(bytes, MEDIA_TYPE.ociManifest))).toMatchObject({ code: 'PROTOCOL' })
  })

  test('of exactly 4 MiB is read', () => {
    const document = { ...IMAGE, annotations: { filling: '' } }
    const filling = 'x'.repeat(MANIFEST_LIMIT - encode(document).byteLength)
    const bytes = encode({ ...document, annotations: { filling } })
    expect(readManifest(bytes, undefined).descriptor.size).toBe(MANIFEST_LIMIT)
  })

  test('with a million broken descriptors is refused with one short sentence', () => {
    const bytes = Buffer.from(`{"schemaVersion":2,"manifests":[${'{},'.repeat(1_000_000)}{}]}`)
    const error = failure(() => readManifest(bytes, undefined))
    expect(error.code).toBe('PROTOCOL')
    expect(error.message.length).toBeLessThan(300)
  })

  test('keeps what descriptors say', () => {
    const rich = {
      ...LAYER,
      urls: ['https://example.com/l'],
      data: 'bGF5ZXI=',
      annotations: { a: 'b' },
      artifactType: 'x/y',
    }
    const manifest = readManifest(
      encode({ ...IMAGE, artifactType: 'x/z', annotations: { c: 'd' }, layers: [rich] }),
      undefined,
    )
    expect(manifest.links[1]?.descriptor).toMatchObject(rich)
    expect(manifest).toMatchObject({ artifactType: 'x/z', annotations: { c: 'd' } })
  })

  test('whose type is not in the document takes that of what points at it', () => {
    const bytes = encode(IMAGE)
    const parent = { mediaType: MEDIA_TYPE.dockerManifest, digest: digestOf(bytes), size: bytes.byteLength }
    expect(readManifest(bytes, 'application/json', parent).descriptor).toEqual(parent)
  })
})

describe('the bytes of a manifest', () => {
  const bytes = encode(IMAGE)

  test('that are not the digest are refused, and both digests are named', () => {
    const wanted = digestOf(Buffer.from('other'))
    const error = failure(() => readManifest(bytes, undefined, wanted))
    expect(error.code).toBe('DIGEST_MISMATCH')
    expect(error.message).toContain(wanted)
    expect(error.message).toContain(digestOf(bytes))
  })

  test.each([0, 1, 2 ** 40])('of another size than announced (%d) are what their digest says', (size) => {
    const expected = { mediaType: MEDIA_TYPE.ociManifest, digest: digestOf(bytes), size }
    expect(readManifest(bytes, undefined, expected).descriptor.size).toBe(bytes.byteLength)
  })

  test('may leave out sizes: that of an empty blob is 0, others are asked for once', async () => {
    const size = (digest: Digest) => ({ mediaType: 'x/y', digest })
    const [empty, unknown] = [digestOf(Buffer.alloc(0)), digestOf(Buffer.from('layer'))]
    const document = { schemaVersion: 2, config: { ...CONFIG, size: null }, layers: [size(empty), size(unknown)] }
    const read = readManifest(Buffer.from(JSON.stringify(document)), undefined)
    const asked: Digest[] = []
    const { links } = await withSizes(read, async ({ digest }) => {
      asked.push(digest)
      return digest === unknown ? 5 : undefined
    })
    expect(links.map(({ descriptor }) => [descriptor.size, descriptor.unsized ?? false])).toEqual([
      [0, true],
      [0, false],
      [5, false],
    ])
    expect(asked).toEqual([CONFIG.digest, unknown])
  })

  test('are compared by sha512 when that was asked for', () => {
    const digest = digestOf(bytes, 'sha512')
    expect(readManifest(bytes, undefined, digest).descriptor.digest).toBe(digest)
    const wrong: Digest = `sha512:${'0'.repeat(128)}`
    expect(failure(() => readManifest(bytes, undefined, wrong)).code).toBe('DIGEST_MISMATCH')
  })

  test('of schema 1 are named so even though their digest is that of a part', () => {
    const old = encode({ schemaVersion: 1 })
    expect(failure(() => readManifest(old, undefined, digestOf(bytes))).code).toBe('UNSUPPORTED')
  })
})

describe('garbage', () => {
  test('is never anything but a manifest or a PromoteError', () => {
    const keys = fc.constantFrom(
      'schemaVersion',
      'mediaType',
      'manifests',
      'config',
      'layers',
      'subject',
      'digest',
      'size',
      '__proto__',
      'constructor',
    )
    const values = fc.letrec((tie) => ({
      value: fc.oneof(
        fc.string(),
        fc.integer(),
        fc.constantFrom(null, 2, CONFIG.digest, MEDIA_TYPE.ociIndex),
        fc.constant(CONFIG),
        tie('object'),
        fc.array(tie('value'), { maxLength: 3 }),
      ),
      object: fc.array(fc.tuple(keys, tie('value')), { maxLength: 5 }).map((entries) => Object.fromEntries(entries)),
    }))
    const bytes = fc.oneof(
      values.object.map(encode),
      fc.uint8Array(),
      fc.json().map((text) => Buffer.from(text)),
    )
    fc.assert(
      fc.property(bytes, fc.option(fc.string(), { nil: undefined }), (content, type) => {
        try {
          return readManifest(content, type).descriptor.digest === digestOf(content)
        } catch (thrown) {
          return thrown instanceof PromoteError && ['PROTOCOL', 'UNSUPPORTED'].includes(thrown.code)
        }
      }),
    )
  })
})

describe('embedded content', () => {
  const good: Descriptor = {
    mediaType: 'text/plain',
    digest: digestOf(Buffer.from('hello')),
    size: 5,
    data: 'aGVsbG8=',
  }

  test('is given when it is what the descriptor says', () => {
    expect(embedded(good)).toEqual(Buffer.from('hello'))
  })

  test.each<[string, Partial<Descriptor>]>([
    ['absent', { data: undefined }],
    ['of another size', { size: 6 }],
    ['other bytes', { data: 'aGVsbG9v' }],
    ['no base64', { data: '%%%%' }],
  ])('that is %s is not used', (_what, change) => {
    expect(embedded({ ...good, ...change })).toBeUndefined()
  })
})

test('every manifest type is spelled out in one Accept header', () => {
  expect(ACCEPT.split(', ').sort()).toEqual(Object.values(MEDIA_TYPE).sort())
})

test('the fallback tag of referrers is at most 64 digits long', () => {
  expect(referrersTag(`sha256:${'ab'.repeat(32)}`)).toBe(`sha256-${'ab'.repeat(32)}`)
  expect(referrersTag(`sha512:${'ab'.repeat(64)}`)).toBe(`sha512-${'ab'.repeat(32)}`)
})

function descriptor(mediaType: string, content: string): Descriptor {
  return { mediaType, digest: digestOf(Buffer.from(content)), size: content.length }
}

function encode(document: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(document) ?? '')
}

function failure(run: () => Manifest): PromoteError {
  try {
    run()
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(PromoteError)
    return thrown as PromoteError
  }
  throw new Error('it was read')
}
