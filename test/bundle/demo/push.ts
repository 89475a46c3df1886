import type { Context } from '../../../src/core/context.ts'
import { Secrets } from '../../../src/core/secret.ts'
import { fixedLogin } from '../../../src/credentials/login.ts'
import { openNetwork } from '../../../src/http/client.ts'
import { readManifest } from '../../../src/oci/manifest.ts'
import { openRepository } from '../../../src/registry/repository.ts'
import type { EmbeddedCluster } from '../../support/cluster/cluster.ts'
import type { BuiltImage } from './image.ts'

const quiet = () => undefined

/** Pushes an image that is in memory, as a developer's build would. */
export async function push(
  image: BuiltImage,
  cluster: EmbeddedCluster,
  repository: string,
  tag: string,
): Promise<void> {
  const secrets = new Secrets()
  const context: Context = {
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    secrets,
    signal: new AbortController().signal,
    env: {},
    now: Date.now,
    sleep: async () => undefined,
    random: Math.random,
  }
  const network = openNetwork(
    { side: 'destination', ca: cluster.ca.registry, insecureSkipTlsVerify: false, stallTimeout: 60_000, retries: 0 },
    context,
  )
  try {
    const login = fixedLogin('developer', { kind: 'bearer', token: secrets.keep(cluster.token('developer')) })
    const send = network.as(cluster.registry, login)
    const target = openRepository({ side: 'destination', base: cluster.registry, send, repository, context })
    for (const [digest, bytes] of image.blobs) {
      const begun = await target.startUpload({ mediaType: 'application/octet-stream', digest, size: bytes.length })
      if (begun.state === 'open') await begun.upload.send(0, once(bytes))
    }
    for (const { bytes, mediaType } of image.manifests) await target.putManifest(readManifest(bytes, mediaType))
    await target.putManifest(readManifest(image.root.bytes, image.root.mediaType), tag)
  } finally {
    await network.close()
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
