import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { promoted } from '../../bundle/run.ts'
import { differences, options, variables } from '../../bundle/sides.ts'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../../support/cluster/plain.ts'

/** A name server that fails now and then. The process itself is told so: nothing else here answers for names. */

// Children start slowly where many things run at once.
jest.setTimeout(30_000)

const IMAGE = makeImage({ layers: [3_000_000, 2_000_000, 1000], seed: 31 })
let source: EmbeddedRegistry
let destination: EmbeddedRegistry

beforeAll(async () => {
  ;[source, destination] = await Promise.all([startRegistry(), startRegistry()])
  seedImage(source, 'dev/app', IMAGE, 'v1')
})
afterAll(() => Promise.all([source.close(), destination.close()]))

/** @param failing which lookups of the process fail, counted from 0. */
function resolver(code: string, failing: string): string {
  const text = `import dns from 'node:dns'
    const lookup = dns.lookup
    let count = 0
    dns.lookup = (name, options, callback) => {
      const n = count++
      if (!(${failing})) return lookup(name, options, callback)
      process.nextTick(callback, Object.assign(new Error('getaddrinfo ${code} ' + name), { code: '${code}' }))
    }`
  return `--import=data:text/javascript;base64,${Buffer.from(text).toString('base64')}`
}

const named = ({ url }: EmbeddedRegistry) => ({ registry: `http://localhost:${url.port}` })
const run = (to: string, NODE_OPTIONS: string) =>
  promoted(['--', `dev/app:v1=${to}:v1`], {
    env: { ...variables(options(named(source), named(destination))), NODE_OPTIONS },
  })

test('a name that cannot be looked up just now (EAI_AGAIN) is looked up again, by both clients', async () => {
  const { code, report } = await run('prod/again', resolver('EAI_AGAIN', 'n % 3 === 0'))
  expect([code, report.images[0]?.status]).toEqual([0, 'promoted'])
  expect(await differences(destination, 'prod/again', IMAGE)).toEqual([])
})

test('a name that was known and is not any more (ENOTFOUND) is a name server that fails', async () => {
  const { code } = await run('prod/known', resolver('ENOTFOUND', 'n > 3 && n % 3 === 0'))
  expect(code).toBe(0)
  expect(await differences(destination, 'prod/known', IMAGE)).toEqual([])
})

test('a name that never was known fails at once, and the error says which', async () => {
  const { code, stderr } = await run('prod/never', resolver('ENOTFOUND', 'true'))
  expect(code).toBe(1)
  expect(stderr).toContain('the name localhost is unknown (ENOTFOUND)')
})
