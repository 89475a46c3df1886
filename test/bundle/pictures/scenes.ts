import { type EmbeddedCluster, startCluster } from '../../support/cluster/cluster.ts'
import { type BuiltImage, makeImage, makeIndex, seedImage } from '../../support/cluster/image.ts'
import { unverified } from '../../support/watch.ts'
import { github, start, temporary } from '../run.ts'
import { startProxy } from '../troubleshooting/proxy.ts'
import { fullestFrame, onTerminal } from './live.ts'

/**
 * What the pictures of the documents show: real runs of the bundle between two clusters, with the names that the documents
 * use. A proxy leads those names to the embedded clusters.
 */
export type Shot = Readonly<{ name: string; command: readonly string[]; log: string; summary: string }>

type Scene = Readonly<{ name: string; images: readonly string[]; flags: readonly string[] }>

const CONTEXTS = ['--source-context', 'test', '--destination-context', 'prod']

const SCENES: readonly Scene[] = [
  {
    name: 'success',
    flags: [],
    images: ['test/api:1.9.2=prod/api', 'test/web:1.9.2=prod/web', 'test/login:4.1=prod/login'],
  },
  {
    name: 'failure',
    flags: [],
    images: ['test/api:1.9.2=prod/api', 'test/login:4.2=prod/login', 'test/web:1.9.2=openshift/web'],
  },
  {
    name: 'plan',
    flags: ['--dry-run', '--report', 'plan.json'],
    images: ['test/api:1.9.2=prod/api', 'test/login:4.1=prod/login'],
  },
]

const MIB = 1024 * 1024
/** `login` is in production already, and so is another `api` of the same tag. */
const IMAGES: Readonly<Record<string, BuiltImage>> = {
  'api:1.9.2': makeIndex({ seed: 71, layersEach: [MIB, 4 * MIB] }),
  'api:1.9.1': makeIndex({ seed: 74, layersEach: [MIB] }),
  'web:1.9.2': makeIndex({ seed: 72, layersEach: [2 * MIB, MIB] }),
  'login:4.1': makeIndex({ seed: 73, layersEach: [2 * MIB] }),
}

const LARGE: Readonly<Record<string, BuiltImage>> = {
  'api:2.0.0': makeImage({ seed: 81, large: [90 * MIB] }),
  'web:2.0.0': makeImage({ seed: 82, large: [140 * MIB] }),
  'worker:2.0.0': makeImage({ seed: 83, large: [60 * MIB] }),
}

/** What a person sees while large images are on their way. */
export async function takeLiveShot(): Promise<Omit<Shot, 'summary'>> {
  const images = ['test/api:2.0.0=prod/api', 'test/web:2.0.0=prod/web', 'test/worker:2.0.0=prod/worker']
  const command = [...CONTEXTS, ...images]
  const printed = await between(
    async (env, cwd) => onTerminal(command, { ...env, IMAGE_PROMOTE_JOBS: '8' }, cwd),
    LARGE,
  )
  return { name: 'live', command, log: named(fullestFrame(printed)) }
}

export async function takeShots(): Promise<Shot[]> {
  const shots: Shot[] = []
  for (const scene of SCENES) shots.push(await shoot(scene))
  return shots
}

async function shoot({ name, images, flags }: Scene): Promise<Shot> {
  const argv = [...CONTEXTS, ...flags, ...images]
  const log = await between(
    async (env, cwd) => (await start(argv, { env: { ...env, FORCE_COLOR: '1' }, cwd }).ended).stderr,
  )
  const inputs = {
    images: images.join('\n'),
    'source-context': 'test',
    'destination-context': 'prod',
    'dry-run': String(flags.includes('--dry-run')),
    jobs: '1',
  }
  const summary = await between(async (env) => (await github(inputs, env)).summary)
  return { name, command: argv, log: named(log), summary: named(summary) }
}

/** The same clusters for every run: what one run has changed, the next does not see. */
async function between(
  run: (env: Record<string, string>, cwd: string) => Promise<string>,
  more: Readonly<Record<string, BuiltImage>> = {},
): Promise<string> {
  const folder = temporary()
  const [test, prod, proxy] = await Promise.all([cluster('test'), cluster('production'), startProxy()])
  for (const [reference, image] of Object.entries({ ...IMAGES, ...more })) {
    const [path, tag = ''] = reference.split(':')
    seedImage(test, `test/${path}`, image, tag)
  }
  seedImage(prod, 'prod/login', IMAGES['login:4.1'] as BuiltImage, '4.1')
  seedImage(prod, 'prod/api', IMAGES['api:1.9.1'] as BuiltImage, '1.9.2')
  const env = {
    KUBECONFIG: folder.file('config', kubeconfig({ test, prod })),
    HTTPS_PROXY: proxy.url,
    // One after the other, so that the lines have an order.
    IMAGE_PROMOTE_JOBS: '1',
  }
  try {
    return await unverified('the names are known to the proxy alone', () => run(env, folder.path))
  } finally {
    await Promise.all([test, prod, proxy].map((each) => each.close()))
    folder.remove()
  }
}

function cluster(name: string): Promise<EmbeddedCluster> {
  const hostnames = { api: `api.${name}.example`, oauth: `oauth.${name}.example`, registry: `registry.${name}.example` }
  return startCluster({ name, hostnames })
}

function kubeconfig(clusters: Readonly<Record<string, EmbeddedCluster>>): string {
  const all = Object.entries(clusters)
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    contexts: all.map(([name]) => ({ name, context: { cluster: name, user: name } })),
    clusters: all.map(([name, { api, ca }]) => ({
      name,
      cluster: { server: api.origin, 'certificate-authority-data': Buffer.from(ca.bundle).toString('base64') },
    })),
    users: all.map(([name, each]) => ({ name, user: { token: each.token('developer') } })),
  })
}

/** The embedded servers have ports that change; those of a cluster have none to be seen. */
function named(text: string): string {
  // What stands in columns behind a name stays where it is.
  const lines = text.split('\n').map((line) => {
    const bar = /^\S*?(:\d{4,5})\S* +[█░]/u.exec(line)?.[1] ?? ''
    return bar === '' ? line : line.replace(/^(\S*?):\d{4,5}(\S*)/, `$1$2${' '.repeat(bar.length)}`)
  })
  const names = lines.join('\n').replace(/(\.example):\d{4,5}/g, '$1')
  // A narrow terminal shows the end of a name.
  return names.replace(/…(\d+)\//g, (_, { length }) => `…${'example'.slice(-length)}/`)
}
