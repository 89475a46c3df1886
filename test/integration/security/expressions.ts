import { createContext, runInContext } from 'node:vm'
import { type Node, nodesOf } from '../../unit/architecture/source.ts'

/** A regular expression of the source; `computed` ones are made from a text that is known only at run time. */
export type Found = Readonly<{ line: number; expression: RegExp } | { line: number; computed: true }>

/** All regular expressions of a source text: literals, and `RegExp(…)` of constants of the file. */
export function expressionsOf(text: string): readonly Found[] {
  const nodes = nodesOf(text)
  const constants = new Map<string, Node>()
  for (const { type, id, init } of nodes as readonly (Node & Record<string, Node>)[])
    if (type === 'VariableDeclarator' && id?.type === 'Identifier' && init?.type)
      constants.set(String(id.name), init as Node)
  return nodes.flatMap((node): Found[] => {
    const { line } = node.loc.start
    if (node.type === 'RegExpLiteral') return [{ line, expression: new RegExp(`${node.pattern}`, `${node.flags}`) }]
    if (!/^(?:New|Call)Expression$/.test(node.type) || (node.callee as Node).name !== 'RegExp') return []
    const [pattern, flags] = (node.arguments as Node[]).map((each) => constantOf(each, constants))
    return [pattern === undefined ? { line, computed: true } : { line, expression: new RegExp(pattern, flags) }]
  })
}

function constantOf(node: Node, constants: ReadonlyMap<string, Node>): string | undefined {
  if (node.type === 'StringLiteral') return String(node.value)
  if (node.type === 'RegExpLiteral') return String(node.pattern)
  if (node.type === 'Identifier') {
    const known = constants.get(String(node.name))
    return known === undefined ? undefined : constantOf(known, constants)
  }
  if (node.type !== 'TemplateLiteral') return undefined
  const values = (node.expressions as Node[]).map((each) => constantOf(each, constants))
  if (values.includes(undefined)) return undefined
  return (node.quasis as { value: { cooked: string } }[])
    .map(({ value }, index) => value.cooked + (values[index] ?? ''))
    .join('')
}

/** Atoms of a pattern: classes, escapes, single characters. Groups, bounds and quantifiers are passed over. */
const ATOM = /\[(?:\\[\s\S]|[^\]\\])*\]|\\(?:[pP]\{[^}]*\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\s\S])|[^()|?*+{}^$\\[]/gu
const SYNTAX = /\(\?(?:[:=!]|<[=!])|\{\d*,?\d*\}/g
/** The last of each kind stands for it: letters, digits and blanks are easier to read in a message than controls. */
const CHARACTERS = [
  ...Array.from({ length: 128 }, (_, code) => String.fromCharCode(code)),
  ...['é', '\u2028', '\u202e', 'a', '0', ' '],
]

/** Lets a match fail that has to reach the end of the text, or something that never comes. */
const ENDING = '\n\u0001'

/**
 * What may make the expression slow: long repetitions of each kind of character that it tells apart, of two of them, and of
 * its literal words, also behind each of the words; at the end comes what lets the match fail.
 */
export function* attacksOn({ source, flags }: RegExp, length: number): Generator<string> {
  const atoms = [...new Set(source.replace(SYNTAX, '').match(ATOM) ?? [])].filter((atom) => !/^\\[bBk1-9]/.test(atom))
  const tests = atoms.map((atom) => new RegExp(`^${atom}$`, flags.replace(/[gy]/g, '')))
  const kindOf = (character: string) => tests.map((test) => test.test(character)).join()
  const alphabet = new Set(new Map(CHARACTERS.map((each) => [kindOf(each), each])).values())
  const words = wordsOf(source)
  const units = [...[...alphabet].slice(-6), '\n', ...words]
  for (const first of units) {
    for (const second of ['', ...units]) {
      if (first === second) continue
      const pump = first + second
      // A word begins more seldom, so it takes longer until its attempts add up.
      const body = pump.repeat(Math.ceil(length / Math.min(2, pump.length)) / Math.max(1, pump.length / 8))
      yield body + ENDING
      if (second === '') for (const word of words) yield word + body + ENDING
    }
  }
}

function wordsOf(source: string): readonly string[] {
  const plain = source
    .replace(SYNTAX, '|')
    .replace(/\[(?:\\[\s\S]|[^\]\\])*\]/g, '|')
    .replace(/\\([^\w])/g, '\0$1')
  const words = plain.split(/\\[\w]|(?<!\0)[()|?*+.^$]/).map((word) => word.replaceAll('\0', ''))
  return [...new Set(words.filter((word) => word.length > 1))].slice(0, 4)
}

const RUN = `(() => {
  const expression = new RegExp(source, flags)
  for (const text of texts) {
    const before = cpu()
    if (expression.global) text.replace(expression, '')
    else expression.exec(text)
    costs.push(cpu() - before)
    if (costs.at(-1) > enough) break
  }
})()`

const sandbox = createContext({ cpu: () => process.cpuUsage().user / 1000 })

/**
 * Milliseconds of CPU that the expression needs for each of the texts. A text that needs more than `enough` is the last one.
 * The engine is stopped after `timeout` milliseconds: the text that it was at costs Infinity.
 */
export function costsOf(
  { source, flags }: RegExp,
  texts: Iterable<string>,
  enough: number,
  timeout: number,
): readonly number[] {
  const costs: number[] = []
  Object.assign(sandbox, { source, flags, texts, costs, enough })
  try {
    runInContext(RUN, sandbox, { timeout })
  } catch {
    costs.push(Number.POSITIVE_INFINITY)
  }
  return costs
}
