/** The HTTP client of one side: retry(redirect(authorize(debug log(pace(transport))))). */
import type { Context } from '../context.ts'
import type { Login } from '../credential.ts'
import { openTransport, type TransportOptions } from '../wire/transport.ts'
import { authorize } from './authorize.ts'
import { debugLog } from './debug-log.ts'
import { pace } from './pace.ts'
import { redirect } from './redirect.ts'
import { type RetryOptions, retry } from './retry.ts'
import type { Layer, Network, Send } from './send.ts'

/** `ceiling`: most requests at once per origin. */
export type NetworkOptions = TransportOptions & RetryOptions & Readonly<{ ceiling?: number | undefined }>

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
