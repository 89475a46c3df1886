/** Recognises content (JSON, PEM, a token) that was given where the path of a file is expected. */

/** PATH_MAX and NAME_MAX of Linux. */
const LONGEST_PATH = 4096
const LONGEST_NAME = 255

const SHAPES: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z0-9 ]+-----/, 'PEM text'],
  [/^["[{]/, 'JSON'],
  [/sha256~/, 'an OpenShift token'],
  [/^(?:Bearer\s+)?eyJ[\w-]*\.[\w-]+\.[\w-]*$/, 'a JSON Web Token'],
  [/^(?:---|- .*|["']?[A-Za-z][\w.-]*["']?:(?:\s.*)?)$/m, 'YAML'],
  [/[\r\n]/, 'a text of several lines'],
]

/** What the value is, if it cannot be the path of a file. */
export function contentKind(value: string): string | undefined {
  const text = value.trim()
  const shape = SHAPES.find(([pattern]) => pattern.test(text))?.[1]
  if (shape !== undefined) return shape
  const inner = fromBase64(text)
  if (inner !== undefined) return `base64 of ${SHAPES.find(([pattern]) => pattern.test(inner))?.[1] ?? 'a credential'}`
  if (/\p{Cc}/u.test(text)) return 'a text with control characters'
  const tooLong = text.length > LONGEST_PATH || text.split(/[/\\]/).some((name) => name.length > LONGEST_NAME)
  return tooLong ? 'a text that is longer than any path' : undefined
}

/** The decoded text, if the value is base64 of JSON, YAML, PEM or `user:password`. */
export function fromBase64(text: string): string | undefined {
  if (text.length < 12 || !/^[A-Za-z0-9+/_\s-]+=*$/.test(text)) return undefined
  const inner = Buffer.from(text, 'base64').toString('utf8').trim()
  return /^[\t\n\r -~]+$/.test(inner) && /[:{[]|-----BEGIN/.test(inner) ? inner : undefined
}

/** Whether a part of the value looks like a token or a generated password, which messages must not quote. */
export function isRandom(value: string): boolean {
  const kinds = [/[A-Z]/, /[a-z]/, /\d/]
  return value.split(/[/\\.]/).some((name) => {
    const found = kinds.filter((kind) => kind.test(name)).length
    return (name.length >= 16 && found === 3) || (name.length >= 32 && found === 2)
  })
}

/** The path, for a message. Content that was given instead of a path is described and not quoted. */
export function shownPath(path: string): string {
  const kind = contentKind(path)
  return kind === undefined ? path : `(${kind} instead of a path)`
}
