import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { describe, expect, it } from '@jest/globals'
import type { Settings } from '../../../src/host/host.ts'
import { createTektonHost } from '../../../src/host/tekton.ts'
import type { Row } from '../../../src/report/model.ts'
import { digestOf, failedRow, inFolder, recordStreams, reportOf, row, SETTINGS } from './sample.ts'

const NAMES = ['digest', 'images', 'promoted', 'report'] as const
const LONGEST = 1400 + 136

/** Publishes rows and returns the result files as Tekton reads them, and the log. */
async function resultsOf(rows: readonly Row[], settings: Partial<Settings> = {}, more: Record<string, string> = {}) {
  return inFolder(async (folder) => {
    const env = Object.fromEntries(
      NAMES.map((name) => [`IMAGE_PROMOTE_RESULT_${name.toUpperCase()}`, join(folder, name)]),
    )
    const streams = recordStreams()
    const host = createTektonHost({ ...env, ...more }, streams)
    host.begin({ ...SETTINGS, ...settings })
    await host.publish(reportOf(rows))
    const read = (name: string) => readFileSync(join(folder, name), 'utf8')
    return {
      digest: read('digest'),
      images: read('images'),
      promoted: read('promoted'),
      report: read('report'),
      log: streams.stderr(),
    }
  })
}

/** What the entrypoint writes into the termination message: tektoncd/pipeline, pkg/termination/write.go. */
function terminationMessage(results: Record<string, string>): string {
  const entries = NAMES.map((key) => ({ key, value: results[key], type: 1 }))
  const started = { key: 'StartedAt', value: '2026-11-22T10:00:00.000Z', type: 3 }
  const hex = (char: string) => `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`
  return JSON.stringify([...entries, started]).replace(/[<>&\u2028\u2029]/g, hex)
}

