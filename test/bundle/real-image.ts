import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { MEDIA_TYPE } from '../../src/oci/manifest.ts'
import type { BuiltImage, BuiltManifest } from '../support/cluster/image.ts'

/** An index of images whose layers are real archives, so that tools may look into them. */
export async function realIndex(platforms: readonly string[] = ['linux/amd64', 'linux/arm64']): Promise<BuiltImage> {
  const blobs = new Map<Digest, Uint8Array>()
  const put = (mediaType: string, bytes: Uint8Array) => {
    const digest = digestOf(bytes)
    blobs.set(digest, bytes)
    return { mediaType, digest, size: bytes.length }
  }
  const manifests: (BuiltManifest & { platform: object })[] = []
  for (const name of platforms) {
    const [os, architecture] = name.split('/')
    const archives = [
      await archive('etc/motd', 'the same on every platform\n'),
      await archive('bin/app', `for ${name}\n`),
    ]
    const layers = archives.map((tar) => put('application/vnd.oci.image.layer.v1.tar+gzip', gzipSync(tar)))
    const rootfs = { type: 'layers', diff_ids: archives.map((tar) => digestOf(tar)) }
    const config = Buffer.from(JSON.stringify({ os, architecture, config: { Cmd: ['/bin/app'] }, rootfs }))
    const document = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociManifest,
      config: put('application/vnd.oci.image.config.v1+json', config),
      layers,
    }
    manifests.push({ ...seal(document), platform: { os, architecture } })
  }
  const entries = manifests.map(({ digest, bytes, mediaType, platform }) => {
    return { mediaType, digest, size: bytes.length, platform }
  })
  const root = seal({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: entries })
  return { root, manifests: [...manifests, root], blobs, large: [] }
}

function seal(document: Readonly<{ mediaType: string; [member: string]: unknown }>): BuiltManifest {
  // With blanks: a program that serialises it again changes the digest.
  const bytes = Buffer.from(JSON.stringify(document, null, 3))
  return { digest: digestOf(bytes), bytes, mediaType: document.mediaType }
}

async function archive(path: string, text: string): Promise<Buffer> {
  const tar = pack()
  tar.entry({ name: path, mode: 0o755, mtime: new Date(0) }, text)
  tar.finalize()
  return buffer(tar)
}
