/**
 * The one table of options. action.yml, the Tekton Task, `--help` and the README are made from it or compared with it:
 * names, defaults and meanings are the same everywhere.
 */

export type HostKind = 'github' | 'tekton' | 'plain'
export type Group = 'what' | 'source' | 'destination' | 'behaviour' | 'output'

export type Option = Readonly<{
  /** Kebab case, without dashes in front. */
  name: string
  type: 'string' | 'boolean' | 'integer' | 'list' | 'secret' | 'path' | 'enum' | 'url'
  /** As text; undefined: unset. */
  default?: string | undefined
  /** Of an integer, both ends included. */
  range?: readonly [number, number] | undefined
  /** Of an enum. */
  values?: readonly string[] | undefined
  /** Of a boolean: a list of host names says true, and for which hosts. */
  orHosts?: boolean | undefined
  /** False: from files and variables only, as every secret. */
  argv?: boolean | undefined
  /** One sentence. */
  meaning: string
  group: Group
  hosts: readonly HostKind[]
}>

const EVERYWHERE: readonly HostKind[] = ['github', 'tekton', 'plain']

type Row = Omit<Option, 'group' | 'hosts'> & Readonly<{ hosts?: readonly HostKind[] }>

const WHAT: readonly Row[] = [
  { name: 'images', type: 'list', meaning: 'SRC or SRC=DST, by line or comma; # is a comment.' },
  { name: 'image-list', type: 'path', meaning: 'YAML or JSON list of images and choices of tags.' },
  {
    name: 'platforms',
    type: 'list',
    default: 'all',
    meaning: 'Platforms to copy, linux/amd64,linux/arm64/v8; the index keeps its digest.',
  },
  { name: 'referrers', type: 'boolean', default: 'true', meaning: 'Copy signatures, SBOMs and attestations too.' },
  { name: 'require-signed', type: 'boolean', default: 'false', meaning: 'A signature must be there; not verified.' },
  {
    name: 'include-foreign',
    type: 'boolean',
    orHosts: true,
    default: 'false',
    meaning: 'Copy non-distributable layers by URL: true, or only from these hosts.',
  },
  { name: 'skip-missing', type: 'boolean', default: 'false', meaning: 'Leave out what a source index lacks.' },
  { name: 'additional-tags', type: 'list', meaning: 'More tags for the same digest at the destination.' },
]

/** Written once, there for both sides. */
function sideRows(side: 'source' | 'destination'): readonly Row[] {
  return [
    { name: 'cluster', type: 'url', meaning: `API server of the ${side} (https), or in-cluster.` },
    { name: 'username', type: 'string', meaning: `User at the ${side}.` },
    { name: 'password', type: 'secret', meaning: `Password of that user at the ${side}.` },
    { name: 'token', type: 'secret', meaning: `Token for the ${side}, sent as it is.` },
    {
      name: 'service-account',
      type: 'string',
      meaning: `Account (namespace/name) whose short-lived token opens the ${side} registry.`,
    },
    { name: 'kubeconfig', type: 'path', meaning: `File with server, CA and credential of the ${side}.` },
    { name: 'context', type: 'string', meaning: `Context of the ${side} kubeconfig.` },
    {
      name: 'oidc-audience',
      type: 'string',
      hosts: ['github'],
      meaning: `Audience of the runner's OIDC token, which then logs in to the ${side} cluster.`,
    },
    {
      name: 'registry',
      type: 'string',
      meaning: `Registry of the ${side}, host[:port] or http://host:port; else the cluster is asked.`,
    },
    { name: 'ca', type: 'string', meaning: `PEM text or file: CAs to trust at the ${side} too.` },
    {
      name: 'insecure-skip-tls-verify',
      type: 'boolean',
      default: 'false',
      meaning: `Accept any TLS certificate of the ${side}.`,
    },
    { name: 'auth-file', type: 'path', meaning: `docker config.json or auth.json for the ${side}.` },
  ].map((row) => ({ ...row, name: `${side}-${row.name}` }) as Row)
}

const DESTINATIONS: Row = {
  name: 'destinations',
  type: 'string',
  argv: false,
  meaning: 'Instead of destination-*: a YAML or JSON list of destinations, or a file with one.',
}

const BEHAVIOUR: readonly Row[] = [
  { name: 'dry-run', type: 'boolean', default: 'false', meaning: 'Print the plan, change nothing.' },
  {
    name: 'overwrite',
    type: 'enum',
    default: 'always',
    values: ['always', 'same', 'never'],
    meaning: 'Write tags that exist: always, same, never.',
  },
  { name: 'expect-current', type: 'string', meaning: 'Digest that the tag has to have now, or absent.' },
  { name: 'atomic', type: 'boolean', default: 'false', meaning: 'Move all tags or none; needs report.' },
  { name: 'rollback', type: 'path', meaning: 'Report of the promotion whose tags go back.' },
  { name: 'fail-fast', type: 'boolean', default: 'false', meaning: 'Begin nothing new after a failure.' },
  { name: 'shard', type: 'string', meaning: 'Promote part N of M of the list, as in 3/8.' },
  { name: 'annotate', type: 'boolean', default: 'false', meaning: 'Note the promotion on the image stream.' },
  {
    name: 'jobs',
    type: 'integer',
    default: '8',
    range: [1, 256],
    meaning: 'Transfers at once; small ones count a sixth.',
  },
  {
    name: 'retries',
    type: 'integer',
    default: '5',
    range: [0, 100],
    meaning: 'Tries in a row without 1 MiB of progress.',
  },
  {
    name: 'stall-timeout',
    type: 'integer',
    default: '60',
    range: [1, 3600],
    meaning: 'Seconds without a byte that break a transfer.',
  },
]

const OUTPUT: readonly Row[] = [
  { name: 'report', type: 'path', meaning: 'Path of the JSON report to write.' },
  {
    name: 'progress',
    type: 'enum',
    default: 'plain',
    values: ['plain', 'quiet', 'json'],
    meaning: 'plain, quiet, or json (an event a line).',
  },
  {
    name: 'log-level',
    type: 'enum',
    default: 'info',
    values: ['info', 'debug'],
    meaning: 'info, or debug (requests with status).',
  },
  {
    name: 'summary',
    type: 'boolean',
    default: 'true',
    hosts: ['github', 'tekton'],
    meaning: 'Write the job summary (Tekton: summary.md beside report.json).',
  },
  {
    name: 'output',
    type: 'enum',
    default: 'text',
    values: ['text', 'json'],
    hosts: ['plain'],
    meaning: 'text, or json: the report on stdout.',
  },
]

function group(name: Group, rows: readonly Row[]): readonly Option[] {
  return rows.map((row) => ({ ...row, group: name, hosts: row.hosts ?? EVERYWHERE }))
}

export const OPTIONS: readonly Option[] = [
  ...group('what', WHAT),
  ...group('source', sideRows('source')),
  ...group('destination', [...sideRows('destination'), DESTINATIONS]),
  ...group('behaviour', BEHAVIOUR),
  ...group('output', OUTPUT),
]

export const OPTION_BY_NAME: ReadonlyMap<string, Option> = new Map(OPTIONS.map((option) => [option.name, option]))

/** Arguments can be read by every process of the machine. */
export function onArgv({ type, argv = true }: Option): boolean {
  return type !== 'secret' && argv
}

/** `source-auth-file` → `SOURCE_AUTH_FILE`, the part of a variable's name after `IMAGE_PROMOTE_`. */
export function variableName(option: string): string {
  return option.toUpperCase().replaceAll('-', '_')
}
