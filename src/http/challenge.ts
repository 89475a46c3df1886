/** One scheme that a server accepts (RFC 9110 11.6.1). Scheme and parameter names are lower case. */
export type Challenge = Readonly<{ scheme: string; parameters: ReadonlyMap<string, string> }>

/** No server offers more; garbage does. */
const MOST = 32
const LONGEST = 16 * 1024
/** A scheme, or a parameter `name=value`, `name="value"` of the scheme before it. An open quote ends with the line. */
const PART = /([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*=[ \t]*(?:"((?:[^"\\]|\\[\s\S])*)"?|([^, \t]*)))?/g

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
  for (const [, word = '', quoted, plain] of line.matchAll(PART)) {
    const value = quoted?.replace(/\\([\s\S])/g, '$1') ?? plain
    const current = found.at(-1)
    const name = word.toLowerCase()
    if (value === undefined || current === undefined) found.push({ scheme: name, parameters: new Map() })
    else if (!current.parameters.has(name)) current.parameters.set(name, value)
    if (found.length > MOST) break
  }
  return found
}
