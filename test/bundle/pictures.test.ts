import { describe, expect, jest, test } from '@jest/globals'
import { filesIn, read } from './packaging/files.ts'
import { fullestFrame } from './pictures/live.ts'
import { pictures } from './pictures/pictures.ts'
import { summaryPicture } from './pictures/summary-picture.ts'
import { terminalPicture } from './pictures/terminal-picture.ts'

/** The pictures of the documents; `npm run pictures` makes them anew. */

// Six runs, one after the other.
jest.setTimeout(120_000)

const FILES = filesIn('docs/images')
const PAGES = ['README.md', ...filesIn('docs').filter((file) => file.endsWith('.md'))]

test('each shows what a run prints today, except for times and rates', async () => {
  for (const { file, svg } of await pictures()) expect([file, wordsOf(read(file))]).toEqual([file, wordsOf(svg)])
})

test('the live one has a line for each image and one for all', () => {
  const picture = read('docs/images/terminal-live.svg')
  for (const name of ['api', 'web', 'worker'])
    expect(picture).toMatch(new RegExp(`/prod/${name}:2\\.0\\.0 +[█░]{16} `, 'u'))
  expect(picture).toMatch(/0 of 3 images done +[█░]{16} /u)
})

test.each(FILES)('%s is small, takes nothing from elsewhere, and is on a page', (file) => {
  const svg = read(file)
  expect(file).toMatch(/\.svg$/)
  expect(svg.length).toBeLessThan(12_000)
  expect(svg.replace('xmlns="http://www.w3.org/2000/svg"', '')).not.toMatch(
    /https?:\/\/[^<]*"|href|url\(|<script|foreignObject/,
  )
  const name = file.slice('docs/'.length)
  expect(PAGES.filter((page) => read(page).includes(`${name})`))).not.toEqual([])
})

describe('a terminal in a picture', () => {
  test('breaks a line after 80 columns, keeps its colour, and escapes what XML would read', () => {
    const svg = terminalPicture('t', ['--x'], `\u001b[31m${'a'.repeat(81)}\u001b[39m<b>\n`)
    expect(svg).toContain(`<tspan class="red">${'a'.repeat(80)}</tspan>`)
    expect(svg).toContain('<tspan class="red">a</tspan>&#60;b&#62;</text>')
  })

  test('knows no other sequence than colours', () => {
    expect(() => terminalPicture('t', [], '\u001b[2K')).toThrow('not a colour')
    expect(() => terminalPicture('t', [], '\u001b[95m')).toThrow('no colour')
  })

  test('shows the last moment at which most lines had a rate', () => {
    const up = (lines: number) => `\u001b[${lines}F\u001b[J`
    const bar = (name: string) => `${name} ██░░ 1 MiB/s\n`
    const printed = `log\n${bar('a')}${up(1)}${bar('a')}${bar('b')}${up(2)}${bar('a2')}${bar('b2')}${up(2)}done\n`
    expect(fullestFrame(printed)).toBe('log\na2 ██░░ 1 MiB/s\nb2 ██░░ 1 MiB/s')
  })
})

test('a summary in a picture has its table, its chart and its errors, and nothing of what is folded', () => {
  const markdown = [
    '## ✅ A',
    '- **X** (source): <code>y</code><br>what to do',
    '| a | b |\n| --- | --- |\n| 1 | <code>2&nbsp;MiB</code> |',
    '```mermaid\nflowchart LR\n  subgraph sh0["here"]\n    s0["one"]\n  end\n    d0["two"]\n  s0 -->|"moved"| d0\n```',
    '<details>\n<summary>Details</summary>\n\nfolded\n\n</details>',
  ]
  const svg = summaryPicture('t', markdown.join('\n\n'))
  for (const word of [
    '✅ A</text>',
    '<tspan class="code">y</tspan>',
    'what to do',
    '2\u00a0MiB',
    'here',
    'one',
    'two',
    'moved',
    '▸ Details',
  ])
    expect(svg).toContain(word)
  expect(svg).not.toContain('folded')
})

/** In an order of their own, because lines of both sides come as they come. */
function wordsOf(svg: string): string[] {
  const [, log] = /<desc>([\s\S]*)<\/desc>/.exec(svg) ?? []
  const seen =
    log ??
    svg.replace(/<(style|title)>[\s\S]*?<\/\1>/g, '').replace(/<[^>]*>/g, (tag) => (tag.startsWith('<text') ? ' ' : ''))
  return (
    seen
      // Of a report, which has times.
      .replace(/sha256:[0-9a-f]{64}/g, 'DIGEST')
      .replace(/\d+(?:\.\d+)? [KMG]?i?B\/s|\b(?:\d+m )?\d+(?:\.\d+)?m?s\b/g, 'TIME')
      .split(/\s+/)
      .sort()
  )
}
