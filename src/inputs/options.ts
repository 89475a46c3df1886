/** The table of options: action.yml, the Tekton Task, `--help` and docs/options.md are made from or checked against it. */

export type HostKind = 'github' | 'tekton' | 'plain'
export type Group = 'what' | 'source' | 'destination' | 'trust' | 'behaviour' | 'output'

export type Option = Readonly<{
  name: string // kebab case, without dashes in front
  type: 'string' | 'boolean' | 'integer' | 'list' | 'secret' | 'path' | 'enum' | 'url'
  default?: string | undefined // as text; undefined: unset
  range?: readonly [number, number] | undefined // of an integer, both ends included
  values?: readonly string[] | undefined // of an enum
  orHosts?: boolean | undefined // of a boolean: a list of host names says true, and for which hosts
  argv?: boolean | undefined // false: from files and variables only, as every secret
  meaning: string // one sentence
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

const PLATFORMS = 'Platforms to copy, as in linux/amd64,linux/arm64/v8. The index keeps its digest.'
const FOREIGN = 'Copy non-distributable layers from their URLs: true, or a list of the allowed hosts.'

const WHAT: readonly Row[] = [
  row('images', 'list', 'Images to promote: SRC or SRC=DST, one per line or comma; # starts a comment.'),
  row('image-list', 'string', 'YAML or JSON list of images and selections of tags, or a file with one.'),
  row('exclude', 'list', 'Leave out of what * and selections find: NAME, :TAG or NAME:TAG, with * and ?.'),
  row('platforms', 'list', PLATFORMS, { default: 'all' }),
  flag('referrers', 'true', 'Also copy signatures, SBOMs and attestations.'),
  flag('require-signed', 'false', 'Fail if an image has no signature. The signature is not verified.'),
  flag('include-foreign', 'false', FOREIGN, { orHosts: true }),
  flag('skip-missing', 'false', 'Skip platforms that the index lists but the source registry does not have.'),
  row('additional-tags', 'list', 'More tags for the same digest at the destination.'),
]

function sideRows(side: 'source' | 'destination'): readonly Row[] {
  const account = `Service account (namespace/name) whose short-lived token opens the ${side} registry.`
  const audience = `Audience of the runner's OIDC token, which then logs in to the ${side} cluster.`
  const registry = `Registry of the ${side}, host[:port] or http://host:port. Default: that of the cluster.`
  return [
    row('cluster', 'url', `URL of the API server of the ${side} cluster (https), or in-cluster.`),
    row('username', 'string', `User name at the ${side}.`),
    row('password', 'secret', `Password of that user at the ${side}.`),
    row('token', 'secret', `Token for the ${side}. It is sent as it is.`),
    row('service-account', 'string', account),
    row('kubeconfig', 'path', `Kubeconfig file with the server, CA and credential of the ${side}.`),
    row('context', 'string', `Context of the ${side} kubeconfig, or of oc login's.`),
    row('oidc-audience', 'string', audience, { hosts: ['github'] }),
    row('registry', 'string', registry),
    row('ca', 'string', `More CA certificates to trust at the ${side}: PEM text or a file.`),
    flag('insecure-skip-tls-verify', 'false', `Accept any TLS certificate of the ${side}.`),
    row('auth-file', 'path', `docker config.json or containers auth.json with credentials for the ${side}.`),
  ].map((row) => ({ ...row, name: `${side}-${row.name}` }))
}

const LIST = 'Several destinations instead of destination-*: a YAML or JSON list, or a file with one.'
const DESTINATIONS = row('destinations', 'string', LIST, { argv: false })

/** `docs/policy.md` has the policy's format. */
const TRUST: readonly Row[] = [
  row('policy', 'string', 'YAML or JSON policy, or a file with one: who must have signed and attested what.'),
  row('signer-key', 'string', 'PEM public keys, or a file with them: one of them must have signed each image.'),
  row('signer-issuer', 'url', 'Issuer of the identity that must have signed each image; needs signer-subject.'),
  row('signer-subject', 'string', 'That identity; * stands for any characters. Needs trusted-root.'),
  row('trusted-root', 'string', 'trusted_root.json or its text: the CAs and logs behind signer-issuer.'),
  row('sign-key', 'secret', 'PEM private key (P-256, RSA, Ed25519) that signs the promotion at the destination.'),
  row('sign-key-password', 'secret', 'Password of that key.'),
  words('sign', ['record', 'image', 'both'], 'A promotion record, a signature that nodes verify, or both.'),
  row('record-file', 'string', 'Path for the unsigned statements of what was promoted; a folder ends with /.'),
  row('history', 'list', 'Images at the destination whose promotion records are read. Nothing is promoted.'),
  row('sign-as', 'string', 'Registry or repository in the image signature, by which pods pull it.'),
]

const STALL = 'Seconds without a byte after which a transfer has failed.'
const OVERWRITE = 'If a tag exists: overwrite it (always), accept the same digest (same), skip it, or fail (never).'

const BEHAVIOUR: readonly Row[] = [
  row('registry-auth', 'string', 'YAML map: HOST: {username, password-env or -file}.'),
  flag('dry-run', 'false', 'Print the plan and change nothing.'),
  words('overwrite', ['always', 'same', 'skip', 'never'], OVERWRITE),
  row('expect-current', 'string', 'The expected current digest of the tag, or absent.'),
  flag('atomic', 'false', 'Move all tags or none. Needs report.'),
  row('plan', 'path', 'Promote an approved plan: path of the JSON report of a dry run.'),
  row('rollback', 'path', 'Undo an earlier promotion: path of its JSON report.'),
  flag('fail-fast', 'false', 'Start nothing new after the first failure.'),
  row('shard', 'string', 'Promote only part N of M of the list, as in 3/8.'),
  flag('annotate', 'false', 'Record the promotion in an annotation of the image stream.'),
  row('jobs', 'integer', 'Maximum number of parallel transfers.', { default: '8', range: [1, 256] }),
  row('retries', 'integer', 'How many times to retry a failed request or transfer.', { default: '5', range: [0, 100] }),
  row('stall-timeout', 'integer', STALL, { default: '60', range: [1, 3600] }),
]

const PROGRESS = 'Progress messages: plain, quiet (errors only), or json (one event per line).'
const SUMMARY = 'Write the job summary (Tekton: summary.md beside report.json).'
const RESULTS = 'Maximum bytes of all results together: 12288 / containers of the pod - 136.'

const OUTPUT: readonly Row[] = [
  row('report', 'path', 'Path of the JSON report to write.'),
  words('progress', ['plain', 'quiet', 'json'], PROGRESS),
  words('log-level', ['info', 'debug'], 'info, or debug (also every request with its status).'),
  flag('summary', 'true', SUMMARY, { hosts: ['github', 'tekton'] }),
  row('results-limit', 'integer', RESULTS, { default: '1400', range: [400, 3960], hosts: ['tekton'] }),
  words('output', ['text', 'json'], 'What stdout gets: text (nothing), or json (the report).', { hosts: ['plain'] }),
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
