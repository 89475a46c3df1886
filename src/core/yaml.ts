import { isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, type Node, type Pair, Parser, parseDocument } from 'yaml'

/** Levels of nesting. The package recurses: hundreds of levels take seconds, and thousands end the process without an exception. */
const DEEPEST = 100

type YamlOptions = Readonly<{
  /** `text`: every scalar is a string, also `true` and `1`. */
  values?: 'typed' | 'text'
  /** Whether the last of equal keys wins, as in kubectl, instead of being an error. */
  repeatedKeys?: boolean
}>

/**
 * Parses YAML, and so JSON too, that the user gave.
 * @throws Error whose message continues a sentence: "is not YAML: …". It does not quote the text, which may hold secrets.
 */
export function parseYaml(text: string, { values = 'typed', repeatedKeys = false }: YamlOptions = {}): unknown {
  if (isDeep(text)) throw new Error(`is nested more than ${DEEPEST} deep`)
  const lines = new LineCounter()
  const schema = values === 'text' ? 'failsafe' : 'core'
  // A list or a map as a key would become a string of its whole content, at every level of nesting.
  const keys = { stringKeys: true, uniqueKeys: !repeatedKeys }
  const options = { schema, ...keys, lineCounter: lines, prettyErrors: false, logLevel: 'error' } as const
  const document = attempt(() => parseDocument(text, options))
  const error = document.errors[0]
  // The parser's own message quotes the line.
  if (error !== undefined) throw new Error(`is not YAML: ${error.code} in line ${lines.linePos(error.pos[0]).line}`)
  return attempt(() => {
    const value: unknown = document.toJS({ maxAliasCount: 100 })
    // Aliases can nest without nested text, also in themselves. Documents that JSON cannot express are refused.
    JSON.stringify(value)
    return value
  })
}

/**
 * Finds the line of a member, or of the nearest one around it that is in the text.
 * @param text that `parseYaml` has read.
 */
export function lineFinder(text: string): (path: readonly PropertyKey[]) => number {
  const lines = new LineCounter()
  const options = { uniqueKeys: false, lineCounter: lines, prettyErrors: false, logLevel: 'error' } as const
  const document = parseDocument(text, options)
  return (path) => {
    let node = document.contents as Node | null | undefined
    let start = node?.range?.[0] ?? 0
    for (const step of path) {
      const parent = isAlias(node) ? node.resolve(document) : node
      const isStep = ({ key }: Pair<Node, Node>) => isScalar(key) && String(key.value) === String(step)
      const pair = isMap<Node, Node>(parent) ? parent.items.find(isStep) : undefined
      node = isSeq<Node>(parent) ? parent.items[Number(step)] : pair?.value
      start = (pair?.key ?? node)?.range?.[0] ?? start
    }
    return lines.linePos(start).line
  }
}

/** Reads the depth of the parser's stack: counting brackets would also count those in quotes and comments. */
function isDeep(text: string): boolean {
  const parser = new Parser()
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme));
    // The stack also holds the document and the innermost item.
    if (parser.stack.length > DEEPEST + 2) return true
  }
  return false
}

function attempt<T>(call: () => T): T {
  try {
    return call()
  } catch {
    throw new Error('is not YAML that can be read: nested too deeply, or with too many aliases')
  }
}
