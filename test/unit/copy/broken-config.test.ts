import { expect, test } from '@jest/globals'
import { makeImage } from '../../support/cluster/image.ts'
import { copyImage, missing } from '../../support/copy.ts'
import { memoryStore } from '../../support/memory-store.ts'

const IMAGE = makeImage({ platform: 'linux/arm64', layers: 1 })
const config = [...IMAGE.blobs].find(([, bytes]) => bytes[0] === '{'.charCodeAt(0))?.[0]

function sourceThatBreaks(times: number) {
  const source = memoryStore({ side: 'source' })
  source.seed(IMAGE, 'v1')
  source.break({ on: 'read', after: 10, times, ...(config && { digest: config }) })
  return source
}

test('the config that tells the platform is read again when it breaks off', async () => {
  const target = memoryStore()
  await copyImage(sourceThatBreaks(2), target, { platforms: ['linux/arm64'], referrers: false })
  expect(missing(target, IMAGE)).toEqual([])
})

test('a config that breaks off every time is an error of the source', async () => {
  const failing = copyImage(sourceThatBreaks(100), memoryStore(), { platforms: ['linux/arm64'], referrers: false })
  await expect(failing).rejects.toMatchObject({ code: 'NETWORK', side: 'source' })
})
