import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { digestOf } from '../../../src/oci/digest.ts'
import { options } from '../../bundle/sides.ts'
import { run } from '../../bundle/troubleshooting/run.ts'
import { makeImage, seedImage } from '../../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../../support/cluster/plain.ts'

/** Promise: no text of a server becomes a header of ours; a bad one is a bad answer and no defect. */

const EVIL = '\r\nX-Evil: 1'
let source: EmbeddedRegistry
let destination: EmbeddedRegistry
let guarded: EmbeddedRegistry
beforeAll(async () => {
  const access = { kind: 'token', user: 'robot', password: 'robot-password' } as const
  ;[source, destination, guarded] = await Promise.all([startRegistry(), startRegistry(), startRegistry({ access })])
  for (const each of [source, guarded]) seedImage(each, 'dev/app', makeImage({ seed: 5 }), '1')
})
afterAll(() => Promise.all([source, destination, guarded].map((each) => each.close())))

const TYPE = 'application/vnd.oci.image.manifest.v1+json'
const empty = { digest: digestOf(Buffer.from('{}')), size: 2 }

test.each<[string, object]>([
  ['of the manifest', { mediaType: TYPE + EVIL }],
  ['of the manifest, with a line feed alone', { mediaType: `${TYPE}\nX-Evil: 1` }],
  ['of the manifest, with a zero byte', { mediaType: `${TYPE}\u0000` }],
  ['of the manifest, with characters that no header has', { mediaType: 'application/日本+json' }],
  ['of the config', { mediaType: TYPE, config: { mediaType: `a/b${EVIL}`, ...empty } }],
  ['of a layer', { mediaType: TYPE, layers: [{ mediaType: `a/b${EVIL}`, ...empty }] }],
])('a media type %s', async (_, members) => {
  const body = JSON.stringify({
    schemaVersion: 2,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...empty },
    layers: [],
    ...members,
  })
  const headers = { 'content-type': TYPE, 'docker-content-digest': digestOf(Buffer.from(body)) }
  const fault = source.faults.add({
    match: { path: /\/manifests\//, method: ['GET', 'HEAD'] },
    do: { kind: 'status', status: 200, headers, body },
  })
  const given = { images: 'dev/app:1=prod/app:1', retries: '0' }
  const { error } = await run(options({ registry: source.url.origin }, { registry: destination.url.origin }, given))
  fault.remove()
  expect(error).toMatchObject({ code: 'PROTOCOL', side: 'source' })
  expect(destination.requests.filter(({ method }) => method === 'PUT')).toEqual([])
})

test.each([`token${EVIL}`, 'token\nx', 'tøken\u{1f600}'])('a token of a token service: %j', async (token) => {
  const fault = guarded.faults.add({
    match: { path: /^\/token/ },
    do: {
      kind: 'status',
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token }),
    },
  })
  const side = { registry: guarded.url.origin, username: 'robot', password: 'robot-password' }
  const given = { images: 'dev/app:1=prod/app:1', retries: '0' }
  const { error } = await run(options(side, { registry: destination.url.origin }, given))
  fault.remove()
  expect(error).toMatchObject({ code: 'PROTOCOL', side: 'source' })
  expect(error?.message).not.toContain('token\n')
})
