import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { announce } from './servers.ts'

/** Debian's package docker-registry: distribution 2.8. */
const BINARY = '/usr/bin/docker-registry'

export type RealRegistry = Readonly<{ url: URL; host: string; close: () => Promise<void> }>

/** Whether it is on this machine. With REAL_REGISTRIES=required its absence is an error. */
export function hasDockerRegistry(): boolean {
  if (existsSync(BINARY)) return true
  if (process.env.REAL_REGISTRIES === 'required')
    throw new Error(`${BINARY} is missing: apt-get install docker-registry`)
  return false
}

/**
 * A real registry on a port that the system chooses, undefined where there is none.
 * @param binary another build of distribution, such as v3's.
 * @param keeps where: memory, which gets slow with layers of a GiB, or a folder that `close` removes.
 */
export async function startDockerRegistry(
  binary = BINARY,
  keeps: 'memory' | 'folder' = 'memory',
): Promise<RealRegistry | undefined> {
  if (binary === BINARY && !hasDockerRegistry()) return undefined
  const folder = await mkdtemp(join(tmpdir(), 'docker-registry-'))
  const config = join(folder, 'config.json')
  const storage = keeps === 'memory' ? { inmemory: {} } : { filesystem: { rootdirectory: join(folder, 'data') } }
  await writeFile(
    config,
    JSON.stringify({
      version: '0.1',
      log: { level: 'info', accesslog: { disabled: true } },
      storage: { ...storage, delete: { enabled: true } },
      http: { addr: '127.0.0.1:0', secret: 'of no importance' },
    }),
  )
  // v3 sends traces to a collector unless it is told not to.
  const env = { ...process.env, OTEL_TRACES_EXPORTER: 'none' }
  const child = spawn(binary, ['serve', config], { stdio: ['ignore', 'ignore', 'pipe'], env })
  // A test that forgets to close it must not hang.
  child.unref()
  const ended = new Promise<void>((done) => child.once('close', () => done()))
  let leave = () => {}
  const close = async () => {
    leave()
    // Node must not end before a caller that awaits this: with nothing else to do it ends with 13.
    child.ref()
    child.kill('SIGKILL')
    await ended
    await rm(folder, { recursive: true, force: true })
  }
  const said: string[] = []
  const host = await new Promise<string | undefined>((done) => {
    // Read to the end: a full pipe would stop the registry.
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (said.length < 20) said.push(line)
      const address = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1]
      if (address !== undefined) done(address)
    })
    child.once('error', (error) => said.push(String(error)))
    child.once('close', () => done(undefined))
  })
  if (host !== undefined) {
    const url = new URL(`http://${host}`)
    leave = announce([host], { door: async () => ({ url }) })
    return { url, host, close }
  }
  await close()
  throw new Error(`docker-registry did not start:\n${said.join('\n')}`)
}
