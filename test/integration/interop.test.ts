import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { realIndex } from '../bundle/real-image.ts'
import { type Folder, temporary } from '../bundle/run.ts'
import { byPassword, byToken, differences, options, type SideOptions, tagOf } from '../bundle/sides.ts'
import { within } from '../bundle/within.ts'
import { type EmbeddedCluster, startCluster } from '../support/cluster/cluster.ts'
import {
  type BuiltImage,
  describe as descriptorOf,
  fallbackTag,
  makeArtifact,
  makeCosign,
  makeImage,
  seedImage,
} from '../support/cluster/image.ts'
import { type EmbeddedRegistry, startRegistry } from '../support/cluster/plain.ts'
import { hasDockerRegistry, type RealRegistry, startDockerRegistry } from '../support/docker-registry.ts'

/**
 * Promotions between real registries (Debian's docker-registry, distribution 2.8), and what skopeo makes of the result.
 * REAL_REGISTRIES=required makes a missing program a failure.
 */

// Children start slowly where many things run at once.
jest.setTimeout(30_000)

const run = promisify(execFile)
async function skopeo(argv: readonly string[], cwd: string): Promise<Buffer> {
  const { stdout } = await run('skopeo', ['--tmpdir', '.', '--insecure-policy', ...argv], {
    cwd,
    encoding: 'buffer',
    maxBuffer: 16 << 20,
  })
  return stdout
}

async function hasSkopeo(): Promise<boolean> {
  const found = await run('skopeo', ['--version']).then(
    () => true,
    () => false,
  )
  if (!found && process.env.REAL_REGISTRIES === 'required') throw new Error('skopeo is missing: apt-get install skopeo')
  return found
}

/** A distribution v3 on the PATH is welcome, and nobody's duty. */
async function distribution3(): Promise<string[]> {
  const version = await run('registry', ['--version']).catch(() => ({ stdout: '' }))
  return /distribution\/v3\b/.test(version.stdout) ? ['registry'] : []
}

const missing = [...(hasDockerRegistry() ? [] : ['docker-registry']), ...((await hasSkopeo()) ? [] : ['skopeo'])]

if (missing.length > 0)
  test(`nothing was tried with real registries: no ${missing.join(' and no ')} here`, () => undefined)
else {
  describe('docker-registry and skopeo', () => interop(undefined))
  for (const binary of await distribution3()) describe('distribution v3 and skopeo', () => interop(binary))
}

