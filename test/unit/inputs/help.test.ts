import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, it } from '@jest/globals'
import { VERSION } from '../../../src/core/version.ts'
import { answerTo, helpText } from '../../../src/inputs/help.ts'
import { OPTIONS } from '../../../src/inputs/options.ts'

const text = helpText(VERSION)
const lines = text.split('\n')

it('begins with three commands; only --help-all lists all options', () => {
  const short = answerTo(['--help', '--dry-run']) ?? ''
  for (const help of [short, answerTo(['--help-all']) ?? '']) {
    const start = help.slice(0, help.indexOf('Usage:'))
    expect(start.match(/^ {2}image-promote /gm)).toHaveLength(3)
    expect(Math.max(...help.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80)
  }
  expect(short.split('\n').length).toBeLessThanOrEqual(40)
  expect(short).toContain('--help-all')
  expect(answerTo(['-h'])).toBe(short)
  expect(answerTo(['--', '--help'])).toBeUndefined()
})

it.each([
  ['bash', /^_image_promote\(\)/, /complete .*image-promote$/],
  ['zsh', /^#compdef image-promote\n/, /compdef _image_promote image-promote$/],
  ['fish', /^complete -c image-promote -l images\n/, /-l version$/],
])('completes for %s', (shell, start, end) => {
  const script = answerTo(['completion', shell]) ?? ''
  expect(script).toMatch(start)
  expect(script).toMatch(end)
  expect(script).toContain('destination-token-file')
  expect(script).not.toMatch(/destination-token[^-]|results-limit/)
  expect(answerTo(['completion', 'tcsh'])).toBeUndefined()
  const known = spawnSync(shell, ['-n', '-c', script], { encoding: 'utf8' })
  if (known.error === undefined) expect([known.status, known.stderr]).toEqual([0, ''])
})

it('fits a terminal of 80 columns and 100 lines', () => {
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80)
  expect(lines.length).toBeLessThanOrEqual(100)
  expect(lines.filter((line) => line !== line.trimEnd())).toEqual([])
})

it('names every option of the command line, and no other', () => {
  const named = new Set(text.match(/--[a-z]+(?:-[a-z]+)*/g))
  for (const { name, hosts } of OPTIONS)
    expect([name, named.has(`--${name}`) || named.has(`--${name}-file`)]).toEqual([name, hosts.includes('plain')])
})

it('uses the meanings of the table word for word', () => {
  const words = text.replace(/\s+/g, ' ')
  for (const { group, meaning, hosts } of OPTIONS)
    if (group !== 'destination' && group !== 'trust' && hosts.includes('plain')) expect(words).toContain(meaning)
})

it('has the version of package.json', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../../../package.json', import.meta.url), 'utf8'))
  expect(VERSION).toBe(version)
  expect(lines[0]).toContain(version)
})

it.each([
  [['--help'], 'Usage: image-promote'],
  [['-h'], 'Usage: image-promote'],
  [['--nonsense', '--help'], 'Usage: image-promote'],
  [['--version'], 'image-promote 0.'],
])('%j has an answer', (argv, text) => {
  expect(answerTo(argv)).toContain(text)
  expect(answerTo(['--', ...argv])).toBeUndefined()
})
