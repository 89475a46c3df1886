import { readFileSync } from 'node:fs'
import type { Target } from '../../src/copy/store.ts'
import type { Context } from '../../src/core/context.ts'
import { Secrets } from '../../src/core/secret.ts'
import { fixedLogin } from '../../src/credentials/login.ts'
import { openNetwork } from '../../src/http/client.ts'
import { ANONYMOUS } from '../../src/http/credential.ts'
import { readManifest } from '../../src/oci/manifest.ts'
import { openRepository } from '../../src/registry/repository.ts'
import type { BuiltImage } from '../support/cluster/image.ts'
import { synthetic } from '../support/cluster/storage.ts'

export type Tagged = Readonly<{ tag: string; image: BuiltImage }>

const quiet = () => undefined

function quietContext(): Context {
  return {
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    secrets: new Secrets(),
    signal: new AbortController().signal,
    env: {},
    now: Date.now,
    sleep: async () => undefined,
    random: Math.random,
  }
}

/** What one client does with one repository of a registry, and lets its connections go. */
async function at<T>(registry: URL, ca: string, repository: string, work: (target: Target) => Promise<T>): Promise<T> {
  const context = quietContext()
  const trust = registry.protocol === 'https:' ? { ca: readFileSync(ca, 'utf8') } : {}
  const network = openNetwork(
    { side: 'destination', insecureSkipTlsVerify: false, stallTimeout: 60_000, retries: 0, ...trust },
    context,
  )
  try {
    const send = network.as(registry, fixedLogin('nobody', ANONYMOUS))
    return await work(openRepository({ side: 'destination', base: registry, send, repository, context }))
  } finally {
    await network.close()
  }
}

/** Puts images where they are copied from, or where parts of them are already. */
export async function seed(registry: URL, ca: string, repository: string, images: readonly Tagged[]): Promise<void> {
  await at(registry, ca, repository, async (target) => {
    for (const { tag, image } of images) {
      const small = [...image.blobs].map(([digest, bytes]) => ({ digest, size: bytes.length, read: () => once(bytes) }))
      const large = image.large.map((one) => ({ ...one, read: () => synthetic(one.seed, one.size).read(0, one.size) }))
      for (const { digest, size, read } of [...small, ...large]) {
        const begun = await target.startUpload({ mediaType: 'application/octet-stream', digest, size })
        if (begun.state === 'open') await begun.upload.send(0, read())
      }
      for (const { bytes, mediaType } of image.manifests) await target.putManifest(readManifest(bytes, mediaType))
      await target.putManifest(readManifest(image.root.bytes, image.root.mediaType), tag)
    }
  })
}

/** Throws when a tag is not at its image: a tool that did nothing is fast. */
export async function check(registry: URL, ca: string, repository: string, images: readonly Tagged[]): Promise<void> {
  await at(registry, ca, repository, async (target) => {
    for (const { tag, image } of images) {
      const found = await target.find(tag)
      if (found?.digest !== image.root.digest)
        throw new Error(`${repository}:${tag} is at ${found?.digest ?? 'nothing'}`)
    }
  })
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}
