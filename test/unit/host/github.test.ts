import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from '@jest/globals'
import { createGithubHost, type Runner } from '../../../src/host/github.ts'
import type { Settings } from '../../../src/host/host.ts'
import type { Env } from '../../../src/inputs/collect.ts'
import type { Event } from '../../../src/report/model.ts'
import { digestOf, failedRow, inFolder, reportOf, row, SETTINGS } from './sample.ts'

type Call = readonly [name: string, ...args: unknown[]]

function hostWith(settings: Partial<Settings> = {}, env: Env = {}, replaced: Partial<Runner> = {}) {
  const calls: Call[] = []
  const record =
    (name: string) =>
    (...args: unknown[]): void => {
      calls.push([name, ...args])
    }
  const runner: Runner = {
    setSecret: record('mask'),
    info: record('info'),
    debug: record('debug'),
    warning: record('warning'),
    error: record('error'),
    setOutput: record('output'),
    startGroup: record('group'),
    endGroup: record('endgroup'),
    getIDToken: async (audience) => `jwt for ${audience}`,
    ...replaced,
  }
  const host = createGithubHost(env, runner)
  host.begin({ ...SETTINGS, ...settings })
  const of = (name: string) => calls.filter((call) => call[0] === name).map(([, ...args]) => args)
  return { host, calls, of }
}

const step = (image: number, why: string): Event => ({
  event: 'step',
  image,
  do: 'copy',
  digest: digestOf(9),
  kind: 'blob',
  size: 12,
  why,
})

describe('secrets on GitHub', () => {
  it('are masked in every form before they are handed out', () => {
    const { host, calls } = hostWith()
    const secret = host.secrets.keep('hünter2/\nsecond line')
    host.log.info(`using ${secret.reveal()} and ${encodeURIComponent('hünter2/')}`)
    const masked = calls.slice(0, -1)
    expect(masked.every(([name]) => name === 'mask')).toBe(true)
    const forms = masked.map(([, form]) => form)
    expect(forms).toEqual(
      expect.arrayContaining(['hünter2/', 'second line', Buffer.from('hünter2/').toString('base64')]),
    )
    expect(calls.at(-1)).toEqual(['info', 'using *** and ***'])
  })

  it('are masked when they are kept later, too', () => {
    const { host, of } = hostWith()
    host.secrets.keep('hunter2')
    expect(of('mask')).toContainEqual(['hunter2'])
  })
})

