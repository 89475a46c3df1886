import { execFileSync } from 'node:child_process'
import { accessSync, constants, realpathSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join, resolve } from 'node:path'

/** One promotion, as every tool has to do it. */
export type Copy = Readonly<{
  /** `127.0.0.1:port` */
  from: string
  to: readonly string[]
  tls: boolean
  /** Path of the PEM file that both registries are verified with. */
  ca: string
  /** `dev/NAME` and `prod/NAME`: skopeo's sync keeps the last part. */
  source: string
  destination: string
  /** Several: these are all tags of the repository. */
  tags: readonly string[]
  /** An empty folder, HOME of the tool. */
  home: string
}>

export type Tool = Readonly<{
  name: string
  version: string
  /** False: shown, and not compared with. */
  counts: boolean
  /** Undefined: this is not what one would take the tool for. */
  command: (copy: Copy) => readonly string[] | undefined
}>

type Peer = Readonly<{
  name: string
  ask: string
  version: RegExp
  /** Versions before it are what distributions carry along. */
  since?: readonly [number, number]
  install: string
  /** One tag to one registry; the program itself is added. */
  one?: (copy: Copy, to: string, tag: string) => readonly string[]
  /** All tags of the repository, where the tool knows that; else `one` for each of them, unless it is `single`. */
  all?: (copy: Copy, to: string) => readonly string[]
  single?: boolean
}>

const from = (copy: Copy, tag: string) => `${copy.from}/${copy.source}:${tag}`
const into = (copy: Copy, to: string, tag: string) => `${to}/${copy.destination}:${tag}`
const skopeoTls = ({ tls }: Copy) => [`--src-tls-verify=${tls}`, `--dest-tls-verify=${tls}`]

/** Each as a pipeline would call it: with its defaults. CAs come from SSL_CERT_FILE, which Go programs read. */
const PEERS: readonly Peer[] = [
  {
    name: 'skopeo',
    ask: '--version',
    version: /version (\S+)/,
    since: [1, 20],
    install: 'skopeo 1.20 or newer from its source',
    one: (copy, to, tag) => [
      ...['--insecure-policy', 'copy', '--all', '--preserve-digests', ...skopeoTls(copy)],
      ...[`docker://${from(copy, tag)}`, `docker://${into(copy, to, tag)}`],
    ],
    all: (copy, to) => [
      ...[
        '--insecure-policy',
        'sync',
        '--all',
        '--preserve-digests',
        '--src',
        'docker',
        '--dest',
        'docker',
        ...skopeoTls(copy),
      ],
      ...[`${copy.from}/${copy.source}`, `${to}/${copy.destination.split('/')[0]}`],
    ],
  },
  {
    name: 'crane',
    ask: 'version',
    version: /(\S+)/,
    install: 'go install github.com/google/go-containerregistry/cmd/crane@latest',
    one: (copy, to, tag) => ['copy', from(copy, tag), into(copy, to, tag)],
    all: (copy, to) => ['copy', '--all-tags', `${copy.from}/${copy.source}`, `${to}/${copy.destination}`],
  },
  {
    name: 'regctl',
    ask: 'version',
    version: /VCSTag:\s+(\S+)/,
    install: 'go install github.com/regclient/regclient/cmd/regctl@latest',
    // For more than that regclient has regsync.
    single: true,
    one: (copy, to, tag) => [
      ...[copy.from, to].flatMap((host) => ['--host', `reg=${host},tls=${copy.tls ? 'enabled' : 'disabled'}`]),
      ...['image', 'copy', from(copy, tag), into(copy, to, tag)],
    ],
  },
  {
    name: 'regsync',
    ask: 'version',
    version: /VCSTag:\s+(\S+)/,
    install: 'go install github.com/regclient/regclient/cmd/regsync@latest',
    all: (copy, to) => ['once', '-c', regsyncFile(copy, to)],
  },
  {
    name: 'oras',
    ask: 'version',
    version: /Version:\s+(\S+)/,
    install: 'go install oras.land/oras/cmd/oras@latest',
    one: (copy, to, tag) => [
      ...['cp', '--no-tty', `--from-plain-http=${!copy.tls}`, `--to-plain-http=${!copy.tls}`],
      ...[from(copy, tag), into(copy, to, tag)],
    ],
  },
]