/** @param binary default: Debian's. */
function interop(binary: string | undefined): void {
  let first: RealRegistry
  let second: RealRegistry
  let plain: EmbeddedRegistry
  let cluster: EmbeddedCluster
  let index: BuiltImage
  let folder: Folder
  const docker = makeImage({ seed: 201, docker: true })

  beforeAll(async () => {
    folder = temporary()
    const started = await Promise.all([
      startDockerRegistry(binary),
      startDockerRegistry(binary),
      startRegistry(),
      startCluster(),
      realIndex(),
    ])
    ;[first, second, plain, cluster, index] = started as [
      RealRegistry,
      RealRegistry,
      EmbeddedRegistry,
      EmbeddedCluster,
      BuiltImage,
    ]
    seedImage(plain, 'team/app', index, 'v1')
    seedImage(plain, 'team/docker', docker, 'v1')
    await expectPromoted(at(plain), at(first), ['team/app:v1', 'team/docker:v1'])
  })

  afterAll(async () => {
    await Promise.all([first, second, plain, cluster].map((each) => each.close()))
    folder.remove()
    expect([...plain.violations, ...cluster.unexpected]).toEqual([])
  })

  const at = ({ url }: Readonly<{ url: URL }>): SideOptions => ({ registry: url.origin })

  async function expectPromoted(from: SideOptions, to: SideOptions, lines: readonly string[], status = 'promoted') {
    const { code, warnings, report } = await within(options(from, to), lines)
    expect([code, warnings]).toEqual([0, []])
    expect(report.images.map((row) => row.status)).toEqual(lines.map(() => status))
    return report
  }

  const raw = (host: string, image: string) =>
    skopeo(['inspect', '--raw', '--tls-verify=false', `docker://${host}/${image}`], folder.path)

  test('what came from the embedded registry is byte for byte what skopeo reads', async () => {
    expect(await raw(first.host, 'team/app:v1')).toEqual(Buffer.from(index.root.bytes))
    expect(await raw(first.host, 'team/docker:v1')).toEqual(Buffer.from(docker.root.bytes))
    for (const { digest, bytes } of index.manifests)
      expect(await raw(first.host, `team/app@${digest}`)).toEqual(Buffer.from(bytes))
  })

  test('from one to another, and a second time, when nothing is sent', async () => {
    const lines = ['team/app:v1=prod/app:v1', 'team/docker:v1=prod/docker:v1']
    await expectPromoted(at(first), at(second), lines)
    for (const name of ['app', 'docker'])
      expect(await raw(second.host, `prod/${name}:v1`)).toEqual(await raw(first.host, `team/${name}:v1`))
    const again = await expectPromoted(at(first), at(second), lines, 'unchanged')
    expect(again.images.map(({ bytes }) => bytes.copied)).toEqual([0, 0])
  })

  test('within one registry layers are mounted', async () => {
    const report = await expectPromoted(at(first), at(first), ['team/app:v1=mounted/app:v1'])
    const manifests = index.manifests.reduce((sum, { bytes }) => sum + bytes.length, 0)
    expect(report.images[0]?.bytes).toMatchObject({ copied: manifests, present: 0 })
    expect(await raw(first.host, 'mounted/app:v1')).toEqual(Buffer.from(index.root.bytes))
  })

  test('skopeo copies the result, with all of its platforms and under its digest', async () => {
    await expectPromoted(at(first), at(second), ['team/app:v1=copied/app:v1'])
    const layout = join(folder.path, 'layout')
    const how = ['--all', '--preserve-digests', '--src-tls-verify=false']
    await skopeo(['copy', ...how, `docker://${second.host}/copied/app:v1`, `oci:${layout}:v1`], folder.path)
    const { manifests } = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'))
    expect(manifests).toMatchObject([{ digest: index.root.digest }])
    for (const digest of index.blobs.keys())
      expect(readFileSync(join(layout, 'blobs', 'sha256', digest.slice('sha256:'.length)))).toEqual(
        index.blobs.get(digest),
      )
  })

  test('into an OpenShift cluster and out of it again', async () => {
    const developer = byPassword(cluster)
    await expectPromoted(at(first), developer, ['team/app:v1=prod/app:v1'])
    expect(await differences(cluster, 'prod/app', index)).toEqual([])
    expect(tagOf(cluster, 'prod/app', 'v1')).toBe(index.root.digest)
    await expectPromoted(developer, at(second), ['prod/app:v1=back/app:v1'])
    expect(await raw(second.host, 'back/app:v1')).toEqual(Buffer.from(index.root.bytes))
  })

  test('skopeo reads what was promoted into the cluster', async () => {
    await expectPromoted(at(first), byToken(cluster, cluster.token('developer')), ['team/app:v1=test/read:v1'])
    const creds = ['--creds', `developer:${cluster.token('developer')}`, '--tls-verify=false']
    const address = `docker://${cluster.registryHost}/test/read:v1`
    expect(await skopeo(['inspect', '--raw', ...creds, address], folder.path)).toEqual(Buffer.from(index.root.bytes))
  })

  test('what is attached stays attached where there is no referrers API, and comes back', async () => {
    const image = makeImage({ seed: 202 })
    const sbom = makeArtifact({ seed: 203, subject: descriptorOf(image.root) })
    const cosign = makeCosign(image.root.digest)
    seedImage(plain, 'signed/app', image, 'v1')
    seedImage(plain, 'signed/app', sbom)
    seedImage(plain, 'signed/app', cosign.image, cosign.tag)
    await expectPromoted(at(plain), at(first), ['signed/app:v1'])
    const list = JSON.parse(String(await raw(first.host, `signed/app:${fallbackTag(image.root.digest)}`)))
    expect(list.manifests).toMatchObject([{ digest: sbom.root.digest }])
    expect(await raw(first.host, `signed/app:${cosign.tag}`)).toEqual(Buffer.from(cosign.image.root.bytes))

    await expectPromoted(at(first), at(plain), ['signed/app:v1=returned/app:v1'])
    for (const each of [image, sbom, cosign.image]) expect(await differences(plain, 'returned/app', each)).toEqual([])
    expect(tagOf(plain, 'returned/app', cosign.tag)).toBe(cosign.image.root.digest)
    await expectPromoted(at(plain), at(first), ['signed/app:v1'], 'unchanged')
  })
}
