import { createReadStream, existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { extract, pack } from 'tar-stream'
import { PromoteError, type Side } from '../../../src/core/errors.ts'
import { type Layout, openLayout } from '../../../src/layout/layout.ts'
import { type Cursor, makeHeader, readEntries, type TarEntry } from '../../../src/layout/tar.ts'
import { digestOf } from '../../../src/oci/digest.ts'
import { type BuiltImage, describe as entry, makeCosign, makeImage, makeIndex } from '../../support/cluster/image.ts'
import { randomBytes } from '../../support/cluster/storage.ts'
import { copyImage, missing, testContext } from '../../support/copy.ts'
import { broken, collect, failure, pieces } from '../../support/lab.ts'
import { memoryStore } from '../../support/memory-store.ts'
import { begin, describeBlob, parsed, push } from '../../support/target-contract.ts'

let folder: string
let path: string
const opened: Layout[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archive-'))
  path = join(folder, 'made', 'images.tar')
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((layout) => layout.close()))
  await rm(folder, { recursive: true })
})

function archive(side: Side = 'destination', at = path): Layout {
  const one = openLayout({ kind: 'oci-archive', path: at }, side, testContext())
  opened.push(one)
  return one
}

/** Name → bytes, as a reader of tar sees it that is not ours. */
async function unpacked(at = path): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  const reader = createReadStream(at).pipe(extract())
  for await (const file of reader)
    files.set(file.header.name, await collect(file as unknown as AsyncIterable<Uint8Array>))
  return files
}

async function written(...images: [image: BuiltImage, tag: string][]): Promise<void> {
  const one = archive()
  for (const [image, tag] of images) await push(one.repository('dev/app'), image, tag)
  await one.finish()
}

