/** The HTTP client of one side: retry(redirect(authorize(debug log(pace(transport))))). */
import type { Context } from '../context.ts'
import type { Login } from '../credential.ts'
import type { Side } from '../errors.ts'
import type { Reach } from '../wire/reach.ts'
import { type ClientCertificate, openTransport } from '../wire/transport.ts'
import { authorize } from './authorize.ts'
import { debugLog } from './debug-log.ts'
import { pace } from './pace.ts'
import { redirect } from './redirect.ts'
import { retry } from './retry.ts'
import type { Layer, Network, Send } from './send.ts'

export type NetworkOptions = Readonly<{
  side: Side
  /** PEM text, trusted beside the system's roots. */
  ca?: string | undefined
  insecureSkipTlsVerify: boolean
  /** Milliseconds without a byte after which an exchange counts as broken. */
  stallTimeout: number
  /** Tries in a row after the first, for small requests. */
  retries: number
  clientCertificate?: ClientCertificate | undefined
  /** Only https, and only to addresses for which this says true. */
  reach?: Reach | undefined
  /** With `reach`: only these hosts, and through a proxy none but these. */
  hosts?: readonly string[] | undefined
  /** @param wait milliseconds; @param attempt 1 for the first repetition. */
  onRetry?: ((what: string, reason: string, wait: number, attempt: number) => void) | undefined
  /** Most requests at once per origin. */
  ceiling?: number | undefined
}>

/** @throws PromoteError USAGE when `ca` holds no certificate. */
export function openNetwork(options: NetworkOptions, context: Context): Network {
  const transport = openTransport(options, context)
  const wire = compose(transport.send, debugLog(context), pace(context, options.ceiling))
  const patient: readonly Layer[] = [retry(options, context), redirect(options.side, context.secrets)]
  const verified = !options.insecureSkipTlsVerify
  const ask = compose(wire, redirect(options.side, context.secrets))
  // The same login on the same origin shares its tokens, however often it is asked for.
  const opened = new WeakMap<Login, Map<string, Send>>()
  return {
    send: compose(wire, ...patient),
    as: (origin, login) => {
      const sends = opened.get(login) ?? new Map<string, Send>()
      opened.set(login, sends)
      const access = { side: options.side, origin, login, verified, ask, context }
      const send = sends.get(origin.origin) ?? compose(wire, ...patient, authorize(access))
      sends.set(origin.origin, send)
      return send
    },
    close: transport.close,
  }
}

/** The first layer is the outermost. */
export function compose(send: Send, ...layers: readonly Layer[]): Send {
  return layers.reduceRight((next, layer) => layer(next), send)
}
