/**
 * JSON as Go's encoding/json reads it.
 * @returns the value, or the `Offset` of Go's SyntaxError: how many bytes were read when the error was found.
 */
export function parseJson<T>(bytes: Uint8Array): { value: T } | { Offset: number } {
  try {
    return { value: JSON.parse(Buffer.from(bytes).toString('utf8')) as T }
  } catch {
    return { Offset: errorOffset(Buffer.from(bytes).toString('latin1')) }
  }
}

/** A string, number or word, or the beginning of one. */
const SCALAR = new RegExp(
  [
    String.raw`"(?:[^"\\\0-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*(?:"|\\(?:u[0-9a-fA-F]{0,3})?)?`,
    String.raw`-?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d*)?|-`,
    't(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?',
  ].join('|'),
  'y',
)

function errorOffset(text: string): number {
  let at = 0
  const take = (sign: string): boolean => {
    while (' \t\r\n'.includes(text[at] ?? '.')) at++
    if (sign === '' || text[at] !== sign) return false
    at++
    return true
  }
  const members = (end: string, member: () => boolean): boolean => {
    if (take(end)) return true
    do if (!member()) return false
    while (take(','))
    return take(end)
  }
  const scalar = (): boolean => {
    SCALAR.lastIndex = at
    const found = SCALAR.exec(text)?.[0] ?? ''
    at += found.length
    return isJson(found)
  }
  const name = () => !take('') && text[at] === '"' && scalar()
  const value = (): boolean => {
    if (take('{')) return members('}', () => name() && take(':') && value())
    return take('[') ? members(']', value) : scalar()
  }
  if (value()) take('')
  return Math.min(at + 1, text.length)
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
