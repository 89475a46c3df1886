import { test } from '@jest/globals'
import { Secret } from '../../src/core/secret.ts'
import { fixedLogin } from '../../src/credentials/login.ts'
import { startCluster } from '../support/cluster/cluster.ts'
import { type PlainOptions, startRegistry } from '../support/cluster/plain.ts'
import { hasDockerRegistry, startDockerRegistry } from '../support/docker-registry.ts'
import { openLab } from '../support/lab.ts'
import { memoryRegistry } from '../support/memory-store.ts'
import { type Subject, targetContract } from '../support/target-contract.ts'

const ALL = { resumes: true, referrersApi: true, sha512: true, sparse: true }

targetContract('memory', ALL, async () => {
  const registry = memoryRegistry()
  return { open: registry.repository, close: async () => undefined }
})

targetContract(
  'memory that resumes nothing and lists nothing',
  { ...ALL, resumes: false, referrersApi: false },
  async () => {
    const registry = memoryRegistry(undefined, { resumes: false, referrersApi: false })
    return { open: registry.repository, close: async () => undefined }
  },
)

targetContract('the embedded registry', ALL, embedded({}))
targetContract(
  'a registry with the habits of olareg',
  ALL,
  embedded({ resume: 'olareg', location: 'relative', digestHeader: false, mountAnonymous: true }),
)
targetContract(
  'a registry with the habits of docker-registry 2.8',
  { ...ALL, resumes: false, referrersApi: false },
  embedded({ resume: 'destroy', referrersApi: false, singlePost: false, mountAnonymous: false }),
)
targetContract('a registry that redirects its blobs', ALL, embedded({ redirect: true, strictAccept: true }))

targetContract("OpenShift's registry", { ...ALL, referrersApi: false }, async () => {
  const cluster = await startCluster()
  const lab = openLab({ ca: cluster.ca.registry })
  const login = fixedLogin('token of developer', { kind: 'bearer', token: new Secret(cluster.token('developer')) })
  return {
    open: (repository) => lab.open(cluster.registry, repository, {}, login),
    close: async () => {
      await lab.close()
      await cluster.close()
      if (cluster.unexpected.length > 0) throw new Error(cluster.unexpected.join('\n'))
    },
  }
})

if (hasDockerRegistry()) {
  targetContract('docker-registry', { resumes: false, referrersApi: false, sha512: false, sparse: false }, async () => {
    const registry = await startDockerRegistry()
    if (registry === undefined) throw new Error('it was there a moment ago')
    const lab = openLab()
    return {
      open: (repository) => lab.open(registry.url, repository),
      close: async () => {
        await lab.close()
        await registry.close()
      },
    }
  })
} else {
  test('a target over docker-registry was not tried: it is not installed', () => undefined)
}

function embedded(options: PlainOptions): () => Promise<Subject> {
  return async () => {
    const registry = await startRegistry(options)
    const lab = openLab()
    return {
      open: (repository) => lab.open(registry.url, repository),
      close: async () => {
        await lab.close()
        await registry.close()
        if (registry.violations.length > 0) throw new Error(registry.violations.join('\n'))
      },
    }
  }
}