describe('the log on GitHub', () => {
  it('has warnings and errors as annotations', () => {
    const { host, calls } = hostWith()
    host.log.info('i')
    host.log.warn('w')
    host.log.error('e')
    host.log.debug('d')
    expect(calls).toEqual([
      ['info', 'i'],
      ['warning', 'w'],
      ['error', 'e', {}],
    ])
  })

  it('shows debug lines as the runner does, or as lines when only log-level asks for them', () => {
    const runner = hostWith({ logLevel: 'debug' }, { RUNNER_DEBUG: '1' })
    runner.host.log.debug('GET /v2/')
    expect(runner.calls).toEqual([['debug', 'GET /v2/']])
    const own = hostWith({ logLevel: 'debug' })
    own.host.log.debug('GET /v2/')
    expect(own.calls).toEqual([['info', 'debug: GET /v2/']])
  })

  it('the runner finds no command in the text of a server', () => {
    const { host, calls } = hostWith()
    const evil = 'x\n::set-env name=PATH::/evil\n##[error]y'
    host.log.info(evil)
    host.log.warn(evil)
    host.event({ event: 'retry', image: 0, what: '::stop-commands::x', reason: evil, wait: 5, attempt: 1 })
    host.event(step(0, evil))
    host.event({ event: 'image', image: 0, row: failedRow(1, evil) })
    for (const [, text] of calls.filter(([name]) => name === 'info' || name === 'warning'))
      expect(text).not.toMatch(/^\s*::|##\[/m)
  })

  it('prints the steps of each image in a group of its own', () => {
    const { host, calls } = hostWith()
    host.event(step(0, 'not there'))
    host.event(step(1, 'other'))
    host.event(step(0, 'also not'))
    host.event({ event: 'image', image: 0, row: row(1) })
    const begin = calls.findIndex(([name]) => name === 'group')
    expect(calls.slice(begin, begin + 4)).toEqual([
      ['group', 'Details of prod.example.com:5000/prod/app:1'],
      ['info', `copy blob ${digestOf(9)} (12 bytes): not there`],
      ['info', `copy blob ${digestOf(9)} (12 bytes): also not`],
      ['endgroup'],
    ])
    expect(calls.at(-1)?.[1]).toContain('prod.example.com:5000/prod/app:1')
    host.event({ event: 'image', image: 0, row: row(1, { tag: 'second' }) })
    expect(calls.filter(([name]) => name === 'group')).toHaveLength(1)
  })

  it('limits the lines of a group', () => {
    const { host, calls } = hostWith()
    for (let index = 0; index < 1000; index += 1) host.event(step(0, 'x'))
    host.event({ event: 'image', image: 0, row: row(1) })
    expect(calls.length).toBeLessThan(310)
    expect(calls.map(([, text]) => text)).toContain('… and more')
  })

  it('prints errors alone when quiet, and objects for json', async () => {
    const report = reportOf([failedRow(1, 'no')], { status: 'failed' })
    const quiet = hostWith({ progress: 'quiet' })
    quiet.host.event(step(0, 'x'))
    quiet.host.event({ event: 'image', image: 0, row: report.images[0] ?? row(1) })
    quiet.host.event({ event: 'done', report })
    await quiet.host.publish(report)
    expect(quiet.calls.map(([name]) => name).filter((name) => name !== 'output')).toEqual(['error'])

    const json = hostWith({ progress: 'json' })
    json.host.event({ event: 'done', report })
    json.host.log.error('bad')
    expect(JSON.parse(String(json.calls[0]?.[1]))).toEqual({ event: 'done', report })
    expect(json.calls[1]).toEqual(['error', 'bad', {}])
  })
})

describe('annotations', () => {
  it('are one per failed image, after the verdict and outside of groups', async () => {
    const { host, calls } = hostWith()
    const report = reportOf([row(1), failedRow(2, 'the server said no', 'Ask for the role.')], { status: 'partial' })
    host.event({ event: 'done', report })
    await host.publish(report)
    expect(calls[0]?.[1]).toMatch(/^Promoted 1, up to date 0, failed 1\./)
    expect(calls[1]).toEqual([
      'error',
      'failed: the server said no [DENIED, destination]\nAsk for the role.',
      { title: 'prod.example.com:5000/prod/app:2' },
    ])
    expect(calls.filter(([name]) => name === 'group')).toEqual([])
  })

  it('are at most nine, and one that counts the rest, which are in the log', async () => {
    const { host, of } = hostWith()
    const rows = Array.from({ length: 30 }, (_, index) => failedRow(index, `no ${index}`))
    await host.publish(reportOf(rows, { status: 'failed' }))
    expect(of('error')).toHaveLength(10)
    expect(of('error').at(-1)?.[0]).toContain('and 21 more')
    expect(of('info').map(([text]) => text)).toContain(
      'Error: prod.example.com:5000/prod/app:29: failed: no 29 [DENIED, destination]',
    )
  })

  it('are cut to the length that the runner takes; the log has all of it', () => {
    const { host, of } = hostWith()
    host.log.error('x'.repeat(9000))
    expect(of('info')).toEqual([['x'.repeat(9000)]])
    expect(String(of('error')[0]?.[0]).length).toBeLessThan(4096)
  })
})

describe('outputs on GitHub', () => {
  const outputs = (calls: unknown[][]) => Object.fromEntries(calls as [string, string][])

  it('are digest, images, promoted and report', () =>
    inFolder(async (folder) => {
      const path = join(folder, 'report.json')
      const { host, of } = hostWith({ report: path })
      const report = reportOf([row(1), row(2, { status: 'unchanged' }), failedRow(3, 'no')], { status: 'partial' })
      await host.publish(report)
      const { images, ...rest } = outputs(of('output'))
      expect(rest).toEqual({ digest: digestOf(1), promoted: '1', report: path })
      expect(JSON.parse(images ?? '')).toEqual(report.images)
      expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(report)
    }))

  it('are text even when nothing was promoted', async () => {
    const { host, of } = hostWith()
    await host.publish(reportOf([failedRow(1, 'no')], { status: 'failed' }))
    expect(outputs(of('output'))).toMatchObject({ digest: '', promoted: '0', report: '' })
  })

  it('keep images below what the runner takes', async () => {
    const { host, of } = hostWith()
    const rows = Array.from({ length: 2000 }, (_, index) => row(index))
    await host.publish(reportOf(rows))
    const { images = '' } = outputs(of('output'))
    expect(Buffer.byteLength(images)).toBeLessThanOrEqual(512 * 1024)
    expect(JSON.parse(images)[1999]).toEqual({
      source: rows[1999]?.source,
      destination: rows[1999]?.destination,
      digest: digestOf(1999),
      status: 'promoted',
    })
  })

  it('append the summary and the subjects for attestation to the files that the runner offers', () =>
    inFolder(async (folder) => {
      const env = { GITHUB_STEP_SUMMARY: join(folder, 'summary'), GITHUB_ARTIFACTS: join(folder, 'artifacts') }
      writeFileSync(env.GITHUB_STEP_SUMMARY, 'before\n')
      const rows = [
        row(1),
        row(1, { tag: '1.0', destination: 'prod.example.com:5000/prod/app:1.0' }),
        failedRow(2, 'x'),
      ]
      await hostWith({}, env).host.publish(reportOf([...rows, row(3, { status: 'unchanged' })]))
      expect(readFileSync(env.GITHUB_STEP_SUMMARY, 'utf8')).toMatch(/^before\n## /)
      expect(readFileSync(env.GITHUB_ARTIFACTS, 'utf8')).toBe(
        `oci://prod.example.com:5000/prod/app@${digestOf(1)}\noci://prod.example.com:5000/prod/app@${digestOf(3)}\n`,
      )
    }))

  it('leave the summary out when it is not wanted, and artifacts of a dry run', () =>
    inFolder(async (folder) => {
      const env = { GITHUB_STEP_SUMMARY: join(folder, 'summary'), GITHUB_ARTIFACTS: join(folder, 'artifacts') }
      await hostWith({ summary: false }, env).host.publish(reportOf([row(1, { status: 'planned' })], { dryRun: true }))
      expect(() => readFileSync(env.GITHUB_STEP_SUMMARY)).toThrow('ENOENT')
      expect(() => readFileSync(env.GITHUB_ARTIFACTS)).toThrow('ENOENT')
    }))

  it('are set although the report cannot be written', () =>
    inFolder(async (folder) => {
      const { host, of } = hostWith({ report: folder })
      await expect(host.publish(reportOf([row(1)]))).rejects.toMatchObject({ code: 'IO' })
      expect(outputs(of('output')).digest).toBe(digestOf(1))
    }))
})

describe('the GitHub host', () => {
  it('spells options as inputs and has OIDC tokens', async () => {
    const { host } = hostWith()
    expect(host.spell('dry-run')).toBe('input "dry-run"')
    expect(await host.oidcToken?.('me')).toBe('jwt for me')
  })

  it.each<[string, (folder: string) => Env, string[]]>([
    ['outputs', () => ({}), ['outputs']],
    ['the summary', (folder) => ({ GITHUB_STEP_SUMMARY: join(folder, 'gone', 'summary') }), ['outputs', 'summary']],
    ['subjects', (folder) => ({ GITHUB_ARTIFACTS: folder }), ['outputs', 'artifacts']],
  ])('warns once when %s cannot be written, and writes the report', (_, env, names) =>
    inFolder(async (folder) => {
      const lost = () => {
        throw new Error('Missing file at path: /not/mounted')
      }
      const { host, of } = hostWith({ report: join(folder, 'report.json') }, env(folder), { setOutput: lost })
      await host.publish(reportOf([row(1)]))
      expect(JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')).images).toHaveLength(1)
      expect(of('warning')).toHaveLength(1)
      for (const name of names) expect(String(of('warning'))).toContain(`${name} (`)
    }),
  )

  it('prints the same commands as @actions/core: masks first, outputs to the file', () =>
    inFolder(async (folder) => {
      const output = join(folder, 'output')
      writeFileSync(output, '')
      const module = new URL('../../../src/host/run-promotion.js', import.meta.url).href
      const script = `
        const { chooseHost } = await import(${JSON.stringify(module)})
        const host = await chooseHost([], { ...process.env, INPUT_IMAGES: 'a:1' }, {})
        const secret = host.secrets.keep('hunter2')
        host.log.info('::error::' + secret.reveal())
        host.begin(${JSON.stringify(SETTINGS)})
        await host.publish(${JSON.stringify(reportOf([row(1)]))})`
      const env = { ...process.env, GITHUB_ACTIONS: 'true', GITHUB_OUTPUT: output, GITHUB_STEP_SUMMARY: '' }
      const { stdout, stderr } = await promisify(execFile)(
        process.execPath,
        ['--input-type=module', '-e', script.replaceAll('\n', ' ; ')],
        { env },
      )
      const lines = stdout.split(/\r?\n/)
      expect(lines[0]).toBe('::add-mask::hunter2')
      expect(lines).toContain(': :error::***')
      expect(stdout.replaceAll(/^::add-mask::.*$/gm, '')).not.toContain('hunter2')
      expect(stderr).toBe('')
      expect(readFileSync(output, 'utf8')).toMatch(new RegExp(`^digest<<(\\S+)\\r?\\n${digestOf(1)}\\r?\\n\\1`))
    }))
})
