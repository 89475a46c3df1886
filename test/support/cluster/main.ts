import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EmbeddedCluster, startCluster } from './cluster.ts'
import { makeImage, makeIndex, seedImage } from './image.ts'

/** `npm run cluster`: one embedded cluster to play with, until Ctrl-C. */

const cluster = await startCluster()
seedImage(cluster, 'dev/app', makeImage(), '1.0')
seedImage(cluster, 'dev/app', makeIndex({ seed: 2 }), 'multi')
const folder = mkdtempSync(join(tmpdir(), 'image-promote-cluster-'))
const bundle = join(folder, 'ca.pem')
const password = join(folder, 'password')
writeFileSync(bundle, cluster.ca.bundle)
writeFileSync(password, cluster.users.developer ?? '', { mode: 0o600 })
// Also on an error: nothing stays behind.
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void end())
process.stdout.write(introduce(cluster))

async function end(): Promise<void> {
  const { requests, unexpected } = cluster
  process.stdout.write(`\n${requests.length} requests, ${unexpected.length} of them unexpected\n`)
  for (const line of unexpected) process.stdout.write(`  ${line}\n`)
  await cluster.close()
  process.exit(0)
}

function introduce({ api, oauth, registry, users }: EmbeddedCluster): string {
  const people = Object.entries(users).map(([login, secret]) => `  ${login.padEnd(12)}${secret}`)
  const side = (name: string) => [
    `--${name}-cluster ${api.origin}`,
    `--${name}-username developer`,
    `--${name}-password-file "${password}"`,
    `--${name}-ca "${bundle}"`,
  ]
  const command = ['node dist/index.js', ...side('source'), ...side('destination'), '-- dev/app:1.0=test/app:1.0']
  return `API       ${api.origin}
OAuth     ${oauth.origin}
registry  ${registry.origin}
CA bundle ${bundle}
images    dev/app:1.0 (linux/amd64), dev/app:multi (an index)

user        password
${people.join('\n')}

${command.join(' ')}

For a promotion between two clusters start another one in a second terminal, and take the --destination options of its command.
Ctrl-C ends the cluster and removes the files.
`
}
