import type { PromoteError } from '../errors.ts'
import type { Report, Row } from '../report/model.ts'
import type { Secrets } from '../secret.ts'

/** C0 and C1 controls but tab and line feed, and marks that turn the reading direction (CVE-2021-42574). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** Text as it may be printed anywhere: no controls, no secret. Controls go first, so that none can split a secret. */
export function cleanText(text: string, secrets: Secrets): string {
  return secrets.redact(text.replace(CONTROLS, ''))
}

/**
 * Text that the runner prints and does not obey. It reads `::command::` at the start of a line, and `##[command]`
 * anywhere in it (actions/runner, ActionCommand.cs TryParseV2 and TryParse).
 */
export function neutralise(text: string): string {
  return text.replace(/^(\s*)::/gm, '$1\u200b::').replaceAll('##[', '##\u200b[')
}

/** `LOGIN_REJECTED (source): message`, and what to do next in a line of its own. */
export function describeError({ code, side, message, hint }: PromoteError): string {
  const where = side === undefined || side === 'input' ? '' : ` (${side})`
  const text = code === 'USAGE' ? message : `${code}${where}: ${message}`
  return hint === undefined ? text : `${text}\n  ${hint}`
}

/** Words that came from servers are cleaned; digests and names stay as they are, even if a secret is part of one. */
export function cleanReport(report: Report, secrets: Secrets): Report {
  return { ...report, images: report.images.map((row) => cleanRow(row, secrets)) }
}

function cleanRow(row: Row, secrets: Secrets): Row {
  const clean = (text: string) => cleanText(text, secrets)
  const { error } = row
  return {
    ...row,
    attached: row.attached.map((one) => ({ ...one, artifactType: clean(one.artifactType) })),
    error: error && { ...error, message: clean(error.message), hint: error.hint === null ? null : clean(error.hint) },
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
