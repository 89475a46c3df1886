import { describe, expect, test } from '@jest/globals'
import { code, escapeMarkdown, keepWithin, mermaidLabel } from '../../../src/report/format.ts'
import { makeReport } from '../../../src/report/make-report.ts'
import type { Row } from '../../../src/report/model.ts'
import { renderSummary } from '../../../src/report/summary.ts'
import { digest, failed, MIB, row } from './rows.ts'

const summary = (rows: Row[], dryRun = false) => renderSummary(makeReport(0, 2000, dryRun, rows))
const HOSTILE = '<img src=x onerror=1> | `a` **b** [c](https://evil.example) @team #1\n## heading\n```\n'

describe('escaping', () => {
  test.each([
    ['a|b', 'a&#124;b'],
    ['<b>', '&#60;b&#62;'],
    ['&amp;', '&#38;amp;'],
    ['`x`', '&#96;x&#96;'],
    ['[t](u)', '&#91;t&#93;&#40;u&#41;'],
    ['*_~', '&#42;&#95;&#126;'],
    ['@team', '&#64;team'],
    ['https://x.example', 'https&#58;//x.example'],
    ['WWW.evil.example', 'WWW&#46;evil.example'],
    ['sha256:abc', 'sha256:abc'],
    ['a\n## b', 'a &#35;&#35; b'],
    ['größe', 'größe'],
  ])('%j becomes %j', (text, markdown) => expect(escapeMarkdown(text)).toBe(markdown))

  test('code is HTML, so that a backtick cannot end it', () => {
    expect(code('a`b')).toBe('<code>a&#96;b</code>')
  })

  test('a Mermaid label cannot end its quotes or its fence', () => {
    expect(mermaidLabel('a"]; click x "y`')).toBe('"a#34;#93;#59; click x #34;y#96;"')
  })

  test('no markup of a server is left in a summary', () => {
    const error = { code: 'DENIED', side: 'source', message: HOSTILE, hint: HOSTILE } as const
    const attached = [{ digest: digest('c'), artifactType: HOSTILE, subject: digest('a'), tag: null }]
    const text = summary([
      row({ source: HOSTILE, destination: HOSTILE, tag: HOSTILE, platforms: [HOSTILE], attached }),
      failed({ error }),
    ])
    for (const piece of ['<img', '`a`', '**b**', '[c]', 'https:/', '@team', '#1\n', '\n## heading'])
      expect(text).not.toContain(piece)
    expect(text.match(/^```/gm)).toHaveLength(2)
  })
})

describe('the parts', () => {
  test('the table has status, image, digest, platforms, size, what moved and time; the registry stands above it', () => {
    const line =
      '| ✅ promoted | <code>prod/app:1.2</code> | <code>sha256:bbbbbbbbbbbb &#8594; sha256:aaaaaaaaaaaa</code> | linux/amd64, linux/arm64 | 200&nbsp;MiB | 50&nbsp;MiB&nbsp;/&nbsp;150&nbsp;MiB | 3.2s |'
    const lines = summary([row()]).split('\n')
    expect(lines).toContain(line)
    expect(lines).toContain('At <code>registry.prod.example</code>:')
    expect(lines[0]).toBe('## ✅ Images promoted')
    expect(lines[2]).toContain('Promoted 1')
  })

  test('several registries stand in the rows, and whole digests in the details', () => {
    const text = summary([
      row(),
      row({ destination: 'other.example/prod/app:1.2' }),
      failed({ destination: 'prod/x:1' }),
    ])
    for (const name of ['registry.prod.example/prod/app:1.2', 'other.example/prod/app:1.2', 'prod/x:1'])
      expect(text).toContain(` | <code>${name}</code> | `)
    expect(text).not.toMatch(/^At /m)
    expect(text.slice(text.indexOf('<details>'))).toContain(`<code>${digest('a')}</code>`)
  })

  test('every row of the table has as many cells as its head', () => {
    const rows = summary([row(), failed()])
      .split('\n')
      .filter((line) => line.startsWith('|'))
    expect(new Set(rows.map((line) => line.split('|').length)).size).toBe(1)
    expect(rows).toHaveLength(4)
  })

  test('errors stand before the table, and not inside the details', () => {
    const text = summary([failed()])
    expect(text.indexOf('**DENIED** (destination)')).toBeGreaterThan(0)
    expect(text.indexOf('**DENIED**')).toBeLessThan(text.indexOf('| Status'))
    expect(text.indexOf('<details>')).toBeGreaterThan(text.indexOf('| Status'))
    expect(text.startsWith('## ❌ ')).toBe(true)
  })

  test('the picture has a node per distinct reference and an edge per row', () => {
    const text = summary([
      row(),
      row({ destination: 'r/prod/app:stable', tag: 'stable', bytes: { total: 0, copied: 0, mounted: 0, present: 0 } }),
    ])
    expect(text).toContain('  s0 -->|"promoted 50 MiB"| d0\n  s0 -->|"promoted"| d1\n')
    expect(text.match(/^ {4}s\d+\[/gm)).toHaveLength(1)
  })

  test('the picture has a box per registry', () => {
    const lines = summary([row(), failed({ destination: 'prod/x:1' })]).split('\n')
    const start = lines.indexOf('flowchart LR')
    expect(lines.slice(start + 1, start + 10)).toEqual([
      '  subgraph sh0["registry.dev.example"]',
      '    s0["dev/app:1.2"]',
      '  end',
      '  subgraph dh0["registry.prod.example"]',
      '    d0["prod/app:1.2"]',
      '  end',
      '    d1["prod/x:1"]',
      '  s0 -->|"promoted 50 MiB"| d0',
      '  s0 -->|"failed"| d1',
    ])
  })

  test.each([
    [10, true],
    [11, false],
  ])('%d separate promotions have a picture: %p', (number, drawn) => {
    const rows = Array.from({ length: number }, (_, index) =>
      row({ source: `a/s:${index}`, destination: `b/d:${index}` }),
    )
    expect(summary(rows).includes('```mermaid')).toBe(drawn)
  })

  test('the heading of a dry run says so', () => {
    expect(summary([row({ status: 'planned' })], true).startsWith('## 📋 Promotion planned')).toBe(true)
  })

  test('a run without rows has only the totals', () => {
    expect(summary([])).not.toMatch(/\||mermaid|details/)
  })

  test('details tell where the tag was before and what travelled with the image', () => {
    const attached = [{ digest: digest('c'), artifactType: 'application/spdx+json', subject: digest('a'), tag: null }]
    const text = summary([row({ attached, previousDigest: null })])
    expect(text).toContain('the tag pointed at nothing before')
    expect(summary([row({ previousDigest: 'unknown' })])).toContain('where the tag pointed before is not known')
    expect(text).toContain(`  - with application/spdx+json <code>${digest('c')}</code>`)
  })
})

describe('the size', () => {
  test('stays below 900 KiB and says what it leaves out', () => {
    const rows = Array.from({ length: 4000 }, (_, index) =>
      failed(
        { destination: `registry/${'p'.repeat(200)}/app:${index}`, tag: `${index}` },
        `${index} ${'<'.repeat(3000)}`,
      ),
    )
    const text = summary(rows)
    expect(Buffer.byteLength(text)).toBeLessThan(900 * 1024)
    expect(text).toMatch(/\d+ more kinds of failure/)
    expect(text).toMatch(/and \d+ more: see the report/)
    expect(text).toMatch(/\d+ more lines: see the report/)
    expect(text.trimEnd().endsWith('</details>')).toBe(true)
  })

  test('keeps as many lines as fit into the budget, in bytes of UTF-8', () => {
    expect(keepWithin(['é', 'é', 'é'], 6, (left) => `${left} more`)).toEqual(['é', 'é', '1 more'])
    expect(keepWithin(['é', 'é'], 6, () => 'more')).toEqual(['é', 'é'])
    expect(MIB).toBeGreaterThan(900 * 1024)
  })
})
