import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { parse } from 'yaml'
import { VERSION } from '../../../src/core/version.ts'
import { type Folder, temporary } from '../run.ts'
import { codeBlocks } from './commands.ts'
import { ROOT, read } from './files.ts'

/**
 * The ways to install that the README shows, with the archive that a release has. No package registry can be reached, so
 * that an install that fetched anything but the archive would fail.
 */

const WINDOWS = process.platform === 'win32'
const ARCHIVE = `image-promote-${VERSION}.tgz`
const PRINTS = [0, `image-promote ${VERSION}\n`]
let folder: Folder
let archive: string
let repository: string

// npm itself starts in a second, and each test starts it once or twice.
jest.setTimeout(120_000)

beforeAll(async () => {
  folder = temporary()
  archive = join(folder.path, ARCHIVE)
  if (WINDOWS) return
  await run('npm', ['pack', '--pack-destination', folder.path], ROOT)
  repository = await asRepository()
})
afterAll(() => folder.remove())

describe('the archive of a release', () => {
  test('is made by the command that is tested here', () => {
    expect(read('.github/workflows/release.yml')).toContain('npm pack --pack-destination release\n')
  })

  test('has the program, the action, the Task and the licences, and nothing of the source', async () => {
    if (WINDOWS) return
    const unpacked = empty('unpacked')
    await run('tar', ['-xzf', archive, '--strip-components=1'], unpacked)
    const names = ['LICENSE', 'README.md', 'action.yml', 'dist', 'package.json', 'tekton']
    expect(readdirSync(unpacked).sort()).toEqual(names)
    expect(readdirSync(join(unpacked, 'dist')).sort()).toEqual(['index.js', 'licenses.txt', 'package.json'])
    expect(await version('node', ['dist/index.js'], unpacked)).toEqual(PRINTS)
  })

  test('is the same, byte for byte, when it is made again', async () => {
    if (WINDOWS) return
    const again = empty('again')
    await run('npm', ['pack', '--pack-destination', again], ROOT)
    expect(readFileSync(join(again, ARCHIVE)).equals(readFileSync(archive))).toBe(true)
  })
})

/** Each in a folder and with an npm prefix of its own. The image needs a container engine: it has tests of its own. */
describe('as the README says', () => {
  const [, section = ''] = /^## Install$([\s\S]*?)^## /m.exec(read('README.md')) ?? []
  const blocks = codeBlocks(section).map(({ text }) => text)

  test('there is a way with npx, one with npm, one with an image and one with tar', () => {
    expect(blocks.map((block) => /^\w+/.exec(block)?.[0])).toEqual(['npx', 'npm', 'podman', 'curl'])
  })

  test.each(blocks.filter((block) => !block.startsWith('podman')))('%s', async (block) => {
    if (WINDOWS) return
    const place = temporary()
    await serving(archive, async (url) => {
      const release = `https://github.com/OWNER/image-promote/releases/download/v${VERSION}/${ARCHIVE}`
      const tag = `github:OWNER/image-promote#v${VERSION}`
      expect([release, tag].some((each) => block.includes(each))).toBe(true)
      const command = block.replaceAll(release, url).replaceAll(tag, `git+file://${repository}#v${VERSION}`)
      const script = `export npm_config_prefix="$PWD/prefix" PATH="$PWD/prefix/bin:$PATH"\n${command}`
      const { stdout } = await run('bash', ['-e', '-o', 'pipefail', '-c', script], place.path)
      expect(stdout).toContain(`image-promote ${VERSION} copies images`)
    })
    place.remove()
  })
})

describe('npm', () => {
  test('installs it into an empty folder, alone, with a command', async () => {
    if (WINDOWS) return
    const into = empty('local')
    await run('npm', ['install', archive], into)
    expect(readdirSync(join(into, 'node_modules')).filter((name) => !name.startsWith('.'))).toEqual(['image-promote'])
    expect(await version('node_modules/.bin/image-promote', [], into)).toEqual(PRINTS)
  })

  test('installs it globally from Git, without the packages of its development', async () => {
    if (WINDOWS) return
    const prefix = empty('from-git')
    await run('npm', ['install', '--global', '--prefix', prefix, `git+file://${repository}`], folder.path)
    expect(await version(join(prefix, 'bin', 'image-promote'), [], folder.path)).toEqual(PRINTS)
  })
})

