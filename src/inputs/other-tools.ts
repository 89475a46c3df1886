/** Names of options of skopeo, crane, regctl, oras and oc, and what to use here. */
const OTHERS: readonly (readonly [names: string, advice: string])[] = [
  ['creds', 'use --SIDE-username with --SIDE-password-file'],
  ['username', 'use --SIDE-username'],
  ['password', 'use --SIDE-password-file'],
  ['registry-token', 'use --SIDE-token-file'],
  ['authfile registry-config', 'use --SIDE-auth-file'],
  ['cert-dir', 'use --SIDE-ca'],
  ['tls-verify insecure', 'use --SIDE-insecure-skip-tls-verify, or http://HOST as --SIDE-registry'],
  ['a', 'all platforms are copied without it; for a file with credentials use --SIDE-auth-file'],
  ['all', 'all platforms are copied without it'],
  ['all-tags', 'write the tags as a glob, SRC:*'],
  ['no-clobber', 'use --overwrite never, or skip'],
  ['preserve-digests', 'digests are kept without it'],
  ['keep-manifest-list', 'an index is kept without it'],
  ['platform filter-by-os', 'use --platforms'],
  ['f filename', 'use --image-list'],
  ['j max-per-registry', 'use --jobs'],
  ['retry-times', 'use --retries'],
  ['digestfile', 'use --report'],
  ['quiet', 'use --progress quiet'],
  ['verbose debug', 'use --log-level debug'],
]

/** Subcommands; this program has none. */
const COMMANDS = ['copy', 'cp', 'sync', 'mirror', 'image', 'promote', 'login', 'pull', 'push', 'tag']

/** @param name of a flag without dashes, or an argument. @returns what to do here, if another tool has it. */
export function adviceFor(name: string): string | undefined {
  if (COMMANDS.includes(name)) return 'leave it out: this program has no commands'
  const [, side, rest = ''] = /^(?:(src|dest)-)?(.*)$/.exec(name) ?? []
  const advice = OTHERS.find(([names]) => names.split(' ').includes(rest))?.[1]
  const ours = { src: 'source', dest: 'destination' }[side ?? ''] ?? '(source|destination)'
  return advice?.replaceAll('SIDE', ours)
}
