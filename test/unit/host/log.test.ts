import { describe, expect, it } from '@jest/globals'
import { PromoteError } from '../../../src/core/errors.ts'
import { Secrets } from '../../../src/core/secret.ts'
import { neutralise, neutraliseJson, visible } from '../../../src/core/text.ts'
import { allOf, cleanData, cleanText, describeError } from '../../../src/host/log.ts'
import { digestOf, failedRow, reportOf, row } from './sample.ts'

describe('text for people', () => {
  it.each([
    ['a\u001b[31mred\u001b[0m', 'ared'],
    ['a\u009b1;31mred \u001b]8;;http://x\u0007link\u001b]8;;\u001b\\', 'ared link'],
    ['zero\u200b\u00ad\ufeff\u3164width', 'zerowidth'],
    ['section_start:1:x\r\u001b[0Kline', 'section_start:1:xline'],
    ['one\r\ntwo\ttabbed', 'one\ntwo\ttabbed'],
    ['over\rwritten\u0007\u0000', 'overwritten'],
    ['c1 \u0085\u009b', 'c1 '],
    ['gpj.\u202eexe\u2066', 'gpj.exe'],
    ['größe 日本', 'größe 日本'],
  ])('%j is printed as %j', (text, clean) => {
    expect(cleanText(text, new Secrets())).toBe(clean)
  })

  it('hides a secret that control characters split', () => {
    const secrets = new Secrets()
    secrets.keep('hunter2')
    expect(cleanText('pw hun\u0000ter\u001b2 and aHVudGVyMg==', secrets)).toBe('pw *** and ***')
  })
})

describe('text for the GitHub runner', () => {
  /** How the runner looks for commands: actions/runner, ActionCommand.cs TryParseV2 and TryParse. */
  const obeyed = (text: string) =>
    text
      .replace(/\p{Default_Ignorable_Code_Point}/gu, '')
      .split(/\r\n|\r|\n/)
      .some((line) => /^\s*::/.test(line) || /##(?:vso|teamcity)?\[|section_(?:start|end):\d/i.test(line))

  it.each([
    '::set-output name=x::y',
    '  ::error::x',
    'fine\n\t::add-mask::x',
    '##[error]x',
    'server said: ##[set-env name=PATH]x',
    '\u00a0::warning::x',
    '##[##[a]',
    '::##[x]::',
    '##vso[task.setvariable variable=a]b',
    'x ##VSO[task.complete]',
    "##teamcity[buildStatus status='SUCCESS']",
    '###[command]x',
    'section_start:1560896352:name',
    'section_end:1:name',
    '#\u200b#[error]x',
    ':\u00ad:error::x',
  ])('the runner finds no command in %j', (text) => {
    expect(obeyed(text)).toBe(true)
    expect(obeyed(neutralise(visible(text)))).toBe(false)
    expect(neutralise(visible(text)).replaceAll(' ', '')).toBe(visible(text).replaceAll(' ', ''))
  })

  it.each(['##[x]', '##vso[a]b ##teamcity[c]', 'section_start:1:x'])(
    '%j is the same in JSON and not obeyed',
    (text) => {
      const json = neutraliseJson(JSON.stringify({ text }))
      expect(obeyed(json)).toBe(false)
      expect(JSON.parse(json)).toEqual({ text })
    },
  )

  it('does not change other colons', () => {
    expect(neutralise('std::string a::b\nhttp://[::1]/ ## [x]')).toBe('std::string a::b\nhttp://[::1]/ ## [x]')
  })
})

describe('errors', () => {
  it.each([
    [new PromoteError('DENIED', 'no push.', { side: 'destination' }), 'DENIED (destination): no push.'],
    [new PromoteError('TLS', 'bad.', { side: 'source', hint: 'Set it.' }), 'TLS (source): bad.\n  Set it.'],
    [new PromoteError('USAGE', 'one problem', { side: 'input' }), 'one problem'],
    [new PromoteError('IO', 'disk full'), 'IO: disk full'],
  ])('%s', (error, text) => {
    expect(describeError(error)).toBe(text)
  })
})

describe('the published report', () => {
  it('has clean text of servers, and whole digests even if a secret is a part of one', () => {
    const secrets = new Secrets()
    secrets.keep('0000')
    secrets.keep('hunter2')
    const attached = [{ digest: digestOf(1), artifactType: 'a/hunter2', subject: digestOf(2), tag: null }]
    const report = cleanData(
      reportOf([{ ...failedRow(1, 'said hunter2\u0007', 'try hunter2'), attached }, row(2)]),
      secrets,
    )
    expect(report.images[0]?.error).toMatchObject({ message: 'said ***', hint: 'try ***' })
    expect(report.images[0]?.attached[0]).toMatchObject({ digest: digestOf(1), artifactType: 'a/***' })
    expect(report.images[1]).toEqual(row(2))
  })
})

describe('publishing', () => {
  it('goes on after a failure and throws the first one', async () => {
    const done: number[] = []
    const tasks = [
      () => void done.push(1),
      () => Promise.reject(new Error('first')),
      () => {
        throw new Error('second')
      },
      async () => void done.push(2),
    ]
    await expect(allOf(tasks)).rejects.toThrow('first')
    expect(done).toEqual([1, 2])
  })
})
