import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, createWriteStream, existsSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import { extract } from 'tar-stream'
import { VERSION } from '../../../src/core/version.ts'
import { type BuiltImage, buildImage } from '../demo/image.ts'
import { temporary } from '../run.ts'
import { documents, ROOT, read } from './files.ts'

/** Instructions of the Containerfile, continued lines joined, comments left out. */
const INSTRUCTIONS = read('Containerfile')
  .replace(/^#.*\n/gm, '')
  .replace(/\\\n\s*/g, '')
  .trim()
  .split('\n')
  .map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)] as const)
const of = (name: string) => INSTRUCTIONS.filter(([instruction]) => instruction === name).map(([, rest]) => rest)

describe('the Containerfile', () => {
  test('takes any base, and runs nothing: it builds for every architecture', () => {
    expect(of('ARG')[0]).toMatch(
      /^BASE=registry\.access\.redhat\.com\/ubi9\/nodejs-24-minimal:latest(?:@sha256:[0-9a-f]{64})?$/,
    )
    expect(of('FROM').join()).toBe(['$', '{BASE}'].join(''))
    expect(of('ARG')[1]).toBe(`VERSION=${VERSION}`)
    expect(of('RUN')).toEqual([])
  })

  test('has dist and the licence, readable by any user, and a numeric user', () => {
    const [flag, ...parts] = of('COPY').join(' ').split(' ')
    const sources = parts.slice(0, -1)
    expect([flag, parts.at(-1)]).toEqual(['--chmod=0444', '/opt/image-promote/'])
    expect(sources.filter((file) => !existsSync(join(ROOT, file)))).toEqual([])
    expect(sources).toEqual(['dist/index.js', 'dist/package.json', 'dist/licenses.txt', 'LICENSE'])
    expect(of('USER')).toEqual(['1001'])
  })

  test('starts what the Task and the embedded image start', async () => {
    const [entrypoint = ''] = of('ENTRYPOINT')
    const [step] = documents(read('tekton/task/image-promote/image-promote.yaml'))[0].spec.steps
    expect(JSON.parse(entrypoint)).toEqual(step.command)
  })

  test('is given dist and the licence, and nothing else of the checkout', () => {
    expect(read('.containerignore').trim().split('\n')).toEqual(['*', '!dist', '!LICENSE'])
  })
})

test('the BuildConfig builds this Containerfile into a tag of the version', () => {
  const [stream, build] = documents(read('docs/samples/buildconfig.yaml'))
  expect([stream.kind, build.kind]).toEqual(['ImageStream', 'BuildConfig'])
  expect(existsSync(join(ROOT, build.spec.strategy.dockerStrategy.dockerfilePath))).toBe(true)
  expect(build.spec.output.to).toEqual({ kind: 'ImageStreamTag', name: `${stream.metadata.name}:${VERSION}` })
  expect(build.spec.source.git.ref).toBe(`v${VERSION}`)
})

describe('an image of this machine’s Node and dist/, unpacked', () => {
  test('its entrypoint runs as any user with group 0, without anything of this machine where that can be had', async () => {
    const image = await buildImage(join(ROOT, 'dist'))
    const [manifest] = image.manifests.map(({ bytes }) => JSON.parse(bytes.toString()))
    const config = JSON.parse(blobOf(image, manifest.config.digest).toString()).config
    const folder = temporary()
    try {
      for (const { digest } of manifest.layers) await unpack(blobOf(image, digest), folder.path)
      const [node = '', script = ''] = config.Entrypoint as string[]
      expect(JSON.parse(of('ENTRYPOINT')[0] ?? '')[1]).toBe(script)
      const run = runIn(folder.path, node, script)
      expect([run.status, run.stdout, run.stderr]).toEqual([0, `image-promote ${VERSION}\n`, ''])
    } finally {
      folder.remove()
    }
    // A hundred megabytes are packed and unpacked.
  }, 60_000)
})

function blobOf({ blobs }: BuiltImage, digest: string): Buffer {
  const bytes = blobs.get(digest as never)
  if (bytes === undefined) throw new Error(`the image has no ${digest}`)
  return bytes
}

async function unpack(layer: Buffer, root: string): Promise<void> {
  const reading = extract()
  reading.on('entry', ({ name, mode }, stream, next) => {
    const path = join(root, name)
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
    pipeline(stream, createWriteStream(path))
      .then(() => chmodSync(path, mode ?? 0o644))
      .then(() => next(), next)
  })
  await pipeline([layer], createGunzip(), reading)
}

/** As root on Linux: in the unpacked root, as a user of a namespace's range. Elsewhere: the unpacked files. */
function runIn(root: string, node: string, script: string) {
  const rooted = process.platform === 'linux' && process.getuid?.() === 0 && canChroot(root, node)
  const [program, argv] = rooted
    ? ['chroot', ['--userspec=1000650000:0', root, node, script, '--version']]
    : [join(root, node), [join(root, script), '--version']]
  return spawnSync(program as string, argv as string[], { encoding: 'utf8', env: { PATH: process.env.PATH } })
}

/** Some containers keep chroot from their root. */
function canChroot(root: string, node: string): boolean {
  chmodSync(root, 0o755)
  chownSync(root, 0, 0)
  return spawnSync('chroot', [root, node, '--version']).status === 0
}
