import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { createCliHost } from '../../../src/host/cli.ts'
import type { Settings } from '../../../src/host/host.ts'
import { hostKind } from '../../../src/host/run-promotion.ts'
import type { Event } from '../../../src/report/model.ts'
import { failedRow, inFolder, recordStreams, reportOf, row, SETTINGS } from './sample.ts'

const LOGIN: Event = { event: 'login', side: 'source', user: 'jane', registry: 'registry.example.com' }
const REPORT = reportOf([row(1), failedRow(2, 'the server said no')], { status: 'partial' })

function hostWith(settings: Partial<Settings> = {}) {
  const streams = recordStreams()
  const host = createCliHost({}, streams)
  host.begin({ ...SETTINGS, ...settings })
  return { host, ...streams }
}

describe('the choice of the host', () => {
  it.each([
    [{}, 'plain'],
    [{ GITHUB_ACTIONS: 'true' }, 'github'],
    [{ GITHUB_ACTIONS: 'false' }, 'plain'],
    [{ IMAGE_PROMOTE_RESULT_DIGEST: '/tekton/results/digest' }, 'tekton'],
    [{ IMAGE_PROMOTE_RESULT_ANYTHING: '' }, 'tekton'],
    [{ GITHUB_ACTIONS: 'true', IMAGE_PROMOTE_RESULT_DIGEST: '/x' }, 'github'],
    [{ IMAGE_PROMOTE_JOBS: '3', CI: 'true' }, 'plain'],
  ])('%j is %s', (env, kind) => {
    expect(hostKind(env)).toBe(kind)
  })
})

describe('the plain host', () => {
  it('logs to stderr, with the level before everything but information', () => {
    const { host, stderr, stdout } = hostWith()
    host.log.info('fine')
    host.log.warn('hm')
    host.log.error('bad\nworse')
    host.log.debug('not shown')
    expect(stderr()).toBe('fine\nwarning: hm\nerror: bad\nworse\n')
    expect(stdout()).toBe('')
  })

  it('shows debug lines when they are asked for', () => {
    const { host, stderr } = hostWith({ logLevel: 'debug' })
    host.log.debug('GET /v2/')
    expect(stderr()).toBe('debug: GET /v2/\n')
  })

  it('shows progress in words, and the totals at the end', () => {
    const { host, stderr } = hostWith()
    host.event(LOGIN)
    host.event({ event: 'done', report: REPORT })
    expect(stderr()).toMatch(/^Source: .*registry\.example\.com/)
    expect(stderr()).toContain('Promoted 1, up to date 0, failed 1.')
    expect(stderr()).toContain('the server said no')
  })

  it('prints nothing but errors when quiet', () => {
    const { host, stderr, stdout } = hostWith({ progress: 'quiet', logLevel: 'debug' })
    host.event(LOGIN)
    host.log.debug('x')
    host.log.info('x')
    host.log.warn('x')
    host.event({ event: 'done', report: reportOf([row(1)]) })
    expect(stderr() + stdout()).toBe('')
    host.log.error('bad')
    host.event({ event: 'done', report: REPORT })
    expect(stderr()).toMatch(/^error: bad\nerror: Failed: prod\.example\.com:5000\/prod\/app:2 /)
  })

  it('prints one object a line for progress json', () => {
    const { host, stderr, stdout } = hostWith({ progress: 'json', logLevel: 'debug' })
    host.event(LOGIN)
    host.log.warn('a "quoted"\nline')
    host.log.error('bad')
    host.log.debug('detail')
    host.event({ event: 'done', report: REPORT })
    const lines = stderr().trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      LOGIN,
      { event: 'log', level: 'warn', message: 'a "quoted"\nline' },
      { event: 'log', level: 'error', message: 'bad' },
      { event: 'log', level: 'debug', message: 'detail' },
      { event: 'done', report: REPORT },
    ])
    expect(stdout()).toBe('')
  })

  it('redacts secrets in log, events and report, and keeps JSON whole', async () => {
    const { host, stderr, stdout } = hostWith({ progress: 'json', output: 'json' })
    host.secrets.keep('hunter2')
    host.secrets.keep('98765')
    host.log.info('pw hunter2')
    host.event({
      event: 'retry',
      image: null,
      what: 'GET',
      reason: 'hunter2 \u001b[31m ::x::',
      wait: 98765,
      attempt: 1,
    })
    await host.publish(reportOf([failedRow(1, 'no hunter2 here')]))
    expect(stderr() + stdout()).not.toContain('hunter2')
    const [, retry] = stderr().trimEnd().split('\n')
    expect(JSON.parse(retry ?? '')).toMatchObject({ reason: '***  ::x::', wait: 98765 })
    expect(JSON.parse(stdout()).images[0].error.message).toBe('no *** here')
  })

  it('prints the report on stdout only for output json', async () => {
    const json = hostWith({ output: 'json' })
    await json.host.publish(REPORT)
    expect(JSON.parse(json.stdout())).toEqual(REPORT)
    const text = hostWith()
    await text.host.publish(REPORT)
    expect(text.stdout()).toBe('')
  })

  it('writes the report, and prints it even if it cannot be written', () =>
    inFolder(async (folder) => {
      const path = join(folder, 'r', 'report.json')
      await hostWith({ report: path }).host.publish(REPORT)
      expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(REPORT)
      const { host, stdout } = hostWith({ report: folder, output: 'json' })
      await expect(host.publish(REPORT)).rejects.toMatchObject({ code: 'IO' })
      expect(JSON.parse(stdout()).images[1].digest).toBeNull()
    }))

  it('spells options as flags and passes the environment on', () => {
    const host = createCliHost({ IMAGE_PROMOTE_JOBS: '3' }, recordStreams())
    expect(host.spell('dry-run')).toBe('--dry-run')
    expect(host.inputs()).toEqual({ env: { IMAGE_PROMOTE_JOBS: '3' }, problems: [] })
    expect(host.oidcToken).toBeUndefined()
  })
})