describe('an archive that is written', () => {
  test('holds the layout, with shared layers once, and nothing before it is finished', async () => {
    const images = [1, 2, 3].map((seed) => makeImage({ seed, shared: { layers: 2, seed: 7 } }))
    const source = memoryStore({ side: 'source' })
    for (const [i, image] of images.entries()) source.seed(image, `v${i}`)
    const one = archive()
    const repository = one.repository('dev/app')
    await Promise.all(images.map((_, i) => copyImage(source, repository, { reference: `v${i}`, tags: [`v${i}`] })))
    expect(existsSync(path)).toBe(false)
    await Promise.all([one.finish(), one.finish()])
    expect(await readdir(join(folder, 'made'))).toEqual(['images.tar'])
    const files = await unpacked()
    const blobs = new Map(images.flatMap((image) => [...image.blobs, [image.root.digest, image.root.bytes] as const]))
    expect([...files.keys()].sort()).toEqual(
      [...[...blobs.keys()].map((digest) => `blobs/${digest.replace(':', '/')}`), 'index.json', 'oci-layout'].sort(),
    )
    for (const [digest, bytes] of blobs)
      expect(files.get(`blobs/${digest.replace(':', '/')}`)?.equals(bytes)).toBe(true)
    expect(JSON.parse(String(files.get('index.json'))).manifests).toHaveLength(3)
  })

  test('is read again as it was, with what is attached', async () => {
    const image = makeIndex({ seed: 10, layersEach: [0, 1, 511, 512, 513, 300_000] })
    const { image: signature, tag } = makeCosign(image.root.digest)
    await written([image, 'v1'], [signature, tag])
    const target = memoryStore()
    await copyImage(archive('source').repository('dev/app'), target)
    for (const part of [image, signature]) expect(missing(target, part)).toEqual([])
  })

  test('names blobs of sha512, too', async () => {
    const bytes = randomBytes(11, 700)
    const blob = describeBlob(bytes, digestOf(bytes, 'sha512'))
    const one = archive()
    await (await begin(one.repository(''), blob)).send(0, pieces(bytes))
    await push(one.repository(''), makeImage(), 'v1')
    await one.finish()
    expect((await unpacked()).get(`blobs/${blob.digest.replace(':', '/')}`)?.equals(bytes)).toBe(true)
    expect((await collect(await archive('source').repository('').blob(blob))).equals(bytes)).toBe(true)
  })

  test('is the same for the same images', async () => {
    const image = makeImage({ seed: 12 })
    await written([image, 'v1'])
    const first = await readFile(path)
    await rm(path)
    await written([image, 'v1'])
    expect((await readFile(path)).equals(first)).toBe(true)
  })

  test('keeps what an earlier run put into it, and is not touched when nothing is new', async () => {
    const [one, two] = [makeImage({ seed: 13 }), makeImage({ seed: 14 })]
    await written([one, '1'])
    await written([two, '2'])
    const source = archive('source').repository('dev/app')
    for (const [image, tag] of [
      [one, '1'],
      [two, '2'],
    ] as const) {
      const target = memoryStore()
      await copyImage(source, target, { reference: tag })
      expect(missing(target, image)).toEqual([])
    }
    const before = await readFile(path)
    const files = await unpacked()
    expect([...files.keys()].filter((name) => name === 'index.json')).toHaveLength(1)
    const third = archive()
    await copyImage(source, third.repository('dev/app'), { reference: '2', tags: ['2'] })
    await third.finish()
    expect((await readFile(path)).equals(before)).toBe(true)
  })

  test('can be written to again after it was finished', async () => {
    const one = archive()
    await push(one.repository('a/b'), makeImage({ seed: 15 }), '1')
    await one.finish()
    await push(one.repository('a/b'), makeImage({ seed: 16 }), '2')
    await one.finish()
    const again = archive('source').repository('a/b')
    for (const tag of ['1', '2']) expect(await again.find(tag)).toBeDefined()
  })

  test('that is given up leaves what was there, and nothing else', async () => {
    await written([makeImage({ seed: 17 }), '1'])
    const before = await readFile(path)
    const one = archive()
    await push(one.repository('dev/app'), makeImage({ seed: 18 }), '2')
    await one.close()
    expect(await readdir(join(folder, 'made'))).toEqual(['images.tar'])
    expect((await readFile(path)).equals(before)).toBe(true)
  })

  test.each(['last', 'in the middle'])('is whole although a blob was given up, %s', async (where) => {
    const one = archive()
    const repository = one.repository('dev/app')
    const bytes = randomBytes(19, 5000)
    const upload = await begin(repository, describeBlob(bytes))
    const reason = new PromoteError('NETWORK', 'the source broke', { side: 'source' })
    const image = makeImage({ seed: 20 })
    if (where === 'last') await push(repository, image, 'v1')
    expect(await failure(upload.send(0, broken(bytes, 4000, reason)))).toBe(reason)
    if (where === 'in the middle') await push(repository, image, 'v1')
    await upload.cancel()
    await one.finish()
    const files = await unpacked()
    expect(files.size).toBe(image.blobs.size + 3 + (where === 'last' ? 0 : 1))
    expect([...files.keys()].some((name) => name.includes(describeBlob(bytes).digest.slice(7)))).toBe(false)
    const target = memoryStore()
    await copyImage(archive('source').repository('dev/app'), target)
    expect(missing(target, image)).toEqual([])
  })

  test('has blobs in it that came at the same time and broke in between', async () => {
    const one = archive()
    const repository = one.repository('')
    const contents = [1, 2, 3, 4].map((n) => randomBytes(20 + n, 200_000 + n))
    await Promise.all(
      contents.map(async (bytes) => {
        const upload = await begin(repository, describeBlob(bytes))
        const reason = new PromoteError('NETWORK', 'broke', { side: 'source', transient: true })
        await failure(upload.send(0, broken(bytes, 100_000, reason)))
        const offset = await upload.offset()
        await upload.send(offset, pieces(bytes.subarray(offset)))
      }),
    )
    await push(repository, makeImage(), 'v1')
    await one.finish()
    const files = await unpacked()
    for (const bytes of contents)
      expect(files.get(`blobs/${describeBlob(bytes).digest.replace(':', '/')}`)?.equals(bytes)).toBe(true)
  })

  test('that cannot be written is an error of the image, with the path', async () => {
    await writeFile(join(folder, 'made'), 'a file where a folder should be')
    const error = await failure(push(archive().repository(''), makeImage(), 'v1'))
    expect(error).toMatchObject({ code: 'IO', side: 'destination' })
    expect(error.message).toContain('made')
  })
})

