import type { PromoteError } from '../core/errors.ts'
import type { Secrets } from '../core/secret.ts'
import { oneLine, visible } from '../core/text.ts'
import type { Host } from './host.ts'

/** Text as it may be printed anywhere. Controls go first, so that none can split a secret. */
export function cleanText(text: string, secrets: Secrets): string {
  return secrets.redact(visible(text))
}

/** `LOGIN_REJECTED (source): message`, and what to do next in a line of its own. */
export function describeError({ code, side, message, hint }: PromoteError): string {
  const where = side === undefined || side === 'input' ? '' : ` (${side})`
  const text = code === 'USAGE' ? message : `${code}${where}: ${message}`
  return hint === undefined ? text : `${text}\n  ${hint}`
}

/** Members that programs compare or go back to: names, digests, words of ours. A short secret may stand in one by chance. */
const EXACT: ReadonlySet<string> = new Set(
  'schema started finished event status do kind code side source sourceDigest destination target tag digest previousDigest subject from to'.split(
    ' ',
  ),
)

/** The same data, fit to be published. @param wording changes sentences, and no name or digest. */
export function cleanData<T>(data: T, secrets: Secrets, wording = (text: string) => text): T {
  return JSON.parse(JSON.stringify(data), (key, value) => {
    if (typeof value !== 'string') return value
    return EXACT.has(key) ? secrets.redactName(oneLine(value)) : wording(cleanText(value, secrets))
  })
}

/** The host, which publishes only what `cleanData` returns. */
export function guarded<T extends Host & Required<Pick<Host, 'keep'>>>(host: T, wording?: (text: string) => string): T {
  const clean = <T>(data: T) => cleanData(data, host.secrets, wording)
  return {
    ...host,
    event: (event) => host.event(event.event === 'bytes' ? event : clean(event)),
    publish: (report) => host.publish(clean(report)),
    keep: (report) => host.keep(clean(report)),
  }
}

export async function allOf(tasks: readonly (() => void | Promise<void>)[]): Promise<void> {
  const ended = await Promise.allSettled(tasks.map(async (task) => task()))
  for (const each of ended) if (each.status === 'rejected') throw each.reason
}
