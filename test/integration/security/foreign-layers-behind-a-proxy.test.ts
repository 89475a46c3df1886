import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { withForeign } from '../../../src/registry/external-layers.ts'
import { isPublic } from '../../../src/transport/public-address.ts'
import { type Authority, authority, type Identity, type Lab, openLab, type Proxied } from '../../support/http-server.ts'
import { collect } from '../../support/lab.ts'
import { memoryStore } from '../../support/memory-store.ts'
import { describeBlob } from '../../support/target-contract.ts'

/** Whoever can push an image names addresses for its layers, and only the proxy knows what a name leads to. */

const BYTES = Buffer.from('the bytes of a layer')
const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'
const ALLOWED = 'layers.test'

let ca: Authority
let leaf: Identity
let lab: Lab
let proxy: Proxied
let port: string
/** What the host of layers answers; undefined: the layer. */
let location: string | undefined
beforeAll(async () => {
  ca = await authority('layers')
  leaf = await ca.issue({ names: [ALLOWED, 'internal.corp', '127.0.0.1'] })
})
beforeEach(async () => {
  location = undefined
  const first = openLab()
  proxy = await first.proxy()
  lab = openLab({ HTTPS_PROXY: proxy.url })
  lab.after(first.close)
  const served = await lab.serve((_, response) => {
    if (location === undefined) response.end(BYTES)
    else response.writeHead(302, { location }).end()
  }, leaf)
  port = served.url.port
})
afterEach(() => lab.close())

/** @param hosts of `include-foreign`. @returns the bytes, if they came. */
async function fetchLayer(url: string, hosts?: readonly string[]): Promise<string | undefined> {
  const network = lab.network({ ca: ca.pem, isAllowed: isPublic, hosts, retries: 0 })
  const store = withForeign(memoryStore({ side: 'source' }), network.send, { side: 'source', context: lab.context })
  const urls = [url.replace('PORT', port)]
  const layer = store.blob({ ...describeBlob(BYTES), mediaType: FOREIGN, urls }).then(collect)
  return layer.then(String, () => undefined)
}

const INSIDE = [
  'https://internal.corp:PORT/layer',
  'https://localhost:PORT/layer',
  'https://metadata.google.internal/computeMetadata/v1/',
  'https://169.254.169.254/latest/meta-data',
  'https://127.0.0.1:PORT/layer',
  'https://[::ffff:127.0.0.1]:PORT/layer',
  'https://2130706433:PORT/layer',
  'https://kubernetes.default.svc/api',
  'http://internal.corp:PORT/layer',
]

describe('behind a proxy', () => {
  test.each([...INSIDE, `https://${ALLOWED}:PORT/layer`])(
    'nothing is asked for unless its host is named: %s',
    async (url) => {
      expect(await fetchLayer(url)).toBeUndefined()
      expect(proxy.targets).toEqual([])
    },
  )

  test.each([
    ...INSIDE,
    `https://${ALLOWED}.evil.example:PORT/`,
    `https://evil.${ALLOWED}:PORT/`,
    `https://${ALLOWED}@internal.corp:PORT/`,
    `https://internal.corp:PORT/#${ALLOWED}`,
  ])('another host than the named one is not asked: %s', async (url) => {
    expect(await fetchLayer(url, [ALLOWED])).toBeUndefined()
    expect(proxy.targets).toEqual([])
  })

  test.each(INSIDE)('a named host leads nowhere else by a redirect: %s', async (url) => {
    location = url.replace('PORT', port)
    expect(await fetchLayer(`https://${ALLOWED}:PORT/layer`, [ALLOWED])).toBeUndefined()
    expect(proxy.targets).toEqual([`CONNECT ${ALLOWED}:${port}`])
  })

  test('a named address inside is not asked either', async () => {
    expect(await fetchLayer('https://127.0.0.1:PORT/layer', ['127.0.0.1'])).toBeUndefined()
    expect(await fetchLayer('https://10.0.0.1/layer', ['10.0.0.1'])).toBeUndefined()
    expect(proxy.targets).toEqual([])
  })

  test('the named host is asked', async () => {
    expect(await fetchLayer(`https://${ALLOWED}:PORT/layer`, [ALLOWED])).toBe(String(BYTES))
    expect(proxy.targets).toEqual([`CONNECT ${ALLOWED}:${port}`])
  })
})
