import { LineCounter, parseDocument } from 'yaml'

/** `- - - - …`: yaml 2 takes seconds for 500 of them in a line, and ends the process for 50,000. */
const DEEP_LINE = /^(?:[ \t]*[-?:][ \t]){50}/m
/** 500 open brackets end the process on half of the usual stack. */
const DEEPEST = 100

/**
 * YAML, and so JSON too.
 * @param values `text`: what is no list and no map is a string, whatever it looks like.
 * @throws Error whose message goes on a sentence: "is not YAML: …". The text is not quoted: it may hold anything.
 */
export function parseYaml(text: string, values: 'typed' | 'text' = 'typed'): unknown {
  if (DEEP_LINE.test(text) || depthOf(text) > DEEPEST) throw new Error('is nested too deeply')
  const lines = new LineCounter()
  const schema = values === 'text' ? 'failsafe' : 'core'
  const options = { schema, lineCounter: lines, prettyErrors: false, logLevel: 'error' } as const
  const document = attempt(() => parseDocument(text, options))
  const error = document.errors[0]
  if (error !== undefined) throw new Error(`is not YAML: ${error.code} in line ${lines.linePos(error.pos[0]).line}`)
  return attempt(() => document.toJS({ maxAliasCount: 100 }))
}

/** Brackets that are open at once, outside of quotes. */
function depthOf(text: string): number {
  let depth = 0
  let deepest = 0
  for (const [bracket] of text.replace(/"(?:[^"\\\n]|\\.)*"|'[^'\n]*'/g, '').matchAll(/[[\]{}]/g)) {
    depth = Math.max(0, depth + (bracket === '[' || bracket === '{' ? 1 : -1))
    deepest = Math.max(deepest, depth)
  }
  return deepest
}

function attempt<T>(call: () => T): T {
  try {
    return call()
  } catch {
    throw new Error('is not YAML that can be read: nested too deeply, or with too many aliases')
  }
}