describe('an archive of another tool', () => {
  const image = makeIndex({ seed: 30, layersEach: [400_000, 10] })
  const layout = Buffer.from('{"imageLayoutVersion":"1.0.0"}')
  const manifests = [{ ...entry(image.root), annotations: { 'org.opencontainers.image.ref.name': 'v1' } }]
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests }))
  const blobs: (readonly [name: string, bytes: Uint8Array])[] = [
    ...[...image.blobs].map(([digest, bytes]) => [`blobs/${digest.replace(':', '/')}`, bytes] as const),
    ...image.manifests.map(({ digest, bytes }) => [`blobs/${digest.replace(':', '/')}`, bytes] as const),
  ]

  async function make(how: { prefix?: string; last?: boolean; gzip?: boolean; links?: boolean } = {}): Promise<string> {
    const { prefix = '', last = false } = how
    const files = [...blobs]
    const own = [
      ['oci-layout', layout],
      ['index.json', index],
    ] as const
    if (last) files.push(...own)
    else files.unshift(...own)
    const out = pack()
    out.entry({ name: `${prefix}blobs/`, type: 'directory' })
    if (how.links) out.entry({ name: 'index.json', type: 'symlink', linkname: '/etc/passwd' })
    for (const [name, bytes] of files)
      out.entry({ name: `${prefix}${name}`, pax: { comment: 'x'.repeat(600) } }, Buffer.from(bytes))
    out.finalize()
    const bytes = await collect(out as unknown as AsyncIterable<Uint8Array>)
    const at = join(folder, 'theirs.tar')
    await writeFile(at, how.gzip ? gzipSync(bytes) : bytes)
    return at
  }

  test.each([
    ['with the index first', {}],
    ['with the index last', { last: true }],
    ['with ./ in front of names', { prefix: './' }],
    ['with a link that is passed by', { links: true }],
    ['compressed', { gzip: true }],
    ['compressed, with the index last', { gzip: true, last: true }],
  ])('%s is read', async (_what, how) => {
    const source = archive('source', await make(how))
    const target = memoryStore()
    await copyImage(source.repository(''), target)
    expect(missing(target, image)).toEqual([])
  })

  test('gives a compressed layer from any offset', async () => {
    const source = archive('source', await make({ gzip: true })).repository('')
    const [digest, bytes] = [...image.blobs].find(([, each]) => each.byteLength === 400_000) ?? []
    const blob = describeBlob(bytes ?? Buffer.alloc(0), digest)
    for (const offset of [0, 1, 300_000, 399_999, 400_000])
      expect((await collect(await source.blob(blob, offset))).equals(bytes?.subarray(offset) ?? Buffer.alloc(0))).toBe(
        true,
      )
  })

  test('that is not compressed is continued', async () => {
    const at = await make()
    const one = archive('destination', at)
    await push(one.repository('dev/app'), makeImage({ seed: 31 }), '2')
    await one.finish()
    const target = memoryStore()
    await copyImage(archive('source', at).repository(''), target)
    expect(missing(target, image)).toEqual([])
    expect(await archive('source', at).repository('dev/app').find('2')).toBeDefined()
  })

  test('that is compressed is not', async () => {
    const at = await make({ gzip: true })
    const error = await failure(push(archive('destination', at).repository(''), makeImage({ seed: 31 }), '2'))
    expect(error).toMatchObject({ code: 'UNSUPPORTED', side: 'destination' })
    expect(error.hint).toContain('gunzip')
  })

  test.each<[string, (at: string) => Promise<void>, string]>([
    ['is not there', (at) => rm(at), 'NOT_FOUND'],
    ['is empty', (at) => truncate(at), 'PROTOCOL'],
    ['is not a tar archive', (at) => writeFile(at, 'x'.repeat(2000)), 'PROTOCOL'],
    ['is cut off within a blob', (at) => truncate(at, 450_000), 'PROTOCOL'],
    ['is compressed and cut off', async (at) => writeFile(at, gzipSync(await readFile(at)).subarray(0, 200_000)), 'IO'],
    ['is compressed with zstd', (at) => writeFile(at, Buffer.from('28b52ffd00000000', 'hex')), 'UNSUPPORTED'],
    ['holds no layout', (at) => writeFile(at, Buffer.concat([makeHeader('x', 0), Buffer.alloc(1024)])), 'PROTOCOL'],
  ])('that %s is no source', async (_what, damage, code) => {
    const at = await make()
    await damage(at)
    const error = await failure(archive('source', at).repository('').resolve('v1'))
    expect(error).toMatchObject({ code, side: 'source' })
    expect(error.message).toContain('theirs.tar')
  })

  test('with bytes that are not what their digest says is not promoted', async () => {
    const at = await make()
    const bytes = await readFile(at)
    const damaged = bytes.indexOf(
      Buffer.from([...image.blobs.values()].find((each) => each.byteLength === 400_000) ?? []).subarray(0, 50),
    )
    bytes[damaged + 1000] = (bytes[damaged + 1000] ?? 0) ^ 1
    await writeFile(at, bytes)
    const failing = copyImage(archive('source', at).repository(''), memoryStore())
    await expect(failing).rejects.toMatchObject({ code: 'DIGEST_MISMATCH', side: 'source' })
  })
})

