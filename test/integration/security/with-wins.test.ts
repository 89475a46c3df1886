import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { chooseHost } from '../../../src/host/run-promotion.ts'
import { collect, type Env } from '../../../src/inputs/collect.ts'
import { parse } from '../../../src/inputs/parse.ts'
import { asStep } from '../../bundle/secrets/hosts.ts'
import { recordStreams } from '../../unit/host/sample.ts'

/** Promise: a step that can set variables for later ones moves no credential of theirs, and nothing else that `with:` says. */

const asked: (string | undefined)[] = []
const evil = createServer(({ headers }, response) => {
  asked.push(headers.authorization)
  response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
})
beforeAll(() => new Promise<void>((done) => evil.listen(0, '127.0.0.1', done)))
afterAll(() => new Promise((done) => evil.close(done)))

test('a registry that an earlier step has written is not asked, and the log says so once', async () => {
  const registry = `http://127.0.0.1:${(evil.address() as AddressInfo).port}`
  const given = {
    images: 'a/b:1=c/d:1',
    'source-registry': 'http://127.0.0.1:1',
    'destination-registry': 'http://127.0.0.1:1',
    'destination-token': 'production-token-0123456789',
    retries: '0',
  }
  const run = await asStep(given, { IMAGE_PROMOTE_DESTINATION_REGISTRY: registry, IMAGE_PROMOTE_SOURCE_CA: '/x' })
  expect([run.code, asked]).toEqual([1, []])
  const warnings = run.lines.filter((line) => line.startsWith('::warning::IMAGE_PROMOTE_'))
  expect(warnings).toEqual([expect.stringMatching(/DESTINATION_REGISTRY, IMAGE_PROMOTE_SOURCE_CA: ignored/)])
})

/** What the run of a step would do. */
async function configOf(argv: readonly string[], more: Env) {
  const env = { GITHUB_ACTIONS: 'true', ...more }
  const host = await chooseHost(argv, env, recordStreams())
  const collected = collect(argv, env, () => '')
  return { host, ...collected, config: parse(collected, host, host.secrets, () => '') }
}
const SIDES = { 'INPUT_SOURCE-REGISTRY': 'a.example', 'INPUT_DESTINATION-REGISTRY': 'b.example' }

test.each<Env>([
  { IMAGE_PROMOTE_DESTINATION_INSECURE_SKIP_TLS_VERIFY: 'true' },
  { IMAGE_PROMOTE_IMAGES_FILE: '/tmp/images' },
  { IMAGE_PROMOTE_OVERWRITE: 'always', IMAGE_PROMOTE_ADDITIONAL_TAGS: 'latest' },
  { IMAGE_PROMOTE_IMAGES: 'evil/app:1=prod/app:1' },
])('the inputs alone count: %j', async (env) => {
  const inputs = { INPUT_IMAGES: 'dev/app:1=prod/app:1', INPUT_OVERWRITE: 'never', ...SIDES }
  const { config } = await configOf([], { ...inputs, ...env })
  expect(config).toEqual((await configOf([], inputs)).config)
})

test('a run: step is a command line, with its options and words', async () => {
  const sides = ['--source-registry', 'a.example', '--destination-registry', 'b.example']
  const argv = [...sides, '--output', 'json', '--', 'dev/app:1=prod/app:1']
  const { host, config } = await configOf(argv, { INPUT_OVERWRITE: 'always', IMAGE_PROMOTE_OVERWRITE: 'never' })
  expect([config.output, config.overwrite, host.kind, host.spell('jobs')]).toEqual([
    'json',
    'never',
    'github',
    '--jobs',
  ])
})