describe('results', () => {
  it('are files without a line end', async () => {
    const rows = [row(1), failedRow(2, 'no')]
    const results = await resultsOf(rows)
    expect(results).toMatchObject({ digest: digestOf(1), promoted: '1', report: '', log: '' })
    expect(results.images).toBe(JSON.stringify(rows))
  })

  // kubernetes/kubernetes pkg/kubelet/container: 4,096 bytes for a container, 12,288 for all of a pod, cut without a word.
  const bytesFor = (containers: number) => Math.min(4096, Math.floor(12_288 / containers))
  const limitFor = (containers: number) => (containers <= 8 ? {} : { resultsLimit: bytesFor(containers) - 136 })

  it.each(Array.from({ length: 20 }, (_, index) => index + 1))(
    'survive in a pod of %d containers',
    async (containers) => {
      for (const count of [0, 1, 2, 3, 4, 5, 7, 10, 30, 100, 300]) {
        const rows = Array.from({ length: count }, (_, index) => row(index))
        const results = await resultsOf(rows, { report: '/workspace/report/report.json', ...limitFor(containers) })
        expect(Buffer.byteLength(terminationMessage(results))).toBeLessThanOrEqual(bytesFor(containers))
        expect([results.promoted, results.digest]).toEqual([String(count), rows[0]?.digest ?? ''])
        const images = JSON.parse(results.images)
        if (!Array.isArray(images)) expect(images).toEqual({ promoted: count })
        else expect(images.map(({ destination }) => destination)).toEqual(rows.map(({ destination }) => destination))
      }
    },
  )

  it('have every row, else its main members, else how many there are of each status', async () => {
    const rows = (count: number) => Array.from({ length: count }, (_, index) => row(index))
    expect(JSON.parse((await resultsOf(rows(2))).images)).toEqual(rows(2))
    const brief = await resultsOf(rows(4))
    expect(JSON.parse(brief.images)).toHaveLength(4)
    expect(Object.keys(JSON.parse(brief.images)[0])).toEqual(['source', 'destination', 'digest', 'status'])
    expect(brief.log).toMatch(/^WARN: The result images has only the main members of each row/)
    const counts = await resultsOf([...rows(60), failedRow(99, 'no')])
    expect(JSON.parse(counts.images)).toEqual({ promoted: 60, failed: 1 })
    expect(counts.log).toContain('only the number of rows by status')
    expect(counts.digest).toBe(digestOf(0))
  })

  it('have more rows where the param allows more', async () => {
    const many = Array.from({ length: 12 }, (_, index) => row(index))
    expect(JSON.parse((await resultsOf(many, { resultsLimit: 3960 })).images)).toHaveLength(12)
  })

  it('leave out the path of a report for which there is no room', async () => {
    const results = await resultsOf([row(1)], { report: `/${'deep/'.repeat(100)}report.json`, resultsLimit: 400 })
    expect([results.report, results.digest]).toEqual(['', digestOf(1)])
  })

  it('count characters that Go writes as longer escapes', async () => {
    const message = '<&>'.repeat(150)
    const results = await resultsOf([failedRow(1, message), failedRow(2, message), failedRow(3, message)])
    expect(Buffer.byteLength(terminationMessage(results))).toBeLessThanOrEqual(LONGEST)
  })

  it('go only where a path is given', async () => {
    const host = createTektonHost({ IMAGE_PROMOTE_RESULT_DIGEST: '' }, recordStreams())
    await expect(host.publish(reportOf([row(1)]))).resolves.toBeUndefined()
  })

  it('come with report.json and summary.md in the report workspace', () =>
    inFolder(async (folder) => {
      const report = join(folder, 'report.json')
      const results = await resultsOf([row(1)], { report }, { IMAGE_PROMOTE_REPORT_DIR: folder })
      expect(results.report).toBe(report)
      expect(JSON.parse(readFileSync(results.report, 'utf8'))).toEqual(reportOf([row(1)]))
      expect(readFileSync(join(folder, 'summary.md'), 'utf8')).toMatch(/^## /)
    }))

  it.each(['mine.json', 'ws/report-1.json', 'ws/rollback.json'])('come with %s alone where that is asked for', (name) =>
    inFolder(async (folder) => {
      const report = join(folder, name)
      const results = await resultsOf([row(1)], { report }, { IMAGE_PROMOTE_REPORT_DIR: join(folder, 'ws') })
      expect(results.report).toBe(report)
      expect(JSON.parse(readFileSync(report, 'utf8')).status).toBe('done')
      expect(existsSync(join(folder, 'ws', 'report.json'))).toBe(false)
      expect(existsSync(join(folder, 'ws', 'summary.md'))).toBe(false)
    }),
  )

  it('are written although the report cannot be', () =>
    inFolder(async (folder) => {
      const digest = join(folder, 'digest')
      writeFileSync(join(folder, 'file'), '')
      const env = { IMAGE_PROMOTE_RESULT_DIGEST: digest, IMAGE_PROMOTE_REPORT_DIR: join(folder, 'file') }
      const host = createTektonHost(env, recordStreams())
      host.begin({ ...SETTINGS, report: join(folder, 'file', 'report.json') })
      await expect(host.publish(reportOf([row(1)]))).rejects.toMatchObject({ code: 'IO' })
      expect(readFileSync(digest, 'utf8')).toBe(digestOf(1))
    }))
})

describe('the Tekton host', () => {
  it('advice about a secret names the file of the workspace, because it has no param', () =>
    inFolder(async (folder) => {
      const streams = recordStreams()
      const host = createTektonHost({}, streams)
      const report = join(folder, 'report.json')
      host.begin({ ...SETTINGS, report })
      host.log.error('Check destination-username and destination-password.')
      expect(streams.stderr()).toBe(
        'ERROR: Check destination-username and file password of workspace destination-auth.\n',
      )
      const failed = failedRow(1, 'no', 'Use source-token.')
      await host.publish(reportOf([failed, row(2, { source: 'ns/source-token:1' })]))
      const { images } = JSON.parse(readFileSync(report, 'utf8'))
      expect([images[0].error.hint, images[1].source]).toEqual([
        'Use file token of workspace source-auth.',
        'ns/source-token:1',
      ])
    }))

  it('logs to stderr, with fixed words for the levels', () => {
    const streams = recordStreams()
    const host = createTektonHost({}, streams)
    host.secrets.keep('hunter2')
    host.log.info('i')
    host.log.warn('w hunter2')
    host.log.error('e')
    expect(streams.stderr()).toBe('i\nWARN: w ***\nERROR: e\n')
    expect(streams.stdout()).toBe('')
  })

  it.each([
    ['dry-run', 'param dry-run'],
    ['source-username', 'param source-username'],
    ['source-password', 'file password of workspace source-auth'],
    ['destination-token', 'file token of workspace destination-auth'],
  ])('spells %s as %s', (option, spelled) => {
    expect(createTektonHost({}, recordStreams()).spell(option)).toBe(spelled)
  })
})

describe('workspaces', () => {
  const [first = '', second = '', third = ''] = rootCertificates
  const inputsOf = (env: Record<string, string>) => createTektonHost(env, recordStreams()).inputs()

  /** A folder as Kubernetes mounts a Secret: links into a version that can be swapped. */
  function mount(folder: string, files: Record<string, string>): string {
    mkdirSync(join(folder, '..data'), { recursive: true })
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(folder, '..data', name), text)
      symlinkSync(join('..data', name), join(folder, name), 'file')
    }
    return folder
  }

  it('stand for the options of their side', () =>
    inFolder((folder) => {
      const files = { username: 'u', password: 'p', token: 't', kubeconfig: 'k', 'config.json': '{}', 'ca.crt': first }
      const auth = mount(join(folder, 'a'), files)
      const { env, problems } = inputsOf({ IMAGE_PROMOTE_DESTINATION_AUTH_DIR: auth, OTHER: 'x' })
      expect(problems).toEqual([])
      expect(env).toEqual({
        OTHER: 'x',
        IMAGE_PROMOTE_DESTINATION_AUTH_DIR: auth,
        IMAGE_PROMOTE_DESTINATION_USERNAME_FILE: join(auth, 'username'),
        IMAGE_PROMOTE_DESTINATION_PASSWORD_FILE: join(auth, 'password'),
        IMAGE_PROMOTE_DESTINATION_TOKEN_FILE: join(auth, 'token'),
        IMAGE_PROMOTE_DESTINATION_KUBECONFIG: join(auth, 'kubeconfig'),
        IMAGE_PROMOTE_DESTINATION_AUTH_FILE: join(auth, 'config.json'),
        IMAGE_PROMOTE_DESTINATION_CA: first,
      })
    }))

  it('hold the key that signs, of which messages name the file', () =>
    inFolder((folder) => {
      const keys = mount(join(folder, 's'), { 'sign-key': 'k', 'sign-key-password': 'p', 'cosign.pub': 'x' })
      expect(inputsOf({ IMAGE_PROMOTE_SIGN_DIR: keys })).toEqual({
        problems: [],
        env: {
          IMAGE_PROMOTE_SIGN_DIR: keys,
          IMAGE_PROMOTE_SIGN_KEY_FILE: join(keys, 'sign-key'),
          IMAGE_PROMOTE_SIGN_KEY_PASSWORD_FILE: join(keys, 'sign-key-password'),
        },
      })
      const { problems } = inputsOf({ IMAGE_PROMOTE_SIGN_DIR: join(folder, 'absent') })
      expect(problems.join()).toContain('workspace sign')
    }))

  it.each([
    [['.dockerconfigjson', 'config.json', 'auth.json'], '.dockerconfigjson'],
    [['config.json', 'auth.json'], 'config.json'],
    [['auth.json'], 'auth.json'],
    [['.dockercfg'], '.dockercfg'],
    [['.dockercfg', '.dockerconfigjson'], '.dockerconfigjson'],
  ])('with %j give %s as the auth file', (names, chosen) =>
    inFolder((folder) => {
      const auth = mount(join(folder, 'a'), Object.fromEntries(names.map((name) => [name, '{}'])))
      const { env } = inputsOf({ IMAGE_PROMOTE_SOURCE_AUTH_DIR: auth })
      expect(env.IMAGE_PROMOTE_SOURCE_AUTH_FILE).toBe(join(auth, chosen))
    }),
  )

  it('do not replace params that are set, but do replace empty ones', () =>
    inFolder((folder) => {
      const auth = mount(join(folder, 'a'), { username: 'u', 'ca.crt': first })
      const base = { IMAGE_PROMOTE_SOURCE_AUTH_DIR: auth }
      const set = inputsOf({ ...base, IMAGE_PROMOTE_SOURCE_USERNAME: 'jane', IMAGE_PROMOTE_SOURCE_CA: second }).env
      expect(set.IMAGE_PROMOTE_SOURCE_USERNAME_FILE).toBeUndefined()
      expect(set.IMAGE_PROMOTE_SOURCE_CA).toBe(second)
      const empty = inputsOf({ ...base, IMAGE_PROMOTE_SOURCE_USERNAME: '', IMAGE_PROMOTE_SOURCE_CA: '' }).env
      expect(empty.IMAGE_PROMOTE_SOURCE_USERNAME_FILE).toBe(join(auth, 'username'))
      expect(empty.IMAGE_PROMOTE_SOURCE_CA).toBe(first)
    }))

  it('of CAs serve both sides, beside the ca.crt of one', () =>
    inFolder((folder) => {
      const auth = mount(join(folder, 'a'), { 'ca.crt': first })
      const ca = mount(join(folder, 'ca'), { 'b.pem': third, 'a.crt': second, README: 'no certificate' })
      const { env, problems } = inputsOf({ IMAGE_PROMOTE_SOURCE_AUTH_DIR: auth, IMAGE_PROMOTE_CA_DIR: ca })
      expect(problems).toEqual([])
      expect(env.IMAGE_PROMOTE_SOURCE_CA).toBe(`${first}\n${second}\n${third}`)
      expect(env.IMAGE_PROMOTE_DESTINATION_CA).toBe(`${second}\n${third}`)
    }))

  it('that are not bound change nothing', () => {
    const env = { IMAGE_PROMOTE_SOURCE_AUTH_DIR: '', IMAGE_PROMOTE_DESTINATION_AUTH_DIR: '', IMAGE_PROMOTE_CA_DIR: '' }
    expect(inputsOf(env)).toEqual({ env, problems: [] })
  })

  it('are problems if they are missing or have no usable file', () =>
    inFolder((folder) => {
      const ca = mount(join(folder, 'ca'), { README: 'no certificate' })
      const { problems } = inputsOf({ IMAGE_PROMOTE_CA_DIR: ca, IMAGE_PROMOTE_SOURCE_AUTH_DIR: join(folder, 'absent') })
      expect(problems).toEqual([
        'workspace ca: no file in it is a PEM certificate (-----BEGIN CERTIFICATE-----)',
        `workspace source-auth: ${join(folder, 'absent')} cannot be read: no such file or folder`,
      ])
    }))
})
