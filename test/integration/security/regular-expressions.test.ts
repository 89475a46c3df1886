import { readdirSync, readFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { attacksOn, costsOf, expressionsOf } from './expressions.ts'

// Runs from build/test/integration/security.
const SRC = join(import.meta.dirname, '..', '..', '..', '..', 'src')
const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
  .map((name) => ({ path: name.split(sep).join('/'), text: readFileSync(join(SRC, name), 'utf8') }))
const found = files.flatMap(({ path, text }) => expressionsOf(text).map((each) => ({ path, ...each })))

/** Of text that the user wrote; inputs/tag-selection.test.ts proves that the engine is stopped. */
const FROM_USERS = ['inputs/tag-selection.ts', 'inputs/tag-selection.ts']

const SHORT = 16 * 1024
const LONG = 1024 * 1024
/**
 * Milliseconds of CPU. A linear expression takes below 1 for the short text and 50 for the long one; one that begins anew at each
 * character looks at 130,000,000 characters of the short one.
 */
const LIMIT = { short: 50, long: 800 }

/**
 * Undefined for a linear expression, else the beginning of what it is slow with.
 * @param timeout milliseconds until the engine is stopped: long enough for all texts of a linear expression on a busy machine.
 */
function slowWith(expression: RegExp, timeout = 4000): string | undefined {
  const attacks = [...attacksOn(expression, SHORT)]
  const costs = costsOf(expression, attacks, LIMIT.short, timeout)
  const worst = costs.indexOf(Math.max(...costs))
  const attack = attacks[worst] ?? ''
  // What was slow once may have waited for the garbage collector.
  const again = () => Math.min(...[1, 2].flatMap(() => costsOf(expression, [attack], LIMIT.short, timeout)))
  const cost = costs[worst] ?? 0
  if (cost > 8 * LIMIT.short || (cost > LIMIT.short && again() > LIMIT.short)) return attack.slice(0, 60)
  const long = attack.slice(0, 30).repeat(LONG / 30) + attack.slice(-30)
  return Math.min(...costsOf(expression, [long], LIMIT.long, timeout)) > LIMIT.long ? attack.slice(0, 60) : undefined
}

test('every regular expression of the source takes time in proportion to its text', () => {
  expect(found.length).toBeGreaterThan(100)
  const distinct = new Map(found.flatMap((each) => ('computed' in each ? [] : [[String(each.expression), each]])))
  const slow = [...distinct.values()].flatMap(({ path, line, expression }) => {
    const attack = slowWith(expression)
    return attack === undefined ? [] : [{ where: `${path}:${line}`, expression, attack }]
  })
  expect(slow).toEqual([])
})

test('the only expressions that are made at run time are those that the user writes', () => {
  expect(found.flatMap((each) => ('computed' in each ? [each.path] : []))).toEqual(FROM_USERS)
})

describe('the proof finds', () => {
  test.each([
    ['a run at the end', /\/+$/],
    ['a run in the middle', /<([^>]+)>/],
    ['a word and all behind it', /forbidden: [^"]*exceeds/i],
    ['empty lines', /^(\s*)::/gm],
    ['a comment', /(^|\s)#.*$/],
    ['a lazy search', /-----BEGIN KEY-----[\s\S]*?-----END KEY-----/g],
    ['a repetition in a repetition', /^(a+)+$/],
    ['two neighbours', /^a*a*b/],
  ])('%s', (_, expression) => expect(slowWith(expression, 500)).toBeDefined())

  test('those that are made of constants', () => {
    const a = '$' + '{A}'
    const text = `const A = '[a-z]'\nconst B = \`^${a}+$\`\nnew RegExp(B, 'g'); RegExp(\`${a}x\`); new RegExp(other)`
    const sources = expressionsOf(text).map((each) => ('expression' in each ? String(each.expression) : 'computed'))
    expect(sources).toEqual(['/^[a-z]+$/g', '/[a-z]x/', 'computed'])
  })
})
