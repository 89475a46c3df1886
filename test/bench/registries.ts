import { execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { makeCa } from '../support/cluster/certificates.ts'
import { findPrograms } from './tools.ts'

/** What came in since the start: requests, and bytes of the answers' bodies. */
export type Traffic = Readonly<{ requests: number; bytes: number }>
export type Registry = Readonly<{ url: URL; traffic: () => Promise<Traffic>; close: () => Promise<void> }>
export type RegistryProgram = Readonly<{ path: string; version: string }>

/** `ca`, `cert` and `key` are paths of PEM files. */
export type Files = Readonly<{ path: string; ca: string; cert: string; key: string; remove: () => Promise<void> }>

/** The reference implementation: version 3, else Debian's package of version 2. */
export function findRegistry(): RegistryProgram {
  for (const path of [...findPrograms('registry'), ...findPrograms('docker-registry')]) {
    const version = /distribution\S* (\S+)/.exec(execFileSync(path, ['--version'], { encoding: 'utf8' }))?.[1]
    if (version !== undefined) return { path, version }
  }
  throw new Error('no registry: go install github.com/distribution/distribution/v3/cmd/registry@latest')
}

/** Certificates and storage in memory where the system has a folder for that: no disk is measured. */
export async function makeFiles(): Promise<Files> {
  const path = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'image-promote-bench-'))
  const ca = await makeCa('image-promote bench')
  const pair = await ca.issue({ names: ['127.0.0.1', 'localhost'] })
  const files = { ca: join(path, 'ca.crt'), cert: join(path, 'tls.crt'), key: join(path, 'tls.key') }
  await Promise.all([
    writeFile(files.ca, ca.cert),
    writeFile(files.cert, pair.cert),
    writeFile(files.key, pair.key, { mode: 0o600 }),
  ])
  return { path, ...files, remove: () => rm(path, { recursive: true, force: true }) }
}

/** @param storage name of a folder in `files`; it stays until the registry that began it is closed. */
export async function startRegistry(
  program: RegistryProgram,
  files: Files,
  options: Readonly<{ storage: string; tls: boolean; keep?: boolean }>,
): Promise<Registry> {
  const root = join(files.path, options.storage)
  const config = join(files.path, `${options.storage}-${options.tls}.json`)
  const tls = options.tls ? { tls: { certificate: files.cert, key: files.key } } : {}
  await writeFile(
    config,
    JSON.stringify({
      version: '0.1',
      log: { level: 'info', accesslog: { disabled: false } },
      storage: { filesystem: { rootdirectory: root }, delete: { enabled: true } },
      http: { addr: '127.0.0.1:0', secret: 'of no importance', ...tls },
    }),
  )
  const child = spawn(program.path, ['serve', config], {
    env: { ...process.env, OTEL_TRACES_EXPORTER: 'none' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const seen = { requests: 0, bytes: 0 }
  createInterface({ input: child.stdout }).on('line', (line) => {
    // Apache's combined format: "GET /v2/ HTTP/1.1" 200 2 "" "user agent"
    const bytes = /" \d{3} (\d+) "/.exec(line)?.[1]
    if (bytes === undefined) return
    seen.requests += 1
    seen.bytes += Number(bytes)
  })
  const ended = new Promise<void>((done) => child.once('close', () => done()))
  const close = async () => {
    child.kill('SIGKILL')
    await ended
    if (options.keep !== true) await rm(root, { recursive: true, force: true })
  }
  const host = await listening(child)
  if (host === undefined) {
    await close()
    throw new Error(`${program.path} did not start`)
  }
  const url = new URL(`${options.tls ? 'https' : 'http'}://${host}`)
  return { url, traffic: async () => settled(seen), close }
}

function listening(child: ReturnType<typeof spawn>): Promise<string | undefined> {
  return new Promise((done) => {
    child.once('error', () => done(undefined))
    child.once('close', () => done(undefined))
    if (child.stderr === null) return done(undefined)
    // Read to the end: a full pipe would stop the registry.
    createInterface({ input: child.stderr }).on('line', (line) => {
      const address = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1]
      if (address !== undefined) done(address)
    })
  })
}

/** The log arrives by a pipe: it is complete when nothing more has come for a while. */
async function settled(seen: Traffic): Promise<Traffic> {
  for (let last = -1; last !== seen.requests; ) {
    last = seen.requests
    await new Promise((done) => setTimeout(done, 50))
  }
  return { ...seen }
}
