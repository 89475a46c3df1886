import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from '@jest/globals'
import { PromoteError } from '../../../src/core/errors.ts'
import { type Promote, run } from '../../../src/host/run-promotion.ts'
import type { Env } from '../../../src/inputs/collect.ts'
import type { Report } from '../../../src/report/model.ts'
import { failedRow, inFolder, recordStreams, reportOf, row } from './sample.ts'

const IMAGES = ['--source-registry', 'a.example.com', '--destination-registry', 'b.example.com', '--', 'dev/app:1']
const TEKTON = { IMAGE_PROMOTE_RESULT_DIGEST: '' }

type Options = Readonly<{ argv?: readonly string[]; env?: Env; signal?: AbortSignal }>

async function runWith(promote: Promote, { argv = IMAGES, env = {}, signal }: Options = {}) {
  const streams = recordStreams()
  const code = await run({
    argv,
    env,
    streams,
    signal: signal ?? new AbortController().signal,
    loadPromote: async () => promote,
  })
  return { code, stdout: streams.stdout(), stderr: streams.stderr() }
}

const returning =
  (status: Report['status']): Promote =>
  async () =>
    reportOf([row(1)], { status })
const throwing =
  (thrown: unknown): Promote =>
  async () => {
    throw thrown
  }
const never: Promote = throwing(new Error('nothing may be contacted'))

function aborted(reason: unknown): AbortSignal {
  return AbortSignal.abort(reason)
}

describe('the exit code', () => {
  it.each<[string, Env, number]>([
    ['done', {}, 0],
    ['failed', {}, 1],
    ['partial', {}, 3],
    ['done', TEKTON, 0],
    ['failed', TEKTON, 1],
    ['partial', TEKTON, 3],
  ])('of a run that is %s under %j is %d', async (status, env, code) => {
    expect((await runWith(returning(status as Report['status']), { env })).code).toBe(code)
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])('of a run that %s cancelled is %d', async (signal, code) => {
    expect((await runWith(returning('cancelled'), { signal: aborted(signal) })).code).toBe(code)
    const error = new PromoteError('CANCELLED', 'stopped')
    expect((await runWith(throwing(error), { signal: aborted(signal) })).code).toBe(code)
  })

  it('is 0 when the signal came too late to stop anything', async () => {
    expect((await runWith(returning('done'), { signal: aborted('SIGTERM') })).code).toBe(0)
  })

  it('is 2 for bad inputs, all of them in one message, with nothing contacted', async () => {
    const { code, stderr, stdout } = await runWith(never, { argv: ['--jobs', '0', '--', 'dev/App:1'] })
    expect(code).toBe(2)
    expect(stderr).toMatch(/^error: 2 problems with the inputs:\n {2}--jobs: .*\n {2}--images: .*\n$/)
    expect(stdout).toBe('')
  })

  it('is 1 for an error that ended the run', async () => {
    const error = new PromoteError('TLS', 'unknown CA.', { side: 'source', hint: 'Set --source-ca.' })
    const { code, stderr } = await runWith(throwing(error))
    expect([code, stderr]).toEqual([1, 'error: TLS (source): unknown CA.\n  Set --source-ca.\n'])
  })

  it.each([
    ['is a folder', (folder: string) => folder],
    ['is below a file', (folder: string) => join(folder, 'file', 'report.json')],
  ])('is 1 when the path of the report %s, with nothing contacted', (_, path) =>
    inFolder(async (folder) => {
      writeFileSync(join(folder, 'file'), '')
      const { code, stderr } = await runWith(never, { argv: ['--report', path(folder), ...IMAGES] })
      expect([code, readdirSync(folder)]).toEqual([1, ['file']])
      expect(stderr).toContain('could not be written')
    }),
  )

  it('is 1 when the images are there and the report is not', () =>
    inFolder(async (folder) => {
      const report = join(folder, 'report.json')
      const run: Promote = async (...given) => {
        mkdirSync(report)
        return returning('done')(...given)
      }
      const { code, stderr, stdout } = await runWith(run, {
        argv: ['--output', 'json', '--report', report, ...IMAGES],
      })
      expect(code).toBe(1)
      expect(stderr).toContain('could not be written')
      expect(JSON.parse(stdout).status).toBe('done')
    }))

  it('is 1 for an uncaught error, which ends the run as a signal does', async () => {
    const { code, stderr } = await runWith(returning('cancelled'), { signal: aborted(new TypeError('x is not y')) })
    expect(code).toBe(1)
    expect(stderr).toContain('INTERNAL: TypeError: x is not y')
  })
})

