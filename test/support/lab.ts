import type { Target } from '../../src/copy/store.ts'
import type { Context } from '../../src/core/context.ts'
import { PromoteError } from '../../src/core/errors.ts'
import { Secrets } from '../../src/core/secret.ts'
import { fixedLogin } from '../../src/credentials/login.ts'
import { type Network, openNetwork } from '../../src/http/client.ts'
import { ANONYMOUS, type Login } from '../../src/http/credential.ts'
import type { RegistryOptions } from '../../src/registry/endpoint.ts'
import { openRepository } from '../../src/registry/repository.ts'
import type { Send } from '../../src/transport/request.ts'

/** A client of registries: the real HTTP layers, with clock and sleep in the hands of the test. */
export interface Lab {
  readonly context: Context
  /** Milliseconds that were slept. */
  readonly slept: number[]
  readonly lines: string[]
  readonly network: Network
  send(url: URL, login?: Login): Send
  open(url: URL, repository: string, more?: Partial<RegistryOptions>, login?: Login): Target
  cancel(): void
  close(): Promise<void>
}

export function openLab(options: { stallTimeout?: number; retries?: number; ca?: string } = {}): Lab {
  const stop = new AbortController()
  const slept: number[] = []
  const lines: string[] = []
  const log = (line: string) => void lines.push(line)
  let clock = Date.UTC(2026, 0, 1)
  const context: Context = {
    log: { debug: log, info: log, warn: log, error: log },
    secrets: new Secrets(),
    signal: stop.signal,
    env: {},
    now: () => clock,
    sleep: async (milliseconds) => {
      if (stop.signal.aborted) throw new PromoteError('CANCELLED', 'Cancelled.')
      slept.push(milliseconds)
      clock += milliseconds
    },
    random: () => 0.5,
  }
  const { stallTimeout = 20_000, retries = 2, ca } = options
  const network = openNetwork({ side: 'destination', insecureSkipTlsVerify: false, stallTimeout, retries, ca }, context)
  const nobody = fixedLogin('nobody', ANONYMOUS)
  const send = (url: URL, login = nobody) => network.as(url, login)
  return {
    context,
    slept,
    lines,
    network,
    send,
    open: (base, repository, more = {}, login = nobody) =>
      openRepository({ side: 'destination', base, repository, send: send(base, login), login, context, ...more }),
    cancel: () => stop.abort(),
    close: () => network.close(),
  }
}

export async function* pieces(bytes: Uint8Array, size = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.byteLength; at += size) yield bytes.subarray(at, at + size)
}

/** The bytes, and then a failure instead of the rest. */
export async function* broken(bytes: Uint8Array, after: number, error: Error): AsyncGenerator<Uint8Array> {
  yield* pieces(bytes.subarray(0, after))
  throw error
}

export async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** The PromoteError of a call that must fail. */
export async function failure(call: Promise<unknown>): Promise<PromoteError> {
  const result = await call.then(
    () => new Error('it succeeded'),
    (thrown: unknown) => thrown,
  )
  if (result instanceof PromoteError) return result
  throw result
}
