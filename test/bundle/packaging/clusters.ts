import { appendFileSync } from 'node:fs'
import { startCluster } from '../../support/cluster/cluster.ts'
import { makeImage, makeIndex, seedImage } from '../../support/cluster/image.ts'

/** Two embedded clusters for the self-test workflow; how to reach them is written to GITHUB_OUTPUT. Ends with SIGTERM. */

const [dev, prod] = await Promise.all([startCluster({ name: 'dev' }), startCluster({ name: 'prod' })])
const index = makeIndex({ seed: 21 })
seedImage(dev, 'dev/app', index, '1.0')
seedImage(dev, 'dev/single', makeImage({ seed: 22 }), '1.0')
process.once('SIGTERM', () => void Promise.all([dev.close(), prod.close()]).then(() => process.exit(0)))

const token = prod.token('developer')
const password = dev.users.developer ?? ''
process.stdout.write(`::add-mask::${token}\n`)
const block = (name: string, text: string) => `${name}<<END_OF_${name}\n${text.trimEnd()}\nEND_OF_${name}\n`
const file = process.env.GITHUB_OUTPUT ?? ''
if (file === '') throw new Error('GITHUB_OUTPUT names no file')
appendFileSync(
  file,
  [
    `source-cluster=${dev.api.origin}\n`,
    `destination-cluster=${prod.api.origin}\n`,
    block('source-ca', dev.ca.bundle),
    block('destination-ca', prod.ca.bundle),
    `password=${password}\ntoken=${token}\ndigest=${index.root.digest}\nready=true\n`,
  ].join(''),
)
