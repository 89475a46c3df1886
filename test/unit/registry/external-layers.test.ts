import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import type { Target } from '../../../src/copy/store.ts'
import { openNetwork } from '../../../src/http/client.ts'
import type { Descriptor } from '../../../src/oci/manifest.ts'
import { withForeign } from '../../../src/registry/external-layers.ts'
import { isPublic } from '../../../src/transport/public-address.ts'
import { makeCa } from '../../support/cluster/certificates.ts'
import { listen, stop } from '../../support/cluster/plain.ts'
import { randomBytes } from '../../support/cluster/storage.ts'
import { collect, failure } from '../../support/lab.ts'
import { memoryStore } from '../../support/memory-store.ts'
import { openScene, type Scene } from '../../support/scene.ts'
import { describeBlob } from '../../support/target-contract.ts'

const BYTES = randomBytes(90, 300_000)
const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'

let ca: Awaited<ReturnType<typeof makeCa>>
let scene: Scene
beforeAll(async () => {
  ca = await makeCa('layers')
})
beforeEach(() => {
  scene = openScene()
})
afterEach(() => scene.close())

type Asked = { url: string; range: string | undefined; authorization: string | undefined }

/** A host of layers, and a store beside it that has none of them. */
async function place(
  how: 'ranges' | 'whole' | 'wrong' | 'nothing' = 'ranges',
  isAllowed: (address: string) => boolean = () => true,
) {
  const asked: Asked[] = []
  const server = await listen(
    (request, response) => {
      const { range, authorization } = request.headers
      asked.push({ url: request.url ?? '', range, authorization })
      const from = how === 'ranges' ? Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0) : 0
      const body = how === 'wrong' ? Buffer.concat([BYTES, BYTES]) : BYTES.subarray(from)
      const headers = from > 0 ? { 'content-range': `bytes ${from}-${BYTES.length - 1}/${BYTES.length}` } : {}
      response
        .writeHead(how === 'nothing' ? 404 : from > 0 ? 206 : 200, { 'content-length': body.length, ...headers })
        .end(body)
    },
    await ca.issue({ names: ['127.0.0.1'] }),
  )
  scene.after(() => stop(server))
  const { context } = scene.lab
  const options = {
    side: 'source',
    insecureSkipTlsVerify: false,
    stallTimeout: 5000,
    retries: 0,
    ca: ca.cert,
    isAllowed,
  } as const
  const network = openNetwork(options, context)
  scene.after(network.close)
  const address = server.address()
  const url = `https://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/layer?x=1`
  const store = memoryStore({ side: 'source' })
  return { asked, url, store, target: withForeign(store, network.send, { side: 'source', context }) as Target }
}

function layer(...urls: string[]): Descriptor {
  return { ...describeBlob(BYTES), mediaType: FOREIGN, urls }
}

describe('a non-distributable layer', () => {
  test('that the registry lacks comes from its address, without a credential', async () => {
    const { asked, url, target } = await place()
    expect((await collect(await target.blob(layer(url)))).equals(BYTES)).toBe(true)
    expect(asked).toEqual([{ url: '/layer?x=1', range: undefined, authorization: undefined }])
  })

  test.each(['ranges', 'whole'] as const)('goes on where it broke off, at a server of %s', async (how) => {
    const { url, target } = await place(how)
    expect((await collect(await target.blob(layer(url), 100_000))).equals(BYTES.subarray(100_000))).toBe(true)
  })

  test('that the registry has comes from there', async () => {
    const { asked, url, store, target } = await place()
    store.blobs.set(describeBlob(BYTES).digest, BYTES)
    expect((await collect(await target.blob(layer(url)))).equals(BYTES)).toBe(true)
    expect(asked).toEqual([])
  })

  test('comes from the first address that has it', async () => {
    const { url, target } = await place()
    const layers = layer('no URL at all', 'ftp://example.com/layer', url)
    expect((await collect(await target.blob(layers))).equals(BYTES)).toBe(true)
  })

  test('that is longer than its manifest says is not read to the end', async () => {
    const { url, target } = await place('wrong')
    const error = await failure(target.blob(layer(url)).then(collect))
    expect(error).toMatchObject({ code: 'DIGEST_MISMATCH', side: 'source' })
  })

  test('that is nowhere is an error that names the address', async () => {
    const { url, target } = await place('nothing')
    const error = await failure(target.blob(layer(url)))
    expect(error).toMatchObject({ code: 'NOT_FOUND', side: 'source' })
    expect(error.message).toContain(new URL(url).host)
    expect(error.message).not.toContain('x=1')
  })

  test('at an internal address is not fetched', async () => {
    const { asked, url, target } = await place('ranges', isPublic)
    expect(await failure(target.blob(layer(url)))).toMatchObject({ code: 'UNSUPPORTED', side: 'source' })
    expect(asked).toEqual([])
  })

  test('at more addresses than mirrors have is asked for at a few of them', async () => {
    const { asked, url, target } = await place('nothing')
    await failure(target.blob(layer(...Array.from({ length: 50 }, (_, i) => `${url}&n=${i}`))))
    expect(asked).toHaveLength(8)
  })
})

test('an ordinary layer with an address is not fetched from there', async () => {
  const { asked, url, target } = await place()
  const ordinary = { ...layer(url), mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip' }
  expect(await failure(target.blob(ordinary))).toMatchObject({ code: 'NOT_FOUND', side: 'source' })
  expect(asked).toEqual([])
})
