import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from '@jest/globals'

const ENTRY = fileURLToPath(new URL('../../../src/index.js', import.meta.url))
// Windows has no signals: `kill` ends the process.
const WINDOWS = process.platform === 'win32'

function start(argv: readonly string[], env: Record<string, string> = {}): ChildProcess {
  const { PATH = '', SystemRoot = '' } = process.env
  return spawn(process.execPath, [ENTRY, ...argv], { env: { PATH, SystemRoot, ...env } })
}

async function finish(child: ChildProcess): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]?.on('data', (chunk) => {
      text[name] += chunk
    })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, ...text }
}

/** A registry that takes requests and never answers; `asked` resolves with the first. */
async function silentRegistry(): Promise<{ server: Server; host: string; asked: Promise<unknown> }> {
  const server = createServer(() => undefined)
  const asked = once(server, 'request')
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return { server, host: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

function stop(server: Server): void {
  server.closeAllConnections()
  server.close()
}

describe('the entrypoint', () => {
  it.each([
    ['16.20.2', true],
    ['18.20.8', true],
    ['20.9.0', true],
    ['20.18.0', true],
    ['20.18.1', false],
    ['22.0.0', false],
  ])('under Node.js %s says that it is too old: %s', async (version, old) => {
    const fake = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`
    const url = `data:text/javascript,${encodeURIComponent(fake)}`
    const { code, stdout, stderr } = await finish(start(['--version'], { NODE_OPTIONS: `--import=${url}` }))
    const told = `error: image-promote needs Node.js 20.18.1 or newer, this is ${version}\n`
    expect([code, stdout === '', stderr]).toEqual(old ? [2, true, told] : [0, false, ''])
  })

  it('prints --version to stdout and exits with 0', async () => {
    const { code, stdout, stderr } = await finish(start(['--version']))
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^image-promote \d+\.\d+\.\d+\n$/)
  })

  it('ends with 2 for bad inputs under every host, each with its own words', async () => {
    const argv = ['--jobs', '0', '--', 'quay.io/a/b:1=ghcr.io/a/b:1']
    const plain = await finish(start(argv))
    expect([plain.code, plain.stdout]).toEqual([2, ''])
    expect(plain.stderr).toMatch(/^error: one problem with the inputs:\n {2}--jobs: .*\n$/)
    const tekton = await finish(start(argv, { IMAGE_PROMOTE_RESULT_DIGEST: '' }))
    expect([tekton.code, tekton.stdout]).toEqual([2, ''])
    expect(tekton.stderr).toMatch(/^ERROR: one problem with the inputs:\n {2}param jobs: .*\n$/)
    const step = await finish(start(argv, { GITHUB_ACTIONS: 'true' }))
    expect([step.code, step.stdout]).toEqual([2, ''])
    expect(step.stderr).toMatch(/^::error::one problem with the inputs:%0A {2}--jobs: .*\n$/)
    const inputs = { INPUT_JOBS: '0', INPUT_IMAGES: 'quay.io/a/b:1=ghcr.io/a/b:1' }
    const github = await finish(start([], { GITHUB_ACTIONS: 'true', ...inputs }))
    expect([github.code, github.stderr]).toEqual([2, ''])
    expect(github.stdout).toMatch(/^::error::one problem with the inputs:%0A {2}input "jobs": .*\r?\n$/)
  })

  it('does not fail when the reader of its output has closed', async () => {
    const child = start(['--help'])
    child.stdout?.destroy()
    const { code, stderr } = await finish(child)
    expect([code, stderr]).toEqual([0, ''])
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('stops at %s, says so and ends with %d', async (signal, code) => {
    const { server, host, asked } = await silentRegistry()
    try {
      const registry = `http://${host}`
      const argv = ['--source-registry', registry, '--destination-registry', registry, '--output', 'json']
      const child = start([...argv, '--', 'dev/app:1=prod/app:1'])
      const ended = finish(child)
      await asked
      child.kill(signal)
      const result = await ended
      if (WINDOWS) return expect(result.code).toBeNull()
      expect(result.code).toBe(code)
      expect(result.stderr).toContain(`warning: ${signal}: stopping`)
      expect(JSON.parse(result.stdout)).toMatchObject({ status: 'cancelled', images: [{ status: 'cancelled' }] })
    } finally {
      stop(server)
    }
  })
})
