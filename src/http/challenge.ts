/** One scheme that a server accepts (RFC 9110 11.6.1). Scheme and parameter names are lower case. */
export type Challenge = Readonly<{ scheme: string; parameters: ReadonlyMap<string, string> }>

/** No server offers more; garbage does. */
const MOST = 32
const LONGEST = 16 * 1024
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]/

/**
 * The schemes of all `WWW-Authenticate` lines. Takes what is met in the field: several schemes in one line, several lines,
 * unquoted values (`Basic realm=openshift,error="access denied"`), missing commas. Garbage yields fewer challenges,
 * never an error; one pass over the text.
 */
export function parseChallenges(lines: readonly string[]): readonly Challenge[] {
  return lines.flatMap((line) => parseLine(line.slice(0, LONGEST))).slice(0, MOST)
}

function parseLine(line: string): Challenge[] {
  const found: { scheme: string; parameters: Map<string, string> }[] = []
  let at = 0
  while (at < line.length && found.length <= MOST) {
    const word = readToken(line, at)
    if (word === '') {
      at++
      continue
    }
    at = skipSpace(line, at + word.length)
    const current = found.at(-1)
    if (line[at] !== '=' || current === undefined) {
      found.push({ scheme: word.toLowerCase(), parameters: new Map() })
      continue
    }
    const { value, end } = readValue(line, skipSpace(line, at + 1))
    const name = word.toLowerCase()
    if (!current.parameters.has(name)) current.parameters.set(name, value)
    at = end
  }
  return found
}

function readToken(line: string, from: number): string {
  let at = from
  while (at < line.length && TOKEN.test(line[at] ?? '')) at++
  return line.slice(from, at)
}

function skipSpace(line: string, from: number): number {
  let at = from
  while (line[at] === ' ' || line[at] === '\t') at++
  return at
}

function readValue(line: string, from: number): { value: string; end: number } {
  if (line[from] !== '"') {
    let at = from
    while (at < line.length && line[at] !== ',' && line[at] !== ' ' && line[at] !== '\t') at++
    return { value: line.slice(from, at), end: at }
  }
  let value = ''
  let at = from + 1
  for (; at < line.length && line[at] !== '"'; at++) {
    if (line[at] === '\\' && at + 1 < line.length) at++
    value += line[at]
  }
  return { value, end: at + 1 }
}
