import { type ParserOptions, parse } from '@babel/parser'

/** What the architecture's rules need to know about one source file. */
export type Facts = Readonly<{
  lines: number
  /** Lines that are neither blank nor all comment. */
  code: number
  /** Every module named in any kind of import; `<computed>` for a dynamic import of an expression. */
  imports: readonly string[]
  functions: readonly Readonly<{ name: string; line: number; lines: number }>[]
  /** Names of globals that reach outside, as far as they are used. */
  globals: readonly string[]
  defaultExport: boolean
  /** Exports of another module's names. */
  reExports: boolean
}>

export type Node = Readonly<{ type: string; loc: { start: { line: number }; end: { line: number } } }> &
  Readonly<Record<string, unknown>>

const OPTIONS: ParserOptions = { sourceType: 'module', plugins: ['typescript'], createImportExpressions: true }

/** Globals through which a file could go around the import rule. */
const WATCHED = new Set(['process', 'globalThis', 'fetch', 'WebSocket', 'EventSource', 'require', 'eval'])

const FUNCTIONS =
  /^(?:FunctionDeclaration|FunctionExpression|ArrowFunctionExpression|ObjectMethod|Class(?:Private)?Method)$/

/** Every node of the source text, parents first. */
export function nodesOf(text: string): readonly Node[] {
  return visitsOf(text).map(({ node }) => node)
}

function visitsOf(text: string): readonly Visit[] {
  return [...walk(parse(text, OPTIONS).program as unknown as Node, undefined, undefined)]
}

const known = new Map<string, Facts>()

export function factsOf(text: string): Facts {
  const facts = known.get(text) ?? readFacts(text)
  known.set(text, facts)
  return facts
}

function readFacts(text: string): Facts {
  const nodes = visitsOf(text)
  const imported = new Set(nodes.flatMap(({ node }) => importedNames(node)))
  return {
    lines: text.trimEnd().split('\n').length,
    code: codeLines(text),
    imports: nodes.flatMap(({ node }) => moduleOf(node)),
    functions: nodes.filter(({ node }) => FUNCTIONS.test(node.type)).map(({ node, parent }) => measure(node, parent)),
    globals: [...new Set(nodes.filter(isFreeName).map(({ node }) => node.name as string))].filter((name) =>
      WATCHED.has(name),
    ),
    defaultExport: nodes.some(({ node }) => exportsDefault(node)),
    reExports: nodes.some(({ node }) => reExports(node, imported)),
  }
}

/** Biome's format puts a comment on lines of its own, or behind code. */
function codeLines(text: string): number {
  const bare = text.replace(/^[ \t]*\/\*[\s\S]*?\*\/[ \t]*$/gm, '')
  return bare.split('\n').filter((line) => !/^\s*(?:\/\/|$)/.test(line)).length
}

type Visit = Readonly<{ node: Node; parent: Node | undefined; key: string | undefined }>

function* walk(node: Node, parent: Node | undefined, key: string | undefined): Generator<Visit> {
  yield { node, parent, key }
  for (const [name, value] of Object.entries(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) yield* walk(child, node, name)
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string' && 'loc' in value
}

function moduleOf(node: Node): string[] {
  if (/^(?:Import|ExportNamed|ExportAll)Declaration$/.test(node.type)) return literal(node.source, [])
  if (node.type === 'ImportExpression') return literal(node.source, ['<computed>'])
  if (node.type === 'TSImportType') return literal(node.argument, ['<computed>'])
  if (node.type === 'TSExternalModuleReference') return literal(node.expression, ['<computed>'])
  return []
}

function literal(source: unknown, otherwise: string[]): string[] {
  if (!isNode(source)) return otherwise
  if (source.type === 'StringLiteral') return [source.value as string]
  return source.type === 'TSLiteralType' ? literal(source.literal, otherwise) : otherwise
}

function importedNames(node: Node): string[] {
  if (node.type !== 'ImportDeclaration') return []
  return (node.specifiers as Node[]).map((specifier) => (specifier.local as Node).name as string)
}

function exportsDefault(node: Node): boolean {
  if (node.type === 'ExportDefaultDeclaration' || node.type === 'TSExportAssignment') return true
  return node.type === 'ExportSpecifier' && (node.exported as Node).name === 'default'
}

function reExports(node: Node, imported: ReadonlySet<string>): boolean {
  if (node.type === 'ExportAllDeclaration') return true
  if (node.type === 'ExportNamedDeclaration' && isNode(node.source)) return true
  return node.type === 'ExportSpecifier' && isNode(node.local) && imported.has(node.local.name as string)
}

/** A name that stands for a variable, not for a member, a key or a label. */
function isFreeName({ node, parent, key }: Visit): boolean {
  if (node.type !== 'Identifier') return false
  if (key === 'property' && parent?.computed !== true) return false
  if (key === 'key' && parent?.computed !== true) return false
  return key !== 'label' && !/^(?:Import|Export)\w*Specifier$/.test(parent?.type ?? '')
}

function measure(node: Node, parent: Node | undefined): Facts['functions'][number] {
  const { start, end } = node.loc
  const named = [node.id, node.key, parent?.type === 'VariableDeclarator' ? parent.id : undefined].find(isNode)
  return {
    name: (named?.name as string | undefined) ?? 'a nameless function',
    line: start.line,
    lines: end.line - start.line + 1,
  }
}