test('the SBOM of a release names the packages whose licences are in the bundle, with their versions', async () => {
  if (WINDOWS) return
  const command = 'npm sbom --sbom-format cyclonedx | node build/test/bundle/packaging/sbom.js'
  expect(read('.github/workflows/release.yml')).toContain(`${command} > release/sbom.cyclonedx.json\n`)
  const { stdout } = await run('bash', ['-o', 'pipefail', '-c', command], ROOT)
  const { components, metadata, dependencies } = JSON.parse(stdout)
  const { packages } = parse(read('package-lock.json'))
  const names: string[] = components.map(({ name }: { name: string }) => name)
  const locked = names.map((name) => `${name}@${packages[`node_modules/${name}`].version}`)
  expect(components.map(({ 'bom-ref': ref }: { 'bom-ref': string }) => ref)).toEqual(locked)
  const licenses = read('dist/licenses.txt').split('\n')
  expect(names.filter((name) => !licenses.includes(name))).toEqual([])
  // The bundle says of its modules where they come from.
  const inside = read('dist/index.js').matchAll(/MODULE: \.\/node_modules\/((?:@[\w.-]+\/)?[\w.-]+)/g)
  expect(names).toEqual(expect.arrayContaining([...new Set([...inside].map(([, name]) => name))]))
  expect(names.length).toBeGreaterThan(10)
  expect(metadata.component.name).toBe('image-promote')
  const refs = dependencies.map(({ ref }: { ref: string }) => ref)
  expect(refs).toEqual([`image-promote@${VERSION}`, ...locked])
})

/** What a checkout has for npm, as one commit with the tag of the version. */
async function asRepository(): Promise<string> {
  const path = empty('repository')
  for (const part of [
    'package.json',
    'package-lock.json',
    '.npmrc',
    'dist',
    'action.yml',
    'LICENSE',
    'README.md',
    'tekton',
    'src',
  ])
    cpSync(join(ROOT, part), join(path, part), { recursive: true })
  const git = (...argv: string[]) => run('git', ['-c', 'user.name=x', '-c', 'user.email=x@example.com', ...argv], path)
  await git('init', '--quiet')
  await git('add', '.')
  await git('commit', '--quiet', '--message', 'release')
  await git('tag', `v${VERSION}`)
  return path
}

function empty(name: string): string {
  const path = join(folder.path, name)
  mkdirSync(path)
  return path
}

async function version(program: string, argv: readonly string[], cwd: string): Promise<[number | null, string]> {
  const { code, stdout } = await run(program, [...argv, '--version'], cwd)
  return [code, stdout]
}

/** With an npm that knows nothing of this machine's configuration. @throws when the program fails. */
async function run(program: string, argv: readonly string[], cwd: string) {
  const { PATH = '' } = process.env
  const npm = { cache: join(folder.path, 'cache'), registry: 'http://127.0.0.1:9', fetch_retries: '0', audit: 'false' }
  const variables = Object.entries(npm).map(([name, value]) => [`npm_config_${name}`, value])
  const env = { PATH, HOME: folder.path, npm_config_update_notifier: 'false', ...Object.fromEntries(variables) }
  const child = spawn(program, argv, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const out = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      out[name] += chunk
    })
  const code = await new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve))
  if (code !== 0) throw new Error(`${program} ${argv.join(' ')}: ${code}\n${out.stdout}${out.stderr}`)
  return { code, ...out }
}

async function serving(path: string, use: (url: string) => Promise<unknown>): Promise<void> {
  const server = createServer((_, response) => response.end(readFileSync(path)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const address = server.address()
    await use(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/${ARCHIVE}`)
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}