describe('an unexpected error', () => {
  const boom = () => new TypeError('x is not y\nhunter2')

  it('is one line', async () => {
    const { code, stderr } = await runWith(throwing(boom()))
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: INTERNAL: TypeError: x is not y \(.*\)\n$/)
  })

  it('shows its stack with log-level debug, without secrets', async () => {
    const promote: Promote = async (_, host) => {
      host.secrets.keep('hunter2')
      throw boom()
    }
    const { stderr } = await runWith(promote, { argv: ['--log-level', 'debug', ...IMAGES] })
    expect(stderr).toContain('run.test')
    expect(stderr).not.toContain('hunter2')
  })

  it('may be anything that was thrown', async () => {
    const { code, stderr } = await runWith(throwing('just text'))
    expect([code, stderr.includes('just text')]).toEqual([1, true])
  })
})

describe('what a run passes to the promotion', () => {
  it('is the config, the host and a context whose sleep ends with the signal', async () => {
    const controller = new AbortController()
    const promote: Promote = async (config, host, context) => {
      expect(config.images[0]?.destination).toEqual({ repository: 'dev/app', tag: '1' })
      expect(host.kind).toBe('plain')
      expect(context.secrets).toBe(host.secrets)
      expect(context.log).toBe(host.log)
      await context.sleep(0)
      const sleeping = context.sleep(3_600_000)
      controller.abort('SIGINT')
      await expect(sleeping).rejects.toMatchObject({ code: 'CANCELLED' })
      await expect(context.sleep(1)).rejects.toMatchObject({ code: 'CANCELLED' })
      return reportOf([row(1, { status: 'cancelled' })], { status: 'cancelled' })
    }
    const { code, stderr } = await runWith(promote, { signal: controller.signal })
    expect(code).toBe(130)
    expect(stderr).toContain('warning: SIGINT: stopping')
  })

  it('has secrets masked before promotion begins, and origins only in the debug log', () =>
    inFolder(async (folder) => {
      const file = join(folder, 'token')
      writeFileSync(file, 'hunter2\n')
      const promote: Promote = async (config, host) => {
        expect(config.source.token?.reveal()).toBe('hunter2')
        host.log.info('token hunter2')
        return reportOf([failedRow(1, 'bad hunter2')], { status: 'failed' })
      }
      const argv = ['--source-token-file', file, '--log-level', 'debug', '--output', 'json', ...IMAGES]
      const { stderr, stdout } = await runWith(promote, { argv })
      expect(stderr).toContain('token ***\n')
      expect(stderr).toContain(`debug: source-token from --source-token-file (${file})\n`)
      expect(stderr + stdout).not.toContain('hunter2')
    }))

  it('includes what Tekton workspaces hold', () =>
    inFolder(async (folder) => {
      writeFileSync(join(folder, 'token'), 'from-workspace')
      let token: string | undefined
      const promote: Promote = async (config) => {
        token = config.destinations[0]?.token?.reveal()
        return reportOf([row(1)])
      }
      const env = {
        ...TEKTON,
        IMAGE_PROMOTE_DESTINATION_AUTH_DIR: folder,
        IMAGE_PROMOTE_SOURCE_REGISTRY: 'a.example.com',
      }
      const argv = ['--destination-registry', 'b.example.com', '--', 'dev/app:1']
      expect((await runWith(promote, { env, argv })).code).toBe(0)
      expect(token).toBe('from-workspace')
      const bad = await runWith(never, { env: { ...env, IMAGE_PROMOTE_CA_DIR: folder, IMAGE_PROMOTE_JOBS: 'x' }, argv })
      expect(bad.code).toBe(2)
      expect(bad.stderr).toMatch(/^ERROR: 2 problems with the inputs:\n {2}workspace ca: .*\n {2}param jobs: .*\n$/)
    }))
})

it('--help after -- is an image', async () => {
  const { code, stderr } = await runWith(never, { argv: [...IMAGES, '--help'] })
  expect(code).toBe(2)
  expect(stderr).toContain('--images: "--help" is not an image reference')
})