/** JSON is YAML. */
function regsyncFile({ home, tls, from: source, ...copy }: Copy, to: string): string {
  const path = join(home, 'regsync.yml')
  const names = { source: `${source}/${copy.source}`, target: `${to}/${copy.destination}` }
  const creds = [source, to].map((registry) => ({ registry, tls: tls ? 'enabled' : 'disabled' }))
  writeFileSync(path, JSON.stringify({ version: 1, creds, sync: [{ ...names, type: 'repository' }] }))
  return path
}

/** Every program of that name, once, in the order in which a shell would find it; Go's own folders last. */
export function findPrograms(name: string): readonly string[] {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...goFolders()]
  const found = folders.filter((folder) => folder !== '').flatMap((folder) => executable(join(folder, name)) ?? [])
  return [...new Set(found)]
}

function goFolders(): string[] {
  const { GOBIN, GOPATH } = process.env
  return [...(GOBIN === undefined ? [] : [GOBIN]), join(GOPATH ?? join(homedir(), 'go'), 'bin')]
}

function executable(path: string): string | undefined {
  try {
    accessSync(path, constants.X_OK)
    return realpathSync(path)
  } catch {
    return undefined
  }
}

/** The peers on this machine, and how to get those that are not. */
export function findPeers(): Readonly<{ tools: readonly Tool[]; missing: readonly string[] }> {
  const missing: string[] = []
  const tools = PEERS.flatMap((peer) => {
    const found = findPrograms(peer.name).map((path) => peerAt(path, peer))
    const counting = found.filter((tool) => tool.counts)
    if (counting.length === 0) missing.push(`${peer.name}: ${peer.install}`)
    return [...counting.slice(0, 1), ...found.filter((tool) => !tool.counts)]
  })
  return { tools, missing }
}

function peerAt(path: string, peer: Peer): Tool {
  const version = peer.version.exec(execFileSync(path, [peer.ask], { encoding: 'utf8' }))?.[1] ?? 'unknown'
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  const [least, lesser] = peer.since ?? [0, 0]
  return {
    name: peer.name,
    version: version.replace(/^v/, ''),
    counts: major > least || (major === least && minor >= lesser),
    command: (copy) => {
      const commands = copy.to.flatMap((to) => commandsOf(peer, copy, to)).map((words) => [path, ...words])
      return commands.length === 0 ? undefined : oneAfterTheOther(commands)
    },
  }
}

function commandsOf({ one, all, single = false }: Peer, copy: Copy, to: string): readonly (readonly string[])[] {
  const several = copy.tags.length > 1
  if (several && all !== undefined) return [all(copy, to)]
  if (one === undefined || (several && single)) return []
  return copy.tags.map((tag) => one(copy, to, tag))
}

/** As a script does it, where a tool takes one image at a time. */
function oneAfterTheOther(commands: readonly (readonly string[])[]): readonly string[] {
  const [only] = commands
  if (commands.length === 1 && only !== undefined) return only
  return ['/bin/sh', '-ec', commands.map((words) => words.map((word) => `'${word}'`).join(' ')).join('\n')]
}

/** The bundle with its defaults. */
export const OURS = bundleAt('image-promote', 'dist/index.js')

/** Another build of this program, to compare with: a change is measured in one run with what it changes. */
export function earlierBuild(path: string): Tool {
  accessSync(path, constants.R_OK)
  return { ...bundleAt('before', path), counts: false }
}

function bundleAt(name: string, path: string): Tool {
  return { name, version: process.version, counts: true, command: (copy) => promotion(resolve(path), copy) }
}

function promotion(bundle: string, copy: Copy): readonly string[] {
  const address = (host: string) => (copy.tls ? host : `http://${host}`)
  const trust = copy.tls ? ['--source-ca', copy.ca] : []
  return [
    ...[process.execPath, bundle, ...trust],
    ...['--source-registry', address(copy.from), ...destinationsOf(copy, address), '--'],
    ...(copy.tags.length > 1
      ? [`${copy.source}:*=${copy.destination}`]
      : copy.tags.map((tag) => `${copy.source}:${tag}=${copy.destination}:${tag}`)),
  ]
}

function destinationsOf({ to, tls, ca, home }: Copy, address: (host: string) => string): readonly string[] {
  const [only = '', ...others] = to
  if (others.length === 0) return ['--destination-registry', address(only), ...(tls ? ['--destination-ca', ca] : [])]
  const path = join(home, 'destinations.json')
  const list = to.map((host, i) => ({ name: `to-${i}`, registry: address(host), ...(tls ? { ca } : {}) }))
  writeFileSync(path, JSON.stringify(list))
  return ['--destinations-file', path]
}
