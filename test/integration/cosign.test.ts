import { execFile, spawnSync } from 'node:child_process'
import { generateKeyPairSync, type KeyPairKeyObjectResult } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { type Folder, temporary, type Variables } from '../bundle/run.ts'
import { at, options } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { makeImage, makeIndex, seedImage } from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { rsa } from '../support/signed.ts'
import { seedSigned, textOf } from '../support/signed-layout.ts'

/**
 * cosign verifies what a promotion signed, and a promotion verifies what cosign signs now. Where it is on the PATH;
 * COSIGN=required makes its absence a failure.
 */

jest.setTimeout(120_000)

// Null where there is no such program.
const version = spawnSync('cosign', ['version', '--json'], { encoding: 'utf8' }).stdout ?? ''
if (version === '' && process.env.COSIGN === 'required')
  throw new Error('cosign is missing: go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3')
const withCosign = version === '' ? describe.skip : describe

let from: EmbeddedRegistry
let to: EmbeddedRegistry
let files: Folder
beforeAll(async () => {
  ;[from, to] = await Promise.all([startRegistry(), startRegistry()])
  files = temporary()
})
afterAll(async () => {
  files.remove()
  await Promise.all([from.close(), to.close()])
})

const PLAIN_HTTP = ['--allow-insecure-registry', '--allow-http-registry']
const RECORD = 'https://github.com/OWNER/image-promote/promotion/v1'

/** @returns its exit code, and what it said when that is not 0. */
function cosign(args: readonly string[], env: Variables = {}): Promise<string> {
  const { PATH = '' } = process.env
  const more = { PATH, HOME: files.path, COSIGN_PASSWORD: '', ...env }
  return new Promise((done) => {
    execFile('cosign', args, { env: more, encoding: 'utf8' }, (error, _, stderr) => done(error === null ? '0' : stderr))
  })
}

const verify = (key: string, image: string) =>
  cosign(['verify', '--key', key, '--insecure-ignore-tlog', ...PLAIN_HTTP, `${to.host}/${image}`])
const verifyRecord = (key: string, image: string) =>
  cosign([
    'verify-attestation',
    '--type',
    RECORD,
    '--key',
    key,
    '--insecure-ignore-tlog',
    ...PLAIN_HTTP,
    `${to.host}/${image}`,
  ])

function pemOf({ publicKey, privateKey }: KeyPairKeyObjectResult): readonly [key: string, publicKey: string] {
  return [
    privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    publicKey.export({ format: 'pem', type: 'spki' }).toString(),
  ]
}
const promote = (name: string, more: Variables) =>
  within(options(at(from), at(to), more), [`dev/${name}:1=prod/${name}:1`])

const KEYS: readonly (readonly [string, KeyPairKeyObjectResult])[] = [
  ['p256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
  ['rsa', rsa()],
  ['ed25519', generateKeyPairSync('ed25519')],
]

withCosign('a record of record-file', () => {
  const offline = ['--use-signing-config=false', '--tlog-upload=false', '--yes']
  let key: string
  let keys: readonly [string, string]
  let digest: string
  beforeAll(async () => {
    keys = pemOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }))
    key = `${files.path}/own.key`
    const prefix = key.replace('.key', '')
    await cosign(['import-key-pair', '--key', files.file('own.pem', keys[0]), '--output-key-prefix', prefix, '--yes'])
    digest = seedImage(from, 'dev/own', makeImage({ seed: 40 }), '1')
    await promote('own', { 'record-file': `${files.path}/r/` })
  })

  test('is attached by cosign attest, which takes the predicate', async () => {
    const given = ['--predicate', `${files.path}/r/1.predicate.json`, '--type', RECORD, '--key', key]
    expect(await cosign(['attest', ...given, ...offline, ...PLAIN_HTTP, `${to.host}/prod/own@${digest}`])).toBe('0')
    expect(await verifyRecord(files.file('own.pub', keys[1]), 'prod/own:1')).toBe('0')
    const { report } = await within(options({}, at(to), { history: 'prod/own:1', 'signer-key': keys[1] }), [])
    expect(report.images[0]?.history).toMatchObject([{ signer: 'signer-key', action: 'promote' }])
  })

  test('is signed by cosign attest-blob, which takes the statement', async () => {
    const [statement, bundle] = [`${files.path}/r/1.statement.json`, `${files.path}/own.bundle`]
    const given = ['--statement', statement, '--bundle', bundle, '--key', key]
    expect(await cosign(['attest-blob', ...given, ...offline])).toBe('0')
    const { payload } = JSON.parse(readFileSync(bundle, 'utf8')).dsseEnvelope
    const signed = JSON.parse(Buffer.from(payload, 'base64').toString())
    expect(signed).toEqual(JSON.parse(readFileSync(statement, 'utf8')))
  })
})

withCosign(`cosign ${/"gitVersion":\s*"(v[\d.]+)/.exec(version)?.[1] ?? ''} verifies`, () => {
  test.each(KEYS)('the record and the image signature by a key %s, of an index and its images', async (name, pair) => {
    const [key, publicKey] = pemOf(pair)
    const pub = files.file(`${name}.pub`, publicKey)
    const index = makeIndex({ seed: name.length })
    seedImage(from, `dev/${name}`, index, '1')
    const { code } = await promote(name, { 'sign-key': key, sign: 'both' })
    expect(code).toBe(0)
    expect(await verifyRecord(pub, `prod/${name}:1`)).toBe('0')
    for (const { digest } of index.manifests)
      expect([digest, await verify(pub, `prod/${name}@${digest}`)]).toEqual([digest, '0'])
  })

  test.each([
    ['.sig alone', 'cos-oldrsa', 'imp-rsa.pub'],
    ['a bundle', 'cos-new', 'cosign.pub'],
  ])('the signature of the build beside the record: %s', async (_, tag, build) => {
    const [key, publicKey] = pemOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }))
    const [own, theirs] = [files.file(`${tag}.pub`, publicKey), files.file(build, textOf(build))]
    seedSigned(from, `dev/${tag}`, tag)
    expect((await promote(tag, { 'sign-key': key })).code).toBe(0)
    expect(await verify(theirs, `prod/${tag}:1`)).toBe('0')
    expect(await verifyRecord(own, `prod/${tag}:1`)).toBe('0')
  })
})

withCosign('what cosign signs now is verified', () => {
  test.each(['true', 'false'])('by a key, as a bundle: %s', async (bundle) => {
    const name = `signed-${bundle}`
    const root = seedImage(from, `dev/${name}`, makeImage({ seed: 77 }), '1')
    expect(await cosign(['generate-key-pair', '--output-key-prefix', `${files.path}/${name}`])).toBe('0')
    const offline = ['--tlog-upload=false', '--use-signing-config=false', `--new-bundle-format=${bundle}`]
    const image = `${from.host}/dev/${name}@${root}`
    expect(await cosign(['sign', '-y', '--key', `${files.path}/${name}.key`, ...offline, ...PLAIN_HTTP, image])).toBe(
      '0',
    )
    const { code, report } = await promote(name, { 'signer-key': `${files.path}/${name}.pub` })
    expect([code, report.images[0]?.verified]).toMatchObject([0, [{ by: 'signer-key', kind: 'signature' }]])
  })
})
