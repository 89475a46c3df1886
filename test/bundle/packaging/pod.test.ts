import { spawn } from 'node:child_process'
import { readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { makeIndex, seedImage } from '../../support/cluster/image.ts'
import { type Folder, temporary } from '../run.ts'
import { type NamingProxy, startProxy } from '../troubleshooting/proxy.ts'
import { jenkinsPodJobs } from './ci-samples.ts'
import { ROOT } from './files.ts'

/** The sample for Jenkins inside of OpenShift, run by a shell as its pod would: the source is the cluster around it. */

const IMAGE = makeIndex({ seed: 33 })
const REGISTRY = 'image-registry.openshift-image-registry.svc'

/**
 * What the kubelet mounts lies in one place on every machine, which only root may write to, and where the test's own pod may
 * have its account: the process sees this folder there.
 */
const MOUNT = `
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
const mount = '/var/run/secrets/kubernetes.io/serviceaccount/'
const open = fs.openSync
fs.openSync = (path, ...rest) =>
  open(String(path).startsWith(mount) ? process.env.MOUNTED + '/' + String(path).slice(mount.length) : path, ...rest)
syncBuiltinESMExports()
`

let here: EmbeddedCluster
let production: EmbeddedCluster
let names: NamingProxy
let folder: Folder

beforeAll(async () => {
  ;[here, production, names] = await Promise.all([
    startCluster({ name: 'here', hostnames: { registry: REGISTRY } }),
    startCluster({ name: 'production' }),
    startProxy(),
  ])
  seedImage(here, 'dev/api', IMAGE, '1.9.2')
  folder = temporary()
  folder.file('token', here.serviceAccountToken('ci', 'pipeline'))
  folder.file('namespace', 'ci')
  folder.file('ca.crt', here.ca.api + here.ca.oauth)
  folder.file('service-ca.crt', here.ca.registry)
  folder.file('mount.mjs', MOUNT)
  symlinkSync(join(ROOT, 'dist'), join(folder.path, 'dist'))
})

afterAll(async () => {
  folder.remove()
  await Promise.all([here, production, names].map((each) => each.close()))
})

describe('docs/samples/Jenkinsfile-openshift', () => {
  const jobs = jenkinsPodJobs({ token: '$PRODUCTION_TOKEN' })

  test('has one call of the program, with the credential of the other cluster alone', () => {
    expect(jobs.map(({ script }) => script)).toEqual(['node /opt/image-promote/index.js'])
    expect(Object.keys(jobs[0]?.env ?? {}).filter((name) => /TOKEN|PASSWORD|USERNAME/.test(name))).toEqual([
      'IMAGE_PROMOTE_DESTINATION_TOKEN',
    ])
  })

  test('promotes from the cluster of its pod, and leaves the report for Jenkins to archive', async () => {
    if (process.platform === 'win32') return
    const [job] = jobs
    const { code, stderr } = await runShell(job?.script ?? '', job?.env ?? {})
    expect([code, stderr]).toEqual([0, expect.stringContaining('Promoted 1, up to date 0, failed 0.')])
    const report = JSON.parse(readFileSync(join(folder.path, 'report.json'), 'utf8'))
    expect(report).toMatchObject({
      status: 'done',
      images: [
        {
          source: `${REGISTRY}:${here.registry.port}/dev/api:1.9.2`,
          destination: `${production.registryHost}/prod/api:1.9.2`,
          digest: IMAGE.root.digest,
          status: 'promoted',
        },
      ],
    })
    expect([...here.unexpected, ...production.unexpected]).toEqual([])
  })
})

async function runShell(script: string, env: Readonly<Record<string, string>>) {
  const { PATH = '' } = process.env
  const token = production.token('developer')
  const given = Object.entries(env).map(([name, value]) => [
    name,
    value.replace('https://api.production.example:6443', production.api.origin).replace('$PRODUCTION_TOKEN', token),
  ])
  const child = spawn('sh', ['-e', '-c', script.replace('/opt/image-promote', 'dist')], {
    cwd: folder.path,
    env: {
      PATH,
      HOME: folder.path,
      KUBERNETES_SERVICE_HOST: here.api.hostname,
      KUBERNETES_SERVICE_PORT: here.api.port,
      // The name of the service, which only the cluster's own DNS knows.
      HTTPS_PROXY: names.url,
      IMAGE_PROMOTE_DESTINATION_CA: production.ca.bundle,
      MOUNTED: folder.path,
      NODE_OPTIONS: `--import=${pathToFileURL(join(folder.path, 'mount.mjs'))}`,
      ...Object.fromEntries(given),
    },
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    stderr += chunk
  })
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve))
  return { code, stderr }
}
