import type { Row } from '../report/model.ts'

/**
 * The `images` output: whole rows while they fit, else their most important members (`compact`), else as many of those
 * (`kept`) as fit, failed and unknown ones first.
 */
export function compactRows(rows: readonly Row[], fits: (text: string) => boolean) {
  const whole = JSON.stringify(rows)
  if (fits(whole)) return { text: whole, kept: rows.length, compact: false }
  const brief = rows.map(briefRow)
  const all = JSON.stringify(brief)
  if (fits(all)) return { text: all, kept: rows.length, compact: true }

  const isBad = ({ status }: Pick<Row, 'status'>) => status === 'failed' || status === 'unknown'
  const order = [...brief.filter(isBad), ...brief.filter((row) => !isBad(row))]
  let least = 0
  let most = order.length - 1
  while (least < most) {
    const middle = Math.ceil((least + most) / 2)
    if (fits(JSON.stringify(order.slice(0, middle)))) least = middle
    else most = middle - 1
  }
  return { text: JSON.stringify(order.slice(0, least)), kept: least, compact: true }
}

function briefRow({ source, destination, digest, status, error }: Row) {
  return { source, destination, digest, status, ...(error === null ? {} : { error: { code: error.code } }) }
}
