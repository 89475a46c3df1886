import { Lexer, LineCounter, Parser, parseDocument } from 'yaml'

/** Levels of nesting. The package recurses: hundreds take seconds, thousands end the process without an exception to catch. */
const DEEPEST = 100

type YamlOptions = Readonly<{
  /** `text`: what is no list and no map is a string, whatever it looks like. */
  values?: 'typed' | 'text'
  /** Whether the last of equal keys counts, as kubectl has it, instead of being an error. */
  repeatedKeys?: boolean
}>

/**
 * YAML, and so JSON too, for whatever the user hands over.
 * @throws Error whose message goes on a sentence: "is not YAML: …". The text is not quoted: it may hold anything.
 */
export function parseYaml(text: string, { values = 'typed', repeatedKeys = false }: YamlOptions = {}): unknown {
  if (isDeep(text)) throw new Error(`is nested more than ${DEEPEST} deep`)
  const lines = new LineCounter()
  const schema = values === 'text' ? 'failsafe' : 'core'
  // A list or a map as a key becomes a text of all that is in it, and so does each key in that one.
  const keys = { stringKeys: true, uniqueKeys: !repeatedKeys }
  const options = { schema, ...keys, lineCounter: lines, prettyErrors: false, logLevel: 'error' } as const
  const document = attempt(() => parseDocument(text, options))
  const error = document.errors[0]
  // The parser's own message quotes the line.
  if (error !== undefined) throw new Error(`is not YAML: ${error.code} in line ${lines.linePos(error.pos[0]).line}`)
  return attempt(() => {
    const value: unknown = document.toJS({ maxAliasCount: 100 })
    // Aliases can nest without nested text, also in themselves: what JSON cannot say, nobody here can read.
    JSON.stringify(value)
    return value
  })
}

/** Reads the parser's own stack: counting brackets would count those in quotes and comments. */
function isDeep(text: string): boolean {
  const parser = new Parser()
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme));
    // Also on its stack: the document, and what stands in the innermost list.
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