describe('a header', () => {
  const cursorOf = (bytes: Buffer): Cursor => {
    let position = 0
    return {
      get position() {
        return position
      },
      take: async (count) => {
        position += count
        return bytes.subarray(position - count, position)
      },
      seek: async (to) => {
        position = to
      },
    }
  }
  const entries = async (bytes: Buffer): Promise<TarEntry[]> => {
    const found: TarEntry[] = []
    for await (const each of readEntries(cursorOf(bytes))) found.push(each)
    return found
  }

  test.each([
    ['of a file of 20 GiB', 'blobs/sha256/a', 20 * 1024 ** 3],
    ['of a file just within 8 GiB', 'x', 8 ** 11 - 1],
    ['of a long name', `blobs/sha512/${'a'.repeat(128)}`, 5],
    ['of a name of 100 bytes', 'n'.repeat(100), 0],
  ])('%s is read as it was written, by others too', async (_what, name, size) => {
    const header = makeHeader(name, size)
    expect(header.length % 512).toBe(0)
    expect(await entries(header)).toEqual([{ name, size, header: 0, content: header.length }])
    const theirs = new Promise((resolve, reject) => {
      const reader = extract()
      reader.on('entry', ({ name, size }) => resolve({ name, size })).on('error', reject)
      reader.write(header)
    })
    expect(await theirs).toEqual({ name, size })
  })

  test('in the ways of GNU tar is read', async () => {
    const long = 'd/'.repeat(80)
    const gnu = Buffer.concat([makeHeader('x', 0).fill('L', 156, 157), Buffer.alloc(0)])
    const name = Buffer.alloc(512)
    name.write(long)
    sized(gnu, Buffer.from(`${long.length.toString(8).padStart(11, '0')}\0`))
    const big = makeHeader('short', 0)
    const binary = Buffer.alloc(12)
    binary.writeUInt8(0x80, 0)
    binary.writeBigUInt64BE(9n * 1024n ** 3n, 4)
    sized(big, binary)
    expect(await entries(Buffer.concat([gnu, name, big]))).toMatchObject([{ name: long, size: 9 * 1024 ** 3 }])
  })

  test('that is damaged is an error', async () => {
    const header = makeHeader('x', 0)
    header[0] = 0x79
    await expect(entries(header)).rejects.toMatchObject({ code: 'PROTOCOL' })
    const endless = sized(makeHeader('x', 0).fill('x', 156, 157), Buffer.from('77777777777\0'))
    await expect(entries(endless)).rejects.toMatchObject({ code: 'PROTOCOL' })
  })

  function sized(header: Buffer, size: Buffer): Buffer {
    size.copy(header, 124)
    header.fill(' ', 148, 156)
    const sum = header.reduce((total, byte) => total + byte, 0)
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
    return header
  }
})

test('a manifest that was put twice is in the archive once', async () => {
  const image = makeImage({ seed: 33 })
  const one = archive()
  await push(one.repository(''), image, 'v1')
  await one.repository('').putManifest(parsed(image), 'v2')
  await one.finish()
  expect((await unpacked()).size).toBe(image.blobs.size + 3)
})
