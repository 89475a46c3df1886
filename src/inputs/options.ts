/** The table of options: action.yml, the Tekton Task, `--help` and the README are made from or checked against it. */

export type HostKind = 'github' | 'tekton' | 'plain'
export type Group = 'what' | 'source' | 'destination' | 'trust' | 'behaviour' | 'output'

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

type Row = Omit<Option, 'group'>

function row(name: string, type: Option['type'], meaning: string, more: Partial<Row> = {}): Row {
  return { name, type, meaning, hosts: EVERYWHERE, ...more }
}

function flag(name: string, preset: 'true' | 'false', meaning: string, more: Partial<Row> = {}): Row {
  return row(name, 'boolean', meaning, { default: preset, ...more })
}

/** The first of the words is the default. */
function words(name: string, values: readonly string[], meaning: string, more: Partial<Row> = {}): Row {
  return row(name, 'enum', meaning, { default: values[0], values, ...more })
}

const WHAT: readonly Row[] = [
  row('images', 'list', 'SRC or SRC=DST, by line or comma; # is a comment.'),
  row('image-list', 'path', 'YAML or JSON list of images and choices of tags.'),
  row('platforms', 'list', 'Platforms to copy, linux/amd64,linux/arm64/v8; the index keeps its digest.', {
    default: 'all',
  }),
  flag('referrers', 'true', 'Copy signatures, SBOMs and attestations too.'),
  flag('require-signed', 'false', 'A signature must be there; not verified.'),
  flag('include-foreign', 'false', 'Copy non-distributable layers by URL: true, or only from these hosts.', {
    orHosts: true,
  }),
  flag('skip-missing', 'false', 'Leave out what a source index lacks.'),
  row('additional-tags', 'list', 'More tags for the same digest at the destination.'),
]

/** Written once, there for both sides. */
function sideRows(side: 'source' | 'destination'): readonly Row[] {
  return [
    row('cluster', 'url', `API server of the ${side} (https), or in-cluster.`),
    row('username', 'string', `User at the ${side}.`),
    row('password', 'secret', `Password of that user at the ${side}.`),
    row('token', 'secret', `Token for the ${side}, sent as it is.`),
    row('service-account', 'string', `Account (namespace/name) whose short-lived token opens the ${side} registry.`),
    row('kubeconfig', 'path', `File with server, CA and credential of the ${side}.`),
    row('context', 'string', `Context of the ${side} kubeconfig, or of oc login's.`),
    row('oidc-audience', 'string', `Audience of the runner's OIDC token, which then logs in to the ${side} cluster.`, {
      hosts: ['github'],
    }),
    row('registry', 'string', `Registry of the ${side}, host[:port] or http://host:port; else the cluster is asked.`),
    row('ca', 'string', `PEM text or file: CAs to trust at the ${side} too.`),
    flag('insecure-skip-tls-verify', 'false', `Accept any TLS certificate of the ${side}.`),
    row('auth-file', 'path', `docker config.json or auth.json for the ${side}.`),
  ].map((row) => ({ ...row, name: `${side}-${row.name}` }))
}

const LIST = 'Instead of destination-*: a YAML or JSON list of destinations, or a file with one.'
const DESTINATIONS = row('destinations', 'string', LIST, { argv: false })

/** `docs/policy.md` has the policy's format. */
const TRUST: readonly Row[] = [
  row('policy', 'string', 'YAML or JSON policy, or a file with one: who must have signed and attested what.'),
  row('signer-key', 'string', 'PEM public keys, or a file with them: one of them must have signed each image.'),
  row('signer-issuer', 'url', 'Issuer of the identity that must have signed each image; needs signer-subject.'),
  row('signer-subject', 'string', 'That identity; * stands for any characters. Needs trusted-root.'),
  row('trusted-root', 'string', 'trusted_root.json or its text: the CAs and logs behind signer-issuer.'),
]

const BEHAVIOUR: readonly Row[] = [
  row('registry-auth', 'string', 'YAML map: HOST: {username, password-env or -file}.'),
  flag('dry-run', 'false', 'Print the plan, change nothing.'),
  words('overwrite', ['always', 'same', 'never'], 'Write tags that exist: always, same, never.'),
  row('expect-current', 'string', 'Digest that the tag has to have now, or absent.'),
  flag('atomic', 'false', 'Move all tags or none; needs report.'),
  row('rollback', 'path', 'Report of the promotion whose tags go back.'),
  flag('fail-fast', 'false', 'Begin nothing new after a failure.'),
  row('shard', 'string', 'Promote part N of M of the list, as in 3/8.'),
  flag('annotate', 'false', 'Note the promotion on the image stream.'),
  row('jobs', 'integer', 'Transfers at once; small ones count a sixth.', { default: '8', range: [1, 256] }),
  row('retries', 'integer', 'Tries in a row without 1 MiB of progress.', { default: '5', range: [0, 100] }),
  row('stall-timeout', 'integer', 'Seconds without a byte that break a transfer.', { default: '60', range: [1, 3600] }),
]

const OUTPUT: readonly Row[] = [
  row('report', 'path', 'Path of the JSON report to write.'),
  words('progress', ['plain', 'quiet', 'json'], 'plain, quiet, or json (an event a line).'),
  words('log-level', ['info', 'debug'], 'info, or debug (requests with status).'),
  flag('summary', 'true', 'Write the job summary (Tekton: summary.md beside report.json).', {
    hosts: ['github', 'tekton'],
  }),
  words('output', ['text', 'json'], 'text, or json: the report on stdout.', { hosts: ['plain'] }),
]

function group(name: Group, rows: readonly Row[]): readonly Option[] {
  return rows.map((row) => ({ ...row, group: name }))
}

export const OPTIONS: readonly Option[] = [
  ...group('what', WHAT),
  ...group('source', sideRows('source')),
  ...group('destination', [...sideRows('destination'), DESTINATIONS]),
  ...group('trust', TRUST),
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
