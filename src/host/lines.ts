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

/** The same data, every string of it fit to be seen: this is the one way out for reports and events. */
export function cleanData<T>(data: T, secrets: Secrets): T {
  return JSON.parse(JSON.stringify(data), (key, value) => {
    if (typeof value !== 'string') return value
    return EXACT.has(key) ? secrets.redactName(oneLine(value)) : cleanText(value, secrets)
  })
}

/** The host, which publishes only what `cleanData` returns. */
export function guarded<T extends Host & Required<Pick<Host, 'keep'>>>(host: T): T {
  const clean = <T>(data: T) => cleanData(data, host.secrets)
  return {
    ...host,
    event: (event) => host.event(event.event === 'bytes' ? event : clean(event)),
    publish: (report) => host.publish(clean(report)),
    keep: (report) => host.keep(clean(report)),
  }
}

/** Does everything, also after a failure, and throws the first failure at the end. */
export async function allOf(tasks: readonly (() => void | Promise<void>)[]): Promise<void> {
  const failures: unknown[] = []
  for (const task of tasks) {
    try {
      await task()
    } catch (thrown) {
      failures.push(thrown)
    }
  }
  if (failures.length > 0) throw failures[0]
}
