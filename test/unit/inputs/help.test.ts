import { readFileSync } from 'node:fs'
import { expect, it } from '@jest/globals'
import { VERSION } from '../../../src/core/version.ts'
import { helpText } from '../../../src/inputs/help.ts'
import { OPTIONS } from '../../../src/inputs/options.ts'

const text = helpText(VERSION)
const lines = text.split('\n')

it('fits a terminal of 80 columns and a page of 70 lines', () => {
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80)
  expect(lines.length).toBeLessThanOrEqual(70)
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
